"""sdmx21: requests, messages, headers, exports that take time, halves, flags of TSV, and whole fetches from the stand-in."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.feeds.model import Feed
from assets.protocols.kernel import Body, Cursor, Pending, Request, Response, Step, Validators, When, outcome_name
from assets.protocols.sdmx21 import PROTOCOL
from tests.protocols.standin_scene import NOW, feed_for

BASE = "https://stat.example/sdmx/2.1"
DATA = f"{BASE}/data/RATES/all"
OPTIONS: dict[str, Any] = {
    "agency": "STAT", "flow": "RATES", "dimensions": ["FREQ", "AREA"],
    "formats": {"SDMX-CSV": "csv1", "CSV2": "csv2", "TSV": "tsv"},
}  # fmt: skip
ROUTE: dict[str, Any] = {"kind": "sdmx21", "host": "stat.example", "path": "/sdmx/2.1", "options": OPTIONS}
SOURCE: dict[str, Any] = {"protocol": "sdmx21", "base_url": BASE, "flow": "RATES", "key": "M.KR+US", "poll_after_s": 300}
WINDOW: dict[str, Any] = {
    "params": {"startPeriod": "{start:%Y-%m}", "endPeriod": "{last:%Y-%m}"},
    "window": {"every": "month", "count": 12, "requests": "one"},
}
COLUMNS = ["AREA", "TIME_PERIOD", "OBS_VALUE"]


def feed(columns: list[Any] = COLUMNS, **source: Any) -> Feed:
    return feed_for(SOURCE | source, columns)


def rows(count: int, areas: tuple[str, ...] = ("KR", "US"), **more: Any) -> list[dict[str, Any]]:
    months = [f"{2025 + (n + 10) // 12}-{(n + 10) % 12 + 1:02d}" for n in range(count)]
    return [
        {"FREQ": "M", "AREA": area, "TIME_PERIOD": month, "OBS_VALUE": f"{n}.5", "OBS_FLAG": "", **more}
        for area in areas
        for n, month in enumerate(months)
    ]


def read(count: int) -> list[tuple[str, ...]]:
    return [(r["AREA"], r["TIME_PERIOD"], r["OBS_VALUE"]) for r in rows(count)]


def asked(one: Feed, when: When | None = None, validators: Validators | None = None) -> list[Request]:
    steps = PROTOCOL.plan(one, one.source, when or When(NOW))
    return [PROTOCOL.request(one, one.source, step, Cursor(), validators or Validators()) for step in steps]


def meant(
    body: bytes, status: int = 200, url: str = f"{BASE}/data/RATES/all", headers: dict[str, str] | None = None, **source: Any
) -> Any:
    sent = {"content-length": str(len(body))} if headers is None else headers
    one = feed(**source)
    return PROTOCOL.classify(one.source, Request(url), Response.of(body, status, sent, True))


def message(code: str, text: str = "why") -> bytes:
    said = f'<mes:ErrorMessage code="{code}"><com:Text>{text}</com:Text></mes:ErrorMessage>'
    return f'<?xml version="1.0"?><mes:Error>{said}</mes:Error>'.encode()


def footer(text: str) -> bytes:
    said = f'<footer:Message code="413" severity="Information"><common:Text>{text}</common:Text></footer:Message>'
    return f'<?xml version="1.0"?><m:D><footer:Footer>{said}</footer:Footer></m:D>'.encode()


# --- requests -------------------------------------------------------------------------------------------------------------


def test_a_query_as_it_is_sent() -> None:
    (one,) = asked(feed(params={"format": "SDMX-CSV", "updatedAfter": "{since:%Y-%m-%dT%H:%M:%SZ}"}, flow="OECD.SDD,DSD@DF,4.1"))
    assert one.url == f"{BASE}/data/OECD.SDD,DSD@DF,4.1/M.KR+US?format=SDMX-CSV"
    assert one.headers["Accept"] == "application/vnd.sdmx.data+csv;version=1.0.0"
    (since,) = asked(
        feed(params={"updatedAfter": "{since:%Y-%m-%dT%H:%M:%SZ}"}), When(NOW, since=datetime(2026, 11, 24, 1, tzinfo=UTC))
    )
    assert since.url == f"{BASE}/data/RATES/M.KR+US?updatedAfter=2026-11-24T01%3A00%3A00Z"
    (again,) = asked(feed(accept="", key=""), validators=Validators(etag='"a"'))
    assert (again.url, dict(again.headers)) == (f"{BASE}/data/RATES", {"If-None-Match": '"a"'})
    each = asked(feed(key="M.{area}", each={"area": ["KR", "US"]}))
    assert [request.url for request in each] == [f"{BASE}/data/RATES/M.KR", f"{BASE}/data/RATES/M.US"]


def test_the_structure_is_asked_for_first_and_leads_to_the_data() -> None:
    one = feed(structure="datastructure/STAT/RATES?references=children")
    (lead,) = PROTOCOL.plan(one, one.source, When(NOW))
    request = PROTOCOL.request(one, one.source, lead, Cursor(), Validators())
    assert lead.lead and request.url == f"{BASE}/datastructure/STAT/RATES?references=children"
    assert "structure+xml" in request.headers["Accept"]


def test_what_is_too_large_is_halved_to_single_periods() -> None:
    one = feed(**WINDOW)
    waiting: list[Step] = list(PROTOCOL.plan(one, one.source, When(NOW)))
    found = []
    while waiting:
        step = waiting.pop(0)
        parts = list(PROTOCOL.split(one, one.source, step))
        waiting[:0] = parts
        if not parts:
            found.append(PROTOCOL.request(one, one.source, step, Cursor(), Validators()).url.partition("?")[2])
    months = [f"2025-{m}" for m in (11, 12)] + [f"2026-{m:02d}" for m in range(1, 11)]
    assert found == [f"startPeriod={m}&endPeriod={m}" for m in months]


@pytest.mark.parametrize(
    ("url", "flow"),
    [
        ("https://ec.europa.eu/eurostat/api/dissemination/sdmx/2.1/data/UNE_RT_M/M.SA?format=SDMX-CSV", "UNE_RT_M"),
        ("https://data-api.ecb.europa.eu/service/data/EXR/D.USD.EUR.SP00.A?format=csvdata", "EXR"),
        ("https://api.imf.org/external/sdmx/3.0/data/dataflow/IMF.STA/CPI/+/*", None),
        ("https://agency.example/data/x", None),
    ],
)
def test_addresses_are_recognised(url: str, flow: str | None) -> None:
    found = PROTOCOL.recognise(url)
    assert (found or {}).get("flow") == flow


def test_an_address_of_another_format_is_asked_for_csv_and_the_csv_of_the_ecb_is_known() -> None:
    ecb = PROTOCOL.recognise("https://data-api.ecb.europa.eu/service/data/EXR/D.USD.EUR.SP00.A?format=jsondata&lastNObservations=7")
    assert ecb is not None and (ecb["accept"], ecb["first_column"]) == ("", ["KEY"])
    assert ecb["params"] == {"format": "csvdata", "lastNObservations": "7"}
    oecd = "https://sdmx.oecd.org/public/rest/data/OECD.SDD.STES,DSD_STES@DF_CLI/.M?format="
    assert "params" not in (PROTOCOL.recognise(oecd + "jsondata") or {})
    assert (PROTOCOL.recognise(oecd + "csvfile") or {})["params"] == {"format": "csvfile"}


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 404, 413, 500])
@pytest.mark.parametrize(
    ("code", "outcome", "large"),
    [
        ("100", "Empty", None), ("110", "AuthFailed", None), ("130", "BadRequest", True), ("140", "BadRequest", False),
        ("150", "BadRequest", False), ("500", "Transient", None), ("501", "BadRequest", False), ("503", "Transient", None),
        ("510", "BadRequest", True), ("413", "BadRequest", True),
    ],
)  # fmt: skip
def test_a_message_tells_more_than_the_status(code: str, outcome: str, large: bool | None, status: int) -> None:
    found = meant(message(code), status)
    assert outcome_name(found) == outcome
    assert getattr(found, "too_large", None) == large


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (404, b"NoRecordsFound", "Empty"), (404, b"", "Empty"), (404, b"<!DOCTYPE html><html></html>", "Gone"),
        (406, b"", "BadRequest"),
        (414, b"", "BadRequest"), (501, b"", "BadRequest"), (500, b"", "Transient"), (503, b"", "Transient"),
        (304, b"", "NotModified"),
        (401, b"", "AuthFailed"), (429, b"", "RateLimited"), (400, message("1007"), "BadRequest"),
        (200, message("1007"), "Malformed"),
        (200, b"", "Malformed"), (200, b"<html></html>", "Malformed"), (200, b'{"data":{}}', "Malformed"),
        (200, b"<a/>", "Malformed"),
    ],
)  # fmt: skip
def test_statuses_and_bodies(status: int, body: bytes, outcome: str) -> None:
    assert outcome_name(meant(body, status)) == outcome


def test_413_is_split_whether_by_status_footer_or_word() -> None:
    assert meant(b"", 413).too_large
    assert meant(footer("EXTRACTION_TOO_BIG: max authorised is 5000000")).too_large
    assert meant(message("100", "EXTRACTION_TOO_BIG"), 400).too_large
    assert meant(footer("no place")).too_large


def test_the_footer_names_where_to_poll_and_a_place_that_is_not_there_yet_is_polled_again() -> None:
    first = meant(footer("located under URL: https://stat.example/async/1?a=1&amp;b=2."))
    assert first == Pending("https://stat.example/async/1?a=1&b=2", 300)
    assert meant(b"not ready", 404, url=first.poll_url) == first
    assert outcome_name(meant(b"PK\x03\x04zip", url=first.poll_url)) == "Ok"
    assert outcome_name(meant(b"PK\x03\x04zip")) == "Malformed"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"DATAFLOW,AREA,TIME_PERIOD,OBS_VALUE\nA:B(1.0),KR,2026,1\n", "Ok"),
        (b"\xef\xbb\xbfDATAFLOW,TIME_PERIOD,AREA,OBS_VALUE\r\nA:B(1.0),2026,KR,1\r\n", "Ok"),
        (b"STRUCTURE,STRUCTURE_ID,ACTION,AREA,TIME_PERIOD,OBS_VALUE\ndataflow,A:B(1.0),I,KR,2026,1\n", "Ok"),
        (b'STRUCTURE[;],STRUCTURE_ID,ACTION,"AREA",TIME_PERIOD,OBS_VALUE\ndataflow,A:B(1.0),I,KR,2026,1\n', "Ok"),
        (b"DATAFLOW,AREA,TIME_PERIOD,OBS_VALUE\n", "Empty"),
        (b"KEY,AREA,TIME_PERIOD,OBS_VALUE\nx,KR,2026,1\n", "Malformed"),
        (b"DATAFLOW,AREA,OBS_VALUE\nA:B(1.0),KR,1\n", "Malformed"),
        (b"STRUCTURE,AREA,TIME_PERIOD,OBS_VALUE\nx,KR,2026,1\n", "Malformed"),
        (b"Service Unavailable", "Malformed"),
    ],
)
def test_headers_of_csv(body: bytes, outcome: str) -> None:
    assert outcome_name(meant(body)) == outcome
    if body.startswith(b"KEY"):
        assert outcome_name(meant(body, first_column=["KEY"])) == "Ok"


PLAIN = b"DATAFLOW,AREA,TIME_PERIOD,OBS_VALUE\n" + b"A:B(1.0),KR,2026,1\n" * 50_000


@pytest.mark.parametrize("url", [DATA, f"{BASE}/async/1"])
def test_an_answer_that_comes_packed_means_what_is_in_it(url: str) -> None:
    """Eurostat's compressed=true: a gzip, with no word of it in the headers."""
    assert outcome_name(meant(gzip.compress(PLAIN), url=url, headers={})) == "Ok"
    assert outcome_name(meant(gzip.compress(PLAIN[:36]), url=url, headers={})) == "Empty"
    assert outcome_name(meant(gzip.compress(b"KEY,AREA,TIME_PERIOD,OBS_VALUE\nx,KR,2026,1\n"), url=url)) == "Malformed"
    assert meant(gzip.compress(footer("EXTRACTION_TOO_BIG")), url=url).too_large
    assert outcome_name(meant(gzip.compress(PLAIN), 503, url=url)) == "Transient"
    assert outcome_name(meant(b"\x1f\x8b\x08 and then nothing of the kind", url=url)) == "Malformed"


def test_a_packed_answer_is_proved_to_its_end(tmp_path: Path) -> None:
    packed, one = gzip.compress(os.urandom(200_000)), feed()
    for name, data, outcome in (
        ("whole", packed, "Ok"), ("cut", packed[:-9], "Transient"), ("damaged", packed[:-6] + b"\0\0" + packed[-4:], "Malformed"),
        ("bomb", gzip.compress(bytes(20_000_000)), "Malformed"),
    ):  # fmt: skip
        path = tmp_path / name
        path.write_bytes(data)
        assert outcome_name(PROTOCOL.examine(one.source, Body(path, {}, DATA)).outcome) == outcome


def test_a_table_without_its_last_line_end_is_whole_only_where_its_length_was_promised() -> None:
    cut = b"DATAFLOW,AREA,TIME_PERIOD,OBS_VALUE\nA:B(1.0),KR,20"
    assert outcome_name(meant(cut, headers={})) == "Transient"
    assert outcome_name(meant(cut)) == "Ok"
    assert outcome_name(meant(cut + b"26,1\n", headers={})) == "Ok"


def test_a_structure_that_is_none_stops_the_fetch() -> None:
    structure, url = "datastructure/STAT/RATES", f"{BASE}/datastructure/STAT/RATES"
    assert outcome_name(meant(b'<?xml version="1.0"?><s:DataStructure id="a"/>', url=url, structure=structure)) == "Ok"
    assert outcome_name(meant(b'<?xml version="1.0"?><a/>', url=url, structure=structure)) == "Malformed"
    assert outcome_name(meant(message("100"), 404, url=url, structure=structure)) == "Gone"
    assert outcome_name(meant(b"", 404, url=url, structure=structure)) == "Gone"
