"""ods21: what is sent, what every answer means, streams that end in an error, and how records and exports are read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import PROTOCOLS, Feed
from assets.protocols.kernel import (
    HEAD_BYTES,
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    Pending,
    QuotaExhausted,
    RateLimited,
    Request,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.ods_answers import interrupted, version_in
from deploy.agency.engines.ods21 import TRAILER
from tests.protocols.json_scene import hostile, parsed
from tests.protocols.ods_scene import BASE, RECORDS, feed
from tests.protocols.standin_scene import NOW

ABOUT = {"dataset_id": "some-rows", "metas": {"default": {"data_processed": "2026-11-24T10:00:00+00:00", "modified": "x"}}}
STAMP = "2026-11-24T10:00:00+00:00; query 01234567; 2 rows"


def request_of(asked: Feed, step: Step, cursor: Cursor | None = None) -> Request:
    return asked.protocol.request(asked, asked.source, step, cursor or Cursor(), Validators())


def first(asked: Feed) -> Step:
    (step,) = asked.protocol.plan(asked, asked.source, When(NOW))
    return step


def led(asked: Feed, folder: Path, step: Step, body: Any) -> list[Step]:
    (folder / "lead").write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    return list(asked.protocol.follow(asked, asked.source, step, Body(folder / "lead", {}, BASE)))


def export_steps(asked: Feed, folder: Path, *totals: int, about: Any = ABOUT) -> list[Step]:
    """The steps after the description and one count for each query."""
    steps = led(asked, folder, first(asked), about)
    for total in totals:
        (step,) = steps
        assert step.lead and step.stamp is None
        steps = led(asked, folder, step, {"total_count": total, "results": []})
    return steps


def said(url: str, body: Any, status: int = 200, asked: Feed | None = None, **more: Any) -> Outcome:
    """What a response means. `more`: page, stamp, complete, and headers."""
    asked, page, stamp, complete = asked or feed(), more.pop("page", 1), more.pop("stamp", STAMP), more.pop("complete", True)
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    named = {name.replace("_", "-"): value for name, value in more.items()}
    request = Request(url, page=page, stamp=stamp)
    return asked.protocol.classify(asked.source, request, status, named, raw[:HEAD_BYTES], raw[-HEAD_BYTES:], len(raw), complete)


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_the_version_then_a_count_then_one_export(tmp_path: Path) -> None:
    asked = feed(where="a = 'b'", order_by="number")
    assert request_of(asked, first(asked)).url == BASE
    (count,) = led(asked, tmp_path, first(asked), ABOUT)
    assert request_of(asked, count).url == f"{BASE}/records?where=a%20%3D%20%27b%27&limit=0"
    (step,) = led(asked, tmp_path, count, {"total_count": 20_000, "results": []})
    assert request_of(asked, step).url == f"{BASE}/exports/json?where=a%20%3D%20%27b%27&order_by=number"
    assert step.stamp is not None and step.stamp.startswith("2026-11-24T10") and step.stamp.endswith("; 20000 rows")
    # rows are missing: a count again, never the export from an offset, where the cap of 10,000 bites in mid-stream
    assert request_of(asked, step, Cursor(page=2, offset=19_000)).url == request_of(asked, count).url


def test_csv_is_asked_for_with_separator_mark_and_names(tmp_path: Path) -> None:
    asked = feed(format="csv", delimiter=",")
    (step,) = export_steps(asked, tmp_path, 5)
    assert request_of(asked, step).url == f"{BASE}/exports/csv?delimiter=,&with_bom=false&use_labels=false"
    semicolon = feed(format="csv")
    assert "delimiter=%3B" in request_of(semicolon, export_steps(semicolon, tmp_path, 5)[0]).url
    for other in ("jsonl", "geojson", "parquet", "xlsx"):
        asked = feed(format=other)
        assert request_of(asked, export_steps(asked, tmp_path, 5)[0]).url == f"{BASE}/exports/{other}"


def test_records_in_pages_that_never_reach_beyond_the_cap(tmp_path: Path) -> None:
    asked = feed(mode="records", order_by="number", size=70)
    (step,) = export_steps(asked, tmp_path)
    assert not step.lead and step.stamp is not None
    assert request_of(asked, step).url == f"{BASE}/records?order_by=number&limit=70&offset=0"
    assert request_of(asked, step, Cursor(page=143, offset=9940)).url == f"{BASE}/records?order_by=number&limit=60&offset=9940"


def test_more_records_than_pages_reach_are_exported(tmp_path: Path) -> None:
    asked = feed(**RECORDS, where="day >= '{start:%Y-%m-%d}'", window={"every": "day", "timezone": "UTC"})
    (step,) = export_steps(asked, tmp_path)
    (count,) = asked.protocol.split(asked, asked.source, replace(step, ordinal=1))
    assert count.lead and "limit=0" in request_of(asked, count).url and "2026-11-24" in request_of(asked, count).url
    (export,) = led(asked, tmp_path, count, {"total_count": 10_001, "results": []})
    assert request_of(asked, export).url.startswith(f"{BASE}/exports/json?where=day") and export.stamp is not None
    assert list(asked.protocol.split(asked, asked.source, export)) == []  # an export cannot be smaller
    # a portal that refuses the first page, too, is not asked for ever
    (none,) = led(asked, tmp_path, count, {"total_count": 0, "results": []})
    assert "/records?" in request_of(asked, none).url and list(asked.protocol.split(asked, asked.source, none)) == []


def test_several_queries_are_all_counted_before_the_first_is_exported(tmp_path: Path) -> None:
    asked = feed(where="town = '{town}'", each={"town": ["A", "B", "C"]})
    steps = export_steps(asked, tmp_path, 3, 0, 4)
    assert ["town%20%3D%20%27A" in request_of(asked, steps[0]).url, "%27C" in request_of(asked, steps[1]).url] == [True, True]
    assert len(steps) == 2 and steps[0].stamp != steps[1].stamp
    # nothing anywhere: one page says so
    (none,) = export_steps(asked, tmp_path, 0, 0, 0)
    assert "/records?" in request_of(asked, none).url and none.stamp is not None


def test_without_a_version_rows_are_counted_and_are_never_taken_for_those_of_last_time(tmp_path: Path) -> None:
    asked = feed()
    (one,) = export_steps(asked, tmp_path, 7, about={"dataset_id": "some-rows"})
    assert one.stamp is not None and one.stamp.endswith("; 7 rows")
    (count,) = led(
        asked, tmp_path, next(iter(asked.protocol.plan(asked, asked.source, When(datetime(2027, 1, 1, tzinfo=UTC))))), {}
    )
    (other,) = led(asked, tmp_path, count, {"total_count": 7, "results": []})
    assert other.stamp != one.stamp
    records = feed(**RECORDS)
    assert export_steps(records, tmp_path, about={})[0].stamp is None


def test_a_stamp_is_of_version_question_and_form(tmp_path: Path) -> None:
    stamps = {
        export_steps(asked, tmp_path, 7)[0].stamp
        for asked in (feed(), feed(where="a = 'b'"), feed(select="a"), feed(format="csv"), feed(params={"refine": "a:b"}))
    }
    assert len(stamps) == 5


@pytest.mark.parametrize(
    ("metas", "version"),
    [
        ({"data_processed": "2026-11-24T10:00:00+00:00", "modified": "2026-11-25T10:00:00+00:00"}, "2026-11-24T10:00:00+00:00"),
        ({"modified": "2026-11-25T10:00:00+00:00"}, "2026-11-25T10:00:00+00:00"),
        ({"data_processed": "", "modified": 5}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_version_is_when_the_data_was_processed(metas: Any, version: str | None) -> None:
    assert version_in({"metas": {"default": metas}}) == version
    assert version_in({"dataset": {"metas": {"default": metas}}}) == version  # as older editions have it
    for odd in (None, [], {"metas": 1}, {"metas": {"default": None}}, {"dataset": {}}):
        assert version_in(odd) is None


def test_keys_go_into_the_header_or_the_query() -> None:
    header, query = feed(auth={"kind": "header_key", "secret": "ODS_KEY"}), feed(auth={"kind": "query_key", "secret": "ODS_KEY"})
    assert request_of(header, first(header)).headers == {"Authorization": "Apikey {secret:ODS_KEY}"}
    assert request_of(query, first(query)).url == f"{BASE}?apikey={{secret:ODS_KEY}}"
    named = feed(auth={"kind": "header_key", "secret": "ODS_KEY", "name": "X-Key"})
    assert request_of(named, first(named)).headers == {"X-Key": "{secret:ODS_KEY}"}
    assert request_of(feed(), first(feed())).headers == {}


@pytest.mark.parametrize(
    "source",
    [
        {"size": 101},
        {"mode": "records"},
        {"mode": "records", "order_by": "a", "format": "csv"},
        {"params": {"offset": 0}},
        {"params": {"limit": 10}},
        {"params": {"where": "a"}},
        {"params": {"apikey": "x"}},
        {"params": {"delimiter": ","}},
        {"params": {"group_by": "a"}},
        {"format": "rdfxml"},
        {"dataset": "a b"},
        {"dataset": "a/records"},
        {"delimiter": ""},
        {"sise": 1},
    ],
)
def test_mistakes_are_found_when_a_feed_is_read(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**source)


def test_an_address_that_somebody_pasted() -> None:
    known = PROTOCOLS["ods21"].recognise
    base = {"protocol": "ods21", "base_url": "https://data.agency.example", "dataset": "some-rows"}
    assert known("https://data.agency.example/explore/dataset/some-rows/table/?sort=a") == base
    assert known("https://data.agency.example/fr/explore/dataset/some-rows/") == base
    assert known(BASE) == known(f"{BASE}/records?limit=20&offset=5&apikey=abc") == base
    found = known(f"{BASE}/exports/csv?where=a%3D'b'&delimiter=%2C&with_bom=true&timezone=Europe/Paris&refine=c:d")
    assert found == base | {"format": "csv", "where": "a='b'", "params": {"timezone": "Europe/Paris", "refine": "c:d"}}
    assert known("https://data.agency.example/api/v2/catalog/datasets/some-rows/records") == base
    for other in ("https://data.agency.example/datasets/some-rows", "ftp://data.agency.example/explore/dataset/a/", "x"):
        assert known(other) is None


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


# --- rows -----------------------------------------------------------------------------------------------------------------


def read(folder: Path, asked: Feed, body: bytes, below: str) -> list[tuple[str | None, ...]]:
    (folder / "body").write_bytes(body)
    return parsed(asked, [Body(folder / "body", {}, f"{BASE}{below}")])


def test_records_and_exports_of_one_fetch_are_read_in_their_order(tmp_path: Path) -> None:
    asked = feed(("a",), **RECORDS)
    (tmp_path / "1").write_bytes(b'[{"a":"1"}]')
    (tmp_path / "2").write_bytes(b'{"total_count":2,"results":[{"a":"2"},{"a":null}]}')
    bodies = [Body(tmp_path / "1", {}, f"{BASE}/exports/json?x=1"), Body(tmp_path / "2", {}, f"{BASE}/records?limit=10")]
    assert parsed(asked, bodies) == [("1",), ("2",), (None,)]


def test_csv_with_the_portals_habits_is_read_or_refused(tmp_path: Path) -> None:
    asked = feed(("a", "b"), format="csv")
    assert read(tmp_path, asked, b'a;b\r\n"1;x";2\r\n', "/exports/csv") == [("1;x", "2")]
    assert read(tmp_path, asked, b"\xef\xbb\xbfa;b\r\n1;2\r\n", "/exports/csv") == [("1", "2")]  # a mark that nobody asked for
    with pytest.raises(UnreadableSource, match="a comma is likely"):  # another separator than was asked for
        read(tmp_path, asked, b"a,b\r\n1,2\r\n", "/exports/csv")
    with pytest.raises(UnreadableSource, match="missing"):  # labels in place of names
        read(tmp_path, asked, b"Label of a;Label of b\r\n1;2\r\n", "/exports/csv")


def test_a_workbook_is_read(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "book.xlsx")) as book:
        for at, line in enumerate((["a", "b"], ["1", "x"], ["2", "y"])):
            book.worksheets()[0].write_row(at, 0, line) if book.worksheets() else book.add_worksheet().write_row(at, 0, line)
    assert read(tmp_path, feed(("a", "b"), format="xlsx"), (tmp_path / "book.xlsx").read_bytes(), "/exports/xlsx") == [
        ("1", "x"),
        ("2", "y"),
    ]


def test_nested_fields_are_read_by_their_path(tmp_path: Path) -> None:
    asked = feed(("geo.lon", "name"))
    assert read(tmp_path, asked, b'[{"geo":{"lon":2.35,"lat":48},"name":"x"}]', "/exports/json") == [("2.35", "x")]


@pytest.mark.parametrize("body", [b"", b"{", b'"x"', b"\xff\xfe\x00", b"[" * 99_999, b"[1]"])
@pytest.mark.parametrize("below", ["/records?limit=10", "/exports/json"])
def test_hostile_bodies_raise_unreadable_source_or_give_broken_rows(body: bytes, below: str, tmp_path: Path) -> None:
    if body == b"[1]" and below == "/exports/json":
        assert read(tmp_path, feed(), body, below) == [(None, None, None)]
    else:
        with pytest.raises(UnreadableSource):
            read(tmp_path, feed(), body, below)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 99_999, b"<html>", b'{"total_count":true}', b'{"total_count":-1}'])
def test_a_count_that_is_none_is_unreadable(body: bytes, tmp_path: Path) -> None:
    (count,) = led(feed(), tmp_path, first(feed()), ABOUT)
    with pytest.raises(UnreadableSource):
        led(feed(), tmp_path, count, body)


def test_a_data_set_of_attachments_alone_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no records, only attachments"):
        led(feed(), tmp_path, first(feed()), {**ABOUT, "has_records": False})
