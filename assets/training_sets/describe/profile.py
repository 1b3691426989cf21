"""reports/profile.json: statistics of all rows in the shape that the Hugging Face viewer made familiar."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from assets.training_sets.describe.facts import Facts

BINS = 10
LABELS = 30
"""A text column of at most this many distinct values is told by its frequencies, else by its lengths."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def profile(facts: Facts) -> dict[str, Any]:
    """The report. Values of columns that are not cleared do not appear in it."""
    columns = [c for c in facts.schema.names if c not in ("_record_id", "_component_id", "_source_id")]
    splits = {split: _split(facts, facts.split(split), columns) for split in facts.rows}
    return {**facts.head("pass"), "config": "default", "partial": False, "splits": splits}


def _split(facts: Facts, frame: pl.DataFrame, columns: list[str]) -> dict[str, Any]:
    statistics = [_column(facts, frame[c]) for c in columns]
    return {"num_examples": frame.height, "statistics": statistics, "partial": False}


def _column(facts: Facts, values: pl.Series) -> dict[str, Any]:
    name, label = values.name, facts.spec.label
    nulls = values.null_count()
    head = {"nan_count": nulls, "nan_proportion": round(nulls / len(values), 5) if len(values) else 0.0}
    found = values.drop_nulls()
    body: dict[str, Any]
    if name == label.column and label.classes is not None:
        counts = dict(found.value_counts(name="_n").iter_rows())
        frequencies = {c: int(counts.get(i, 0)) for i, c in enumerate(label.classes)}
        kind, body = (
            "class_label",
            {"no_label_count": nulls, "no_label_proportion": head["nan_proportion"], "n_unique": found.n_unique()},
        )
        return {"column_name": name, "column_type": kind, "column_statistics": {**head, **body, "frequencies": frequencies}}
    if not facts.cleared(name):
        return {
            "column_name": name,
            "column_type": _kind(values),
            "column_statistics": {**head, "n_unique": found.n_unique(), "hidden": True},
        }
    kind = _kind(values)
    if kind == "string_label" or kind == "bool":
        tally = found.value_counts(sort=True, name="_n").iter_rows()
        body = {"n_unique": found.n_unique(), "frequencies": {_text(v): int(n) for v, n in tally}}
    elif kind == "string_text":
        body = {"n_unique": found.n_unique(), **_numbers(found.str.len_chars().cast(pl.Int64), whole=True)}
    elif kind == "datetime":
        micros = found.cast(pl.Datetime("us")) if found.dtype == pl.Date else found
        body = {k: _text(getattr(micros, k)()) for k in ("min", "max", "mean", "median")} if len(found) else {}
        body["n_unique"] = found.n_unique()
    else:
        body = {"n_unique": found.n_unique(), **_numbers(found, whole=kind == "int")}
    return {"column_name": name, "column_type": kind, "column_statistics": {**head, **body}}


def _kind(values: pl.Series) -> str:
    if values.dtype == pl.Boolean:
        return "bool"
    if values.dtype.is_temporal():
        return "datetime"
    if values.dtype.is_numeric():
        return "int" if values.dtype.is_integer() else "float"
    return "string_label" if values.drop_nulls().n_unique() <= LABELS else "string_text"


def _numbers(values: pl.Series, *, whole: bool) -> dict[str, Any]:
    if not len(values):
        return dict.fromkeys(("min", "max", "mean", "median", "std", "histogram", "quantiles"))
    low, high = values.min(), values.max()
    floats = values.cast(pl.Float64)
    quantiles = {str(q): _finite(floats.quantile(q, "linear")) for q in QUANTILES}
    body = {
        "min": low,
        "max": high,
        "mean": _finite(floats.mean()),
        "median": _finite(floats.median()),
        "std": _finite(floats.std()),
    }
    return {**body, "quantiles": quantiles, "histogram": _histogram(floats, whole)}


def _histogram(values: pl.Series, whole: bool) -> dict[str, list[Any]]:
    """Ten bins of equal width from min to max; for integers edges are integers and there are fewer bins in a short range."""
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    width: float
    edges: list[Any]
    if whole:
        width = max(1, math.ceil((high - low + 1) / BINS))
        count = max(1, math.ceil((high - low + 1) / width))
        edges = [int(low) + int(width) * i for i in range(count)] + [int(high)]
    else:
        count, width = BINS, (high - low) / BINS or 1.0
        edges = [low + width * i for i in range(BINS)] + [high]
    places = ((values - low) / width).floor().clip(0, count - 1).cast(pl.Int64)
    counts = dict(places.value_counts(name="_n").iter_rows())
    return {"hist": [int(counts.get(i, 0)) for i in range(count)], "bin_edges": edges}


def _finite(value: Any) -> float | None:
    return round(float(value), 6) if value is not None and math.isfinite(value) else None


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
