"""What building a table says of itself: the result that Dagster and the CLI show, and the report that the store keeps.

No value of a column that is not cleared is in either. Doing the work is `build.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from assets.errors import Blocked
from assets.tables import sql
from assets.tables.index import DataFile
from assets.tables.merging import Changes
from assets.tables.sql import ident, listed
from quality.verdict import CheckResult

if TYPE_CHECKING:
    from assets.feeds.model import Feed

PREVIEW_ROWS = 10


@dataclass(frozen=True)
class TableResult:
    """What building the table from one fetch did. Blocked: `blocked` names why, and the live table is as it was.

    `changed`: a new version of the table is live. `preview`: ten accepted rows at most, cleared columns only.
    """

    feed: str
    fetch_id: str
    partition: str
    origin: str
    contract_sha256: str
    rows_read: int
    accepted: int
    quarantined: int
    by_rule: dict[str, int]
    rows: int
    changes: Changes
    changed: bool
    checks: tuple[CheckResult, ...]
    encoding: str | None
    unknown_columns: tuple[str, ...]
    missing_columns: tuple[str, ...]
    preview: tuple[dict[str, Any], ...]
    files: tuple[DataFile, ...]
    quarantine_files: tuple[DataFile, ...]
    report_key: str
    note: str = ""

    @property
    def blocked(self) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if check.blocking and not check.passed)

    def raise_if_blocked(self) -> None:
        """Raise Blocked, for the caller to do after it has reported the checks."""
        if refused := refusal(self.feed, self.checks):
            raise refused


def refusal(feed: str, checks: tuple[CheckResult, ...]) -> Blocked | None:
    """The error with which failed gates leave a table as it is; None where none of the checks forbids the change."""
    names = tuple(check.name for check in checks if check.blocking and not check.passed)
    if not names:
        return None
    return Blocked(
        f"the table keeps its last good version: {', '.join(names)} failed",
        checks=names,
        where=feed,
        mend="read the quarantine and the checks of this run; then mend the feed's contract, or ask the agency",
    )


def report_key(feed: str, fetch_id: str) -> str:
    """Where the store keeps what the judgement of a fetch found."""
    return f"reports/{feed}/{fetch_id}/table.json"


def caught_up_to(result: TableResult, earlier: Sequence[TableResult]) -> TableResult:
    """The result of a build that first took in `earlier` fetches: what came of them is in its note."""
    if not earlier:
        return result
    said = [
        f"{each.fetch_id} ({each.accepted} rows)" if not each.blocked else f"{each.fetch_id} (refused: {_names(each.blocked)})"
        for each in earlier
    ]
    note = f"took in first what an interrupted run had left: {'; '.join(said)}"
    return replace(
        result,
        changed=result.changed or any(each.changed for each in earlier),
        note="; ".join(text for text in (note, result.note) if text),
    )


def _names(checks: Sequence[CheckResult]) -> str:
    return ", ".join(check.name for check in checks)


def preview(feed: Feed, accepted: Path) -> tuple[dict[str, Any], ...]:
    cleared = [column.name for column in feed.contract.columns if column.cleared]
    if not cleared:
        return ()
    with duckdb.connect() as connection:
        query = f"SELECT {listed([ident(name) for name in cleared])} FROM {sql.parquet(accepted)} LIMIT {PREVIEW_ROWS}"
        rows = connection.execute(query).fetchall()
    return tuple(dict(zip(cleared, row, strict=True)) for row in rows)


def report(result: TableResult, now: datetime) -> dict[str, Any]:
    """The verdict of the run as the store keeps it, of refused fetches too. No row's value is in it."""
    return {
        "feed": result.feed,
        "fetch_id": result.fetch_id,
        "partition": result.partition,
        "origin": result.origin,
        "at": now.astimezone(UTC).isoformat(),
        "contract_sha256": result.contract_sha256,
        "blocked": [check.name for check in result.blocked],
        "rows": {
            "read": result.rows_read,
            "accepted": result.accepted,
            "quarantined": result.quarantined,
            "live": result.rows,
        },
        "quarantined_by_rule": result.by_rule,
        "changes": result.changes.as_json(),
        "changed": result.changed,
        "checks": [check.as_json() for check in result.checks],
        "encoding": result.encoding,
        "unknown_columns": list(result.unknown_columns),
        "missing_columns": list(result.missing_columns),
        "files": [file.model_dump(mode="json") for file in result.files],
        "quarantine_files": [file.model_dump(mode="json") for file in result.quarantine_files],
        "note": result.note,
    }
