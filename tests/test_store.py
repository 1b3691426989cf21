"""The store on `file://`: what every store must do, and what only files can get wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assets.errors import SettingsError, StoreUnreachable
from assets.store import Store, bootstrap
from tests.store_behaviour import POINTER, StoreBehaviour


@pytest.fixture
def store(tmp_path: Path) -> Store:
    # A folder's name in the field: Korean, a blank, a percent sign.
    folder = tmp_path / "기관 100% store"
    return Store(folder.as_uri())


class TestOnFiles(StoreBehaviour):
    """Every behaviour, on a folder."""


def test_a_local_path_is_the_object_itself(store: Store, tmp_path: Path) -> None:
    store.put_bytes("a/b", b"1")
    path = store.local_path("a/b", tmp_path / "cache")
    assert store.root is not None
    assert path == store.root / "a" / "b"
    assert not (tmp_path / "cache").exists()


def test_a_link_that_leaves_the_store_is_no_way_to_write_outside(store: Store) -> None:
    """Keys cannot name a parent folder; a file's bytes land under its own key and nowhere else."""
    assert store.root is not None
    store.put_bytes("a/b", b"1")
    assert sorted(p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file()) == ["a/b"]


def test_a_writer_that_died_leaves_the_pointer_readable_and_free(store: Store) -> None:
    """What a killed writer leaves behind: its lock file and half a part file."""
    store.update_pointer(POINTER, lambda value: {"n": 1})
    assert store.root is not None
    folder = (store.root / POINTER).parent
    (folder / f".index.json.{os.getpid()}.part").write_bytes(b'{"n": ')
    assert store.read_pointer(POINTER).value == {"n": 1}
    assert store.update_pointer(POINTER, lambda value: {"n": value["n"] + 1}) == {"n": 2}
    assert list(store.list("sets")) == [POINTER]


@pytest.mark.parametrize("url", ["", "relative/folder", "ftp://host/x", "s3://", "https://host/bucket"])
def test_other_urls_are_refused_with_the_mend(url: str) -> None:
    with pytest.raises(SettingsError, match=r"MADANG_STORE.*s3://bucket"):
        Store(url)


def test_bootstrap_has_nothing_to_do_on_files(tmp_path: Path) -> None:
    bootstrap((tmp_path / "store").as_uri())
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "s3.example:9000"])
def test_a_store_that_is_not_there_is_said_with_the_setting_that_names_it(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "who", "SECRET_ACCESS_KEY": "hidden-key"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(StoreUnreachable, match=r"s3://madang: the object store does not answer.*AWS_ENDPOINT_URL") as caught:
        bootstrap("s3://madang")
    assert "hidden-key" not in str(caught.value)
