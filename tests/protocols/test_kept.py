"""A fetch of several files that failed, was cancelled or killed is taken up again: what came whole is not downloaded twice.

The chaos tests kill elsewhere; here the process dies between two files of one fetch.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from assets.archive.fetches import FetchRecord
from assets.feeds.model import PROTOCOLS, Feed
from assets.protocols.fetching import FetchCancelled
from assets.protocols.kept import Kept, _link
from assets.protocols.kernel import Body, Cursor, Examined, Malformed, Ok, Request, Step, Validators, When
from tests.loopback import Answer, Seen, loopback
from tests.protocols.fetching_scene import World, _Plain, _protocols, make_feed, world  # noqa: F401  (fixtures)

NAMES = ("a", "b", "c")
WHOLE = [b"the bytes of a", b"the bytes of b", b"the bytes of c"]


class _Files(_Plain):
    """A listing, and the files that it names; their stamps are what the listing says."""

    drop = True

    def plan(self, feed: Feed, source: Any, when: When) -> Iterable[Step]:
        return [Step(params={"at": "list"}, lead=True)]

    def follow(self, feed: Feed, source: Any, step: Step, body: Body) -> Iterable[Step]:
        return [Step(params={"at": name}, stamp=name) for name in body.path.read_text().split()]

    def request(self, feed: Feed, source: Any, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return Request(f"{source.url}/{step.params['at']}", step=step.ordinal)

    def canonical_sha256(self, source: Any, body: Body) -> str | None:
        return None


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch, _protocols: None) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_file", _Files())


class Agency:
    """Serves the files; `bad` are those that it fails on. `asked`: in order."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = NAMES
        self.bad: dict[str, int] = {}
        self.asked: list[str] = []

    def __call__(self, seen: Seen) -> Answer:
        name = seen.target.rpartition("/")[2]
        self.asked.append(name)
        if name == "list":
            return Answer(" ".join(self.names).encode())
        status = self.bad.get(name, 200)
        return Answer(f"the bytes of {name[0]}".encode(), status=status)


@pytest.fixture
def agency() -> Agency:
    return Agency()


FEED = make_feed()


def failed(world: World, agency: Agency) -> FetchRecord:
    return world.fails(FEED, agency)[1]


def left(world: World) -> list[str]:
    return sorted(p.suffix for p in (world.folder / "work" / "kept").rglob("*") if p.is_file())


def test_after_a_failure_only_what_is_missing_is_asked_for(world: World, agency: Agency) -> None:
    agency.bad = {"c": 404}
    first = failed(world, agency)
    assert agency.asked == ["list", "a", "b", "c"] and left(world) == [".json", ".json"]
    agency.bad, agency.asked = {}, []
    record = world.fetch(FEED, agency)[0]
    assert agency.asked == ["list", "c"] and record.outcome == "Ok"
    assert world.bodies(record) == WHOLE and left(world) == []
    # the first fetch's WARC holds the bytes; the second refers to them
    assert b"the bytes of a" in world.warc(first) and b"the bytes of a" not in world.warc(record)
    agency.asked = []
    assert world.fetch(FEED, agency)[0].outcome == "NotModified" and agency.asked == ["list"]


def test_failures_in_a_row_add_up(world: World, agency: Agency) -> None:
    for done in range(3):
        agency.bad, agency.asked = {NAMES[done]: 404}, []
        failed(world, agency)
        assert agency.asked == ["list", *NAMES[max(done - 1, 0) : done + 1]]
    agency.bad, agency.asked = {}, []
    record = world.fetch(FEED, agency)[0]
    assert agency.asked == ["list", "c"] and world.bodies(record) == WHOLE


def test_after_a_cancelled_fetch_too(world: World, agency: Agency) -> None:
    world.cancelled = lambda: "b" in agency.asked
    with pytest.raises(FetchCancelled):
        world.fetch(FEED, agency)
    assert world.ledger.last(FEED.id) is None
    assert left(world) == [".body", ".json"]
    world.cancelled, agency.asked = lambda: False, []
    record = world.fetch(FEED, agency)[0]
    assert agency.asked == ["list", "b", "c"] and world.bodies(record) == WHOLE and left(world) == []


def test_after_a_killed_process_too(world: World, agency: Agency) -> None:
    async def killed() -> int:
        async with loopback(agency) as server:
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", _DYING, server.url, str(world.folder))
            return await process.wait()

    assert asyncio.run(killed()) == -signal.SIGKILL
    assert agency.asked[:3] == ["list", "a", "b"] and world.ledger.last(FEED.id) is None
    agency.asked = []
    record = world.fetch(FEED, agency)[0]
    assert record.outcome == "Ok" and "a" not in agency.asked
    assert world.bodies(record) == WHOLE and left(world) == []
    assert list((world.folder / "work" / "fetching").glob("*/")) == []


_DYING = """
import asyncio, os, signal, sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from assets.feeds.model import PROTOCOLS
from assets.protocols.fetching import fetch
from tests.protocols.fetching_scene import Clock, World
from tests.protocols.test_kept import FEED, _Files
class Ticking(Clock):  # progress is told once a second
    def now(self):
        self.time += timedelta(seconds=5)
        return self.time
def dies(progress):
    if progress.responses >= 3:
        os.kill(os.getpid(), signal.SIGKILL)
PROTOCOLS["test_file"] = _Files()
deps = World(Path(sys.argv[2])).deps(sys.argv[1], {})
asyncio.run(fetch(FEED, deps=replace(deps, progress=dies, clock=Ticking())))
"""
"""A fetch whose process is killed when its third answer has come, before that one is kept."""


def test_a_new_edition_is_not_taken_for_the_old_one(world: World, agency: Agency) -> None:
    agency.bad = {"c": 404}
    failed(world, agency)
    agency.names, agency.bad, agency.asked = ("a", "b2", "c"), {}, []
    assert world.bodies(world.fetch(FEED, agency)[0]) == WHOLE
    assert agency.asked == ["list", "b2", "c"]


@pytest.mark.parametrize("harm", ["bytes", "note", "gone", "archive"])
def test_what_is_damaged_is_downloaded_again(world: World, agency: Agency, harm: str) -> None:
    if harm == "archive":
        agency.bad = {"c": 404}
        world.store.delete(failed(world, agency).warc_key)
        agency.bad = {}
    else:
        world.cancelled = lambda: "c" in agency.asked
        with pytest.raises(FetchCancelled):
            world.fetch(FEED, agency)
        world.cancelled = lambda: False
        for path in (world.folder / "work" / "kept").rglob("*.*"):
            if harm == "gone" and path.suffix == ".body":
                path.unlink()
            elif path.suffix == {"bytes": ".body", "note": ".json"}.get(harm):
                path.write_bytes(b"{")
    agency.asked = []
    record = world.fetch(FEED, agency)[0]
    assert agency.asked == ["list", *NAMES] and world.bodies(record) == WHOLE


def test_nothing_of_a_stand_in_is_taken_for_the_agencys(world: World, agency: Agency) -> None:
    agency.bad = {"c": 404}
    failed(world, agency)
    work = world.folder / "work"
    assert Kept(work, FEED.id, None, resumes=True, direct=False).archived("a", world.store, set()) is not None
    assert Kept(work, FEED.id, None, resumes=True, direct=True).archived("a", world.store, set()) is None
    assert Kept(work, FEED.id, "2026", resumes=True, direct=False).archived("a", world.store, set()) is None


def test_what_nobody_came_back_for_is_swept(world: World, agency: Agency) -> None:
    agency.bad = {"c": 404}
    failed(world, agency)
    old = time.time() - 8 * 86400
    for path in (world.folder / "work" / "kept").rglob("*.json"):
        os.utime(path, (old, old))
    agency.bad, agency.asked = {}, []
    assert world.fetch(FEED, agency)[0].outcome == "Ok"
    assert agency.asked == ["list", *NAMES]


def test_a_body_that_a_look_at_the_whole_refuses_is_asked_for_once_more_and_not_kept(world: World, agency: Agency) -> None:
    class Choosy(_Files):
        def examine(self, source: Any, body: Body) -> Examined:
            return Examined(Malformed("b is bad inside") if b"of b" in body.path.read_bytes() else Ok())

    PROTOCOLS["test_file"] = Choosy()
    error, record = world.fails(FEED, agency)
    assert record.outcome == "Malformed" and "b is bad inside" in str(error)
    assert agency.asked == ["list", "a", "b", "b"]
    PROTOCOLS["test_file"] = _Files()
    agency.asked = []
    assert world.bodies(world.fetch(FEED, agency)[0]) == WHOLE
    assert agency.asked == ["list", "b", "c"]


@pytest.mark.parametrize("partition", ["..", ".", "-", "2026/01", "가"])
def test_a_partition_has_a_folder_of_its_own(world: World, partition: str) -> None:
    work = world.folder / "work"
    other = work / "kept" / "other.feed" / "-" / "note.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    kept, whole = (Kept(work, FEED.id, p, resumes=True, direct=False) for p in (partition, None))
    assert kept._folder != whole._folder and kept._folder.resolve().parent == (work / "kept" / FEED.id).resolve()
    kept.settle(world.fetch(FEED, Agency())[0], [])
    assert other.exists()


def test_a_body_that_is_held_anew_is_not_written_into(tmp_path: Path) -> None:
    """Another process may be reading the one that was there: also where the disk knows no links, or knows them already."""
    old, new, held = tmp_path / "old", tmp_path / "new", tmp_path / "held"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    _link(old, held)
    with held.open("rb") as reading:
        _link(new, held)
        assert (reading.read(), old.read_bytes(), held.read_bytes()) == (b"old", b"old", b"new")
    _link(new, held)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["held", "new", "old"]
