"""The data API of the U.S. Census Bureau, `api.census.gov/data` (protocols.md 3.10).

Here are its address, its table of lists with the header first, and how it refuses a key: by a redirect to an HTML page, that looks
like success. One question is one answer; there are no pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.http_answers import by_status
from assets.protocols.answers.json_answers import asked, in_words, odd_body
from assets.protocols.answers.json_pages import around, records_of, rows_of_records
from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Limits,
    Malformed,
    Ok,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.protocols.queries import QuerySource, fill, query_of, steps_of
from assets.tables.readers.magic import kind_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

MOST_VARIABLES = 50
YEAR = "year"
"""Name under which the year of the address is added to each row, since the answer does not repeat it."""
_KEY_PAGE = re.compile(rb"(?:missing|invalid)[ _]key|valid\W+key|\bapi key\b", re.I)
_HEADER = re.compile(r'\s*\[\s*\[\s*"')


class CensusAuth(Auth):
    """A feed that gives part of this keeps the bureau's values for the rest. Since 2026-05-12 there is no answer without a key."""

    kind: str = Field("query_key", pattern="^query_key$")
    name: str | None = "key"
    secret: str | None = Field("CENSUS_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")


class CensusLimits(Limits):
    """A feed that gives part of this keeps the pace."""

    per_second: float | None = Field(2, gt=0)


class CensusSource(QuerySource):
    """`source:` of one data set. `for` and `in`, which say the geography, are in `params`."""

    protocol: Literal["census"]
    base_url: str = Field("https://api.census.gov/data", pattern=r"^https?://[^\s?#]+$", description="Where the service is.")
    year: str = Field(
        pattern=r"^(\d{4}|\{[a-z_]+(:[^{}]*)?\})$",
        description='Year of the data set, like "2023"; may be of the window or of `each`. It is added to each row as `year`.',
    )
    dataset: str = Field(pattern=r"^[\w\-]+(/[\w\-]+)*$", description="Path of the data set, like acs/acs5.")
    variables: tuple[str, ...] = Field(
        min_length=1,
        max_length=MOST_VARIABLES,
        description="Variables to ask for (`get`), 50 at most; some old sets fail above about 15.",
    )
    auth: CensusAuth = CensusAuth()
    limits: CensusLimits = CensusLimits()

    @model_validator(mode="after")
    def _geography(self) -> CensusSource:
        if "get" in self.params:
            raise ValueError("params: 'get' is what `variables` says")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/{self.year}/{self.dataset}"


class Census(Protocol[CensusSource]):
    """A list of lists; the first is the header."""

    name: ClassVar[str] = "census"
    Source: ClassVar[type[SourceBase]] = CensusSource

    def plan(self, feed: Feed, source: CensusSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: CensusSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        query = {"get": ",".join(source.variables), **query_of(source, step)}
        base = source.address.replace(f"/{source.year}/", f"/{fill(source.year, step)}/", 1)
        return asked(base, query, source.auth, step, cursor)

    def classify(self, source: CensusSource, request: Request, response: Response) -> Outcome:
        page = kind_of(response.head) == "html"
        if "x-datawebapi-keyerror" in response.headers:
            return AuthFailed("the bureau says that the key is not valid")
        if page and _KEY_PAGE.search(response.head[:8192]):
            return AuthFailed("a page about the key in place of data: the key is missing or not valid")
        if 300 <= response.status < 400 and response.status != 304:
            return AuthFailed(f"HTTP {response.status}: the bureau leads those without a key elsewhere")
        by = by_status(response.status, response.headers)
        if isinstance(by, BadRequest) and not page:
            return BadRequest(in_words(response.head[:600].decode("utf-8", "replace")) or by.reason)
        if by is not None:
            return by
        if response.status == 204:
            return Empty("HTTP 204")
        seen = around(response, None)
        odd = odd_body(response, seen)
        if odd is not None:
            return odd
        text = response.head[:64].decode("utf-8", "replace").lstrip("\ufeff")
        return Ok() if _HEADER.match(text) else Malformed("no list that begins with a header")

    def redirected(self, why: str) -> Outcome:
        return AuthFailed(f"{why}: the bureau leads those without a key elsewhere")

    def parse(self, feed: Feed, source: CensusSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in bodies:
                year = year_of(source, body.url)
                header, *rows = records_of(body.payload, (), order) or [None]
                names = [name for name in header if isinstance(name, str)] if isinstance(header, list) else []
                # a variable that is also a geography comes twice, with the same value
                if not names or not isinstance(header, list) or len(names) != len(header):
                    raise order.refuse("an answer without a header of names", "look at the archived body")
                missing = sorted({*source.variables} - {*names} - {v for v in source.variables if "(" in v})
                if missing:
                    raise order.refuse(f"variable {missing[0][:100]} was asked for and did not come", "look at the archived body")
                for row in rows:
                    if not isinstance(row, list) or len(row) != len(names):
                        raise order.refuse("a row that is not as long as the header", "look at the archived body")
                    yield {YEAR: year, **dict(zip(names, row, strict=True))}

        return rows_of_records(feed, records())


def year_of(source: CensusSource, url: str) -> str | None:
    """The year in the address of an answer; None where it is not the data set's."""
    found = re.search(rf"/(\d{{4}})/{re.escape(source.dataset)}$", urlsplit(url).path)
    return found[1] if found else None


PROTOCOL = Census()
