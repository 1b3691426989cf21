"""Fetches for the archive's tests: written by the real writer, put into a real store and ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from assets.archive.fetches import FetchRecord, archive_fetch, archive_key, payload_digest
from assets.archive.ledger import Ledger
from assets.archive.records import Http, StoredBody
from assets.archive.warc import WarcWriter
from assets.store import Store

FEED = "kr.test.rows"
START = datetime(2026, 11, 22, 15, 4, 5, 678901, tzinfo=UTC)
REQUEST = Http("GET /rows?serviceKey=*** HTTP/1.1", [("Host", "agency.example"), ("User-Agent", "madang")])


def fetch_id(n: int) -> str:
    """A readable id: the n-th fetch, one an hour."""
    return f"{START + timedelta(hours=n):%Y%m%dT%H%M%SZ}-{n:08x}"


def record(n: int, *, outcome: str = "Ok", partition: str | None = None, feed: str = FEED) -> FetchRecord:
    at = START + timedelta(hours=n)
    return FetchRecord(
        fetch_id=fetch_id(n),
        feed=feed,
        partition=partition,
        started_at=at,
        finished_at=at + timedelta(seconds=3),
        outcome=outcome,
        reason="",
        origin="synthetic",
        bytes_read=12,
        responses=1,
        rows=None,
        warc_key=archive_key(feed, fetch_id(n)),
        payload_sha256=None,
        canonical_sha256=None,
        etag='"e"',
        last_modified=None,
        provider_stamp=None,
        url="https://agency.example/rows?serviceKey=***",
        licence="KOGL-1",
        body_fetch_id=fetch_id(n),
    )


def writer(path: Path, fetch: FetchRecord) -> WarcWriter:
    return WarcWriter(
        path,
        software="madang/test",
        feed=fetch.feed,
        fetch_id=fetch.fetch_id,
        partition=fetch.partition,
        origin=fetch.origin,
        licence=fetch.licence,
        started_at=fetch.started_at,
    )


def exchange(
    warc: WarcWriter,
    fetch: FetchRecord,
    body: bytes,
    folder: Path,
    *,
    page: int = 1,
    step: int = 0,
    outcome: str = "Ok",
    headers: Sequence[tuple[str, str]] = (("Content-Type", "text/csv"), ("ETag", '"e"')),
) -> StoredBody:
    path = folder / "spool"
    path.write_bytes(body)
    stored = warc.write_exchange(
        url=fetch.url,
        request=REQUEST,
        response=Http("HTTP/1.1 200 OK", headers),
        body=path,
        at=fetch.started_at,
        outcome=outcome,
        step=step,
        page=page,
        payload_sha256=hashlib.sha256(body).hexdigest(),
        remote_ip="192.0.2.7",
    )
    assert stored is not None
    return stored


def archived(
    store: Store, ledger: Ledger, folder: Path, n: int, pages: Sequence[bytes], *, partition: str | None = None
) -> FetchRecord:
    """A whole fetch of `pages`, in store and ledger."""
    fetch = record(n, partition=partition)
    path = folder / f"{n}.warc.gz"
    with writer(path, fetch) as warc:
        stored = [exchange(warc, fetch, body, folder, page=i) for i, body in enumerate(pages, 1)]
        fetch = replace(fetch, payload_sha256=payload_digest([s.sha256 for s in stored]))
        archive_fetch(store, ledger, fetch, path, warc.finish(fetch))
    return fetch
