"""Socrata's edition 3 over the rows of a JSON list: SoQL in bodies, pages by number, exports, a description (protocols.md 3.2)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.engines.socrata import (
    FAULTS,
    SYSTEM,
    SocrataOptions,
    SoqlError,
    changed_at,
    error,
    ordered,
    paged,
    refused,
    rows_reply,
    selected,
    stored,
)
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

_SOQL = re.compile(r"SELECT (.*?)(?: WHERE (.*?))?(?: GROUP BY (.*?))?(?: ORDER BY (.*?))?", re.S)


class Socrata3Options(SocrataOptions):
    """Options of a data set."""

    token: bool = Field(True, description="Whether nobody is answered without an app token.")
    dataset: str = Field(description="Its name of two times four characters.")


class Socrata3(Engine):
    """`/api/v3/views/{4x4}/query.json`, `/export.csv`, `/export.geojson`, and `/api/views/{4x4}.json`."""

    name: ClassVar[str] = "socrata3"
    Options: ClassVar[type[Strict]] = Socrata3Options
    FAULTS: ClassVar[frozenset[str]] = FAULTS | {"no_headers", "no_rows_updated", "export_short", "clean_cut", "page_ignored"}
    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD", "POST")
    PREFIX: ClassVar[bool] = True

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = cast(Socrata3Options, route.settings)
        if (no := refused(asked, asked.headers.get("x-app-token", ""), options.token)) is not None:
            return no
        if asked.path == f"/api/views/{options.dataset}.json":
            return _described(asked, options.dataset)
        found = re.fullmatch(rf"/api/v3/views/{options.dataset}/(query\.json|export\.(?:csv|geojson))", asked.path)
        if found is None:
            return error(404, "dataset.missing", "Not found")
        if asked.method != "POST":
            return error(405, "method.not-allowed", "POST a query")
        try:
            body: Any = json.loads(asked.body)
            soql = _SOQL.fullmatch(body["query"])
            page = {"pageNumber": 1, "pageSize": 1000} | body.get("page", {})
            number, size = int(page["pageNumber"]), int(page["pageSize"])
            if soql is None or number < 1 or size < 1:
                raise SoqlError("query.soql.parse-error")
            rows = stored(rows_of(source), asked)
            chosen = selected(rows, soql[2] or "")
        except SoqlError as wrong:
            return error(400, str(wrong), f"Query coordinator error: {wrong}")
        except (ValueError, KeyError, TypeError, AttributeError):
            return error(400, "request.invalid-body", "The body is no query")
        return _headed(_rows(found[1], body, soql, rows, chosen, number, size, asked), asked)


def _rows(
    what: str, body: Any, soql: re.Match[str], rows: Sequence[Row], chosen: list[Row], number: int, size: int, asked: Asked
) -> Reply:
    select = soql[1]
    if select.startswith("count(*)"):
        one: Row = {"rows_in_all": str(len(chosen))}
        if "min(:updated_at)" in select and chosen:
            one["oldest_change"] = min(row[":updated_at"] for row in chosen)
        return rows_reply([one], list(one), asked, 0)
    own = list(dict.fromkeys(name for row in rows for name in row if not name.startswith(":")))
    columns = own if select == "*" else [name.strip() for name in select.split(",")]
    unknown = [name for name in columns if name not in own and name not in SYSTEM]
    if rows and unknown:
        return error(400, "query.soql.no-such-column", f"No such column: {unknown[0]}")
    offset = (number - 1) * size
    # a paged question is put in order in any case
    chosen = ordered(chosen, soql[4] or (":id" if "page" in body else ""), offset)
    if what != "query.json":
        return _exported(what, body, columns, chosen, asked)
    if body.get("includeSystem", True):
        columns = [*SYSTEM, *(name for name in columns if name not in SYSTEM)]
    return rows_reply(paged(chosen, size, 0 if asked.fault("page_ignored") else offset, asked), columns, asked, offset)


def _exported(what: str, body: Any, columns: list[str], chosen: list[Row], asked: Asked) -> Reply:
    if short := asked.fault("export_short"):
        chosen = chosen[: -short.number(1)]
    if what == "export.geojson":
        features = [
            {"type": "Feature", "properties": {name: row.get(name) for name in columns}, "geometry": None} for row in chosen
        ]
        data = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode()
        reply = Reply(200, {"content-type": "application/vnd.geo+json;charset=utf-8"}, data)
    else:
        options = {"separator": ",", "bom": True} | body.get("serializationOptions", {})
        out = io.StringIO()
        writer = csv.writer(out, delimiter=options["separator"], lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        writer.writerows([row.get(name, "") for name in columns] for row in chosen)
        data = out.getvalue().encode("utf-8-sig" if options["bom"] else "utf-8")
        reply = Reply(200, {"content-type": "text/csv; charset=utf-8"}, data)
    if asked.fault("clean_cut"):
        reply = reply.with_body(reply.body[:-4])
    like = rows_reply([], columns, asked, 0).headers
    return reply.with_headers(**{name.replace("-", "_"): value for name, value in like.items() if name.startswith("x-soda2")})


def _described(asked: Asked, dataset: str) -> Reply:
    described: Row = {"id": dataset, "name": "Rows", "rowsUpdatedAt": int(changed_at(asked).replace(tzinfo=UTC).timestamp())}
    if asked.fault("no_rows_updated"):
        del described["rowsUpdatedAt"]
    return json_reply(described)


def _headed(reply: Reply, asked: Asked) -> Reply:
    """Without any header that tells of the data, where that is switched on."""
    if not asked.fault("no_headers"):
        return reply
    kept = {name: value for name, value in reply.headers.items() if not name.startswith("x-soda2") and name != "last-modified"}
    return Reply(reply.status, kept, reply.body)


ENGINE = Socrata3()
