"""Quotas, host limits, secrets and stops of a fetch, against a real server on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from assets.commit import COMMIT_STEPS
from assets.errors import SettingsError
from assets.protocols.fetching import FetchCancelled, run_fetch
from assets.protocols.kernel import (
    Limits,
)
from tests.loopback import Answer, Seen, loopback
from tests.protocols.fetching_scene import (  # noqa: F401  fixtures
    KEY,
    NEEDLE,
    ROWS,
    Clock,
    World,
    _protocols,
    in_turn,
    make_feed,
    register,
    served,
    world,
)

# --- quotas and limits ---


def test_a_declared_quota_stops_before_the_request_and_comes_back(world: World) -> None:
    feed = make_feed("test_pages", limits=Limits(per_day=5, reset="00:00 Asia/Seoul"))
    world.fetch(feed, served(ROWS))
    error, record = world.fails(feed, served(ROWS))
    assert (record.outcome, record.responses) == ("QuotaExhausted", 1)
    assert "2026-01-01 15:00" in error.mend  # midnight in Seoul
    assert len(world.server.seen) == 1
    world.clock.time += timedelta(days=1)
    assert world.fetch(feed, served([*ROWS, "new"]))[0].outcome == "Ok"


def test_a_quota_that_the_agency_ends_is_remembered_without_being_declared(world: World) -> None:
    feed = make_feed(auth={"kind": "query_key", "secret": "AGENCY_KEY"})
    secrets = {"AGENCY_KEY": KEY}
    world.fails(feed, lambda seen: Answer(b"API token quota exceeded", 429), secrets=secrets)
    _, record = world.fails(feed, lambda seen: Answer(b"rows"), secrets=secrets)
    assert (record.outcome, record.responses) == ("QuotaExhausted", 0)
    assert world.server.seen == []


def test_requests_are_spaced_and_places_are_given_back(world: World) -> None:
    feed = make_feed("test_pages", limits=Limits(per_second=0.5, concurrency=1))
    world.fetch(feed, served(ROWS))
    assert world.clock.slept == pytest.approx([2.0, 2.0, 2.0])
    now = world.clock.now()
    assert world.ledger.acquire_lease("agency.example", concurrency=1, holder="other", ttl_s=30, now=now)
    world.clock.slept.clear()
    assert world.fetch(feed, served(["other"]))[0].outcome == "Ok"


def test_the_place_is_free_while_we_wait_to_ask_again(world: World) -> None:
    found = []

    class Watching(Clock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            found.append(world.ledger.acquire_lease("agency.example", concurrency=1, holder="o", ttl_s=0, now=self.now()))

    world.clock = Watching()
    world.fetch(make_feed(limits=Limits(concurrency=1)), in_turn(Answer(b"", 500), Answer(b"rows")))
    assert found == [True]


def test_a_pause_that_another_process_was_told_to_make_is_made_here_too(world: World) -> None:
    world.ledger.defer_host("agency.example", world.clock.now() + timedelta(hours=1, seconds=90))
    assert world.fetch(make_feed(), lambda seen: Answer(b"rows"))[0].outcome == "Ok"
    assert world.clock.slept == pytest.approx([90.0])


def test_a_host_that_says_slow_down_is_left_alone_by_all_until_we_ask_it_again(world: World) -> None:
    """Also where it does not say how long: others must not go on in the meantime."""
    waits = []

    class Watching(Clock):
        async def sleep(self, seconds: float) -> None:
            waits.append(world.ledger.reserve_slot("agency.example", per_second=1000.0, now=self.now()))
            await super().sleep(seconds)

    world.clock = Watching()
    assert world.fetch(make_feed(), in_turn(Answer(b"", 429), Answer(b"rows")))[0].outcome == "Ok"
    assert waits[0] == pytest.approx(world.clock.slept[0]) and waits[0] >= 1


def test_a_place_that_lapsed_during_a_long_pause_is_taken_again_before_anything_is_sent(world: World) -> None:
    """The pause is longer than a place lasts; another fetch has it when the pause is over."""
    feed = make_feed(limits=Limits(concurrency=1))
    world.ledger.defer_host("agency.example", world.clock.now() + timedelta(hours=1, seconds=600))

    class Taking(Clock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if seconds > 100:
                assert world.ledger.acquire_lease("agency.example", concurrency=1, holder="other", ttl_s=30, now=self.now())

    world.clock = Taking()
    taken_at: list[bool] = []

    def answer(seen: Seen) -> Answer:
        taken_at.append(world.ledger.acquire_lease("agency.example", concurrency=1, holder="probe", ttl_s=0, now=world.clock.now()))
        return Answer(b"rows")

    assert world.fetch(feed, answer)[0].outcome == "Ok"
    assert taken_at == [False] and sum(world.clock.slept) >= 629


def test_a_quota_that_is_used_up_is_said_without_waiting_for_the_hosts_pace(world: World) -> None:
    feed = make_feed("test_pages", limits=Limits(per_day=2, per_second=0.5, concurrency=1))
    _, record = world.fails(feed, served(ROWS))
    assert (record.outcome, record.responses, world.clock.slept) == ("QuotaExhausted", 2, pytest.approx([2.0]))


def test_a_host_that_is_never_free_ends_the_fetch_without_a_request(world: World) -> None:
    now = world.clock.now()
    assert world.ledger.acquire_lease("agency.example", concurrency=1, holder="other", ttl_s=1e6, now=now)
    _, record = world.fails(make_feed(limits=Limits(concurrency=1, total_timeout_s=30)), lambda seen: Answer(b"rows"))
    assert (record.outcome, record.responses, world.server.seen) == ("Transient", 0, [])
    assert sum(world.clock.slept) <= 31


def test_a_taken_place_is_waited_for(world: World) -> None:
    start = world.clock.now() + timedelta(hours=1)
    assert world.ledger.acquire_lease("agency.example", concurrency=1, holder="other", ttl_s=7, now=start)
    record, _ = world.fetch(make_feed(limits=Limits(concurrency=1)), lambda seen: Answer(b"rows"))
    assert record.outcome == "Ok"
    assert sum(world.clock.slept) >= 7


# --- secrets ---


@pytest.mark.parametrize("status", [200, 401])
def test_a_key_is_nowhere_but_on_the_wire(world: World, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    feed = make_feed(auth={"kind": "query_key", "name": "key", "secret": "AGENCY_KEY"})
    encoded = "aB3%2B%2Fx9Qz7Lm0Pk2Rt5Wy8%3D%3D"

    def answer(seen: Seen) -> Answer:
        assert encoded in seen.target
        if seen.path == "/rows":
            return Answer(b"", 302, {"Location": f"/next?key={encoded}"})
        return Answer(f"bad key {KEY} or {encoded}".encode(), status, {"X-Key": KEY})

    message = ""
    if status == 200:
        world.fetch(feed, answer, {"AGENCY_KEY": KEY})
    else:
        error, _ = world.fails(feed, answer, secrets={"AGENCY_KEY": KEY})
        message = repr(error) + str(error) + repr(error.__cause__) + repr(error.__context__)
    record = world.ledger.last(feed.id)
    assert record is not None
    assert NEEDLE not in world.warc(record)
    assert b"Madang-Masked" in world.warc(record)
    for path in world.folder.rglob("*"):
        assert not path.is_file() or NEEDLE not in path.read_bytes(), path
    assert NEEDLE.decode() not in message + caplog.text + repr(record)


def test_a_missing_key_is_said_before_anything_is_sent(world: World) -> None:
    with pytest.raises(SettingsError, match="AGENCY_KEY"):
        world.fetch(make_feed(auth={"kind": "query_key", "secret": "AGENCY_KEY"}), lambda seen: Answer(b"rows"))
    assert world.server.seen == []
    assert world.ledger.last("kr.agency.rows") is None


# --- stops ---


def test_a_cancelled_fetch_leaves_nothing_and_the_next_one_works(world: World) -> None:
    world.cancelled = lambda: bool(world.progress)
    with pytest.raises(FetchCancelled):
        world.fetch(make_feed("test_pages"), served(ROWS))
    assert world.ledger.last("kr.agency.rows") is None
    assert list(world.store.list("archive")) == []
    world.cancelled = lambda: False
    assert world.fetch(make_feed("test_pages"), served(ROWS))[0].rows == 7


@pytest.mark.chaos
@pytest.mark.parametrize("step", [s for s in COMMIT_STEPS if s.startswith("fetch.")])
def test_a_kill_at_a_commit_step_leaves_no_half_state(world: World, step: str) -> None:
    """A process of its own fetches from this one's server and is killed; then the same world fetches again."""

    async def run() -> int:
        async with loopback(served(ROWS)) as server:
            root = Path(__file__).parents[2]
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                __file__,
                str(world.folder),
                server.url,
                env=os.environ | {"MADANG_KILL_AT": step, "PYTHONPATH": str(root)},
                stderr=subprocess.PIPE,
            )
            _, stderr = await process.communicate()
            assert process.returncode == -signal.SIGKILL, stderr.decode()
            return len(server.seen)

    assert asyncio.run(run()) == 4
    recorded = world.ledger.last("kr.agency.rows")
    archived = list(world.store.list("archive"))
    assert len(archived) == (0 if step == "fetch.spooled" else 1)
    assert (recorded is not None) == (step == "fetch.recorded")
    record, _ = world.fetch(make_feed("test_pages"), served(ROWS))
    assert record.outcome == ("NotModified" if recorded else "Ok")
    assert [r for b in world.bodies(record) for r in json.loads(b)["rows"]] == ROWS
    assert list((world.folder / "work" / "fetching").glob("2*")) == []


if __name__ == "__main__" and len(sys.argv) == 3:
    register(lambda d, k, v: d.__setitem__(k, v))
    _world = World(Path(sys.argv[1]))
    run_fetch(make_feed("test_pages"), deps=replace(_world.deps(sys.argv[2], {}), progress=None))
