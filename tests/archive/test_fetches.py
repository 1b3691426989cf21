"""Fetches read back from the archive: encodings removed, revisits resolved, anything doubtful refused."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assets.archive.fetches import FetchRecord, archive_fetch, archive_key, new_fetch_id, open_bodies, payload_digest
from assets.archive.ledger import Ledger
from assets.archive.records import Http
from assets.errors import IntegrityError, UnreadableSource
from assets.store import Store
from tests.archive.making import FEED, REQUEST, archived, exchange, record, writer

NOT_MODIFIED = Http("HTTP/1.1 304 Not Modified", [("ETag", '"e2"'), ("X-New", "1")])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield opened
    opened.close()


def contents(store: Store, ledger: Ledger, fetch: FetchRecord, folder: Path) -> list[bytes]:
    return [b.path.read_bytes() for b in open_bodies(store, ledger, fetch, folder / "work")]


def test_ids_sort_by_time_and_say_where_the_file_lies() -> None:
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=37 * n) for n in range(200)]
    ids = [new_fetch_id(t) for t in times]
    assert ids == sorted(ids)
    assert len({new_fetch_id(times[0]) for _ in range(1000)}) == 1000
    key = archive_key(FEED, new_fetch_id(datetime.fromisoformat("2026-12-01T08:59:59+09:00")))
    assert key.startswith(f"archive/{FEED}/2026/11/20261130T235959Z-")


def test_a_record_survives_json() -> None:
    fetch = replace(record(1, partition="p"), rows=4, canonical_sha256="c")
    assert FetchRecord.from_json(fetch.as_json()) == fetch


def test_one_body_keeps_its_own_digest() -> None:
    assert payload_digest([]) is None
    assert payload_digest(["a"]) == "a"
    assert payload_digest(["a", "b"]) != payload_digest(["b", "a"])


def test_bodies_come_in_order_of_step_and_page(store: Store, ledger: Ledger, tmp_path: Path) -> None:
    fetch, path = record(1), tmp_path / "w"
    with writer(path, fetch) as warc:
        for step, page in ((1, 1), (0, 10), (0, 2)):
            exchange(warc, fetch, f"{step}.{page}".encode(), tmp_path, step=step, page=page)
        exchange(warc, fetch, b"error page", tmp_path, step=0, page=2, outcome="Transient")
        archive_fetch(store, ledger, fetch, path, warc.finish(fetch))
    assert contents(store, ledger, fetch, tmp_path) == [b"0.2", b"0.10", b"1.1"]
    body = open_bodies(store, ledger, fetch, tmp_path / "work")[0]
    assert (body.step, body.page, body.url) == (0, 2, fetch.url)
    assert body.headers["content-type"] == "text/csv"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate), ("identity", bytes)]
)
def test_content_encoding_is_removed(store: Store, ledger: Ledger, tmp_path: Path, coding: str, encode: object) -> None:
    plain = b"station,value\r\n" * 5000
    fetch, path = record(1), tmp_path / "w"
    with writer(path, fetch) as warc:
        exchange(warc, fetch, encode(plain), tmp_path, headers=[("Content-Encoding", coding)])  # type: ignore[operator]
        archive_fetch(store, ledger, fetch, path, warc.finish(fetch))
    assert contents(store, ledger, fetch, tmp_path) == [plain]


BAD_BODIES = {
    "truncated": gzip.compress(b"x" * 5000)[:-9],
    "no gzip": b"not gzip at all",
    "bomb": gzip.compress(b"\0" * 50_000_000),
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_bad_encoding_or_a_bomb_is_refused(store: Store, ledger: Ledger, tmp_path: Path, body: bytes) -> None:
    fetch, path = record(1), tmp_path / "w"
    with writer(path, fetch) as warc:
        exchange(warc, fetch, body, tmp_path, headers=[("Content-Encoding", "gzip")])
        archive_fetch(store, ledger, fetch, path, warc.finish(fetch))
    with pytest.raises(UnreadableSource):
        open_bodies(store, ledger, fetch, tmp_path / "work", max_bytes=20_000_000)


def test_a_step_that_began_again_leaves_only_its_last_round(store: Store, ledger: Ledger, tmp_path: Path) -> None:
    fetch, path = record(1), tmp_path / "w"
    with writer(path, fetch) as warc:
        for page in (1, 2, 3):
            exchange(warc, fetch, b"old", tmp_path, page=page)
        exchange(warc, fetch, b"other step", tmp_path, step=1)
        warc.restart(0)
        for page in (1, 2):
            exchange(warc, fetch, b"new%d" % page, tmp_path, page=page)
        archive_fetch(store, ledger, fetch, path, warc.finish(fetch))
    assert contents(store, ledger, fetch, tmp_path) == [b"new1", b"new2", b"other step"]


def test_a_dropped_file_is_a_body(store: Store, ledger: Ledger, tmp_path: Path) -> None:
    fetch, path, drop = record(1), tmp_path / "w", tmp_path / "drop"
    drop.write_bytes("이름\r\n".encode("cp949"))
    with writer(path, fetch) as warc:
        warc.write_resource(
            url="sftp://h/f.csv", body=drop, at=fetch.started_at, step=0, content_type="text/csv", last_modified="m"
        )
        archive_fetch(store, ledger, fetch, path, warc.finish(fetch))
    (body,) = open_bodies(store, ledger, fetch, tmp_path / "work")
    assert body.path.read_bytes() == drop.read_bytes()
    assert (body.url, body.headers["content-type"]) == ("sftp://h/f.csv", "text/csv")
    assert ledger.validators(FEED).last_modified == "m"


def revisiting(store: Store, ledger: Ledger, folder: Path, n: int, *, pages: int, changed: bytes | None = None) -> FetchRecord:
    """A fetch whose first `pages` pages are as before, and perhaps one more that is new."""
    fetch, path = record(n), folder / f"{n}.warc.gz"
    left = ledger.bodies(FEED)
    with writer(path, fetch) as warc:
        for page in range(1, pages + 1):
            warc.write_revisit(
                url=fetch.url,
                request=REQUEST,
                response=NOT_MODIFIED,
                at=fetch.started_at,
                step=0,
                page=page,
                earlier=left[0, page],
                profile="server-not-modified",
            )
        if changed is not None:
            exchange(warc, fetch, changed, folder, page=pages + 1)
        archive_fetch(store, ledger, fetch, path, warc.finish(fetch))
    return fetch


def test_unchanged_pages_are_found_where_their_bytes_are(store: Store, ledger: Ledger, tmp_path: Path) -> None:
    first = archived(store, ledger, tmp_path, 1, [b"a" * 9999, b"b"])
    second = revisiting(store, ledger, tmp_path, 2, pages=2, changed=b"c")
    third = revisiting(store, ledger, tmp_path, 3, pages=3, changed=b"d")
    fourth = revisiting(store, ledger, tmp_path, 4, pages=4)
    assert contents(store, ledger, second, tmp_path) == [b"a" * 9999, b"b", b"c"]
    assert contents(store, ledger, fourth, tmp_path) == [b"a" * 9999, b"b", b"c", b"d"]
    # However long the chain, a revisit refers to the fetch that holds the bytes.
    assert [b.fetch_id for b in ledger.bodies(FEED).values()] == [first.fetch_id] * 2 + [second.fetch_id, third.fetch_id]
    assert store.size(fourth.warc_key) < store.size(first.warc_key) + 4000
    body = open_bodies(store, ledger, second, tmp_path / "work")[0]
    assert (body.headers["etag"], body.headers["x-new"], body.headers["content-type"]) == ('"e2"', "1", "text/csv")
    assert ledger.validators(FEED).etag == '"e2"'


def test_a_wholly_unchanged_fetch_points_to_the_bytes(store: Store, ledger: Ledger, tmp_path: Path) -> None:
    first = archived(store, ledger, tmp_path, 1, [b"a"])
    pointing = replace(record(2, outcome="NotModified"), body_fetch_id=first.fetch_id)
    ledger.record(pointing)
    assert contents(store, ledger, pointing, tmp_path) == [b"a"]
    fresh = Ledger(f"sqlite:///{tmp_path}/empty.db")  # the archive alone is enough
    assert contents(store, fresh, pointing, tmp_path) == [b"a"]
    fresh.close()


def test_a_revisit_whose_bytes_are_gone_or_forged_is_refused(store: Store, ledger: Ledger, tmp_path: Path) -> None:
    first = archived(store, ledger, tmp_path, 1, [b"accepted"])
    second = revisiting(store, ledger, tmp_path, 2, pages=1)
    held = store.local_path(first.warc_key, tmp_path)
    data = held.read_bytes()
    held.write_bytes(gzip.compress(gzip.decompress(data).replace(b"accepted", b"forged!!")))
    with pytest.raises(IntegrityError, match="digest"):
        open_bodies(store, ledger, second, tmp_path / "work")
    held.unlink()
    with pytest.raises(IntegrityError, match="lacks"):
        open_bodies(store, ledger, second, tmp_path / "work")


def test_a_truncated_fetch_is_refused(store: Store, ledger: Ledger, tmp_path: Path) -> None:
    fetch = archived(store, ledger, tmp_path, 1, [b"a" * 1000])
    path = store.local_path(fetch.warc_key, tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IntegrityError):
        open_bodies(store, ledger, fetch, tmp_path / "work")


def test_the_archive_is_written_once(store: Store, ledger: Ledger, tmp_path: Path) -> None:
    archived(store, ledger, tmp_path, 1, [b"a"])
    with pytest.raises(IntegrityError, match="already"):
        archived(store, ledger, tmp_path, 1, [b"b"])
    assert contents(store, ledger, record(1), tmp_path) == [b"a"]


def test_real_agency_files_come_back_byte_for_byte(store: Store, ledger: Ledger, tmp_path: Path, shared_data: Path) -> None:
    files = sorted(p for p in shared_data.rglob("*") if p.is_file() and p.stat().st_size < 20_000_000)
    assert files
    fetch, path = record(1), tmp_path / "w"
    with writer(path, fetch) as warc:
        for page, file in enumerate(files, 1):
            exchange(warc, fetch, file.read_bytes(), tmp_path, page=page)
        archive_fetch(store, ledger, fetch, path, warc.finish(fetch))
    for body, file in zip(open_bodies(store, ledger, fetch, tmp_path / "work"), files, strict=True):
        assert body.path.read_bytes() == file.read_bytes()
