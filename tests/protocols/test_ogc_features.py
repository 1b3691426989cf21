"""ogc_features: requests, where a next link may lead, what answers mean, how features become rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.answers.json_members import members_of
from assets.protocols.answers.ogc_answers import RECOUNT
from assets.protocols.kernel import (
    HEAD_BYTES,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    RateLimited,
    Request,
    Response,
    Validators,
    When,
    outcome_name,
)
from assets.protocols.ogc_features import PROTOCOL
from tests.protocols.json_scene import hostile, judged, read, requests
from tests.protocols.standin_scene import NOW, feed_for

BASE = "https://open.example/ogc"
ITEMS = f"{BASE}/collections/stations/items"
SOURCE: dict[str, Any] = {"protocol": "ogc_features", "base_url": BASE, "collection": "stations", "size": 10}
KEYED = {"kind": "query_key", "name": "api_key", "secret": "OGC_KEY"}
COLUMNS = ["id", "properties.name", "geometry.coordinates.0", "geometry.coordinates.1"]


def feed(columns: list[str] | None = None, **source: Any) -> Feed:
    return feed_for(SOURCE | source, columns or COLUMNS)


def query(sent: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(sent.url).query).items()}


def page(features: int = 1, total: Any = None, href: Any = None, **more: Any) -> dict[str, Any]:
    links = [] if href is None else [{"rel": "next", "href": href}]
    matched = {} if total is None else {"numberMatched": total}
    whole = {"type": "FeatureCollection", "features": [feature(n) for n in range(features)], **matched}
    return whole | {"numberReturned": features, "links": links, "timeStamp": "2026-11-25T03:00:00Z"} | more


def feature(n: int) -> dict[str, Any]:
    geometry = {"type": "Point", "coordinates": [126 + n / 8, 37.5]}
    return {"type": "Feature", "id": f"s{n}", "geometry": geometry, "properties": {"name": f"이름 {n}", "numberMatched": 999}}


def meant(
    body: Any, status: int = 200, url: str = f"{ITEMS}?limit=10", number: int = 1, headers: Any = None, **source: Any
) -> Outcome:
    one, data = feed(**source), body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = Request(url, page=number)
    return PROTOCOL.classify(one.source, sent, Response.of(data, status, headers or {}, True))


def leads(href: Any, url: str = f"{ITEMS}?limit=10", **source: Any) -> Any:
    """Where the next request of a page with this link goes; or what is wrong with it."""
    found = meant(page(10, 30, href), url=url, **source)
    return found.page.next_cursor if isinstance(found, Ok) else found


def after(token: str, **source: Any) -> Request:
    one = feed(**source)
    (step,) = PROTOCOL.plan(one, one.source, When(NOW))
    return PROTOCOL.request(one, one.source, step, Cursor(page=2, offset=10, token=token), Validators())


# --- requests -------------------------------------------------------------------------------------------------------------


def test_items_are_asked_with_what_is_declared() -> None:
    one = feed(
        bbox=(126.5, 37, 127, 37.75), datetime="{start:%Y-%m-%d}/{end:%Y-%m-%d}", crs=5186, sort_by="-name",
        window={"every": "day"}, params={"properties": "name,level", "filter": "level > 3", "filter-lang": "cql2-text"},
    )  # fmt: skip
    [sent] = requests(one)
    assert sent.url.startswith(ITEMS + "?limit=10&bbox=126.5,37,127,37.75&datetime=2026-11-")
    assert query(sent) == {
        "limit": "10", "bbox": "126.5,37,127,37.75", "datetime": "2026-11-24/2026-11-25",
        "crs": "http://www.opengis.net/def/crs/EPSG/0/5186", "sortby": "-name", "properties": "name,level", "filter": "level > 3",
        "filter-lang": "cql2-text",
    }  # fmt: skip
    assert sent.headers["Accept"].startswith("application/geo+json")


def test_without_an_earlier_fetch_the_time_is_left_out() -> None:
    one = feed(datetime="{since:%Y-%m-%dT%H:%M:%SZ}/..")
    assert query(requests(one)[0]) == {"limit": "10"}
    (step,) = PROTOCOL.plan(one, one.source, When(NOW, since=datetime(2026, 11, 24, 1, tzinfo=UTC)))
    assert query(PROTOCOL.request(one, one.source, step, Cursor(), Validators()))["datetime"] == "2026-11-24T01:00:00Z/.."


def test_a_collection_with_odd_characters_and_a_key_that_is_only_a_placeholder() -> None:
    [sent] = requests(feed(collection="dept:관측 소".replace(" ", "_"), auth=KEYED))
    assert "/collections/dept:%EA%B4%80" in sent.url and sent.url.endswith("&api_key={secret:OGC_KEY}")
    [sent] = requests(feed(auth={"kind": "header_key", "name": "X-Api-Key", "secret": "OGC_KEY"}))
    assert sent.headers["X-Api-Key"] == "{secret:OGC_KEY}" and "secret" not in sent.url


def test_pages_by_offset_where_that_is_declared_or_no_link_was_given() -> None:
    for one in (feed(paging="offset", offset_param="startindex"), feed(offset_param="startindex")):
        [sent] = requests(one, Cursor(page=3, offset=17))
        assert query(sent) == {"limit": "10", "startindex": "17"}
        assert query(requests(one)[0]) == {"limit": "10"}
    assert query(requests(feed(), Cursor(page=3, offset=17, token=f"{ITEMS}?limit=10&after=x"))[0]) == {"limit": "10", "after": "x"}


@pytest.mark.parametrize(
    "wrong",
    [{"size": 1}, {"bbox": (1, 2, 3)}, {"params": {"limit": 5}}, {"params": {"bbox": "1,2,3,4"}}, {"base_url": "ftp://a"},
     {"paging": "offset", "params": {"offset": 5}}, {"collection": "a/b"}, {"paging": "guess"}],
)  # fmt: skip
def test_declarations_that_cannot_work_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**wrong)


def test_addresses_are_recognised_and_no_key_is_kept() -> None:
    own = {"protocol": "ogc_features", "base_url": BASE, "collection": "stations"}
    found = PROTOCOL.recognise(f"{ITEMS}?f=json&limit=5&bbox=1,2,3,4&datetime=2026-01-01&level=3&api_key=abc&token=x&offset=3")
    assert found == own | {"bbox": [1.0, 2.0, 3.0, 4.0], "datetime": "2026-01-01", "params": {"level": "3"}}
    assert PROTOCOL.recognise(f"{BASE}/collections/stations?f=html") == own == PROTOCOL.recognise(f"{ITEMS}/")
    assert feed_for(found or {}, COLUMNS).source.address == ITEMS
    for other in (
        f"{BASE}/collections/stations",
        f"{BASE}/collections",
        "https://open.example/data.csv",
        "ftp://a/collections/b/items",
    ):
        assert PROTOCOL.recognise(other) is None


# --- where a next link may lead -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "url"),
    [
        (f"{ITEMS}?cursor=a%2Fb%2B1&limit=10", f"{ITEMS}?cursor=a%2Fb%2B1&limit=10"),  # as it stands: no second encoding
        ("items?after=5", f"{ITEMS}?after=5"),
        ("?offset=10", f"{ITEMS}?offset=10"),
        ("/ogc/next/page/2", "https://open.example/ogc/next/page/2"),
        ("//open.example/ogc/collections/stations/items?offset=10", f"{ITEMS}?offset=10"),
        (f"  {ITEMS}?offset=10#top ", f"{ITEMS}?offset=10"),
        (f"{ITEMS}?name=Bad Aibling&\x01=서|\r\nHost: x", f"{ITEMS}?name=Bad%20Aibling&%01=%EC%84%9C%7CHost:%20x"),
    ],
)
def test_a_link_at_home_is_followed_as_it_is(href: str, url: str) -> None:
    assert leads(href) == url
    assert after(url).url == url


@pytest.mark.parametrize(
    "href",
    [
        "http://localhost:5000/collections/stations/items?offset=10&limit=10",
        "http://10.0.0.7/internal/collections/stations/items?offset=10&limit=10",
        "http://open.example/ogc/collections/stations/items?offset=10&limit=10",
        "https://open.example:8443/ogc/collections/stations/items?offset=10&limit=10",
        "https://elsewhere.example/collections/stations/items/?offset=10&limit=10",
        "https://user:word@open.example/ogc/collections/stations/items?offset=10&limit=10",
    ],
)
def test_a_link_to_the_same_items_under_another_name_is_asked_at_home(href: str) -> None:
    """Plain http and the machine behind the proxy: the host that the feed declares is asked, and no other."""
    assert leads(href) == f"{ITEMS}?offset=10&limit=10"


@pytest.mark.parametrize(
    "href",
    [
        "https://elsewhere.example/more?offset=10", "http://169.254.169.254/latest/meta-data/", "http://localhost:5000/other",
        "file:///etc/passwd", "https://[", "http://elsewhere.example/collections/other/items", "javascript:alert(1)",
        "https://open.example.evil/ogc/page/2",
    ],
)  # fmt: skip
def test_a_link_elsewhere_fails_the_fetch_and_is_never_asked(href: str) -> None:
    found = leads(href)
    assert outcome_name(found) == "BadRequest" and "next page is not followed" in found.reason


def test_a_declared_host_is_followed_but_gets_no_key() -> None:
    href = "https://pages.example/p/2?x=1"
    assert leads(href, redirect_hosts=["pages.example"], auth=KEYED) == href
    for auth in (KEYED, {"kind": "header_key", "name": "X-Api-Key", "secret": "OGC_KEY"}):
        sent = after(href, redirect_hosts=["pages.example"], auth=auth)
        assert "secret" not in f"{sent.url} {dict(sent.headers)}"


@pytest.mark.parametrize(
    "href",
    [f"{ITEMS}?offset=10&api_key=********&limit=10", "http://inside/collections/stations/items?API_KEY=a&offset=10&limit=10"],
)
def test_the_key_that_a_link_echoes_is_replaced_by_its_placeholder(href: str) -> None:
    found = leads(href, auth=KEYED)
    assert found == f"{ITEMS}?offset=10&limit=10"
    assert after(found, auth=KEYED).url == f"{ITEMS}?offset=10&limit=10&api_key={{secret:OGC_KEY}}"


def test_a_key_in_the_path_stays_a_placeholder() -> None:
    base = "https://open.example/{key}/ogc"
    auth = {"kind": "path_key", "secret": "OGC_KEY"}
    url = "https://open.example/{secret:OGC_KEY}/ogc/collections/stations/items"
    found = leads("https://open.example/******/ogc/collections/stations/items?offset=10", url, base_url=base, auth=auth)
    assert after(found, base_url=base, auth=auth).url == f"{url}?offset=10"


def test_a_host_with_a_name_that_is_no_ascii_stays_as_it_is() -> None:
    url = "https://자료.example/collections/stations/items?offset=10"
    assert leads(url, "https://자료.example/collections/stations/items", base_url="https://자료.example") == url


def test_a_link_cannot_name_a_secret_of_ours() -> None:
    """What the transport would fill in is no more a placeholder when it stands in a link."""
    for href in (
        f"{ITEMS}?a={{secret:AWS_SECRET_ACCESS_KEY}}",
        "https://open.example/{secret:OGC_KEY}/x",
        "http://in/collections/stations/items?{secret:X}",
    ):
        found = leads(href)
        assert isinstance(found, str) and "{" not in found and "{" not in after(found).url


@pytest.mark.parametrize(
    "links",
    [{}, "next", 7, {"rel": "next", "href": ITEMS}, [ITEMS], [{"rel": "next"}], [{"rel": "next", "href": 7}],
     [{"rel": "next", "href": " "}],
     [{"rel": "next", "href": ITEMS, "method": "POST"}], [{"rel": "next", "href": f"{ITEMS}?{'x' * 9000}"}]],
)  # fmt: skip
def test_links_that_cannot_be_read_are_no_end(links: Any) -> None:
    assert outcome_name(meant(page(10, None, links=links))) == "Malformed"


def test_of_one_link_for_each_format_the_json_one_is_taken() -> None:
    given = [("text/html", "h"), ("application/json", "j"), ("application/geo+json", "g"), (None, "n")]
    links = [{"rel": "next", "href": f"{ITEMS}?f={name}", **({"type": kind} if kind else {})} for kind, name in given]
    assert meant(page(10, None, links=[{"rel": "self", "href": "x"}, *links])) == Ok(PageInfo(next_cursor=f"{ITEMS}?f=g"))
    assert meant(page(10, None, links=[links[0], links[3]])) == Ok(PageInfo(next_cursor=f"{ITEMS}?f=n"))
    assert meant(page(10, None, links=[links[0]])) == Ok(PageInfo(next_cursor=f"{ITEMS}?f=h"))


# --- what a page means ----------------------------------------------------------------------------------------------------

NEXT = f"{ITEMS}?offset=10"


@pytest.mark.parametrize("total", [None, "unknown", -1, "-", [], True, 1.5])
def test_a_total_that_is_none_leaves_the_end_to_the_links(total: Any) -> None:
    assert meant(page(10, total, NEXT)) == Ok(PageInfo(next_cursor=NEXT))
    assert meant(page(3, total)) == Ok(PageInfo(page_size=10))


def test_a_total_holds_for_every_page() -> None:
    assert meant(page(10, 30, NEXT)) == Ok(PageInfo(total=30, next_cursor=NEXT))
    assert meant(page(10, "30", NEXT)) == Ok(PageInfo(total=30, next_cursor=NEXT))
    assert meant(page(3, 3)) == Ok(PageInfo(total=3, next_cursor=RECOUNT))
    assert meant(page(10, 30, NEXT), total="ignored") == Ok(PageInfo(next_cursor=NEXT))
    assert meant(page(10, 30), number=3) == Ok(PageInfo(total=30, next_cursor=RECOUNT))


def test_a_first_page_without_a_link_though_there_are_more_is_told() -> None:
    """geopython/pygeoapi#1658, CrunchyData/pg_featureserv#192."""
    found = meant(page(10, 30))
    assert isinstance(found, Malformed) and "10 of 30 features came" in found.reason
    assert meant(page(10, 30), paging="offset") == Ok(PageInfo(total=30))
    assert meant(page(10), paging="offset") == Ok()


def test_where_a_later_link_is_missing_the_total_is_asked_again() -> None:
    sent = after(RECOUNT, sort_by="name")
    assert query(sent) == {"limit": "1", "sortby": "name"}
    assert meant(page(1, 30, NEXT), url=sent.url, number=4) == Ok(PageInfo(total=30))


def test_what_search_engines_say_above_ten_thousand_is_no_total() -> None:
    assert meant(page(10, 10_000, NEXT)) == Ok(PageInfo(next_cursor=NEXT))
    assert meant(page(10, 10_000), number=9) == Ok(PageInfo(page_size=10))
    assert meant(page(10, 10_000), paging="offset") == Ok()
    assert outcome_name(meant(page(10, 10_000))) == "Malformed"


def test_nothing_found_and_nothing_on_a_page() -> None:
    assert isinstance(meant(page(0, 0)), Empty) and isinstance(meant(page(0)), Empty)
    assert outcome_name(meant(page(0, 7))) == "Malformed"
    assert "empty_page_ends" in str(meant(page(0, None, NEXT)))
    assert outcome_name(meant(page(0, None, NEXT), number=3)) == "Malformed"
    assert meant(page(0, None, NEXT), number=3, empty_page_ends=True) == Ok(PageInfo(page_size=10))
    assert meant(page(0, 30, NEXT), number=3, empty_page_ends=True) == Ok(PageInfo(total=30, next_cursor=RECOUNT))
    assert isinstance(meant(page(0, 0, NEXT), empty_page_ends=True), Empty)


def test_a_page_of_any_size_is_understood_wherever_its_features_stand() -> None:
    """Fields of the page's own names inside features, and text that looks like its end, are no news of the page."""
    features = [feature(n) | {"links": [{"rel": "next", "href": "x"}], "t": '"\\"}],"numberMatched":5}'} for n in range(2_000)]
    whole = page(10, 2_500, NEXT) | {"features": features, "numberReturned": 2_000}
    last = {name: value for name, value in whole.items() if name != "features"} | {"features": features}
    for body in (whole, last):
        assert len(json.dumps(body)) > 2 * HEAD_BYTES
        assert meant(body) == Ok(PageInfo(total=2_500, next_cursor=NEXT))
    cut = json.dumps(whole).encode()[:-40]
    assert outcome_name(meant(cut)) == "Transient"


@pytest.mark.parametrize(
    ("told", "fits"),
    [("<http://www.opengis.net/def/crs/EPSG/0/5186>", True), ("", True), ("<http://www.opengis.net/def/crs/OGC/1.3/CRS84>", False)],
)
def test_coordinates_of_another_system_than_asked_for_are_refused(told: str, fits: bool) -> None:
    found = meant(page(3, 3), headers={"content-crs": told}, crs=5186)
    assert isinstance(found, Ok) == fits
    assert isinstance(meant(page(3, 3), headers={"content-crs": told}), Ok)


# --- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (400, {"code": "InvalidParameterValue", "description": "limit"}, "BadRequest"),
        (404, {"code": "NotFound", "description": "Collection not found"}, "Gone"),
        (404, {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no such collection"}, "Gone"),
        (500, {"code": "NoApplicableCode", "description": "query error"}, "Transient"),
        (503, {"type": "about:blank", "title": "Down", "status": 503}, "Transient"),
        (403, {"error": {"code": "API_KEY_INVALID", "message": "An invalid api_key"}}, "AuthFailed"),
        (401, b"", "AuthFailed"), (410, b"<html>", "Gone"), (406, b"no such format", "BadRequest"), (502, b"<html>", "Transient"),
        (200, {"code": "InvalidParameterValue", "description": "limit"}, "BadRequest"),
        (200, {"code": "NotFound", "description": "gone"}, "Gone"),
        (200, {"code": "NoApplicableCode", "description": "database"}, "Transient"),
        (200, {"title": "Too many", "status": 429, "detail": "slow"}, "RateLimited"),
        (200, {"title": "Down", "status": 500}, "Transient"),
        (200, {"code": "Odd", "description": "?"}, "Malformed"),
        (200, {"links": [], "id": "stations", "title": "the collection itself"}, "Malformed"),
        (200, {"type": "FeatureCollection", "features": None}, "Malformed"),
        (200, {"type": "FeatureCollection", "features": {}}, "Malformed"),
        (200, [1], "Malformed"), (200, b"", "Malformed"), (200, b"<!DOCTYPE html><html></html>", "Malformed"),
        (200, b"<?xml version='1.0'?><a/>", "Malformed"), (200, b'{"features": [{"a"', "Transient"), (204, b"", "Malformed"),
    ],
)  # fmt: skip
def test_errors_by_status_code_and_problem(status: int, body: Any, outcome: str) -> None:
    found = meant(body, status)
    assert outcome_name(found) == outcome
    if isinstance(body, dict) and "description" in body:
        assert body["description"] in str(found)


def test_a_limit_of_requests_says_when_to_come_back() -> None:
    body = {"error": {"code": "OVER_RATE_LIMIT", "message": "You have exceeded your rate limit."}}
    assert meant(body, 429, headers={"retry-after": "12"}) == RateLimited(
        12.0, "HTTP 429: OVER_RATE_LIMIT: You have exceeded your rate limit."
    )


@settings(max_examples=150, deadline=None)
@given(
    hostile(["features", "links", "rel", "href", "numberMatched", "numberReturned", "code", "status", "type", "error"]),
    st.sampled_from([200, 400, 500]),
    st.booleans(),
)
def test_any_body_means_something(body: bytes, status: int, complete: bool) -> None:
    judged(feed(), body, status, complete, None)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=6),
        st.recursive(st.integers() | st.text('ab"\\,{}[]: é', max_size=9), lambda inner: st.lists(inner, max_size=3), max_leaves=6),
        max_size=5,
    ),
    st.integers(20, 200),
)  # fmt: skip
def test_members_seen_by_head_and_tail_are_the_objects_own(value: dict[str, Any], seen: int) -> None:
    whole = {**value, "records": [["x"] * 3] * 100, "after": 5}
    body = json.dumps(whole).encode()
    found = members_of(Response(200, {}, body[:seen], body[-seen:], len(body)))
    assert found is not None and found.ended
    assert all(whole[name] == inner for name, inner in found.values.items() if name in whole)
    assert found.values["after"] == 5
    assert members_of(Response(200, {}, body[:seen], body[-seen:-1], len(body) - 1)).ended is False  # type: ignore[union-attr]


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_features_are_rows_with_their_geometry(tmp_path: Path) -> None:
    one = feed([*COLUMNS, "geometry", "properties.big"])
    given = page(2, 2)
    given["features"][0]["properties"]["big"] = 12345678901234567890
    given["features"][1]["geometry"] = None
    assert read(tmp_path, one, given, page(1)) == [
        ("s0", "이름 0", "126", "37.5", '{"type":"Point","coordinates":[126,37.5]}', "12345678901234567890"),
        ("s1", "이름 1", None, None, None, None),
        ("s0", "이름 0", "126", "37.5", '{"type":"Point","coordinates":[126,37.5]}', None),
    ]


def test_a_recounted_page_has_no_rows_and_a_feature_that_is_none_is_a_broken_record(tmp_path: Path) -> None:
    assert read(tmp_path, feed(), page(1, 30), url=f"{ITEMS}?limit=1") == []
    odd = page(0) | {"features": [7, feature(1)], "numberReturned": 2}
    assert read(tmp_path, feed(), odd) == [(None,) * 4, ("s1", "이름 1", "126.125", "37.5")]


def test_a_page_must_have_the_features_that_it_says_where_nothing_else_tells(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="says that it has 9 features, and has 2"):
        read(tmp_path, feed(), page(2, "unknown") | {"numberReturned": 9})
    assert len(read(tmp_path, feed(), page(2, 12) | {"numberReturned": 9})) == 2  # as pygeoapi's TinyDB on a last page
    for odd in ({}, [], "x", None):
        assert len(read(tmp_path, feed(), page(2) | {"numberReturned": odd})) == 2
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), page(2) | {"numberReturned": "9" * 5_000})


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"features": {}}', b'{"features": [', b"\xff\xfe", b'{"features": null}'])
def test_what_is_no_page_is_unreadable(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), body)


def test_the_moment_of_an_answer_and_its_links_are_no_news(tmp_path: Path) -> None:
    from assets.protocols.kernel import Body

    def digest(value: dict[str, Any]) -> str | None:
        (tmp_path / "a").write_text(json.dumps(value))
        return PROTOCOL.canonical_sha256(feed().source, Body(tmp_path / "a", {}, ITEMS))

    assert digest(page(2, 2)) == digest(page(2, 2, NEXT, timeStamp="2027-01-01T00:00:00Z")) != digest(page(3, 2))
