"""What every command shares when it speaks: the console, `--json`, tables and progress bars."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

console = Console(stderr=True)
"""For people: progress, tables of errors. Results go to standard output."""
out = Console(width=None if sys.stdout.isatty() else 160)
"""For results. A pipe has no width of its own, so lines are not folded as on a narrow terminal."""

_state = {"json": False}


def _remember(value: bool) -> bool:
    _state["json"] = _state["json"] or value
    return value


Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead.", callback=_remember, is_eager=True)]


def is_json() -> bool:
    """Whether the command that runs was asked for JSON; errors then are JSON too."""
    return _state["json"]


def print_json(value: Any) -> None:
    """One JSON document on standard output, on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """A table for people; numbers to the right."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    rows = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], (int, float)) or row[index] is None for row in rows)
        # The first column is what a person copies: it is never folded.
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*("" if v is None else f"{v:,}" if isinstance(v, int) and not isinstance(v, bool) else str(v) for v in row))
    out.print(table)


def say(mark: str, colour: str, text: object) -> None:
    """One line for people on standard error; the text is taken as it is, brackets included."""
    console.print(Text(mark, style=colour), Text(str(text)), soft_wrap=True)


def progress() -> Progress:
    """A progress display on a terminal; silent when standard error is not one."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
