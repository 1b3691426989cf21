"""Those who take part in a replay: a collector with a store, a ledger and a clock of its own, and two stand-in agencies.

What happens between them is `replaying.py`.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from assets.archive.fetches import FetchRecord
from assets.archive.ledger import Ledger
from assets.feeds.load import FOLDER
from assets.feeds.model import Feed
from assets.protocols.fetching import FetchDeps, fetch
from assets.store import Store
from assets.tables.build import build_table
from assets.tables.index import live_paths, read_index
from assets.tables.judging import JudgeExpectations
from assets.transport.http import TransportSettings
from deploy.agency import DEMO_KEY
from deploy.agency.app import Agency, AgencyConfig
from deploy.agency.running import running_server
from tests.protocols.fetching_scene import Clock
from tests.protocols.standin_scene import NOW

Values = Counter[tuple[object, ...]]


@dataclass
class Collector:
    """A store, a ledger and a clock, and the tables that grow from its fetches. `expectations`: None leaves them unjudged."""

    folder: Path
    url: str
    expectations: JudgeExpectations | None = None
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.store = Store(f"file://{self.folder}/store")
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db")

    def run(self, feed: Feed) -> FetchRecord:
        """What a tick does: each partition that is due, newest first, or the whole; the first one's record.

        Raises FetchFailed; AssertionError where a gate refuses the table.
        """
        first, *_ = [self._pull(feed, partition) for partition in feed.due(self.clock.now())]
        return first

    def _pull(self, feed: Feed, partition: str | None) -> FetchRecord:
        secrets = {feed.source.auth.secret: DEMO_KEY} if feed.source.auth.secret else {}
        transport = TransportSettings(connect_to=self.url)
        deps = FetchDeps(self.store, self.ledger, transport, secrets, self.folder / "work", self.clock, random.Random(1))
        record = asyncio.run(fetch(feed, partition=partition, deps=deps))
        if record.outcome != "NotModified":
            result = build_table(
                feed,
                record,
                store=self.store,
                ledger=self.ledger,
                workdir=self.folder / "build",
                now=self.clock.now(),
                judge_expectations=self.expectations,
            )
            if result.blocked and record.outcome != "Empty":
                raise AssertionError(f"{feed.id} is blocked: {[(c.name, c.observed) for c in result.blocked]}, {result.by_rule}")
        return record

    def rows(self, feed: Feed) -> Values:
        return live_rows(feed, self.store, self.folder / "cache")

    def close(self) -> None:
        self.ledger.close()


def live_rows(feed: Feed, store: Store, cache: Path) -> Values:
    """The rows of the live table without their provenance."""
    return values_of(feed, live_paths(store, read_index(store, feed.id), cache))


def values_of(feed: Feed, paths: Sequence[Path]) -> Values:
    names = [column.name for column in feed.contract.columns]
    found: Values = Counter()
    for path in paths:
        table = pq.read_table(path, columns=names)
        found.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return found


# --- the agencies ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agencies:
    """Two stand-ins over one folder of samples: one is left alone, the other is given faults."""

    folder: Path
    calm: Agency
    calm_url: str
    rough: Agency
    rough_url: str

    def set(self, now: datetime) -> None:
        """The time at both, no fault, nothing in the log."""
        for agency in (self.calm, self.rough):
            agency.set_clock(now)
            agency.faults.clear()
            agency.requests.clear()


@contextmanager
def running_agencies(folder: Path, feeds: Path = FOLDER) -> Iterator[Agencies]:
    """Both, over a copy of the samples below `folder`."""
    copied = folder / "feeds"
    shutil.copytree(feeds, copied, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    with ExitStack() as stack:
        config = AgencyConfig(today=NOW.date(), feeds=copied)
        calm, calm_url = stack.enter_context(running_server(config))
        rough, rough_url = stack.enter_context(running_server(config))
        yield Agencies(copied, calm, calm_url, rough, rough_url)
