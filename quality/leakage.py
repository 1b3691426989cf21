"""Leakage: does one feature alone tell the label, and do two splits share what they must not.

Pure functions of Arrow tables and NumPy arrays; which columns are features and which bound applies is the caller's.
Scores are deterministic: folds come from a hash of the row's position, never from a random number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quality.verdict import CheckResult

LabelKind = Literal["binary", "class", "number"]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

FOLDS = 5
BINS = 200
_PRIOR = 1.0  # weight of the overall rate, in rows: a value that was seen nowhere else says nothing


@dataclass(frozen=True)
class FeatureScore:
    """How well one feature alone tells the label.

    score: 0.5 (nothing) to 1 (everything) for `roc_auc`; 0 to 1 for `r2`. rows: rows with a label that were scored.
    way: how the score was reached: `value` (order of the values), `category` (out-of-fold rate of each value) or
    `missing` (whether the value is there at all).
    """

    name: str
    score: float
    metric: Literal["roc_auc", "r2"]
    rows: int
    way: Literal["value", "category", "missing"]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def single_feature_scores(
    table: pa.Table, label: str, kind: LabelKind, features: Sequence[str] | None = None
) -> list[FeatureScore]:
    """Score every feature of `table` (default: all columns but the label), the most telling first.

    A numeric feature is scored by its order (for a numeric label the squared rank correlation) and by its bins, any other
    by the out-of-fold mean of the label of each of its values, so that an identifier which never repeats tells nothing;
    whether a value is missing is a feature too. A label of several classes is scored one class against the rest, and the
    most telling class counts.
    Errors: KeyError for a column that is not there; ValueError for a label that is the same everywhere.
    """
    known = pc.is_valid(table.column(label))
    table = table.filter(known)
    names = [n for n in (features if features is not None else table.column_names) if n != label]
    targets = _targets(table.column(label), kind)
    scores = [max(_scores(name, table.column(name), targets, kind), key=lambda s: s.score) for name in names]
    return sorted(scores, key=lambda s: (-s.score, s.name))


def _targets(label: pa.ChunkedArray, kind: LabelKind) -> list[Floats]:
    """The label as one array of numbers, or one array of 0 and 1 for each class but what the others already say."""
    if kind == "number":
        values = _numbers(label)
        if len(values) == 0 or np.ptp(values) == 0:
            raise ValueError("the label is the same in every row: nothing can be learnt from it")
        return [values]
    codes = label.combine_chunks().dictionary_encode()
    indices = np.asarray(codes.indices, dtype=np.int64)
    classes = len(codes.dictionary)
    if classes < 2:
        raise ValueError("the label is the same in every row: nothing can be learnt from it")
    return [(indices == c).astype(np.float64) for c in range(1 if classes == 2 else classes)]


def _scores(name: str, column: pa.ChunkedArray, targets: Sequence[Floats], kind: LabelKind) -> list[FeatureScore]:
    metric: Literal["roc_auc", "r2"] = "r2" if kind == "number" else "roc_auc"
    score, none = (_r2, 0.0) if kind == "number" else (_auc, 0.5)
    rows = len(column)
    there = np.asarray(pc.is_valid(column).combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)
    if pa.types.is_floating(column.type):
        there &= ~np.isnan(np.asarray(column.combine_chunks().fill_null(0.0), dtype=np.float64))
    ordered = _is_ordered(column.type)
    ranks = _ranks(_numbers(column)[there]) if ordered else np.empty(0)
    groups = _bins(ranks, there) if ordered else _codes(column)
    found = [FeatureScore(name, none, metric, rows, "value")]
    for target in targets if there.any() else ():
        if not there.all():
            found.append(FeatureScore(name, score(_out_of_fold(there.astype(np.int64), target), target), metric, rows, "missing"))
        if ordered:
            order = _auc(ranks, target[there]) if kind != "number" else _correlation(ranks, _ranks(target[there])) ** 2
            found.append(FeatureScore(name, order, metric, rows, "value"))
        found.append(
            FeatureScore(name, score(_out_of_fold(groups, target), target), metric, rows, "value" if ordered else "category")
        )
    return found


def _bins(ranks: Floats, there: npt.NDArray[np.bool_]) -> Integers:
    """At most `BINS` bins of equal size by rank, equal values together; missing values are a bin of their own."""
    groups = np.full(len(there), BINS, dtype=np.int64)
    groups[there] = np.minimum((ranks - 1) * BINS // max(1, len(ranks)), BINS - 1).astype(np.int64)
    return groups


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return 0.0 if size == 0 else min(1.0, abs(float((a * b).sum()) / size))


def _auc(scores: Floats, target: Floats) -> float:
    """Area under the ROC curve from average ranks (Mann-Whitney), whichever direction tells more."""
    ranks = _ranks(scores)
    positive = target > 0.5
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 == 0 or n0 == 0:
        return 0.5
    area = (float(ranks[positive].sum()) - n1 * (n1 + 1) / 2) / (n1 * n0)
    return max(area, 1 - area)


def _r2(predicted: Floats, target: Floats) -> float:
    total = float(((target - target.mean()) ** 2).sum())
    return 0.0 if total == 0 else max(0.0, 1 - float(((target - predicted) ** 2).sum()) / total)


def _out_of_fold(groups: Integers, target: Floats) -> Floats:
    """For each row the mean label of its group in the other folds, drawn towards the overall mean where rows are few.

    The overall mean is that of all rows: one constant tells no row from another, the mean of the other folds would.
    """
    folds = _folds(len(target))
    _, codes = np.unique(groups, return_inverse=True)
    size = int(codes.max()) + 1
    counts = np.bincount(codes, minlength=size).astype(np.float64)
    sums = np.bincount(codes, weights=target, minlength=size)
    predicted = np.empty(len(target))
    overall = float(target.mean())
    for fold in range(FOLDS):
        mine = folds == fold
        here, labels = codes[mine], target[mine]
        others = counts - np.bincount(here, minlength=size)
        other_sums = sums - np.bincount(here, weights=labels, minlength=size)
        predicted[mine] = ((other_sums + _PRIOR * overall) / (others + _PRIOR))[here]
    return predicted


def _folds(rows: int) -> Integers:
    """A fold for each position: a fixed mix of its bits (splitmix64), so neighbours fall apart and runs repeat."""
    z = np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) % np.uint64(FOLDS)).astype(np.int64)


def _ranks(values: Floats) -> Floats:
    """Average ranks from 1, equal values sharing theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(((2 * last - counts + 1) / 2.0)[inverse], dtype=np.float64)


def _is_ordered(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_) or pa.types.is_temporal(type_)
    )


def _numbers(column: pa.ChunkedArray) -> Floats:
    """Values as doubles; nulls and NaN become 0 (callers mask nulls by validity)."""
    array = column.combine_chunks()
    if pa.types.is_temporal(array.type) and not pa.types.is_duration(array.type):
        array = array.cast(pa.timestamp("us")) if not pa.types.is_time(array.type) else array.cast(pa.time64("us"))
        array = array.cast(pa.int64())
    elif pa.types.is_duration(array.type):
        array = array.cast(pa.int64())
    return np.nan_to_num(np.asarray(array.cast(pa.float64(), safe=False).fill_null(0.0), dtype=np.float64))


def _codes(column: pa.ChunkedArray) -> Integers:
    array = column.combine_chunks()
    if pa.types.is_nested(array.type):
        array = pa.array([None if v is None else repr(v) for v in array.to_pylist()], pa.string())
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return np.asarray(array.indices.fill_null(len(array.dictionary)), dtype=np.int64)


def gate(scores: Sequence[FeatureScore], max_score: float, accepted: Mapping[str, str] | None = None) -> CheckResult:
    """One blocking check: no feature but the accepted ones reaches `max_score`. The note names each that does."""
    accepted = accepted or {}
    telling = [s for s in scores if s.score >= max_score]
    offending = [s for s in telling if s.name not in accepted]
    notes = [f"{s.name} alone tells the label: {s.metric} {s.score:.4f} by its {s.way}" for s in offending]
    notes += [f"{s.name} accepted at {s.metric} {s.score:.4f}: {accepted[s.name]}" for s in telling if s.name in accepted]
    return CheckResult(
        name="single_feature_leakage",
        passed=not offending,
        severity="critical",
        blocking=True,
        column=offending[0].name if offending else None,
        observed={s.name: round(s.score, 6) for s in scores[:10]},
        expected={"max_single_feature": max_score, "accepted": sorted(accepted)},
        unexpected_count=len(offending),
        element_count=len(scores),
        note="; ".join(notes),
    )


@dataclass(frozen=True)
class Overlap:
    """What two splits share. `share`: of the smaller split's distinct keys."""

    kind: str
    first: str
    second: str
    shared: int
    share: float


def overlaps(splits: Mapping[str, Iterable[Any]], kind: str = "exact") -> list[Overlap]:
    """Keys (content hashes, group ids) that any two splits share, for each pair; nulls never match."""
    sets = {name: {key for key in keys if key is not None} for name, keys in splits.items()}
    names = list(sets)
    found = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            shared = len(sets[first] & sets[second])
            smaller = min(len(sets[first]), len(sets[second]))
            found.append(Overlap(kind, first, second, shared, shared / smaller if smaller else 0.0))
    return found


def overlap_gate(found: Sequence[Overlap], name: str = "split_overlap") -> CheckResult:
    """One blocking check: no pair of splits shares a key."""
    shared = [o for o in found if o.shared]
    return CheckResult(
        name=name,
        passed=not shared,
        severity="critical",
        blocking=True,
        observed={f"{o.kind}:{o.first}/{o.second}": o.shared for o in found},
        expected=0,
        unexpected_count=sum(o.shared for o in shared),
        note="; ".join(f"{o.first} and {o.second} share {o.shared} by {o.kind}" for o in shared),
    )


def time_order_gate(spans: Mapping[str, tuple[Any, Any]], order: Sequence[str], embargo: timedelta = timedelta(0)) -> CheckResult:
    """One blocking check: each split of `order` ends before the next begins, less the embargo.

    spans: split → (first moment, last moment); a split without rows is left out of `spans`.
    """
    broken = []
    present = [name for name in order if name in spans]
    for earlier, later in pairwise(present):
        if not spans[earlier][1] < spans[later][0] - embargo:
            broken.append(f"{earlier} ends at {spans[earlier][1]} and {later} begins at {spans[later][0]}")
    return CheckResult(
        name="time_order",
        passed=not broken,
        severity="critical",
        blocking=True,
        observed={name: [str(moment) for moment in spans[name]] for name in present},
        expected={"order": list(order), "embargo_seconds": embargo.total_seconds()},
        unexpected_count=len(broken),
        note="; ".join(broken),
    )
