"""Two writers at the same time, and readers during a publish: one wins, everybody sees old or new, nothing is mixed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from assets.training_sets.read import pull, verify
from tests.chaos.conftest import Scene
from tests.chaos.reader import see
from tests.chaos.scene import FEED, SET
from tests.chaos.test_kills import check_finished


def test_two_runs_at_once(scene: Scene, tmp_path: Path) -> None:
    home = scene.fresh(tmp_path)
    both = [home.start(scene.second), home.start(scene.second)]
    ended = [run.end() for run in both]
    assert [e.code for e in ended] == [0, 0], [e.said for e in ended]
    check_finished(scene, home)


@pytest.mark.parametrize("step", ["release.data", "release.manifest"])
def test_one_is_killed_in_its_publish_while_another_waits(scene: Scene, tmp_path: Path, step: str) -> None:
    home = scene.fresh(tmp_path)
    both = [home.start(scene.second, MADANG_KILL_AT=step), home.start(scene.second)]
    killed, other = (run.end() for run in both)
    assert other.code == 0, other.said
    # The killed one may have come second, and then it had nothing left to publish.
    assert killed.code in (-9, 0), killed.said
    check_finished(scene, home)


@pytest.mark.parametrize("step", ["release.data", "release.manifest"])
def test_nobody_publishes_while_another_does(scene: Scene, tmp_path: Path, step: str) -> None:
    """A run halts in its publish; one that comes after waits until it goes on, and then has nothing left to release."""
    home = scene.fresh(tmp_path)
    halted = home.start(scene.second, CHAOS_STOP_AT=step)
    halted.wait_for(step)
    second = home.start(scene.second)
    second.wait_for("release.built")
    assert see(home.store, FEED, SET).rows == (scene.new.table, scene.old.release)
    assert halted.process.pid is not None
    os.kill(halted.process.pid, signal.SIGCONT)
    ended = [halted.end(), second.end()]
    assert [e.code for e in ended] == [0, 0], [e.said for e in ended]
    assert "release.data" not in ended[1].steps
    check_finished(scene, home)


def test_readers_during_publishes(scene: Scene, tmp_path: Path) -> None:
    home = scene.fresh(tmp_path)
    run = home.start(scene.second)
    seen, pulled = set(), set()
    while run.process.is_alive():
        state = see(home.store, FEED, SET)
        seen.add(state.rows)
        shutil.rmtree(tmp_path / "pulled", ignore_errors=True)
        pulled.add(pull(home.store.as_uri(), SET, tmp_path / "pulled")["version"])
        assert verify(tmp_path / "pulled").ok
    assert run.end().code == 0
    old, new = scene.old, scene.new
    assert seen <= {(old.table, old.release), (new.table, old.release), (new.table, new.release)}
    assert pulled <= {"1.0.0", "2.0.0"} and "1.0.0" in pulled
    check_finished(scene, home)


def test_what_an_unfinished_put_left_is_swept(scene: Scene, tmp_path: Path) -> None:
    """obstore writes `name#1` and renames it; a process killed between the two leaves a file that no listing shows."""
    home = scene.fresh(tmp_path)
    assert home.run(scene.second, MADANG_KILL_AT="release.data").code == -9
    shard = next((home.store / "sets" / SET / "v2.0.0").rglob("*.parquet"))
    (home.path / "part").write_bytes(shard.read_bytes()[:1000])
    (home.path / "part").replace(shard.with_name(f"{shard.name}#1"))
    assert see(home.store, FEED, SET).release == scene.old.release
    home.finish(scene.second)
    check_finished(scene, home)
