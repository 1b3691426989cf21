"""Real agency files through the feeds that ship: archived, parsed, judged, merged, and compared with an independent reading."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets.feeds.load import FOLDER, load_feed
from assets.tables.index import live_paths, read_index
from assets.tables.replay import rebuild
from tests.tables.making import Home, read

AT = datetime(2026, 11, 1, 3, tzinfo=UTC)


def table(home: Home, feed_id: str, body: bytes, *, at: datetime = AT) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """The accepted and the quarantined rows of one real file under its own feed; the gates hold."""
    feed = load_feed(FOLDER / feed_id)
    result = home.build(feed, home.archive(feed, body, at))
    assert result.blocked == ()
    assert result.accepted + result.quarantined == result.rows_read
    rows = read(live_paths(home.store, read_index(home.store, feed.id), home.folder / "cache"), "_source_row")
    refused = read([home.store.local_path(f.key, home.folder) for f in result.quarantine_files]) if result.quarantine_files else []
    assert len(rows) == result.rows == result.accepted and len(refused) == result.quarantined
    return rows, refused


def lines(body: bytes, encoding: str = "utf-8-sig") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode(encoding), newline="")))


def test_seoul_bikes(home: Home, shared_data: Path) -> None:
    body = (shared_data / "seoul-bike-hourly.csv").read_bytes()
    rows, refused = table(home, "kr.seoul.bike_hourly", body)
    expected = lines(body)
    assert len(rows) + len(refused) == len(expected) == 8760
    # 17 hours carry a humidity of 0 %, which does not occur in open air: the contract starts at 1 %.
    assert {row["_source_row"] for row in refused} == {n for n, line in enumerate(expected, 1) if line["Humidity"] == "0"}
    assert len(refused) == 17
    numbers = [c for c in load_feed(FOLDER / "kr.seoul.bike_hourly").contract.columns if c.type in ("integer", "number")]
    for row in rows:
        line = expected[int(str(row["_source_row"])) - 1]
        assert [row[c.name] for c in numbers] == [float(line[c.source_name]) for c in numbers]


def test_a_week_of_usgs_earthquakes(home: Home, shared_data: Path) -> None:
    body = (shared_data / "usgs-earthquakes-week.geojson").read_bytes()
    rows, refused = table(home, "us.usgs.earthquakes_week", body)
    events = json.loads(body)["features"]
    assert len(rows) + len(refused) == len(events) == 1707
    by_id = {event["id"]: event for event in events}
    for row in rows:
        event = by_id[str(row["id"])]
        time = row["time"]
        assert isinstance(time, datetime)
        assert round(time.replace(tzinfo=UTC).timestamp() * 1000) == event["properties"]["time"]
        assert row["mag"] == event["properties"]["mag"] and row["longitude"] == event["geometry"]["coordinates"][0]


def test_usgs_events_that_the_agency_merged(home: Home, shared_data: Path) -> None:
    """Two real events, merged under a third id in a later feed: one record remains, and the rest of the week stays."""
    week = json.loads((shared_data / "usgs-earthquakes-week.geojson").read_bytes())
    before, _ = table(home, "us.usgs.earthquakes_week", json.dumps(week).encode())
    first, second = week["features"][0], week["features"][1]
    ids = first["properties"]["ids"] + second["properties"]["ids"].lstrip(",")
    first["properties"] |= {"ids": ids + "us99999999,", "updated": first["properties"]["updated"] + 60_000}
    parts = {first["id"], second["id"]}
    first["id"] = "us99999999"
    later = {**week, "features": [first], "metadata": {**week["metadata"], "count": 1}}
    feed = load_feed(FOLDER / "us.usgs.earthquakes_week")
    result = home.build(feed, home.archive(feed, json.dumps(later).encode(), AT.replace(hour=4)))
    assert (result.changes.added, result.changes.revised, result.changes.withdrawn) == (0, 1, 1)
    now = {row["id"] for row in read(live_paths(home.store, read_index(home.store, feed.id), home.folder))}
    assert now == {row["id"] for row in before} - parts | {"us99999999"}
    # And as of the hour before, from the archive, the two are apart.
    files = rebuild(
        feed,
        as_of=AT.replace(minute=30),
        store=home.store,
        ledger=home.ledger,
        workdir=home.folder / "w",
        into=home.folder / "hour-before",
    )
    assert {row["id"] for row in read(files)} == {row["id"] for row in before}


@pytest.mark.parametrize(
    ("feed_id", "name", "count"),
    [
        ("us.faa.bird_strikes", "faa-birdstrikes.csv", 10000),
        ("us.faa.airports", "faa-airports.csv", 3376),
        ("us.noaa.seattle_weather", "noaa-seattle-weather.csv", 1461),
    ],
)
def test_american_files(home: Home, shared_data: Path, feed_id: str, name: str, count: int) -> None:
    body = (shared_data / name).read_bytes()
    rows, refused = table(home, feed_id, body)
    expected = lines(body)
    assert len(rows) + len(refused) == len(expected) == count
    feed = load_feed(FOLDER / feed_id)
    text = [c for c in feed.contract.columns if c.type == "string"]
    for row in rows:
        line = expected[int(str(row["_source_row"])) - 1]
        for column in text:
            received = line[column.source_name].strip()
            assert row[column.name] == received or (row[column.name] is None and row[f"{column.name}_status"] == received)


def test_korean_legal_districts_in_cp949(home: Home, shared_data: Path) -> None:
    body = (shared_data / "kr-legal-dong-codes.cp949.csv").read_bytes()
    rows, refused = table(home, "kr.mois.legal_dong_codes", body)
    assert len(rows) + len(refused) == len(body.decode("cp949").splitlines()) - 1 == 46180
    assert any("서울특별시" in str(value) for value in rows[0].values())


def test_the_timetable_of_cairns(home: Home, shared_data: Path) -> None:
    body = (shared_data / "gtfs-cairns.zip").read_bytes()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        times, stops = lines(archive.read("stop_times.txt")), lines(archive.read("stops.txt"))
    rows, refused = table(home, "au.translink.cairns_stop_times", body)
    assert (len(rows), refused) == (len(times), []) and len(times) == 37790
    for row, line in zip(rows, times, strict=True):
        for name in ("arrival", "departure"):
            hours, minutes, seconds = map(int, (line[f"{name}_time"] or "-1:0:0").split(":"))
            assert row[name] == (hours * 3600 + minutes * 60 + seconds if hours >= 0 else None)
    after_midnight = [row for row in rows if row["arrival"] is not None and int(str(row["arrival"])) >= 86_400]
    assert len(after_midnight) == sum(line["arrival_time"] >= "24" for line in times) > 0
    rows, refused = table(home, "au.translink.cairns_stops", body)
    assert (len(rows), refused) == (len(stops), []) and len(stops) == 416
    assert [(row["stop_id"], row["latitude"]) for row in rows] == [(line["stop_id"], float(line["stop_lat"])) for line in stops]
