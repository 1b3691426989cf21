"""An OpenDataSoft portal over the rows of a JSON list: a data set's description, records in pages, exports (protocols.md 3.6).

Exports are those that need no workbook.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

PROCESSED = "2026-11-24T10:00:00.411000+00:00"
TRAILER = b"Streaming interrupted due to the following error: [Errno 104] Connection reset by peer"
TYPES = {
    "json": "application/json; charset=utf-8",
    "jsonl": "application/x-ndjson; charset=utf-8",
    "geojson": "application/geo+json; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/octet-stream",
}
_CONDITION = re.compile(r"\(*\s*(\w+)\s*(>=|<=|=|>|<)\s*(?:date)?['\"]([^'\"]*)['\"]\s*\)*")


class OdsOptions(Strict):
    """Options of a data set."""

    dataset: str | None = Field(None, description="The data set; without one the rows are those of the catalogue.")
    most: int = Field(10_000, gt=0, description="The largest sum of offset and limit.")
    key: bool = Field(False, description="Only for those who bring the key.")


class Refused(Exception):
    """A parameter that the API does not take; its message."""


class Ods(Engine):
    """`/api/explore/v2.1/catalog/datasets/{id}` and what stands below it."""

    name: ClassVar[str] = "ods21"
    Options: ClassVar[type[Strict]] = OdsOptions
    PREFIX: ClassVar[bool] = True
    SECRETS: ClassVar[tuple[str, ...]] = (r"(apikey=)([^&]*)",)
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "stream_error_trailer", "clean_cut", "export_short", "quota_after_n", "short_limit", "offset_ignored",
            "duplicate_rows_between_pages", "total_changes_mid_crawl", "modified_churn_only", "no_version", "error_200",
            "options_ignored", "attachments_only", "202_then_200", "rows_withdrawn",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options, params = cast(OdsOptions, route.settings), asked.params
        if (limited := _limited(asked)) is not None:
            return limited
        key = asked.headers.get("authorization", "").removeprefix("Apikey ") or params.get("apikey", "")
        if (options.key or key) and key != asked.key:
            return json_reply({"error_code": "InvalidAPIKey", "message": "The provided API key is invalid."}, 401)
        if asked.fault("error_200"):
            return json_reply({"error_code": "InternalError", "message": "Something went wrong"})
        rows = rows_of(source)[len(rows_of(source)) // 10 + 1 :] if asked.fault("rows_withdrawn") else rows_of(source)
        below = asked.path.removeprefix("/api/explore/v2.1/catalog")
        if options.dataset:
            below = below.removeprefix(f"/datasets/{options.dataset}")
        elif below == "/datasets":
            below = "/records"
        try:
            if below == "":
                return _described(rows, options, asked)
            found = _ordered(_selected(rows, params.get("where", "")), params.get("order_by", ""), asked)
            if below == "/records":
                return _records(found, params, options, asked)
            form = below.removeprefix("/exports/")
            if form in TYPES and below != form:
                return _exported(found, form, params, options, asked)
        except Refused as no:
            return json_reply({"error_code": "InvalidRESTParameterError", "message": str(no)}, 400)
        return json_reply({"error_code": "NotFoundError", "message": "There is no such thing here."}, 404)


def _limited(asked: Asked) -> Reply | None:
    if (over := asked.fault("quota_after_n")) and over.count > over.number(1):
        midnight = (asked.now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        said = {
            "errorcode": 10002, "reset_time": f"{midnight:%Y-%m-%dT%H:%M:%SZ}", "limit_time_unit": "day", "call_limit": 10000,
            "error": "Too many requests on the domain. Please contact the domain administrator.",
        }  # fmt: skip
        headers = {"x_ratelimit_limit": "10000", "x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(midnight.timestamp()))}
        return json_reply(said, 429).with_headers(**headers)
    if (busy := asked.fault("short_limit")) and busy.count <= busy.number(2):
        return json_reply({"error_code": "TooManyRequests", "message": "Slow down"}, 429).with_headers(
            retry_after="2", x_ratelimit_remaining="9000"
        )
    if (later := asked.fault("202_then_200")) and later.count <= later.number(2):
        return Reply(202, {"content-type": "application/json"}, b"")
    return None


def _processed(rows: Sequence[Row], asked: Asked) -> str:
    """When the rows were last processed: an hour later with each change of them that is seen."""
    seen = hashlib.sha256(json.dumps(list(rows), sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    if seen != asked.memory.setdefault("seen", seen):
        asked.memory.update(seen=seen, changes=asked.memory.get("changes", 0) + 1)
    return (datetime.fromisoformat(PROCESSED) + timedelta(hours=asked.memory.get("changes", 0))).isoformat()


def _described(rows: Sequence[Row], options: OdsOptions, asked: Asked) -> Reply:
    processed = asked.now.astimezone(UTC).isoformat() if asked.fault("modified_churn_only") else _processed(rows, asked)
    metas: Row = {"title": "Rows", "modified": processed, "data_processed": processed, "records_count": len(rows)}
    if asked.fault("no_version"):
        metas = {"title": "Rows"}
    records = asked.fault("attachments_only") is None
    return json_reply({"dataset_id": options.dataset, "has_records": records, "metas": {"default": metas}, "fields": []})


def _selected(rows: Sequence[Row], where: str) -> list[Row]:
    found = list(rows)
    for part in re.split(r"\s+and\s+", where.strip(), flags=re.I) if where.strip() else ():
        match = _CONDITION.fullmatch(part.strip())
        if match is None or (rows and not any(match[1] in row for row in rows)):
            raise Refused(f"ODSQL query is malformed: {part}")
        name, sign, value = match[1], match[2], match[3]
        found = [row for row in found if row.get(name) is not None and _holds(str(row[name]), sign, value)]
    return found


def _holds(left: str, sign: str, right: str) -> bool:
    return {"=": left == right, ">": left > right, "<": left < right, ">=": left >= right, "<=": left <= right}[sign]


def _ordered(rows: list[Row], order: str, asked: Asked) -> list[Row]:
    """By the named fields; without an order, another one for each offset."""
    names = [part.split()[0] for part in order.split(",") if part.strip()]
    if not names:
        return rows[::-1] if int(asked.params.get("offset", "0") or 0) % 2 else rows
    return sorted(rows, key=lambda row: [str(row.get(name)) for name in names])


def _number(params: dict[str, str], name: str, default: int) -> int:
    try:
        return int(params.get(name, default))
    except ValueError:
        raise Refused(f"Invalid value for {name} API parameter: {params[name]} was found but an integer is expected.") from None


def _records(rows: list[Row], params: dict[str, str], options: OdsOptions, asked: Asked) -> Reply:
    limit, offset, total = _number(params, "limit", 10), _number(params, "offset", 0), len(rows)
    if not -1 <= limit <= 100:
        raise Refused(f"Invalid value for limit API parameter: {limit} was found but -1 <= limit <= 100 is expected.")
    if offset + limit > options.most:
        raise Refused(
            f"Invalid value for sum of offset + limit API parameter: {offset + limit} was found but <= {options.most} is expected."
        )
    if (changes := asked.fault("total_changes_mid_crawl")) and offset and changes.count <= changes.number(4):
        total += offset
    if asked.fault("duplicate_rows_between_pages") and limit:
        rows = [rows[i - 1] if i and i % limit == 0 else row for i, row in enumerate(rows)]
    if asked.fault("offset_ignored"):
        offset = 0
    return json_reply({"total_count": total, "results": rows[offset : offset + limit]})


def _exported(rows: list[Row], form: str, params: dict[str, str], options: OdsOptions, asked: Asked) -> Reply:
    offset = _number(params, "offset", 0)
    if short := asked.fault("export_short"):
        rows = rows[: -short.number(1)]
    if asked.fault("options_ignored"):
        params = {}
    body = _file(rows[offset:], form, params)
    broken = asked.fault("stream_error_trailer")
    # with an offset the cap of the records bites in mid-stream
    if (broken and broken.count <= broken.number(10**9)) or (offset and len(rows) > options.most):
        body = body[: len(body) // 2] + TRAILER
    elif asked.fault("clean_cut"):
        body = body[:-4]
    return Reply(200, {"content-type": TYPES[form]}, body)


def _file(rows: list[Row], form: str, params: dict[str, str]) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    full: list[dict[str, Any]] = [{name: row.get(name) for name in columns} for row in rows]
    if form == "json":
        return json.dumps(full, ensure_ascii=False).encode()
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in full).encode()
    if form == "geojson":
        features = [{"type": "Feature", "geometry": None, "properties": row} for row in full]
        return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode()
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, delimiter=params.get("delimiter", ";"), lineterminator="\r\n")
        labels = params.get("use_labels", "false") == "true"
        writer.writerow([name.capitalize() if labels else name for name in columns])
        writer.writerows(["" if value is None else value for value in row.values()] for row in full)
        return out.getvalue().encode("utf-8-sig" if params.get("with_bom", "true") == "true" else "utf-8")
    import pyarrow as pa  # only here: the stand-in starts without it
    import pyarrow.parquet as pq

    table = io.BytesIO()
    pq.write_table(pa.table({name: [row[name] for row in full] for name in columns}), table)
    return table.getvalue()


ENGINE = Ods()
