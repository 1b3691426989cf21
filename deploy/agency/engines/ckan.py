"""A CKAN site over the rows of a JSON list: a datastore table or a catalogue, caps that are not told, errors (protocols.md 3.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

ERRORS = {
    "400": "",
    "403": "Authorization Error",
    "404": "Not Found Error",
    "409": "Validation Error",
    "500": "Internal Server Error",
}
_SINCE = re.compile(r"metadata_modified:\[(\S+) TO \*\]")


class CkanOptions(Strict):
    """One table or the catalogue of a site. Without `resource_id` the rows are data sets."""

    resource_id: str | None = None
    largest: int = Field(32_000, gt=0, description="Most rows of a page; more are not given, and nothing is said.")
    token: bool = Field(False, description="Only for those who bring the token.")


class Site(Engine):
    """datastore_search and package_search."""

    name: ClassVar[str] = "ckan"
    Options: ClassVar[type[Strict]] = CkanOptions
    PREFIX: ClassVar[bool] = True
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "page_size_capped", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl", "estimated_total",
            "ckan_error", "ckan_error_200", "no_data",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, CkanOptions)
        action, params = asked.path.rpartition("/")[2], asked.params
        if options.token and asked.headers.get("authorization") != asked.key:
            return error("403", "Access denied")
        for name in ("ckan_error", "ckan_error_200"):
            if fault := asked.fault(name):
                return error(fault.argument or "500", "As switched on", 200 if name.endswith("200") else None)
        if action != ("datastore_search" if options.resource_id else "package_search"):
            return text(404, "404 Not Found")
        table = action == "datastore_search"
        if table and params.get("resource_id") != options.resource_id:
            return error("404", "Resource was not found")
        try:
            limit = int(params.get("limit" if table else "rows", "100" if table else "10"))
            start = int(params.get("offset" if table else "start", "0"))
            rows = _filtered(rows_of(source), params)
        except (ValueError, AttributeError):
            return error("409", "A parameter is wrong")
        if asked.fault("no_data"):
            rows = []
        rows = _ordered(rows, params.get("sort", ""), start)
        if asked.fault("offset_ignored"):
            start = 0
        limit = min(limit, options.largest if table else min(options.largest, 1000))
        if capped := asked.fault("page_size_capped"):
            limit = min(limit, capped.number(3))
        if asked.fault("duplicate_rows_between_pages"):
            rows = [rows[i - 1] if i and i % limit == 0 else row for i, row in enumerate(rows)]
        total = len(rows)
        if (changes := asked.fault("total_changes_mid_crawl")) and start and changes.count <= changes.number(2):
            total += start
        page = rows[start : start + limit]
        if not table:
            return json_reply({"help": "?", "success": True, "result": {"count": total, "facets": {}, "results": page, "sort": ""}})
        estimated = asked.fault("estimated_total") is not None
        result = {
            "include_total": True, "limit": limit, "records": page,
            "fields": [{"id": n, "type": "text"} for n in (page or [{}])[0]],
            "_links": {"start": "/api", "next": "/api?offset"}, "records_truncated": len(page) < total,
            "total": total + 1000 if estimated else total, "total_was_estimated": estimated,
        }  # fmt: skip
        return json_reply({"help": "?", "success": True, "result": result})


def _filtered(rows: Sequence[Row], params: dict[str, str]) -> list[Row]:
    """Raises ValueError or AttributeError where a filter is no JSON object."""
    kept = list(rows)
    for name, value in json.loads(params.get("filters", "{}")).items():
        wanted = [str(v) for v in (value if isinstance(value, list) else [value])]
        kept = [row for row in kept if str(row.get(name)) in wanted]
    if since := _SINCE.search(params.get("fq", "")):
        kept = [row for row in kept if f"{row['metadata_modified']}Z" >= since[1]]
    return kept


def _ordered(rows: list[Row], sort: str, start: int) -> list[Row]:
    """By the named fields; without an order, another one on each page."""
    names = [part.split()[0] for part in sort.split(",") if part.strip()]
    if not names:
        return rows[::-1] if start % 2 else rows
    return sorted(rows, key=lambda row: [(isinstance(row.get(n), str), row.get(n)) for n in names])


def error(code: str, message: str, status: int | None = None) -> Reply:
    whole: dict[str, Any] = {"help": "?", "success": False, "error": {"__type": ERRORS.get(code, "Odd Error"), "message": message}}
    return json_reply(whole, status or int(code))


ENGINE = Site()
