"""One judgement over all rows: duplicates, aliases, expectations, bounds; every row is accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from assets.tables.judging import Judgement, united
from quality.verdict import CheckResult, ExpectationVerdict
from tests.tables.making import judged_rows, make_feed, read

ID = {"name": "id", "nullable": False}
VALUE = {"name": "value", "type": "integer", "null_values": []}
UPDATED = {"name": "updated", "type": "integer"}
IDS = {"name": "ids"}


def quarantined(judgement: Judgement) -> dict[int, str]:
    return {row["_source_row"]: row["_rule"] for row in read(judgement.quarantine)}


def accepted(judgement: Judgement) -> list[int]:
    return [row["_source_row"] for row in read(judgement.accepted, "_source_row")]


def failed(judgement: Judgement) -> set[str]:
    return {check.name for check in judgement.checks if not check.passed}


def keyed(**contract: Any) -> Feed:
    return make_feed([ID, VALUE], contract={"key": ["id"], "max_quarantine": 1, **contract})


def test_the_same_row_twice_is_kept_once(tmp_path: Path) -> None:
    judgement = judged_rows(keyed(), [["a", "1"], ["b", "2"], ["a", "1.0"], ["a", " 1"]], tmp_path)
    assert accepted(judgement) == [1, 2] and quarantined(judgement) == {3: "duplicate_row", 4: "duplicate_row"}


def test_without_a_key_equal_rows_are_rows(tmp_path: Path) -> None:
    judgement = judged_rows(make_feed([ID, VALUE]), [["a", "1"], ["a", "1"]], tmp_path)
    assert accepted(judgement) == [1, 2]


def test_one_key_with_two_contents_and_no_cursor_is_nobodys(tmp_path: Path) -> None:
    judgement = judged_rows(keyed(), [["a", "1"], ["b", "2"], ["a", "3"], ["a", "1"]], tmp_path)
    assert accepted(judgement) == [2]
    assert quarantined(judgement) == {1: "key_conflict", 3: "key_conflict", 4: "duplicate_row"}


def test_the_greatest_cursor_wins(tmp_path: Path) -> None:
    feed = make_feed([ID, VALUE, UPDATED], contract={"key": ["id"]}, incremental={"kind": "upsert", "cursor": "updated"})
    rows = [["a", "1", "10"], ["a", "2", "30"], ["a", "3", None], ["b", "1", "5"], ["b", "2", "5"], ["b", "3", "1"]]
    judgement = judged_rows(feed, rows, tmp_path)
    assert accepted(judgement) == [2]
    assert quarantined(judgement) == {1: "superseded", 3: "superseded", 4: "key_conflict", 5: "key_conflict", 6: "superseded"}


def test_superseded_rows_are_set_aside_and_are_no_fault_that_stops_a_table(tmp_path: Path) -> None:
    """A small increment may carry several versions of one record; a copy, a conflict or a broken value is a fault of the file."""
    feed = make_feed(
        [ID, VALUE, UPDATED],
        contract={"key": ["id"], "max_quarantine": 0.2},
        incremental={"kind": "upsert", "cursor": "updated"},
    )
    versions: list[list[str | None]] = [["a", "1", "10"], ["a", "2", "30"], ["a", "1", "20"]]
    for folder, faults, blocked in (("none", [], []), ("one", [["b", "x", "1"]], ["quarantine_within_bound"])):
        (tmp_path / folder).mkdir()
        judgement = judged_rows(feed, [*versions, *faults], tmp_path / folder)
        bound = next(check for check in judgement.checks if check.name == "quarantine_within_bound")
        assert [check.name for check in judgement.blocked] == blocked
        assert judgement.rows_quarantined == 2 + len(faults) and judgement.by_rule["superseded"] == 2
        assert (bound.unexpected_count, bound.element_count) == (len(faults), judgement.rows_read)
        assert bound.observed == len(faults) / judgement.rows_read and bound.note == "2 superseded rows do not count"


def test_overlapping_ids_are_one_record(tmp_path: Path) -> None:
    feed = make_feed(
        [ID, UPDATED, IDS], contract={"key": ["id"]}, incremental={"kind": "upsert", "cursor": "updated", "aliases": "ids"}
    )
    rows = [
        ["us1", "10", ",us1,ci1,"],
        ["ci1", "20", "ci1"],
        ["ak9", "5", ",ak9,"],
        ["nc3", "30", ",nc3, ci1,"],
        ["hv1", "1", None],
    ]
    judgement = judged_rows(feed, rows, tmp_path)
    assert accepted(judgement) == [3, 4, 5] and quarantined(judgement) == {1: "superseded", 2: "superseded"}


def test_a_broken_row_claims_no_key(tmp_path: Path) -> None:
    judgement = judged_rows(keyed(), [["a", "x"], ["a", "1"]], tmp_path)
    assert accepted(judgement) == [2] and quarantined(judgement) == {1: "type"}


def verdicts(rows: list[int], *, truncated: bool = False, aggregate: bool = True) -> Any:
    """A judge of expectations whose row check refuses these rows, and whose aggregate check passes or not."""
    seen: list[str] = []

    def by(feed: Feed, path: Path, stage: str) -> ExpectationVerdict:
        seen.append(stage)
        count = len(read(path))
        if stage == "staged":
            check = CheckResult(
                "value_even", not rows, blocking=True, column="value", unexpected_count=len(rows), element_count=count
            )
            return ExpectationVerdict((check,), {"value_even": rows} if rows else {}, ("value_even",) if truncated else ())
        return ExpectationVerdict((CheckResult("mean", aggregate, blocking=True, observed=count),))

    by.seen = seen  # type: ignore[attr-defined]
    return by


ROWS = [["a", "1"], ["b", "2"], ["c", "4"]]


def test_rows_that_fail_an_expectation_go_to_quarantine_and_no_longer_block(tmp_path: Path) -> None:
    by = verdicts([1])
    judgement = judged_rows(keyed(), ROWS, tmp_path, judge_by=by)
    assert by.seen == ["staged", "accepted"]
    assert accepted(judgement) == [2, 3] and quarantined(judgement) == {1: "value_even"}
    assert failed(judgement) == {"value_even"} and judgement.blocked == ()
    # The aggregate saw the accepted rows only.
    assert next(check for check in judgement.checks if check.name == "mean").observed == 2


def test_failing_rows_that_are_not_all_named_block(tmp_path: Path) -> None:
    judgement = judged_rows(keyed(), ROWS, tmp_path, judge_by=verdicts([1], truncated=True))
    assert [check.name for check in judgement.blocked] == ["value_even"]


def test_a_failed_aggregate_blocks(tmp_path: Path) -> None:
    judgement = judged_rows(keyed(), ROWS, tmp_path, judge_by=verdicts([], aggregate=False))
    assert [check.name for check in judgement.blocked] == ["mean"]


def test_a_row_with_two_faults_is_one_row_with_both(tmp_path: Path) -> None:
    judgement = judged_rows(keyed(), [["a", "x"], ["b", "2"]], tmp_path, judge_by=verdicts([1]))
    (row,) = read(judgement.quarantine)
    assert [failure["rule"] for failure in row["_failures"]] == ["type", "value_even"] and row["_rule"] == "type"
    assert judgement.rows_quarantined == 1


@pytest.mark.parametrize(
    ("contract", "rows", "seen", "names"),
    [
        ({"max_quarantine": 0.5}, [["a", "x"], ["b", "1"]], None, set()),
        ({"max_quarantine": 0.49}, [["a", "x"], ["b", "1"]], None, {"quarantine_within_bound"}),
        ({"min_rows": 3}, [["a", "1"], ["b", "1"]], None, {"row_count_at_least"}),
        ({}, [], None, {"row_count_at_least"}),
        ({"min_rows": 0}, [], None, set()),
        ({"unknown_columns": "freeze"}, [["a", "1"]], ["id", "value", "new"], {"columns_as_promised"}),
        ({}, [["a", "1"]], ["id", "value", "new"], set()),
        ({}, [["a", None]], ["id"], {"columns_as_promised"}),
        ({"missing_columns": "null"}, [["a", None]], ["id"], set()),
    ],
)
def test_the_gates(
    tmp_path: Path, contract: dict[str, Any], rows: list[list[str | None]], seen: list[str] | None, names: set[str]
) -> None:
    judgement = judged_rows(keyed(**contract), rows, tmp_path, seen=seen)
    assert {check.name for check in judgement.blocked} == names


def test_the_reasons_hold_no_value(tmp_path: Path) -> None:
    secret = "900101-1234567"
    columns = [ID, VALUE, {"name": "code", "codes": ["a"]}, {"name": "day", "type": "date"}]
    judgement = judged_rows(make_feed(columns), [["a", secret, secret, secret]], tmp_path)
    (row,) = read(judgement.quarantine)
    assert all(secret not in failure["reason"] for failure in row["_failures"]) and secret in row["_raw"]


PRINTABLE = st.text(max_size=3).filter(lambda s: s.isprintable())
CELL = st.one_of(st.none(), st.sampled_from(["", "0", "1", "2", "-", "x", "9" * 30]), PRINTABLE)
LISTED = st.sampled_from([None, "a", ",b,x,", "x,y", ","])
ROW = st.tuples(st.sampled_from(["a", "b", "c", None]), CELL, CELL, LISTED)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(ROW, max_size=9),
    key=st.booleans(),
    cursor=st.booleans(),
    aliases=st.booleans(),
    refused=st.sets(st.integers(1, 9)),
)
def test_every_row_read_is_accepted_or_quarantined(
    tmp_path: Path, rows: list[tuple[str | None, ...]], key: bool, cursor: bool, aliases: bool, refused: set[int]
) -> None:
    incremental: dict[str, Any] = {"cursor": "updated"} if cursor else {}
    incremental |= {"aliases": "ids"} if aliases else {}
    contract = {"key": ["id"] if key else [], "min_rows": 0, "max_quarantine": 1}
    feed = make_feed([ID, VALUE, UPDATED, IDS], contract=contract, incremental=incremental)
    named = sorted(refused & set(range(1, len(rows) + 1)))
    judgement = judged_rows(feed, rows, tmp_path, judge_by=verdicts(named))
    inside, outside = accepted(judgement), sorted(quarantined(judgement))
    assert sorted(inside + outside) == list(range(1, len(rows) + 1))
    assert judgement.rows_accepted == len(inside) and judgement.rows_quarantined == len(outside) == sum(judgement.by_rule.values())
    assert not set(named) & set(inside)
    if key:
        ids = [row["id"] for row in read(judgement.accepted)]
        assert len(ids) == len(set(ids))


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), max_size=8))
def test_groups_unite_as_far_as_they_reach(groups: list[list[int]]) -> None:
    sets = [set(group) for group in groups if len(group) > 1]
    merged: list[set[int]] = []
    for group in sets:
        touching = [other for other in merged if other & group]
        merged = [other for other in merged if not other & group] + [group.union(*touching)]
    assert united(groups) == {member: min(group) for group in merged for member in group}
