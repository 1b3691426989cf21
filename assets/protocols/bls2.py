"""Series of the U.S. Bureau of Labor Statistics, version 2 of its API, `api.bls.gov/publicAPI/v2` (protocols.md 3.9).

Here are its question in a body, its words for refusals (with status 200), and the proof that everything asked for came: it leaves
out series and years in silence when they are too many. Only an answer that is seen whole can be proved, so questions are small.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from assets.protocols.canonical import canonical_json_sha256
from assets.protocols.http_answers import by_status
from assets.protocols.json_answers import in_words, odd_body
from assets.protocols.json_pages import around, records_of, rows_of_records
from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
    Limits,
    Malformed,
    Ok,
    Outcome,
    Protocol,
    QuotaExhausted,
    Request,
    SourceBase,
    Step,
    Validators,
    When,
)

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

MOST_CELLS = 40
"""Series times years of one question: that many years of months fit into the 64 kB of an answer that are seen."""
_NO_DATA = re.compile(r"No Data Available for Series (\S+) Year: (\d{4})", re.I)
_NO_SERIES = re.compile(r"Series does not exist for Series (\S+)", re.I)
Cell = tuple[str, int]


class BlsAuth(Auth):
    """BLS takes its key in the body of a question alone, where Madang puts none; so series are asked for without one."""

    kind: str = Field("none", pattern="^none$", description="Only none.")


class BlsLimits(Limits):
    """Without a key: 25 questions a day."""

    per_day: int | None = Field(25, gt=0, description="Daily quota.")
    reset: str = Field("00:00 America/New_York", pattern=r"^\d{2}:\d{2} [A-Za-z_/]+$", description="When it resets.")
    concurrency: int = Field(1, gt=0, le=64)


class BlsSource(SourceBase):
    """`source:` of some series, for the latest years."""

    protocol: Literal["bls2"]
    base_url: str = Field(
        "https://api.bls.gov/publicAPI/v2/timeseries/data/", pattern=r"^https?://[^\s?#]+$", description="Address of the service."
    )
    series: tuple[str, ...] = Field(min_length=1, description="Ids of the series, like [LNS14000000].")
    years: int = Field(3, gt=0, le=150, description="How many years to ask for: the running one, and those before it.")
    max_series: int = Field(25, gt=0, le=50, description="Series of one question; 25 without a key.")
    max_years: int = Field(10, gt=0, le=20, description="Years of one question; 10 without a key.")
    nodata: Literal["refuse", "empty"] = Field(
        "refuse", description="A year of a series that is asked for alone and still does not come, without a word: fail, or none."
    )
    auth: BlsAuth = BlsAuth()
    limits: BlsLimits = BlsLimits()

    @property
    def address(self) -> str:
        return self.base_url


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


class Bls(Protocol[BlsSource]):
    """A question in a body; one answer, in which everything that was asked for must be."""

    name: ClassVar[str] = "bls2"
    Source: ClassVar[type[SourceBase]] = BlsSource

    def plan(self, feed: Feed, source: BlsSource, when: When) -> Iterable[Step]:
        newest = when.now.astimezone(ZoneInfo(feed.schedule.timezone)).year
        at_once = min(source.max_years, source.years)
        wide = min(source.max_series, max(1, MOST_CELLS // at_once))
        series = list(dict.fromkeys(source.series))
        return [
            Step(params={"question": Question(tuple(series[n : n + wide]), first, min(first + at_once - 1, newest))})
            for n in range(0, len(series), wide)
            for first in range(newest - source.years + 1, newest + 1, at_once)
        ]

    def split(self, feed: Feed, source: BlsSource, step: Step) -> Iterable[Step]:
        return [replace(step, params={"question": part}) for part in step.params["question"].halves()]

    def request(self, feed: Feed, source: BlsSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        asked: Question = step.params["question"]
        body = {"seriesid": list(asked.series), "startyear": str(asked.first), "endyear": str(asked.last)}
        headers = {"Content-Type": "application/json"}
        return Request(source.address, "POST", headers, json.dumps(body).encode(), step=step.ordinal, page=cursor.page)

    def classify(
        self,
        source: BlsSource,
        request: Request,
        status: int,
        headers: Mapping[str, str],
        head: bytes,
        tail: bytes,
        length: int,
        complete: bool,
    ) -> Outcome:
        seen = around(head, tail, length, "series")
        said = _document(head) if length <= len(head) else {}
        verdict, words = (seen.text("status") or "") if seen else "", _messages(said)
        if verdict and verdict != "REQUEST_SUCCEEDED":
            return _refusal(verdict, words)
        by = by_status(status, headers)
        if by is not None:
            return by
        odd = odd_body(head, length, complete, seen)
        if odd is not None:
            return odd
        asked = asked_of(request)
        if not verdict or asked is None:
            return Malformed("no answer with a status to a question that is known")
        if length > len(head):
            return BadRequest("the answer is too large to see whether all that was asked for came", too_large=True)
        return _proved(source, asked, said, words)

    def parse(self, feed: Feed, source: BlsSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in bodies:
                for series in records_of(body.path, ("Results", "series"), order):
                    data = series.get("data") if isinstance(series, dict) else None
                    if not isinstance(data, list):
                        raise order.refuse("a series without a list of data", "look at the archived body")
                    for datum in data:
                        yield (
                            {"seriesID": series.get("seriesID"), **datum, "footnote_codes": _codes(datum)}
                            if isinstance(datum, dict)
                            else datum
                        )

        return rows_of_records(feed, records())

    def canonical_sha256(self, source: BlsSource, body: Body) -> str | None:
        return canonical_json_sha256(body.path, ("responseTime",))


def asked_of(request: Request) -> Question | None:
    """The question in the body of a request; None where there is none."""
    try:
        body = json.loads(request.body or b"")
        return Question(tuple(map(str, body["seriesid"])), int(body["startyear"]), int(body["endyear"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _proved(source: BlsSource, asked: Question, said: Mapping[str, Any], words: Sequence[str]) -> Outcome:
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
    return Empty(why) if source.nodata == "empty" else Malformed(f"{why}; declare nodata: empty if there is none")


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


def _refusal(verdict: str, words: Sequence[str]) -> Outcome:
    """The outcome of a status other than success, by BLS's words."""
    why = in_words(f"{verdict[:40]}: {' '.join(words)}", 300)
    low = why.lower()
    if "threshold" in low:
        return QuotaExhausted(None, why)
    if "key" in low and ("invalid" in low or "not valid" in low or "not registered" in low):
        return AuthFailed(why)
    return BadRequest(why) if verdict == "REQUEST_NOT_PROCESSED" else Malformed(why)


def _document(head: bytes) -> dict[str, Any]:
    try:
        found = json.loads(head.decode("utf-8", "replace").lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _messages(said: Mapping[str, Any]) -> list[str]:
    told = said.get("message")
    return [str(one) for one in told] if isinstance(told, list) else [] if told is None else [str(told)]


def _codes(datum: Mapping[str, Any]) -> str:
    """The codes of a row's footnotes; a row without one has a list of an empty object."""
    notes = datum.get("footnotes")
    return ",".join(str(n["code"]) for n in notes if isinstance(n, dict) and n.get("code")) if isinstance(notes, list) else ""


PROTOCOL = Bls()
