"""What the kernel recorded replays: same outcome, same rows, same bytes, as many requests, no key, no origin made better."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from assets.archive.reading import read_records
from assets.errors import IntegrityError, MadangError
from assets.feeds.load import shipped
from deploy.agency import AgencyConfig
from deploy.agency.__main__ import main
from deploy.agency.tape import ABSENT
from tests.archive.other_writer import info
from tests.deploy.tape_scene import Collector, Served, carries_the_key, on_tape, replayed, same, served
from tests.protocols.standin_scene import NOW

FEEDS = shipped()
OVER_HTTP = sorted(name for name, feed in FEEDS.items() if feed.source.protocol not in ("sftp", "ftp", "s3"))
AIRPORTS, AIR = "us.faa.airports", "kr.airkorea.sido_hourly"
HOSTS = {AIRPORTS: "www.faa.gov", AIR: "apis.data.go.kr"}
OTHER_KEY = "bGFwdG9wLW9mLXRoZS1lbmdpbmVlci0rLz0="
"""Nobody's. A tape knows no key, so it asks for none."""


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served(AgencyConfig(today=NOW.date())) as one:
        yield one


@pytest.fixture
def live(running: Served) -> Served:
    """The stand-in with its engines, asked nothing yet and without faults."""
    running.agency.faults.clear()
    running.agency.requests.clear()
    return running


def switch(live: Served, feed: str, fault: str) -> None:
    live.agency.switch(feed, fault)


# --- every protocol over HTTP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OVER_HTTP)
def test_what_an_engine_answered_replays(name: str, live: Served, tmp_path: Path) -> None:
    feed, first, second = FEEDS[name], Collector(tmp_path / "first"), Collector(tmp_path / "second", OTHER_KEY)
    record = first.fetch(feed, live.url)
    asked = [(r["method"], r["host"], r["status"]) for r in live.requests]
    assert record.outcome == "Ok"
    tape = first.tape(record)
    with replayed(tape) as again:
        replay = second.fetch(feed, again.url)
        assert same(replay) == same(record)
        assert second.rows(feed, replay) == first.rows(feed, record)
        assert [(r["method"], r["host"], r["status"]) for r in again.requests] == asked
        assert {r["route"] for r in again.requests} == {f"tape.{host}" for _, host, _ in asked}
        assert again.agency.not_on_tape == 0
        # What was synthetic stays so.
        assert (record.origin, replay.origin) == ("synthetic", "synthetic")
        log, told = json.dumps(again.requests), json.dumps(again.client.admin("tape").json())
    assert not carries_the_key(gzip.decompress(tape.read_bytes()), log, told)
    assert OTHER_KEY[:20] not in log + gzip.decompress(second.tape(replay).read_bytes()).decode("utf-8", "replace")


def test_the_tape_covers_what_its_issue_names() -> None:
    spoken = {FEEDS[name].source.protocol for name in OVER_HTTP}
    assert spoken >= {"http_file", "ckan", "bls2", "seoul", "ecos", "socrata2", "sdmx21", "sdmx30", "data_go_kr", "gtfs"}


@pytest.mark.parametrize(
    ("name", "fault", "polls"),
    [("eu.eurostat.unemployment_monthly", "async_footer:3", 3), ("us.chicago.crimes", "202_then_200:2", 2)],
)
def test_an_export_that_was_waited_for_is_waited_for(name: str, fault: str, polls: int, live: Served, tmp_path: Path) -> None:
    feed, first, second = FEEDS[name], Collector(tmp_path / "first"), Collector(tmp_path / "second")
    quick = Collector(tmp_path / "quick").fetch(feed, live.url)
    switch(live, name, fault)
    record = first.fetch(feed, live.url)
    assert record.outcome == "Ok" and record.responses >= quick.responses + polls
    with replayed(first.tape(record)) as again:
        assert same(second.fetch(feed, again.url)) == same(record)
        assert second.clock.slept == first.clock.slept


# --- failures -------------------------------------------------------------------------------------------------------------

FAILURES = [
    (AIRPORTS, "status_500:2", "Ok"),
    (AIRPORTS, "status_500", "Transient"),
    (AIRPORTS, "status_403", "AuthFailed"),
    (AIRPORTS, "status_404", "Gone"),
    (AIRPORTS, "retry_after_0", "Ok"),
    (AIRPORTS, "html_200", "Malformed"),
    (AIRPORTS, "empty_body_200", "Malformed"),
    (AIRPORTS, "truncated_gzip", "Transient"),
    (AIRPORTS, "double_gzip", None),
    (AIRPORTS, "redirect_to_html", None),
    (AIRPORTS, "redirect_other_host", "BadRequest"),
    (AIR, "status_500:1", "Ok"),
    (AIR, "stream_cut", "Transient"),
    (AIR, "reset_mid_body", "Transient"),
    (AIR, "stream_cut:1", "Ok"),
    (AIR, "quota_after_n:1", "QuotaExhausted"),
    (AIR, "total_changes_mid_crawl", None),
    (AIR, "xml_error_on_json:30", "AuthFailed"),
]


@pytest.mark.parametrize(("name", "fault", "outcome"), FAILURES, ids=lambda value: str(value))
def test_what_failed_fails_again_in_the_same_way(name: str, fault: str, outcome: str | None, live: Served, tmp_path: Path) -> None:
    feed, first, second = FEEDS[name], Collector(tmp_path / "first"), Collector(tmp_path / "second")
    switch(live, name, fault)
    record = first.fetch(feed, live.url)
    assert outcome is None or record.outcome == outcome
    with replayed(first.tape(record)) as again:
        replay = second.fetch(feed, again.url)
        assert same(replay) == same(record)
        assert len(again.requests) == len(live.requests)
        assert second.clock.slept == first.clock.slept
    if record.outcome == "Ok":
        assert second.rows(feed, replay) == first.rows(feed, record)


@pytest.mark.parametrize("fault", ["stream_cut", "reset_mid_body"])
def test_a_body_that_could_not_be_resumed_breaks_off_at_the_same_byte(fault: str, live: Served, tmp_path: Path) -> None:
    feed, first, second = FEEDS[AIRPORTS], Collector(tmp_path / "first"), Collector(tmp_path / "second")
    # Another tag each time: what is asked for from the middle comes from the start, and breaks off again.
    for one in (fault, "etag_flip_same_bytes"):
        switch(live, AIRPORTS, one)
    record = first.fetch(feed, live.url)
    assert record.outcome == "Transient"
    with replayed(first.tape(record)) as again:
        replay = second.fetch(feed, again.url)
        assert (replay.outcome, replay.responses) == (record.outcome, record.responses)
        assert len(again.requests) == len(live.requests) == 2 * record.responses

    def kept(path: Path) -> list[bytes]:
        return [b"".join(item.chunks()) for item in read_records(path) if item.kind == "response"]

    assert kept(second.tape(replay)) == kept(first.tape(record))


def test_a_body_that_was_resumed_comes_whole(live: Served, tmp_path: Path) -> None:
    feed, first, second = FEEDS[AIRPORTS], Collector(tmp_path / "first"), Collector(tmp_path / "second")
    switch(live, AIRPORTS, "stream_cut:1")
    record = first.fetch(feed, live.url)
    assert len(live.requests) == 2
    with replayed(first.tape(record)) as again:
        assert same(second.fetch(feed, again.url)) == same(record)
        assert len(again.requests) == 1


# --- a second day ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [AIRPORTS, AIR])
def test_a_day_on_which_nothing_changed(name: str, live: Served, tmp_path: Path) -> None:
    feed, first, second = FEEDS[name], Collector(tmp_path / "first"), Collector(tmp_path / "second")
    days = [first.fetch(feed, live.url)]
    first.clock.time += timedelta(hours=1)  # the next edition, the same question
    days.append(first.fetch(feed, live.url))
    assert [day.outcome for day in days] == ["Ok", "NotModified"]
    archive = tmp_path / "first" / "store" / "archive" / name
    with replayed(archive) as again:
        replays = [second.fetch(feed, again.url)]
        second.clock.time += timedelta(hours=1)
        replays.append(second.fetch(feed, again.url))
    assert [same(r) for r in replays] == [same(r) for r in days]


@pytest.mark.parametrize("name", [AIRPORTS, AIR])
def test_last_nights_file_alone_finds_the_bodies_that_lie_beside_it(name: str, live: Served, tmp_path: Path) -> None:
    feed, first = FEEDS[name], Collector(tmp_path / "first")
    record = first.fetch(feed, live.url)
    first.clock.time += timedelta(hours=1)
    night = first.fetch(feed, live.url)
    assert night.outcome == "NotModified"
    with replayed(first.tape(night)) as again:
        assert again.agency.tape is not None and not again.agency.tape.as_json()["absent"]
        # Who never saw the file gets it; the earlier fetch's own answers are not replayed.
        second = Collector(tmp_path / "second")
        second.clock.time = first.clock.time
        replay = second.fetch(feed, again.url)
        assert (replay.outcome, replay.payload_sha256, replay.rows) == ("Ok", record.payload_sha256, record.rows)
        assert second.rows(feed, replay) == first.rows(feed, record)
        assert sum(of["answers"] for of in again.client.admin("tape").json()["hosts"].values()) == night.responses
    lonely = tmp_path / "elsewhere" / "night.warc.gz"
    lonely.parent.mkdir()
    shutil.copy(first.tape(night), lonely)
    with replayed(lonely) as again:
        assert any(record.fetch_id in line for line in again.agency.tape.lines())  # type: ignore[union-attr]
        assert Collector(tmp_path / "third").fetch(feed, again.url).outcome != "Ok"
        assert again.requests[0]["note"] == ABSENT
        if name == AIRPORTS:
            got = again.get(feed.source.address)
            assert (got.status, got.headers["madang-origin"]) == (404, "synthetic")
            assert f"that of fetch {record.fetch_id} of an earlier record" in got.body.decode()
            assert again.get(feed.source.address, If_None_Match=record.etag or "").status == 304


def test_what_changed_replays_as_it_changed_whatever_order_the_files_are_given_in(live: Served, tmp_path: Path) -> None:
    feed, first = FEEDS[AIRPORTS], Collector(tmp_path / "first")
    days = [first.fetch(feed, live.url)]
    switch(live, AIRPORTS, "column_renamed")
    first.clock.time += timedelta(days=1)
    days.append(first.fetch(feed, live.url))
    digests = [day.payload_sha256 for day in days]
    assert None not in digests and digests[0] != digests[1]
    with replayed(*(first.tape(day) for day in reversed(days))) as again:

        def fresh(name: str) -> str | None:
            return Collector(tmp_path / name).fetch(feed, again.url).payload_sha256

        # The last one repeats.
        assert [fresh("a"), fresh("b"), fresh("c")] == [*digests, digests[1]]
        assert again.client.admin("tape", rewind=f"tape.{HOSTS[AIRPORTS]}").status == 200
        assert [fresh("d"), fresh("e")] == digests


# --- on the command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tape(live: Served, tmp_path: Path) -> Path:
    first = Collector(tmp_path / "first")
    return first.tape(first.fetch(FEEDS[AIRPORTS], live.url))


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says on stderr when it does not start."""
    assert main(["--port", "0", *arguments]) == 2
    return capsys.readouterr().err


def test_a_truncated_tape_is_refused_wherever_it_is_cut(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, cut = tape.read_bytes(), tmp_path / "cut.warc.gz"
    members = [data.index(b"\x1f\x8b\x08", n) for n in range(1, len(data)) if data.startswith(b"\x1f\x8b\x08", n)]
    for length in {len(data) // 3, len(data) // 2, len(data) - 1, members[-1]}:
        cut.write_bytes(data[:length])
        said = complaint(capsys, "--tape", str(cut))
        assert (
            said.startswith(f"{cut}: it ") and ("truncated" in said or "ends before its closing record" in said) and " — " in said
        )
    assert not list(tmp_path.glob("madang-tape-*"))


def test_a_tape_whose_bytes_were_changed_is_refused(tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = gzip.decompress(tape.read_bytes())
    place = plain.index(b"\r\n\r\niata,name") + 5
    tape.write_bytes(gzip.compress(plain[:place] + b"#" + plain[place + 1 :]))
    assert "digest" in complaint(capsys, "--tape", str(tape)) and str(tape) in complaint(capsys, "--tape", str(tape))


def test_what_is_no_tape_is_named(tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, none = tmp_path / "empty", tmp_path / "none"
    empty.mkdir()
    assert complaint(capsys, "--tape", str(empty)).startswith(f"{empty}: the folder holds no .warc or .warc.gz — ")
    assert complaint(capsys, "--tape", str(none)).startswith(f"{none}: there is no such file — ")
    only_info = on_tape(tmp_path, info(software="Other/1"))
    assert complaint(capsys, "--tape", str(only_info)).startswith(f"{only_info}: no answer over HTTP is recorded there — ")
    assert "go with --tape" in complaint(capsys, "--only-tape")
    said = complaint(capsys, "--tape", str(tape), "--fault", f"{AIRPORTS}=html_200")
    # The tape answers for its host, so the engine's route is none; the tape's is.
    assert f"'{AIRPORTS}' is no route" in said and "tape.www.faa.gov" in said


def test_files_of_drops_are_left_out_with_a_word(live: Served, tape: Path, tmp_path: Path) -> None:
    drop = Collector(tmp_path / "drop")
    record = drop.fetch(FEEDS["us.noaa.ghcn_central_park"], live.url)
    assert record.outcome == "Ok"
    with pytest.raises(MadangError, match="files that came without HTTP"), replayed(drop.tape(record)):
        raise AssertionError("unreachable")
    with replayed(tape, drop.tape(record)) as again:
        lines = again.agency.tape.lines()  # type: ignore[union-attr]
    assert lines[0] == "www.faa.gov: 1 answer to 1 request (synthetic)"
    assert lines[1].startswith("left out: files that came without HTTP (drops): ")


def test_engines_answer_for_all_other_hosts_or_none_does(tape: Path, tmp_path: Path) -> None:
    with served(AgencyConfig(tapes=(tape,), today=NOW.date())) as both:
        Collector(tmp_path / "a").fetch(FEEDS[AIRPORTS], both.url)
        assert Collector(tmp_path / "b").fetch(FEEDS[AIR], both.url).outcome == "Ok"
        assert [r["route"] for r in both.requests] == ["tape.www.faa.gov", AIR, AIR]
    with replayed(tape) as alone:
        assert Collector(tmp_path / "c").fetch(FEEDS[AIR], alone.url).outcome == "Gone"
        got = alone.get(FEEDS[AIR].source.address)
        assert got.body.decode() == "Nothing of apis.data.go.kr is on the tape; it has answers of www.faa.gov.\n"
        assert {r["note"] for r in alone.requests} == {ABSENT} and {r["route"] for r in alone.requests} == {None}
        assert alone.client.admin("requests").json()["not_on_tape"] == len(alone.requests)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("status_500", "Transient"),
        ("html_200", "Malformed"),
        ("status_500:2", "Ok"),
        ("stream_cut", "Ok"),
        ("utf8_bom", "Ok"),
    ],
)
def test_faults_are_switched_on_by_the_host(fault: str, outcome: str, tape: Path, tmp_path: Path) -> None:
    with replayed(tape, faults={"tape.www.faa.gov": (fault,)}) as again:
        assert Collector(tmp_path / "a").fetch(FEEDS[AIRPORTS], again.url).outcome == outcome
        again.client.fault("tape.www.faa.gov", None)
        assert Collector(tmp_path / "b").fetch(FEEDS[AIRPORTS], again.url).outcome == "Ok"


def test_an_unsound_revisit_is_refused(live: Served, tmp_path: Path) -> None:
    first = Collector(tmp_path / "first")
    first.fetch(FEEDS[AIR], live.url)
    first.clock.time += timedelta(hours=1)
    night = first.tape(first.fetch(FEEDS[AIR], live.url))
    plain = gzip.decompress(night.read_bytes())
    at = plain.index(b"WARC-Payload-Digest: sha256:") + len(b"WARC-Payload-Digest: sha256:")
    night.write_bytes(gzip.compress(plain[:at] + b"0" * 64 + plain[at + 64 :]))
    with pytest.raises(IntegrityError, match="not that of the body it refers to"), replayed(night):
        raise AssertionError("unreachable")
