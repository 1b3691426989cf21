"""wfs: requests of both versions, what pages, counts and exceptions mean, GeoJSON and GML as rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.answers.wfs_answers import HITS
from assets.protocols.kernel import (
    HEAD_BYTES,
    Body,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Pending,
    Request,
    Response,
    outcome_name,
)
from assets.protocols.wfs import PROTOCOL
from tests.protocols.json_scene import hostile, read, requests
from tests.protocols.standin_scene import feed_for

BASE = "https://open.example/geoserver/ows"
SOURCE: dict[str, Any] = {"protocol": "wfs", "base_url": BASE, "type_name": "open:stations", "sort_by": "name", "size": 10}
URL = f"{BASE}?service=WFS&version=2.0.0&request=GetFeature&typeNames=open:stations&outputFormat=application/json&srsName=EPSG:4326"
PAGE = f"{URL}&count=10&sortBy=name"
COUNT = f"{BASE}?service=WFS&version=2.0.0&request=GetFeature&typeNames=open:stations&srsName=EPSG:4326&resultType=hits"
COLUMNS = ["id", "properties.name", "geometry.coordinates.0"]
GML_COLUMNS = ["@id", "name", "level", "geom.Point.pos"]


def feed(columns: list[str] | None = None, **source: Any) -> Feed:
    return feed_for(SOURCE | source, columns or (GML_COLUMNS if source.get("format") == "gml" else COLUMNS))


def query(sent: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(sent.url).query).items()}


def page(features: int = 2, total: Any = 2, **more: Any) -> dict[str, Any]:
    points = [{"type": "Point", "coordinates": [126 + n / 8, 37.5]} for n in range(features)]
    listed = [{"type": "Feature", "id": f"s.{n}", "geometry": g, "properties": {"name": f"이름 {n}"}} for n, g in enumerate(points)]
    counts = {} if total is None else {"totalFeatures": total, "numberMatched": total, "numberReturned": features}
    return {"type": "FeatureCollection", "features": listed, **counts, "timeStamp": "2026-11-25T03:00:00Z", "crs": None} | more


def gml(features: int = 2, about: str = 'numberMatched="2" numberReturned="2"', kind: str = "stations", inside: str = "") -> bytes:
    names = 'xmlns:wfs="http://www.opengis.net/wfs/2.0" xmlns:gml="http://www.opengis.net/gml/3.2" xmlns:app="http://a"'
    members = "".join(
        f'<wfs:member><app:{kind} gml:id="s.{n}"><app:name>이름 &amp; {n}</app:name>{inside}'
        f'<app:geom><gml:Point srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>37.5 {126 + n}</gml:pos></gml:Point></app:geom>'
        f"</app:{kind}></wfs:member>"
        for n in range(features)
    )
    return (
        f'<?xml version="1.0"?>\n<!-- made -->\n<wfs:FeatureCollection {names} {about}>{members}</wfs:FeatureCollection>\n'.encode()
    )


def report(code: str, words: str = "words", locator: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1">'
        f'<ows:Exception exceptionCode="{code}" locator="{locator}"><ows:ExceptionText>{words}</ows:ExceptionText></ows:Exception>'
        "</ows:ExceptionReport>"
    ).encode()


def meant(
    body: Any, url: str = PAGE, status: int = 200, number: int = 1, complete: bool = True, headers: Any = None, **source: Any
) -> Outcome:
    one, data = feed(**source), body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = Request(url, page=number)
    return PROTOCOL.classify(one.source, sent, Response.of(data, status, headers or {}, complete))


def at(cursor: Cursor, **source: Any) -> dict[str, str]:
    return query(requests(feed(**source), cursor)[0])


# --- requests -------------------------------------------------------------------------------------------------------------


def test_a_page_is_asked_in_an_order_always() -> None:
    [sent] = requests(feed())
    assert sent.url == PAGE
    assert query(sent) == {
        "service": "WFS", "version": "2.0.0", "request": "GetFeature", "typeNames": "open:stations", "srsName": "EPSG:4326",
        "outputFormat": "application/json", "count": "10", "sortBy": "name",
    }  # fmt: skip
    later = at(Cursor(page=3, offset=17, token="after 10"))
    assert (later["startIndex"], later["sortBy"], later["count"]) == ("17", "name", "10")


def test_version_1_1_0_has_other_names() -> None:
    sent = at(Cursor(page=2, offset=10), version="1.1.0", srs="")
    assert sent == {
        "service": "WFS", "version": "1.1.0", "request": "GetFeature", "typeName": "open:stations", "startIndex": "10",
        "outputFormat": "application/json", "maxFeatures": "10", "sortBy": "name",
    }  # fmt: skip


def test_gml_is_the_services_own_form_unless_another_is_named() -> None:
    assert "outputFormat" not in at(Cursor(), format="gml")
    assert at(Cursor(), output_format="application/json; subtype=geojson")["outputFormat"] == "application/json; subtype=geojson"


def test_the_next_page_begins_where_the_last_one_leads() -> None:
    """With a box after the page's own length: it may be cut before the box is applied (MapServer/MapServer#7328)."""
    assert meant(page(4, 30)) == Ok(PageInfo(total=30, next_cursor="at 4"))
    assert meant(page(4, 30), params={"bbox": "37,126,38,127"}) == Ok(PageInfo(total=30, next_cursor="at 10"))
    later = f"{PAGE}&startIndex=10"
    assert meant(page(4, 30), url=later, number=2, each={"BBOX": ["1,2,3,4"]}) == Ok(PageInfo(total=30, next_cursor="at 20"))
    assert at(Cursor(page=2, offset=4, token="at 7"))["startIndex"] == "7"
    assert at(Cursor(page=3, offset=17, token="after 10"))["startIndex"] == "17"
    assert at(Cursor(page=4, offset=17, token="after 40"))["startIndex"] == "50"  # never back


def test_the_count_is_asked_without_what_belongs_to_pages() -> None:
    assert requests(feed(), Cursor(page=2, offset=3, token=HITS))[0].url == COUNT
    auth = {"kind": "query_key", "name": "key", "secret": "MAP_KEY"}
    [sent] = requests(feed(auth=auth))
    counted = meant(page(0, None), url=sent.url)
    assert (
        isinstance(counted, Pending)
        and counted.poll_url == f"{COUNT.replace('&resultType=hits', '')}&key={{secret:MAP_KEY}}&resultType=hits"
    )


@pytest.mark.parametrize(
    "wrong",
    [{"params": {"COUNT": 5}}, {"params": {"typename": "x"}}, {"type_name": "a,b"}, {"version": "1.0.0"}, {"size": 0},
     {"base_url": f"{BASE}?map=x"}, {"hits": False, "sort_by": ""}, {"hits": False, "params": {"bbox": "1,2,3,4"}},
     {"format": "csv"}],
)  # fmt: skip
def test_declarations_that_cannot_work_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**wrong)


def test_addresses_are_recognised_and_no_key_is_kept() -> None:
    own = {"protocol": "wfs", "base_url": BASE, "type_name": "open:stations"}
    url = f"{BASE}?SERVICE=wfs&VERSION=1.1.0&REQUEST=GetFeature&TYPENAME=open:stations&maxFeatures=5&key=abc&map=/a.map"
    assert PROTOCOL.recognise(f"{url}&outputFormat=application/json") == own | {"version": "1.1.0", "params": {"map": "/a.map"}}
    found = PROTOCOL.recognise(f"{PAGE}&startIndex=20&bbox=1,2,3,4&AUTHTOKEN=x")
    assert found == own | {"sort_by": "name", "srs": "EPSG:4326", "params": {"bbox": "1,2,3,4"}}
    assert feed_for(found or {}, COLUMNS).source.address == BASE
    assert (PROTOCOL.recognise(f"{BASE}?service=WFS&typeNames=a:b&outputFormat=GML3") or {})["format"] == "gml"
    for other in (f"{BASE}?service=WFS&request=GetCapabilities", f"{BASE}?service=WMS&typeName=a", BASE, f"{BASE}?typeName=a",
                  f"{BASE}?service=WFS&request=DescribeFeatureType&typeName=a"):  # fmt: skip
        assert PROTOCOL.recognise(other) is None


# --- what a page means ----------------------------------------------------------------------------------------------------


def test_a_page_says_how_many_there_are_or_not() -> None:
    assert meant(page(2, 30)) == Ok(PageInfo(total=30, next_cursor="at 2"))
    assert meant(page(2, "unknown"), url=f"{PAGE}&startIndex=20", number=3) == Ok(PageInfo(next_cursor="at 22"))
    only = page(2, None) | {"totalFeatures": 30}
    assert meant(only) == Ok(PageInfo(total=30, next_cursor="at 2"))
    assert meant(gml(), format="gml") == Ok(PageInfo(total=2, next_cursor="at 2"))
    assert meant(gml(about='numberMatched="unknown" numberReturned="2"'), format="gml") == Ok(PageInfo(next_cursor="at 2"))


def test_in_version_1_1_0_the_number_of_a_page_is_not_that_of_all() -> None:
    one = gml(about='numberOfFeatures="2"')
    assert meant(one, format="gml", version="1.1.0") == Ok(PageInfo(next_cursor="at 2"))
    counted = gml(0, 'numberOfFeatures="30"')
    assert meant(counted, url=COUNT, number=3, version="1.1.0") == Ok(PageInfo(total=30))


def test_where_the_next_page_begins_is_read_from_its_link_and_the_link_is_not_asked() -> None:
    href = "http://localhost:8080/geoserver/wfs?REQUEST=GetFeature&amp;STARTINDEX=7&amp;COUNT=7"
    links = [{"rel": "previous", "href": "x?STARTINDEX=1"}, {"rel": "next", "href": href.replace("&amp;", "&")}]
    assert meant(page(2, 30, links=links)) == Ok(PageInfo(total=30, next_cursor="at 7"))
    about = f'numberMatched="unknown" numberReturned="2" next="{href}"'
    assert meant(gml(about=about), format="gml") == Ok(PageInfo(next_cursor="at 7"))
    behind = meant(gml(about=about), url=f"{PAGE}&startIndex=7", number=2, format="gml")
    assert behind == Ok(PageInfo(next_cursor="at 9"))  # a link that leads nowhere new
    for odd in ({}, "x", [7], [{"rel": "next"}], [{"rel": "next", "href": "x"}]):
        assert meant(page(2, 30, links=odd)) == Ok(PageInfo(total=30, next_cursor="at 2"))


def test_an_empty_page_ends_nothing_while_its_link_leads_on() -> None:
    links = [{"rel": "next", "href": "x?startIndex=20"}]
    found = meant(page(0, 30, links=links), url=f"{PAGE}&startIndex=10", number=2)
    assert found == Pending(f"{PAGE}&startIndex=20", 1.0)
    assert meant(page(0, 30, links=links)) == Pending(f"{PAGE}&startIndex=20", 1.0)


def test_at_an_empty_page_the_service_is_asked_how_many_there_are() -> None:
    found = meant(page(0, "unknown"), url=f"{PAGE}&startIndex=20", number=3)
    assert found == Pending(COUNT, 1.0)
    assert meant(gml(0, 'numberMatched="unknown" numberReturned="0"'), number=3, format="gml") == Pending(COUNT, 1.0)
    assert meant(page(0, None), number=3, hits=False) == Ok()
    assert isinstance(meant(page(0, None), hits=False), Empty) and isinstance(meant(page(0, 0)), Empty)
    assert meant(page(0, 30), number=3) == Ok(PageInfo(total=30))


def test_a_page_is_empty_only_where_it_surely_has_no_features() -> None:
    """What is taken for empty ends the pages, or is no row of a table that has some."""
    assert meant(page(0, 5)) == Ok(PageInfo(total=5))  # the kernel refuses it: 5 were promised
    assert meant(page(2, "unknown", numberReturned=0)) == Ok(PageInfo(next_cursor="at 2"))
    preface = b"<wfs:boundedBy>" + b" " * HEAD_BYTES + b"</wfs:boundedBy>"
    late = gml(2, "").replace(b"<wfs:member>", preface + b"<wfs:member>", 1)
    assert "no element 'stations'" in str(meant(late, format="gml"))
    short = gml(0, "").replace(b"</wfs:FeatureCollection>", b"<wfs:boundedBy/></wfs:FeatureCollection>")
    assert isinstance(meant(short, format="gml", hits=False), Empty)
    many = {name: value for name, value in page(3_000, "unknown").items() if name != "numberReturned"}
    assert meant(many, params={"bbox": "1,2,3,4"}) == Ok(PageInfo(next_cursor="at 10"))


def test_the_count() -> None:
    assert meant(gml(0, 'numberMatched="30" numberReturned="0"'), url=COUNT, number=3) == Ok(PageInfo(total=30))
    assert meant(page(0, 30), url=COUNT, number=3) == Ok(PageInfo(total=30)) == meant(page(0, 30), url=COUNT, number=2, sort_by="")
    assert isinstance(meant(gml(0, 'numberMatched="0" numberReturned="0"'), url=COUNT), Empty)
    unknown = gml(0, 'numberMatched="unknown" numberReturned="0"')
    assert meant(unknown, url=COUNT, number=3) == Ok()
    assert "sort_by" in str(meant(unknown, url=COUNT, number=2, sort_by=""))
    assert "bbox" in str(meant(unknown, url=COUNT, number=2, params={"bbox": "1,2,3,4"}))
    assert outcome_name(meant(b"<wfs:Other/>", url=COUNT)) == "Malformed"
    self_closed = b'<wfs:FeatureCollection numberMatched="30" numberReturned="0"/>'
    assert meant(self_closed, url=COUNT, number=3) == Ok(PageInfo(total=30))


def test_without_an_order_there_is_one_page_and_it_must_be_all() -> None:
    unsorted = PAGE.replace("&sortBy=name", "")
    assert meant(page(2, 2), url=unsorted, sort_by="") == Ok(PageInfo(total=2, next_cursor=HITS))
    assert meant(page(2, "unknown"), url=unsorted, sort_by="") == Ok(PageInfo(next_cursor=HITS))
    found = meant(page(2, 30), url=unsorted, sort_by="")
    assert outcome_name(found) == "BadRequest" and "2 of 30 features came" in str(found) and "source.sort_by" in str(found)


def test_pages_of_any_size_are_understood() -> None:
    many = page(3_000, 9_000)
    many["features"][-1]["properties"]["text"] = '"}],"numberMatched":5,'
    assert len(json.dumps(many)) > 3 * HEAD_BYTES
    assert meant(many) == Ok(PageInfo(total=9_000, next_cursor="at 3000"))
    silent = {name: value for name, value in many.items() if name != "numberReturned"}
    assert meant(silent, url=f"{PAGE}&startIndex=20") == Ok(PageInfo(total=9_000, next_cursor="after 20"))
    large = gml(3_000, 'numberMatched="9000" numberReturned="3000"')
    assert meant(large, format="gml") == Ok(PageInfo(total=9_000, next_cursor="at 3000"))
    for cut, form in ((large[:-30], "gml"), (json.dumps(many).encode()[:-30], "json")):
        assert outcome_name(meant(cut, format=form)) == "Transient"
    assert outcome_name(meant(many, complete=False)) == "Transient"


def test_features_of_another_name_are_told() -> None:
    found = meant(gml(kind="Station"), format="gml")
    assert isinstance(found, Malformed) and "no element 'stations'" in found.reason
    assert isinstance(meant(gml(kind="Station"), format="gml", type_name="open:Station"), Ok)


# --- exceptions -----------------------------------------------------------------------------------------------------------


def old_report(attributes: str, words: str) -> bytes:
    inner = f"<ServiceException{attributes}>{words}</ServiceException>"
    return f'<ServiceExceptionReport version="1.2.0">{inner}</ServiceExceptionReport>'.encode()


NATURAL = "java.lang.RuntimeException: Cannot do natural order without a primary key, please add it or specify a manual sort"


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    ("code", "words", "locator", "outcome"),
    [
        ("InvalidParameterValue", "Feature type x unknown", "typeName", "Gone"), ("NotFound", "x", "", "Gone"),
        ("InvalidParameterValue", "bad", "srsName", "BadRequest"), ("MissingParameterValue", "", "", "BadRequest"),
        ("OperationNotSupported", "", "", "BadRequest"), ("OperationParsingFailed", "", "", "BadRequest"),
        ("NoApplicableCode", NATURAL, "", "BadRequest"), ("NoApplicableCode", "Could not parse CQL filter list.", "", "BadRequest"),
        ("NoApplicableCode", "Illegal property name: x", "", "BadRequest"), ("INVALID_KEY", "인증키", "", "AuthFailed"),
        ("OVER_REQUEST_LIMIT", "", "", "QuotaExhausted"),
    ],
)  # fmt: skip
def test_an_exception_means_its_code_whatever_the_status(code: str, words: str, locator: str, outcome: str, status: int) -> None:
    found = meant(report(code, words, locator), status=status)
    assert outcome_name(found) == outcome and code in str(found)
    listed = {"version": "2.0.0", "exceptions": [{"code": code, "locator": locator, "text": words}]}
    assert meant(listed, status=status) == found
    assert meant(report(code, words, locator), url=COUNT, status=status) == found
    if words == NATURAL:
        assert "declare source.sort_by" in str(found)  # bundesAPI/strahlenschutz-api#6


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (report("NoApplicableCode", "connection lost"), 200, "Transient"), (report("NoApplicableCode", "x"), 500, "Transient"),
        (report("NoApplicableCode", "x"), 400, "BadRequest"), (report("NoApplicableCode", "x"), 403, "AuthFailed"),
        (report("NoApplicableCode", "x"), 429, "RateLimited"), (report("Odd"), 200, "Malformed"), (report("Odd"), 404, "Gone"),
        (old_report(' code="LayerNotDefined"', "x"), 200, "Gone"), (old_report("", "\nmsWFSGetFeature()\n"), 200, "Transient"),
        (b"<ows:ExceptionReport/>", 200, "Transient"),
        (report("NoApplicableCode", "<![CDATA[could not parse]]>"), 200, "BadRequest"),
        (b"", 404, "Gone"), (b"<html>", 502, "Transient"), (b"", 401, "AuthFailed"), (b"", 200, "Malformed"),
        (b"", 204, "Malformed"), (b"[]", 200, "Malformed"), (b"text", 200, "Malformed"),
        (b"<!DOCTYPE html><html><body>login</body></html>", 200, "Malformed"),
        (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><wfs:FeatureCollection/>', 200, "Malformed"),
        (b'{"type":"FeatureCollection"}', 200, "Malformed"), (gml(), 200, "Malformed"), (b'{"features":[{"a"', 200, "Transient"),
        (b"<wfs:WFS_Capabilities/>", 200, "Malformed"), (b"<wfs:FeatureCollection", 200, "Malformed"),
    ],
)  # fmt: skip
def test_other_answers(body: bytes, status: int, outcome: str) -> None:
    assert outcome_name(meant(body, status=status)) == outcome


def test_json_in_place_of_gml_and_the_reverse_are_told() -> None:
    assert "see source.format" in str(meant(page(), format="gml")) and "see source.format" in str(meant(gml()))


WORDS = ["features", "links", "rel", "href", "numberMatched", "numberReturned", "exceptions", "code", "text", "totalFeatures"]
PIECES = (
    b"<wfs:FeatureCollection ", b"numberMatched='3' ", b'next="?STARTINDEX=9"', b">", b"/>", b"<stations ",
    b"</wfs:FeatureCollection>", b"<!--", b"-->", b"<?xml ", b"?>", b"<!DOCTYPE a>", b"<ExceptionReport>",
    b"<Exception exceptionCode='NotFound'>", b"<![CDATA[",
    b" ", b"\xff",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    hostile(WORDS) | st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
    st.sampled_from([200, 400, 500]),
    st.sampled_from([PAGE, COUNT]),
    st.sampled_from(["json", "gml"]),
)
def test_any_body_means_something_and_is_read_or_refused(body: bytes, status: int, url: str, form: str) -> None:
    import tempfile

    assert isinstance(meant(body, url=url, status=status, format=form), Outcome)
    with tempfile.TemporaryDirectory() as folder:
        try:
            read(Path(folder), feed(format=form), body, url=url)
        except UnreadableSource:
            return


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_features_of_geojson_are_rows_and_a_count_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, feed(), page(2, 3), page(1, 3)) == [
        ("s.0", "이름 0", "126"), ("s.1", "이름 1", "126.125"), ("s.0", "이름 0", "126")
    ]  # fmt: skip
    assert read(tmp_path, feed(), gml(0), url=COUNT) == []
    odd = page(0) | {"features": [7, None]}
    assert read(tmp_path, feed(), odd) == [(None,) * 3] * 2


def test_features_of_gml_are_rows_and_what_has_no_value_is_left_out(tmp_path: Path) -> None:
    one = feed(format="gml")
    assert read(tmp_path, one, gml(2), gml(1, inside="<app:level>3.5</app:level>")) == [
        ("s.0", "이름 & 0", None, "37.5 126"), ("s.1", "이름 & 1", None, "37.5 127"), ("s.0", "이름 & 0", "3.5", "37.5 126")
    ]  # fmt: skip
    listed = b'<FeatureCollection numberOfFeatures="2"><gml:featureMembers xmlns:gml="g">'
    listed += b'<stations gml:id="a"><name>x</name></stations><stations gml:id="b"/></gml:featureMembers></FeatureCollection>'
    assert read(tmp_path, one, listed) == [("a", "x", None, None), ("b", None, None, None)]
    assert read(tmp_path, one, gml(0)) == [] == read(tmp_path, one, gml(0), url=COUNT)


@pytest.mark.parametrize("form", ["json", "gml"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"<a", b"\xff\xfe", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a><stations/>&b;</a>']
)
def test_what_is_no_page_is_unreadable(tmp_path: Path, form: str, body: bytes) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(format=form), body)


def test_the_moment_of_an_answer_is_no_news_and_ids_that_are_made_up_are_none_where_that_is_declared(tmp_path: Path) -> None:
    def digest(value: Any, url: str = PAGE, **source: Any) -> str | None:
        (tmp_path / "a").write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        return PROTOCOL.canonical_sha256(feed(**source).source, Body(tmp_path / "a", {}, url))

    later = page(2, 2, timeStamp="2027-01-01T00:00:00Z", links=[{"rel": "next"}])
    assert digest(page()) == digest(later) != digest(page(1))
    renamed = page()
    renamed["features"][0]["id"] = "fid-1"
    assert digest(page()) != digest(renamed)
    volatile = {"volatile": ["timeStamp", "links", "features.id"]}
    assert digest(page(), **volatile) == digest(renamed, **volatile)
    first, then = (
        gml(about=f'timeStamp="{moment}" numberMatched="2"') for moment in ("2026-11-25T03:00:00Z", "2026-11-26T03:00:00Z")
    )
    assert digest(first, format="gml") == digest(then, format="gml") != digest(gml(1), format="gml")
    assert digest(first, url=COUNT) == digest(then, url=COUNT)
