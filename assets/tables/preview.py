"""Judging a fetch only to look at it: counts and the first rows of either side, values included. Nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from assets.tables import sql
from assets.tables.replay import fresh_folder, judge_fetch
from assets.tables.sql import ident, listed

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord
    from assets.archive.ledger import Ledger
    from assets.feeds.model import Feed
    from assets.store import Store


@dataclass(frozen=True)
class Preview:
    """What a judgement by the contract alone would do. `accepted`, `quarantine`: the first rows of each side."""

    rows_read: int
    rows_accepted: int
    rows_quarantined: int
    by_rule: dict[str, int]
    accepted: tuple[dict[str, Any], ...]
    quarantine: tuple[dict[str, Any], ...]


def judge_only(feed: Feed, record: FetchRecord, *, store: Store, ledger: Ledger, workdir: Path, rows: int = 10) -> Preview:
    """Parse, stage and judge one fetch. Meant for the person who declares the feed: it shows every column's values."""
    done = judge_fetch(feed, record, store, ledger, fresh_folder(workdir / "preview"), None, lambda step, count: None, {})
    found = done.judgement
    return Preview(
        found.rows_read,
        found.rows_accepted,
        found.rows_quarantined,
        found.by_rule,
        first_rows(found.accepted, [column.name for column in feed.contract.columns], rows),
        first_rows(found.quarantine, ["_source_row", "_rule", "_reason", "_raw"], rows),
    )


def first_rows(path: Path, columns: Sequence[str], rows: int) -> tuple[dict[str, Any], ...]:
    """The first rows of a Parquet file, these columns only."""
    with duckdb.connect() as connection:
        query = f"SELECT {listed([ident(name) for name in columns])} FROM {sql.parquet(path)} LIMIT {rows}"
        return tuple(dict(zip(columns, row, strict=True)) for row in connection.execute(query).fetchall())
