"""Canonical values: equal values equal text, different values different text, whatever the column's type."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from assets.training_sets.values import canonical, checksum, row_texts


@given(st.lists(st.one_of(st.none(), st.floats()), max_size=30))
def test_floats(values: list[float | None]) -> None:
    def plain(v: float | None) -> Any:
        return None if v is None or math.isnan(v) else v + 0.0

    texts = canonical(pl.Series("x", values, dtype=pl.Float64)).to_list()
    for a, ta in zip(values, texts, strict=True):
        for b, tb in zip(values, texts, strict=True):
            assert (plain(a) == plain(b)) == (ta == tb)


row = st.tuples(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.text()), st.one_of(st.none(), st.integers(-9, 9)))


def make(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String, "c": pl.Int64}, orient="row")


@given(st.lists(row, max_size=12))
def test_no_two_rows_share_a_text(rows: list[Any]) -> None:
    assert row_texts(make(rows), ["a", "b", "c"]).n_unique() == len(set(rows))


@given(st.lists(row, max_size=12), st.randoms(use_true_random=False))
def test_checksum_is_of_the_multiset(rows: list[Any], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    names = ["a", "b", "c"]
    assert checksum(make(rows), names) == checksum(make(shuffled), names)
    if rows:
        assert checksum(make(rows), names) != checksum(make([*rows, rows[0]]), names)
