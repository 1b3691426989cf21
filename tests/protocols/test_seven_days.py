"""Seven days of every shipped feed under one clock, over rows that live, with seeded faults: nothing lost, nothing twice, every
failure in its class, no quota exceeded. `python -m tests.benchmarks --only replay` replays thirty days.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.feeds.load import shipped
from tests.protocols.replay_scene import Agencies, running_agencies
from tests.protocols.replaying import replay

DAYS = 7
FEEDS = shipped()


@pytest.fixture(scope="module")
def agencies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agencies]:
    with running_agencies(tmp_path_factory.mktemp("agencies")) as running:
        yield running


@pytest.mark.parametrize("feed_id", sorted(FEEDS))
def test_faults_delay_and_lose_nothing(feed_id: str, agencies: Agencies, tmp_path: Path) -> None:
    report = replay(FEEDS[feed_id], agencies, tmp_path, days=DAYS, a_day=1, least=3, quiet=0.5)
    assert report.wrong == []
    assert (report.lost, report.twice, report.foreign) == (0, 0, 0)
    assert report.compared
