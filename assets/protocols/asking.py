"""One question put to an agency until it is answered: limits, quota, sending, judging, and asking again.

The policy of waiting is `pacing.py`, the order of questions `fetching.py`; what a response means is the protocol's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from assets.archive.ledger import Ledger
from assets.errors import MadangError, UnreadableSource
from assets.feeds.model import Feed
from assets.payload import Payload
from assets.protocols.kernel import (
    BadRequest,
    Body,
    Empty,
    Malformed,
    NotModified,
    Ok,
    Outcome,
    Pending,
    QuotaExhausted,
    RateLimited,
    Request,
    Response,
    SourceBase,
    Transient,
)
from assets.protocols.pacing import next_delay_s, retry_after_s
from assets.store import Store
from assets.tables.rows import ROW, RowStream, Tally
from assets.transport import address
from assets.transport.exchange import Exchange
from assets.transport.http import HttpTransport, TransportSettings
from assets.transport.resolving import Lookup
from assets.transport.secrets import Secrets

UNDECLARED_QUOTA = 1_000_000_000
"""Stands for the daily quota that a keyed feed does not declare, so that 'used up' is remembered until the reset."""
UNDECLARED_PACE = 1000.0
"""Requests a second where the feed declares no pace."""
LEASE_POLL_S = 1.0
REPORT_EVERY_S = 1.0


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Progress:
    """How far a fetch is. `total`: rows as the agency counts them, None where it does not say."""

    bytes_read: int
    responses: int
    rows: int
    total: int | None

    def __str__(self) -> str:
        rows = f", {self.rows:,} of {self.total:,} rows" if self.total is not None else f", {self.rows:,} rows" if self.rows else ""
        size = f"{self.bytes_read / 1e6:,.1f} MB" if self.bytes_read >= 100_000 else f"{self.bytes_read / 1e3:,.1f} kB"
        return f"{size} in {self.responses:,} response{'s' * (self.responses != 1)}{rows}"


class FetchCancelled(MadangError):
    """Somebody asked the fetch to stop; nothing was recorded."""


@dataclass(frozen=True)
class FetchDeps:
    """What a fetch needs of the world. `secrets`: environment name → value; `workdir`: a folder on a disk with room."""

    store: Store
    ledger: Ledger
    transport: TransportSettings
    secrets: Mapping[str, str]
    workdir: Path
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    progress: Callable[[Progress], None] | None = None
    cancelled: Callable[[], bool] = lambda: False
    lookup: Lookup | None = None


@dataclass(frozen=True)
class Answer:
    """A response and what it means. `tally`: of an Ok page, None where the protocol is not paged.

    `probe`: it was only a look whether anything changed; `lead`: it only said what to ask for; the body of either is none of the
    fetch's. `sent`: False where a limit of ours stood before the request.
    """

    exchange: Exchange
    outcome: Outcome
    tally: Tally | None = None
    canonical_sha256: str | None = None
    provider_stamp: str | None = None
    probe: bool = False
    lead: bool = False
    sent: bool = True


@dataclass
class Lane:
    """A place at a host, under a name of its own in the ledger: one request at a time goes through it.

    `fresh`: nothing was sent since the place was taken, or since the host asked for a pause. `busy`: a question is being asked.
    """

    holder: str
    host: str | None = None
    fresh: bool = True
    busy: bool = False
    renew_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)


def quota_name(source: SourceBase) -> str:
    """What the ledger counts a day's requests under: the quota that the feed names, else its address."""
    where = urlsplit(source.address)
    return source.limits.quota or f"{where.netloc}{where.path}"


class Asker:
    """Asks on behalf of one fetch. `keep` gets every answer, failures included, before anything is done about it."""

    def __init__(
        self,
        feed: Feed,
        deps: FetchDeps,
        transport: HttpTransport,
        secrets: Secrets,
        spool: Path,
        holder: str,
        keep: Callable[[Answer], None],
    ) -> None:
        self._feed, self._deps, self._transport, self._secrets = feed, deps, transport, secrets
        self._spool, self._keep = spool, keep
        self._source = feed.source
        self._limits = feed.source.limits
        self._quota = quota_name(feed.source)
        self._reported = datetime(1970, 1, 1, tzinfo=UTC)
        self._lanes = [Lane(holder)]
        self.bytes_read = self.responses = self.rows = 0
        self.total: int | None = None

    async def ask(
        self, request: Request, *, probe: bool = False, lead: Callable[[Body], None] | None = None, lane: Lane | None = None
    ) -> Answer:
        """The answer that settles the question: Ok, Empty or NotModified, or a failure that asking again does not mend.

        `lead`: reads the body of an Ok answer that says what to ask for next; where it cannot, the answer is Malformed. `lane`: one
        of `lanes`, where several requests are out at once.
        """
        lane = lane or self._lanes[0]
        lane.busy = True
        try:
            return await self._asked(request, probe, lead, lane)
        finally:
            lane.busy = False

    async def _asked(self, request: Request, probe: bool, lead: Callable[[Body], None] | None, lane: Lane) -> Answer:
        failures = malformed = 0
        polls_until: datetime | None = None
        while True:
            answer = await self._once(request, probe, lead, lane)
            outcome = answer.outcome
            if not answer.sent:
                return answer
            delay: float | None = None
            if isinstance(outcome, RateLimited | Transient):
                failures += 1
                wanted = outcome.retry_after_s
                if wanted is None:
                    wanted = retry_after_s(answer.exchange.header_map(), self._deps.clock.now())
                delay = next_delay_s(
                    failures=failures, max_attempts=self._limits.max_attempts, retry_after_s=wanted, jitter=self._deps.rng.random()
                )
                if isinstance(outcome, RateLimited) and (pause := max(wanted or 0.0, delay or 0.0)):
                    self._deps.ledger.defer_host(address.host_of(request.url), self._deps.clock.now() + timedelta(seconds=pause))
                    for other in self._lanes:
                        other.fresh = True
            elif isinstance(outcome, Malformed) and malformed == 0:
                malformed = 1
                delay = next_delay_s(failures=1, max_attempts=2, retry_after_s=None, jitter=self._deps.rng.random())
            elif isinstance(outcome, Pending):
                now = self._deps.clock.now()
                polls_until = polls_until or now + timedelta(seconds=self._limits.total_timeout_s)
                decision = address.redirect(request.url, outcome.poll_url, hosts=self._source.redirect_hosts, followed=0)
                if isinstance(decision, address.Refused):
                    return replace(answer, outcome=BadRequest(f"the place to ask for the result is refused: {decision.why}"))
                if now < polls_until:
                    headers = request.headers if decision.same_origin else {}
                    # at the same address the same question is put again; elsewhere the result is fetched
                    if decision.url != request.url:
                        request = replace(request, method="GET", body=None)
                    # at another address no place of ours is filled in, whatever the answer wrote into it
                    there = decision.url if decision.same_origin else decision.url.replace("{", "%7B").replace("}", "%7D")
                    request = replace(request, url=there, headers=headers)
                    delay = min(max(outcome.after_s, 1.0), 600.0)
                else:
                    return replace(answer, outcome=Transient("the agency did not finish the export in time"))
            elif isinstance(outcome, QuotaExhausted):
                return replace(answer, outcome=self._exhausted(outcome))
            if delay is None:
                return answer
            self._leave(lane)  # others may use the place while we wait
            await self._deps.clock.sleep(delay)

    # --- one request ---

    async def _once(self, request: Request, probe: bool, lead: Callable[[Body], None] | None, lane: Lane) -> Answer:
        self._check_cancelled()
        refused = await self._permission(request, lane)
        if refused is not None:
            return Answer(self._unsent(request), refused, sent=False)
        exchange = await self._transport.exchange(
            request,
            self._source,
            self._spool,
            secrets=self._secrets,
            contact=self._contact,
            on_bytes=lambda n: self._on_bytes(request, n, lane),
        )
        self.responses += sum([e.status > 0 for e in (*exchange.hops, exchange)])
        answer = self._judge(request, exchange, probe, lead)
        self.rows += answer.tally.rows if answer.tally else 0
        self.report(every_s=REPORT_EVERY_S)
        self._keep(answer)
        return answer

    async def _permission(self, request: Request, lane: Lane) -> QuotaExhausted | Transient | None:
        """Wait for a place and a moment at the host, and take one of the day's quota; or why the request must not be sent."""
        deps, limits, host = self._deps, self._limits, address.host_of(request.url)
        give_up: datetime | None = None
        while True:
            while not self._lease(lane, host) and not (self._spare(host) and self._lease(lane, host)):
                give_up = give_up or deps.clock.now() + timedelta(seconds=limits.total_timeout_s)
                if deps.clock.now() >= give_up:
                    return Transient(f"other fetches held all {limits.concurrency} places at {host}")
                await deps.clock.sleep(LEASE_POLL_S)
                self._check_cancelled()
            # Without a declared pace only a new place looks at the host's next free moment: another may have been told to wait.
            pace = limits.per_second or (UNDECLARED_PACE if lane.fresh else None)
            lane.fresh = False
            if pace is None or not (wait := deps.ledger.reserve_slot(host, per_second=pace, now=deps.clock.now())):
                break
            if not self._quota_left():
                break
            await deps.clock.sleep(wait)
            self._check_cancelled()
            if not lane.fresh and self._lease(lane, host):  # else the host asked for a pause meanwhile, or the place has lapsed
                break
        # Last of all, so that a request that is called back before it is sent costs nothing.
        if (budget := self._budget) is not None:
            spending = deps.ledger.spend_quota(self._quota, per_day=budget, reset=limits.reset, now=deps.clock.now())
            if not spending.allowed:
                return QuotaExhausted(spending.resets_at, f"the daily quota of {self._quota} is used up; nothing was sent")
        return None

    def _quota_left(self) -> bool:
        """Whether a request would be allowed now; nothing is spent."""
        if (budget := self._budget) is None:
            return True
        return self._deps.ledger.quota(self._quota, per_day=budget, reset=self._limits.reset, now=self._deps.clock.now()).allowed

    def _spare(self, host: str) -> bool:
        """Give back a place at the host that we hold and do not use; False where there is none."""
        lane = next((lane for lane in self._lanes if lane.host == host and not lane.busy), None)
        if lane is not None:
            self._leave(lane)
        return lane is not None

    def _lease(self, lane: Lane, host: str) -> bool:
        """Take or renew a place at the host; kept from request to request. It lapses soon after a crash."""
        now = self._deps.clock.now()
        if lane.host == host and now < lane.renew_at:
            return True
        if lane.host not in (None, host):
            self._leave(lane)
        ttl = 2 * max(60.0, self._limits.connect_timeout_s + self._limits.read_timeout_s)
        if not self._deps.ledger.acquire_lease(host, concurrency=self._limits.concurrency, holder=lane.holder, ttl_s=ttl, now=now):
            return False
        lane.fresh = lane.fresh or lane.host is None
        lane.host, lane.renew_at = host, now + timedelta(seconds=ttl / 2)
        return True

    def lanes(self, request: Request, most: int) -> list[Lane]:
        """Lanes for requests like this one, at least one and as many of `most` as have a place at the host right now."""
        while len(self._lanes) < most:
            self._lanes.append(Lane(f"{self._lanes[0].holder}/{len(self._lanes)}"))
        host = address.host_of(request.url)
        return [self._lanes[0], *(lane for lane in self._lanes[1:most] if self._lease(lane, host))]

    def rest(self) -> None:
        """Give back all places but that of the first lane: for now one request at a time is enough."""
        for lane in self._lanes[1:]:
            self._leave(lane)

    def release(self) -> None:
        """Give all places back."""
        for lane in self._lanes:
            self._leave(lane)

    def _leave(self, lane: Lane) -> None:
        if lane.host is not None:
            self._deps.ledger.release_lease(lane.host, lane.holder)
            lane.host = None

    def _on_bytes(self, request: Request, count: int, lane: Lane) -> None:
        self._check_cancelled()
        self.bytes_read += count
        self._lease(lane, address.host_of(request.url))
        self.report(every_s=REPORT_EVERY_S)

    def _judge(self, request: Request, exchange: Exchange, probe: bool, lead: Callable[[Body], None] | None) -> Answer:
        """What the response means: the transport's own verdict first, then the protocol's, then whether its rows can be read."""
        protocol, headers = self._feed.protocol, exchange.header_map()
        if isinstance(exchange.verdict, BadRequest) and 300 <= exchange.status < 400:
            return Answer(exchange, protocol.redirected(exchange.verdict.reason))
        if exchange.verdict is not None:
            return Answer(exchange, exchange.verdict)
        outcome = protocol.classify(
            self._source,
            request,
            Response(exchange.status, headers, exchange.head, exchange.tail, exchange.decoded_length, exchange.complete),
        )
        if isinstance(outcome, Ok | Empty) and not exchange.complete:
            outcome = Transient(exchange.error or "the body is cut short")
        if isinstance(outcome, NotModified) and not _conditional(request):
            outcome = Malformed("it says 'not modified' to a request without conditions")
        if probe or not isinstance(outcome, Ok):
            return Answer(exchange, outcome, probe=probe)
        body = Body(exchange.decoded, headers, exchange.url, request.step, request.page)
        if lead is not None:
            try:
                lead(body)
            except UnreadableSource as error:
                return Answer(exchange, Malformed(error.what))
            return Answer(exchange, outcome, lead=True)
        examined = protocol.examine(self._source, body)
        if not isinstance(examined.outcome, Ok):
            return Answer(exchange, examined.outcome)
        tally = None
        if protocol.paged:
            try:
                stream = protocol.parse(self._feed, self._source, [body])
                tally = _counted(stream, keyed=bool(self._feed.contract.key))
            except UnreadableSource as error:
                return Answer(exchange, Malformed(error.what))
            outcome = outcome if stream.page is None else Ok(stream.page)
        stamp = request.stamp or examined.version or protocol.provider_stamp(self._source, headers, exchange.head)
        canonical = examined.canonical_sha256 or protocol.canonical_sha256(self._source, body)
        return Answer(exchange, outcome, tally, canonical, stamp)

    # --- small things ---

    def _exhausted(self, outcome: QuotaExhausted) -> QuotaExhausted:
        """Remember that the day's quota is gone, for every process; and when it comes back."""
        if self._budget is None:
            return outcome
        spending = self._deps.ledger.exhaust_quota(
            self._quota, per_day=self._budget, reset=self._limits.reset, now=self._deps.clock.now()
        )
        return outcome if outcome.resets_at else replace(outcome, resets_at=spending.resets_at)

    @property
    def _budget(self) -> int | None:
        return self._limits.per_day or (UNDECLARED_QUOTA if self._source.auth.kind != "none" else None)

    @property
    def _contact(self) -> str:
        return (self._feed.contact.email or "") if self._feed.contact else ""

    def _unsent(self, request: Request) -> Exchange:
        url = self._secrets.redact(request.url)
        return Exchange(request, url, self._deps.clock.now(), self._transport.origin({}), Payload(self._spool / "nothing", b""))

    def _check_cancelled(self) -> None:
        if self._deps.cancelled():
            raise FetchCancelled("the fetch was cancelled", where=self._feed.id, mend="run it again; nothing was recorded")

    def report(self, *, every_s: float = 0.0) -> None:
        """Say how far it is, unless that was said less than `every_s` seconds ago."""
        if self._deps.progress is None:
            return
        now = self._deps.clock.now()
        if now >= self._reported + timedelta(seconds=every_s):
            self._reported = now
            self._deps.progress(Progress(self.bytes_read, self.responses, self.rows, self.total))


def _conditional(request: Request) -> bool:
    return bool({"if-none-match", "if-modified-since"} & {name.lower() for name in request.headers})


def _counted(stream: RowStream, *, keyed: bool) -> Tally:
    """One page, counted by its reader or by its batches. `keyed`: its records are wanted too."""
    if stream.tally is not None:
        return stream.tally()
    rows, first, records = 0, None, list[Any]()
    for batch in stream.batches:
        if rows == 0 and batch.num_rows:
            first = tuple((name, str(batch.column(name)[0].as_py())) for name in batch.schema.names if name != ROW)
        rows += batch.num_rows
        if keyed:
            columns = [batch.column(name).to_pylist() for name in batch.schema.names if name != ROW]
            records += zip(*columns, strict=True)
    return Tally(rows, first, records)
