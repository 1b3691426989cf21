"""socrata3: what every answer means: lists, counts, exports, descriptions, and refusals in both forms."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from assets.protocols.answers.socrata_answers import last_id
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    Pending,
    RateLimited,
    Request,
    Response,
    Transient,
)
from tests.protocols.json_scene import hostile
from tests.protocols.socrata_scene import BASE3, KEYED, feed3

CHANGED = "Tue, 24 Nov 2026 10:00:00 GMT"
COUNT = "SELECT count(*) AS rows_in_all"
ROWS = "SELECT number,street,note"


def said(asked: Feed, request: Request, body: Any, status: int = 200, complete: bool = True, **headers: str) -> Outcome:
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked.protocol.classify(asked.source, request, Response.of(raw, status, named, complete))


def query(stamp: str | None = None, page: int = 1, text: str = ROWS) -> Request:
    return Request(f"{BASE3}/query.json", "POST", body=json.dumps({"query": text}).encode(), page=page, stamp=stamp)


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ('[{"a":"1"}\n,{"a":"2"}]\n', 200, Ok),
        ("[]\n", 200, Empty),
        ('{"message":"processing"}', 202, Pending),
        ("", 202, Pending),
        ({"message": "m", "errorCode": "query.soql.no-such-column", "data": {}}, 400, BadRequest),
        ({"code": "permission_denied", "error": True, "message": "m"}, 403, AuthFailed),
        ({"code": "authentication_required", "error": True, "message": "m"}, 401, AuthFailed),
        ({"errorCode": "dataset.missing", "message": "m"}, 404, Gone),
        ({"errorCode": "too_many_requests", "message": "throttled"}, 429, RateLimited),
        ({"errorCode": "query.execution", "message": "m"}, 500, Transient),
        ({"code": "internal_error", "error": True, "message": "m"}, 200, Malformed),
        ("no JSON", 400, BadRequest),
        ("no JSON", 401, AuthFailed),
        ("no JSON", 404, Gone),
        ("no JSON", 429, RateLimited),
        ("no JSON", 503, Transient),
        ("<!DOCTYPE html><html></html>", 200, Malformed),
        ("", 200, Malformed),
        ({"a": 1}, 200, Malformed),
        ('[{"a":"1"}\n,{"a"', 200, Transient),
    ],
)
def test_answers(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(feed3(), query(), body, status), outcome), found


def test_an_empty_list_is_no_count() -> None:
    assert isinstance(said(feed3(), query(text=COUNT), "[]"), Malformed)
    assert isinstance(said(feed3(), query(text=COUNT), [{"rows_in_all": "3"}]), Ok)


def test_processing_is_asked_for_again_at_the_same_address() -> None:
    assert said(feed3(), query(), "", 202, retry_after="20") == Pending(f"{BASE3}/query.json", 20)
    late = said(feed3(), query(), [{"a": 1}], x_soda2_data_out_of_date="true")
    assert isinstance(late, Pending) and late.after_s == 60


def test_pages_must_be_of_the_version_and_the_number_that_were_counted() -> None:
    stamp = f"{CHANGED}; query 01234567; 3 rows"
    found = said(feed3(), query(stamp), [{"a": "1"}], x_soda2_truth_last_modified=CHANGED)
    assert isinstance(found, Ok) and found.page.total == 3
    other = said(feed3(), query(stamp), [{"a": "1"}], x_soda2_truth_last_modified="Wed, 25 Nov 2026 10:00:00 GMT")
    assert isinstance(other, Malformed)
    assert isinstance(said(feed3(), query(stamp), "[]"), Malformed)


@pytest.mark.parametrize(
    ("tail", "found"),
    [
        (b'[{":id":"row-1","a":"x"}\n,{":id":"row-2","a":"y"}]\n', "row-2"),
        (b'[{"a":"x",":id":"row-3"}]', "row-3"),
        (b'"cut off"}\n,{":id":"row-4","places":[{"b":1},{"b":2}],"at":{"x":1}}]', "row-4"),
        (b'[{":id":"row-5","a":"],{\\":id\\":\\"no\\"}]"}]', "row-5"),
        (b'[{"a":"x"}]', None),
        (b'[{":id":7}]', None),
        (b'a very long row without its beginning"}]', None),
        (b"[]", None),
        (b"[{" * 20_000, None),
    ],
)
def test_the_last_id_of_a_page(tail: bytes, found: str | None) -> None:
    assert last_id(tail) == found


def test_a_keyset_page_leads_on_or_says_why_not() -> None:
    asked = feed3(**KEYED)
    page = said(asked, query("v; query 01234567; 9 rows"), [{":id": "row-7", "a": 1}])
    assert isinstance(page, Ok) and page.page.next_cursor == "row-7" and page.page.total == 9
    assert isinstance(said(asked, query(), [{"a": 1}]), Malformed)
    ended = said(asked, query(page=2), "[]")
    assert isinstance(ended, Ok) and ended.page.next_cursor is None


EXPORT = Request(f"{BASE3}/export.csv", "POST", stamp="v; query 01234567; 2 rows")


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ("number\n1\n2\n", 200, Ok),
        ("number\r\n1\r\n2\r\n", 200, Ok),
        ("number\n1\n2", 200, Transient),  # nothing else tells of a last row that was cut
        ("", 200, Malformed),
        ("<!DOCTYPE html><html></html>", 200, Malformed),
        ({"code": "permission_denied", "error": True, "message": "m"}, 200, AuthFailed),
        ({"errorCode": "query.soql.no-such-column", "message": "m"}, 400, BadRequest),
        ("", 202, Pending),
        ("busy", 429, RateLimited),
        ("x", 500, Transient),
    ],
)
def test_exports(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(feed3(mode="export"), EXPORT, body, status), outcome), found


def test_an_export_promises_what_was_counted_and_is_not_waited_for_in_pages() -> None:
    asked = feed3(mode="export")
    whole = said(asked, EXPORT, "number\n1\n2\n")
    assert isinstance(whole, Ok) and whole.page.total == 2
    assert isinstance(said(asked, EXPORT, "number\n1\n2\n", complete=False), Transient)
    short = said(asked, query(EXPORT.stamp, page=2, text=COUNT), [{"rows_in_all": "2"}])
    assert isinstance(short, Malformed) and "before all 2 rows" in short.reason
    geo = replace(EXPORT, url=f"{BASE3}/export.geojson")
    assert isinstance(said(feed3(mode="export", format="geojson"), geo, '{"type":"FeatureCollection","features":['), Malformed)


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ({"rowsUpdatedAt": 1, "columns": []}, 200, Ok),
        ([1], 200, Malformed),
        ("<html></html>", 200, Malformed),
        ('{"columns":[', 200, Transient),
        ({"code": "permission_denied", "error": True, "message": "m"}, 403, AuthFailed),
        ("", 404, Gone),
    ],
)
def test_the_description_of_a_data_set(body: Any, status: int, outcome: type) -> None:
    look = Request("https://data.agency.example/api/views/abcd-1234.json")
    assert isinstance(found := said(feed3(), look, body, status), outcome), found


@settings(max_examples=150, deadline=None)
@given(
    hostile(["errorCode", "error", "code", "message", ":id"]),
    st.integers(-1, 700),
    st.booleans(),
    st.sampled_from([query(), query(text=COUNT), EXPORT, Request("https://data.agency.example/api/views/abcd-1234.json")]),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, request: Request) -> None:
    for asked in (feed3(), feed3(**KEYED), feed3(mode="export")):
        found = said(asked, request, body, status, complete)
        assert found == said(asked, request, body, status, complete)
        if not 200 <= status < 300 or not complete:
            assert not isinstance(found, Ok)
