"""Seoul Open Data Plaza, `openapi.seoul.go.kr:8088`, and the district portals and the subway's host that run the same engine.

Here are the order of its path, its positional options and its codes (protocols.md 2.5). Indexes, what an answer says of itself and
the rows are `indexed_rows.py`; paging discipline is the kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from assets.protocols.answers.indexed_rows import IndexedSource, judged, page_request, rows_of
from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
    Malformed,
    Outcome,
    Protocol,
    Request,
    Response,
    SeoulDay,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.queries import Value, fill, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

SUCCESS = "INFO-000"
CODES: dict[str, tuple[str, Callable[[str], Outcome]]] = {
    "INFO-100": ("the key is not valid", AuthFailed),
    "INFO-200": ("no data", Empty),
    "ERROR-300": ("a required value is missing", BadRequest),
    "ERROR-301": ("the type is missing or invalid", BadRequest),
    "ERROR-310": ("there is no such service", Gone),
    "ERROR-331": ("the start index is wrong", BadRequest),
    "ERROR-332": ("the end index is wrong", BadRequest),
    "ERROR-333": ("an index is no whole number", BadRequest),
    "ERROR-334": ("the start index is above the end index", BadRequest),
    "ERROR-335": ("the key 'sample' gives rows 1 to 5 only; ask the city for one", AuthFailed),
    "ERROR-336": ("more than 1000 rows were asked for", BadRequest),
    "ERROR-500": ("error of the server", Transient),
    "ERROR-600": ("error of the database connection", Transient),
    "ERROR-601": ("error of the query", Transient),
}
_PASTED = re.compile(r"(/api/subway|)/[^/]+/(?:json|xml|xmlf|xls)/([A-Za-z][A-Za-z0-9_]*)/\d+/\d+((?:/[^/]+)*)/?")
_TEN_DIGITS = re.compile(r"%Y%m%d%H(?!\d\d|%M)")


class SeoulAuth(Auth):
    """With the plaza's values for what a feed leaves out."""

    kind: str = Field("path_key", pattern="^path_key$", description="The key stands in the path.")
    secret: str | None = Field(
        "SEOUL_OPENDATA_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that holds the key."
    )


class SeoulSource(IndexedSource):
    """`source:` of one service. `params` are the options behind the indexes, in their order; their names are for readers."""

    protocol: Literal["seoul"]
    base_url: str = Field(
        "http://openapi.seoul.go.kr:8088", pattern=r"^https?://[^\s?#{}]+$", description="Address before the key; no https there."
    )
    size: int = Field(1000, gt=0, le=1000, description="Rows of a page; the plaza gives 1000 at most.")
    records: str | None = Field(
        None,
        pattern=r"^[^.\s]+(\.[^.\s]+)?$",
        description="Where the rows are, when not in {service}.row (bikeList answers in rentBikeStatus.row).",
    )
    auth: SeoulAuth = SeoulAuth()
    limits: SeoulDay = SeoulDay()

    @field_validator("params")
    @classmethod
    def _whole_hours(cls, value: dict[str, Value]) -> dict[str, Value]:
        for text in value.values():
            if isinstance(text, str) and _TEN_DIGITS.search(text):
                raise ValueError("hourly services fail for a time of 10 digits; write 12, like {start:%Y%m%d%H00}")
        return value


class Seoul(Protocol[SeoulSource]):
    """Pages of rows under the service's name, and under RESULT where there are none."""

    name: ClassVar[str] = "seoul"
    Source: ClassVar[type[SourceBase]] = SeoulSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: SeoulSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: SeoulSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return page_request(source, ["{key}", source.type, source.service], options_of(source, step), step, cursor)

    def classify(self, source: SeoulSource, request: Request, response: Response) -> Outcome:
        return judged(source, by_code, response)

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From an address as the plaza's pages show it; its options become parameters option_1, option_2, …"""
        parts = urlsplit(url)
        found = _PASTED.fullmatch(parts.path)
        if parts.hostname not in ("openapi.seoul.go.kr", "swopenapi.seoul.go.kr") or found is None:
            return None
        source: dict[str, Any] = {"protocol": self.name, "service": found[2]}
        if found[1] or parts.hostname != "openapi.seoul.go.kr":
            source["base_url"] = f"http://{parts.hostname}{found[1]}"
        options = [unquote(part).strip() for part in found[3].split("/")[1:]]
        return source | ({"params": {f"option_{n}": value for n, value in enumerate(options, 1)}} if any(options) else {})

    def parse(self, feed: Feed, source: SeoulSource, bodies: Sequence[Body]) -> RowStream:
        return rows_of(feed, source, bodies)


def options_of(source: SeoulSource, step: Step) -> list[str]:
    """The options by position: one without a value is a space, and those at the end are left out."""
    values = ["" if value is None else fill(str(value), step) for value in source.params.values()]
    while values and not values[-1].strip():
        values.pop()
    return [value if value.strip() else " " for value in values]


def by_code(code: str, message: str) -> Outcome | None:
    """The outcome of the plaza's code; None for success."""
    if code == SUCCESS:
        return None
    meaning, outcome = CODES.get(code, ("an unknown code", Malformed))
    return outcome(f"{code[:40]}: {meaning} ({message[:200]})" if message else f"{code[:40]}: {meaning}")


PROTOCOL = Seoul()
