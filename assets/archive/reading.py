"""Reading WARC files back, as a stream, every digest verified. Writing them is `warc.py`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from isal import igzip, isal_zlib

from assets.archive.records import CHUNK, Http, broken, digest_of, to_text

MAX_HTTP_HEAD = 1024 * 1024
_GZIP = b"\x1f\x8b"
_CORRUPT = (EOFError, OSError, cast(type[Exception], isal_zlib.error))
_OTHER_DIGESTS = ("sha1", "sha512", "md5")
"""What other writers label records with; our own is SHA-256."""


class _Reader(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass
class Record:
    """One record while it is the iterator's current one. `headers`: WARC headers, lower-case names."""

    kind: str
    headers: Mapping[str, str]
    http: Http | None
    _reader: _Reader
    _rest: bytes
    _where: str
    _block: Any
    _read: int
    _payload: Any = field(default_factory=hashlib.sha256)
    _done: bool = False

    def chunks(self) -> Iterator[bytes]:
        """The payload (after the HTTP head where there is one), once; IntegrityError at its end if length or digest differ."""
        chunk, self._rest = self._rest, b""
        while chunk or (chunk := self._next()):
            self._payload.update(chunk)
            yield chunk
            chunk = b""
        self._done = True
        self._verify()

    @property
    def chunked(self) -> bool:
        """Whether the payload still has its Transfer-Encoding, which only other writers leave on (`dechunk`)."""
        return self.http is not None and "chunked" in (self.http.get("transfer-encoding") or "").lower()

    def finish(self) -> None:
        """Read past what is left, verifying it."""
        if not self._done:
            for _ in self.chunks():
                pass

    def _next(self) -> bytes:
        chunk = self._reader.read(CHUNK)
        self._block.update(chunk)
        self._read += len(chunk)
        return chunk

    def _verify(self) -> None:
        if str(self._read) != self.headers.get("content-length"):
            raise broken(self._where, f"the {self.kind} record ends early")
        for name, digest in (("warc-block-digest", self._block), ("warc-payload-digest", self._payload)):
            label = self.headers.get(name)
            # A revisit's is of the earlier record's payload; of a chunked one, writers differ whether the chunks count.
            if label is None or (name == "warc-payload-digest" and (self.kind == "revisit" or self.chunked)):
                continue
            if not _holds(label, digest, self._where):
                raise broken(self._where, f"the {name} of record {self.headers.get('warc-record-id')} does not hold")


def read_records(path: Path, *, questions: bool = True) -> Iterator[Record]:
    """All records in order, digests verified; unread payloads are read past. IntegrityError on a broken or truncated file.

    `questions`: False for who needs no requests; they are passed over, and only the checksum of the packed file looks at them.
    """
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    where = str(path)
    wanted = WarcRecordType.any_type if questions else WarcRecordType.any_type & ~WarcRecordType.request
    try:
        with _opened(path) as stream:
            for raw in ArchiveIterator(stream, record_types=wanted, parse_http=False):
                headers = {_lower(k): to_text(v) for k, v in raw.headers.items_bytes()}
                block, payload = _hasher(headers.get("warc-block-digest")), _hasher(headers.get("warc-payload-digest"))
                record = Record(headers.get("warc-type", ""), headers, None, raw.reader, b"", where, block, 0, payload)
                # Some revisits of other writers are of the type, and empty.
                has_head = headers.get("content-type", "").startswith("application/http") and headers.get("content-length") != "0"
                if has_head:
                    _read_head(record)
                yield record
                record.finish()
    except _CORRUPT as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise broken(where, f"it is truncated or corrupt ({type(error).__name__})") from error


def _opened(path: Path) -> BinaryIO:
    """The records as they stand, unpacked where the file is packed."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    # ISA-L's gzip under FastWARC: FastWARC's own stops at a cut-off member without a word.
    return cast(BinaryIO, igzip.IGzipFile(path)) if packed else path.open("rb")  # type: ignore[no-untyped-call]


def _hasher(label: str | None) -> Any:
    algorithm = (label or "").partition(":")[0].lower()
    return hashlib.new(algorithm, usedforsecurity=False) if algorithm in _OTHER_DIGESTS else hashlib.sha256()


def _holds(label: str, digest: Any, where: str) -> bool:
    """Whether the digest is what the label says, in hex or Base32. IntegrityError where the label is none that can be checked."""
    if digest.name == "sha256":
        return digest_of(label, where) == bytes(digest.digest())
    told = label.partition(":")[2]
    return told.lower() == digest.hexdigest() or told.upper() == base64.b32encode(digest.digest()).decode()


@lru_cache(maxsize=1000)
def _lower(name: bytes) -> str:
    """A header's name in lower case; few names stand over many values."""
    return to_text(name).lower()


def digest_hex(record: Record) -> str | None:
    """The record's WARC-Payload-Digest in hex."""
    label = record.headers.get("warc-payload-digest")
    return digest_of(label, record._where).hex() if label else None


def dechunk(chunks: Iterable[bytes], where: str) -> Iterator[bytes]:
    """Transfer-Encoding chunked removed, for WARCs of other writers that kept it. IntegrityError where it is not well formed."""
    pending, left, state = b"", 0, "size"
    for chunk in chunks:
        pending += chunk
        while pending:
            if state == "data":
                yield pending[:left]
                taken = min(left, len(pending))
                pending, left = pending[taken:], left - taken
                state = "data" if left else "gap"
                continue
            if b"\r\n" not in pending:
                if len(pending) > 8192:
                    raise broken(where, "a chunk has no size line")
                break
            line, pending = pending.split(b"\r\n", 1)
            if state == "gap":
                state = "size"
            elif state == "trailer":
                continue
            else:
                try:
                    left = int(line.split(b";")[0].strip(), 16)
                except ValueError:
                    raise broken(where, "a chunk has no size line") from None
                state = "data" if left else "trailer"
    if state != "trailer":
        raise broken(where, "the chunked body ends early")


def _read_head(record: Record) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = record._next()
        if not chunk or len(head) > MAX_HTTP_HEAD:
            raise broken(record._where, f"the {record.kind} record has no complete HTTP head")
        head += chunk
    head, record._rest = head.split(b"\r\n\r\n", 1)
    start, *lines = to_text(head).split("\r\n")
    pairs = (line.partition(":") for line in lines)
    record.http = Http(start, [(name, value.strip(" \t")) for name, _, value in pairs])
