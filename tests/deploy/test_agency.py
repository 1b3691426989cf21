"""The stand-in agency over real sockets: what it serves, and that each fault does on the wire what its name says."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import re
import socket
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import pytest

from assets.feeds.load import FOLDER, shipped
from deploy.agency import DEMO_KEY, AgencyConfig, running_agency
from deploy.agency.__main__ import main
from deploy.agency.faults import NAMES
from deploy.agency.routes import load_routes

FILES = [r for r in load_routes() if r.kind != "data_go_kr"]
AIRPORTS = "us.faa.airports"
WTI = "us.eia.wti_daily"
AIR = "kr.airkorea.sido_hourly"
GATEWAY = "/B552584/ArpltnInforInqireSvc/getCtprvnRltmMesureDnsty"


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    base: str

    def ask(self, host: str, target: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Got:
        """One request as bytes say it: no redirect is followed, no encoding undone, no query rewritten."""
        port = urlsplit(self.base).port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            named = {"Host": host, **{k.replace("_", "-"): v for k, v in headers.items()}}
            connection.request(method, target, body=body, headers=named)
            answer = connection.getresponse()
            return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def file(self, feed: str, method: str = "GET", **headers: str) -> Got:
        route = next(r for r in FILES if r.id == feed)
        return self.ask(route.host, route.path, method, **headers)

    def air(self, page: int = 1, size: int = 100, *, key: str | None = None, extra: str = "&returnType=json") -> Got:
        key = quote(DEMO_KEY, safe="") if key is None else key
        query = f"serviceKey={key}&sidoName={quote('전국')}&pageNo={page}&numOfRows={size}{extra}"
        return self.ask("apis.data.go.kr", f"{GATEWAY}?{query}")

    def admin(self, what: str, **body: Any) -> Got:
        method = "POST" if body else "GET"
        return self.ask("127.0.0.1", f"/__agency__/{what}", method, json.dumps(body).encode() if body else None)

    def fault(self, feed: str, fault: str | None) -> None:
        assert self.admin("faults", route=feed, fault=fault).status == 200


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with running_agency() as url:
        yield url


@pytest.fixture
def client(base: str) -> Iterator[Client]:
    one = Client(base)
    yield one
    for route in load_routes():
        one.fault(route.id, None)


def sample(feed: str) -> bytes:
    return next(p for p in (FOLDER / feed).glob("sample.*") if p.name.count(".") == 1).read_bytes()


# --- what it serves -----------------------------------------------------------------------------------------------------


def test_every_shipped_feed_has_its_route() -> None:
    served = {(r.id, r.host, r.path) for r in load_routes()}
    for feed in shipped().values():
        parts = urlsplit(feed.source.address)
        assert (feed.id, parts.hostname, parts.path) in served


@pytest.mark.parametrize("route", FILES, ids=lambda r: r.id)
def test_a_file_is_served_with_validators(client: Client, route: Any) -> None:
    got = client.file(route.id)
    assert (got.status, got.body) == (200, sample(route.id))
    assert got.headers["madang-origin"] == "synthetic"
    assert int(got.headers["content-length"]) == len(got.body)
    assert parsedate_to_datetime(got.headers["last-modified"])
    etag, modified = got.headers["etag"], got.headers["last-modified"]
    assert client.file(route.id, If_None_Match=etag).status == 304
    assert client.file(route.id, If_None_Match='"other"').status == 200
    assert client.file(route.id, If_Modified_Since=modified).status == 304
    assert client.file(route.id, If_Modified_Since="Thu, 01 Jan 1970 00:00:00 GMT").status == 200
    # A tag overrules a date (RFC 9110, 13.1.3).
    assert client.file(route.id, If_None_Match='"other"', If_Modified_Since=modified).status == 200
    head = client.file(route.id, "HEAD")
    assert (head.body, head.headers["content-length"]) == (b"", got.headers["content-length"])


def test_ranges(client: Client) -> None:
    whole = client.file(WTI)
    etag = whole.headers["etag"]
    part = client.file(WTI, Range="bytes=100-", If_Range=etag)
    assert (part.status, part.body) == (206, whole.body[100:])
    assert part.headers["content-range"] == f"bytes 100-{len(whole.body) - 1}/{len(whole.body)}"
    assert client.file(WTI, Range="bytes=0-9").body == whole.body[:10]
    assert client.file(WTI, Range="bytes=-7").body == whole.body[-7:]
    assert client.file(WTI, Range="bytes=100-", If_Range='"other"').body == whole.body
    beyond = client.file(WTI, Range=f"bytes={len(whole.body)}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(whole.body)}")


def test_unknown_addresses(client: Client) -> None:
    assert client.ask("www.eia.gov", "/nothing").status == 404
    assert client.ask("elsewhere.example", "/dnav/pet/hist/wti-daily.csv").status == 404
    gone = client.ask("apis.data.go.kr", "/B552584/Other/getIt")
    assert (gone.status, gone.body) == (404, b"API not found")
    assert client.file(WTI, "POST").status == 405


def test_editions_follow_the_clock() -> None:
    with running_agency(AgencyConfig(today=date(2024, 10, 21))) as url:
        client = Client(url)
        first = client.file(WTI)
        assert first.headers["last-modified"] == "Mon, 21 Oct 2024 00:00:00 GMT"
        assert b"2024-10-14" in first.body
        client.admin("clock", advance_s=6 * 86400)
        assert client.file(WTI, If_None_Match=first.headers["etag"]).status == 304
        client.admin("clock", advance_s=86400)
        second = client.file(WTI, If_None_Match=first.headers["etag"])
        assert second.status == 200
        assert b"2024-10-14" not in second.body
        client.admin("clock", now="2024-10-01T12:00:00")
        assert client.file(WTI).status == 404


def test_real_files_replace_samples_and_say_so(shared_data: Path) -> None:
    with running_agency(AgencyConfig(data=shared_data, today=date(2024, 10, 24))) as url:
        client = Client(url)
        got = client.file(WTI)
        assert got.body == (shared_data / "eia-wti-editions" / "2024-10-24.csv").read_bytes()
        assert (got.headers["madang-origin"], got.headers["last-modified"]) == ("replay", "Thu, 24 Oct 2024 00:00:00 GMT")
        assert client.file("us.usgs.earthquakes_week").body == (shared_data / "usgs-earthquakes-week.geojson").read_bytes()
        # There is no real file of AirKorea: its rows stay synthetic and say so.
        assert client.air().headers["madang-origin"] == "synthetic"
        days = sorted(p.stem for p in (shared_data / "eia-wti-editions").glob("*.csv"))
        tags = set()
        for day in days:
            client.admin("clock", now=f"{day}T12:00:00")
            tags.add(client.file(WTI).headers["etag"])
        assert len(tags) == len(days) == 27


# --- the gateway --------------------------------------------------------------------------------------------------------


def test_pages_cover_every_row_once(client: Client) -> None:
    rows = json.loads(sample(AIR))
    seen: list[Any] = []
    for page in (1, 2):
        body = client.air(page).json()["response"]["body"]
        assert (body["totalCount"], body["pageNo"], body["numOfRows"]) == (len(rows), page, 100)
        seen += body["items"]
    assert seen == rows
    after = client.air(3).json()["response"]
    assert (after["header"]["resultCode"], after["body"]["items"]) == ("00", [])


def test_xml_is_the_default_format(client: Client) -> None:
    root = ElementTree.fromstring(client.air(1, 5, extra="").body)
    assert [i.findtext("stationName") for i in root.iter("item")] == [r["stationName"] for r in json.loads(sample(AIR))[:5]]
    assert root.findtext("body/totalCount") == "136"


def code_of(got: Got) -> str | None:
    return ElementTree.fromstring(got.body).findtext("cmmMsgHeader/returnReasonCode")


def test_keys_are_judged_as_they_came(client: Client) -> None:
    once = quote(DEMO_KEY, safe="")
    assert client.air(key=once).status == 200
    missing = client.air(key="")
    assert (missing.status, missing.body, missing.headers["content-type"].split(";")[0]) == (401, b"Unauthorized", "text/plain")
    for wrong in (quote(once, safe=""), DEMO_KEY, "unknown"):
        got = client.air(key=wrong)
        assert (got.status, code_of(got)) == (200, "30")


def test_parameters_are_judged(client: Client) -> None:
    key = quote(DEMO_KEY, safe="")
    without = client.ask("apis.data.go.kr", f"{GATEWAY}?serviceKey={key}&returnType=json").json()
    assert without["response"]["header"]["resultCode"] == "11"
    wrong = client.air(extra="&returnType=json&pageNo=x").json()
    assert wrong["response"]["header"]["resultCode"] == "10"
    seoul = client.ask("apis.data.go.kr", f"{GATEWAY}?serviceKey={key}&returnType=json&sidoName={quote('서울')}").json()
    assert {r["sidoName"] for r in seoul["response"]["body"]["items"]} == {"서울"}


def test_the_daily_quota_ends_at_midnight_in_seoul() -> None:
    routes = tuple(r.model_copy(update={"per_day": 3}) if r.id == AIR else r for r in load_routes())
    with running_agency(AgencyConfig(routes=routes)) as url:
        client = Client(url)
        client.admin("clock", now="2026-05-01T14:00:00+00:00")  # 23:00 in Seoul
        assert [client.air().status for _ in range(4)] == [200, 200, 200, 429]
        assert client.air().body == b"API token quota exceeded"
        client.admin("clock", advance_s=59 * 60)
        assert client.air().status == 429
        client.admin("clock", advance_s=61)
        assert client.air().status == 200


# --- the admin calls ----------------------------------------------------------------------------------------------------


def test_the_log_counts_and_hides_the_key(client: Client) -> None:
    client.ask("127.0.0.1", "/__agency__/requests", "DELETE")
    client.file(WTI, If_None_Match='"x"')
    client.air()
    log = client.admin("requests").json()
    assert log["counts"] == {WTI: 1, AIR: 1}
    assert log["requests"][0]["headers"]["if-none-match"] == '"x"'
    text = json.dumps(log)
    assert "serviceKey=***" in text
    assert DEMO_KEY not in text and quote(DEMO_KEY, safe="") not in text


def test_admin_is_for_loopback_names_alone(client: Client) -> None:
    assert client.ask("www.eia.gov", "/__agency__/requests").status == 403
    assert client.ask("attacker.example", "/__agency__/faults", "POST", b"{}").status == 403
    assert client.ask("localhost", "/__agency__/clock").status == 200


def test_wrong_admin_calls_say_why(client: Client) -> None:
    got = client.admin("faults", route=AIRPORTS, fault="gremlin")
    assert got.status == 400 and b"status_500" in got.body
    got = client.admin("faults", route="nobody", fault="slow")
    assert got.status == 400 and AIRPORTS.encode() in got.body
    assert client.admin("clock", now="yesterday").status == 400
    assert client.admin("other").status == 404


def test_the_command_line_refuses_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--data", str(tmp_path / "none")]) == 2
    assert main(["--port", "0", "--fault", f"{AIRPORTS}=gremlin"]) == 2
    assert "gremlin" in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--port", str(taken.getsockname()[1])]) == 2


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
    source = Path(__file__).read_text(encoding="utf-8").partition("# --- faults")[2]
    named = set(re.findall(r'"([a-z0-9]+(?:_[a-z0-9]+)+|xxe|slow)(?::\d+)?"', source)) | {
        f"status_{n}" for n in (500, 503, 404, 403, 429)
    }
    assert set(NAMES) <= named
