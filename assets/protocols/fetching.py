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
from urllib.parse import urlsplit

from assets.archive.fetches import FetchRecord, archive_fetch, archive_key, new_fetch_id, payload_digest
from assets.archive.records import Http, StoredBody
from assets.archive.warc import WarcWriter
from assets.commit import reached
from assets.feeds.model import Feed
from assets.protocols.ahead import Ahead, OutOfStep
from assets.protocols.asking import Answer, Asker, Clock, FetchCancelled, FetchDeps, Lane, Progress, SystemClock
from assets.protocols.failing import failure_of
from assets.protocols.kept import Kept
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
    outcome_name,
)
from assets.protocols.pacing import Broken, Done, Next, Paging, Restart
from assets.protocols.spool import spool_folder
from assets.tables.rows import Tally
from assets.transport.exchange import Exchange
from assets.transport.http import NAME, HttpTransport
from assets.transport.schemes import Transport
from assets.transport.secrets import PLACEHOLDER, Secrets

__all__ = ["Clock", "FetchCancelled", "FetchDeps", "Progress", "SystemClock", "fetch", "run_fetch"]

REDIRECT, PROBE, LEAD = "Redirect", "Probe", "Lead"
"""The Madang-Outcome of an archived response that only led elsewhere, only showed a change, or only said what to ask for."""
_TRUST = ("agency", "replay", "synthetic")


def run_fetch(feed: Feed, *, partition: str | None = None, deps: FetchDeps, now: datetime | None = None) -> FetchRecord:
    """`fetch`, for callers without an event loop."""
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
            one = _Fetch(feed, partition, deps, secrets, transport, spool, fetch_id, started)
            try:
                outcome = await one.run(now)
                record, bodies = one.close(outcome)
            finally:
                one.abandon()
        archive_fetch(deps.store, deps.ledger, record, one.warc, bodies)
        one.kept.settle(record, bodies)
    if not isinstance(outcome, Ok | Empty | NotModified):
        raise failure_of(feed, record, outcome)
    return record


class _Stopped(Exception):
    """The fetch ends with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class _Fetch:
    """One fetch while it runs."""

    def __init__(
        self,
        feed: Feed,
        partition: str | None,
        deps: FetchDeps,
        secrets: Secrets,
        transport: HttpTransport,
        spool: Path,
        fetch_id: str,
        started: datetime,
    ) -> None:
        self.feed, self.partition, self.deps, self.secrets = feed, partition, deps, secrets
        self.fetch_id, self.started, self.warc = fetch_id, started, spool / f"{fetch_id}.warc.gz"
        self._transport = transport
        self._asker = Asker(feed, deps, transport, secrets, spool, fetch_id, self._keep)
        self._writer: WarcWriter | None = None
        self._origins: set[str] = set()
        self._canonical: dict[tuple[int, int], str | None] = {}
        self._unchanged: set[tuple[int, int]] = set()
        self._last = self._comparable()
        self._earlier = deps.ledger.bodies(feed.id, partition) if self._last is not None else {}
        self.kept = Kept(deps.workdir, feed.id, partition, resumes=feed.protocol.drop, direct=transport.direct)
        self._url = PLACEHOLDER.sub("***", feed.source.address)

    def _comparable(self) -> FetchRecord | None:
        """The last Ok fetch, unless the agency said since that there is nothing, or one of the two asks a stand-in."""
        last = self.deps.ledger.last_answered(self.feed.id, self.partition)
        # After an Empty answer the table may be empty: the bytes from before it are news again.
        if last is None or last.outcome != "Ok" or (last.origin == "agency") != self._transport.direct:
            return None
        return last

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
                if (body := self._taken(step)) is not None:
                    self._keep_taken(step, body)
                    answered += 1
                    continue
                if step.lead:
                    waiting.extendleft(reversed(await self._lead(step)))
                    continue
                before = self._asker.rows
                try:
                    came, more = await (self._pages(step) if protocol.paged else self._single(step))
                except _Stopped as stop:
                    waiting.extendleft(reversed(self._smaller(step, stop)))
                    self._forget(step, before)
                    continue
                answered, rows = answered + 1, rows + more
                if isinstance(came, Empty):
                    empty.append(came)
        except _Stopped as stop:
            return stop.outcome
        if not answered and protocol.drop:
            # No file ready: the table stays what the last one made it.
            return NotModified("no new file is ready") if self._last is not None else Empty("no file is ready")
        if not answered:
            return Empty("there is nothing to ask for: the plan has no steps")
        if len(empty) == answered or (protocol.paged and rows == 0):
            return empty[0] if empty else Empty("the agency counts 0 rows")
        return NotModified("the same bytes as last time") if self._all_unchanged() else Ok()

    def _since(self) -> datetime | None:
        """From when on the agency is asked for changes: the last answer's fetch, less the look-back. None: for everything."""
        last = self.deps.ledger.last_answered(self.feed.id, self.partition)
        if last is None or (last.origin == "agency") != self._transport.direct:
            return None
        return last.started_at - self.feed.schedule.lookback

    async def _lead(self, step: Step) -> list[Step]:
        """The steps that a lead's answer tells of. The answer is archived, and is none of the fetch's bodies."""
        request = self.feed.protocol.request(self.feed, self.feed.source, step, Cursor(), Validators())
        led: list[Step] = []
        if step.wait_s:
            self._asker.release()
            await self.deps.clock.sleep(step.wait_s)

        def read(body: Body) -> None:
            led[:] = self.feed.protocol.follow(self.feed, self.feed.source, step, body)

        answer = await self._asker.ask(request, lead=read)
        if not isinstance(answer.outcome, Ok | Empty):
            raise _Stopped(answer.outcome)
        return led

    def _smaller(self, step: Step, stop: _Stopped) -> list[Step]:
        """What is asked in place of a step that was too large; any other failure ends the fetch."""
        parts: list[Step] = []
        if isinstance(stop.outcome, BadRequest) and stop.outcome.too_large:
            parts = list(self.feed.protocol.split(self.feed, self.feed.source, step))
        if not parts:
            raise stop
        return parts

    def _forget(self, step: Step, rows: int) -> None:
        """The pages of this step that came so far are none of the fetch's: they will come again, in parts or anew."""
        if self._writer is not None:
            self._writer.restart(step.ordinal)
        self._unchanged = {key for key in self._unchanged if key[0] != step.ordinal}
        self._asker.rows = rows

    def _same_versions(self, steps: Iterable[Step]) -> bool:
        """Whether the agency's own stamps of all steps are those of the last fetch's bodies.

        As sets: a step may have many pages, was perhaps asked in parts, and one that was empty left no body. So steps that share
        a stamp are one version.
        """
        stamps = {step.stamp for step in steps}
        return bool(stamps) and None not in stamps and stamps == {body.provider_stamp for body in self._earlier.values()}

    def _taken(self, step: Step) -> StoredBody | None:
        """The body of the last fetch, or of one that failed since, that a drop's step would only bring again."""
        if not self.feed.protocol.drop or step.stamp is None:
            return None
        same = self._last is not None and self._origin() == self._last.origin
        found = (b for _, b in sorted(self._earlier.items()) if same and b.provider_stamp == step.stamp)
        return next(found, None) or self.kept.archived(step.stamp, self.deps.store, self._origins)

    def _keep_taken(self, step: Step, body: StoredBody) -> None:
        """Archive that a file of a drop is as it was."""
        at, key = self.deps.clock.now(), (step.ordinal, 1)
        if self._earlier.get(key) == body:
            self._unchanged.add(key)
        self._open(None).write_revisit(
            url=body.url,
            request=None,
            response=None,
            at=at,
            step=step.ordinal,
            page=1,
            earlier=body,
            profile="server-not-modified",
            outcome="NotModified",
        )

    async def _probe(self, steps: list[Step]) -> bool:
        """Whether a cheap look shows that nothing changed since the last Ok fetch."""
        if self._last is None or len(steps) != 1:
            return False
        request = self.feed.protocol.probe(self.feed, self.feed.source, self._validators(steps[0]))
        if request is None:
            return False
        return isinstance((await self._asker.ask(request, probe=True)).outcome, NotModified)

    async def _single(self, step: Step) -> tuple[Outcome, int]:
        """A step of one response."""
        request = self.feed.protocol.request(self.feed, self.feed.source, step, Cursor(), self._validators(step))
        request = replace(request, stamp=step.stamp)
        answer = self.kept.answer(request, self.warc.parent, self._keep) or await self._settled(request)
        return answer.outcome, 0

    async def _pages(self, step: Step) -> tuple[Outcome, int]:
        """A step of many pages, that must add up."""
        paging, cursor, before = Paging(self.feed.source.limits.max_pages), Cursor(), self._asker.rows
        follows: Next | Done | Restart | Broken
        previous: Sequence[Any] = ()
        at_once = self.feed.source.limits.pages_at_once
        async with Ahead(lambda at, lane: self._page(step, at, lane)) as ahead:
            while True:
                try:
                    answer = await ahead.answer(cursor)
                except OutOfStep:
                    at_once, follows = 1, Restart()
                    paging = Paging(paging.max_pages, restarts=paging.restarts)
                else:
                    if isinstance(answer.outcome, Empty) and paging.page == 1:
                        return answer.outcome, 0
                    info = answer.outcome.page if isinstance(answer.outcome, Ok) else PageInfo()
                    tally = answer.tally or Tally(0)
                    overlaps = bool(self.feed.contract.key and tally.records and tally.records[0] in previous)
                    paging, follows = paging.take(info, tally.rows, tally.first, overlaps=overlaps)
                    previous = tally.records
                self._asker.total = paging.total
                if isinstance(follows, Broken):
                    raise _Stopped(Malformed(follows.why))
                if isinstance(follows, Done):
                    return Ok(), paging.rows
                if isinstance(follows, Restart):
                    await ahead.stop()
                    self._forget(step, before)
                    cursor, previous = Cursor(), ()
                    continue
                cursor = follows.cursor
                if at_once > 1 and not ahead.started and paging.total is not None and cursor.token is None:
                    ahead.start(tally.rows, paging.total, self._asker.lanes(answer.exchange.request, at_once))

    async def _page(self, step: Step, cursor: Cursor, lane: Lane | None) -> Answer:
        request = self.feed.protocol.request(self.feed, self.feed.source, step, cursor, Validators())
        return await self._settled(request if step.stamp is None else replace(request, stamp=step.stamp), lane)

    async def _settled(self, request: Request, lane: Lane | None = None) -> Answer:
        answer = await self._asker.ask(request, lane=lane)
        if not isinstance(answer.outcome, Ok | Empty | NotModified):
            raise _Stopped(answer.outcome)
        if isinstance(answer.outcome, NotModified) and (request.step, request.page) not in self._earlier:
            raise _Stopped(Malformed("it says 'not modified', but there is no earlier body"))
        return answer

    def _validators(self, step: Step) -> Validators:
        """Of the last Ok body of the step, if there is one that a 'not modified' could stand for."""
        if (step.ordinal, 1) not in self._earlier:
            return Validators()
        return self.deps.ledger.validators(self.feed.id, self.partition, step.ordinal)

    def _all_unchanged(self) -> bool:
        """Whether every body is the last Ok fetch's, byte for byte or by its canonical digest."""
        assert self._writer is not None
        keys = {(b.step, b.page) for b in self._writer.bodies}
        if self._last is None or keys != set(self._earlier) or self._origin() != self._last.origin:
            return False
        told = self._last.canonical_sha256
        return keys == self._unchanged or (told is not None and self._digest() == told)

    def _digest(self) -> str | None:
        """One canonical digest for all bodies; None where one has none."""
        assert self._writer is not None
        found = [self._canonical.get((b.step, b.page)) for b in self._writer.bodies]
        return payload_digest([d for d in found if d is not None]) if found and None not in found else None

    # --- keeping ---

    def _open(self, exchange: Exchange | None) -> WarcWriter:
        """The WARC of this fetch; opened late, because only a response says its origin."""
        if self._writer is None:
            self._writer = WarcWriter(
                self.warc,
                software=NAME,
                feed=self.feed.id,
                fetch_id=self.fetch_id,
                partition=self.partition,
                origin=exchange.origin if exchange is not None else self._transport.origin({}),
                licence=self.feed.licence.id,
                started_at=self.started,
            )
            self._writer.__enter__()
        return self._writer

    def _keep(self, answer: Answer) -> None:
        """Archive an answer and its redirects, whatever it means, and drop its spooled files."""
        meant = outcome_name(answer.outcome)
        if isinstance(answer.outcome, Ok):
            meant = PROBE if answer.probe else LEAD if answer.lead else meant
        self.kept.hold(answer)
        for exchange in (*answer.exchange.hops, answer.exchange):
            self._origins |= {exchange.origin} if exchange.status else set()
            self._write(exchange, answer, meant if exchange is answer.exchange else REDIRECT)
            for payload in (exchange.body, exchange.decoded):
                payload.discard()

    def _write(self, exchange: Exchange, answer: Answer, outcome: str) -> None:
        writer, request = self._open(exchange), answer.exchange.request
        key = (request.step, request.page)
        if exchange.resource and not exchange.status:
            writer.write_failure(
                url=exchange.url, at=exchange.at, outcome=outcome, step=key[0], page=key[1], reason=exchange.error or ""
            )
            return
        earlier = self._earlier.get(key) if exchange is answer.exchange else None
        parts = urlsplit(exchange.url)
        target = parts._replace(scheme="", netloc="", path=parts.path or "/", fragment="").geturl()
        sent = Http(f"{exchange.method} {target} HTTP/1.1", exchange.request_headers)
        got = Http(f"HTTP/{exchange.http_version} {exchange.status} {exchange.reason}".rstrip(), exchange.headers)
        same = (
            (earlier is not None and outcome == "Ok" and earlier.sha256 == exchange.payload_sha256 and exchange.bytes_read > 0)
            and self._last is not None
            and self._last.origin == exchange.origin
        )
        if earlier is not None and (same or outcome == "NotModified"):
            self._unchanged.add(key)
            self._canonical[key] = answer.canonical_sha256
            writer.write_revisit(
                url=exchange.url,
                request=None if exchange.resource else sent,
                response=None if exchange.resource else got,
                at=exchange.at,
                step=request.step,
                page=request.page,
                earlier=earlier,
                profile="identical-payload-digest" if same else "server-not-modified",
                request_body=request.body,
                provider_stamp=answer.provider_stamp,
            )
            return
        if outcome == "Ok":
            self._canonical[key] = answer.canonical_sha256
        if exchange.resource:
            writer.write_resource(
                url=exchange.url,
                body=exchange.body,
                at=exchange.at,
                step=request.step,
                page=request.page,
                content_type=exchange.header("content-type") or "application/octet-stream",
                outcome=outcome,
                payload_sha256=exchange.payload_sha256,
                last_modified=exchange.header("last-modified"),
                provider_stamp=answer.provider_stamp,
                complete=exchange.complete,
                masked=exchange.masked,
            )
            return
        writer.write_exchange(
            url=exchange.url,
            request=sent,
            response=got if exchange.status else None,
            body=exchange.body,
            at=exchange.at,
            outcome=outcome,
            step=request.step,
            page=request.page,
            request_body=request.body,
            payload_sha256=exchange.payload_sha256,
            complete=exchange.complete,
            masked=exchange.masked,
            provider_stamp=answer.provider_stamp,
        )

    def _origin(self) -> str:
        """The least trusted origin of all responses."""
        return max(self._origins or {self._transport.origin({})}, key=_TRUST.index)

    def close(self, outcome: Outcome) -> tuple[FetchRecord, list[StoredBody]]:
        """Finish the WARC. The record of the fetch and the bodies that count."""
        self._asker.report()
        writer = self._open(None)
        bodies, last = writer.bodies, self._last
        unchanged = isinstance(outcome, NotModified) and last is not None
        record = FetchRecord(
            fetch_id=self.fetch_id,
            feed=self.feed.id,
            partition=self.partition,
            started_at=self.started,
            finished_at=self.deps.clock.now(),
            outcome=outcome_name(outcome),
            reason=self.secrets.redact(getattr(outcome, "reason", ""))[:500],
            origin=self._origin(),
            bytes_read=self._asker.bytes_read,
            responses=self._asker.responses,
            rows=last.rows if unchanged and last else self._asker.rows if self.feed.protocol.paged else None,
            warc_key=archive_key(self.feed.id, self.fetch_id),
            payload_sha256=payload_digest([b.sha256 for b in bodies]),
            canonical_sha256=last.canonical_sha256 if unchanged and last else self._digest(),
            etag=bodies[0].etag if bodies else None,
            last_modified=bodies[0].last_modified if bodies else None,
            provider_stamp=bodies[0].provider_stamp if bodies else None,
            url=self._url,
            licence=self.feed.licence.id,
            body_fetch_id=last.body_fetch_id if unchanged and last else self.fetch_id,
        )
        finished = writer.finish(record)
        reached("fetch.spooled")
        return record, finished

    def abandon(self) -> None:
        """Let go of the place at the host, and of the WARC: it is deleted unless `close` finished it."""
        self._asker.release()
        if self._writer is not None:
            self._writer.__exit__(None, None, None)
