"""A publish killed at any commit step leaves the old release or the new one, and the next run finishes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from assets.commit import COMMIT_STEPS
from assets.store import Store
from assets.training_sets.publish import load_index
from assets.training_sets.read import pull, show, verify
from tests.training_sets.making import ROOT, build, digests, rows

STEPS = [s for s in COMMIT_STEPS if s.startswith("release.")]


def run(store: Store, work: Path, last: int, kill_at: str | None = None) -> int:
    """A process of its own that releases rows 0 … last; returns its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if kill_at is not None:
        environment["MADANG_KILL_AT"] = kill_at
    command = [sys.executable, "-m", "tests.training_sets.making", store.url, str(work), str(last)]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True).returncode


@pytest.mark.chaos
@pytest.mark.parametrize("step", STEPS)
def test_killed_publish_leaves_old_or_new_and_is_finished(tmp_path: Path, step: str) -> None:
    store = Store((tmp_path / "store").as_uri())
    build(store, tmp_path / "w", rows(range(400)))
    old = digests(store, "1.0.0")
    assert run(store, tmp_path / "killed", 460, step) == -9
    found = show(store.url, "little_set")["entry"]["version"]
    assert found == ("1.1.0" if step == "release.indexed" else "1.0.0")
    pull(store.url, "little_set", tmp_path / "during")
    assert verify(tmp_path / "during").ok
    finished = build(store, tmp_path / "w", rows(range(460)))
    assert finished.version == "1.1.0"
    assert finished.changed == (step not in ("release.committed", "release.indexed"))
    index = load_index(store, "little_set")
    assert [e["version"] for e in index["versions"]] == ["1.0.0", "1.1.0"]
    assert verify(f"{store.url}/sets/little_set/v1.1.0").ok
    assert digests(store, "1.0.0") == old and verify(f"{store.url}/sets/little_set/v1.0.0").ok


@pytest.mark.chaos
def test_what_a_killed_publish_left_behind_does_not_stay_in_the_next_release(tmp_path: Path) -> None:
    store = Store((tmp_path / "store").as_uri())
    build(store, tmp_path / "w", rows(range(400)))
    assert run(store, tmp_path / "killed", 460, "release.data") == -9
    left = set(store.list("sets/little_set/v1.1.0"))
    assert left
    # The agency has other rows by now, so the same version holds other files; none of the old ones may remain in it.
    assert build(store, tmp_path / "w", rows(range(470)), compact=True).version == "1.1.0"
    assert verify(f"{store.url}/sets/little_set/v1.1.0").ok


@pytest.mark.chaos
@pytest.mark.parametrize("step", STEPS)
def test_killed_first_release(tmp_path: Path, step: str) -> None:
    store = Store((tmp_path / "store").as_uri())
    assert run(store, tmp_path / "killed", 400, step) == -9
    assert load_index(store, "little_set")["latest"] == ("1.0.0" if step == "release.indexed" else None)
    assert build(store, tmp_path / "w", rows(range(400))).version == "1.0.0"
    assert verify(f"{store.url}/sets/little_set/v1.0.0").ok
