"""The stand-in agency: what it serves, the gateway, and its admin calls, over real HTTP."""

from __future__ import annotations

import json
import socket
from datetime import date
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import pytest

from assets.feeds.load import shipped
from assets.protocols.s3 import S3Source
from deploy.agency import DEMO_KEY, AgencyConfig, running_agency
from deploy.agency.__main__ import main
from deploy.agency.app import Agency
from deploy.agency.routes import load_routes
from tests.deploy.agency_client import (  # noqa: F401  fixtures
    AIR,
    AIRPORTS,
    FILES,
    GATEWAY,
    WTI,
    Client,
    Got,
    base,
    client,
    code_of,
    sample,
)

FILES = [r for r in load_routes() if r.kind == "file"]
AIRPORTS = "us.faa.airports"
WTI = "us.eia.wti_daily"
AIR = "kr.airkorea.sido_hourly"
GATEWAY = "/B552584/ArpltnInforInqireSvc/getCtprvnRltmMesureDnsty"


# --- what it serves -----------------------------------------------------------------------------------------------------


def test_every_shipped_feed_has_its_route() -> None:
    routes = {route.id: route for route in load_routes()}
    for feed in shipped().values():
        source = feed.source
        # A bucket's address names no host; the store's does.
        parts = urlsplit(f"{source.answering}/{urlsplit(source.url).netloc}" if isinstance(source, S3Source) else source.address)
        assert routes[feed.id].host == parts.hostname, feed.id
        assert routes[feed.id].serves(str(parts.hostname), parts.path) or routes[feed.id].engine.PREFIX, feed.id


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


def test_an_admin_call_makes_only_the_view_that_it_asks_for() -> None:
    class Untouched(list[Any]):
        def __iter__(self) -> NoReturn:
            raise AssertionError("the log was copied")

    agency = Agency(AgencyConfig())
    agency.requests = Untouched()
    for what in ("clock", "faults", "tape"):
        assert agency.admin("GET", what, {}).status == 200
    with pytest.raises(AssertionError, match="the log was copied"):
        agency.admin("GET", "requests", {})
    agency.close()


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
