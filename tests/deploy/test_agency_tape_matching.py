"""Which recorded answer a request gets: order, ranges, masks, conditions; and what is said where none fits."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.agency.tape import ABSENT
from deploy.agency.tape_addresses import asked, body_fits, recorded
from tests.archive.other_writer import info, request, response, warc_record
from tests.deploy.tape_scene import body_of, on_tape, paper, replayed, tape

URL = "http://agency.example/rows?page=1&size=10"
OTHER = "http://agency.example/rows?page=2&size=10"


# --- order ----------------------------------------------------------------------------------------------------------------


def test_the_files_of_a_folder_play_in_order_of_their_dates(tmp_path: Path) -> None:
    for name, date, body in (("a", "2026-11-03T00:00:00Z", b"3"), ("b", "2026-11-01", b"1"), ("c", "2026-11-02T00:00:00.5Z", b"2")):
        on_tape(tmp_path / name, info(software="x"), response(URL, body, Date=date), name=f"{name}.warc")
    # warcinfo records of the helper have one date: take it off, so that each file begins with its answer's.
    for path in tmp_path.rglob("*.warc"):
        path.write_bytes(path.read_bytes()[len(info(software="x")) :])
    (tmp_path / "notes.txt").write_text("no tape")
    with replayed(tmp_path, tmp_path / "a") as one:
        assert [body_of(one.get(URL)) for _ in range(5)] == ["200 1", "200 2", "200 3", "200 3", "200 3"]


def test_each_address_has_a_turn_of_its_own_until_it_is_rewound(tmp_path: Path) -> None:
    other_host = URL.replace("agency", "other")
    records = [response(u, f"{u[7]}{n}".encode()) for n in (1, 2) for u in (URL, OTHER, other_host)]
    with tape(tmp_path, *records) as one:
        assert [body_of(one.get(u)) for u in (URL, URL, OTHER, other_host, other_host)] == [
            "200 a1", "200 a2", "200 a1", "200 o1", "200 o2",
        ]  # fmt: skip
        assert one.client.admin("tape", rewind="tape.agency.example").status == 200
        assert [body_of(one.get(u)) for u in (URL, OTHER, other_host)] == ["200 a1", "200 a1", "200 o2"]
        assert one.client.admin("tape", rewind=None).status == 200
        assert [body_of(one.get(u)) for u in (URL, other_host)] == ["200 a1", "200 o1"]
        wrong = one.client.admin("tape", rewind="tape.nobody")
        assert wrong.status == 400
        assert wrong.body.decode() == ("'tape.nobody' is no route of a tape; there are: tape.agency.example, tape.other.example")


def test_a_range_is_more_of_the_last_answer(tmp_path: Path) -> None:
    with tape(
        tmp_path, *(response(URL, body, got={"ETag": f'"{body[:1].decode()}"'}) for body in (b"a123456789", b"b123456789"))
    ) as one:
        assert one.get(URL).body == b"a123456789"
        part = one.get(URL, Range="bytes=4-", If_Range='"a"')
        assert (part.status, part.body, part.headers["content-range"]) == (206, b"456789", "bytes 4-9/10")
        assert one.get(URL).body == b"b123456789"
        assert one.get(URL, Range="bytes=20-").status == 416


def test_a_range_that_was_recorded_is_an_answer_like_any_other(tmp_path: Path) -> None:
    part = response(URL, b"456", "206 Partial Content", got={"Content-Range": "bytes 4-6/7"})
    with tape(tmp_path, response(URL, b"0123456"), request(URL, sent={"Range": "bytes=4-"}), part) as one:
        assert one.get(URL).status == 200
        got = one.get(URL, Range="bytes=4-")
        assert (got.status, got.body, got.headers["content-range"]) == (206, b"456", "bytes 4-6/7")


# --- masks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded_", "fitting", "others"),
    [
        ("/v1?key=*****&page=1", ["/v1?page=1&key=a%2Bb%3D", "/v1?key=&page=1", "/v1?key=***&page=1"], ["/v1?page=1", "/v1?key=a"]),
        ("/api/********/json/1/5", ["/api/a/json/1/5", "/api/aB%2F%2B%3D/json/1/5"], ["/api/a/b/json/1/5", "/api/a/json/1/6"]),
        ("/k-***.csv?t=x***y", ["/k-1.csv?t=x1y", "/k-.csv?t=xy"], ["/k-1.csv?t=x", "/l-1.csv?t=x1y"]),
        ("/?q=*:*&fl=**", ["/?fl=%2A%2A&q=*:*"], ["/?q=title:x&fl=**", "/?q=a:b&fl=ab"]),
        ("/?a=***&a=1", ["/?a=1&a=2", "/?a=1&a=1"], ["/?a=1", "/?a=2&a=3"]),
        ("/?******=1", ["/?sample=1"], ["/?sample=2"]),
    ],
)  # fmt: skip
def test_a_masked_secret_fits_anything_and_nothing_else_does(
    recorded_: str, fitting: list[str], others: list[str], tmp_path: Path
) -> None:
    with tape(tmp_path, response(f"http://agency.example{recorded_}", b"1")) as one:
        for target in fitting:
            assert one.get(f"http://agency.example{target}").status == 200, target
        for target in others:
            assert one.get(f"http://agency.example{target}").status == 404, target


def test_what_is_recorded_without_a_mask_goes_first(tmp_path: Path) -> None:
    with tape(
        tmp_path, response("http://agency.example/?key=***", b"any"), response("http://agency.example/?key=sample", b"its")
    ) as one:
        assert body_of(one.get("http://agency.example/?key=sample")) == "200 its"
        assert body_of(one.get("http://agency.example/?key=mine")) == "200 any"


def posted(body: bytes, answer: bytes) -> list[bytes]:
    return [request(URL, "POST", body, sent={"Content-Type": "application/json"}), response(URL, answer)]


def test_a_posted_body_is_part_of_the_question(tmp_path: Path) -> None:
    masked = b'{"key": "****************", "page": 1}'
    records = [*posted(b'{"page": 1}', b"1"), *posted(b'{"page": 2}', b"2"), *posted(masked, b"3"), *posted(b"", b"4")]
    with tape(tmp_path, *records) as one:
        for body, answer in ((b'{"page": 2}', "2"), (b'{"page": 1}', "1"), (b'{"key": "ab+/=", "page": 1}', "3"), (b"", "4")):
            assert body_of(one.get(URL, "POST", body)) == f"200 {answer}"
        for body in (b'{"page": 3}', b'{"key": "a", "page": 2}', b'{"page":1}'):
            got = one.get(URL, "POST", body)
            assert (got.status, b"its body differs" in got.body) == (404, True)


@given(pieces=st.lists(st.binary(max_size=6).filter(lambda b: b"*" not in b), min_size=2, max_size=5), fill=st.binary(max_size=6))
def test_masks_in_bodies(pieces: list[bytes], fill: bytes) -> None:
    assert body_fits(b"***".join(pieces), fill.join(pieces))
    whole = b"".join(pieces)
    # Each byte that is not masked must be there.
    assert not whole or not body_fits(b"***".join(pieces), whole[:-1])


def test_a_key_that_comes_is_not_in_the_log_nor_in_sentences(tmp_path: Path) -> None:
    records = [
        response("http://agency.example/a/*****/x?token=*****", b"1"),
        response("http://apis.data.go.kr/B5/x?serviceKey=open", b"2"),
    ]
    with tape(tmp_path, *records) as one:
        for target in ("/a/Qz7Lm%2FQz7/x?token=Qz7Lm0Pk", "/a/Qz7Lm/y?token=Qz7Lm0Pk&z=1", "/a/Qz7Lm/x?%74oken=Qz7Lm"):
            assert "Qz7L" not in body_of(one.get(f"http://agency.example{target}"))
        # A tape of another writer may have a key in it: what is known by its form is not told.
        got = one.get("http://apis.data.go.kr/B5/y?serviceKey=open")
        assert "serviceKey=***" in got.body.decode() and "open" not in got.body.decode()
        log = json.dumps(one.requests)
        assert "Qz7L" not in log and "open" not in log
        assert one.requests[0]["path"] == "/a/***/x" and one.requests[0]["query"] == "token=***"


def test_parameters_that_are_not_compared(tmp_path: Path) -> None:
    path = on_tape(
        tmp_path, response("http://agency.example/?from=20261124&page=1", b"1"), response("http://agency.example/?page=2", b"2")
    )
    with replayed(path, tape_ignore=("from",)) as one:
        assert body_of(one.get("http://agency.example/?page=1&from=20261125")) == "200 1"
        assert body_of(one.get("http://agency.example/?page=1")) == "200 1"
        assert body_of(one.get("http://agency.example/?page=2&from=1")) == "200 2"
    with replayed(path) as one:
        assert "what differs is from." in body_of(one.get("http://agency.example/?page=1&from=20261125"))


# --- what is not there ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "method", "sentence"),
    [
        ("/rows?page=3&size=10", "GET", f"GET {URL}; what differs is page."),
        ("/rows?size=20&page=2", "GET", f"GET {OTHER}; what differs is size."),
        ("/rows?page=2&size=10&x=1", "GET", f"GET {OTHER}; what differs is x."),
        ("/rows", "GET", f"GET {URL}; what differs is page, size."),
        ("/rowz?page=2&size=10", "GET", f"GET {OTHER}; what differs is the path."),
        ("/rows?page=2&size=10", "POST", f"GET {OTHER}; its method differs."),
    ],
)
def test_what_is_not_on_the_tape_is_told_with_the_nearest(target: str, method: str, sentence: str, tmp_path: Path) -> None:
    with tape(tmp_path, response(URL, b"1"), response(OTHER, b"2")) as one:
        got = one.get(f"http://agency.example{target}", method)
        assert body_of(got) == f"404 This request is not on the tape. The nearest recorded one is {sentence}\n"
        assert (got.headers["content-type"], got.headers["madang-origin"]) == ("text/plain; charset=utf-8", "synthetic")
        (entry,) = one.requests
        assert (entry["note"], entry["route"], entry["status"]) == (ABSENT, "tape.agency.example", 404)
        counted = one.client.admin("requests").json()
        assert (counted["not_on_tape"], counted["counts"]) == (1, {"tape.agency.example": 1})
        assert one.get(URL).status == 200


# --- conditions -----------------------------------------------------------------------------------------------------------

TAGGED = {"ETag": '"a"', "Last-Modified": "Mon, 02 Nov 2026 00:00:00 GMT", "Content-Type": "text/csv"}
AGAIN = {"If-None-Match": '"a"'}


def test_conditions_that_were_never_asked_are_judged_by_the_validators(tmp_path: Path) -> None:
    with tape(tmp_path, request(URL), response(URL, b"1", got=TAGGED)) as one:
        for headers, status in (
            ({"If_None_Match": '"a"'}, 304),
            ({"If_None_Match": 'W/"a"'}, 304),
            ({"If_None_Match": '"b"'}, 200),
            ({"If_Modified_Since": TAGGED["Last-Modified"]}, 304),
            ({"If_Modified_Since": "Sun, 01 Nov 2026 00:00:00 GMT"}, 200),
            ({}, 200),
        ):
            assert one.get(URL, **headers).status == status, headers


@pytest.mark.parametrize(
    "validators", [{}, {"Last-Modified": "nonsense"}, {"ETag": 'W/"w"', "Last-Modified": "Mon, 02 Nov 2026 00:00:00 -0000"}]
)
def test_odd_validators_do_no_harm(validators: dict[str, str], tmp_path: Path) -> None:
    with tape(tmp_path, response(URL, b"1", got=validators)) as one:
        assert one.get(URL, If_None_Match='"x", ', If_Modified_Since="x").status == 200
        assert one.get(URL, If_Modified_Since="Tue, 03 Nov 2026 00:00:00 GMT").status == (304 if "ETag" in validators else 200)


def test_conditions_that_were_asked_get_what_they_got(tmp_path: Path) -> None:
    # This server has one tag for all bytes, and sends them all the same.
    liar = [request(URL, sent=AGAIN), response(URL, b"new", got=TAGGED)]
    with tape(tmp_path, request(URL), response(URL, b"old", got=TAGGED), *liar) as one:
        assert body_of(one.get(URL)) == "200 old"
        assert body_of(one.get(URL, If_None_Match='"a"')) == "200 new"
        assert one.get(URL, If_None_Match='"a"', If_Modified_Since=TAGGED["Last-Modified"]).status == 304


def not_modified(**headers: str) -> bytes:
    """As wget and Heritrix write it: a revisit whose head is all there is."""
    block = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nX-Day: 2\r\n\r\n'
    profile = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
    own = {"Target_URI": URL, "Content_Type": "application/http; msgtype=response", "Profile": profile}
    return warc_record("revisit", block, **own | headers)


@pytest.mark.parametrize("kind", ["revisit", "response"])
def test_not_modified_goes_to_who_asks_so_and_the_body_to_others(kind: str, tmp_path: Path) -> None:
    first = response(URL, b"a,b", got=TAGGED, Record_ID="<urn:first>")
    second = (
        not_modified(Refers_To="<urn:first>")
        if kind == "revisit"
        else response(URL, b"", "304 Not Modified", got={"ETag": '"a"', "X-Day": "2"})
    )
    with tape(tmp_path, request(URL), first, request(URL, sent=AGAIN), second) as one:
        for headers, status in (({}, 200), ({"If_None_Match": '"a"'}, 304), ({}, 200), ({"If_None_Match": '"b"'}, 200)):
            got = one.get(URL, **headers)
            assert (got.status, got.body) == (status, b"" if status == 304 else b"a,b"), headers
        assert (got.headers["x-day"], got.headers["content-type"]) == ("2", "text/csv")


def test_not_modified_without_a_body_anywhere(tmp_path: Path) -> None:
    with tape(tmp_path, request(URL, sent=AGAIN), not_modified()) as one:
        assert one.get(URL, If_None_Match='"z"').status == 304
        got = one.get(URL)
        assert got.status == 404 and b"its body is not: it is that of an earlier record" in got.body


def test_not_modified_that_nobody_asked_for_stays(tmp_path: Path) -> None:
    with tape(tmp_path, request(URL), response(URL, b"1"), request(URL), response(URL, b"", "304 Not Modified")) as one:
        assert [one.get(URL).status for _ in range(2)] == [200, 304]


# --- a property -----------------------------------------------------------------------------------------------------------


PAIRS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1", "2", "+", "가"])), max_size=3)
ADDRESS = st.tuples(
    st.sampled_from(["GET", "POST"]), st.sampled_from(["/", "/x", "/x/y"]), PAIRS, st.sampled_from([b"", b"1", b"2"])
)


@settings(max_examples=120)
@given(played=st.lists(ADDRESS, min_size=1, max_size=8), more=st.lists(ADDRESS, max_size=3), seed=st.integers())
def test_every_request_gets_its_answers_in_recorded_order(
    played: list[tuple[str, str, list[tuple[str, str]], bytes]],
    more: list[tuple[str, str, list[tuple[str, str]], bytes]],
    seed: int,
) -> None:
    """Whatever the order of pairs and their spelling: the nth asking gets the nth answer, then the last; all else gets none."""
    chance = random.Random(seed)
    records, answers = [], dict[tuple[object, ...], list[bytes]]()
    for number, (method, path, pairs, body) in enumerate(played):
        url = f"http://agency.example{path}?{_query(pairs, chance)}"
        records += [request(url, method, body), response(url, str(number).encode())]
        answers.setdefault((method, path, *sorted(pairs), body), []).append(str(number).encode())
    with tempfile.TemporaryDirectory() as name:
        agency = paper(on_tape(Path(name), *records))
        turns: Counter[tuple[object, ...]] = Counter()
        # Each once more than it was recorded, all mixed.
        askings = [*played, *{(m, p, tuple(q), b): None for m, p, q, b in played}, *more]
        chance.shuffle(askings)
        for method, path, pairs, body in askings:
            key = (method, path, *sorted(pairs), body)
            reply, _ = agency.reply(
                method, "agency.example", path, _query(list(pairs), chance), {"host": "agency.example"}, body, raw_path=path
            )
            expected = answers.get(key)
            if expected is None:
                assert (reply.status, reply.note) == (404, ABSENT)
            else:
                assert (reply.status, reply.loaded().body) == (200, expected[min(turns[key], len(expected) - 1)])
            turns[key] += 1
        agency.close()


def _query(pairs: list[tuple[str, str]], chance: random.Random) -> str:
    """The pairs in any order, each value in any spelling."""
    spelt = [f"{n}={chance.choice([quote(v, safe=''), quote(v, safe='').lower()])}" for n, v in pairs]
    chance.shuffle(spelt)
    return "&".join(spelt)


@given(path=st.text(max_size=12), query=st.text(max_size=20))
def test_comparing_addresses_never_fails(path: str, query: str) -> None:
    asked(path, query)
    with suppress(ValueError):
        recorded(f"http://agency.example/{path}?{query}")
