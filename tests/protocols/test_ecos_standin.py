"""ecos against the stand-in: whole or failed, too large in halves, half an hour of rest after too many calls, revised series."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.archive.fetches import open_bodies
from assets.feeds.load import shipped
from assets.feeds.model import Feed
from assets.tables.judging import judge
from assets.tables.staging import stage
from tests.protocols.standin_scene import NOW, Scene, feed_for, fetch_on_paper, paper, scene

FIRST_DAY = date(2026, 10, 1)
ROUTE: dict[str, Any] = {"kind": "ecos", "host": "ecos.bok.or.kr", "path": "/api", "options": {"renamed": {"TIME": "PRD_DE"}}}
RATE: dict[str, Any] = {"protocol": "ecos", "table": "722Y001", "cycle": "D", "items": ["0101000"], "first_day": FIRST_DAY}


def feed(size: int = 10, **source: Any) -> Feed:
    return feed_for(RATE | {"size": size} | source, ["TIME", "DATA_VALUE"], contract={"columns": COLUMNS})


COLUMNS = [{"name": "day", "source": "TIME"}, {"name": "rate", "source": "DATA_VALUE"}]


def rows(count: int, value: str = "2.5", item: str = "0101000", name: str = "한국은행 기준금리") -> list[dict[str, Any]]:
    days = [FIRST_DAY + timedelta(days=n) for n in range(count)]
    return [row(f"{day:%Y%m%d}", value if n else "3.00", item, name) for n, day in enumerate(days)]


def row(period: str, value: str, item: str, name: str) -> dict[str, Any]:
    return {
        "STAT_CODE": "722Y001", "STAT_NAME": "1.3.1. 한국은행 기준금리", "ITEM_CODE1": item, "ITEM_NAME1": name, "UNIT_NAME": "연%",
        "WGT": None, "TIME": period, "DATA_VALUE": value,
    }  # fmt: skip


def read(count: int, value: str = "2.5") -> list[tuple[str, str]]:
    return [(r["TIME"], r["DATA_VALUE"]) for r in rows(count, value)]


FAULTS = [
    "page_size_capped:3",
    "offset_ignored",
    "duplicate_rows_between_pages",
    "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50",
    "xml_error_on_json",
    "xml_error_on_json:ERROR-601",
    "html_200",
    "empty_body_200",
    "status_500:1",
    "no_data",
    "column_renamed",
]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(1, 15),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
    st.sampled_from(["json", "xml"]),
    st.one_of(st.none(), st.integers(1, 40)),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(
    total: int, size: int, faults: list[str], kind: str, largest: int | None
) -> None:
    one, options = feed(size, type=kind), {**ROUTE["options"], "largest": largest}
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, rows(total), faults=faults, **{**ROUTE, "options": options}))
    assert done.outcome in ("Ok", "Empty", "Malformed", "RateLimited", "Transient"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read(total)
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("bank"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.serve(rows(25))
    agency.fault()
    agency.forget()
    agency.agency.memories.clear()
    agency.secret = agency.agency.config.key
    return agency


def paths(scene: Scene) -> list[str]:
    return [request["path"].removeprefix("/api/") for request in scene.requests]


def test_all_pages_once_with_the_key_in_no_log(clean: Scene) -> None:
    clean.clock.slept.clear()
    record = clean.fetch()
    assert clean.rows(record) == read(25)
    until = clean.clock.time.date()
    assert paths(clean) == [
        f"StatisticSearch/***/json/kr/{first}/{first + 9}/722Y001/D/20261001/{until:%Y%m%d}/0101000" for first in (1, 11, 21)
    ]
    assert clean.secret not in repr(record)
    assert sum(clean.clock.slept) >= 2 * 0.6


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("xml_error_on_json", "RateLimited", 1),
        ("xml_error_on_json:INFO-100", "AuthFailed", 1),
        ("xml_error_on_json:ERROR-101", "BadRequest", 1),
        ("xml_error_on_json:ERROR-600", "Transient", 5),
        ("status_403", "AuthFailed", 1),
        ("status_500", "Transient", 5),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("total_changes_mid_crawl:99", "Malformed", 6),
        ("column_renamed", "Malformed", 2),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault",
    [
        "status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7", "cp949_body",
        "utf8_bom", "total_changes_mid_crawl:2",
    ],
)  # fmt: skip
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read(25)


def test_a_wrong_key_is_asked_once(clean: Scene) -> None:
    clean.secret = "NOBODYSKEY0123456789"
    assert clean.secret not in str(clean.fails("AuthFailed"))
    assert len(clean.requests) == 1 and "NOBODY" not in paths(clean)[0]


def test_after_too_many_calls_nothing_is_sent_for_half_an_hour(clean: Scene) -> None:
    many = feed(size=1, limits={"per_second": 1000})
    with scene(clean.folder / "busy", many, rows(9), **{**ROUTE, "options": {"calls": 4}}) as busy:
        error = busy.fails("RateLimited")
        assert "602" in str(error) and len(busy.requests) == 5
        began = busy.clock.time
        busy.clock.time -= timedelta(days=1)  # the next fetch comes at once, and waits
        busy.agency.memories.clear()
        busy.serve(rows(3))
        assert busy.rows(busy.fetch(many), many) == read(3)
        assert busy.clock.time - began >= timedelta(minutes=30)


def test_what_is_too_large_is_asked_in_halves(clean: Scene) -> None:
    one = feed(size=100, limits={"per_second": 1000})
    with scene(clean.folder / "large", one, rows(50), **{**ROUTE, "options": {"largest": 16}}) as large:
        record = large.fetch()
        assert large.rows(record) == read(50)
        spans = [path.split("/D/")[1].split("/")[:2] for path in paths(large)]
        assert len(spans) > 4 and spans[0][0] == spans[1][0] == "20261001"
        large.serve([row("20261001", "2.5", "0101000", str(n)) for n in range(17)])
        large.forget()
        assert "400" in str(large.fails("BadRequest"))  # a single day cannot be halved
        assert len(large.requests) < 10


def test_revised_values_come_with_the_next_window(clean: Scene) -> None:
    assert clean.rows(clean.fetch())[1:] == read(25)[1:]
    clean.serve(rows(25, "2.75"))
    again = clean.fetch()
    assert again.outcome == "Ok" and clean.rows(again) == read(25, "2.75")


def test_the_look_first_spares_the_values_until_the_item_covers_more(clean: Scene) -> None:
    looking = feed(size=100, look_first=True)
    assert clean.rows(clean.fetch(looking), looking) == read(25)
    clean.forget()
    assert clean.fetch(looking).outcome == "NotModified"
    assert [path.split("/")[0] for path in paths(clean)] == ["StatisticItemList"]
    clean.serve(rows(26))
    assert clean.rows(clean.fetch(looking), looking) == read(26)
    clean.serve(rows(26, item="0102000"))
    assert "no item 0101000" in str(clean.fails("Malformed", looking))


def test_the_look_first_does_not_take_another_item_for_the_one_that_was_asked_for(clean: Scene) -> None:
    """Series of one table mostly begin, end and count alike."""
    looking = feed(size=100, look_first=True)
    clean.serve([*rows(25), *rows(25, "9.75", item="0102000")])
    assert clean.rows(clean.fetch(looking), looking) == read(25)
    other = feed(size=100, look_first=True, items=["0102000"])
    asked = clean.fetch(other)
    assert asked.outcome == "Ok" and clean.rows(asked, other) == read(25, "9.75")
    shorter = feed(size=100, look_first=True, items=["0102000"], first_day=FIRST_DAY + timedelta(days=10))
    asked = clean.fetch(shorter)
    assert asked.outcome == "Ok" and clean.rows(asked, shorter) == read(25, "9.75")[10:]
    assert clean.fetch(shorter).outcome == "NotModified"


@pytest.mark.parametrize("value", [{"cycle": "M"}, {"items": ["9"]}, {"table": "999Y999"}])
def test_what_is_not_there_is_empty(clean: Scene, value: dict[str, Any]) -> None:
    assert clean.fetch(feed(**value)).outcome == "Empty"


def test_a_renumbered_item_is_known_by_its_name(tmp_path: Path) -> None:
    """The code asked for names something else by now: no row of it gets into the table."""
    base_rate = shipped()["kr.bok.base_rate"]
    with scene(tmp_path, base_rate, [], **ROUTE) as bank:
        # The second fetch looks back: it asks for one day more.
        for name, days, accepted in (("한국은행 기준금리", 31, 31), ("자금조정대출금리", 32, 0)):
            bank.serve(rows(90, name=name))
            record = bank.fetch()
            out = tmp_path / record.fetch_id
            out.mkdir()
            stream = base_rate.protocol.parse(base_rate, base_rate.source, open_bodies(bank.store, bank.ledger, record, out))
            staged = stage(base_rate, stream, out / "staged.parquet")
            judged = judge(base_rate, staged, out, source_id=record.fetch_id, fetched_at=NOW)
            assert (judged.rows_accepted, judged.rows_quarantined) == (accepted, days - accepted), judged.by_rule
            assert set(judged.by_rule) <= {"codes"}
