"""One feed and the stand-in agency that speaks its protocol: fetches over a real connection, and fetches on paper.

On paper the same protocol, paging discipline and engine meet without sockets, so that a property can be tried hundreds of times.
Only what the tests of protocols share; no test stands here.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest

from assets.archive.fetches import FetchRecord, open_bodies
from assets.archive.ledger import Ledger
from assets.errors import FetchFailed, UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.fetching import FetchDeps, fetch
from assets.protocols.kernel import (
    Body,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Pending,
    Request,
    Response,
    Validators,
    When,
    outcome_name,
)
from assets.protocols.pacing import Broken, Done, Paging, Restart
from assets.store import Store
from assets.transport.http import TransportSettings
from deploy.agency.app import Agency, AgencyConfig
from deploy.agency.engine import DEMO_KEY
from deploy.agency.routes import Route
from deploy.agency.running import running_server
from tests.protocols.fetching_scene import Clock

KEY = DEMO_KEY
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
"""The moment of every scene, and of its agency: noon in Seoul."""
Row = Mapping[str, Any]


def feed_for(source: Mapping[str, Any], columns: Sequence[str | Mapping[str, Any]], **parts: Any) -> Feed:
    """A feed of this source. A column is a name (of text, from the field of the same name) or a whole declaration.

    What a feed that asks for changes leaves out is not taken back.
    """
    changes = {"deletes": {"mode": "none"}} if "{since" in str(source) else {}
    named = [{"name": f"c{n}", "source": c} if isinstance(c, str) else dict(c) for n, c in enumerate(columns)]
    declared: dict[str, Any] = {
        "id": "kr.test.rows",
        "title": "Rows",
        "agency": {"name": "기관", "country": "KR"},
        "licence": {"id": "KOGL-1", "url": "https://agency.example/licence"},
        "schedule": {"cron": "0 3 * * *"},
        "source": dict(source),
        "contract": {"columns": named, "missing_columns": "null"},
    }
    return Feed.model_validate(declared | changes | parts)


@dataclass
class Scene:
    """A stand-in with one route over `rows`, and a store, a ledger and a clock of its own for fetches from it."""

    folder: Path
    feed: Feed
    agency: Agency
    url: str
    clock: Clock = field(default_factory=Clock)
    secret: str = KEY

    def __post_init__(self) -> None:
        self.clock.time = NOW
        self.store = Store(f"file://{self.folder}/store")
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db")

    @property
    def route(self) -> Route:
        return self.agency.routes[0]

    def serve(self, rows: Sequence[Row] | bytes, suffix: str = "json") -> None:
        """From now on these are the agency's rows (or, as bytes, its file)."""
        write_sample(self.folder, self.feed, rows, suffix)

    def fault(self, *faults: str) -> None:
        """These faults and no others from now on."""
        self.agency.switch(self.route.id, None)
        for fault in faults:
            self.agency.switch(self.route.id, fault)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What the agency was asked since `forget`, as its log has it: path and query without keys, status, headers."""
        return list(self.agency.requests)

    def forget(self) -> None:
        self.agency.requests.clear()

    def fetch(self, feed: Feed | None = None) -> FetchRecord:
        """One fetch, a day after the last. Raises FetchFailed as a run would."""
        self.clock.time += timedelta(days=1)
        self.agency.set_clock(self.clock.time)
        return asyncio.run(fetch(feed or self.feed, deps=self.deps(feed or self.feed)))

    def fails(self, outcome: str, feed: Feed | None = None) -> FetchFailed:
        """A fetch that must end in this outcome, be recorded and say what to do."""
        with pytest.raises(FetchFailed) as caught:
            self.fetch(feed)
        assert caught.value.outcome == outcome, str(caught.value)
        record = self.ledger.last((feed or self.feed).id)
        assert record is not None and record.outcome == outcome and caught.value.mend
        assert self.store.exists(record.warc_key)
        return caught.value

    def deps(self, feed: Feed) -> FetchDeps:
        name = feed.source.auth.secret
        return FetchDeps(
            self.store,
            self.ledger,
            TransportSettings(connect_to=self.url),
            {name: self.secret} if name else {},
            self.folder / "work",
            self.clock,
            random.Random(1),
        )

    def rows(self, record: FetchRecord, feed: Feed | None = None) -> list[tuple[str | None, ...]]:
        """The rows of a fetch, read back from the archive, in the order of the contract's columns."""
        out = self.folder / "out" / record.fetch_id
        out.mkdir(parents=True, exist_ok=True)
        return parsed(feed or self.feed, open_bodies(self.store, self.ledger, record, out))


def write_sample(folder: Path, feed: Feed, rows: Sequence[Row] | bytes, suffix: str = "json") -> None:
    """Put rows (JSON) or a file's bytes where the stand-in finds the feed's sample."""
    place = folder / "feeds" / feed.id
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("sample.*"):
        old.unlink()
    data = rows if isinstance(rows, bytes) else json.dumps(list(rows), ensure_ascii=False).encode()
    (place / f"sample.{suffix}").write_bytes(data)


@contextmanager
def scene(folder: Path, feed: Feed, rows: Sequence[Row] | bytes, *, suffix: str = "json", **route: Any) -> Iterator[Scene]:
    """The stand-in on loopback while the block lasts. `route`: kind, host, path and options of the feed's one route."""
    write_sample(folder, feed, rows, suffix)
    one = Route(**{"id": feed.id, **route})
    with running_server(AgencyConfig(feeds=folder / "feeds", routes=(one,), today=NOW.date())) as (agency, url):
        yield Scene(folder, feed, agency, url)


def parsed(feed: Feed, bodies: Sequence[Body]) -> list[tuple[str | None, ...]]:
    """The rows that the protocol reads out of bodies, in the order of the contract's columns."""
    width = len(feed.contract.columns)
    stream = feed.protocol.parse(feed, feed.source, bodies)
    return [row for batch in stream.batches for row in zip(*[c.to_pylist() for c in batch.columns[:width]], strict=True)]


# --- on paper -------------------------------------------------------------------------------------------------------------


@dataclass
class Paper:
    """An agency that is asked without a connection. `asked`: every request, in order; `faults`: as on the command line."""

    agency: Agency
    folder: Path
    asked: list[Request] = field(default_factory=list)

    def answer(self, request: Request, key: str = KEY) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(request)
        url = fill(request.url, key)
        parts = urlsplit(url)
        headers = {name.lower(): fill(value, key, raw=True) for name, value in request.headers.items()}
        host, body = parts.hostname or "", fill((request.body or b"").decode(), key, raw=True).encode()
        reply, _ = self.agency.reply(request.method, host, unquote(parts.path), parts.query, headers, body)
        return reply.status, {**reply.headers}, reply.body


def fill(text: str, key: str, *, raw: bool = False) -> str:
    """The secret in its place, encoded once in an address."""
    return re.sub(r"\{secret:[A-Z0-9_]+\}", lambda _: key if raw else quote(key, safe=""), text)


def paper(
    folder: Path, feed: Feed, rows: Sequence[Row] | bytes, *, suffix: str = "json", faults: Sequence[str] = (), **route: Any
) -> Paper:
    """A stand-in with one route, not served anywhere."""
    write_sample(folder, feed, rows, suffix)
    one = Route(**{"id": feed.id, **route})
    agency = Agency(AgencyConfig(feeds=folder / "feeds", routes=(one,), today=NOW.date(), faults={feed.id: tuple(faults)}))
    return Paper(agency, folder)


@dataclass(frozen=True)
class OnPaper:
    """What came of a fetch on paper: the outcome's name, and its rows where it is whole."""

    outcome: str
    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    reason: str = ""


def fetch_on_paper(
    feed: Feed, agency: Paper, now: datetime = NOW, max_requests: int = 500, partition: str | None = None
) -> OnPaper:
    """All steps and pages of one fetch by the kernel's own rules, each failing answer asked once more and then final."""
    protocol, source = feed.protocol, feed.source
    waiting = list(protocol.plan(feed, source, When(now, partition)))
    found: list[tuple[str | None, ...]] = []
    ordinal, empty, answered = 0, 0, 0
    while waiting:
        step = replace(waiting.pop(0), ordinal=ordinal)
        ordinal += 1
        paging, cursor, here = Paging(source.limits.max_pages), Cursor(), list[tuple[str | None, ...]]()
        while True:
            outcome, body = _asked(feed, agency, protocol.request(feed, source, step, cursor, Validators()), step.lead)
            if len(agency.asked) > max_requests:
                return OnPaper("Endless")
            if isinstance(outcome, Ok | Empty) and step.lead:
                waiting[:0] = protocol.follow(feed, source, step, body)
                break
            if getattr(outcome, "too_large", False) and (parts := list(protocol.split(feed, source, step))):
                waiting[:0] = parts
                break
            if not isinstance(outcome, Ok | Empty):
                return OnPaper(outcome_name(outcome), reason=getattr(outcome, "reason", ""))
            if isinstance(outcome, Empty) and paging.page == 1:
                empty, answered = empty + 1, answered + 1
                break
            rows = parsed(feed, [body]) if isinstance(outcome, Ok) else []
            here += rows
            if not protocol.paged:
                found, answered = found + here, answered + 1
                break
            info = outcome.page if isinstance(outcome, Ok) else PageInfo()
            paging, follows = paging.take(info, len(rows), tuple(map(str, rows[0])) if rows else None)
            if isinstance(follows, Broken):
                return OnPaper("Malformed", reason=follows.why)
            if isinstance(follows, Restart):
                here, cursor = [], Cursor()
            elif isinstance(follows, Done):
                found, answered = found + here, answered + 1
                break
            else:
                cursor = follows.cursor
    return OnPaper("Empty" if answered == empty or (protocol.paged and not found) else "Ok", found)


def _asked(feed: Feed, agency: Paper, request: Request, lead: bool) -> tuple[Outcome, Body]:
    outcome, body = _once(feed, agency, request, lead)
    return (
        (outcome, body)
        if isinstance(outcome, Ok | Empty) or getattr(outcome, "too_large", False)
        else _once(feed, agency, request, lead)
    )


def _once(feed: Feed, agency: Paper, request: Request, lead: bool, polls: int = 20) -> tuple[Outcome, Body]:
    status, headers, data = agency.answer(request)
    path = agency.folder / "page"
    path.write_bytes(data)
    body = Body(path, headers, request.url, request.step, request.page)
    outcome = feed.protocol.classify(feed.source, request, Response.of(data, status, headers, True))
    if isinstance(outcome, Pending) and polls:
        return _once(feed, agency, replace(request, url=urljoin(request.url, outcome.poll_url)), lead, polls - 1)
    if isinstance(outcome, Ok) and not lead:
        found = feed.protocol.examine(feed.source, body).outcome
        outcome = outcome if isinstance(found, Ok) else found
    if isinstance(outcome, Ok) and feed.protocol.paged and not lead:  # a lead has no rows
        try:
            stream = feed.protocol.parse(feed, feed.source, [body])
            for _ in stream.batches:
                pass
        except UnreadableSource as error:
            return Malformed(error.what), body
        outcome = outcome if stream.page is None else Ok(stream.page)
    return outcome, body
