"""The shape in which every reader hands over rows, whatever the format: Arrow batches of text, not yet typed.

Typing is done once, by the contract, in `staging.py`; a reader only finds the values and says where they stood.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from assets.protocols.kernel import PageInfo

ROW = "_source_row"
"""int64: ordinal of the record in its fetch, from 1, header lines not counted, broken records counted."""
PROBLEM = "_problem"
"""string, null when the record is sound: why the record as a whole cannot be used (ragged, NUL, not an object)."""
PROBLEM_TEXT = "_problem_text"
"""string, null when the record is sound: the record as received, at most 10,000 characters."""


def batch_schema(columns: Sequence[str]) -> pa.Schema:
    """Arrow schema of a reader's batches: one nullable string per wanted source column, then the three above."""
    fields = [pa.field(c, pa.string()) for c in columns]
    return pa.schema([*fields, pa.field(ROW, pa.int64()), pa.field(PROBLEM, pa.string()), pa.field(PROBLEM_TEXT, pa.string())])


@dataclass(frozen=True)
class Tally:
    """One page, counted. `first`: its first record in a comparable form, None where there is none; `records`: as the reader has
    them, to be compared with other pages of the same reader; empty where it has none to show.
    """

    rows: int
    first: Hashable = None
    records: Sequence[Any] = ()


@dataclass
class RowStream:
    """Rows of one fetch. Read `batches` once; the other fields are complete only after the last batch.

    `batches`: record batches of `batch_schema(wanted)`; a column that the source does not carry is all null.
    `seen_columns`: every column name that the source carried, in order of appearance (drift is read from it).
    `encoding`: the encoding that was used, for the ledger; None for binary formats.
    `records_read`: records handed over so far, broken ones included.
    `tally`: counts the records in place of reading `batches`, where that is cheaper; raises what reading them would. Whoever wraps
    `batches` drops it.
    `page`: what the page says of itself, where only reading all of it tells (RDF, whose statements stand in any order).
    """

    wanted: tuple[str, ...]
    batches: Iterator[pa.RecordBatch]
    seen_columns: list[str] = field(default_factory=list)
    encoding: str | None = None
    records_read: int = 0
    tally: Callable[[], Tally] | None = None
    page: PageInfo | None = None
