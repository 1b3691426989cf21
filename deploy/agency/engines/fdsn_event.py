"""An FDSN event service over events as GeoJSON features, or as rows of the text format (protocols.md 3.13).

A search without a first day covers the last 30, both ends of its time are meant, and the offset counts from 1. Errors are text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply, http_date, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

HEADER = (
    "EventID", "Time", "Latitude", "Longitude", "Depth/Km", "Author", "Catalog", "Contributor", "ContributorID", "MagType",
    "Magnitude", "MagAuthor", "EventLocationName", "EventType",
)  # fmt: skip
WORDS = {
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 413: "Request Entity Too Large",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
KNOWN = frozenset(
    {
        "format", "starttime", "start", "endtime", "end", "minlatitude", "minlat", "maxlatitude", "maxlat", "minlongitude",
        "minlon", "maxlongitude", "maxlon", "minmagnitude", "minmag", "maxmagnitude", "maxmag", "eventtype", "updatedafter",
        "orderby", "limit", "offset", "nodata", "includedeleted", "jsonerror",
    }
)  # fmt: skip


class FdsnOptions(Strict):
    """`most`: events of one search; more are refused. `counts`: whether there is /count; a centre without it is the FDSN's own."""

    most: int = Field(20_000, gt=0)
    counts: bool = False


class _Wrong(Exception):
    """A search that is refused."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class FdsnEvent(Engine):
    """`/query` and `/count` below the service's address."""

    name: ClassVar[str] = "fdsn_event"
    Options: ClassVar[type[Strict]] = FdsnOptions
    PREFIX: ClassVar[bool] = True
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "fdsn_error", "json_error", "count_is_more", "no_data", "offset_ignored", "page_size_capped",
            "duplicate_rows_between_pages", "short_count", "header_only",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options, params = cast(FdsnOptions, route.settings), asked.params
        kind = asked.path.rstrip("/").rpartition("/")[2]
        try:
            if fault := asked.fault("fdsn_error") or asked.fault("json_error"):
                raise _Wrong(fault.number(400), "As switched on")
            if kind not in ("query", "count") or (kind == "count" and not options.counts):
                raise _Wrong(404, "Not Found")
            if unknown := sorted(params.keys() - KNOWN):
                raise _Wrong(400, f'Unknown parameter "{unknown[0]}".')
            events = [] if asked.fault("no_data") else _found(rows_of(source), params, asked)
            if kind == "count":
                return _count(len(events), options, params, asked)
            return _query(events, options, params, asked)
        except _Wrong as wrong:
            return _error(wrong, params, asked)
        except ValueError:
            return _error(_Wrong(400, "Bad value of a parameter."), params, asked)


def _time(row: Row) -> datetime:
    if "properties" in row:
        return datetime.fromtimestamp(row["properties"]["time"] / 1000, UTC)
    return _moment(row["Time"])


def _moment(given: str) -> datetime:
    found = datetime.fromisoformat(given)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _number(row: Row, name: str) -> float:
    if "properties" not in row:
        return float(row[name] or "nan")
    longitude, latitude, _ = row["geometry"]["coordinates"]
    return float({"Latitude": latitude, "Longitude": longitude}.get(name, row["properties"]["mag"]))


def _found(rows: Sequence[Row], params: dict[str, str], asked: Asked) -> list[Row]:
    """Raises _Wrong or ValueError. Events that the search meets, in its order."""
    begin = _moment(params.get("starttime") or params.get("start") or (asked.now - timedelta(days=30)).isoformat())
    until = _moment(params.get("endtime") or params.get("end") or asked.now.isoformat())
    kept = [row for row in rows if begin <= _time(row) <= until]
    for name, column in (("latitude", "Latitude"), ("longitude", "Longitude"), ("magnitude", "Magnitude")):
        least = float(params.get(f"min{name}") or params.get(f"min{name[:3]}") or "-inf")
        most = float(params.get(f"max{name}") or params.get(f"max{name[:3]}") or "inf")
        kept = [row for row in kept if least <= _number(row, column) <= most]
    if since := params.get("updatedafter"):
        after = _moment(since).timestamp() * 1000
        kept = [row for row in kept if "properties" not in row or row["properties"]["updated"] >= after]
    if params.get("includedeleted") != "true":
        alive = [row for row in kept if row.get("properties", {}).get("status") != "deleted"]
        if kept and not alive:
            raise _Wrong(409, 'The requested event has been deleted. Perform a search and use the "includedeleted" option.')
        kept = alive
    order = params.get("orderby", "time")
    if order not in ("time", "time-asc", "magnitude", "magnitude-asc"):
        raise _Wrong(400, f'Bad orderby value "{order}".')
    return sorted(kept, key=_time, reverse=order == "time")


def _count(total: int, options: FdsnOptions, params: dict[str, str], asked: Asked) -> Reply:
    total += asked.fault("count_is_more") is not None
    total -= asked.fault("short_count") is not None
    if params.get("format") != "geojson":
        return text(200, str(total))
    told: Row = {"count": total, "maxAllowed": options.most}
    if total > options.most:
        told["error"] = f"{_too_many(total, options)} A query using these search parameters would fail."
    return json_reply(told, content_type="application/json").with_headers(date=http_date(asked.now))


def _too_many(total: int, options: FdsnOptions) -> str:
    return f"{total} matching events exceeds search limit of {options.most}. Modify the search to match fewer events."


def _query(events: Sequence[Row], options: FdsnOptions, params: dict[str, str], asked: Asked) -> Reply:
    form = params.get("format", "xml")
    if form not in ("geojson", "json", "text"):
        raise _Wrong(400, f'Bad format value "{form}".')
    limit, offset = int(params.get("limit", str(options.most))), int(params.get("offset", "1"))
    if not 0 <= limit <= options.most or offset < 1:
        raise _Wrong(400, f"Bad limit value. Valid values are 0 <= limit <= {options.most}")
    if len(events) > options.most:
        raise _Wrong(400 if options.counts else 413, _too_many(len(events), options))
    if asked.fault("offset_ignored"):
        offset = 1
    if asked.fault("duplicate_rows_between_pages") and 1 < offset <= len(events):
        events = [*events[: offset - 1], events[offset - 2], *events[offset:]]
    capped = asked.fault("page_size_capped")
    page = events[offset - 1 : offset - 1 + (min(limit, capped.number(3)) if capped else limit)]
    if not page and form != "geojson" and not asked.fault("header_only"):
        raise _Wrong(int(params.get("nodata", "204")), "Not Found: No data matches the search")
    if form == "text":
        cells = ("|".join(str(row.get(name, "")) for name in HEADER) for row in page)
        return text(200, "#" + "\n".join(["|".join(HEADER), *cells]) + "\n")
    about: Row = {"generated": int(asked.now.timestamp() * 1000), "url": f"https://{asked.host}{asked.path}?{asked.raw_query}"}
    about |= {"title": "USGS Earthquakes", "status": 200, "api": "1.14.1"}
    # a page says its limit, but no count; a whole answer says its count
    about |= {"limit": limit, "offset": offset} if "limit" in params and not capped else {} if capped else {"count": len(page)}
    return json_reply({"type": "FeatureCollection", "metadata": about, "features": page}, content_type="application/json")


def _error(wrong: _Wrong, params: dict[str, str], asked: Asked) -> Reply:
    if wrong.status == 204:
        return Reply(204, {}, b"")
    if params.get("jsonerror") == "true" or asked.fault("json_error"):
        about = {"generated": 1, "url": "", "title": "Search Error", "status": wrong.status, "api": "1.14.1", "error": str(wrong)}
        body = json.dumps({"type": "FeatureCollection", "metadata": about, "features": []}).encode()
        return Reply(200, {"content-type": "application/json"}, body)
    lines = (
        f"Error {wrong.status}: {WORDS.get(wrong.status, 'Error')}", str(wrong),
        f"Usage details are available from https://{asked.host}/fdsnws/event/1", f"Request:\n{asked.path}?{asked.raw_query}",
        f"Request Submitted:\n{asked.now.astimezone(UTC):%Y-%m-%dT%H:%M:%S+00:00}", "Service version:\n1.14.1",
    )  # fmt: skip
    return text(wrong.status, "\n\n".join(lines) + "\n")


ENGINE = FdsnEvent()
