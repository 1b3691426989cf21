"""The archive played again: one fetch judged from its archived bytes, and a table grown fetch by fetch on the local disk.

And the table as of any day, from the archive alone. No network and no live table is touched. Making a result live is `build.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.archive.fetches import ANSWERING, open_bodies
from assets.errors import MadangError, UnreadableSource
from assets.tables import sql
from assets.tables.index import WHOLE
from assets.tables.judging import JudgeExpectations, Judgement, judge
from assets.tables.merging import merge
from assets.tables.rows import RowStream
from assets.tables.staging import Staged, stage

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord
    from assets.archive.ledger import Ledger
    from assets.feeds.model import Feed
    from assets.store import Store

Progress = Callable[[str, int], None]
"""Called with the step just done (a commit step's name) and the rows that it saw."""


@dataclass(frozen=True)
class Judged:
    staged: Staged
    judgement: Judgement


def judge_fetch(
    feed: Feed,
    record: FetchRecord,
    store: Store,
    ledger: Ledger,
    workdir: Path,
    judge_expectations: JudgeExpectations | None,
    said: Progress,
    limits: dict[str, Any],
) -> Judged:
    """Parse, stage and judge one archived fetch. An Empty fetch is a fetch of no rows."""
    if record.outcome not in ANSWERING:
        raise MadangError(
            f"a fetch that ended {record.outcome} has no rows", where=f"{feed.id} {record.fetch_id}", mend="fetch again"
        )
    stream = RowStream(feed.contract.source_names, iter(()))
    if record.outcome == "Ok":
        bodies = open_bodies(store, ledger, record, workdir / "bodies")
        stream = feed.protocol.parse(feed, feed.source, bodies)
    staged = stage(feed, stream, workdir / "staged.parquet", **limits)
    said("table.staged", staged.rows_read)
    judgement = judge(
        feed,
        staged,
        workdir,
        source_id=record.fetch_id,
        fetched_at=record.finished_at,
        judge_expectations=judge_expectations,
        partition=record.partition,
        **limits,
    )
    said("table.judged", judgement.rows_accepted)
    return Judged(staged, judgement)


@dataclass(frozen=True)
class Replayed:
    """`tables`: origin → the table of its fetches alone. `origin`: of the last fetch that got in; None where none did."""

    tables: dict[str, list[Path]]
    origin: str | None

    @property
    def live(self) -> list[Path]:
        return [] if self.origin is None else self.tables[self.origin]


def replay(
    feed: Feed,
    records: Sequence[FetchRecord],
    store: Store,
    ledger: Ledger,
    workdir: Path,
    judge_expectations: JudgeExpectations | None,
    limits: dict[str, Any],
    *,
    needed: Container[str] = (),
) -> Replayed:
    """The table after these fetches, in order, each judged as it was then: a blocked one leaves it as it was.

    One that cannot be read made no table then, and makes none now; UnreadableSource where it is among `needed`, the fetches
    that live rows came from. A fetch of another origin than the one before starts the table afresh, from those of its own.
    """
    tables: dict[str, list[Path]] = {}
    origin: str | None = None
    for number, record in enumerate(records):
        folder = fresh_folder(workdir / f"replay-{number}")
        try:
            done = judge_fetch(feed, record, store, ledger, folder, judge_expectations, lambda *_: None, limits)
        except UnreadableSource:
            if record.fetch_id in needed:
                raise
            continue
        if not done.judgement.blocked:
            live = tables.get(record.origin, [])
            merged = merge(feed, done.judgement.accepted, live, folder, first=not live, **limits)
            if merged.shrink_guard.passed or record.origin != origin:
                origin = record.origin
                if merged.table is not None:
                    kept = workdir / f"live-{number}.parquet"
                    merged.table.replace(kept)
                    for old in live:
                        old.unlink()
                    tables[origin] = [kept]
        shutil.rmtree(folder)
    return Replayed(tables, origin)


def fresh_folder(folder: Path) -> Path:
    """The folder, empty: what a killed run left there is no part of this one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def history(feed: Feed, ledger: Ledger, partition: str, until: FetchRecord | None, as_of: datetime | None) -> list[FetchRecord]:
    """The partition's fetches that carry an answer, oldest first: before `until`, and finished by `as_of`."""
    answered = ledger.answered(feed.id, None if partition == WHOLE else partition)
    if until is not None:
        answered = [r for r in answered if (r.started_at, r.fetch_id) < (until.started_at, until.fetch_id)]
    if as_of is not None:
        answered = [r for r in answered if r.finished_at <= as_of]
    return answered


def rebuild(
    feed: Feed,
    *,
    as_of: datetime | None,
    store: Store,
    ledger: Ledger,
    workdir: Path,
    into: Path,
    partition: str | None = None,
    judge_expectations: JudgeExpectations | None = None,
    threads: int = sql.DEFAULT_THREADS,
    memory_limit: str = sql.DEFAULT_MEMORY,
) -> list[Path]:
    """The table as it was at `as_of` (None: now), under today's contract, as Parquet files in the folder `into`.

    Replays the archived fetches in order, partition by partition, or those of the one that is named; touches neither the live
    table nor any network. Empty when no fetch had been accepted by then. MadangError where the folder holds a table already: two
    would be read as one.
    """
    if any(into.glob("*.parquet")):
        raise MadangError("the folder holds a table already", where=str(into), mend="name a new folder, or empty this one")
    names = [partition or WHOLE] if partition or feed.partitions is None else fetched_partitions(feed, ledger)
    limits = {"threads": threads, "memory_limit": memory_limit}
    into.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for name in names:
        records = history(feed, ledger, name, None, as_of)
        run = fresh_folder(workdir / "rebuild" / feed.id / name)
        try:
            live = replay(feed, records, store, ledger, run, judge_expectations, limits).live
            made += [Path(shutil.move(path, into / f"part-{len(made) + n:05d}.parquet")) for n, path in enumerate(live)]
        finally:
            shutil.rmtree(run, ignore_errors=True)
    return made


def fetched_partitions(feed: Feed, ledger: Ledger) -> list[str]:
    """The partitions of which there is an answer, oldest first; only those that today's declaration could have."""
    assert feed.partitions is not None
    known = {r.partition for r in ledger.history(feed.id) if r.outcome in ANSWERING and r.partition}
    return sorted(key for key in known if feed.partitions.is_key(feed.schedule, key))
