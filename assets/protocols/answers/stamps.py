"""The version of what a query brings, as the stamp of its step: the agency's own word for it, which query, how many rows.

Shared by protocols that count before they ask. What an agency's version is, and where it stands, is each protocol's own. Pure.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

_STAMP = re.compile(r"(.*); query [0-9a-f]{8}(?:; (\d{1,15}) rows)?")


def stamp_of(version: str, query: Mapping[str, str], rows: int | None) -> str:
    """`rows`: how many were counted; None where that is not part of the version."""
    digest = hashlib.sha256(json.dumps(query, sort_keys=True).encode()).hexdigest()[:8]
    return f"{version}; query {digest}" + ("" if rows is None else f"; {rows} rows")


def version_in(stamp: str | None) -> str | None:
    """The agency's version that a stamp holds."""
    found = _STAMP.fullmatch(stamp or "")
    return found[1] if found else None


def total_in(stamp: str | None) -> int | None:
    """How many rows the stamp promises."""
    found = _STAMP.fullmatch(stamp or "")
    return int(found[2]) if found and found[2] else None
