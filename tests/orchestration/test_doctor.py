"""`madang doctor --reindex`: a lost ledger comes back from the archive alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assets.archive.ledger import Ledger
from assets.feeds.load import shipped
from assets.store import Store
from orchestration.cli import app
from orchestration.cli.standin import IN_PLACE
from tests.tables.making import Home, make_feed

FEED = make_feed([{"name": "id"}])
START = datetime(2026, 1, 1, tzinfo=UTC)


def findings(home: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> dict[str, dict[str, object]]:
    for name in ("MADANG_STORE", "MADANG_LEDGER", "MADANG_FEEDS", "MADANG_CONNECT_TO", "DATA_GO_KR_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"MADANG_HOME": str(home), **more}.items():
        monkeypatch.setenv(name, value)
    return {f["name"]: f for f in json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)["findings"]}


def test_a_home_that_cannot_be_made_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    found = findings(tmp_path / "file" / "home", monkeypatch)["home"]
    assert not found["ok"] and "cannot be made" in str(found["found"]) and "MADANG_HOME" in str(found["mend"])


def test_it_says_who_answers_and_which_keys_that_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(tmp_path, monkeypatch)
    assert found["agencies"]["found"] == "the real agencies are asked"
    waiting = sum(1 for feed in shipped().values() if feed.source.auth.secret == "DATA_GO_KR_KEY")
    assert f"DATA_GO_KR_KEY ({waiting} feed{'s wait' if waiting > 1 else ' waits'} for it)" in found["keys"]["found"]
    assert found["keys"]["ok"], "nobody has the keys of all agencies"
    given = findings(tmp_path, monkeypatch, DATA_GO_KR_KEY="present")
    assert "DATA_GO_KR_KEY" not in given.get("keys", {"found": ""})["found"]
    (tmp_path / "demo.json").write_text('{"data": null}')
    found = findings(tmp_path, monkeypatch)
    assert found["agencies"]["found"] == IN_PLACE and "keys" not in found
    found = findings(tmp_path, monkeypatch, MADANG_CONNECT_TO="http://127.0.0.1:9")
    assert found["agencies"]["found"] == "http://127.0.0.1:9 answers for every agency"


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
