"""The scenery of the tests of drops: a store, a ledger, and a clock that lets the agency work while it sleeps."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.archive.fetches import FetchRecord, open_bodies
from assets.archive.ledger import Ledger
from assets.errors import FetchFailed
from assets.feeds.model import Feed
from assets.protocols.fetching import FetchDeps, fetch
from assets.protocols.kernel import Body
from assets.store import Store
from assets.transport.http import TransportSettings
from tests.protocols.fetching_scene import Clock

DAY = datetime.fromisoformat("2026-11-24T15:00:00+00:00")


def drop_feed(source: Mapping[str, Any], columns: Sequence[str] = ("지점", "값"), **parts: Any) -> Feed:
    """A feed of this drop; one column for each name in the file."""
    declared: dict[str, Any] = {
        "id": "kr.hanbit.drop",
        "title": "Drop",
        "agency": {"name": "한빛시", "country": "KR"},
        "licence": {"id": "KOGL-1", "url": "https://hanbit.example/licence"},
        "schedule": {"cron": "0 3 * * *"},
        "source": {"format": "csv"} | dict(source),
        "contract": {"columns": [{"name": f"c{n}", "source": c} for n, c in enumerate(columns)]},
    }
    return Feed.model_validate(declared | parts)


class WorkingClock(Clock):
    """While it sleeps, `meanwhile` happens once."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], None] | None = None

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        work, self.meanwhile = self.meanwhile, None
        if work is not None:
            work()


class DropWorld:
    """A store, a ledger, and fetches made in them from servers on loopback."""

    def __init__(self, folder: Path, connect_to: str = "http://127.0.0.1:1") -> None:
        """`connect_to`: nobody answers there by default, so the port is the declared one."""
        self.folder, self.clock, self.connect_to = folder, WorkingClock(), connect_to
        self.clock.time = DAY
        self.store, self.ledger = Store(f"file://{folder}/store"), Ledger(f"sqlite:///{folder}/ledger.db")

    def fetch(
        self, feed: Feed, secrets: Mapping[str, str], *, direct: bool = False, connect_to: str | None = None, **deps: Any
    ) -> FetchRecord:
        """`direct`: as if the real agency were asked; `connect_to`: another server in its place."""
        self.clock.time += timedelta(hours=1)
        settings = TransportSettings(connect_to=None if direct else connect_to or self.connect_to)
        made = FetchDeps(self.store, self.ledger, settings, secrets, self.folder / "work", self.clock)
        return asyncio.run(fetch(feed, deps=replace(made, **deps)))

    def fails(self, feed: Feed, secrets: Mapping[str, str], **more: Any) -> tuple[FetchFailed, FetchRecord]:
        """The error, and the record that was kept all the same, with its WARC."""
        with pytest.raises(FetchFailed) as caught:
            self.fetch(feed, secrets, **more)
        record = self.ledger.last(feed.id)
        assert record is not None
        assert record.outcome == caught.value.outcome
        assert self.store.exists(record.warc_key)
        return caught.value, record

    def bodies(self, record: FetchRecord) -> list[Body]:
        """What the archive gives back; of a NotModified fetch what it refers to."""
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        return open_bodies(self.store, self.ledger, record, out)

    def rows(self, feed: Feed, record: FetchRecord) -> list[tuple[str, ...]]:
        """The rows as the archive gives them to the parser."""
        stream = feed.protocol.parse(feed, feed.source, self.bodies(record))
        return [tuple(row[c.source_name] for c in feed.contract.columns) for b in stream.batches for row in b.to_pylist()]

    def warc(self, record: FetchRecord) -> bytes:
        return gzip.decompress(self.store.get_bytes(record.warc_key))


def lay(path: Path, text: str | bytes, minute: int = 0) -> None:
    """Put a file there, last changed so many minutes after the scene's day began."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    moment = DAY.timestamp() + 60 * minute
    os.utime(path, (moment, moment))


def table(*rows: tuple[str, str]) -> str:
    return "지점,값\n" + "".join(f"{a},{b}\n" for a, b in rows)
