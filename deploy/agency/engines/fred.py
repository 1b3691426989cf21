"""FRED over the rows of a JSON list: observations of a series by offset, from a key's holder (protocols.md 3.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from deploy.agency.engine import Asked, Engine, json_reply, rows_of
from deploy.agency.engines.indexed import page_of
from deploy.agency.replies import Reply

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

MOST_ROWS = 100_000
MESSAGES = {
    "key": "Bad Request.  The value for variable api_key is not registered.",
    "no_key": "Bad Request.  Variable api_key is not set.",
    "series": "Bad Request.  The series does not exist.",
    "limit": "Bad Request.  Variable limit is not between 1 and 100000.",
    "date": "Bad Request.  Variable observation_start is not a date.",
}


class Fred(Engine):
    """Pages of the series' rows; XML to those who do not ask for JSON. The daily quota stands for the 120 a minute."""

    name: ClassVar[str] = "fred"
    SECRETS: ClassVar[tuple[str, ...]] = (r"(api_key=)([^&]*)",)
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {"offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl", "page_size_capped", "status_429"}
    )

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        params = asked.params
        throttled = asked.fault("status_429")
        if (throttled and throttled.count <= throttled.number(10**9)) or not asked.spend():
            return error(429, "Too Many Requests.  Exceeded Rate Limit").with_headers(retry_after="1")
        if params.get("api_key", "") != asked.key:
            return error(400, MESSAGES["key" if params.get("api_key") else "no_key"])
        if params.get("file_type", "xml") != "json":
            return Reply(200, {"content-type": "text/xml"}, b'<?xml version="1.0"?>\n<observations count="0"/>')
        rows = [row for row in rows_of(source) if row["series_id"] == params.get("series_id")]
        if not rows:
            return error(400, MESSAGES["series"])
        size, offset = params.get("limit", str(MOST_ROWS)), params.get("offset", "0")
        if not size.isdigit() or not 1 <= int(size) <= MOST_ROWS or not offset.isdigit():
            return error(400, MESSAGES["limit"])
        first, last = params.get("observation_start", "1776-07-04"), params.get("observation_end", "9999-12-31")
        if len(first) != 10:
            return error(400, MESSAGES["date"])
        today = f"{asked.now:%Y-%m-%d}"
        seen = {"realtime_start": params.get("realtime_start", today), "realtime_end": params.get("realtime_end", today)}
        rows = [{**seen, "date": row["date"], "value": row["value"]} for row in rows if first <= row["date"] <= last]
        found, total = page_of(rows, int(offset) + 1, int(offset) + int(size), asked)
        about = {**seen, "units": "lin", "sort_order": params.get("sort_order", "asc")}
        return json_reply({**about, "count": total, "offset": int(offset), "limit": int(size), "observations": list(found)})


def error(code: int, message: str) -> Reply:
    return json_reply({"error_code": code, "error_message": message}, code)


ENGINE = Fred()
