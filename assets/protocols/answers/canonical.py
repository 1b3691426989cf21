"""The canonical digest of JSON: what is left when volatile fields are dropped, and keys and order-free lists are sorted.

A stamp that moves with every answer must not make news of the same data (protocols.md 1.5). Bytes are archived as received all the
same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from assets.payload import Payload

MAX_CANONICAL_BYTES = 64 * 1024 * 1024
"""A larger body is compared byte for byte: canonical form needs it whole in memory."""


def canonical_json_sha256(body: Payload, volatile: Sequence[str], unordered: Sequence[str] = ()) -> str | None:
    """Hex digest of the JSON in `body` in its canonical form; None where it is no JSON, or too large, or there is nothing to drop.

    Numbers keep the text they came with, so that 1.0 and 1 stay different.
    """
    if not (volatile or unordered) or body.size > MAX_CANONICAL_BYTES:
        return None
    try:
        value = json.loads(body.read_bytes(), parse_float=_number, parse_int=_number)
        return value_sha256(value, volatile, unordered)
    except (ValueError, RecursionError):
        return None


def value_sha256(value: Any, volatile: Sequence[str] = (), unordered: Sequence[str] = ()) -> str:
    """Hex digest of a JSON value without the `volatile` dotted paths, and with the lists at the `unordered` ones sorted."""
    for field in volatile:
        value = _changed(value, field.split("."), _dropped)
    for field in unordered:
        value = _changed(value, field.split("."), _in_order)
    return hashlib.sha256(canonical_text(value).encode("utf-8", "surrogatepass")).hexdigest()


def _in_order(value: Any) -> Any:
    """A list sorted by its members' canonical text, anything else as it is."""
    return sorted(value, key=canonical_text) if isinstance(value, list) else value


def canonical_text(value: Any) -> str:
    """JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _number(text: str) -> dict[str, str]:
    """A number as the text it came with, marked so that it is no string."""
    return {"#": text}


_GONE = object()


def _dropped(value: Any) -> Any:
    return _GONE


def _changed(value: Any, path: Sequence[str], change: Callable[[Any], Any]) -> Any:
    """The value with what stands at `path` changed, or without it; a list on the way means each of its members."""
    if isinstance(value, list):
        return [_changed(member, path, change) for member in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    inner = change(value[path[0]]) if len(path) == 1 else _changed(value[path[0]], path[1:], change)
    return {name: inner if name == path[0] else old for name, old in value.items() if name != path[0] or inner is not _GONE}
