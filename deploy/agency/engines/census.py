"""The Census Bureau's data API over the rows of a JSON list: lists, text errors, a redirect without a key (protocols.md 3.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

MOST_VARIABLES = 50
_PAGE = "<html><head><title>{} Key</title></head><body><p>A valid <em>key</em> must be included.</p></body></html>"
PAGES = {
    "/missing_key.html": _PAGE.format("Missing"),
    "/invalid_key.html": _PAGE.format("Invalid"),
}


class CensusOptions(Strict):
    """One data set."""

    dataset: str = "acs/acs5"
    geographies: dict[str, str] = Field({"state": "state", "county": "county"}, description="Level → column of the rows.")


class Bureau(Engine):
    """The wanted columns of the rows. Rows have a `year`, which picks those of an address, and is not sent."""

    name: ClassVar[str] = "census"
    Options: ClassVar[type[Strict]] = CensusOptions
    SECRETS: ClassVar[tuple[str, ...]] = (r"((?:^|&)key=)([^&]*)",)
    PREFIX: ClassVar[bool] = True
    FAULTS: ClassVar[frozenset[str]] = frozenset({"no_data", "column_renamed", "redirect_to_html"})

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options, params = route.settings, asked.params
        assert isinstance(options, CensusOptions)
        if page := PAGES.get(asked.path):
            reply = Reply(200, {"content-type": "text/html"}, page.encode())
            return reply.with_headers(x_datawebapi_keyerror="A valid key must be included") if "invalid" in asked.path else reply
        year, _, dataset = asked.path.removeprefix("/data/").partition("/")
        if not params.get("key") or asked.fault("redirect_to_html"):
            return Reply(302, {"location": "/missing_key.html", "content-type": "text/html"}, b"")
        if params["key"] != asked.key:
            return Reply(302, {"location": "/invalid_key.html", "content-type": "text/html"}, b"")
        if not asked.spend():
            return text(429, "error: too many requests")
        mine = [row for row in rows_of(source) if row["year"] == year]
        if dataset != options.dataset or not mine:
            return text(404, "error: unknown dataset")
        names = params.get("get", "").split(",")
        if len(names) > MOST_VARIABLES:
            return text(400, "error: 'get' is limited to 50 variables")
        if unknown := [name for name in names if name not in mine[0]]:
            return text(400, f"error: unknown variable '{unknown[0]}'")
        clauses = [part.partition(":") for part in f"{params.get('in', '')} {params.get('for', '')}".split()]
        if not params.get("for") or any(level not in options.geographies for level, _, _ in clauses):
            return text(400, "error: unknown/unsupported geography hierarchy")
        wanted = {options.geographies[level]: values for level, _, values in clauses}
        found = [] if asked.fault("no_data") else [row for row in mine if _fits(row, wanted)]
        if not found:
            return Reply(204, {}, b"")
        shown = [*names, *wanted]
        header = [f"{name}_NEW" if asked.fault("column_renamed") and name == names[-1] else name for name in shown]
        return json_reply([header, *([row[name] for name in shown] for row in found)])


def _fits(row: Row, wanted: dict[str, str]) -> bool:
    return all(values == "*" or row.get(column) in values.split(",") for column, values in wanted.items())


ENGINE = Bureau()
