"""arcgis: what is sent, what every answer means, how pages go on, and fetches from the stand-in, whole or failed."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.answers.arcgis_answers import COUNT, Layer
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    RateLimited,
    Request,
    Response,
    Step,
    Transient,
    Validators,
    When,
)
from tests.protocols.json_scene import hostile, judged, read, requests
from tests.protocols.standin_scene import NOW, feed_for

BASE = "https://gis.example/arcgis/rest/services/Roads/FeatureServer/3"
ROUTE: dict[str, Any] = {"kind": "arcgis", "host": "gis.example", "path": "/arcgis/rest/services/Roads/FeatureServer/3"}
COLUMNS = ("OBJECTID", "name", "geometry.x", "geometry.y")
FIRST = "where=1%3D1&outFields=*&returnGeometry=true&outSR=4326&f=json&orderByFields=OBJECTID%20ASC"
EDITED = 1_767_225_600_000


def feed(columns: tuple[str, ...] = COLUMNS, **source: Any) -> Feed:
    return feed_for({"protocol": "arcgis", "base_url": BASE, **source}, columns)


def options(**given: Any) -> dict[str, Any]:
    return {**ROUTE, "options": {"most": 10, **given}}


def rows(count: int, name: str = "길") -> list[dict[str, Any]]:
    """Features whose object ids have gaps; every seventh has no geometry."""
    return [
        {"attributes": {"OBJECTID": 2 * n + 1, "name": f"{name} {n}", "edited": EDITED + n * 1000}}
        | ({} if n % 7 == 6 else {"geometry": {"x": round(127.01 + n / 10, 2), "y": 37.5}})
        for n in range(count)
    ]


def text(number: float) -> str:
    return json.dumps(number)


def read_back(served: list[dict[str, Any]]) -> list[tuple[str | None, ...]]:
    points = [one.get("geometry", {}) for one in served]
    return [
        (str(one["attributes"]["OBJECTID"]), one["attributes"]["name"], *(text(p[k]) if k in p else None for k in "xy"))
        for one, p in zip(served, points, strict=True)
    ]


def asked(query: str = f"{FIRST}&resultOffset=0&resultRecordCount=10", page: int = 1) -> Request:
    return Request(f"{BASE}/query?{query}", page=page)


def said(body: Any, status: int = 200, request: Request | None = None, complete: bool = True, **headers: str) -> Outcome:
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    one = feed()
    return one.protocol.classify(one.source, request or asked(), Response.of(raw, status, named, complete))


def page(found: list[Any], more: Any = None, **about: Any) -> dict[str, Any]:
    return {
        "objectIdFieldName": "OBJECTID",
        **({} if more is None else {"exceededTransferLimit": more}),
        "features": found,
        **about,
    }


def led(folder: Path, told: Any, one: Feed | None = None, when: When | None = None) -> list[Step]:
    """The steps that a layer's description leads to."""
    one = one or feed()
    (folder / "layer").write_bytes(told if isinstance(told, bytes) else json.dumps(told).encode())
    [lead] = one.protocol.plan(one, one.source, when or When(NOW))
    assert lead.lead
    return list(one.protocol.follow(one, one.source, lead, Body(folder / "layer", {}, BASE)))


LAYER = {"objectIdField": "OBJECTID", "maxRecordCount": 10, "advancedQueryCapabilities": {"supportsPagination": True}}
FEATURE = {"attributes": {"OBJECTID": 7, "name": "a"}, "geometry": {"x": 1.5, "y": 2}}


# --- what is sent ---------------------------------------------------------------------------------------------------------


def sent(one: Feed, step: Step, token: str | None = None) -> str:
    return one.protocol.request(one, one.source, step, Cursor(token=token), Validators()).url


def test_requests_as_sent(tmp_path: Path) -> None:
    assert [request.url for request in requests(feed())] == [f"{BASE}?f=json"]
    [step] = led(tmp_path, LAYER)
    assert sent(feed(), step) == f"{BASE}/query?{FIRST}&resultOffset=0&resultRecordCount=10"
    assert sent(feed(), step, "20") == f"{BASE}/query?{FIRST}&resultOffset=20&resultRecordCount=10"
    assert sent(feed(), step, COUNT) == f"{BASE}/query?where=1%3D1&returnCountOnly=true&f=json"
    [keyset] = led(tmp_path, {**LAYER, "advancedQueryCapabilities": {"supportsPagination": False}})
    assert sent(feed(), keyset) == f"{BASE}/query?{FIRST}"
    assert sent(feed(), keyset, "19").startswith(f"{BASE}/query?where=%281%3D1%29%20AND%20OBJECTID%20%3E%2019&")
    assert sent(feed(), keyset, COUNT) == f"{BASE}/query?where=1%3D1&returnCountOnly=true&f=json"


def test_a_feed_chooses_fields_format_and_conditions(tmp_path: Path) -> None:
    one = feed(
        fields=["OBJECTID", "name"], geometry=False, format="geojson", crs=5179, params={"time": "0,1"}, where="kind = '도로'"
    )
    [step] = led(tmp_path, LAYER, one)
    query = parse_qs(sent(one, step).partition("?")[2])
    assert query["where"] == ["kind = '도로'"] and query["outFields"] == ["OBJECTID,name"] and query["time"] == ["0,1"]
    assert (query["returnGeometry"], query["outSR"], query["f"]) == (["false"], ["5179"], ["geojson"])
    assert "time=0,1" in sent(one, step, COUNT) and "f=json" in sent(one, step, COUNT)


def test_a_long_question_is_sent_as_a_form_without_the_token(tmp_path: Path) -> None:
    one = feed(where=f"name IN ({','.join(['길'] * 400)})", auth={"kind": "query_key", "secret": "GIS_TOKEN"})
    [step] = led(tmp_path, LAYER, one)
    request = one.protocol.request(one, one.source, step, Cursor(), Validators())
    assert (request.method, request.url) == ("POST", f"{BASE}/query?token={{secret:GIS_TOKEN}}")
    assert request.body is not None and b"resultOffset=0" in request.body and b"GIS_TOKEN" not in request.body


def test_changes_since_the_last_fetch_and_everything_at_first(tmp_path: Path) -> None:
    one = feed(where="edited > TIMESTAMP '{since:%Y-%m-%d %H:%M:%S}'")
    [first] = led(tmp_path, LAYER, one)
    assert "where=1%3D1&" in sent(one, first)
    [then] = led(tmp_path, LAYER, one, When(NOW, since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)))
    assert parse_qs(sent(one, then).partition("?")[2])["where"] == ["edited > TIMESTAMP '2026-01-02 12:04:05'"]


# --- what a layer says of itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "wanted", "layer"),
    [
        (LAYER, None, Layer("OBJECTID", 10, True, None)),
        (LAYER, 500, Layer("OBJECTID", 10, True, None)),
        (LAYER, 3, Layer("OBJECTID", 3, True, None)),
        ({"fields": [{"name": "FID", "type": "esriFieldTypeOID"}], "maxRecordCount": 1000}, None, Layer("FID", 1000, False, None)),
        ({**LAYER, "supportsPagination": True, "advancedQueryCapabilities": {}}, None, Layer("OBJECTID", 10, True, None)),
        ({**LAYER, "editingInfo": {"lastEditDate": EDITED}}, None, Layer("OBJECTID", 10, True, EDITED)),
        ({**LAYER, "editingInfo": {"lastEditDate": None}}, None, Layer("OBJECTID", 10, True, None)),
        ({"objectIdField": "OBJECTID"}, 50, Layer("OBJECTID", 50, False, None)),
    ],
)
def test_a_layer_says_how_it_is_asked(told: Any, wanted: int | None, layer: Layer, tmp_path: Path) -> None:
    [step] = led(tmp_path, told, feed(size=wanted))
    assert step.params["layer"] == layer


@pytest.mark.parametrize(
    "told",
    [{}, {"objectIdField": "OBJECTID"}, {"maxRecordCount": 5}, {**LAYER, "objectIdField": "a b"}, [], b"", b"{", b"[" * 9999],
)
def test_no_layer_is_no_answer(told: Any, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        led(tmp_path, told)


def test_paging_may_be_declared(tmp_path: Path) -> None:
    [step] = led(tmp_path, LAYER, feed(paging="keyset"))
    assert not step.params["layer"].offsets
    [step] = led(tmp_path, {**LAYER, "advancedQueryCapabilities": None}, feed(paging="offset"))
    assert step.params["layer"].offsets


def test_a_stamp_is_the_last_edit_and_what_is_asked(tmp_path: Path) -> None:
    told = {**LAYER, "editingInfo": {"lastEditDate": EDITED}}
    [one], [other] = led(tmp_path, told), led(tmp_path, told, feed(fields=["name"]))
    assert one.stamp and one.stamp.startswith(f"{EDITED} ") and one.stamp != other.stamp
    since = feed(where="edited > TIMESTAMP '{since:%Y-%m-%d}'")
    [first], [then] = led(tmp_path, told, since), led(tmp_path, told, since, When(NOW, since=NOW))
    assert first.stamp == then.stamp


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (400, BadRequest),
        (401, AuthFailed),
        (403, AuthFailed),
        (404, Gone),
        (429, RateLimited),
        (498, AuthFailed),
        (499, AuthFailed),
        (500, Transient),
        (504, Transient),
        (1, Malformed),
    ],
)
def test_errors_by_the_code_in_the_body_with_any_status(code: int, outcome: type, status: int) -> None:
    body = {"error": {"code": code, "message": "Unable to complete operation.", "details": ["no such field"]}}
    assert isinstance(found := said(body, status), outcome), found
    assert "Unable to complete operation.; no such field" in found.reason  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (page([FEATURE]), 200, Ok),
        (page([]), 200, Empty),
        (page([], False), 200, Empty),
        ({"error": "something"}, 200, Malformed),
        ({"error": {}}, 500, Transient),
        ({"error": {"code": 400, "details": "text"}}, 200, BadRequest),
        ({"features": None}, 200, Ok),  # it is no list: parse refuses it
        ({"count": 3}, 200, Malformed),
        ([FEATURE], 200, Malformed),
        ("<!DOCTYPE html><html></html>", 200, Malformed),
        ("", 200, Malformed),
        ('{"features": [{"attributes"', 200, Transient),
        ("nothing", 404, Gone),
        ("nothing", 503, Transient),
        (page([FEATURE]), 500, Transient),
    ],
)
def test_answers(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(body, status), outcome), found


def test_the_description_of_a_layer_and_its_count() -> None:
    lead, count = Request(f"{BASE}?f=json"), asked("where=1%3D1&returnCountOnly=true&f=json", 3)
    assert isinstance(said(LAYER, request=lead), Ok)
    assert isinstance(said(page([FEATURE]), request=lead), Malformed)
    assert isinstance(found := said({"count": 25}, request=count), Ok) and found.page.total == 25
    for odd in (page([FEATURE]), {}, {"count": "many"}):
        assert isinstance(said(odd, request=count), Malformed)
    assert isinstance(said(LAYER, complete=False, request=lead), Transient)


@pytest.mark.parametrize("flag", [True, "true"])
def test_pages_go_on_until_the_layer_says_that_there_are_no_more(flag: Any) -> None:
    for body in (page([FEATURE], flag), {"features": [FEATURE], "properties": {"exceededTransferLimit": flag}}):
        assert isinstance(found := said(body), Ok) and found.page.next_cursor == "10"  # a short page is no end
    for last in (page([FEATURE] * 10), page([FEATURE] * 10, False)):
        assert isinstance(found := said(last), Ok) and found.page.next_cursor == COUNT  # a full page is none either
    keyset = asked(FIRST)
    assert isinstance(found := said(page([FEATURE, {"attributes": {"OBJECTID": 19}}], flag), request=keyset), Ok)
    assert found.page.next_cursor == "19"
    assert isinstance(said(page([{"attributes": {"x": 1}}], flag), request=keyset), Malformed)
    assert isinstance(said(page([], flag), request=keyset), Malformed)


def test_an_empty_page_before_the_end_leads_to_the_next_and_at_the_end_to_the_count() -> None:
    third = asked(f"{FIRST}&resultOffset=20&resultRecordCount=10&token={{secret:T}}", 3)
    form = Request(f"{BASE}/query", "POST", body=third.url.partition("?")[2].encode(), page=3)
    for request in (third, form):
        assert said(page([], True), request=request) == Ok(PageInfo(next_cursor="30"))
        assert said(page([]), request=request) == Ok(PageInfo(next_cursor=COUNT))
    assert said(page([], True)) == Ok(PageInfo(next_cursor="10"))  # on the first page, too


def test_the_flag_before_or_behind_a_page_larger_than_what_is_seen_of_it() -> None:
    many = [{"attributes": {"OBJECTID": n, "name": 'exceededTransferLimit": true, '}} for n in range(4000)]
    for body in (
        page(many, True),
        {"features": many, "exceededTransferLimit": True},
        {"features": many, "properties": {"exceededTransferLimit": True}},
    ):
        assert isinstance(found := said(body), Ok) and found.page.next_cursor == "10"
        assert isinstance(found := said(body, request=asked(FIRST)), Ok) and found.page.next_cursor == "3999"
    assert isinstance(found := said({"features": many}), Ok) and found.page.next_cursor == COUNT


@settings(max_examples=200, deadline=None)
@given(
    hostile(["error", "code", "details", "features", "exceededTransferLimit", "properties", "count"]),
    st.integers(-1, 700),
    st.booleans(),
    st.none() | st.integers(0, 10**12),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None) -> None:
    found = judged(feed(), body, status, complete, length)
    if not 200 <= status < 300 or not complete:
        assert not isinstance(found, Ok)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (f"{BASE}/query?where=1%3D1&outFields=*&f=json", {}),
        (f"{BASE}?token=abc", {}),
        (f"{BASE}/query?where=a%3D2&outFields=a,b&returnGeometry=false", {"where": "a=2", "fields": ["a", "b"], "geometry": False}),
    ],
)
def test_addresses_are_recognised_without_their_token(url: str, source: dict[str, Any]) -> None:
    assert feed().protocol.recognise(url) == {"protocol": "arcgis", "base_url": BASE, **source}
    for other in ("https://gis.example/arcgis/rest/services/Roads/FeatureServer", "https://gis.example/rows", "not an address"):
        assert feed().protocol.recognise(other) is None


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_rows_are_attributes_with_their_geometry(tmp_path: Path) -> None:
    assert read(
        tmp_path, feed(), page([FEATURE, {"attributes": {"OBJECTID": 8, "name": None}, "geometry": None}]), {"count": 2}
    ) == [
        ("7", "a", "1.5", "2"),
        ("8", None, None, None),
    ]
    columns = ("id", "name", "geometry.coordinates.0", "geometry.rings")
    point = {"id": 7, "properties": {"name": "a"}, "geometry": {"type": "Point", "coordinates": [1.5, 2]}}
    ring = {"attributes": {"name": "b"}, "geometry": {"rings": [[[0, 0], [1, 1]]]}}
    assert read(tmp_path, feed(columns), page([point, ring])) == [("7", "a", "1.5", None), (None, "b", None, "[[[0,0],[1,1]]]")]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"x":1}', b'{"features":"x"}', b"\xff\xfe\x00", b"[" * 99_999])
def test_hostile_pages_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), body)


WORDS = ["fields", "name", "domain", "codedValues", "code", "types", "id", "domains", "typeIdField", "features", "attributes"]


@settings(max_examples=300, deadline=None)
@given(st.lists(hostile(WORDS), min_size=1, max_size=2), st.booleans())
def test_codes_of_any_shape_give_rows_or_unreadable_source(bodies: list[bytes], whole: bool) -> None:
    told = {"fields": [{"name": "name", "domain": {"codedValues": [{"code": 1, "name": "a"}]}}]}
    asked_for = feed(("name", "name.name"), domains=True)
    with tempfile.TemporaryDirectory() as folder:
        found = [told, page([{"attributes": {"name": 1}}])] if whole else []
        try:
            rows_read = read(Path(folder), asked_for, *found, *bodies)
        except UnreadableSource:
            return
        assert not whole or rows_read[0] == ("1", "a")
