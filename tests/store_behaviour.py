"""What every store must do, written once: `test_store.py` runs it on files, `integration/test_store_on_s3.py` on a real S3 server.

Only what holds on both belongs here; a subclass gives the fixture `store`.
"""

from __future__ import annotations

import multiprocessing
import resource
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from assets.errors import StoreConflict
from assets.store import Pointer, Store

SPAWN = multiprocessing.get_context("spawn")
POINTER = "sets/a/index.json"
ODD_KEYS = ("tables/kr.a/시도 서울/part-0.parquet", "tables/kr.a/50%/part #1.parquet", "tables/kr.a/a=1+b&c/it's~x.parquet")
BIG = bytes(range(256)) * (24 * 1024 * 4)
"""24 MiB: several parts of a multipart upload."""


def add_to(store: Store, key: str, who: str, times: int) -> int:
    """Put `who`-N into the pointer `times` times; how many of them the store took."""
    taken = 0
    for n in range(times):

        def change(value: dict[str, Any], entry: str = f"{who}-{n}") -> dict[str, Any]:
            return {"entries": [*value.get("entries", []), entry]}

        try:
            store.update_pointer(key, change)
        except StoreConflict:
            continue
        taken += 1
    return taken


def add_in_process(url: str, who: str, times: int, start: Any, answers: Any) -> None:
    """`add_to` in a process of its own, from the moment that all are ready."""
    store = Store(url)
    start.wait()
    answers.put(add_to(store, POINTER, who, times))


def download_on_a_full_disk(url: str, key: str, path: Path, limit: int, answers: Any) -> None:
    """Download where no file may grow beyond `limit` bytes; answers the error's name."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        Store(url).download(key, path)
    except OSError as error:
        answers.put(type(error).__name__)
    else:
        answers.put("no error")


class StoreBehaviour:
    """The tests. Each starts with an empty store."""

    # --- immutable objects ---

    def test_bytes_and_json_come_back_as_they_were_put(self, store: Store) -> None:
        store.put_bytes("a/b.bin", b"\x00\xff\r\n")
        store.put_json("a/c.json", {"이름": "마당", "n": [1, None, 0.5]})
        assert store.get_bytes("a/b.bin") == b"\x00\xff\r\n"
        assert store.get_json("a/c.json") == {"이름": "마당", "n": [1, None, 0.5]}
        assert store.get_bytes("a/c.json").endswith(b"\n")
        assert (store.exists("a/b.bin"), store.exists("a/b"), store.exists("a")) == (True, False, False)
        assert store.size("a/b.bin") == 4

    def test_nan_is_no_json(self, store: Store) -> None:
        with pytest.raises(ValueError, match="JSON"):
            store.put_json("a/c.json", {"n": float("nan")})
        assert not store.exists("a/c.json")

    def test_a_large_file_goes_up_and_comes_down_whole(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "source.bin"
        source.write_bytes(BIG)
        store.put_file("big/one.bin", source)
        assert store.size("big/one.bin") == len(BIG)
        there = tmp_path / "new folder" / "copy.bin"
        store.download("big/one.bin", there)
        assert there.read_bytes() == BIG
        assert [p.name for p in there.parent.iterdir()] == ["copy.bin"]

    def test_what_is_not_there_is_file_not_found(self, store: Store, tmp_path: Path) -> None:
        kept = tmp_path / "out" / "kept.bin"
        kept.parent.mkdir()
        kept.write_bytes(b"before")
        calls: tuple[Callable[[], Any], ...] = (
            lambda: store.get_bytes("no/such"),
            lambda: store.get_json("no/such"),
            lambda: store.size("no/such"),
            lambda: store.download("no/such", kept),
            lambda: store.local_path("no/such", tmp_path / "out"),
        )
        for call in calls:
            with pytest.raises(FileNotFoundError):
                call()
        assert kept.read_bytes() == b"before"
        assert [p for p in kept.parent.rglob("*") if p.is_file()] == [kept]
        assert store.read_pointer("no/such") == Pointer(None, None)

    def test_listing_keeps_to_whole_path_segments(self, store: Store) -> None:
        for key in ("sets/a/v1/x", "sets/a/y", "sets/ab/z", "other/w"):
            store.put_bytes(key, b"1")
        assert sorted(store.list("sets/a")) == ["sets/a/v1/x", "sets/a/y"]
        assert sorted(store.list("sets")) == ["sets/a/v1/x", "sets/a/y", "sets/ab/z"]
        assert list(store.list("nothing")) == []
        store.delete("sets/a/y")
        assert list(store.list("sets/a")) == ["sets/a/v1/x"]

    def test_folders_are_the_names_directly_below(self, store: Store) -> None:
        for key in ("sets/b/v1/x", "sets/a/v1/x", "sets/a/y", "sets/file", "other/w"):
            store.put_bytes(key, b"1")
        assert store.folders("sets") == ("a", "b")
        assert store.folders("nothing") == ()

    def test_listing_more_than_one_page(self, store: Store) -> None:
        keys = {f"many/{n:04d}" for n in range(1100)}
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: store.put_bytes(key, b""), keys))
        assert set(store.list("many")) == keys

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_characters_in_keys(self, store: Store, tmp_path: Path, key: str) -> None:
        store.put_bytes(key, b"odd")
        assert store.get_bytes(key) == b"odd"
        assert list(store.list("tables/kr.a")) == [key]
        assert store.local_path(key, tmp_path / "cache").read_bytes() == b"odd"

    @pytest.mark.parametrize("key", ["../x", "a/../../x", "a/..", "/etc/x", "", "."])
    def test_a_key_that_leaves_the_store_is_refused(self, store: Store, tmp_path: Path, key: str) -> None:
        target = tmp_path / "target"
        calls: tuple[Callable[[], Any], ...] = (
            lambda: store.put_bytes(key, b"x"),
            lambda: store.put_file(key, Path(__file__)),
            lambda: store.get_bytes(key),
            lambda: store.exists(key),
            lambda: store.size(key),
            lambda: list(store.list(key)),
            lambda: store.delete(key),
            lambda: store.download(key, target),
            lambda: store.local_path(key, tmp_path),
            lambda: store.read_pointer(key),
            lambda: store.swap(key, Pointer(None, None), {}),
        )
        for call in calls:
            with pytest.raises(ValueError, match="leaves the store"):
                call()
        assert not target.exists()

    def test_a_download_that_breaks_off_leaves_nothing(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "source.bin"
        source.write_bytes(BIG)
        store.put_file("big/one.bin", source)
        there = tmp_path / "there" / "copy.bin"
        answers = SPAWN.Queue()
        process = SPAWN.Process(target=download_on_a_full_disk, args=(store.url, "big/one.bin", there, len(BIG) // 2, answers))
        process.start()
        assert answers.get(timeout=120) == "OSError"
        process.join()
        assert list(there.parent.iterdir()) == []

    def test_threads_that_download_the_same_object_do_not_disturb_each_other(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "source.bin"
        source.write_bytes(BIG)
        store.put_file("big/one.bin", source)
        there = tmp_path / "there" / "copy.bin"
        ready = threading.Barrier(4)

        def download(_: int) -> bool:
            ready.wait()
            store.download("big/one.bin", there)
            return there.read_bytes() == BIG

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(download, range(4))) == [True] * 4
        assert list(there.parent.iterdir()) == [there]

    # --- pointers ---

    def test_a_pointer_is_swapped_only_against_what_was_read(self, store: Store) -> None:
        absent = store.read_pointer(POINTER)
        store.swap(POINTER, absent, {"version": 1})
        first = store.read_pointer(POINTER)
        assert first.value == {"version": 1}
        with pytest.raises(StoreConflict):
            store.swap(POINTER, absent, {"version": "second creation"})
        store.swap(POINTER, first, {"version": 2})
        with pytest.raises(StoreConflict):
            store.swap(POINTER, first, {"version": "from a stale read"})
        assert store.read_pointer(POINTER).value == {"version": 2}

    def test_a_pointer_that_vanished_is_a_conflict(self, store: Store) -> None:
        store.swap(POINTER, store.read_pointer(POINTER), {"version": 1})
        old = store.read_pointer(POINTER)
        store.delete(POINTER)
        with pytest.raises(StoreConflict):
            store.swap(POINTER, old, {"version": 2})
        assert store.read_pointer(POINTER) == Pointer(None, None)

    def test_the_means_of_swapping_are_nobodys_objects(self, store: Store) -> None:
        for n in range(3):
            store.update_pointer(POINTER, lambda value, n=n: {"n": n})
        assert list(store.list("sets")) == [POINTER]

    def test_an_update_that_raises_changes_nothing(self, store: Store) -> None:
        store.update_pointer(POINTER, lambda value: {"n": 1})

        def fail(value: dict[str, Any]) -> dict[str, Any]:
            value["n"] = 2
            raise KeyError("gone")

        with pytest.raises(KeyError):
            store.update_pointer(POINTER, fail)
        assert store.update_pointer(POINTER, lambda value: {"n": value["n"] + 10}) == {"n": 11}

    def test_one_of_many_creators_wins(self, store: Store) -> None:
        ready = threading.Barrier(6)

        def create(n: int) -> bool:
            absent = store.read_pointer(POINTER)
            ready.wait()
            try:
                store.swap(POINTER, absent, {"winner": n})
            except StoreConflict:
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            won = list(pool.map(create, range(6)))
        assert sum(won) == 1
        assert store.read_pointer(POINTER).value == {"winner": won.index(True)}

    def test_threads_lose_no_update(self, store: Store) -> None:
        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(lambda n: add_to(store, POINTER, f"t{n}", 5), range(4)))
        self.check_entries(store, sum(taken), at_least=4)

    def test_processes_lose_no_update(self, store: Store) -> None:
        start, answers = SPAWN.Event(), SPAWN.Queue()
        processes = [
            SPAWN.Process(target=add_in_process, args=(store.url, f"p{n}", 5, start, answers), daemon=True) for n in range(3)
        ]
        for process in processes:
            process.start()
        start.set()
        taken = [answers.get(timeout=200) for _ in processes]
        for process in processes:
            process.join()
        self.check_entries(store, sum(taken), at_least=3)

    @staticmethod
    def check_entries(store: Store, taken: int, at_least: int) -> None:
        value = store.read_pointer(POINTER).value
        assert value is not None
        assert len(value["entries"]) == len(set(value["entries"])) == taken >= at_least
