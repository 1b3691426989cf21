"""ECOS of the Bank of Korea over the rows of a JSON list: key, indexes and periods in the path, its codes (protocols.md 2.7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.engines.indexed import FAULTS as SHARED_FAULTS
from deploy.agency.engines.indexed import NO_DATA, page_of, result, split_key, xml_page
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

MESSAGES = {
    "INFO-100": "인증키가 유효하지 않습니다.",
    "INFO-200": NO_DATA,
    "ERROR-100": "필수 값이 누락되어 있습니다.",
    "ERROR-101": "주기와 다른 형식의 날짜 형식입니다.",
    "ERROR-200": "파일타입 값이 누락 혹은 유효하지 않습니다.",
    "ERROR-300": "조회건수 값이 누락되어 있습니다.",
    "ERROR-301": "조회건수 값의 타입이 유효하지 않습니다.",
    "ERROR-400": "검색범위가 적정범위를 초과하여 60초 TIMEOUT이 발생하였습니다.",
    "ERROR-500": "서버 오류입니다.",
    "ERROR-600": "DB Connection 오류입니다.",
    "ERROR-601": "SQL 오류입니다.",
    "ERROR-602": "과도한 OpenAPI호출로 이용이 제한되었습니다.",
}
FORMS = {
    "A": r"\d{4}", "S": r"\d{4}S[12]", "Q": r"\d{4}Q[1-4]", "M": r"\d{4}(0[1-9]|1[0-2])", "SM": r"\d{4}(0[1-9]|1[0-2])S[12]",
    "D": r"\d{4}(0[1-9]|1[0-2])([0-2]\d|3[01])",
}  # fmt: skip
SPAN, PAUSE = timedelta(minutes=3), timedelta(minutes=30)


class EcosOptions(Strict):
    """What one stand-in of ECOS bears."""

    calls: int = Field(300, gt=0, description="Calls in three minutes; one more brings 602 for half an hour.")
    largest: int | None = Field(None, gt=0, description="Most values of one query; a larger one brings 400.")
    renamed: dict[str, str] = Field(default_factory=dict, description="Field → its name while column_renamed is on.")


class Statistics(Engine):
    """Pages of values, and the list of items that they belong to, for those who bring the key."""

    name: ClassVar[str] = "ecos"
    Options: ClassVar[type[Strict]] = EcosOptions
    FAULTS: ClassVar[frozenset[str]] = SHARED_FAULTS | {"column_renamed"}
    PREFIX: ClassVar[bool] = True
    SECRETS: ClassVar[tuple[str, ...]] = (r"(^/api/[A-Za-z]+/)(.+?)(?=/(?:json|xml)/(?:kr|en)(?:/|$))",)

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, EcosOptions)
        if _too_often(asked, options.calls):
            return error("ERROR-602", as_xml=True)  # XML, whatever was asked for
        if broken := asked.fault("xml_error_on_json"):
            return error(broken.argument or "ERROR-602", as_xml=True)
        service, _, rest = asked.path.removeprefix("/api/").partition("/")
        key, rest = split_key(rest, asked.key)
        kind, language, first, last, *query = [*rest.rstrip("/").split("/"), "", "", ""]
        query = [part for part in query if part]
        as_xml = kind != "json"
        rows: Sequence[Row] = rows_of(source)
        code = _refused(asked, key, kind, language, first, last)
        if code is None and service == "StatisticSearch":
            code = _wrong_query(query)
            rows = [row for row in rows if code is None and _fits(row, query)]
            if options.largest is not None and len(rows) > options.largest:
                code = "ERROR-400"
        elif service == "StatisticItemList":
            rows = _items([row for row in rows if not query or row["STAT_CODE"] == query[0]])
        elif code is None:
            code = "ERROR-100"
        if code is None and asked.fault("no_data"):
            code = "INFO-200"
        if code is not None:
            return error(code, as_xml=as_xml)
        page, total = page_of(rows, int(first), int(last), asked)
        if not page:
            return error("INFO-200", as_xml=as_xml)
        if asked.fault("column_renamed"):
            page = [{options.renamed.get(name, name): value for name, value in row.items()} for row in page]
        if as_xml:
            return xml_page(service, total, page, None)
        return json_reply({service: {"list_total_count": total, "row": list(page)}})


def error(code: str, *, as_xml: bool) -> Reply:
    return result(code, MESSAGES.get(code, ""), as_xml=as_xml)


def _too_often(asked: Asked, most: int) -> bool:
    """Whether this call is one too many, or comes in the pause after one."""
    if asked.now < asked.memory.get("until", asked.now):
        return True
    recent = [at for at in asked.memory.get("calls", []) if asked.now - SPAN < at <= asked.now]
    asked.memory["calls"] = [*recent, asked.now]
    if len(recent) < most:
        return False
    asked.memory["until"] = asked.now + PAUSE
    return True


def _refused(asked: Asked, key: str, kind: str, language: str, first: str, last: str) -> str | None:
    whole = all(text.isascii() and text.isdigit() for text in (first, last))
    checks = {
        "INFO-100": key != asked.key,
        "ERROR-200": kind not in ("json", "xml"),
        "ERROR-100": language not in ("kr", "en") or bool(asked.raw_query),  # the same values again in a query break it
        "ERROR-300": not first or not last,
        "ERROR-301": not whole or int(first) < 1,
    }
    return next((code for code, wrong in checks.items() if wrong), None)


def _wrong_query(query: list[str]) -> str | None:
    if len(query) < 4 or query[1] not in FORMS:
        return "ERROR-100"
    return None if all(re.fullmatch(FORMS[query[1]], period) for period in query[2:4]) else "ERROR-101"


def _fits(row: Row, query: list[str]) -> bool:
    """Whether a row is of the table, cycle, periods and items."""
    table, cycle, start, end, *items = query
    if row["STAT_CODE"] != table or not re.fullmatch(FORMS[cycle], row["TIME"]) or not start <= row["TIME"] <= end:
        return False
    return all(row.get(f"ITEM_CODE{n}") == item for n, item in enumerate(items, 1))


def _items(rows: Sequence[Row]) -> list[Row]:
    """What each item covers, in each cycle."""
    found: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda r: str(r["TIME"])):
        cycle = next(name for name, form in FORMS.items() if re.fullmatch(form, row["TIME"]))
        item = {"STAT_CODE": row["STAT_CODE"], "ITEM_CODE": row["ITEM_CODE1"], "ITEM_NAME": row["ITEM_NAME1"], "CYCLE": cycle}
        one = found.setdefault((row["ITEM_CODE1"], cycle), {**item, "START_TIME": row["TIME"], "DATA_CNT": 0})
        one["END_TIME"], one["DATA_CNT"] = row["TIME"], one["DATA_CNT"] + 1
    return list(found.values())


ENGINE = Statistics()
