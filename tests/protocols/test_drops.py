"""What is ready in a drop, in what order, and what was taken already: the rules without a server."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import MadangError, UnreadableSource
from assets.feeds.model import PROTOCOLS
from assets.onboarding.looking import source_of
from assets.protocols.drops import (
    CHECKSUM,
    FILE,
    LISTING,
    Entry,
    companion,
    entry_of,
    listing_bytes,
    matching,
    md5_in,
    read_listing,
)
from assets.protocols.kernel import Body, Cursor, Malformed, Ok, Response, Step, Transient, Validators, When
from assets.protocols.sftp import PROTOCOL, SftpSource
from tests.protocols.drop_scene import drop_feed

SOURCE = {
    "protocol": "sftp",
    "url": "sftp://files.agency.example/out",
    "host_keys": ["SHA256:" + "a" * 43],
    "auth": {"kind": "password", "name": "u", "secret": "PW"},
}
NOW = When(datetime(2026, 11, 25, tzinfo=UTC))


def at(name: str, minute: int = 0, size: int = 3) -> Entry:
    return entry_of(name.encode(), size, f"2026-11-25T00:{minute:02}:00Z")


def follow(folder: Path, step: Step, *entries: Entry, **source: Any) -> list[Step]:
    feed = drop_feed(SOURCE | source)
    path = folder / "listing"
    path.write_bytes(listing_bytes(entries))
    return list(PROTOCOL.follow(feed, feed.source, step, Body(path, {}, "")))


def polled(folder: Path, first: list[Entry], second: list[Entry], **source: Any) -> list[str]:
    """Names that are read after these two listings."""
    feed = drop_feed(SOURCE | source)
    steps = list(PROTOCOL.plan(feed, feed.source, NOW))
    for entries in (first, second):
        if steps and steps[0].params["ask"] == LISTING:
            steps = follow(folder, steps[0], *entries, **source)
    return [s.params["name"] for s in steps if not s.unready]


def test_unfinished_hidden_hostile_and_companion_files_are_no_data() -> None:
    names = [
        "b.csv",
        "a.csv.part",
        "a.csv.TMP",
        "a.csv.filepart",
        ".a.csv",
        "a.csv.done",
        "a.ok",
        "a.csv.md5",
        "_SUCCESS",
        "~$a.xlsx",
    ]
    names += ["manifest.json", "../a.csv", "x/../a.csv", "a\r\n.csv", "a.csv"]
    assert [e.name for e in matching(map(at, names), "*")] == ["a.csv", "b.csv"]


def test_order_is_by_time_then_name() -> None:
    found = matching([at("a", 2), at("c", 1), at("b", 1)], "*")
    assert [e.name for e in found] == ["b", "c", "a"]


def test_names_are_utf8_else_cp949_and_stay_as_on_the_wire() -> None:
    cp949 = entry_of("관측.csv".encode("cp949"), 1, None)
    assert (cp949.name, cp949.at) == ("관측.csv", "%B0%FC%C3%F8.csv")
    decomposed = unicodedata.normalize("NFD", "관측.csv")
    assert matching([entry_of(decomposed.encode(), 1, None)], "관측*") != []
    assert matching([cp949], unicodedata.normalize("NFD", "관측*")) == [cp949]
    assert entry_of(b"\xff\xff", 1, None).at == "%FF%FF"
    assert entry_of(b"a/b?#%.csv", 1, None).at == "a%2Fb%3F%23%25.csv"


def test_a_file_is_whole_when_two_listings_agree(tmp_path: Path) -> None:
    assert polled(tmp_path, [at("a")], [at("a")]) == ["a"]
    assert polled(tmp_path, [at("a", size=2)], [at("a", size=3)]) == []
    assert polled(tmp_path, [at("a", 1)], [at("a", 2)]) == []
    assert polled(tmp_path, [], [at("a")]) == []
    # an older whole file does not wait for a newer that grows
    assert polled(tmp_path, [at("a", 1), at("b", 2, 4)], [at("a", 1), at("b", 2, 5)]) == ["a"]
    assert polled(tmp_path, [at("a", 1), at("b", 2)], [at("a", 1), at("b", 2)], take="all") == ["a", "b"]


@pytest.mark.parametrize("name", ["a.csv.done", "a.csv.ok", "a.done", "a.csv.DONE", "a.OK", "_SUCCESS", "manifest.json"])
def test_a_companion_makes_a_file_whole_at_once(tmp_path: Path, name: str) -> None:
    assert polled(tmp_path, [at("a.csv", 1), at(name, 1)], []) == ["a.csv"]


def test_a_companion_that_is_older_than_its_file_says_nothing(tmp_path: Path) -> None:
    stale = {e.name: e for e in (at("a.csv", 5), at("a.csv.done", 4))}
    assert companion(stale["a.csv"], stale) is None
    assert polled(tmp_path, [at("a.csv", 5), at("a.csv.done", 4)], [at("a.csv", 6), at("a.csv.done", 4)]) == []


def test_a_folders_name_up_to_its_point_is_no_stem(tmp_path: Path) -> None:
    """Keys of a bucket have folders in them."""
    assert polled(tmp_path, [at("v1.0/a"), at("v1.done", 1), at("b/c"), at(".done", 1)], [], require_companion=True) == []
    assert polled(tmp_path, [at("v1.0/a"), at("v1.0/a.done", 1)], [], require_companion=True) == ["v1.0/a"]


def test_only_companions_count_where_they_are_required(tmp_path: Path) -> None:
    assert polled(tmp_path, [at("a.csv"), at("b.csv"), at("b.done")], [], require_companion=True, take="all") == ["b.csv"]


def test_the_second_listing_comes_after_a_while(tmp_path: Path) -> None:
    first = Step(params={"ask": LISTING, "partition": ""}, lead=True)
    [again] = follow(tmp_path, first, at("a"), settle_s=7)
    assert (again.lead, again.wait_s, again.stamp) == (True, 7.0, None)


def test_the_same_name_and_size_in_another_folder_is_another_file(tmp_path: Path) -> None:
    """An FTP listing may tell no time at all; after source.url is corrected the file is read anew."""
    bare, done = entry_of(b"a.csv", 3, None), entry_of(b"a.csv.done", 0, None)
    first = Step(params={"ask": LISTING, "partition": ""}, lead=True)
    stamps = [
        follow(tmp_path, first, bare, done, url=f"sftp://files.agency.example/{year}")[0].stamp for year in (2025, 2026, 2026)
    ]
    assert stamps[0] != stamps[1] == stamps[2]


def test_more_files_than_allowed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="max_files"):
        polled(tmp_path, [at("a"), at("b"), at("_SUCCESS", 9)], [], take="all", max_files=1)


def test_a_checksum_is_read_before_its_file(tmp_path: Path) -> None:
    first = Step(params={"ask": LISTING, "partition": ""}, lead=True)
    [lead] = follow(tmp_path, first, at("관측.csv"), at("관측.csv.MD5"))
    assert lead.params["at"].endswith(".MD5")
    [lead] = follow(tmp_path, first, at("관측.csv"), at("관측.csv.md5"))
    assert (lead.lead, lead.params["ask"]) == (True, CHECKSUM)
    feed = drop_feed(SOURCE)
    path = tmp_path / "md5"
    path.write_bytes(("0" * 32 + "  other.csv\n" + "AB" * 16 + " *관측.csv\n").encode("cp949"))
    [step] = PROTOCOL.follow(feed, feed.source, lead, Body(path, {}, ""))
    assert step.stamp == lead.stamp is not None
    request = PROTOCOL.request(feed, feed.source, step, Cursor(), Validators())
    assert (request.method, request.headers["md5"], request.headers["size"]) == (FILE, "ab" * 16, "3")
    assert request.url == "sftp://files.agency.example/out/%EA%B4%80%EC%B8%A1.csv"
    path.write_bytes(b"no digest")
    with pytest.raises(UnreadableSource, match="no MD5"):
        PROTOCOL.follow(feed, feed.source, lead, Body(path, {}, ""))


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("d" * 32, "d" * 32),
        (f"MD5 (a.csv) = {'e' * 32}", "e" * 32),
        (f"{'0' * 32}  b.csv\n{'1' * 32}  a.csv", "1" * 32),
        (f"{'0' * 32}  b.csv\n{'1' * 32}  c.csv", None),
        ("a" * 64, None),
        ("", None),
    ],
)
def test_md5_files(text: str, digest: str | None) -> None:
    assert md5_in(text, "a.csv") == digest


@pytest.mark.parametrize("body", [b"", b"{}x", b"[1]", b'[{"name": "a"}]', b'[{"nome": 1}]', b"[" * 100_000, b"\xff"])
def test_a_listing_that_cannot_be_read(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(body)
    with pytest.raises(UnreadableSource):
        read_listing(path)


def test_partition_stands_in_folder_and_glob(tmp_path: Path) -> None:
    feed = drop_feed(SOURCE | {"url": "sftp://h.example/{partition}", "files": "*_{partition}.csv"})
    [step] = PROTOCOL.plan(feed, feed.source, When(NOW.now, "2026-11"))
    request = PROTOCOL.request(feed, feed.source, step, Cursor(), Validators())
    assert (request.method, request.url) == (LISTING, "sftp://h.example/2026-11/")
    path = tmp_path / "l"
    path.write_bytes(listing_bytes([at("a_2026-11.csv"), at("a_2026-10.csv"), at("_SUCCESS")]))
    [read] = PROTOCOL.follow(feed, feed.source, step, Body(path, {}, ""))
    assert PROTOCOL.request(feed, feed.source, read, Cursor(), Validators()).url == "sftp://h.example/2026-11/a_2026-11.csv"


def test_what_a_body_means() -> None:
    feed = drop_feed(SOURCE)
    step = Step(params={"ask": FILE, "partition": "", "at": "a.csv"})
    request = PROTOCOL.request(feed, feed.source, step, Cursor(), Validators())

    def meant(body: bytes, status: int = 200, complete: bool = True) -> object:
        return type(PROTOCOL.classify(feed.source, request, Response(status, {}, body, body, len(body), complete)))

    assert meant(b"a,b\n1,2\n") is Ok
    assert meant(b"") is Malformed
    assert meant(b"<!DOCTYPE html><html></html>") is Malformed
    assert meant(b"a,b\n", status=0) is Malformed
    assert meant(b"a,b\n", complete=False) is Transient


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(-1, 999), st.booleans(), st.sampled_from([LISTING, FILE, CHECKSUM]))
def test_classify_never_raises(body: bytes, status: int, complete: bool, ask: str) -> None:
    feed = drop_feed(SOURCE)
    request = PROTOCOL.request(feed, feed.source, Step(params={"ask": ask, "partition": "", "at": "a"}), Cursor(), Validators())
    PROTOCOL.classify(feed.source, request, Response(status, {}, body, body, len(body), complete))


_NAMES = ["a.csv", "b.csv", "c.csv", "b.csv.done", "c.tmp", "_SUCCESS"]
_ENTRIES = st.lists(
    st.builds(
        at, st.sampled_from(["a.csv", "b.csv", "c.csv", "b.csv.done", "c.tmp", "_SUCCESS"]), st.integers(0, 9), st.integers(0, 3)
    ),
    unique_by=lambda e: e.name,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(_ENTRIES, _ENTRIES)
def test_nothing_is_read_that_is_not_whole(
    tmp_path_factory: pytest.TempPathFactory, first: list[Entry], second: list[Entry]
) -> None:
    """Whatever two listings say: what is read is the same in both, or has its companion."""
    names = polled(tmp_path_factory.getbasetemp(), first, second, take="all")
    before, after = {e.name: e for e in first}, {e.name: e for e in second}

    def marked(name: str, listing: dict[str, Entry]) -> bool:
        return name in listing and companion(listing[name], listing) is not None

    for name in names:
        assert name.endswith(".csv")
        assert marked(name, before) or marked(name, after) or (name in after and after[name] == before.get(name))


@pytest.mark.parametrize(
    "wrong",
    [
        {"host_keys": []},
        {"host_keys": ["SHA256:abc"]},
        {"host_keys": ["MD5:" + "aa:" * 15 + "aa"]},
        {"url": "sftp://user:pw@h/out"},
        {"url": "ftp://h/out"},
        {"auth": {"kind": "password", "name": "u"}},
        {"auth": {"kind": "none"}},
        {"auth": {"kind": "query_key", "name": "u", "secret": "PW"}},
        {"password": "x"},
    ],
)
def test_a_declaration_that_is_not_safe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        SftpSource.model_validate({"format": "csv"} | SOURCE | wrong)


def test_a_listing_is_json_of_entries(tmp_path: Path) -> None:
    text = listing_bytes([at("b"), at("a")])
    assert [e["name"] for e in json.loads(text)] == ["a", "b"]
    path = tmp_path / "l"
    path.write_bytes(text)
    assert read_listing(path) == [at("a"), at("b")]


SFTP_LOGIN = {"auth": {"kind": "password", "name": "madang", "secret": "SFTP_FILES_HANBIT_EXAMPLE_PASSWORD"}}
FTP_LOGIN = {"auth": {"kind": "password", "name": "a@b.example", "secret": "FTP_10_0_0_7_PASSWORD"}}
OBJECT = {"settle_s": 0}


@pytest.mark.parametrize(
    ("url", "protocol", "found"),
    [
        ("sftp://madang@files.hanbit.example:2222/out/air_*.csv", "sftp",
         {"url": "sftp://files.hanbit.example:2222/out", "files": "air_*.csv", "format": "csv"} | SFTP_LOGIN),
        ("SFTP://madang@files.hanbit.example/~/out/v1.0", "sftp",
         {"url": "sftp://files.hanbit.example/~/out/v1.0", "files": "*", "format": "csv"} | SFTP_LOGIN),
        ("sftp://madang@files.hanbit.example/%B0%FC%C3%F8?.xlsx", "sftp",
         {"url": "sftp://files.hanbit.example", "files": "관측?.xlsx", "format": "xlsx"} | SFTP_LOGIN),
        ("ftp://ftp.agency.example/pub/years/d{partition}_c*.csv.gz", "ftp",
         {"url": "ftp://ftp.agency.example/pub/years", "files": "d{partition}_c*.csv.gz", "format": "csv"}),
        ("ftps://a%40b.example@10.0.0.7/out/", "ftp", {"url": "ftps://10.0.0.7/out", "files": "*", "format": "csv"} | FTP_LOGIN),
        ("ftp://ftp.agency.example/pub/stations.txt", "ftp",
         {"url": "ftp://ftp.agency.example/pub", "files": "stations.txt", "format": "csv"}),
        ("s3://hanbit-open/out/2026-*/air_*.jsonl", "s3",
         {"url": "s3://hanbit-open/out", "files": "2026-*/air_*.jsonl", "format": "jsonl", "begins_with": "2026-"} | OBJECT),
        ("s3://hanbit-open/out/air.parquet", "s3",
         {"url": "s3://hanbit-open/out", "files": "air.parquet", "format": "parquet", "begins_with": "air.parquet"} | OBJECT),
        ("s3://hanbit-open", "s3", {"url": "s3://hanbit-open", "files": "*", "format": "csv"} | OBJECT),
    ],
)  # fmt: skip
def test_a_pasted_folder_or_pattern_is_recognised(url: str, protocol: str, found: dict[str, Any]) -> None:
    own = {"host_keys": ["SHA256:" + "A" * 43]} if protocol == "sftp" else {}
    assert source_of(url) == PROTOCOLS[protocol].recognise(url) == {"protocol": protocol} | found
    assert drop_feed(found | own | {"protocol": protocol}).source.protocol == protocol


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sftp://madang:pass@files.hanbit.example/out/*.csv", "a user name or password"),
        ("ftp://madang:@/pub", "this is no http address"),
        ("sftp://files.hanbit.example/out/*.csv", "names no user"),
        ("ftp://ftp.agency.example/20*/air.csv", "only the last part may be a pattern"),
        ("s3://key@hanbit-open/out/*.csv", "cannot be made out"),
        ("smb://files.hanbit.example/out/*.csv", "none of a folder of files"),
    ],
)
def test_an_address_of_a_folder_that_is_wrong_is_told_what_to_write(url: str, said: str) -> None:
    with pytest.raises(MadangError) as caught:
        source_of(url)
    assert said in str(caught.value) and "pass@" not in str(caught.value)
