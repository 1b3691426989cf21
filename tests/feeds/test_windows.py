"""What the windows of the shipped feeds ask for after an outage: what was missed, and no more than the agency gives."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from assets.feeds.load import shipped
from assets.feeds.model import Feed
from assets.protocols.kernel import When
from assets.protocols.queries import QuerySource, Window, spans_of
from tests.protocols.standin_scene import NOW

KEPT = {"kr.kma.ultra_now": timedelta(days=1), "kr.kma.village_forecast": timedelta(days=3)}
"""What the agency keeps, where that is less than a fortnight."""
MOST = {"kr.pps.bids": timedelta(days=28)}
"""The longest range of one query, where the agency bounds it."""
OUTAGE = timedelta(days=12)
PERIODS = {"day": timedelta(days=1), "month": timedelta(days=31), "year": timedelta(days=366)}
LONG = timedelta(days=690)
"""A window that looks back so far needs nothing else after an outage."""


def windowed() -> dict[str, tuple[Feed, Window]]:
    found = {name: (feed, feed.source) for name, feed in shipped().items() if feed.partitions is None}
    return {
        name: (feed, source.window)
        for name, (feed, source) in found.items()
        if isinstance(source, QuerySource) and source.window is not None
    }


WINDOWED = windowed()


def spans(feed: Feed, now: datetime, outage: timedelta | None) -> list[tuple[datetime, datetime]]:
    """What a fetch asks for that many days after the last one that was answered; None: the first one."""
    assert isinstance(feed.source, QuerySource)
    since = None if outage is None else now - outage - feed.schedule.lookback
    return [(start, end) for start, end, _ in spans_of(feed, feed.source.window, When(now, since=since))]


@pytest.mark.parametrize("name", sorted(WINDOWED))
def test_days_without_an_answer_beyond_the_window_leave_no_gap(name: str) -> None:
    """What began before the last answer, and all since; where the agency keeps less, all that it keeps but a few hours."""
    feed, window = WINDOWED[name]
    back = NOW - spans(feed, NOW, None)[0][0]
    if back > LONG:
        assert window.catch_up == 0
        return
    found = spans(feed, NOW, back + OUTAGE)
    if (kept := KEPT.get(name)) is not None:
        assert kept - timedelta(hours=8) < NOW - found[0][0] < kept
        return
    lag = timedelta(0) if window.running else window.lag or feed.schedule.lag
    assert found[0][0] + lag <= NOW - back - OUTAGE
    assert all(one[1] == other[0] for one, other in pairwise(found))


@pytest.mark.parametrize("name", sorted(KEPT))
@pytest.mark.parametrize("minute", range(0, 180, 7))
def test_nothing_is_asked_for_that_the_agency_no_longer_keeps(name: str, minute: int) -> None:
    now = NOW + timedelta(minutes=minute)
    assert now - spans(WINDOWED[name][0], now, timedelta(days=100))[0][0] < KEPT[name]


@pytest.mark.parametrize("name", sorted(WINDOWED))
def test_catching_up_keeps_what_the_agency_allows(name: str) -> None:
    """Its range of one query, and its calls of a day beside those of the other fetches."""
    feed, _ = WINDOWED[name]
    assert isinstance(feed.source, QuerySource)
    found, values = spans(feed, NOW, timedelta(days=5_000)), len(feed.source.each_values())
    if (most := MOST.get(name)) is not None:
        assert all(end - start <= most for start, end in found)
    if feed.source.limits.per_day is not None:
        assert len(found) * values <= feed.source.limits.per_day / 4


@pytest.mark.parametrize("name", sorted(WINDOWED))
def test_in_ordinary_days_a_window_asks_for_no_more_than_one_period_further(name: str) -> None:
    """The look-back may reach into the period before the window's first; a whole outage is not asked for every day."""
    feed, window = WINDOWED[name]
    times = croniter(feed.schedule.cron, NOW.astimezone(ZoneInfo(feed.schedule.timezone)))
    before, now = sorted(times.get_prev(datetime) for _ in range(2))
    ordinary, first = spans(feed, now, now - before), spans(feed, now, None)
    if window.requests == "each":
        assert len(ordinary) == len(first)
    else:
        assert len(ordinary) == 1 and first[0][0] - ordinary[0][0] <= PERIODS[str(window.every)]
