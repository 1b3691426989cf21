"""WARC 1.1 files (ISO 28500:2017): one fetch, written once and read back, as a stream. Where they lie is `fetches.py`.

Digests are SHA-256 in Base32, `sha256:<base32>`: the standard leaves algorithm and encoding open, but its examples, CDX
indexes and the writers in use (warcio, pywb) all label Base32; readers here take hex too. The ledger speaks hex.
Records are written as bytes through zlib, one gzip member each, rather than by FastWARC's `WarcRecord.write`: that one
knows SHA-1 only, and writes the old Content-Length without complaint when a body ends early. FastWARC reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord

Profile = Literal["identical-payload-digest", "server-not-modified"]


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


@dataclass(frozen=True)
class Http:
    """Status or request line and headers, in order, as received but for redaction. Undecodable bytes as surrogate escapes."""

    start_line: str
    headers: Sequence[tuple[str, str]]


@dataclass
class Record:
    """One record while it is the iterator's current one. `headers`: WARC headers, lower-case names."""

    kind: str
    headers: Mapping[str, str]
    http: Http | None

    def chunks(self) -> Iterator[bytes]:
        """The payload (after the HTTP headers where there are any), once; IntegrityError at its end if a digest differs."""
        raise NotImplementedError


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
        raise NotImplementedError

    def __enter__(self) -> WarcWriter:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        raise NotImplementedError

    def write_exchange(
        self,
        *,
        url: str,
        request: Http,
        response: Http,
        body: Path | None,
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
    ) -> StoredBody:
        """A request record and its response record.

        `url` and headers: redacted. `body`: the payload as received, content-encoding kept, chunking removed (then the
        header Transfer-Encoding is kept as X-Orig-Transfer-Encoding, or readers would remove it twice); None: no bytes.
        `payload_sha256`: hex; checked against the file unless `masked` (IntegrityError). Ok bodies count as the fetch's.
        """
        raise NotImplementedError

    def write_revisit(
        self,
        *,
        url: str,
        request: Http,
        response: Http,
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
        """A request record and a revisit record: the body is `earlier`'s, by its digest or by the server's 304."""
        raise NotImplementedError

    def write_resource(
        self,
        *,
        url: str,
        body: Path,
        at: datetime,
        step: int,
        page: int = 1,
        content_type: str = "application/octet-stream",
        outcome: str = "Ok",
        payload_sha256: str | None = None,
        last_modified: str | None = None,
        provider_stamp: str | None = None,
        masked: bool = False,
    ) -> StoredBody:
        """A file that came without HTTP (SFTP, FTP, S3, a drop)."""
        raise NotImplementedError

    def restart(self, step: int) -> None:
        """The step begins again from page 1 (its total changed): Ok bodies written for it so far no longer count."""
        raise NotImplementedError

    @property
    def bodies(self) -> list[StoredBody]:
        """Ok bodies that count, in order of step and page."""
        raise NotImplementedError

    def finish(self, record: FetchRecord) -> list[StoredBody]:
        """The closing metadata record (the FetchRecord and the bodies as JSON), fsync, close. Returns `bodies`."""
        raise NotImplementedError


def read_records(path: Path) -> Iterator[Record]:
    """All records in order, digests verified; unread payloads are read past. IntegrityError on a broken or truncated file."""
    raise NotImplementedError
