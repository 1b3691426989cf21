"""socrata3: the questions in its bodies, what every answer means, and how its pages and exports are read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
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
    RateLimited,
    Request,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.socrata_answers import last_id
from assets.protocols.socrata_soql import columns_in
from tests.protocols.json_scene import hostile, parsed
from tests.protocols.socrata_scene import BASE3, feed3
from tests.protocols.standin_scene import NOW

CHANGED = "Tue, 24 Nov 2026 10:00:00 GMT"
COUNT = "SELECT count(*) AS rows_in_all"
ROWS = "SELECT number,street,note"
KEYED: dict[str, Any] = {"system": True, "paging": "keyset"}


def request_of(asked: Feed, step: Step, cursor: Cursor | None = None) -> Request:
    return asked.protocol.request(asked, asked.source, step, cursor or Cursor(), Validators())


def body_of(asked: Feed, step: Step, cursor: Cursor | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request_of(asked, step, cursor).body or b"")
    return found


def first(asked: Feed, since: datetime | None = None) -> Step:
    (step,) = asked.protocol.plan(asked, asked.source, When(NOW, since=since))
    return step


def led(asked: Feed, folder: Path, body: bytes, since: datetime | None = None, step: Step | None = None, **headers: str) -> Step:
    (folder / "lead").write_bytes(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = Body(folder / "lead", named, f"{BASE3}/query.json")
    (found,) = asked.protocol.follow(asked, asked.source, step or first(asked, since), told)
    return found


def rows_step(asked: Feed, folder: Path, since: datetime | None = None, count: bytes = b'[{"rows_in_all":"25"}]') -> Step:
    return led(asked, folder, count, since, x_soda2_truth_last_modified=CHANGED)


def said(asked: Feed, request: Request, body: Any, status: int = 200, complete: bool = True, **headers: str) -> Outcome:
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asked.protocol.classify(asked.source, request, status, named, raw[:HEAD_BYTES], raw[-HEAD_BYTES:], len(raw), complete)


def query(stamp: str | None = None, page: int = 1, text: str = ROWS) -> Request:
    return Request(f"{BASE3}/query.json", "POST", body=json.dumps({"query": text}).encode(), page=page, stamp=stamp)


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_a_count_is_posted_first_with_the_token_in_a_header() -> None:
    sent = request_of(feed3(), first(feed3()))
    assert (sent.method, sent.url) == ("POST", f"{BASE3}/query.json")
    assert sent.headers == {"Content-Type": "application/json", "X-App-Token": "{secret:SOCRATA_APP_TOKEN}"}
    assert json.loads(sent.body or b"") == {"query": COUNT, "includeSystem": False, "includeSynthetic": False}


def test_pages_by_number_in_a_stable_order(tmp_path: Path) -> None:
    step = rows_step(feed3(), tmp_path)
    assert body_of(feed3(), step, Cursor(page=3, offset=20)) == {
        "query": f"{ROWS} ORDER BY :id",
        "page": {"pageNumber": 3, "pageSize": 10},
        "includeSystem": False,
        "includeSynthetic": False,
    }
    assert step.stamp is not None and step.stamp.startswith(CHANGED) and step.stamp.endswith("; 25 rows")


def test_keyset_pages_start_above_the_last_id_and_are_never_deep(tmp_path: Path) -> None:
    asked = feed3(where="a = 'b' OR a = 'c'", **KEYED)
    step = rows_step(asked, tmp_path)
    assert body_of(asked, step)["query"] == f"{ROWS} WHERE a = 'b' OR a = 'c' ORDER BY :id"
    third = body_of(asked, step, Cursor(page=3, offset=20, token="row-a'b"))
    assert third["query"] == f"{ROWS} WHERE (a = 'b' OR a = 'c') AND :id > 'row-a''b' ORDER BY :id"
    assert third["page"] == {"pageNumber": 1, "pageSize": 10} and third["includeSystem"] is True


def test_an_export_is_asked_for_with_separator_and_mark_and_once(tmp_path: Path) -> None:
    asked = feed3(mode="export")
    step = rows_step(asked, tmp_path)
    assert request_of(asked, step).url == f"{BASE3}/export.csv"
    assert body_of(asked, step) == {
        "query": f"{ROWS} ORDER BY :id",
        "serializationOptions": {"separator": ",", "bom": False},
    }
    # rows are missing: the count again, never the whole export
    again = request_of(asked, step, Cursor(page=2, offset=20))
    assert again.url == f"{BASE3}/query.json" and json.loads(again.body or b"")["query"] == COUNT
    geojson = feed3(mode="export", format="geojson")
    assert request_of(geojson, rows_step(geojson, tmp_path)).url == f"{BASE3}/export.geojson"
    assert "serializationOptions" not in body_of(geojson, rows_step(geojson, tmp_path))


def test_windows_lists_and_a_views_own_parameters(tmp_path: Path) -> None:
    window = {"every": "day", "count": 2, "requests": "one", "timezone": "UTC"}
    asked = feed3(where="day >= '{start:%Y-%m-%d}' AND town = '{town}'", window=window, each={"town": ["A", "B"]})
    steps = list(asked.protocol.plan(asked, asked.source, When(NOW)))
    assert [body_of(asked, step)["query"] for step in steps] == [
        f"{COUNT} WHERE day >= '2026-11-23' AND town = '{town}'" for town in "AB"
    ]
    assert body_of(feed3(params={"year": 2026}), first(feed3(params={"year": 2026})))["parameters"] == {"year": "2026"}
    grouped = feed3(("town",), select="town,count(*) AS n", group="town", order="town")
    step = first(grouped)
    assert not step.lead and body_of(grouped, step)["query"] == "SELECT town,count(*) AS n GROUP BY town ORDER BY town"


def test_without_a_header_the_description_tells_the_version(tmp_path: Path) -> None:
    look = led(feed3(), tmp_path, b'[{"rows_in_all":"25"}]')
    sent = request_of(feed3(), look)
    assert look.lead and (sent.method, sent.url) == ("GET", "https://data.agency.example/api/views/abcd-1234.json")
    assert sent.headers == {"X-App-Token": "{secret:SOCRATA_APP_TOKEN}"}
    known = led(feed3(), tmp_path, b'{"rowsUpdatedAt":1700000000,"columns":[]}', step=look)
    assert not known.lead and (known.stamp or "").startswith("rows of 1700000000; query ")
    assert known.stamp == led(feed3(), tmp_path, b'{"rowsUpdatedAt":1700000000}', step=look).stamp
    # no version at all: the rows are counted all the same, and are never taken for those of the last fetch
    nothing = led(feed3(), tmp_path, b"{}", step=look)
    later = replace(look, params={**look.params, "asked_at": "2026-11-26T03:00:00+00:00"})
    assert (nothing.stamp or "").endswith("; 25 rows") and led(feed3(), tmp_path, b"{}", step=later).stamp != nothing.stamp


def test_only_what_changed_and_the_full_replacement(tmp_path: Path) -> None:
    since, asked = datetime(2026, 11, 23, 12, tzinfo=UTC), feed3(("number",), key="number", changes=True)
    old, new = (f'[{{"rows_in_all":"9","oldest_change":"{day}T00:00:00.000Z"}}]'.encode() for day in ("2020-01-01", "2026-11-24"))
    step = rows_step(asked, tmp_path, since, old)
    changed = "SELECT number WHERE :updated_at > '2026-11-23T12:00:00.000' ORDER BY :updated_at,:id"
    assert body_of(asked, step)["query"] == changed and "rows" not in (step.stamp or "")
    assert led(asked, tmp_path, old, since).stamp is None  # no header, and no look at the description: they are news anyway
    everything = rows_step(asked, tmp_path, since, new)
    assert body_of(asked, everything)["query"] == "SELECT number ORDER BY :id" and (everything.stamp or "").endswith("; 9 rows")
    with pytest.raises(UnreadableSource, match="replaced the data set"):
        rows_step(feed3((":id",), key=":id", changes=True), tmp_path, since, new)
    keyset = feed3(("number",), key="number", changes=True, **KEYED)
    above = body_of(keyset, rows_step(keyset, tmp_path, since, old), Cursor(page=2, token="x"))["query"]
    assert above == "SELECT number WHERE (:updated_at > '2026-11-23T12:00:00.000') AND :id > 'x' ORDER BY :id"


@pytest.mark.parametrize(
    "source",
    [
        {"auth": {"kind": "none"}},
        {"auth": {"kind": "query_key"}},
        {"paging": "keyset"},
        {"paging": "keyset", "system": True, "order": "number"},
        {"paging": "keyset", "system": True, "mode": "export"},
        {"group": "town"},
        {"group": "town", "order": "town", "mode": "export"},
        {"changes": True, "mode": "export"},
        {"dataset": "abcd"},
        {"size": 50_001},
        {"sise": 1},
    ],
)
def test_mistakes_are_found_when_a_feed_is_read(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed3(**source)


def test_changes_alone_would_delete_what_did_not_change() -> None:
    with pytest.raises(ValueError, match="upsert"):
        first(feed3(changes=True))


def test_an_address_that_somebody_pasted() -> None:
    known = PROTOCOLS["socrata3"].recognise
    base = {"protocol": "socrata3", "base_url": "https://data.agency.example", "dataset": "abcd-1234"}
    asked = "select a, b WHERE c = 'd' order by a"
    assert known(f"{BASE3}/query.json?query={asked}&app_token=abc&pageNumber=2") == base | {
        "select": "a, b",
        "where": "c = 'd'",
        "order": "a",
    }
    assert known(f"{BASE3}/query.json?query=SELECT *") == base
    assert known(f"{BASE3}/export.csv") == base | {"mode": "export", "format": "csv"}
    assert known(f"{BASE3}/query.json?query=SELECT a GROUP BY a") is None  # these fields cannot say it
    assert known("https://data.agency.example/resource/abcd-1234.json") is None


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


# --- rows -----------------------------------------------------------------------------------------------------------------


def read(folder: Path, asked: Feed, body: bytes, url: str = f"{BASE3}/query.json", **headers: str) -> list[tuple[str | None, ...]]:
    (folder / "page").write_bytes(body)
    return parsed(asked, [Body(folder / "page", {n.replace("_", "-"): v for n, v in headers.items()}, url)])


def test_a_column_of_nulls_is_left_out_of_rows_and_is_there_all_the_same(tmp_path: Path) -> None:
    body = b'[{"number":"1","street":"a"}\n,{"number":"2"}]\n'
    assert read(tmp_path, feed3(), body) == [("1", "a", None), ("2", None, None)]
    with pytest.raises(UnreadableSource, match="note"):
        read(tmp_path, feed3(select=""), body)
    fields = '["number","street","note"]'
    assert read(tmp_path, feed3(select=""), body, x_soda2_fields=fields) == [("1", "a", None), ("2", None, None)]


def test_the_names_in_a_selection() -> None:
    found = columns_in("a, `b`, :id, count(*), coalesce(c, d) AS e, max(f), sum(g) as `h`, *")
    assert found == ["a", "b", ":id", "e", "h"]


def test_an_export_is_read_as_the_file_that_it_is(tmp_path: Path) -> None:
    asked = feed3(("number", "street"), mode="export")
    assert read(tmp_path, asked, b'number,street\n"1","a, b"\n"2",""\n', f"{BASE3}/export.csv") == [("1", "a, b"), ("2", "")]
    # a mark that came although none was asked for
    assert read(tmp_path, asked, b"\xef\xbb\xbfnumber,street\n1,a\n", f"{BASE3}/export.csv") == [("1", "a")]
    with pytest.raises(UnreadableSource):  # another separator than was asked for
        read(tmp_path, asked, b"number;street\n1;a\n", f"{BASE3}/export.csv")


@pytest.mark.parametrize("body", [b"", b"{", b'"x"', b"\xff\xfe\x00", b"[" * 99_999])
def test_hostile_pages_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed3(), body)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 99_999, b"<html>"])
def test_a_description_that_is_none_is_unreadable(body: bytes, tmp_path: Path) -> None:
    look = led(feed3(), tmp_path, b'[{"rows_in_all":"25"}]')
    with pytest.raises(UnreadableSource):
        led(feed3(), tmp_path, body, step=look)
