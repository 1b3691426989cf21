"""Writing WARC 1.1 files (ISO 28500:2017): one fetch, one file, as a stream. Reading is `reading.py`, their place `fetches.py`.

Digests are SHA-256 in hex, `sha256:<hex>`. The standard leaves algorithm and encoding open but says that the value is a token,
which its customary Base32 is for SHA-1 only: for 256 bits it ends in `====`, and `=` is no token character. Hex is what
`sha256sum` and the ledger say, and FastWARC and warcio check it. Our reader takes Base32 too.
Records are written as bytes, one gzip member each, rather than by FastWARC's `WarcRecord.write`: that one knows SHA-1 only, and
writes the old Content-Length without complaint when a body ends early. FastWARC reads. Short records, the pages of an API and all
requests, are packed by ISA-L, in about half of zlib's time to little more bytes; long ones by zlib, as ISA-L may need a third more.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from isal import isal_zlib

from assets.archive.records import CHUNK, CLOSING, StoredBody, clean, digest_label, head_bytes, lines, new_ids, to_bytes, warc_date
from assets.archive.records import Http as Http
from assets.errors import IntegrityError
from assets.payload import Payload, as_payload

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord

Profile = Literal["identical-payload-digest", "server-not-modified"]
_PROFILE = "http://netpreserve.org/warc/1.1/revisit/"
_GZIP = zlib.MAX_WBITS | 16
_REQUEST = lines([("Content-Type", "application/http; msgtype=request")])
_RESPONSE = lines([("Content-Type", "application/http; msgtype=response")])
_CUT = lines([("WARC-Truncated", "disconnect")])
_MASKED = lines([("Madang-Masked", "equal-length")])
_SHORT = 16 * 1024
"""Bytes of a record up to which the start of a packer, not the packing, is what takes the time."""
_FORMAT = "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/"


class WarcWriter:
    """Writes one fetch. Use as a context manager; leaving it without `finish` deletes the file."""

    def __init__(
        self,
        path: Path,
        *,
        software: str,
        feed: str,
        fetch_id: str,
        partition: str | None,
        origin: str,
        licence: str,
        started_at: datetime,
    ) -> None:
        self.path, self.fetch_id = path, fetch_id
        self._file = path.open("wb", CHUNK)
        self._finished = False
        self._bodies: dict[tuple[int, int], StoredBody] = {}
        self._rounds: dict[int, int] = {}
        fields = {
            "software": software,
            "format": "WARC File Format 1.1",
            "conformsTo": _FORMAT,
            "isPartOf": feed,
            "madang-fetch": fetch_id,
            "madang-partition": partition or "",
            "madang-origin": origin,
            "madang-licence": licence,
        }
        block = lines(fields.items())
        self._ids = new_ids()
        self._info = next(self._ids)
        headers = [("WARC-Filename", f"{fetch_id}.warc.gz"), ("Content-Type", "application/warc-fields")]
        self._write("warcinfo", self._info, started_at, lines(headers), block)

    def __enter__(self) -> WarcWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        if not self._finished:
            self.path.unlink(missing_ok=True)

    def write_exchange(
        self,
        *,
        url: str,
        request: Http,
        response: Http | None,
        body: Path | Payload | None,
        at: datetime,
        outcome: str,
        step: int,
        page: int,
        request_body: bytes | None = None,
        payload_sha256: str | None = None,
        complete: bool = True,
        masked: bool = False,
        remote_ip: str | None = None,
        provider_stamp: str | None = None,
    ) -> StoredBody | None:
        """A request record and its response record; `response` None (nothing came): the request alone, and None returned.

        `url` and headers: redacted. `body`: the payload, content-encoding kept, chunking removed (so the header
        Transfer-Encoding is kept as X-Orig-Transfer-Encoding, or readers would remove it twice); None: no bytes.
        `payload_sha256`: hex, of `body` as it is on disk; checked (IntegrityError). `masked`: a secret in the body was
        masked at equal length. Only bodies whose outcome is Ok count as the fetch's.
        """
        common = self._place(url, step, page, outcome, remote_ip)
        response_id = next(self._ids)
        self._request(common, at, request, request_body, response_id if response else None)
        if response is None:
            return None
        head = head_bytes(response, payload_follows=True)
        headers = common + _RESPONSE + (_CUT if not complete else b"")
        sha256 = self._payload("response", response_id, at, headers, head, body, payload_sha256, masked)
        told = response.map()
        etag, modified = told.get("etag"), told.get("last-modified")
        stored = StoredBody(step, page, sha256, self.fetch_id, response_id, at, url, etag, modified, provider_stamp)
        return self._count(stored, outcome)

    def write_revisit(
        self,
        *,
        url: str,
        request: Http | None,
        response: Http | None,
        at: datetime,
        step: int,
        page: int,
        earlier: StoredBody,
        profile: Profile,
        outcome: str = "Ok",
        request_body: bytes | None = None,
        remote_ip: str | None = None,
        provider_stamp: str | None = None,
    ) -> StoredBody:
        """A request record and a revisit record: the body is `earlier`'s, by its digest or by the server's 304.

        Counts as one of the fetch's bodies whatever `outcome` (Ok or NotModified) says. Without HTTP (a drop) `request` and
        `response` are None: the revisit record stands alone, with an empty block.
        """
        common = self._place(url, step, page, outcome, remote_ip)
        revisit_id = next(self._ids)
        if request is not None:
            self._request(common, at, request, request_body, revisit_id)
        refers = [
            ("WARC-Profile", _PROFILE + profile),
            ("WARC-Refers-To", earlier.record_id),
            ("WARC-Refers-To-Target-URI", earlier.url),
            ("WARC-Refers-To-Date", warc_date(earlier.date)),
            ("WARC-Payload-Digest", digest_label(earlier.sha256)),
            ("Madang-Refers-To-Fetch", earlier.fetch_id),
        ]
        headers = common + (_RESPONSE if response is not None else b"") + lines(refers)
        block = head_bytes(response, payload_follows=False) if response is not None else b""
        self._write("revisit", revisit_id, at, headers, block)
        etag = (response.get("etag") if response is not None else None) or earlier.etag
        modified = (response.get("last-modified") if response is not None else None) or earlier.last_modified
        stamp = provider_stamp or earlier.provider_stamp
        stored = StoredBody(
            step, page, earlier.sha256, earlier.fetch_id, earlier.record_id, earlier.date, earlier.url, etag, modified, stamp
        )
        return self._count(stored, "Ok")

    def write_resource(
        self,
        *,
        url: str,
        body: Path | Payload,
        at: datetime,
        step: int,
        page: int = 1,
        content_type: str = "application/octet-stream",
        outcome: str = "Ok",
        payload_sha256: str | None = None,
        last_modified: str | None = None,
        provider_stamp: str | None = None,
        complete: bool = True,
        masked: bool = False,
    ) -> StoredBody:
        """A file that came without HTTP (SFTP, FTP, S3, a drop). Parameters as for `write_exchange`."""
        headers = self._place(url, step, page, outcome) + lines([("Content-Type", content_type)]) + (_CUT if not complete else b"")
        if last_modified:
            headers += lines([("Madang-Last-Modified", last_modified)])
        record_id = next(self._ids)
        sha256 = self._payload("resource", record_id, at, headers, b"", body, payload_sha256, masked)
        stored = StoredBody(
            step, page, sha256, self.fetch_id, record_id, at, url, last_modified=last_modified, provider_stamp=provider_stamp
        )
        return self._count(stored, outcome)

    def write_failure(self, *, url: str, at: datetime, outcome: str, step: int, page: int, reason: str) -> None:
        """That nothing came without HTTP, and why: a metadata record, since there is no payload to keep."""
        headers = self._place(url, step, page, outcome) + lines([("Content-Type", "application/warc-fields")])
        self._write("metadata", next(self._ids), at, headers, lines([("madang-failure", reason)]))

    def restart(self, step: int) -> None:
        """The step begins again from page 1 (its total changed): bodies written for it so far no longer count."""
        self._rounds[step] = self._rounds.get(step, 0) + 1
        self._bodies = {k: v for k, v in self._bodies.items() if k[0] != step}

    @property
    def bodies(self) -> list[StoredBody]:
        """Bodies that count, in order of step and page."""
        return [self._bodies[k] for k in sorted(self._bodies)]

    def finish(self, record: FetchRecord) -> list[StoredBody]:
        """The closing metadata record (the FetchRecord and the bodies as JSON), fsync, close. Returns `bodies`."""
        value = {"fetch": record.as_json(), "bodies": [b.as_json() for b in self.bodies]}
        block = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._write("metadata", next(self._ids), record.finished_at, lines([("Content-Type", CLOSING)]), block)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._finished = True
        return self.bodies

    # --- one record ---

    def _place(self, url: str, step: int, page: int, outcome: str, remote_ip: str | None = None) -> bytes:
        """The headers that say what was asked, and what came of it."""
        text = (
            f"WARC-Target-URI: {clean(url)}\r\nMadang-Step: {step}\r\nMadang-Page: {page}\r\n"
            f"Madang-Round: {self._rounds.get(step, 0)}\r\nMadang-Outcome: {outcome}\r\n"
        )
        return to_bytes(text) + (lines([("WARC-IP-Address", remote_ip)]) if remote_ip else b"")

    def _request(self, common: bytes, at: datetime, request: Http, body: bytes | None, partner: str | None) -> None:
        headers = common + _REQUEST + (f"WARC-Concurrent-To: {partner}\r\n".encode() if partner else b"")
        self._write("request", next(self._ids), at, headers, head_bytes(request, payload_follows=True) + (body or b""))

    def _count(self, stored: StoredBody, outcome: str) -> StoredBody:
        if outcome == "Ok":
            self._bodies[stored.step, stored.page] = stored
        return stored

    def _payload(
        self,
        kind: str,
        record_id: str,
        at: datetime,
        headers: bytes,
        head: bytes,
        body: Path | Payload | None,
        expected: str | None,
        masked: bool,
    ) -> str:
        """Hash the file, then write it: the header before the block holds the digests of the block. A small one is read once."""
        source = as_payload(body) if body is not None else Payload(Path(), b"")
        held = [source.read_bytes()] if source.size <= CHUNK else None
        block, payload, length = hashlib.sha256(head), hashlib.sha256(), 0
        for chunk in held if held is not None else file_chunks(source):
            block.update(chunk)
            payload.update(chunk)
            length += len(chunk)
        sha256 = payload.hexdigest()
        if expected is not None and expected != sha256:
            raise IntegrityError("the body on disk is not what was received", where=str(body), mend="fetch again")
        digests = f"WARC-Payload-Digest: {digest_label(sha256)}\r\nWARC-Block-Digest: {digest_label(block.hexdigest())}\r\n"
        headers += (_MASKED if masked else b"") + digests.encode()
        self._stream(kind, record_id, at, headers, len(head) + length, head, held if held is not None else file_chunks(source))
        return sha256

    def _write(self, kind: str, record_id: str, at: datetime, headers: bytes, block: bytes) -> None:
        headers += f"WARC-Block-Digest: {digest_label(hashlib.sha256(block).hexdigest())}\r\n".encode()
        self._stream(kind, record_id, at, headers, len(block), block, ())

    def _stream(
        self,
        kind: str,
        record_id: str,
        at: datetime,
        headers: bytes,
        length: int,
        head: bytes,
        chunks: Iterable[bytes],
    ) -> None:
        info = f"WARC-Warcinfo-ID: {self._info}\r\n" if kind != "warcinfo" else ""
        start = f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Record-ID: {record_id}\r\nWARC-Date: {warc_date(at)}\r\n{info}"
        top = b"%b%bContent-Length: %d\r\n\r\n%b" % (start.encode(), headers, length, head)
        # One gzip member a record, so that a reader can start at any record.
        if length <= _SHORT:
            self._file.write(isal_zlib.compress(b"".join((top, *chunks, b"\r\n\r\n")), 2, _GZIP))
            return
        packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._file.write(packer.compress(top))
        written = len(head)
        for chunk in chunks:
            written += len(chunk)
            self._file.write(packer.compress(chunk))
        self._file.write(packer.compress(b"\r\n\r\n") + packer.flush())
        if written != length:
            raise IntegrityError("a body changed while it was being archived", where=str(self.path), mend="fetch again")


def file_chunks(body: Payload) -> Iterator[bytes]:
    with body.open() as file:
        while chunk := file.read(CHUNK):
            yield chunk
