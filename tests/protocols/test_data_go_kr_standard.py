"""data_go_kr_standard: its address and filters, the gateway's errors in its place, and whole fetches from the stand-in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.protocols.data_go_kr_standard import PROTOCOL
from assets.protocols.kernel import Cursor, Empty, Malformed, Ok, PageInfo, Request, Response, Step, Transient, Validators
from deploy.agency.engines.data_go_kr import MESSAGES, gateway_error
from tests.protocols.standin_scene import Scene, feed_for, fetch_on_paper, paper, scene

OPERATION = "tn_pubr_public_prkplce_info_api"
ROUTE: dict[str, Any] = {"kind": "data_go_kr_standard", "host": "api.data.go.kr", "path": f"/openapi/{OPERATION}", "per_day": 1000}
URL = f"https://api.data.go.kr/openapi/{OPERATION}"


def feed(size: int = 10, **source: Any) -> Any:
    declared = {"protocol": "data_go_kr_standard", "operation": OPERATION, "paging": {"size": size}, "limits": {"per_day": 900}}
    return feed_for(declared | source, ["prkplceNo", "prkplceNm", "referenceDate"])


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"prkplceNo": f"111-1-{n:06}", "prkplceNm": f"주차장 {n}", "referenceDate": "2026-06-30", "insttNm": f"구 {n % 2}"}
        for n in range(count)
    ]


def read(count: int) -> list[tuple[str, str, str]]:
    return [(f"111-1-{n:06}", f"주차장 {n}", "2026-06-30") for n in range(count)]


def classify(body: bytes, status: int = 200, page: int = 1, complete: bool = True) -> Any:
    return PROTOCOL.classify(feed().source, Request(URL, page=page), Response.of(body, status, {}, complete))


def test_the_request_asks_for_json_filters_by_a_column_and_leaves_empty_ones_out() -> None:
    one = feed(500, params={"insttNm": "서울특별시 종로구", "lnmadr": ""})
    sent = PROTOCOL.request(one, one.source, Step(), Cursor(page=3), Validators())
    assert sent.url == (
        f"{URL}?insttNm=%EC%84%9C%EC%9A%B8%ED%8A%B9%EB%B3%84%EC%8B%9C%20%EC%A2%85%EB%A1%9C%EA%B5%AC&type=json&pageNo=3&numOfRows=500"
        "&serviceKey={secret:DATA_GO_KR_KEY}"
    )
    assert "&type=xml&" in PROTOCOL.request(
        one, feed(format={"param": "type", "value": "xml"}).source, Step(), Cursor(), Validators()
    ).url.replace("?", "&")


def test_an_address_of_its_own_is_recognised_without_its_key_and_no_other() -> None:
    found = PROTOCOL.recognise(f"{URL}?serviceKey=SECRET&pageNo=1&numOfRows=10&type=xml&insttNm=%EC%A2%85%EB%A1%9C%EA%B5%AC")
    assert found == {"protocol": "data_go_kr_standard", "operation": OPERATION, "params": {"insttNm": "종로구"}}
    assert PROTOCOL.recognise("https://api.data.go.kr/other/x") is None
    assert PROTOCOL.recognise("https://apis.data.go.kr/1360000/Service/op") is None


def test_the_operation_is_required_and_the_gateways_key_and_reset_are_kept() -> None:
    with pytest.raises(ValidationError, match="operation"):
        feed_for({"protocol": "data_go_kr_standard"}, ["a"])
    source = feed(limits={"per_day": 5}).source
    assert (source.auth.secret, source.auth.percent_encoded, source.limits.reset) == ("DATA_GO_KR_KEY", True, "00:00 Asia/Seoul")


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("01", "Transient"), ("02", "Transient"), ("03", "Empty"), ("04", "Transient"), ("05", "Transient"), ("10", "BadRequest"),
        ("11", "BadRequest"), ("12", "Gone"), ("20", "AuthFailed"), ("22", "QuotaExhausted"), ("30", "AuthFailed"),
        ("31", "AuthFailed"), ("99", "Transient"),
    ],
)  # fmt: skip
def test_each_code_means_the_same_in_xml_and_in_json(code: str, outcome: str) -> None:
    assert type(classify(gateway_error(code).body)).__name__ == outcome
    header = f'{{"response":{{"header":{{"resultCode":"{code}","resultMsg":"{MESSAGES[code]}"}}}}}}'
    assert type(classify(header.encode())).__name__ == outcome


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (b"Unauthorized", 401, "AuthFailed"),
        (b"Forbidden", 403, "AuthFailed"),
        (b"API not found", 404, "Gone"),
        (b"API rate limit exceeded", 429, "RateLimited"),
        (b"API token quota exceeded", 200, "QuotaExhausted"),
        (b"Unexpected error", 500, "Transient"),
    ],
)
def test_one_line_of_plain_text_is_no_empty_result(body: bytes, status: int, outcome: str) -> None:
    assert type(classify(body, status)).__name__ == outcome


def test_a_page_says_its_total_even_as_text_and_a_cut_one_is_asked_again() -> None:
    page = '{"response":{"header":{"resultCode":"00","resultMsg":"NORMAL_SERVICE"},"body":{"items":[{"prkplceNm":"가"}],'
    page += '"totalCount":"13,001","numOfRows":"100","pageNo":"1"}}}'
    assert classify(page.encode()) == Ok(PageInfo(total=13001, page_size=100, page_number=1))
    assert isinstance(classify(page[:-4].encode()), Transient)
    assert isinstance(classify(page.encode(), complete=False), Transient)
    none = page.replace('[{"prkplceNm":"가"}]', "[]").replace('"13,001"', "0")
    assert isinstance(classify(none.encode()), Empty)
    assert isinstance(classify(b""), Malformed)
    assert isinstance(classify(b"<!DOCTYPE html><html></html>"), Malformed)


# --- over the stand-in ----------------------------------------------------------------------------------------------------

FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl:2", "quota_after_n:2",
    "xml_error_on_json:30", "xml_error_on_json:02", "html_200", "empty_body_200", "status_500:1", "no_data",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 15), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True))
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, faults: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(feed(size), paper(Path(folder), feed(size), rows(total), faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "Empty", "Malformed", "QuotaExhausted", "AuthFailed", "Transient"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read(total)
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("standard"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.fault()
    agency.forget()
    return agency


def test_all_pages_once_in_json_and_in_xml(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read(25)
    assert len(clean.requests) == 3
    in_xml = feed(format={"param": "type", "value": "xml"})
    assert clean.rows(clean.fetch(in_xml), in_xml) == read(25)


def test_one_row_is_an_object_and_none_an_empty_text(clean: Scene) -> None:
    clean.fault("one_item_object")
    assert clean.rows(clean.fetch()) == read(1)
    clean.fault("zero_item_empty_string")
    assert clean.fetch().outcome == "Empty"


def test_a_column_in_params_filters(clean: Scene) -> None:
    odd = feed(params={"insttNm": "구 1"})
    assert clean.rows(clean.fetch(odd), odd) == read(25)[1::2]
    nothing = feed(params={"insttNm": "없는 구"})
    assert clean.fetch(nothing).outcome == "Empty"


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("xml_error_on_json:30", "AuthFailed", 1),
        ("xml_error_on_json:22", "QuotaExhausted", 1),
        ("xml_error_on_json:12", "Gone", 1),
        ("quota_after_n:1", "QuotaExhausted", 2),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault", ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7"]
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read(25)
