"""Rows that the agency sends marked as deleted: they leave the table, behind the shrink guard, and are listed as withdrawn."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.feeds.model import Feed
from assets.tables.build import contract_digest
from assets.tables.merging import Changes
from tests.tables.making import Home, make_feed
from tests.tables.test_build import at
from tests.tables.test_merging import Table

COLUMNS = [{"name": "id", "nullable": False}, {"name": "value"}, {"name": "state"}]
MARKED = {"mode": "tombstone", "column": "state", "values": ["deleted", "D"], "shrink_guard": 1}


def feed_of(**parts: Any) -> Feed:
    declared = {"deletes": MARKED, "incremental": {"kind": "upsert"}} | parts
    return make_feed(COLUMNS, contract={"key": ["id"], "min_rows": 0}, **declared)


def test_a_marked_row_leaves_and_an_unmarked_one_comes_back(tmp_path: Path) -> None:
    table = Table(feed_of(), tmp_path)
    assert table.take([("a", "1", None), ("b", "2", "ok"), ("c", "3", "deleted")]).counts == Changes(added=2)
    merged = table.take([("a", "1", "D"), ("z", "9", "deleted")])
    assert merged.counts == Changes(withdrawn=1, unchanged=1)
    assert table.changed() == [("withdrawn", "a")] and [row[0] for row in table.content()] == ["b"]
    assert table.take([("a", "1", "ok")]).counts == Changes(added=1, unchanged=1)


def test_a_late_fetch_deletes_nothing_that_is_newer(tmp_path: Path) -> None:
    table = Table(feed_of(), tmp_path)
    table.take([("a", "1", None)])
    assert table.take([("a", "0", "deleted")], older=True).counts == Changes(unchanged=1)


def test_a_record_that_went_by_another_id_leaves_with_its_marked_row(tmp_path: Path) -> None:
    """One that was merged with the deleted record, and lives on under its own id, stays."""
    columns = [*COLUMNS, {"name": "ids"}]
    incremental = {"kind": "upsert", "aliases": "ids"}
    table = Table(make_feed(columns, contract={"key": ["id"], "min_rows": 0}, deletes=MARKED, incremental=incremental), tmp_path)
    table.take([("a", "1", None, ",a,"), ("b", "2", None, ",b,c,")])
    merged = table.take([("x", "1", "D", ",x,a,"), ("c", "2", "D", ",c,")])
    assert merged.counts == Changes(withdrawn=1, unchanged=1) and [row[0] for row in table.content()] == ["b"]


def test_the_shrink_guard_stands_before_it(home: Home) -> None:
    feed = make_feed(COLUMNS, contract={"key": ["id"]}, incremental={"kind": "upsert"}, deletes={**MARKED, "shrink_guard": 0.2})
    rows = b"".join(b"%d,x,ok\n" % n for n in range(10))
    home.build(feed, home.archive(feed, b"id,value,state\n" + rows, at(date(2024, 2, 1))))
    gone = home.build(feed, home.archive(feed, b"id,value,state\n" + rows.replace(b"ok", b"deleted"), at(date(2024, 2, 2))))
    assert [check.name for check in gone.blocked] == ["shrink_guard"]
    two = home.build(feed, home.archive(feed, b"id,value,state\n0,x,deleted\n1,x,D\n", at(date(2024, 2, 3))))
    assert not two.blocked and two.changes.withdrawn == 2 and two.rows == 8


ROW = st.tuples(st.sampled_from("abcd"), st.sampled_from("123"), st.sampled_from([None, "ok", "D"]))
FETCHES = st.lists(st.lists(ROW, max_size=4, unique_by=lambda row: row[0]), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FETCHES)
def test_any_sequence_ends_as_the_last_word_on_each_key(tmp_path_factory: pytest.TempPathFactory, fetches: list[Any]) -> None:
    table, wanted = Table(feed_of(), tmp_path_factory.mktemp("t")), dict[str, Any]()
    for rows in fetches:
        table.take(rows)
        for id_, value, state in rows:
            wanted.pop(id_, None)
            if state != "D":
                wanted[id_] = (id_, value, state)
    found = sorted(table.content(), key=lambda row: str(row[0])) if table.live else []
    assert found == [wanted[id_] for id_ in sorted(wanted)]


@pytest.mark.parametrize(
    ("deletes", "said"),
    [
        ({"mode": "tombstone"}, "'column' and 'values'"),
        ({"mode": "none", "column": "state", "values": ["D"]}, "'column' and 'values'"),
        ({**MARKED, "column": "nowhere"}, "no column of the contract"),
    ],
)
def test_what_cannot_be_meant_is_refused(deletes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        feed_of(deletes=deletes)
    with pytest.raises(ValidationError, match="needs incremental"):
        feed_of(incremental={"kind": "full"})


def test_what_marks_a_deleted_row_is_part_of_the_contract() -> None:
    assert contract_digest(feed_of()) != contract_digest(feed_of(deletes={**MARKED, "values": ["D"]}))
