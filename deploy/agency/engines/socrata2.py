"""Socrata 2.1 over the rows of a JSON list: SoQL in parameters, pages by limit and offset (protocols.md 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from deploy.agency.engine import Asked, Engine, Row, rows_of
from deploy.agency.engines.socrata import (
    FAULTS,
    SYSTEM,
    SocrataOptions,
    SoqlError,
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


class Socrata2(Engine):
    """`/resource/{4x4}.json`. System columns are sent to those who ask for them."""

    name: ClassVar[str] = "socrata2"
    Options: ClassVar[type[Strict]] = SocrataOptions
    FAULTS: ClassVar[frozenset[str]] = FAULTS
    SECRETS: ClassVar[tuple[str, ...]] = (r"(app_token=)([^&]*)",)

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        params = asked.params
        token = asked.headers.get("x-app-token", "") or params.get("$$app_token", "")
        if (no := refused(asked, token, cast(SocrataOptions, route.settings).token)) is not None:
            return no
        rows = stored(rows_of(source), asked)
        try:
            found = selected(rows, params.get("$where", ""))
        except SoqlError as wrong:
            return error(400, str(wrong), f"Query coordinator error: {wrong}")
        filters = {name: value for name, value in params.items() if not name.startswith("$")}
        if unknown := [name for name in filters if not any(name in row for row in rows)]:
            return error(400, "query.soql.no-such-column", f"No such column: {unknown[0]}")
        found = [row for row in found if all(str(row.get(name)) == value for name, value in filters.items())]
        select = params.get("$select", "*")
        if select.startswith("count(*)"):
            one: Row = {"rows_in_all": str(len(found))}
            if "min(:updated_at)" in select and found:
                one["oldest_change"] = min(row[":updated_at"] for row in found)
            return rows_reply([one], list(one), asked, 0)
        size, offset = params.get("$limit", "1000"), params.get("$offset", "0")
        if not size.isdigit() or not offset.isdigit():
            return error(400, "query.soql.invalid-limit", "limit and offset are whole numbers")
        own = list(dict.fromkeys(name for row in rows for name in row if not name.startswith(":")))
        columns = [*SYSTEM, *own] if select == ":*,*" else own if select == "*" else select.split(",")
        found = ordered(found, params.get("$order", ""), int(offset))
        return rows_reply(paged(found, int(size), int(offset), asked), columns, asked, int(offset))


ENGINE = Socrata2()
