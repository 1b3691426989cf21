"""The opened platform: what every stage needs of the outside world, in one value that is passed down.

Settings are read elsewhere (`orchestration/settings.py`); nothing here decides anything about data.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from assets.processes import PROC, started_at
from assets.store import Store

if TYPE_CHECKING:
    from assets.archive.ledger import Ledger
    from assets.feeds.model import Feed
    from assets.protocols.asking import Clock
    from assets.training_sets.model import TrainingSet
    from assets.transport.http import TransportSettings


@dataclass(frozen=True)
class Platform:
    """One Madang home, opened. `secrets` is the environment that feeds name their keys in; it is never printed.

    `clock`: what fetches and tables take for the present; None: the machine's own.
    """

    home: Path
    store: Store
    ledger_url: str
    warehouse: str
    feeds: Mapping[str, Feed]
    sets: Mapping[str, TrainingSet]
    transport: TransportSettings
    secrets: Mapping[str, str]
    public_url: str | None
    reports_url: str
    allow_synthetic: bool = False
    clock: Clock | None = None

    @cached_property
    def ledger(self) -> Ledger:
        from assets.archive.ledger import Ledger

        return Ledger(self.ledger_url)

    @property
    def cache(self) -> Path:
        """Local copies of immutable objects, where the store is not local."""
        return self.home / "cache"

    @contextmanager
    def workdir(self, purpose: str) -> Iterator[Path]:
        """A scratch folder on the home's disk, removed at the end; what killed processes left there goes first."""
        spool = self.home / "spool"
        spool.mkdir(parents=True, exist_ok=True)
        host = socket.gethostname()
        for left in spool.glob(f"*@{host}@*"):
            owner = left.name.split("@")[2]
            if owner.isdecimal() and not started_at(int(owner)) and PROC.exists():
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{purpose}@{host}@{os.getpid()}@", dir=spool))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def now(self) -> datetime:
        return datetime.now(UTC) if self.clock is None else self.clock.now()
