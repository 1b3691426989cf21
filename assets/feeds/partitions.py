"""Time partitions of a feed: which there are, what they are called, what time each covers, and which a scheduled run asks for.

Keys are those of Dagster's `TimeWindowPartitionsDefinition`, which is made from here (`assets/archive/assets.py`) and gives the
same ones. How a partition's time gets into a request is `assets/protocols/queries.py`. Pure: the present is an argument.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from assets.errors import DeclarationError
from assets.protocols.periods import Every, Lag, ZoneName, before, cut, floor, following
from quality.contract import Name, Strict

if TYPE_CHECKING:
    from assets.feeds.model import Schedule

MANY = 10_000
"""Above so many `feed check` advises longer ones. The table's index lists each, and every swap writes it whole: with 10,000 it has
12 MB and a swap takes 1.4 s, measured. Dagster's own advice is 100,000 at most."""
FORMS: dict[str, str] = {
    "hour": "%Y-%m-%d-%H:%M",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m",
    "quarter": "%Y-%m",
    "year": "%Y",
}
"""How a key is written: the moment at which the partition begins. Dagster reads keys back with strptime, which knows no quarter
and no week without its day."""
WORDS: dict[str, str] = {
    "hour": "the day and the hour, like 2026-11-01-14:00",
    "day": "the day, like 2026-11-01",
    "week": "the Monday with which the week begins, like 2026-11-23",
    "month": "year and month, like 2026-11",
    "quarter": "year and first month of the quarter, like 2026-10",
    "year": "the year, like 2026",
}
CRONS: dict[str, str] = {
    "hour": "0 * * * *",
    "day": "0 0 * * *",
    "week": "0 0 * * 1",
    "month": "0 0 1 * *",
    "quarter": "0 0 1 1,4,7,10 *",
    "year": "0 0 1 1 *",
}
"""Where partitions begin, as a cron expression."""


SHORT_DAY = {
    "anyOf": [{"type": "string", "pattern": r"^\d{4}(-\d{2}(-\d{2})?)?$"}, {"type": "integer", "minimum": 1900, "maximum": 2999}]
}
"""A day as a clerk may write it, for editors."""


class Partitions(Strict):
    """Parts of a feed by time, each fetched, judged and replaced on its own."""

    every: Every = Field(description="Length of a partition.")
    start: Annotated[date, WithJsonSchema(SHORT_DAY)] = Field(
        description="Where the first one begins: 2020-01-01, or shorter, 2020-01 or 2020."
    )
    timezone: ZoneName | None = Field(None, description="Zone in which partitions begin; default: the schedule's.")
    lag: Lag | None = Field(
        None, description="From a partition's end to its data: until then no run asks for it by itself. Default: schedule.lag."
    )
    running: bool = Field(False, description="The period that has not ended yet is a partition, too.")
    revised: int = Field(
        0, ge=0, le=1000, description="How many partitions before the newest each scheduled run asks for again: they are revised."
    )
    column: Name | dict[Name, str] | None = Field(
        None,
        description=(
            'Column that says when a row is, or columns with the form of their part: {deal_year: "%Y", deal_month: "%m"}. Rows '
            "of another partition are refused. Needed for upserts, whose key must hold it."
        ),
    )

    @field_validator("start", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """2020 and 2020-01 as well; YAML makes a number of the first."""
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            return value
        text = str(value)
        try:
            return date.fromisoformat(text + {4: "-01-01", 7: "-01"}.get(len(text), ""))
        except ValueError:
            raise ValueError(f"'{value}' is no day: write 2020-01-01") from None

    @model_validator(mode="after")
    def _begins_a_period(self) -> Partitions:
        start = datetime.combine(self.start, time(), UTC)
        if floor(start, self.every) != start:
            near = [f"{moment:%Y-%m-%d}" for moment in (floor(start, self.every), following(floor(start, self.every), self.every))]
            what = f"{self.start} is not where a {self.every} begins"
            raise ValueError(f"start: {what}; write {near[0]} or {near[1]}")
        if isinstance(self.column, dict):
            if not self.column:
                raise ValueError("column: name at least one, with the form of its part")
            for name, form in self.column.items():
                if "%" not in form:
                    raise ValueError(f"column: the form of {name} is strftime's, like %Y or %m, not '{form}'")
            for days in (1 / 24, 1, 7, 31, 92, 366, 3653):
                other = floor(start + timedelta(days=days), self.every)
                if self.key(other) != self.key(start) and self.parts(other) == self.parts(start):
                    told = f"column: {', '.join(self.column)} cannot tell {self.key(start)} from {self.key(other)}"
                    raise ValueError(f"{told}; add the column that can")
        return self

    # --- what follows from it and the schedule ---

    def zone(self, schedule: Schedule) -> ZoneInfo:
        return ZoneInfo(self.timezone or schedule.timezone)

    def wait(self, schedule: Schedule) -> timedelta:
        return schedule.lag if self.lag is None else self.lag

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that say of which partition a row is."""
        return () if self.column is None else (self.column,) if isinstance(self.column, str) else tuple(self.column)

    def key(self, start: datetime) -> str:
        """The key of the partition that begins then."""
        return start.strftime(FORMS[self.every])

    def parts(self, start: datetime) -> dict[str, str]:
        """What the columns that have a form hold in the partition that begins then."""
        return {name: start.strftime(form) for name, form in self.column.items()} if isinstance(self.column, dict) else {}

    def span(self, schedule: Schedule, key: str) -> tuple[datetime, datetime]:
        """Where the partition begins and where it is over, aware. ValueError where the key is not of its form."""
        start = datetime.strptime(key, FORMS[self.every]).replace(tzinfo=self.zone(schedule))
        if self.key(floor(start, self.every)) != key:
            raise ValueError(f"'{key}' is no key of a {self.every}")
        return start, following(start, self.every)

    def is_key(self, schedule: Schedule, key: str) -> bool:
        """Whether this could be a partition of the feed, at some time."""
        try:
            self.span(schedule, key)
        except ValueError:
            return False
        return True

    def keys(self, schedule: Schedule, now: datetime) -> list[str]:
        """The partitions that there are by now, oldest first: those that have ended, and with `running` the one under way."""
        local = now.astimezone(self.zone(schedule))
        first = datetime.combine(self.start, time(), self.zone(schedule))
        here = floor(local, self.every)
        return [self.key(start) for start, _ in cut(first, following(here, self.every) if self.running else here, self.every)]

    def due(self, schedule: Schedule, now: datetime) -> list[str]:
        """What a run asks for by itself: the newest partition whose data are there, then the `revised` before it, newest first."""
        zone = self.zone(schedule)
        first = datetime.combine(self.start, time(), zone)
        here = floor(now.astimezone(zone), self.every)
        if not self.running:
            here = before(floor((now - self.wait(schedule)).astimezone(zone), self.every), self.every)
        found: list[str] = []
        while here >= first and len(found) <= self.revised:
            found.append(self.key(here))
            here = before(here, self.every)
        return found

    def checked(self, schedule: Schedule, key: str, now: datetime, *, where: str) -> str:
        """The key, if there is such a partition by now; else DeclarationError with the first, the last and the form."""
        there = self._there(schedule, now, where)
        return there[self._place(key, there, where)]

    def between(self, schedule: Schedule, first: str | None, last: str | None, now: datetime, *, where: str) -> list[str]:
        """The partitions from the one (None: the first there is) to the other (None: the last), both included, newest first.

        DeclarationError where one is none.
        """
        there = self._there(schedule, now, where)
        low = 0 if first is None else self._place(first, there, where)
        high = len(there) - 1 if last is None else self._place(last, there, where)
        if low > high:
            raise DeclarationError(f"{there[low]} is after {there[high]}", where=where, mend="give the earlier one first")
        return there[low : high + 1][::-1]

    def _there(self, schedule: Schedule, now: datetime, where: str) -> list[str]:
        if there := self.keys(schedule, now):
            return there
        raise DeclarationError(
            f"there is no partition yet: the first begins {self.start}", where=where, mend="wait, or mend partitions.start"
        )

    def _place(self, key: str, there: list[str], where: str) -> int:
        if key in there:
            return there.index(key)
        raise DeclarationError(
            f"'{key[:40]}' is no partition: the first is {there[0]}, the last {there[-1]}",
            where=where,
            mend=f"write {WORDS[self.every]}",
        )

    def clock_goes_back(self, schedule: Schedule) -> bool:
        """Whether an hour of these partitions comes twice in a year of theirs: two hours would have one key."""
        if self.every != "hour":
            return False
        zone = self.zone(schedule)
        offsets = {
            datetime(year, month, 1, tzinfo=zone).utcoffset() for year in range(self.start.year, 2038) for month in (1, 4, 7, 10)
        }
        return len(offsets) > 1
