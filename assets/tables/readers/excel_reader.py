"""XLS and XLSX by calamine: one sheet, its header rows, and every cell as text.

Dates become ISO text, whole floats lose their `.0`, an empty cell is null. A sheet is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook

from assets.tables.readers.batches import Order, RowBuffer, listing
from assets.tables.readers.decoding import nfc
from assets.tables.readers.spec import FileShape
from assets.tables.rows import RowStream

_MEND = "check source.format and that the agency sent the whole file"


def read_excel(path: Path, shape: FileShape, order: Order) -> RowStream:
    """The rows of one sheet. The caller has checked an XLSX against the limits of unpacking (`container.py`)."""
    rows = _sheet(path, shape, order)
    start = shape.skip_rows + shape.header_row - 1
    header = rows[start : start + shape.header_rows]
    if len(header) < shape.header_rows or not any(_cell(c) for row in header for c in row):
        raise order.refuse(f"no header in row {start + 1} of the sheet", "correct source.header_row and skip_rows")
    names = _names(header)
    twice = [w for w in order.wanted if names.count(nfc(w)) > 1]
    if twice:
        raise order.refuse(
            f"column {listing(twice)} stands more than once in the header", "set source.header_rows to tell them apart"
        )
    order.check_present(n for n in names if n)
    stream = RowStream(order.wanted, iter(()), [n for n in dict.fromkeys(names) if n])
    stream.batches = _batches(rows[start + shape.header_rows :], names, order, stream)
    return stream


def _sheet(path: Path, shape: FileShape, order: Order) -> list[list[Any]]:
    try:
        with CalamineWorkbook.from_path(str(path)) as book:
            names = book.sheet_names
            if isinstance(shape.sheet, int):
                index = shape.sheet - 1
            else:
                index = next((i for i, n in enumerate(names) if shape.sheet is None or nfc(n) == nfc(shape.sheet)), -1)
            if not 0 <= index < len(names):
                raise order.refuse(f"no sheet {shape.sheet!r}; the workbook has {listing(names)}", "correct source.sheet")
            rows: list[list[Any]] = book.get_sheet_by_index(index).to_python(skip_empty_area=False)
            return rows
    except (CalamineError, OSError, ValueError, OverflowError) as error:
        raise order.refuse(f"no readable workbook ({type(error).__name__})", _MEND) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # calamine's own failure on a damaged file
            raise
        raise order.refuse("no readable workbook: its structure is damaged", _MEND) from None


def _names(header: list[list[Any]]) -> list[str]:
    """Column names. Of a header of several rows a merged cell, which holds its text once, spreads to the right."""
    spread: list[list[str]] = []
    for depth, row in enumerate(header):
        texts = [nfc(" ".join((_cell(c) or "").split())) for c in row]
        if depth < len(header) - 1:
            for i in range(1, len(texts)):
                same_parent = all(above[i] == above[i - 1] for above in spread)
                if not texts[i] and same_parent:
                    texts[i] = texts[i - 1]
        spread.append(texts)
    names = []
    for parts in zip(*spread, strict=True):
        names.append(" ".join(dict.fromkeys(p for p in parts if p)))
    return names


def _batches(rows: list[list[Any]], names: list[str], order: Order, stream: RowStream) -> Iterator[pa.RecordBatch]:
    where = {name: i for i, name in reversed(list(enumerate(names)))}
    picked = [where.get(nfc(w), -1) for w in order.wanted]
    buffer = RowBuffer(order.wanted)
    for row in rows:
        if all(c == "" for c in row):
            continue
        stream.records_read += 1
        buffer.add([_cell(row[i]) if 0 <= i < len(row) else None for i in picked])
        if buffer.full:
            yield buffer.take()
    if len(buffer):
        yield buffer.take()


def _cell(value: Any) -> str | None:
    """A cell as text."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)
    if isinstance(value, datetime):  # Excel keeps no difference between a date and its midnight
        return value.date().isoformat() if value.time() == time() else value.isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return None if value is None else str(value)
