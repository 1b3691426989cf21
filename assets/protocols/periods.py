"""Hours, days, weeks, months, quarters and years on the wall clock of a zone: where one begins, and the next, and the one before.

Shared by the windows of a query and by the partitions of a feed. Weeks begin on Monday. Pure.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator


def _known(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"'{name}' is no IANA time zone, like Asia/Seoul") from error
    return name


ZoneName = Annotated[str, AfterValidator(_known)]
"""The name of a time zone in a declaration."""


def _not_negative(wait: timedelta) -> timedelta:
    if wait < timedelta(0):
        raise ValueError("'lag' is how long to wait, and is not negative")
    return wait


Lag = Annotated[timedelta, AfterValidator(_not_negative)]
"""How long a declaration waits from the end of a period to its data."""
Every = Literal["hour", "day", "week", "month", "quarter", "year"]
LENGTHS: tuple[Every, ...] = ("hour", "day", "week", "month", "quarter", "year")
"""From the shortest to the longest."""


def divides(shorter: str, longer: str) -> bool:
    """Whether whole periods of the one fill each period of the other: weeks fill no month."""
    if shorter == longer:
        return True
    inside = LENGTHS.index(shorter) < LENGTHS.index(longer)
    return inside and shorter != "week"


def cut(start: datetime, end: datetime, every: str) -> list[tuple[datetime, datetime]]:
    """The periods from `start` to `end`, oldest first."""
    found = []
    while start < end:
        found.append((start, following(start, every)))
        start = found[-1][1]
    return found


def floor(moment: datetime, every: str) -> datetime:
    """The start of the period that the moment lies in, on the wall clock."""
    if every == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.date()
    if every == "week":
        day -= timedelta(days=day.weekday())
    elif every != "day":
        month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[every]
        day = date(day.year, month, 1)
    return datetime.combine(day, time(), moment.tzinfo)


def following(start: datetime, every: str) -> datetime:
    if every == "hour":
        return (start.astimezone(UTC) + timedelta(hours=1)).astimezone(start.tzinfo)
    if every in ("day", "week"):
        return datetime.combine(start.date() + timedelta(days=7 if every == "week" else 1), time(), start.tzinfo)
    months = {"month": 1, "quarter": 3, "year": 12}[every]
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return datetime.combine(date(year, month + 1, 1), time(), start.tzinfo)


def before(start: datetime, every: str) -> datetime:
    if every == "hour":
        return (start.astimezone(UTC) - timedelta(hours=1)).astimezone(start.tzinfo)
    return floor(datetime.combine(start.date() - timedelta(days=1), time(), start.tzinfo), every)
