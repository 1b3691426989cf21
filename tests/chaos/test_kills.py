"""kill -9 at every commit step and at random moments: the old state or the new one is seen, and the next run finishes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from assets.commit import COMMIT_STEPS
from assets.training_sets.read import pull, verify
from tests.chaos.conftest import Scene
from tests.chaos.reader import State, see, see_archive
from tests.chaos.scene import FEED, SET, Ended, Home

MODEL_STEPS = [step for step in COMMIT_STEPS if step.startswith("model.")]
STEPS = [step for step in COMMIT_STEPS if step not in MODEL_STEPS]
RANDOM_KILLS, SEED = 10, 20261123


def expected(scene: Scene, step: str) -> State:
    """What must be visible after a kill right after that step: table and release each have their one moment."""
    reached = STEPS.index(step)
    table = scene.new.table if reached >= STEPS.index("table.swapped") else scene.old.table
    return State(table, scene.new.release if reached >= STEPS.index("release.indexed") else scene.old.release)


def check_finished(scene: Scene, home: Home) -> None:
    """The end state is that of a home where nothing was ever killed, and the first release is what it always was."""
    found = see(home.store, FEED, SET)
    assert found.rows == scene.new.rows
    assert list(found.versions) == list(scene.new.versions)
    assert found.versions["1.0.0"] == scene.old.versions["1.0.0"]
    assert verify(f"{home.store.as_uri()}/sets/{SET}/v2.0.0").ok
    see_archive(home.path)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_commit_step(scene: Scene, tmp_path: Path, step: str) -> None:
    home = scene.fresh(tmp_path)
    killed = home.run(scene.second, MADANG_KILL_AT=step)
    assert (killed.code, killed.last_step) == (-9, step), killed.said
    found = see(home.store, FEED, SET)
    assert found.rows == expected(scene, step).rows
    see_archive(home.path)
    pull(home.store.as_uri(), SET, tmp_path / "pulled")
    assert verify(tmp_path / "pulled").ok
    home.finish(scene.second)
    check_finished(scene, home)
    left = [path.name for path in (home.path / "spool").iterdir() if path.name != "fetches"]
    assert not left and not list((home.path / "spool" / "fetches").glob("*/*.warc.gz")), "a dead run's scratch folder stayed"


@pytest.mark.parametrize("step", MODEL_STEPS)
def test_killed_while_a_model_lands(tmp_path: Path, step: str) -> None:
    home = Home(tmp_path / "home", tmp_path)
    (tmp_path / "feeds").mkdir()
    (tmp_path / "sets").mkdir()
    home.finish("http://127.0.0.1:9", "model", CHAOS_ROWS="100")
    killed = home.run("http://127.0.0.1:9", "model", CHAOS_ROWS="150", MADANG_KILL_AT=step)
    assert (killed.code, killed.last_step) == (-9, step), killed.said

    def rows() -> int:
        index = json.loads((home.store / "models" / "chaos_model" / "index.json").read_bytes())
        return sum(f["rows"] for f in index["files"] if (home.store / f["key"]).stat().st_size == f["bytes"])

    assert rows() == (150 if step == "model.swapped" else 100)
    home.finish("http://127.0.0.1:9", "model", CHAOS_ROWS="150")
    assert rows() == 150


def random_moments(kills: int, length_s: float, seed: int = SEED) -> list[float]:
    """Moments spread over a run's length: one at random within each of `kills` equal pieces, in random order."""
    dice = random.Random(seed)
    moments = [(n + dice.random()) * length_s / kills for n in range(kills)]
    dice.shuffle(moments)
    return moments


def kill_and_finish(scene: Scene, home: Home, moment_s: float) -> tuple[Ended, State]:
    """Kill a run of day two after so many seconds; what was seen then; then finish it and compare."""
    killed = home.kill_after(scene.second, moment_s)
    assert killed.code in (-9, 0), killed.said
    seen = see(home.store, FEED, SET)
    assert seen.table in (scene.old.table, scene.new.table) and seen.release in (scene.old.release, scene.new.release)
    see_archive(home.path)
    home.finish(scene.second)
    check_finished(scene, home)
    return killed, seen


@pytest.mark.parametrize("number", range(RANDOM_KILLS))
def test_killed_at_a_random_moment(scene: Scene, tmp_path: Path, number: int) -> None:
    kill_and_finish(scene, scene.fresh(tmp_path), random_moments(RANDOM_KILLS, scene.seconds)[number])


def test_killed_again_and_again(scene: Scene, tmp_path: Path) -> None:
    """One home in which every run dies, each at a later step, until one lives."""
    home = scene.fresh(tmp_path)
    for step in ("fetch.archived", "table.uploaded", "release.data", "release.committed"):
        assert home.run(scene.second, MADANG_KILL_AT=step).code == -9
        assert see(home.store, FEED, SET).rows == expected(scene, step).rows
    home.finish(scene.second)
    check_finished(scene, home)
