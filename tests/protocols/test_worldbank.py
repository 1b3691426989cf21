"""worldbank: what is sent, what every answer means, and fetches from the stand-in, whole or failed."""

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
from deploy.agency.engines.worldbank import row_of
from tests.protocols.json_scene import hostile, judged, read, said, urls
from tests.protocols.standin_scene import Scene, feed_for, fetch_on_paper, paper, scene

BASE = "https://api.worldbank.org/v2/country/all/indicator/SP.POP.TOTL"
ROUTE: dict[str, Any] = {"kind": "worldbank", "host": "api.worldbank.org", "path": "/v2"}
WINDOW = {"params": {"date": "{start:%Y}:{last:%Y}"}, "window": {"every": "year", "count": 3, "requests": "one"}}


def feed(**source: Any) -> Feed:
    declared = {"protocol": "worldbank", "indicator": "SP.POP.TOTL", "size": 10, **source}
    return feed_for(declared, ["countryiso3code", "date", "value"])


def rows(count: int) -> list[dict[str, Any]]:
    return [row_of("SP.POP.TOTL", f"C{n}", f"C{n:02}", "2024", n) for n in range(count)]


def read_back(count: int) -> list[tuple[str, ...]]:
    return [(f"C{n:02}", "2024", str(n)) for n in range(count)]


def page(found: Any, total: Any = 1, **about: Any) -> list[Any]:
    return [{"page": 1, "pages": 1, "per_page": 10, "total": total, "lastupdated": "2026-10-30", **about}, found]


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_requests_as_sent() -> None:
    assert urls(feed()) == [f"{BASE}?format=json&per_page=10&page=1"]
    assert urls(feed(database=2, **WINDOW), Cursor(page=4)) == [f"{BASE}?format=json&per_page=10&page=4&date=2023:2025&source=2"]
    assert urls(feed(countries=["KR", "JPN"]))[0].startswith("https://api.worldbank.org/v2/country/KR;JPN/indicator/")


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "key", "outcome"),
    [("120", "Invalid value", BadRequest), ("160", "x", Gone), ("175", "x", Gone), ("7", "x", Malformed)],
)
@pytest.mark.parametrize("status", [200, 400])
def test_messages_come_with_any_status(number: str, key: str, outcome: type, status: int) -> None:
    found = said(feed(), [{"message": [{"id": number, "key": key, "value": "v"}]}], status)
    assert isinstance(found, outcome) and number in found.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ([{"message": [{"id": "105", "value": "Service currently unavailable"}]}], 200, Transient),
        ([{"message": []}], 200, Malformed),
        (page([{"date": "2024"}]), 200, Ok),
        (page(None, 0), 200, Empty),
        (page(None, "0"), 200, Empty),
        (page([], None), 200, Malformed),
        ("<!DOCTYPE html><html></html>", 400, Malformed),
        ("<wb:error/>", 400, Malformed),
        ("<!DOCTYPE html><html></html>", 200, Malformed),
        ("<?xml version='1.0'?><wb:data/>", 200, Malformed),
        ("", 200, Malformed),
        ("{}", 200, Malformed),
        ("[]", 200, Malformed),
        ("[7]", 200, Malformed),
        ('[{"total":1},[{"date"', 200, Transient),
        ("nothing", 404, Gone),
        ("nothing", 403, AuthFailed),
        ("nothing", 429, RateLimited),
        ("nothing", 503, Transient),
        (page([{"date": "2024"}]), 500, Transient),
    ],
)
def test_answers(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(feed(), body, status), outcome), found


def test_an_answer_in_xml_says_what_may_be_missing() -> None:
    assert "source.database" in said(feed(), "<?xml version='1.0'?><wb:data/>").reason  # type: ignore[union-attr]


def test_a_cut_connection_and_a_page_past_the_end() -> None:
    assert isinstance(said(feed(), page([{"date": "2024"}]), complete=False), Transient)
    assert isinstance(said(feed(), page(None, 0), page=2), Ok)


@pytest.mark.parametrize("as_text", [False, True])
def test_a_page_larger_than_what_is_seen_of_it(as_text: bool) -> None:
    big = page([row_of("SP.POP.TOTL", "KR", "KOR", "2024", n) for n in range(1000)], "1613" if as_text else 1613)
    found = said(feed(), big)
    assert isinstance(found, Ok) and (found.page.total, found.page.page_size, found.page.page_number) == (1613, 10, 1)


@settings(max_examples=200, deadline=None)
@given(
    hostile(["message", "id", "total", "page", "value"]), st.integers(-1, 700), st.booleans(), st.none() | st.integers(0, 10**12)
)
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None) -> None:
    found = judged(feed(), body, status, complete, length)
    if not 200 <= status < 300 or not complete:
        assert not isinstance(found, Ok)


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_rows_are_the_second_part_of_each_page(tmp_path: Path) -> None:
    one = {"countryiso3code": "KOR", "date": "2024", "value": 51751065}
    assert read(tmp_path, feed(), page([one]), page(None), page([{**one, "value": None}])) == [
        ("KOR", "2024", "51751065"),
        ("KOR", "2024", None),
    ]


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b"[[]]", b'[{},{"a":1}]', b"[{},[],7]", b"\xff\xfe\x00", b"[" * 99_999])
def test_hostile_pages_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), body)


# --- against the stand-in -------------------------------------------------------------------------------------------------

FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50", "worldbank_message:175", "xml_error_on_json", "html_200", "empty_body_200",
    "status_500:1", "no_data",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 15), st.booleans(), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True))
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, text: bool, faults: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        route = ROUTE | {"options": {"strings": text}}
        done = fetch_on_paper(feed(size=size), paper(Path(folder), feed(), rows(total), faults=faults, **route))
    assert done.outcome in ("Ok", "Empty", "Malformed", "Gone", "Transient"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read_back(total)
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("bank"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(bank: Scene) -> Scene:
    bank.serve(rows(25))
    bank.fault()
    bank.forget()
    return bank


def test_all_pages_once(clean: Scene) -> None:
    record = clean.fetch()
    assert clean.rows(record) == read_back(25) and len(clean.requests) == 3


def test_an_update_of_the_database_that_changes_no_row_is_no_news(clean: Scene) -> None:
    first, again = clean.fetch(), clean.fetch()  # a day later, and the stand-in's stamp is the day's
    assert (first.outcome in ("Ok", "NotModified"), again.outcome) == (True, "NotModified")
    clean.serve([*rows(24), row_of("SP.POP.TOTL", "C24", "C24", "2024", 999)])
    changed = clean.fetch()
    assert clean.rows(changed)[-1] == ("C24", "2024", "999")
    assert changed.provider_stamp is not None and changed.provider_stamp > (first.provider_stamp or "9999")


def test_countries_and_years_are_filtered_by_the_bank(clean: Scene) -> None:
    old = row_of("SP.POP.TOTL", "KR", "KOR", "2019", 1)
    clean.serve([old, {**old, "date": "2024"}, row_of("SP.POP.TOTL", "JP", "JPN", "2024", 2)])
    few = feed(countries=["KR"], **WINDOW)
    assert clean.rows(clean.fetch(few), few) == [("KOR", "2024", "1")]


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("worldbank_message:120", "BadRequest", 1),
        ("worldbank_message:160", "Gone", 1),
        ("worldbank_message:175", "Gone", 1),
        ("xml_error_on_json", "Malformed", 2),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


def test_a_redirect_to_another_portal_is_not_followed(clean: Scene) -> None:
    """tgherzog/wbgapi#35: that is how the bank is out of order, and nothing to mend in the declaration."""
    clean.fault("redirect_other_host")
    assert "another host, elsewhere.example; the bank does that in outages" in str(clean.fails("Malformed"))
    assert [request["path"] for request in clean.requests] == ["/v2/country/all/indicator/SP.POP.TOTL"] * 2


def test_no_rows_are_an_empty_answer(clean: Scene) -> None:
    clean.fault("no_data")
    assert clean.fetch().outcome == "Empty"


@pytest.mark.parametrize(
    "fault",
    ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7", "utf8_bom"],
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.serve([*rows(24), row_of("SP.POP.TOTL", "C24", "C24", "2024", 24 if fault == "utf8_bom" else len(fault))])
    clean.fault(fault)
    assert len(clean.rows(clean.fetch())) == 25
