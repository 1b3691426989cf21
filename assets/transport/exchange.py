"""One request and what came of it, as the transport hands it to the kernel: nothing in it needs masking any more."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from assets.payload import Payload, Spill
from assets.protocols.kernel import HEAD_BYTES, TAIL_BYTES, Outcome, Request
from assets.transport.secrets import BodyMasker

_NOWHERE = Path()


@dataclass
class Exchange:
    """A request with its response, redirects and resumed parts included. Secrets are masked throughout.

    `body`: as received, Content-Encoding included; `payload_sha256` and `bytes_read` are of it.
    `decoded`, `decoded_length`, `head`, `tail`: the same with the encoding undone (the very same where there is none).
    `complete`: False when the connection, or the compressed stream, ended before its promised end.
    `status`: 0 when no response came; `verdict`, where not None, is then or otherwise the transport's own and stands
    before the protocol's. `hops`: the redirects that led here, each an Exchange of its own.
    `resource`: it came without HTTP (a drop); `status` is 200 where anything came, and `headers` are what the server tells.
    """

    request: Request
    url: str
    at: datetime
    origin: str
    body: Payload
    method: str = "GET"
    status: int = 0
    reason: str = ""
    http_version: str = "1.1"
    request_headers: list[tuple[str, str]] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    bytes_read: int = 0
    payload_sha256: str = hashlib.sha256(b"").hexdigest()
    complete: bool = False
    decoded: Payload = field(default_factory=lambda: Payload(_NOWHERE, b""))
    decoded_length: int = 0
    head: bytes = b""
    tail: bytes = b""
    masked: bool = False
    resumed: int = 0
    error: str | None = None
    verdict: Outcome | None = None
    hops: list[Exchange] = field(default_factory=list)
    resource: bool = False

    def header_map(self) -> dict[str, str]:
        """Response headers by lower-case name; the last one wins."""
        return {name.lower(): value for name, value in self.headers}

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        return next((value for told, value in reversed(self.headers) if told.lower() == wanted), None)

    def look(self) -> None:
        """Fill `head`, `tail` and `decoded_length` from the decoded body."""
        if (data := self.decoded.in_memory) is not None:
            self.head, self.tail, self.decoded_length = data[:HEAD_BYTES], data[-TAIL_BYTES:], len(data)
            return
        with self.decoded.open() as file:
            self.head = file.read(HEAD_BYTES)
            self.decoded_length = file.seek(0, 2)
            file.seek(max(0, self.decoded_length - TAIL_BYTES))
            self.tail = file.read(TAIL_BYTES)


class Sink:
    """Where a body streams to: masked, hashed and kept at once, at `path` where it is long. `received`: bytes off the wire."""

    def __init__(self, path: Path | str, masker: BodyMasker) -> None:
        self._masker = masker
        self._spill = Spill(path)
        self._hash = hashlib.sha256()
        self.received = self.written = 0

    def write(self, chunk: bytes) -> None:
        self.received += len(chunk)
        self._put(self._masker.feed(chunk))

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._spill.write(data)
        self.written += len(data)

    def restart(self, masker: BodyMasker) -> None:
        """Forget what came: the server starts the body anew."""
        self._spill.restart()
        self._masker, self._hash = masker, hashlib.sha256()
        self.received = self.written = 0

    def close(self, exchange: Exchange) -> None:
        """The body is over: give the exchange its bytes, their number and SHA-256, and whether anything was masked."""
        self._put(self._masker.flush())
        exchange.body = exchange.decoded = self._spill.close()
        exchange.bytes_read, exchange.payload_sha256 = self.written, self._hash.hexdigest()
        exchange.masked = self._masker.hits > 0
