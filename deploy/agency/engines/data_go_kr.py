"""The gateway of data.go.kr over the rows of a JSON list: keys, paging, envelope, quota (protocols.md 2.1).

Answers as the gateway does when all goes well and when the client is at fault. Faults of the gateway itself are `faults.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import unquote, unquote_plus
from xml.sax.saxutils import escape

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

MESSAGES = {
    "01": "APPLICATION_ERROR", "02": "DB_ERROR", "03": "NODATA_ERROR", "04": "HTTP_ERROR", "05": "SERVICETIMEOUT_ERROR",
    "10": "INVALID_REQUEST_PARAMETER_ERROR", "11": "NO_MANDATORY_REQUEST_PARAMETERS_ERROR", "12": "NO_OPENAPI_SERVICE_ERROR",
    "20": "SERVICE_ACCESS_DENIED_ERROR", "22": "LIMITED_NUMBER_OF_SERVICE_REQUESTS_EXCEEDS_ERROR",
    "30": "SERVICE_KEY_IS_NOT_REGISTERED_ERROR", "31": "DEADLINE_HAS_EXPIRED_ERROR", "99": "UNKNOWN_ERROR",
}  # fmt: skip
FORMAT_PARAMS = ("returnType", "_type", "dataType", "type", "resultType")
QUOTA = "API token quota exceeded"


class GatewayOptions(Strict):
    """What is peculiar to one service behind the gateway."""

    items: Literal["item", "list"] = "item"
    required: tuple[str, ...] = ()
    filters: dict[str, str] = Field(default_factory=dict, description="Parameter → field of the rows that must equal it.")
    starts: dict[str, str] = Field(default_factory=dict, description="Parameter → field of the rows that must begin with it.")
    parts: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Parameter → fields of the rows, of at least two digits each, that make it: 202611."
    )
    code: str = Field("00", description="What this service says when all is well: 00, 000, 0000.")
    all_words: dict[str, str] = Field(default_factory=dict, description="Parameter → the value that filters nothing.")


def gateway_error(code: str) -> Reply:
    """Form A: XML with status 200, whatever was asked for."""
    body = (
        f"<OpenAPI_ServiceResponse>\n<cmmMsgHeader>\n<errMsg>SERVICE ERROR</errMsg>\n"
        f"<returnAuthMsg>{MESSAGES.get(code, 'UNKNOWN_ERROR')}</returnAuthMsg>\n<returnReasonCode>{code}</returnReasonCode>\n"
        f"</cmmMsgHeader>\n</OpenAPI_ServiceResponse>"
    )
    return Reply(200, {"content-type": "text/xml;charset=UTF-8"}, body.encode())


def refuse_key(raw_query: str, key: str) -> Reply | None:
    """What the gateway says to this key, looking at the query as it came over the wire; None lets it pass."""
    raw = next((v for k, _, v in (p.partition("=") for p in raw_query.split("&")) if k in ("serviceKey", "ServiceKey")), "")
    if not raw:
        return text(401, "Unauthorized")
    # %25 is a percent sign that was encoded twice; a bare + is a space by the rules of a query.
    known = "%25" not in raw and unquote_plus(raw) == key and unquote(raw) == key
    return None if known else gateway_error("30")


class Gateway(Engine):
    """Pages of the rows, for those who bring the key."""

    name: ClassVar[str] = "data_go_kr"
    Options: ClassVar[type[Strict]] = GatewayOptions
    FAULTS: ClassVar[frozenset[str]] = frozenset({"page_size_capped", "offset_ignored", "duplicate_rows_between_pages"})
    SECRETS: ClassVar[tuple[str, ...]] = (r"(?i)(servicekey=)([^&]*)",)

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        if refused := refuse_key(asked.raw_query, asked.key):
            return refused
        if not asked.spend():
            return text(429, QUOTA)
        options = route.settings
        assert isinstance(options, GatewayOptions)
        params = asked.params
        as_json = wants_json(params)
        if any(not params.get(name) for name in options.required):
            return agency_error("11", as_json)
        try:
            page, size = int(params.get("pageNo", "1")), int(params.get("numOfRows", "10"))
        except ValueError:
            return agency_error("10", as_json)
        if page < 1 or size < 1:
            return agency_error("10", as_json)
        rows = self.chosen(rows_of(source), params, options)
        if asked.fault("offset_ignored"):
            page = 1
        if asked.fault("duplicate_rows_between_pages"):
            rows = [rows[i - 1] if i and i % size == 0 else row for i, row in enumerate(rows)]
        if capped := asked.fault("page_size_capped"):
            size = min(size, capped.number(10))
        shown = rows[(page - 1) * size : page * size]
        return envelope(shown, len(rows), page, size, as_json=as_json, shape=options.items, code=options.code)

    def chosen(self, rows: Sequence[Row], params: dict[str, str], options: GatewayOptions) -> Sequence[Row]:
        """The rows that the query asks for."""
        return filtered(rows, params, options)


def wants_json(params: dict[str, str]) -> bool:
    """Whether one of the parameters that choose a format chooses JSON."""
    return next((v for k, v in params.items() if k in FORMAT_PARAMS), "xml").lower() == "json"


def filtered(rows: Sequence[Row], params: dict[str, str], options: GatewayOptions) -> Sequence[Row]:
    """The rows that the query asks for, by the options' filters."""
    for param, name in options.filters.items():
        if (word := params.get(param, "")) != options.all_words.get(param, ""):
            rows = [r for r in rows if str(r.get(name)) == word]
    for param, names in options.parts.items():
        rows = [r for r in rows if "".join(str(r.get(name)).zfill(2) for name in names) == params.get(param, "")]
    for param, name in options.starts.items():
        rows = [r for r in rows if str(r.get(name)).startswith(params.get(param, ""))]
    return rows


def envelope(rows: Sequence[Row], total: int, page: int, size: int, *, as_json: bool, shape: str, code: str = "00") -> Reply:
    """The rows in the gateway's envelope: a lone row is an object and no row the empty string, where `shape` is 'item'."""
    if as_json:
        items: Any = list(rows)
        if shape == "item":
            items = {"item": items[0] if len(items) == 1 else items} if items else ""
        body = {"items": items, "numOfRows": size, "pageNo": page, "totalCount": total}
        whole = {"response": {"body": body, "header": {"resultMsg": "NORMAL_CODE", "resultCode": code}}}
        return json_reply(whole)
    inner = "".join(f"<item>{''.join(f'<{k}>{escape(str(v))}</{k}>' for k, v in r.items() if v is not None)}</item>" for r in rows)
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<response><header>'
        f"<resultCode>{code}</resultCode><resultMsg>NORMAL_CODE</resultMsg>"
        f"</header><body><items>{inner}</items><numOfRows>{size}</numOfRows><pageNo>{page}</pageNo>"
        f"<totalCount>{total}</totalCount></body></response>"
    )
    return Reply(200, {"content-type": "application/xml;charset=UTF-8"}, xml.encode())


def agency_error(code: str, as_json: bool) -> Reply:
    """Form B: the agency's own header with a code other than zero and no body."""
    if as_json:
        header = {"response": {"header": {"resultMsg": MESSAGES[code], "resultCode": code}}}
        return json_reply(header)
    xml = f"<response><header><resultCode>{code}</resultCode><resultMsg>{MESSAGES[code]}</resultMsg></header></response>"
    return Reply(200, {"content-type": "application/xml;charset=UTF-8"}, xml.encode())


ENGINE = Gateway()
