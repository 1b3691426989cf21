"""The World Bank's API over the rows of a JSON list: pages, years, countries, messages with status 200 (protocols.md 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from xml.sax.saxutils import escape

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.engines.indexed import page_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

PAGING_FAULTS = frozenset({"offset_ignored", "page_size_capped", "duplicate_rows_between_pages", "total_changes_mid_crawl"})
INVALID = ("120", "Invalid value", "The provided parameter value is not valid")
DELETED = ("175", "Invalid format", "The indicator was not found. It may have been deleted or archived.")
MESSAGES = {"120": INVALID, "175": DELETED, "160": ("160", "Data not found", "The data was not found")}


class WorldBankOptions(Strict):
    """One indicator."""

    database: str = "2"
    strings: bool = False
    """Whether the numbers of paging are text, as on some of the bank's endpoints."""


class Bank(Engine):
    """Pages of the rows; XML to those who do not ask for JSON."""

    name: ClassVar[str] = "worldbank"
    Options: ClassVar[type[Strict]] = WorldBankOptions
    PREFIX: ClassVar[bool] = True
    FAULTS: ClassVar[frozenset[str]] = PAGING_FAULTS | {"worldbank_message", "xml_error_on_json", "no_data"}

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, WorldBankOptions)
        params, (_, _, rest) = asked.params, asked.path.partition("/country/")
        countries, _, indicator = rest.partition("/indicator/")
        as_json = params.get("format") == "json" and not asked.fault("xml_error_on_json")
        if broken := asked.fault("worldbank_message"):
            return message(MESSAGES[broken.argument or "120"], as_json)
        page, size, years = params.get("page", "1"), params.get("per_page", "50"), params.get("date", "").split(":")
        if not (page.isdigit() and size.isdigit() and int(page) and int(size)):
            return message(INVALID, as_json)
        rows = [] if asked.fault("no_data") else list(rows_of(source))
        if rows and all(row["indicator"]["id"] != indicator for row in rows):
            return message(DELETED, as_json)
        if params.get("source", options.database) != options.database:
            return message(DELETED, as_json=False)  # in the bank's other databases it answers in XML
        wanted = countries.split(";")
        rows = [row for row in rows if countries == "all" or {row["country"]["id"], row["countryiso3code"]} & set(wanted)]
        if years[0]:
            rows = [row for row in rows if years[0] <= row["date"] <= years[-1]]
        start = (int(page) - 1) * int(size) + 1
        if capped := asked.fault("page_size_capped"):
            size = str(min(int(size), capped.number(10)))
            start = (int(page) - 1) * int(size) + 1
        found, total = page_of(rows, start, start + int(size) - 1, asked)
        about: dict[str, Any] = {"page": int(page), "pages": -(-total // int(size)), "per_page": int(size), "total": total}
        if options.strings:
            about = {name: str(value) for name, value in about.items()}
        about |= {"sourceid": options.database, "lastupdated": f"{asked.now:%Y-%m-%d}"}
        return json_reply([about, list(found) or None]) if as_json else _xml(about, found)


def _xml(about: dict[str, Any], rows: Any) -> Reply:
    named = " ".join(f'{name}="{value}"' for name, value in about.items())
    cells = "".join(f"<wb:data><wb:date>{row['date']}</wb:date><wb:value>{row['value']}</wb:value></wb:data>" for row in rows)
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<wb:data {named} xmlns:wb="http://www.worldbank.org">{cells}</wb:data>'
    return Reply(200, {"content-type": "text/xml;charset=utf-8"}, text.encode())


def message(which: tuple[str, str, str], as_json: bool) -> Reply:
    number, key, value = which
    if as_json:
        return json_reply([{"message": [{"id": number, "key": key, "value": value}]}])
    said = f'<wb:message id="{number}" key="{escape(key)}">{escape(value)}</wb:message>'
    text = f'<wb:error xmlns:wb="http://www.worldbank.org">{said}</wb:error>'
    return Reply(200, {"content-type": "text/xml;charset=utf-8"}, text.encode())


def row_of(indicator: str, country: str, iso3: str, date: str, value: Any) -> Row:
    """One row as the bank names its fields."""
    return {
        "indicator": {"id": indicator, "value": indicator}, "country": {"id": country, "value": iso3}, "countryiso3code": iso3,
        "date": date, "value": value, "unit": "", "obs_status": "", "decimal": 0,
    }  # fmt: skip


ENGINE = Bank()
