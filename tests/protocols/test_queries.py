"""What a fetch asks for: windows on the agency's wall clock, values, and places filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.feeds.model import Feed
from assets.protocols.kernel import Step, When
from assets.protocols.queries import QuerySource, Window, fill, moment_text, periods, query_of, steps_of
from tests.protocols.standin_scene import feed_for
from tests.tables.making import make_feed

SEOUL = ZoneInfo("Asia/Seoul")
NOW = datetime(2026, 11, 25, 18, 30, tzinfo=UTC)
"""03:30 of the 26th in Seoul."""


class Source(QuerySource):
    protocol: Literal["test"] = "test"
    path: str = ""


def feed() -> Feed:
    return make_feed([{"name": "a"}], schedule={"cron": "0 3 * * *", "timezone": "Asia/Seoul"})


def asked(when: When | None = None, **source: Any) -> list[dict[str, str]]:
    declared = Source.model_validate(source)
    return [query_of(declared, step) for step in steps_of(feed(), declared, when or When(NOW))]


def test_without_a_window_there_is_one_query_and_empty_values_are_not_sent() -> None:
    assert asked(params={"a": "1", "b": "", "c": None, "d": 0, "e": "전국"}) == [{"a": "1", "d": "0", "e": "전국"}]


def test_whole_days_count_on_the_wall_clock_of_the_schedule() -> None:
    assert asked(params={"day": "{start:%Y%m%d}", "to": "{end:%Y%m%d}"}, window={"every": "day", "count": 2}) == [
        {"day": "20261124", "to": "20261125"},
        {"day": "20261125", "to": "20261126"},
    ]


def test_a_lag_waits_for_the_agency() -> None:
    """Seoul publishes the riders of a day three days later; at 03:30 the day that ended 3.5 hours ago is not there after PT4H."""
    assert asked(params={"day": "{start:%Y%m%d}"}, window={"every": "day", "lag": "P3D"}) == [{"day": "20261122"}]
    assert asked(params={"day": "{start:%Y%m%d}"}, window={"every": "day", "lag": "PT4H"}) == [{"day": "20261124"}]


def test_one_request_from_the_first_to_the_last_period() -> None:
    window = {"every": "month", "count": 3, "requests": "one", "running": True}
    assert asked(params={"from": "{start:%Y%m}", "to": "{last:%Y%m}"}, window=window) == [{"from": "202609", "to": "202611"}]


@pytest.mark.parametrize(
    ("every", "form", "shown"),
    [
        ("quarter", "%YQ%q", "2026Q3"),
        ("year", "%Y", "2025"),
        ("week", "%Y-%m-%d", "2026-11-16"),
        ("hour", "%Y%m%d%H", "2026112602"),
    ],
)
def test_every_kind_of_period(every: str, form: str, shown: str) -> None:
    assert asked(params={"p": f"{{start:{form}}}"}, window={"every": every}) == [{"p": shown}]


def test_moments_of_issue_and_their_delay() -> None:
    """KMA issues at 02, 05, … and has it ten minutes later: at 03:30 the latest is that of 02, before it that of 23 o'clock."""
    window = {"at": ["02:00", "05:00", "23:00"], "lag": "PT10M", "count": 2}
    params = {"base_date": "{start:%Y%m%d}", "base_time": "{start:%H%M}"}
    assert asked(params=params, window=window) == [
        {"base_date": "20261125", "base_time": "2300"},
        {"base_date": "20261126", "base_time": "0200"},
    ]


@pytest.mark.parametrize(
    ("days", "shown"),
    [(1, ["24", "25"]), (4, ["22", "23", "24", "25"]), (30, ["19", "20", "21", "22", "23", "24", "25"]), (None, ["24", "25"])],
)
def test_after_days_without_an_answer_the_window_catches_up(days: int | None, shown: list[str]) -> None:
    """What ended before the last answer came with it; how far back is asked at most, the feed says."""
    when = When(NOW, since=None if days is None else NOW - timedelta(days=days))
    window = {"every": "day", "count": 2, "catch_up": 5}
    assert [query["day"] for query in asked(when, params={"day": "{start:%d}"}, window=window)] == shown
    one = asked(when, params={"from": "{start:%d}", "to": "{last:%d}"}, window=window | {"requests": "one"})
    assert one == [{"from": shown[0], "to": "25"}]


def test_moments_that_were_missed_are_asked_for_once_they_are_there() -> None:
    window = {"at": ["02:00", "14:00"], "lag": "PT10M", "catch_up": 4}
    params = {"at": "{start:%d %H}"}
    assert asked(When(NOW, since=NOW - timedelta(days=1)), params=params, window=window) == [{"at": "25 14"}, {"at": "26 02"}]


def test_since_is_left_out_at_first_and_then_counts_in_the_declared_form() -> None:
    params = {"after": "{since:%Y-%m-%dT%H:%M:%SZ}", "where": "updated > '{since:%Y-%m-%dT%H:%M}'"}
    assert asked(params=params) == [{}]
    assert asked(When(NOW, since=NOW - timedelta(days=1)), params=params) == [
        {"after": "2026-11-24T18:30:00Z", "where": "updated > '2026-11-25T03:30'"}
    ]


@pytest.mark.parametrize(
    "source",
    [
        {"protocol": "dcat_rdf", "url": "https://h.example/catalog.ttl", "params": {"modified_since": "{since:%Y-%m-%d}"}},
        {"protocol": "s3", "url": "s3://bucket/out", "format": "csv", "take": "all", "start_after": "{since:%Y/%m/%d}"},
    ],
    ids=["parameter", "start of a listing"],
)
def test_what_did_not_change_is_not_taken_back(source: dict[str, Any]) -> None:
    """The second fetch would empty the table of all that was as before."""
    with pytest.raises(ValidationError, match="a full fetch takes back all that it leaves out"):
        feed_for(source, ["a"], deletes={"mode": "snapshot_diff"})
    column = {"name": "a", "source": "a", "nullable": False}
    for sound in ({"incremental": {"kind": "upsert"}, "deletes": {}}, {"deletes": {"mode": "none"}}):
        feed_for(source, ["a"], contract={"key": ["a"], "columns": [column]}, **sound)


def test_each_gives_one_query_a_combination_and_its_names_fill_places() -> None:
    assert asked(each={"sido": ["서울", "부산"], "n": [1, 2]}) == [
        {"sido": sido, "n": n} for sido in ("서울", "부산") for n in ("1", "2")
    ]
    assert asked(each=[{"nx": 60, "ny": 127}, {"nx": 98, "ny": 76}]) == [{"nx": "60", "ny": "127"}, {"nx": "98", "ny": "76"}]
    assert asked(each={"code": ["A", "B"]}, params={"filter": "x={code}"}) == [{"filter": "x=A"}, {"filter": "x=B"}]


def test_a_window_and_values_multiply_periods_first() -> None:
    found = asked(each={"c": ["A", "B"]}, params={"d": "{start:%d}"}, window={"every": "day", "count": 2})
    assert found == [{"d": "24", "c": "A"}, {"d": "24", "c": "B"}, {"d": "25", "c": "A"}, {"d": "25", "c": "B"}]


def test_a_secret_and_braces_of_the_agencys_own_stay() -> None:
    assert fill("{secret:MY_KEY}/{x}/{partition}", Step(params={"partition": "p"})) == "{secret:MY_KEY}/{x}/p"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"window": {"count": 2}}, "either 'every'"),
        ({"window": {"every": "day", "at": ["02:00"]}}, "either 'every'"),
        ({"window": {"at": ["2:00"]}}, "no time of day"),
        ({"window": {"every": "day", "lag": "-P1D"}}, "not negative"),
        ({"window": {"every": "day", "timezone": "Seoul"}}, "no IANA time zone"),
        ({"each": {"start": ["1"]}}, "a name of Madang's own"),
    ],
)
def test_what_cannot_be_meant_is_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Source.model_validate(source)


def test_too_many_queries_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="the most"):
        asked(each={"a": list(range(101)), "b": list(range(100))})


@settings(max_examples=300, deadline=None)
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["hour", "day", "week", "month", "quarter", "year"]),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from(["Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
)
def test_periods_follow_each_other_without_gap_or_overlap(now: datetime, every: Any, count: int, running: bool, zone: str) -> None:
    found = periods(Window(every=every, count=count, running=running), now, ZoneInfo(zone))
    assert len(found) == count
    for (_, end, _), (start, _, _) in pairwise(found):
        assert end.astimezone(UTC) == start.astimezone(UTC)
    start, end, _ = found[-1]
    assert (start <= now < end) if running else (end <= now < end + timedelta(days=366))


@settings(max_examples=200, deadline=None)
@given(st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)), st.integers(1, 20))
def test_moments_are_the_latest_of_their_kind_that_are_there(now: datetime, count: int) -> None:
    window = Window(at=("23:00", "02:00", "14:30"), count=count, lag=timedelta(minutes=10))
    found = [start for start, _, _ in periods(window, now, SEOUL)]
    assert len(found) == count and found == sorted(set(found))
    assert found[-1] <= now - window.lag < found[-1] + timedelta(hours=13)
    assert {f"{moment:%H:%M}" for moment in found} <= {"02:00", "14:30", "23:00"}


def test_a_quarter_and_a_half_of_the_year() -> None:
    assert [moment_text(datetime(2026, m, 1, tzinfo=SEOUL), "%YQ%q %YS%h") for m in (3, 4, 12)] == [
        "2026Q1 2026S1", "2026Q2 2026S1", "2026Q4 2026S2",
    ]  # fmt: skip


def test_a_name_that_is_filled_in_anywhere_is_no_parameter_of_its_own() -> None:
    """In the path, say: the agency would be sent a parameter that it does not know."""
    assert asked(each={"code": ["A"], "n": [1]}, path="/rows/{code}") == [{"n": "1"}]
    assert asked(each={"code": ["A"]}, path="/rows/{code}", params={"code": "{code}"}) == [{"code": "A"}]
