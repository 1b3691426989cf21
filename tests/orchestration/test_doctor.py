"""`madang doctor --reindex`: a lost ledger comes back from the archive alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assets.archive.ledger import Ledger
from assets.store import Store
from orchestration.cli import app
from tests.tables.making import Home, make_feed

FEED = make_feed([{"name": "id"}])
START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_lost_ledger_comes_back_from_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    home = Home(tmp_path, Store(f"file://{tmp_path}/store"), ledger)
    kept = [home.archive(FEED, f"id\n{n}\n".encode(), START + timedelta(days=n)) for n in range(3)]
    ledger.close()
    for file in tmp_path.glob("ledger.sqlite*"):
        file.unlink()
    monkeypatch.setenv("MADANG_HOME", str(tmp_path))
    for name in ("MADANG_STORE", "MADANG_LEDGER", "MADANG_FEEDS"):
        monkeypatch.delenv(name, raising=False)

    done = CliRunner().invoke(app, ["doctor", "--reindex", "--json"])
    found = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
    assert found["archive"]["found"] == "3 fetches put into the ledger" and found["archive"]["ok"]
    again = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    assert again.history(FEED.id) == kept
    again.close()

    home.store.put_bytes(kept[0].warc_key, b"no WARC")
    for file in tmp_path.glob("ledger.sqlite*"):
        file.unlink()
    done = CliRunner().invoke(app, ["doctor", "--reindex", "--json"])
    found = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 1 and not found["archive"]["ok"] and kept[0].warc_key in found["archive"]["found"]
    assert found["archive"]["found"].startswith("2 fetches")
