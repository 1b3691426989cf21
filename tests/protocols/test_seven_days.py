"""Seven days of every shipped feed under one clock, with seeded faults: nothing lost, nothing twice, every failure in its class.

Two collectors ask the same stand-in agency. One meets faults, fails, and is run again as Dagster would run it; the other meets
none. After each day their tables hold the same rows. `make bench` replays thirty days (MADANG_REPLAY_DAYS).
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from assets.archive.fetches import FetchRecord
from assets.archive.ledger import Ledger
from assets.errors import FetchFailed
from assets.feeds.load import shipped
from assets.feeds.model import Feed
from assets.protocols.fetching import FetchDeps, fetch
from assets.store import Store
from assets.tables.build import build_table
from assets.tables.index import live_paths, read_index
from assets.transport.http import TransportSettings
from deploy.agency import DEMO_KEY
from deploy.agency.app import Agency, AgencyConfig
from deploy.agency.running import server
from tests.protocols.fetching_scene import Clock
from tests.protocols.standin_scene import NOW
from tests.tables.making import read

DAYS = int(os.environ.get("MADANG_REPLAY_DAYS", "7"))
FEEDS = shipped()
PASSING = frozenset({"status_500:2", "status_503:1", "retry_after_0:2", "status_429:1", "stream_cut:1", "reset_mid_body:1"})
"""Faults that end within one fetch: it must succeed."""
FAILING = {
    "status_500": {"Transient"},
    "status_403": {"AuthFailed", "RateLimited"},  # EIA throttles with 403
    "status_404": {"Gone"},
    "html_200": {"Malformed", "AuthFailed", "BadRequest"},
    "empty_body_200": {"Malformed", "Transient"},
}
"""Faults that stay, and the outcomes that name them."""


@dataclass
class Collector:
    """A store, a ledger and a clock, and the tables that grow from its fetches."""

    folder: Path
    url: str
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.store = Store(f"file://{self.folder}/store")
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db")

    def run(self, feed: Feed) -> FetchRecord:
        """What a scheduled tick does: each partition that is due, newest first, or the whole of a feed that has none."""
        records = [self._pull(feed, partition) for partition in feed.due(self.clock.now())]
        return records[0]

    def _pull(self, feed: Feed, partition: str | None) -> FetchRecord:
        secrets = {feed.source.auth.secret: DEMO_KEY} if feed.source.auth.secret else {}
        transport = TransportSettings(connect_to=self.url)
        deps = FetchDeps(self.store, self.ledger, transport, secrets, self.folder / "work", self.clock, random.Random(1))
        record = asyncio.run(fetch(feed, partition=partition, deps=deps))
        if record.outcome != "NotModified":
            result = build_table(
                feed, record, store=self.store, ledger=self.ledger, workdir=self.folder / "build", now=self.clock.now()
            )
            assert not result.blocked or record.outcome == "Empty", f"{feed.id}: {[c.name for c in result.blocked]}"
        return record

    def rows(self, feed: Feed) -> list[tuple[object, ...]]:
        """The live rows without their provenance, in any order."""
        index = read_index(self.store, feed.id)
        if index is None or not index.rows:
            return []
        names = [column.name for column in feed.contract.columns]
        found = read(live_paths(self.store, index, self.folder / "cache"))
        return sorted((tuple(row[name] for name in names) for row in found), key=repr)


@pytest.fixture(scope="module")
def agency() -> Iterator[tuple[Agency, str]]:
    running, bound = server(AgencyConfig(today=NOW.date()), 0)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    yield running.config.app.state.agency, f"http://127.0.0.1:{bound.getsockname()[1]}"  # type: ignore[union-attr]
    running.should_exit = running.force_exit = True
    thread.join(20)
    bound.close()


def clear(agency: Agency) -> None:
    agency.faults.clear()


@pytest.mark.parametrize("feed_id", sorted(FEEDS))
def test_faults_delay_and_lose_nothing(feed_id: str, agency: tuple[Agency, str], tmp_path: Path) -> None:
    feed, (served, url) = FEEDS[feed_id], agency
    chance = random.Random(feed_id)
    clean, faulty = Collector(tmp_path / "clean", url), Collector(tmp_path / "faulty", url)
    failures: Counter[str] = Counter()
    for day in range(DAYS):
        now = NOW + timedelta(days=day)
        clear(served)
        served.requests.clear()
        for collector in (clean, faulty):
            collector.clock.time = now
        served.set_clock(now)
        clean.run(feed)
        routes = {entry["route"] for entry in served.requests if entry["route"]}
        fault = chance.choice([None, *sorted(PASSING), *FAILING])
        for route in routes if fault else ():
            served.switch(route, fault)
        try:
            # SDMX says "no data" with 404, which is no failure; the agency is asked again all the same.
            again = faulty.run(feed).outcome == "Empty" and fault == "status_404"
        except FetchFailed as failed:
            assert fault in FAILING and failed.outcome in FAILING[fault], f"{fault}: {failed}"
            failures[failed.outcome] += 1
            again = True
        if again:
            clear(served)
            faulty.clock.time += timedelta(hours=1)
            faulty.run(feed)
        assert faulty.rows(feed) == clean.rows(feed), f"day {day}, {fault}"
    assert all(used <= next(r.per_day for r in served.routes if r.id == route) for (route, _), used in served.used.items())
    # What the ledger says of each fetch is what happened.
    assert Counter(r.outcome for r in faulty.ledger.history(feed.id) if r.outcome in failures) == failures
    assert clean.rows(feed)
