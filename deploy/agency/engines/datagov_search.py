"""data.gov's search over a JSON list of its results: `after`, an opaque cursor; the gateway's key; errors (protocols.md 3.1)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

UNAVAILABLE = b"<!DOCTYPE html>\n<html><head><title>Site unavailable</title></head><body>Site unavailable</body></html>\n"
SORTS = ("relevance", "popularity", "distance", "last_harvested_date")


class DatagovOptions(Strict):
    """`key`: whether the gateway stands before it, and wants a key; `largest`: most data sets of a page."""

    key: bool = True
    largest: int = Field(1_000, gt=0)


class DatagovSearch(Engine):
    """`/search`. The path of the CKAN that it was answers 404, as every other."""

    name: ClassVar[str] = "datagov_search"
    Options: ClassVar[type[Strict]] = DatagovOptions
    PREFIX: ClassVar[bool] = True
    SECRETS: ClassVar[tuple[str, ...]] = (r"(api_key=)([^&]*)",)
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "cursor_ignored", "cursor_loops", "cursor_rejected", "empty_page_more_true", "page_size_capped", "no_data",
            "over_rate_limit", "sort_ignored", "duplicate_rows_between_pages",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options, params = cast(DatagovOptions, route.settings), asked.params
        if options.key and (refused := _gateway(asked)) is not None:
            return refused
        if (busy := asked.fault("over_rate_limit")) and busy.count <= busy.number(10**9):
            return _error(429, "OVER_RATE_LIMIT", "You have exceeded your rate limit.").with_headers(retry_after="1")
        if not asked.path.rstrip("/").endswith("/search") or "/action/" in asked.path:
            return json_reply({"error": "Not Found"}, 404)
        try:
            size, start = int(params.get("per_page", "20")), _start(params.get("after"))
        except (ValueError, TypeError, IndexError):
            return Reply(500, {"content-type": "text/html; charset=utf-8"}, UNAVAILABLE)
        if not 1 <= size <= options.largest:
            told = {"query": {"per_page": [f"Must be greater than or equal to 1 and less than or equal to {options.largest}."]}}
            return json_reply({"message": "Validation error", "detail": told}, 422)
        return _page(_found(rows_of(source), params, asked), size, start, asked)


def _gateway(asked: Asked) -> Reply | None:
    given = asked.headers.get("x-api-key") or asked.params.get("api_key", "")
    if not given:
        return _error(403, "API_KEY_MISSING", "No api_key was supplied. Get one at https://api.data.gov/signup/")
    if given != asked.key:
        return _error(403, "API_KEY_INVALID", "An invalid api_key was supplied. Get one at https://api.data.gov/signup/")
    return None


def _error(status: int, code: str, message: str) -> Reply:
    return json_reply({"error": {"code": code, "message": message}}, status, "application/json")


def _start(after: str | None) -> list[object] | None:
    """The sort values behind which the page begins. Raises ValueError where the cursor is none."""
    if after is None:
        return None
    values = json.loads(base64.urlsafe_b64decode(after.encode("ascii")))
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError("no cursor")
    return values


def _found(rows: Sequence[Row], params: dict[str, str], asked: Asked) -> list[Row]:
    kept = [] if asked.fault("no_data") else list(rows)
    if words := params.get("q", "").lower():
        kept = [row for row in kept if words in json.dumps(row, ensure_ascii=False).lower()]
    if slug := params.get("org_slug"):
        kept = [row for row in kept if row.get("organization", {}).get("slug") == slug]
    return kept


def _order(row: Row, sort: str) -> list[object]:
    """What the catalogue sorts by: the greatest first, ties by slug."""
    by = {"last_harvested_date": str(row.get("last_harvested_date")), "popularity": f"{row.get('popularity', 0):09d}"}
    return [by.get(sort, "1.0"), f"{row.get('popularity', 0):09d}", row["slug"]]


def _page(rows: list[Row], size: int, start: list[object] | None, asked: Asked) -> Reply:
    sort = asked.params.get("sort", "relevance")
    sort = sort if sort in SORTS and not asked.fault("sort_ignored") else "relevance"
    rows = sorted(sorted(rows, key=lambda row: str(row["slug"])), key=lambda row: str(_order(row, sort)[:2]), reverse=True)
    sorted_by = [_order(row, sort) for row in rows]
    if start is not None and asked.fault("cursor_rejected"):
        return Reply(500, {"content-type": "text/html; charset=utf-8"}, UNAVAILABLE)
    begin = 0 if start is None or asked.fault("cursor_ignored") else sorted_by.index(start) + 1 if start in sorted_by else len(rows)
    if asked.fault("duplicate_rows_between_pages") and 0 < begin < len(rows):
        rows = [*rows[:begin], rows[begin - 1], *rows[begin + 1 :]]
    if capped := asked.fault("page_size_capped"):
        size = min(size, capped.number(3))
    page = [{**row, "_score": 1.0, "_sort": sorted_by[begin + n]} for n, row in enumerate(rows[begin : begin + size])]
    whole: Row = {"results": page, "sort": sort}
    if begin + size < len(rows):
        last = start if start is not None and asked.fault("cursor_loops") else sorted_by[begin + size - 1]
        whole["after"] = base64.urlsafe_b64encode(json.dumps(last, separators=(",", ":")).encode()).decode()
    if asked.fault("empty_page_more_true") and start is not None:
        whole["results"] = []
    return json_reply(dict(sorted(whole.items())), content_type="application/json")


ENGINE = DatagovSearch()
