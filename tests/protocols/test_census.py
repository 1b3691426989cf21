"""census: what is sent, what every answer means, and fetches from the stand-in, whole or failed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.kernel import AuthFailed, BadRequest, Empty, Gone, Malformed, Ok, RateLimited, Transient
from tests.protocols.json_scene import hostile, judged, read, said, urls
from tests.protocols.standin_scene import KEY, Scene, feed_for, fetch_on_paper, paper, scene

BASE = "https://api.census.gov/data/2023/acs/acs5"
ROUTE: dict[str, Any] = {"kind": "census", "host": "api.census.gov", "path": "/"}
COLUMNS = ("year", "NAME", "B01001_001E", "state", "county")
HEADER = ["NAME", "B01001_001E", "state", "county"]


def feed(columns: tuple[str, ...] = COLUMNS, **source: Any) -> Feed:
    declared = {"protocol": "census", "year": "2023", "dataset": "acs/acs5", "variables": ["NAME", "B01001_001E"]}
    return feed_for({**declared, "params": {"for": "county:*", "in": "state:*"}, **source}, columns)


def by_state(*states: str) -> Feed:
    return feed(params={"for": "county:*", "in": "state:{state}"}, each={"state": list(states)})


def rows(count: int, year: str = "2023", states: int = 3) -> list[dict[str, Any]]:
    return [
        {"year": year, "NAME": f"County {n}", "B01001_001E": str(n), "state": f"{n % states + 1:02}", "county": f"{n:03}"}
        for n in range(count)
    ]


def values(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in COLUMNS) for row in found]


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_requests_as_sent() -> None:
    assert urls(feed()) == [f"{BASE}?get=NAME,B01001_001E&for=county:*&in=state:*&key={{secret:CENSUS_KEY}}"]
    assert "&in=state:06%20county:037&" in urls(feed(params={"for": "tract:*", "in": "state:06 county:037"}))[0]
    assert ["&in=state:01&" in urls(by_state("01", "02"))[0], "&in=state:02&" in urls(by_state("01", "02"))[1]] == [True, True]


def test_a_block_given_in_part_keeps_the_rest() -> None:
    source = feed(limits={"per_day": 400}, auth={"secret": "OTHER"}).source
    assert (source.limits.per_second, source.limits.per_day, source.auth.name, source.auth.secret) == (2, 400, "key", "OTHER")


def test_the_year_may_be_one_of_several_or_of_the_window() -> None:
    several = urls(feed(year="{vintage}", each={"vintage": [2022, 2023]}))
    assert [url.split("/")[4] for url in several] == ["2022", "2023"] and "vintage" not in "".join(several)
    assert urls(feed(year="{start:%Y}", window={"every": "year", "lag": "P330D"}))[0].split("/")[4] == "2024"


@pytest.mark.parametrize(
    "wrong",
    [{"variables": []}, {"variables": [f"V{n}" for n in range(51)]}, {"params": {"get": "NAME"}}, {"auth": {"kind": "none"}}],
)
def test_a_declaration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**wrong)


# --- what answers mean ----------------------------------------------------------------------------------------------------

MISSING = "<html><head><title>Missing Key</title></head><body>A valid <em>key</em> must be included</body></html>"


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (MISSING, 200, AuthFailed),
        (MISSING.replace("Missing", "Invalid"), 200, AuthFailed),
        ("", 302, AuthFailed),
        ("<html><head><title>Maintenance</title></head></html>", 200, Malformed),
        ("error: 'get' is limited to 50 variables", 400, BadRequest),
        ("error: unknown variable 'X'", 400, BadRequest),
        ("<html><body>x</body></html>", 400, BadRequest),
        ("", 204, Empty),
        ([HEADER, ["A", "1", "01", "001"]], 200, Ok),
        ([HEADER, ["A", None, "01", "001"]], 200, Ok),
        ([], 200, Malformed),
        ([["a", 1], 7], 200, Ok),
        ([[1]], 200, Malformed),
        ({"a": 1}, 200, Malformed),
        ("", 200, Malformed),
        ("hello", 200, Malformed),
        ('[["NAME"],["A"', 200, Transient),
        ("nothing", 404, Gone),
        ("nothing", 403, AuthFailed),
        ("nothing", 429, RateLimited),
        ("nothing", 503, Transient),
        ([HEADER], 500, Transient),
    ],
)
def test_answers(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(feed(), body, status), outcome), found


def test_what_the_bureau_says_of_a_wrong_question_is_the_reason() -> None:
    assert said(feed(), "error: unknown variable 'X'", 400) == BadRequest("error: unknown variable 'X'")


def test_a_bad_key_is_flagged_by_a_header_whatever_comes_with_it() -> None:
    assert isinstance(said(feed(), [HEADER, ["A", "1", "01", "001"]], x_datawebapi_keyerror="bad"), AuthFailed)


def test_a_cut_connection_and_a_table_larger_than_what_is_seen_of_it() -> None:
    big = [HEADER, *([f"County {n}", str(n), "01", f"{n:03}"] for n in range(5000))]
    assert isinstance(said(feed(), big), Ok) and isinstance(said(feed(), big, complete=False), Transient)


@settings(max_examples=200, deadline=None)
@given(hostile(["error", "key", "NAME"]), st.integers(-1, 700), st.booleans(), st.none() | st.integers(0, 10**12))
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None) -> None:
    found = judged(feed(), body, status, complete, length)
    if not 200 <= status < 300 or not complete:
        assert not isinstance(found, Ok)


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_rows_are_zipped_with_the_header_and_carry_the_year_of_the_address(tmp_path: Path) -> None:
    one = [HEADER, ["A", "-666666666", "01", "001"], ["B", None, "01", "003"]]
    turned = [["state", "county", "B01001_001E", "NAME"], ["02", "005", "7", "C"]]
    assert read(tmp_path, feed(), one, turned, url=f"{BASE}?get=NAME&key=***") == [
        ("2023", "A", "-666666666", "01", "001"),
        ("2023", "B", None, "01", "003"),
        ("2023", "C", "7", "02", "005"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[]",
        b"{}",
        b"[[1]]",
        b'[["NAME"]]',
        b'[["NAME","B01001_001E"],["A"]]',
        b'[["NAME","B01001_001E"],7]',
        b'[["NAME","B01001_001E",null],["A","1","x"]]',
    ],
)
def test_hostile_tables_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), body)


# --- against the stand-in -------------------------------------------------------------------------------------------------

FAULTS = ["redirect_to_html", "html_200", "empty_body_200", "status_500:1", "no_data", "column_renamed", "status_429:1"]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 4),
    st.lists(st.sampled_from(["01", "02", "03", "04"]), min_size=1, unique=True),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(
    total: int, states: int, wanted: list[str], faults: list[str]
) -> None:
    served, asked = rows(total, states=states), by_state(*wanted)
    expected = [row for state in wanted for row in served if row["state"] == state]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = fetch_on_paper(asked, paper(Path(folder), asked, served, faults=faults, **ROUTE))
        except UnreadableSource:
            assert "column_renamed" in faults  # a table that does not have what was asked for is refused
            return
    assert done.outcome in ("Ok", "Empty", "AuthFailed", "Malformed", "RateLimited", "Transient"), done
    if done.outcome == "Ok":
        assert done.rows == values(expected)
    if done.outcome == "Empty":
        assert not expected or "no_data" in faults


@pytest.fixture(scope="module")
def bureau(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("census"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(bureau: Scene) -> Scene:
    bureau.serve(rows(25))
    bureau.fault()
    bureau.secret = KEY
    bureau.forget()
    return bureau


def test_one_question_is_one_answer_and_the_same_again_is_no_news(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == values(rows(25)) and len(clean.requests) == 1
    assert clean.fetch().outcome == "NotModified"


def test_states_one_after_the_other_and_one_without_rows(clean: Scene) -> None:
    asked = by_state("02", "77", "01")
    found = clean.rows(clean.fetch(asked), asked)
    assert found == values([row for state in ("02", "01") for row in rows(25) if row["state"] == state])
    assert len(clean.requests) == 3


@pytest.mark.parametrize("fault", ["redirect_to_html", "redirect_other_host", "wrong_key"])
def test_a_key_that_is_missing_or_wrong_is_no_success(clean: Scene, fault: str) -> None:
    if fault == "wrong_key":
        clean.secret = "0123456789abcdef"
    else:
        clean.fault(fault)
    error = clean.fails("AuthFailed")
    assert [request["path"].startswith("/data") for request in clean.requests].count(True) == 1
    assert clean.secret not in str(error)


def test_an_unknown_variable_is_told_in_the_bureaus_words(clean: Scene) -> None:
    assert "unknown variable 'NOSUCH'" in str(clean.fails("BadRequest", feed(variables=["NOSUCH"])))
    assert len(clean.requests) == 1


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


def test_a_table_without_what_was_asked_for_is_not_read(clean: Scene) -> None:
    clean.fault("column_renamed")
    record = clean.fetch()
    with pytest.raises(UnreadableSource, match="B01001_001E was asked for"):
        clean.rows(record)


def test_no_rows_are_an_empty_answer(clean: Scene) -> None:
    clean.fault("no_data")
    assert clean.fetch().outcome == "Empty"


@pytest.mark.parametrize("fault", ["status_500:2", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "utf8_bom"])
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.serve(served := [*rows(24), {**rows(1)[0], "NAME": fault}])
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == values(served)
