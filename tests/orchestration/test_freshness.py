"""Freshness counts confirmed checks against the feed's own schedule, in the feed's own time zone."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from assets.feeds.load import is_ready, shipped
from assets.feeds.model import Schedule
from orchestration.assembly import FRESHNESS_JOB, build_definitions
from orchestration.freshness import CONFIRMED_ON_TIME, last_due


@pytest.mark.parametrize(
    ("cron", "timezone", "now", "due"),
    [
        # 03:30 in Seoul is 18:30 UTC of the day before.
        ("30 3 * * *", "Asia/Seoul", "2026-11-23T00:00", "2026-11-21T18:30"),
        ("20,50 * * * *", "Asia/Seoul", "2026-11-23T00:25", "2026-11-22T23:50"),
        # New York's clocks went back on 1 November 2026: 05:40 is 10:40 UTC after it and 09:40 before.
        ("40 5 * * *", "America/New_York", "2026-11-02T00:00", "2026-10-31T09:40"),
        ("0 9 1 * *", "UTC", "2026-11-23T00:00", "2026-10-01T09:00"),
    ],
)
def test_the_second_last_tick(cron: str, timezone: str, now: str, due: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = last_due(Schedule(cron=cron, timezone=timezone), moment)
    assert found == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_freshness_runs_by_itself_and_in_no_feeds_own_run() -> None:
    """In a feed's own run the check would be skipped exactly when nothing changed."""
    definitions = build_definitions()
    checked = set(definitions.resolve_job_def(FRESHNESS_JOB).asset_layer.asset_graph.asset_check_keys)
    enabled = {feed.id for feed in shipped().values() if is_ready(feed, os.environ)}
    assert {".".join(key.asset_key.path[1:]) for key in checked} == enabled
    assert {key.name for key in checked} == {CONFIRMED_ON_TIME}
    own = definitions.resolve_job_def("feed__kr_seoul__bike_hourly").asset_layer.asset_graph.asset_check_keys
    assert CONFIRMED_ON_TIME not in {key.name for key in own}
