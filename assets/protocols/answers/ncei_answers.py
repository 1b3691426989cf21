"""What NCEI's services answer: records, pages, errors in three forms; rows that leave out what is missing (protocols.md 3.14).

How a question is put is `ncei.py`. Pure but for reading archived bodies.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assets.protocols.answers.file_answers import cut_in_a_line, is_json
from assets.protocols.answers.http_answers import by_status, retry_after
from assets.protocols.answers.json_answers import in_words, is_empty_list, odd_body, whole_of
from assets.protocols.answers.json_pages import NO_MORE_PAGES, around, records_of, rows_of_pages, rows_of_records
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Body,
    Empty,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    QuotaExhausted,
    RateLimited,
    Request,
    Response,
    Transient,
)
from assets.tables.readers.magic import NAMES, kind_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.readers.batches import Order
    from assets.tables.rows import RowStream

MARK = "QFLAG"
"""What stands in place of a value that failed a check, before its flag."""
_LINE_LIMIT = 1024 * 1024


def meaning(service: str, form: str, total: str, request: Request, response: Response) -> Outcome:
    """What a response means. Total, on any bytes. `total`: the field of a search that counts."""
    told = whole_of(response.head, response.length)
    if told is not None and (refused := _refused(told, response.status, response.headers)) is not None:
        return refused
    by = by_status(response.status, response.headers)
    if by is not None:
        return by
    if service == "data" and form == "csv":
        return _table(response)
    seen = around(response, None if service == "data" else "results")
    odd = odd_body(response, seen)
    if odd is not None:
        return odd
    if service == "data":
        if seen is None or seen.root != "[":
            return Malformed("no list of records")
        nothing = seen.whole and is_empty_list(response.head)
        return (
            Empty("an empty list: the stations have nothing for these days") if nothing else Ok(PageInfo(page_size=NO_MORE_PAGES))
        )
    if service == "cdo" and told == {} and request.page == 1:
        return Empty("{}: no records")
    if seen is None or seen.root != "{" or not seen.records:
        return Malformed("an answer without results")
    counted = seen.number("count" if service == "cdo" else total)
    if service == "cdo" and counted is None:
        return Malformed("results without the count of their result set")
    if request.page == 1 and (counted == 0 or (told is not None and told.get("results") == [] and not counted)):
        return Empty("nothing is found")
    return Ok(PageInfo(total=counted))


def _refused(told: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> Outcome | None:
    """The outcome of an error of the services, in any of their forms; None where the object is none."""
    code = str(told.get("errorCode") or told.get("statusCode") or (told.get("status") if "message" in told else None) or "")
    said = told.get("errorMessage") or told.get("developerMessage") or told.get("userMessage") or told.get("message")
    if not (code or said) or "results" in told:
        return None
    if code.isascii() and code.isdigit() and len(code) == 3:
        status = int(code)
    why = in_words(f"HTTP {status}: {in_words(said)}{_fields(told.get('errors'))}", 400)
    if status == 429:
        # "temporary request limit of 5 per second", or "of 10000 per day"
        return QuotaExhausted(None, why) if "per day" in why else RateLimited(retry_after(headers), why)
    if status in (400, 401, 403) and re.search(r"\btoken\b", why, re.I):
        return AuthFailed(why)
    by = by_status(status, headers)
    if isinstance(by, Transient):
        return Transient(why, by.retry_after_s)
    return Malformed(why) if by is None else type(by)(why) if isinstance(by, AuthFailed | BadRequest) else by


def _fields(errors: Any) -> str:
    """The list of errors, each with its field."""
    if not isinstance(errors, list):
        return ""
    listed = [f"{in_words(e.get('field'), 40)}: {in_words(e.get('message'), 120)}" for e in errors[:5] if isinstance(e, dict)]
    return f" ({'; '.join(listed)})" if listed else ""


def _table(response: Response) -> Outcome:
    if response.length == 0:
        return Malformed("an empty body: not even a header")
    if not response.complete:
        return Transient("the connection ended before the end of the table")
    kind = kind_of(response.head)
    if kind != "text" or is_json(response.head, response.length):
        return Malformed(f"{NAMES.get(kind, kind)} in place of csv")
    line, _, rest = response.head.decode("utf-8", "replace").removeprefix("\ufeff").partition("\n")
    if "STATION" not in _cells(line):
        return Malformed("the first line names no STATION")
    if cut_in_a_line("csv", response.tail):
        return Transient("the table breaks off within a line")  # where it does so in the last field the value looks whole
    if not rest.strip() and response.length <= len(response.head):
        return Empty("a header without rows: the stations have nothing for these days")
    return Ok(PageInfo(page_size=NO_MORE_PAGES))


def _cells(line: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line.rstrip("\r")]), [])]
    except csv.Error:
        return []


# --- rows -----------------------------------------------------------------------------------------------------------------


def rows_of(feed: Feed, bodies: Sequence[Body], form: str, elements: Sequence[str], *, attributes: bool, flags: bool) -> RowStream:
    """The rows of all bodies. Raises UnreadableSource. `form`: json, csv, or results.

    An element that a row leaves out is null in it. `flags`: in place of a value that failed a check stand `MARK` and its flag.
    """
    if form == "results":
        return rows_of_pages(feed, bodies, ("results",))
    from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

    order = order_of(feed)
    names = [*elements, *(f"{name}_ATTRIBUTES" for name in elements if attributes)]

    def records() -> Iterator[Any]:
        for body in bodies:
            for row in _lines(body, order) if form == "csv" else records_of(body.payload, (), order):
                if isinstance(row, dict):
                    row = dict.fromkeys(names) | row
                    yield row | _failed(row, elements) if flags else row
                else:
                    yield row

    return rows_of_records(feed, records())


def _failed(row: Mapping[str, Any], elements: Iterable[str]) -> dict[str, str]:
    """The elements of a row whose second attribute, the quality flag, says that they failed a check."""
    parts = {name: str(row.get(f"{name}_ATTRIBUTES") or "").split(",") for name in elements}
    return {name: f"{MARK} {flag[1].strip()}" for name, flag in parts.items() if len(flag) > 1 and flag[1].strip()}


def _lines(body: Body, order: Order) -> Iterator[Any]:
    """The records of a table, each by its header; one with another number of fields is broken."""
    from assets.tables.readers.decoding import open_utf8
    from assets.tables.readers.json_reader import Broken

    names: list[str] = []
    if body.payload.size == 0:
        raise order.refuse("an empty table", "look at the archived body")
    with open_utf8(body.payload, declared=order.encoding, korean=order.korean, where=order.where) as file:
        text = (line.decode("utf-8", "replace") for line in file.lines(_LINE_LIMIT))
        try:
            for cells in csv.reader(text):
                if not names:
                    names = [cell.strip() for cell in cells]
                    if "STATION" not in names:
                        raise order.refuse("the first line of the table names no STATION", "look at the archived body")
                elif cells:
                    whole = len(cells) == len(names)
                    yield (
                        dict(zip(names, cells, strict=True))
                        if whole
                        else Broken(f"{len(cells)} fields of {len(names)}", ",".join(cells))
                    )
        except csv.Error:
            raise order.refuse("the table cannot be parsed", "look at the archived body") from None
