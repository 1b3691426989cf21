"""What a fetch leaves: every answer in its WARC, revisits in place of bytes that the archive has, and the record that closes it.

Asking is `asking.py`'s, the order of the questions `fetching.py`'s; how a WARC looks inside is `archive/warc.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from assets.archive.fetches import FetchRecord, archive_key, payload_digest
from assets.archive.records import Http, StoredBody, storable
from assets.archive.warc import WarcWriter
from assets.commit import reached
from assets.protocols.kept import Kept
from assets.protocols.kernel import NotModified, Ok, Outcome, Request, Step, outcome_name
from assets.protocols.queries import SPAN_PLACES
from assets.transport.address import origin_form
from assets.transport.exchange import Exchange
from assets.transport.http import NAME, HttpTransport
from assets.transport.secrets import PLACEHOLDER, Secrets

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.protocols.asking import Answer, FetchDeps

REDIRECT, PROBE, LEAD = "Redirect", "Probe", "Lead"
"""The Madang-Outcome of an archived response that only led elsewhere, only showed a change, or only said what to ask for."""
_TRUST = ("agency", "replay", "synthetic")


class Keeper:
    """What one fetch leaves, while it runs.

    `answered`: the last fetch that said what the rows are; `last`: the same where it is Ok, which this one is compared with, and
    `earlier` its bodies.
    """

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
        self._writer: WarcWriter | None = None
        self._origins: set[str] = set()
        self._canonical: dict[tuple[int, int], str | None] = {}
        self._unchanged: set[tuple[int, int]] = set()
        # An answer of the agency and one of a stand-in say nothing of each other.
        answered = deps.ledger.last_answered(feed.id, partition)
        self.answered = answered if answered is not None and (answered.origin == "agency") == transport.direct else None
        # After an Empty answer the table may be empty: the bytes from before it are news again.
        self.last = self.answered if self.answered is not None and self.answered.outcome == "Ok" else None
        self.earlier = deps.ledger.bodies(feed.id, partition) if self.last is not None else {}
        self.kept = Kept(deps.workdir, feed.id, partition, resumes=feed.protocol.drop, direct=transport.direct)
        self._url = PLACEHOLDER.sub("***", feed.source.address)

    def keep(self, answer: Answer) -> None:
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

    def keep_taken(self, step: int, body: StoredBody) -> None:
        """Archive that a file of a drop is as it was."""
        at, key = self.deps.clock.now(), (step, 1)
        if self.earlier.get(key) == body:
            self._unchanged.add(key)
        self._open(None).write_revisit(
            url=body.url,
            request=None,
            response=None,
            at=at,
            step=step,
            page=1,
            earlier=body,
            profile="server-not-modified",
            outcome="NotModified",
        )

    def taken(self, stamp: str | None) -> StoredBody | None:
        """The body of the last fetch, or of one that failed since, that a drop's step would only bring again."""
        if not self.feed.protocol.drop or stamp is None:
            return None
        same = self.last is not None and self._origin() == self.last.origin
        found = (b for _, b in sorted(self.earlier.items()) if same and b.provider_stamp == stamp)
        return next(found, None) or self.kept.archived(stamp, self.deps.store, self._origins)

    def answers(self, body: StoredBody, asked: Request, step: Step) -> bool:
        """Whether a body of the last fetch came in answer to this question: a date says nothing of what is at another address."""
        if set(step.params) <= SPAN_PLACES:  # the source's address is all that is asked; a redirect may have led elsewhere
            return self.last is not None and self.last.url == self._url
        return body.url == PLACEHOLDER.sub("***", asked.url)

    def had(self, asked: Iterable[Request]) -> bool:
        """Whether a body of the last fetch is what lay at one of these addresses then."""
        known = {body.url for body in self.earlier.values()}
        return bool(known) and any(PLACEHOLDER.sub("***", one.url) in known for one in asked)

    def forget(self, step: int) -> None:
        """The bodies of this step that came so far are none of the fetch's: they will come again, in parts or anew."""
        if self._writer is not None:
            self._writer.restart(step)
        self._unchanged = {key for key in self._unchanged if key[0] != step}

    def all_unchanged(self) -> bool:
        """Whether every body is the last Ok fetch's, byte for byte or by its canonical digest."""
        assert self._writer is not None
        keys = {(b.step, b.page) for b in self._writer.bodies}
        if self.last is None or keys != set(self.earlier) or self._origin() != self.last.origin:
            return False
        told = self.last.canonical_sha256
        return keys == self._unchanged or (told is not None and self._digest() == told)

    def _digest(self) -> str | None:
        """One canonical digest for all bodies; None where one has none."""
        assert self._writer is not None
        found = [self._canonical.get((b.step, b.page)) for b in self._writer.bodies]
        return payload_digest([d for d in found if d is not None]) if found and None not in found else None

    def close(self, outcome: Outcome, *, bytes_read: int, responses: int, rows: int) -> tuple[FetchRecord, list[StoredBody]]:
        """Finish the WARC. The record of the fetch and the bodies that count."""
        writer = self._open(None)
        bodies, last = writer.bodies, self.last
        unchanged = isinstance(outcome, NotModified) and last is not None
        record = FetchRecord(
            fetch_id=self.fetch_id,
            feed=self.feed.id,
            partition=self.partition,
            started_at=self.started,
            finished_at=self.deps.clock.now(),
            outcome=outcome_name(outcome),
            reason=storable(self.secrets.redact(getattr(outcome, "reason", ""))[:500]),
            origin=self._origin(),
            bytes_read=bytes_read,
            responses=responses,
            rows=last.rows if unchanged and last else rows if self.feed.protocol.paged else None,
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
        """Let go of the WARC: it is deleted unless `close` finished it."""
        if self._writer is not None:
            self._writer.__exit__(None, None, None)

    # --- one answer ---

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

    def _write(self, exchange: Exchange, answer: Answer, outcome: str) -> None:
        writer, request = self._open(exchange), answer.exchange.request
        key = (request.step, request.page)
        if exchange.resource and not exchange.status:
            writer.write_failure(
                url=exchange.url, at=exchange.at, outcome=outcome, step=key[0], page=key[1], reason=exchange.error or ""
            )
            return
        earlier = self.earlier.get(key) if exchange is answer.exchange else None
        sent = Http(f"{exchange.method} {origin_form(exchange.url)} HTTP/1.1", exchange.request_headers)
        got = Http(f"HTTP/{exchange.http_version} {exchange.status} {exchange.reason}".rstrip(), exchange.headers)
        same = (
            (earlier is not None and outcome == "Ok" and earlier.sha256 == exchange.payload_sha256 and exchange.bytes_read > 0)
            and self.last is not None
            and self.last.origin == exchange.origin
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
