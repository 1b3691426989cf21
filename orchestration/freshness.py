"""Freshness as the design means it: when the agency was last asked with success, not when something last changed."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg
from croniter import croniter

from assets.archive.assets import archive_key_of
from assets.feeds.model import Feed, Schedule
from assets.platform import Platform

if TYPE_CHECKING:
    from assets.archive.ledger import Ledger

CONFIRMED_ON_TIME = "confirmed_on_time"
MISSED_TICKS = 2
"""A feed is late when this many scheduled ticks have passed since its last confirmed check; one may be still running."""


def last_due(schedule: Schedule, now: datetime, ticks: int = MISSED_TICKS) -> datetime:
    """The moment of the `ticks`-th last scheduled tick before `now`, in UTC."""
    iterator = croniter(schedule.cron, now.astimezone(ZoneInfo(schedule.timezone)))
    due = now
    for _ in range(ticks):
        due = iterator.get_prev(datetime)
    return due.astimezone(UTC)


def last_confirmed(ledger: "Ledger", feed: Feed, due: datetime) -> datetime | None:
    """When the agency was last asked with success; None: never. Of a partitioned feed, for the newest partition of that tick.

    A backfill of old years says nothing of the month that the schedule asks for.
    """
    return ledger.confirmed_at(feed.id, next(iter(feed.due(due)), None))


def confirmed_on_time(feed: Feed) -> dg.AssetChecksDefinition:
    """The check `confirmed_on_time` of `archive/<feed>`: it reads the ledger and asks nobody."""

    @dg.asset_check(
        asset=archive_key_of(feed),
        name=CONFIRMED_ON_TIME,
        required_resource_keys={"platform"},
        description="The last confirmed check is not older than two scheduled ticks.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        platform: Platform = context.resources.platform
        due = last_due(feed.schedule, platform.now())
        confirmed = last_confirmed(platform.ledger, feed, due)
        return dg.AssetCheckResult(
            passed=confirmed is not None and confirmed >= due,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "last confirmed check": "never" if confirmed is None else confirmed.isoformat(timespec="seconds"),
                "due since": due.isoformat(timespec="seconds"),
            },
        )

    return check
