"""The World Bank's indicators, version 2 of its API, `api.worldbank.org/v2` (protocols.md 3.8).

Here are its address, its list of two (what the page says of itself, and the rows) and its messages, which come with status 200.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.http_answers import by_status
from assets.protocols.answers.json_answers import asked, in_words, odd_body
from assets.protocols.answers.json_pages import Around, around, records_of, rows_of_records
from assets.protocols.kernel import (
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
    Malformed,
    Ok,
    OneAtATime,
    Outcome,
    PageInfo,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.queries import QuerySource, query_of, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

NOT_FOUND = ("160", "175")
"""Messages that say that the data or the indicator is not there."""
_ELSEWHERE = "; an indicator outside the default database needs source.database"


class WorldBankSource(QuerySource):
    """`source:` of one indicator."""

    protocol: Literal["worldbank"]
    base_url: str = Field("https://api.worldbank.org/v2", pattern=r"^https?://[^\s?#]+$", description="Where the service is.")
    indicator: str = Field(pattern=r"^[\w.\-]+$", description="Code of the indicator, like SP.POP.TOTL.")
    countries: tuple[str, ...] = Field(
        ("all",), min_length=1, description="ISO codes of countries or codes of groups of them; [all] for every one."
    )
    database: int | None = Field(None, gt=0, description="Number of the database (`source`), like 2; default: the bank's choice.")
    size: int = Field(1000, gt=0, le=32_500, description="Rows of a page; the bank's default is 50.")
    limits: OneAtATime = OneAtATime()

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/country/{';'.join(self.countries)}/indicator/{self.indicator}"


class WorldBank(Protocol[WorldBankSource]):
    """Numbered pages: a list of what the page says of itself and of its rows."""

    name: ClassVar[str] = "worldbank"
    Source: ClassVar[type[SourceBase]] = WorldBankSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: WorldBankSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: WorldBankSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        # without a format the answer is XML
        query = {"format": "json", "per_page": str(source.size), "page": str(cursor.page)}
        query |= query_of(source, step)
        if source.database is not None:
            query["source"] = str(source.database)
        return asked(source.address, query, source.auth, step, cursor)

    def classify(self, source: WorldBankSource, request: Request, response: Response) -> Outcome:
        seen, said = around(response, None), first_of(response.head)
        if said is not None and (refused := _message(said)) is not None:
            return refused
        by = by_status(response.status, response.headers)
        if isinstance(by, BadRequest) and response.status == 400 and seen is None:
            return Malformed("HTTP 400 with a page that is no JSON; the bank does that in outages too")
        if by is not None:
            return by
        odd = odd_body(response, seen)
        if odd is not None:
            return Malformed(odd.reason + _ELSEWHERE) if isinstance(odd, Malformed) and response.length else odd
        if said is None or seen is None or seen.root != "[":
            return Malformed("no list that begins with what the page says of itself")
        about = Around("{", {name: value for name, value in said.items() if not isinstance(value, (dict, list))})
        total = about.number("total")
        if total is None:
            return Malformed("a page that does not say how many rows there are")
        if total == 0 and request.page == 1:
            return Empty("total 0")
        return Ok(PageInfo(total=total, page_size=about.number("per_page"), page_number=about.number("page")))

    def redirected(self, why: str) -> Outcome:
        return Malformed(f"{why}; the bank does that in outages")

    def parse(self, feed: Feed, source: WorldBankSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in bodies:
                parts = records_of(body.payload, (), order)
                rows = parts[1] if len(parts) == 2 else parts
                if (not isinstance(rows, list) and rows is not None) or len(parts) != 2:
                    raise order.refuse("a page is no list of what it says of itself and its rows", "look at the archived body")
                yield from rows or ()

        return rows_of_records(feed, records())

    def canonical_sha256(self, source: WorldBankSource, body: Body) -> str | None:
        """`lastupdated` is of the whole database, and moves when other indicators do."""
        return canonical_json_sha256(body.payload, ("lastupdated",))

    def provider_stamp(self, source: WorldBankSource, headers: Mapping[str, str], head: bytes) -> str | None:
        stamp = (first_of(head) or {}).get("lastupdated")
        return stamp if isinstance(stamp, str) and stamp else None


def first_of(head: bytes) -> dict[str, Any] | None:
    """The first object of the list, whatever follows it; None where there is none."""
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text[:1] != "[":
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text[1:].lstrip())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _message(said: Mapping[str, Any]) -> Outcome | None:
    """The outcome of the bank's message; None where it has none."""
    if "message" not in said:
        return None
    told = said["message"]
    one = told[0] if isinstance(told, list) and told else told
    one = one if isinstance(one, dict) else {"value": one}
    number = in_words(one.get("id"), 20)
    why = in_words(f"message {number}: {in_words(one.get('key'))} {in_words(one.get('value'))}")
    if number in NOT_FOUND:
        return Gone(why + _ELSEWHERE)
    if number == "120":
        return BadRequest(why)
    return Transient(why) if "unavailable" in why.lower() else Malformed(why)


PROTOCOL = WorldBank()
