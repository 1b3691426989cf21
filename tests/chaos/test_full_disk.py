"""A disk that becomes full in the middle of a run: the old state stays, the error says so, and with room the work is finished."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from orchestration.failures import disk_full, guard
from tests.chaos.conftest import Scene
from tests.chaos.reader import see
from tests.chaos.scene import FEED, SET
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


def test_only_a_full_disk_is_called_one() -> None:
    assert disk_full(OSError(28, "No space left on device")) is not None
    assert disk_full(OSError(13, "Permission denied")) is None
