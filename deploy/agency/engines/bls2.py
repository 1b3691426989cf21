"""BLS's API, version 2, over the rows of a JSON list: questions in bodies, silent truncation (protocols.md 3.9)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from deploy.agency.engine import Asked, Engine, json_reply, rows_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

THRESHOLD = "Request could not be serviced, as the daily threshold for total number of requests allocated has been reached."


class BlsOptions(Strict):
    """What one question may have without a key (with one: twice that); more is left out without a word."""

    max_series: int = 25
    max_years: int = 10
    bare: bool = False
    """Whether years without rows are not spoken of."""


class Bls(Engine):
    """The wanted series, newest row first."""

    name: ClassVar[str] = "bls2"
    Options: ClassVar[type[Strict]] = BlsOptions
    METHODS: ClassVar[tuple[str, ...]] = ("POST",)
    FAULTS: ClassVar[frozenset[str]] = frozenset({"series_dropped", "years_dropped", "quota_after_n", "bls_refusal", "rows_padded"})

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, BlsOptions)
        quota = asked.fault("quota_after_n")
        if not asked.spend() or (quota and quota.count > quota.number(1)):
            return said("REQUEST_NOT_PROCESSED", [THRESHOLD])
        if asked.fault("bls_refusal"):
            return said("REQUEST_NOT_PROCESSED", ["Invalid Series"])
        try:
            body = json.loads(asked.body)
            names, first, last = list(body["seriesid"]), int(body["startyear"]), int(body["endyear"])
        except (ValueError, KeyError, TypeError):
            return said("REQUEST_NOT_PROCESSED", ["Your POST is not valid JSON"])
        key = body.get("registrationkey")
        if key is not None and key != asked.key:
            return said("REQUEST_NOT_PROCESSED", [f"The key:{key} provided by the User is invalid."])
        grant = 1 if key is None else 2
        wanted = {extra for extra in ("annualaverage", "calculations", "catalog") if key is not None and body.get(extra)}
        dropped, shortened = asked.fault("series_dropped"), asked.fault("years_dropped")
        most = min(options.max_series * grant, dropped.number(1) if dropped else 50)
        longest = min(options.max_years * grant, shortened.number(1) if shortened else 20)
        years = range(first, last + 1)[:longest]
        messages: list[str] = []
        series: list[dict[str, Any]] = []
        for name in names[:most]:
            mine = [row for row in rows_of(source) if row["seriesID"] == name]
            if not mine:
                messages.append(f"Series does not exist for Series {name}")
            elif not options.bare:
                there = {int(row["year"]) for row in mine}
                messages += [f"No Data Available for Series {name} Year: {year}" for year in years if year not in there]
            data = [_datum(row, wanted) for row in mine if int(row["year"]) in years and _is_asked(row, wanted)]
            if asked.fault("rows_padded"):
                data = [{**row, "footnotes": [{**note, "text": "x" * 7000} for note in row["footnotes"]]} for row in data]
            about = {"catalog": {"series_title": f"Title of {name}", "series_id": name}} if "catalog" in wanted else {}
            series.append({"seriesID": name, **about, "data": data[::-1]})
        return said("REQUEST_SUCCEEDED", messages, {"series": series}, asked.now.day)


def _is_asked(row: dict[str, Any], wanted: set[str]) -> bool:
    return row["period"] != "M13" or "annualaverage" in wanted


def _datum(row: dict[str, Any], wanted: set[str]) -> dict[str, Any]:
    more = {"calculations": {"net_changes": {"1": "0.1"}, "pct_changes": {"12": "2.5"}}} if "calculations" in wanted else {}
    return {k: v for k, v in row.items() if k != "seriesID"} | more


def said(status: str, messages: list[str], results: Any = None, took: int = 91) -> Reply:
    return json_reply({"status": status, "responseTime": took, "message": messages, "Results": results or {}})


ENGINE = Bls()
