"""The search of data.gov's catalogue, which is no CKAN any more: pages by an opaque cursor, `after` (protocols.md 3.1).

Here are its parameters, its errors and those of the gateway that asks for the key. The DCAT files of single agencies are another
protocol's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qs, parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.http_answers import by_status, retry_after
from assets.protocols.answers.json_answers import asked, in_words, odd_body
from assets.protocols.answers.json_pages import NO_MORE_PAGES, Around, around, rows_of_pages
from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
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

LARGEST_PAGE = 1_000
API = "https://api.gsa.gov/technology/datagov/v4"
OWN = frozenset({"after", "per_page", "sort", "api_key"})
_NOTHING = re.compile(rb'"results"\s*:\s*\[\s*\]')
_NO_CKAN = "data.gov's catalogue is no CKAN any more: its search is asked at {base_url}/search"


class DatagovAuth(Auth):
    """A key of the gateway in a header; `kind: none` for catalog.data.gov itself."""

    kind: str = Field("header_key", pattern="^(none|header_key)$", description="header_key, or none at catalog.data.gov.")
    name: str | None = Field("X-Api-Key", description="Name of the header.")
    secret: str | None = Field(
        "DATA_GOV_API_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that holds the key."
    )


class DatagovSearchSource(QuerySource):
    """`source:` of one search of data.gov."""

    protocol: Literal["datagov_search"]
    base_url: str = Field(API, pattern=r"^https?://[^\s?#]+$", description="Address of the API, before /search.")
    sort: Literal["relevance", "popularity", "distance", "last_harvested_date"] = Field(
        "relevance",
        description="Order of the data sets. The cursor follows it; one that is harvested anew meanwhile may change place.",
    )
    size: int = Field(500, gt=0, le=LARGEST_PAGE, description="Data sets of a page (per_page), each with its whole DCAT record.")
    volatile: tuple[str, ...] = Field(
        ("after", "results._score", "results._sort", "results.popularity"),
        description="JSON paths that change without a change of the catalogue.",
    )
    auth: DatagovAuth = DatagovAuth()

    @model_validator(mode="after")
    def _fields_not_params(self) -> DatagovSearchSource:
        if taken := sorted(OWN & self.params.keys()):
            raise ValueError(f"params: '{taken[0]}' has a field of its own: sort, size or auth; the cursor is Madang's")
        if self.sort == "distance" and "spatial_geometry" not in self.params:
            raise ValueError(
                "sort: distance needs params.spatial_geometry; without one the catalogue sorts by relevance, and says nothing"
            )
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/search"


class DatagovSearch(Protocol[DatagovSearchSource]):
    """Pages that lead on by `after` until one has none. There is no total."""

    name: ClassVar[str] = "datagov_search"
    Source: ClassVar[type[SourceBase]] = DatagovSearchSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: DatagovSearchSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: DatagovSearchSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        query = query_of(source, step) | {"sort": source.sort, "per_page": str(source.size)}
        if cursor.token is not None:
            query["after"] = cursor.token
        return asked(source.address, query, source.auth, step, cursor, safe="", headers={"Accept": "application/json"})

    def classify(self, source: DatagovSearchSource, request: Request, response: Response) -> Outcome:
        seen = around(response, "results")
        if (refused := _refused(request, seen, response.status, response.headers)) is not None:
            return refused
        odd = odd_body(response, seen)
        if odd is not None:
            return odd
        if seen is None or seen.root != "{" or not seen.records:
            return Malformed("an answer without results")
        return _page(source, request, response.head, seen)

    def canonical_sha256(self, source: DatagovSearchSource, body: Body) -> str | None:
        return canonical_json_sha256(body.payload, source.volatile)

    def parse(self, feed: Feed, source: DatagovSearchSource, bodies: Sequence[Body]) -> RowStream:
        return rows_of_pages(feed, bodies, ("results",))

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From the address of a search, and from one of the CKAN that is gone: its words are searched for."""
        parts = urlsplit(url)
        path, query = parts.path.rstrip("/"), {name: value for name, value in parse_qsl(parts.query) if name not in OWN}
        if parts.hostname == "api.gsa.gov" and path.startswith("/technology/datagov/"):
            found: dict[str, Any] = {"protocol": self.name}
        elif parts.hostname in ("catalog.data.gov", "catalog-old.data.gov"):
            found = {"protocol": self.name, "base_url": "https://catalog.data.gov", "auth": {"kind": "none"}}
        else:
            return None
        if "/action/" in path:
            query = {"q": query["q"]} if query.get("q", "*:*") != "*:*" else {}
        elif not path.endswith("/search") and path:
            return None
        return found | ({"params": query} if query else {})


def _refused(request: Request, seen: Around | None, status: int, headers: Mapping[str, str]) -> Outcome | None:
    """The outcome of an error of the catalogue or of the gateway in front of it; None where the body decides."""
    fields = seen.fields if seen is not None and not seen.records else {}
    code = in_words(fields.get("code"), 60)
    why = (
        ": ".join(part for part in (code, in_words(fields.get("error")), in_words(fields.get("message"))) if part)
        or f"HTTP {status}"
    )
    if code.upper().startswith("API_KEY"):
        return AuthFailed(why)
    if code.upper() == "OVER_RATE_LIMIT":
        return RateLimited(retry_after(headers), why)
    by = by_status(status, headers)
    if isinstance(by, Gone):
        return Gone(f"{why}; {_NO_CKAN}")
    if isinstance(by, Transient):
        cursor = "after" in parse_qs(urlsplit(request.url).query)
        return Transient(f"{why}; a cursor that it does not know is answered so, too" if cursor else why, by.retry_after_s)
    if isinstance(by, AuthFailed | BadRequest):
        return type(by)(why)
    if by is None and fields.get("error"):
        return Malformed(f"an error with status {status}: {why}")
    return by


def _page(source: DatagovSearchSource, request: Request, head: bytes, seen: Around) -> Outcome:
    after, nothing = seen.text("after"), _NOTHING.search(head) is not None
    if nothing and (after or request.page > 1):
        # a cursor is only given where at least one more data set was found
        return Malformed("a page without data sets, where there must be more")
    if nothing:
        return Empty("no data set is found")
    told = seen.text("sort")
    if told is not None and told != source.sort:
        return Malformed(f"sorted by {in_words(told, 40)}, not by {source.sort}: a parameter is not understood")
    return Ok(PageInfo(next_cursor=after) if after else PageInfo(page_size=NO_MORE_PAGES))


PROTOCOL = DatagovSearch()
