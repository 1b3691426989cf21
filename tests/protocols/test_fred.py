"""fred: what is sent, what every answer means, and fetches from the stand-in, whole or failed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Cursor,
    Empty,
    Gone,
    Malformed,
    Ok,
    RateLimited,
    Transient,
)
from deploy.agency.engines.fred import MESSAGES
from tests.protocols.json_scene import hostile, judged, read, said, urls
from tests.protocols.standin_scene import KEY, Scene, feed_for, fetch_on_paper, paper, scene

BASE = "https://api.stlouisfed.org/fred/series/observations"
ROUTE: dict[str, Any] = {"kind": "fred", "host": "api.stlouisfed.org", "path": "/fred/series/observations"}
KEYED = "&api_key={secret:FRED_KEY}"


def feed(*series: str, columns: tuple[str, ...] = ("series_id", "date", "value"), **source: Any) -> Feed:
    return feed_for({"protocol": "fred", "series": series or ("UNRATE",), "size": 10, **source}, columns)


def rows(count: int, series: str = "UNRATE") -> list[dict[str, Any]]:
    return [{"series_id": series, "date": f"{1950 + n}-01-01", "value": "." if n == 3 else f"{n}.5"} for n in range(count)]


def read_back(count: int, series: str = "UNRATE") -> list[tuple[str, ...]]:
    return [(row["series_id"], row["date"], row["value"]) for row in rows(count, series)]


def page(found: Any, count: Any = 1, **about: Any) -> dict[str, Any]:
    return {"realtime_start": "2026-11-25", "count": count, "offset": 0, "limit": 10, "observations": found, **about}


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_requests_as_sent() -> None:
    first = f"{BASE}?series_id=UNRATE&file_type=json&sort_order=asc"
    assert urls(feed()) == [f"{first}&limit=10&offset=0{KEYED}"]
    assert urls(feed(), Cursor(page=3, offset=20)) == [f"{first}&limit=10&offset=20{KEYED}"]
    window = {"params": {"observation_start": "{start:%Y-%m-%d}"}, "window": {"every": "month", "count": 12, "requests": "one"}}
    assert urls(feed(**window)) == [f"{first}&observation_start=2025-11-01&limit=10&offset=0{KEYED}"]
    assert [url.partition("series_id=")[2].partition("&")[0] for url in urls(feed("UNRATE", "GDP"))] == ["UNRATE", "GDP"]


def test_a_block_given_in_part_keeps_the_rest() -> None:
    source = feed(auth={"secret": "OTHER"}, limits={"concurrency": 1}).source
    assert (source.auth.name, source.auth.secret, source.limits.per_second) == ("api_key", "OTHER", 2)


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        (MESSAGES["key"], AuthFailed),
        (MESSAGES["no_key"], AuthFailed),
        (MESSAGES["series"], Gone),
        (MESSAGES["limit"], BadRequest),
        (MESSAGES["date"], BadRequest),
    ],
)
def test_errors_by_their_words_with_any_status(message: str, outcome: type, status: int) -> None:
    assert isinstance(found := said(feed(), {"error_code": 400, "error_message": message}, status), outcome), found


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ({"error_code": 429, "error_message": "Too Many Requests."}, 429, RateLimited),
        ({"error_code": 500, "error_message": "Internal Server Error"}, 200, Transient),
        ({"error_code": 404, "error_message": "Not Found"}, 404, Gone),
        ({"error_code": "?", "error_message": "x"}, 200, Malformed),
        (page([{"date": "2026-01-01", "value": "."}]), 200, Ok),
        (page([], 0), 200, Empty),
        (page([], None), 200, Malformed),
        ({"count": 3}, 200, Malformed),
        ("<?xml version='1.0'?><observations/>", 200, Malformed),
        ("<!DOCTYPE html><html></html>", 200, Malformed),
        ("", 200, Malformed),
        ("[1]", 200, Malformed),
        ('{"count": 1, "observations": [{"date"', 200, Transient),
        ("nothing", 403, AuthFailed),
        ("nothing", 404, Gone),
        ("nothing", 429, RateLimited),
        ("nothing", 503, Transient),
        (page([{"date": "2026-01-01"}]), 500, Transient),
    ],
)
def test_answers(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(feed(), body, status), outcome), found


def test_the_wait_that_is_asked_for_is_kept() -> None:
    found = said(feed(), {"error_code": 429, "error_message": "Too Many Requests."}, 429, retry_after="20")
    assert isinstance(found, RateLimited) and found.retry_after_s == 20


def test_a_cut_connection_and_a_page_larger_than_what_is_seen_of_it() -> None:
    assert isinstance(said(feed(), page([{"date": "2026-01-01"}]), complete=False), Transient)
    big = page([{"date": "2026-01-01", "value": "error_message"}] * 4000, 9001)
    assert isinstance(found := said(feed(), big), Ok) and (found.page.total, found.page.page_size) == (9001, 10)


@settings(max_examples=200, deadline=None)
@given(
    hostile(["error_code", "error_message", "observations", "count", "limit"]),
    st.integers(-1, 700),
    st.booleans(),
    st.none() | st.integers(0, 10**12),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None) -> None:
    found = judged(feed(), body, status, complete, length)
    if not 200 <= status < 300 or not complete:
        assert not isinstance(found, Ok)


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_rows_carry_their_series_which_stands_in_the_address_alone(tmp_path: Path) -> None:
    found = page([{"date": "2026-01-01", "value": "4.10"}, {"date": "2026-02-01", "value": "."}])
    assert read(tmp_path, feed(), found, url=f"{BASE}?series_id=UNRATE&api_key=***") == [
        ("UNRATE", "2026-01-01", "4.10"),
        ("UNRATE", "2026-02-01", "."),
    ]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"x":1}', b'{"observations":"x"}', b"\xff\xfe\x00", b"[" * 99_999])
def test_hostile_pages_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), body)


# --- against the stand-in -------------------------------------------------------------------------------------------------

FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50", "status_429:1", "html_200", "empty_body_200", "status_500:1",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(0, 20), st.integers(1, 15), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True))
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(one: int, two: int, size: int, faults: list[str]) -> None:
    asked = feed("UNRATE", *(["GDP"] if two else []), size=size)
    served = [*rows(one), *rows(two, "GDP")]
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(asked, paper(Path(folder), asked, served, faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "Malformed", "RateLimited", "Transient"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == [*read_back(one), *read_back(two, "GDP")]


@pytest.fixture(scope="module")
def fred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("fred"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(fred: Scene) -> Scene:
    fred.serve(rows(25))
    fred.fault()
    fred.secret = KEY
    fred.forget()
    return fred


def test_all_pages_once_and_the_next_day_is_no_news(clean: Scene) -> None:
    first = clean.fetch()
    assert clean.rows(first) == read_back(25) and len(clean.requests) == 3
    assert clean.fetch().outcome == "NotModified"  # though every row has the next day's real-time dates
    clean.serve([*rows(24), {"series_id": "UNRATE", "date": "1974-01-01", "value": "9.9"}])
    assert clean.rows(clean.fetch())[-1] == ("UNRATE", "1974-01-01", "9.9")


def test_where_revisions_are_asked_for_their_dates_are_data(clean: Scene) -> None:
    asked = feed(columns=("date", "value", "realtime_start"), params={"realtime_start": "1776-07-04", "realtime_end": "9999-12-31"})
    assert clean.rows(clean.fetch(asked), asked)[0] == ("1950-01-01", "0.5", "1776-07-04")
    assert clean.fetch(asked).outcome == "NotModified"
    revised = {**asked.source.params, "realtime_start": "1990-01-01"}
    later = asked.model_copy(update={"source": asked.source.model_copy(update={"params": revised})})
    assert clean.fetch(later).outcome == "Ok"  # the same values, of other dates


def test_a_key_that_is_not_registered_is_asked_once(clean: Scene) -> None:
    clean.secret = "0123456789abcdef"
    error = clean.fails("AuthFailed")
    assert len(clean.requests) == 1 and clean.secret not in str(error)


def test_an_unknown_series_is_gone(clean: Scene) -> None:
    clean.fails("Gone", feed("NOSUCH"))
    assert len(clean.requests) == 1


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("total_changes_mid_crawl:50", "Malformed", 6),
        ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1),
        ("status_429", "RateLimited", 5),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault",
    ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7", "utf8_bom"],
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.serve([*rows(24), {"series_id": "UNRATE", "date": "1974-01-01", "value": fault}])
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == [*read_back(24), ("UNRATE", "1974-01-01", fault)]
