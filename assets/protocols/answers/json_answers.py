"""What agencies that are asked by a query and answer with one JSON document share: the GET, and bodies that are no answer.

Pure, and no protocol of its own. What an agency's own error says is each protocol's; it looks for that first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from assets.protocols.answers.http_answers import keyed, query_string
from assets.protocols.answers.json_pages import Around
from assets.protocols.kernel import Auth, Cursor, Malformed, Outcome, Request, Response, Step, Transient
from assets.tables.readers.magic import kind_of


def asked(
    base: str,
    query: Mapping[str, str],
    auth: Auth,
    step: Step,
    cursor: Cursor,
    *,
    safe: str = ":,;*",
    headers: Mapping[str, str] | None = None,
) -> Request:
    """A GET with its parameters encoded once, in their order, the key last. `safe`: characters that stay as they are."""
    pairs = query_string(query, safe=safe)
    url, sent = keyed(f"{base}?{pairs}" if pairs else base, headers or {}, auth)
    return Request(url, headers=sent, step=step.ordinal, page=cursor.page)


def odd_body(response: Response, seen: Around | None) -> Outcome | None:
    """Why the body of a successful response is no whole JSON document; None where it is one."""
    if response.length == 0:
        return Malformed("an empty body in place of JSON")
    if not response.complete:
        return Transient("the connection ended before the end of the answer")
    if seen is None:
        kind = kind_of(response.head)
        return Malformed(f"{'an HTML page' if kind == 'html' else 'XML' if kind == 'xml' else 'something else'} in place of JSON")
    return None if seen.ended else Transient("the answer is cut off, or no JSON: it does not end as JSON does")


def whole_of(head: bytes, length: int) -> dict[str, Any] | None:
    """The body as an object, where all of it is seen."""
    try:
        found = json.loads(head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")) if length <= len(head) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def is_empty_list(head: bytes) -> bool:
    """Whether the body, seen whole, is a list of nothing."""
    return re.fullmatch(rb"(?:\xef\xbb\xbf)?\s*\[\s*\]\s*", head) is not None


def in_words(text: object, most: int = 200) -> str:
    """What an agency said, for a reason: one line, short."""
    return re.sub(r"\s+", " ", str(text if text is not None else "")).strip()[:most]
