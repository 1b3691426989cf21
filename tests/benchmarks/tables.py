"""What a benchmark hands back: tables of figures, and how they are printed. Measuring is `measuring.py`."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

Cell = str | int | float | None
"""Floats are printed with two digits, or as many as show something; None as a blank."""


@dataclass(frozen=True)
class Table:
    """One table of figures. `rows`: as many cells as `columns`. `notes`: lines below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Table:
        columns = tuple(data["columns"])
        return cls(data["title"], columns, tuple(tuple(row[c] for c in columns) for row in data["rows"]), tuple(data["notes"]))

    def text(self) -> str:
        """The table in plain characters: text to the left, numbers to the right."""
        cells = [[shown(cell) for cell in row] for row in self.rows]
        numeric = [all(not isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]
        widths = [max(map(_width, [name, *(row[i] for row in cells)])) for i, name in enumerate(self.columns)]
        lines = [self.title, ""]
        for row in [list(self.columns), *cells]:
            parts = [_padded(text, width, right) for text, width, right in zip(row, widths, numeric, strict=True)]
            lines.append(("  " + "  ".join(parts)).rstrip())
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def ratio(value: float, base: float) -> float:
    """How many times `base` the value is; NaN where the base is nothing."""
    return round(value / base, 2) if base else float("nan")


def shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.2f}" if abs(cell) >= 0.01 or cell == 0 else f"{cell:.4f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
