"""Content-Encoding undone, file to file, within limits: a body is archived as received and read decoded.

Compressed files (`.gz`, `.zip`) that an agency serves as such are not this module's: `tables/readers/container.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assets.payload import Payload, Spill
from assets.transport.secrets import BodyMasker

MAX_RATIO = 1000
"""Decoded bytes per received byte; more is a bomb (deflate itself ends at 1032)."""
_RATIO_FROM = 1024 * 1024
_CHUNK = 256 * 1024
_OUT = 1024 * 1024
_KNOWN = ("gzip", "x-gzip", "deflate")


@dataclass(frozen=True)
class Decoded:
    """What decoding one body came to.

    `complete`: the compressed stream reached its end. `problem`: why the body cannot be used, whatever came of it.
    `echoed`: a secret stands in the decoded text.
    """

    length: int
    complete: bool
    problem: str | None = None
    too_large: bool = False
    echoed: bool = False


def codings(header: str) -> list[str]:
    """The codings of a Content-Encoding header in the order they were applied, `identity` left out."""
    return [c for c in (part.strip().lower() for part in header.split(",")) if c and c != "identity"]


def decode(source: Payload, out: Path, coding: list[str], *, max_bytes: int, masker: BodyMasker) -> tuple[Payload, Decoded]:
    """`source` decoded, at `out` where it is long. `masker` only looks here: bytes inside a compressed body cannot be masked.

    Never raises on hostile bytes; of a stream that ends early it keeps what came before the end.
    """
    if len(coding) != 1 or coding[0] not in _KNOWN:
        return Payload(out, b""), Decoded(0, False, f"Content-Encoding '{', '.join(coding)[:60]}' was not asked for")
    read = written = 0
    stream = _Inflater(raw_allowed=coding[0] == "deflate")
    problem, too_large = None, False
    target = Spill(out)
    with source.open() as file:
        try:
            while problem is None and (chunk := file.read(_CHUNK)):
                read += len(chunk)
                for piece in stream.feed(chunk):
                    written += len(piece)
                    if written > max_bytes:
                        problem, too_large = f"the decoded body is larger than {max_bytes} bytes", True
                    elif written > _RATIO_FROM and written > MAX_RATIO * read:
                        problem, too_large = f"the body decodes to more than {MAX_RATIO} times its size", True
                    if problem is not None:
                        break
                    masker.feed(piece)
                    target.write(piece)
        except zlib.error:
            problem = f"the body is no sound {coding[0]} stream"
    masker.flush()
    done = Decoded(written, stream.finished or read == 0, problem, too_large, echoed=masker.hits > 0)
    return target.close(), done


class _Inflater:
    """gzip (one or more members; zeros after the last are padding), or zlib, or the raw deflate that some call `deflate`."""

    def __init__(self, *, raw_allowed: bool) -> None:
        self._deflate = raw_allowed
        self._stream = zlib.decompressobj(zlib.MAX_WBITS if raw_allowed else zlib.MAX_WBITS | 16)
        self._first = True
        self.finished = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of at most 1 MB. Raises zlib.error."""
        if self._deflate and self._first and data and not _zlib_header(data):
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._first = False
        more = bool(data)
        while more:
            if self.finished:
                data = data.lstrip(b"\0")
                if not data or self._deflate:
                    return
                self._stream, self.finished = zlib.decompressobj(zlib.MAX_WBITS | 16), False
            piece = self._stream.decompress(data, _OUT)
            if piece:
                yield piece
            self.finished = self._stream.eof
            data = self._stream.unused_data if self.finished else self._stream.unconsumed_tail
            more = bool(data) or (len(piece) == _OUT and not self.finished)


def _zlib_header(data: bytes) -> bool:
    """Whether a zlib header starts here (RFC 1950: method 8, and the two bytes divide by 31)."""
    return len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
