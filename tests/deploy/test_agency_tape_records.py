"""Tapes of any writer: pairs, chunking, headers, broken bodies, revisits, origin; hostile and large files."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import IntegrityError, MadangError
from tests.archive.other_writer import DATE, chunked, info, new_id, packed, request, response, sha1, warc_record
from tests.deploy.tape_scene import body_of, on_tape, paper, replayed, tape

URL = "http://agency.example/rows?page=1&size=10"
OTHER = "http://agency.example/rows?page=2&size=10"


# --- files of other writers -----------------------------------------------------------------------------------------------


def exchanges(order: str) -> list[bytes]:
    """A POST and a GET of one address in the order and with the references of some writer."""
    ids = [new_id(), new_id()]
    asked_, answered = ("POST", "GET"), (b"by post", b"by get")
    pairs = []
    for n in (0, 1):
        to_answer = {"Concurrent_To": ids[n]} if order in ("request first, by id", "response first, by id", "apart, by id") else {}
        question = request(URL, asked_[n], b"q" if n == 0 else b"", Record_ID=f"<urn:q:{n}>", **to_answer)
        to_question = {"Concurrent_To": f"<urn:q:{n}>"} if order == "response names request" else {}
        pairs.append((question, response(URL, answered[n], Record_ID=ids[n], **to_question)))
    if order == "apart, by id":
        return [pairs[0][0], pairs[1][0], pairs[1][1], pairs[0][1]]
    if order.startswith("response first"):
        return [pairs[0][1], pairs[0][0], pairs[1][1], pairs[1][0]]
    return [*pairs[0], *pairs[1]]


ORDERS = [
    "request first",
    "request first, by id",
    "response first",
    "response first, by id",
    "response names request",
    "apart, by id",
]


@pytest.mark.parametrize("order", ORDERS)
def test_question_and_answer_are_paired(order: str, tmp_path: Path) -> None:
    with tape(tmp_path, info(software="Other/1"), *exchanges(order)) as one:
        assert body_of(one.get(URL, "POST", b"q")) == "200 by post"
        assert body_of(one.get(URL)) == "200 by get"
        assert one.agency.tape is not None and one.agency.tape.lines() == ["agency.example: 2 answers to 2 requests (replay)"]


def test_an_answer_without_a_question_is_one_to_get(tmp_path: Path) -> None:
    with tape(tmp_path, response(URL, b"alone")) as one:
        assert body_of(one.get(URL)) == "200 alone"


def test_a_question_without_an_answer_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    unanswered = request(OTHER, Record_ID="<urn:q>")
    with tape(tmp_path, unanswered, request(URL), response(URL, b"1")) as one:
        assert body_of(one.get(URL)) == "200 1"
        got = one.get(OTHER)
        assert got.status == 404
        assert got.body.decode().endswith(f"The nearest recorded one is GET {OTHER}; no answer to it was recorded.\n")
        assert "left out: requests without an answer: 1" in one.agency.tape.lines()  # type: ignore[union-attr]


def test_every_asking_that_failed_is_not_taken_for_the_one_that_did_not(tmp_path: Path) -> None:
    # The first two requests got no answer: the answer is the third's, whose conditions are its own.
    records = [request(URL), request(URL), request(URL, sent={"If-None-Match": '"a"'}), response(URL, b"1", got={"ETag": '"a"'})]
    with tape(tmp_path, *records) as one:
        assert one.get(URL, If_None_Match='"a"').status == 200


CHUNKS = {"Transfer-Encoding": "chunked", "Content-Type": "text/csv"}


@pytest.mark.parametrize(
    "pack", [packed, b"".join, lambda records: gzip.compress(b"".join(records))], ids=["members", "plain", "one"]
)
@pytest.mark.parametrize("digest", ["raw", "unchunked", "none"])
def test_chunking_is_taken_off(pack: Callable[[list[bytes]], bytes], digest: str, tmp_path: Path) -> None:
    wire = chunked(b"a,b\r\n", b"0\r\n\r\n", b"z" * 70_000)
    headers = {"Payload_Digest": sha1(wire if digest == "raw" else b"a,b\r\n0\r\n\r\n" + b"z" * 70_000)} if digest != "none" else {}
    path = tmp_path / ("t.warc" if pack == b"".join else "t.warc.gz")
    path.write_bytes(pack([info(software="Other/1"), request(URL), response(URL, wire, got=CHUNKS, **headers)]))
    with replayed(tmp_path) as one:
        got = one.get(URL)
        assert got.body == b"a,b\r\n0\r\n\r\n" + b"z" * 70_000
        assert "transfer-encoding" not in got.headers and got.headers["content-length"] == str(len(got.body))
        assert got.headers["content-type"] == "text/csv"


def test_chunking_that_was_taken_off_already_and_chunks_that_break_off(tmp_path: Path) -> None:
    with tape(tmp_path, response(URL, b"a,b\r\n1,2\r\n", got=CHUNKS), response(OTHER, chunked(b"whole")[:-7], got=CHUNKS)) as one:
        assert one.get(URL).body == b"a,b\r\n1,2\r\n"
        with pytest.raises(http.client.IncompleteRead, match="5 bytes read"):
            one.get(OTHER)


def test_content_encoding_stays(tmp_path: Path) -> None:
    body = gzip.compress(b"a,b\n" * 50, mtime=0)
    with tape(
        tmp_path, response(URL, body, got={"Content-Encoding": "gzip", "ETag": '"e"', "Content-Length": str(len(body))})
    ) as one:
        got = one.get(URL)
        assert (got.body, got.headers["content-encoding"]) == (body, "gzip")
        # A fault changes what stands in it, so it is unpacked first.
        one.agency.switch("tape.agency.example", "utf8_bom")
        got = one.get(URL)
        assert got.body == b"\xef\xbb\xbf" + b"a,b\n" * 50 and "content-encoding" not in got.headers


def test_headers_come_as_they_came(tmp_path: Path) -> None:
    name = "attachment; filename=자료.csv".encode("cp949").decode("utf-8", "surrogateescape")
    got = [
        ("Link", "<a>"),
        ("X-A", "1"),
        ("link", "<b>"),
        ("Content-Disposition", name),
        ("Bad Name", "x"),
        ("Connection", "close"),
    ]
    with tape(tmp_path, response(URL, b"1", got=[*got, ("Date", "Tue, 01 Jan 2019 00:00:00 GMT"), ("Keep-Alive", "1")])) as one:
        connection = http.client.HTTPConnection(one.url.removeprefix("http://"))
        connection.request("GET", "/rows?page=1&size=10", headers={"Host": "agency.example"})
        answer = connection.getresponse()
        assert answer.headers.get_all("link") == ["<a>", "<b>"]
        assert answer.getheader("content-disposition", "").encode("latin-1") == "attachment; filename=자료.csv".encode("cp949")
        assert len(answer.headers.get_all("date") or []) == 1 and "2019" not in str(answer.getheader("date"))
        assert not {"bad name", "keep-alive"} & {n.lower() for n in answer.headers}
        connection.close()


@pytest.mark.parametrize("status", ["204 No Content", "301 Moved", "404 Not Found", "503 Busy", "418 Teapot", "599 Odd"])
def test_any_status_comes_as_it_came(status: str, tmp_path: Path) -> None:
    body = b"" if status.startswith("204") else b"why"
    with tape(tmp_path, response(URL, body, status, got={"Location": "/x", "Retry-After": "7"})) as one:
        got = one.get(URL)
        assert (got.status, got.body) == (int(status[:3]), body)
        assert (got.headers["location"], got.headers["retry-after"]) == ("/x", "7")


def test_head_says_the_length_of_what_it_does_not_send(tmp_path: Path) -> None:
    with tape(tmp_path, request(URL, "HEAD"), response(URL, got={"Content-Length": "12345"})) as one:
        got = one.get(URL, "HEAD")
        assert (got.status, got.headers["content-length"], got.body) == (200, "12345", b"")
        assert one.get(URL).status == 404


@pytest.mark.parametrize("headers", [{"Truncated": "disconnect"}, {}, {"Truncated": "length"}])
def test_a_body_that_broke_off_breaks_off(headers: dict[str, str], tmp_path: Path) -> None:
    got = {"Content-Length": "100"} if not headers or headers["Truncated"] == "length" else {}
    with tape(tmp_path, response(URL, b"a" * 40, got={**got, "ETag": '"e"'}, **headers)) as one:
        for more in ({}, {"Range": "bytes=40-", "If-Range": '"e"'}):
            with pytest.raises(http.client.IncompleteRead, match="40 bytes read"):
                one.get(URL, **{n.replace("-", "_"): v for n, v in more.items()})


def test_records_that_are_no_exchange_are_left_out(tmp_path: Path) -> None:
    dns = warc_record("response", b"1.2.3.4", Target_URI="dns:agency.example", Content_Type="text/dns")
    early = response(URL, b"", "100 Continue")
    odd = response("ftp://agency.example/x", b"1")
    page = warc_record("conversion", b"text", Target_URI=URL, Content_Type="text/plain")
    with tape(tmp_path, dns, early, odd, page, response(URL, b"1")) as one:
        assert body_of(one.get(URL)) == "200 1"
        assert one.agency.tape is not None
        assert sum(one.agency.tape.as_json()["left_out"].values()) == 4


def test_addresses_in_angle_brackets_and_other_spellings(tmp_path: Path) -> None:
    bracketed = response("<http://Agency.Example:80/a%2fb/%7Euser?q=%ea%b0%80+b&x>", b"1")
    with tape(tmp_path, bracketed, response("https://agency.example:8443/p", b"2"), response("http://agency.example", b"3")) as one:
        assert body_of(one.get("http://agency.example/a%2Fb/~user?x=&q=%EA%B0%80%20b")) == "200 1"
        assert one.get("http://agency.example/a/b/~user?x=&q=%EA%B0%80%20b").status == 404
        assert body_of(one.get("http://agency.example:8443/p")) == "200 2"
        assert one.get("http://agency.example/p").status == 404
        assert body_of(one.get("http://agency.example/")) == "200 3"


def test_queries_that_differ_in_bytes_of_another_encoding_are_two(tmp_path: Path) -> None:
    records = [response(f"http://agency.example/?q={q}", q.encode()) for q in ("%B0%A1", "%B0%A2", "%EF%BF%BD")]
    with tape(tmp_path, *records) as one:
        assert body_of(one.get("http://agency.example/?q=%b0%a2")) == "200 %B0%A2"


TAGGED = {"ETag": '"a"', "Last-Modified": "Mon, 02 Nov 2026 00:00:00 GMT", "Content-Type": "text/csv"}


# --- revisits -------------------------------------------------------------------------------------------------------------


def revisit(block: bytes = b"", **headers: str) -> bytes:
    profile = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
    own = {"Target_URI": OTHER, "Content_Type": "application/http; msgtype=response", "Profile": profile}
    return warc_record("revisit", block, **own | headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Refers_To": "<urn:first>"},
        {"Payload_Digest": sha1(b"a,b")},
        {"Payload_Digest": "sha256:" + hashlib.sha256(b"a,b").hexdigest()},
        {"Payload_Digest": "sha256:" + base64.b32encode(hashlib.sha256(b"a,b").digest()).decode()},
        {"Refers_To_Target_URI": URL, "Refers_To_Date": DATE},
        {"Refers_To": "<urn:lost>", "Payload_Digest": sha1(b"a,b")},
    ],
)
@pytest.mark.parametrize("order", ["before", "after", "in another file"])
def test_a_revisit_has_the_body_that_it_names(headers: dict[str, str], order: str, tmp_path: Path) -> None:
    first = response(URL, b"a,b", got={**TAGGED, "Content-Encoding": "x-own"}, Record_ID="<urn:first>")
    second = revisit(b"HTTP/1.1 200 OK\r\nX-Day: 2\r\nContent-Length: 99\r\nContent-Encoding: gzip\r\n\r\n", **headers)
    records = [second] if order == "in another file" else [first, second] if order == "before" else [second, first]
    paths = [on_tape(tmp_path, *records, name="b.warc")]
    paths += [on_tape(tmp_path, first, name="a.warc")] if order == "in another file" else []
    with replayed(*paths) as one:
        got = one.get(OTHER)
        assert (got.status, got.body) == (200, b"a,b")
        # How its bytes are to be read the body's own record says, all else the revisit.
        assert (got.headers["x-day"], got.headers["content-encoding"], got.headers["content-length"]) == ("2", "x-own", "3")


def test_a_revisit_without_a_head_is_all_of_its_first(tmp_path: Path) -> None:
    first = response(URL, b"gone", "410 Gone", got=TAGGED, Record_ID="<urn:first>")
    with tape(tmp_path, first, revisit(Refers_To="<urn:first>"), revisit(Refers_To="<urn:first>", Target_URI=URL + "&c=1")) as one:
        got = one.get(OTHER)
        assert (got.status, got.body, got.headers["etag"]) == (410, b"gone", '"a"')


def test_revisits_of_revisits_and_of_themselves(tmp_path: Path) -> None:
    chain = [response(URL, b"1", Record_ID="<urn:0>")]
    chain += [revisit(Record_ID=f"<urn:{n}>", Refers_To=f"<urn:{n - 1}>", Target_URI=f"{URL}&n={n}") for n in (1, 2, 3)]
    ring = [revisit(Record_ID=f"<urn:r{n}>", Refers_To=f"<urn:r{1 - n}>", Target_URI=f"{URL}&r={n}") for n in (0, 1)]
    with tape(tmp_path, *chain, *ring) as one:
        assert body_of(one.get(f"{URL}&n=3")) == "200 1"
        assert one.get(f"{URL}&r=0").status == 404


# --- origin ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "header", "origin"),
    [
        (None, None, "replay"),
        ({"software": "Other/1"}, None, "replay"),
        ({"madang_fetch": "f", "madang_origin": "agency"}, None, "replay"),
        ({"madang_origin": "replay"}, None, "replay"),
        ({"madang_origin": "synthetic"}, None, "synthetic"),
        ({"Madang_Origin": "synthetic"}, "replay", "synthetic"),
        ({"madang_origin": "something"}, None, "synthetic"),
        ({"madang_origin": ""}, None, "synthetic"),
        ({"madang_fetch": "f"}, None, "synthetic"),
        ({"software": "Other/1"}, "synthetic", "synthetic"),
        ({"software": "Other/1"}, "replay", "replay"),
    ],
)
def test_origin_is_never_made_better(fields: dict[str, str] | None, header: str | None, origin: str, tmp_path: Path) -> None:
    first = [info(**{"software": "Other/1"} | fields)] if fields is not None else []
    closing = warc_record("metadata", b"{}", Content_Type="application/vnd.madang.fetch+json")
    with tape(tmp_path, *first, response(URL, b"1", got={"Madang-Origin": header} if header else {}), closing) as one:
        assert one.get(URL).headers["madang-origin"] == origin
        one.agency.switch("tape.agency.example", "html_200")
        assert one.get(URL).headers["madang-origin"] == origin


def test_files_of_several_origins_in_one(tmp_path: Path) -> None:
    def told(record: bytes, id_: str) -> bytes:
        return record.replace(record.partition(b"WARC-Record-ID: ")[2].partition(b"\r\n")[0], id_.encode())

    invented, real = told(info(madang_origin="synthetic"), "<urn:invented>"), told(info(software="Other/1"), "<urn:real>")
    records = [
        response("http://agency.example/invented", b"1", Warcinfo_ID="<urn:invented>", Record_ID="<urn:first>"),
        response("http://agency.example/real", b"2", Warcinfo_ID="<urn:real>"),
        revisit(Target_URI="http://agency.example/again", Refers_To="<urn:first>", Warcinfo_ID="<urn:real>"),
    ]
    with tape(tmp_path, invented, real, *records) as one:
        origins = {
            path: one.get(f"http://agency.example/{path}").headers["madang-origin"] for path in ("invented", "real", "again")
        }
    assert origins == {"invented": "synthetic", "real": "replay", "again": "synthetic"}


# --- hostile and large files ----------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(
    place=st.integers(0, 5000),
    junk=st.binary(min_size=1, max_size=12),
    which=st.sampled_from([b"WARC-", b"HTTP/", b"Content-", b": ", b"<urn", b"http://", b"agency"]),
)
def test_a_damaged_tape_replays_or_is_refused(place: int, junk: bytes, which: bytes) -> None:
    whole = b"".join(
        [
            info(software="Other/1", madang_origin="agency"),
            request(URL, "POST", b"q", sent={"If-None-Match": '"a"'}),
            response(URL, chunked(b"a", b"b"), got=CHUNKS),
            revisit(b"HTTP/1.1 200 OK\r\n\r\n", Refers_To="<urn:x>", Refers_To_Date=DATE, Refers_To_Target_URI=URL),
        ]
    ).replace(b"WARC-Block-Digest", b"X-Digest")
    at = whole.find(which, place % len(whole))
    damaged = whole[:at] + junk + whole[at + len(junk) :] if at >= 0 else whole[: place % len(whole)]
    with tempfile.TemporaryDirectory() as name:
        path = on_tape(Path(name), damaged)
        try:
            agency = paper(path)
        except (IntegrityError, MadangError) as error:
            assert error.what and error.mend
            return
        for host in agency.tape.hosts:  # type: ignore[union-attr]
            for method, headers in (("POST", {}), ("GET", {"if-none-match": '"a"'}), ("GET", {"range": "bytes=0-"})):
                agency.reply(method, host, "/rows", "page=1&size=10", {"host": host, **headers}, b"q", raw_path="/rows")
        agency.close()


MEMORY = """
import os, sys, threading
from pathlib import Path
import psutil
from deploy.agency.app import Agency, AgencyConfig
from tests.archive.other_writer import response

folder, size = Path(sys.argv[1]), int(sys.argv[2])
process, peak, stop = psutil.Process(), 0, threading.Event()
def watch():
    global peak
    while not stop.wait(0.005):
        peak = max(peak, process.memory_info().rss)
def play(path):
    agency = Agency(AgencyConfig(tapes=(path,), routes=()))
    reply, _ = agency.reply("GET", "a.example", "/large", "", {"host": "a.example"}, b"", raw_path="/large")
    read = sum(len(reply.piece(start, start + 65536)) for start in range(0, reply.size, 65536))
    assert reply.status == 200 and read == reply.size
    agency.close()
    return read
small, large = folder / "small.warc", folder / "large.warc"
small.write_bytes(response("http://a.example/large", b"x"))
head = response("http://a.example/large", b"", digest=False, Payload_Digest="sha256:" + "0" * 64)
head = head.replace(b"WARC-Payload-Digest: sha256:" + b"0" * 64 + b"\\r\\n", b"").removesuffix(b"\\r\\n\\r\\n")
old = head.partition(b"Content-Length: ")[2].partition(b"\\r\\n")[0]
head = head.replace(b"Content-Length: " + old, b"Content-Length: %d" % (int(old) + size))
block = os.urandom(1 << 20)
with large.open("wb") as file:
    file.write(head)
    for _ in range(size >> 20):
        file.write(block)
    file.write(b"\\r\\n\\r\\n")
play(small)
before = process.memory_info().rss
thread = threading.Thread(target=watch, daemon=True)
thread.start()
assert play(large) == size
stop.set()
thread.join()
print(max(0, peak - before))
"""


def test_memory_does_not_grow_with_the_tape(tmp_path: Path) -> None:
    size = 100 * 1024 * 1024
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path, str(size)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < size // 5
