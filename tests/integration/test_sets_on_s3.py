"""Releases on a real S3 server: the same bytes as on a local store, pulled and verified from there, finished after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets.store import Store
from assets.training_sets.publish import load_index
from assets.training_sets.read import pull, verify
from assets.training_sets.release import SyntheticRefused
from tests.training_sets.making import build, digests, rows
from tests.training_sets.test_kill import run


@pytest.mark.integration
def test_release_pull_and_verify_on_s3(s3_url: str, tmp_path: Path) -> None:
    store, local = Store(f"{s3_url}/deep/prefix"), Store((tmp_path / "local").as_uri())
    for last in (400, 460):
        remote = build(store, tmp_path / "w", rows(range(last)))
        assert remote.version == build(local, tmp_path / "w2", rows(range(last))).version
    assert digests(store, "1.1.0", "data/") == digests(local, "1.1.0", "data/")
    assert not build(store, tmp_path / "w", rows(range(460))).changed
    pull(store.url, "little_set", tmp_path / "copy")
    assert verify(tmp_path / "copy").ok
    assert verify(f"{store.url}/sets/little_set/v1.0.0").ok
    with pytest.raises(SyntheticRefused):
        build(store, tmp_path / "w", rows(range(470)), origin="synthetic")
    assert build(store, tmp_path / "w", rows(range(470)), origin="synthetic", allow_synthetic=True).changed


@pytest.mark.integration
@pytest.mark.parametrize("step", ["release.data", "release.manifest", "release.committed"])
def test_a_publish_killed_on_s3_is_finished(s3_url: str, tmp_path: Path, step: str) -> None:
    store = Store(s3_url)
    assert run(store, tmp_path / "killed", 400, step) == -9
    assert load_index(store, "little_set")["latest"] is None
    assert build(store, tmp_path / "w", rows(range(400))).version == "1.0.0"
    assert verify(f"{store.url}/sets/little_set/v1.0.0").ok
