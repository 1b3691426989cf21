"""http_file: conditional requests, what a file server's answers mean, and rows of real agency files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from assets.protocols.answers.http_answers import keyed, retry_after
from assets.protocols.http_file import PROTOCOL, HttpFileSource
from assets.protocols.kernel import (
    Auth,
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Gone,
    Malformed,
    NotModified,
    Ok,
    Outcome,
    RateLimited,
    Request,
    Response,
    Step,
    Transient,
    Validators,
    When,
)
from tests.loopback import Answer
from tests.protocols.fetching_scene import World, world  # noqa: F401  fixtures

URL = "https://files.example.go.kr/a/rows.csv"


def feed_of(source: dict[str, Any] | None = None, columns: tuple[str, ...] = ("a",), country: str = "KR") -> Feed:
    return Feed.model_validate(
        {
            "id": "kr.test.file",
            "title": "t",
            "agency": {"name": "기관", "country": country},
            "licence": {"id": "KOGL-1", "url": "https://www.kogl.or.kr"},
            "schedule": {"cron": "5 3 * * *"},
            "source": {"protocol": "http_file", "url": URL, "format": "csv"} | (source or {}),
            "contract": {"columns": [{"name": f"c{i}", "source": c} for i, c in enumerate(columns)]},
        }
    )


def classify(
    body: bytes = b"a,b\n1,2\n",
    status: int = 200,
    headers: dict[str, str] | None = None,
    source: dict[str, Any] | None = None,
    complete: bool = True,
) -> Outcome:
    declared = feed_of(source).source
    head, tail = body[: 64 * 1024], body[-64 * 1024 :]
    return PROTOCOL.classify(declared, Request(URL), Response(status, headers or {}, head, tail, len(body), complete))


def test_conditional_request_prefers_the_etag() -> None:
    feed = feed_of({"headers": {"Referer": "https://example.go.kr"}})
    made = PROTOCOL.request(
        feed, feed.source, Step(), Cursor(), Validators(etag='W/"x"', last_modified="Mon, 01 Jan 2026 00:00:00 GMT")
    )
    assert made.url == URL
    assert dict(made.headers) == {"Referer": "https://example.go.kr", "If-None-Match": 'W/"x"'}
    made = PROTOCOL.request(feed, feed.source, Step(), Cursor(), Validators(last_modified="Mon, 01 Jan 2026 00:00:00 GMT"))
    assert made.headers["If-Modified-Since"] == "Mon, 01 Jan 2026 00:00:00 GMT"
    assert "If-None-Match" not in PROTOCOL.request(feed, feed.source, Step(), Cursor(), Validators()).headers


def test_partition_stands_in_the_address_encoded() -> None:
    feed = feed_of({"url": "https://h.example/{partition}.csv"})
    [step] = PROTOCOL.plan(feed, feed.source, When(datetime(2026, 2, 1, tzinfo=UTC), "2026/01"))
    assert PROTOCOL.request(feed, feed.source, step, Cursor(), Validators()).url == "https://h.example/2026%2F01.csv"


@pytest.mark.parametrize(
    ("auth", "url", "headers"),
    [
        ({"kind": "query_key", "name": "api key", "secret": "K"}, "https://h/x?a=1&api%20key={secret:K}#f", {}),
        ({"kind": "header_key", "name": "X-Key", "secret": "K"}, "https://h/x?a=1#f", {"X-Key": "{secret:K}"}),
        ({"kind": "none"}, "https://h/x?a=1#f", {}),
    ],
)
def test_keys_are_placeholders(auth: dict[str, str], url: str, headers: dict[str, str]) -> None:
    assert keyed("https://h/x?a=1#f", {}, Auth(**auth)) == (url, headers)  # type: ignore[arg-type]
    assert keyed("https://h/{key}/x", {}, Auth(kind="path_key", secret="K"))[0] == "https://h/{secret:K}/x"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Ok),
        (206, Malformed),
        (304, NotModified),
        (301, BadRequest),
        (400, BadRequest),
        (401, AuthFailed),
        (403, AuthFailed),
        (404, Gone),
        (408, Transient),
        (410, Gone),
        (416, Transient),
        (429, RateLimited),
        (500, Transient),
        (503, Transient),
        (599, Transient),
        (0, Malformed),
    ],
)
def test_statuses(status: int, outcome: type) -> None:
    assert isinstance(classify(status=status), outcome)


@pytest.mark.parametrize(
    ("part", "outcome"),
    [("bytes 0-11/12", Ok), ("bytes 0-10/12", Malformed), ("bytes 1-11/12", Malformed), ("bytes 0-11/*", Malformed)],
)
def test_a_part_that_nobody_asked_for_is_not_taken_for_the_file(part: str, outcome: type) -> None:
    assert isinstance(classify(status=206, headers={"content-range": part}), outcome)


def test_retry_after_in_seconds_and_as_a_date() -> None:
    said = classify(status=429, headers={"retry-after": "7"})
    assert isinstance(said, RateLimited) and said.retry_after_s == 7
    assert retry_after({"retry-after": "0"}) == 0
    dated = {"retry-after": "Mon, 23 Nov 2026 00:01:30 GMT", "date": "Mon, 23 Nov 2026 00:00:00 GMT"}
    assert retry_after(dated) == 90
    assert retry_after({"retry-after": "Mon, 23 Nov 2026 00:01:30 GMT"}) is None
    assert retry_after({"retry-after": "99999999999999999999"}) == 24 * 3600
    said = classify(status=503, headers={"retry-after": "5"})
    assert isinstance(said, Transient) and said.retry_after_s == 5


HTML = b"<!DOCTYPE html><html><head><title>Error</title></head></html>"


@pytest.mark.parametrize(
    ("body", "source"),
    [
        (b"", {}),
        (HTML, {}),
        (b"\xef\xbb\xbf \n<!-- x --><html></html>", {}),
        (b'<?xml version="1.0"?><!DOCTYPE html><html/>', {"format": "xml", "records_path": "a/b"}),
        (HTML, {"format": "json"}),
        (HTML, {"format": "xlsx"}),
        (HTML, {"container": "zip"}),
        (b'{"error": "not found"}', {}),
        (b"PK\x03\x04....", {}),
        (b"PK\x03\x04....", {"format": "xls"}),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", {"format": "xlsx"}),
        (b"%PDF-1.7", {}),
        (b"a,b\n", {"format": "parquet"}),
        (b"PAR1....", {"format": "parquet"}),
        (b"\x1f\x8b\x08", {}),
        (b"a,b\n", {"container": "gzip"}),
        (b'{"a": [1, 2', {"format": "json"}),
        (b"<a><b>1</b>", {"format": "json"}),
        (b"<a><b>1</b></", {"format": "xml", "records_path": "a/b"}),
    ],
)
def test_success_that_is_not_the_promised_file(body: bytes, source: dict[str, Any]) -> None:
    assert isinstance(classify(body, source=source), Malformed)


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ("번호,이름\n1,가\n".encode("cp949"), {}),
        ("번호,이름\n1,가\n".encode("utf-16"), {}),
        (b'[name],"b"\n1,2\n', {}),
        (b"PK\x03\x04....", {"format": "xlsx"}),
        (b"PK\x03\x04....", {"url": URL + ".zip"}),
        (b"\x1f\x8b\x08", {"url": URL + ".gz?x=1"}),
        (b"a,b\n", {"url": URL + ".gz"}),
        (b"PAR1....PAR1", {"format": "parquet"}),
        (b" [1]\n", {"format": "json"}),
        (b"<a><b/></a>\n", {"format": "xml", "records_path": "a/b"}),
    ],
)
def test_success_that_is_the_promised_file(body: bytes, source: dict[str, Any]) -> None:
    assert isinstance(classify(body, source=source), Ok)


def test_a_cut_connection_is_transient() -> None:
    assert isinstance(classify(complete=False), Transient)


# --- change -------------------------------------------------------------------------------------------------------------


def zipped(members: dict[str, bytes], year: int = 2026, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
            archive.writestr(info, data, method)
    return out.getvalue()


TWO = {"a.csv": b"a\n1\n", "b.csv": b"a\n2\n", "readme.txt": b"as of May"}


@pytest.mark.parametrize(
    ("again", "outcome"),
    [
        (zipped(dict(reversed(TWO.items()))), "NotModified"),
        (zipped(TWO, year=2025), "NotModified"),
        (zipped(TWO, method=zipfile.ZIP_STORED), "NotModified"),
        (zipped(TWO | {"readme.txt": b"as of June"}), "NotModified"),
        (zipped(TWO | {"b.csv": b"a\n3\n"}), "Ok"),
        (zipped({"a.csv": TWO["b.csv"], "b.csv": TWO["a.csv"]}), "Ok"),
        (zipped(TWO | {"c.csv": b"a\n"}), "Ok"),
        (zipped(TWO)[:-30], "Ok"),
    ],
    ids=["order", "dates", "method", "another member", "a row", "names changed places", "one more", "damaged"],
)
def test_of_a_zip_the_members_are_compared_and_not_the_archive(again: bytes, outcome: str, world: World) -> None:
    """pudl-archiver#712, #735: new editions with sorted names, and the data had not changed."""
    feed = feed_of({"url": "http://agency.example/rows.zip", "member": "*.csv"})
    assert world.fetch(feed, lambda seen: Answer(zipped(TWO)))[0].outcome == "Ok"
    record, _ = world.fetch(feed, lambda seen: Answer(again))
    assert record.outcome == outcome
    assert again in world.warc(record), "what came is archived all the same"


def test_of_a_gzip_the_content_is_compared(world: World) -> None:
    feed = feed_of({"url": "http://agency.example/rows.csv.gz"})
    for data, mtime, outcome in (
        (b"a\n1\n", 1, "Ok"),
        (b"a\n1\n", 2, "NotModified"),
        (b"a\n2\n", 3, "Ok"),
        (b"a\n2\n", 3, "NotModified"),
    ):
        assert world.fetch(feed, lambda seen, d=data, m=mtime: Answer(gzip.compress(d, mtime=m)))[0].outcome == outcome  # type: ignore[misc]


@settings(max_examples=500, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda magic, rest: magic + rest,
            st.sampled_from(
                [b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"<", b"{", b"[", b"\xff\xfe", b"\xef\xbb\xbf", b"<?xml", b"<!--"]
            ),
            st.binary(max_size=100),
        ),
    ),
    status=st.integers(-1, 700),
    headers=st.dictionaries(st.sampled_from(["retry-after", "date", "content-type", "etag"]), st.text(max_size=30)),
    complete=st.booleans(),
    file_format=st.sampled_from(["csv", "tsv", "json", "jsonl", "geojson", "xml", "xls", "xlsx", "parquet"]),
    container=st.sampled_from([None, "none", "zip", "gzip"]),
)
def test_classify_is_total(
    body: bytes, status: int, headers: dict[str, str], complete: bool, file_format: str, container: str | None
) -> None:
    source = HttpFileSource.model_validate(
        {"protocol": "http_file", "url": URL, "format": file_format, "container": container, "records_path": "a/b"}
    )
    said = PROTOCOL.classify(source, Request(URL), Response(status, headers, body, body, len(body), complete))
    assert isinstance(said, Outcome)
    if isinstance(said, Ok):
        assert 200 <= status < 300 and complete and body


# --- rows of real files ----------------------------------------------------------------------------------------------------


def read_back(path: Path, header: list[str], source: dict[str, Any] | None = None, country: str = "KR") -> list[list[str | None]]:
    feed = feed_of(source, tuple(header), country)
    stream = PROTOCOL.parse(feed, feed.source, [Body(path, {}, URL)])
    rows: list[list[str | None]] = []
    for batch in stream.batches:
        assert batch.column(len(header) + 1).null_count == batch.num_rows
        rows += [list(r) for r in zip(*[c.to_pylist() for c in batch.columns[: len(header)]], strict=True)]
    assert stream.records_read == len(rows)
    return rows


def by_csv_module(raw: bytes, encoding: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(raw.decode(encoding), newline="")) if row]


@pytest.mark.parametrize(
    ("name", "encoding", "rows"),
    [
        ("seoul-bike-hourly.csv", "utf-8", 8760),
        ("kr-legal-dong-codes.cp949.csv", "cp949", 46180),
        ("faa-birdstrikes.csv", "utf-8", 10000),
        ("faa-airports.csv", "utf-8", 3376),
        ("incheon-airport.cp949.csv", "cp949", 222),
        ("noaa-seattle-weather.csv", "utf-8", 1461),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_real_files_give_every_row(shared_data: Path, tmp_path: Path, name: str, encoding: str, rows: int, packed: bool) -> None:
    raw = (shared_data / name).read_bytes()
    path = tmp_path / "body"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    header, *expected = by_csv_module(raw, encoding)
    got = read_back(path, header, {"container": "gzip"} if packed else None)
    assert len(expected) == rows
    assert got == expected
    assert list(tmp_path.iterdir()) == [path], "what was unpacked is removed"


def test_every_wti_edition(shared_data: Path) -> None:
    editions = sorted((shared_data / "eia-wti-editions").glob("*.csv"))
    assert len(editions) == 27
    for path in editions:
        header, *expected = by_csv_module(path.read_bytes(), "utf-8")
        assert read_back(path, header, country="US") == expected, path.name


def test_members_of_a_real_gtfs_zip(shared_data: Path, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "gtfs"
    path.write_bytes((shared_data / "gtfs-cairns.zip").read_bytes())
    with zipfile.ZipFile(path) as archive:
        header, *expected = by_csv_module(archive.read("stop_times.txt"), "utf-8-sig")
    source = {"container": "zip", "member": "stop_times.txt"}
    assert read_back(path, header, source, country="AU") == expected


def test_real_json_file(shared_data: Path) -> None:
    path = shared_data / "vega-datapackage.json"
    names = [r["name"] for r in json.loads(path.read_text("utf-8"))["resources"]]
    assert [r[0] for r in read_back(path, ["name"], {"format": "json", "records_path": "resources"}, "US")] == names
