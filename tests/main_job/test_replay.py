"""The main job on the agencies' real files: every number exact, each one derived a second time without Madang's code."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.main_job.homes import FEEDS, MadangHome

Row = dict[str, str]


def table(path: Path, encoding: str = "utf-8-sig") -> list[Row]:
    """A CSV file by the standard library."""
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(encoding), newline="")))


def events(data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((data / "usgs-earthquakes-week.geojson").read_bytes())["features"]
    return found


REAL: dict[str, tuple[int, dict[str, int], Callable[[Path], int]]] = {
    # feed: rows read, refused by rule, and the same number of rows by an independent reading
    # Seventeen hours of May 2018 say 0 % humidity, which does not occur in open air: the instrument had failed.
    "kr.seoul.bike_hourly": (8760, {"min": 17}, lambda data: len(table(data / "seoul-bike-hourly.csv"))),
    "us.usgs.earthquakes_week": (1707, {}, lambda data: len({event["id"] for event in events(data)})),
    "us.faa.bird_strikes": (10000, {}, lambda data: len(table(data / "faa-birdstrikes.csv"))),
    "us.faa.airports": (3376, {}, lambda data: len({row["iata"] for row in table(data / "faa-airports.csv")})),
    "us.noaa.seattle_weather": (1461, {}, lambda data: len({row["date"] for row in table(data / "noaa-seattle-weather.csv")})),
    "kr.incheon.airport_monthly": (222, {}, lambda data: len(table(data / "incheon-airport.cp949.csv", "cp949"))),
    "kr.mois.legal_dong_codes": (46180, {}, lambda data: len(table(data / "kr-legal-dong-codes.cp949.csv", "cp949"))),
    # The newest edition.
    "us.eia.wti_daily": (9876, {}, lambda data: len(table(max((data / "eia-wti-editions").glob("*.csv"))))),
}


@pytest.mark.parametrize("feed", sorted(REAL))
def test_a_real_feed_is_read_whole_and_refused_for_the_true_reason(feed: str, replay_home: MadangHome, shared_data: Path) -> None:
    read, refused, count = REAL[feed]
    line = next(line for line in replay_home.report(0)["feeds"] if line["id"] == feed)
    quarantined = sum(refused.values())
    assert count(shared_data) == read
    assert (line["read"], line["accepted"], line["quarantined"]) == (read, read - quarantined, quarantined)
    assert line["outcome"] == "Ok"
    assert replay_home.table_report(feed)["quarantined_by_rule"] == refused
    assert Counter(rule for (rule,) in replay_home.quarantine(feed, "_rule")) == refused
    assert len(replay_home.rows(feed, "_row_hash")) == read - quarantined
    assert replay_home.index(feed).origin == "replay"


def test_nothing_but_the_feed_without_a_real_file_is_synthetic(replay_home: MadangHome) -> None:
    assert {feed: replay_home.index(feed).origin for feed in FEEDS} == {
        feed: "replay" if feed in REAL else "synthetic" for feed in FEEDS
    }
    with replay_home.ledger() as ledger:
        last = {feed: ledger.last_answered(feed) for feed in REAL}
    assert {record.origin for record in last.values() if record is not None} == {"replay"}


def test_the_refused_hours_of_seoul_are_those_without_humidity(replay_home: MadangHome, shared_data: Path) -> None:
    expected = [n for n, row in enumerate(table(shared_data / "seoul-bike-hourly.csv"), 1) if row["Humidity"] == "0"]
    found = replay_home.quarantine("kr.seoul.bike_hourly", "_source_row, _rule, _failures, _raw")
    assert sorted(row for row, *_ in found) == expected and len(expected) == 17
    for _, rule, failures, raw in found:
        assert rule == "min" and [failure["column"] for failure in failures] == ["humidity"]
        assert json.loads(raw)["Humidity"] == "0"


def test_every_earthquake_is_there_under_its_id(replay_home: MadangHome, shared_data: Path) -> None:
    expected = {event["id"]: (event["properties"]["mag"], event["properties"]["time"]) for event in events(shared_data)}
    found = {id_: (mag, ms) for id_, mag, ms in replay_home.rows("us.usgs.earthquakes_week", "id, mag, epoch_ms(time)")}
    assert found == expected


def test_districts_keep_their_korean_names(replay_home: MadangHome, shared_data: Path) -> None:
    rows = table(shared_data / "kr-legal-dong-codes.cp949.csv", "cp949")
    code, name, status = list(rows[0])[:3]
    expected = {row[code]: (row[name].strip(), row[status]) for row in rows}
    found = {c: (n, s) for c, n, s in replay_home.rows("kr.mois.legal_dong_codes", "code, name, status")}
    assert found == expected
    assert Counter(status for _, status in found.values()) == {"존재": 20544, "폐지": 25636}


# --- the sets -------------------------------------------------------------------------------------------------------------


def expected_bike_hours(data: Path) -> int:
    """Hours in which the service ran and the hygrometer worked."""
    rows = table(data / "seoul-bike-hourly.csv")
    return sum(row["Functioning Day"] == "Yes" and row["Humidity"] != "0" for row in rows)


def expected_strikes(data: Path) -> int:
    """All strikes but those at the one airport that the FAA's own list does not have."""
    return sum(row["Airport Name"] != "BARKSDALE AIR FORCE BASE ARPT" for row in table(data / "faa-birdstrikes.csv"))


def expected_earthquakes(data: Path) -> int:
    """Earthquakes that are older than six hours before the newest change."""
    week = events(data)
    newest = max(event["properties"]["updated"] for event in week)
    until = datetime.fromtimestamp(newest / 1000, UTC) - timedelta(hours=6)
    limit = until.timestamp() * 1000
    return sum(event["properties"]["type"] == "earthquake" and event["properties"]["time"] <= limit for event in week)


SPLITS: dict[str, tuple[dict[str, int], Callable[[Path], int]]] = {
    "birdstrike_damage": ({"train": 7255, "validation": 1025, "test": 1285}, expected_strikes),
    "earthquake_felt": ({"train": 969, "validation": 473, "test": 197}, expected_earthquakes),
    "seoul_bike_demand": ({"train": 6511, "validation": 905, "test": 1032}, expected_bike_hours),
}


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_a_set_holds_every_row_of_its_model_or_lists_it_as_left_out(name: str, replay_home: MadangHome, shared_data: Path) -> None:
    rows, count = SPLITS[name]
    line = next(line for line in replay_home.report(0)["sets"] if line["name"] == name)
    assert line["rows"] == rows
    model = replay_home.store.get_json(f"models/{name}/index.json")
    made = sum(file["rows"] for file in model["files"])
    left_out = replay_home._query([f"sets/{name}/v1.0.0/provenance/left_out.parquet"], "*", "true")
    assert sum(rows.values()) + len(left_out) == made == count(shared_data)


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_origin_replay_stands_in_manifest_index_and_the_card_s_first_line(name: str, replay_home: MadangHome) -> None:
    store = replay_home.store
    assert store.get_json(f"sets/{name}/v1.0.0/manifest.json")["origin"] == "replay"
    assert [version["origin"] for version in store.get_json(f"sets/{name}/index.json")["versions"]] == ["replay"]
    card = store.get_bytes(f"sets/{name}/v1.0.0/README.md").decode()
    assert card.split("---\n", 2)[2].lstrip().splitlines()[0].startswith("Origin: replay")
    assert replay_home.store.get_json(f"models/{name}/index.json")["sources"]
    sources = replay_home.store.get_json(f"models/{name}/index.json")["sources"].values()
    assert {source["origin"] for source in sources} == {"replay"}


def test_the_time_split_of_seoul_lies_at_the_declared_midnights(replay_home: MadangHome) -> None:
    spans = {}
    for split in ("train", "validation", "test"):
        keys = list(replay_home.store.list(f"sets/seoul_bike_demand/v1.0.0/data/default/{split}"))
        ((first, last),) = replay_home._query(keys, "min(hour_starts_at), max(hour_starts_at)", "true")
        spans[split] = (first.replace(tzinfo=UTC), last.replace(tzinfo=UTC))
    assert spans["train"][1] < datetime(2018, 8, 31, 15, tzinfo=UTC) <= spans["validation"][0]
    assert spans["validation"][1] < datetime(2018, 10, 15, 15, tzinfo=UTC) <= spans["test"][0]


def test_for_a_person_it_prints_two_tables_and_what_to_type_next(replay_home: MadangHome) -> None:
    lines = replay_home.runs[1].stdout.splitlines()
    head = next(line for line in lines if line.startswith("feed"))
    assert head.split() == ["feed", "protocol", "outcome", "read", "accepted", "quarantined"]
    seoul = next(line for line in lines if line.startswith("kr.seoul.bike_hourly"))
    assert seoul.split() == ["kr.seoul.bike_hourly", "http_file", "NotModified", "8,760", "8,743", "17"]
    bikes = next(line for line in lines if line.startswith("seoul_bike_demand"))
    assert bikes.split()[:5] == ["seoul_bike_demand", "1.0.0", "6,511", "905", "1,032"]
    path = replay_home.store.root
    assert path is not None and bikes.split()[5] == str(path / "sets" / "seoul_bike_demand" / "v1.0.0")
    assert lines[-1].strip() == "" and lines[-2].strip() == f"MADANG_HOME={replay_home.path} make up"
    assert replay_home.runs[1].stderr == ""


def test_the_second_run_over_real_files_changes_nothing(replay_home: MadangHome) -> None:
    before, after = replay_home.snapshots[:2]
    assert after.objects == before.objects and after.versions == before.versions
    assert {key: e.materialized for key, e in after.events.items()} == {key: e.materialized for key, e in before.events.items()}
