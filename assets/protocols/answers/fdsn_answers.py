"""What an FDSN event service answers: counts, events, an error in words; and the rows of its text format (protocols.md 3.13).

How a search is put is `fdsn_event.py`. Pure but for reading archived bodies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from assets.protocols.answers.features import not_features, told
from assets.protocols.answers.http_answers import by_status
from assets.protocols.answers.json_answers import in_words, odd_body
from assets.protocols.answers.json_pages import Around, around, rows_of_records
from assets.protocols.kernel import (
    HEAD_BYTES,
    AuthFailed,
    BadRequest,
    Body,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Request,
    Response,
    Transient,
)
from assets.tables.readers.magic import kind_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

LARGEST = 20_000
"""Most events that the USGS gives at once; other centres give as many or fewer."""
_COUNTED = re.compile(r"(\d{1,9}) events counted ")
_PLAIN_COUNT = re.compile(rb"\s*(\d{1,9})\s*")
_TOO_LARGE = re.compile(
    r"exceeds? search limit|too (?:much|many) |exceed\w* the (?:maximum|limit)|result(?:s| set)? (?:is )?too large", re.I
)
_NO_EVENTS = re.compile(r"error 404|no (?:\w+ ){0,2}(?:data|events?)\b", re.I)
_LINE_LIMIT = 1024 * 1024


def meaning(form: str, request: Request, response: Response) -> Outcome:
    """What a response means. Total, on any bytes."""
    count = urlsplit(request.url).path.endswith("/count")
    if response.status == 204:
        return Malformed("HTTP 204 in place of a count") if count else _none(request, "HTTP 204: no events")
    seen = around(response, "features")
    # a count that is too great for a search comes with an error, and is a count all the same
    erring = seen is not None and seen.fields.get("error") and not (count and seen.number("count") is not None)
    inner = seen.number("status") if seen is not None and erring else None
    if 200 <= response.status < 300 and inner is not None and 400 <= inner < 600:
        response = replace(response, status=inner)  # jsonerror: the error stands in the metadata, and the status beside it
    if (refused := _refused(request, response, seen, count)) is not None:
        return refused
    if not response.complete:
        return Transient("the connection ended before the end of the answer")
    if count:
        return _count(response, seen)
    return _text(request, response.head, response.length) if form == "text" else _features(request, response)


# --- errors ---------------------------------------------------------------------------------------------------------------


def _refused(request: Request, response: Response, seen: Around | None, count: bool) -> Outcome | None:
    """The outcome of every status but success, with what the service says; None where the body decides."""
    said = _words(response.head, seen)
    why = f"HTTP {response.status}: {said}" if said else f"HTTP {response.status}"
    if response.status == 413 or (response.status == 400 and _TOO_LARGE.search(said)):
        return BadRequest(why, too_large=True)
    if response.status == 404 and not count and "nodata=404" in request.url and _NO_EVENTS.search(said):
        return _none(request, why)
    if response.status == 409:
        # the USGS's answer where a search finds nothing but deleted events
        return _none(request, f"{why} (only deleted events match)")
    if response.status == 414:
        return BadRequest(f"{why}; the address is too long: fewer params")
    by = by_status(response.status, response.headers)
    if isinstance(by, Transient):
        return Transient(why, by.retry_after_s)
    return type(by)(why) if isinstance(by, AuthFailed | BadRequest | Gone) else by


def _words(head: bytes, seen: Around | None) -> str:
    """The error in words: the paragraphs of the FDSN's text up to where it speaks of usage, or `error` of a JSON."""
    if seen is not None:
        return in_words(seen.text("error"))
    if kind_of(head) in ("html", "xml"):
        return ""
    text = head[:4000].decode("utf-8", "replace")
    return in_words(re.split(r"Usage details|Request:|Request Submitted", text)[0])


def _none(request: Request, why: str) -> Outcome:
    """No events: an answer, unless they were counted before."""
    total = _total(request)
    return Malformed(f"{why}; {total} were counted") if total and request.page == 1 else Empty(why)


# --- answers --------------------------------------------------------------------------------------------------------------


def _total(request: Request) -> int | None:
    """How many events were counted for this step."""
    found = _COUNTED.match(request.stamp or "")
    return int(found[1]) if found else None


def _count(response: Response, seen: Around | None) -> Outcome:
    plain = _PLAIN_COUNT.fullmatch(response.head)
    if plain is None and (odd := odd_body(response, seen)) is not None:
        return odd
    total = int(plain[1]) if plain else seen.number("count") if seen is not None else None
    return Malformed("an answer without a count") if total is None else Ok(PageInfo(total=total)) if total else Empty("count 0")


def _features(request: Request, response: Response) -> Outcome:
    if response.length == 0:
        return Malformed("an empty body in place of events")
    if wrong := not_features(response.head, response.tail):
        return Malformed(wrong)
    if told(response.head, "count") == 0 or (
        response.length <= HEAD_BYTES and re.search(rb'"features"\s*:\s*\[\s*\]', response.head)
    ):
        return _none(request, "no features")
    return Ok(PageInfo(total=_total(request), page_size=told(response.head, "limit")))


def _text(request: Request, head: bytes, length: int) -> Outcome:
    if length == 0:
        return Malformed("an empty body: not even a header")
    line, _, rest = head.decode("utf-8", "replace").removeprefix("\ufeff").partition("\n")
    if kind_of(head) in ("html", "xml") or "EventID" not in _names(line):
        return Malformed("no table of events: its first line does not name EventID")
    if not rest.strip() and length <= len(head):
        return _none(request, "a header without events")
    # without a count only an empty page is the end: a centre may cap a page without a word
    return Ok(PageInfo(total=_total(request)))


def counted(feed: Feed, body: Body) -> tuple[int, int | None]:
    """The events of a count, and how many the service gives at once where it says so. Raises UnreadableSource."""
    from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

    with body.payload.open() as file:
        data = file.read(HEAD_BYTES)
    if plain := _PLAIN_COUNT.fullmatch(data):
        return int(plain[1]), None
    seen = around(Response.of(data), None)
    total = seen.number("count") if seen is not None and seen.ended else None
    if seen is None or total is None:
        raise order_of(feed).refuse("the count of events is no number", "look at the archived body")
    return total, seen.number("maxAllowed") or None


def _names(line: str) -> list[str]:
    """The columns that a header names. Centres differ in blanks and in the case of units: `Depth/km`, `Depth/Km`."""
    return [name.strip() for name in line.strip().lstrip("#").split("|")]


def rows_of_text(feed: Feed, bodies: Sequence[Body]) -> RowStream:
    """The rows of tables of the FDSN's text format, by the names of its header without '#' and blanks. Raises UnreadableSource."""
    return rows_of_records(feed, _lines(feed, bodies))


def _lines(feed: Feed, bodies: Sequence[Body]) -> Iterator[Any]:
    from assets.tables.readers.decoding import open_utf8
    from assets.tables.readers.json_reader import Broken
    from assets.tables.readers.open import order_of

    order = order_of(feed)
    for body in bodies:
        names: list[str] = []
        if body.payload.size == 0:
            raise order.refuse("an empty page", "look at the archived body")
        with open_utf8(body.payload, declared=order.encoding, korean=order.korean, where=order.where) as file:
            for raw in file.lines(_LINE_LIMIT):
                line = raw.decode("utf-8", "replace")
                if not line.strip():
                    continue
                if not names:
                    names = _names(line)
                    if "EventID" not in names:
                        raise order.refuse("the header of the text names no EventID", "look at the archived body")
                elif not line.startswith("#"):  # the ISC ends its table with lines about its sources
                    cells = [cell.strip() for cell in line.split("|")]
                    whole = len(cells) == len(names)
                    yield dict(zip(names, cells, strict=True)) if whole else Broken(f"{len(cells)} fields of {len(names)}", line)
