"""The one judgement over all rows read: what is accepted, what is set aside and why, and whether the table may change.

Row failures (contract, duplicates, row-level expectations) send rows to quarantine; aggregate expectations are then judged over
what was accepted. Typing rows is `staging.py`, expectations are `quality/`, the live table is `merging.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import duckdb
import pyarrow as pa

from assets.errors import IntegrityError
from assets.tables import sql
from assets.tables.rows import ROW
from assets.tables.sql import ident, listed, literal
from assets.tables.staging import Staged
from quality.verdict import CheckResult, ExpectationVerdict

if TYPE_CHECKING:
    from assets.feeds.model import Feed

Stage = Literal["staged", "accepted"]
JudgeExpectations = Callable[["Feed", Path, Stage], ExpectationVerdict]
"""Judges a feed's expectations over a Parquet: row-level ones over all `staged` rows, aggregates over the `accepted`."""

DUPLICATE, SUPERSEDED, CONFLICT = "duplicate_row", "superseded", "key_conflict"
OUTSIDE = "outside_partition"
_REASONS = {
    DUPLICATE: "the same row stands earlier in this fetch",
    SUPERSEDED: "a later version of this record is in the same fetch",
    CONFLICT: "other rows of this fetch have the same identity and other content, and nothing says which is right",
}


@dataclass(frozen=True)
class Judgement:
    """What the judgement found. `accepted`, `quarantine`: Parquet files; `by_rule`: quarantined rows by their first rule.

    `blocked`: the failed checks that forbid the table to change; the caller reports every check, then raises.
    """

    accepted: Path
    quarantine: Path
    rows_read: int
    rows_accepted: int
    rows_quarantined: int
    by_rule: dict[str, int]
    checks: tuple[CheckResult, ...]
    verdicts: tuple[ExpectationVerdict, ...] = ()

    @property
    def blocked(self) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if check.blocking and not check.passed)


def judge(
    feed: Feed,
    staged: Staged,
    workdir: Path,
    *,
    source_id: str,
    fetched_at: datetime,
    judge_expectations: JudgeExpectations | None = None,
    partition: str | None = None,
    threads: int = sql.DEFAULT_THREADS,
    memory_limit: str = sql.DEFAULT_MEMORY,
) -> Judgement:
    """Judge all staged rows. `source_id`, `fetched_at`, `partition`: of the fetch that they came from. IntegrityError where a row
    got lost.
    """
    accepted, quarantine = workdir / "accepted.parquet", workdir / "quarantine.parquet"
    first = judge_expectations(feed, staged.path, "staged") if judge_expectations else None
    width = len(sql.table_columns(feed))
    with sql.connect(workdir, threads=threads, memory_limit=memory_limit, columns=width) as connection:
        connection.execute(f"CREATE TEMP VIEW staged AS SELECT * FROM {sql.parquet(staged.path)}")
        connection.execute('CREATE TEMP TABLE refused (row BIGINT, rule VARCHAR, "column" VARCHAR, reason VARCHAR)')
        if first is not None:
            _refuse_by_expectations(connection, first)
        if partition is not None:
            _refuse_outside(connection, feed, partition)
        if feed.contract.key:
            _refuse_duplicates(connection, feed)
        any_refused = connection.execute("SELECT count(*) > 0 FROM refused").fetchone() == (True,)
        rows_accepted = _write(connection, feed, _accepted_query(feed, source_id, fetched_at, any_refused), accepted)
        rows_quarantined = _write(connection, feed, _quarantine_query(feed, source_id, fetched_at), quarantine)
        rules = connection.execute(
            f"SELECT _rule, count(*) FROM {sql.parquet(quarantine)} GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
    if rows_accepted + rows_quarantined != staged.rows_read:
        raise IntegrityError(
            f"{staged.rows_read} rows were read, {rows_accepted} accepted and {rows_quarantined} quarantined", where=feed.id
        )
    second = judge_expectations(feed, accepted, "accepted") if judge_expectations else None
    verdicts = tuple(verdict for verdict in (first, second) if verdict is not None)
    checks = [
        *_counting_checks(feed, staged, rows_accepted, rows_quarantined, dict(rules).get(SUPERSEDED, 0)),
        *(_settled(check, verdict) for verdict in verdicts for check in verdict.checks),
    ]
    return Judgement(accepted, quarantine, staged.rows_read, rows_accepted, rows_quarantined, dict(rules), tuple(checks), verdicts)


# --- rows that are refused ------------------------------------------------------------------------------------------------


def _refuse_by_expectations(connection: duckdb.DuckDBPyConnection, verdict: ExpectationVerdict) -> None:
    for name, rows in verdict.failing_rows.items():
        check = verdict.check(name)
        failing = pa.table({"row": pa.array(rows, pa.int64())})
        connection.register("failing", failing)
        connection.execute(
            "INSERT INTO refused SELECT DISTINCT row, ?, ?, ? FROM failing",
            [name, check.column, "fails this expectation of the feed"],
        )
        connection.unregister("failing")


def _refuse_outside(connection: duckdb.DuckDBPyConnection, feed: Feed, partition: str) -> None:
    """Refuse rows of another time than the partition's: the agency took no notice of what it was asked for, or revised the time."""
    if feed.partitions is None or feed.partitions.column is None:
        return
    start, end = feed.partitions.span(feed.schedule, partition)
    if isinstance(feed.partitions.column, str):
        name = feed.partitions.column
        dates = feed.contract.column(name).type == "date"
        low, high = (
            (m.replace(tzinfo=None) if dates else m.astimezone(UTC).replace(tzinfo=None)).isoformat(" ") for m in (start, end)
        )
        inside = f"{ident(name)} >= TIMESTAMP '{low}' AND {ident(name)} < TIMESTAMP '{high}'"
    else:
        inside = " AND ".join(
            f"TRY_CAST({ident(name)} AS BIGINT) = {int(text)}" if text.isdecimal() else f"{ident(name)} = {literal(text)}"
            for name, text in feed.partitions.parts(start).items()
        )
    columns, reason = literal(listed(list(feed.partitions.columns))), literal(f"not of the partition {partition}")
    connection.execute(
        f"INSERT INTO refused SELECT {ROW}, '{OUTSIDE}', {columns}, {reason} FROM staged "
        f"WHERE len(_failures) = 0 AND NOT coalesce({inside}, false)"
    )


def _refuse_duplicates(connection: duckdb.DuckDBPyConnection, feed: Feed) -> None:
    """Settle rows that claim one identity: the same content once, else the greatest cursor, else none of them."""
    key = listed([ident(name) for name in feed.contract.key])
    cursor = ident(feed.incremental.cursor) if feed.incremental.cursor else "NULL"
    sound = f"SELECT staged.* FROM staged ANTI JOIN refused ON {ROW} = refused.row WHERE len(_failures) = 0"
    connection.execute(
        f"CREATE TEMP TABLE claims AS SELECT {ROW} AS row, {sql.row_hash(feed)} AS hash, {cursor} AS cursor, "
        f"dense_rank() OVER (ORDER BY {key}) AS identity FROM ({sound}) "
        f"WHERE ({key}) IN (SELECT ({key}) FROM ({sound}) GROUP BY {key} HAVING count(*) > 1)"
    )
    if feed.incremental.aliases:
        groups = _alias_groups(connection, feed, sound)
        rows = pa.table({"_row": pa.array(groups.keys(), pa.int64()), "_identity": pa.array(groups.values(), pa.int64())})
        connection.register("grouped", rows)
        # Aliases include the key, so their groups hold every claim by key too.
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE claims AS SELECT {ROW} AS row, {sql.row_hash(feed)} AS hash, "
            f"{cursor} AS cursor, _identity AS identity FROM staged JOIN grouped ON {ROW} = _row"
        )
        connection.unregister("grouped")
    rule = f"CASE WHEN rivals = 1 THEN NULL ELSE '{CONFLICT}' END"
    if feed.incremental.cursor:
        rule = f"CASE WHEN rivals = 1 OR place = 1 AND ties = 1 THEN NULL WHEN place = 1 THEN '{CONFLICT}' ELSE '{SUPERSEDED}' END"
    connection.execute(
        "CREATE TEMP TABLE settled AS "
        f"WITH copies AS (SELECT *, row_number() OVER (PARTITION BY identity, hash ORDER BY row) AS copy FROM claims), "
        "rivals AS (SELECT *, count(*) OVER (PARTITION BY identity) AS rivals, "
        "rank() OVER (PARTITION BY identity ORDER BY cursor DESC NULLS LAST) AS place, "
        "count(*) OVER (PARTITION BY identity, cursor) AS ties FROM copies WHERE copy = 1) "
        f"SELECT row, '{DUPLICATE}' AS rule FROM copies WHERE copy > 1 UNION ALL SELECT row, {rule} FROM rivals"
    )
    column = literal(listed(list(feed.contract.key)))
    reason = " ".join(f"WHEN '{name}' THEN {literal(text)}" for name, text in _REASONS.items())
    connection.execute(
        f"INSERT INTO refused SELECT row, rule, {column}, CASE rule {reason} END FROM settled WHERE rule IS NOT NULL"
    )


def _alias_groups(connection: duckdb.DuckDBPyConnection, feed: Feed, sound: str) -> dict[int, int]:
    """Rows whose ids overlap, directly or through others, by the least row of their group. Rows on their own are left out."""
    query = (
        f"WITH named AS (SELECT {ROW} AS row, {alias_ids(feed)} AS ids FROM ({sound})), "
        "pairs AS (SELECT row, unnest(ids) AS id FROM named) "
        "SELECT list(row ORDER BY row) FROM pairs GROUP BY id HAVING count(DISTINCT row) > 1"
    )
    return united(rows for (rows,) in connection.execute(query).fetchall())


def alias_ids(feed: Feed) -> str:
    """SQL list of all ids of a row: its own key (where that is one column) and what the alias column lists."""
    aliases = ident(str(feed.incremental.aliases))
    own = f"[CAST({ident(feed.contract.key[0])} AS VARCHAR)]" if len(feed.contract.key) == 1 else "[]"
    split = f"list_transform(string_split(coalesce({aliases}, ''), ','), a -> trim(a))"
    return f"list_distinct(list_filter(list_concat({own}, {split}), a -> a <> ''))"


def united(groups: Iterable[list[int]]) -> dict[int, int]:
    """Union of overlapping groups: every member's representative, the least of its component."""
    parent: dict[int, int] = {}

    def root(member: int) -> int:
        while parent.setdefault(member, member) != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for group in groups:
        for member in group[1:]:
            low, high = sorted((root(group[0]), root(member)))
            parent[high] = low
    return {member: root(member) for member in sorted(parent)}


# --- the two files --------------------------------------------------------------------------------------------------------


def _write(connection: duckdb.DuckDBPyConnection, feed: Feed, query: str, out: Path) -> int:
    copied = connection.execute(sql.copy(query, out, len(sql.table_columns(feed)))).fetchone()
    return int(copied[0]) if copied else 0


def _stamp(source_id: str, fetched_at: datetime) -> tuple[str, str]:
    moment = fetched_at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
    return literal(source_id), f"TIMESTAMP '{moment}'"


def _accepted_query(feed: Feed, source_id: str, fetched_at: datetime, any_refused: bool) -> str:
    source, moment = _stamp(source_id, fetched_at)
    columns = listed([ident(name) for name in sql.data_columns(feed)])
    return (
        f"SELECT {columns}, {source} AS _source_id, {ROW}, {moment} AS _fetched_at, {sql.row_hash(feed)} AS _row_hash "
        f"FROM staged {f'ANTI JOIN refused ON {ROW} = refused.row' if any_refused else ''} WHERE len(_failures) = 0"
    )


def _quarantine_query(feed: Feed, source_id: str, fetched_at: datetime) -> str:
    source, moment = _stamp(source_id, fetched_at)
    columns = listed([ident(column.name) for column in feed.contract.columns])
    late = (
        'SELECT row AS _late_row, list(struct_pack(rule := rule, "column" := "column", reason := reason) ORDER BY rule, "column") '
        "AS _late FROM refused GROUP BY row"
    )
    every = f"list_concat(_failures, coalesce(_late, CAST([] AS {sql.FAILURES_TYPE})))"
    return (
        f"SELECT {columns}, {source} AS _source_id, {ROW}, {moment} AS _fetched_at, _every[1].rule AS _rule, "
        f"_every[1].reason AS _reason, _every AS _failures, _raw FROM (SELECT * EXCLUDE (_failures), {every} AS _every FROM staged "
        f"LEFT JOIN ({late}) ON {ROW} = _late_row WHERE len(_failures) > 0 OR _late IS NOT NULL) ORDER BY {ROW}"
    )


# --- checks ---------------------------------------------------------------------------------------------------------------


def _counting_checks(feed: Feed, staged: Staged, accepted: int, quarantined: int, superseded: int) -> list[CheckResult]:
    """The gates that count. Superseded rows are sound: they are set aside, and are none of the share that stops a table."""
    contract, read = feed.contract, staged.rows_read
    refused = quarantined - superseded
    share = refused / read if read else 0.0
    unknown = staged.unknown_columns if contract.unknown_columns == "freeze" else ()
    missing = staged.missing_columns if contract.missing_columns == "freeze" else ()
    return [
        CheckResult(
            "accounted_for",
            accepted + quarantined == read,
            blocking=True,
            observed=accepted + quarantined,
            expected=read,
            element_count=read,
        ),
        CheckResult("row_count_at_least", read >= contract.min_rows, blocking=True, observed=read, expected=contract.min_rows),
        CheckResult(
            "quarantine_within_bound",
            share <= contract.max_quarantine,
            blocking=True,
            observed=round(share, 6),
            expected=contract.max_quarantine,
            unexpected_count=refused,
            element_count=read,
            note=f"{superseded} superseded rows do not count" if superseded else "",
        ),
        CheckResult(
            "columns_as_promised",
            not unknown and not missing,
            blocking=True,
            observed={"unknown": list(staged.unknown_columns), "missing": list(staged.missing_columns)},
            expected={"unknown_columns": contract.unknown_columns, "missing_columns": contract.missing_columns},
        ),
    ]


def _settled(check: CheckResult, verdict: ExpectationVerdict) -> CheckResult:
    """A row-level check whose failing rows are all in quarantine no longer blocks: the bound on the quarantine does."""
    if check.name in verdict.failing_rows and check.name not in verdict.truncated:
        return replace(check, blocking=False, note=check.note or "its failing rows are in quarantine")
    return check
