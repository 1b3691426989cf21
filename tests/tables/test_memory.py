"""Memory does not grow with the file: the reader is never ahead of DuckDB, and what is larger than the limit is spilled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from assets.tables.rows import RowStream, batch_schema
from assets.tables.sql import ROW_GROUP_BYTES, VECTOR, parquet
from assets.tables.staging import stage
from tests.benchmarks import bench_csv
from tests.benchmarks.measuring import measured
from tests.tables.making import make_feed, make_stream

LIMIT = "128MB"
SMALL_MB, LARGE_MB = 12, 96


def test_batches_are_made_only_when_they_are_wanted(tmp_path: Path) -> None:
    feed = make_feed([{"name": "id", "nullable": False}, {"name": "day", "type": "date"}, {"name": "text"}])
    schema = batch_schema(stream_columns := ("id", "day", "text"))
    stream = RowStream(stream_columns, iter(()), list(stream_columns), "utf-8")
    rows, count = 8_000, 150
    held = []

    def batches() -> Iterator[pa.RecordBatch]:
        none = pa.nulls(rows, pa.string())
        for number in range(count):
            numbers = pa.arange(number * rows + 1, (number + 1) * rows + 1)
            ids, days = numbers.cast(pa.string()), pa.repeat("2026-11-23", rows)
            texts = pa.repeat("a text that DuckDB has to copy and to look at, " * 4, rows)
            stream.records_read += rows
            held.append(pa.total_allocated_bytes())
            yield pa.RecordBatch.from_arrays([ids, days, texts, numbers, none, none], schema=schema)

    stream.batches = batches()
    staged = stage(feed, stream, tmp_path / "staged.parquet")
    one = held[1] - held[0]
    assert staged.rows_read == rows * count
    # A batch and its trimmed copy for each of two threads, and one on its way; not the 150 there are.
    assert 0 < max(held) - held[0] < 8 * one


def test_the_longer_the_rows_the_fewer_are_in_a_row_group(tmp_path: Path) -> None:
    feed = make_feed([{"name": "id", "nullable": False}, {"name": "outline"}])

    def row_groups(name: str, outline: str, rows: int = 3 * VECTOR) -> list[int]:
        out = tmp_path / f"{name}.parquet"
        stage(feed, make_stream(feed, [(str(n), outline) for n in range(rows)], batch=VECTOR), out)
        metadata = pq.read_metadata(out)
        return [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]

    assert row_groups("short", "x") == [3 * VECTOR]
    assert row_groups("long", "x" * (ROW_GROUP_BYTES // VECTOR)) == [VECTOR] * 3
    assert row_groups("endless", "x" * (2 * ROW_GROUP_BYTES // VECTOR), VECTOR + 1) == [VECTOR, 1]


def build(folder: str) -> dict[str, Any]:
    """The archived file of a folder through the whole table stage, under the limit: rows, and where the table is."""
    from assets.archive.ledger import Ledger
    from assets.store import Store
    from assets.tables.build import build_table

    home, feed = Path(folder), bench_csv.feed()
    store, ledger = Store(f"file://{home}/store"), Ledger(f"sqlite:///{home}/ledger.sqlite")
    record = ledger.last_answered(feed.id)
    assert record is not None
    now = datetime(2026, 11, 23, tzinfo=UTC)
    result = build_table(feed, record, store=store, ledger=ledger, workdir=home / "work", now=now, memory_limit=LIMIT)
    ledger.close()
    result.raise_if_blocked()
    (table,) = result.files
    return {"rows": result.rows, "table": str(store.local_path(table.key, home / "out"))}


def test_a_file_larger_than_the_memory_limit_is_built_in_the_memory_of_a_small_one(tmp_path: Path) -> None:
    peaks = {}
    for megabytes in (SMALL_MB, LARGE_MB):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        rows = bench_csv.generate(str(folder), megabytes)
        bench_csv.archive(str(folder))
        done = measured("tests.tables.test_memory:build", str(folder))
        assert done.answer["rows"] == rows
        with duckdb.connect() as connection:
            found = connection.execute(
                "SELECT count(*), count(DISTINCT id), bool_and(id > before) FROM "
                f"(SELECT id, lag(id) OVER (ORDER BY file_row_number) AS before FROM {numbered(Path(done.answer['table']))})"
            ).fetchone()
        assert found == (rows, rows, True)
        peaks[megabytes] = done.peak_mb
    assert peaks[LARGE_MB] - peaks[SMALL_MB] < 250, peaks


def numbered(path: Path) -> str:
    return parquet(path).replace("hive_partitioning = false", "hive_partitioning = false, file_row_number = true")
