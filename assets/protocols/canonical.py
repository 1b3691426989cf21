"""The canonical digest of a JSON body: what is left when volatile fields are dropped and keys are sorted (protocols.md 1.5).

A stamp that moves with every answer must not make news of the same data. Bytes are archived as received all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from assets.payload import Payload

MAX_CANONICAL_BYTES = 64 * 1024 * 1024
"""A larger body is compared byte for byte: canonical form needs it whole in memory."""


def canonical_json_sha256(body: Payload, volatile: Sequence[str]) -> str | None:
    """Hex digest of the JSON in `body` without the `volatile` dotted paths; None where it is no JSON, or too large.

    Numbers keep the text they came with, so that 1.0 and 1 stay different. Lists keep their order.
    """
    if not volatile or body.size > MAX_CANONICAL_BYTES:
        return None
    try:
        value = json.loads(body.read_bytes(), parse_float=_number, parse_int=_number)
    except (ValueError, RecursionError):
        return None
    for field in volatile:
        _drop(value, field.split("."))
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _number(text: str) -> dict[str, str]:
    """A number as the text it came with, marked so that it is no string."""
    return {"#": text}


def _drop(value: Any, path: Sequence[str]) -> None:
    """Remove the field at `path`, where it is; a list on the way means each of its members."""
    if isinstance(value, list):
        for member in value:
            _drop(member, path)
    elif isinstance(value, dict):
        if len(path) == 1:
            value.pop(path[0], None)
        elif path[0] in value:
            _drop(value[path[0]], path[1:])
