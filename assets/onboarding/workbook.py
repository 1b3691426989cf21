"""Which sheet of a workbook holds the table, and on which rows its header stands below titles and units.

A proposal, shown to a person before it is declared; a declared sheet is read by `assets/tables/readers/excel_reader.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.onboarding.words import NoTable, Note

LOOK_ROWS = 300
MOST_SHEETS = 30
MOST_HEADER_ROWS = 5
Merge = tuple[tuple[int, int], tuple[int, int]]
"""First and last cell, as (row, column) from 0."""


@dataclass(frozen=True)
class _Table:
    sheet: str
    start: int
    """Row of the header, from 0."""
    header_rows: int
    filled: int
    """Rows that look like rows of a table, the header among them."""


def look_at_workbook(path: Path) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Fields of `source:` beside the format, without defaults, and what to look at. NoTable where it cannot be read.

    The caller has checked an XLSX against the limits of unpacking.
    """
    from python_calamine import CalamineError, CalamineWorkbook  # no CSV needs it

    try:
        with CalamineWorkbook.from_path(str(path)) as book:
            sheets = [book.get_sheet_by_name(name) for name in book.sheet_names[:MOST_SHEETS]]
            tables = [
                _table(sheet.name, sheet.to_python(skip_empty_area=False, nrows=LOOK_ROWS), sheet.merged_cell_ranges or [])
                for sheet in sheets
            ]
            count = len(book.sheet_names)
    except (CalamineError, OSError, ValueError, OverflowError) as error:
        raise NoTable("no_workbook", error=type(error).__name__) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # calamine's own failure on a damaged file
            raise
        raise NoTable("no_workbook", error="damaged") from None
    best = max(tables, key=lambda table: table.filled, default=None)
    if best is None:
        raise NoTable("no_workbook", error="no sheet")
    shape: dict[str, Any] = {}
    if best is not tables[0]:
        shape["sheet"] = best.sheet
    if best.start:
        shape["header_row"] = best.start + 1
    if best.header_rows > 1:
        shape["header_rows"] = best.header_rows
    return shape, (Note("sheet", {"sheet": best.sheet, "count": count, "row": best.start + 1}),)


def _table(sheet: str, rows: Sequence[Sequence[Any]], merges: Sequence[Merge]) -> _Table:
    """The header is the first row that names most columns; a merged cell names every column that it stands over."""
    widths = [sum(1 for cell in row if cell != "") for row in rows]
    tabular = [width for width in widths if width > 1]
    usual = max(set(tabular), key=lambda width: (tabular.count(width), width), default=1)
    for n, row in enumerate(rows):
        across = [(last[1] - first[1]) for first, last in merges if first[0] == n]
        down = [last[0] - n for first, last in merges if first[0] == n and last[0] > n]
        if widths[n] > 1 and 2 * (widths[n] + sum(across)) > usual and all(isinstance(cell, str) for cell in row):
            # Over names of their own: a cell that spans columns has at least one row of names below it.
            deep = 1 + max(max(down, default=0), 1 if any(across) else 0)
            return _Table(sheet, n, deep if deep <= MOST_HEADER_ROWS else 1, len(tabular))
    first = next((n for n, width in enumerate(widths) if width), 0)
    return _Table(sheet, first, 1, len(tabular))
