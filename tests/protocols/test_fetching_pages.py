"""The paging discipline of protocols.md 1.2, against a real server on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import pytest

from assets.archive.ledger import Ledger, reindex
from assets.feeds.model import PROTOCOLS, Feed
from assets.protocols.kernel import Step, When
from tests.loopback import Answer, Seen
from tests.protocols.fetching_scene import (  # noqa: F401  fixtures
    ROWS,
    World,
    _Pages,
    _protocols,
    _Source,
    in_turn,
    make_feed,
    page,
    served,
    world,
)

# --- pages ---


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
    assert world.ledger.last_answered("kr.agency.rows") is None


def test_a_malformed_page_is_asked_once_more(world: World) -> None:
    record, server = world.fetch(make_feed("test_pages"), in_turn(Answer(b"<html>"), page(["a"], 1)))
    assert (record.outcome, len(server.seen)) == ("Ok", 2)
    _, failed = world.fails(make_feed("test_pages"), lambda seen: Answer(b"<html>"))
    assert failed.responses == 2
    assert b"<html>" in world.warc(failed)


class _Windows(_Pages):
    """Two queries in one fetch, each paged on its own."""

    def plan(self, feed: Feed, source: _Source, when: When) -> Iterable[Step]:
        return [Step(0), Step(1)]


def test_a_restart_of_one_query_leaves_the_other_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_pages", _Windows())
    grown = [*ROWS, "r7"]
    turns = iter(range(100))
    record, _ = world.fetch(make_feed("test_pages"), lambda seen: served(ROWS)(seen) if next(turns) < 6 else served(grown)(seen))
    assert record.rows == len(ROWS) + len(grown)
    assert [r for b in world.bodies(record) for r in json.loads(b)["rows"]] == ROWS + grown


def test_a_body_of_a_fetch_without_news_is_referred_to_like_any_other(world: World) -> None:
    """Its stamp alone was new, so nothing was; later it stands for its page beside another that did change."""

    def answering(stamps: tuple[int, int], last: str) -> Callable[[Seen], Answer]:
        def answer(seen: Seen) -> Answer:
            page = 1 if "page=1&" in seen.target else 2
            rows = ["a", "b"] if page == 1 else [last]
            return Answer(json.dumps({"total": 3, "size": 2, "rows": rows, "generated": stamps[page - 1]}).encode())

        return answer

    outcomes = [((1, 1), "c", "Ok"), ((2, 2), "c", "NotModified"), ((2, 2), "c", "NotModified"), ((2, 3), "d", "Ok")]
    for stamps, last, outcome in outcomes:
        record, _ = world.fetch(make_feed("test_pages"), answering(stamps, last))
        assert record.outcome == outcome
    assert world.warc(record).count(b"WARC-Type: revisit") == 1
    assert [(found["generated"], found["rows"]) for found in map(json.loads, world.bodies(record))] == [(2, ["a", "b"]), (3, ["d"])]
    again = Ledger(f"sqlite:///{world.folder}/again.db")
    reindex(world.store, again)
    assert again.bodies("kr.agency.rows") == world.ledger.bodies("kr.agency.rows")
