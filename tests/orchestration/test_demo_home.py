"""Which home a demo fills: bundled rows and real files are never mixed in one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from assets.errors import MadangError
from assets.feeds.load import shipped
from orchestration.assembly import build_definitions
from orchestration.cli import demo
from orchestration.cli.demo import demo_settings
from orchestration.demo_home import demo_feeds
from orchestration.settings import ROOT, Settings

REAL_HOME = demo.REAL_HOME


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Set by monkeypatch, so that what demo_settings writes there is undone afterwards.
    monkeypatch.setenv("MADANG_HOME", "")
    monkeypatch.setattr(demo, "REAL_HOME", tmp_path / "real")


def test_real_files_have_a_home_of_their_own(tmp_path: Path) -> None:
    assert demo_settings(None, tmp_path).home == tmp_path / "real"
    assert json.loads((tmp_path / "real" / "demo.json").read_text())["data"] == str(tmp_path)
    assert demo_settings(tmp_path / "named", tmp_path).home == tmp_path / "named"


@pytest.mark.parametrize("first_real", [False, True])
def test_a_home_keeps_its_kind_of_rows(tmp_path: Path, first_real: bool) -> None:
    kinds = [tmp_path, None] if first_real else [None, tmp_path]
    demo_settings(tmp_path / "home", kinds[0])
    with pytest.raises(MadangError, match="would be mixed"):
        demo_settings(tmp_path / "home", kinds[1])
    demo_settings(tmp_path / "home", kinds[0])


def test_a_home_of_somebodys_work_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").touch()
    with pytest.raises(MadangError, match="not made by the demo"):
        demo_settings(tmp_path, None)


def test_make_clean_removes_the_state_of_both_demos() -> None:
    done = subprocess.run(["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, check=True)
    homes = {Settings.from_environment({}).home, REAL_HOME}
    assert {str(home.relative_to(ROOT)) for home in homes} <= set(done.stdout.split())


def test_in_a_demos_home_only_the_demos_feeds_have_schedules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' rows are dated for tests: on the machine's clock the stand-in would have none, and runs would end red."""
    monkeypatch.setenv("DATA_GO_KR_KEY", "a key")
    settings = Settings.from_environment({"MADANG_HOME": str(tmp_path)})

    def running() -> set[str]:
        schedules = build_definitions(settings).schedules or ()
        own = [s for s in schedules if isinstance(s, dg.ScheduleDefinition) and s.name.startswith("feed__")]
        return {schedule.name for schedule in own if schedule.default_status is dg.DefaultScheduleStatus.RUNNING}

    everywhere = running()
    (tmp_path / "demo.json").write_text('{"data": null}')
    assert running() == {f"feed__{shipped()[feed].relation}" for feed in demo_feeds()} < everywhere
