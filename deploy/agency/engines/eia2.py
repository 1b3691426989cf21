"""EIA's API, version 2, over the rows of a JSON list: bracketed parameters, offsets, two forms of error (protocols.md 3.11)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from deploy.agency.engine import Asked, Engine, json_reply, rows_of
from deploy.agency.engines.indexed import page_of
from deploy.agency.engines.worldbank import PAGING_FAULTS
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

MOST_ROWS = 5000
_FACET = re.compile(r"facets\[([\w-]+)\]\[\d*\]")


class EiaOptions(Strict):
    """One data set."""

    dimensions: tuple[str, ...] = Field(("period",), description="Columns that come without being asked for.")
    units: dict[str, str] = Field(default_factory=dict, description="Value → its unit, which comes in {value}-units.")
    frequencies: tuple[str, ...] = ("monthly",)


class Eia(Engine):
    """Pages of the rows, sorted as asked; a wrong facet finds nothing and says nothing. The daily quota stands for the throttle."""

    name: ClassVar[str] = "eia2"
    Options: ClassVar[type[Strict]] = EiaOptions
    SECRETS: ClassVar[tuple[str, ...]] = (r"(api_key=)([^&]*)",)
    PREFIX: ClassVar[bool] = True
    FAULTS: ClassVar[frozenset[str]] = PAGING_FAULTS | {"key_suspended", "no_data"}

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options, params = route.settings, asked.params
        assert isinstance(options, EiaOptions)
        suspended = asked.fault("key_suspended")
        if (suspended and suspended.count <= suspended.number(1)) or not asked.spend():
            return json_reply({"error": "too many requests; the key is suspended for a moment", "code": 403}, 403)
        if params.get("api_key") != asked.key:
            kind = "INVALID" if params.get("api_key") else "MISSING"
            return json_reply({"error": {"code": f"API_KEY_{kind}", "message": "Get one at https://www.eia.gov/opendata"}}, 403)
        if not asked.path.rstrip("/").endswith("/data") or asked.path.rstrip("/") != route.path.rstrip("/"):
            return json_reply({"error": "Not found.", "code": 404}, 404)
        offset, size = params.get("offset", "0"), params.get("length", str(MOST_ROWS))
        if not (offset.isdigit() and size.isdigit()) or params.get("frequency") not in options.frequencies:
            return json_reply({"error": "Invalid parameter.", "code": 400}, 400)
        rows = [] if asked.fault("no_data") else [row for row in rows_of(source) if _fits(row, params)]
        order = [params[name] for name in sorted(params) if re.fullmatch(r"sort\[\d+\]\[column\]", name)]
        shift = int(offset) % max(len(rows), 1)  # rows that the order does not tell apart stand otherwise on every page
        rows = [*rows[shift:], *rows[:shift]]
        rows.sort(key=lambda row: tuple(str(row.get(name)) for name in order))
        length = min(int(size), MOST_ROWS)
        found, total = page_of(rows, int(offset) + 1, int(offset) + length, asked)
        values = [value for name, value in params.items() if re.fullmatch(r"data\[\d*\]", name)]
        said: dict[str, Any] = {"total": str(total), "dateFormat": "YYYY-MM", "frequency": params["frequency"]}
        if int(size) > MOST_ROWS:
            said["warnings"] = [{"warning": "parameter out of range", "description": "length is capped"}]
        said["data"] = [_shown(row, options, values) for row in found]
        request = {"command": asked.path, "params": {"api_key": asked.key, "data": values, "offset": offset, "length": size}}
        return json_reply({"response": said, "request": request, "apiVersion": f"2.1.{asked.now:%d}"})


def _fits(row: dict[str, Any], params: dict[str, str]) -> bool:
    wanted: dict[str, set[str]] = {}
    for name, value in params.items():
        if found := _FACET.fullmatch(name):
            wanted.setdefault(found[1], set()).add(value)
    first, last = params.get("start", ""), params.get("end", "9999")
    # text is compared with text: a day in place of its month is after the month
    return first <= row["period"] <= last and all(str(row.get(name)) in values for name, values in wanted.items())


def _shown(row: dict[str, Any], options: EiaOptions, values: list[str]) -> dict[str, Any]:
    shown = {name: row.get(name) for name in options.dimensions}
    for value in values:
        shown |= {value: row.get(value), f"{value}-units": options.units.get(value, "")}
    return shown


ENGINE = Eia()
