"""An SDMX 2.1 service over the rows of a JSON list (protocols.md 3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from deploy.agency.engine import Asked, rows_of
from deploy.agency.engines.sdmx import (
    CSV1,
    SdmxEngine,
    SdmxOptions,
    after,
    by_key,
    by_period,
    error,
    form_of,
    wrong_periods,
)
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source


class Sdmx21Engine(SdmxEngine):
    """data/{flow}/{key}, with periods and updatedAfter."""

    name: ClassVar[str] = "sdmx21"
    Options: ClassVar[type[Strict]] = SdmxOptions

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, SdmxOptions)
        if early := self.early(options, source, asked):
            return early
        flow, _, key = asked.path.partition("/data/")[2].partition("/")
        if flow not in (options.flow, f"{options.agency},{options.flow}", f"{options.agency},{options.flow},{options.version}"):
            return error("100", "No such dataflow")
        form, params = form_of(asked, options, CSV1), asked.params
        if form is None:
            return text(406, "Not Acceptable")
        rows = by_key(rows_of(source), key, options.dimensions)
        if rows is None or wrong_periods(params):
            return error("140", "The key or a period does not fit the structure")
        if since := params.get("updatedAfter"):
            if not options.updated_after:
                return error("501", "updatedAfter is not implemented")
            rows = after(rows, since)
        rows = [
            row for row in by_period(rows, params.get("startPeriod", ""), params.get("endPeriod", "")) if not row.get("_deleted")
        ]
        return self.chosen(options, source, asked, rows, form)


ENGINE = Sdmx21Engine()
