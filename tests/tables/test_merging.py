"""Merging: any sequence of snapshots ends as the last one; what did not change keeps its provenance."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from assets.tables.merging import Changes, Merged, merge
from tests.tables.making import judged_rows, make_feed, read

COLUMNS = [{"name": "id", "nullable": False}, {"name": "value", "null_values": ["-"]}]
Rows = list[tuple[str, str | None]]


def feed_of(*, key: bool = True, **parts: Any) -> Feed:
    return make_feed(COLUMNS, contract={"key": ["id"] if key else [], "min_rows": 0}, **parts)


class Table:
    """A live table in a folder, fetched into again and again."""

    def __init__(self, feed: Feed, folder: Path) -> None:
        self.feed, self.folder = feed, folder
        self.live: list[Path] = []
        self.changes: Path | None = None
        self.fetches = 0

    def take(self, rows: list[Any], **how: Any) -> Merged:
        self.fetches += 1
        folder = self.folder / f"f{self.fetches}"
        folder.mkdir(parents=True)
        judgement = judged_rows(self.feed, rows, folder, fetch=f"f{self.fetches}")
        assert judgement.rows_accepted == len(rows)
        merged = merge(self.feed, judgement.accepted, self.live, folder / "merged", first=not self.live, **how)
        self.changes = merged.changes
        if merged.table is not None:
            self.live = [merged.table]
        return merged

    def content(self) -> list[tuple[Any, ...]]:
        names = [column.name for column in self.feed.contract.columns]
        return [tuple(row[name] for name in names) for row in read(self.live, ", ".join(names))]

    def provenance(self) -> dict[str, str]:
        return {row["id"]: row["_source_id"] for row in read(self.live)}

    def changed(self) -> list[tuple[str, str]]:
        return [(row["_change"], row["id"]) for row in read(self.changes, "_change, id")] if self.changes else []


def test_added_revised_withdrawn_unchanged(tmp_path: Path) -> None:
    table = Table(feed_of(), tmp_path)
    assert table.take([("a", "1"), ("b", "2"), ("c", "3")]).counts == Changes(added=3)
    merged = table.take([("d", "4"), ("c", "3"), ("b", "22")])
    assert merged.counts == Changes(added=1, revised=1, withdrawn=1, unchanged=1)
    assert table.changed() == [("added", "d"), ("revised", "b"), ("withdrawn", "a")]
    assert table.provenance() == {"b": "f2", "c": "f1", "d": "f2"}
    again = table.take([("b", "22"), ("c", "3"), ("d", "4")])
    assert again.table is None and again.changes is None and again.counts == Changes(unchanged=3)


def test_another_reason_for_no_value_is_a_revision(tmp_path: Path) -> None:
    feed = make_feed([COLUMNS[0], COLUMNS[1] | {"null_values": ["-", "X"]}], contract={"key": ["id"]})
    table = Table(feed, tmp_path)
    table.take([("a", "-")])
    assert table.take([("a", "X")]).counts == Changes(revised=1)


def test_rows_without_identity_are_counted(tmp_path: Path) -> None:
    table = Table(feed_of(key=False), tmp_path)
    table.take([("a", "1"), ("a", "1"), ("b", None)])
    merged = table.take([("a", "1"), ("a", "1"), ("a", "1"), ("b", "-")])
    # A null without a marker and a null with one are two contents.
    assert merged.counts == Changes(added=2, withdrawn=1, unchanged=2)
    assert len(table.content()) == 4


def test_without_deletes_what_vanishes_stays(tmp_path: Path) -> None:
    table = Table(feed_of(deletes={"mode": "none"}), tmp_path)
    table.take([("a", "1"), ("b", "2")])
    assert table.take([("b", "3")]).counts == Changes(revised=1, unchanged=1)
    assert table.content() == [("a", "1"), ("b", "3")]


def events(tmp_path: Path) -> Table:
    columns = [*COLUMNS, {"name": "ids"}]
    incremental = {"kind": "upsert", "aliases": "ids"}
    return Table(make_feed(columns, contract={"key": ["id"], "min_rows": 0}, incremental=incremental), tmp_path)


def test_a_merged_event_takes_the_place_of_its_parts(tmp_path: Path) -> None:
    table = events(tmp_path)
    table.take([("ci1", "2.0", ",ci1,"), ("us1", "2.1", ",us1,"), ("ak1", "5", ",ak1,")])
    merged = table.take([("us1", "2.2", ",us1,ci1,")])
    assert merged.counts == Changes(revised=1, withdrawn=1, unchanged=1) and merged.rows_after == 2
    assert table.changed() == [("revised", "us1"), ("withdrawn", "ci1")]
    assert [row[0] for row in table.content()] == ["ak1", "us1"]


def test_an_event_under_a_new_id_is_the_same_event(tmp_path: Path) -> None:
    table = events(tmp_path)
    table.take([("ci1", "2.0", ",ci1,"), ("ak1", "5", ",ak1,")])
    merged = table.take([("us7", "2.1", ",ci1,us7,")])
    assert merged.counts == Changes(revised=1, unchanged=1)
    assert [row[0] for row in table.content()] == ["ak1", "us7"]


def test_an_event_that_is_split_again_becomes_two(tmp_path: Path) -> None:
    table = events(tmp_path)
    table.take([("us1", "2.0", ",us1,ci1,")])
    merged = table.take([("us1", "2.0", ",us1,"), ("ci1", "1.0", ",ci1,")])
    assert merged.counts == Changes(added=1, revised=1) and merged.rows_after == 2


def test_an_older_fetch_only_fills_gaps(tmp_path: Path) -> None:
    table = events(tmp_path)
    table.take([("us1", "2.2", ",us1,ci1,")])
    merged = table.take([("ci1", "2.0", ",ci1,"), ("us1", "1", ",us1,"), ("ak1", "5", ",ak1,")], older=True)
    assert merged.counts == Changes(added=1, unchanged=1)
    assert table.content() == [("ak1", "5", ",ak1,"), ("us1", "2.2", ",us1,ci1,")]


@pytest.mark.parametrize(("left", "passes"), [(10, True), (8, True), (7, False), (0, False)])
def test_the_shrink_guard(tmp_path: Path, left: int, passes: bool) -> None:
    table = Table(feed_of(), tmp_path)
    rows = [(f"r{n}", "1") for n in range(10)]
    assert table.take(rows).shrink_guard.passed
    guard = table.take(rows[:left]).shrink_guard
    assert guard.passed is passes and guard.blocking
    assert guard.observed["before"] == 10 and guard.observed["after"] == left


SNAPSHOT = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2", "-", None]), max_size=6)
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fresh(tmp_path: Path) -> Path:
    return tmp_path / str(len(list(tmp_path.iterdir())))


@SLOW
@given(snapshots=st.lists(SNAPSHOT, min_size=1, max_size=4))
def test_any_sequence_of_snapshots_ends_as_the_last(tmp_path: Path, snapshots: list[dict[str, str | None]]) -> None:
    table = Table(feed_of(deletes={"shrink_guard": 1}), fresh(tmp_path))
    before: dict[str, str | None] = {}
    source: dict[str, str] = {}
    for number, snapshot in enumerate(snapshots, 1):
        counts = table.take(list(snapshot.items())).counts
        kept = [key for key in snapshot if key in before and before[key] == snapshot[key]]
        assert counts == Changes(
            added=len(snapshot.keys() - before.keys()),
            revised=len(snapshot.keys() & before.keys()) - len(kept),
            withdrawn=len(before.keys() - snapshot.keys()),
            unchanged=len(kept),
        )
        source = {key: source[key] if key in kept else f"f{number}" for key in snapshot}
        assert table.provenance() == source
        before = snapshot
    assert table.content() == sorted((key, None if value == "-" else value) for key, value in before.items())


@SLOW
@given(snapshots=st.lists(st.lists(st.sampled_from([("a", "1"), ("a", "2"), ("b", "1")]), max_size=6), min_size=1, max_size=4))
def test_any_sequence_of_snapshots_without_a_key_ends_as_the_last(tmp_path: Path, snapshots: list[Rows]) -> None:
    table = Table(feed_of(key=False, deletes={"shrink_guard": 1}), fresh(tmp_path))
    before: Counter[tuple[str, str | None]] = Counter()
    for snapshot in snapshots:
        counts, now = table.take(snapshot).counts, Counter(snapshot)
        assert (counts.added, counts.withdrawn, counts.unchanged) == tuple(
            c.total() for c in (now - before, before - now, now & before)
        )
        before = now
    assert Counter(table.content()) == before


@SLOW
@given(fetches=st.lists(SNAPSHOT, min_size=1, max_size=4))
def test_upserts_add_up(tmp_path: Path, fetches: list[dict[str, str | None]]) -> None:
    table = Table(feed_of(incremental={"kind": "upsert"}), fresh(tmp_path))
    expected: dict[str, str | None] = {}
    for part in fetches:
        table.take(list(part.items()))
        expected |= part
    assert table.content() == sorted((key, None if value == "-" else value) for key, value in expected.items())


@SLOW
@given(fetches=st.lists(st.lists(st.sets(st.sampled_from("abcdef"), min_size=1, max_size=3), max_size=3), min_size=1, max_size=4))
def test_events_never_overlap_after_a_fetch_that_has_them_apart(tmp_path: Path, fetches: list[list[set[str]]]) -> None:
    """Every fetched event is in the table as fetched, and no live record shares an id with it."""
    table = events(fresh(tmp_path))
    for number, groups in enumerate(fetches):
        apart: list[set[str]] = []
        for group in groups:
            if not any(group & other for other in apart):
                apart.append(group)
        table.take([(min(group), str(number), ",".join(sorted(group))) for group in apart])
        rows = {row[0]: set(row[2].split(",")) for row in table.content()}
        for group in apart:
            assert rows[min(group)] == group
            assert all(not ids & group for key, ids in rows.items() if key != min(group))
