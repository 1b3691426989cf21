"""The version rule: edited, withdrawn or moved is MAJOR, added MINOR, repackaged PATCH, nothing changed no release."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.training_sets.versions import Difference, compare_columns, compare_records, next_version

Release = dict[str, tuple[str, str]]
release = st.dictionaries(st.sampled_from("abcdefghij"), st.tuples(st.sampled_from(["train", "test"]), st.sampled_from("12")))


def frame(records: Release) -> pl.DataFrame:
    rows = [(k, s, h) for k, (s, h) in records.items()]
    return pl.DataFrame(rows, schema={"_record_id": pl.String, "_split": pl.String, "_hash": pl.String}, orient="row")


@given(release, release)
def test_level_follows_the_records(before: Release, after: Release) -> None:
    difference, changes = compare_records(frame(before), frame(after))
    if any(k not in after or after[k] != before[k] for k in before):
        assert difference.level == "major"
    elif len(after) > len(before):
        assert difference.level == "minor"
    else:
        assert difference.level is None
    assert difference.added + difference.edited + difference.moved + difference.unchanged == len(after)
    assert difference.withdrawn + difference.edited + difference.moved + difference.unchanged == len(before)
    assert set(changes["_record_id"]) == {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}


@pytest.mark.parametrize(
    ("difference", "version"),
    [
        (Difference(unchanged=3), None),
        (Difference(packaging=True), "1.4.3"),
        (Difference(added=1, packaging=True), "1.5.0"),
        (Difference(columns_added=("x",)), "1.5.0"),
        (Difference(added=5, edited=1), "2.0.0"),
        (Difference(withdrawn=1), "2.0.0"),
        (Difference(moved=1), "2.0.0"),
        (Difference(columns_removed=("x",)), "2.0.0"),
        (Difference(columns_changed=("x",), columns_added=("y",)), "2.0.0"),
    ],
)
def test_next_version(difference: Difference, version: str | None) -> None:
    assert next_version(difference.level, ("1.4.2", "1.3.0", "1.4.1")) == version


def test_the_first_is_1_0_0_and_ten_is_above_nine() -> None:
    assert next_version(None, ()) == "1.0.0"
    assert next_version("minor", ("1.9.0", "1.10.0")) == "1.11.0"


def test_classes_that_are_only_appended_leave_the_column_as_it_was() -> None:
    def column(*classes: str) -> dict[str, dict[str, object]]:
        return {"y": {"arrow_type": "int64", "classes": list(classes)}}

    assert compare_columns(column("a", "b"), column("a", "b", "c"))["columns_changed"] == ()
    assert compare_columns(column("a", "b"), column("b", "a"))["columns_changed"] == ("y",)
