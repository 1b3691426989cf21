"""How the tests of the readers read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from assets.tables.readers.batches import Order
from assets.tables.readers.open import open_rows
from assets.tables.readers.spec import FileShape
from assets.tables.rows import PROBLEM, PROBLEM_TEXT, ROW, RowStream, batch_schema


def order(*wanted: str, **more: Any) -> Order:
    return Order(tuple(wanted), **more)


def opened(path: Path, asked: Order, **shape: Any) -> RowStream:
    return open_rows(path, FileShape.model_validate(shape), asked)


def table_of(stream: RowStream) -> pa.Table:
    """Everything, with what holds of every stream asserted."""
    schema = batch_schema(stream.wanted)
    batches = list(stream.batches)
    assert all(b.schema == schema for b in batches)
    table = pa.Table.from_batches(batches, schema)
    table.validate(full=True)
    assert table.column(ROW).to_pylist() == list(range(1, stream.records_read + 1))
    assert [p is None for p in table.column(PROBLEM).to_pylist()] == [p is None for p in table.column(PROBLEM_TEXT).to_pylist()]
    return table


def rows_of(stream: RowStream) -> list[tuple[str | None, ...]]:
    """The values of every record, broken ones as all null."""
    table = table_of(stream)
    return list(zip(*[table.column(i).to_pylist() for i in range(len(stream.wanted))], strict=True))


def problems_of(stream: RowStream) -> dict[int, tuple[str, str]]:
    table = table_of(stream)
    three = zip(
        table.column(ROW).to_pylist(), table.column(PROBLEM).to_pylist(), table.column(PROBLEM_TEXT).to_pylist(), strict=True
    )
    return {row: (problem, text) for row, problem, text in three if problem is not None}
