"""SQL that every stage of a table writes alike: quoting, the DuckDB session, and the names of Madang's own columns.

Only what staging, judging and merging share. No rule of a contract and no file of a store is known here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from quality.contract import Column
from quality.duck import DEFAULT_MEMORY as DEFAULT_MEMORY
from quality.duck import DEFAULT_THREADS as DEFAULT_THREADS
from quality.duck import configuration

if TYPE_CHECKING:
    from assets.feeds.model import Feed

FAILURES_TYPE = 'STRUCT(rule VARCHAR, "column" VARCHAR, reason VARCHAR)[]'
PROVENANCE: dict[str, str] = {
    "_source_id": "VARCHAR",
    "_source_row": "BIGINT",
    "_fetched_at": "TIMESTAMP",
    "_row_hash": "VARCHAR",
}
"""The columns that end every table, with their DuckDB types (design.md decision 4; `_fetched_at`: first seen, UTC)."""

ROW_GROUP_SIZE = 122_880
ROW_GROUP_VALUES = 2_000_000
"""Values of a row group: DuckDB holds some row groups whole, so the more columns they have, the fewer rows."""
ROW_GROUP_BYTES = 16 * 1024**2
"""Bytes of a row group's text as it is received, where that is known: a polygon is one value, as long as fifty numbers."""
VECTOR = 2_048
"""Rows that DuckDB works on at a time."""


def ident(name: str) -> str:
    """A quoted SQL identifier, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A SQL string literal that evaluates to exactly `text`. DuckDB's literals know no backslash escapes, and no NUL."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"


def listed(items: list[str]) -> str:
    """Comma-separated SQL."""
    return ", ".join(items)


def connect(
    scratch: Path, *, threads: int = DEFAULT_THREADS, memory_limit: str = DEFAULT_MEMORY, columns: int = 0
) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own that spills into `scratch`, reads timestamps as UTC and never asks the network for an extension.

    `memory_limit`: as DuckDB writes it, "1GB"; `columns`: of the table, for the limit where none is given.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    limits = configuration(scratch / "spill", columns=columns, threads=threads, memory_limit=memory_limit)
    connection = duckdb.connect(config=limits)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def path_literal(path: Path) -> str:
    """A path for `read_parquet`, which would otherwise take *, ? and [ in a folder's name for a pattern."""
    return literal(re.sub(r"[*?\[]", r"[\g<0>]", str(path)))


def parquet(*paths: Path) -> str:
    """`read_parquet` of local files, in the order given; `k=v` in a folder's name makes no column."""
    return f"read_parquet([{listed([path_literal(path) for path in paths])}], hive_partitioning = false)"


def copy(query: str, out: Path, columns: int, *, row_bytes: float = 0.0) -> str:
    """COPY of a query of so many columns into one ZSTD Parquet file with bounded row groups. `row_bytes`: of a row, where known."""
    most = min(ROW_GROUP_VALUES / columns, ROW_GROUP_BYTES / max(row_bytes, 1.0))
    rows = min(ROW_GROUP_SIZE, max(1, int(most // VECTOR)) * VECTOR)
    return f"COPY ({query}) TO {literal(str(out))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows})"


# --- the layout of a table ------------------------------------------------------------------------------------------------


def null_markers(feed: Feed, column: Column) -> tuple[str, ...]:
    """Texts of this column that mean 'no value': its own, or the feed's."""
    return feed.decode.null_values if column.null_values is None else column.null_values


def sentinels(feed: Feed, column: Column) -> tuple[float, ...]:
    """Numbers of this column that mean 'no value'; the feed's apply to numeric columns only."""
    if column.type not in ("integer", "number", "decimal"):
        return ()
    return feed.decode.sentinels if column.sentinels is None else column.sentinels


def has_status(feed: Feed, column: Column) -> bool:
    """Whether `<column>_status` exists: the column may be empty, and something marks why it is."""
    return column.nullable and bool(null_markers(feed, column) or sentinels(feed, column))


def data_columns(feed: Feed) -> dict[str, str]:
    """DuckDB type of every column that carries content: the contract's, in its order, then the statuses."""
    columns = {c.name: c.duckdb_type for c in feed.contract.columns}
    return columns | {f"{c.name}_status": "VARCHAR" for c in feed.contract.columns if has_status(feed, c)}


def table_columns(feed: Feed) -> dict[str, str]:
    """DuckDB type of every column of the feed's table, in order."""
    return data_columns(feed) | PROVENANCE


def row_hash(feed: Feed) -> str:
    """SQL of `_row_hash`: MD5 of the content. Lengths stand before texts, so no two contents spell the same."""
    parts = []
    for name, kind in data_columns(feed).items():
        text = ident(name) if kind == "VARCHAR" else f"CAST({ident(name)} AS VARCHAR)"
        # concat() leaves NULL out; a chain of || would copy what it has so far at every link.
        parts.append(f"strlen({text}), CASE WHEN {text} IS NULL THEN '-' ELSE ':' END, {text}")
    return f"md5(concat({listed(parts)}))"
