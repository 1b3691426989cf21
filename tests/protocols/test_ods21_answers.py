"""ods21: what every answer means: refusals, quotas, pages, and streams that end in an error after a status of 200."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from assets.protocols.answers.ods_answers import interrupted
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    Pending,
    QuotaExhausted,
    RateLimited,
    Request,
    Response,
    Transient,
)
from deploy.agency.engines.ods21 import TRAILER
from tests.protocols.json_scene import hostile
from tests.protocols.ods_scene import ABOUT, BASE, feed

STAMP = "2026-11-24T10:00:00+00:00; query 01234567; 2 rows"


def said(url: str, body: Any, status: int = 200, asked: Feed | None = None, **more: Any) -> Outcome:
    """What a response means. `more`: page, stamp, complete, and headers."""
    asked, page, stamp, complete = asked or feed(), more.pop("page", 1), more.pop("stamp", STAMP), more.pop("complete", True)
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    named = {name.replace("_", "-"): value for name, value in more.items()}
    request = Request(url, page=page, stamp=stamp)
    return asked.protocol.classify(asked.source, request, Response.of(raw, status, named, complete))


# --- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ({"error_code": "InvalidRESTParameterError", "message": "Invalid value for limit API parameter: 200"}, 400, BadRequest),
        ({"error_code": "ODSQLError", "message": "Unknown field: permission"}, 400, BadRequest),
        ({"error_code": "MissingParameterError", "message": "m"}, 200, BadRequest),
        ({"errorcode": 10_001, "error": "Unknown dataset: x"}, 400, Gone),
        ({"error_code": "NotFoundError", "message": "m"}, 404, Gone),
        ({"error_code": "UnknownDatasetError", "message": "m"}, 200, Gone),
        ({"error_code": "InvalidAPIKey", "message": "m"}, 401, AuthFailed),
        ({"error_code": "ForbiddenError", "message": "m"}, 403, AuthFailed),
        ({"errorcode": 10_003, "error": "You have no permission on this dataset"}, 400, AuthFailed),
        ({"error_code": "InternalError", "message": "m"}, 500, Transient),
        ({"error_code": "Strange", "message": "m"}, 200, Malformed),
        ({"error_code": "Strange", "message": "m"}, 409, BadRequest),
        ("no JSON", 400, BadRequest),
        ("no JSON", 401, AuthFailed),
        ("no JSON", 404, Gone),
        ("no JSON", 429, RateLimited),
        ("no JSON", 502, Transient),
        ("", 202, Pending),
    ],
)
@pytest.mark.parametrize("url", [BASE, f"{BASE}/records?limit=0", f"{BASE}/records?limit=10&offset=0", f"{BASE}/exports/csv"])
def test_refusals(body: Any, status: int, outcome: type, url: str) -> None:
    assert isinstance(found := said(url, body, status, feed(format="csv")), outcome), found


def test_a_page_beyond_the_cap_is_too_large_and_nothing_else_is() -> None:
    beyond = "Invalid value for sum of offset + limit API parameter: 10100 was found but <= 10000 is expected."
    found = said(f"{BASE}/records", {"error_code": "InvalidRESTParameterError", "message": beyond}, 400)
    assert isinstance(found, BadRequest) and found.too_large and "10100" in found.reason
    other = said(f"{BASE}/records", {"error_code": "InvalidRESTParameterError", "message": "limit"}, 400)
    assert isinstance(other, BadRequest) and not other.too_large


RESET = datetime(2026, 11, 26, tzinfo=UTC)
DATE = "Wed, 25 Nov 2026 03:00:00 GMT"
DAY = {"errorcode": 10_002, "reset_time": "2026-11-26T00:00:00Z", "limit_time_unit": "day", "call_limit": 10_000, "error": "m"}


@pytest.mark.parametrize(
    ("body", "headers", "outcome"),
    [
        (DAY, {}, QuotaExhausted(RESET, "10002: m")),
        ({**DAY, "reset_time": None}, {"x_ratelimit_reset": "1795651200"}, QuotaExhausted(RESET, "10002: m")),
        ({**DAY, "reset_time": "soon"}, {}, QuotaExhausted(None, "10002: m")),
        ("busy", {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1795651200"}, QuotaExhausted(RESET, "HTTP 429")),
        ("busy", {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1795651200000"}, QuotaExhausted(RESET, "HTTP 429")),
        ("busy", {"x_ratelimit_reset": "2026-11-26T00:00:00Z"}, QuotaExhausted(RESET, "HTTP 429")),
        ("busy", {"x_ratelimit_reset": "75600", "date": DATE}, QuotaExhausted(RESET, "HTTP 429")),
        ("busy", {"x_ratelimit_remaining": "0"}, QuotaExhausted(None, "HTTP 429")),
        # short limits: waited for
        ("busy", {}, RateLimited(None, "HTTP 429")),
        ("busy", {"retry_after": "20"}, RateLimited(20, "HTTP 429")),
        ("busy", {"retry_after": "20", "x_ratelimit_remaining": "0"}, RateLimited(20, "HTTP 429")),
        ("busy", {"x_ratelimit_remaining": "17", "x_ratelimit_reset": "1795651200"}, RateLimited(None, "HTTP 429")),
        ("busy", {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "30", "date": DATE}, RateLimited(30, "HTTP 429")),
        ({**DAY, "limit_time_unit": "minute"}, {"retry_after": "9"}, RateLimited(9, "10002: m")),
        ({"error_code": "TooManyRequests", "message": "m"}, {}, RateLimited(None, "TooManyRequests: m")),
    ],
)
def test_a_quota_of_a_day_is_not_waited_for_and_a_short_limit_is(body: Any, headers: dict[str, str], outcome: Outcome) -> None:
    assert said(BASE, body, 429, **headers) == outcome


def test_a_row_that_looks_like_an_error_is_a_row() -> None:
    row = {"error_code": "ODSQLError", "message": "m", "number": "1"}
    assert isinstance(said(f"{BASE}/exports/json", [row, row]), Ok)
    assert isinstance(said(f"{BASE}/exports/jsonl", row, asked=feed(format="jsonl")), Ok)
    assert isinstance(said(f"{BASE}/records?limit=10", {"total_count": 1, "results": [row]}), Ok)


# --- what was asked for -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"total_count": 2, "results": [{"a": 1}, {"a": 2}]}, Ok),
        ({"total_count": 0, "results": []}, Empty),
        ({"total_count": 10_000, "results": [{"a": 1}]}, Ok),
        ({"total_count": 10_001, "results": [{"a": 1}]}, BadRequest),
        ({"results": [{"a": 1}]}, Malformed),
        ({"total_count": 5}, Malformed),
        ([{"a": 1}], Malformed),
        ("<!DOCTYPE html><html></html>", Malformed),
        ("", Malformed),
        ('{"total_count": 2, "results": [{"a"', Transient),
    ],
)
def test_pages_of_records(body: Any, outcome: type) -> None:
    assert isinstance(found := said(f"{BASE}/records?limit=10&offset=0", body), outcome), found
    assert not isinstance(found, BadRequest) or found.too_large
    assert not isinstance(found, Ok) or found.page.total in (2, 10_000)


def test_an_export_that_is_short_says_so_when_it_is_counted_again() -> None:
    again = said(f"{BASE}/records?limit=0", {"total_count": 3, "results": []}, page=2)
    assert isinstance(again, Malformed) and "before all 2 rows: 3 are counted now" in again.reason


WHOLE: dict[str, bytes] = {
    "json": b'[{"a":"1"},{"a":"2"}]',
    "jsonl": b'{"a":"1"}\n{"a":"2"}\n',
    "geojson": b'{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"a":"1"},"geometry":null}]}',
    "csv": b"a;b\r\n1;2\r\n3;4\r\n",
    "parquet": b"PAR1" + b"\0" * 40 + b"PAR1",
}


@pytest.mark.parametrize("form", sorted(WHOLE))
def test_a_200_is_not_the_verdict_on_a_stream(form: str) -> None:
    """The trap: a stream that began with status 200 ends in an error, or ends early, or is another thing."""
    asked, url, body = feed(format=form), f"{BASE}/exports/{form}", WHOLE[form]
    whole = said(url, body, asked=asked)
    assert isinstance(whole, Ok) and whole.page.total == 2
    assert isinstance(said(url, body, asked=asked, stamp=None), Malformed)  # nothing says how many there should be
    for begun in (body[: len(body) // 2], body[:-2], body):
        broken = said(url, begun + TRAILER, asked=asked)
        assert isinstance(broken, Transient) and "Connection reset" in broken.reason, begun
        assert isinstance(said(url, begun + b"\r\n" + TRAILER + b"\n", asked=asked), Transient)
    assert isinstance(said(url, body, asked=asked, complete=False), Transient)
    assert isinstance(said(url, body[:-3], asked=asked), Malformed if form == "parquet" else Transient)
    for other in (b"", b"<!DOCTYPE html><html></html>"):
        assert isinstance(said(url, other, asked=asked), Malformed)


def test_another_json_than_was_asked_for_is_none() -> None:
    assert isinstance(said(f"{BASE}/exports/json", {"type": "FeatureCollection"}), Malformed)
    assert isinstance(said(f"{BASE}/exports/geojson", [1], asked=feed(format="geojson")), Malformed)


@pytest.mark.parametrize(
    ("form", "tail", "found"),
    [
        ("json", b'[{"a":"1"},{"a":' + TRAILER, "[Errno 104] Connection reset by peer"),
        ("json", b'[{"a":"Streaming interrupted due to the following error: none"}]', None),
        ("geojson", b'"a":"Streaming interrupted due to the following error"},"geometry":null}]}', None),
        (
            "geojson",
            b'[{"a":Streaming interrupted due to the following error: {"error_code":"x","message":"m"}',
            '{"error_code":"x","message":"m"}',
        ),
        ("jsonl", b'{"a":"Streaming interrupted due to the following error"}\n', None),
        ("jsonl", b'{"a":"1"}\n{"a' + TRAILER, "[Errno 104] Connection reset by peer"),
        ("csv", b"1;2\r\nStreaming interrupted due to the following error", ""),
        ("csv", b"1;2\r\n3;4\r\n", None),
        ("csv", TRAILER + b"\r\n" + b"1;2\r\n" * 2000, None),  # long before the end
    ],
)
def test_an_error_at_the_end_is_told_from_a_value_that_reads_like_it(form: str, tail: bytes, found: str | None) -> None:
    assert interrupted(form, tail) == found


@pytest.mark.parametrize(
    ("body", "outcome"),
    [(ABOUT, Ok), ([1], Malformed), ("<html></html>", Malformed), ("", Malformed), ('{"metas":{', Transient)],
)
def test_the_description_of_a_data_set(body: Any, outcome: type) -> None:
    assert isinstance(said(BASE, body), outcome)


def test_a_data_set_may_be_called_like_a_part_of_the_address() -> None:
    asked = feed(dataset="records")
    url = BASE.replace("some-rows", "records")
    assert isinstance(said(url, ABOUT, asked=asked), Ok)
    assert isinstance(said(f"{url}/records?limit=10", {"total_count": 0, "results": []}, asked=asked), Empty)


@settings(max_examples=150, deadline=None)
@given(
    hostile(["error_code", "errorcode", "error", "message", "total_count", "results", "reset_time", "limit_time_unit"]),
    st.integers(-1, 700),
    st.booleans(),
    st.sampled_from([BASE, f"{BASE}/records?limit=0", f"{BASE}/records?limit=10", f"{BASE}/exports/json", f"{BASE}/exports/csv"]),
    st.dictionaries(
        st.sampled_from(["x_ratelimit_reset", "x_ratelimit_remaining", "retry_after", "date"]),
        st.sampled_from([DATE, "²", "9" * 13, "9" * 400, "-1", "0", "2026-11-26", "Mon, 99 Foo 2026 00:00:00 GMT"])
        | st.text(max_size=9),
    ),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, url: str, headers: dict[str, str]) -> None:
    found = said(url, body, status, feed(format="csv"), complete=complete, **headers)
    assert found == said(url, body, status, feed(format="csv"), complete=complete, **headers)
    if not 200 <= status < 300 or not complete:
        assert not isinstance(found, Ok | Empty)
