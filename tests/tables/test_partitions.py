"""A table of time partitions: each judged, replaced and rebuilt on its own, and two writers at once lose nothing of each other."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.archive.fetches import FetchRecord
from assets.archive.ledger import Ledger
from assets.errors import IntegrityError
from assets.feeds.model import Feed
from assets.store import Store
from assets.tables import build as building
from assets.tables.build import build_table, contract_digest, is_current
from assets.tables.index import TableIndex, index_key, live_paths, read_index
from assets.tables.replay import rebuild
from tests.tables.making import NOW, Home, make_feed, read

DAY = {"name": "day", "source": "Date", "type": "date", "nullable": False}
PRICE = {"name": "price", "source": "Price", "type": "integer", "cleared": True}
SOURCE = {"protocol": "http_file", "url": "https://agency.example/{partition}.csv", "format": "csv"}


def monthly(contract: dict[str, Any] | None = None, column: str | None = "day", **parts: Any) -> Feed:
    partitions = {"every": "month", "start": "2026-01", "column": column}
    return make_feed([DAY, PRICE], contract={"key": ["day"]} | (contract or {}), source=SOURCE, partitions=partitions, **parts)


def csv_of(*rows: tuple[str, Any]) -> bytes:
    return "\n".join(["Date,Price", *(f"{day},{price}" for day, price in rows)]).encode()


def month(number: int, *prices: Any) -> bytes:
    """A month's file: its first days, a price each."""
    return csv_of(*((f"2026-{number:02}-{n:02}", price) for n, price in enumerate(prices, 1)))


def at(hour: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hour)


def index_of(home: Home, feed: Feed) -> TableIndex:
    index = read_index(home.store, feed.id)
    assert index is not None
    return index


def live(home: Home, feed: Feed) -> dict[str, Any]:
    rows = read(live_paths(home.store, index_of(home, feed), home.folder / "cache"))
    assert len({row["day"] for row in rows}) == len(rows)
    return {f"{row['day']:%m-%d}": row["price"] for row in rows}


class Year:
    """A home with a feed by the month."""

    def __init__(self, home: Home, feed: Feed | None = None) -> None:
        self.home, self.feed, self.hour = home, feed or monthly(), 0

    def fetch(self, partition: str, body: bytes, **kw: Any) -> FetchRecord:
        self.hour += 1
        return self.home.archive(self.feed, body, at(self.hour), partition=partition, **kw)

    def pull(self, partition: str, body: bytes, **kw: Any) -> Any:
        result = self.home.build(self.feed, self.fetch(partition, body, **kw))
        assert result.accepted + result.quarantined == result.rows_read and result.partition == partition
        return result

    @property
    def live(self) -> dict[str, Any]:
        return live(self.home, self.feed)


def test_a_full_fetch_replaces_its_partition_alone(home: Home) -> None:
    year = Year(home)
    year.pull("2026-01", month(1, 10, 11, 12, 13, 14))
    year.pull("2026-02", month(2, 20, 21))
    before = index_of(home, year.feed).partitions["2026-02"]
    result = year.pull("2026-01", month(1, 10, 99, 12, 13))
    assert year.live == {"01-01": 10, "01-02": 99, "01-03": 12, "01-04": 13, "02-01": 20, "02-02": 21}
    assert (result.changes.revised, result.changes.withdrawn, result.changes.unchanged) == (1, 1, 3)
    assert index_of(home, year.feed).partitions["2026-02"] == before
    keys = [file.key for file in index_of(home, year.feed).live_files()]
    assert [key.split("/")[2] for key in keys] == ["2026-01", "2026-02"]


def test_the_shrink_guard_counts_within_the_partition(home: Home) -> None:
    """Two rows of twelve are few in the table, and all of February."""
    year = Year(home)
    year.pull("2026-01", month(1, *range(10)))
    year.pull("2026-02", month(2, 20, 21))
    result = year.pull("2026-02", month(2, 20))
    assert [check.name for check in result.blocked] == ["shrink_guard"] and len(year.live) == 12
    result = year.pull("2026-02", b"", outcome="Empty")
    assert result.blocked and len(year.live) == 12


def test_an_empty_partition_is_a_partition_without_rows(home: Home) -> None:
    year = Year(home, monthly({"min_rows": 0}))
    year.pull("2026-01", month(1, 1))
    assert not year.pull("2026-02", b"", outcome="Empty").blocked
    assert year.live == {"01-01": 1} and set(index_of(home, year.feed).partitions) == {"2026-01", "2026-02"}


@pytest.mark.parametrize(
    ("feed", "rows"),
    [
        (monthly({"max_quarantine": 0.5}), [("2026-02-01", 1), ("2026-01-31", 2), ("2026-03-01", 3), ("2026-02-28", 4)]),
        (
            make_feed(
                [{"name": "y", "type": "integer", "nullable": False}, {"name": "m", "nullable": False}],
                contract={"max_quarantine": 0.5},
                source=SOURCE,
                partitions={"every": "month", "start": "2025-01", "column": {"y": "%Y", "m": "%m"}},
            ),
            [(2026, "02"), (2026, "03"), (2025, "02"), (2026, "2")],
        ),
    ],
)
def test_rows_of_another_time_are_refused(home: Home, feed: Feed, rows: list[tuple[Any, Any]]) -> None:
    header = ",".join(column.source_name for column in feed.contract.columns)
    body = "\n".join([header, *(f"{a},{b}" for a, b in rows)]).encode()
    result = home.build(feed, home.archive(feed, body, at(1), partition="2026-02"))
    assert (result.rows_read, result.accepted, result.by_rule) == (4, 2, {"outside_partition": 2})
    (held,) = index_of(home, feed).partitions["2026-02"].quarantine.files
    reasons = {row["_reason"] for row in read(home.store.local_path(held.key, home.folder / "cache"))}
    assert reasons == {"not of the partition 2026-02"}


def test_an_agency_that_takes_no_notice_of_the_month_changes_nothing(home: Home) -> None:
    """It sends everything whatever it is asked for: each month would hold the whole."""
    year = Year(home)
    everything = csv_of(*((f"2026-{number:02}-01", number) for number in range(1, 11)))
    assert [check.name for check in year.pull("2026-02", everything).blocked] == ["quarantine_within_bound"]
    assert read_index(home.store, year.feed.id) is None


def test_a_timestamp_is_judged_in_the_partitions_own_zone(home: Home) -> None:
    feed = make_feed(
        [{"name": "at", "type": "timestamp", "format": "%Y-%m-%d %H:%M", "nullable": False}],
        decode={"timezone": "Asia/Seoul"},
        source=SOURCE,
        partitions={"every": "day", "start": "2026-01-01", "timezone": "Asia/Seoul", "column": "at"},
        contract={"max_quarantine": 1},
    )
    body = b"at\n2026-02-01 00:00\n2026-02-01 23:59\n2026-02-02 00:00\n2026-01-31 23:59"
    result = home.build(feed, home.archive(feed, body, at(1), partition="2026-02-01"))
    assert (result.accepted, result.by_rule) == (2, {"outside_partition": 2})


def test_upserts_add_and_revise_within_their_partition(home: Home) -> None:
    year = Year(home, monthly(incremental={"kind": "upsert"}))
    year.pull("2026-01", month(1, 10, 11))
    year.pull("2026-02", month(2, 20))
    year.pull("2026-01", csv_of(("2026-01-02", 99), ("2026-01-03", 12)))
    assert year.live == {"01-01": 10, "01-02": 99, "01-03": 12, "02-01": 20}


def test_a_key_that_moves_to_another_month_is_gone_from_the_old_one_with_its_next_fetch(home: Home) -> None:
    """Full partitions of a key without the time: between the two fetches it is in both, and no longer."""
    feed = make_feed(
        [{"name": "id", "nullable": False}, {"name": "x"}],
        contract={"key": ["id"]},
        source=SOURCE,
        partitions={"every": "month", "start": "2026-01"},
        deletes={"shrink_guard": 1},
    )
    year = Year(home, feed)
    year.pull("2026-01", b"id,x\na,1\nb,1")
    year.pull("2026-02", b"id,x\nb,2")
    rows = live_paths(home.store, index_of(home, feed), home.folder / "cache")
    assert [row["id"] for row in read(rows, "id")] == ["a", "b", "b"]
    year.pull("2026-01", b"id,x\na,1")
    rows = live_paths(home.store, index_of(home, feed), home.folder / "cache")
    assert [(row["id"], row["x"]) for row in read(rows, "id")] == [("a", "1"), ("b", "2")]


def test_an_older_fetch_of_one_partition_is_older_than_that_partition_only(home: Home) -> None:
    year = Year(home)
    early = year.fetch("2026-01", month(1, 1))
    year.pull("2026-02", month(2, 2))
    assert home.build(year.feed, early).changed and year.live == {"01-01": 1, "02-01": 2}
    assert is_current(year.feed, early, home.store)
    year.pull("2026-01", month(1, 3))
    assert "later fetch" in home.build(year.feed, early).note and year.live["01-01"] == 3


def test_what_a_killed_run_left_goes_into_its_own_partition(home: Home) -> None:
    year = Year(home, monthly(incremental={"kind": "upsert"}))
    year.pull("2026-01", month(1, 1))
    left = year.fetch("2026-01", csv_of(("2026-01-02", 2)))
    other = year.fetch("2026-02", month(2, 20))
    result = year.pull("2026-01", csv_of(("2026-01-03", 3)))
    assert left.fetch_id in result.note and other.fetch_id not in result.note
    assert year.live == {"01-01": 1, "01-02": 2, "01-03": 3}
    home.build(year.feed, other)
    assert year.live == {"01-01": 1, "01-02": 2, "01-03": 3, "02-01": 20}


def test_a_refused_fetch_of_one_partition_is_no_other_partitions_affair(home: Home) -> None:
    year = Year(home)
    year.pull("2026-01", month(1, 1))
    assert year.pull("2026-02", month(2, "n.a.")).blocked
    assert not year.pull("2026-01", month(1, 2)).blocked
    assert year.live == {"01-01": 2}


def test_one_partition_of_another_origin_starts_afresh_and_the_table_is_as_little_to_be_trusted(home: Home) -> None:
    year = Year(home)
    year.pull("2026-01", month(1, 1, 2, 3), origin="synthetic")
    year.pull("2026-02", month(2, 4), origin="agency")
    assert index_of(home, year.feed).origin == "synthetic"
    result = year.pull("2026-01", month(1, 5), origin="agency")
    assert "started afresh" in result.note and year.live == {"01-01": 5, "02-01": 4}
    assert index_of(home, year.feed).origin == "agency"


# --- rebuilds -----------------------------------------------------------------------------------------------------------------


def test_all_partitions_come_back_from_the_archive(home: Home) -> None:
    for number, feed in enumerate((monthly(), monthly(incremental={"kind": "upsert"}))):
        year = Year(home, feed.model_copy(update={"id": f"us.test.rows{number}"}))
        for partition, body in (("2026-01", month(1, 1, 2)), ("2026-02", month(2, 3)), ("2026-01", month(1, 1, 9))):
            year.pull(partition, body)
        kept = {"store": home.store, "ledger": home.ledger, "workdir": home.folder / "again"}
        made = rebuild(year.feed, as_of=None, into=home.folder / f"all-{number}", **kept)  # type: ignore[arg-type]
        assert read(made) == read(live_paths(home.store, index_of(home, year.feed), home.folder / "cache")) and len(made) == 2
        one = rebuild(year.feed, as_of=None, into=home.folder / f"one-{number}", partition="2026-02", **kept)  # type: ignore[arg-type]
        assert [row["price"] for row in read(one)] == [3]
        then = rebuild(year.feed, as_of=at(2 + 1 / 2), into=home.folder / f"then-{number}", **kept)  # type: ignore[arg-type]
        assert sorted(row["price"] for row in read(then)) == [1, 2, 3]


@pytest.mark.parametrize("force", [False, True])
def test_a_lost_index_comes_back_partition_by_partition(home: Home, force: bool) -> None:
    year = Year(home, monthly(incremental={"kind": "upsert"}))
    for partition, body in (("2026-01", month(1, 1)), ("2026-02", month(2, 3)), ("2026-01", csv_of(("2026-01-02", 9)))):
        year.pull(partition, body)
    before = year.live
    assert home.store.root is not None
    (home.store.root / index_key(year.feed.id)).unlink()
    for partition in ("2026-01", "2026-02"):
        last = home.ledger.last_answered(year.feed.id, partition)
        assert last is not None
        home.build(year.feed, last, force=force)
    assert year.live == before


def test_a_changed_contract_rebuilds_a_partition_and_leaves_the_others_as_they_are(home: Home) -> None:
    year = Year(home)
    year.pull("2026-01", month(1, 1))
    year.pull("2026-02", month(2, 2))
    old = contract_digest(year.feed)
    year.feed = monthly({"columns": [DAY, PRICE | {"min": 0}]})
    year.pull("2026-02", month(2, 3))
    parts = index_of(home, year.feed).partitions
    assert parts["2026-01"].contract_sha256 == old != parts["2026-02"].contract_sha256 == contract_digest(year.feed)
    assert year.live == {"01-01": 1, "02-01": 3}


def test_what_says_when_to_ask_is_no_part_of_the_contract() -> None:
    feed = monthly()
    assert feed.partitions is not None
    for later in ({"revised": 3}, {"start": date(2020, 1, 1)}, {"lag": timedelta(1)}, {"running": True}):
        other = feed.model_copy(update={"partitions": feed.partitions.model_copy(update=later)})
        assert contract_digest(other) == contract_digest(feed)
    seoul = monthly(schedule={"cron": "0 0 * * *", "timezone": "Asia/Seoul"})
    assert (
        contract_digest(seoul)
        == contract_digest(feed)
        != contract_digest(monthly(schedule={"cron": "0 0 * * *", "timezone": "UTC"}))
    )
    for other in (monthly(column=None), make_feed([DAY, PRICE], contract={"key": ["day"]})):
        assert contract_digest(other) != contract_digest(feed)


@pytest.mark.parametrize(
    ("first", "then", "named"),
    [(None, "2026-02", "without partitions"), ("2026-02", None, "like 2026-02"), ("2026-02-01", "2026-02", "like 2026-02-01")],
)
def test_two_ways_of_parting_one_table_do_not_meet(home: Home, first: str | None, then: str | None, named: str) -> None:
    """Its rows would stand there twice, and no gate would see it."""

    def feed_for(partition: str | None) -> Feed:
        if partition is None:
            return make_feed([DAY, PRICE], contract={"key": ["day"]})
        every = "month" if len(partition) == 7 else "day"
        parts = {"every": every, "start": "2026-01-01"}
        return make_feed([DAY, PRICE], contract={"key": ["day"]}, source=SOURCE, partitions=parts)

    home.build(feed_for(first), home.archive(feed_for(first), month(2, 1), at(1), partition=first))
    with pytest.raises(IntegrityError, match=f"was made (with partitions )?{named}.*another id"):
        home.build(feed_for(then), home.archive(feed_for(then), month(2, 1), at(2), partition=then))
    assert live(home, feed_for(first)) == {"02-01": 1}
    # Nor does a fetch from before the declaration was changed, where there is no table yet.
    assert home.store.root is not None
    (home.store.root / index_key("us.test.rows")).unlink()
    with pytest.raises(IntegrityError, match="another id"):
        home.build(feed_for(then), home.archive(feed_for(first), month(2, 1), at(3), partition=first))


# --- two at once --------------------------------------------------------------------------------------------------------------


def _backfill(url: str, ledger: str, work: str, barrier: Any, fetches: list[str]) -> None:
    """In a process of its own: build these fetches one after the other."""
    store, books = Store(url), Ledger(ledger)
    barrier.wait(60)
    for fetch_id in fetches:
        record = books.fetch(fetch_id)
        assert record is not None
        result = build_table(monthly(), record, store=store, ledger=books, workdir=Path(work), now=NOW)
        assert result.changed


def test_two_processes_that_backfill_lose_nothing_of_each_other(home: Home) -> None:
    year = Year(home)
    left = {side: [year.fetch(f"2026-{n:02}", month(n, n)).fetch_id for n in months] for side, months in enumerate(SIDES)}
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    where = (home.store.url, f"sqlite:///{home.folder}/ledger.db")
    works = [str(home.folder / f"work-{side}") for side in left]
    running = [context.Process(target=_backfill, args=(*where, works[side], barrier, left[side])) for side in left]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0]
    assert year.live == {f"{n:02}-01": n for n in range(1, 11)}


SIDES = ((1, 3, 5, 7, 9), (2, 4, 6, 8, 10))


def swapped_meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> list[int]:
    """Somebody else `act`s between the merge of a build and its swap, once; how many merges there were."""
    merges, true_merge, true_swap = [0], building.merge, building.swap_partition
    acted = threading.Event()

    def merge(*args: Any, **kw: Any) -> Any:
        merges[0] += not acted.is_set() or threading.current_thread() is threading.main_thread()
        return true_merge(*args, **kw)

    def swap(*args: Any) -> None:
        if not acted.is_set():
            acted.set()
            merges_before = merges[0]
            act()
            merges[0] = merges_before
        true_swap(*args)

    monkeypatch.setattr(building, "merge", merge)
    monkeypatch.setattr(building, "swap_partition", swap)
    return merges


def test_another_partition_swapped_meanwhile_is_kept_and_nothing_is_merged_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    year = Year(home)
    year.pull("2026-01", month(1, 1))
    other = year.fetch("2026-03", month(3, 3))
    mine = year.fetch("2026-02", month(2, 2))
    merges = swapped_meanwhile(monkeypatch, lambda: home.build(year.feed, other))
    home.build(year.feed, mine)
    assert year.live == {"01-01": 1, "02-01": 2, "03-01": 3} and merges == [1]


def test_the_same_partition_swapped_meanwhile_is_merged_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    year = Year(home, monthly(incremental={"kind": "upsert"}))
    year.pull("2026-01", month(1, 1))
    other = year.fetch("2026-01", csv_of(("2026-01-02", 2)))
    mine = year.fetch("2026-01", csv_of(("2026-01-03", 3)))
    monkeypatch.setattr(building, "missed", lambda *_, **__: [])
    merges = swapped_meanwhile(monkeypatch, lambda: home.build(year.feed, other))
    home.build(year.feed, mine)
    assert year.live == {"01-01": 1, "01-02": 2, "01-03": 3} and merges == [2]


def test_many_threads_backfill_one_table(home: Home) -> None:
    year = Year(home)
    fetches = [year.fetch(f"2026-{n:02}", month(n, n)) for n in range(1, 11)]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda fetch: home.build(year.feed, fetch, threads=1), fetches))
    assert year.live == {f"{n:02}-01": n for n in range(1, 11)}
    assert sum(part.rows for part in index_of(home, year.feed).partitions.values()) == index_of(home, year.feed).rows == 10
