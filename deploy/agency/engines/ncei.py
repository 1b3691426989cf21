"""NCEI's three services over the rows of a JSON list: records, the search for stations, and CDO v2 (protocols.md 3.14).

Values are padded text, what a station does not measure is left out, both ends of a span are meant, and each service has its own
form of an error.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.engines.indexed import page_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

ALWAYS = ("STATION", "DATE", "NAME")


class NceiOptions(Strict):
    """Which service stands at the path; `largest`: most rows of a page."""

    service: Literal["data", "search", "cdo"] = "data"
    largest: int = Field(1_000, gt=0)


class _Bad(Exception):
    """What is wrong with a question: field → message."""

    def __init__(self, **fields: str) -> None:
        super().__init__(str(fields))
        self.fields = fields


class Ncei(Engine):
    """One service a route."""

    name: ClassVar[str] = "ncei"
    Options: ClassVar[type[Strict]] = NceiOptions
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "access_error", "per_second_429", "quota_after_n", "offset_ignored", "page_size_capped", "total_changes_mid_crawl",
            "duplicate_rows_between_pages", "no_data", "element_missing", "no_total",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = cast(NceiOptions, route.settings)
        rows = [] if asked.fault("no_data") else rows_of(source)
        if fault := asked.fault("access_error"):
            return _error(fault.number(400), "As switched on", {})
        try:
            if options.service == "cdo":
                return _cdo(rows, asked, options)
            return (_data if options.service == "data" else _search)(rows, asked, options)
        except _Bad as bad:
            return _error(400, "Bad Request", bad.fields)


def _error(status: int, message: str, fields: dict[str, str]) -> Reply:
    listed = [{"field": field, "message": said, "value": None} for field, said in fields.items()]
    return json_reply({"errorMessage": message, "errorCode": status, "errors": listed}, status, "application/json")


def _days(params: dict[str, str], first: str, last: str) -> tuple[date, date]:
    """Raises _Bad."""
    missing = {name: f"A {word} date is required." for name, word in ((first, "start"), (last, "end")) if name not in params}
    if missing:
        raise _Bad(**missing)
    try:
        return date.fromisoformat(params[first][:10]), date.fromisoformat(params[last][:10])
    except ValueError:
        raise _Bad(**{first: "This is no ISO 8601 date."}) from None


def _data(rows: Sequence[Row], asked: Asked, options: NceiOptions) -> Reply:
    params = asked.params
    begin, until = _days(params, "startDate", "endDate")
    if "dataset" not in params:
        raise _Bad(dataset="A dataset is required.")
    stations, elements = params.get("stations", "").split(","), [name for name in params.get("dataTypes", "").split(",") if name]
    if asked.fault("element_missing"):
        elements = elements[1:]
    kept = [row for row in rows if row["STATION"] in stations and begin <= date.fromisoformat(row["DATE"].strip()) <= until]
    flags = params.get("includeAttributes") == "true"
    named = params.get("includeStationName") in ("true", "1")

    def wanted(name: str) -> bool:
        if name in ALWAYS:
            return name != "NAME" or named
        element = name.removesuffix("_ATTRIBUTES")
        return (not elements or element in elements) and (flags or element == name)

    found = [{name: value for name, value in row.items() if wanted(name)} for row in kept]
    if params.get("format", "csv") == "json":
        return json_reply(found, content_type="application/json")
    names = [*ALWAYS[:2], *sorted({name for row in found for name in row} - set(ALWAYS[:2]))]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return Reply(200, {"content-type": "text/csv"}, out.getvalue().encode())


def _page(rows: Sequence[Row], asked: Asked, first: int, largest: int) -> tuple[Sequence[Row], int, int]:
    """The rows of a page, how many there are, and the limit. `first`: the number of the first row. Raises _Bad."""
    try:
        limit, offset = int(asked.params.get("limit", "25")), int(asked.params.get("offset", str(first)))
    except ValueError:
        raise _Bad(limit="This is no number.") from None
    if not 1 <= limit <= largest:
        raise _Bad(limit=f"The limit must be between 1 and {largest}.")
    start = max(offset - first, 0) + 1
    page, total = page_of(rows, start, start + limit - 1, asked)
    return page if start <= len(rows) or asked.fault("offset_ignored") else [], total, limit


def _search(rows: Sequence[Row], asked: Asked, options: NceiOptions) -> Reply:
    params = asked.params
    if "dataset" not in params:
        raise _Bad(dataset="A dataset is required.")
    kept = list(rows)
    if "bbox" in params:
        try:
            north, west, south, east = (float(edge) for edge in params["bbox"].split(","))
        except ValueError:
            raise _Bad(bbox="The box needs four numbers.") from None
        if north < south:
            # a box in another order is no bad request to it
            return _error(500, "Internal Server Error", {})
        points = [(row, *row["centroid"]) for row in kept]
        kept = [row for row, lon, lat in points if south <= lat <= north and west <= lon <= east]
    page, total, _ = _page(kept, asked, 0, options.largest)
    counted = {} if asked.fault("no_total") else {"totalCount": total}
    buckets = {"stations": {"buckets": [{"key": row["stations"][0]["id"], "docCount": 1} for row in page]}}
    return json_reply({"count": len(page), **counted, **buckets, "results": page}, content_type="application/json")


def _cdo(rows: Sequence[Row], asked: Asked, options: NceiOptions) -> Reply:
    params, token = asked.params, asked.headers.get("token", "")
    if not token:
        return json_reply({"status": "400", "message": "Token parameter is required."}, 400)
    if token != asked.key:
        return json_reply({"status": "400", "message": "The token parameter provided is not valid."}, 400)
    if (busy := asked.fault("per_second_429")) and busy.count <= busy.number(10**9):
        return json_reply({"status": "429", "message": "This token has reached its temporary request limit of 5 per second."}, 429)
    over = asked.fault("quota_after_n")
    if (over and over.count > over.number(1)) or not asked.spend():
        return json_reply({"status": "429", "message": "This token has reached its temporary request limit of 10000 per day."}, 429)
    try:
        begin, until = _days(params, "startdate", "enddate")
        if (until - begin).days >= 366:
            raise _Bad(startdate="The date range must be less than 1 year.")
        stations = params.get("stationid", "").split(",")
        kept = [r for r in rows if r["station"] in stations and begin <= date.fromisoformat(r["date"][:10]) <= until]
        types = [name for name in params.get("datatypeid", "").split(",") if name]
        page, total, limit = _page([r for r in kept if not types or r["datatype"] in types], asked, 1, options.largest)
    except _Bad as bad:
        said = next(iter(bad.fields.values()))
        told = {"statusCode": "400", "userMessage": "There was an error with the request.", "developerMessage": said}
        return json_reply(told, 400)
    if not page:
        return json_reply({})
    about = {"resultset": {"offset": int(params.get("offset", "1")), "count": total, "limit": limit}}
    return json_reply({"metadata": about, "results": page})


ENGINE = Ncei()
