"""eia2: what is sent, what every answer means, and fetches from the stand-in, whole or failed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

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
from tests.protocols.json_scene import hostile, judged, read, said, urls
from tests.protocols.standin_scene import KEY, Scene, feed_for, fetch_on_paper, paper, scene

ROUTE: dict[str, Any] = {
    "kind": "eia2",
    "host": "api.eia.gov",
    "path": "/v2/electricity/retail-sales/data",
    "options": {"dimensions": ["period", "stateid", "stateDescription"], "units": {"price": "cents per kilowatt-hour"}},
}
COLUMNS = ("period", "stateid", "price", "price-units")
SENT = {"protocol": "eia2", "route": "electricity/retail-sales", "data": ["price"], "frequency": "monthly", "size": 10}
SENT |= {"order": ["period", "stateid"]}


def feed(columns: tuple[str, ...] = COLUMNS, **source: Any) -> Feed:
    return feed_for({**SENT, **source}, columns)


def rows(count: int, period: str = "2026-08") -> list[dict[str, Any]]:
    return [{"period": period, "stateid": f"S{n:03}", "stateDescription": "x", "price": f"{n}.25"} for n in range(count)]


def read_back(count: int) -> list[tuple[str, ...]]:
    return [("2026-08", f"S{n:03}", f"{n}.25", "cents per kilowatt-hour") for n in range(count)]


def page(found: Any, total: Any = "1") -> dict[str, Any]:
    return {"response": {"total": total, "frequency": "monthly", "data": found}, "request": {"params": {"data": ["price"]}}}


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_requests_as_sent() -> None:
    sent = urls(feed(facets={"stateid": ["CO", "NY"], "sectorid": ["RES"]}), Cursor(page=3, offset=20))[0]
    assert sent.startswith("https://api.eia.gov/v2/electricity/retail-sales/data/?frequency=monthly&data%5B0%5D=price&")
    assert sent.endswith("&api_key={secret:EIA_KEY}")
    assert dict(parse_qsl(urlsplit(sent).query)) == {
        "frequency": "monthly", "data[0]": "price", "facets[stateid][0]": "CO", "facets[stateid][1]": "NY",
        "facets[sectorid][0]": "RES", "sort[0][column]": "period", "sort[0][direction]": "asc", "sort[1][column]": "stateid",
        "sort[1][direction]": "asc", "offset": "20", "length": "10", "api_key": "{secret:EIA_KEY}",
    }  # fmt: skip


def test_rows_are_sorted_by_the_period_and_the_key_unless_an_order_is_given() -> None:
    one = feed_for({**SENT, "order": []}, COLUMNS)
    for key, order in ((), "period"), (("c1", "c0"), "period stateid"), (("c1", "c2"), "period stateid price"):
        keyed = one.model_copy(update={"contract": one.contract.model_copy(update={"key": key})})
        sent = dict(parse_qsl(urlsplit(urls(keyed)[0]).query))
        assert " ".join(value for name, value in sent.items() if name.endswith("[column]")) == order


def test_a_value_of_each_is_a_facet_and_nothing_else() -> None:
    sent = urls(feed(each={"state": ["CO", "NY"]}, facets={"stateid": ["{state}"]}))
    assert ["&facets[stateid][0]=CO&" in unquote(sent[0]), "&facets[stateid][0]=NY&" in unquote(sent[1])] == [True, True]
    assert "&state=" not in sent[0]


def test_months_are_asked_for_as_months() -> None:
    window = {"every": "month", "count": 3, "requests": "one"}
    sent = urls(feed(params={"start": "{start:%Y-%m}", "end": "{last:%Y-%m}"}, window=window))[0]
    assert "&start=2026-08&end=2026-10&" in sent


@pytest.mark.parametrize(
    ("frequency", "start"),
    [("monthly", "2008-02-01"), ("monthly", "2008"), ("annual", "2008-02"), ("daily", "2008-02"), ("monthly", "{start:%Y-%m-%d}"),
     ("weekly", "2008-02"), ("quarterly", "2008-03"), ("quarterly", "{start:%Y-%m}"), ("hourly", "2008-02-01"),
     ("hourly", "{start:%Y-%m-%d}"), ("monthly", "{start}"), ("annual", "{start}"), ("daily", "20080201")],
)  # fmt: skip
def test_a_date_of_the_wrong_form_would_leave_rows_out_and_is_refused(frequency: str, start: str) -> None:
    with pytest.raises(ValidationError, match="in silence"):
        feed(frequency=frequency, params={"start": start}, window={"every": "month"})


@pytest.mark.parametrize(
    ("frequency", "start"),
    [("annual", "2008"), ("annual", "{start:%Y}"), ("quarterly", "2008-Q1"), ("quarterly", "{start:%Y-Q%q}"),
     ("monthly", "2008-02"), ("monthly", "{partition}"),
     ("monthly", "{first}"), ("weekly", "2008-02-01"), ("daily", "{start:%Y-%m-%d}"),
     ("hourly", "2008-02-01T00"), ("hourly", "{start:%Y-%m-%dT%H}"), ("hourly", "2008-02-01T00-05:00"),
     ("local-hourly", "2008-02-01T00-05"), ("monthly", "")],
)  # fmt: skip
def test_a_date_of_the_frequencys_own_form_is_sent(frequency: str, start: str) -> None:
    asked = feed(frequency=frequency, params={"start": start}, window={"every": "quarter"}, each={"first": ["2008-02"]})
    sent = urls(asked)[0]
    assert ("&start=" in sent) == (start not in ("", "{partition}"))  # of a feed without partitions there is none to fill in
    if "%q" in start:
        assert "&start=2026-Q3&" in sent


@pytest.mark.parametrize("wrong", [{"data": []}, {"size": 5001}, {"route": "/a"}, {"auth": {"kind": "header_key"}}])
def test_a_declaration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**wrong)


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ({"error": {"code": "API_KEY_MISSING", "message": "x"}}, 403, AuthFailed),
        ({"error": {"code": "API_KEY_INVALID", "message": "x"}}, 403, AuthFailed),
        ({"error": {"code": "API_KEY_INVALID", "message": "x"}}, 200, AuthFailed),
        ({"error": {"code": "OVER_RATE_LIMIT", "message": "x"}}, 429, RateLimited),
        ({"error": "the key is suspended", "code": 403}, 403, RateLimited),
        ("Forbidden", 403, RateLimited),
        ({"error": "Invalid facet", "code": 400}, 400, BadRequest),
        ({"error": "Invalid facet", "code": 400}, 200, BadRequest),
        ({"code": 404, "error": "Not found"}, 404, Gone),
        ({"error": "broken", "code": 500}, 200, Transient),
        ({"error": "?"}, 200, Malformed),
        (page([{"period": "2026-01"}]), 200, Ok),
        (page([{"period": "2026-01"}], 7440), 200, Ok),
        (page([], "0"), 200, BadRequest),
        (page([], None), 200, Malformed),
        ({"response": {"total": "3"}}, 200, Malformed),
        ("<?xml version='1.0'?><response/>", 200, Malformed),
        ("<!DOCTYPE html><html></html>", 200, Malformed),
        ("", 200, Malformed),
        ("[1]", 200, Malformed),
        ('{"response": {"total": "1", "data": [{"per', 200, Transient),
        ("nothing", 404, Gone),
        ("nothing", 429, RateLimited),
        ("nothing", 503, Transient),
        (page([{"period": "2026-01"}]), 500, Transient),
    ],
)
def test_answers(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(feed(), body, status), outcome), found


def test_no_rows_are_empty_only_where_that_is_declared() -> None:
    assert isinstance(said(feed(nodata="empty"), page([], "0")), Empty)
    assert isinstance(found := said(feed(), page([], "0")), BadRequest) and "facet" in found.reason
    assert isinstance(said(feed(), page([], "0"), page=2), Ok)


def test_a_suspended_key_waits_a_minute_or_as_long_as_is_said() -> None:
    suspended = {"error": "suspended", "code": 403}
    assert (found := said(feed(), suspended, 403)) and found.retry_after_s == 60  # type: ignore[union-attr]
    assert (found := said(feed(), suspended, 403, retry_after="7")) and found.retry_after_s == 7  # type: ignore[union-attr]


def test_a_cut_connection_and_a_page_larger_than_what_is_seen_of_it() -> None:
    assert isinstance(said(feed(), page([{"period": "2026-01"}]), complete=False), Transient)
    big = page([{"period": "2026-01", "price": "7.47", "error": "x", "total": "5", "code": "9"}] * 4000, "9001")
    assert isinstance(found := said(feed(), big), Ok) and found.page.total == 9001


@settings(max_examples=200, deadline=None)
@given(
    hostile(["error", "code", "message", "response", "data", "total"]),
    st.integers(-1, 700),
    st.booleans(),
    st.none() | st.integers(0, 10**12),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None) -> None:
    found = judged(feed(), body, status, complete, length)
    if not 200 <= status < 300 or not complete:
        assert not isinstance(found, Ok)


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_values_are_text_and_keep_their_digits(tmp_path: Path) -> None:
    one = {"period": "2026-01", "stateid": "CO", "price": "7.470", "price-units": "cents"}
    assert read(tmp_path, feed(), page([one]), page([])) == [("2026-01", "CO", "7.470", "cents")]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"x":1}', b'{"response":{"data":"x"}}', b"\xff\xfe\x00", b"[" * 99_999])
def test_hostile_pages_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), body)


# --- against the stand-in -------------------------------------------------------------------------------------------------

FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50", "key_suspended:1", "html_200", "empty_body_200", "status_500:1", "no_data",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 15), st.booleans(), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True))
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, empty: bool, faults: list[str]) -> None:
    asked = feed(size=size, nodata="empty" if empty else "refuse")
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(asked, paper(Path(folder), asked, rows(total)[::-1], faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "Empty", "BadRequest", "Malformed", "RateLimited", "Transient"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read_back(total)
    if done.outcome in ("Empty", "BadRequest"):
        assert (total == 0 or "no_data" in faults) and empty == (done.outcome == "Empty")


@pytest.fixture(scope="module")
def eia(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("eia"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(eia: Scene) -> Scene:
    eia.serve(rows(25))
    eia.fault()
    eia.secret = KEY
    eia.forget()
    return eia


def test_all_pages_once_and_another_version_of_the_api_is_no_news(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read_back(25) and len(clean.requests) == 3
    assert clean.fetch().outcome == "NotModified"  # the stand-in's apiVersion is the day's
    clean.serve([*rows(24), {**rows(1)[0], "stateid": "S024", "price": "1"}])
    assert clean.rows(clean.fetch())[-1][1:3] == ("S024", "1")


def test_rows_of_one_period_are_told_apart_by_the_key(clean: Scene) -> None:
    """Sorted by the period alone they stand otherwise on every page: some come twice, others never, and the count is right."""
    one = feed(order=[])
    loose = clean.rows(clean.fetch(one), one)
    assert len(loose) == 25 and len(set(loose)) < 25
    keyed = one.model_copy(update={"contract": one.contract.model_copy(update={"key": ("c0", "c1")})})
    assert clean.rows(clean.fetch(keyed), keyed) == read_back(25)


def test_a_wrong_facet_finds_nothing_and_fails_the_fetch(clean: Scene) -> None:
    clean.fails("BadRequest", feed(facets={"state": ["CO"]}))
    assert len(clean.requests) == 1
    found = feed(facets={"stateid": ["S003"]})
    assert [row[1] for row in clean.rows(clean.fetch(found), found)] == ["S003"]


def test_a_key_that_is_not_registered_is_asked_once(clean: Scene) -> None:
    clean.secret = "0123456789abcdef"
    error = clean.fails("AuthFailed")
    assert len(clean.requests) == 1 and clean.secret not in str(error)


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("key_suspended:9", "RateLimited", 5),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("total_changes_mid_crawl:50", "Malformed", 6),
        ("no_data", "BadRequest", 1),
        ("status_404", "Gone", 1),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault",
    ["status_500:2", "key_suspended:2", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7"],
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.serve([*rows(24), {**rows(1)[0], "stateid": "S024", "price": fault}])
    clean.fault(fault)
    found = clean.rows(clean.fetch())
    assert found[:24] == read_back(24) and found[24][2] == fault
