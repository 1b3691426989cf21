"""The dbt project over the agencies' real files: it builds, its tests pass, and what it says agrees with the files themselves."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from assets.tables.dbt_sources import DBT_PROJECT
from assets.tables.sql import literal
from tests.dbt.project import MODELS, Build, run_dbt

pytestmark = pytest.mark.dagster


@pytest.fixture(scope="session")
def strikes(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / "faa-birdstrikes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def airports(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / "faa-airports.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def quakes(shared_data: Path) -> list[dict[str, Any]]:
    return list(json.loads((shared_data / "usgs-earthquakes-week.geojson").read_text(encoding="utf-8"))["features"])


@pytest.fixture(scope="session")
def crosswalk() -> list[dict[str, str]]:
    with (DBT_PROJECT / "seeds" / "crosswalk_strike_airports.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_everything_builds_and_passes(built: Build) -> None:
    assert built.success, built.error
    kinds = list(built.kinds.values())
    assert set(built.statuses.values()) == {"success", "pass"}
    assert kinds.count("unit_test") == 5
    assert kinds.count("seed") == 3
    assert {"seoul_bike_demand", "earthquake_felt", "birdstrike_damage", "birdstrike_match_report"} <= set(built.statuses)
    # Every training model is tested, by name.
    for model in MODELS:
        assert any(kind == "test" and model in name for name, kind in built.kinds.items())


def test_every_strike_is_in_the_model_or_counted(
    built: Build, strikes: list[dict[str, str]], airports: list[dict[str, str]]
) -> None:
    in_list = {a["iata"] for a in airports}
    accounts = dict(built.sql("SELECT reason, row_count FROM training_row_accounts WHERE training_model = 'birdstrike_damage'"))
    assert sum(accounts.values()) == len(strikes)
    report = {
        name: (iata, count)
        for name, iata, count in built.sql("SELECT strike_airport_name, airport_iata, strikes FROM birdstrike_match_report")
    }
    by_name: dict[str, int] = {}
    for strike in strikes:
        by_name[strike["Airport Name"]] = by_name.get(strike["Airport Name"], 0) + 1
    assert {name: count for name, (_, count) in report.items()} == by_name
    unmatched = {name for name, (iata, _) in report.items() if iata is None}
    assert unmatched == {"BARKSDALE AIR FORCE BASE ARPT"}
    assert accounts == {
        "": len(strikes) - by_name["BARKSDALE AIR FORCE BASE ARPT"],
        "airport not in the airport list": by_name["BARKSDALE AIR FORCE BASE ARPT"],
    }
    assert {iata for iata, _ in report.values() if iata is not None} <= in_list
    damaged = sum(s["Effect Amount of damage"] != "None" for s in strikes if s["Airport Name"] not in unmatched)
    assert built.sql("SELECT count(*) FROM birdstrike_damage WHERE damage = 'damage'") == [(damaged,)]


def test_naive_match_finds_nine_of_fifty(
    strikes: list[dict[str, str]], airports: list[dict[str, str]], crosswalk: list[dict[str, str]]
) -> None:
    """Why the crosswalk exists: with case and punctuation dropped, 9 of the 50 names agree; by case alone, 8."""

    def fold(name: str) -> str:
        return re.sub(r"[^A-Z0-9]", "", name.upper())

    names = {s["Airport Name"] for s in strikes}
    folded = {fold(a["name"]) for a in airports}
    upper = {a["name"].upper() for a in airports}
    naive = {n for n in names if fold(n) in folded}
    assert (len(names), len(naive), sum(n in upper for n in names)) == (50, 9, 8)
    assert naive == {c["strike_airport_name"] for c in crosswalk if c["match"] == "exact"}


def test_crosswalk_is_complete_and_its_codes_exist(
    strikes: list[dict[str, str]], airports: list[dict[str, str]], crosswalk: list[dict[str, str]]
) -> None:
    assert sorted(c["strike_airport_name"] for c in crosswalk) == sorted({s["Airport Name"] for s in strikes})
    cities = {a["iata"]: a["city"] for a in airports}
    for row in crosswalk:
        assert (row["iata"] in cities) == (row["match"] != "none"), row
        assert row["note"] or row["reviewed_by_rule"] in ("same_letters", "same_words"), row


def test_bike_demand_agrees_with_the_file(built: Build, shared_data: Path) -> None:
    with (shared_data / "seoul-bike-hourly.csv").open(encoding="utf-8", newline="") as file:
        # The feed refuses hours on which the hygrometer failed (humidity 0).
        rows = [r for r in csv.DictReader(file) if r["Humidity"] != "0"]
    kst = timedelta(hours=9)
    demand = {
        datetime.strptime(r["Date"], "%d/%m/%Y") + timedelta(hours=int(r["Hour"])) - kst: int(r["Rented Bike Count"])
        for r in rows
        if r["Functioning Day"] == "Yes"
    }
    expected = [
        (at, (at + kst).hour, count, demand.get(at - timedelta(days=1)), demand.get(at - timedelta(days=7)))
        for at, count in sorted(demand.items())
    ]
    seen = built.sql(
        "SELECT hour_starts_at, local_hour, rented_bike_count, rented_same_hour_yesterday, rented_same_hour_last_week "
        "FROM seoul_bike_demand ORDER BY hour_starts_at"
    )
    assert seen == expected
    assert any(lag is None for *_, lag in seen)
    accounts = built.sql(
        "SELECT kept, reason, row_count FROM training_row_accounts WHERE training_model = 'seoul_bike_demand' ORDER BY kept"
    )
    assert accounts == [(False, "service closed", len(rows) - len(demand)), (True, "", len(demand))]


def test_felt_earthquakes_agree_with_the_file(built: Build, quakes: list[dict[str, Any]]) -> None:
    newest = max(q["properties"]["updated"] for q in quakes)
    expected = {
        q["id"]: "felt" if (q["properties"]["felt"] or 0) > 0 else "not_felt"
        for q in quakes
        if q["properties"]["type"] == "earthquake" and q["properties"]["time"] <= newest - 6 * 3600 * 1000
    }
    assert dict(built.sql("SELECT event_id, was_felt FROM earthquake_felt")) == expected
    accounts = built.sql(
        "SELECT sum(row_count), count(*) FILTER (NOT kept) FROM training_row_accounts WHERE training_model = 'earthquake_felt'"
    )
    assert accounts == [(len(quakes), 2)]
    times = {q["id"]: datetime.fromtimestamp(q["properties"]["time"] / 1000, UTC).replace(tzinfo=None) for q in quakes}
    coordinates = {q["id"]: q["geometry"]["coordinates"] for q in quakes}
    for event, at, latitude, longitude, depth, solar, cell in built.sql(
        "SELECT event_id, occurred_at, latitude, longitude, depth_km, solar_hour, cell FROM earthquake_felt"
    ):
        assert abs(at - times[event]) < timedelta(milliseconds=1)
        assert [longitude, latitude, depth] == coordinates[event]
        assert solar == pytest.approx((at.hour + at.minute / 60 + longitude / 15) % 24, abs=0.0051)
        assert int(cell[1:3]) * (1 if cell[0] == "N" else -1) <= latitude < int(cell[1:3]) * (1 if cell[0] == "N" else -1) + 1


def test_landed_parquet_is_the_model_and_repeats_byte_for_byte(
    built: Build, live_tables: dict[str, list[str]], tmp_path: Path
) -> None:
    for model in MODELS:
        landed = built.models_dir / model / "part-00000.parquet"
        assert built.sql(f"SELECT count(*) FROM {model}") == [(pq.read_metadata(landed).num_rows,)]
    # The same rows from two files instead of one, in another order: the landed bytes must not change.
    halves = dict(live_tables)
    with duckdb.connect() as connection:
        for relation, (whole,) in live_tables.items():
            halves[relation] = [str(tmp_path / f"{relation}-{part}.parquet") for part in ("late", "early")]
            for part, out in zip((1, 0), halves[relation], strict=True):
                where = f"_source_row % 2 = {part} ORDER BY _source_row DESC"
                connection.execute(f"COPY (FROM read_parquet([{literal(whole)}]) WHERE {where}) TO {literal(out)} (FORMAT parquet)")
    again = run_dbt(
        ["build", "--exclude-resource-type", "test", "unit_test"],
        home=tmp_path / "again",
        live=halves,
        models_dir=tmp_path / "models",
    )
    assert again.success, again.error
    for model in MODELS:
        file = Path(model) / "part-00000.parquet"
        assert (again.models_dir / file).read_bytes() == (built.models_dir / file).read_bytes(), model


def test_parse_needs_no_tables_no_variables_and_no_warehouse(tmp_path: Path) -> None:
    parsed = run_dbt(["parse"], home=tmp_path)
    assert parsed.success, parsed.error
    assert (tmp_path / "target" / "manifest.json").is_file()
    assert not parsed.warehouse.exists()


def test_broken_rows_fail_their_tests(live_tables: dict[str, list[str]], tmp_path: Path) -> None:
    """Each break is one that a contract lets through; exactly the tests that guard against it must fail."""
    breaks = {
        "us_faa__bird_strikes": """SELECT * REPLACE (
            CASE WHEN _source_row = 1 THEN 'NOWHERE INTL' WHEN airport_name LIKE 'DALLAS%' THEN 'BARKSDALE AIR FORCE BASE ARPT'
                 ELSE airport_name END AS airport_name,
            CASE WHEN _source_row = 2 THEN 'Destroyed' ELSE effect_amount_of_damage END AS effect_amount_of_damage,
            CASE WHEN airport_name LIKE 'DENVER%' THEN 'Texas' ELSE origin_state END AS origin_state,
            CASE WHEN airport_name LIKE 'EPPLEY%' THEN 'Hovering' ELSE phase_of_flight END AS phase_of_flight) FROM t""",
        "us_faa__airports": "SELECT * FROM t",
        "kr_seoul__bike_hourly": """SELECT * REPLACE (CASE WHEN _source_row = 100 THEN 'Summer' ELSE seasons END AS seasons) FROM t
            UNION ALL SELECT * FROM t WHERE _source_row = 200""",
        "us_usgs__earthquakes_week": """SELECT * REPLACE (
            CASE WHEN _source_row = 300 THEN NULL ELSE longitude END AS longitude) FROM t""",
    }
    broken = {}
    with duckdb.connect() as connection:
        for relation, query in breaks.items():
            out = tmp_path / f"{relation}.parquet"
            connection.execute(f"CREATE OR REPLACE VIEW t AS FROM read_parquet([{literal(live_tables[relation][0])}])")
            connection.execute(f"COPY ({query}) TO {literal(str(out))} (FORMAT parquet)")
            broken[relation] = [str(out)]
    home = tmp_path / "dbt"
    made = run_dbt(["build", "--exclude-resource-type", "test", "unit_test"], home=home, live=broken)
    assert made.success, made.error
    tested = run_dbt(["test"], home=home, live=broken)
    assert tested.failed == {
        # an airport name that nobody reviewed, a code that nobody explained, a phase that does not exist
        "relationships_stg_us_faa__bird_strikes_strike_airport_name__strike_airport_name__ref_crosswalk_strike_airports_",
        "relationships_stg_us_faa__bird_strikes_damage_code__code__ref_codes_strike_damage_",
        "accepted_values_birdstrike_damage_phase_of_flight__Approach__Climb__Take_off_run__Landing_Roll__En_Route__Descent__Taxi__Parked",
        # too many strikes at an airport that the list does not have, and a crosswalk row that points to another state
        "assert_strike_match_rate",
        "assert_crosswalk_states_agree",
        # one hour twice, one season wrong
        "unique_stg_kr_seoul__bike_hourly_hour_starts_at",
        "unique_seoul_bike_demand_hour_starts_at",
        "assert_seoul_bike_demand_rows_accounted",
        "assert_bike_season_is_the_months",
        # an epicentre without longitude
        "not_null_earthquake_felt_longitude",
        "not_null_earthquake_felt_cell",
        "not_null_earthquake_felt_solar_hour",
    }
