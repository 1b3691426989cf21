"""The kernel's loop: one fetch of one feed, from plan to ledger row, the same for every protocol.

Order of commit: the WARC is closed in the spool, uploaded to the store, then the ledger row makes it true. A crash before the
row leaves at most an object that nobody refers to. Asking one question is `asking.py`, paging arithmetic `pacing.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from assets.archive.fetches import FetchRecord, archive_fetch, new_fetch_id
from assets.archive.records import StoredBody
from assets.feeds.model import Feed
from assets.garbage import collected_rarely
from assets.protocols.ahead import Ahead, OutOfStep
from assets.protocols.asking import Answer, Asker, Clock, FetchCancelled, FetchDeps, Lane, Progress, SystemClock
from assets.protocols.failing import Stopped, failure_of
from assets.protocols.keeping import Keeper
from assets.protocols.kernel import (
    BadRequest,
    Body,
    Cursor,
    Empty,
    Malformed,
    NotModified,
    Ok,
    Outcome,
    PageInfo,
    Request,
    Step,
    Validators,
    When,
)
from assets.protocols.pacing import Broken, Done, Next, Paging, Restart
from assets.protocols.spool import spool_folder
from assets.tables.rows import Tally
from assets.transport.schemes import Transport
from assets.transport.secrets import Secrets

_UNCONDITIONAL = Validators()
MOST_SPLITS = 50
"""Splits in a row, each into halves at least: what is still too large after so many does not become smaller by splitting."""

__all__ = ["Clock", "FetchCancelled", "FetchDeps", "Progress", "SystemClock", "fetch", "run_fetch"]


def run_fetch(feed: Feed, *, partition: str | None = None, deps: FetchDeps, now: datetime | None = None) -> FetchRecord:
    """`fetch`, for callers without an event loop."""
    with collected_rarely():
        return asyncio.run(fetch(feed, partition=partition, deps=deps, now=now))


async def fetch(feed: Feed, *, partition: str | None = None, deps: FetchDeps, now: datetime | None = None) -> FetchRecord:
    """Pull one feed (one partition of it) and archive what came.

    `now`: the moment that the plan is made for; default: the clock's. Returns the record of an Ok, Empty or NotModified fetch.
    Raises FetchFailed after the failed fetch, too, has been archived and recorded; SettingsError before anything is sent when
    a secret is missing; DeclarationError where there is no such partition; FetchCancelled.
    """
    now = now or deps.clock.now()
    partition = feed.partition(partition, now)
    started = deps.clock.now()
    fetch_id = new_fetch_id(started)
    secrets = Secrets(deps.secrets, feed=feed.id, auth=feed.source.auth, declared=feed.source.model_dump_json())
    with spool_folder(deps.workdir, fetch_id) as spool:
        async with Transport(deps.transport, lookup=deps.lookup, now=deps.clock.now) as transport:
            keeper = Keeper(feed, partition, deps, secrets, transport, spool, fetch_id, started)
            one = _Fetch(keeper, Asker(feed, deps, transport, secrets, spool, fetch_id, keeper.keep), spool)
            try:
                outcome = await one.run(now)
                record, bodies = one.close(outcome)
            finally:
                one.abandon()
        archive_fetch(deps.store, deps.ledger, record, keeper.warc, bodies)
        keeper.kept.settle(record, bodies)
    if not isinstance(outcome, Ok | Empty | NotModified):
        raise failure_of(feed, record, outcome)
    return record


class _Fetch:
    """One fetch while it runs."""

    def __init__(self, keeper: Keeper, asker: Asker, spool: Path) -> None:
        self.feed, self.partition, self.deps = keeper.feed, keeper.partition, keeper.deps
        self.keeper, self._asker, self._spool = keeper, asker, spool
        # what is said of a fetch whose leads lead to no rows
        self._nothing = Empty("there is nothing to ask for: the plan has no steps")

    # --- the loop ---

    async def run(self, now: datetime) -> Outcome:
        """All steps, all pages. Returns the outcome of the whole; failures are outcomes too."""
        protocol, source = self.feed.protocol, self.feed.source
        waiting = deque(protocol.plan(self.feed, source, When(now, self.partition, self._since())))
        empty, answered, rows = [], 0, 0
        try:
            if await self._probe(list(waiting)):
                return NotModified("the probe shows no change")
            ordinals = count()
            while waiting:
                if not answered and self._same_versions(waiting):
                    return NotModified("the agency has the same version as last time")
                step = replace(waiting.popleft(), ordinal=next(ordinals))
                if (body := self.keeper.taken(step.stamp)) is not None:
                    self.keeper.keep_taken(step.ordinal, body)
                    answered += 1
                    continue
                if step.lead:
                    waiting.extendleft(reversed(await self._lead(step)))
                    continue
                before = self._asker.rows
                try:
                    came, more = await (self._pages(step) if protocol.paged else self._single(step))
                except Stopped as stop:
                    waiting.extendleft(reversed(self._smaller(step, stop)))
                    self._forget(step, before)
                    continue
                answered, rows = answered + 1, rows + more
                if isinstance(came, Empty):
                    empty.append(came)
        except Stopped as stop:
            return stop.outcome
        if not answered and protocol.drop:
            # No file ready: the table stays what the last one made it.
            return NotModified("no new file is ready") if self.keeper.last is not None else Empty("no file is ready")
        if not answered:
            return self._nothing
        if len(empty) == answered or (protocol.paged and rows == 0):
            return empty[0] if empty else Empty("the agency counts 0 rows")
        return NotModified("the same bytes as last time") if self.keeper.all_unchanged() else Ok()

    def _since(self) -> datetime | None:
        """From when on the agency is asked for changes: the last answer's fetch, less the look-back. None: for everything."""
        answered = self.keeper.answered
        return answered.started_at - self.feed.schedule.lookback if answered is not None else None

    async def _lead(self, step: Step) -> list[Step]:
        """The steps that a lead's answer tells of. The answer is archived, and is none of the fetch's bodies."""
        request = self._first(step)
        led: list[Step] = []
        if step.wait_s:
            self._asker.release()
            await self.deps.clock.sleep(step.wait_s)

        def read(body: Body) -> None:
            led[:] = self.feed.protocol.follow(self.feed, self.feed.source, step, body)

        answer = await self._asker.ask(request, lead=read)
        if not isinstance(answer.outcome, Ok | Empty):
            raise Stopped(answer.outcome)
        if self.keeper.had(self._first(one) for one in led if one.unready):
            raise Stopped(NotModified("a file of the last fetch is being written"))
        if isinstance(answer.outcome, Empty):
            self._nothing = answer.outcome
        return [replace(one, splits=max(one.splits, step.splits)) for one in led if not one.unready]

    def _first(self, step: Step) -> Request:
        """The unconditional request for the step's first page."""
        return self.feed.protocol.request(self.feed, self.feed.source, step, Cursor(), _UNCONDITIONAL)

    def _smaller(self, step: Step, stop: Stopped) -> list[Step]:
        """What is asked in place of a step that was too large; any other failure ends the fetch."""
        if not isinstance(stop.outcome, BadRequest) or not stop.outcome.too_large:
            raise stop
        parts = list(self.feed.protocol.split(self.feed, self.feed.source, step))
        if not parts:
            raise stop
        parts = [replace(part, ordinal=step.ordinal, splits=step.splits + 1) for part in parts]
        if step.splits >= MOST_SPLITS or any(replace(part, splits=step.splits) == step for part in parts):
            less = "asked in parts it becomes no smaller: ask for less at once, with 'window', 'each' or 'params' of the source"
            raise Stopped(BadRequest(f"{stop.outcome.reason}; {less}"))
        return parts

    def _forget(self, step: Step, rows: int) -> None:
        """The pages of this step that came so far are none of the fetch's: they will come again, in parts or anew."""
        self.keeper.forget(step.ordinal)
        self._asker.rows = rows

    def _same_versions(self, steps: Iterable[Step]) -> bool:
        """Whether the agency's own stamps of all steps are those of the last fetch's bodies.

        As sets: a step may have many pages, was perhaps asked in parts, and one that was empty left no body. So steps that share
        a stamp are one version.
        """
        stamps = {step.stamp for step in steps}
        return bool(stamps) and None not in stamps and stamps == {body.provider_stamp for body in self.keeper.earlier.values()}

    async def _probe(self, steps: list[Step]) -> bool:
        """Whether a cheap look shows that nothing changed since the last Ok fetch."""
        if self.keeper.last is None or len(steps) != 1:
            return False
        request = self.feed.protocol.probe(self.feed, self.feed.source, self._validators(steps[0]))
        if request is None:
            return False
        return isinstance((await self._asker.ask(request, probe=True)).outcome, NotModified)

    async def _single(self, step: Step) -> tuple[Outcome, int]:
        """A step of one response."""
        request = self.feed.protocol.request(self.feed, self.feed.source, step, Cursor(), self._validators(step))
        request = replace(request, stamp=step.stamp)
        answer = self.keeper.kept.answer(request, self._spool, self.keeper.keep) or await self._settled(request)
        return answer.outcome, 0

    async def _pages(self, step: Step) -> tuple[Outcome, int]:
        """A step of many pages, that must add up."""
        paging, cursor, before = Paging(self.feed.source.limits.max_pages), Cursor(), self._asker.rows
        follows: Next | Done | Restart | Broken
        previous: Sequence[Any] = ()
        at_once = self.feed.source.limits.pages_at_once
        async with Ahead(lambda at, lane: self._page(step, at, lane), self._asker.rest) as ahead:
            while True:
                try:
                    answer = await ahead.answer(cursor)
                    if isinstance(answer.outcome, Empty) and paging.page == 1:
                        return answer.outcome, 0
                    info = answer.outcome.page if isinstance(answer.outcome, Ok) else PageInfo()
                    tally = answer.tally or Tally(0)
                    overlaps = bool(self.feed.contract.key) and _overlaps(tally, previous)
                    paging, follows = paging.take(info, tally.rows, tally.first, overlaps=overlaps)
                    previous = tally.records
                    if isinstance(follows, Done) and ahead.out:
                        raise OutOfStep  # pages after the last came too: they hold rows that the others brought
                except OutOfStep:
                    at_once, follows = 1, Restart()
                    paging = Paging(paging.max_pages, restarts=paging.restarts)
                self._asker.total = paging.total
                if isinstance(follows, Broken):
                    raise Stopped(Malformed(follows.why))
                if isinstance(follows, Done):
                    return Ok(), paging.rows
                if isinstance(follows, Restart):
                    await ahead.stop()
                    self._forget(step, before)
                    cursor, previous = Cursor(), ()
                    continue
                cursor = follows.cursor
                if at_once > 1 and paging.total is not None and cursor.token is None and not ahead.started:
                    lanes = self._asker.lanes(answer.exchange.request, at_once)
                    ahead.start(tally.rows, paging.total, lanes, paging.max_pages)

    async def _page(self, step: Step, cursor: Cursor, lane: Lane | None) -> Answer:
        request = self.feed.protocol.request(self.feed, self.feed.source, step, cursor, _UNCONDITIONAL)
        return await self._settled(request if step.stamp is None else replace(request, stamp=step.stamp), lane)

    async def _settled(self, request: Request, lane: Lane | None = None) -> Answer:
        answer = await self._asker.ask(request, lane=lane)
        if not isinstance(answer.outcome, Ok | Empty | NotModified):
            raise Stopped(answer.outcome)
        if isinstance(answer.outcome, NotModified) and (request.step, request.page) not in self.keeper.earlier:
            raise Stopped(Malformed("it says 'not modified', but there is no earlier body"))
        return answer

    def _validators(self, step: Step) -> Validators:
        """Of the last Ok body of the step, where a 'not modified' could stand for it: it answered the same question."""
        earlier = self.keeper.earlier.get((step.ordinal, 1))
        if earlier is None or not self.keeper.answers(earlier, self._first(step), step):
            return _UNCONDITIONAL
        return self.deps.ledger.validators(self.feed.id, self.partition, step.ordinal)

    # --- the end ---

    def close(self, outcome: Outcome) -> tuple[FetchRecord, list[StoredBody]]:
        """Finish the WARC. The record of the fetch and the bodies that count."""
        asker = self._asker
        asker.report()
        return self.keeper.close(outcome, bytes_read=asker.bytes_read, responses=asker.responses, rows=asker.rows)

    def abandon(self) -> None:
        """Let go of the place at the host, and of the WARC."""
        self._asker.release()
        self.keeper.abandon()


def _overlaps(tally: Tally, previous: Sequence[Any]) -> bool:
    """Whether a page begins with a record of the page before; an empty one says nothing."""
    try:
        return bool(tally.records and tally.records[0]) and tally.records[0] in previous
    except RecursionError:  # nested as deeply as the parser allows; it is a broken record
        return False
