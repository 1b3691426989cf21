"""KOSIS over the cells of a JSON list: keys, classes, periods, the limit of cells, and update dates (protocols.md 2.6).

One server holds many tables: a route answers for its own, and for those whose samples lie beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, rows_of
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

MESSAGES = {
    "10": "인증키가 누락되었습니다.", "11": "인증키가 만료되었거나 유효하지 않습니다.", "20": "필수요청변수값이 누락되었습니다.",
    "21": "잘못된 요청변수입니다.", "30": "데이터가 존재하지 않습니다.", "31": "조회결과가 제한 셀 수를 초과하였습니다.",
    "40": "호출가능건수를 초과하였습니다.", "41": "조회가능 row 수를 초과하였습니다.", "42": "사용이 제한된 사용자입니다.",
    "50": "서버오류가 발생하였습니다.",
}  # fmt: skip
DATA, META = "/Param/statisticsParameterData.do", "/statisticsData.do"


class KosisOptions(Strict):
    """What one table allows."""

    max_cells: int = Field(40_000, gt=0, description="Most cells of one answer.")


class Kosis(Engine):
    """Cells of a table, for those who bring the key."""

    name: ClassVar[str] = "kosis"
    Options: ClassVar[type[Strict]] = KosisOptions
    PREFIX: ClassVar[bool] = True
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {"unquoted_json_keys", "tab_key", "xml_error_on_json", "kosis_error", "too_often", "modified_churn_only"}
    )
    SECRETS: ClassVar[tuple[str, ...]] = (r"(?i)(apikey=)([^&]*)",)

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, KosisOptions)
        service = asked.path.removeprefix(route.path.rstrip("/"))
        if service not in (DATA, META):
            return text(404, "Not Found")
        if (fault := asked.fault("xml_error_on_json")) is not None:
            return xml_error(fault.argument or "50")
        if (fault := asked.fault("kosis_error")) is not None:
            return error(str(fault.number(50)))
        if (fault := asked.fault("too_often")) is not None and fault.count <= fault.number(1):
            return error("40")
        if (code := refuse_key(asked)) is not None:
            return error(code)
        params = asked.params
        if any(not params.get(name) for name in ("method", "orgId", "tblId", "format")):
            return error("20")
        rows = table_of(source, params["orgId"], params["tblId"])
        if service != META:
            answered = cells(rows, params, options.max_cells)
        else:
            answered = codes(rows) if params.get("type") == "ITM" else updates(rows, params, asked)
        if isinstance(answered, str):
            return error(answered)
        bare = params.get("jsonVD") != "Y" or asked.fault("unquoted_json_keys") is not None
        tab = asked.fault("tab_key") is not None
        return Reply(200, {"content-type": "application/json;charset=UTF-8"}, written(answered, bare=bare, tab=tab).encode())


def refuse_key(asked: Asked) -> str | None:
    """The error of a missing or wrong key, looking at the query as it came over the wire."""
    raw = next((v for k, _, v in (p.partition("=") for p in asked.raw_query.split("&")) if k == "apiKey"), "")
    return None if unquote(raw) == asked.key else "11" if raw else "10"


def table_of(source: Source, org: str, table: str) -> Sequence[Row]:
    """The cells of a table, from the route's own sample or another beside it; none where nobody knows the table."""
    own = rows_of(source)
    others = (p for p in sorted(source.path.parent.parent.glob("*/sample.json")) if p != source.path)
    for rows in (own, *map(_cells_in, others)):
        found = [r for r in rows if (str(r.get("ORG_ID")), str(r.get("TBL_ID"))) == (org, table)]
        if found:
            return found
    return ()


def _cells_in(path: Path) -> Sequence[Row]:
    if b'"TBL_ID"' not in (data := path.read_bytes()):
        return ()
    return [row for row in json.loads(data) if isinstance(row, dict)]


def updates(rows: Sequence[Row], params: Mapping[str, str], asked: Asked) -> list[Row] | str:
    """NCD: for each period, when it was last sent. An unknown kind of metadata is 'no data', as a typing error is."""
    if params["method"] != "getMeta":
        return "20"
    if params.get("type") != "NCD" or not rows:
        return "30"
    sent: dict[tuple[str, str], str] = {}
    for row in rows:
        key = str(row["PRD_SE"]), str(row["PRD_DE"])
        sent[key] = max(sent.get(key, ""), str(row.get("LST_CHN_DE", "2026-01-02")))
    if asked.fault("modified_churn_only"):
        # every day the table says that it was sent the day before
        sent = dict.fromkeys(sent, f"2026-02-{asked.now.timetuple().tm_yday % 27 + 1:02d}")
    name = rows[0].get("TBL_NM", "")
    return [{"ORG_NM": "통계청", "TBL_NM": name, "PRD_SE": s, "PRD_DE": d, "SEND_DE": at} for (s, d), at in sorted(sent.items())]


def codes(rows: Sequence[Row]) -> list[Row] | str:
    """ITM: the items and, class by class, their codes, each once."""
    kinds: dict[str, tuple[str, str, str, str | None]] = {"ITEM": ("항목", "ITM_ID", "ITM_NM", None)}
    kinds |= {chr(64 + n): (f"분류 {n}", f"C{n}", f"C{n}_NM", str(n)) for n in range(1, 9) if rows and f"C{n}" in rows[0]}
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        for kind, (called, code, name, place) in kinds.items():
            told = {"OBJ_ID": kind, "OBJ_NM": called, "OBJ_ID_SN": place, "ITM_ID": row[code], "ITM_NM": row.get(name, "")}
            found.setdefault((kind, str(row[code])), told)
    return list(found.values()) or "30"


def cells(rows: Sequence[Row], params: Mapping[str, str], limit: int) -> list[Row] | str:
    """The cells asked for, in the table's order; or the code of an error."""
    if params["method"] != "getList" or any(not params.get(name) for name in ("itmId", "objL1", "prdSe")):
        return "20"
    if not rows:
        return "30"
    classes = [n for n in range(1, 9) if f"C{n}" in rows[0]]
    given = [n for n in range(1, 9) if params.get(f"objL{n}")]
    if given != classes:
        return "20" if len(given) < len(classes) else "21"
    found = [r for r in rows if r["PRD_SE"] == params["prdSe"]]
    wanted = {f"C{n}": params[f"objL{n}"] for n in classes} | {"ITM_ID": params["itmId"]}
    for field, codes in wanted.items():
        if codes != "ALL":
            # a plus arrives as a plus or as a space, by how the client encoded it
            found = [r for r in found if str(r[field]) in re.split(r"[+ ]", codes)]
    periods = sorted({str(r["PRD_DE"]) for r in found})
    if count := params.get("newEstPrdCnt"):
        if not count.isdecimal():
            return "21"
        periods = periods[-int(count) :]
    elif params.get("startPrdDe") and params.get("endPrdDe"):
        periods = [p for p in periods if params["startPrdDe"] <= p <= params["endPrdDe"]]
    else:
        return "20"
    found = [r for r in found if str(r["PRD_DE"]) in periods]
    # the server counts the grid, not the cells that have a value
    if prod(len({str(r[field]) for r in found}) for field in (*wanted, "PRD_DE")) > limit:
        return "31"
    return found or "30"


def written(rows: Sequence[Row], *, bare: bool, tab: bool) -> str:
    """The list as KOSIS writes it: with bare keys where it was not asked for JSON proper, with a TAB for SEND_DE on a bad day."""
    out = []
    for row in rows:
        named = {("\t" if tab and k == "SEND_DE" else k): v for k, v in row.items() if v is not None}
        out.append(",".join(f"{k if bare else _quoted(k)}:{_quoted(v)}" for k, v in named.items()))
    return "[" + ",".join("{" + one + "}" for one in out) + "]"


def _quoted(value: Any) -> str:
    return '"\t"' if value == "\t" else json.dumps(value, ensure_ascii=False)


def error(code: str) -> Reply:
    """An object in place of the list, with status 200."""
    body = json.dumps({"err": code, "errMsg": MESSAGES.get(code, "알 수 없는 오류")}, ensure_ascii=False)
    return Reply(200, {"content-type": "application/json;charset=UTF-8"}, body.encode())


def xml_error(code: str) -> Reply:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<error><err>{code}</err><errMsg>{MESSAGES.get(code, "")}</errMsg></error>'
    return Reply(200, {"content-type": "text/xml;charset=UTF-8"}, body.encode())


ENGINE = Kosis()
