"""An SDMX 3.0 service over the rows of a JSON list (protocols.md 3.7)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from deploy.agency.engine import Asked, Row, rows_of
from deploy.agency.engines.sdmx import CSV2, SdmxEngine, SdmxOptions, after, by_key, error, form_of
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


class Sdmx30Engine(SdmxEngine):
    """data/dataflow/{agency}/{id}/{version}/{key}, with c[component] filters; rows taken back are shown with updatedAfter."""

    name: ClassVar[str] = "sdmx30"
    Options: ClassVar[type[Strict]] = SdmxOptions

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, SdmxOptions)
        if early := self.early(options, source, asked):
            return early
        agency, flow, version, key, *_ = [*asked.path.partition("/data/dataflow/")[2].split("/"), "", "", "", ""]
        if (agency, flow) != (options.agency, options.flow) or version not in (options.version, "*", "+", "~"):
            return error("100", "No such dataflow")
        form, params = form_of(asked, options, CSV2), asked.params
        if form is None:
            return text(406, "Not Acceptable")
        rows = by_key(rows_of(source), key, options.dimensions)
        filters = {name[2:-1]: value for name, value in params.items() if name.startswith("c[") and name.endswith("]")}
        if rows is None or set(filters) - {*options.dimensions, "TIME_PERIOD"} or "startPeriod" in params:
            return error("140", "The key or a filter does not fit the structure")
        try:
            rows = [row for row in rows if all(_fits(row, name, value) for name, value in filters.items())]
        except KeyError:
            return error("140", "No such operator")
        since = params.get("updatedAfter")
        rows = after(rows, since) if since else [row for row in rows if not row.get("_deleted")]
        return self.chosen(options, source, asked, rows, form)


def _fits(row: Row, name: str, value: str) -> bool:
    """`+` joins conditions that must all hold, `,` those of which one must."""

    def one(condition: str) -> bool:
        sign, _, wanted = condition.partition(":")
        return COMPARE[sign](str(row[name])[: len(wanted)], wanted)

    return all(any(one(part) for part in every.split(",")) for every in value.split("+"))


ENGINE = Sdmx30Engine()
