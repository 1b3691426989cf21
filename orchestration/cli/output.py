"""What every command shares when it speaks: the consoles, `--json`, tables and progress bars.

On a terminal a table fits the window, and long values are folded. Anywhere else (a pipe, a file) every row is one line, and every
value is whole: what reads it there is a program, or a person who searches.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleDimensions
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

ENDLESS = 1_000_000
"""The width of what is no terminal, in columns."""


class _Results(Console):
    """Standard output: as wide as its terminal, and without an end where it is none."""

    @property
    def size(self) -> ConsoleDimensions:
        return super().size if self.on_terminal else ConsoleDimensions(ENDLESS, super().size.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    @property
    def on_terminal(self) -> bool:
        """Whether a person's terminal is at the other end; colours asked for by FORCE_COLOR make no terminal."""
        return bool(self.file.isatty())


console = Console(stderr=True)
"""For people: progress, tables of errors. Results go to standard output."""
out = _Results()
"""For results."""

_state = {"json": False}


def _remember(value: bool) -> bool:
    _state["json"] = _state["json"] or value
    return value


Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead.", callback=_remember, is_eager=True)]


def example(*commands: str) -> str:
    """What stands below a command's help: commands to type, each one line."""
    return "\n\n".join(f"Example: `{command}`" for command in commands)


def is_json() -> bool:
    """Whether the command that runs was asked for JSON; errors then are JSON too."""
    return _state["json"]


def print_json(value: Any) -> None:
    """One JSON document on standard output, on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table for people; numbers to the right."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    rows = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(row[index] is None or _is_number(row[index]) for row in rows)
        # The first column is what a person copies: it is never folded.
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*map(shown, row))
    _print(table)


def title(text: str) -> None:
    """The line above a table."""
    out.print(Text(text, style="bold"))


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """A section of named values, one a line; what has no value is left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value is not None and value != "":
            table.add_row(Text(f"  {name}", style="dim"), shown(value))
    _print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _print(table: Table) -> None:
    if out.on_terminal:
        out.print(table)
        return
    with out.capture() as printed:
        out.print(table)
    # Nothing is behind the last column: no blanks either.
    out.file.writelines(f"{line.rstrip(' ')}\n" for line in printed.get().removesuffix("\n").split("\n"))


def shown(value: Any) -> Text:
    """A value as people read it, on one line. Brackets in it are no styles, and no byte of it steers a terminal."""
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return Text("".join(c if c.isprintable() or c in _PRINTED else repr(c)[1:-1] for c in text))


_PRINTED = frozenset("\u00a0\u3000\u200d\ufeff")
"""Blanks of real text that Python does not count as printable."""


def done(text: str) -> None:
    """One line on standard output that says what was done."""
    out.print(Text.assemble(("✓", "green"), " ", text), soft_wrap=True)


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
