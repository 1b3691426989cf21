"""fdsn_event against the stand-in: whole fetches, slices of time, changes, deletions and merged events, every fault."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.archive.fetches import FetchRecord
from assets.feeds.model import Feed
from assets.protocols.kernel import When
from assets.tables.build import build_table
from assets.tables.index import live_paths, read_index
from tests.protocols.fdsn_scene import COUNTS, ROUTE, changes, event, events, later, lines, text, usgs
from tests.protocols.standin_scene import NOW, Scene, fetch_on_paper, paper, scene
from tests.tables.making import read as read_table

FAULTS = [
    "count_is_more", "short_count", "no_data", "offset_ignored", "page_size_capped:3", "fdsn_error:400", "fdsn_error:413",
    "fdsn_error:503", "json_error:400", "header_only", "html_200", "empty_body_200", "status_500:1", "status_503:1", "status_404",
]  # fmt: skip
ENDS = {"Ok", "Empty", "Malformed", "Transient", "BadRequest", "Gone"}


def as_read(count: int) -> list[tuple[str, str]]:
    return [(one["id"], str(one["properties"]["mag"])) for one in events(count)]


def as_text(count: int) -> list[tuple[str, str]]:
    return [(str(n), "2.1") for n in range(count)]


# --- on paper -------------------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(
    total=st.integers(0, 25),
    size=st.integers(1, 12),
    most=st.integers(1, 30),
    faults=st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
    form=st.sampled_from(["geojson", "json", "text"]),
)
def test_a_finished_fetch_has_the_servers_events_or_there_is_none(
    total: int, size: int, most: int, faults: list[str], form: str
) -> None:
    """Whatever the page, the cap of the service and the number of events: all of them, in order of time, once."""
    counts = form == "geojson"
    one = text(size=min(size, most)) if form == "text" else usgs(format=form, size=min(size, most), count=counts)
    route = ROUTE | {"options": {"counts": counts, "most": most}}
    with tempfile.TemporaryDirectory() as folder:
        served = lines(total) if form == "text" else events(total)
        done = fetch_on_paper(one, paper(Path(folder), one, served, faults=faults, **route))
    assert done.outcome in ENDS, done
    # a count that is one too small shows on a page that is not full; by default a span is one page, and seldom a full one
    unseen = "short_count" in faults and counts
    if done.outcome == "Ok" and not unseen:
        assert done.rows == (as_text(total) if form == "text" else as_read(total))
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults or ("short_count" in faults and total == 1)
    if set(faults) <= {"status_500:1", "status_503:1", "page_size_capped:3", "header_only"}:
        assert done.outcome == ("Ok" if total else "Empty"), done.reason


# --- over a connection ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("usgs"), usgs(size=10), events(25), **COUNTS) as opened:
        yield opened


@pytest.fixture
def clean(service: Scene) -> Scene:
    service.serve(events(25))
    service.fault()
    service.forget()
    return service


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("centre"), text(size=10), lines(25), **ROUTE) as opened:
        yield opened


def asked(scene_: Scene) -> list[str]:
    """What was asked: count, or the offset of the page."""
    found = []
    for one in scene_.requests:
        query = parse_qs(one["query"])
        found.append("count" if one["path"].endswith("/count") else query["offset"][0])
    return found


def test_a_count_and_all_pages_once(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == as_read(25)
    assert asked(clean) == ["count", "1", "11", "21"]


def test_a_centre_that_does_not_count_is_asked_until_a_page_is_empty(centre: Scene) -> None:
    """It may cap its pages without a word; only an empty one is the end."""
    centre.fault("page_size_capped:7")
    centre.forget()
    assert centre.rows(centre.fetch()) == as_text(25)
    assert asked(centre) == ["1", "8", "15", "22", "26"]
    centre.fault()
    assert centre.rows(centre.fetch(text(size=10, nodata=404)), text()) == as_text(25)
    centre.fault("header_only")
    assert centre.rows(centre.fetch()) == as_text(25), "a header without rows is the empty page of others"
    centre.fault("no_data")
    assert centre.fetch().outcome == "Empty" and centre.fetch(text(nodata=404)).outcome == "Empty"


@pytest.mark.parametrize("counts", [True, False])
def test_more_than_the_service_gives_at_once_comes_in_slices_of_time(counts: bool, tmp_path: Path) -> None:
    feed = usgs(size=4) if counts else text(size=4)
    route = ROUTE | {"options": {"counts": counts, "most": 4}}
    with scene(tmp_path, feed, events(25) if counts else lines(25), **route) as small:
        assert small.rows(small.fetch()) == (as_read(25) if counts else as_text(25))
        ends = [parse_qs(one["query"])["endtime"][0] for one in small.requests if one["status"] == 200]
        assert len(set(ends)) >= 7 and all(len(end) == 26 for end in ends)


def test_events_on_the_seam_of_two_slices_come_once(tmp_path: Path) -> None:
    """Both ends of a span are meant: an event on the very instant belongs to the second."""
    feed = usgs()
    (whole,) = feed.protocol.plan(feed, feed.source, When(NOW))
    _, second = feed.protocol.split(feed, feed.source, whole)
    seam = round(second.params["from"].timestamp() * 1000)
    served = [event(n, time=seam + n - 1) for n in range(3)]
    agency = paper(tmp_path, feed, served, **ROUTE | {"options": {"counts": True, "most": 2}})
    assert [row[0] for row in fetch_on_paper(feed, agency).rows] == ["ev0", "ev1", "ev2"]


@pytest.mark.parametrize(
    ("fault", "outcome", "requests"),
    [
        ("fdsn_error:400", "BadRequest", 1), ("fdsn_error:403", "AuthFailed", 1), ("fdsn_error:404", "Gone", 1),
        ("fdsn_error:500", "Transient", 5), ("fdsn_error:503", "Transient", 5), ("status_404", "Gone", 1),
        ("json_error:400", "BadRequest", 1), ("count_is_more", "Malformed", 5), ("short_count", "Malformed", 4),
        ("offset_ignored", "Malformed", 3), ("html_200", "Malformed", 2), ("empty_body_200", "Malformed", 2),
        ("stream_cut", "Transient", 5), ("truncated_gzip", "Transient", 5), ("status_403", "AuthFailed", 1),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, requests: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == requests


def test_a_count_that_is_too_small_is_seen_where_a_span_is_one_page(clean: Scene) -> None:
    clean.fault("short_count")
    clean.fails("Malformed", usgs())
    assert asked(clean) == ["count", "1"]


def test_a_search_that_stays_too_large_in_all_parts_ends_and_asks_no_part_twice(centre: Scene) -> None:
    centre.fault("fdsn_error:413")
    centre.forget()
    centre.fails("BadRequest")
    assert len(centre.requests) < 40 and len({one["query"] for one in centre.requests}) == len(centre.requests)


@pytest.mark.parametrize(
    "fault", ["status_500:2", "status_503:1", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "utf8_bom"]
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == as_read(25)


def test_an_event_that_stands_on_two_pages_costs_another_and_the_key_tells(clean: Scene) -> None:
    """The count is right all the same: only the contract's key sees it."""
    clean.fault("duplicate_rows_between_pages")
    found = clean.rows(clean.fetch())
    assert len(found) == 25 and len(set(found)) == 23


def test_the_same_events_an_hour_later_are_no_news_and_a_revised_one_is(clean: Scene) -> None:
    clean.fetch()
    assert clean.fetch().outcome == "NotModified"
    clean.serve([event(0, mag=4.4), *events(25)[1:]])
    assert clean.fetch().outcome == "Ok", "as many events as before are not the same events"


# --- changes, deletions, merged events ------------------------------------------------------------------------------------


def build(scene_: Scene, feed: Feed, record: FetchRecord) -> dict[str, Any]:
    """The table after a fetch: id → all ids."""
    if record.outcome != "NotModified":
        result = build_table(
            feed, record, store=scene_.store, ledger=scene_.ledger, workdir=scene_.folder / "build", now=scene_.clock.now()
        )
        assert not result.blocked, [check.name for check in result.blocked]
    index = read_index(scene_.store, feed.id)
    assert index is not None
    found = read_table(live_paths(scene_.store, index, scene_.folder / "cache"))
    return {str(row["id"]): row["ids"] for row in found}


def test_revised_merged_and_deleted_events_reach_the_table_by_changes_alone(tmp_path: Path) -> None:
    feed = changes()
    with scene(tmp_path, feed, events(6), **COUNTS) as live:
        assert list(build(live, feed, live.fetch())) == [f"ev{n}" for n in range(6)]
        live.forget()
        quiet = live.fetch()
        assert (quiet.outcome, quiet.reason) == ("Empty", "count 0")
        assert len(live.requests) == 1 and "updatedafter=2026-11-26" in live.requests[0]["query"]
        at = later(2.5)
        live.serve(
            [
                event(0), event(1, updated=at, mag=5), event(2, updated=at, status="deleted"),
                event(3, updated=at, ids=",ev3,ev4,"), event(5, updated=at, ids=",other5,ev5,") | {"id": "other5"},
            ]
        )  # fmt: skip
        after = build(live, feed, live.fetch())
        assert after == {"ev0": ",ev0,", "ev1": ",ev1,", "ev3": ",ev3,ev4,", "other5": ",other5,ev5,"}
        assert live.fetch().outcome in ("Empty", "Ok"), "look-back asks again and changes nothing"
        # deleted under the id that it had before
        live.serve([event(5, updated=later(6), status="deleted", ids=",ev5,other5,")])
        assert set(build(live, feed, live.fetch())) == {"ev0", "ev1", "ev3"}


def test_a_look_back_asks_for_the_changes_of_that_time_again(tmp_path: Path) -> None:
    schedule = changes().schedule.model_copy(update={"lookback": timedelta(days=2)})
    feed = changes().model_copy(update={"schedule": schedule})
    with scene(tmp_path, feed, events(3), **COUNTS) as live:
        live.fetch()
        live.forget()
        live.fetch()
        assert "updatedafter=2026-11-24" in live.requests[0]["query"]


def test_deleted_events_come_only_to_those_who_ask(clean: Scene) -> None:
    clean.serve([event(0), event(1, status="deleted")])
    assert [row[0] for row in clean.rows(clean.fetch())] == ["ev0"]
    clean.serve([event(1, status="deleted")])
    assert clean.fetch(usgs(count=False)).outcome == "Empty", "409: only deleted events match"
