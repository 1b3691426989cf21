"""CKAN's Action API: rows of a datastore table, and data sets of a catalogue (protocols.md 3.1).

Here are the two actions with their orders, their caps that are not told, and CKAN's errors. Paging and the check that all rows
came are the kernel's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.http_answers import by_status
from assets.protocols.answers.json_answers import asked
from assets.protocols.answers.json_pages import Around, around, rows_of_pages
from assets.protocols.kernel import (
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

_RECORDS = {"datastore_search": "records", "package_search": "results"}
_TOTAL = {"datastore_search": "total", "package_search": "count"}
_PAGE = {"datastore_search": ("limit", "offset"), "package_search": ("rows", "start")}
_CAP = {"datastore_search": 32_000, "package_search": 1_000}
_ORDER = {"datastore_search": "_id asc", "package_search": "metadata_modified asc, id asc"}
_NO_CKAN = frozenset({"catalog.data.gov", "catalog-old.data.gov", "api.gsa.gov"})
"""Hosts that were CKAN until 2026; they are `datagov_search`."""


class CkanSource(QuerySource):
    """`source:` of one action of a CKAN site."""

    protocol: Literal["ckan"]
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$", description="Address of the site, before /api/3/action.")
    action: Literal["datastore_search", "package_search"] = Field(description="Rows of a table, or data sets of the catalogue.")
    resource_id: str | None = Field(None, pattern=r"^[A-Za-z0-9_\-]+$", description="The table; datastore_search only.")
    filters: dict[str, str | int | tuple[str | int, ...]] = Field(
        default_factory=dict, description="Field → value, or values, that rows must have; datastore_search only. May hold places."
    )
    sort: str | None = Field(None, description="Order of the rows; default: _id asc, or metadata_modified asc, id asc.")
    size: int = Field(1_000, gt=0, description="Rows of a page: at most 32,000 of a table, 1,000 of the catalogue.")

    @model_validator(mode="after")
    def _action_consistent(self) -> CkanSource:
        table = self.action == "datastore_search"
        if table != (self.resource_id is not None):
            raise ValueError("datastore_search needs 'resource_id', the table; package_search has none")
        if self.filters and not table:
            raise ValueError("'filters' belongs to datastore_search; package_search takes params: {fq: …}")
        if self.size > _CAP[self.action]:
            raise ValueError(f"size: {self.action} gives {_CAP[self.action]:,} rows at most, and does not say so")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/api/3/action/{self.action}"


class Ckan(Protocol[CkanSource]):
    """Pages by offset, with a total."""

    name: ClassVar[str] = "ckan"
    Source: ClassVar[type[SourceBase]] = CkanSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: CkanSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: CkanSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        query = query_of(source, step)
        if source.action == "datastore_search":
            query |= {"resource_id": source.resource_id or "", "include_total": "true"}
            query |= {"q": _as_json(query["q"])} if "q" in query else {}
            if source.filters:
                query["filters"] = json.dumps({name: _filled(v, step) for name, v in source.filters.items()}, ensure_ascii=False)
        else:
            query.setdefault("q", "*:*")
        size, start = _PAGE[source.action]
        query |= {"sort": source.sort or _ORDER[source.action], size: str(source.size), start: str(cursor.offset)}
        return asked(source.address, query, source.auth, step, cursor, safe="", headers={"Accept": "application/json"})

    def classify(self, source: CkanSource, request: Request, response: Response) -> Outcome:
        found = around(response, _RECORDS[source.action])
        by = by_status(response.status, response.headers)
        if found is not None and found.fields.get("success") is False:
            return _refused(found, by)
        if by is not None:
            return by
        if not response.complete:
            return Transient("the connection ended before the end of the page")
        if found is None:
            return Malformed("no JSON in place of CKAN's answer")
        if not found.ended:
            return Transient("the page is cut off: its JSON does not end")
        if found.fields.get("success") is not True or not found.records:
            return Malformed(f"no success with {_RECORDS[source.action]}")
        return _page(source, request, found)

    def parse(self, feed: Feed, source: CkanSource, bodies: Sequence[Body]) -> RowStream:
        return rows_of_pages(feed, bodies, ("result", _RECORDS[source.action]))

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        before, found, action = parts.path.rstrip("/").partition("/api/3/action/")
        if not found or action not in _RECORDS or parts.hostname in _NO_CKAN:
            return None
        query = {n: v for n, v in parse_qsl(parts.query) if n not in (*_PAGE[action], "sort", "filters", "include_total")}
        resource = query.pop("resource_id", None)
        source: dict[str, Any] = {"protocol": self.name, "base_url": f"{parts.scheme}://{parts.netloc}{before}", "action": action}
        return source | ({"resource_id": resource} if resource else {}) | ({"params": query} if query else {})


def _filled(value: Any, step: Step) -> Any:
    if isinstance(value, tuple):
        return [_filled(one, step) for one in value]
    return fill(value, step) if isinstance(value, str) else value


def _as_json(q: str) -> str:
    """What a table is searched for, which must itself be JSON in a GET: text in quotes, or an object by column."""
    try:
        told = json.loads(q)
    except ValueError:
        told = None
    return q if isinstance(told, str | dict) else json.dumps(q, ensure_ascii=False)


def _refused(found: Around, by: Outcome | None) -> Outcome:
    """What `success: false` means, by the error's type; a type that is not known means what the status means."""
    kind = found.text("__type") or ""
    reason = f"{kind}: {found.text('message') or ''}".strip(": ")[:200] or "success: false"
    if kind in ("Authorization Error", "Access denied"):
        return AuthFailed(reason)
    if kind == "Not Found Error":
        return Gone(reason)
    if kind in ("Validation Error", "Search Query Error", "Search Error"):
        return BadRequest(reason)
    if kind in ("Internal Server Error", "Search Index Error"):
        return Transient(reason)
    return by if by is not None else Malformed(f"an error of unknown type: {reason}")


def _page(source: CkanSource, request: Request, found: Around) -> Outcome:
    total = found.number(_TOTAL[source.action])
    if total is None:
        return Malformed(f"a page without '{_TOTAL[source.action]}'")
    if found.fields.get("total_was_estimated") is True:
        return Ok()  # an estimate cannot be asserted: the pages end where one is empty
    if total == 0 and request.page == 1:
        return Empty(f"{_TOTAL[source.action]} 0")
    return Ok(PageInfo(total=total, page_size=found.number("limit")))


PROTOCOL = Ckan()
