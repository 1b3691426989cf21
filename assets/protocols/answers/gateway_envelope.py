"""The envelope of data.go.kr's gateway: its four forms of error, its codes and the shapes of `items` (protocols.md 2.1).

Pure, and shared by every protocol that answers in this envelope. What to send is the protocols' own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from assets.protocols.answers.numbers import written_number
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Empty,
    Gone,
    Malformed,
    Outcome,
    QuotaExhausted,
    RateLimited,
    Response,
    Transient,
)

if TYPE_CHECKING:
    from assets.payload import Payload
    from assets.tables.readers.batches import Order

LONG_WAIT_S = 1800.0
"""After code 21, a key that is disabled for a while."""
PER_SECOND_WAIT_S = 2.0
"""After code 23, the allowance of a second is used up."""

_ON_ITS_WAY = "for up to 48 hours after an approval the agency's server may not know the key yet; later runs ask again"

# --- the code table ------------------------------------------------------------------------------------------------------

_CODES: dict[str, tuple[str, Callable[[str], Outcome]]] = {
    "01": ("APPLICATION_ERROR", Transient),
    "02": ("DB_ERROR", Transient),
    "03": ("NODATA_ERROR", Empty),
    "04": ("HTTP_ERROR", Transient),
    "05": ("SERVICETIMEOUT_ERROR", Transient),
    "10": ("INVALID_REQUEST_PARAMETER_ERROR", BadRequest),
    "11": ("NO_MANDATORY_REQUEST_PARAMETERS_ERROR", BadRequest),
    "12": ("NO_OPENAPI_SERVICE_ERROR", Gone),
    "20": ("SERVICE_ACCESS_DENIED_ERROR", AuthFailed),
    "21": ("TEMPORARILY_DISABLE_THE_SERVICEKEY_ERROR", lambda why: Transient(why, LONG_WAIT_S)),
    "22": ("LIMITED_NUMBER_OF_SERVICE_REQUESTS_EXCEEDS_ERROR", lambda why: QuotaExhausted(None, why)),
    "23": ("per-second allowance exceeded", lambda why: RateLimited(PER_SECOND_WAIT_S, why)),
    "30": ("SERVICE_KEY_IS_NOT_REGISTERED_ERROR", AuthFailed),
    "31": ("DEADLINE_HAS_EXPIRED_ERROR", AuthFailed),
    "32": ("UNREGISTERED_IP_ERROR", AuthFailed),
    "33": ("UNSIGNED_CALL_ERROR", AuthFailed),
    "99": ("UNKNOWN_ERROR", Transient),
}
# Words that come without their number, or beside a number of the agency's own.
_WORDS = {name: code for code, (name, _) in _CODES.items()} | {
    "NO_DATA": "03",
    "SERVICETIME_OUT": "05",
    "SERVICE_TIMEOUT_ERROR": "05",
}


def is_success(code: str, codes: tuple[str, ...] | None) -> bool:
    """A declared success code, or by default any code of zeros alone (0, 00, 000, 0000)."""
    return code in codes if codes is not None else code != "" and set(code) == {"0"}


def by_code(code: str, message: str, nodata: Literal["empty", "retry"] = "empty") -> Outcome:
    """The outcome of a result code that is no success. Agencies pad codes (`3`, `0030`) and send words in their place."""
    key = code.strip().upper()
    if key.isascii() and key.isdigit():
        key = key.lstrip("0").rjust(2, "0")
    words = re.sub(r"[\s.]+", "_", message.strip().upper()).strip("_")
    entry = _CODES.get(key) or _CODES.get(_WORDS.get(key, "")) or _CODES.get(_WORDS.get(words, ""))
    if entry is None:
        return Malformed(f"result code '{code[:20]}', which the gateway's table does not have")
    number = next(n for n, e in _CODES.items() if e is entry)
    name, outcome = entry
    why = f"{number} {name}" + (f"; {_ON_ITS_WAY}" if number == "30" else "")
    return Transient(why) if number == "03" and nodata == "retry" else outcome(why)


_PLAIN: tuple[tuple[str, Outcome], ...] = (
    ("unauthorized", AuthFailed("Unauthorized: the key is missing or invalid")),
    ("forbidden", AuthFailed(f"Forbidden: this API was not applied for or is not approved yet; {_ON_ITS_WAY}")),
    ("api not found", Gone("API not found: the address is wrong or retired")),
    ("api rate limit exceeded", RateLimited(None, "API rate limit exceeded")),
    ("api token quota exceeded", QuotaExhausted(None, "API token quota exceeded")),
    ("error forwarding request to backend server", Transient("the agency's server is unreachable")),
    ("error receiving response from backend server", Transient("the agency's server gave no answer")),
    ("unexpected errors", Transient("fault of the gateway")),
    ("unexpected error", Transient("fault of the gateway")),
)


def by_plain_text(head: bytes, length: int) -> Outcome | None:
    """Form D, the new gateway's one line of plain text, whatever its status; None for any other body."""
    if length > 200:
        return None
    text = head.decode("utf-8", "replace").strip().strip("\ufeff\"'").rstrip(".").strip().lower()
    return next((outcome for said, outcome in _PLAIN if text == said), None)


# --- the envelope --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Envelope:
    """What the envelope of one page says. `ended`: the body is whole, as far as its end shows."""

    code: str | None = None
    message: str = ""
    total: int | None = None
    page_size: int | None = None
    page_number: int | None = None
    has_items: bool = False
    ended: bool = True


def envelope_of(response: Response, records_path: str, total_path: str) -> Envelope | None:
    """The envelope, parsed where the body is whole in `head`, else found in the head and tail. None: there is none."""
    names = (records_path.rpartition(".")[2], total_path.rpartition(".")[2])
    text = response.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return _from_text(response.head, response.tail, response.length, names, xml=True)
    if not text.startswith((b"{", b"[")):
        return None
    if response.length <= len(response.head):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return _from_text(response.head, response.tail, response.length, names, xml=False, ended=False)
        return _from_json(document, records_path, total_path)
    return _from_text(response.head, response.tail, response.length, names, xml=False)


def _dig(value: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _from_json(document: Any, records_path: str, total_path: str) -> Envelope | None:
    if not isinstance(document, dict):
        return None
    gateway = document.get("OpenAPI_ServiceResponse", document)
    if isinstance(gateway, dict) and isinstance(message := gateway.get("cmmMsgHeader"), dict):  # form A
        return Envelope(_text(message.get("returnReasonCode")), _text(message.get("returnAuthMsg")) or "")
    response = document.get("response", document)
    header = response.get("header") if isinstance(response, dict) else None
    if not isinstance(header, dict):  # form C
        header = document
    code = _text(header.get("resultCode"))
    if code is None:
        return None
    parent, _, last = records_path.rpartition(".")
    body = _dig(document, parent) if parent else document
    around = _dig(document, total_path.rpartition(".")[0]) if "." in total_path else document
    around = around if isinstance(around, dict) else {}
    return Envelope(
        code,
        _text(header.get("resultMsg")) or "",
        written_number(_dig(document, total_path)),
        written_number(around.get("numOfRows")),
        written_number(around.get("pageNo")),
        isinstance(body, dict) and last in body,
    )


def _text(value: Any) -> str | None:
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def _from_text(
    head: bytes, tail: bytes, length: int, names: tuple[str, str], *, xml: bool, ended: bool | None = None
) -> Envelope | None:
    """Header fields stand before the items or behind them: those of the head count first, then those of the tail.

    `names`: of the items and of the total, as the feed declares them.
    """
    items, total = names
    start, end = head.decode("utf-8", "replace"), tail.decode("utf-8", "replace")
    # inside items a row may have columns of the same names: only what is outside them counts
    before = _before_items(start, items, xml)
    after = _after_items(end if length > len(head) else start, items, xml)

    def field(name: str) -> str | None:
        for piece in (before, after):
            it = re.escape(name)
            pattern = rf"<{it}>\s*([^<]*?)\s*</{it}>" if xml else rf'"{it}"\s*:\s*"?([^",}}\]]*)"?'
            if found := re.search(pattern, piece):
                return found.group(1).strip()
        return None

    code = field("returnReasonCode")
    message = field("returnAuthMsg") or ""
    if code is None:
        code, message = field("resultCode"), field("resultMsg") or ""
    if code is None:
        return None
    if ended is None:
        ended = end.rstrip().endswith(">" if xml else "}")
        if xml and (root := re.search(r"<([A-Za-z_][\w.\-]*)[\s>]", start)):
            ended = end.rstrip().endswith(f"</{root.group(1)}>")
    return Envelope(
        code,
        message,
        written_number(field(total)),
        written_number(field("numOfRows")),
        written_number(field("pageNo")),
        before != start or ((f"<{items}" if xml else f'"{items}"') in start),
        ended,
    )


def _before_items(text: str, items: str, xml: bool) -> str:
    it = re.escape(items)
    found = re.search(rf"<{it}[\s/>]", text) if xml else re.search(rf'"{it}"\s*:\s*[\[{{]', text)
    return text[: found.start()] if found else text


def _after_items(text: str, items: str, xml: bool) -> str:
    if xml:
        return text[max(text.rfind(f"</{items}>"), text.rfind("</item>"), 0) :]
    return text[max(text.rfind("]"), 0) :] if "]" in text else text[max(text.rfind("}", 0, max(text.rfind('"'), 0)), 0) :]


# --- items ---------------------------------------------------------------------------------------------------------------


def normalise_items(value: Any, item_key: str = "item") -> list[Any]:
    """All shapes of `items` as a list of rows: many, one object, and the five ways of saying none."""
    for _ in range(8):  # {"item": {"item": …}} ends somewhere
        if value is None or value in ("", {}, []) or (isinstance(value, str) and not value.strip()):
            return []
        if isinstance(value, dict) and item_key in value:
            value = value[item_key]
        else:
            break
    return list(value) if isinstance(value, list) else [value]


def items_of(page: Payload, records_path: str, item_key: str, order: Order) -> list[Any]:
    """The rows of one archived page, JSON or XML. Raises UnreadableSource on a body that is no page."""
    from assets.tables.readers.decoding import open_utf8

    if page.size == 0:
        raise order.refuse("empty page", "look at the archived body: paging.size may be above the service's cap")
    with open_utf8(page, declared=order.encoding, korean=order.korean, where=order.where) as file:
        data = file.read()
    document = _xml_document(data, order) if data.lstrip().startswith(b"<") else _json_document(data, order)
    value: Any = document
    for part in records_path.split("."):
        if value is None or value == "":  # <body/>: a page past the end
            return []
        if not isinstance(value, dict) or (value is document and part not in value):
            raise order.refuse(f"no '{part[:100]}' on the path '{records_path}'", "correct source.records.path")
        value = value.get(part)
    return normalise_items(value, item_key)


def _json_document(data: bytes, order: Order) -> Any:
    from assets.tables.readers.json_text import NotJson, loads

    try:
        return loads(data)
    except NotJson as error:
        raise order.refuse(f"a page is {error}", "look at the archived body") from None


def _xml_document(data: bytes, order: Order) -> Any:
    from lxml import etree

    from assets.tables.readers.xml_reader import HARDENED, local, value_of

    parser = etree.XMLParser(encoding="utf-8", **HARDENED)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line = error.position[0] if error.position else 0
        raise order.refuse(f"a page is no well-formed XML at line {line}", "look at the archived body") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise order.refuse("a page has a DOCTYPE, which the gateway never sends", "look at the archived body")
    return {local(root.tag): value_of(root)}
