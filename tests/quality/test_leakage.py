"""Leakage scores against labels whose answer is known, and the proofs that splits share nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.leakage import (
    gate,
    overlap_gate,
    overlaps,
    single_feature_scores,
    time_order_gate,
)


def scores_of(columns: dict[str, object], kind: str = "binary") -> dict[str, float]:
    table = pa.table(columns)
    return {s.name: s.score for s in single_feature_scores(table, "label", kind)}  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.1, 0.9))
def test_binary_label(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    n = 3000
    label = rng.random(n) < share
    value = rng.normal(size=n) + label
    got = scores_of(
        {
            "copied": label.astype(int),
            "copied_text": np.where(label, "yes", "no"),
            "derived": np.where(label, rng.integers(50, 100, n), rng.integers(0, 50, n)),
            "two_sided": np.where(label, rng.choice([-1.0, 1.0], n) * rng.uniform(2, 3, n), rng.uniform(-1, 1, n)),
            "value": value,
            "stretched": np.exp(value * 3),
            "noise": rng.normal(size=n),
            "category_noise": rng.integers(0, 8, n).astype(str),
            "unique_id": np.array([f"id-{i}" for i in rng.permutation(n)]),
            "only_when_true": pa.array(np.where(label, 1.0, np.nan), from_pandas=True),
            "label": label,
        }
    )
    for name in ("copied", "copied_text", "derived", "only_when_true"):
        assert got[name] == 1.0, name
    assert got["two_sided"] > 0.99  # no order tells it, the bins do
    assert got["stretched"] == got["value"]  # a monotone transform changes nothing
    assert 0.7 < got["value"] < 0.85
    assert got["unique_id"] == 0.5  # memorising is not telling
    for name in ("noise", "category_noise"):
        assert got[name] < 0.62, name


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_permuted_label_is_told_by_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 5000
    label = rng.random(n) < 0.5
    columns = {"number": label + rng.normal(size=n) * 0.1, "text": np.where(label, "a", "b"), "few": rng.integers(0, 4, n)}
    before = scores_of({**columns, "label": label})
    after = scores_of({**columns, "label": rng.permutation(label)})
    assert before["number"] > 0.99 and before["text"] == 1.0
    assert all(score < 0.57 for score in after.values()), after


def test_numeric_label() -> None:
    rng = np.random.default_rng(7)
    n = 20_000
    label = rng.gamma(2.0, 100.0, n)
    got = scores_of(
        {
            "copied": label,
            "cubed": label**3,
            "rounded": np.round(label, -1),
            "parabola_root": (label - label.mean()) ** 2,
            "half": label + rng.normal(size=n) * label.std(),
            "noise": rng.normal(size=n),
            "bucket": (label // 20).astype(int).astype(str),
            "id": np.array([f"{i:x}" for i in range(n)]),
            "label": label,
        },
        "number",
    )
    assert got["copied"] == pytest.approx(1.0, abs=1e-12) and got["cubed"] == pytest.approx(1.0, abs=1e-12)
    assert got["rounded"] > 0.99 and got["bucket"] > 0.98
    assert 0.35 < got["half"] < 0.65
    assert got["noise"] < 0.02 and got["id"] < 0.02


def test_several_classes_count_the_most_telling_one() -> None:
    rng = np.random.default_rng(3)
    label = rng.choice(["low", "middle", "high"], 3000)
    got = scores_of({"flag": label == "high", "noise": rng.normal(size=3000), "label": label}, "class")
    assert got["flag"] == 1.0 and got["noise"] < 0.6


def test_types_nulls_and_a_constant_label() -> None:
    n = 400
    rng = np.random.default_rng(1)
    label = np.arange(n) % 2 == 0
    table = pa.table(
        {
            "day": pa.array(
                [datetime(2024, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 300, n)], pa.timestamp("us", "UTC")
            ),
            "date": pa.array([datetime(2024, 1, 1 + int(v)).date() for v in label], pa.date32()),
            "price": pa.array([None if i % 3 else i for i in range(n)], pa.int64()).cast(pa.decimal128(30, 2)),
            "empty": pa.nulls(n, pa.string()),
            "tags": pa.array([["a"] if v else ["b", "c"] for v in label]),
            "label": pa.array([None if i % 10 == 0 else bool(v) for i, v in enumerate(label)]),
        }
    )
    got = {s.name: s for s in single_feature_scores(table, "label", "binary")}
    assert got["date"].score == 1.0 and got["tags"].score == 1.0 and got["empty"].score == 0.5
    assert got["day"].rows == n - n // 10  # rows without a label are not scored
    with pytest.raises(ValueError, match="same in every row"):
        single_feature_scores(table.set_column(5, "label", pa.array([True] * n)), "label", "binary")


def test_gate_names_the_feature_and_obeys_the_accepted() -> None:
    label = np.arange(1000) % 2
    scores = single_feature_scores(
        pa.table({"outcome_code": label, "noise": np.arange(1000) // 2, "label": label}), "label", "binary"
    )
    refused = gate(scores, 0.98)
    assert not refused.passed and refused.blocking and refused.column == "outcome_code" and "outcome_code" in refused.note
    accepted = gate(scores, 0.98, {"outcome_code": "known when the form is filled in"})
    assert accepted.passed and "known when the form is filled in" in accepted.note


def test_planted_leak_in_real_rows(shared_data) -> None:  # type: ignore[no-untyped-def]
    """Real weather: the day's own precipitation tells rain or not, the wind does not."""
    table = pacsv.read_csv(shared_data / "noaa-seattle-weather.csv")
    names = {n.lower(): n for n in table.column_names}
    rain = pa.array([v > 0 for v in table.column(names["precipitation"]).to_pylist()])
    table = pa.table({"precipitation": table.column(names["precipitation"]), "wind": table.column(names["wind"]), "rained": rain})
    got = {s.name: s.score for s in single_feature_scores(table, "rained", "binary")}
    assert got["precipitation"] == 1.0
    assert 0.5 <= got["wind"] < 0.75
    assert not gate(single_feature_scores(table, "rained", "binary"), 0.98).passed


def test_overlaps_by_record_and_group() -> None:
    found = overlaps({"train": ["r1", "r2", "r2", "r3", None], "test": ["r2", "r9", None]})
    assert [o.shared for o in found] == [1] and found[0].share == 0.5
    assert not overlap_gate(found).passed
    groups = overlaps({"train": ["g1", "g2", None], "validation": ["g3", None], "test": ["g4"]}, "group")
    assert len(groups) == 3 and overlap_gate(groups).passed


def test_time_order_and_embargo() -> None:
    day = timedelta(days=1)
    t0 = datetime(2024, 1, 1)
    spans = {"train": (t0, t0 + 10 * day), "validation": (t0 + 12 * day, t0 + 20 * day), "test": (t0 + 23 * day, t0 + 30 * day)}
    order = ("train", "validation", "test")
    assert time_order_gate(spans, order).passed
    assert time_order_gate(spans, order, embargo=timedelta(hours=47)).passed
    refused = time_order_gate(spans, order, embargo=2 * day)
    assert not refused.passed and "train ends" in refused.note and "validation ends" not in refused.note
    assert time_order_gate({"train": spans["train"], "test": spans["test"]}, order).passed
