"""A run killed between the archive and the table leaves a fetch behind: the next run takes it in, and nothing is lost."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from assets.errors import MadangError
from assets.feeds.model import Feed
from assets.tables.expectations import judge_expectations
from assets.tables.index import index_key, live_paths, read_index
from assets.tables.replay import rebuild
from tests.tables.making import Home, make_feed, read
from tests.tables.test_build import DAY, PRICE, at, csv_of, live, wti


def upsert(**parts: Any) -> Feed:
    return wti(incremental={"kind": "upsert"}, **parts)


def on(day: int) -> Any:
    return at(date(2024, 2, day))


def test_a_fetch_that_a_killed_run_left_goes_in_with_the_next(home: Home) -> None:
    feed = upsert()
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(1)))
    left = home.archive(feed, csv_of(("2024-01-02", "2"), ("2024-01-03", "3")), on(2))
    result = home.build(feed, home.archive(feed, csv_of(("2024-01-03", "33")), on(3)))
    assert live(home, feed) == {date(2024, 1, 1): 1, date(2024, 1, 2): 2, date(2024, 1, 3): 33}
    assert result.changed and left.fetch_id in result.note
    assert home.store.exists(f"reports/{feed.id}/{left.fetch_id}/table.json")


def test_what_was_left_before_the_first_table_goes_in(home: Home) -> None:
    feed = upsert()
    for day in (1, 2):
        home.archive(feed, csv_of((f"2024-01-0{day}", str(day))), on(day))
    home.build(feed, home.archive(feed, csv_of(("2024-01-03", "3")), on(3)))
    assert live(home, feed) == {date(2024, 1, n): n for n in (1, 2, 3)}


def test_nothing_new_in_the_last_fetch_is_still_a_change_where_one_was_left(home: Home) -> None:
    """Dagster must hear of the new table though the fetch that it asked about brought nothing."""
    feed = upsert()
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(1)))
    home.archive(feed, csv_of(("2024-01-02", "2")), on(2))
    result = home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(3)))
    assert result.changed and result.changes.unchanged == 2 and len(live(home, feed)) == 2


@pytest.mark.parametrize("force", [False, True])
def test_a_lost_index_comes_back_from_the_archive(home: Home, force: bool) -> None:
    feed = upsert()
    for day in (1, 2):
        last = home.archive(feed, csv_of((f"2024-01-0{day}", str(day))), on(day))
        home.build(feed, last)
    assert home.store.root is not None
    (home.store.root / index_key(feed.id)).unlink()
    home.build(feed, last, force=force)
    assert live(home, feed) == {date(2024, 1, 1): 1, date(2024, 1, 2): 2}


def test_a_refused_fetch_was_not_missed(home: Home) -> None:
    feed = upsert()
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(1)))
    refused = home.archive(feed, csv_of(("2024-01-02", "n.a.")), on(2))
    assert home.build(feed, refused).blocked
    result = home.build(feed, home.archive(feed, csv_of(("2024-01-03", "3")), on(3)))
    assert refused.fetch_id not in result.note and len(live(home, feed)) == 2


def test_one_that_was_left_and_is_refused_stops_nobody_and_is_named(home: Home) -> None:
    feed = upsert()
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(1)))
    left = home.archive(feed, csv_of(("2024-01-02", "n.a.")), on(2))
    result = home.build(feed, home.archive(feed, csv_of(("2024-01-03", "3")), on(3)))
    assert not result.blocked and f"{left.fetch_id} (refused: quarantine_within_bound)" in result.note
    assert set(live(home, feed)) == {date(2024, 1, 1), date(2024, 1, 3)}


def test_one_that_was_left_and_cannot_be_read_stops_nobody(home: Home) -> None:
    feed = upsert()
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(1)))
    home.archive(feed, b"<html><body>We are closed on Sundays.</body></html>", on(2))
    assert not home.build(feed, home.archive(feed, csv_of(("2024-01-03", "3")), on(3))).blocked
    assert set(live(home, feed)) == {date(2024, 1, 1), date(2024, 1, 3)}


def test_a_full_fetch_replaces_what_was_left(home: Home) -> None:
    feed = wti()
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(1)))
    left = home.archive(feed, csv_of(("2024-01-01", "1"), ("2024-01-02", "2")), on(2))
    result = home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1"), ("2024-01-03", "3")), on(3)))
    assert left.fetch_id not in result.note and set(live(home, feed)) == {date(2024, 1, 1), date(2024, 1, 3)}


def test_a_table_that_keeps_what_vanished_takes_in_what_was_left(home: Home) -> None:
    """Full fetches whose absences mean nothing: rows that only the left one had are still the table's."""
    feed = wti(deletes={"mode": "none"})
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(1)))
    home.archive(feed, csv_of(("2024-01-02", "2")), on(2))
    home.build(feed, home.archive(feed, csv_of(("2024-01-03", "3")), on(3)))
    assert set(live(home, feed)) == {date(2024, 1, n) for n in (1, 2, 3)}


def test_each_fetch_has_the_data_docs_of_its_own_judgement(home: Home) -> None:
    """Also when a rebuild judges all of them again."""
    feed = upsert()
    left = home.archive(feed, csv_of(("2024-01-01", "1"), ("2024-01-02", "2")), on(1))
    last = home.archive(feed, csv_of(("2024-01-03", "3")), on(2))
    home.build(feed, last, judge_expectations=judge_expectations)
    bounded = make_feed([DAY, PRICE | {"min": 0}], contract={"key": ["day"]}, incremental={"kind": "upsert"})
    home.build(bounded, last, judge_expectations=judge_expectations)
    for record in (left, last):
        pages = list(home.store.list(f"reports/{feed.id}/{record.fetch_id}"))
        assert any(page.endswith("index.html") for page in pages), record.fetch_id
    documents = [page for page in home.store.list(f"reports/{feed.id}/{last.fetch_id}") if page.endswith(".html")]
    assert documents and not any(left.fetch_id in page for page in documents)


def test_a_rebuild_does_not_go_beside_another_table(home: Home) -> None:
    feed = upsert()
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), on(1)))
    into = home.folder / "rebuilt"
    surroundings: dict[str, Any] = {"store": home.store, "ledger": home.ledger, "workdir": home.folder / "again"}
    first = rebuild(feed, as_of=None, into=into, **surroundings)
    before = [path.read_bytes() for path in first]
    with pytest.raises(MadangError, match="holds a table already") as caught:
        rebuild(feed, as_of=None, into=into, **surroundings)
    assert str(into) in str(caught.value) and [path.read_bytes() for path in first] == before
    index = read_index(home.store, feed.id)
    assert read(first) == read(live_paths(home.store, index, home.folder / "cache"))
