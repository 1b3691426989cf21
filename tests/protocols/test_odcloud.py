"""odcloud: what is sent, which edition is the newest, and what every form of answer means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.protocols.answers.odcloud_editions import newest
from assets.protocols.kernel import Body, Cursor, Ok, PageInfo, Request, Response, Step, Validators, When
from assets.protocols.odcloud import PROTOCOL, OdcloudSource
from deploy.agency.engines.data_go_kr import gateway_error
from deploy.agency.engines.odcloud import INVALID_KEY, UNKNOWN_KEY, UNKNOWN_SERVICE
from tests.protocols.standin_scene import NOW, feed_for

UDDI = "uddi:6b9d22b0-0000-1111-2222-333344445555"
PATH = f"15012890/v1/{UDDI}"
URL = f"https://api.odcloud.kr/api/{PATH}"
ENVELOPE = {"page": 1, "perPage": 100, "totalCount": 1284, "matchCount": 37, "currentCount": 37}
KEY = "{secret:DATA_GO_KR_KEY}"


def feed(**source: Any) -> Any:
    return feed_for({"protocol": "odcloud", "path": PATH, **source}, ["시설명"])


def asked(one: Any, page: int = 1) -> list[Request]:
    return [
        PROTOCOL.request(one, one.source, step, Cursor(page=page), Validators())
        for step in PROTOCOL.plan(one, one.source, When(NOW))
    ]


def classify(body: Any, status: int = 200, url: str = URL, method: str = "GET", complete: bool = True, **source: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    request = Request(url, method)
    return PROTOCOL.classify(feed(**source).source, request, Response.of(raw, status, {}, complete))


def outcome(*args: Any, **kwargs: Any) -> str:
    return type(classify(*args, **kwargs)).__name__


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_a_page_is_asked_by_number_with_the_key_in_the_query() -> None:
    (sent,) = asked(feed(size=500), page=3)
    assert (sent.method, sent.url) == ("GET", f"{URL}?page=3&perPage=500&returnType=JSON&serviceKey={KEY}")


def test_the_key_may_stand_in_the_header() -> None:
    (sent,) = asked(feed(auth={"kind": "header_key"}))
    assert dict(sent.headers) == {"Authorization": f"Infuser {KEY}"}
    assert "serviceKey" not in sent.url


@pytest.mark.parametrize(("literal", "name"), [(False, "cond%5B{}%3A%3AGTE%5D"), (True, "cond[{}%3A%3AGTE]")])
def test_brackets_of_a_condition_are_encoded_or_left(literal: bool, name: str) -> None:
    (sent,) = asked(feed(params={"cond[데이터기준일자::GTE]": "2026-06-30"}, literal_brackets=literal))
    column = "%EB%8D%B0%EC%9D%B4%ED%84%B0%EA%B8%B0%EC%A4%80%EC%9D%BC%EC%9E%90"
    assert f"?{name.format(column)}=2026-06-30&page=1" in sent.url


@pytest.mark.parametrize("name", ["cond[위도::IN]", "cond[위도]", "cond.위도", "cond[::EQ]"])
def test_what_is_no_condition_is_refused_in_the_declaration(name: str) -> None:
    with pytest.raises(ValidationError, match="is no condition"):
        feed(params={name: "1"})


def test_a_post_service_gets_a_hundred_values_in_a_call() -> None:
    values = [f"{n:010}" for n in range(205)]
    sent = asked(feed(path="nts-businessman/v1/status", body={"b_no": values}))
    assert [s.method for s in sent] == ["POST"] * 3
    assert sent[0].url == f"https://api.odcloud.kr/api/nts-businessman/v1/status?returnType=JSON&serviceKey={KEY}"
    assert sent[0].headers["Content-Type"] == "application/json"
    bodies = [json.loads(s.body or b"") for s in sent]
    assert [len(body["b_no"]) for body in bodies] == [100, 100, 5]
    assert [v for body in bodies for v in body["b_no"]] == values


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"body": {"a": ["1"], "b": ["2"]}}, "one name"),
        ({"body": {"a": []}}, "one name"),
        ({"edition": "newest"}, "namespace alone"),
        ({"edition": "newest", "path": "15012890/v1", "body": {"a": ["1"]}}, "not asked by POST"),
        ({"batch": 101}, "100"),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(source: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        feed(**source)


def test_limits_and_auth_given_in_part_keep_the_rest() -> None:
    source = feed(limits={"per_day": 9}, auth={"secret": "OTHER_KEY"}).source
    assert (source.limits.reset, source.auth.name, source.auth.percent_encoded) == ("00:00 Asia/Seoul", "serviceKey", True)
    written = {"protocol": "odcloud", "path": "nts-businessman/v1/status", "body": {"b_no": ["1"]}, "auth": {"kind": "header_key"}}
    declared = OdcloudSource.model_validate_json(json.dumps(written), strict=True)  # as from YAML, where a list is a list
    assert declared.body == {"b_no": ("1",)} and declared.auth.name == "Authorization"


def test_an_address_is_recognised_without_its_key() -> None:
    found = PROTOCOL.recognise(
        f"{URL.replace('uddi:', 'uddi%3A')}?page=1&perPage=10&serviceKey=SECRET&cond%5B%EA%B0%80%3A%3AEQ%5D=1"
    )
    assert found == {"protocol": "odcloud", "path": PATH, "params": {"cond[가::EQ]": "1"}}
    assert PROTOCOL.recognise("https://apis.data.go.kr/api/a/b") is None
    assert PROTOCOL.recognise("https://api.odcloud.kr/") is None


# --- the newest edition ---------------------------------------------------------------------------------------------------


def swagger(**titles: str) -> bytes:
    return json.dumps({"swagger": "2.0", "paths": {f"/1/v1/uddi:{u}": {"get": {"summary": t}} for u, t in titles.items()}}).encode()


def test_the_lead_asks_without_a_key_and_leads_to_the_newest_edition(tmp_path: Path) -> None:
    one = feed(path="15012890/v1", edition="newest", params={"cond[가::EQ]": "1"})
    (lead,) = PROTOCOL.plan(one, one.source, When(NOW))
    sent = PROTOCOL.request(one, one.source, lead, Cursor(), Validators())
    assert (lead.lead, sent.url) == (True, "https://infuser.odcloud.kr/oas/docs?namespace=15012890%2Fv1")
    path = tmp_path / "swagger.json"
    path.write_bytes(swagger(a="시설_20250630", c="시설_20260630", b="시설_20251231"))
    (step,) = PROTOCOL.follow(one, one.source, lead, Body(path, {}, sent.url))
    assert (step.stamp, step.lead) == ("uddi:c?cond%5B%EA%B0%80%3A%3AEQ%5D=1", False)
    url = PROTOCOL.request(one, one.source, step, Cursor(), Validators()).url
    assert url.startswith("https://api.odcloud.kr/api/15012890/v1/uddi:c?cond%5B")


def test_queries_that_move_with_time_are_asked_of_an_old_edition_too(tmp_path: Path) -> None:
    one = feed(path="1/v1", edition="newest", window={"every": "day"}, params={"cond[일::EQ]": "{start:%Y%m%d}"})
    (lead,) = PROTOCOL.plan(one, one.source, When(NOW))
    path = tmp_path / "swagger.json"
    path.write_bytes(swagger(a="시설_20250630"))
    (step,) = PROTOCOL.follow(one, one.source, lead, Body(path, {}, ""))
    assert step.stamp is None
    assert "=20261124&" in PROTOCOL.request(one, one.source, step, Cursor(), Validators()).url


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        ({"a": "시설 2026.06.30", "b": "시설 2025-12-31"}, "uddi:a"),
        ({"a": "제20230101호 시설_20240101", "b": "시설_20231231"}, "uddi:a"),
        ({"a": "시설_20261399", "b": "시설_20200229", "c": "시설_20260230"}, "uddi:b"),
    ],
)
def test_the_last_possible_day_of_a_title_counts(titles: dict[str, str], expected: str) -> None:
    assert newest(swagger(**titles), "feed") == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"paths":[1]}',
        b'{"paths":{"/1/uddi:a":{"get":3}}}',
        swagger(a="시설"),
        swagger(a="20260101", b="20260101"),
    ],
)
def test_where_no_edition_stands_out_it_says_to_pin_one(data: bytes) -> None:
    with pytest.raises(UnreadableSource) as caught:
        newest(data, "feed")
    assert "pin one" in (caught.value.mend or "")


def test_a_swagger_document_may_quote_errors_and_is_no_error() -> None:
    document = {"swagger": "2.0", "paths": {"/1/v1/uddi:a": {"get": {"responses": {"401": {"examples": {"code": -401}}}}}}}
    url = "https://infuser.odcloud.kr/oas/docs?namespace=1%2Fv1"
    assert outcome(document, url=url) == "Ok"
    assert outcome({"code": -3, "msg": ""}, url=url) == "Gone"
    assert outcome(b"<!DOCTYPE html><html></html>", url=url) == "Malformed"


# --- what answers mean ------------------------------------------------------------------------------------------------------


def test_rows_are_counted_by_what_matched() -> None:
    assert classify(ENVELOPE | {"data": [{"시설명": "가"}]}) == Ok(PageInfo(total=37, page_size=100, page_number=1))
    assert outcome(ENVELOPE | {"matchCount": 0, "currentCount": 0, "data": []}) == "Empty"
    assert classify({"page": 1, "perPage": 10, "totalCount": "5", "data": []}).page.total == 5
    for condition in ("cond%5B%EA%B0%80%3A%3AEQ%5D=1", "cond[%EA%B0%80%3A%3AEQ]=1"):
        assert outcome({"page": 1, "totalCount": 5, "data": []}, url=f"{URL}?{condition}") == "Malformed"


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (UNKNOWN_KEY, 401, "AuthFailed"),
        (UNKNOWN_KEY, 400, "AuthFailed"),
        (UNKNOWN_KEY, 200, "AuthFailed"),
        (INVALID_KEY, 401, "AuthFailed"),
        (UNKNOWN_SERVICE, 404, "Gone"),
        (UNKNOWN_SERVICE, 200, "Gone"),
        ({"code": "-3", "msg": "x"}, 200, "Gone"),
        ({**ENVELOPE, "data": [{"가": 1}], "code": -4}, 200, "AuthFailed"),
        ({"code": -77, "msg": "?", "data": []}, 200, "Malformed"),
        ({"code": -77, "msg": "?"}, 500, "Transient"),
        ({"status_code": "REQUEST_DATA_MALFORMED"}, 400, "BadRequest"),
        ({"status_code": "REQUEST_DATA_MALFORMED"}, 200, "BadRequest"),
        ({"status_code": "ODD", "data": []}, 200, "Malformed"),
        (gateway_error("30").body, 200, "AuthFailed"),
        (gateway_error("22").body, 200, "QuotaExhausted"),
        (gateway_error("02").body, 200, "Transient"),
        ({"OpenAPI_ServiceResponse": {"cmmMsgHeader": {"returnReasonCode": "12", "returnAuthMsg": ""}}}, 200, "Gone"),
        (b"API token quota exceeded", 429, "QuotaExhausted"),
        (b"Unauthorized", 401, "AuthFailed"),
        (b"", 200, "Malformed"),
        (b"<!DOCTYPE html><html></html>", 200, "Malformed"),
        (b"x", 503, "Transient"),
        ({"message": "ok"}, 200, "Malformed"),
        (b'{"page":1,"perPage":10,"matchCount":2,"data":[{"a":1},', 200, "Transient"),
    ],
)
def test_every_form_of_error(body: Any, status: int, expected: str) -> None:
    assert outcome(body, status) == expected


def test_a_column_named_code_is_no_error_however_long_the_page() -> None:
    for count in (1, 5000):
        rows = [{"code": -4, "시설명": "가나다라"} for _ in range(count)]
        assert outcome({"page": 1, "perPage": count, "totalCount": count, "matchCount": count, "data": rows}) == "Ok"
    assert outcome(ENVELOPE | {"data": [{"시설명": "가"}]}, complete=False) == "Transient"


def test_a_post_answers_each_value_that_was_asked() -> None:
    body = {"request_cnt": 2, "status_code": "OK", "data": [{"b_no": "1"}, {"b_no": "2"}]}
    assert classify(body, method="POST").page.total == 2
    assert classify({"status_code": "OK", "data": []}, method="POST").page == PageInfo(page_size=101)


def test_unreadable_pages_say_so(tmp_path: Path) -> None:
    one, path = feed(), tmp_path / "page"
    for data in (b"", b"{}", b"[1", b"<a/>"):
        path.write_bytes(data)
        with pytest.raises(UnreadableSource):
            list(PROTOCOL.parse(one, one.source, [Body(path, {}, URL)]).batches)
    assert PROTOCOL.request(one, one.source, Step(), Cursor(), Validators()).page == 1
