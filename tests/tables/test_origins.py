"""Tables over fetches of several origins: rows of two never stand together, and the archive alone gives the same table."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.tables.build import contract_digest, is_current
from assets.tables.index import TableIndex, live_paths, read_index
from assets.tables.replay import rebuild
from tests.tables.making import Home, make_feed, read
from tests.tables.test_build import DAY, PRICE, ROWS, at, csv_of, wti


def index_of(home: Home, feed: Feed) -> TableIndex:
    index = read_index(home.store, feed.id)
    assert index is not None
    return index


def live_rows(home: Home, feed: Feed) -> list[dict[str, Any]]:
    return read(live_paths(home.store, index_of(home, feed), home.folder / "cache"))


def body_of(days: range, value: int) -> bytes:
    return csv_of(*((f"2024-01-{day:02}", str(value)) for day in days))


@pytest.mark.parametrize("kind", ["full", "upsert"])
@pytest.mark.parametrize("seed", range(6))
def test_every_table_is_of_one_origin_and_the_archive_gives_it_again(home: Home, kind: str, seed: int) -> None:
    """Fetches that grow, shrink beyond the guard, break the contract and change their origin, in any order."""
    chance = random.Random(seed)
    feed = wti(incremental={"kind": kind})
    switched = 0
    for n in range(10):
        origin = chance.choice(["synthetic", "agency", "agency", "replay"])
        body = body_of(range(1, chance.choice([4, 12, 14, 28])), chance.randrange(3))
        if n and chance.random() < 0.15:
            body = body.replace(b",0", b",n.a.").replace(b",1", b",n.a.").replace(b",2", b",n.a.")
        before = read_index(home.store, feed.id)
        record = home.archive(feed, body, at(date(2024, 2, 1 + n)), origin=origin)
        result = home.build(feed, record)
        live, index = live_rows(home, feed), index_of(home, feed)
        known = {fetch.fetch_id: fetch.origin for fetch in home.ledger.history(feed.id)}
        assert {known[row["_source_id"]] for row in live} == {index.origin}
        if result.blocked:
            assert before == index
        else:
            assert index.origin == origin and is_current(feed, record, home.store)
        if before is not None and before.origin != index.origin:
            switched += 1
            assert result.note == f"started afresh: the origin changed from {before.origin} to {origin}"
        surroundings: dict[str, Any] = {"store": home.store, "ledger": home.ledger, "workdir": home.folder / "again"}
        again = rebuild(feed, as_of=record.finished_at, into=home.folder / f"as-of-{n}", **surroundings)
        assert read(again) == live
    assert switched
    # Rebuilt in place, up to the fetch that got in last, it is the same table still.
    last = home.ledger.fetch(index_of(home, feed).partitions["all"].last_fetch_id)
    assert last is not None
    assert not home.build(feed, last, force=True).changed and live_rows(home, feed) == live


def test_the_same_rows_from_the_agency_are_the_agencys(home: Home) -> None:
    """A table of one origin may have all rows of another, or none: it is the newer one's either way."""
    for number, (body, outcome) in enumerate([(body_of(range(1, 4), 1), "Ok"), (b"", "Empty")]):
        feed = make_feed([DAY, PRICE], id=f"us.test.same_{number}", contract={"key": ["day"], "min_rows": 0})
        home.build(feed, home.archive(feed, body, at(date(2024, 2, 1)), origin="synthetic", outcome=outcome))
        record = home.archive(feed, body, at(date(2024, 2, 2)), origin="agency", outcome=outcome)
        assert not is_current(feed, record, home.store)
        assert home.build(feed, record).changed
        assert index_of(home, feed).origin == "agency"
        assert {row["_source_id"] for row in live_rows(home, feed)} <= {record.fetch_id}


def test_a_late_run_of_another_origin_changes_nothing(home: Home) -> None:
    feed = wti(incremental={"kind": "upsert"})
    made_up = home.archive(feed, body_of(range(1, 4), 1), at(date(2024, 2, 1)), origin="synthetic")
    home.build(feed, home.archive(feed, body_of(range(4, 7), 2), at(date(2024, 2, 2)), origin="agency"))
    index = index_of(home, feed)
    late = home.build(feed, made_up)
    assert not late.changed and late.note == "the live table is of a later fetch"
    assert index_of(home, feed) == index


def test_a_late_fetch_leaves_the_quarantine_of_the_latest(home: Home) -> None:
    """What the index lists as quarantined is the latest fetch's, though an older one added rows after it."""
    feed = make_feed([DAY, PRICE], incremental={"kind": "upsert"}, contract={"key": ["day"], "max_quarantine": 1})
    day = datetime(2024, 2, 1, tzinfo=UTC)
    home.build(feed, home.archive(feed, csv_of(("2024-01-03", "3"), ("2024-01-04", "new")), day + timedelta(days=1)))
    older = home.archive(feed, csv_of(("2024-01-01", "1"), ("2024-01-02", "old")), day)
    held = index_of(home, feed).partitions["all"].quarantine
    assert home.build(feed, older).changes.added == 1
    assert index_of(home, feed).partitions["all"].quarantine == held and held.rows == 1


def test_an_archived_fetch_that_nobody_could_read_does_not_stop_a_rebuild(home: Home) -> None:
    feed = wti(incremental={"kind": "upsert"})
    home.build(feed, home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1))))
    page = home.archive(feed, b"<html><body>We are closed on Sundays.</body></html>", at(date(2024, 2, 2)))
    with pytest.raises(UnreadableSource):
        home.build(feed, page)
    newest = home.archive(feed, csv_of(("2024-01-21", "21")), at(date(2024, 2, 3)))
    home.build(feed, newest)
    before = live_rows(home, feed)
    bounded = make_feed([DAY, PRICE | {"min": 0}], contract={"key": ["day"]}, incremental={"kind": "upsert"})
    assert not home.build(bounded, newest).blocked
    assert index_of(home, feed).partitions["all"].contract_sha256 == contract_digest(bounded)
    surroundings: dict[str, Any] = {"store": home.store, "ledger": home.ledger, "workdir": home.folder / "again"}
    again = rebuild(bounded, as_of=None, into=home.folder / "rebuilt", **surroundings)
    assert read(again) == live_rows(home, feed) == before


def test_a_fetch_that_live_rows_came_from_must_be_readable_to_rebuild(home: Home) -> None:
    """Under a contract that cannot read the earlier file its rows would go, and within the guard nobody would be told."""
    feed = wti(incremental={"kind": "upsert"})
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), at(date(2024, 2, 1))))
    home.build(feed, home.archive(feed, csv_of(*ROWS[1:]), at(date(2024, 2, 2))))
    renamed = make_feed([DAY, PRICE | {"source": "Close"}], contract={"key": ["day"]}, incremental={"kind": "upsert"})
    newest = home.archive(feed, csv_of(*ROWS[1:]).replace(b"Price", b"Close"), at(date(2024, 2, 3)))
    with pytest.raises(UnreadableSource, match="Close"):
        home.build(renamed, newest)
    assert len(live_rows(home, feed)) == 20
