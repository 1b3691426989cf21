"""ECOS, the economic statistics of the Bank of Korea, `ecos.bok.or.kr/api` (protocols.md 2.7).

Here are the order of its path, its codes, and the look at what an item covers. Periods are `ecos_periods.py`; indexes, what an
answer says of itself and the rows are `indexed_rows.py`. The kernel keeps the pace, and the pause after 602.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from assets.protocols.answers.ecos_periods import first_day_of, halves, period_of
from assets.protocols.answers.indexed_rows import IndexedSource, judged, page_request, rows_of
from assets.protocols.answers.json_pages import records_of
from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Limits,
    Malformed,
    Outcome,
    Protocol,
    RateLimited,
    Request,
    Response,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.queries import fill, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

COOL_DOWN_S = 1800.0
"""After 602, too many calls: nothing is sent for half an hour."""
SEARCH, ITEMS = "StatisticSearch", "StatisticItemList"
SERVICES = (SEARCH, ITEMS, "StatisticTableList", "KeyStatisticList", "StatisticWord", "StatisticMeta")
CODES: dict[str, tuple[str, Callable[[str], Outcome]]] = {
    "INFO-100": ("the key is not valid", AuthFailed),
    "INFO-200": ("no data", Empty),
    "ERROR-100": ("a required value is missing", BadRequest),
    "ERROR-101": ("the form of a period does not fit the cycle", BadRequest),
    "ERROR-200": ("the type is missing or invalid", BadRequest),
    "ERROR-300": ("an index is missing", BadRequest),
    "ERROR-301": ("an index is no whole number", BadRequest),
    "ERROR-400": ("the query is too large", lambda why: BadRequest(why, too_large=True)),
    "ERROR-500": ("error of the server", Transient),
    "ERROR-600": ("error of the database connection", Transient),
    "ERROR-601": ("error of the query", Transient),
    "ERROR-602": ("too many calls", lambda why: RateLimited(COOL_DOWN_S, why)),
}
_SPANS = ("day", "week", "month", "quarter", "year")
_SHORTEST = {"D": "day", "SM": "month", "M": "month", "Q": "quarter", "S": "year", "A": "year"}


class EcosAuth(Auth):
    """With ECOS's values for what a feed leaves out."""

    kind: str = Field("path_key", pattern="^path_key$", description="The key stands in the path.")
    secret: str | None = Field("ECOS_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable of the key.")


class EcosLimits(Limits):
    """About 300 calls in three minutes: 0.6 seconds from one to the next."""

    per_second: float | None = Field(1.6, gt=0)
    concurrency: int = Field(1, gt=0, le=64)
    reset: str = Field("00:00 Asia/Seoul", pattern=r"^\d{2}:\d{2} [A-Za-z_/]+$", description="When the daily quota resets.")


class EcosSource(IndexedSource):
    """`source:` of one query. The path says it all; the same values in a query string break it, so there are no `params`."""

    sends_span: ClassVar[bool] = True
    protocol: Literal["ecos"]
    base_url: str = Field("https://ecos.bok.or.kr/api", pattern=r"^https?://[^\s?#{}]+$", description="Address before the service.")
    service: Literal[
        "StatisticSearch", "StatisticItemList", "StatisticTableList", "KeyStatisticList", "StatisticWord", "StatisticMeta"
    ] = Field("StatisticSearch", description="Values (StatisticSearch), or one of the lists about them.")
    language: Literal["kr", "en"] = Field("kr", description="Language of the names in the answer.")
    table: str | None = Field(
        None, min_length=1, description="Table, like 722Y001; what to look up, for StatisticWord and StatisticMeta."
    )
    cycle: Literal["A", "S", "Q", "M", "SM", "D"] | None = Field(
        None, description="Year, half, quarter, month, half of a month, or day. Periods are written as the cycle has them."
    )
    items: tuple[str, ...] = Field((), max_length=4, description="Item codes by position; may hold names of `each`.")
    first_day: date | None = Field(None, description="Ask for everything from here to the day of the fetch, in place of a window.")
    look_first: bool = Field(
        False, description="Look at the item's span and count first, and pull only when they moved. Not where values are revised."
    )
    size: int = Field(10_000, gt=0, le=100_000, description="Rows of a page; ECOS gives 100,000 at most.")
    auth: EcosAuth = EcosAuth()
    limits: EcosLimits = EcosLimits()

    @model_validator(mode="after")
    def _complete(self) -> EcosSource:
        if self.params:
            raise ValueError("params: ECOS takes everything in the path; use table, cycle, items and window")
        if any(not item.strip() for item in self.items):
            raise ValueError("items: an item code cannot be left out in the middle")
        if self.service != SEARCH:
            if self.cycle or self.items or self.window or self.first_day or self.look_first:
                raise ValueError(f"{self.service} has no periods: cycle, items, window, first_day and look_first are {SEARCH}'s")
            return self
        if self.table is None or self.cycle is None or (self.window is None) == (self.first_day is None):
            raise ValueError(f"{SEARCH} needs table and cycle, and either a window or first_day")
        if self.look_first and (not self.items or self.type != "json"):
            raise ValueError("look_first needs the item that is looked at in items, and type json")
        if self.window and (self.window.every not in _SPANS):
            raise ValueError("window: the shortest cycle is a day; give 'every' from day to year")
        shortest = _SPANS.index(_SHORTEST[self.cycle])
        if self.window and self.window.requests == "each" and _SPANS.index(str(self.window.every)) < shortest:
            raise ValueError(f"window: several of its periods lie in one of cycle {self.cycle}; say requests: one")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/{self.service}"


class Ecos(Protocol[EcosSource]):
    """Pages of rows under the service's name, without a code; RESULT where there are none."""

    name: ClassVar[str] = "ecos"
    Source: ClassVar[type[SourceBase]] = EcosSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: EcosSource, when: When) -> Iterable[Step]:
        for step in steps_of(feed, source, when):
            if source.service == SEARCH:
                today = when.now.astimezone(ZoneInfo(feed.schedule.timezone)).date()
                start, end = step.params.get("start"), step.params.get("end")
                span = {"from": start.date() if start else source.first_day, "to": end.date() - timedelta(days=1) if end else today}
                step = replace(step, params={**step.params, **span}, lead=source.look_first)
            yield step

    def follow(self, feed: Feed, source: EcosSource, step: Step, body: Body) -> Iterable[Step]:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order, code = order_of(feed), fill(source.items[0], step)
        for row in records_of(body.payload, (ITEMS, "row"), order):
            if isinstance(row, dict) and (row.get("ITEM_CODE"), row.get("CYCLE")) == (code, source.cycle):
                covered = "/".join(str(row.get(name)) for name in ("START_TIME", "END_TIME", "DATA_CNT"))
                return [Step(params=step.params, stamp=f"{covered} {_question(source, step)}")]
        raise order.refuse(f"no item {code} of cycle {source.cycle} in table {source.table}", "its code may be another one by now")

    def split(self, feed: Feed, source: EcosSource, step: Step) -> Iterable[Step]:
        return [Step(params={**step.params, "from": a, "to": b}) for a, b in halves(step.params, source.cycle)]

    def request(self, feed: Feed, source: EcosSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        service = ITEMS if step.lead else source.service
        after = [fill(source.table, step)] if source.table else []
        if source.service == SEARCH and not step.lead:
            assert source.cycle is not None
            periods = [period_of(step.params[end], source.cycle) for end in ("from", "to")]
            after += [source.cycle, *periods, *(fill(item, step) for item in source.items)]
        return page_request(source, [service, "{key}", source.type, source.language], after, step, cursor)

    def classify(self, source: EcosSource, request: Request, response: Response) -> Outcome:
        return judged(source, by_code, response)

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From an address as the bank's pages show it. Its first period becomes the first day asked for."""
        parts = urlsplit(url)
        found = re.fullmatch(rf"/api/({'|'.join(SERVICES)})/[^/]+/(?:json|xml)/(kr|en)/\d+/\d+((?:/[^/]+)*)/?", parts.path)
        if parts.hostname != "ecos.bok.or.kr" or found is None:
            return None
        table, cycle, start, _, *items = [*(unquote(part) for part in found[3].split("/")[1:]), *[""] * 4]
        source: dict[str, Any] = {"protocol": self.name, "service": found[1], "language": found[2]}
        source |= {"table": table} if table else {}
        if found[1] != SEARCH:
            return source
        first = first_day_of(start, cycle)
        if first is None:
            return None
        return source | {"cycle": cycle, "items": [item for item in items if item], "first_day": first.isoformat()}

    def parse(self, feed: Feed, source: EcosSource, bodies: Sequence[Body]) -> RowStream:
        return rows_of(feed, source, bodies)


def _question(source: EcosSource, step: Step) -> str:
    """What is asked of an item, but for how far its periods reach by now: series of one table begin, end and count alike."""
    window = source.window.model_dump_json(exclude_defaults=True) if source.window else source.first_day
    return "/".join(str(part) for part in (source.table, source.cycle, *(fill(item, step) for item in source.items), window))


def by_code(code: str, message: str) -> Outcome | None:
    """The outcome of a code; a page of values has none, which is success, too."""
    if code == "INFO-000":
        return None
    meaning, outcome = CODES.get(code, ("an unknown code", Malformed))
    return outcome(f"{code[:40]}: {meaning} ({message[:200]})" if message else f"{code[:40]}: {meaning}")


PROTOCOL = Ecos()
