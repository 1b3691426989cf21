"""Which edition of a file of odcloud is the newest, by its namespace's Swagger document (protocols.md 2.3). Pure."""

from __future__ import annotations

import json
import re
from datetime import date

from assets.errors import UnreadableSource

_DAY = re.compile(r"(?<!\d)(20\d\d)[-._/]?(0[1-9]|1[0-2])[-._/]?(0[1-9]|[12]\d|3[01])(?!\d)")


def newest(data: bytes, where: str) -> str:
    """The uddi of a namespace's Swagger document whose title has the latest day. Raises UnreadableSource where none stands out."""
    mend = "pin one: give its uddi in source.path, and leave edition out"
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    paths = document.get("paths") if isinstance(document, dict) else None
    found: list[tuple[date, str]] = []
    for path, methods in paths.items() if isinstance(paths, dict) else ():
        name = re.search(r"uddi:[A-Za-z0-9_\-]+$", path)
        about = methods.get("get") if isinstance(methods, dict) else None
        if name is None or not isinstance(about, dict):
            continue
        days = [day for day in map(_day, _DAY.findall(str(about.get("summary") or about.get("description") or ""))) if day]
        found += [(days[-1], name[0])] if days else []
    if not found:
        raise UnreadableSource("the Swagger document names no edition with a date in its title", where=where, mend=mend)
    latest = max(day for day, _ in found)
    uddis = sorted({uddi for day, uddi in found if day == latest})
    if len(uddis) > 1:
        raise UnreadableSource(f"{len(uddis)} editions have the latest date, {latest}", where=where, mend=mend)
    return uddis[0]


def _day(parts: tuple[str, str, str]) -> date | None:
    try:
        return date(*map(int, parts))
    except ValueError:
        return None
