"""Weather and climate records of NOAA's NCEI: the Access Data Service, its search, and the old CDO v2 (protocols.md 3.14).

Here are the three services' parameters: each has its own names for the same things, and its own order of a box. What answers mean
and how rows are read is `ncei_answers.py`. The bulk files of GHCN-Daily are plain files (`http_file`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.json_answers import asked
from assets.protocols.answers.ncei_answers import meaning, rows_of
from assets.protocols.kernel import (
    Auth,
    Body,
    Cursor,
    Limits,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.protocols.queries import QuerySource, query_of, steps_of
from quality.contract import Strict

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

HOST = "https://www.ncei.noaa.gov"
PATHS = {"data": "/access/services/data/v1", "search": "/access/services/search/v1/data", "cdo": "/cdo-web/api/v2/data"}
LARGEST_PAGE = 1_000
CDO_TOKEN: dict[str, Any] = {"kind": "header_key", "name": "token", "secret": "NOAA_CDO_TOKEN"}
CDO_LIMITS: dict[str, Any] = {"per_second": 4, "per_day": 10_000, "reset": "00:00 America/New_York", "concurrency": 1}
"""One below the five a second that are allowed: they are counted on the agency's clock."""
_NAMES = {
    "data": ("dataset", "stations", "dataTypes", "boundingBox", "startDate", "endDate"),
    "search": ("dataset", "stations", "dataTypes", "bbox", "startDate", "endDate"),
    "cdo": ("datasetid", "stationid", "datatypeid", "extent", "startdate", "enddate"),
}
_OWN = frozenset(name for names in _NAMES.values() for name in names) | {
    "format", "units", "limit", "offset", "includeAttributes", "includemetadata", "token",
}  # fmt: skip


class Box(Strict):
    """A part of the earth, in degrees. Each service has its own order of the four; here they have names."""

    north: float = Field(ge=-90, le=90, description="Northern edge.")
    west: float = Field(ge=-180, le=180, description="Western edge.")
    south: float = Field(ge=-90, le=90, description="Southern edge.")
    east: float = Field(ge=-180, le=180, description="Eastern edge.")

    @model_validator(mode="after")
    def _north_above(self) -> Box:
        if self.south >= self.north:
            raise ValueError("box: 'north' must be above 'south'")
        return self

    def text(self, service: str) -> str:
        """NCEI wants the north-western corner first, then the south-eastern one; CDO the south-western, then the north-eastern."""
        order = (
            (self.south, self.west, self.north, self.east) if service == "cdo" else (self.north, self.west, self.south, self.east)
        )
        return ",".join(f"{value:g}" for value in order)


class NceiSource(QuerySource):
    """`source:` of records, of the stations and files that hold them, or of records by the old service."""

    sends_span: ClassVar[bool] = True
    protocol: Literal["ncei"]
    base_url: str = Field(HOST, pattern=r"^https?://[^\s/?#]+$", description="Address of the agency, without a path.")
    service: Literal["data", "search", "cdo"] = Field(
        "data", description="data: records; search: the files and stations that hold them; cdo: records by CDO v2, with a token."
    )
    dataset: str = Field(
        pattern=r"^[A-Za-z0-9_\-]+$", description="daily-summaries, global-summary-of-the-month, global-hourly, …; GHCND with cdo."
    )
    stations: tuple[str, ...] = Field((), description="Stations: USW00094728; with cdo GHCND:USW00094728.")
    data_types: tuple[str, ...] = Field(
        (), description="Elements: TMAX, TMIN, PRCP. One that no row has becomes null, not a fault."
    )
    box: Box | None = Field(None, description="Part of the earth, in place of stations.")
    units: Literal["metric", "standard"] = Field("metric", description="Units of the values; search has none.")
    format: Literal["json", "csv"] = Field("json", description="What the service `data` answers with.")
    attributes: bool = Field(
        False, description="Ask for the flags too, as {element}_ATTRIBUTES: measurement, quality, source. data only."
    )
    failed_checks: Literal["keep", "status"] = Field(
        "keep", description="A value with a quality flag: as it is, or `QFLAG X` in its place, for null_values and {column}_status."
    )
    size: int = Field(LARGEST_PAGE, gt=0, le=LARGEST_PAGE, description="Rows of a page; the service data has no pages.")
    total: str = Field(
        "totalCount", description="search: field that counts what is found; where it is missing pages end with an empty one."
    )

    @model_validator(mode="after")
    def _the_old_services_own(self) -> NceiSource:
        """CDO asks for a token, and has its limits, where the declaration says nothing else."""
        if self.service != "cdo":
            return self
        auth = Auth.model_validate(CDO_TOKEN | _said(self.auth))
        return self.model_copy(update={"auth": auth, "limits": Limits.model_validate(CDO_LIMITS | _said(self.limits))})

    @model_validator(mode="after")
    def _service_consistent(self) -> NceiSource:
        if taken := sorted(_OWN & self.params.keys()):
            raise ValueError(
                f"params: '{taken[0]}' has a field of its own: dataset, stations, data_types, box, window, units, format, size"
            )
        if self.service != "search" and not (self.stations or self.box or self.params):
            raise ValueError("say of which place: 'stations', a 'box', or params such as locationid")
        if self.service != "search" and self.window is None:
            raise ValueError("say of which days: a 'window', like window: {every: day, count: 30, requests: one}")
        if self.service != "data" and (self.format != "json" or self.attributes):
            raise ValueError("'format: csv' and 'attributes' belong to the service data")
        if self.failed_checks == "status" and not (self.attributes and self.data_types):
            raise ValueError("failed_checks: status needs 'attributes: true', which bring the flags, and 'data_types'")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url}{PATHS[self.service]}"


class Ncei(Protocol[NceiSource]):
    """Records whole; searches and the old service in pages by offset."""

    name: ClassVar[str] = "ncei"
    Source: ClassVar[type[SourceBase]] = NceiSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: NceiSource, when: When) -> Iterable[Step]:
        steps = steps_of(feed, source, when)
        for step in steps:
            if source.service == "cdo" and step.params["end"] - step.params["start"] > timedelta(days=366):
                raise ValueError("source.window: CDO gives at most a year at once; take every: year with requests: each")
        return steps

    def request(self, feed: Feed, source: NceiSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        dataset, stations, types, box, start, end = _NAMES[source.service]
        query = {dataset: source.dataset, stations: ",".join(source.stations), types: ",".join(source.data_types)}
        query[box] = source.box.text(source.service) if source.box else ""
        if "start" in step.params:  # both ends are meant, as days
            query[start] = f"{step.params['start']:%Y-%m-%d}"
            query[end] = f"{step.params['end'] - timedelta(microseconds=1):%Y-%m-%d}"
        query |= query_of(source, step)
        if source.service != "search":
            query["units"] = source.units
        if source.service == "data":
            query |= {"format": source.format, "includeAttributes": "true" if source.attributes else ""}
        else:
            # CDO counts rows from 1
            query |= {"limit": str(source.size), "offset": str(cursor.offset + (source.service == "cdo"))}
        query = {name: value for name, value in query.items() if value}
        accept = {"Accept": "text/csv" if source.format == "csv" else "application/json"}
        return asked(source.address, query, source.auth, step, cursor, headers=accept)

    def classify(self, source: NceiSource, request: Request, response: Response) -> Outcome:
        return meaning(
            source.service,
            source.format,
            source.total,
            request,
            response,
        )

    def parse(self, feed: Feed, source: NceiSource, bodies: Sequence[Body]) -> RowStream:
        form = "results" if source.service != "data" else source.format
        flags = source.failed_checks == "status"
        return rows_of(feed, bodies, form, source.data_types, attributes=source.attributes, flags=flags)

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From an address of one of the three services; the days become a window of the last 30."""
        parts = urlsplit(url)
        service = next((name for name, path in PATHS.items() if parts.path.rstrip("/") == path), None)
        if service is None or not re.fullmatch(r"www\.nc(?:ei|dc)\.noaa\.gov", parts.hostname or ""):
            return None
        query = dict(parse_qsl(parts.query))
        dataset, stations, types, box, _, _ = (query.get(name, "") for name in _NAMES[service])
        source: dict[str, Any] = {"protocol": self.name, "service": service, "dataset": dataset or "daily-summaries"}
        source |= {field: value.split(",") for field, value in (("stations", stations), ("data_types", types)) if value}
        source |= {"window": {"every": "day", "count": 30, "requests": "one"}} if service != "search" else {}
        source |= {"units": query["units"]} if query.get("units") == "standard" else {}
        source |= {"format": "csv"} if service == "data" and query.get("format", "csv") == "csv" else {}
        if (edges := re.fullmatch(r"(-?[\d.]+),(-?[\d.]+),(-?[\d.]+),(-?[\d.]+)", box)) is not None:
            names = ("south", "west", "north", "east") if service == "cdo" else ("north", "west", "south", "east")
            source["box"] = {name: float(value) for name, value in zip(names, edges.groups(), strict=True)}
        given = {name: value for name, value in query.items() if name not in _OWN}
        return source | ({"params": given} if given else {})


def _said(block: Strict) -> dict[str, Any]:
    """What a declaration says of a block, without its defaults."""
    return {name: getattr(block, name) for name in block.model_fields_set}


PROTOCOL = Ncei()
