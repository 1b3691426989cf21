"""Whole fetches with `limits.pages_at_once`, against a real server on loopback, with a real store and ledger."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.archive.fetches import FetchRecord
from assets.errors import FetchFailed
from assets.feeds.model import Feed
from assets.protocols.asking import FetchCancelled
from assets.protocols.fetching import fetch
from assets.protocols.kernel import Limits
from tests.loopback import Answer, Loopback, Seen, loopback
from tests.protocols.fetching_scene import ROWS, Clock, World, _protocols, make_feed, page, register, world  # noqa: F401  (fixtures)
from tests.protocols.test_ahead import _nothing_unheard  # noqa: F401  (a fixture)

SIZE = 2


class Yielding(Clock):
    """Others get their turn while one sleeps."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def yielding(world: World) -> World:
    world.clock = Yielding()
    return world


def feed_of(at_once: int, **limits: Any) -> Feed:
    return make_feed("test_pages", limits=Limits(**{"concurrency": at_once, "pages_at_once": at_once} | limits))


def numbers(seen: Seen) -> tuple[int, int]:
    """Page and offset."""
    query = parse_qs(urlsplit(seen.target).query)
    return int(query["page"][0]), int(query["offset"][0])


def by_offset(rows: Sequence[str], size: int = SIZE) -> Callable[[Seen], Answer]:
    return lambda seen: page(rows[(at := numbers(seen)[1]) : at + size], len(rows), size)


def rows_of(world: World, record: FetchRecord) -> list[str]:
    return [row for body in world.bodies(record) for row in json.loads(body)["rows"]]


class Gate:
    """Holds the answers to pages until `pages` of them are at the server, so that it sees how many are open at once."""

    def __init__(self, pages: int) -> None:
        self.pages, self.waiting = pages, 0
        self.full = asyncio.Event()

    async def __call__(self, seen: Seen) -> None:
        if numbers(seen)[0] == 1:
            return
        self.waiting += 1
        if self.waiting >= self.pages:
            self.full.set()
        await asyncio.wait_for(self.full.wait(), 20)


def fetched(
    world: World,
    feed: Feed,
    answer: Callable[[Seen], Answer],
    gate: Callable[[], Callable[[Seen], Any]] | None = None,
) -> tuple[FetchRecord, Loopback]:
    async def run() -> tuple[FetchRecord, Loopback]:
        async with loopback(answer) as server:
            world.server, server.gate = server, gate() if gate else None
            return await asyncio.wait_for(fetch(feed, deps=world.deps(server.url, {})), 60), server

    world.clock.time += timedelta(hours=1)
    return asyncio.run(run())


def failed(world: World, *parts: Any) -> FetchRecord:
    with pytest.raises(FetchFailed):
        fetched(world, *parts)
    record = world.ledger.last("kr.agency.rows")
    assert record is not None
    return record


def places_left(world: World, concurrency: int) -> int:
    now = world.clock.now()
    got = [
        world.ledger.acquire_lease("agency.example", concurrency=concurrency, holder=f"probe{n}", ttl_s=1, now=now)
        for n in range(9)
    ]
    for n in range(9):
        world.ledger.release_lease("agency.example", f"probe{n}")
    return sum(got)


MANY = [f"r{n:02}" for n in range(23)]


def test_pages_are_at_the_server_together_and_in_the_archive_in_order(yielding: World) -> None:
    record, server = fetched(yielding, feed_of(3), by_offset(MANY), lambda: Gate(3))
    assert (record.outcome, record.rows, record.responses) == ("Ok", 23, 12)
    assert rows_of(yielding, record) == MANY and server.most == 3
    assert [body.page for body in _bodies(yielding)] == list(range(1, 13))
    assert places_left(yielding, 3) == 3


def _bodies(world: World) -> list[Any]:
    return [body for _, body in sorted(world.ledger.bodies("kr.agency.rows").items())]


def test_pages_that_are_as_they_were_are_revisits_whatever_order_they_came_in(yielding: World) -> None:
    first, _ = fetched(yielding, feed_of(3), by_offset(MANY))
    again, _ = fetched(yielding, feed_of(4), by_offset(MANY))
    assert (again.outcome, again.body_fetch_id) == ("NotModified", first.fetch_id)
    changed = [*MANY[:10], "new", *MANY[11:]]
    more, _ = fetched(yielding, feed_of(4), by_offset(changed))
    assert rows_of(yielding, more) == changed
    assert sorted(body.page for body in _bodies(yielding) if body.fetch_id == more.fetch_id) == [6]


@pytest.mark.parametrize("taken", [1, 2])
def test_places_that_others_hold_are_left_to_them(yielding: World, taken: int) -> None:
    for n in range(taken):
        later = yielding.clock.now() + timedelta(hours=1)
        assert yielding.ledger.acquire_lease("agency.example", concurrency=3, holder=f"other{n}", ttl_s=1e6, now=later)
    record, server = fetched(yielding, feed_of(3), by_offset(MANY))
    assert record.rows == 23 and server.most <= 3 - taken


def test_a_place_that_was_lost_is_replaced_by_one_that_is_not_in_use(yielding: World) -> None:
    """A lane gives its place up while it waits to ask again; another fetch takes it; the other lane has nothing to do."""
    world, turns = yielding, iter(range(100))

    class Taking(Yielding):
        async def sleep(self, seconds: float) -> None:
            world.ledger.acquire_lease("agency.example", concurrency=2, holder="other", ttl_s=1e6, now=self.now())
            await asyncio.sleep(0.05)  # so that the other lane's page is there
            await super().sleep(seconds)

    world.clock = Taking()

    def answer(seen: Seen) -> Answer:
        return Answer(b"", 500) if numbers(seen)[0] == 2 and next(turns) == 0 else by_offset(MANY)(seen)

    record, _ = fetched(world, feed_of(2), answer)
    assert rows_of(world, record) == MANY and sum(world.clock.slept) < 10


@pytest.mark.parametrize(("status", "body", "outcome"), [(401, b"", "AuthFailed"), (429, b"quota", "QuotaExhausted")])
def test_after_a_refused_key_or_quota_no_request_starts(yielding: World, status: int, body: bytes, outcome: str) -> None:
    said = []

    def answer(seen: Seen) -> Answer:
        if numbers(seen)[0] == 4:
            said.append(len(yielding.server.seen))
            return Answer(body, status)
        return by_offset(MANY)(seen)

    class Held(Gate):
        """Page 2 stays unanswered: nobody may wait for it."""

        async def __call__(self, seen: Seen) -> None:
            await super().__call__(seen)
            if numbers(seen)[0] == 2:
                await asyncio.sleep(30)

    record = failed(yielding, feed_of(3), answer, lambda: Held(3))
    assert record.outcome == outcome and len(yielding.server.seen) == 4 and len(said) == 1
    assert places_left(yielding, 3) == 3


def test_a_declared_quota_is_not_overdrawn_by_lanes(yielding: World) -> None:
    record = failed(yielding, feed_of(4, per_day=5), by_offset(MANY))
    assert (record.outcome, record.responses <= 5, len(yielding.server.seen) <= 5) == ("QuotaExhausted", True, True)


def test_a_page_out_of_range_is_no_failure_where_a_page_before_it_says_that_there_are_fewer(yielding: World) -> None:
    turns = iter(range(100))

    def answer(seen: Seen) -> Answer:
        if next(turns) == 0:
            return by_offset(MANY)(seen)
        _, offset = numbers(seen)
        return Answer(b"", 404) if offset >= 5 else by_offset(MANY[:5])(seen)

    class Late(Gate):
        """Page 2 is answered when page 4 has been refused."""

        async def __call__(self, seen: Seen) -> None:
            await super().__call__(seen)
            if numbers(seen)[0] == 2 and len(yielding.server.seen) == 4:
                await asyncio.sleep(0.1)

    record, _ = fetched(yielding, feed_of(3), answer, lambda: Late(3))
    assert rows_of(yielding, record) == MANY[:5]


def test_a_total_that_changes_while_pages_are_out_restarts(yielding: World) -> None:
    grown, turns = [f"s{n:02}" for n in range(27)], iter(range(1000))
    record, _ = fetched(yielding, feed_of(4), lambda seen: by_offset(MANY if next(turns) < 6 else grown)(seen))
    assert (record.outcome, record.rows) == ("Ok", 27) and rows_of(yielding, record) == grown
    turns = iter(range(1000))
    record = failed(yielding, feed_of(4), lambda seen: page(["x", "y"], 100 + next(turns)))
    assert record.outcome == "Malformed" and "total changed" in record.reason


def test_pages_that_become_shorter_are_read_one_after_another(yielding: World) -> None:
    turns = iter(range(1000))
    record, _ = fetched(yielding, feed_of(3), lambda seen: by_offset(MANY, 5 if next(turns) < 3 else 3)(seen))
    assert rows_of(yielding, record) == MANY and record.rows == 23


def test_a_longer_page_that_ends_the_count_early_leaves_no_row_twice(yielding: World) -> None:
    """Page 2 brings what pages 3 and 4 bring too, so that the rows add up before their turn."""

    def answer(seen: Seen) -> Answer:
        number, offset = numbers(seen)
        return page(MANY[offset : offset + (6 if number == 2 else 2)], 8)

    record, _ = fetched(yielding, feed_of(3), answer, None)
    assert rows_of(yielding, record) == MANY[:8] and record.rows == 8


def test_no_page_beyond_the_most_that_are_allowed_is_asked_for(yielding: World) -> None:
    record = failed(yielding, feed_of(4, max_pages=3), by_offset(MANY))
    assert record.outcome == "Malformed" and "more than 3 pages" in record.reason and len(yielding.server.seen) == 3


def test_a_cancelled_fetch_calls_all_back_and_gives_its_places_back(yielding: World) -> None:
    yielding.cancelled = lambda: len(yielding.server.seen) >= 4
    with pytest.raises(FetchCancelled):
        fetched(yielding, feed_of(3), by_offset(MANY))
    assert yielding.ledger.last("kr.agency.rows") is None and places_left(yielding, 3) == 3
    yielding.cancelled = lambda: False
    assert fetched(yielding, feed_of(3), by_offset(MANY))[0].rows == 23


# --- whatever happens ---------------------------------------------------------------------------------------------------

TROUBLE = st.sampled_from(
    ["500", "401", "404", "429", "429 0", "quota", "html", "cut", "grow", "shrink", "longer", "shorter", "empty"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    total=st.integers(0, 25),
    size=st.integers(1, 7),
    at_once=st.integers(1, 6),
    troubles=st.dictionaries(st.integers(0, 12), TROUBLE, max_size=3),
)
def test_the_servers_rows_in_order_or_a_failure(total: int, size: int, at_once: int, troubles: dict[int, str]) -> None:
    states = [[f"{n}-{i}" for i in range(length)] for n, length in enumerate((total, total + 3, max(total - 2, 0)))]
    now = {"state": 0, "size": size, "turn": 0}

    def answer(seen: Seen) -> Answer:
        trouble, now["turn"] = troubles.get(now["turn"], ""), now["turn"] + 1
        now["state"] = {"grow": 1, "shrink": 2}.get(trouble, now["state"])
        now["size"] = max(1, now["size"] + {"longer": 1, "shorter": -1}.get(trouble, 0))
        if trouble in ("500", "401", "404"):
            return Answer(b"", int(trouble))
        if trouble.startswith("429"):
            return Answer(b"", 429, {"Retry-After": "0"} if trouble == "429 0" else {})
        if trouble == "quota":
            return Answer(b"quota", 429)
        if trouble == "html":
            return Answer(b"<html>")
        honest = by_offset(states[now["state"]], now["size"])(seen)
        if trouble == "cut":
            return Answer(honest.body, send=len(honest.body) // 2)
        return page([], len(states[now["state"]])) if trouble == "empty" else honest

    with TemporaryDirectory() as folder:
        one = World(Path(folder))
        one.clock = Yielding()
        record = None
        with suppress(FetchFailed):
            record = fetched(one, feed_of(at_once), answer)[0]
        last = one.ledger.last("kr.agency.rows")
        assert last is not None and one.server.most <= at_once + (0 if not troubles else one.server.dropped)
        assert places_left(one, at_once) == at_once
        assert not list((one.folder / "work" / "fetching").glob("2*"))
        if record is not None and record.outcome == "Ok":
            assert rows_of(one, record) in states and record.rows == len(rows_of(one, record))
        elif record is not None:
            assert record.outcome == "Empty" and any(not state for state in states)
        elif not troubles:
            raise AssertionError(f"an honest server, and {last.outcome}: {last.reason}")
    gc.collect()
