"""Fixtures of the table tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.archive.ledger import Ledger
from assets.store import Store
from tests.tables.making import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty store and ledger in a folder of the test's own."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    try:
        yield Home(tmp_path, Store(f"file://{tmp_path}/store"), ledger)
    finally:
        ledger.close()
