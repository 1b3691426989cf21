"""What goes back over the wire, and how: headers, conditional and partial answers, and connections that break for real.

A reply is data until it is sent, so a fault can change it; sending is the one effect, at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Literal

from starlette.types import Scope, Send

CHUNK = 16 * 1024


@dataclass(frozen=True)
class Reply:
    """One answer. `broken_after`: bytes of the body after which the connection ends; `ending`: close (FIN) or reset (RST).

    Headers have lower-case names. `content-length` is the body's, whatever is sent of it.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    broken_after: int | None = None
    ending: Literal["close", "reset"] = "close"

    def with_headers(self, **headers: str | None) -> Reply:
        """The same with headers set (`_` for `-`), or dropped where None."""
        changed = {k.replace("_", "-"): v for k, v in headers.items()}
        kept = {k: v for k, v in self.headers.items() if k not in changed}
        return replace(self, headers=kept | {k: v for k, v in changed.items() if v is not None})

    def with_body(self, body: bytes, content_type: str | None = None) -> Reply:
        """The same with another body, and the validators that belong to it."""
        changed = replace(self, body=body)
        if "etag" in self.headers:
            changed = changed.with_headers(etag=etag_of(body))
        return changed.with_headers(content_type=content_type) if content_type else changed


def text(status: int, body: str) -> Reply:
    return Reply(status, {"content-type": "text/plain; charset=utf-8"}, body.encode())


def etag_of(body: bytes) -> str:
    """A strong validator: equal bytes, equal tag."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def conditional(reply: Reply, request: Mapping[str, str]) -> Reply:
    """304 where the client has it already, 206 for a range of it, 416 for a range beyond it (RFC 9110, 13.2.2)."""
    if reply.status != 200:
        return reply
    etag, modified = reply.headers.get("etag"), reply.headers.get("last-modified")
    if none_match := request.get("if-none-match"):
        unchanged = none_match.strip() == "*" or etag in [t.strip().removeprefix("W/") for t in none_match.split(",")]
    else:
        since = _date(request.get("if-modified-since"))
        unchanged = since is not None and modified is not None and parsedate_to_datetime(modified) <= since
    if unchanged:
        kept = {k: v for k, v in reply.headers.items() if k in ("etag", "last-modified", "madang-origin", "cache-control")}
        return replace(reply, status=304, headers=kept, body=b"")
    wanted = request.get("range")
    if not wanted or not wanted.startswith("bytes=") or "," in wanted:
        return reply
    if_range = request.get("if-range")
    if if_range is not None and if_range.strip() not in (etag, modified):
        return reply
    span = _span(wanted.removeprefix("bytes="), len(reply.body))
    if span is None:
        return reply
    start, end = span
    if start >= len(reply.body):
        return replace(reply, status=416, body=b"").with_headers(content_range=f"bytes */{len(reply.body)}")
    part = replace(reply, status=206, body=reply.body[start:end])
    return part.with_headers(content_range=f"bytes {start}-{end - 1}/{len(reply.body)}")


def _date(value: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(value) if value else None
    except ValueError:
        return None


def _span(text: str, length: int) -> tuple[int, int] | None:
    first, dash, last = text.strip().partition("-")
    if not dash or not (first + last).isdecimal():
        return None
    if not first:
        return max(0, length - int(last)), length
    end = min(length, int(last) + 1) if last else length
    return (int(first), end) if end > int(first) or int(first) >= length else None


async def send_reply(reply: Reply, scope: Scope, send: Send) -> int:
    """Send it as it says, breaking the connection where it says so. Returns the bytes of body that left."""
    if reply.delay_s:
        await asyncio.sleep(reply.delay_s)
    headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in reply.headers.items()]
    if reply.status != 304:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if scope["method"] == "HEAD" or reply.status == 304:
        await send({"type": "http.response.body", "body": b""})
        return 0
    body = reply.body if reply.broken_after is None else reply.body[: reply.broken_after]
    for start in range(0, len(body), CHUNK):
        await send({"type": "http.response.body", "body": body[start : start + CHUNK], "more_body": True})
    if reply.broken_after is None:
        await send({"type": "http.response.body", "body": b""})
    else:
        await _break(scope, reply.ending)
    return len(body)


async def _break(scope: Scope, ending: Literal["close", "reset"]) -> None:
    """End the connection under the response. The transport is put into the state by `running.py`'s protocol class."""
    transport: asyncio.Transport = scope["state"]["transport"]
    # What was sent must have left, or the break would come before it.
    while transport.get_write_buffer_size():  # noqa: ASYNC110  asyncio offers no event for it
        await asyncio.sleep(0.005)
    if ending == "reset":
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
