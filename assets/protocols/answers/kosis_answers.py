"""What KOSIS answers: its two forms of error, its codes, and its lists, mended where they are no JSON (protocols.md 2.6). Pure.

Keys come without quotes where jsonVD is not understood, and the answer about updates has shipped a TAB where the key SEND_DE
should be. Both are mended outside strings only, and only where the text is no JSON as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from assets.protocols.answers.http_answers import retry_after
from assets.protocols.kernel import AuthFailed, BadRequest, Body, Empty, Malformed, Outcome, RateLimited, Transient

if TYPE_CHECKING:
    from assets.feeds.model import Feed

NO_CODES = "KOSIS lists no codes of this table: check org and table, or list the codes in place of [ALL]"
NO_UPDATES = "KOSIS knows no update date of this table: check org and table, or set updates: false"
_MINUTE_S = 60.0
_PIECE = re.compile(
    r'"([ \t]{1,8})"(?=\s*:)'  # a quoted key of nothing but white space
    r'|"(?:[^"\\]|\\.)*"'  # any other string: left alone
    r"|([{,]\s*)([A-Za-z_]\w*)(?=\s*:)"  # a bare key
    r"|([{,][ \r\n]*)\t\s*(?=:)"  # a TAB alone where a key should be
)
_XML_CODE = re.compile(r"<err(?:Code)?>\s*(?:<!\[CDATA\[)?\s*(-?\w{1,20})\s*(?:\]\]>)?\s*</err(?:Code)?>")
_XML_WORDS = re.compile(r"<errMsg>\s*(?:<!\[CDATA\[)?(.{0,500}?)(?:\]\]>)?\s*</errMsg>", re.S)


def repaired(text: str) -> str:
    """The text with keys in quotes, and SEND_DE for a key that is a TAB."""
    return _PIECE.sub(_mended, text)


def _mended(match: re.Match[str]) -> str:
    blank, before, key, before_tab = match.groups()
    if key is not None:
        return f'{before}"{key}"'
    if before_tab is not None:
        return f'{before_tab}"SEND_DE"'
    return '"SEND_DE"' if blank and "\t" in blank else match[0]


def document_of(text: str) -> Any:
    """The JSON in the text, mended where it must be; numbers keep their digits. Raises NotJson."""
    from assets.tables.readers.json_text import NotJson, loads

    text = text.lstrip("\ufeff")
    try:
        return loads(text)
    except NotJson:
        return loads(repaired(text))


def error_of(head: bytes, length: int) -> tuple[str, str] | None:
    """Code and words of an error, from an object or XML; None where the body is neither. Never raises."""
    from assets.tables.readers.json_text import NotJson

    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text[:1] == "<":
        code = _XML_CODE.search(text)
        words = _XML_WORDS.search(text)
        return (code[1], words[1].strip() if words else "") if code else None
    if text[:1] != "{" or length > len(head):
        return None
    try:
        value = document_of(text)
    except NotJson:
        return None
    code_value = next((value[name] for name in ("err", "errCode") if isinstance(value, dict) and name in value), None)
    if code_value is None or isinstance(code_value, (dict, list)):
        return None
    return str(code_value).strip(), str(value.get("errMsg", ""))[:500]


def by_code(code: str, words: str, headers: Mapping[str, str], without: str = "") -> Outcome:
    """The outcome of an error. `without`: what it means that a question about the table itself has no result."""
    reason = f"error {code}: {words[:200]}"
    if code in ("10", "11", "42"):
        return AuthFailed(reason)
    if code in ("20", "21"):
        return BadRequest(reason)
    if code == "30":
        return BadRequest(f"{reason} ({without})") if without else Empty(reason)
    if code in ("31", "41"):
        return BadRequest(
            f"{reason} (where it cannot be halved: list the codes of items and classes in place of [ALL])", too_large=True
        )
    if code == "40":
        return RateLimited(retry_after(headers) or _MINUTE_S, reason)
    return Transient(reason) if code == "50" else Malformed(reason)


def whole(body: bytes) -> Outcome | None:
    """What a list that is seen whole says but rows; None where it has some."""
    from assets.tables.readers.json_text import NotJson

    try:
        value = document_of(body.decode("utf-8", "replace"))
    except NotJson as error:
        return Malformed(str(error))
    return Empty("an empty list") if value == [] else None


def records_of(feed: Feed, body: Body) -> list[Any]:
    """The list of one archived answer. Raises UnreadableSource where it is none."""
    from assets.tables.readers.decoding import open_utf8
    from assets.tables.readers.json_text import NotJson
    from assets.tables.readers.open import order_of

    order = order_of(feed)
    with open_utf8(body.payload, declared=order.encoding, korean=order.korean, where=order.where) as file:
        text = file.read().decode("utf-8")
    try:
        value = document_of(text)
    except NotJson as error:
        raise order.refuse(f"an answer is {error}", "look at the archived body") from None
    if not isinstance(value, list):
        raise order.refuse("no list in place of the cells", "look at the archived body")
    return value
