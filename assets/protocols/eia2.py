"""The open data of the U.S. Energy Information Administration, version 2, `api.eia.gov/v2` (protocols.md 3.11).

Here are its bracketed parameters, its two forms of error, and what it is silent about: facets that nothing has, dates of the wrong
form. Paging discipline is the kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.http_answers import by_status, retry_after
from assets.protocols.answers.json_answers import asked, in_words, odd_body
from assets.protocols.answers.json_pages import Around, around, rows_of_pages
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
from assets.protocols.queries import QuerySource, fill, query_of, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

SUSPENDED_S = 60.0
"""A key that asked too often is suspended for seconds to minutes."""
_FORMS = {
    "annual": "%Y", "quarterly": "%Y-Q%q", "monthly": "%Y-%m", "weekly": "%Y-%m-%d", "daily": "%Y-%m-%d", "hourly": "%Y-%m-%dT%H",
}  # fmt: skip
"""How the frequencies write their periods."""
_PLACE = re.compile(r"\{\w+:([^{}]*)\}")
_DIGITS = {"%Y": 4, "%q": 1, "%m": 2, "%d": 2, "%H": 2}
_ZONE = r"(?:Z|[+-][\d:]{2,5})?"
_VALUE = r"\{(?!(?:start|end|last|since)\})\w+\}"
"""A place for a partition's key, or a value of `each`, whose form is not known here."""


class EiaAuth(Auth):
    """A feed that gives part of this keeps EIA's values for the rest; the key may be in the address alone."""

    kind: str = Field("query_key", pattern="^query_key$")
    name: str | None = "api_key"
    secret: str | None = Field("EIA_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")


class EiaLimits(Limits):
    """EIA asks for less than 9,000 requests an hour and 5 a second."""

    per_second: float | None = Field(2, gt=0)


class EiaSource(QuerySource):
    """`source:` of one route. `start` and `end` are in `params`, in the form of the frequency."""

    protocol: Literal["eia2"]
    base_url: str = Field("https://api.eia.gov/v2", pattern=r"^https?://[^\s?#]+$", description="Where the service is.")
    route: str = Field(pattern=r"^[\w\-]+(/[\w\-]+)*$", description="Path of the data set, like electricity/retail-sales.")
    data: tuple[str, ...] = Field(min_length=1, description="Values to ask for; without one EIA sends the dimensions alone.")
    facets: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Dimension → the values of it to ask for. May hold names of `each`."
    )
    frequency: str = Field(min_length=1, description="annual, quarterly, monthly, weekly, daily, hourly, …, as the route has it.")
    order: tuple[str, ...] = Field(
        (),
        description=(
            "Columns to sort by; together they must tell every row, or pages may overlap. Default: period, and the contract's key."
        ),
    )
    size: int = Field(5000, gt=0, le=5000, description="Rows of a page; EIA gives 5000 at most.")
    nodata: Literal["refuse", "empty"] = Field(
        "refuse", description="No rows: EIA does not say that a facet is wrong, so they fail the fetch; or are an empty answer."
    )
    auth: EiaAuth = EiaAuth()
    limits: EiaLimits = EiaLimits()

    @model_validator(mode="after")
    def _dates_fit(self) -> EiaSource:
        """A day in place of a month leaves that month out, silently: periods are compared as text."""
        form = _FORMS.get(self.frequency, "")
        written = re.sub("%[YmdHq]", lambda code: rf"(?:{code[0]}|\d{{{_DIGITS[code[0]]}}})", form)
        for name in ("start", "end"):
            text = _PLACE.sub(lambda match: match[1], str(self.params.get(name) or ""))
            if text and form and not re.fullmatch(f"{written}{_ZONE if '%H' in form else ''}|{_VALUE}", text):
                raise ValueError(f"{name} of a {self.frequency} route is written {form}; EIA leaves out rows in silence else")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/{self.route}/data/"


class Eia(Protocol[EiaSource]):
    """Pages by offset, with a total that is text."""

    name: ClassVar[str] = "eia2"
    Source: ClassVar[type[SourceBase]] = EiaSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: EiaSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: EiaSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        query = {"frequency": source.frequency}
        query |= {f"data[{n}]": name for n, name in enumerate(source.data)}
        for facet, values in source.facets.items():
            query |= {f"facets[{facet}][{n}]": fill(value, step) for n, value in enumerate(values)}
        query |= query_of(source, step)
        for n, name in enumerate(source.order or _told_apart(feed)):
            query |= {f"sort[{n}][column]": name, f"sort[{n}][direction]": "asc"}
        query |= {"offset": str(cursor.offset), "length": str(source.size)}
        return asked(source.address, query, source.auth, step, cursor)

    def classify(self, source: EiaSource, request: Request, response: Response) -> Outcome:
        seen = around(response, "data")
        refused = _error(seen, response)
        if refused is not None:
            return refused
        by = by_status(response.status, response.headers)
        if by is not None:
            return by
        odd = odd_body(response, seen)
        if odd is not None:
            return odd
        if seen is None or not seen.records or (total := seen.number("total")) is None:
            return Malformed("no data with its total")
        if total == 0 and request.page == 1:
            why = "total 0: nothing has these facets in this time, or a facet or its value is wrong, which EIA does not say"
            return Empty(why) if source.nodata == "empty" else BadRequest(why)
        return Ok(PageInfo(total=total))

    def parse(self, feed: Feed, source: EiaSource, bodies: Sequence[Body]) -> RowStream:
        return rows_of_pages(feed, bodies, ("response", "data"))

    def canonical_sha256(self, source: EiaSource, body: Body) -> str | None:
        """The version of the API, and the request that it repeats, are no data."""
        return canonical_json_sha256(body.payload, ("apiVersion", "ExcelAddInVersion", "request"))


def _told_apart(feed: Feed) -> Iterable[str]:
    """The columns that tell all rows apart, as far as the contract says: rows of one period have no order of their own."""
    return dict.fromkeys(("period", *(feed.contract.column(name).source_name for name in feed.contract.key)))


def _error(seen: Around | None, response: Response) -> Outcome | None:
    """The outcome of EIA's error: an object with code and message, or a text with a number beside it."""
    begins = seen is not None and re.match(rb'\s*(?:\xef\xbb\xbf)?\{\s*"(?:error|code)"\s*:', response.head)
    if seen is None or not begins:
        # a key that asked too often is refused like a wrong one, without the code of a wrong one
        return (
            RateLimited(retry_after(response.headers) or SUSPENDED_S, "HTTP 403: the key may be suspended")
            if response.status == 403
            else None
        )
    code = seen.text("code") or str(response.status)
    why = in_words(f"error {code}: {seen.text('message') or seen.text('error') or ''}")
    if code.upper().startswith("API_KEY"):
        return AuthFailed(why)
    if code in ("403", "429") or "RATE_LIMIT" in code.upper() or response.status in (403, 429):
        return RateLimited(retry_after(response.headers) or SUSPENDED_S, why)
    number = int(code) if code.isascii() and code.isdigit() and len(code) < 4 else response.status
    if number in (404, 410):
        return Gone(why)
    if number >= 500:
        return Transient(why)
    return BadRequest(why) if 400 <= number < 500 else Malformed(why)


PROTOCOL = Eia()
