"""The kernel's loop against a real server on loopback, with a real store, ledger and WARC; only the clock is the test's."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pytest

from assets.archive.fetches import FetchRecord, open_bodies
from assets.archive.ledger import Ledger
from assets.commit import COMMIT_STEPS
from assets.errors import FetchFailed, SettingsError, UnreadableSource
from assets.feeds.model import PROTOCOLS, Agency, Feed, Licence, Schedule
from assets.protocols.fetching import FetchCancelled, FetchDeps, Progress, fetch, run_fetch
from assets.protocols.kernel import (
    AuthFailed,
    Body,
    Cursor,
    Empty,
    Gone,
    Limits,
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
    SourceBase,
    Step,
    Transient,
    Validators,
)
from assets.store import Store
from assets.tables.rows import RowStream, batch_schema
from assets.transport.http import TransportSettings
from quality.contract import Contract
from tests.loopback import Answer, Loopback, Seen, loopback

KEY = "aB3+/x9Qz7Lm0Pk2Rt5Wy8=="
NEEDLE = b"Qz7Lm0Pk2Rt5Wy8"
URL = "http://agency.example/rows"


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

    def plan(self, feed: Feed, source: _Source, partition: str | None, now: datetime) -> Iterable[Step]:
        return [Step()]

    def request(self, feed: Feed, source: _Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        url = source.url + ("?key={secret:AGENCY_KEY}" if source.auth.secret else "")
        headers = {"If-None-Match": validators.etag} if validators.etag else {}
        return Request(url, headers=headers, step=step.ordinal, page=cursor.page)

    def classify(
        self,
        source: _Source,
        request: Request,
        status: int,
        headers: Mapping[str, str],
        head: bytes,
        tail: bytes,
        length: int,
        complete: bool,
    ) -> Outcome:
        special: dict[int, Outcome] = {
            202: Pending("/result", 5.0),
            204: Empty("no content"),
            304: NotModified(),
            401: AuthFailed("the agency does not know the key"),
            404: Gone("not found"),
            429: QuotaExhausted(None, "quota text") if b"quota" in head else RateLimited(None, "slow down"),
        }
        if status != 200:
            return special.get(status, Transient(f"status {status}"))
        return Ok() if complete else Transient("cut short")

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

    def classify(
        self,
        source: _Source,
        request: Request,
        status: int,
        headers: Mapping[str, str],
        head: bytes,
        tail: bytes,
        length: int,
        complete: bool,
    ) -> Outcome:
        outcome = super().classify(source, request, status, headers, head, tail, length, complete)
        if not isinstance(outcome, Ok):
            return outcome
        try:
            value = json.loads(head)
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


# --- one response ---


def test_three_500_then_200_is_one_good_fetch_that_keeps_all_four(world: World) -> None:
    record, _ = world.fetch(make_feed(), in_turn(*[Answer(b"oops", 500)] * 3, Answer(b"rows")))
    assert (record.outcome, record.responses, record.origin) == ("Ok", 4, "synthetic")
    assert world.bodies(record) == [b"rows"]
    assert world.warc(record).count(b"Madang-Outcome: Transient") == 6  # request and response of each
    assert world.clock.slept == sorted(world.clock.slept)
    assert len(world.clock.slept) == 3
    assert world.ledger.last_ok("kr.agency.rows") == record
    assert list((world.folder / "work" / "fetching").glob("2*")) == []


def test_transient_failures_end_after_max_attempts_and_are_recorded(world: World) -> None:
    feed = make_feed(limits=Limits(max_attempts=3))
    error, record = world.fails(feed, lambda seen: Answer(b"down", 503))
    assert (record.outcome, record.responses) == ("Transient", 3)
    assert "later" in error.mend


@pytest.mark.parametrize(
    ("status", "outcome", "says"),
    [(401, "AuthFailed", "key"), (404, "Gone", "https://agency.example/doc"), (429, "QuotaExhausted", "wait until")],
)
def test_what_asking_again_does_not_mend_is_asked_once(world: World, status: int, outcome: str, says: str) -> None:
    error, record = world.fails(make_feed(), lambda seen: Answer(b"API token quota exceeded", status))
    assert (record.outcome, record.responses, world.clock.slept) == (outcome, 1, [])
    assert says in error.mend


def test_retry_after_0_waits_all_the_same_and_does_not_burn_through(world: World) -> None:
    feed = make_feed(limits=Limits(max_attempts=4))
    _, record = world.fails(feed, lambda seen: Answer(b"", 429, {"Retry-After": "0"}))
    assert (record.outcome, record.responses) == ("RateLimited", 4)
    assert len(world.clock.slept) == 3
    assert min(world.clock.slept) >= 1


def test_retry_after_is_honoured_and_a_day_long_one_ends_the_fetch(world: World) -> None:
    record, _ = world.fetch(make_feed(), in_turn(Answer(b"", 429, {"Retry-After": "120"}), Answer(b"rows")))
    assert record.outcome == "Ok"
    assert world.clock.slept[0] >= 120
    world.clock.slept.clear()
    _, failed = world.fails(make_feed(), lambda seen: Answer(b"", 429, {"Retry-After": "86400"}))
    assert (failed.responses, world.clock.slept) == (1, [])


def test_a_cut_body_is_asked_again_and_never_taken_for_whole(world: World) -> None:
    whole = b"row\n" * 50_000
    record, _ = world.fetch(make_feed(), in_turn(Answer(whole, send=1000), Answer(whole)))
    assert world.bodies(record) == [whole]
    assert b"WARC-Truncated" in world.warc(record)
    feed = make_feed(limits=Limits(max_attempts=2))
    _, failed = world.fails(feed, lambda seen: Answer(whole, send=1000))
    assert failed.outcome == "Transient"
    assert whole[:1000] in world.warc(failed)


def test_a_cut_body_that_can_be_resumed_is_one_response(world: World) -> None:
    whole = random.Random(3).randbytes(200_000)

    def answer(seen: Seen) -> Answer:
        start = int(seen.headers.get("range", "bytes=0-")[6:-1])
        headers = {"ETag": '"a"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        return Answer(whole[start:], 206 if start else 200, headers, send=90_000)

    record, server = world.fetch(make_feed(), answer)
    assert (record.responses, len(server.seen)) == (1, 3)
    assert world.bodies(record) == [whole]


def test_truncated_gzip_fails_with_a_sentence(world: World) -> None:
    body = gzip.compress(random.Random(1).randbytes(100_000))[:5000]
    feed = make_feed(limits=Limits(max_attempts=2))
    error, record = world.fails(feed, lambda seen: Answer(body, headers={"Content-Encoding": "gzip"}))
    assert record.outcome == "Transient"
    assert body in world.warc(record)
    assert "\n" not in str(error)


def test_a_gzip_bomb_is_refused_once(world: World) -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)
    feed = make_feed(limits=Limits(max_body_bytes=1_000_000))
    error, record = world.fails(feed, lambda seen: Answer(bomb, headers={"Content-Encoding": "gzip"}))
    assert (record.outcome, record.responses) == ("BadRequest", 1)
    assert "1000000 bytes" in error.what


def test_a_refused_redirect_is_archived_with_its_reason(world: World) -> None:
    error, record = world.fails(make_feed(), lambda seen: Answer(b"", 302, {"Location": "http://169.254.169.254/latest"}))
    assert record.outcome == "BadRequest"
    assert "another host" in error.what
    assert b"Location: http://169.254.169.254/latest" in world.warc(record)


def test_a_followed_redirect_is_archived_hop_by_hop(world: World) -> None:
    def answer(seen: Seen) -> Answer:
        return Answer(b"rows") if seen.path == "/moved" else Answer(b"there", 301, {"Location": "/moved"})

    record, _ = world.fetch(make_feed(), answer)
    assert record.responses == 2
    assert b"Madang-Outcome: Redirect" in world.warc(record)
    assert world.bodies(record) == [b"rows"]


def test_an_export_is_polled_until_it_is_there(world: World) -> None:
    record, server = world.fetch(make_feed(), in_turn(Answer(b"", 202), Answer(b"", 202), Answer(b"rows")))
    assert [seen.path for seen in server.seen] == ["/rows", "/result", "/result"]
    assert world.clock.slept == [5.0, 5.0]
    assert world.bodies(record) == [b"rows"]


def test_an_export_that_never_comes_ends_at_the_deadline(world: World) -> None:
    _, record = world.fails(make_feed(limits=Limits(total_timeout_s=60)), lambda seen: Answer(b"", 202))
    assert record.outcome == "Transient"
    assert sum(world.clock.slept) <= 65


def test_no_content_is_an_empty_success(world: World) -> None:
    record, _ = world.fetch(make_feed(), lambda seen: Answer(b"", 204))
    assert record.outcome == "Empty"
    assert world.bodies(record) == []


# --- nothing new ---


@pytest.mark.parametrize("second", [Answer(b"", 304), Answer(b"rows", headers={"ETag": '"flipped"'})])
def test_nothing_new_refers_to_the_earlier_bytes(world: World, second: Answer) -> None:
    first, _ = world.fetch(make_feed(), lambda seen: Answer(b"rows", headers={"ETag": '"1"'}))
    again, server = world.fetch(make_feed(), lambda seen: second)
    assert server.seen[0].headers["if-none-match"] == '"1"'
    assert (again.outcome, again.body_fetch_id, again.payload_sha256) == ("NotModified", first.fetch_id, first.payload_sha256)
    assert b"WARC-Type: revisit" in world.warc(again)
    assert world.bodies(again) == [b"rows"]
    assert world.ledger.last_ok(first.feed) == first


def test_same_etag_with_new_bytes_is_news(world: World) -> None:
    world.fetch(make_feed(), lambda seen: Answer(b"rows", headers={"ETag": '"1"'}))
    again, _ = world.fetch(make_feed(), lambda seen: Answer(b"more", headers={"ETag": '"1"'}))
    assert (again.outcome, world.bodies(again)) == ("Ok", [b"more"])


def test_a_new_stamp_around_the_same_data_is_nothing_new_but_is_archived(world: World) -> None:
    first, _ = world.fetch(make_feed(), lambda seen: Answer(b'{"generated": 1, "a": 2}'))
    again, _ = world.fetch(make_feed(), lambda seen: Answer(b'{"a": 2, "generated": 9}'))
    assert (again.outcome, again.body_fetch_id) == ("NotModified", first.fetch_id)
    assert b'{"a": 2, "generated": 9}' in world.warc(again)


def test_another_origin_is_news_whatever_the_bytes(world: World) -> None:
    world.fetch(make_feed(), lambda seen: Answer(b"rows", headers={"Madang-Origin": "synthetic"}))
    again, _ = world.fetch(make_feed(), lambda seen: Answer(b"rows", headers={"Madang-Origin": "replay"}))
    assert (again.outcome, again.origin, again.body_fetch_id) == ("Ok", "replay", again.fetch_id)
    assert b"WARC-Type: revisit" not in world.warc(again)


def test_304_to_an_unconditional_request_is_malformed(world: World) -> None:
    _, record = world.fails(make_feed(), lambda seen: Answer(b"", 304))
    assert (record.outcome, record.responses) == ("Malformed", 2)


class _Probed(_Plain):
    """A file whose change can be seen by a HEAD request."""

    def probe(self, feed: Feed, source: _Source, validators: Validators) -> Request | None:
        return Request(source.url, "HEAD", {"If-None-Match": validators.etag or '"none"'})


def test_a_probe_spares_the_fetch_where_nothing_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_file", _Probed())
    state = {"etag": '"1"', "body": b"rows"}

    def answer(seen: Seen) -> Answer:
        if seen.headers.get("if-none-match") == state["etag"]:
            return Answer(b"", 304)
        return Answer(b"" if seen.method == "HEAD" else state["body"], headers={"ETag": state["etag"]})  # type: ignore[dict-item,arg-type]

    _, server = world.fetch(make_feed(), answer)
    assert [seen.method for seen in server.seen] == ["GET"]
    again, server = world.fetch(make_feed(), answer)
    assert [seen.method for seen in server.seen] == ["HEAD"]
    assert (again.outcome, world.bodies(again)) == ("NotModified", [b"rows"])
    state |= {"etag": '"2"', "body": b"more"}
    third, server = world.fetch(make_feed(), answer)
    assert [seen.method for seen in server.seen] == ["HEAD", "GET"]
    assert (third.outcome, world.bodies(third), third.body_fetch_id) == ("Ok", [b"more"], third.fetch_id)
    assert b"Madang-Outcome: Probe" in world.warc(third)


class _Parts(_Plain):
    """Three files in one fetch."""

    def plan(self, feed: Feed, source: _Source, partition: str | None, now: datetime) -> Iterable[Step]:
        return [Step(n) for n in range(3)]

    def request(self, feed: Feed, source: _Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return replace(super().request(feed, source, step, cursor, validators), url=f"{source.url}/{step.ordinal}")


def test_of_several_files_only_the_changed_one_is_kept_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_file", _Parts())
    files = {f"/rows/{n}": f"part {n}".encode() for n in range(3)}

    def answer(seen: Seen) -> Answer:
        etag = f'"{len(files[seen.path])}"'
        return Answer(b"", 304) if seen.headers.get("if-none-match") == etag else Answer(files[seen.path], headers={"ETag": etag})

    world.fetch(make_feed(), answer)
    unchanged, _ = world.fetch(make_feed(), answer)
    assert unchanged.outcome == "NotModified"
    files["/rows/1"] = b"part 1, revised"
    changed, _ = world.fetch(make_feed(), answer)
    assert changed.outcome == "Ok"
    assert world.bodies(changed) == [b"part 0", b"part 1, revised", b"part 2"]
    assert world.warc(changed).count(b"WARC-Type: revisit") == 2
    fourth, _ = world.fetch(make_feed(), answer)
    assert (fourth.outcome, fourth.body_fetch_id) == ("NotModified", changed.fetch_id)
    assert world.bodies(fourth) == world.bodies(changed)


# --- pages ---

ROWS = [f"r{i}" for i in range(7)]


def test_all_pages_come_and_are_counted(world: World) -> None:
    record, server = world.fetch(make_feed("test_pages"), served(ROWS))
    assert (record.outcome, record.rows, len(server.seen)) == ("Ok", 7, 4)
    assert "page=4&offset=6" in server.seen[-1].target
    assert [json.loads(b)["rows"] for b in world.bodies(record)] == [["r0", "r1"], ["r2", "r3"], ["r4", "r5"], ["r6"]]
    assert world.progress[-1].rows == world.progress[-1].total == 7


def test_the_same_pages_again_are_nothing_new(world: World) -> None:
    first, _ = world.fetch(make_feed("test_pages"), served(ROWS))
    again, _ = world.fetch(make_feed("test_pages"), served(ROWS))
    assert (again.outcome, again.body_fetch_id, again.rows) == ("NotModified", first.fetch_id, 7)
    more, _ = world.fetch(make_feed("test_pages"), served([*ROWS, "r7"]))
    assert (more.outcome, more.rows) == ("Ok", 8)
    assert [r for b in world.bodies(more) for r in json.loads(b)["rows"]] == [*ROWS, "r7"]


def test_no_rows_at_all_is_empty(world: World) -> None:
    record, _ = world.fetch(make_feed("test_pages"), lambda seen: page([], 0))
    assert (record.outcome, record.rows) == ("Empty", 0)


def test_a_total_that_changes_restarts_from_page_1(world: World) -> None:
    grown = [*ROWS, "r7", "r8"]
    turns = iter(range(100))
    record, server = world.fetch(
        make_feed("test_pages"), lambda seen: served(ROWS)(seen) if next(turns) < 2 else served(grown)(seen)
    )
    assert record.rows == 9
    assert [seen.target.partition("page=")[2][0] for seen in server.seen] == list("12312345")
    assert [r for b in world.bodies(record) for r in json.loads(b)["rows"]] == grown


def test_what_was_unchanged_before_a_restart_says_nothing_about_after_it(world: World) -> None:
    world.fetch(make_feed("test_pages"), served(ROWS[:5]))
    first, second, third = (page(ROWS[i : i + 2][: 5 - i], 5) for i in (0, 2, 4))
    record, _ = world.fetch(
        make_feed("test_pages"), in_turn(first, second, page(["r4", "r5"], 6), page(["x0", "r1"], 5), second, third)
    )
    assert record.outcome == "Ok"
    assert [r for b in world.bodies(record) for r in json.loads(b)["rows"]] == ["x0", "r1", "r2", "r3", "r4"]


def test_a_total_that_keeps_changing_fails(world: World) -> None:
    turns = iter(range(100))
    error, record = world.fails(make_feed("test_pages"), lambda seen: page([f"x{(n := next(turns))}", "y"], 100 + n))
    assert record.outcome == "Malformed"
    assert "total changed" in error.what


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda seen: page(["r0", "r1"], 7), "ignored the offset"),
        (in_turn(page(["r0", "r1"], 3), page(["r2", "r3"], 3)), "4 rows came where the total says 3"),
        (in_turn(page(["r0", "r1"], 5), page(["r2"], 5), page([], 5)), "empty after 3 of 5 rows"),
        (in_turn(page(["r0"], 5), Answer(b"", 204)), "empty after 1 of 5 rows"),
    ],
)
def test_pages_that_do_not_add_up_fail(world: World, answer: Callable[[Seen], Answer], says: str) -> None:
    error, record = world.fails(make_feed("test_pages"), answer)
    assert record.outcome == "Malformed"
    assert says in error.what
    assert world.ledger.last_ok("kr.agency.rows") is None


def test_a_malformed_page_is_asked_once_more(world: World) -> None:
    record, server = world.fetch(make_feed("test_pages"), in_turn(Answer(b"<html>"), page(["a"], 1)))
    assert (record.outcome, len(server.seen)) == ("Ok", 2)
    _, failed = world.fails(make_feed("test_pages"), lambda seen: Answer(b"<html>"))
    assert failed.responses == 2
    assert b"<html>" in world.warc(failed)


class _Windows(_Pages):
    """Two queries in one fetch, each paged on its own."""

    def plan(self, feed: Feed, source: _Source, partition: str | None, now: datetime) -> Iterable[Step]:
        return [Step(0), Step(1)]


def test_a_restart_of_one_query_leaves_the_other_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_pages", _Windows())
    grown = [*ROWS, "r7"]
    turns = iter(range(100))
    record, _ = world.fetch(make_feed("test_pages"), lambda seen: served(ROWS)(seen) if next(turns) < 6 else served(grown)(seen))
    assert record.rows == len(ROWS) + len(grown)
    assert [r for b in world.bodies(record) for r in json.loads(b)["rows"]] == ROWS + grown


# --- quotas and limits ---


def test_a_declared_quota_stops_before_the_request_and_comes_back(world: World) -> None:
    feed = make_feed("test_pages", limits=Limits(per_day=5, reset="00:00 Asia/Seoul"))
    world.fetch(feed, served(ROWS))
    error, record = world.fails(feed, served(ROWS))
    assert (record.outcome, record.responses) == ("QuotaExhausted", 1)
    assert "2026-01-01 15:00" in error.mend  # midnight in Seoul
    assert len(world.server.seen) == 1
    world.clock.time += timedelta(days=1)
    assert world.fetch(feed, served([*ROWS, "new"]))[0].outcome == "Ok"


def test_a_quota_that_the_agency_ends_is_remembered_without_being_declared(world: World) -> None:
    feed = make_feed(auth={"kind": "query_key", "secret": "AGENCY_KEY"})
    secrets = {"AGENCY_KEY": KEY}
    world.fails(feed, lambda seen: Answer(b"API token quota exceeded", 429), secrets=secrets)
    _, record = world.fails(feed, lambda seen: Answer(b"rows"), secrets=secrets)
    assert (record.outcome, record.responses) == ("QuotaExhausted", 0)
    assert world.server.seen == []


def test_requests_are_spaced_and_places_are_given_back(world: World) -> None:
    feed = make_feed("test_pages", limits=Limits(per_second=0.5, concurrency=1))
    world.fetch(feed, served(ROWS))
    assert world.clock.slept == pytest.approx([2.0, 2.0, 2.0])
    now = world.clock.now()
    assert world.ledger.acquire_lease("agency.example", concurrency=1, holder="other", ttl_s=30, now=now)
    world.clock.slept.clear()
    assert world.fetch(feed, served(["other"]))[0].outcome == "Ok"


def test_the_place_is_free_while_we_wait_to_ask_again(world: World) -> None:
    found = []

    class Watching(Clock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            found.append(world.ledger.acquire_lease("agency.example", concurrency=1, holder="o", ttl_s=0, now=self.now()))

    world.clock = Watching()
    world.fetch(make_feed(limits=Limits(concurrency=1)), in_turn(Answer(b"", 500), Answer(b"rows")))
    assert found == [True]


def test_a_pause_that_another_process_was_told_to_make_is_made_here_too(world: World) -> None:
    world.ledger.defer_host("agency.example", world.clock.now() + timedelta(hours=1, seconds=90))
    assert world.fetch(make_feed(), lambda seen: Answer(b"rows"))[0].outcome == "Ok"
    assert world.clock.slept == pytest.approx([90.0])


def test_a_host_that_is_never_free_ends_the_fetch_without_a_request(world: World) -> None:
    now = world.clock.now()
    assert world.ledger.acquire_lease("agency.example", concurrency=1, holder="other", ttl_s=1e6, now=now)
    _, record = world.fails(make_feed(limits=Limits(concurrency=1, total_timeout_s=30)), lambda seen: Answer(b"rows"))
    assert (record.outcome, record.responses, world.server.seen) == ("Transient", 0, [])
    assert sum(world.clock.slept) <= 31


def test_a_taken_place_is_waited_for(world: World) -> None:
    start = world.clock.now() + timedelta(hours=1)
    assert world.ledger.acquire_lease("agency.example", concurrency=1, holder="other", ttl_s=7, now=start)
    record, _ = world.fetch(make_feed(limits=Limits(concurrency=1)), lambda seen: Answer(b"rows"))
    assert record.outcome == "Ok"
    assert sum(world.clock.slept) >= 7


# --- secrets ---


@pytest.mark.parametrize("status", [200, 401])
def test_a_key_is_nowhere_but_on_the_wire(world: World, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    feed = make_feed(auth={"kind": "query_key", "name": "key", "secret": "AGENCY_KEY"})
    encoded = "aB3%2B%2Fx9Qz7Lm0Pk2Rt5Wy8%3D%3D"

    def answer(seen: Seen) -> Answer:
        assert encoded in seen.target
        if seen.path == "/rows":
            return Answer(b"", 302, {"Location": f"/next?key={encoded}"})
        return Answer(f"bad key {KEY} or {encoded}".encode(), status, {"X-Key": KEY})

    message = ""
    if status == 200:
        world.fetch(feed, answer, {"AGENCY_KEY": KEY})
    else:
        error, _ = world.fails(feed, answer, secrets={"AGENCY_KEY": KEY})
        message = repr(error) + str(error) + repr(error.__cause__) + repr(error.__context__)
    record = world.ledger.last(feed.id)
    assert record is not None
    assert NEEDLE not in world.warc(record)
    assert b"Madang-Masked" in world.warc(record)
    for path in world.folder.rglob("*"):
        assert not path.is_file() or NEEDLE not in path.read_bytes(), path
    assert NEEDLE.decode() not in message + caplog.text + repr(record)


def test_a_missing_key_is_said_before_anything_is_sent(world: World) -> None:
    with pytest.raises(SettingsError, match="AGENCY_KEY"):
        world.fetch(make_feed(auth={"kind": "query_key", "secret": "AGENCY_KEY"}), lambda seen: Answer(b"rows"))
    assert world.server.seen == []
    assert world.ledger.last("kr.agency.rows") is None


# --- stops ---


def test_a_cancelled_fetch_leaves_nothing_and_the_next_one_works(world: World) -> None:
    world.cancelled = lambda: bool(world.progress)
    with pytest.raises(FetchCancelled):
        world.fetch(make_feed("test_pages"), served(ROWS))
    assert world.ledger.last("kr.agency.rows") is None
    assert list(world.store.list("archive")) == []
    world.cancelled = lambda: False
    assert world.fetch(make_feed("test_pages"), served(ROWS))[0].rows == 7


@pytest.mark.chaos
@pytest.mark.parametrize("step", [s for s in COMMIT_STEPS if s.startswith("fetch.")])
def test_a_kill_at_a_commit_step_leaves_no_half_state(world: World, step: str) -> None:
    """A process of its own fetches from this one's server and is killed; then the same world fetches again."""

    async def run() -> int:
        async with loopback(served(ROWS)) as server:
            root = Path(__file__).parents[2]
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                __file__,
                str(world.folder),
                server.url,
                env=os.environ | {"MADANG_KILL_AT": step, "PYTHONPATH": str(root)},
                stderr=subprocess.PIPE,
            )
            _, stderr = await process.communicate()
            assert process.returncode == -signal.SIGKILL, stderr.decode()
            return len(server.seen)

    assert asyncio.run(run()) == 4
    recorded = world.ledger.last("kr.agency.rows")
    archived = list(world.store.list("archive"))
    assert len(archived) == (0 if step == "fetch.spooled" else 1)
    assert (recorded is not None) == (step == "fetch.recorded")
    record, _ = world.fetch(make_feed("test_pages"), served(ROWS))
    assert record.outcome == ("NotModified" if recorded else "Ok")
    assert [r for b in world.bodies(record) for r in json.loads(b)["rows"]] == ROWS
    assert list((world.folder / "work" / "fetching").glob("2*")) == []


if __name__ == "__main__" and len(sys.argv) == 3:
    register(lambda d, k, v: d.__setitem__(k, v))
    _world = World(Path(sys.argv[1]))
    run_fetch(make_feed("test_pages"), deps=replace(_world.deps(sys.argv[2], {}), progress=None))
