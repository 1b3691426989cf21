"""In a home of the demo no command asks a real agency, whatever else runs there; anywhere else the settings decide."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from assets.errors import MadangError
from deploy.agency import DEMO_KEY, running_agency
from orchestration.cli.standin import IN_PLACE, agency_of, answering
from orchestration.settings import Settings
from tests.main_job.homes import MadangHome, madang

FEED = "kr.airkorea.sido_hourly"
"""The one that needs a key."""
REAL_KEY = "cmVhbC1rZXktb2Ytc29tZWJvZHk="


@pytest.fixture
def home(demo_home: MadangHome, tmp_path: Path) -> MadangHome:
    return demo_home.copy(tmp_path / "home")


def test_run_and_preview_ask_the_stand_in_and_say_so(home: MadangHome) -> None:
    # Another one is served at the same time, as by `madang up`, and somebody's real key is in the environment.
    with running_agency():
        for command, more in (("preview", ("--rows", "2")), ("run", ())):
            done = madang("feed", command, FEED, "--json", *more, MADANG_HOME=str(home.path), DATA_GO_KR_KEY=REAL_KEY)
            assert done.returncode == 0, done.stderr
            assert done.stderr.splitlines() == [f"· {IN_PLACE}"]
            assert json.loads(done.stdout)["outcome"] in ("Ok", "NotModified")
    with home.ledger() as ledger:
        assert {record.origin for record in ledger.history(FEED)} == {"synthetic"}


def test_what_madang_connect_to_names_is_asked_instead(home: MadangHome) -> None:
    with running_agency() as url:
        done = madang(
            "feed", "run", FEED, "--json", MADANG_HOME=str(home.path), MADANG_CONNECT_TO=url, DATA_GO_KR_KEY="not its key"
        )
    # The one that was named refuses the key; a stand-in of the command's own would not.
    assert done.returncode == 1 and "AuthFailed" in done.stdout and IN_PLACE not in done.stderr


def settings(home: Path, **more: str) -> Settings:
    return Settings.from_environment({"MADANG_HOME": str(home), **more})


def test_another_home_is_left_as_it_is(tmp_path: Path) -> None:
    declared = settings(tmp_path)
    assert agency_of(declared) is None
    with answering(declared) as asking:
        assert asking == declared and asking.connect_to is None


def test_the_environment_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo.json").write_text('{"data": null}')
    monkeypatch.setenv("DATA_GO_KR_KEY", REAL_KEY)
    monkeypatch.delenv("MADANG_CONNECT_TO", raising=False)
    with answering(settings(tmp_path)) as first, answering(settings(tmp_path)) as second:
        assert first.connect_to is not None and second.connect_to is not None and first.connect_to != second.connect_to
        assert os.environ["DATA_GO_KR_KEY"] == DEMO_KEY and os.environ["MADANG_CONNECT_TO"] == second.connect_to
    assert os.environ["DATA_GO_KR_KEY"] == REAL_KEY and "MADANG_CONNECT_TO" not in os.environ


def test_real_files_that_are_gone_are_named(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(json.dumps({"data": str(tmp_path / "gone")}))
    with pytest.raises(MadangError, match="their folder is gone"), answering(settings(tmp_path)):
        raise AssertionError("unreachable")
