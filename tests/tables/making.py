"""What the tests of tables share: feeds, streams of rows, and real files put into a real archive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from assets.archive.fetches import FetchRecord, archive_fetch, archive_key, payload_digest
from assets.archive.ledger import Ledger
from assets.feeds.model import Feed
from assets.store import Store
from assets.tables.build import TableResult, build_table
from assets.tables.judging import JudgeExpectations, Judgement, judge
from assets.tables.rows import RowStream, batch_schema
from assets.tables.sql import parquet
from assets.tables.staging import Staged, stage
from tests.archive.making import exchange, record, writer

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def make_feed(columns: Sequence[dict[str, Any]], *, contract: dict[str, Any] | None = None, **parts: Any) -> Feed:
    """A feed of one CSV file with these columns; `contract`: what else its contract says; `parts`: other blocks of the feed."""
    declared: dict[str, Any] = {
        "id": "us.test.rows",
        "title": "Rows",
        "agency": {"name": "Agency", "country": "US"},
        "licence": {"id": "US-PD", "url": "https://agency.example/licence"},
        "schedule": {"cron": "0 0 * * *"},
        "source": {"protocol": "http_file", "url": "https://agency.example/rows.csv", "format": "csv"},
        "contract": {"columns": list(columns), **(contract or {})},
    }
    return Feed.model_validate(declared | parts)


def make_stream(
    feed: Feed, rows: Sequence[Sequence[str | None]], *, seen: Sequence[str] | None = None, batch: int = 3
) -> RowStream:
    """Rows of text in the order of the contract's columns, as a reader hands them over."""
    wanted = tuple(column.source_name for column in feed.contract.columns)
    stream = RowStream(wanted, iter(()), list(wanted if seen is None else seen), "utf-8")

    def batches() -> Iterable[pa.RecordBatch]:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            values = [pa.array([row[i] for row in part], pa.string()) for i in range(len(wanted))]
            numbers = pa.array(range(start + 1, start + len(part) + 1), pa.int64())
            nothing = pa.nulls(len(part), pa.string())
            stream.records_read += len(part)
            yield pa.RecordBatch.from_arrays([*values, numbers, nothing, nothing], schema=batch_schema(wanted))

    stream.batches = iter(batches())
    return stream


def staged_rows(feed: Feed, rows: Sequence[Sequence[str | None]], folder: Path, **kw: Any) -> tuple[Staged, list[dict[str, Any]]]:
    staged = stage(feed, make_stream(feed, rows, **kw), folder / "staged.parquet")
    return staged, read(staged.path, "_source_row")


def judged_rows(
    feed: Feed,
    rows: Sequence[Sequence[str | None]],
    folder: Path,
    *,
    fetch: str = "f1",
    judge_by: JudgeExpectations | None = None,
    **kw: Any,
) -> Judgement:
    staged, _ = staged_rows(feed, rows, folder, **kw)
    return judge(feed, staged, folder, source_id=fetch, fetched_at=NOW, judge_expectations=judge_by)


def read(path: Path | Sequence[Path], order: str = "ALL", columns: str = "*") -> list[dict[str, Any]]:
    """Rows of Parquet as dicts."""
    paths = [path] if isinstance(path, Path) else list(path)
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {columns} FROM {parquet(*paths)} ORDER BY {order}")
        names = [d[0] for d in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@dataclass
class Home:
    """A store, a ledger and a work folder, with what a test does to them."""

    folder: Path
    store: Store
    ledger: Ledger

    def archive(
        self, feed: Feed, body: bytes, at: datetime, *, outcome: str = "Ok", origin: str = "replay", **parts: Any
    ) -> FetchRecord:
        """A fetch of this body at this time, in archive and ledger."""
        fetch_id = f"{at:%Y%m%dT%H%M%SZ}-{len(self.ledger.history(feed.id)):08x}"
        fetch = replace(
            record(0, outcome=outcome, feed=feed.id),
            fetch_id=fetch_id,
            started_at=at,
            finished_at=at + timedelta(seconds=2),
            origin=origin,
            warc_key=archive_key(feed.id, fetch_id),
            body_fetch_id=fetch_id,
            **parts,
        )
        path = self.folder / "fetch.warc.gz"
        with writer(path, fetch) as warc:
            stored = [exchange(warc, fetch, body, self.folder)] if outcome == "Ok" else []
            fetch = replace(fetch, payload_sha256=payload_digest([s.sha256 for s in stored]))
            archive_fetch(self.store, self.ledger, fetch, path, warc.finish(fetch))
        return fetch

    def build(self, feed: Feed, fetch: FetchRecord, **kw: Any) -> TableResult:
        return build_table(feed, fetch, store=self.store, ledger=self.ledger, workdir=self.folder / "work", now=NOW, **kw)
