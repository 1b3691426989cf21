"""The scenery of the tests of tapes: a stand-in over any configuration, collectors, files of records. No test stands here."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from assets.archive.fetches import FetchRecord, open_bodies
from assets.archive.ledger import Ledger
from assets.errors import FetchFailed
from assets.feeds.model import Feed
from assets.protocols.fetching import FetchDeps, fetch
from assets.store import Store
from assets.transport.http import TransportSettings
from deploy.agency import DEMO_KEY, AgencyConfig
from deploy.agency.app import Agency
from deploy.agency.running import running_server
from tests.deploy.agency_client import Client, Got
from tests.protocols.fetching_scene import Clock
from tests.protocols.standin_scene import NOW, parsed

NEEDLE = DEMO_KEY[8:20]
"""A piece of the key without characters that any encoding changes."""


@dataclass(frozen=True)
class Served:
    """A running stand-in, and what it was asked."""

    agency: Agency
    url: str

    @property
    def client(self) -> Client:
        return Client(self.url)

    @property
    def requests(self) -> list[dict[str, Any]]:
        return list(self.agency.requests)

    def get(self, url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Got:
        """Ask for an address as a client would that connects here in place of its host."""
        parts = urlsplit(url)
        return self.client.ask(parts.netloc, parts._replace(scheme="", netloc="").geturl(), method, body, **headers)


@contextmanager
def served(config: AgencyConfig) -> Iterator[Served]:
    with running_server(config) as (agency, url):
        yield Served(agency, url)


@contextmanager
def replayed(*tapes: Path, **more: Any) -> Iterator[Served]:
    """A stand-in with nothing but these tapes."""
    with served(AgencyConfig(tapes=tapes, today=NOW.date(), **{"routes": (), **more})) as one:
        yield one


def on_tape(folder: Path, *records: bytes, name: str = "other.warc") -> Path:
    """A WARC file of these records."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(b"".join(records))
    return path


@contextmanager
def tape(folder: Path, *records: bytes) -> Iterator[Served]:
    """A stand-in with a tape of these records."""
    with replayed(on_tape(folder, *records)) as one:
        yield one


def paper(*paths: Path) -> Agency:
    """A stand-in with nothing but these tapes, not served anywhere."""
    return Agency(AgencyConfig(tapes=paths, routes=()))


def body_of(got: Got) -> str:
    return f"{got.status} {got.body.decode('utf-8', 'replace')}"


@dataclass
class Collector:
    """A store, a ledger and a clock of its own. `key`: for every feed that wants one."""

    folder: Path
    key: str = DEMO_KEY
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.clock.time = NOW
        self.store = Store(f"file://{self.folder}/store")
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db")

    def fetch(self, feed: Feed, url: str) -> FetchRecord:
        """One fetch, of the newest partition where the feed has some; the record of a failed one too."""
        partition = feed.due(self.clock.now())[0]
        secrets = {feed.source.auth.secret: self.key} if feed.source.auth.secret else {}
        transport = TransportSettings(connect_to=url)
        work = self.folder / "work"
        deps = FetchDeps(self.store, self.ledger, transport, secrets, work, self.clock, random.Random(1))
        try:
            return asyncio.run(fetch(feed, partition=partition, deps=deps))
        except FetchFailed:
            record = self.ledger.last(feed.id)
            assert record is not None
            return record

    def tape(self, record: FetchRecord) -> Path:
        return self.store.local_path(record.warc_key, self.folder / "tapes")

    def rows(self, feed: Feed, record: FetchRecord) -> list[tuple[str | None, ...]]:
        out = self.folder / "out" / record.fetch_id
        out.mkdir(parents=True)
        return parsed(feed, open_bodies(self.store, self.ledger, record, out))


def same(record: FetchRecord) -> Mapping[str, Any]:
    """What must be equal of a recorded fetch and its replay."""
    return {
        name: value
        for name, value in vars(record).items()
        if name in ("outcome", "reason", "responses", "rows", "payload_sha256", "canonical_sha256", "etag", "last_modified")
    }


def carries_the_key(*texts: bytes | str) -> bool:
    found = b"".join(text if isinstance(text, bytes) else text.encode() for text in texts)
    return any(form.encode() in found for form in (NEEDLE, DEMO_KEY, quote(DEMO_KEY, safe=""), json.dumps(DEMO_KEY)[1:-1]))
