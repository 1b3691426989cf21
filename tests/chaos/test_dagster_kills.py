"""kill -9 under Dagster: a killed run is not shown as a success, holds nothing up, and the next run finishes and says so."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from orchestration.running import instance
from orchestration.settings import Settings
from tests.chaos.conftest import Scene
from tests.chaos.reader import see
from tests.chaos.scene import FEED, SET
from tests.chaos.test_kills import check_finished

TABLE, PRODUCT = dg.AssetKey(["table", *FEED.split(".")]), dg.AssetKey(["set", SET])


def test_killed_dagster_runs(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = scene.fresh(tmp_path)
    for name, value in home.settings(scene.second).items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert home.run(scene.second, "dagster", MADANG_KILL_AT="table.swapped").code == -9
    assert see(home.store, FEED, SET).rows == (scene.new.table, scene.old.release)
    with instance(settings) as opened:
        assert opened.get_latest_materialization_event(TABLE) is None
        assert [run.status for run in opened.get_runs()] == [dg.DagsterRunStatus.STARTED]
    # Inside the set's op, so its place in the set's pool dies with it.
    second = home.run(scene.second, "dagster", MADANG_KILL_AT="release.committed")
    assert second.code == -9 and "table.swapped" not in second.steps, second.said
    with instance(settings) as opened:
        assert opened.get_latest_materialization_event(TABLE) is not None
        assert opened.get_latest_materialization_event(PRODUCT) is None
    home.finish(scene.second, "dagster")
    check_finished(scene, home)
    with instance(settings) as opened:
        told = opened.get_latest_materialization_event(PRODUCT)
        assert told is not None and told.asset_materialization is not None
        assert (told.asset_materialization.tags or {})["dagster/data_version"] == "2.0.0"
        # Newest first: the last two runs, the killed set run and the feed run before it, the killed feed run.
        done, failed = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
        assert [run.status for run in opened.get_runs()] == [done, done, failed, done, failed]
