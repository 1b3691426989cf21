"""The periods of ECOS, from years to days: their names, where they begin, and how a span of them is cut (protocols.md 2.7).

Pure, on dates. A cycle is one of A, S, Q, M, SM and D.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from assets.protocols.queries import moment_text

FORMS = {"A": "%Y", "S": "%YS%h", "Q": "%YQ%q", "M": "%Y%m", "SM": "%Y%m", "D": "%Y%m%d"}
_MONTHS = {"A": 12, "S": 6, "Q": 3, "M": 1}
_PERIOD = re.compile(r"(\d{4})(?:S([12])|Q([1-4])|(\d\d)(?:S([12])|(\d\d))?)?", re.ASCII)


def period_of(day: date, cycle: str) -> str:
    """The period that the day lies in, as the cycle writes it: 2015, 2015S1, 2015Q1, 201501, 201501S1 or 20150101."""
    text = moment_text(datetime.combine(day, time()), FORMS[cycle])
    return f"{text}S{1 + (day.day > 15)}" if cycle == "SM" else text


def begin_of(day: date, cycle: str) -> date:
    """The first day of the period that the day lies in."""
    if cycle == "D":
        return day
    if cycle == "SM":
        return day.replace(day=16 if day.day > 15 else 1)
    months = _MONTHS[cycle]
    return date(day.year, (day.month - 1) // months * months + 1, 1)


def halves(params: Mapping[str, Any], cycle: str | None) -> list[tuple[date, date]]:
    """The span of a step in two, cut between two periods of the cycle; nothing where it is one period."""
    if cycle is None or "from" not in params:
        return []
    start, end = params["from"], params["to"]
    cut = begin_of(start + (end - start) // 2 + timedelta(days=1), cycle)
    if cut <= begin_of(start, cycle) or cut > end:
        cut = begin_of(end, cycle)
    return [(start, cut - timedelta(days=1)), (cut, end)] if cut > begin_of(start, cycle) else []


def first_day_of(period: str, cycle: str) -> date | None:
    """The day that a period begins with; None where it is none of the cycle."""
    found = _PERIOD.fullmatch(period)
    if found is None:
        return None
    year, half, quarter, month, part, day = (int(group or 0) for group in found.groups())
    try:
        first = date(year, month or 3 * quarter - 2 * (quarter > 0) or 6 * half - 5 * (half > 0) or 1, day or 15 * (part == 2) + 1)
        return first if period_of(first, cycle) == period else None
    except (ValueError, KeyError):
        return None
