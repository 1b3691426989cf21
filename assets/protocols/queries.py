"""What a feed asks for: parameters with places to fill in, one query for each of several values, windows of time, partitions.

Shared by every protocol whose requests have parameters. Pure: the moment of the fetch is an argument. How a query becomes an
address, a path or a body is each protocol's own; which partitions there are is the feed's (`assets/feeds/partitions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from assets.protocols.kernel import SourceBase, Step, When
from assets.protocols.periods import Every, Lag, ZoneName, before, cut, floor, following
from quality.contract import Strict

if TYPE_CHECKING:
    from assets.feeds.model import Feed

MAX_QUERIES = 10_000
"""More queries than this in one fetch are a mistake in the declaration."""
Value = str | int | float | None

_PLACE = re.compile(r"\{([a-z_][A-Za-z0-9_]*)(?::([^{}]*))?\}")
_MOMENTS = ("start", "end", "last", "since")
SPAN_PLACES = frozenset({"partition", "start", "end", "last"})
"""Places that the partition of a fetch fills in."""

Span = tuple[datetime, datetime, datetime]
"""(start, end, last) of one request, aware. `end` is past the end; `last` is where the last period begins."""


class Window(Strict):
    """Which periods one fetch asks for: the latest `count` of them that the agency has by now.

    Give `every`, for whole periods, or `at`, for the moments of a day at which the agency issues something.
    """

    every: Every | None = Field(None, description="Length of a period.")
    at: tuple[str, ...] = Field((), description="Times of day at which something is issued, like 02:00, in place of `every`.")
    count: int = Field(1, gt=0, le=5_000, description="How many periods, the latest last.")
    catch_up: int = Field(
        0, ge=0, le=1_000, description="After days without an answer: how many earlier periods at most are asked for again."
    )
    lag: Lag = Field(
        timedelta(0),
        description="From the end of a period (or a moment of `at`) to its data: PT10M, P3D. Default: schedule.lag (not running).",
    )
    running: bool = Field(False, description="Ask for the period that has not ended yet, too.")
    requests: Literal["each", "one"] = Field("each", description="One request for each period, or one from the first to the last.")
    timezone: ZoneName | None = Field(None, description="Zone of the periods; default: the schedule's.")

    @field_validator("at")
    @classmethod
    def _times(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
                raise ValueError(f"'{text}' is no time of day: write it like 02:00 or 14:30")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _one_kind(self) -> Window:
        if (self.every is None) == (not self.at):
            raise ValueError("a window has either 'every', the length of its periods, or 'at', times of day")
        if self.at and self.running:
            raise ValueError("'running' belongs to 'every': a moment has no end")
        return self


class QuerySource(SourceBase):
    """What the `source:` of every protocol with parameters may say.

    `sends_span`: the protocol sends where a window's periods begin and end in parameters of its own, without places for them.
    """

    sends_span: ClassVar[bool] = False
    params: dict[str, Value] = Field(
        default_factory=dict,
        description=(
            "Parameters, unencoded; empty ones are not sent. May hold {partition}, {start:%Y%m%d}, {end:…} and {last:…} of the "
            "window or the partition, {since:…}, and the names of `each`."
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
        return self

    @cached_property
    def placed(self) -> set[str]:
        """The names of all places to fill in, anywhere in this declaration."""
        return places_of(self.model_dump(mode="json", exclude={"each", "window"}))

    @cached_property
    def sent_by_name(self) -> list[str]:
        """The names of `each` that are parameters of their own: nothing else of the declaration holds them."""
        return sorted({name for entry in self.each_values() for name in entry} - self.placed)

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
    zone = zone_of(feed, source.window)
    common: dict[str, Any] = {"since": when.since.astimezone(zone) if when.since else None, "partition": when.partition}
    spans = [dict(zip(("start", "end", "last"), span, strict=True)) for span in spans_of(feed, source.window, when)]
    timed = source.window is not None or (feed.partitions is not None and when.partition is not None)
    found = [{**common, **span, **values} for span in (spans if timed else [{}]) for values in source.each_values()]
    if len(found) > MAX_QUERIES:
        raise ValueError(f"{len(found)} queries in one fetch; {MAX_QUERIES} are the most")
    return [Step(ordinal=n, params=params) for n, params in enumerate(found)]


def zone_of(feed: Feed, window: Window | None) -> ZoneInfo:
    """The zone of the moments that a query holds."""
    if feed.partitions is not None:
        return feed.partitions.zone(feed.schedule)
    return ZoneInfo((window.timezone if window else None) or feed.schedule.timezone)


def spans_of(feed: Feed, window: Window | None, when: When) -> list[Span]:
    """The span of each request: the partition's own, cut into the window's periods where there is a window too; else the window's.

    Of a partition that still runs, the periods that have ended, or with `running` those that have begun.
    """
    if window is not None and "lag" not in window.model_fields_set and not window.running:
        window = window.model_copy(update={"lag": feed.schedule.lag})
    if feed.partitions is None or when.partition is None:
        return periods(window, when.now, zone_of(feed, window), when.since)
    start, end = feed.partitions.span(feed.schedule, when.partition)
    if window is None:
        return [(start, end, start)]
    assert window.every is not None  # the feed sees to it
    until = when.now - window.lag
    found = [one for one in cut(start, end, window.every) if (one[0] if window.running else one[1]) <= until]
    return _asked(window, found)


def partition_places(feed: Feed, when: When) -> dict[str, Any]:
    """What `fill_address` needs to fill in the partition of a fetch, for protocols without queries; nothing where there is none."""
    if when.partition is None:
        return {}
    if feed.partitions is None:
        return {"partition": when.partition}
    start, end = feed.partitions.span(feed.schedule, when.partition)
    return {"partition": when.partition, "start": start, "end": end, "last": start}


def query_of(source: QuerySource, step: Step) -> dict[str, str]:
    """The parameters of one query, filled in; those without a value are left out (an empty one can be an error of its own).

    A name of `each` is a parameter of its own only where nothing else of the declaration holds it.
    """
    filled = {name: "" if value is None else fill(str(value), step) for name, value in source.params.items()}
    sent = {name: str(step.params[name]) for name in source.sent_by_name if name in step.params}
    return {name: value for name, value in {**filled, **sent}.items() if value}


def fill(text: str, step: Step) -> str:
    """The text with its places filled in; '' where one of them has no value (`since`, before the first fetch).

    A moment's format is strftime's, and %q (quarter, 1 to 4) and %h (half, 1 or 2); one that ends with Z is in UTC.
    """
    return fill_text(text, step.params)


def fill_text(text: str, params: Mapping[str, Any]) -> str:
    """As `fill`, from the values themselves."""
    return _filled(text, params, lambda value, _: value)


def fill_address(text: str, params: Mapping[str, Any]) -> str:
    """An address with the places of its partition filled in, percent-encoded; a slash stays where a moment's format holds one."""
    return _filled(text, params, lambda value, safe: quote(value, safe=safe))


def _filled(text: str, params: Mapping[str, Any], encoded: Callable[[str, str], str]) -> str:
    if "{" not in text:
        return text
    missing = False

    def put(match: re.Match[str]) -> str:
        nonlocal missing
        name, form = match[1], match[2]
        if name not in params and name not in (*_MOMENTS, "partition"):
            return match[0]
        value = params.get(name)
        if value is None:
            missing = True
            return ""
        if not isinstance(value, datetime):
            return encoded(str(value), "")
        return encoded(moment_text(value, form or "%Y-%m-%dT%H:%M:%S%z"), "/")

    done = _PLACE.sub(put, text)
    return "" if missing else done


def moment_text(moment: datetime, form: str) -> str:
    """The moment as strftime writes it, with %q and %h; in UTC where the form ends with Z."""
    if form.endswith("Z") and not form.endswith("%Z"):
        moment = moment.astimezone(UTC)
    form = form.replace("%q", str((moment.month + 2) // 3)).replace("%h", str(1 + (moment.month > 6)))
    return moment.strftime(form)


# --- periods --------------------------------------------------------------------------------------------------------------


def periods(window: Window | None, now: datetime, zone: ZoneInfo, since: datetime | None = None) -> list[Span]:
    """The span of each request, aware in `zone`, oldest first; `last` is for agencies that mean both ends of a range.

    `since`: when the agency last answered. What it has had since then is asked for too, as far back as `catch_up` says: a window
    that moved on while nothing came would else leave a gap that nobody sees.
    """
    if window is None:
        return []
    count = window.count + (window.catch_up if since is not None else 0)
    found = _moments(window, count, now, zone) if window.at else _spans(window, count, now, zone)
    missed = [span for span in found[: -window.count] if since is not None and span[1] + window.lag > since]
    return _asked(window, [*missed, *found[-window.count :]])


def _asked(window: Window, found: list[tuple[datetime, datetime]]) -> list[Span]:
    if window.requests == "one" and found:
        return [(found[0][0], found[-1][1], found[-1][0])]
    return [(start, end, start) for start, end in found]


def _moments(window: Window, count: int, now: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    until = now - window.lag
    day = until.astimezone(zone).date()
    found: list[datetime] = []
    while len(found) < count:
        times = (datetime.combine(day, time.fromisoformat(text), zone) for text in reversed(window.at))
        found += [moment for moment in times if moment <= until]
        day -= timedelta(days=1)
    return [(moment, moment) for moment in reversed(found[:count])]


def _spans(window: Window, count: int, now: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    assert window.every is not None
    local = (now - window.lag).astimezone(zone)
    start = floor(local, window.every)
    end = following(start, window.every)
    newest = (start, end) if window.running else (before(start, window.every), start)
    found = [newest]
    while len(found) < count:
        found.append((before(found[-1][0], window.every), found[-1][0]))
    return list(reversed(found))
