"""What the answers of an OGC API say: a page of itself, errors by OGC's code or RFC 7807 (protocols.md 3.4).

Pure; what is asked is `ogc_features.py`, where a next link may lead `ogc_links.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from assets.protocols.answers.http_answers import by_status
from assets.protocols.answers.json_answers import in_words
from assets.protocols.answers.json_members import Members
from assets.protocols.kernel import (
    BadRequest,
    Empty,
    Gone,
    Malformed,
    NotModified,
    Ok,
    Outcome,
    PageInfo,
    Pending,
    Transient,
)

RECOUNT = "recount"
"""The cursor of the page that is asked where no link leads on and rows are missing: what does numberMatched say now?"""
SEARCH_WINDOW = 10_000
"""What search engines give as the number of all that they found above it; so it is no number to hold the rows against."""
_BAD = ("InvalidParameterValue", "MissingParameterValue", "OperationNotSupported", "OptionNotSupported", "InvalidQuery")


def page_of(seen: Members, leads: str | None, *, first: bool, by_links: bool, exact: bool, empty_ends: bool, size: int) -> Outcome:
    """A page of features. `leads`: the address of the next; `first`: it is the first; the rest is as the feed declares it.

    Without a total, and before any link was given, a full page does not say whether it is the last: the kernel asks by offset.
    """
    total = seen.number("numberMatched") if exact else None
    features = seen.values.get("features")
    returned = len(features) if isinstance(features, list) else seen.number("numberReturned")
    if total == SEARCH_WINDOW and (leads or not first or not by_links):
        total = None
    if returned == 0 and leads and not empty_ends:
        return Malformed("an empty page that leads on to another; if that is how this server ends, declare empty_page_ends")
    if returned == 0 and first:
        return Malformed(f"no features, though numberMatched says {total}") if total else Empty("no features")
    leads = None if returned == 0 else leads
    if leads or not by_links:
        return Ok(PageInfo(total=total, next_cursor=leads if by_links else None))
    if total is None:
        return Ok(PageInfo(page_size=size))
    if first and returned is not None and returned < total:
        return Malformed(f"{returned} of {total} features came, and no link leads to the next page; see source.paging")
    return Ok(PageInfo(total=total, next_cursor=RECOUNT))


def recounted(seen: Members) -> Outcome:
    """The answer to a recount: its one feature stands on an earlier page, or was missed."""
    return Ok(PageInfo(total=seen.number("numberMatched")))


def recounts(url: str) -> bool:
    """Whether a page was asked for its count alone: of one feature, which is no page's size."""
    return parse_qs(urlsplit(url).query).get("limit") == ["1"]


def miscounted(page: Mapping[str, Any], features: int) -> str | None:
    """Why a page has not the features that it says it has; None where it has, or where numberMatched will tell.

    Next to an exact numberMatched, numberReturned is not to be relied on: pygeoapi's is the limit, on a last short page too.
    """
    told, total = (str(page.get(name)) for name in ("numberReturned", "numberMatched"))
    if not told.isdigit() or told == str(features) or total.isdigit():
        return None
    return f"a page says that it has {in_words(told, 20)} features, and has {features}"


def said_in(seen: Members | None) -> str:
    """What an error says: OGC's code and description, or a problem's title and detail (RFC 7807)."""
    values = seen.values if seen is not None else {}
    inner = values.get("error")
    values = inner if isinstance(inner, dict) else values
    told = [values.get(name) for name in ("code", "title", "description", "detail", "message")]
    words = [in_words(word) for word in told if isinstance(word, str | int)]
    return in_words(": ".join(dict.fromkeys(word for word in words if word)))


def with_reason(by: Outcome, seen: Members | None) -> Outcome:
    said = said_in(seen)
    if not said or isinstance(by, Ok | NotModified | Pending):
        return by
    return replace(by, reason=f"{by.reason}: {said}")


def error_in(seen: Members, headers: Mapping[str, str]) -> Outcome:
    """What a document with status 200 that holds no features means."""
    said, code, own = said_in(seen), seen.values.get("code"), seen.number("status") or 200
    if said and (by := by_status(own, headers)) is not None:
        return with_reason(by, seen)
    if code == "NotFound":
        return Gone(said)
    if code in _BAD:
        return BadRequest(said)
    if code == "NoApplicableCode":
        return Transient(said)
    return Malformed(f"an error of unknown kind: {said}" if said else "an answer without features")
