"""What BLS answers: its words, and whether everything that was asked for came (protocols.md 3.9). Pure; asking is `bls2.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from assets.protocols.answers.json_answers import in_words
from assets.protocols.kernel import AuthFailed, BadRequest, Empty, Gone, Malformed, Ok, Outcome, QuotaExhausted, Request

_NO_DATA = re.compile(r"No Data Available for Series (\S+) Year: (\d{4})", re.I)
_NO_SERIES = re.compile(r"(?:Series does not exist|Invalid Series) for Series\s+(\S+)", re.I)
Cell = tuple[str, int]


@dataclass(frozen=True)
class Question:
    """Series, and the first and last year."""

    series: tuple[str, ...]
    first: int
    last: int

    def cells(self) -> set[Cell]:
        return {(series, year) for series in self.series for year in range(self.first, self.last + 1)}

    def halves(self) -> list[Question]:
        """By series first, then by years; none of a single year of a single series."""
        half, middle = len(self.series) // 2, (self.first + self.last) // 2
        if half:
            return [replace(self, series=self.series[:half]), replace(self, series=self.series[half:])]
        return [] if self.first == self.last else [replace(self, last=middle), replace(self, first=middle + 1)]


def asked_of(request: Request) -> Question | None:
    """The question in the body of a request; None where there is none."""
    try:
        body = json.loads(request.body or b"")
        return Question(tuple(map(str, body["seriesid"])), int(body["startyear"]), int(body["endyear"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def proved(asked: Question, said: Mapping[str, Any], words: Sequence[str], nodata: str) -> Outcome:
    """Ok only where every year of every series came, or BLS says in words that there is none."""
    told = " ".join(words)
    if unknown := sorted({name.rstrip(".") for name in _NO_SERIES.findall(told)} & {*asked.series}):
        return Gone(f"there is no series {', '.join(unknown)[:200]}")
    came, wanted = _cells(said), asked.cells()
    if strangers := sorted(came - wanted):
        return Malformed(f"{strangers[0][0][:40]} of {strangers[0][1]} came, and was not asked for")
    missing = sorted(wanted - came - {(name, int(year)) for name, year in _NO_DATA.findall(told)})
    if not missing:
        return Ok() if came else Empty(in_words(told))
    why = f"{len(missing)} of {len(wanted)} years of series did not come, without a word, as {missing[0][0]} of {missing[0][1]}"
    if len(wanted) > 1:
        return BadRequest(why, too_large=True)
    return Empty(why) if nodata == "empty" else Malformed(f"{why}; declare nodata: empty if there is none")


def _cells(said: Mapping[str, Any]) -> set[Cell]:
    """The years of which a row came, by series."""
    results = said.get("Results")
    listed = results.get("series") if isinstance(results, dict) else None
    found: set[Cell] = set()
    for series in listed if isinstance(listed, list) else []:
        data = series.get("data") if isinstance(series, dict) else None
        for datum in data if isinstance(data, list) else []:
            year = str(datum.get("year")) if isinstance(datum, dict) else ""
            if year.isascii() and year.isdigit() and len(year) == 4:
                found.add((str(series.get("seriesID")), int(year)))
    return found


def refusal(verdict: str, words: Sequence[str]) -> Outcome:
    """The outcome of a status other than success, by BLS's words."""
    why = in_words(f"{verdict[:40]}: {' '.join(words)}", 300)
    low = why.lower()
    if "threshold" in low:
        return QuotaExhausted(None, why)
    if "key" in low and ("invalid" in low or "not valid" in low or "not registered" in low):
        return AuthFailed(why)
    if _NO_SERIES.search(why):
        return Gone(why)
    return BadRequest(why) if verdict == "REQUEST_NOT_PROCESSED" else Malformed(why)


def document(head: bytes) -> dict[str, Any]:
    try:
        found = json.loads(head.decode("utf-8", "replace").lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def messages(said: Mapping[str, Any]) -> list[str]:
    told = said.get("message")
    return [str(one) for one in told] if isinstance(told, list) else [] if told is None else [str(told)]
