"""s3 against the stand-in agency: pages of a listing, both ways of naming a bucket, faults, hostile listings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.payload import Payload
from assets.protocols.drops import LISTING, read_listing
from assets.protocols.kernel import Request
from assets.transport.drops import DropFailed, empty_exchange
from assets.transport.exchange import Exchange
from assets.transport.s3 import exchange_s3, page_of
from assets.transport.secrets import Secrets
from deploy.agency.drops import sent
from deploy.agency.engines import s3 as bucket
from tests.protocols.drop_faults import (
    FAILING,
    FILE,
    PASSING,
    ROWS,
    a_marker_is_waited_for,
    asked,
    drop_feed_of,
    drop_scene,
    fails_as,
    passes,
    unfinished_files_wait,
)
from tests.protocols.drop_scene import DropWorld
from tests.protocols.standin_scene import NOW, Paper, Scene, paper

SOURCE: dict[str, Any] = {"protocol": "s3", "url": "s3://hanbit/out/air"}
STORE = "s3.us-east-1.amazonaws.com"
ROUTE = {"kind": "s3", "host": STORE, "path": "/hanbit"}
OPTIONS = {"prefix": "out/air/"}


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Scene]:
    with drop_scene(tmp_path, SOURCE, options=OPTIONS, **ROUTE) as one:
        yield one


def test_rows_come_by_http_and_from_no_door(standin: Scene) -> None:
    record = standin.fetch()
    assert (record.outcome, record.origin, record.responses) == ("Ok", "synthetic", 3)
    assert standin.rows(record) == ROWS
    assert asked(standin) == ["LIST", "LIST", "GET"]
    assert [r["path"] for r in standin.requests] == ["/hanbit", "/hanbit", "/hanbit/out/air/air.csv"]
    assert standin.fetch().outcome == "NotModified"
    assert standin.agency.doors == {}


def test_a_bucket_may_be_the_hosts_first_word(tmp_path: Path) -> None:
    route = {"kind": "s3", "host": f"hanbit.{STORE}", "path": "/"}
    with drop_scene(tmp_path, SOURCE | {"addressing": "virtual"}, options=OPTIONS, **route) as standin:
        assert standin.rows(standin.fetch()) == ROWS
        assert {(r["host"], r["path"]) for r in standin.requests} == {
            (f"hanbit.{STORE}", "/"),
            (f"hanbit.{STORE}", "/out/air/air.csv"),
        }


def test_only_what_begins_so_is_listed(tmp_path: Path) -> None:
    others = [f"b{n}.csv" for n in range(30)]
    with drop_scene(tmp_path, SOURCE | {"begins_with": "ai"}, options=OPTIONS | {"others": others}, **ROUTE) as standin:
        standin.fault("page_size_capped:2")
        assert standin.rows(standin.fetch()) == ROWS
        assert len(standin.requests) == 3
        assert all("prefix=out%2Fair%2Fai" in r["query"] for r in standin.requests[:2])


def test_a_listing_goes_on_to_its_last_page(tmp_path: Path) -> None:
    others = [f"{n:02}.txt" for n in range(9)]
    with drop_scene(tmp_path, SOURCE | {"settle_s": 0}, options=OPTIONS | {"others": others, "largest": 3}, **ROUTE) as standin:
        record = standin.fetch()
        assert standin.rows(record) == ROWS
        assert asked(standin) == ["LIST"] * 8 + ["GET"]  # ten keys on four pages, twice
        assert record.responses == 3
        standin.fault("offset_ignored")
        assert "same keys again" in standin.fails("Malformed").what


@pytest.mark.parametrize(("fault", "more"), PASSING)
def test_faults_that_pass_cost_a_request(standin: Scene, fault: str, more: int) -> None:
    passes(standin, fault, more)


@pytest.mark.parametrize(("fault", "outcome", "requests"), FAILING)
def test_faults_that_stay_have_their_outcome(standin: Scene, fault: str, outcome: str, requests: int) -> None:
    fails_as(standin, fault, outcome, requests)


@pytest.mark.parametrize(
    ("fault", "outcome", "requests", "word"),
    [
        ("access_denied", "AuthFailed", 1, "AccessDenied"),
        ("clock_skewed", "BadRequest", 1, "clock"),
        ("other_region", "BadRequest", 1, "eu-west-1"),
        ("slow_down", "RateLimited", 5, "SlowDown"),
        ("redirect_other_host", "BadRequest", 1, "region"),
    ],
)
def test_refusals_of_a_store(standin: Scene, fault: str, outcome: str, requests: int, word: str) -> None:
    standin.fault(fault)
    assert word in standin.fails(outcome).what
    assert len(standin.requests) == requests
    assert "GET" not in asked(standin)


def test_a_store_that_is_busy_is_asked_again(standin: Scene) -> None:
    standin.fault("slow_down:2")
    assert standin.rows(standin.fetch()) == ROWS


def test_a_file_that_breaks_off_is_resumed_under_its_etag(standin: Scene) -> None:
    body = FILE + "가,1\n".encode() * 40_000
    standin.serve(body, "csv")
    standin.fault("file_cut:1")
    record = standin.fetch()
    assert len(standin.rows(record)) == len(ROWS) + 40_000
    last = standin.requests[-1]
    assert (last["status"], last["headers"].get("range", "")[:6]) == (206, "bytes=")
    assert asked(standin) == ["LIST", "LIST", "GET", "GET"]


def test_unfinished_files_wait(standin: Scene) -> None:
    unfinished_files_wait(standin)


def test_a_marker_is_waited_for(tmp_path: Path) -> None:
    source = SOURCE | {"require_companion": True}
    with drop_scene(tmp_path, source, options=OPTIONS | {"companion": ".md5"}, **ROUTE) as standin:
        a_marker_is_waited_for(standin)


def test_a_word_on_the_files_coding_changes_no_byte(standin: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever laid the file there may have said Content-Encoding: the file is what lies there, and the archive holds it."""
    monkeypatch.setattr(bucket, "sent", lambda reply, asked: sent(reply, asked).with_headers(content_encoding="gzip"))
    record = standin.fetch()
    assert standin.rows(record) == ROWS and asked(standin) == ["LIST", "LIST", "GET"]
    standin.fault("truncated_gzip")  # of the file here, not of the transport
    standin.fails("Malformed")


def test_the_checked_address_is_the_one_that_is_connected_to(tmp_path: Path) -> None:
    """One look at the name, by the rule; what the machine's own resolver says of it is never asked for."""
    seen: list[tuple[str, int]] = []

    async def lookup(host: str, port: int) -> list[str]:
        seen.append((host, port))
        return ["203.0.113.9" if len(seen) > 1 else "10.0.0.9"]

    world = DropWorld(tmp_path)
    feed = drop_feed_of(SOURCE | {"endpoint": "https://localhost", "limits": {"max_attempts": 1}})
    error, record = world.fails(feed, {}, direct=True, lookup=lookup)
    assert (record.outcome, record.responses) == ("BadRequest", 0)
    assert "localhost resolves to 10.0.0.9" in str(error)
    assert seen == [("localhost", 443)]


# --- on paper -----------------------------------------------------------------------------------------------------------


def listed_on_paper(folder: Path, agency: Paper, **source: Any) -> Exchange:
    """One listing by the transport's own loop, its requests answered without a connection."""
    feed = drop_feed_of(SOURCE | source)
    made = iter(range(1000))

    async def send(request: Request, source: Any, *, on_bytes: Callable[[int], None] | None) -> Exchange:
        parts = urlsplit(request.url)
        agency.asked.append(request)
        reply, _ = agency.agency.reply("GET", parts.hostname or "", unquote(parts.path), parts.query, {}, b"")
        body = Payload(folder / f"{next(made)}.page", reply.body)
        got = Exchange(request, request.url, NOW, "synthetic", body, status=reply.status, complete=True, decoded=body)
        got.headers = list(reply.headers.items())
        got.look()
        return got

    asking = {name.replace("_", "-"): source[name] for name in ("start_after", "begins_with") if source.get(name)}
    request = Request("s3://hanbit/out/air/", LISTING, headers=asking)
    empty = empty_exchange(request, folder / "listing", NOW, "synthetic")
    return asyncio.run(exchange_s3(send, request, feed.source, empty, Secrets({}, feed=feed.id, auth=feed.source.auth), None))


NAMES = st.lists(st.text("ab/. +%é가~", max_size=5), unique=True, max_size=9)


@settings(max_examples=100, deadline=None)
@given(NAMES, st.integers(1, 5), st.text("ab가", max_size=2), st.text("ab", max_size=1), st.booleans())
def test_any_keys_on_any_pages_are_listed_once(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], size: int, after: str, begins: str, ignored: bool
) -> None:
    """All keys that fit, each once, whatever a page holds (one may be the folder's own); none where pages begin anew."""
    folder = tmp_path_factory.mktemp("paper")
    faults = ["offset_ignored"] if ignored else []
    options = {"prefix": "out/air/", "name": "air.csv", "others": names, "largest": size}
    agency = paper(folder, drop_feed_of(SOURCE), FILE, suffix="csv", faults=faults, options=options, **ROUTE)
    got = listed_on_paper(folder, agency, start_after=after, begins_with=begins)
    begun = b"" if ignored else after.encode()
    fitting = {n for n in {*names, "air.csv"} if n.startswith(begins) and (not begun or n.encode() > begun)}
    wanted = sorted(fitting, key=str.encode)
    if ignored and len(wanted) > size:
        assert got.verdict is not None and type(got.verdict).__name__ == "Malformed"
        assert len(agency.asked) == 2
        return
    assert got.verdict is None, got.error
    assert sorted(unquote(e.at) for e in read_listing(got.body.path)) == sorted(wanted)
    assert len(agency.asked) == max(1, -(-len(wanted) // size))
    assert not list(folder.glob("*.page"))


PIECES = st.sampled_from(
    [
        b"<ListBucketResult>", b"</ListBucketResult>", b"<Contents>", b"</Contents>", b"<Key>out/air/a</Key>", b"<Size>3</Size>",
        b"<Size>x</Size>", b"<LastModified>2026-11-25T00:00:00.000Z</LastModified>", b"<LastModified>0001-01-01</LastModified>",
        b"<IsTruncated>true</IsTruncated>",
        b"<NextContinuationToken>t</NextContinuationToken>", b"<EncodingType>url</EncodingType>",
        b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]>", b"&b;", b"<ETag/>", b"<Key/>",
        b"\xff", b"<?xml version='1.0'?>",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=5)), max_size=14).map(b"".join))
def test_no_listing_breaks_the_reader(body: bytes) -> None:
    for whole in (body, b"<ListBucketResult>" + body + b"</ListBucketResult>"):
        try:
            entries, _ = page_of(whole, "out/air/")
        except DropFailed as failed:
            assert type(failed.outcome).__name__ == "Malformed"
            continue
        assert all(entry.size is not None for entry in entries)


@pytest.mark.parametrize(
    "body",
    [
        b"<Error><Code>Odd</Code></Error>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>perhaps</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>",
        b"<ListBucketResult>",
        b"",
    ],
)
def test_what_is_no_listing_is_malformed(body: bytes) -> None:
    with pytest.raises(DropFailed, match="no listing"):
        page_of(body, "")
