"""Every fault of the stand-in agency does on the wire what its name says."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import re
import socket
import zipfile
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.agency.faults import CHANGES, NAMES
from deploy.agency.routes import ENGINES, load_routes
from tests.deploy.agency_client import (  # noqa: F401  fixtures
    AIR,
    AIRPORTS,
    FILES,
    WTI,
    Client,
    base,
    client,
    code_of,
    sample,
)

FILES = [r for r in load_routes() if r.kind == "file"]
AIRPORTS = "us.faa.airports"
WTI = "us.eia.wti_daily"
AIR = "kr.airkorea.sido_hourly"
WEEK = "us.usgs.earthquakes_week"
GATEWAY = "/B552584/ArpltnInforInqireSvc/getCtprvnRltmMesureDnsty"


# --- faults -------------------------------------------------------------------------------------------------------------


def faulty(client: Client, feed: str, fault: str) -> Client:
    client.fault(feed, fault)
    return client


@pytest.mark.parametrize("status", [500, 503, 404, 403, 429])
def test_status_faults_for_the_first_n(client: Client, status: int) -> None:
    faulty(client, AIRPORTS, f"status_{status}:2")
    assert [client.file(AIRPORTS).status for _ in range(3)] == [status, status, 200]
    assert client.file(WTI).status == 200


def test_retry_after_0(client: Client) -> None:
    got = faulty(client, AIRPORTS, "retry_after_0").file(AIRPORTS)
    assert (got.status, got.headers["retry-after"]) == (429, "0")
    assert [client.file(AIRPORTS).status for _ in range(2)] == [429, 200]


def test_quota_after_n(client: Client) -> None:
    faulty(client, AIR, "quota_after_n:2")
    assert [client.air().status for _ in range(3)] == [200, 200, 429]


def test_xml_error_on_json(client: Client) -> None:
    got = faulty(client, AIR, "xml_error_on_json:30").air()
    assert (got.status, code_of(got)) == (200, "30")


def test_no_data(client: Client) -> None:
    assert faulty(client, AIR, "no_data").air().json()["response"]["header"]["resultCode"] == "03"


def test_empty_body_and_html(client: Client) -> None:
    got = faulty(client, AIR, "empty_body_200").air()
    assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")
    got = faulty(client, AIRPORTS, "html_200").file(AIRPORTS)
    assert got.status == 200 and got.body.startswith(b"<!DOCTYPE html>")


def test_stream_cut_sends_less_than_promised(client: Client) -> None:
    faulty(client, AIRPORTS, "stream_cut:1")
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.file(AIRPORTS)
    assert caught.value.partial == sample(AIRPORTS)[: len(sample(AIRPORTS)) // 2]
    assert client.file(AIRPORTS).body == sample(AIRPORTS)


def test_reset_mid_body_is_a_reset(client: Client) -> None:
    faulty(client, AIRPORTS, "reset_mid_body")
    port = urlsplit(client.base).port
    assert port is not None
    route = next(r for r in FILES if r.id == AIRPORTS)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(f"GET {route.path} HTTP/1.1\r\nHost: {route.host}\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            while raw.recv(4096):
                pass


def test_slow_waits_before_it_answers(client: Client) -> None:
    faulty(client, AIRPORTS, "slow:30")
    port = urlsplit(client.base).port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.5)
    route = next(r for r in FILES if r.id == AIRPORTS)
    connection.request("GET", route.path, headers={"Host": route.host})
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()


def test_gzip_faults(client: Client) -> None:
    got = faulty(client, AIRPORTS, "truncated_gzip").file(AIRPORTS)
    assert (got.headers["content-encoding"], int(got.headers["content-length"])) == ("gzip", len(got.body))
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(got.body)
    got = faulty(client, WTI, "double_gzip").file(WTI)
    assert gzip.decompress(gzip.decompress(got.body)) == sample(WTI)


@pytest.mark.parametrize(
    ("fault", "host"),
    [
        ("redirect_other_host", "elsewhere.example"),
        ("redirect_private", "10.0.0.1"),
        ("redirect_metadata", "169.254.169.254"),
        ("redirect_to_html", None),
    ],
)
def test_redirects(client: Client, fault: str, host: str | None) -> None:
    got = faulty(client, AIRPORTS, fault).file(AIRPORTS)
    assert (got.status, urlsplit(got.headers["location"]).hostname) == (302, host)


def test_encodings(client: Client) -> None:
    got = faulty(client, AIR, "cp949_body").air()
    assert "솔빛" in got.body.decode("cp949")
    with pytest.raises(UnicodeDecodeError):
        got.body.decode("utf-8")
    assert faulty(client, AIRPORTS, "utf8_bom").file(AIRPORTS).body == b"\xef\xbb\xbf" + sample(AIRPORTS)


def test_validators_that_lie(client: Client) -> None:
    faulty(client, AIRPORTS, "etag_flip_same_bytes")
    one, two = client.file(AIRPORTS), client.file(AIRPORTS)
    assert one.body == two.body
    assert one.headers["etag"] != two.headers["etag"]
    assert client.file(AIRPORTS, If_None_Match=two.headers["etag"]).status == 200
    faulty(client, WTI, "same_etag_new_bytes")
    one, two = client.file(WTI), client.file(WTI)
    assert one.headers["etag"] == two.headers["etag"]
    assert one.body != two.body
    assert one.body.split() == two.body.split()


def test_archives(client: Client) -> None:
    body = faulty(client, AIRPORTS, "zip_bomb").file(AIRPORTS).body
    inside = zipfile.ZipFile(io.BytesIO(body)).infolist()[0]
    assert inside.file_size > 200 * len(body)
    client.fault(AIRPORTS, None)
    body = faulty(client, AIRPORTS, "zip_slip").file(AIRPORTS).body
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == ["../../outside.csv"]
    client.fault(AIRPORTS, None)
    body = faulty(client, AIRPORTS, "bad_crc_zip").file(AIRPORTS).body
    assert zipfile.ZipFile(io.BytesIO(body)).testzip() == "data.csv"


@pytest.mark.parametrize(("fault", "encoding"), [("zip_name_no_flag", "utf-8"), ("zip_name_no_flag:949", "cp949")])
def test_names_without_the_flag(client: Client, fault: str, encoding: str) -> None:
    (inside,) = zipfile.ZipFile(io.BytesIO(faulty(client, AIRPORTS, fault).file(AIRPORTS).body)).infolist()
    assert inside.flag_bits & 0x800 == 0 and inside.filename.encode("cp437").decode(encoding) == "자료/통계표.csv"


@pytest.mark.parametrize("fault", ["key_double_encoded", "plus_as_space"])
def test_a_key_that_arrives_otherwise_than_it_was_sent(client: Client, fault: str) -> None:
    assert code_of(faulty(client, AIR, fault).air()) == "30"
    assert client.air(key="wrong").body == client.air().body  # as if it were any other


def test_rows_that_change_before_they_are_paged(client: Client) -> None:
    before = client.air(2, 20).json()["response"]["body"]
    faulty(client, AIR, "rows_withdrawn:3")
    after = client.air(1, 1000).json()["response"]["body"]
    assert (after["totalCount"], len(after["items"])) == (len(json.loads(sample(AIR))) - len(json.loads(sample(AIR))) // 3,) * 2
    client.fault(AIR, None)
    first, second = json.loads(sample(AIR))[:2]
    for fault, field, value in (("sentinel_-999", "so2Value", "-999"), ("rows_revised", "so2Value", f"1{first['so2Value']}")):
        faulty(client, AIR, fault)
        assert client.air().json()["response"]["body"]["items"][:2] == [first | {field: value}, second]
        client.fault(AIR, None)
    assert client.air(2, 20).json()["response"]["body"] == before


def test_rows_that_change_in_a_file(client: Client) -> None:
    lines = sample(AIRPORTS).splitlines()
    for fault in ("rows_withdrawn", "rows_revised", "sentinel_-999"):
        got = faulty(client, AIRPORTS, fault).file(AIRPORTS).body.splitlines()
        if fault == "rows_withdrawn":
            assert got == [line for n, line in enumerate(lines) if n == 0 or n % 10]
        else:
            assert [a for a, b in zip(got, lines, strict=True) if a != b] == [got[1]]
            assert (b",-999," in got[1]) == (fault == "sentinel_-999")
        client.fault(AIRPORTS, None)
    week = json.loads(sample(WEEK))
    got = json.loads(faulty(client, WEEK, "rows_withdrawn").file(WEEK).body)
    assert got["metadata"]["count"] == len(got["features"]) == len(week["features"]) - len(week["features"]) // 10


def test_the_hour_24(client: Client) -> None:
    first, *rest = sample(WTI).splitlines()
    got = faulty(client, AIR, "24:00").air().json()["response"]["body"]["items"]
    assert got[0]["dataTime"] == json.loads(sample(AIR))[0]["dataTime"][:10] + " 24:00"
    assert faulty(client, WTI, "24:00").file(WTI).body.splitlines() == [first, *rest]  # dates alone have no hour


def test_a_fault_of_one_feed_is_one_of_the_other_over_the_same_address(client: Client) -> None:
    twins = ("au.translink.cairns_stops", "au.translink.cairns_stop_times")
    host, path = "gtfsrt.api.translink.com.au", "/GTFS/CNS_GTFS.zip"
    whole = zipfile.ZipFile(io.BytesIO(client.ask(host, path).body)).namelist()
    assert {"stops.txt", "stop_times.txt"} <= set(whole)
    for twin in twins:
        faulty(client, twin, "status_404")
        assert client.ask(host, path).status == 404
        client.fault(twin, None)
    assert client.ask(host, path).status == 200


def test_xxe(client: Client) -> None:
    assert b'SYSTEM "file:///' in faulty(client, AIR, "xxe").air().body


def test_tables_that_go_wrong(client: Client) -> None:
    lines = sample(AIRPORTS).splitlines()
    got = faulty(client, AIRPORTS, "ragged_rows:7").file(AIRPORTS).body.splitlines()
    assert [i for i, (a, b) in enumerate(zip(lines, got, strict=True)) if a != b] == list(range(7, len(lines), 7))
    client.fault(AIRPORTS, None)
    assert faulty(client, AIRPORTS, "empty_file").file(AIRPORTS).body.splitlines() == lines[:1]
    client.fault(AIRPORTS, None)
    assert faulty(client, AIRPORTS, "column_renamed").file(AIRPORTS).body.startswith(b"iata_NEW,name")
    client.fault(AIRPORTS, None)
    assert len(faulty(client, AIRPORTS, "shrinks_90pct").file(AIRPORTS).body.splitlines()) == 1 + (len(lines) - 1) // 10


def test_paging_faults(client: Client) -> None:
    rows = json.loads(sample(AIR))

    def body(page: int, size: int = 50) -> Any:
        return client.air(page, size).json()["response"]["body"]

    faulty(client, AIR, "page_size_capped:20")
    assert (len(body(1)["items"]), body(1)["numOfRows"]) == (20, 20)
    client.fault(AIR, None)
    faulty(client, AIR, "offset_ignored")
    assert body(1)["items"] == body(2)["items"]
    client.fault(AIR, None)
    faulty(client, AIR, "duplicate_rows_between_pages")
    assert body(2)["items"][0] == body(1)["items"][-1]
    client.fault(AIR, None)
    faulty(client, AIR, "total_changes_mid_crawl:2")
    assert [body(p)["totalCount"] for p in (1, 2, 3)] == [len(rows), len(rows) + 2, len(rows)]


def test_shapes_of_items(client: Client) -> None:
    one = faulty(client, AIR, "one_item_object").air().json()["response"]["body"]
    assert one["items"]["item"]["stationName"] == json.loads(sample(AIR))[0]["stationName"]
    client.fault(AIR, None)
    none = faulty(client, AIR, "zero_item_empty_string").air().json()["response"]["body"]
    assert (none["items"], none["totalCount"]) == ("", 0)


def test_every_fault_is_asked_for_above() -> None:
    here = Path(__file__)
    source = here.read_text(encoding="utf-8").partition("# --- faults")[2]
    source += here.with_name("test_agency_tls.py").read_text(encoding="utf-8")
    named = {name for name in NAMES if re.search(rf'"{re.escape(name)}(?::\d+)?"', source)}
    named |= {f"status_{n}" for n in (500, 503, 404, 403, 429)}
    own = {name for engine in ENGINES.values() for name in engine.FAULTS} - set(CHANGES)
    assert set(NAMES) - own <= named
    # A fault that only one protocol commits is asked for in that protocol's tests, or in the lists that several share.
    folder = here.parents[1] / "protocols"
    tests = "".join(path.read_text(encoding="utf-8") for kind in ("test_*.py", "*_faults.py") for path in folder.glob(kind))
    assert [name for name in sorted(own - named) if name not in tests] == []
