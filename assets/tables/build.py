"""From a fetch in the archive to the live table: parse, stage, judge, merge, upload, swap. The table as of any day is `replay.py`.

Killed anywhere, the table is the old or the new one, and running again finishes: objects are named by their content, and the
index is swapped last. Each stage's own rules are in its own module.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.commit import reached
from assets.errors import IntegrityError, StoreConflict, UnreadableSource
from assets.protocols.kernel import SourceBase
from assets.store import file_sha256
from assets.tables import sql
from assets.tables.expectations import write_docs
from assets.tables.index import (
    KEPT_VERSIONS,
    WHOLE,
    DataFile,
    Partition,
    Quarantine,
    TableIndex,
    index_key,
    read_index,
    swap_partition,
)
from assets.tables.judging import JudgeExpectations
from assets.tables.merging import Changes, Merged, merge, shrink_guard
from assets.tables.missed import missed
from assets.tables.replay import Judged, Progress, fresh_folder, history, judge_fetch, replay
from assets.tables.report import TableResult, caught_up_to, preview, report, report_key
from quality.verdict import CheckResult

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord
    from assets.archive.ledger import Ledger
    from assets.feeds.model import Feed
    from assets.feeds.partitions import Partitions
    from assets.store import Store

SWAP_ATTEMPTS = 3
_ORIGINS = ("agency", "replay", "synthetic")
_WORDING = {"title_ko", "title_en", "description", "unit", "cleared"}
"""What a column says for readers: changing it changes no row."""


def contract_digest(feed: Feed) -> str:
    """SHA-256 of everything declared that decides which rows the table has and what they hold."""
    source = feed.source.model_dump(mode="json", exclude=set(SourceBase.model_fields) - {"protocol"})
    columns = [column.model_dump(mode="json", exclude=_WORDING) for column in feed.contract.columns]
    declared = {
        "columns": columns,
        "key": feed.contract.key,
        "decode": feed.decode.model_dump(mode="json"),
        "incremental": feed.incremental.model_dump(mode="json"),
        "deletes": feed.deletes_mode,
        **({"tombstone": [feed.deletes.column, *feed.deletes.values]} if feed.deletes_mode == "tombstone" else {}),
        "expectations": [expectation.model_dump(mode="json") for expectation in feed.expectations],
        "source": source,
        **({"partitions": _deciding(feed, feed.partitions)} if feed.partitions else {}),
    }
    return hashlib.sha256(json.dumps(declared, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _deciding(feed: Feed, partitions: Partitions) -> dict[str, Any]:
    """What of the partitions decides which rows one holds; where they start, and when they are asked for, does not."""
    return {"zone": str(partitions.zone(feed.schedule)), **partitions.model_dump(mode="json", include={"every", "column"})}


def is_current(feed: Feed, record: FetchRecord, store: Store) -> bool:
    """Whether the live table already holds this fetch's bytes, read under today's contract."""
    index = read_index(store, feed.id)
    part = index.partitions.get(record.partition or WHOLE) if index else None
    if part is None or part.contract_sha256 != contract_digest(feed) or part.origin != record.origin:
        return False
    return part.last_fetch_id == record.fetch_id or record.body_fetch_id in (part.last_fetch_id, part.last_body_fetch_id)


def build_table(
    feed: Feed,
    record: FetchRecord,
    *,
    store: Store,
    ledger: Ledger,
    workdir: Path,
    now: datetime,
    judge_expectations: JudgeExpectations | None = None,
    progress: Progress | None = None,
    force: bool = False,
    threads: int = sql.DEFAULT_THREADS,
    memory_limit: str = sql.DEFAULT_MEMORY,
) -> TableResult:
    """Bring the feed's table up to this archived fetch. Never raises for a refusal: see `TableResult.raise_if_blocked`.

    Earlier fetches that a killed run archived and built nothing from go in first. Building again from a fetch that is already in
    changes nothing. Under a changed contract, or with `force`, the partition is rebuilt from all its archived fetches. A fetch
    older than the live table only adds what an upsert feed lacks. A fetch of another origin starts the table afresh, from the
    fetches of its own origin: no made-up row stands beside an agency's.
    """

    def said(step: str, rows: int) -> None:
        reached(step)
        if progress is not None:
            progress(step, rows)

    limits = {"threads": threads, "memory_limit": memory_limit}
    digest = contract_digest(feed)
    index = read_index(store, feed.id)
    _same_partitions(feed, record, index)
    record = _latest_if_rebuilding(feed, record, index, ledger, force)

    def build(fetch: FetchRecord) -> TableResult:
        run = fresh_folder(workdir / "build" / feed.id / fetch.fetch_id)
        try:
            done = judge_fetch(feed, fetch, store, ledger, run, judge_expectations, said, limits)
            write_docs(store, feed, fetch, done.judgement.verdicts, run)
            return _swapped(_Build(feed, fetch, store, ledger, run, now, done, judge_expectations, said, force, limits))
        finally:
            shutil.rmtree(run, ignore_errors=True)

    # A rebuild, and a table started afresh, take in every archived fetch by themselves.
    caught_up = []
    for fetch in missed(feed, record, digest, store, ledger, rebuilding=force):
        try:
            caught_up.append(build(fetch))
        except UnreadableSource:
            # It made no table then and makes none now; its own run has failed and said why.
            continue
    return caught_up_to(build(record), caught_up)


def _swapped(build: _Build) -> TableResult:
    for attempt in range(SWAP_ATTEMPTS):
        try:
            return build.attempt()
        except StoreConflict:
            # Somebody else moved the index: merge again, with what is live now.
            if attempt == SWAP_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _latest_if_rebuilding(feed: Feed, record: FetchRecord, index: TableIndex | None, ledger: Ledger, force: bool) -> FetchRecord:
    """A rebuild takes in every archived fetch, so it ends with the latest that is live, whichever was asked for."""
    part = index.partitions.get(record.partition or WHOLE) if index else None
    if part is None or part.comes_before(record) or not (force or part.contract_sha256 != contract_digest(feed)):
        return record
    return ledger.fetch(part.last_fetch_id) or record


@dataclass(frozen=True)
class _Build:
    """One build after the judgement: what is decided against the live index, again when the index moved meanwhile."""

    feed: Feed
    record: FetchRecord
    store: Store
    ledger: Ledger
    run: Path
    now: datetime
    done: Judged
    judge_expectations: JudgeExpectations | None
    said: Progress
    force: bool
    limits: dict[str, Any]

    @property
    def partition(self) -> str:
        return self.record.partition or WHOLE

    def attempt(self) -> TableResult:
        record, judgement = self.record, self.done.judgement
        index = read_index(self.store, self.feed.id)
        part = index.partitions.get(self.partition) if index else None
        refused = judgement.rows_quarantined
        quarantine = self._upload("quarantine", judgement.quarantine, refused) if refused else ()
        if judgement.blocked:
            return self._result(part, quarantine, Changes(), judgement.checks)
        rebuilding = part is not None and (self.force or part.contract_sha256 != contract_digest(self.feed))
        afresh = part is not None and part.origin != record.origin
        if part is not None and part.last_fetch_id == record.fetch_id and not rebuilding and not afresh:
            same = Changes(**part.changes) if part.fetch_id == record.fetch_id else Changes(unchanged=part.rows)
            return self._result(part, quarantine, same, judgement.checks, note="this fetch is already in the table")
        older = part is not None and not rebuilding and part.last_fetch_id != record.fetch_id and not part.comes_before(record)
        if older and (self.feed.incremental.kind == "full" or afresh):
            return self._result(part, quarantine, Changes(), judgement.checks, note="the live table is of a later fetch")
        merged = self._merged(part, older, rebuilding, afresh)
        checks = (*judgement.checks, merged.shrink_guard)
        if not merged.shrink_guard.passed:
            return self._result(part, quarantine, merged.counts, checks)
        return self._publish(part, merged, quarantine, checks, older)

    def _merged(self, part: Partition | None, older: bool, rebuilding: bool, afresh: bool) -> Merged:
        """Merge with what is live, or, to rebuild or start afresh, with the archive replayed up to this fetch."""
        folder = fresh_folder(self.run / "merge")
        live = [self.store.local_path(file.key, self.run / "live") for file in part.files] if part is not None else []
        if rebuilding or afresh:
            needed = set() if afresh else self._required_history(live)
            records = history(self.feed, self.ledger, self.partition, self.record, None)
            replayed = replay(
                self.feed, records, self.store, self.ledger, folder, self.judge_expectations, self.limits, needed=needed
            )
            live = replayed.tables.get(self.record.origin, [])
        first = part is None or rebuilding or afresh
        accepted = self.done.judgement.accepted
        merged = merge(self.feed, accepted, live, folder / "new", older=older, first=first, **self.limits)
        if part is None or not (rebuilding or afresh):
            return merged
        if afresh:
            # Rows of another origin are not missed: they were never this table's.
            guard = shrink_guard(self.feed, part.rows, merged.rows_after)
            return replace(merged, shrink_guard=replace(guard, passed=True, note=_started_afresh(part, self.record)))
        if merged.table is not None and [file_sha256(merged.table)] == [file.sha256 for file in part.files]:
            # The very same rows: a rebuild that finds nothing to mend makes no new table.
            merged = replace(merged, table=None, changes=None, counts=Changes(unchanged=part.rows))
        return replace(merged, shrink_guard=shrink_guard(self.feed, part.rows, merged.rows_after))

    def _publish(
        self,
        part: Partition | None,
        merged: Merged,
        quarantine: tuple[DataFile, ...],
        checks: tuple[CheckResult, ...],
        older: bool,
    ) -> TableResult:
        record, digest = self.record, contract_digest(self.feed)
        held = Quarantine(files=quarantine, rows=self.done.judgement.rows_quarantined)
        latest: dict[str, Any] = {
            "last_fetch_id": record.fetch_id,
            "last_body_fetch_id": record.body_fetch_id,
            "last_started_at": record.started_at,
        }
        if older and part is not None:
            latest = {name: getattr(part, name) for name in latest}
            held = part.quarantine
        if merged.table is None or merged.changes is None:
            assert part is not None
            fresh = part.model_copy(update={"quarantine": held, "contract_sha256": digest, **latest} if not older else {})
        else:
            files = self._upload("tables", merged.table, merged.rows_after)
            changed = self._upload("tables", merged.changes, _rows(merged.counts), name="changes")
            history = (part.as_version(), *part.previous)[:KEPT_VERSIONS] if part else ()
            fresh = Partition(
                fetch_id=record.fetch_id,
                origin=self._origin(merged.table, part),
                updated_at=self.now.astimezone(UTC),
                contract_sha256=digest,
                files=files,
                rows=merged.rows_after,
                quarantine=held,
                changes=merged.counts.as_json(),
                changed_files=changed,
                previous=history,
                **latest,
            )
        self.said("table.uploaded", merged.rows_after)
        changed_now = merged.table is not None

        def renewed(index: TableIndex | None) -> TableIndex:
            others = index.partitions if index else {}
            return TableIndex(
                feed=self.feed.id,
                contract_sha256=digest,
                updated_at=self.now.astimezone(UTC) if changed_now or index is None else index.updated_at,
                fetch_id=record.fetch_id if changed_now or index is None else index.fetch_id,
                origin=_least_trusted([fresh.origin, *(p.origin for name, p in others.items() if name != self.partition)]),
                confirmed_at=max(record.finished_at, index.confirmed_at) if index else record.finished_at,
                partitions={**others, self.partition: fresh},
            )

        swap_partition(self.store, self.feed.id, self.partition, part, renewed)
        self.said("table.swapped", merged.rows_after)
        note = _started_afresh(part, record) if part is not None and part.origin != record.origin else ""
        return self._result(fresh, quarantine, merged.counts, checks, changed=changed_now, note=note)

    def _origin(self, table: Path, part: Partition | None) -> str:
        """The least trusted origin of the fetches that the rows came from; of this fetch where there are no rows."""
        known = {record.fetch_id: record.origin for record in self.ledger.history(self.feed.id)}
        # A fetch that the ledger lost is as little to be trusted as what it went into.
        lost = part.origin if part else self.record.origin
        return _least_trusted([known.get(source, lost) for source in self._sources([table])] or [self.record.origin])

    def _sources(self, table: list[Path]) -> set[str]:
        """The fetches that the rows came from."""
        with sql.connect(self.run / "sources", **self.limits) as connection:
            found = connection.execute(f"SELECT DISTINCT _source_id FROM {sql.parquet(*table)}").fetchall()
        return {source for (source,) in found}

    def _required_history(self, live: list[Path]) -> set[str]:
        """The fetches that live rows came from. Without one of them no rebuild: its rows would be gone, and nobody told."""
        sources = self._sources(live) if live else set()
        lost = sources - {record.fetch_id for record in self.ledger.history(self.feed.id)}
        if lost:
            raise IntegrityError(
                f"the ledger lacks {len(lost)} of the fetches that its rows came from, the first {min(lost)}",
                where=f"table {self.feed.id}",
                mend="madang doctor --reindex brings them back from the archive; then run it again",
            )
        return sources

    def _upload(self, place: str, path: Path, rows: int, *, name: str = "part-00000") -> tuple[DataFile, ...]:
        """Put one file under a name that carries its content, so that no name is ever written with two contents."""
        digest = file_sha256(path)
        key = f"{place}/{self.feed.id}/{self.partition}/{self.record.fetch_id}/{name}-{digest[:16]}.parquet"
        size = path.stat().st_size
        if not self.store.exists(key) or self.store.size(key) != size:
            self.store.put_file(key, path)
        return (DataFile(key=key, rows=rows, bytes=size, sha256=digest),)

    def _result(
        self,
        part: Partition | None,
        quarantine: tuple[DataFile, ...],
        changes: Changes,
        checks: tuple[CheckResult, ...],
        *,
        changed: bool = False,
        note: str = "",
    ) -> TableResult:
        judgement, staged = self.done.judgement, self.done.staged
        result = TableResult(
            feed=self.feed.id,
            fetch_id=self.record.fetch_id,
            partition=self.partition,
            origin=self.record.origin,
            contract_sha256=contract_digest(self.feed),
            rows_read=judgement.rows_read,
            accepted=judgement.rows_accepted,
            quarantined=judgement.rows_quarantined,
            by_rule=judgement.by_rule,
            rows=part.rows if part else 0,
            changes=changes,
            changed=changed,
            checks=checks,
            encoding=staged.encoding,
            unknown_columns=staged.unknown_columns,
            missing_columns=staged.missing_columns,
            preview=preview(self.feed, judgement.accepted),
            files=part.files if part else (),
            quarantine_files=quarantine,
            report_key=report_key(self.feed.id, self.record.fetch_id),
            note=note,
        )
        self.store.put_json(result.report_key, report(result, self.now))
        return result


def _same_partitions(feed: Feed, record: FetchRecord, index: TableIndex | None) -> None:
    """IntegrityError where fetch or table have partitions of another kind than the feed: rows would stand in the table twice."""

    def ours(name: str) -> bool:
        if feed.partitions is None:
            return name == WHOLE
        return name != WHOLE and feed.partitions.is_key(feed.schedule, name)

    strange = [name for name in (record.partition or WHOLE, *(index.partitions if index else ())) if not ours(name)]
    if not strange:
        return
    was = "without partitions" if strange[0] == WHOLE else f"with partitions like {strange[0]}"
    raise IntegrityError(
        f"its table was made {was}, and rows fetched otherwise would stand beside them",
        where=f"table {feed.id}",
        mend=f"give the changed feed another id, or move {index_key(feed.id)} away and fetch again",
    )


def _rows(counts: Changes) -> int:
    return counts.added + counts.revised + counts.withdrawn


def _started_afresh(part: Partition, record: FetchRecord) -> str:
    return f"started afresh: the origin changed from {part.origin} to {record.origin}"


def _least_trusted(origins: list[str]) -> str:
    return max(origins, key=_ORIGINS.index)
