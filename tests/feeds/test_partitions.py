"""Time partitions of a feed: keys as Dagster has them, what is due, how a request is filled in, what cannot be declared."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.archive.assets import time_partitions
from assets.errors import DeclarationError
from assets.feeds.load import check, feed_json_schema, load_feed
from assets.feeds.model import Feed
from assets.feeds.partitions import FORMS, Partitions
from assets.protocols.kernel import Cursor, Validators, When
from assets.protocols.queries import spans_of, steps_of
from assets.yaml_document import InvalidDeclaration

NOW = datetime(2026, 11, 25, 18, 30, tzinfo=UTC)
"""03:30 of the 26th in Seoul."""
DAY = {"name": "day", "type": "date", "nullable": False}
QUERY = {"protocol": "data_go_kr", "base_url": "https://apis.data.go.kr/1/S", "params": {"ym": "{start:%Y%m}"}}
FILE = {"protocol": "http_file", "url": "https://h.example/{start:%Y}/{partition}.csv", "format": "csv"}


def declared(partitions: dict[str, Any] | None, source: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    feed: dict[str, Any] = {
        "id": "kr.test.deals",
        "title": "Deals",
        "agency": {"name": "Agency", "country": "KR"},
        "licence": {"id": "KOGL-1", "url": "https://agency.example/licence"},
        "schedule": {"cron": "0 3 * * *", "timezone": "Asia/Seoul"},
        "source": source or QUERY,
        "contract": {"columns": [DAY, {"name": "price"}]},
    }
    return feed | ({"partitions": partitions} if partitions else {}) | parts


def make(every: str = "month", start: Any = "2026-01", source: dict[str, Any] | None = None, **more: Any) -> Feed:
    parts = {name: more.pop(name) for name in ("schedule", "contract", "incremental") if name in more}
    return Feed.model_validate(declared({"every": every, "start": start, **more}, source, **parts))


def of(feed: Feed) -> Partitions:
    assert feed.partitions is not None
    return feed.partitions


# --- keys -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "start", "first", "last"),
    [
        ("hour", "2026-11-01", "2026-11-01-00:00", "2026-11-26-02:00"),
        ("day", "2026-01-01", "2026-01-01", "2026-11-25"),
        ("week", "2026-01-05", "2026-01-05", "2026-11-16"),
        ("month", "2026-01", "2026-01", "2026-10"),
        ("quarter", "2020", "2020-01", "2026-07"),
        ("year", 2020, "2020", "2025"),
    ],
)
def test_keys_are_where_a_period_begins_and_the_last_has_ended(every: str, start: Any, first: str, last: str) -> None:
    feed = make(every, start)
    keys = of(feed).keys(feed.schedule, NOW)
    assert (keys[0], keys[-1]) == (first, last)
    begins, ends = of(feed).span(feed.schedule, last)
    assert begins.strftime(FORMS[every]) == last and ends <= NOW


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(["hour", "day", "week", "month", "quarter", "year"]),
    st.datetimes(datetime(2024, 6, 1), datetime(2031, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.booleans(),
)
def test_dagster_has_the_same_keys_and_spans(every: str, now: datetime, zone: str, running: bool) -> None:
    """Over every change of a clock; hours only where none changes."""
    if every == "hour":
        zone, now = ("UTC" if zone != "Asia/Seoul" else zone), min(now, datetime(2024, 8, 1, tzinfo=UTC))
    starts = {"week": "2024-01-01", "hour": "2024-05-01"}
    feed = make(every, starts.get(every, "2024"), timezone=zone, running=running)
    theirs = time_partitions(feed)
    assert theirs is not None
    keys = of(feed).keys(feed.schedule, now)
    assert list(theirs.get_partition_keys(current_time=now)) == keys
    for key in {*keys[:2], *keys[-2:]}:
        window = theirs.time_window_for_partition_key(key)
        start, end = of(feed).span(feed.schedule, key)
        assert (window.start.timestamp(), window.end.timestamp()) == (start.timestamp(), end.timestamp())


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["day", "week", "month", "quarter", "year"]),
    st.datetimes(datetime(2021, 1, 1), datetime(2031, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 12),
    st.integers(0, 20),
    st.booleans(),
)
def test_what_is_due_is_there_and_follows_without_gap(every: str, now: datetime, revised: int, lag: int, running: bool) -> None:
    start = {"week": "2020-01-06"}.get(every, "2020")
    feed = make(every, start, revised=revised, lag=f"P{lag}D", running=running)
    keys, due = of(feed).keys(feed.schedule, now), of(feed).due(feed.schedule, now)
    assert due == [key for key in reversed(keys) if key in due] and len(due) <= revised + 1
    spans = [of(feed).span(feed.schedule, key) for key in due]
    assert all(newer[0] == older[1] for newer, older in pairwise(spans))
    if not running:
        assert all(end + timedelta(days=lag) <= now for _, end in spans)


@pytest.mark.parametrize(
    "key", ["2026-11", "2025-12", "2026-1", "202610", "2026-13", "2026-10-01", "", "all", "../2026-10", "x" * 500, "2026-10 "]
)
def test_a_key_that_is_none_names_the_first_the_last_and_the_form(key: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        make().partition(key, NOW)
    said = str(caught.value)
    assert "the first is 2026-01, the last 2026-10" in said and "year and month, like 2026-11" in said and len(said) < 250


def test_what_a_key_may_be() -> None:
    feed = make()
    assert feed.partition("2026-10", NOW) == "2026-10"
    assert make(running=True).partition("2026-11", NOW) == "2026-11"
    with pytest.raises(DeclarationError, match="fetched by partition"):
        feed.partition(None, NOW)
    whole = Feed.model_validate(declared(None, {**QUERY, "params": {}}))
    assert whole.partition(None, NOW) is None and whole.due(NOW) == [None]
    with pytest.raises(DeclarationError, match="it has no partitions"):
        whole.partition("2026-10", NOW)
    with pytest.raises(DeclarationError, match="there is no partition yet"):
        make(start="2027").partition("2026-10", NOW)
    assert make(start="2027").due(NOW) == []


def test_a_range_is_newest_first_and_checked_at_both_ends() -> None:
    feed = make()
    assert of(feed).between(feed.schedule, "2026-08", "2026-10", NOW, where="x") == ["2026-10", "2026-09", "2026-08"]
    for ends in (("2026-09", "2026-08"), ("2026-08", "2026-12"), ("2019-01", "2026-08")):
        with pytest.raises(DeclarationError):
            of(feed).between(feed.schedule, *ends, NOW, where="x")


def test_the_schedules_lag_is_the_partitions_unless_they_have_their_own() -> None:
    late = {"cron": "0 3 * * *", "timezone": "Asia/Seoul", "lag": "P30D"}
    assert make(schedule=late).due(NOW) == ["2026-09"]
    assert make(schedule=late, lag="P1D").due(NOW) == ["2026-10"]
    assert make(schedule=late, revised=2).due(NOW) == ["2026-09", "2026-08", "2026-07"]
    # A person may ask for what has ended but is not due.
    assert make(schedule=late).partition("2026-10", NOW) == "2026-10"


# --- what a fetch asks for ----------------------------------------------------------------------------------------------------


def asked(feed: Feed, partition: str, now: datetime = NOW) -> list[dict[str, str]]:
    source: Any = feed.source
    urls = [
        feed.protocol.request(feed, source, step, Cursor(), Validators()).url
        for step in feed.protocol.plan(feed, source, When(now, partition))
    ]
    own = {"pageNo", "numOfRows", "serviceKey"}
    return [{k: v for k, v in parse_qsl(urlsplit(url).query) if k not in own} for url in urls]


def test_places_are_filled_in_from_the_partition_and_not_from_the_present() -> None:
    params = {"a": "{start:%Y%m%d}", "b": "{end:%Y%m%d}", "c": "{last:%Y-%m}", "d": "{partition}", "e": "{start:%Y-%m-%dT%H:%MZ}"}
    feed = make(source=QUERY | {"params": params, "each": {"city": ["11", "26"]}})
    one = {"a": "20260201", "b": "20260301", "c": "2026-02", "d": "2026-02", "e": "2026-01-31T15:00Z"}
    assert asked(feed, "2026-02") == [one | {"city": "11"}, one | {"city": "26"}]


def test_the_partitions_own_zone_counts() -> None:
    feed = make("day", "2026-01-01", timezone="UTC", source=QUERY | {"params": {"t": "{start:%H:%M%z}", "k": "{partition}"}})
    assert asked(feed, "2026-11-24") == [{"t": "00:00+0000", "k": "2026-11-24"}]


def test_a_window_cuts_a_partition_into_its_periods() -> None:
    """A year of an agency that answers a month at a time."""
    feed = make("year", 2020, source=QUERY | {"window": {"every": "month"}})
    assert asked(feed, "2025") == [{"ym": f"2025{month:02}"} for month in range(1, 13)]


def test_both_ends_of_a_range_that_the_agency_means() -> None:
    params = {"startDt": "{start:%Y%m%d}", "endDt": "{last:%Y%m%d}"}
    feed = make(source=QUERY | {"params": params, "window": {"every": "day", "requests": "one"}})
    assert asked(feed, "2026-02") == [{"startDt": "20260201", "endDt": "20260228"}]


def test_of_a_partition_that_still_runs_only_what_is_there_is_asked_for() -> None:
    window = {"every": "day", "lag": "P1D"}
    feed = make(running=True, source=QUERY | {"params": {"d": "{start:%d}"}, "window": window})
    assert [q["d"] for q in asked(feed, "2026-11")][-1] == "24"
    begun = make(running=True, source=QUERY | {"params": {"d": "{start:%d}"}, "window": {"every": "day", "running": True}})
    assert [q["d"] for q in asked(begun, "2026-11")][-1] == "26"
    assert asked(feed, "2026-11", datetime(2026, 10, 31, 16, tzinfo=UTC)) == []


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([("year", "month"), ("year", "day"), ("month", "day"), ("quarter", "month"), ("week", "day"), ("day", "hour")]),
    st.dates(date(2024, 1, 8), date(2026, 6, 1)),
    st.sampled_from(["Asia/Seoul", "America/New_York", "Europe/Berlin"]),
)
def test_the_cuts_of_a_partition_fill_it(kinds: tuple[str, str], day: date, zone: str) -> None:
    longer, shorter = kinds
    feed = make(longer, "2024-01-01", timezone=zone, source=QUERY | {"window": {"every": shorter}})
    key = next(k for k in reversed(of(feed).keys(feed.schedule, NOW)) if k <= f"{day}" or k == "2024")
    spans = spans_of(feed, feed.source.window, When(NOW, key))  # type: ignore[attr-defined]
    start, end = of(feed).span(feed.schedule, key)
    assert (spans[0][0], spans[-1][1]) == (start, end)
    assert all(one[1] == other[0] for one, other in pairwise(spans))


def test_a_feed_without_partitions_keeps_its_window() -> None:
    whole = Feed.model_validate(declared(None, QUERY | {"window": {"every": "month", "count": 2}}))
    assert [step.params["start"].month for step in steps_of(whole, whole.source, When(NOW))] == [9, 10]  # type: ignore[arg-type]


def test_a_window_waits_as_long_as_its_schedule_says_unless_it_says_more() -> None:
    late = {"cron": "0 3 * * *", "timezone": "Asia/Seoul", "lag": "P30D"}

    def newest(**window: Any) -> int:
        feed = Feed.model_validate(declared(None, QUERY | {"window": {"every": "month"} | window}, schedule=late))
        month: int = steps_of(feed, feed.source, When(NOW))[-1].params["start"].month  # type: ignore[arg-type]
        return month

    assert (newest(), newest(lag="PT0S"), newest(running=True)) == (9, 10, 11)


def test_a_file_and_a_drop_are_named_by_their_time() -> None:
    feed = make("day", "2026-01-01", source=FILE)
    [step] = feed.protocol.plan(feed, feed.source, When(NOW, "2026-11-20"))
    url = feed.protocol.request(feed, feed.source, step, Cursor(), Validators()).url
    assert url == "https://h.example/2026/2026-11-20.csv"
    drop = {"protocol": "sftp", "url": "sftp://h.example/{start:%Y/%m}", "files": "access_{start:%Y%m%d}.log", "format": "csv"}
    feed = make(
        "day",
        "2026-01-01",
        source=drop | {"auth": {"kind": "password", "name": "me", "secret": "K"}, "host_keys": ["SHA256:" + "a" * 43]},
    )
    [step] = feed.protocol.plan(feed, feed.source, When(NOW, "2026-11-20"))
    assert feed.protocol.request(feed, feed.source, step, Cursor(), Validators()).url == "sftp://h.example/2026/11/"
    assert step.params["start"].day == 20


# --- what cannot be meant -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"every": "month", "start": "2026-01-15"}, "not where a month begins; write 2026-01-01 or 2026-02-01"),
        ({"every": "week", "start": "2026-01-01"}, "write 2025-12-29 or 2026-01-05"),
        ({"every": "year", "start": "2026-02"}, "write 2026-01-01 or 2027-01-01"),
        ({"every": "month", "start": "soon"}, "'soon' is no day"),
        ({"every": "decade", "start": "2020"}, "hour"),
        ({"every": "month", "start": "2020", "timezone": "Seoul"}, "no IANA time zone"),
        ({"every": "month", "start": "2020", "lag": "-P1D"}, "not negative"),
        ({"every": "month", "start": "2020", "revised": -1}, "greater than or equal to 0"),
        ({"every": "hour", "start": "2026-01-01", "timezone": "Europe/Berlin"}, "comes twice .*timezone: UTC"),
        ({"every": "month", "start": "2020", "column": "when"}, "no column of the contract"),
        ({"every": "month", "start": "2020", "column": "price"}, "nullable: false"),
        ({"every": "month", "start": "2020", "column": {"day": "%m"}}, "cannot tell 2020-01 from 2021-01"),
        ({"every": "month", "start": "2020", "column": {"day": "month"}}, "strftime"),
        ({"every": "month", "start": "2020", "column": {}}, "at least one"),
        ({"every": "month", "start": "2020", "column": {"day": "%Y-%m"}}, "day is a date"),
        ({"every": "hour", "start": "2020-01-01", "column": "day", "timezone": "UTC"}, "does not say the hour"),
    ],
)
def test_partitions_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Feed.model_validate(declared(wrong))


MONTHS = {"every": "month", "start": "2020"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (QUERY | {"params": {"a": "1"}}, "the same for every partition"),
        (QUERY | {"params": {"a": "{since:%Y}"}}, "the same for every partition"),
        (QUERY | {"params": {"a": "1"}, "window": {"every": "day"}}, "the same for every partition"),
        (FILE | {"url": "https://h.example/all.csv"}, "the same for every partition"),
        (QUERY | {"window": {"every": "day", "count": 3}}, "all its periods are asked for"),
        (QUERY | {"window": {"at": ["02:00"]}}, "only 'every'"),
        (QUERY | {"window": {"every": "day", "timezone": "UTC"}}, "only 'every'"),
        (QUERY | {"window": {"every": "week"}}, "a month is not made of whole weeks"),
        (QUERY | {"window": {"every": "year"}}, "use a shorter period, or no window"),
    ],
)
def test_a_request_that_does_not_go_with_partitions_is_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        Feed.model_validate(declared(MONTHS, source))
    assert caught.value.errors()[0]["loc"] == ("source",)


def test_a_protocol_that_sends_a_windows_ends_by_itself_needs_no_places() -> None:
    """It has parameters of its own for them: NCEI's startDate and endDate, both meant."""
    ncei = {"protocol": "ncei", "dataset": "daily-summaries", "stations": ["KSM00047108"]}
    feed = make("month", "2026-01", source=ncei | {"window": {"every": "day", "requests": "one"}})
    [step] = feed.protocol.plan(feed, feed.source, When(NOW, "2026-02"))
    url = feed.protocol.request(feed, feed.source, step, Cursor(), Validators()).url
    query = dict(parse_qsl(urlsplit(url).query))
    assert (query["startDate"][:10], query["endDate"][:10]) == ("2026-02-01", "2026-02-28")


def test_a_moment_without_window_and_partitions_is_refused() -> None:
    for source in (QUERY, FILE):
        with pytest.raises(ValidationError, match="declare one, like window"):
            Feed.model_validate(declared(None, source))


def test_upserts_need_the_time_in_their_key() -> None:
    """A record that the agency moves to another month would be in both."""
    keyed = {"columns": [DAY, {"name": "id", "nullable": False}], "key": ["id"]}
    for column in ({}, {"column": "day"}):
        with pytest.raises(ValidationError, match=r"partitions\.column, and that in contract\.key"):
            make(contract=keyed, incremental={"kind": "upsert"}, **column)
    make(contract=keyed | {"key": ["id", "day"]}, incremental={"kind": "upsert"}, column="day")
    make(contract=keyed)  # full: the month is replaced whole
    with pytest.raises(ValidationError, match="aliases follows a record through the whole table"):
        make(contract=keyed, incremental={"kind": "full", "aliases": "id"})


# --- files ---------------------------------------------------------------------------------------------------------------------

YAML = """\
id: kr.test.deals
title: Deals
agency: {name: Agency, country: KR}
licence: {id: KOGL-1, url: "https://agency.example"}
schedule: {cron: "0 3 * * *"}
PARTITIONS
source:
  protocol: http_file
  url: https://h.example/{partition}.csv
  format: csv
contract:
  columns: [{name: day, type: date}]
"""


def written(folder: Path, partitions: str) -> Path:
    path = folder / "kr.test.deals" / "feed.yaml"
    path.parent.mkdir()
    path.write_text(YAML.replace("PARTITIONS", partitions))
    return path


@pytest.mark.parametrize("start", ["2020-01-01", '"2020-01"', "2020-01", "2020", '"2020"'])
def test_a_clerk_may_write_the_start_short(start: str, tmp_path: Path) -> None:
    feed = load_feed(written(tmp_path, f"partitions: {{every: month, start: {start}}}"))
    assert of(feed).start == date(2020, 1, 1)
    # And an editor that has the schema does not object.
    written_as = json.loads(start) if start.startswith('"') or start == "2020" else start
    jsonschema.validate(declared({"every": "month", "start": written_as}), feed_json_schema())


def test_a_partition_that_is_not_declared_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidDeclaration) as caught:
        load_feed(written(tmp_path, "enabled: false"))
    assert "feed.yaml:7" in str(caught.value) and "declare partitions" in str(caught.value)


def test_the_check_says_which_partitions_there_are_and_which_a_run_asks_for(tmp_path: Path) -> None:
    path = written(tmp_path, "partitions: {every: month, start: 2026, revised: 1}")
    found = check([path], now=NOW)
    assert found.partitions == {
        "kr.test.deals": {"every": "month", "count": 10, "first": "2026-01", "last": "2026-10", "due": ["2026-10", "2026-09"]}
    }


def test_too_many_partitions_are_noted_and_stop_nobody(tmp_path: Path) -> None:
    found = check([written(tmp_path, "partitions: {every: hour, start: 2020}")], now=NOW)
    assert found.problems == [] and ["longer period" in note.mend for note in found.notes] == [True]
