"""Steps that come of answers: leads that say what to ask for, versions that spare the asking, queries that are too large."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from assets.errors import UnreadableSource
from assets.feeds.model import PROTOCOLS, Feed
from assets.protocols.kernel import BadRequest, Body, Cursor, Malformed, Ok, Outcome, Request, Response, Step, Validators, When
from tests.loopback import Answer, Seen
from tests.protocols.fetching_scene import World, _Pages, _Plain, _protocols, _Source, make_feed, page, world  # noqa: F401  fixtures


class _Edition(_Plain):
    """A page names the file of the current edition; the file is the feed."""

    def plan(self, feed: Feed, source: _Source, when: When) -> Iterable[Step]:
        return [Step(lead=True)]

    def follow(self, feed: Feed, source: _Source, step: Step, body: Body) -> Iterable[Step]:
        try:
            named = json.loads(body.path.read_bytes())
        except ValueError:
            raise UnreadableSource("the page names no edition") from None
        return [Step(params={"file": name}, stamp=name) for name in named]

    def request(self, feed: Feed, source: _Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return Request(f"{source.url}/{step.params.get('file', 'page')}", step=step.ordinal, page=cursor.page)


def agency(editions: list[str], text: str = "rows") -> Any:
    def answer(seen: Seen) -> Answer:
        return Answer(json.dumps(editions).encode()) if seen.path.endswith("/page") else Answer(f"{text} of {seen.path}".encode())

    return answer


@pytest.fixture
def edition(monkeypatch: pytest.MonkeyPatch) -> Feed:
    monkeypatch.setitem(PROTOCOLS, "test_file", _Edition())
    return make_feed()


def paths(server: Any) -> list[str]:
    return [seen.path for seen in server.seen]


def test_a_lead_says_what_to_ask_for_and_is_archived_but_no_body(world: World, edition: Feed) -> None:
    record, server = world.fetch(edition, agency(["e1", "e2"]))
    assert paths(server) == ["/rows/page", "/rows/e1", "/rows/e2"]
    assert world.bodies(record) == [b"rows of /rows/e1", b"rows of /rows/e2"]
    assert b"Madang-Outcome: Lead" in world.warc(record) and b'["e1", "e2"]' in world.warc(record)


def test_the_same_versions_are_not_asked_for_again(world: World, edition: Feed) -> None:
    first, _ = world.fetch(edition, agency(["e1", "e2"]))
    again, server = world.fetch(edition, agency(["e1", "e2"], "other bytes, never sent"))
    assert (again.outcome, paths(server)) == ("NotModified", ["/rows/page"])
    assert again.body_fetch_id == first.fetch_id and world.bodies(again) == world.bodies(first)
    third, server = world.fetch(edition, agency(["e1", "e3"]))
    assert third.outcome == "Ok" and paths(server) == ["/rows/page", "/rows/e1", "/rows/e3"]


def test_a_lead_that_cannot_be_read_fails_the_fetch_and_stays_in_the_archive(world: World, edition: Feed) -> None:
    error, record = world.fails(edition, lambda seen: Answer(b"<html>closed</html>"))
    assert (error.outcome, record.responses) == ("Malformed", 2)
    assert "names no edition" in str(error) and b"<html>closed" in world.warc(record)


def test_a_lead_to_nothing_is_an_empty_answer(world: World, edition: Feed) -> None:
    assert world.fetch(edition, agency([]))[0].outcome == "Empty"


class _Ranges(_Pages):
    """Rows from..to; the agency gives three at most, and says so."""

    def plan(self, feed: Feed, source: _Source, when: When) -> Iterable[Step]:
        return [Step(params={"from": 0, "to": 10}), Step(params={"from": 10, "to": 12})]

    def split(self, feed: Feed, source: _Source, step: Step) -> Iterable[Step]:
        low, high = step.params["from"], step.params["to"]
        middle = (low + high) // 2
        return [Step(params={"from": a, "to": b}) for a, b in ((low, middle), (middle, high))] if high - low > 1 else []

    def request(self, feed: Feed, source: _Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return Request(f"{source.url}?{step.params['from']}-{step.params['to']}", step=step.ordinal, page=cursor.page)

    def classify(self, source: _Source, request: Request, response: Response) -> Outcome:
        if b"too many" in response.head:
            return BadRequest("too many cells", too_large=True)
        found = super().classify(source, request, response)
        return found if isinstance(found, Ok) else Malformed("?")


def rows_between(most: int) -> Any:
    def answer(seen: Seen) -> Answer:
        low, high = (int(part) for part in seen.target.partition("?")[2].split("-"))
        return Answer(b"too many") if high - low > most else page([f"r{n}" for n in range(low, high)], high - low, 100)

    return answer


def test_a_query_that_is_too_large_is_asked_in_parts_and_in_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_pages", _Ranges())
    record, server = world.fetch(make_feed("test_pages"), rows_between(3))
    assert record.rows == 12
    assert [row for body in world.bodies(record) for row in json.loads(body)["rows"]] == [f"r{n}" for n in range(12)]
    # Once each: what is too large is not asked again.
    assert len(server.seen) == len({seen.target for seen in server.seen})
    again, _ = world.fetch(make_feed("test_pages"), rows_between(3))
    assert again.outcome == "NotModified"


def test_what_cannot_be_split_fails_with_the_agencys_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_pages", _Ranges())
    error, _ = world.fails(make_feed("test_pages"), rows_between(0))
    assert error.outcome == "BadRequest" and "too many cells" in str(error)


class _Same(_Ranges):
    """Its parts are the whole again."""

    def split(self, feed: Feed, source: _Source, step: Step) -> Iterable[Step]:
        return [Step(params=dict(step.params))]


class _AsLarge(_Ranges):
    """Its parts are others, and as large as the whole."""

    def split(self, feed: Feed, source: _Source, step: Step) -> Iterable[Step]:
        low, high = step.params["from"], step.params["to"]
        return [Step(params={"from": low + n, "to": high + n}) for n in (1, 2)]


class _LedToTheSame(_Edition):
    """Its parts are leads, whose answers lead to the whole again."""

    def split(self, feed: Feed, source: _Source, step: Step) -> Iterable[Step]:
        return [Step(lead=True)]

    def classify(self, source: _Source, request: Request, response: Response) -> Outcome:
        return BadRequest("too many cells", too_large=True) if request.url.endswith("/e1") else Ok()


@pytest.mark.parametrize(("protocol", "most"), [(_Same(), 1), (_AsLarge(), 100), (_LedToTheSame(), 200)])
def test_parts_that_are_no_smaller_end_the_fetch(
    world: World, monkeypatch: pytest.MonkeyPatch, protocol: _Plain, most: int
) -> None:
    monkeypatch.setitem(PROTOCOLS, protocol.name, protocol)
    answer = agency(["e1"]) if protocol.name == "test_file" else rows_between(0)
    error, record = world.fails(make_feed(protocol.name), answer)
    assert error.outcome == "BadRequest" and record.responses <= most
    assert "too many cells; asked in parts it becomes no smaller: ask for less at once" in str(error)


def test_pages_of_a_query_that_turns_out_too_large_do_not_count_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agency gave a first page, and refused the second: what came is asked again in parts, and is none of the fetch's."""
    monkeypatch.setitem(PROTOCOLS, "test_pages", _Ranges())
    refused: set[str] = set()

    def answer(seen: Seen) -> Answer:
        low, high = (int(part) for part in seen.target.partition("?")[2].split("-"))
        if high - low > 3 and seen.target in refused:
            return Answer(b"too many")
        refused.add(seen.target)
        rows = [f"r{n}" for n in range(low, high)]
        return page(rows[:2], high - low, 2) if high - low > 3 else page(rows, high - low, 100)

    record, _ = world.fetch(make_feed("test_pages"), answer)
    assert record.rows == 12
    assert [row for body in world.bodies(record) for row in json.loads(body)["rows"]] == [f"r{n}" for n in range(12)]


class _Since(_Plain):
    seen: list[Any]

    def plan(self, feed: Feed, source: _Source, when: When) -> Iterable[Step]:
        self.seen.append(when.since)
        return [Step()]


def test_since_is_the_last_answer_less_the_look_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = _Since()
    protocol.seen = []
    monkeypatch.setitem(PROTOCOLS, "test_file", protocol)
    feed = make_feed()
    object.__setattr__(feed, "schedule", feed.schedule.model_copy(update={"lookback": timedelta(hours=2)}))
    first, _ = world.fetch(feed, lambda seen: Answer(b"a"))
    world.fails(feed, lambda seen: Answer(b"", 401))
    world.fetch(feed, lambda seen: Answer(b"b"))
    # A failure in between loses nothing: what changed since the last answer is asked for.
    assert protocol.seen == [None, first.started_at - timedelta(hours=2), first.started_at - timedelta(hours=2)]
