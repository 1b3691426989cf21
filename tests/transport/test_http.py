"""The transport against a real server on loopback: bytes, cuts, encodings, limits."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.protocols.kernel import BadRequest, Limits, Malformed, Transient
from tests.loopback import Answer, Seen
from tests.transport.http_scene import BODY, ask


def test_bytes_arrive_as_sent_with_the_agencys_host_and_an_honest_name(tmp_path: Path) -> None:
    exchange, server = ask(lambda seen: Answer(BODY, headers={"Madang-Origin": "replay", "ETag": '"1"'}), tmp_path)
    assert exchange.body.read_bytes() == BODY
    assert (exchange.status, exchange.bytes_read, exchange.complete) == (200, len(BODY), True)
    assert exchange.payload_sha256 == hashlib.sha256(BODY).hexdigest()
    assert exchange.head == BODY[: 64 * 1024]
    assert exchange.tail == BODY[-64 * 1024 :]
    assert exchange.header("etag") == '"1"'
    assert exchange.origin == "replay"
    assert server.seen[0].headers["host"] == "agency.example"
    assert server.seen[0].target == "/data?q=1"
    assert server.seen[0].headers["user-agent"].startswith("Madang/")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65_536, 262_143, 262_144, 262_145, 800_000])
def test_bodies_of_any_size_are_whole_whether_they_are_there_at_once_or_not(tmp_path: Path, size: int, chunked: bool) -> None:
    body = (BODY * 3)[:size]
    for pause_at in (0,) if chunked else (0, 1, size // 2):
        exchange, _ = ask(lambda seen, at=pause_at: Answer(body, chunked=chunked, pause_at=at), tmp_path)  # type: ignore[misc]
        assert (exchange.complete, exchange.error, exchange.bytes_read) == (True, None, size)
        assert exchange.body.read_bytes() == body and exchange.payload_sha256 == hashlib.sha256(body).hexdigest()
        assert (exchange.body.in_memory is None) == (size > 262_144)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("send", [0, 1, 200_000, 299_999])
def test_a_body_that_ends_early_is_never_taken_for_whole(tmp_path: Path, send: int, chunked: bool) -> None:
    exchange, _ = ask(lambda seen: Answer(BODY, send=send, chunked=chunked), tmp_path)
    assert not exchange.complete and exchange.error and BODY.startswith(exchange.body.read_bytes())


def test_a_stand_in_that_does_not_name_its_origin_is_synthetic(tmp_path: Path) -> None:
    assert ask(lambda seen: Answer(b"x"), tmp_path)[0].origin == "synthetic"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_cut_body_without_a_validator_stays_cut_and_keeps_what_came(tmp_path: Path, chunked: bool) -> None:
    exchange, server = ask(lambda seen: Answer(BODY, send=100_000, chunked=chunked), tmp_path)
    assert not exchange.complete
    assert exchange.error is not None
    assert len(server.seen) == 1
    assert BODY.startswith(exchange.body.read_bytes())
    assert exchange.bytes_read == 100_000


def test_what_came_before_broken_framing_is_kept(tmp_path: Path) -> None:
    body = b"5\r\nhello\r\n" + b"5\r\nworld\r\nnonsense\r\n"
    broken = Answer(body, headers={"Transfer-Encoding": "chunked"}, framed=False, pause_at=10)
    exchange, _ = ask(lambda seen: broken, tmp_path, limits=Limits(read_timeout_s=1))
    assert not exchange.complete
    assert exchange.body.read_bytes() == b"helloworld"


def _ranged(etag: str, cut_at: int) -> Callable[[Seen], Answer]:
    def answer(seen: Seen) -> Answer:
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if "range" not in seen.headers:
            return Answer(BODY, headers=headers, send=cut_at)
        assert seen.headers["if-range"] == etag
        start = int(seen.headers["range"].removeprefix("bytes=").rstrip("-"))
        rest = BODY[start:]
        return Answer(rest, 206, headers | {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"}, send=cut_at)

    return answer


def test_a_cut_body_is_resumed_until_it_is_whole(tmp_path: Path) -> None:
    exchange, server = ask(_ranged('"v1"', 110_000), tmp_path)
    assert exchange.complete
    assert exchange.body.read_bytes() == BODY
    assert exchange.payload_sha256 == hashlib.sha256(BODY).hexdigest()
    assert exchange.status == 200
    assert exchange.resumed == len(server.seen) - 1 == 2


def test_a_resume_that_gives_another_edition_starts_anew(tmp_path: Path) -> None:
    def answer(seen: Seen) -> Answer:
        if "range" in seen.headers:
            return Answer(b"new edition", headers={"ETag": '"v2"'})
        return Answer(BODY, headers={"ETag": '"v1"'}, send=50_000)

    exchange, _ = ask(answer, tmp_path)
    assert exchange.complete
    assert exchange.body.read_bytes() == b"new edition"
    assert exchange.header("etag") == '"v2"'


def test_a_206_from_the_wrong_place_is_not_pasted(tmp_path: Path) -> None:
    def answer(seen: Seen) -> Answer:
        if "range" in seen.headers:
            return Answer(BODY[10:], 206, {"ETag": '"v1"', "Content-Range": f"bytes 10-{len(BODY) - 1}/{len(BODY)}"})
        return Answer(BODY, headers={"ETag": '"v1"'}, send=50_000)

    exchange, _ = ask(answer, tmp_path)
    assert not exchange.complete
    assert exchange.body.read_bytes() == BODY[:50_000]


def test_the_rest_of_another_edition_is_not_pasted_where_only_its_date_tells(tmp_path: Path) -> None:
    """Servers without ETags are often such as take no notice of If-Range, and the new edition may be as long as the old one."""

    def answer(seen: Seen) -> Answer:
        if "range" in seen.headers:
            place = f"bytes 50000-{len(BODY) - 1}/{len(BODY)}"
            return Answer(BODY[::-1][50_000:], 206, {"Last-Modified": "Wed, 25 Nov 2026 00:00:00 GMT", "Content-Range": place})
        return Answer(BODY, headers={"Last-Modified": "Tue, 24 Nov 2026 00:00:00 GMT"}, send=50_000)

    exchange, server = ask(answer, tmp_path)
    assert len(server.seen) == 2
    assert not exchange.complete
    assert exchange.body.read_bytes() == BODY[:50_000]


def test_a_weak_etag_alone_is_no_ground_to_resume(tmp_path: Path) -> None:
    exchange, server = ask(_ranged('W/"v1"', 1000), tmp_path)
    assert not exchange.complete
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("gzip", lambda b: gzip.compress(b[:1000]) + gzip.compress(b[1000:]) + b"\0" * 512),
        ("deflate", zlib.compress),
        ("deflate", lambda b: zlib.compress(b)[2:-4]),
    ],
)
def test_content_encoding_is_undone_beside_the_bytes_as_received(
    tmp_path: Path, coding: str, encode: Callable[[bytes], bytes]
) -> None:
    text = b"station,value\n" * 200_000
    encoded = encode(text)
    exchange, _ = ask(lambda seen: Answer(encoded, headers={"Content-Encoding": coding}), tmp_path)
    assert exchange.body.read_bytes() == encoded
    assert exchange.decoded.read_bytes() == text
    assert exchange.decoded_length == len(text)
    assert exchange.head == text[: 64 * 1024]
    assert exchange.complete
    assert exchange.verdict is None


def test_truncated_gzip_is_reported_not_raised(tmp_path: Path) -> None:
    half = gzip.compress(BODY)[:150_000]
    exchange, _ = ask(lambda seen: Answer(half, headers={"Content-Encoding": "gzip"}), tmp_path)
    assert not exchange.complete
    assert "ends before its end" in (exchange.error or "")
    assert BODY.startswith(exchange.decoded.read_bytes())
    assert exchange.decoded_length > 0


def test_corrupt_gzip_and_unasked_codings_are_malformed(tmp_path: Path) -> None:
    for body, coding in ((b"no gzip at all", "gzip"), (b"x", "br"), (gzip.compress(gzip.compress(b"x")), "gzip, gzip")):
        exchange, _ = ask(lambda seen, b=body, c=coding: Answer(b, headers={"Content-Encoding": c}), tmp_path)  # type: ignore[misc]
        assert isinstance(exchange.verdict, Malformed)


def test_a_gzip_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    assert len(bomb) < 200_000
    exchange, _ = ask(
        lambda seen: Answer(bomb, headers={"Content-Encoding": "gzip"}), tmp_path, limits=Limits(max_body_bytes=5_000_000)
    )
    assert isinstance(exchange.verdict, BadRequest)
    assert exchange.decoded.size <= 5_000_000


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused(tmp_path: Path, chunked: bool) -> None:
    exchange, _ = ask(lambda seen: Answer(BODY, chunked=chunked), tmp_path, limits=Limits(max_body_bytes=100_000))
    assert isinstance(exchange.verdict, BadRequest)
    assert not exchange.complete


def test_silence_is_transient(tmp_path: Path) -> None:
    exchange, _ = ask(lambda seen: Answer(b"late", delay_s=30), tmp_path, limits=Limits(read_timeout_s=0.2))
    assert exchange.status == 0
    assert isinstance(exchange.verdict, Transient)
