"""Running dbt from tests: one command in this process, and tables made of files as Madang makes them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from assets.feeds.model import Feed
from assets.tables.dbt_sources import DBT_PROJECT, prepare_landing, tables_vars

FEEDS = DBT_PROJECT.parent / "assets" / "feeds"
MODELS = ("seoul_bike_demand", "earthquake_felt", "birdstrike_damage")

FILES = {
    "kr.seoul.bike_hourly": "seoul-bike-hourly.csv",
    "us.faa.bird_strikes": "faa-birdstrikes.csv",
    "us.faa.airports": "faa-airports.csv",
    "us.usgs.earthquakes_week": "usgs-earthquakes-week.geojson",
}
"""The agencies' files of the feeds that the sets draw on."""


def make_tables(files: Mapping[str, Path], folder: Path) -> dict[str, list[str]]:
    """Each feed's file read by its protocol, staged and judged by its contract. Relation → the accepted rows' file."""
    from assets.feeds.load import load_feed
    from assets.protocols.kernel import Body
    from assets.tables.judging import judge
    from assets.tables.staging import stage

    live = {}
    for feed_id, file in files.items():
        feed = load_feed(FEEDS / feed_id)
        body = Body(file=file, headers={}, url=feed.source.address)
        work = folder / feed.relation
        staged = stage(feed, feed.protocol.parse(feed, feed.source, [body]), work / "staged.parquet")
        judged = judge(feed, staged, work, source_id="20261101T000000Z-00000001", fetched_at=datetime(2026, 11, 1, tzinfo=UTC))
        assert not judged.blocked, [check.name for check in judged.blocked]
        live[feed.relation] = [str(judged.accepted)]
    return live


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
    command: list[str],
    *,
    home: Path,
    live: Mapping[str, list[str]] | None = None,
    feeds: Sequence[Feed] = (),
    models_dir: Path | None = None,
) -> Build:
    """One dbt command in this process, with its target, logs and warehouse in `home`."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    home.mkdir(parents=True, exist_ok=True)
    arguments = [*command, "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--quiet"]
    arguments += ["--target-path", str(home / "target"), "--log-path", str(home / "logs")]
    if live is not None:
        arguments += ["--vars", json.dumps(tables_vars(live, feeds=feeds, models_dir=str(models_dir) if models_dir else None))]
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
