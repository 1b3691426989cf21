"""What Dagster loads: from files alone, without a socket, a database or Great Expectations; schedules as the feeds say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.feeds.load import is_ready, load_feeds
from orchestration.assembly import build_definitions, job_name
from orchestration.freshness import CONFIRMED_ON_TIME
from orchestration.settings import ROOT, Settings
from tests.main_job.homes import environment

PROBE = """
import json, sys
seen = []
def watch(event, arguments):
    # Not socket.bind: importing urllib3 binds once to see whether the machine has IPv6.
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "sqlite3.connect"):
        seen.append(event)
sys.addaudithook(watch)
import orchestration.definitions
heavy = [name for name in ("great_expectations", "sqlalchemy", "rdflib", "torch", "datasets", "mlcroissant") if name in sys.modules]
print(json.dumps({"seen": seen, "heavy": heavy, "jobs": len(orchestration.definitions.defs.resolve_all_job_defs())}))
"""


def test_loading_opens_no_socket_and_no_database_and_imports_no_great_expectations(tmp_path: Path) -> None:
    build_definitions()  # dbt's manifest is up to date, as after any load
    env = environment(MADANG_HOME=str(tmp_path / "home"), PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["seen"] == []
    assert found["heavy"] == []
    assert found["jobs"] > 9
    assert not (tmp_path / "home").exists()


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(Settings.from_environment({}))


def test_every_feed_has_its_own_schedule_in_its_own_zone(definitions: dg.Definitions) -> None:
    feeds, problems = load_feeds()
    assert problems == []
    schedules = {schedule.name: schedule for schedule in definitions.schedules or () if isinstance(schedule, dg.ScheduleDefinition)}
    assert schedules.keys() >= {job_name(feed) for feed in feeds.values()}
    for feed in feeds.values():
        schedule = schedules[job_name(feed)]
        assert (schedule.cron_schedule, schedule.execution_timezone) == (feed.schedule.cron, feed.schedule.timezone)
        running = is_ready(feed, os.environ)
        assert schedule.default_status is (dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED)
    assert {schedule.execution_timezone for schedule in schedules.values()} >= {"Asia/Seoul", "America/New_York", "UTC"}


def test_the_graph_leads_from_the_agencies_to_the_sets(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for feed in load_feeds().feeds.values():
        table = dg.AssetKey(["table", *feed.segments])
        assert graph.get(table).parent_keys == {dg.AssetKey(["archive", *feed.segments])}
    bikes = graph.get(dg.AssetKey(["set", "seoul_bike_demand"]))
    upstream, todo = set(), [bikes.key]
    while todo:
        for parent in graph.get(todo.pop()).parent_keys:
            if parent not in upstream:
                upstream.add(parent)
                todo.append(parent)
    assert dg.AssetKey(["archive", "kr", "seoul", "bike_hourly"]) in upstream
    assert not any(key.path[:2] == ["archive", "us"] for key in upstream)


def test_a_feeds_job_is_resolved_among_its_own_definitions(definitions: dg.Definitions) -> None:
    """Else each job walks over all assets and checks, and a thousand feeds take minutes."""
    graph = definitions.resolve_asset_graph()
    for feed in load_feeds().feeds.values():
        keys = {dg.AssetKey([stage, *feed.segments]) for stage in ("archive", "table")}
        checks = {check for key in keys for check in graph.get(key).check_keys}
        own = {check for check in checks if check.name != CONFIRMED_ON_TIME}
        job = definitions.resolve_job_def(job_name(feed))
        assert job.asset_layer.asset_graph.source_asset_graph.get_all_asset_keys() == keys
        assert job.asset_layer.selected_asset_keys == keys
        assert set(job.asset_layer.asset_graph.asset_check_keys) == own and len(checks) == len(own) + 1
        assert job.tags["madang/feed"] == feed.id
        # A part of it, as a person selects it in the UI.
        table = dg.AssetKey(["table", *feed.segments])
        part = job.get_subset(asset_selection={table}, asset_check_selection=graph.get(table).check_keys)
        assert part.asset_layer.selected_asset_keys == {table}


def test_a_broken_feed_is_left_out_and_the_others_load(tmp_path: Path, definitions: dg.Definitions) -> None:
    (tmp_path / "kr.broken.feed").mkdir()
    (tmp_path / "kr.broken.feed" / "feed.yaml").write_text("id: kr.broken.feed\ncontract: [\n", encoding="utf-8")
    loaded = build_definitions(Settings.from_environment({"MADANG_FEEDS": str(tmp_path)}))
    assert loaded.resolve_asset_graph().get_all_asset_keys() == definitions.resolve_asset_graph().get_all_asset_keys()


def test_a_disabled_feed_keeps_its_job_and_a_stopped_schedule(tmp_path: Path) -> None:
    text = (ROOT / "assets" / "feeds" / "us.eia.wti_daily" / "feed.yaml").read_text(encoding="utf-8")
    folder = tmp_path / "us.eia.disabled"
    folder.mkdir()
    folder.joinpath("feed.yaml").write_text(
        text.replace("us.eia.wti_daily", "us.eia.disabled") + "enabled: false\n", encoding="utf-8"
    )
    loaded = build_definitions(Settings.from_environment({"MADANG_FEEDS": str(tmp_path)}))
    (schedule,) = [s for s in loaded.schedules or () if s.name == "feed__us_eia__disabled"]
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert loaded.resolve_job_def("feed__us_eia__disabled")
