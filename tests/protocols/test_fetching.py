"""The kernel's loop against a real server on loopback: single responses, and what changes nothing."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from assets.feeds.model import PROTOCOLS, Feed
from assets.protocols.kernel import (
    Body,
    Cursor,
    Examined,
    Limits,
    Malformed,
    Ok,
    Request,
    Step,
    Validators,
    When,
)
from tests.loopback import Answer, Seen
from tests.protocols.fetching_scene import (  # noqa: F401  fixtures
    URL,
    World,
    _Plain,
    _protocols,
    _Source,
    in_turn,
    make_feed,
    world,
)
from tests.protocols.standin_scene import feed_for

# --- one response ---


def test_three_500_then_200_is_one_good_fetch_that_keeps_all_four(world: World) -> None:
    record, _ = world.fetch(make_feed(), in_turn(*[Answer(b"oops", 500)] * 3, Answer(b"rows")))
    assert (record.outcome, record.responses, record.origin) == ("Ok", 4, "synthetic")
    assert world.bodies(record) == [b"rows"]
    assert world.warc(record).count(b"Madang-Outcome: Transient") == 6  # request and response of each
    assert world.clock.slept == sorted(world.clock.slept)
    assert len(world.clock.slept) == 3
    assert world.ledger.last_answered("kr.agency.rows") == record
    assert list((world.folder / "work" / "fetching").glob("2*")) == []


def test_transient_failures_end_after_max_attempts_and_are_recorded(world: World) -> None:
    feed = make_feed(limits=Limits(max_attempts=3))
    error, record = world.fails(feed, lambda seen: Answer(b"down", 503))
    assert (record.outcome, record.responses) == ("Transient", 3)
    assert "later" in error.mend


@pytest.mark.parametrize(
    ("status", "outcome", "says"),
    [(401, "AuthFailed", "key"), (404, "Gone", "https://agency.example/doc"), (429, "QuotaExhausted", "wait until")],
)
def test_what_asking_again_does_not_mend_is_asked_once(world: World, status: int, outcome: str, says: str) -> None:
    error, record = world.fails(make_feed(), lambda seen: Answer(b"API token quota exceeded", status))
    assert (record.outcome, record.responses, world.clock.slept) == (outcome, 1, [])
    assert says in error.mend


def test_retry_after_0_waits_all_the_same_and_does_not_burn_through(world: World) -> None:
    feed = make_feed(limits=Limits(max_attempts=4))
    _, record = world.fails(feed, lambda seen: Answer(b"", 429, {"Retry-After": "0"}))
    assert (record.outcome, record.responses) == ("RateLimited", 4)
    assert len(world.clock.slept) == 3
    assert min(world.clock.slept) >= 1


def test_retry_after_is_honoured_and_a_day_long_one_ends_the_fetch(world: World) -> None:
    record, _ = world.fetch(make_feed(), in_turn(Answer(b"", 429, {"Retry-After": "120"}), Answer(b"rows")))
    assert record.outcome == "Ok"
    assert world.clock.slept[0] >= 120
    world.clock.slept.clear()
    _, failed = world.fails(make_feed(), lambda seen: Answer(b"", 429, {"Retry-After": "86400"}))
    assert (failed.responses, world.clock.slept) == (1, [])


def test_a_cut_body_is_asked_again_and_never_taken_for_whole(world: World) -> None:
    whole = b"row\n" * 50_000
    record, _ = world.fetch(make_feed(), in_turn(Answer(whole, send=1000), Answer(whole)))
    assert world.bodies(record) == [whole]
    assert b"WARC-Truncated" in world.warc(record)
    feed = make_feed(limits=Limits(max_attempts=2))
    _, failed = world.fails(feed, lambda seen: Answer(whole, send=1000))
    assert failed.outcome == "Transient"
    assert whole[:1000] in world.warc(failed)


def test_a_cut_body_that_can_be_resumed_is_one_response(world: World) -> None:
    whole = random.Random(3).randbytes(200_000)

    def answer(seen: Seen) -> Answer:
        start = int(seen.headers.get("range", "bytes=0-")[6:-1])
        headers = {"ETag": '"a"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        return Answer(whole[start:], 206 if start else 200, headers, send=90_000)

    record, server = world.fetch(make_feed(), answer)
    assert (record.responses, len(server.seen)) == (1, 3)
    assert world.bodies(record) == [whole]


def test_truncated_gzip_fails_with_a_sentence(world: World) -> None:
    body = gzip.compress(random.Random(1).randbytes(100_000))[:5000]
    feed = make_feed(limits=Limits(max_attempts=2))
    error, record = world.fails(feed, lambda seen: Answer(body, headers={"Content-Encoding": "gzip"}))
    assert record.outcome == "Transient"
    assert body in world.warc(record)
    assert "\n" not in str(error)


def test_a_gzip_bomb_is_refused_once(world: World) -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)
    feed = make_feed(limits=Limits(max_body_bytes=1_000_000))
    error, record = world.fails(feed, lambda seen: Answer(bomb, headers={"Content-Encoding": "gzip"}))
    assert (record.outcome, record.responses) == ("BadRequest", 1)
    assert "1000000 bytes" in error.what


def test_a_refused_redirect_is_archived_with_its_reason(world: World) -> None:
    error, record = world.fails(make_feed(), lambda seen: Answer(b"", 302, {"Location": "http://169.254.169.254/latest"}))
    assert record.outcome == "BadRequest"
    assert "another host" in error.what
    assert b"Location: http://169.254.169.254/latest" in world.warc(record)


def test_a_followed_redirect_is_archived_hop_by_hop(world: World) -> None:
    def answer(seen: Seen) -> Answer:
        return Answer(b"rows") if seen.path == "/moved" else Answer(b"there", 301, {"Location": "/moved"})

    record, _ = world.fetch(make_feed(), answer)
    assert record.responses == 2
    assert b"Madang-Outcome: Redirect" in world.warc(record)
    assert world.bodies(record) == [b"rows"]


def test_an_export_is_polled_until_it_is_there(world: World) -> None:
    record, server = world.fetch(make_feed(), in_turn(Answer(b"", 202), Answer(b"", 202), Answer(b"rows")))
    assert [seen.path for seen in server.seen] == ["/rows", "/result", "/result"]
    assert world.clock.slept == [5.0, 5.0]
    assert world.bodies(record) == [b"rows"]


def test_an_export_that_never_comes_ends_at_the_deadline(world: World) -> None:
    _, record = world.fails(make_feed(limits=Limits(total_timeout_s=60)), lambda seen: Answer(b"", 202))
    assert record.outcome == "Transient"
    assert sum(world.clock.slept) <= 65


def test_no_content_is_an_empty_success(world: World) -> None:
    record, _ = world.fetch(make_feed(), lambda seen: Answer(b"", 204))
    assert record.outcome == "Empty"
    assert world.bodies(record) == []


# --- nothing new ---


def test_the_same_bytes_after_an_empty_answer_are_news(world: World) -> None:
    whole = Answer(b"rows", headers={"ETag": '"1"'})
    world.fetch(make_feed(), lambda seen: whole)
    world.fetch(make_feed(), lambda seen: Answer(b"", 204))
    back, server = world.fetch(make_feed(), lambda seen: whole)
    assert (back.outcome, back.body_fetch_id) == ("Ok", back.fetch_id)
    assert "if-none-match" not in server.seen[0].headers
    assert world.bodies(back) == [b"rows"]
    assert world.fetch(make_feed(), lambda seen: whole)[0].outcome == "NotModified"


@pytest.mark.parametrize("second", [Answer(b"", 304), Answer(b"rows", headers={"ETag": '"flipped"'})])
def test_nothing_new_refers_to_the_earlier_bytes(world: World, second: Answer) -> None:
    first, _ = world.fetch(make_feed(), lambda seen: Answer(b"rows", headers={"ETag": '"1"'}))
    again, server = world.fetch(make_feed(), lambda seen: second)
    assert server.seen[0].headers["if-none-match"] == '"1"'
    assert (again.outcome, again.body_fetch_id, again.payload_sha256) == ("NotModified", first.fetch_id, first.payload_sha256)
    assert b"WARC-Type: revisit" in world.warc(again)
    assert world.bodies(again) == [b"rows"]
    assert world.ledger.last_answered(first.feed) == first


def test_same_etag_with_new_bytes_is_news(world: World) -> None:
    world.fetch(make_feed(), lambda seen: Answer(b"rows", headers={"ETag": '"1"'}))
    again, _ = world.fetch(make_feed(), lambda seen: Answer(b"more", headers={"ETag": '"1"'}))
    assert (again.outcome, world.bodies(again)) == ("Ok", [b"more"])


class _Asked(_Plain):
    """A file whose address holds what is asked for, beside the address of the source."""

    def plan(self, feed: Feed, source: _Source, when: When) -> Iterable[Step]:
        return [Step(params={"wanted": when.now.day})]

    def request(self, feed: Feed, source: _Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return replace(super().request(feed, source, step, cursor, validators), url=f"{source.url}?day={step.params['wanted']}")


def _says_unchanged_to_any_condition(seen: Seen) -> Answer:
    """As servers do that compare nothing but a date: the other file is older."""
    if "if-none-match" in seen.headers:
        return Answer(b"", 304)
    return Answer(f"rows of {seen.target}".encode(), headers={"ETag": '"1"'})


def test_another_address_is_asked_without_the_validators_of_the_first(world: World) -> None:
    world.fetch(make_feed(), _says_unchanged_to_any_condition)
    other, _ = world.fetch(make_feed(url=f"{URL}/of/2025"), _says_unchanged_to_any_condition)
    assert (other.outcome, world.bodies(other)) == ("Ok", [b"rows of /rows/of/2025"])


def test_another_question_is_asked_without_the_validators_of_the_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_file", _Asked())
    world.fetch(make_feed(), _says_unchanged_to_any_condition)
    assert world.fetch(make_feed(), _says_unchanged_to_any_condition)[0].outcome == "NotModified"
    world.clock.time += timedelta(days=1)
    next_day, _ = world.fetch(make_feed(), _says_unchanged_to_any_condition)
    assert (next_day.outcome, world.bodies(next_day)) == ("Ok", [b"rows of /rows?day=2"])


def test_the_validators_of_a_file_that_a_redirect_led_to_are_sent_again(world: World) -> None:
    def answer(seen: Seen) -> Answer:
        if seen.path != "/moved":
            return Answer(b"there", 301, {"Location": "/moved"})
        return _says_unchanged_to_any_condition(seen)

    world.fetch(make_feed(), answer)
    assert world.fetch(make_feed(), answer)[0].outcome == "NotModified"


def test_a_new_stamp_around_the_same_data_is_nothing_new_but_is_archived(world: World) -> None:
    first, _ = world.fetch(make_feed(), lambda seen: Answer(b'{"generated": 1, "a": 2}'))
    again, _ = world.fetch(make_feed(), lambda seen: Answer(b'{"a": 2, "generated": 9}'))
    assert (again.outcome, again.body_fetch_id) == ("NotModified", first.fetch_id)
    assert b'{"a": 2, "generated": 9}' in world.warc(again)


def test_another_origin_is_news_whatever_the_bytes(world: World) -> None:
    world.fetch(make_feed(), lambda seen: Answer(b"rows", headers={"Madang-Origin": "synthetic"}))
    again, _ = world.fetch(make_feed(), lambda seen: Answer(b"rows", headers={"Madang-Origin": "replay"}))
    assert (again.outcome, again.origin, again.body_fetch_id) == ("Ok", "replay", again.fetch_id)
    assert b"WARC-Type: revisit" not in world.warc(again)


def test_304_to_an_unconditional_request_is_malformed(world: World) -> None:
    _, record = world.fails(make_feed(), lambda seen: Answer(b"", 304))
    assert (record.outcome, record.responses) == ("Malformed", 2)


class _Probed(_Plain):
    """A file whose change can be seen by a HEAD request."""

    def probe(self, feed: Feed, source: _Source, validators: Validators) -> Request | None:
        return Request(source.url, "HEAD", {"If-None-Match": validators.etag or '"none"'})


def test_a_probe_spares_the_fetch_where_nothing_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_file", _Probed())
    state = {"etag": '"1"', "body": b"rows"}

    def answer(seen: Seen) -> Answer:
        if seen.headers.get("if-none-match") == state["etag"]:
            return Answer(b"", 304)
        return Answer(b"" if seen.method == "HEAD" else state["body"], headers={"ETag": state["etag"]})  # type: ignore[dict-item,arg-type]

    _, server = world.fetch(make_feed(), answer)
    assert [seen.method for seen in server.seen] == ["GET"]
    again, server = world.fetch(make_feed(), answer)
    assert [seen.method for seen in server.seen] == ["HEAD"]
    assert (again.outcome, world.bodies(again)) == ("NotModified", [b"rows"])
    state |= {"etag": '"2"', "body": b"more"}
    third, server = world.fetch(make_feed(), answer)
    assert [seen.method for seen in server.seen] == ["HEAD", "GET"]
    assert (third.outcome, world.bodies(third), third.body_fetch_id) == ("Ok", [b"more"], third.fetch_id)
    assert b"Madang-Outcome: Probe" in world.warc(third)


class _Examined(_Plain):
    """A file whose middle says whether it is damaged, and which edition it is."""

    def examine(self, source: _Source, body: Body) -> Examined:
        text = body.path.read_text()
        return Examined(Malformed("damaged in the midst")) if "bad" in text else Examined(Ok(), text)


def test_what_only_the_whole_body_tells_is_asked_before_the_fetch_is_good(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_file", _Examined())
    feed = make_feed()
    record, _ = world.fetch(feed, in_turn(Answer(b"edition 7")))
    assert (record.outcome, record.provider_stamp) == ("Ok", "edition 7")
    failed, _ = world.fails(feed, in_turn(Answer(b"bad")))
    assert failed.outcome == "Malformed" and "damaged in the midst" in str(failed) and len(world.server.seen) == 2
    last = world.ledger.last_answered(feed.id)
    assert last is not None and last.fetch_id == record.fetch_id


class _Parts(_Plain):
    """Three files in one fetch."""

    def plan(self, feed: Feed, source: _Source, when: When) -> Iterable[Step]:
        return [Step(n) for n in range(3)]

    def request(self, feed: Feed, source: _Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return replace(super().request(feed, source, step, cursor, validators), url=f"{source.url}/{step.ordinal}")


def test_of_several_files_only_the_changed_one_is_kept_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "test_file", _Parts())
    files = {f"/rows/{n}": f"part {n}".encode() for n in range(3)}

    def answer(seen: Seen) -> Answer:
        etag = f'"{len(files[seen.path])}"'
        return Answer(b"", 304) if seen.headers.get("if-none-match") == etag else Answer(files[seen.path], headers={"ETag": etag})

    world.fetch(make_feed(), answer)
    unchanged, _ = world.fetch(make_feed(), answer)
    assert unchanged.outcome == "NotModified"
    files["/rows/1"] = b"part 1, revised"
    changed, _ = world.fetch(make_feed(), answer)
    assert changed.outcome == "Ok"
    assert world.bodies(changed) == [b"part 0", b"part 1, revised", b"part 2"]
    assert world.warc(changed).count(b"WARC-Type: revisit") == 2
    fourth, _ = world.fetch(make_feed(), answer)
    assert (fourth.outcome, fourth.body_fetch_id) == ("NotModified", changed.fetch_id)
    assert world.bodies(fourth) == world.bodies(changed)


def test_headers_in_bytes_of_cp949_stay_as_they_came(world: World) -> None:
    """File names, and validators that are made of them: such a tag could not be sent back, so the bytes tell."""
    name = "자료 a.csv".encode("cp949")
    headers = {"Content-Disposition": f"attachment; filename={name.decode('latin-1')}", "ETag": f'"{name.decode("latin-1")}"'}
    record, _ = world.fetch(make_feed(), lambda seen: Answer(b"rows", headers=headers))
    assert (record.outcome, world.warc(record).count(name)) == ("Ok", 2)
    again, server = world.fetch(make_feed(), lambda seen: Answer(b"rows", headers=headers))
    assert again.outcome == "NotModified" and "if-none-match" not in server.seen[-1].headers


@pytest.mark.parametrize("auth", [{}, {"kind": "query_key", "name": "key", "secret": "NCEI_KEY"}])
def test_what_an_agency_says_of_an_error_may_hold_what_is_no_character(world: World, auth: dict[str, str]) -> None:
    """JSON may: half of a pair, where a server cut the text, and NUL. Neither a terminal nor every database takes them."""
    feed = feed_for({"protocol": "ncei", "dataset": "d", "service": "search", "auth": auth}, ["a"])
    body = b'{"errorCode": 400, "errorMessage": "no station \\ud83d \\u0000 of this name"}'
    error, record = world.fails(feed, lambda seen: Answer(body, 400), secrets={"NCEI_KEY": "a-long-enough-key"})
    assert record.reason in {f"HTTP 400: no station {mark} ? of this name" for mark in ("?", "\ufffd")}
    assert record.reason in str(error)
