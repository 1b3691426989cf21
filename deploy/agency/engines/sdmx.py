"""What the stand-in's two SDMX services share: keys and periods, CSV 1.0 and 2.0, TSV, error messages, exports that take time."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row
from deploy.agency.replies import Reply, etag_of, http_date, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Source

CSV1, CSV2, TSV = "csv1", "csv2", "tsv"
HIDDEN = ("_updated", "_deleted")
"""Fields of a row that the service knows and does not show: when it changed, and whether it was taken back."""
_NAMESPACES = (
    'xmlns:mes="http://www.sdmx.org/resources/sdmxml/schemas/v2_1/message" '
    'xmlns:com="http://www.sdmx.org/resources/sdmxml/schemas/v2_1/common" '
    'xmlns:str="http://www.sdmx.org/resources/sdmxml/schemas/v2_1/structure" '
    'xmlns:footer="http://www.sdmx.org/resources/sdmxml/schemas/v2_1/message/footer"'
)
STATUS = {"100": 404, "110": 401, "130": 413, "140": 400, "150": 403, "500": 500, "501": 501, "503": 503, "510": 413}


class SdmxOptions(Strict):
    """One dataflow of a service. `first`: the header that a CSV of the service's own begins with, in place of DATAFLOW."""

    flow: str
    agency: str
    version: str = "1.0"
    dimensions: tuple[str, ...] = Field(min_length=1)
    first: str | None = None
    formats: dict[str, str] = Field(default_factory=dict, description="Word of the format= parameter → csv1, csv2 or tsv.")
    synchronous: int | None = Field(None, gt=0, description="Most observations of one answer; above it an export is made.")
    maximum: int | None = Field(None, gt=0, description="Most observations of an export: EXTRACTION_TOO_BIG above it.")
    polls: int = Field(2, ge=0, description="Looks at an export until it is there.")
    updated_after: bool = Field(True, description="Whether updatedAfter is supported; else 501.")


class SdmxEngine(Engine):
    """What both services do with the rows that a query chose."""

    FAULTS = frozenset({"async_footer", "sdmx_error", "sdmx_error_200", "no_data"})
    PREFIX = True

    def early(self, options: SdmxOptions, source: Source, asked: Asked) -> Reply | None:
        """What does not depend on the query: exports, structures, switched faults."""
        if "/async/" in asked.path:
            return self._export(asked)
        if "/data/" not in asked.path:
            return structure(options) if "datastructure/" in asked.path else text(404, "no such artefact")
        if asked.fault("no_data"):
            return error("100", "No results found")
        if fault := asked.fault("sdmx_error"):
            return error(fault.argument or "500", "As switched on")
        if fault := asked.fault("sdmx_error_200"):
            return error(fault.argument or "100", "As switched on", status=200)
        return None

    def chosen(self, options: SdmxOptions, source: Source, asked: Asked, rows: Sequence[Row], form: str) -> Reply:
        """The answer that holds these rows, now or later."""
        if not rows:
            return error("100", "No results found")
        reply = table(options, rows, form)
        if asked.params.get("compressed") == "true":
            reply = Reply(200, {"content-type": "application/gzip"}, gzip.compress(reply.body, mtime=0))
        fault = asked.fault("async_footer")
        if fault is None and (options.synchronous is None or len(rows) <= options.synchronous):
            return reply.with_headers(etag=etag_of(reply.body), last_modified=http_date(source.modified))
        if options.maximum is not None and len(rows) > options.maximum:
            message = f"EXTRACTION_TOO_BIG: The requested extraction is too big, max authorised is {options.maximum}"
            return footer(message)
        exports = asked.memory.setdefault("exports", [])
        exports.append([fault.number(options.polls) if fault else options.polls, reply])
        place = f"https://{asked.host}{asked.path.partition('/data/')[0]}/async/{len(exports) - 1}?a=1&amp;b=2"
        return footer(f"Due to the large query the response will be written to a file which will be located under URL: {place}")

    def _export(self, asked: Asked) -> Reply:
        number = asked.path.rpartition("/")[2]
        exports: list[list[Any]] = asked.memory.get("exports", [])
        if not number.isdecimal() or int(number) >= len(exports):
            return text(404, "no such export")
        export = exports[int(number)]
        if export[0] > 0:
            export[0] -= 1
            return text(404, "not ready")
        ready: Reply = export[1]
        return ready


def by_key(rows: Sequence[Row], key: str, dimensions: Sequence[str]) -> list[Row] | None:
    """The rows of a key; None where it has not one place for each dimension."""
    if key in ("all", "*", ""):
        return list(rows)
    places = key.split(".")
    if len(places) != len(dimensions):
        return None
    wanted = [(name, place.split("+")) for name, place in zip(dimensions, places, strict=True) if place not in ("", "*")]
    return [row for row in rows if all(str(row[name]) in codes for name, codes in wanted)]


def by_period(rows: Sequence[Row], start: str, end: str) -> list[Row]:
    """Both ends are meant, and compared as far as the shorter of the two goes."""

    def fits(period: str) -> bool:
        return period[: len(start)] >= start[: len(period)] and (not end or period[: len(end)] <= end[: len(period)])

    return [row for row in rows if fits(str(row["TIME_PERIOD"]))]


def after(rows: Sequence[Row], moment: str) -> list[Row]:
    return [row for row in rows if str(row.get("_updated", "9999")) >= moment]


def form_of(asked: Asked, options: SdmxOptions, default: str) -> str | None:
    """The form that the query or the Accept header asks for; None: the service has no such form."""
    if word := asked.params.get("format"):
        return options.formats.get(word)
    accept = asked.headers.get("accept", "*/*").replace(" ", "")
    if "data+csv" in accept:
        return CSV2 if "version=2" in accept else CSV1
    return default if "*/*" in accept else None


def table(options: SdmxOptions, rows: Sequence[Row], form: str) -> Reply:
    if form == TSV:
        return Reply(200, {"content-type": "text/tab-separated-values"}, _tsv(options, rows))
    shown = [{k: v for k, v in row.items() if k not in HIDDEN} for row in rows]
    flow = f"{options.agency}:{options.flow}({options.version})"
    if form == CSV2:
        added = [{"STRUCTURE": "dataflow", "STRUCTURE_ID": flow, "ACTION": "D" if row.get("_deleted") else "I"} for row in rows]
    elif options.first:
        added = [{options.first: ".".join([options.flow, *(str(row[d]) for d in options.dimensions)])} for row in rows]
    else:
        added = [{"DATAFLOW": flow} for _ in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, [*added[0], *shown[0]], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**first, **row} for first, row in zip(added, shown, strict=True))
    return Reply(200, {"content-type": "application/vnd.sdmx.data+csv"}, out.getvalue().encode())


def _tsv(options: SdmxOptions, rows: Sequence[Row]) -> bytes:
    periods = sorted({str(row["TIME_PERIOD"]) for row in rows})
    series: dict[str, dict[str, str]] = {}
    for row in rows:
        cell = f"{row['OBS_VALUE'] if row['OBS_VALUE'] not in (None, '') else ':'} {row.get('OBS_FLAG') or ''}"
        series.setdefault(",".join(str(row[d]) for d in options.dimensions), {})[str(row["TIME_PERIOD"])] = cell
    lines = [f"{','.join(options.dimensions)}\\TIME_PERIOD\t" + "\t".join(f"{p} " for p in periods)]
    lines += [key + "\t" + "\t".join(cells.get(p, ": ") for p in periods) for key, cells in series.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def error(code: str, message: str, status: int | None = None) -> Reply:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<mes:Error {_NAMESPACES}><mes:ErrorMessage code="{code}">'
        f"<com:Text>{message}</com:Text></mes:ErrorMessage></mes:Error>\n"
    )
    return Reply(status or STATUS.get(code, 400), {"content-type": "application/xml"}, body.encode())


def footer(message: str) -> Reply:
    """A message without data whose footer says 413, with status 200."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<mes:GenericData {_NAMESPACES}><mes:Header><mes:ID>1</mes:ID></mes:Header>'
        f'<footer:Footer><footer:Message code="413" severity="Information"><com:Text>{message}</com:Text></footer:Message>'
        "</footer:Footer></mes:GenericData>\n"
    )
    return Reply(200, {"content-type": "application/xml"}, body.encode())


def structure(options: SdmxOptions) -> Reply:
    lists = "".join(f'<str:Codelist id="CL_{d}" agencyID="{options.agency}" version="1.0"/>' for d in options.dimensions)
    dims = "".join(f'<str:Dimension id="{d}" position="{n}"/>' for n, d in enumerate(options.dimensions, 1))
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<mes:Structure {_NAMESPACES}><mes:Structures><str:Codelists>{lists}'
        f'</str:Codelists><str:DataStructures><str:DataStructure id="{options.flow}" agencyID="{options.agency}" '
        f'version="{options.version}">{dims}</str:DataStructure></str:DataStructures></mes:Structures></mes:Structure>\n'
    )
    return Reply(200, {"content-type": "application/vnd.sdmx.structure+xml;version=2.1"}, body.encode())


PERIOD = re.compile(r"\d{4}(-\d{2}(-\d{2})?|-?Q[1-4]|-?S[12])?$")


def wrong_periods(params: Mapping[str, str]) -> bool:
    return any(params.get(name) and not PERIOD.match(params[name]) for name in ("startPeriod", "endPeriod"))
