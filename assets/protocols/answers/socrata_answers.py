"""What both editions of Socrata's interface share: bodies and errors, the version of a data set, rows whose nulls are left out.

Pure, and no protocol of its own: how a question is put is `socrata2.py` and `socrata3.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from assets.protocols.answers.http_answers import by_status, retry_after
from assets.protocols.answers.json_answers import in_words, is_empty_list, odd_body
from assets.protocols.answers.json_pages import Around, around, records_of, rows_of_records
from assets.protocols.answers.numbers import whole_number
from assets.protocols.answers.stamps import stamp_of, total_in, version_in
from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Body,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Pending,
    RateLimited,
    Request,
    Response,
    Transient,
)

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

CHANGED = "x-soda2-truth-last-modified"
COUNTED = "rows_in_all"
"""The column of a count."""
_ABOUT, _UNKNOWN = "rows of ", "of no known version, asked for at "
"""How versions begin that are not the header's."""
WAIT_S, OUT_OF_DATE_WAIT_S = 5.0, 60.0
_WORDS: tuple[tuple[str, type[AuthFailed | Gone | BadRequest] | None], ...] = (
    (r"throttl|too[ _.-]?many|rate[ _.-]?limit", None),
    (r"permission|authenti|authori|app[ _.-]?token|forbidden", AuthFailed),
    (r"not[ _.-]?found|\.missing", Gone),
    (r"^query\.|invalid|bad[ _.-]?request", BadRequest),
)
"""Words of a code or a message, and what they mean; None: throttled."""


class TokenAuth(Auth):
    """An app token in a header; where none is sent, calls share a pool with everybody else of the same network."""

    kind: str = Field("none", pattern="^(none|header_key)$", description="none, or header_key for an app token.")
    name: str | None = Field("X-App-Token", description="Name of the header.")
    secret: str | None = Field(
        None, pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that holds the token; SOCRATA_APP_TOKEN."
    )

    @model_validator(mode="after")
    def _token(self) -> TokenAuth:
        wanted = self.kind == "header_key" and self.secret is None
        return self.model_copy(update={"secret": "SOCRATA_APP_TOKEN"}) if wanted else self


class NeededToken(TokenAuth):
    """An app token, without which edition 3 answers nobody."""

    kind: str = Field("header_key", pattern="^header_key$", description="Only header_key.")
    secret: str | None = Field(
        "SOCRATA_APP_TOKEN", pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that holds the token."
    )


def version_of(headers: Mapping[str, str], query: Mapping[str, str], rows: int | None) -> str | None:
    """The version of what a query brings: when the data changed, which query, how many rows. None where the agency is silent."""
    changed = headers.get(CHANGED, "").strip()
    return stamp_of(changed, query, rows) if changed else None


def held_to(version: str | None, asked_at: str, query: Mapping[str, str], rows: int) -> str:
    """The stamp of rows that were counted, where no header tells of a version. Without any, a moment that never comes again stands
    for it: the rows are asked for, and held to the count.
    """
    return stamp_of(version or f"{_UNKNOWN}{asked_at}", query, rows)


def not_yet(request: Request, status: int, headers: Mapping[str, str]) -> Pending | None:
    """What is to be asked once more after a while: the answer is being made, or the copy that answers lags behind the data."""
    if status == 202:
        return Pending(request.url, retry_after(headers) or WAIT_S)
    if status == 200 and headers.get("x-soda2-data-out-of-date", "").strip().lower() == "true":
        return Pending(request.url, retry_after(headers) or OUT_OF_DATE_WAIT_S)
    return None


def refused(response: Response) -> Outcome | None:
    """The outcome of an error in either of its forms, or of a status; None where the body decides."""
    return _refused(response, around(response, None))


def _refused(response: Response, seen: Around | None) -> Outcome | None:
    if response.status < 500 and seen is not None and (told := _error(seen, response.status, response.headers)) is not None:
        return told
    return by_status(response.status, response.headers)


def judge(request: Request, response: Response) -> Outcome:
    """What a list of rows, or of a count, means."""
    seen = around(response, None)
    told = _refused(response, seen)
    if told is not None:
        return told
    if (later := not_yet(request, response.status, response.headers)) is not None:
        return later
    odd = odd_body(response, seen)
    if odd is not None:
        return odd
    if seen is None or not re.match(rb"(?:\xef\xbb\xbf)?\s*\[\s*[\]{]", response.head[:200]):
        return Malformed("no list of rows")
    promised, changed = version_in(request.stamp), response.headers.get(CHANGED, "").strip()
    if promised and changed and promised != changed and not promised.startswith((_ABOUT, _UNKNOWN)):
        return Malformed("the agency changed the data set while its pages were read; the next fetch begins anew")
    total = total_in(request.stamp)
    if request.page == 1 and seen.whole and is_empty_list(response.head):
        if counting(request):
            return Malformed("an empty list in place of a count")
        return Malformed(f"no rows where {total} were counted") if total else Empty("an empty list")
    # Without a count only an empty page ends the list: a server may cap a page without a word.
    return Ok(PageInfo(total=total))


def counting(request: Request) -> bool:
    """Whether the request asks for a count."""
    return COUNTED.encode() in (request.body or request.url.encode())


def _error(seen: Around, status: int, headers: Mapping[str, str]) -> Outcome | None:
    """The outcome of an error in either of its forms; None where the body is none."""
    fields = seen.fields
    if seen.root != "{" or not (fields.get("errorCode") or fields.get("error") is True or (status >= 400 and fields.get("code"))):
        return None
    code, message = in_words(fields.get("errorCode") or fields.get("code"), 80), in_words(fields.get("message"))
    why = f"{code}: {message}" if code else message or "an error without words"
    for told in (code.lower(), message.lower()):
        for words, kind in _WORDS:
            if re.search(words, told):
                return RateLimited(retry_after(headers), why) if kind is None else kind(why)
    by = by_status(status, headers)
    if by is None:
        return Malformed(f"an error with status {status}: {why}")
    if isinstance(by, RateLimited):
        return RateLimited(by.retry_after_s, why)
    return type(by)(why) if isinstance(by, (AuthFailed, Gone, BadRequest, Transient)) else by


def counted(feed: Feed, body: Body) -> tuple[int, datetime | None]:
    """Rows, and when the oldest of them changed last, out of the answer to a count. Raises UnreadableSource."""
    from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

    order = order_of(feed)
    rows = records_of(body.payload, (), order)
    one = rows[0] if isinstance(rows, list) and rows else None
    total = whole_number(one.get(COUNTED)) if isinstance(one, dict) else None
    if one is None or total is None:
        raise order.refuse("the count of rows is no number", "look at the archived body")
    return total, _moment(one.get("oldest_change"))


def judge_about(response: Response) -> Outcome:
    """What a data set's description means."""
    told = refused(response)
    if told is not None:
        return told
    seen = around(response, "columns")
    odd = odd_body(response, seen)
    if odd is not None:
        return odd
    return Ok() if seen is not None and seen.root == "{" else Malformed("a list in place of the data set's description")


def about(feed: Feed, body: Body) -> str | None:
    """When the rows were last changed, out of a data set's description (epoch seconds). Raises UnreadableSource."""
    from assets.tables.readers.open import order_of

    told = next(iter(records_of(body.payload, (), order_of(feed))), None)
    text = told.get("rowsUpdatedAt") if isinstance(told, dict) else None
    return f"{_ABOUT}{text}" if whole_number(text) is not None else None


def last_id(tail: bytes) -> str | None:
    """The `:id` of the last row of a page; None where that row does not stand wholly in the tail, or has none."""
    end = tail.decode("utf-8", "replace").rstrip()
    for start in reversed([found.end() - 1 for found in re.finditer(r"[\[,]\s*\{", end)][-200:]):
        try:
            (row,) = json.loads(f"[{end[start:]}")
        except (ValueError, RecursionError):
            continue
        return row[":id"] if isinstance(row.get(":id"), str) and row[":id"] else None
    return None


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def rows_of(feed: Feed, bodies: Sequence[Body], named: Sequence[str] = ()) -> RowStream:
    """Rows of pages. A null column is left out of a row: the header says which columns there are, so that none seems gone.

    `named`: columns that were asked for by name; the agency refuses those that it does not have.
    """
    from assets.tables.readers.open import order_of

    order = order_of(feed)

    def records() -> Iterator[Any]:
        for body in bodies:
            blank: dict[str, Any] = dict.fromkeys([*named, *fields_of(body.headers)])
            rows = records_of(body.payload, (), order)
            for row in rows:
                yield blank | row if isinstance(row, dict) else row

    return rows_of_records(feed, records())


def fields_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Column name → Socrata type, of the two headers; empty where they are missing or nonsense."""
    try:
        names, types = json.loads(headers.get("x-soda2-fields", "[]")), json.loads(headers.get("x-soda2-types", "[]"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return {}
    known = types if isinstance(types, list) and len(types) == len(names) else [""] * len(names)
    return {name: str(kind) for name, kind in zip(names, known, strict=True)}
