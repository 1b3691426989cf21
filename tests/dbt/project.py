"""Running dbt from tests: one command in this process, and the SQL that types the agencies' files as the contracts promise."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from assets.tables.dbt_sources import DBT_PROJECT, prepare_landing, tables_vars

MODELS = ("seoul_bike_demand", "earthquake_felt", "birdstrike_damage")

PROVENANCE = """'20261101T000000Z-00000001' AS _source_id, row_number() OVER () AS _source_row,
    TIMESTAMP '2026-11-01 00:00:00' AS _fetched_at, md5('') AS _row_hash"""

# The columns and types that the feeds' contracts promise, read from the agencies' files by DuckDB.
TABLES = {
    "kr_seoul__bike_hourly": (
        "seoul-bike-hourly.csv",
        """SELECT strptime("Date", '%d/%m/%Y')::DATE AS date, "Rented Bike Count"::BIGINT AS rented_bike_count,
            "Hour"::BIGINT AS hour, "Temperature"::DOUBLE AS temperature, "Humidity"::BIGINT AS humidity,
            "Wind speed"::DOUBLE AS wind_speed, "Visibility"::BIGINT AS visibility,
            "Dew point temperature"::DOUBLE AS dew_point_temperature, "Solar Radiation"::DOUBLE AS solar_radiation,
            "Rainfall"::DOUBLE AS rainfall, "Snowfall"::DOUBLE AS snowfall, "Seasons" AS seasons, "Holiday" AS holiday,
            "Functioning Day" = 'Yes' AS functioning_day, {provenance}
        FROM read_csv({file}, header = true, all_varchar = true)""",
    ),
    "us_faa__bird_strikes": (
        "faa-birdstrikes.csv",
        """SELECT "Airport Name" AS airport_name, "Aircraft Make Model" AS aircraft_make_model,
            "Effect Amount of damage" AS effect_amount_of_damage, "Flight Date"::DATE AS flight_date,
            "Aircraft Airline Operator" AS aircraft_airline_operator, "Origin State" AS origin_state,
            "Phase of flight" AS phase_of_flight, "Wildlife Size" AS wildlife_size, "Wildlife Species" AS wildlife_species,
            "Time of day" AS time_of_day, "Speed IAS in knots"::BIGINT AS speed_ias_in_knots, {provenance}
        FROM read_csv({file}, header = true, all_varchar = true)""",
    ),
    "us_faa__airports": (
        "faa-airports.csv",
        """SELECT iata, name, city, state, country, latitude::DOUBLE AS latitude, longitude::DOUBLE AS longitude, {provenance}
        FROM read_csv({file}, header = true, all_varchar = true)""",
    ),
    "us_usgs__earthquakes_week": (
        "usgs-earthquakes-week.geojson",
        """SELECT f.id, epoch_ms(f.properties."time") AS "time", epoch_ms(f.properties.updated) AS updated,
            f.properties."type" AS "type", f.properties.status AS status,
            f.properties.mag::DOUBLE AS mag, f.properties.magType AS mag_type,
            f.geometry.coordinates[3]::DOUBLE AS depth, f.geometry.coordinates[2]::DOUBLE AS latitude,
            f.geometry.coordinates[1]::DOUBLE AS longitude, f.properties.nst::BIGINT AS nst, f.properties.gap::DOUBLE AS gap,
            f.properties.dmin::DOUBLE AS dmin, f.properties.rms::DOUBLE AS rms, f.properties.net AS net,
            f.properties.place AS place, f.properties.felt::BIGINT AS felt, {provenance}
        FROM (SELECT unnest(features) AS f FROM read_json({file}, maximum_object_size = 20000000))""",
    ),
}


@dataclass(frozen=True)
class Build:
    """What one dbt command left behind. `statuses`: dbt's word for each node, by the node's name."""

    success: bool
    statuses: dict[str, str]
    kinds: dict[str, str]
    warehouse: Path
    models_dir: Path
    error: str

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.warehouse), read_only=True) as connection:
            return connection.execute(query).fetchall()

    @property
    def failed(self) -> set[str]:
        return {name for name, status in self.statuses.items() if status in ("fail", "error")}


def run_dbt(
    command: list[str], *, home: Path, live: Mapping[str, list[str]] | None = None, models_dir: Path | None = None
) -> Build:
    """One dbt command in this process, with its target, logs and warehouse in `home`."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    home.mkdir(parents=True, exist_ok=True)
    arguments = [*command, "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--quiet"]
    arguments += ["--target-path", str(home / "target"), "--log-path", str(home / "logs")]
    if live is not None:
        arguments += ["--vars", json.dumps(tables_vars(live, models_dir=str(models_dir) if models_dir else None))]
    if models_dir is not None:
        prepare_landing(models_dir, MODELS)
    warehouse = home / "warehouse.duckdb"
    before = {name: os.environ.get(name) for name in ("MADANG_WAREHOUSE", "DO_NOT_TRACK")}
    os.environ.update({"MADANG_WAREHOUSE": str(warehouse), "DO_NOT_TRACK": "1"})
    try:
        answer = dbtRunner().invoke(arguments)
    finally:
        # dbt-duckdb keeps its database open for a next command of the process; the tests want to read the file.
        DuckDBConnectionManager.close_all_connections()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    results = list(getattr(answer.result, "results", []))
    return Build(
        success=answer.success,
        statuses={r.node.name: str(r.status) for r in results},
        kinds={r.node.name: str(r.node.resource_type) for r in results},
        warehouse=warehouse,
        models_dir=models_dir or home / "nowhere",
        error="\n".join(
            [str(answer.exception or ""), *(f"{r.node.name}: {r.message}" for r in results if r.message and r.status != "success")]
        ),
    )
