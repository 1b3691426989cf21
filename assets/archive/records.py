"""What WARC records are made of, for the writer (`warc.py`) and the reader (`reading.py`): shapes, lines, digests."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import Any

from assets.errors import IntegrityError

CHUNK = 256 * 1024
CLOSING = "application/vnd.madang.fetch+json"
"""Content-Type of the metadata record that closes a WARC of ours."""


@dataclass(frozen=True)
class StoredBody:
    """One Ok body as the archive holds it, and what it left for the next conditional request.

    `sha256`: hex, of the payload as received (content-encoding included, chunking removed). `fetch_id`, `record_id`, `date`,
    `url`: of the record that holds the bytes, which for a revisit is an earlier fetch's.
    """

    step: int
    page: int
    sha256: str
    fetch_id: str
    record_id: str
    date: datetime
    url: str
    etag: str | None = None
    last_modified: str | None = None
    provider_stamp: str | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON-able; `from_json` reverses it exactly."""
        return {**vars(self), "date": self.date.astimezone(UTC).isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StoredBody:
        return cls(**{**value, "date": datetime.fromisoformat(value["date"]).astimezone(UTC)})


@dataclass(frozen=True)
class Http:
    """Status or request line and headers, in order, as received but for redaction. Undecodable bytes as surrogate escapes.

    CR, LF and NUL inside a value become spaces in the archive, as RFC 9110 (5.5) bids every recipient.
    """

    start_line: str
    headers: Sequence[tuple[str, str]]

    def get(self, name: str) -> str | None:
        """The last header of that name, which is lower-case."""
        return next((value for told, value in reversed(self.headers) if told.lower() == name), None)

    def map(self) -> dict[str, str]:
        """Headers by lower-case name; the last one wins."""
        return {k.lower(): v for k, v in self.headers}


def new_ids() -> Iterator[str]:
    """Record ids that nobody else has: random UUIDs (RFC 9562, version 4) whose last 48 bits count on from a random start."""
    first = uuid.uuid4().int
    low = (1 << 48) - 1
    start = str(uuid.UUID(int=first & ~low))[:24]
    for number in count(first & low):
        yield f"<urn:uuid:{start}{number & low:012x}>"


@lru_cache(maxsize=64)
def warc_date(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def clean(text: str) -> str:
    """No line can be broken from inside a value."""
    if text.isprintable():  # most are, and none that is can break a line
        return text.strip(" ")
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ").strip(" \t")


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def storable(text: str) -> str:
    """The text as a terminal and every database take it: a ? for what is no character, as bytes of a header may be."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def lines(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Header lines, each with its end."""
    return to_bytes("".join([f"{clean(name)}: {clean(value)}\r\n" for name, value in pairs]))


def head_bytes(http: Http, *, payload_follows: bool) -> bytes:
    """`payload_follows`: the payload stands after it, without the chunking that its headers may tell of."""
    return to_bytes(clean(http.start_line)) + b"\r\n" + _header_lines(tuple(http.headers), payload_follows) + b"\r\n"


@lru_cache(maxsize=256)
def _header_lines(headers: tuple[tuple[str, str], ...], payload_follows: bool) -> bytes:
    """The pages of an answer, and what asked for them, have the same headers again and again."""
    if payload_follows:
        return lines((f"X-Orig-{n}" if n.lower() == "transfer-encoding" else n, v) for n, v in headers)
    return lines(headers)


def digest_label(sha256: str) -> str:
    """What a record says of bytes. `sha256`: hex."""
    return f"sha256:{sha256}"


def digest_of(label: str, where: str) -> bytes:
    algorithm, _, text = label.partition(":")
    try:
        if algorithm.lower() == "sha256":
            return bytes.fromhex(text) if len(text) == 64 else base64.b32decode(text.upper())
    except ValueError:
        pass
    raise broken(where, f"'{label[:40]}' is no SHA-256 digest")


def broken(where: str, what: str) -> IntegrityError:
    return IntegrityError(
        what, where=where, mend="restore the file from a backup or a replica of the store; the archive is write-once"
    )
