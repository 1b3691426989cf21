"""What OpenDataSoft answers: refusals in two forms, quotas of a day and limits of a moment, streams that end in an error
(protocols.md 3.6). Pure; asking is `ods21.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from assets.protocols.answers.file_answers import cut_in_a_line, is_json, not_the_file
from assets.protocols.answers.http_answers import by_status, retry_after
from assets.protocols.answers.json_answers import in_words, odd_body, whole_of
from assets.protocols.answers.json_pages import around
from assets.protocols.answers.stamps import total_in
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Empty,
    Gone,
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
from assets.protocols.pacing import CEILING_S
from assets.tables.readers.spec import FileShape

MOST = 10_000
"""Rows that can be reached in pages: offset + limit is never more."""
_ERROR_KEYS = frozenset(
    {
        "error_code", "errorcode", "error", "errors", "error_key", "message", "raw_message", "raw_params", "status_code",
        "reset_time", "limit_time_unit", "call_limit", "remaining_calls",
    }
)  # fmt: skip
_TOO_MANY = 10_002
_DAILY, _SHORT = ("day", "week", "month"), ("second", "minute", "hour")
_WORDS: tuple[tuple[str, type[AuthFailed | Gone | BadRequest]], ...] = (
    (r"api.?key|authenti|authori|permission|forbidden|credential|login", AuthFailed),
    (r"not.?found|unknown.?dataset|does not exist", Gone),
    (r"invalid|odsql|parameter|syntax|missing|unknown", BadRequest),
)
_BEYOND = re.compile(r"offset\s*\+\s*limit", re.I)
_INTERRUPTED = re.compile(rb"Streaming interrupted due to the following error[\s:.]{0,5}(.{0,200})", re.S)
_CLOSED = {"json": re.compile(rb"\}\s*\]\s*$"), "geojson": re.compile(rb"\]\s*\}\s*$")}
_SEEN_FOR_TRAILER = 4096


# --- refusals ----------------------------------------------------------------------------------------------------------------


def refused(response: Response) -> Outcome | None:
    """The outcome of an error, in a body or by the status alone; None where the body is what was asked for."""
    said = whole_of(response.head, response.length) or {}
    named = [said[key] for key in ("error_code", "errorcode", "error") if said.get(key) not in (None, "", [], {}, False)]
    # a row of data may have such fields, too: with status 200 only a body of nothing else is an error
    told = bool(named) and (response.status >= 400 or said.keys() <= _ERROR_KEYS)
    if told:
        code = in_words(named[0], 80)
        message = in_words(said.get("message") or said.get("error"))
        why = f"{code}: {message}" if message and message != code else code
    else:
        code = message = ""
        why = f"HTTP {response.status}"
    if response.status == 429 or (
        told and (code == str(_TOO_MANY) or re.search(r"too.?many.?(?:requests|calls)", f"{code} {message}", re.I))
    ):
        return _limited(said, response.headers, why)
    by = by_status(response.status, response.headers)
    if not told:
        return by
    return _by_words(by, code, message, why)


def _by_words(by: Outcome | None, code: str, message: str, why: str) -> Outcome:
    """By the error's name; by its message where the name is a number; by the status where neither says more."""
    if isinstance(by, Transient):
        return Transient(why, by.retry_after_s)
    if isinstance(by, (AuthFailed, Gone)):
        return type(by)(why)
    if _BEYOND.search(message):
        return BadRequest(why, too_large=True)
    for words, kind in _WORDS:
        if re.search(words, message if code.isdigit() else code, re.I):
            return kind(why)
    return type(by)(why) if isinstance(by, BadRequest) else by or Malformed(f"an error of unknown name: {why}")


def _limited(said: Mapping[str, Any], headers: Mapping[str, str], why: str) -> RateLimited | QuotaExhausted:
    """A quota of a day, which comes back at a moment, or a limit that passes while one waits."""
    unit = str(said.get("limit_time_unit") or "").lower()
    now, wait = _moment(headers.get("date"), None), retry_after(headers)
    resets = _moment(said.get("reset_time"), now) or _moment(headers.get("x-ratelimit-reset"), now)
    if unit in _DAILY:
        return QuotaExhausted(resets, why)
    until = (resets - now).total_seconds() if resets is not None and now is not None else None
    if wait is None and until is not None and 0 <= until <= CEILING_S:
        wait = until
    remaining = headers.get("x-ratelimit-remaining", "").strip()
    if unit in _SHORT or (wait is not None and wait <= CEILING_S) or (remaining.strip("0").isdigit() and remaining.isascii()):
        return RateLimited(wait, why)
    return QuotaExhausted(resets, why) if resets is not None or remaining == "0" else RateLimited(wait, why)


def _moment(value: Any, now: datetime | None) -> datetime | None:
    """A date of HTTP or ISO 8601, epoch seconds or milliseconds, or seconds from `now`; None for anything else."""
    text = str(value if value is not None else "").strip()
    try:
        if text.isascii() and text.isdigit() and len(text) <= 13:
            number = int(text)
            if number < 10**9:
                return now + timedelta(seconds=number) if now is not None else None
            return datetime.fromtimestamp(number / 1000 if len(text) == 13 else number, UTC)
        found = parsedate_to_datetime(text) if "," in text else datetime.fromisoformat(text)
    except (ValueError, TypeError, OverflowError, OSError, IndexError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# --- what was asked for --------------------------------------------------------------------------------------------------------


def described(response: Response) -> Outcome:
    """What a data set says of itself: it is looked into by `version_in`."""
    seen = around(response, None)
    odd = odd_body(response, seen)
    if odd is not None:
        return odd
    return Ok() if seen is not None and seen.root == "{" else Malformed("a list in place of a data set's description")


def page_of(request: Request, counting: bool, response: Response) -> Outcome:
    """A page of records, or none of them and their number (`counting`)."""
    seen = around(response, "results")
    odd = odd_body(response, seen)
    if odd is not None:
        return odd
    total = seen.number("total_count") if seen is not None and seen.root == "{" and seen.records else None
    if total is None:
        return Malformed("no results with a total_count")
    if counting:
        return Ok(PageInfo(total=total))
    if total > MOST:
        return BadRequest(f"{total} rows, of which pages reach {MOST}", too_large=True)
    return Empty("total_count 0") if total == 0 and request.page == 1 else Ok(PageInfo(total=total))


def export_of(request: Request, shape: FileShape, response: Response) -> Outcome:
    """A whole file, as far as its ends tell: its status is 200 from its first row on, whatever comes later."""
    if not response.complete:
        return Transient("the connection ended before the end of the export")
    if (error := interrupted(shape.format, response.tail)) is not None:
        return Transient(f"the export broke off: {error}" if error else "the export broke off")
    if shape.format in ("json", "geojson"):
        seen = around(response, None)
        odd = odd_body(response, seen)
        if odd is not None:
            return odd
        if seen is None or seen.root != ("[" if shape.format == "json" else "{"):
            return Malformed(f"no {shape.format}, but another JSON")
    wrong = not_the_file(shape, "none", response)
    if wrong is not None:
        return Malformed(wrong)
    if cut_in_a_line(shape.format, response.tail):
        return Transient("the export is cut off within a line")
    total = total_in(request.stamp)
    return Malformed("an export that was not counted") if total is None else Ok(PageInfo(total=total))


def interrupted(file_format: str, tail: bytes) -> str | None:
    """The error that stands at the end of a stream which had begun with status 200; None where there is none.

    A value may hold the same words: in JSON its quote is closed, and the document; in lines of JSON its line is whole.
    """
    found = _INTERRUPTED.search(tail[-_SEEN_FOR_TRAILER:])
    if found is None:
        return None
    after = tail[-_SEEN_FOR_TRAILER:][found.start() :]
    if file_format in _CLOSED and re.search(rb'"\s*[,}\]]', after) and _CLOSED[file_format].search(after):
        return None
    last = tail.rstrip().rpartition(b"\n")[2]
    if file_format == "jsonl" and is_json(last, len(last)):
        return None
    return in_words(found[1].decode("utf-8", "replace"))


def version_in(about: Any) -> str | None:
    """When the data of a data set was last processed, else modified; None where it does not say.

    Only `modified` moves where nothing but the description was edited, so it stands in only where the other is missing.
    """
    metas = _data_set(about).get("metas")
    default = metas.get("default") if isinstance(metas, dict) else None
    told = [default.get(name) for name in ("data_processed", "modified")] if isinstance(default, dict) else []
    return next((in_words(one, 60) for one in told if isinstance(one, str) and one.strip()), None)


def without_records(about: Any) -> bool:
    """Whether the data set says that it has no rows (only attachments)."""
    return _data_set(about).get("has_records") is False


def _data_set(about: Any) -> Mapping[str, Any]:
    """The data set that is described, whether it stands there by itself or as a member."""
    told = about if isinstance(about, dict) else {}
    return told["dataset"] if isinstance(told.get("dataset"), dict) else told
