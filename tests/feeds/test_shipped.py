"""Every feed that ships, fetched from the stand-in agency as a run fetches it, and judged by its own contract."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.archive.ledger import Ledger
from assets.feeds.load import shipped
from assets.protocols.fetching import FetchDeps, fetch
from assets.store import Store
from assets.tables.preview import judge_only
from assets.transport.http import TransportSettings
from deploy.agency import DEMO_KEY, AgencyConfig, running_agency
from deploy.agency.make_samples import REFUSED
from tests.protocols.fetching_scene import Clock
from tests.protocols.standin_scene import NOW

FEEDS = shipped()


@pytest.fixture(scope="module")
def agency() -> Iterator[str]:
    with running_agency(AgencyConfig(today=NOW.date())) as url:
        yield url


@pytest.mark.parametrize("feed_id", sorted(FEEDS))
def test_its_rows_come_through_its_protocol_and_keep_its_contract(feed_id: str, agency: str, tmp_path: Path) -> None:
    feed, clock = FEEDS[feed_id], Clock()
    clock.time = NOW
    store, ledger = Store(f"file://{tmp_path}/store"), Ledger(f"sqlite:///{tmp_path}/ledger.db")
    secrets = {feed.source.auth.secret: DEMO_KEY} if feed.source.auth.secret else {}
    deps = FetchDeps(store, ledger, TransportSettings(connect_to=agency), secrets, tmp_path / "work", clock, random.Random(1))
    for partition in feed.due(NOW):
        record = asyncio.run(fetch(feed, partition=partition, deps=deps))
        assert (record.outcome, record.origin, record.partition) == ("Ok", "synthetic", partition)
        found = judge_only(feed, record, store=store, ledger=ledger, workdir=tmp_path / "judge", rows=3)
        assert found.rows_read == found.rows_accepted + found.rows_quarantined > 0
        assert found.rows_quarantined == REFUSED.get(feed_id, 0), found.by_rule
        assert [check.name for check in found.failed] == []


def test_what_an_agency_must_know_is_declared() -> None:
    for feed in FEEDS.values():
        assert feed.documentation and feed.title and feed.title_en and feed.notes, feed.id
        assert feed.licence.url.startswith("https://"), feed.id
        # Nobody has seen the real answer yet, and nothing says otherwise.
        assert feed.verified.live is None and feed.verified.licence_page is None, feed.id
        for column in feed.contract.columns:
            assert column.title_en or column.description, f"{feed.id}: {column.name}"
