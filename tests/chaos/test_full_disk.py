"""A disk that becomes full in the middle of a run: the old state stays, the error says so, and with room the work is finished."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.errors import disk_full
from orchestration.failures import guard
from tests.chaos.conftest import Scene
from tests.chaos.driver import FULL_BYTES
from tests.chaos.reader import see
from tests.chaos.scene import FEED, RUN_TIMEOUT_S, SET
from tests.chaos.test_kills import check_finished, expected


@pytest.mark.parametrize("step", ["fetch.recorded", "table.staged", "table.judged", "release.built"])
def test_the_old_state_stays(scene: Scene, tmp_path: Path, step: str) -> None:
    home = scene.fresh(tmp_path)
    ended = home.run(scene.second, CHAOS_FULL_AT=step)
    assert (ended.code, ended.last_step) == (1, step), ended.said
    error = next(line for line in ended.said.split("\n") if "too large" in line)
    assert disk_full(OSError(error)) is not None
    assert see(home.store, FEED, SET).rows == expected(scene, step).rows
    home.finish(scene.second)
    check_finished(scene, home)


def test_a_run_says_it_in_one_sentence() -> None:
    with pytest.raises(dg.Failure, match="the disk is full; what was there before is untouched") as failure, guard():
        raise OSError(28, "No space left on device")
    assert failure.value.allow_retries is False


def test_a_command_says_it_in_one_sentence(scene: Scene, tmp_path: Path) -> None:
    """Dagster's own state is SQLite beside the ledger, and is what a command opens first."""
    home = scene.fresh(tmp_path)
    home.finish(scene.first, "dagster")
    done = subprocess.run(
        [sys.executable, "-c", "from orchestration.cli import main; main()", "feed", "run", FEED],
        env={**os.environ, **home.settings(scene.second)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, FULL_BYTES)),
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert "the disk is full" in done.stderr and "make room" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_only_a_full_disk_is_called_one() -> None:
    assert disk_full(OSError(28, "No space left on device")) is not None
    assert disk_full(OSError(13, "Permission denied")) is None
