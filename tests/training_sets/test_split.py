"""Splits: order does not matter, appends move nothing, groups never cross, what would bridge is left out."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.training_sets.split import SPLITS, by_hash, duration, split_records, u
from tests.training_sets.making import spec

GROUPED = spec()
TIMED = spec(
    time="seen_at",
    split={
        "kind": "time",
        "validation_from": "2024-01-02T00:00:00Z",
        "test_from": "2024-01-03T00:00:00Z",
        "embargo": "PT2H",
    },
)

Record = tuple[int, int, int]
record = st.tuples(st.integers(0, 60), st.integers(0, 12), st.integers(0, 40))
"""record number, group, content: contents and groups collide often, so bridges occur."""


def frame(records: list[Record]) -> pl.DataFrame:
    unique = {r[0]: r for r in records}.values()
    return pl.DataFrame(
        {
            "_record_id": [f"r{r}" for r, _, _ in unique],
            "_component_id": [f"g{g}" for _, g, _ in unique],
            "_content": [f"c{c}" for _, _, c in unique],
            "_time": [datetime(2024, 1, 1) + timedelta(hours=c + r) for r, _, c in unique],
        },
        schema={"_record_id": pl.String, "_component_id": pl.String, "_content": pl.String, "_time": pl.Datetime("us")},
    )


def as_dict(kept: pl.DataFrame) -> dict[str, tuple[str, str]]:
    return {r: (c, s) for r, c, s in kept.select("_record_id", "_component_id", "_split").iter_rows()}


@given(st.lists(record, max_size=60), st.randoms(use_true_random=False), st.sampled_from([GROUPED, TIMED]))
def test_order_of_rows_does_not_matter(records: list[Record], random: Any, declared: Any) -> None:
    first = frame(records)
    places = list(range(first.height))
    random.shuffle(places)
    a, b = split_records(declared, first, None), split_records(declared, first[places], None)
    assert a.kept.equals(b.kept)
    assert a.left_out.equals(b.left_out)
    assert a.kept.height + a.left_out.height == first.height


@given(st.lists(record, max_size=40), st.lists(record, max_size=40), st.sampled_from([GROUPED, TIMED]))
def test_appended_records_move_nothing(before: list[Record], more: list[Record], declared: Any) -> None:
    old = split_records(declared, frame(before), None).kept
    known = {r[0] for r in before}
    new = frame([*before, *(r for r in more if r[0] not in known)])
    # The unique records of `before` are those that frame() kept: the last of each number.
    after = as_dict(split_records(declared, new, old).kept)
    for identity, (_, split) in as_dict(old).items():
        assert after[identity][1] == split


@given(st.lists(record, max_size=40), st.lists(record, max_size=40))
def test_groups_and_contents_never_cross_splits_whatever_changes(before: list[Record], after: list[Record]) -> None:
    old = split_records(GROUPED, frame(before), None).kept
    rows = frame(after)
    kept = split_records(GROUPED, rows, old).kept.join(rows.select("_record_id", "_content"), on="_record_id")
    for key in ("_component_id", "_content"):
        assert (kept.group_by(key).agg(pl.col("_split").n_unique())["_split"] == 1).all()
    was = as_dict(old)
    for identity, (_, split) in as_dict(kept).items():
        assert was.get(identity, ("", split))[1] == split


@given(st.lists(record, max_size=60))
def test_time_order_with_embargo(records: list[Record]) -> None:
    rows = frame(records)
    kept = split_records(TIMED, rows, None).kept.join(rows.select("_record_id", "_time"), on="_record_id")
    spans = {s: part["_time"] for s in SPLITS if (part := kept.filter(pl.col("_split") == s)).height}
    present = [spans[s] for s in SPLITS if s in spans]
    for earlier, later in pairwise(present):
        assert earlier.max() < later.min() - timedelta(hours=2)  # type: ignore[operator]


def test_u_is_the_published_formula() -> None:
    digest = hashlib.sha256(b"little/1\x1fcomponent").digest()
    assert u("little/1", "component") == int.from_bytes(digest[:8], "big") / 2**64


@settings(max_examples=30)
@given(st.text(min_size=4, max_size=12))
def test_shares_come_out_as_declared(salt: str) -> None:
    rule = GROUPED.split.model_copy(update={"salt": salt})
    splits = [by_hash(rule, str(i)) for i in range(4000)]  # type: ignore[arg-type]
    for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert abs(splits.count(split) / 4000 - share) < 0.05


@pytest.mark.parametrize("text", ["", "P", "PT", "1D", "P1Y", "P1M", "P1DT", "PT1.5H"])
def test_durations_without_fixed_length_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        duration(text)


def test_durations() -> None:
    assert duration("P1W2DT3H4M5S") == timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)
