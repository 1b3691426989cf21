"""Series of the U.S. Bureau of Labor Statistics, version 2 of its API, `api.bls.gov/publicAPI/v2` (protocols.md 3.9).

Here are its question in a body, its words for refusals (with status 200), and the proof that everything asked for came: it leaves
out series and years in silence when they are too many. Only an answer that is seen whole can be proved, so questions are small.
The proof itself is `bls_answers.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from assets.protocols.answers.bls_answers import Question, asked_of, document, messages, proved, refusal
from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.http_answers import by_status
from assets.protocols.answers.json_answers import odd_body
from assets.protocols.answers.json_pages import around, records_of, rows_of_records
from assets.protocols.kernel import (
    Auth,
    BadRequest,
    Body,
    Cursor,
    Limits,
    Malformed,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Validators,
    When,
)

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

MOST_CELLS, MOST_CALCULATED = 40, 14
"""Series times years of one question: that many years of months fit into the 64 kB of an answer that are seen, the second with
calculations beside each value."""


class Grant(NamedTuple):
    """What BLS gives at once and in a day."""

    max_series: int
    max_years: int
    per_day: int


KEYLESS, KEYED = Grant(25, 10, 25), Grant(50, 20, 500)


class BlsAuth(Auth):
    """BLS takes its key in the body of a question."""

    kind: str = Field("none", pattern="^(none|body_key)$", description="none, or body_key where BLS has registered a key for you.")
    name: str | None = Field("registrationkey", min_length=1, description="Name of the key in the body.")
    secret: str | None = Field(
        None, pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that holds the key; BLS_API_KEY."
    )

    @model_validator(mode="after")
    def _of_bls(self) -> BlsAuth:
        return self.model_copy(update={"secret": "BLS_API_KEY"}) if self.kind == "body_key" and self.secret is None else self


class BlsLimits(Limits):
    """Questions a day, as BLS grants them."""

    per_day: int | None = Field(KEYLESS.per_day, gt=0, description="Daily quota; with a key the default is 500.")
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
    max_series: int = Field(
        KEYLESS.max_series, gt=0, le=KEYED.max_series, description="Series of one question; with a key the default is 50."
    )
    max_years: int = Field(
        KEYLESS.max_years, gt=0, le=KEYED.max_years, description="Years of one question; with a key the default is 20."
    )
    annual_averages: bool = Field(False, description="Averages of years too, as rows of the period M13. Needs a key.")
    calculations: bool = Field(
        False, description="Changes over 1, 3, 6 and 12 months beside each value: calculations.pct_changes.12. Needs a key."
    )
    catalog: bool = Field(
        False, description="What BLS's catalogue says of the series, beside each value: catalog.series_title. Needs a key."
    )
    nodata: Literal["refuse", "empty"] = Field(
        "refuse", description="A year of a series that is asked for alone and still does not come, without a word: fail, or none."
    )
    auth: BlsAuth = BlsAuth()
    limits: BlsLimits = BlsLimits()

    @model_validator(mode="after")
    def _granted(self) -> BlsSource:
        """The defaults of a feed that has a key; without one, more than BLS grants would be left out without a word."""
        if self.auth.kind == "body_key":
            most = {"max_series": KEYED.max_series, "max_years": KEYED.max_years}
            granted: dict[str, Any] = {name: value for name, value in most.items() if name not in self.model_fields_set}
            if "per_day" not in self.limits.model_fields_set:
                granted["limits"] = self.limits.model_copy(update={"per_day": KEYED.per_day})
            return self.model_copy(update=granted)
        if self.max_series > KEYLESS.max_series or self.max_years > KEYLESS.max_years:
            given = f"{KEYLESS.max_series} series and {KEYLESS.max_years} years"
            raise ValueError(f"without a key BLS gives {given} at once: lower max_series or max_years")
        if self.extras:
            raise ValueError("annual_averages, calculations and catalog need a key: auth: {kind: body_key}")
        return self

    @property
    def address(self) -> str:
        return self.base_url

    @property
    def extras(self) -> dict[str, bool]:
        """What is asked for beside the values, by BLS's names."""
        wanted = {"annualaverage": self.annual_averages, "calculations": self.calculations, "catalog": self.catalog}
        return {name: True for name, on in wanted.items() if on}


class Bls(Protocol[BlsSource]):
    """A question in a body; one answer, in which everything that was asked for must be."""

    name: ClassVar[str] = "bls2"
    Source: ClassVar[type[SourceBase]] = BlsSource

    def plan(self, feed: Feed, source: BlsSource, when: When) -> Iterable[Step]:
        newest = when.now.astimezone(ZoneInfo(feed.schedule.timezone)).year
        at_once = min(source.max_years, source.years)
        most = MOST_CALCULATED if source.calculations else MOST_CELLS
        wide = min(source.max_series, max(1, most // at_once))
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
        years = {"startyear": str(asked.first), "endyear": str(asked.last)}
        body: dict[str, Any] = {"seriesid": list(asked.series), **years, **source.extras}
        if source.auth.kind == "body_key":
            body[str(source.auth.name)] = f"{{secret:{source.auth.secret}}}"
        headers = {"Content-Type": "application/json"}
        return Request(source.address, "POST", headers, json.dumps(body).encode(), step=step.ordinal, page=cursor.page)

    def classify(self, source: BlsSource, request: Request, response: Response) -> Outcome:
        seen = around(response, "series")
        said = document(response.head) if response.length <= len(response.head) else {}
        verdict, words = (seen.text("status") or "") if seen else "", messages(said)
        if verdict and verdict != "REQUEST_SUCCEEDED":
            return refusal(verdict, words)
        by = by_status(response.status, response.headers)
        if by is not None:
            return by
        odd = odd_body(response, seen)
        if odd is not None:
            return odd
        asked = asked_of(request)
        if not verdict or asked is None:
            return Malformed("no answer with a status to a question that is known")
        if response.length > len(response.head):
            return BadRequest("the answer is too large to see whether all that was asked for came", too_large=True)
        return proved(asked, said, words, source.nodata)

    def parse(self, feed: Feed, source: BlsSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in bodies:
                for series in records_of(body.payload, ("Results", "series"), order):
                    data = series.get("data") if isinstance(series, dict) else None
                    if not isinstance(data, list):
                        raise order.refuse("a series without a list of data", "look at the archived body")
                    about = {name: series[name] for name in ("seriesID", "catalog") if name in series}
                    for datum in data:
                        yield {**about, **datum, "footnote_codes": _codes(datum)} if isinstance(datum, dict) else datum

        return rows_of_records(feed, records())

    def canonical_sha256(self, source: BlsSource, body: Body) -> str | None:
        return canonical_json_sha256(body.payload, ("responseTime",))


def _codes(datum: Mapping[str, Any]) -> str:
    """The codes of a row's footnotes; a row without one has a list of an empty object."""
    notes = datum.get("footnotes")
    return ",".join(str(n["code"]) for n in notes if isinstance(n, dict) and n.get("code")) if isinstance(notes, list) else ""


PROTOCOL = Bls()
