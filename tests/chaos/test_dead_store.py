"""An S3 server that dies in the middle of a run, of a listing, of a download: one sentence, the same as at the start of a run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assets.errors import StoreUnreachable
from assets.store import Pointer, Store, bootstrap
from tests.chaos.scene import Home, agency, write_declarations
from tests.integration.s3_server import S3Server, running_s3
from tests.requirements import require

URL = "s3://madang-dies"
SENTENCE = f"{URL}: the object store does not answer — see that it runs, and that AWS_ENDPOINT_URL names it"
CLIENTS_OWN = ("Debug source", "reqwest", "Generic S3 error")
TOUCHES: dict[str, Callable[[Store, Path], object]] = {
    "put_bytes": lambda store, _: store.put_bytes("a/c", b"1"),
    "put_file": lambda store, folder: store.put_file("a/c", folder / "file"),
    "get_bytes": lambda store, _: store.get_bytes("a/b"),
    "exists": lambda store, _: store.exists("a/b"),
    "size": lambda store, _: store.size("a/b"),
    "list": lambda store, _: list(store.list("a")),
    "folders": lambda store, _: store.folders("a"),
    "delete": lambda store, _: store.delete("a/b"),
    "download": lambda store, folder: store.download("a/b", folder / "copy"),
    "local_path": lambda store, folder: store.local_path("a/b", folder),
    "read_pointer": lambda store, _: store.read_pointer("index.json"),
    "swap": lambda store, _: store.swap("index.json", Pointer({}, '"etag"'), {"n": 1}),
    "swap of none": lambda store, _: store.swap("index.json", Pointer(None, None), {"n": 1}),
    "bootstrap": lambda store, _: bootstrap(store.url),
}


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server of the test's own, which it may kill, with the AWS_* variables set and a bucket."""
    require("s3")
    (tmp_path / "s3").mkdir()
    with running_s3(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        bootstrap(URL)
        yield server


def kill(server: S3Server) -> None:
    server.process.kill()
    server.process.wait()


def wait_until_halted(pid: int) -> None:
    """The step is told before the process halts; what lets it go on must not come before that."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
        time.sleep(0.01)


@pytest.mark.timeout(600)
def test_a_store_that_dies_in_the_middle_of_a_run_is_one_sentence(mortal: S3Server, tmp_path: Path) -> None:
    write_declarations(tmp_path / "declared")
    more = {"MADANG_STORE": URL, "MADANG_ALLOW_SYNTHETIC": "1", **mortal.environment}
    home = Home(tmp_path / "home", tmp_path / "declared", more)
    with agency(tmp_path / "declared", 0) as address:
        run = home.start(address, "dagster", CHAOS_STOP_AT="table.uploaded")
        run.wait_for("table.uploaded")
        assert run.process.pid is not None
        wait_until_halted(run.process.pid)
        kill(mortal)
        os.kill(run.process.pid, signal.SIGCONT)
        ended = run.end()
    assert (ended.code, ended.last_step) == (1, "table.uploaded"), ended.said
    assert f"SystemExit: {SENTENCE}" in ended.said, ended.said
    assert not any(words in ended.said for words in CLIENTS_OWN), ended.said


@pytest.mark.timeout(600)
def test_a_store_that_is_dead_is_the_same_sentence_wherever_it_is_touched(mortal: S3Server, tmp_path: Path) -> None:
    store = Store(URL)
    (tmp_path / "file").write_bytes(b"1")
    store.put_bytes("a/b", b"1")
    for n in range(2):
        store.put_bytes(f"many/{n}", b"")
    keys = store.list("many")
    kill(mortal)
    said = {}
    for name, touch in {**TOUCHES, "a listing begun": lambda *_: list(keys)}.items():
        with pytest.raises(StoreUnreachable) as caught:
            touch(store, tmp_path)
        said[name] = str(caught.value)
    assert {name for name, sentence in said.items() if not sentence.startswith(SENTENCE)} == set()
    assert not (tmp_path / "copy").exists() and not list(tmp_path.glob(".copy*"))
