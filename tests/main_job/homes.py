"""Homes that the real `madang demo` filled, run as a person runs it, and what tests read from them afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from assets.archive.ledger import Ledger
from assets.store import Store
from assets.tables.index import TableIndex, read_index
from orchestration.demo_home import demo_feeds
from orchestration.settings import Settings

MADANG = Path(sys.executable).with_name("madang")
PRIVATE = ("MADANG_", "DAGSTER_HOME", "DATA_GO_KR_KEY", "AWS_")
"""Variables of the machine that must not reach a home of ours."""
FEEDS = sorted(demo_feeds())
"""The feeds that the demo pulls."""


def environment(**more: str) -> dict[str, str]:
    """The machine's environment without what would lead a command to another home, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", **more}


def madang(*arguments: str, timeout: float = 600, **env: str) -> subprocess.CompletedProcess[str]:
    """One `madang` command in a process of its own, as installed."""
    command = [str(MADANG), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**env), timeout=timeout, check=False)


@dataclass(frozen=True)
class Events:
    """What Dagster's instance remembers of an asset: how often it was materialized, and how often observed."""

    materialized: int
    observed: int


@dataclass(frozen=True)
class Snapshot:
    """What must not change when nothing changed. `objects`: store key → bytes of tables, models and sets, indexes included.

    `confirmed`: feed → last confirmed check in the ledger; `events`: asset → what Dagster recorded.
    """

    objects: Mapping[str, int]
    versions: Mapping[str, str]
    confirmed: Mapping[str, datetime]
    events: Mapping[tuple[str, ...], Events]


@dataclass
class MadangHome:
    """A home of the demo. `runs`: the demo's processes in order; `snapshots`: taken after each."""

    path: Path
    data: Path | None = None
    runs: list[subprocess.CompletedProcess[str]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def demo(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the demo here once more."""
        data = () if self.data is None else ("--data", str(self.data))
        done = madang("demo", "--home", str(self.path), *data, *options)
        assert done.returncode == 0, done.stderr + done.stdout
        self.runs.append(done)
        self.snapshots.append(self.snapshot())
        return done

    def report(self, run: int) -> dict[str, Any]:
        """The last line that a run with --json printed."""
        value: dict[str, Any] = json.loads(self.runs[run].stdout.splitlines()[-1])
        return value

    @cached_property
    def settings(self) -> Settings:
        return Settings.from_environment({"MADANG_HOME": str(self.path)})

    @property
    def store(self) -> Store:
        return Store(self.settings.store_url)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        opened = Ledger(self.settings.ledger_url)
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.path / "dagster")) as opened:
            yield opened

    def index(self, feed: str) -> TableIndex:
        index = read_index(self.store, feed)
        assert index is not None, f"{feed} has no table"
        return index

    def table_report(self, feed: str) -> dict[str, Any]:
        """The verdict that the last judgement left in the store."""
        with self.ledger() as ledger:
            fetch = ledger.last_answered(feed)
        assert fetch is not None
        value: dict[str, Any] = self.store.get_json(f"reports/{feed}/{fetch.fetch_id}/table.json")
        return value

    def rows(self, feed: str, columns: str = "*", where: str = "true") -> list[tuple[Any, ...]]:
        """Rows of the live table, by DuckDB."""
        return self._query([file.key for file in self.index(feed).live_files()], columns, where)

    def quarantine(self, feed: str, columns: str = "*", where: str = "true") -> list[tuple[Any, ...]]:
        return self._query([file.key for file in self.index(feed).quarantine_files()], columns, where)

    def _query(self, keys: list[str], columns: str, where: str) -> list[tuple[Any, ...]]:
        if not keys:
            return []
        root = self.store.root
        assert root is not None
        files = [str(root / key) for key in keys]
        with duckdb.connect() as connection:
            return connection.execute(f"SELECT {columns} FROM read_parquet(?) WHERE {where}", [files]).fetchall()

    def snapshot(self) -> Snapshot:
        store = self.store
        assert store.root is not None
        keys = [key for place in ("tables", "models", "sets") for key in store.list(place) if "/." not in f"/{key}"]
        with self.ledger() as ledger:
            confirmed = {feed: ledger.confirmed_at(feed) for feed in FEEDS}
        versions = {}
        for feed in FEEDS:
            index = self.index(feed)
            versions[feed] = f"{index.fetch_id} {index.updated_at.isoformat()}"
        return Snapshot(
            objects={key: store.size(key) for key in keys if not key.endswith("/index.json")},
            versions=versions,
            confirmed={feed: at for feed, at in confirmed.items() if at is not None},
            events=self.events(),
        )

    def events(self) -> dict[tuple[str, ...], Events]:
        with self.instance() as opened:
            return {
                tuple(key.path): Events(
                    len(opened.fetch_materializations(key, limit=1000).records),
                    len(opened.fetch_observations(key, limit=1000).records),
                )
                for key in opened.all_asset_keys()
            }

    def copy(self, path: Path) -> MadangHome:
        """The same home elsewhere, for tests that change it."""
        shutil.copytree(self.path, path)
        return MadangHome(path, self.data)
