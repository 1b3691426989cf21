"""Merging: the accepted rows of one fetch against the live table, record by record.

Added, revised, withdrawn or unchanged; an unchanged record keeps its provenance, so `_fetched_at` says when its content was first
seen. Judging rows is `judging.py`; where the live files are and which are live next is `index.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from assets.errors import IntegrityError
from assets.tables import sql
from assets.tables.judging import alias_ids
from assets.tables.rows import ROW
from assets.tables.sql import ident, listed, literal
from quality.verdict import CheckResult

if TYPE_CHECKING:
    from assets.feeds.model import Feed

LID = "_live_id"
"""Number of a live row within one merge: file, then row in the file."""


@dataclass(frozen=True)
class Changes:
    """Records by what happened to them. `unchanged` counts the rest of the live table, vanished ones that stay included."""

    added: int = 0
    revised: int = 0
    withdrawn: int = 0
    unchanged: int = 0

    @property
    def any(self) -> bool:
        return bool(self.added or self.revised or self.withdrawn)

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Merged:
    """`table`: the whole new table, `changes`: the changed records with `_change`; both None when nothing changed."""

    table: Path | None
    changes: Path | None
    counts: Changes
    rows_before: int
    rows_after: int
    shrink_guard: CheckResult


def merge(
    feed: Feed,
    accepted: Path,
    live: Sequence[Path],
    workdir: Path,
    *,
    older: bool = False,
    first: bool = False,
    threads: int = sql.DEFAULT_THREADS,
    memory_limit: str = sql.DEFAULT_MEMORY,
) -> Merged:
    """Merge `accepted` into the `live` files. `older`: the fetch is earlier than what is live, so live records win.

    `first`: there is no table yet, so one is written even when it has no rows. Same input, same bytes.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    width = len(sql.table_columns(feed))
    with sql.connect(workdir, threads=threads, memory_limit=memory_limit, columns=width) as connection:
        _views(connection, feed, accepted, live)
        _decide(connection, feed, older, bool(live))
        tally = dict(connection.execute("SELECT change, count(*) FROM decided GROUP BY 1").fetchall())
        before = _count(connection, "live")
        counts = Changes(
            added=tally.get("added", 0),
            revised=tally.get("revised", 0),
            withdrawn=tally.get("withdrawn", 0),
            unchanged=tally.get("unchanged", 0) + tally.get("kept", 0),
        )
        after = before + counts.added - counts.withdrawn
        guard = shrink_guard(feed, before, after)
        if not counts.any and not first:
            return Merged(None, None, counts, before, before, guard)
        table, changes = workdir / "table.parquet", workdir / "changes.parquet"
        written = (_write if live else _write_first)(connection, feed, table, changes)
        if written != after:
            raise IntegrityError(f"{after} records follow from the changes, {written} were written", where=feed.id)
        return Merged(table, changes, counts, before, after, guard)


def _views(connection: duckdb.DuckDBPyConnection, feed: Feed, accepted: Path, live: Sequence[Path]) -> None:
    """Views: `fresh` rows, those that are `gone` by their own mark, and the `live` ones, numbered."""
    dead = _tombstone(feed)
    connection.execute(f"CREATE TEMP VIEW fresh AS SELECT * FROM {sql.parquet(accepted)} WHERE NOT {dead}")
    connection.execute(f"CREATE TEMP VIEW gone AS SELECT * FROM {sql.parquet(accepted)} WHERE {dead}")
    numbered = "hive_partitioning = false, file_row_number = true"
    parts = [
        f"SELECT *, file_row_number + {i << 40} AS {LID} FROM read_parquet({sql.path_literal(path)}, {numbered})"
        for i, path in enumerate(live)
    ]
    empty = listed([f"NULL::{kind} AS {ident(name)}" for name, kind in sql.table_columns(feed).items()])
    connection.execute(f"CREATE TEMP VIEW live AS {' UNION ALL '.join(parts) or f'SELECT {empty}, 0::BIGINT AS {LID} WHERE false'}")


def _tombstone(feed: Feed) -> str:
    """SQL condition: the row says of itself that it is deleted."""
    if feed.deletes_mode != "tombstone":
        return "false"
    values = listed([literal(value) for value in feed.deletes.values])
    return f"coalesce(CAST({ident(str(feed.deletes.column))} AS VARCHAR) IN ({values}), false)"


def _decide(connection: duckdb.DuckDBPyConnection, feed: Feed, older: bool, any_live: bool) -> None:
    """Table `decided(fresh_row, live_id, change)`: one line for every live and every fresh record that matters."""
    if not any_live:
        connection.execute(
            f"CREATE TEMP TABLE decided AS SELECT {ROW} AS fresh_row, NULL::BIGINT AS live_id, 'added' AS change FROM fresh"
        )
        return
    vanished = "withdrawn" if feed.deletes_mode == "snapshot_diff" and not older else "kept"
    differs = "unchanged" if older else "revised"
    if feed.contract.key:
        names = [ident(name) for name in feed.contract.key]
        fresh = f"SELECT {listed(names)}, {ROW} AS _fresh, _row_hash AS _hash FROM fresh"
        current = f"SELECT {listed(names)}, {LID} AS _live, _row_hash AS _hash FROM live"
        same = " AND ".join(f"f.{name} = l.{name}" for name in names)
    else:
        # Without a key a row is its content, and equal rows are told apart by how many of them there are.
        count = "row_number() OVER (PARTITION BY _row_hash ORDER BY {order}) AS _nth, _row_hash AS _hash"
        fresh = f"SELECT {ROW} AS _fresh, {count.format(order=ROW)} FROM fresh"
        current = f"SELECT {LID} AS _live, {count.format(order=LID)} FROM live"
        same = "f._hash = l._hash AND f._nth = l._nth"
    connection.execute(
        f"CREATE TEMP TABLE decided AS SELECT _fresh AS fresh_row, _live AS live_id, CASE WHEN _live IS NULL THEN 'added' "
        f"WHEN _fresh IS NULL THEN '{vanished}' WHEN f._hash = l._hash THEN 'unchanged' ELSE '{differs}' END AS change "
        f"FROM ({fresh}) f FULL JOIN ({current}) l ON {same}"
    )
    if feed.incremental.aliases and feed.contract.key:
        _decide_aliases(connection, feed, older)
    if feed.deletes_mode == "tombstone" and not older:
        same = " AND ".join(f"gone.{name} = live.{name}" for name in (ident(name) for name in feed.contract.key))
        _withdraw(connection, f"SELECT live.{LID} FROM live JOIN gone ON {same}")
        if feed.incremental.aliases and len(feed.contract.key) == 1:
            # The deleted record may have gone by another id when it was live. One that only shares an id with it lives on.
            ids = f"SELECT unnest({alias_ids(feed)}) AS id FROM gone"
            key = f"CAST({ident(feed.contract.key[0])} AS VARCHAR)"
            _withdraw(connection, f"SELECT {LID} FROM live WHERE {key} IN ({ids})")


def _withdraw(connection: duckdb.DuckDBPyConnection, live: str) -> None:
    """Mark the live records that a query names as withdrawn, unless this fetch brings them too."""
    connection.execute(f"UPDATE decided SET change = 'withdrawn' WHERE fresh_row IS NULL AND live_id IN ({live})")


def _decide_aliases(connection: duckdb.DuckDBPyConnection, feed: Feed, older: bool) -> None:
    """Records that share an id with a fresh one are the same record: it takes their place.

    One of them is revised by it (that of the same key, else the first); the others, now merged into it, are withdrawn.
    """
    ids = alias_ids(feed)
    connection.execute(
        "CREATE TEMP TABLE sharing AS SELECT DISTINCT f.fresh_row, l.live_id FROM "
        f"(SELECT {ROW} AS fresh_row, unnest({ids}) AS id FROM fresh) f JOIN "
        f"(SELECT {LID} AS live_id, unnest({ids}) AS id FROM live) l USING (id) "
    )
    if older:
        connection.execute("DELETE FROM decided WHERE change = 'added' AND fresh_row IN (SELECT fresh_row FROM sharing)")
        return
    # A live record whose own key is fresh belongs to that one.
    connection.execute(
        "DELETE FROM sharing WHERE live_id IN (SELECT live_id FROM decided WHERE live_id IS NOT NULL AND fresh_row IS NOT NULL)"
    )
    connection.execute(
        "CREATE TEMP TABLE taken AS WITH owned AS (SELECT live_id, min(fresh_row) AS fresh_row FROM sharing GROUP BY live_id) "
        "SELECT live_id, fresh_row, change = 'added' AND row_number() OVER (PARTITION BY fresh_row ORDER BY live_id) = 1 AS leads "
        "FROM owned JOIN (SELECT fresh_row, change FROM decided WHERE fresh_row IS NOT NULL) USING (fresh_row)"
    )
    connection.execute(
        "UPDATE decided SET change = 'revised', live_id = taken.live_id FROM taken "
        "WHERE taken.leads AND decided.fresh_row = taken.fresh_row"
    )
    connection.execute("DELETE FROM decided WHERE fresh_row IS NULL AND live_id IN (SELECT live_id FROM taken WHERE leads)")
    connection.execute(
        "UPDATE decided SET change = 'withdrawn' WHERE fresh_row IS NULL AND live_id IN (SELECT live_id FROM taken WHERE NOT leads)"
    )


def _write_first(connection: duckdb.DuckDBPyConnection, feed: Feed, table: Path, changes: Path) -> int:
    """Both files where nothing is live: every fresh record is one change. One sort of the whole, where two would be costly."""
    columns, width = listed([ident(name) for name in sql.table_columns(feed)]), len(sql.table_columns(feed))
    copied = connection.execute(sql.copy(f"SELECT {columns} FROM fresh ORDER BY {_order(feed)}", table, width)).fetchone()
    connection.execute(sql.copy(f"SELECT 'added' AS _change, {columns} FROM {sql.parquet(table)}", changes, width))
    return int(copied[0]) if copied else 0


def _order(feed: Feed) -> str:
    return listed([ident(name) for name in feed.contract.key] or ["_fetched_at", "_source_id", ROW])


def _write(connection: duckdb.DuckDBPyConnection, feed: Feed, table: Path, changes: Path) -> int:
    columns, width = listed([ident(name) for name in sql.table_columns(feed)]), len(sql.table_columns(feed))
    order = _order(feed)
    stays = f"SELECT {columns} FROM live WHERE {LID} IN (SELECT live_id FROM decided WHERE change IN ('unchanged', 'kept'))"
    comes = f"SELECT {columns} FROM fresh WHERE {ROW} IN (SELECT fresh_row FROM decided WHERE change IN ('added', 'revised'))"
    copied = connection.execute(sql.copy(f"SELECT * FROM ({stays} UNION ALL {comes}) ORDER BY {order}", table, width)).fetchone()
    # Our names begin with _, and no column of a contract does: `change` or `hash` may be one of the agency's.
    decided = "SELECT fresh_row AS _fresh, live_id AS _live, change AS _change FROM decided"
    changed = (
        f"SELECT _change, {columns} FROM fresh JOIN ({decided}) ON {ROW} = _fresh WHERE _change IN ('added', 'revised') "
        f"UNION ALL SELECT _change, {columns} FROM live JOIN ({decided}) ON {LID} = _live WHERE _change = 'withdrawn'"
    )
    connection.execute(sql.copy(f"SELECT * FROM ({changed}) ORDER BY _change, {order}", changes, width))
    return int(copied[0]) if copied else 0


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    found = connection.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return int(found[0]) if found else 0


def shrink_guard(feed: Feed, before: int, after: int) -> CheckResult:
    """Whether the table keeps at least (1 - shrink_guard) of its rows (protocols.md 1.2.6)."""
    lost = (before - after) / before if before else 0.0
    return CheckResult(
        "shrink_guard",
        lost <= feed.deletes.shrink_guard,
        blocking=True,
        observed={"before": before, "after": after, "share_lost": round(max(lost, 0.0), 6)},
        expected=feed.deletes.shrink_guard,
    )
