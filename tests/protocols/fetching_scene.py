"""The scenery of the fetch tests: protocols small enough to see through, a world with a real server, store and ledger.

Only the clock is made up; no test stands here.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pytest

from assets.archive.fetches import FetchRecord, open_bodies
from assets.archive.ledger import Ledger
from assets.errors import FetchFailed, UnreadableSource
from assets.feeds.model import PROTOCOLS, Agency, Feed, Licence, Schedule
from assets.protocols.fetching import FetchDeps, Progress, fetch
from assets.protocols.kernel import (
    AuthFailed,
    Body,
    Cursor,
    Empty,
    Gone,
    Malformed,
    NotModified,
    Ok,
    Outcome,
    PageInfo,
    Pending,
    Protocol,
    QuotaExhausted,
    RateLimited,
    Request,
    Response,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.store import Store
from assets.tables.rows import RowStream, batch_schema
from assets.transport.http import TransportSettings
from quality.contract import Contract
from tests.loopback import Answer, Loopback, Seen, loopback

KEY = "aB3+/x9Qz7Lm0Pk2Rt5Wy8=="
NEEDLE = b"Qz7Lm0Pk2Rt5Wy8"
URL = "http://agency.example/rows"
ROWS = [f"r{i}" for i in range(7)]


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)


class _Source(SourceBase):
    protocol: Literal["test_pages", "test_file"]
    url: str = URL

    @property
    def address(self) -> str:
        return self.url


class _Plain(Protocol[_Source]):
    """Enough of a protocol to see the kernel through: what a status means, and rows as JSON."""

    name: ClassVar[str] = "test_file"
    Source: ClassVar[type[SourceBase]] = _Source

    def plan(self, feed: Feed, source: _Source, when: When) -> Iterable[Step]:
        return [Step()]

    def request(self, feed: Feed, source: _Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        url = source.url + ("?key={secret:AGENCY_KEY}" if source.auth.secret else "")
        headers = {"If-None-Match": validators.etag} if validators.etag else {}
        return Request(url, headers=headers, step=step.ordinal, page=cursor.page)

    def classify(self, source: _Source, request: Request, response: Response) -> Outcome:
        special: dict[int, Outcome] = {
            202: Pending("/result", 5.0),
            204: Empty("no content"),
            304: NotModified(),
            401: AuthFailed("the agency does not know the key"),
            404: Gone("not found"),
            429: QuotaExhausted(None, "quota text") if b"quota" in response.head else RateLimited(None, "slow down"),
        }
        if response.status != 200:
            return special.get(response.status, Transient(f"status {response.status}"))
        return Ok() if response.complete else Transient("cut short")

    def parse(self, feed: Feed, source: _Source, bodies: Sequence[Body]) -> RowStream:
        raise AssertionError("the kernel does not parse what is not paged")

    def canonical_sha256(self, source: _Source, body: Body) -> str | None:
        try:
            value = json.loads(body.path.read_bytes())
        except ValueError:
            return None
        import hashlib

        value.pop("generated", None)
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class _Pages(_Plain):
    """Pages `{"total", "size", "rows"}` by number."""

    name: ClassVar[str] = "test_pages"
    paged: ClassVar[bool] = True

    def request(self, feed: Feed, source: _Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        key = "&key={secret:AGENCY_KEY}" if source.auth.secret else ""
        return Request(f"{source.url}?page={cursor.page}&offset={cursor.offset}{key}", step=step.ordinal, page=cursor.page)

    def classify(self, source: _Source, request: Request, response: Response) -> Outcome:
        outcome = super().classify(source, request, response)
        if not isinstance(outcome, Ok):
            return outcome
        try:
            value = json.loads(response.head)
        except ValueError:
            return Malformed("no JSON")
        return Ok(PageInfo(value.get("total"), value.get("size")))

    def parse(self, feed: Feed, source: _Source, bodies: Sequence[Body]) -> RowStream:
        rows: list[str] = []
        for body in bodies:
            try:
                rows += json.loads(body.path.read_bytes())["rows"]
            except (ValueError, KeyError):
                raise UnreadableSource("no rows") from None
        nothing = [None] * len(rows)
        table = pa.record_batch([rows, range(1, len(rows) + 1), nothing, nothing], schema=batch_schema(["id"]))
        return RowStream(("id",), iter([table]))


@pytest.fixture(autouse=True)
def _protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch.setitem)


def register(put: Callable[[Any, Any, Any], None]) -> None:
    for protocol in (_Plain(), _Pages()):
        put(PROTOCOLS, protocol.name, protocol)


def make_feed(protocol: str = "test_file", **source: Any) -> Feed:
    return Feed.model_construct(
        id="kr.agency.rows",
        title="rows",
        agency=Agency(name="A", country="KR"),
        licence=Licence(id="KOGL-1", url="https://x"),
        schedule=Schedule.model_construct(cron="0 3 * * *"),
        source=_Source.model_validate({"protocol": protocol} | source),
        contract=Contract.model_construct(columns=()),
        documentation="https://agency.example/doc",
        contact=None,
    )


class World:
    """A store, a ledger and a folder, and fetches made in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(f"file://{folder}/store")
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        self.clock = Clock()
        self.cancelled: Callable[[], bool] = lambda: False
        self.progress: list[Progress] = []

    def deps(self, url: str, secrets: Mapping[str, str]) -> FetchDeps:
        return FetchDeps(
            self.store,
            self.ledger,
            TransportSettings(connect_to=url),
            secrets,
            self.folder / "work",
            self.clock,
            random.Random(1),
            self.progress.append,
            lambda: self.cancelled(),
        )

    def fetch(
        self, feed: Feed, answer: Callable[[Seen], Answer], secrets: Mapping[str, str] | None = None
    ) -> tuple[FetchRecord, Loopback]:
        async def run() -> tuple[FetchRecord, Loopback]:
            async with loopback(answer) as server:
                self.server = server
                return await fetch(feed, deps=self.deps(server.url, secrets or {})), server

        self.clock.time += timedelta(hours=1)
        return asyncio.run(run())

    def fails(self, feed: Feed, answer: Callable[[Seen], Answer], **more: Any) -> tuple[FetchFailed, FetchRecord]:
        """The error, and the record that was kept all the same, with its WARC."""
        with pytest.raises(FetchFailed) as caught:
            self.fetch(feed, answer, **more)
        record = self.ledger.last(feed.id)
        assert record is not None
        assert record.outcome == caught.value.outcome
        assert self.store.exists(record.warc_key)
        assert caught.value.mend
        return caught.value, record

    def bodies(self, record: FetchRecord) -> list[bytes]:
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        return [b.path.read_bytes() for b in open_bodies(self.store, self.ledger, record, out)]

    def warc(self, record: FetchRecord) -> bytes:
        return gzip.decompress(self.store.get_bytes(record.warc_key))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def in_turn(*answers: Answer) -> Callable[[Seen], Answer]:
    left = list(answers)
    return lambda seen: left.pop(0) if len(left) > 1 else left[0]


def page(rows: Sequence[str], total: int, size: int = 2) -> Answer:
    return Answer(json.dumps({"total": total, "size": size, "rows": list(rows)}).encode())


def served(rows: Sequence[str], size: int = 2) -> Callable[[Seen], Answer]:
    def answer(seen: Seen) -> Answer:
        number = int(seen.target.partition("page=")[2].partition("&")[0])
        return page(rows[(number - 1) * size : number * size], len(rows), size)

    return answer
