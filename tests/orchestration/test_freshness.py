"""Freshness counts confirmed checks against the feed's own schedule, in the feed's own time zone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from assets.feeds.model import Schedule
from orchestration.freshness import last_due


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
