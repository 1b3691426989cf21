"""Exceptions of OGC's older services, as XML or JSON, which come with status 200 too (protocols.md 3.5). Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from assets.protocols.answers.http_answers import by_status
from assets.protocols.answers.json_answers import in_words
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Gone,
    Malformed,
    Outcome,
    QuotaExhausted,
    RateLimited,
    Response,
    Transient,
)

ROOTS = ("ExceptionReport", "ServiceExceptionReport")
_EXCEPTION = re.compile(r"<(?:[\w.\-]{1,60}:)?(?:Exception|ServiceException)\b([^<>]{0,2000})>([^<]{0,2000})")
_TEXT = re.compile(r"<(?:[\w.\-]{1,60}:)?ExceptionText\b[^<>]{0,200}>\s*(?:<!\[CDATA\[)?([^<]{0,4000})")
_ATTRIBUTE = re.compile(r"""(?:^|\s)([\w.\-]{1,60})\s*=\s*(?:"([^"]{0,8000})"|'([^']{0,8000})')""")

_BAD = frozenset(
    {"InvalidParameterValue", "MissingParameterValue", "OperationNotSupported", "OptionNotSupported", "OperationParsingFailed",
     "OperationProcessingFailed", "VersionNegotiationFailed", "InvalidValue", "InvalidFormat", "INVALID_TYPE", "PARAM_REQUIRED"}
)  # fmt: skip
_KEY = frozenset({"INVALID_KEY", "INCORRECT_KEY", "UNAVAILABLE_KEY"})
"""VWorld's codes."""
_OURS = re.compile(
    r"natural order|could not parse|illegal property|no such (?:field|property|attribute)|primary key", re.IGNORECASE
)
"""What a server of no code says of a question that asking again does not mend."""


def attributes_in(text: str) -> dict[str, str]:
    """The attributes of a start tag, from what stands after its name."""
    return {name: html.unescape(one or other) for name, one, other in _ATTRIBUTE.findall(text)}


def exception_in(root: str, fields: Mapping[str, Any], response: Response) -> Outcome | None:
    """What an exception means, whatever the status above it; None where the answer is none.

    `root`: name of the XML's root, or 'json'; `fields`: the members of the JSON.
    """
    if root in ROOTS:
        text = response.head.decode("utf-8", "replace")
        found, said = _EXCEPTION.search(text), _TEXT.search(text)
        told = attributes_in(found[1]) if found else {}
        words = html.unescape(said[1] if said else found[2] if found else "").replace("]]>", "")
        return _meaning(
            told.get("exceptionCode") or told.get("code") or "", told.get("locator") or "", words, response.status, response.headers
        )
    listed = fields.get("exceptions") if root == "json" else None
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        code, locator, words = (value if isinstance(value := listed[0].get(n), str) else "" for n in ("code", "locator", "text"))
        return _meaning(code, locator, words, response.status, response.headers)
    return None


def _meaning(code: str, locator: str, words: str, status: int, headers: Mapping[str, str]) -> Outcome:
    why = in_words(": ".join(filter(None, (code or "an exception", in_words(locator, 60), in_words(words)))))
    by = by_status(status, headers)
    if isinstance(by, AuthFailed | RateLimited):
        return replace(by, reason=f"{by.reason}: {why}")
    if code in _KEY:
        return AuthFailed(why)
    if code == "OVER_REQUEST_LIMIT":
        return QuotaExhausted(None, why)
    if code in ("NotFound", "LayerNotDefined") or (code in _BAD and locator.lower() in ("typename", "typenames")):
        return Gone(why)
    if "natural order" in words.lower():
        return BadRequest(f"{why}; declare source.sort_by")
    if code in _BAD or _OURS.search(words):
        return BadRequest(why)
    if code in ("NoApplicableCode", ""):
        return replace(by, reason=f"{by.reason}: {why}") if isinstance(by, BadRequest) else Transient(why)
    return by if by is not None else Malformed(f"an exception of unknown code: {why}")
