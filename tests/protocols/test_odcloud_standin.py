"""odcloud against the stand-in: whole or failed, whatever the page size and the faults; an edition is fetched once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.standin_scene import Scene, feed_for, fetch_on_paper, paper, scene

HOST = "api.odcloud.kr"
OLD, NEW = "uddi:00000000-old", "uddi:11111111-new"
EDITIONS = {NEW: "전국 시설_20260630", OLD: "전국 시설_20251231"}
ROUTE: dict[str, Any] = {
    "kind": "odcloud",
    "host": HOST,
    "path": "/",
    "options": {"namespace": "15012890/v1", "editions": EDITIONS},
}
COLUMNS = ["번호", "시설명", "기준일"]


def feed(size: int = 10, **source: Any) -> Any:
    declared = {"protocol": "odcloud", "path": f"15012890/v1/{NEW}", "size": size, "limits": {"per_day": 900}}
    return feed_for(declared | source, COLUMNS)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"번호": str(n), "시설명": f"시설 {n}", "기준일": f"2026-06-{n % 5 + 1:02}"} for n in range(count)]


def read(count: int) -> list[tuple[str, str, str]]:
    return [(r["번호"], r["시설명"], r["기준일"]) for r in rows(count)]


FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50", "quota_after_n:2", "xml_error_on_json:22", "xml_error_on_json:02", "html_200", "empty_body_200",
    "status_500:1", "no_data", "code_with_data", "invalid_key", "service_retired",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 15), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True))
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, faults: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(feed(size), paper(Path(folder), feed(size), rows(total), faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "Empty", "Malformed", "QuotaExhausted", "AuthFailed", "Gone", "Transient"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read(total)
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("odcloud"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.fault()
    agency.forget()
    return agency


def test_all_pages_once_with_the_key_in_query_or_header(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read(25)
    assert [r["query"].count("%25") for r in clean.requests] == [0, 0, 0]
    header = feed(auth={"kind": "header_key"})
    assert clean.rows(clean.fetch(header), header) == read(25)
    assert "serviceKey" not in clean.requests[-1]["query"]


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ("cond[기준일::EQ]", "2026-06-01", read(25)[::5]),
        ("cond[시설명::LIKE]", "시설 2", [r for r in read(25) if "시설 2" in r[1]]),
        ("cond[기준일::GT]", "2026-06-04", read(25)[4::5]),
        ("cond[기준일::LTE]", "2026-06-01", read(25)[::5]),
    ],
)
def test_a_condition_is_counted_by_what_matched(clean: Scene, condition: str, value: str, expected: list[Any]) -> None:
    one = feed(3, params={condition: value})
    assert clean.rows(clean.fetch(one), one) == expected


def test_a_condition_that_nothing_meets_is_empty(clean: Scene) -> None:
    assert clean.fetch(feed(params={"cond[시설명::EQ]": "없음"})).outcome == "Empty"


def test_the_newest_edition_is_fetched_once_and_a_newer_one_again(tmp_path: Path) -> None:
    one = feed(path="15012890/v1", edition="newest", swagger=f"https://{HOST}/oas/docs")
    with scene(tmp_path, one, rows(25), **ROUTE) as clean:
        assert clean.rows(clean.fetch()) == read(25)
        assert [r["path"] for r in clean.requests] == ["/oas/docs", *[f"/api/15012890/v1/{NEW}"] * 3]
        clean.forget()
        assert clean.fetch().outcome == "NotModified"
        assert [r["path"] for r in clean.requests] == ["/oas/docs"]
        newer = {**EDITIONS, "uddi:22222222-newer": "전국 시설_20261031"}
        clean.agency.routes = (clean.route.model_copy(update={"options": {"namespace": "15012890/v1", "editions": newer}}),)
        clean.agency.routes[0].__dict__.pop("settings", None)
        clean.serve(rows(7))
        assert clean.rows(clean.fetch()) == read(7)
        assert clean.requests[-1]["path"] == "/api/15012890/v1/uddi:22222222-newer"


def test_another_question_is_asked_of_the_edition_that_is_there(tmp_path: Path) -> None:
    """The edition is the same; what the feed wants of it is not."""
    one = feed(path="15012890/v1", edition="newest", swagger=f"https://{HOST}/oas/docs")
    with scene(tmp_path, one, rows(25), **ROUTE) as clean:
        assert clean.rows(clean.fetch()) == read(25)
        few = feed(path="15012890/v1", edition="newest", swagger=f"https://{HOST}/oas/docs", params={"cond[시설명::EQ]": "시설 3"})
        asked = clean.fetch(few)
        assert asked.outcome == "Ok" and clean.rows(asked, few) == read(25)[3:4]
        assert clean.fetch(few).outcome == "NotModified"


def test_brackets_as_they_are_for_a_service_that_refuses_encoded_ones(tmp_path: Path) -> None:
    one = feed(params={"cond[기준일::EQ]": "2026-06-01"}, literal_brackets=True)
    strict = {**ROUTE, "options": {**ROUTE["options"], "literal_brackets": True}}
    with scene(tmp_path, one, rows(25), **strict) as clean:
        assert clean.rows(clean.fetch()) == read(25)[::5]


def test_a_post_service_is_asked_in_calls_of_a_hundred(tmp_path: Path) -> None:
    values = [f"{n:010}" for n in range(105)]
    one = feed_for({"protocol": "odcloud", "path": "nts-businessman/v1/status", "body": {"b_no": values}}, ["b_no", "b_stt"])
    route = {"kind": "odcloud", "host": HOST, "path": "/api/nts-businessman/v1/status", "options": {"post": "b_no"}}
    with scene(tmp_path, one, [{"b_no": v, "b_stt": "계속사업자"} for v in values], **route) as clean:
        assert clean.rows(clean.fetch()) == [(v, "계속사업자") for v in values]
        assert [r["method"] for r in clean.requests] == ["POST", "POST"]


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("invalid_key", "AuthFailed", 1),
        ("code_with_data", "AuthFailed", 1),
        ("service_retired", "Gone", 1),
        ("xml_error_on_json:30", "AuthFailed", 1),
        ("xml_error_on_json:22", "QuotaExhausted", 1),
        ("quota_after_n:1", "QuotaExhausted", 2),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("total_changes_mid_crawl:99", "Malformed", 6),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


def test_a_key_that_nobody_knows_is_asked_once(clean: Scene) -> None:
    known = clean.secret
    clean.secret = "bm9ib2R5cyBrZXk="
    try:
        clean.fails("AuthFailed")
    finally:
        clean.secret = known
    assert len(clean.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        "status_500:2",
        "status_429:1",
        "retry_after_0:2",
        "stream_cut:1",
        "reset_mid_body:1",
        "page_size_capped:7",
        "total_changes_mid_crawl:2",
    ],
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read(25)
