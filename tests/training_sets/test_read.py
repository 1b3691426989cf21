"""Reading over HTTP as an ML team does, on the base install alone; and questions to published releases."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from assets.errors import DiskFull, IntegrityError, MadangError
from assets.store import Store
from assets.training_sets.inspect import NoSuchRecord, diff, trace
from assets.training_sets.read import NotPublished, Unreachable, pull, show, verify
from tests.training_sets.making import ROOT, build, digests, rows


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store((tmp_path / "store").as_uri())
    build(store, tmp_path / "w", rows(range(400)))
    return store


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    """The store served over HTTP on loopback, as `MADANG_PUBLIC_URL` would be."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(store.root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_pull_and_verify_over_http(address: str, store: Store, tmp_path: Path) -> None:
    assert show(address, "little_set", "1.0")["entry"]["version"] == "1.0.0"
    pull(address, "little_set", tmp_path / "copy", "v1.0.0")
    assert verify(tmp_path / "copy").ok
    assert verify(f"{address}/sets/little_set/v1.0.0").ok
    victim = store.root / "sets/little_set/v1.0.0/README.md"  # type: ignore[operator]
    victim.write_bytes(victim.read_bytes()[:-1])
    assert verify(f"{address}/sets/little_set/v1.0.0").wrong == "README.md"
    with pytest.raises(IntegrityError, match="differs from the manifest"):
        pull(address, "little_set", tmp_path / "other")
    assert not (tmp_path / "other" / "_COMMITTED").exists()
    assert not list((tmp_path / "other").rglob("*.part"))
    with pytest.raises(NotPublished):
        show(address, "no_such_set")


def test_a_mistyped_name_is_told_the_nearest_where_the_source_can_be_listed(address: str, store: Store) -> None:
    with pytest.raises(NotPublished, match=r"did you mean little_set\? madang set list"):
        show(store.url, "litle_set")
    with pytest.raises(NotPublished, match="there is no training set 'litle_set'"):
        show(address, "litle_set")


def test_a_manifest_that_leaves_the_folder_is_refused(store: Store, tmp_path: Path) -> None:
    from assets.training_sets.read import committed_bytes

    base = "sets/little_set/v1.0.0"
    manifest = store.get_bytes(f"{base}/manifest.json").replace(b'"CHANGELOG.md"', b'"../../escaped"')
    store.put_bytes(f"{base}/manifest.json", manifest)
    store.put_bytes(f"{base}/_COMMITTED", committed_bytes(manifest))
    pointer = store.read_pointer("sets/little_set/index.json")
    assert pointer.value is not None
    for entry in pointer.value["versions"]:
        entry.pop("manifest_sha256")
    store.swap("sets/little_set/index.json", pointer, pointer.value)
    with pytest.raises(IntegrityError, match="outside the release"):
        pull(store.url, "little_set", tmp_path / "deep" / "copy")
    assert not (tmp_path / "escaped").exists()
    with pytest.raises(IntegrityError, match="outside the release"):
        verify(f"{store.url}/{base}")


def test_a_source_that_nobody_answers_at_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="nothing there gives the sets") as caught:
        pull("http://127.0.0.1:1", "little_set", tmp_path / "copy")
    assert str(caught.value).startswith("http://127.0.0.1:1: ") and "\n" not in str(caught.value)


def test_a_source_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(Unreachable, match="access to the sets is refused") as caught:
                pull(f"http://127.0.0.1:{server.server_address[1]}", "little_set", tmp_path / "copy")
        finally:
            server.shutdown()
    assert "\n" not in str(caught.value)


def test_a_full_disk_names_the_folder_that_is_filled(store: Store, tmp_path: Path) -> None:
    dest = tmp_path / "copy"
    dest.mkdir()
    (dest / f"README.md.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="the disk is full") as caught:
        pull(store.url, "little_set", dest)
    assert caught.value.where == str(dest) and not (dest / "_COMMITTED").exists()
    pull(store.url, "little_set", dest)
    assert verify(dest).ok


def test_a_place_that_is_no_folder_is_one_sentence(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for dest in (tmp_path / "file", tmp_path / "file" / "copy"):
        with pytest.raises(MadangError, match="nothing can be written there") as caught:
            pull(store.url, "little_set", dest)
        assert caught.value.where == str(dest)
    assert (tmp_path / "file").read_text() == "x"


def test_reading_needs_the_base_install_only() -> None:
    code = (
        "import sys; import assets.training_sets.read; "
        "heavy = {'polars', 'duckdb', 'dagster', 'dbt', 'great_expectations', 'pandas', 'torch', 'datasets', 'aiohttp'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_diff_and_trace(store: Store, tmp_path: Path) -> None:
    changed = rows(range(1, 420)).with_columns(pl.when(pl.col("key") == "k5").then(9.9).otherwise("size").alias("size"))
    assert build(store, tmp_path / "w", changed).version == "2.0.0"
    found = diff(store, "little_set", "1.0.0", "2.0.0", tmp_path / "cache")
    assert {k: found[k] for k in ("added", "edited", "withdrawn", "moved", "unchanged")} == {
        "added": 20,
        "edited": 1,
        "withdrawn": 1,
        "moved": 0,
        "unchanged": 398,
    }
    (edited,) = found["records"]["edited"]
    traced = trace(store, "little_set", edited, tmp_path / "cache")
    assert (traced["version"], traced["record"]["_source_row"]) == ("2.0.0", 6)
    assert traced["fetch"]["feed"] == "kr.seoul.bike_hourly"
    assert digests(store, "1.0.0")
    with pytest.raises(NoSuchRecord):
        trace(store, "little_set", "0" * 32, tmp_path / "cache")
