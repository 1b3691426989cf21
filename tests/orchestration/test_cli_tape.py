"""`madang feed run` against a tape: the same rows, and an origin no better than the tape's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assets.archive.ledger import Ledger
from assets.archive.reading import read_records
from assets.feeds.load import shipped
from deploy.agency import AgencyConfig
from orchestration.settings import Settings
from tests.archive.other_writer import info, packed, response
from tests.deploy.tape_scene import Collector, replayed, served
from tests.orchestration.calling import call

FEED = "us.faa.airports"


def test_a_run_from_a_tape_has_the_origin_of_the_tape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed, first = shipped()[FEED], Collector(tmp_path / "first")
    with served(AgencyConfig()) as live:
        ours = first.tape(first.fetch(feed, live.url))
    # Recorded by another program, which asked the agency itself.
    body = next(b"".join(item.chunks()) for item in read_records(ours) if item.kind == "response")
    theirs = tmp_path / "other.warc.gz"
    theirs.write_bytes(packed([info(software="Other/1"), response(feed.source.address, body, got={"Content-Type": "text/csv"})]))
    counts = []
    for tape, origin in ((ours, "synthetic"), (theirs, "replay")):
        monkeypatch.setenv("MADANG_HOME", str(tmp_path / origin))
        with replayed(tape) as again:
            monkeypatch.setenv("MADANG_CONNECT_TO", again.url)
            done = call("feed", "run", FEED, "--json", capsys=capsys)
            assert done.code == 0, done.err
            assert [r["route"] for r in again.requests] == ["tape.www.faa.gov"]
        counts.append(json.loads(done.out))
        ledger = Ledger(Settings.from_environment().ledger_url)
        assert [record.origin for record in ledger.history(FEED)] == [origin]
        ledger.close()
    assert counts[0] == counts[1] and counts[0]["outcome"] == "Ok" and counts[0]["accepted"] > 0
