"""data_go_kr: what is sent, what every form of answer means, and a declaration in YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.load import load_feed
from assets.protocols.data_go_kr import PROTOCOL, DataGoKrSource
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Cursor,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    QuotaExhausted,
    RateLimited,
    Request,
    Response,
    Step,
    Transient,
    Validators,
)
from tests.protocols.data_go_kr_scene import BASE, classify, envelope, feed_of, gateway_xml

# --- the request ---------------------------------------------------------------------------------------------------------


def request_url(source: dict[str, Any], step: Step | None = None, page: int = 1) -> str:
    feed = feed_of(source)
    return PROTOCOL.request(feed, feed.source, step or Step(), Cursor(page=page), Validators()).url


def test_request_encodes_once_omits_empties_and_holds_only_a_placeholder_of_the_key() -> None:
    url = request_url(
        {
            "params": {"sidoName": "전국", "ver": "1.3", "flight_id": "", "none": None, "q": "a+b c/d"},
            "format": {"param": "returnType", "value": "json"},
            "auth": {"secret": "MY_KEY"},
        },
        page=3,
    )
    assert url == (
        f"{BASE}/op?sidoName=%EC%A0%84%EA%B5%AD&ver=1.3&q=a%2Bb%20c%2Fd&returnType=json&pageNo=3&numOfRows=100&serviceKey={{secret:MY_KEY}}"
    )


@pytest.mark.parametrize(("literal", "shown"), [(True, "cond[x::EQ]".replace(":", "%3A")), (False, "cond%5Bx%3A%3AEQ%5D")])
def test_brackets_in_a_parameter_name(literal: bool, shown: str) -> None:
    assert f"?{shown}=1&" in request_url({"params": {"cond[x::EQ]": "1"}, "literal_brackets": literal})


def test_partition_fills_its_placeholder() -> None:
    assert "DEAL_YMD=202601&" in request_url({"params": {"DEAL_YMD": "{partition}"}}, Step(params={"partition": "202601"}))


def test_defaults_of_the_gateway_survive_a_partly_given_block() -> None:
    source = DataGoKrSource.model_validate(
        {"protocol": "data_go_kr", "base_url": BASE, "auth": {"secret": "OTHER"}, "limits": {"per_day": 500}}
    )
    assert (source.auth.kind, source.auth.name, source.auth.percent_encoded) == ("query_key", "serviceKey", True)
    assert (source.limits.per_day, source.limits.reset) == (500, "00:00 Asia/Seoul")


# --- errors: every code in every form --------------------------------------------------------------------------------------

CODES = {
    "01": Transient, "02": Transient, "03": Empty, "04": Transient, "05": Transient, "10": BadRequest, "11": BadRequest, "12": Gone,
    "20": AuthFailed, "21": Transient, "22": QuotaExhausted, "23": RateLimited, "30": AuthFailed, "31": AuthFailed,
    "32": AuthFailed, "33": AuthFailed, "99": Transient,
}  # fmt: skip


@pytest.mark.parametrize(("code", "outcome"), CODES.items())
@pytest.mark.parametrize(
    "form",
    [
        gateway_xml,
        lambda c: json.dumps({"OpenAPI_ServiceResponse": {"cmmMsgHeader": {"returnReasonCode": c, "returnAuthMsg": "X"}}}),
        lambda c: json.dumps({"cmmMsgHeader": {"returnReasonCode": c, "errMsg": "SERVICE ERROR"}}),
        lambda c: json.dumps({"response": {"header": {"resultCode": c, "resultMsg": "x"}}}),
        lambda c: json.dumps({"response": {"header": {"resultCode": c, "resultMsg": "x"}, "body": ""}}),
        lambda c: json.dumps({"responseTime": "2026-01-01", "resultCode": c, "resultMsg": "x"}),
        lambda c: (
            f"<?xml version='1.0'?><response><header><resultCode>{c}</resultCode><resultMsg>x</resultMsg></header></response>"
        ),
        lambda c: json.dumps({"response": {"header": {"resultCode": int(c), "resultMsg": "x"}}}),
    ],
    ids=["A-xml", "A-json", "A-bare", "B", "B-empty-body", "C", "B-xml", "B-number"],
)
def test_every_code_in_every_form(form: Any, code: str, outcome: type) -> None:
    said = classify(form(code))
    assert isinstance(said, outcome), f"{code}: {said}"


def test_waits_after_21_and_23() -> None:
    said = classify(gateway_xml("21"))
    assert isinstance(said, Transient) and said.retry_after_s is not None and said.retry_after_s >= 600
    assert isinstance(again := classify(gateway_xml("23")), RateLimited) and again.retry_after_s


def test_nodata_is_empty_or_retried_as_declared() -> None:
    assert isinstance(classify(envelope("", 0, code="03")), Empty)
    assert isinstance(classify(envelope("", 0, code="03"), source={"nodata": "retry"}), Transient)
    assert isinstance(classify(json.dumps({"response": {"header": {"resultCode": "NO_DATA"}}})), Empty)


def test_words_without_a_known_code_and_unknown_codes() -> None:
    assert isinstance(classify(gateway_xml("", "SERVICE_KEY_IS_NOT_REGISTERED_ERROR")), AuthFailed)
    assert isinstance(classify(gateway_xml("77", "SOMETHING")), Malformed)


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("APPLICATION_ERROR", Transient), ("DB_ERROR", Transient), ("NODATA_ERROR", Empty), ("NO_DATA", Empty),
        ("HTTP_ERROR", Transient), ("SERVICETIMEOUT_ERROR", Transient), ("SERVICETIME_OUT", Transient),
        ("INVALID_REQUEST_PARAMETER_ERROR", BadRequest), ("NO_MANDATORY_REQUEST_PARAMETERS_ERROR", BadRequest),
        ("NO_OPENAPI_SERVICE_ERROR", Gone), ("SERVICE_ACCESS_DENIED_ERROR", AuthFailed),
        ("TEMPORARILY_DISABLE_THE_SERVICEKEY_ERROR", Transient),
        ("LIMITED_NUMBER_OF_SERVICE_REQUESTS_EXCEEDS_ERROR", QuotaExhausted), ("DEADLINE_HAS_EXPIRED_ERROR", AuthFailed),
        ("UNREGISTERED_IP_ERROR", AuthFailed), ("UNSIGNED_CALL_ERROR", AuthFailed), ("UNKNOWN_ERROR", Transient),
    ],
)  # fmt: skip
def test_a_word_without_its_number_means_the_same(word: str, outcome: type) -> None:
    assert isinstance(classify(gateway_xml("", word)), outcome)
    assert isinstance(classify(json.dumps({"response": {"header": {"resultCode": word, "resultMsg": "x"}}})), outcome)


@pytest.mark.parametrize(
    ("text", "status", "outcome"),
    [
        ("Unauthorized", 401, AuthFailed),
        ("Forbidden", 403, AuthFailed),
        ("API not found", 404, Gone),
        ("API rate limit exceeded", 429, RateLimited),
        ("API token quota exceeded", 429, QuotaExhausted),
        ("API token quota exceeded\n", 200, QuotaExhausted),
        ("Error forwarding request to backend server", 502, Transient),
        ("Error receiving response from backend server", 200, Transient),
        ("Unexpected errors", 500, Transient),
        ("Unexpected error", 200, Transient),
    ],
)
def test_plain_text_of_the_new_gateway(text: str, status: int, outcome: type) -> None:
    assert isinstance(classify(text, status), outcome)


@pytest.mark.parametrize(("body", "status"), [(gateway_xml("30"), 200), ("Forbidden", 403)])
def test_a_key_may_not_have_reached_the_agencys_server_yet(body: str, status: int) -> None:
    """For two days after an approval these are no mistake of anybody's, and a later run finds the key there."""
    assert isinstance(said := classify(body, status), AuthFailed) and "48 hours" in said.reason


def test_other_bodies_that_are_no_page() -> None:
    assert isinstance(said := classify(b""), Malformed) and "cap" in said.reason
    assert isinstance(classify("<!DOCTYPE html><html><body>점검 중</body></html>"), Malformed)
    assert isinstance(classify("[1,2]"), Malformed)
    assert isinstance(classify("hello"), Malformed)
    assert isinstance(classify(envelope([{"a": 1}])[:-30]), Transient)
    assert isinstance(classify(envelope([{"a": 1}]), complete=False), Transient)
    assert isinstance(classify("nothing here", 503), Transient)
    assert isinstance(classify(gateway_xml("77"), 503), Transient)
    assert isinstance(classify('{"response":{"header":{"resultCode":"00"},"body":{}}}'), Malformed)
    assert isinstance(classify("<response><header><resultCode>00</resultCode></header><body/></response>"), Malformed)
    assert isinstance(classify("<r><header><resultCode>00</resultCode></header><items><item>1</item></items>"), Transient)
    assert isinstance(classify(gateway_xml("22"), 500), QuotaExhausted)


# --- pages -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["00", "0000", "000", "0"])
def test_success_with_numbers_or_numeric_strings(code: str) -> None:
    for total, size, page in ((37, 10, 2), ("37", "10", "2")):
        said = classify(envelope([{"a": 1}], total, size, page, code), page=2)
        assert isinstance(said, Ok)
        assert (said.page.total, said.page.page_size, said.page.page_number) == (37, 10, 2)


def test_declared_success_codes_replace_the_default() -> None:
    assert isinstance(classify(envelope([], 2, code="INFO-000"), source={"success_codes": ["INFO-000"]}), Ok)
    assert isinstance(classify(envelope([], 2, code="00"), source={"success_codes": ["INFO-000"]}), Malformed)


def test_a_page_past_the_end_is_ok_and_an_empty_answer_is_empty() -> None:
    assert isinstance(classify(envelope("", 20), page=3), Ok)
    assert isinstance(classify(envelope("", 0)), Empty)


@pytest.mark.parametrize("as_xml", [False, True])
@pytest.mark.parametrize("header_last", [False, True])
def test_a_body_larger_than_the_head_is_understood_by_its_two_ends(as_xml: bool, header_last: bool) -> None:
    row = {"a": "값" * 40, "pageNo": "999", "totalCount": "888", "resultCode": "77", "numOfRows": "5"}
    if as_xml:
        item = "<item>" + "".join(f"<{k}>{v}</{k}>" for k, v in row.items()) + "</item>"
        header = "<header><resultCode>00</resultCode><resultMsg>OK</resultMsg></header>"
        body = (
            f"<body><items>{item * 1500}</items><numOfRows>1500</numOfRows><pageNo>4</pageNo><totalCount>9001</totalCount></body>"
        )
        text = f"<?xml version='1.0' encoding='UTF-8'?><response>{body + header if header_last else header + body}</response>"
    else:
        parts = {
            "header": {"resultCode": "00", "resultMsg": "OK"},
            "body": {"items": [row] * 1500, "numOfRows": "1500", "pageNo": 4, "totalCount": 9001},
        }
        order = ("body", "header") if header_last else ("header", "body")
        text = json.dumps({"response": {k: parts[k] for k in order}}, ensure_ascii=False)
    assert len(text.encode()) > 3 * 64 * 1024
    said = classify(text, page=4)
    assert isinstance(said, Ok), said
    assert (said.page.total, said.page.page_size, said.page.page_number) == (9001, 1500, 4)
    assert isinstance(classify(text[:-200]), (Transient, Malformed))


RDA = {"paging": {"page_param": "Page_No", "size_param": "Page_Size", "total": "response.body.total_Count"}}
"""The agri-weather services of the Rural Development Administration."""


@pytest.mark.parametrize("count", [2, 3000])
@pytest.mark.parametrize("as_xml", [False, True])
def test_a_total_is_read_where_it_is_declared_in_every_form_of_a_page(as_xml: bool, count: int) -> None:
    """A page size below the total truncates without a word: only the total tells."""
    assert "Page_No=2&Page_Size=100&" in request_url(RDA, page=2)
    header, row = {"resultCode": "00", "resultMsg": "OK"}, {"stn": "값" * 10, "totalCount": "888", "total_Count": "777"}
    if as_xml:
        item = "<item><stn>값값값값값값값값값값</stn><totalCount>888</totalCount><total_Count>777</total_Count></item>"
        said = "<header><resultCode>00</resultCode><resultMsg>OK</resultMsg></header>"
        about = f"<rcdcnt>{count}</rcdcnt><Page_No>1</Page_No><total_Count>9001</total_Count>"
        text = f"<response>{said}<body>{about}<items>{item * count}</items></body></response>"
        behind = f"<response>{said}<body><items>{item * count}</items>{about}</body></response>"
    else:
        about_it = {"rcdcnt": count, "Page_No": "1", "total_Count": "9001"}
        items = {"items": {"item": [row] * count}}
        text = json.dumps({"response": {"header": header, "body": about_it | items}}, ensure_ascii=False)
        behind = json.dumps({"response": {"header": header, "body": items | about_it}}, ensure_ascii=False)
    for page in (text, behind):
        assert isinstance(said_of := classify(page, source=RDA), Ok) and said_of.page.total == 9001


def test_fields_of_rows_under_another_name_are_none_of_the_page() -> None:
    row = {"resultCode": "77", "totalCount": "888", "numOfRows": "5", "a": "값" * 20}
    body = {"rows": [row] * 2000, "numOfRows": 2000, "pageNo": 1, "totalCount": 9001}
    text = json.dumps({"response": {"body": body, "header": {"resultCode": "00"}}}, ensure_ascii=False)
    said = classify(text, source={"records": {"path": "response.body.rows"}})
    assert isinstance(said, Ok) and (said.page.total, said.page.page_size) == (9001, 2000)


@settings(max_examples=500, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=400),
        st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["response", "header", "body", "items", "item", "resultCode", "totalCount", "cmmMsgHeader", "x"]
                    ),
                    inner,
                )
            ),
            max_leaves=12,
        ).map(lambda v: json.dumps(v).encode()),
        st.builds(lambda a, b: gateway_xml(a, b).encode("utf-8", "surrogatepass"), st.text(max_size=5), st.text(max_size=5)),
    ),
    status=st.integers(-1, 700),
    headers=st.dictionaries(st.sampled_from(["retry-after", "date", "content-type"]), st.text(max_size=30)),
    complete=st.booleans(),
    length=st.one_of(st.none(), st.integers(0, 10**12)),
)
def test_classify_is_total(body: bytes, status: int, headers: dict[str, str], complete: bool, length: int | None) -> None:
    source = DataGoKrSource(protocol="data_go_kr", base_url=BASE)
    size = len(body) if length is None else length
    once = PROTOCOL.classify(source, Request(BASE), Response(status, headers, body, body, size, complete))
    assert isinstance(once, Outcome)
    assert once == PROTOCOL.classify(source, Request(BASE), Response(status, headers, body, body, size, complete))
    if not 200 <= status < 300:
        assert not isinstance(once, Ok)


# --- the declaration -------------------------------------------------------------------------------------------------------


def test_a_declaration_in_yaml_takes_windows_lists_and_part_of_the_defaults(tmp_path: Path) -> None:
    """Durations and lists are text and lists in YAML, and what a feed leaves out of auth and limits is the gateway's."""
    folder = tmp_path / "kr.test.forecast"
    folder.mkdir()
    (folder / "feed.yaml").write_text(FORECAST, encoding="utf-8")
    source = load_feed(folder).source
    assert isinstance(source, DataGoKrSource) and source.window is not None
    assert (source.auth.secret, source.auth.name, source.limits.reset) == ("OTHER_KEY", "serviceKey", "00:00 Asia/Seoul")
    assert (source.limits.per_day, source.success_codes, len(source.each_values())) == (900, ("00",), 2)
    keyless = feed_of({"auth": {"kind": "none"}}).source
    assert (keyless.auth.kind, keyless.auth.secret) == ("none", None)


FORECAST = """\
id: kr.test.forecast
title: t
agency: {name: 기관, country: KR}
licence: {id: KOGL-1, url: "https://www.kogl.or.kr"}
schedule: {cron: "20 * * * *"}
source:
  protocol: data_go_kr
  base_url: https://apis.data.go.kr/1360000/VilageFcstInfoService_2.0
  operation: getVilageFcst
  params: {base_date: "{start:%Y%m%d}"}
  each: [{nx: 60, ny: 127}, {nx: 98, ny: 76}]
  window: {at: ["02:00", "05:00"], lag: PT10M}
  success_codes: ["00"]
  auth: {secret: OTHER_KEY}
  limits: {per_day: 900}
contract: {columns: [{name: a}]}
"""
