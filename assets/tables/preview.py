"""Judging a fetch only to look at it: counts, the first rows of either side with their values, and which gate would stop the table.

Nothing is kept, and the live table is only read. What a run does with the same judgement is `build.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from assets.errors import Blocked
from assets.tables import sql
from assets.tables.build import contract_digest
from assets.tables.expectations import judge_expectations
from assets.tables.index import WHOLE, read_index
from assets.tables.judging import Judgement
from assets.tables.merging import merge, shrink_guard
from assets.tables.replay import fresh_folder, judge_fetch
from assets.tables.report import refusal
from assets.tables.sql import ident, listed

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord
    from assets.archive.ledger import Ledger
    from assets.feeds.model import Feed
    from assets.store import Store
    from quality.verdict import CheckResult


@dataclass(frozen=True)
class Preview:
    """What a run would do with these rows. `accepted`, `quarantine`: the first rows of each side.

    `refused`: the error with which a run would leave the table as it is, None where no gate is against it; `failed`: its gates.
    `undecided`: what only a run can tell, in one sentence.
    """

    rows_read: int
    rows_accepted: int
    rows_quarantined: int
    by_rule: dict[str, int]
    accepted: tuple[dict[str, Any], ...]
    quarantine: tuple[dict[str, Any], ...]
    refused: Blocked | None = None
    failed: tuple[CheckResult, ...] = ()
    undecided: str = ""


def judge_only(
    feed: Feed, record: FetchRecord, *, store: Store, ledger: Ledger, workdir: Path, live: Store | None = None, rows: int = 10
) -> Preview:
    """Parse, stage and judge one fetch, as a run does. Meant for the person who declares the feed: it shows every column's values.

    `store`, `ledger`: those that hold the fetch; `live`: the store with the table that it would go into.
    """
    folder = fresh_folder(workdir / "preview")
    found = judge_fetch(feed, record, store, ledger, folder, judge_expectations, lambda *_: None, {}).judgement
    checks, undecided = found.checks, ""
    if live is not None and not found.blocked:
        guard, undecided = _shrinking(feed, record, found, live, folder)
        checks = (*checks, *([guard] if guard else []))
    failed = tuple(check for check in checks if check.blocking and not check.passed)
    return Preview(
        found.rows_read,
        found.rows_accepted,
        found.rows_quarantined,
        found.by_rule,
        first_rows(found.accepted, [column.name for column in feed.contract.columns], rows),
        first_rows(found.quarantine, ["_source_row", "_rule", "_reason", "_raw"], rows),
        refusal(feed.id, failed),
        failed,
        undecided,
    )


def _shrinking(feed: Feed, record: FetchRecord, found: Judgement, live: Store, folder: Path) -> tuple[CheckResult | None, str]:
    """The guard of a table that is there already, and else why there is none."""
    index = read_index(live, feed.id)
    part = index.partitions.get(record.partition or WHOLE) if index else None
    if part is None or part.origin != record.origin:
        # Rows of another origin are not missed: a run starts afresh.
        return None, ""
    if part.contract_sha256 == contract_digest(feed):
        files = [live.local_path(file.key, folder / "live") for file in part.files]
        return merge(feed, found.accepted, files, folder / "merge").shrink_guard, ""
    if feed.incremental.kind == "full" and feed.deletes_mode == "snapshot_diff":
        # Whatever the archive holds, the rebuilt table is this fetch's rows.
        return shrink_guard(feed, part.rows, found.rows_accepted), ""
    return None, "The declaration has changed, so a run rebuilds the table from its archive; only it can tell whether it shrinks."


def first_rows(path: Path, columns: Sequence[str], rows: int) -> tuple[dict[str, Any], ...]:
    """The first rows of a Parquet file, these columns only."""
    with duckdb.connect() as connection:
        query = f"SELECT {listed([ident(name) for name in columns])} FROM {sql.parquet(path)} LIMIT {rows}"
        return tuple(dict(zip(columns, row, strict=True)) for row in connection.execute(query).fetchall())


def in_words(check: CheckResult) -> str:
    """Why a gate is against the table, with its numbers."""
    seen, allowed = check.observed, check.expected
    if check.name == "quarantine_within_bound":
        return f"{check.unexpected_count:,} of {check.element_count:,} rows ({seen:.1%}) are refused; at most {allowed:.1%} may be"
    if check.name == "row_count_at_least":
        return f"{seen:,} rows came; the contract asks for {allowed:,} at least"
    if check.name == "columns_as_promised":
        return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in seen.items() if names)
    if check.name == "shrink_guard":
        lost = f"{seen['share_lost']:.1%} would be gone"
        return f"the table has {seen['before']:,} rows and would have {seen['after']:,}; {lost}, at most {allowed:.1%} may be"
    if check.unexpected_count is not None:
        return f"{check.unexpected_count:,} of {check.element_count:,} rows do not meet it"
    wanted = ", ".join(f"{name} {value}" for name, value in allowed.items()) if isinstance(allowed, dict) else allowed
    return check.note or f"seen: {seen}; expected: {wanted}"
