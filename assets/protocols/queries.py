"""What a feed asks for: parameters with places to fill in, one query for each of several values, windows of time.

Shared by every protocol whose requests have parameters. Pure: the moment of the fetch is an argument. How a query becomes an
address, a path or a body is each protocol's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from assets.protocols.kernel import SourceBase, Step, When
from quality.contract import Strict

if TYPE_CHECKING:
    from assets.feeds.model import Feed

MAX_QUERIES = 10_000
"""More queries than this in one fetch are a mistake in the declaration."""
Value = str | int | float | None

_PLACE = re.compile(r"\{([a-z_][A-Za-z0-9_]*)(?::([^{}]*))?\}")
_MOMENTS = ("start", "end", "last", "since")
_EVERY = ("hour", "day", "week", "month", "quarter", "year")


class Window(Strict):
    """Which periods one fetch asks for: the latest `count` of them that the agency has by now.

    Give `every`, for whole periods, or `at`, for the moments of a day at which the agency issues something.
    """

    every: Literal["hour", "day", "week", "month", "quarter", "year"] | None = Field(None, description="Length of a period.")
    at: tuple[str, ...] = Field((), description="Times of day at which something is issued, like 02:00, in place of `every`.")
    count: int = Field(1, gt=0, le=5_000, description="How many periods, the latest last.")
    lag: timedelta = Field(timedelta(0), description="From the end of a period (or a moment of `at`) to its data; PT10M, P3D.")
    running: bool = Field(False, description="Ask for the period that has not ended yet, too.")
    requests: Literal["each", "one"] = Field("each", description="One request for each period, or one from the first to the last.")
    timezone: str | None = Field(None, description="Zone of the periods; default: the schedule's.")

    @field_validator("at")
    @classmethod
    def _times(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
                raise ValueError(f"'{text}' is no time of day: write it like 02:00 or 14:30")
        return tuple(sorted(value))

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        from zoneinfo import ZoneInfoNotFoundError

        try:
            ZoneInfo(value or "UTC")
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"'{value}' is no IANA time zone, like Asia/Seoul") from error
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Window:
        if (self.every is None) == (not self.at):
            raise ValueError("a window has either 'every', the length of its periods, or 'at', times of day")
        if self.at and self.running:
            raise ValueError("'running' belongs to 'every': a moment has no end")
        if self.lag < timedelta(0):
            raise ValueError("'lag' is how long to wait, and is not negative")
        return self


class QuerySource(SourceBase):
    """What the `source:` of every protocol with parameters may say."""

    params: dict[str, Value] = Field(
        default_factory=dict,
        description=(
            "Parameters, unencoded; empty ones are not sent. May hold {partition}, {start:%Y%m%d}, {end:…} and {last:…} of the "
            "window, {since:…}, and the names of `each`."
        ),
    )
    each: dict[str, tuple[str | int, ...]] | tuple[dict[str, str | int], ...] = Field(
        default_factory=dict,
        description="One query for each value (of several names: for each combination), or for each entry of a list.",
    )
    window: Window | None = Field(None, description="Periods that one fetch asks for.")

    @model_validator(mode="after")
    def _queries_consistent(self) -> QuerySource:
        names = {name for entry in self.each_values() for name in entry}
        if clash := sorted(names & {*_MOMENTS, "partition"}):
            raise ValueError(f"each: '{clash[0]}' is a name of Madang's own; choose another")
        if self.window is None and (moments := sorted(self.placed & {"start", "end", "last"})):
            raise ValueError(f"{{{moments[0]}}} is filled in from the window: declare one, like window: {{every: day, count: 3}}")
        return self

    @cached_property
    def placed(self) -> set[str]:
        """The names of all places to fill in, anywhere in this declaration."""
        return places_of(self.model_dump(mode="json", exclude={"each", "window"}))

    def each_values(self) -> list[dict[str, str | int]]:
        """The combinations that `each` names; one empty one where it names none."""
        if isinstance(self.each, tuple):
            return list(self.each) or [{}]
        return [dict(zip(self.each, values, strict=True)) for values in product(*self.each.values())]


def places_of(value: Any) -> set[str]:
    """The names of all places to fill in, anywhere in a declaration."""
    if isinstance(value, str):
        return {match[1] for match in _PLACE.finditer(value)}
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return {name for part in parts for name in places_of(part)}


def steps_of(feed: Feed, source: QuerySource, when: When) -> list[Step]:
    """One step a query: each combination of values in each period, periods in order. `params` of a step are what `fill` needs."""
    zone = ZoneInfo((source.window.timezone if source.window else None) or feed.schedule.timezone)
    common: dict[str, Any] = {"since": when.since.astimezone(zone) if when.since else None, "partition": when.partition}
    spans = [dict(zip(("start", "end", "last"), span, strict=True)) for span in periods(source.window, when.now, zone)]
    found = [{**common, **span, **values} for span in (spans if source.window else [{}]) for values in source.each_values()]
    if len(found) > MAX_QUERIES:
        raise ValueError(f"{len(found)} queries in one fetch; {MAX_QUERIES} are the most")
    return [Step(ordinal=n, params=params) for n, params in enumerate(found)]


def query_of(source: QuerySource, step: Step) -> dict[str, str]:
    """The parameters of one query, filled in; those without a value are left out (an empty one can be an error of its own).

    A name of `each` is a parameter of its own only where nothing else of the declaration holds it.
    """
    filled = {name: "" if value is None else fill(str(value), step) for name, value in source.params.items()}
    names = {name for entry in source.each_values() for name in entry} - source.placed
    sent = {name: str(step.params[name]) for name in sorted(names) if name in step.params}
    return {name: value for name, value in {**filled, **sent}.items() if value}


def fill(text: str, step: Step) -> str:
    """The text with its places filled in; '' where one of them has no value (`since`, before the first fetch).

    A moment's format is strftime's, and %q (quarter, 1 to 4) and %h (half, 1 or 2); one that ends with Z is in UTC.
    """
    missing = False

    def put(match: re.Match[str]) -> str:
        nonlocal missing
        name, form = match[1], match[2]
        if name not in step.params and name not in (*_MOMENTS, "partition"):
            return match[0]
        value = step.params.get(name)
        if value is None:
            missing = True
            return ""
        if not isinstance(value, datetime):
            return str(value)
        return moment_text(value, form or "%Y-%m-%dT%H:%M:%S%z")

    done = _PLACE.sub(put, text)
    return "" if missing else done


def moment_text(moment: datetime, form: str) -> str:
    """The moment as strftime writes it, with %q and %h; in UTC where the form ends with Z."""
    if form.endswith("Z") and not form.endswith("%Z"):
        moment = moment.astimezone(UTC)
    form = form.replace("%q", str((moment.month + 2) // 3)).replace("%h", str(1 + (moment.month > 6)))
    return moment.strftime(form)


# --- periods --------------------------------------------------------------------------------------------------------------


def periods(window: Window | None, now: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime, datetime]]:
    """(start, end, last) of each request, aware in `zone`, oldest first. `end` is past the end; `last` is where the last period
    begins, for agencies that mean both ends of a range.
    """
    if window is None:
        return []
    found = _moments(window, now, zone) if window.at else _spans(window, now, zone)
    if window.requests == "one" and found:
        return [(found[0][0], found[-1][1], found[-1][0])]
    return [(start, end, start) for start, end in found]


def _moments(window: Window, now: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    until = now - window.lag
    day = until.astimezone(zone).date()
    found: list[datetime] = []
    while len(found) < window.count:
        times = (datetime.combine(day, time.fromisoformat(text), zone) for text in reversed(window.at))
        found += [moment for moment in times if moment <= until]
        day -= timedelta(days=1)
    return [(moment, moment) for moment in reversed(found[: window.count])]


def _spans(window: Window, now: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    assert window.every is not None
    local = (now - window.lag).astimezone(zone)
    start = _floor(local, window.every)
    end = _next(start, window.every)
    newest = (start, end) if window.running else (_before(start, window.every), start)
    found = [newest]
    while len(found) < window.count:
        found.append((_before(found[-1][0], window.every), found[-1][0]))
    return list(reversed(found))


def _floor(moment: datetime, every: str) -> datetime:
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


def _next(start: datetime, every: str) -> datetime:
    if every == "hour":
        return (start.astimezone(UTC) + timedelta(hours=1)).astimezone(start.tzinfo)
    if every in ("day", "week"):
        return datetime.combine(start.date() + timedelta(days=7 if every == "week" else 1), time(), start.tzinfo)
    months = {"month": 1, "quarter": 3, "year": 12}[every]
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return datetime.combine(date(year, month + 1, 1), time(), start.tzinfo)


def _before(start: datetime, every: str) -> datetime:
    if every == "hour":
        return (start.astimezone(UTC) - timedelta(hours=1)).astimezone(start.tzinfo)
    return _floor(datetime.combine(start.date() - timedelta(days=1), time(), start.tzinfo), every)
