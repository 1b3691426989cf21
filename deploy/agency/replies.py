"""What goes back over the wire, and how: headers, conditional and partial answers, and connections that break for real.

A reply is data until it is sent, so a fault can change it; sending is the one effect, at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
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
class Stretch:
    """Bytes of an open file: a body that is not held in memory while it is sent."""

    descriptor: int
    start: int
    size: int

    def __len__(self) -> int:
        return self.size

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        end = self.size if end is None else min(end, self.size)
        return os.pread(self.descriptor, max(0, end - start), self.start + start)

    def part(self, start: int, end: int) -> Stretch:
        return Stretch(self.descriptor, self.start + start, end - start)


@dataclass(frozen=True)
class Reply:
    """One answer. `broken_after`: bytes of the body after which the connection ends; `ending`: close (FIN) or reset (RST).

    Headers have lower-case names. `content-length` is the body's, whatever is sent of it, or `length` where that is more.
    `held`: the body where it is in a file; `body` is then empty. `repeated`: headers whose name stands more than once, but for the
    last of each, which is in `headers`. `final`: no condition or range of the request changes it. `note`: what the log says of it.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    broken_after: int | None = None
    ending: Literal["close", "reset"] = "close"
    length: int = 0
    held: Stretch | None = None
    repeated: tuple[tuple[str, str], ...] = ()
    final: bool = False
    note: str = ""

    @property
    def size(self) -> int:
        """Of the body, in bytes."""
        return len(self.body if self.held is None else self.held)

    def piece(self, start: int, end: int) -> bytes:
        return self.body[start:end] if self.held is None else self.held.read(start, end)

    def part(self, start: int, end: int) -> Reply:
        """The same with this part of its body."""
        if self.held is not None:
            return replace(self, held=self.held.part(start, end))
        return replace(self, body=self.body[start:end])

    def loaded(self) -> Reply:
        """The same with its body in memory, where it can be changed."""
        return self if self.held is None else replace(self, body=self.held.read(), held=None)

    def with_headers(self, **headers: str | None) -> Reply:
        """The same with headers set (`_` for `-`), or dropped where None."""
        changed = {k.replace("_", "-"): v for k, v in headers.items()}
        kept = {k: v for k, v in self.headers.items() if k not in changed}
        repeated = tuple((k, v) for k, v in self.repeated if k not in changed)
        return replace(self, headers=kept | {k: v for k, v in changed.items() if v is not None}, repeated=repeated)

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
    if reply.status != 200 or reply.final:
        return reply
    etag, modified = reply.headers.get("etag"), reply.headers.get("last-modified")
    if none_match := request.get("if-none-match"):
        # Weakly compared (RFC 9110, 8.8.3.2): a W/ on either side does not matter.
        tags = [tag.strip().removeprefix("W/") for tag in none_match.split(",")]
        unchanged = none_match.strip() == "*" or (etag is not None and etag.removeprefix("W/") in tags)
    else:
        since, changed = _date(request.get("if-modified-since")), _date(modified)
        unchanged = since is not None and changed is not None and changed <= since
    if unchanged:
        kept = {k: v for k, v in reply.headers.items() if k in ("etag", "last-modified", "madang-origin", "cache-control")}
        return replace(reply, status=304, headers=kept, body=b"", held=None)
    wanted = request.get("range")
    if not wanted or not wanted.startswith("bytes=") or "," in wanted:
        return reply
    if_range = request.get("if-range")
    if if_range is not None and if_range.strip() not in (etag, modified):
        return reply
    span = _span(wanted.removeprefix("bytes="), reply.size)
    if span is None:
        return reply
    start, end = span
    if start >= reply.size:
        return replace(reply, status=416, body=b"", held=None).with_headers(content_range=f"bytes */{reply.size}")
    part = replace(reply.part(start, end), status=206)
    return part.with_headers(content_range=f"bytes {start}-{end - 1}/{reply.size}")


def _date(value: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(value) if value else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


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
    headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in (*reply.repeated, *reply.headers.items())]
    if reply.status != 304:
        headers.append((b"content-length", str(max(reply.length, reply.size)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if scope["method"] == "HEAD" or reply.status == 304:
        await send({"type": "http.response.body", "body": b""})
        return 0
    sent = reply.size if reply.broken_after is None else min(reply.broken_after, reply.size)
    for start in range(0, sent, CHUNK):
        await send({"type": "http.response.body", "body": reply.piece(start, min(start + CHUNK, sent)), "more_body": True})
    if reply.broken_after is None:
        await send({"type": "http.response.body", "body": b""})
    else:
        await _break(scope, reply.ending)
    return sent


async def _break(scope: Scope, ending: Literal["close", "reset"]) -> None:
    """End the connection under the response. The transport is put into the state by `running.py`'s protocol class."""
    transport: asyncio.Transport = scope["state"]["transport"]
    # What was sent must have left, or the break would come before it.
    while transport.get_write_buffer_size():  # noqa: ASYNC110  asyncio offers no event for it
        await asyncio.sleep(0.005)
    if ending == "reset":
        reset_when_closed(transport.get_extra_info("socket"))
        transport.abort()
    else:
        transport.close()


def reset_when_closed(connection: socket.socket) -> None:
    """Closing it sends RST, not FIN."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
