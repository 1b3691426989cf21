"""What HTTP itself says and asks: the meaning of a status, keys in their place, conditional requests. Pure; for all protocols.

What a body means is the protocol's own; where the body tells more than the status, the protocol looks at it first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import quote

from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Cursor,
    Gone,
    Malformed,
    NotModified,
    Outcome,
    RateLimited,
    Request,
    Response,
    Step,
    Transient,
    Validators,
)

_SECRET = re.compile(r"key|token|auth|secret|signature|passw", re.IGNORECASE)
_PART = re.compile(r"\s*bytes 0-(\d{1,18})/(\d{1,18})\s*$", re.ASCII | re.IGNORECASE)
LONGEST_WAIT_S = 24 * 3600.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header; a date in it counts from the response's own Date. None where it says nothing usable."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_WAIT_S)
    try:
        until, now = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("date", ""))
        return min(max(0.0, (until - now).total_seconds()), LONGEST_WAIT_S)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def by_status(status: int, headers: Mapping[str, str]) -> Outcome | None:
    """The outcome of every status but success; None for 200 to 299, where the body decides.

    The rest of a body that broke off is asked for by the transport: where no more than a part came, nobody asked for a part.
    """
    if status == 206 and not ((part := _PART.match(headers.get("content-range", ""))) and int(part[1]) + 1 == int(part[2])):
        return Malformed("HTTP 206: a part of the body, which nobody asked for")
    if 200 <= status < 300:
        return None
    if status == 304:
        return NotModified()
    if status in (401, 403, 407, 511):
        return AuthFailed(f"HTTP {status}")
    if status in (404, 410, 451):
        return Gone(f"HTTP {status}")
    if status == 429:
        return RateLimited(retry_after(headers), "HTTP 429")
    if status in (408, 416, 421, 425) or 500 <= status < 600:
        return Transient(f"HTTP {status}", retry_after(headers))
    if 300 <= status < 400:
        return BadRequest(f"HTTP {status}: a redirect that was not followed")
    if 400 <= status < 500:
        return BadRequest(f"HTTP {status}")
    return Malformed(f"HTTP {status}")


def by_transfer(response: Response, what: str) -> Outcome | None:
    """The outcome of a response that carries no whole body: its status, or a cut connection. `what`: file, feed."""
    by = by_status(response.status, response.headers)
    return by if by is not None or response.complete else Transient(f"the connection ended before the end of the {what}")


def conditional_get(
    url: str, headers: Mapping[str, str], auth: Auth, step: Step, cursor: Cursor, validators: Validators
) -> Request:
    """A GET that a server may answer with 304; an ETag is asked by, rather than a date, where there are both."""
    url, sent = keyed(url, headers, auth)
    if validators.etag:
        sent["If-None-Match"] = validators.etag
    elif validators.last_modified:
        sent["If-Modified-Since"] = validators.last_modified
    return Request(url, headers=sent, step=step.ordinal, page=cursor.page)


def query_string(query: Mapping[str, str], *, safe: str = "", safe_in_names: str = "") -> str:
    """name=value&…, in their order, encoded once but for the `safe` characters."""
    return "&".join(f"{_quoted(name, safe_in_names)}={_quoted(value, safe)}" for name, value in query.items())


@lru_cache(maxsize=1024)
def _quoted(text: str, safe: str) -> str:
    """From page to page only one parameter is another."""
    return quote(text, safe=safe)


def names_a_secret(parameter: str) -> bool:
    """Whether a parameter of a pasted address looks like a key: it is left out of what is proposed."""
    return _SECRET.search(parameter) is not None


def keyed(url: str, headers: Mapping[str, str], auth: Auth) -> tuple[str, dict[str, str]]:
    """The address and headers with the secret's placeholder in its place (a path key stands at `{key}` in the address)."""
    out = dict(headers)
    if auth.kind == "none" or auth.secret is None:
        return url, out
    secret = f"{{secret:{auth.secret}}}"
    if auth.kind == "header_key":
        out[auth.name or "Authorization"] = secret
    elif auth.kind == "path_key":
        url = url.replace("{key}", secret)
    else:
        before, mark, fragment = url.partition("#")
        url = f"{before}{'&' if '?' in before else '?'}{quote(auth.name or 'key', safe='')}={secret}{mark}{fragment}"
    return url, out
