"""FRED, the economic data of the St. Louis Fed, `api.stlouisfed.org/fred` (protocols.md 3.12).

Here are its address, its errors, and its real-time dates, which move every day without a change of the data. Paging discipline is
the kernel's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.http_answers import by_status, retry_after
from assets.protocols.answers.json_answers import asked, in_words, odd_body
from assets.protocols.answers.json_pages import around, records_of, rows_of_records
from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
    Limits,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
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
from assets.protocols.queries import QuerySource, query_of, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

RECORDS = "observations"


class FredAuth(Auth):
    """A feed that gives part of this keeps FRED's values for the rest."""

    kind: str = Field("query_key", pattern="^query_key$")
    name: str | None = "api_key"
    secret: str | None = Field("FRED_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")


class FredLimits(Limits):
    """FRED allows 120 requests a minute."""

    per_second: float | None = Field(2, gt=0)


class FredSource(QuerySource):
    """`source:` of the observations of some series. `series_id` is added to each row: FRED does not repeat it there."""

    protocol: Literal["fred"]
    base_url: str = Field("https://api.stlouisfed.org/fred", pattern=r"^https?://[^\s?#]+$", description="Where the service is.")
    series: tuple[str, ...] = Field(min_length=1, description="Series to ask for, one after the other, like [UNRATE].")
    size: int = Field(100_000, gt=0, le=100_000, description="Rows of a page.")
    auth: FredAuth = FredAuth()
    limits: FredLimits = FredLimits()

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/series/observations"

    @property
    def real_time(self) -> bool:
        """Whether the feed asks for revisions, so that the real-time dates of a row are data."""
        return bool({"realtime_start", "realtime_end", "vintage_dates"} & self.params.keys())


class Fred(Protocol[FredSource]):
    """Pages of observations, told by offset; the count is of all."""

    name: ClassVar[str] = "fred"
    Source: ClassVar[type[SourceBase]] = FredSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: FredSource, when: When) -> Iterable[Step]:
        steps = steps_of(feed, source, when)
        return [Step(params={**step.params, "series": series}) for series in source.series for step in steps]

    def request(self, feed: Feed, source: FredSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        # without a file_type the answer is XML
        query = {"series_id": str(step.params["series"]), "file_type": "json", "sort_order": "asc"}
        query |= query_of(source, step)
        query |= {"limit": str(source.size), "offset": str(cursor.offset)}
        return asked(source.address, query, source.auth, step, cursor)

    def classify(self, source: FredSource, request: Request, response: Response) -> Outcome:
        seen = around(response, RECORDS)
        if seen is not None and not seen.records and {"error_code", "error_message"} & seen.fields.keys():
            return _error(seen.number("error_code") or response.status, in_words(seen.text("error_message")), response.headers)
        by = by_status(response.status, response.headers)
        if by is not None:
            return by
        odd = odd_body(response, seen)
        if odd is not None:
            return odd
        if seen is None or not seen.records or (total := seen.number("count")) is None:
            return Malformed("no observations with their count")
        if total == 0 and request.page == 1:
            return Empty("count 0")
        return Ok(PageInfo(total=total, page_size=seen.number("limit")))

    def parse(self, feed: Feed, source: FredSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in bodies:
                series = parse_qs(urlsplit(body.url).query).get("series_id", [None])[0]
                for row in records_of(body.payload, (RECORDS,), order):
                    yield {"series_id": series, **row} if isinstance(row, dict) else row

        return rows_of_records(feed, records())

    def canonical_sha256(self, source: FredSource, body: Body) -> str | None:
        """Without revisions, the real-time dates are the day of asking."""
        dates = ("realtime_start", "realtime_end")
        volatile = () if source.real_time else (*dates, *(f"{RECORDS}.{name}" for name in dates))
        return canonical_json_sha256(body.payload, volatile)


def _error(code: int, message: str, headers: Mapping[str, str]) -> Outcome:
    """The outcome of FRED's error. A bad key and an unknown series are both code 400; only the words tell."""
    words = message.lower()
    why = f"error {code}: {message}"
    if "api_key" in words or "api key" in words:
        return AuthFailed(why)
    if code == 429:
        return RateLimited(retry_after(headers), why)
    if code >= 500:
        return Transient(why)
    if code == 404 or "does not exist" in words:
        return Gone(why)
    return BadRequest(why) if 400 <= code < 500 else Malformed(why)


PROTOCOL = Fred()
