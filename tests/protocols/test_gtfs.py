"""gtfs: requests, what an archive and its absence of tables mean, where a table lies in it, versions, and hostile archives."""

from __future__ import annotations

import dataclasses
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.answers.gtfs_archive import feed_version
from assets.protocols.gtfs import PROTOCOL
from assets.protocols.kernel import Body, Cursor, Outcome, Request, Response, Step, Validators, When, outcome_name
from deploy.agency.archives import with_bad_crc, without_name_flag, zipped
from tests.protocols.standin_scene import NOW, feed_for, parsed

URL = "https://transit.example/feeds/gtfs.zip"
SOURCE: dict[str, Any] = {"protocol": "gtfs", "url": URL}
COLUMNS = {"stops": ["stop_id", "stop_name"], "stop_times": ["trip_id", "arrival_time"], "locations": ["id"]}
FILES: dict[str, bytes] = {
    "agency.txt": b"agency_id,agency_name\r\n1,Demo\r\n",
    "stops.txt": "stop_id,stop_name\r\nA,마당입구\r\nB,Fern St\r\n".encode(),
    "routes.txt": b"route_id\r\nR\r\n",
    "trips.txt": b"trip_id\r\nT\r\n",
    "stop_times.txt": b"trip_id,arrival_time\r\nT,23:55:00\r\nT,25:10:00\r\n",
    "calendar.txt": b"service_id\r\nW\r\n",
    "calendar_dates.txt": b"service_id,date\r\nW,20261225\r\n",
}
STOPS = [("A", "마당입구"), ("B", "Fern St")]


def gtfs(table: str = "stops", **source: Any) -> Feed:
    return feed_for(SOURCE | {"table": table} | source, COLUMNS.get(table, ["service_id"]))


def without(*names: str, **more: bytes) -> dict[str, bytes]:
    return {name: body for name, body in FILES.items() if name not in names} | {f"{k}.txt": v for k, v in more.items()}


def said(feed: Feed, data: bytes, status: int = 200, complete: bool = True, **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = Request(URL)
    return PROTOCOL.classify(feed.source, sent, Response.of(data, status, named, complete))


def body(folder: Path, data: bytes, name: str = "body") -> Body:
    (folder / name).write_bytes(data)
    return Body(folder / name, {}, URL)


def looked(folder: Path, feed: Feed, data: bytes) -> tuple[str, str]:
    """The outcome of the whole body, and its reason."""
    first = said(feed, data)
    if outcome_name(first) != "Ok":
        return outcome_name(first), getattr(first, "reason", "")
    outcome = PROTOCOL.examine(feed.source, body(folder, data)).outcome
    return outcome_name(outcome), getattr(outcome, "reason", "")


def read(folder: Path, feed: Feed, data: bytes) -> list[tuple[str | None, ...]]:
    return parsed(feed, [body(folder, data)])


# --- requests -------------------------------------------------------------------------------------------------------------


NOTHING = Validators()


def request(feed: Feed, validators: Validators = NOTHING, partition: str | None = None) -> Request:
    (step,) = PROTOCOL.plan(feed, feed.source, When(NOW, partition))
    return PROTOCOL.request(feed, feed.source, step, Cursor(), validators)


def test_the_archive_is_asked_for_by_its_validators_unless_they_lie() -> None:
    known = Validators('"v1"', "Mon, 23 Nov 2026 00:00:00 GMT")
    assert request(gtfs()) == Request(URL)
    assert request(gtfs(), known).headers == {"If-None-Match": '"v1"'}
    assert request(gtfs(), dataclasses.replace(known, etag=None)).headers == {"If-Modified-Since": known.last_modified}
    assert request(gtfs(trust_validators=False), known).headers == {}


def test_a_key_and_a_partition_stand_in_the_address() -> None:
    keyed = gtfs(
        url="https://a.example/datafeeds?operator={partition}", auth={"kind": "query_key", "name": "k", "secret": "TRANSIT"}
    )
    assert request(keyed, partition="R G").url == "https://a.example/datafeeds?operator=R%20G&k={secret:TRANSIT}"


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://cdn.mbta.com/MBTA_GTFS.zip", {}),
        ("https://www.bart.gov/dev/schedules/google_transit.zip", {}),
        ("https://data.example/gtfs.zip#2/google_transit.zip",
         {"url": "https://data.example/gtfs.zip", "within": "2/google_transit.zip"}),
        ("https://api.example/v1/gtfs/schedule?apiKey=5ecret&mode=bus",
         {"url": "https://api.example/v1/gtfs/schedule?mode=bus",
          "auth": {"kind": "query_key", "name": "apiKey", "secret": "GTFS_KEY"}}),
    ],
)  # fmt: skip
def test_addresses_are_recognised_and_keep_no_key(url: str, source: dict[str, Any]) -> None:
    assert PROTOCOL.recognise(url) == {"protocol": "gtfs", "url": url, "table": "stops"} | source


@pytest.mark.parametrize(
    "url",
    ["https://a.example/data.zip", "https://a.example/gtfs-rt/tripUpdates", "https://a.example/about-gtfs.html",
     "https://a.example/gtfs/realtime/vehiclepositions.pb"],
)  # fmt: skip
def test_other_addresses_are_not(url: str) -> None:
    assert PROTOCOL.recognise(url) is None


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "outcome"),
    [
        (zipped(FILES), 200, "Ok"), (b"", 304, "NotModified"), (b"", 200, "Malformed"),
        (b"<!DOCTYPE html><html>", 200, "Malformed"), (b'{"error": "no key"}', 200, "Malformed"),
        (b"stop_id\nA\n", 200, "Malformed"), (zipped(FILES)[:-30], 200, "Malformed"),
        (b"", 401, "AuthFailed"), (b"", 403, "AuthFailed"), (b"", 404, "Gone"), (b"", 410, "Gone"), (b"", 429, "RateLimited"),
        (b"", 500, "Transient"), (b"", 503, "Transient"), (b"", 400, "BadRequest"), (b"", 302, "BadRequest"),
    ],
)  # fmt: skip
def test_statuses_and_bodies(data: bytes, status: int, outcome: str) -> None:
    assert outcome_name(said(gtfs(), data, status)) == outcome


def test_a_connection_that_ends_early_is_no_whole_archive() -> None:
    assert outcome_name(said(gtfs(), zipped(FILES), complete=False)) == "Transient"


@pytest.mark.parametrize(
    ("table", "files", "outcome", "says"),
    [
        ("calendar", without("calendar.txt"), "Empty", "calendar.txt"),
        ("calendar", without(calendar=b"service_id\r\n\r\n"), "Empty", "calendar.txt"),
        ("calendar", without("calendar.txt", "calendar_dates.txt"), "Malformed", "calendar_dates.txt"),
        ("calendar", without("calendar.txt", calendar_dates=b"service_id,date\r\n"), "Malformed", "calendar_dates.txt"),
        ("calendar_dates", without("calendar_dates.txt"), "Empty", "calendar_dates.txt"),
        ("calendar_dates", without("calendar.txt"), "Ok", ""),
        ("shapes", FILES, "Empty", "shapes.txt"),
        ("shapes", without(shapes=b"\xef\xbb\xbfshape_id\n"), "Empty", "shapes.txt"),
        ("agencys_own_table", FILES, "Empty", "agencys_own_table.txt"),
        ("shapes", without("trips.txt"), "Malformed", "trips.txt"),
        ("stop_times", without("stop_times.txt"), "Malformed", "stop_times.txt"),
        ("stop_times", without(stop_times=b"trip_id,arrival_time\r\n"), "Malformed", "stop_times.txt"),
        ("stops", without("stops.txt"), "Malformed", "locations.geojson"),
        ("stops", without("stops.txt") | {"locations.geojson": b'{"features": []}'}, "Empty", "stops.txt"),
        ("feed_info", FILES, "Empty", "feed_info.txt"),
        ("feed_info", without(translations=b"table_name\nstops\n"), "Malformed", "translations.txt"),
        ("stops", without("trips.txt"), "Ok", ""),  # what is there is read, whatever else is not
        ("stops", {"readme.txt": b"hello"}, "Malformed", "without any file of GTFS"),
        ("stops", {}, "Malformed", "without any file of GTFS"),
    ],
)  # fmt: skip
def test_what_a_table_without_rows_means(tmp_path: Path, table: str, files: dict[str, bytes], outcome: str, says: str) -> None:
    found, reason = looked(tmp_path, gtfs(table), zipped(files))
    assert found == outcome and says in reason


# --- where the table lies -------------------------------------------------------------------------------------------------


def below(folder: str, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in files.items()}


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (FILES, {}),
        (below("google_transit"), {}),
        (below("a/b/c"), {}),
        (FILES | below("old", without(stops=b"stop_id,stop_name\nZ,gone\n")), {}),  # one at the top is the feed
        (below("feed") | {"__MACOSX/feed/._stops.txt": b"\0\5\26\7", "feed/.DS_Store": b"\0"}, {}),
        ({"gtfs.zip": zipped(FILES)}, {}),
        ({"gtfs.zip": zipped(below("x"))}, {}),
        ({"gtfs.ZIP": zipped(FILES), "notes.zip": zipped({"a.pdf": b"%PDF-"}), "licence.txt": b"free"}, {}),
        (below("bus") | below("tram", without("stops.txt")), {"within": "bus"}),
        ({"1/google_transit.zip": zipped(FILES), "2/google_transit.zip": zipped(FILES)}, {"within": "2/*"}),
    ],
)  # fmt: skip
def test_a_feed_is_found_at_the_top_in_a_folder_or_in_an_archive_in_the_archive(
    tmp_path: Path, files: dict[str, bytes], source: dict[str, Any]
) -> None:
    feed = gtfs(**source)
    assert looked(tmp_path, feed, zipped(files)) == ("Ok", "")
    assert read(tmp_path, feed, zipped(files)) == STOPS
    assert [path.name for path in tmp_path.iterdir()] == ["body"]  # nothing unpacked stays


@pytest.mark.parametrize(
    ("files", "within", "says"),
    [
        (below("bus") | below("tram"), None, "2 feeds: 'bus', 'tram'"),
        ({"1.zip": zipped(FILES), "2.zip": zipped(FILES)}, None, "2 feeds: '1.zip', '2.zip'"),
        (below("bus"), "train", "it has 'bus'"),
        ({"a.zip": zipped({"b.zip": zipped(FILES)})}, None, "without any file of GTFS"),  # one level is deep enough
        ({"a.zip": b"PK\x03\x04 not"}, None, "no readable ZIP"),
    ],
)  # fmt: skip
def test_where_it_is_not_certain_which_feed_nothing_is_read(
    tmp_path: Path, files: dict[str, bytes], within: str, says: str
) -> None:
    feed = gtfs(within=within)
    outcome, reason = looked(tmp_path, feed, zipped(files))
    assert outcome == "Malformed" and says in reason
    with pytest.raises(UnreadableSource, match=r"2 feeds|it has|GTFS|ZIP"):
        read(tmp_path, feed, zipped(files))


def test_all_feeds_of_an_archive_are_read_one_after_the_other_where_that_is_declared(tmp_path: Path) -> None:
    trams, neither = without(stops=b"stop_name,stop_id\nTram,Z\n"), without("stops.txt")
    files = {"2/g.zip": zipped(trams), "1/g.zip": zipped(FILES), "3/g.zip": zipped(neither)}
    feed = gtfs(within="*")
    assert looked(tmp_path, feed, zipped(files)) == ("Ok", "")
    assert read(tmp_path, feed, zipped(files)) == [*STOPS, ("Z", "Tram")]


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_a_folder_named_in_korean_without_the_flag(tmp_path: Path, encoding: str) -> None:
    assert read(tmp_path, gtfs(within="버스시간표"), without_name_flag(below("버스시간표"), encoding)) == STOPS


# --- rows -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stops", "rows"),
    [
        ("﻿stop_id,stop_name\nA,a\n", [("A", "a")]),
        ("stop_id, stop_name \r\n\r\nA,a\r\n\r\n\r\n", [("A", "a")]),
        ('stop_name,stop_id,vendor\n"two\nlines, ""quoted""",A,x\n', [("A", 'two\nlines, "quoted"')]),
        ("stop_id\nA\n", [("A", None)]),
        ("stop_id,stop_name\nA,a", [("A", "a")]),
        ("stop_id,stop_name\nA,a\nB\nC,c,c\nD,d\n", [("A", "a"), (None, None), (None, None), ("D", "d")]),
    ],
)  # fmt: skip
def test_files_as_agencies_write_them(tmp_path: Path, stops: str, rows: list[tuple[str | None, ...]]) -> None:
    assert read(tmp_path, gtfs(), zipped(without(stops=stops.encode()))) == rows


def test_times_beyond_midnight_and_locations_come_as_they_are(tmp_path: Path) -> None:
    assert read(tmp_path, gtfs("stop_times"), zipped(FILES)) == [("T", "23:55:00"), ("T", "25:10:00")]
    places = {"type": "FeatureCollection", "features": [{"type": "Feature", "id": "zone-1", "properties": {}, "geometry": None}]}
    files = FILES | {"locations.geojson": json.dumps(places).encode()}
    assert looked(tmp_path, gtfs("locations"), zipped(files)) == ("Ok", "")
    assert read(tmp_path, gtfs("locations"), zipped(files)) == [("zone-1",)]


def test_a_page_in_place_of_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="HTML"):
        read(tmp_path, gtfs(), zipped(without(stops=b"<html>\n<body>\n</html>\n")))
    with pytest.raises(UnreadableSource, match="no table 'shapes'"):
        read(tmp_path, gtfs("shapes"), zipped(FILES))


# --- versions -------------------------------------------------------------------------------------------------------------


def digest(folder: Path, data: bytes, **source: Any) -> str | None:
    feed = gtfs(**source)
    return PROTOCOL.examine(feed.source, body(folder, data)).canonical_sha256


def version(folder: Path, data: bytes) -> str | None:
    return PROTOCOL.examine(gtfs().source, body(folder, data)).version


def test_order_dates_compression_and_folder_of_members_are_no_news(tmp_path: Path) -> None:
    first = zipped(FILES)
    backwards = dict(reversed(FILES.items()))
    again = zipped(backwards, when=(2027, 3, 1, 4, 5, 6), method=zipfile.ZIP_STORED)
    assert first != again
    for other in (again, zipped(below("folder")), zipped({"inner.zip": again})):
        assert digest(tmp_path, first) == digest(tmp_path, other) is not None
        assert version(tmp_path, first) == version(tmp_path, other) is not None
    changed = zipped(FILES | {"stops.txt": FILES["stops.txt"] + b"C,new\r\n"})
    assert digest(tmp_path, changed) != digest(tmp_path, first) and version(tmp_path, changed) != version(tmp_path, first)


def test_another_table_is_news_of_the_archive_but_not_of_this_one(tmp_path: Path) -> None:
    later = zipped(FILES | {"routes.txt": b"route_id\r\nR\r\nR2\r\n"})
    assert digest(tmp_path, later) == digest(tmp_path, zipped(FILES))
    assert version(tmp_path, later) != version(tmp_path, zipped(FILES))


def test_which_feed_a_table_comes_from_belongs_to_it(tmp_path: Path) -> None:
    one = zipped({"a.zip": zipped(FILES), "b.zip": zipped(without(stops=b"stop_id\nZ\n"))})
    two = zipped({"b.zip": zipped(FILES), "a.zip": zipped(without(stops=b"stop_id\nZ\n"))})
    assert digest(tmp_path, one, within="*") != digest(tmp_path, two, within="*")


def test_the_providers_version_comes_before_the_hash(tmp_path: Path) -> None:
    info = '﻿feed_publisher_name, feed_version \r\n"Demo, Inc.","Autumn, D"\r\n'.encode()
    assert version(tmp_path, zipped(without(feed_info=info))) == "Autumn, D"
    assert len(version(tmp_path, zipped(without(feed_info=b"feed_version\n \n"))) or "") == 64


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet='feed_version,"\n\r x1', max_size=60).map(str.encode)))
def test_a_version_is_found_or_not_in_any_bytes(data: bytes) -> None:
    found = feed_version(data)
    assert found is None or (found and len(found) <= 200)


def test_a_damaged_archive_has_no_digest(tmp_path: Path) -> None:
    assert digest(tmp_path, zipped(FILES)[:-40]) is None


# --- hostile and damaged archives -----------------------------------------------------------------------------------------


def encrypted() -> bytes:
    """The bit that says so, in both headers of each member."""
    data = bytearray(zipped(FILES))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(mark)
        while start >= 0:
            data[start + at] |= 1
            start = data.find(mark, start + 4)
    return bytes(data)


def two_of_a_name() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("stops.txt", b"stop_id\nA\n")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "source", "says"),
    [
        (with_bad_crc(zipped(FILES)), {}, "agency.txt' is damaged"),  # a table that is not asked for
        (with_bad_crc(zipped({"x.zip": zipped(FILES)})), {}, "damaged"),
        (zipped({"x.zip": with_bad_crc(zipped(FILES))}), {}, "damaged"),
        (zipped(FILES | {"../../etc/stops.txt": b"a"}), {}, "leads outside"),
        (zipped(FILES | {"C:/stops.txt": b"a"}), {}, "leads outside"),
        (zipped(FILES | {"shapes.txt": b"0" * 3_000_000}), {}, "times its size"),
        (zipped({"x.zip": zipped(FILES | {"shapes.txt": b"0" * 3_000_000})}), {}, "times its size"),
        (zipped(FILES), {"unpacking": {"max_member_bytes": 100}}, "more than 100 bytes"),
        (zipped(FILES), {"unpacking": {"max_members": 3}}, "7 members"),
        (encrypted(), {}, "encrypted"),
        (two_of_a_name(), {}, "two members of one name"),
    ],
    ids=["crc", "crc inside", "crc of one inside", "climbs", "drive", "bomb", "bomb inside", "large", "many", "locked", "twice"],
)  # fmt: skip
def test_an_archive_that_is_damaged_or_meant_to_harm_is_malformed(
    tmp_path: Path, data: bytes, source: dict[str, Any], says: str
) -> None:
    outcome, reason = looked(tmp_path, gtfs(**source), data)
    assert outcome == "Malformed" and says in reason
    assert [path.name for path in tmp_path.iterdir()] == ["body"]


WHOLE = {method: zipped(FILES, method=method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4))
def test_an_archive_with_any_bytes_changed_is_read_as_it_was_or_refused(method: int, changes: list[tuple[int, int]]) -> None:
    whole, feed = bytearray(WHOLE[method]), gtfs()
    for at, byte in changes:
        whole[at % len(whole)] = byte
    with tempfile.TemporaryDirectory() as folder:
        outcome, _ = looked(Path(folder), feed, bytes(whole))
        assert outcome in ("Ok", "Malformed")
        assert outcome != "Ok" or read(Path(folder), feed, bytes(whole)) == STOPS


# --- partitions -----------------------------------------------------------------------------------------------------------


def test_the_step_of_a_partition_is_the_partitions() -> None:
    assert list(PROTOCOL.plan(gtfs(), gtfs().source, When(NOW))) == [Step()]
