"""Faults of the rows themselves, whatever server tells them: taken back, revised, stamped 24:00, a number that means none.

A form for rows, before an engine pages and filters them, and one for text, for files that are sent as they lie. Each is the
same for each request while it is on, as the agency's own rows would be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from deploy.agency.engine import Fault, Row

Edit = Callable[[str], str]
_MOMENT = re.compile(r"(?<!\d)(\d{4}-\d{2}-\d{2}[ T])\d{2}:\d{2}(:\d{2})?")
_DECIMAL = re.compile(r"(?<![\w.-])-?\d+\.\d+(?![\w.])")
EVERY = 10


def at_24(text: str) -> str:
    """The hour that ends a day, in the way of those who count it to that day (AirKorea)."""
    return _MOMENT.sub(lambda m: f"{m[1]}24:00{':00' if m[2] else ''}", text, count=1)


def sentinel(text: str) -> str:
    return _DECIMAL.sub("-999", text, count=1)


def revised(text: str) -> str:
    """The same digits, and one more before the point."""
    return _DECIMAL.sub(lambda m: f"-1{m[0][1:]}" if m[0].startswith("-") else f"1{m[0]}", text, count=1)


TEXTS: dict[str, Edit] = {"24:00": at_24, "sentinel_-999": sentinel, "rows_revised": revised}
"""Faults of one value, the first that has the form, as an edit of text that holds it."""


def of_rows(name: str, fault: Fault, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows with the fault in them."""
    if name == "rows_withdrawn":
        return [row for n, row in enumerate(rows, 1) if n % fault.number(EVERY)]
    edit = TEXTS[name]
    for n, row in enumerate(rows):
        for key, value in row.items():
            if isinstance(value, str | float) and (changed := edit(str(value))) != str(value):
                return [*rows[:n], {**row, key: type(value)(changed)}, *rows[n + 1 :]]
    return rows


def of_text(name: str, fault: Fault, body: bytes) -> bytes:
    """The file with the fault in it; one that is no text stays as it is."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return body
    if name != "rows_withdrawn":
        return TEXTS[name](text).encode()
    try:
        whole = json.loads(text)
    except ValueError:
        head, *rest = body.splitlines(keepends=True) or [b""]
        return head + b"".join(line for n, line in enumerate(rest, 1) if n % fault.number(EVERY))
    return json.dumps(_without(whole, fault), ensure_ascii=False).encode()


def _without(whole: Any, fault: Fault) -> Any:
    """A list, or GeoJSON with its own count, less every tenth."""
    if isinstance(whole, list):
        return of_rows("rows_withdrawn", fault, whole)
    if isinstance(whole, dict) and isinstance(whole.get("features"), list):
        kept = of_rows("rows_withdrawn", fault, whole["features"])
        metadata = whole.get("metadata")
        counted = {"metadata": {**metadata, "count": len(kept)}} if isinstance(metadata, dict) and "count" in metadata else {}
        return {**whole, **counted, "features": kept}
    return whole


NAMES = frozenset({*TEXTS, "rows_withdrawn"})


class Edits:
    """The faults of rows that are on. `taken`: an engine has put them into the rows that it answers from."""

    def __init__(self, faults: dict[str, Fault]) -> None:
        self._faults, self.taken = faults, False

    def __call__(self, rows: Sequence[Row]) -> Sequence[Row]:
        self.taken = True
        for name, fault in self._faults.items():
            rows = of_rows(name, fault, rows)
        return rows
