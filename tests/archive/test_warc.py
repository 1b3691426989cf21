"""WARC files: what is written comes back, to us and to readers that are not ours; what is broken is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.archive.fetches import read_fetch_record
from assets.archive.reading import dechunk, read_records
from assets.archive.records import CLOSING, Http, clean, lines, new_ids
from assets.archive.warc import WarcWriter
from assets.errors import IntegrityError
from tests.archive import other_writer
from tests.archive.making import REQUEST, exchange, record, writer

TOKEN = st.text("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCXYZ", min_size=1, max_size=12).filter(
    lambda n: n.lower() != "transfer-encoding"
)
# What a header parser lets through: any byte but CR, LF, NUL, and no white space at the ends.
VALUE = st.binary(max_size=60).map(lambda b: b.translate(None, b"\r\n\0").decode("utf-8", "surrogateescape").strip(" \t"))
BODY = st.one_of(
    st.binary(max_size=3000), st.lists(st.sampled_from([b"\r\n", b"\0", b"WARC/1.1\r\n", b"a", b"\x1f\x8b"])).map(b"".join)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "f.warc.gz"


def by_hand(path: Path) -> Iterator[tuple[dict[str, str], bytes]]:
    """An independent reader: ISO 28500's grammar on what `gzip -dc` gives, nothing of ours."""
    data = subprocess.run(["gzip", "-dc", path], check=True, capture_output=True).stdout
    while data:
        assert data.startswith(b"WARC/1.1\r\n")
        head, data = data.split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) if ": " in line else (line[:-1], "") for line in head.decode().split("\r\n")[1:])
        length = int(headers["Content-Length"])
        block, data = data[:length], data[length:]
        assert data.startswith(b"\r\n\r\n")
        data = data[4:]
        yield headers, block


@settings(max_examples=60, deadline=None)
@given(headers=st.lists(st.tuples(TOKEN, VALUE), max_size=8), body=BODY, reason=VALUE)
def test_any_headers_and_body_come_back(headers: list[tuple[str, str]], body: bytes, reason: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, fetch, spool = folder / "f.warc.gz", record(1), folder / "body"
        spool.write_bytes(body)
        response = Http(f"HTTP/1.1 200 {reason}".strip(), headers)
        with writer(path, fetch) as warc:
            stored = warc.write_exchange(
                url=fetch.url, request=REQUEST, response=response, body=spool, at=fetch.started_at, outcome="Ok", step=0, page=1
            )
            warc.finish(fetch)
        assert stored is not None
        assert stored.sha256 == hashlib.sha256(body).hexdigest()
        seen = []
        for item in read_records(path):
            if item.kind == "response":
                assert item.http is not None
                seen.append((item.http.start_line, list(item.http.headers), b"".join(item.chunks())))
        assert seen == [(response.start_line, headers, body)]
        for raw in ArchiveIterator(str(path), record_types=WarcRecordType.response, parse_http=False):
            assert raw.verify_block_digest()
        for warc_headers, block in by_hand(path):
            if warc_headers["WARC-Type"] == "response":
                assert block.split(b"\r\n\r\n", 1)[1] == body


def test_an_independent_reader_finds_valid_records(path: Path, tmp_path: Path) -> None:
    fetch = record(1)
    bodies = [b"", b"a,b\r\n\r\n1,2\r\n", b"\0" * 5000, "한글".encode("cp949"), os.urandom(300_000)]
    with writer(path, fetch) as warc:
        for page, body in enumerate(bodies, 1):
            exchange(warc, fetch, body, tmp_path, page=page)
        warc.finish(fetch)
    blocks = [raw.verify_block_digest() for raw in ArchiveIterator(str(path), parse_http=False)]
    assert blocks == [True] * (2 + 2 * len(bodies))
    found = []
    for raw in ArchiveIterator(str(path), record_types=WarcRecordType.response, parse_http=True):
        assert raw.verify_payload_digest()
        assert raw.headers["WARC-Target-URI"] == fetch.url
        assert raw.record_date == fetch.started_at
        found.append(raw.reader.read())
    assert found == bodies
    types = [h["WARC-Type"] for h, _ in by_hand(path)]
    assert types == ["warcinfo", *["request", "response"] * len(bodies), "metadata"]
    for headers, block in by_hand(path):
        assert headers["WARC-Block-Digest"] == "sha256:" + hashlib.sha256(block).hexdigest()
        if headers["WARC-Type"] == "response":
            payload = block.split(b"\r\n\r\n", 1)[1]
            assert headers["WARC-Payload-Digest"] == "sha256:" + hashlib.sha256(payload).hexdigest()


@pytest.mark.parametrize("body", [b"x", os.urandom(100_000)], ids=["short", "long"])
def test_every_record_is_a_gzip_member_of_its_own(path: Path, tmp_path: Path, body: bytes) -> None:
    with writer(path, record(1)) as warc:
        exchange(warc, record(1), body, tmp_path)
        warc.finish(record(1))
    positions = [raw.stream_pos for raw in ArchiveIterator(str(path))]
    data = path.read_bytes()
    assert len(positions) == 4
    for position in positions:
        assert gzip.GzipFile(fileobj=io.BytesIO(data[position:])).read(8) == b"WARC/1.1"


def test_every_record_of_every_file_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = []
    for n in range(50):
        with writer(tmp_path / f"{n}.warc.gz", record(n)) as warc:
            for _ in range(3):
                exchange(warc, record(n), b"x", tmp_path)
            warc.finish(record(n))
        ids += [one.headers["warc-record-id"] for one in read_records(tmp_path / f"{n}.warc.gz")]
    assert len(ids) == len(set(ids)) == 50 * 8
    for one in ids:
        found = uuid.UUID(one.removeprefix("<urn:uuid:").removesuffix(">"))
        assert (found.version, found.variant, f"<{found.urn}>") == (4, uuid.RFC_4122, one)


def test_ids_go_on_past_the_last_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID("12345678-1234-4234-9234-ffffffffffff"))
    start = "<urn:uuid:12345678-1234-4234-9234-"
    assert list(islice(new_ids(), 2)) == [f"{start}ffffffffffff>", f"{start}000000000000>"]


def test_who_needs_no_requests_passes_them_over(path: Path, tmp_path: Path) -> None:
    with writer(path, record(1)) as warc:
        for body in (b"x", os.urandom(100_000)):
            exchange(warc, record(1), body, tmp_path)
        warc.finish(record(1))
    told = [(one.kind, one.headers["warc-record-id"], b"".join(one.chunks())) for one in read_records(path)]
    kept = [(one.kind, one.headers["warc-record-id"], b"".join(one.chunks())) for one in read_records(path, questions=False)]
    assert kept == [one for one in told if one[0] != "request"] and len(kept) == len(told) - 2


def test_the_file_says_where_it_comes_from(path: Path, tmp_path: Path) -> None:
    fetch = record(1, partition="2026-11")
    with writer(path, fetch) as warc:
        exchange(warc, fetch, b"x", tmp_path)
        warc.finish(fetch)
    records = list(by_hand(path))
    info = dict(line.split(": ", 1) for line in records[0][1].decode().splitlines())
    assert info["madang-origin"] == "synthetic"
    assert info["madang-licence"] == "KOGL-1"
    assert info["isPartOf"] == fetch.feed
    assert info["madang-partition"] == "2026-11"
    assert records[-1][0]["Content-Type"] == CLOSING
    assert json.loads(records[-1][1])["fetch"]["fetch_id"] == fetch.fetch_id
    request, response = records[1][0], records[2][0]
    assert request["WARC-Concurrent-To"] == response["WARC-Record-ID"]
    assert response["WARC-IP-Address"] == "192.0.2.7"
    assert (response["Madang-Step"], response["Madang-Page"], response["Madang-Outcome"]) == ("0", "1", "Ok")
    assert read_fetch_record(path)[0] == fetch


def test_removed_chunking_is_not_claimed(path: Path, tmp_path: Path) -> None:
    with writer(path, record(1)) as warc:
        exchange(warc, record(1), b"abc", tmp_path, headers=[("Transfer-Encoding", "chunked")])
        warc.finish(record(1))
    for raw in ArchiveIterator(str(path), record_types=WarcRecordType.response, parse_http=True):
        assert raw.http_headers["X-Orig-Transfer-Encoding"] == "chunked"
        assert "Transfer-Encoding" not in raw.http_headers
        assert raw.reader.read() == b"abc"


def test_no_header_can_start_a_line_of_its_own(path: Path, tmp_path: Path) -> None:
    fetch = record(1)
    with writer(path, fetch) as warc:
        exchange(warc, fetch, b"abc", tmp_path, headers=[("X-A", "1\r\nX-Evil: 2\r\n\r\nbody")])
        warc.finish(fetch)
    (response,) = [r.http for r in read_records(path) if r.kind == "response"]
    assert response is not None
    assert len(response.headers) == 1


def test_masked_and_cut_bodies_are_flagged(path: Path, tmp_path: Path) -> None:
    fetch, spool = record(1), tmp_path / "spool"
    spool.write_bytes(b"key=********")
    with writer(path, fetch) as warc:
        warc.write_exchange(
            url=fetch.url,
            request=REQUEST,
            response=Http("HTTP/1.1 200 OK", []),
            body=spool,
            at=fetch.started_at,
            outcome="Transient",
            step=0,
            page=1,
            masked=True,
            complete=False,
        )
        none = warc.write_exchange(
            url=fetch.url, request=REQUEST, response=None, body=None, at=fetch.started_at, outcome="Transient", step=0, page=1
        )
        assert none is None
        assert warc.finish(fetch) == []
    kinds = [h["WARC-Type"] for h, _ in by_hand(path)]
    assert kinds == ["warcinfo", "request", "response", "request", "metadata"]
    (headers,) = [h for h, _ in by_hand(path) if h["WARC-Type"] == "response"]
    assert headers["Madang-Masked"] == "equal-length"
    assert headers["WARC-Truncated"] == "disconnect"


def test_a_body_that_is_not_what_was_received_is_refused(path: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.write_bytes(b"tampered")
    with pytest.raises(IntegrityError), writer(path, record(1)) as warc:
        warc.write_resource(
            url="sftp://h/f", body=spool, at=record(1).started_at, step=0, payload_sha256=hashlib.sha256(b"received").hexdigest()
        )
    assert not path.exists()


def test_an_unfinished_file_is_not_left_behind(path: Path, tmp_path: Path) -> None:
    with writer(path, record(1)) as warc:
        exchange(warc, record(1), b"x", tmp_path)
    assert not path.exists()


def test_a_truncated_file_is_refused_wherever_it_is_cut(path: Path, tmp_path: Path) -> None:
    with writer(path, record(1)) as warc:
        exchange(warc, record(1), b"x" * 100, tmp_path)
        warc.finish(record(1))
    data = path.read_bytes()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(IntegrityError) as caught:
            read_fetch_record(path)
        assert caught.value.mend
    path.write_bytes(data)
    assert read_fetch_record(path)[0] == record(1)


def test_a_changed_byte_is_found_even_if_the_gzip_layer_agrees(path: Path, tmp_path: Path) -> None:
    with writer(path, record(1)) as warc:
        exchange(warc, record(1), b"accepted", tmp_path)
        warc.finish(record(1))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"accepted", b"forged!!")))
    with pytest.raises(IntegrityError, match="digest"):
        read_fetch_record(path)


@pytest.mark.parametrize("pack", [other_writer.packed, b"".join], ids=["packed", "plain"])
def test_files_of_other_writers_are_read_and_their_digests_checked(path: Path, pack: Callable[[list[bytes]], bytes]) -> None:
    url = "http://agency.example/rows"
    revisit = other_writer.warc_record("revisit", b"", Target_URI=url, Content_Type="application/http; msgtype=response")
    records = [other_writer.info(software="Other/1"), other_writer.response(url, b"a,b"), revisit]
    path.write_bytes(pack(records))
    read = [(item.kind, b"".join(item.chunks())) for item in read_records(path)]
    assert read == [("warcinfo", b"software: Other/1\r\n"), ("response", b"a,b"), ("revisit", b"")]
    # Whether a digest counts the chunks differs from writer to writer; that of the block holds in any case.
    held = other_writer.response(
        url, other_writer.chunked(b"a,b"), got={"Transfer-Encoding": "chunked"}, Payload_Digest=other_writer.sha1(b"a,b")
    )
    path.write_bytes(pack([held]))
    (item,) = ((b"".join(r.chunks()), r.chunked) for r in read_records(path))
    assert item == (b"3\r\na,b\r\n0\r\n\r\n", True)
    for good in (records[1], held):
        path.write_bytes(pack([good.replace(b"a,b", b"a;b")]))
        with pytest.raises(IntegrityError, match="does not hold"):
            list(read_records(path))
    whole = pack(records[:2])
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        try:
            list(read_records(path))
        except IntegrityError:
            continue
        # A file cut between two records looks whole; the empty lines after a record hold nothing.
        assert 0 <= len(whole) - cut <= 4 or 0 <= len(pack(records[:1])) - cut <= 4, f"cut at {cut}"


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400))
def test_garbage_gives_an_integrity_error_and_nothing_else(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        for content in (data, gzip.compress(data), gzip.compress(b"WARC/1.1\r\n" + data)):
            path = Path(name) / "g.warc.gz"
            path.write_bytes(content)
            with pytest.raises(IntegrityError):
                read_fetch_record(path)


@given(parts=st.lists(st.binary(min_size=1, max_size=40), max_size=6), cut=st.integers(1, 7))
def test_chunking_is_removed_however_the_bytes_are_cut(parts: list[bytes], cut: int) -> None:
    wire = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    pieces = [wire[i : i + cut] for i in range(0, len(wire), cut)]
    assert b"".join(dechunk(pieces, "w")) == b"".join(parts)
    with pytest.raises(IntegrityError):
        list(dechunk([wire[: -len(b"0\r\n\r\n")]], "w"))


MEMORY = """
import hashlib, os, sys, threading
from pathlib import Path
import psutil
from assets.archive.fetches import open_bodies
from assets.archive.ledger import Ledger
from assets.archive.records import Http
from assets.store import Store
from tests.archive.making import REQUEST, record, writer

folder, size = Path(sys.argv[1]), int(sys.argv[2])
store, ledger = Store(f"file://{folder}/store"), Ledger(f"sqlite:///{folder}/ledger.db")
process, peak, stop = psutil.Process(), 0, threading.Event()
def watch():
    global peak
    while not stop.wait(0.005):
        peak = max(peak, process.memory_info().rss)
block = os.urandom(1 << 20)
with (folder / "large").open("wb") as file:
    for _ in range(size >> 20):
        file.write(block)
(folder / "small").write_bytes(b"x")
def there_and_back(body, n):
    fetch = record(n)
    path = store.root / fetch.warc_key
    path.parent.mkdir(parents=True, exist_ok=True)
    with writer(path, fetch) as warc:
        stored = warc.write_exchange(url=fetch.url, request=REQUEST, response=Http("HTTP/1.1 200 OK", []), body=body,
                                     at=fetch.started_at, outcome="Ok", step=0, page=1)
        warc.finish(fetch)
    (read,) = open_bodies(store, ledger, fetch, folder / "work")
    with read.path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == stored.sha256
    assert read.path.stat().st_size == body.stat().st_size
there_and_back(folder / "small", 1)
before = process.memory_info().rss
thread = threading.Thread(target=watch, daemon=True)
thread.start()
there_and_back(folder / "large", 2)
stop.set()
thread.join()
assert peak > 0
print(max(0, peak - before))
"""


def test_a_body_of_200_mb_streams(tmp_path: Path) -> None:
    """Resident memory grows by less than a tenth of the body, so it is never held whole, neither written nor read back."""
    size = 200 * 1024 * 1024
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path, str(size)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < size // 10


def test_writer_is_a_context_manager_that_keeps_a_finished_file(path: Path) -> None:
    with writer(path, record(1)) as warc:
        assert isinstance(warc, WarcWriter)
        warc.finish(record(1))
    assert path.exists()


def test_a_drop_is_archived_without_http(path: Path, tmp_path: Path) -> None:
    fetch, spool = record(1), tmp_path / "spool"
    spool.write_bytes(b"half")
    with writer(path, fetch) as warc:
        warc.write_failure(url="sftp://h/d/", at=fetch.started_at, outcome="Gone", step=0, page=1, reason="no folder\nX: y")
        stored = warc.write_resource(url="sftp://h/f", body=spool, at=fetch.started_at, step=1, outcome="Transient", complete=False)
        assert warc.bodies == []
        kept = warc.write_revisit(
            url="sftp://h/f", request=None, response=None, at=fetch.started_at, step=2, page=1, earlier=stored,
            profile="server-not-modified", outcome="NotModified",
        )  # fmt: skip
        assert (kept.sha256, kept.record_id) == (stored.sha256, stored.record_id)
        assert [b.step for b in warc.finish(fetch)] == [2]
    failure, resource, revisit = [(h, b) for h, b in by_hand(path) if h["WARC-Type"] in ("metadata", "resource", "revisit")][:3]
    assert (failure[0]["Madang-Outcome"], failure[1]) == ("Gone", b"madang-failure: no folder X: y\r\n")
    assert (resource[0]["WARC-Truncated"], resource[1]) == ("disconnect", b"half")
    assert "Content-Type" not in revisit[0]
    assert (revisit[0]["Content-Length"], revisit[0]["WARC-Refers-To"]) == ("0", stored.record_id)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30) | st.text("\r\n\0\t \x0b\x0c\x1c\x85\u2028\u3000\xa0a\udc80", max_size=12))
def test_a_value_is_one_line_and_nothing_else_of_it_is_lost(text: str) -> None:
    slow = text.replace("\r", " ").replace("\n", " ").replace("\0", " ").strip(" \t")
    assert clean(text) == slow
    block = lines([("Name", "".join(c for c in text if not "\ud800" <= c <= "\udc7f" and not "\udd00" <= c <= "\udfff"))])
    assert block.count(b"\n") == block.count(b"\r") == 1 and b"\0" not in block
