"""From the rows of a training model (or a feed's table) to the records that a set may publish.

Here columns are chosen and typed, labels become class numbers, records get their ids. Splitting is `split.py`, writing `shards.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.errors import Blocked, DeclarationError
from assets.training_sets.model import TrainingSet
from assets.training_sets.values import hashes, row_hashes, row_texts

PROVENANCE = ("_source_id", "_source_row", "_fetched_at")
TECHNICAL = ("_record_id", *PROVENANCE, "_component_id", "_split")
"""Columns that every release carries after the declared ones."""

_TECHNICAL_TYPES: dict[str, pl.DataType] = {
    "_source_id": pl.String(),
    "_source_row": pl.Int64(),
    "_fetched_at": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class Records:
    """`frame`: published columns, TECHNICAL without `_split`, and the keys `_content` and `_time` (dropped before writing).

    `columns`: the published columns in order, the label last. `left_out`: `_record_id`, `reason`. `read`: rows that came in.
    """

    frame: pl.DataFrame
    columns: tuple[str, ...]
    left_out: pl.DataFrame
    read: int


def published(spec: TrainingSet) -> tuple[str, ...]:
    """The columns that the set publishes, the label last."""
    return (*(f.name for f in spec.features), spec.label.column)


def content_columns(spec: TrainingSet) -> tuple[str, ...]:
    """The published columns whose equality makes two records the same content: all but ids and notes."""
    return (*(f.name for f in spec.features if f.role not in ("id", "meta")), spec.label.column)


def prepare(spec: TrainingSet, paths: Sequence[Path]) -> Records:
    """Read the rows and make records of them. Blocked: a declared column is absent, a label is no class, ids repeat."""
    frame = pl.scan_parquet([*paths], missing_columns="insert", extra_columns="ignore").collect() if paths else pl.DataFrame()
    _require(spec, frame)
    read = frame.height
    columns = published(spec)
    frame = frame.with_columns(_technical(frame))
    frame = frame.with_columns(_plain(name, frame.schema[name]) for name in {*columns, *spec.group, *spec.record_id})
    if spec.time is not None:
        frame = frame.with_columns(_time(spec, frame.schema[spec.time]))
    else:
        frame = frame.with_columns(pl.lit(None, pl.Datetime("us")).alias("_time"))
    frame = frame.with_columns(row_hashes(frame, content_columns(spec)).alias("_content"))
    frame = frame.with_columns(_record_ids(spec, frame).alias("_record_id"))
    _refuse_repeats(spec, frame)
    unlabelled = frame.filter(pl.col(spec.label.column).is_null())
    frame = _label(spec, frame.filter(pl.col(spec.label.column).is_not_null()))
    group = hashes(row_texts(frame, spec.group)).str.head(32) if spec.group else frame["_content"].str.head(32)
    if spec.split.kind != "group" and not spec.group and spec.split.kind == "time":
        group = frame["_record_id"]
    frame = frame.with_columns(group.alias("_component_id"))
    left_out = unlabelled.select("_record_id", pl.lit("no label").alias("reason"))
    return Records(frame.select(*columns, *TECHNICAL[:-1], "_content", "_time"), columns, left_out, read)


def _require(spec: TrainingSet, frame: pl.DataFrame) -> None:
    needed = [*published(spec), *spec.group, *spec.record_id, *((spec.time,) if spec.time else ())]
    absent = sorted({n for n in needed if n not in frame.columns})
    if absent:
        raise DeclarationError(
            f"its rows have no column {', '.join(absent)}",
            where=f"training set {spec.name}",
            mend="add the column to the model, or take it out of set.yaml",
        )


def _technical(frame: pl.DataFrame) -> list[pl.Expr]:
    """Provenance columns in their published types; absent ones are null (a model that aggregates has no source row)."""
    made = []
    for name, dtype in _TECHNICAL_TYPES.items():
        if name not in frame.columns:
            made.append(pl.lit(None, dtype).alias(name))
        elif isinstance(dtype, pl.Datetime):
            zoned = pl.col(name).cast(pl.Datetime("us"))
            aware = getattr(frame.schema[name], "time_zone", None) is not None
            made.append(zoned.dt.convert_time_zone("UTC") if aware else zoned.dt.replace_time_zone("UTC"))
        else:
            made.append(pl.col(name).cast(dtype))
    return made


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """The few types that all loaders agree on: Int64, Float64 without NaN, String, Boolean, Date, Datetime in microseconds."""
    column = pl.col(name)
    if dtype.is_integer():
        return column.cast(pl.Int64)
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        number = column.cast(pl.Float64).fill_nan(None)
        return pl.when(number == 0).then(0.0).otherwise(number).alias(name)  # polars folds `+ 0.0` away, and −0.0 stays
    if isinstance(dtype, pl.Datetime):
        return column.dt.convert_time_zone("UTC").dt.cast_time_unit("us") if dtype.time_zone else column.dt.cast_time_unit("us")
    if dtype in (pl.Boolean, pl.Date, pl.String):
        return column
    if dtype in (pl.Categorical, pl.Enum) or dtype == pl.Null:
        return column.cast(pl.String)
    raise DeclarationError(
        f"column {name} has type {dtype}, which not every loader reads alike",
        where="training set",
        mend="make it a number, text, boolean, date or timestamp in the model",
    )


def _time(spec: TrainingSet, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(str(spec.time))
    if isinstance(dtype, pl.Datetime):
        naive = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else column
        return naive.dt.cast_time_unit("us").alias("_time")
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us")).alias("_time")
    raise DeclarationError(
        f"time column {spec.time} has type {dtype}",
        where=f"training set {spec.name}",
        mend="make it a date or a timestamp in the model",
    )


def _record_ids(spec: TrainingSet, frame: pl.DataFrame) -> pl.Series:
    """128 bits of the hash of the identifying columns; without them of the content and which of its equals it is."""
    if spec.record_id:
        return row_hashes(frame, spec.record_id).str.head(32)
    # Equal records are interchangeable, so their order of occurrence may follow provenance and nothing else.
    ordered = frame.with_row_index("_at").sort("_content", "_source_id", "_source_row", nulls_last=True, maintain_order=True)
    ordered = ordered.select("_at", "_content", pl.int_range(pl.len()).over("_content").alias("_n")).sort("_at")
    return hashes(ordered.select(pl.concat_str("_content", "_n", separator="\x1f")).to_series()).str.head(32)


def _refuse_repeats(spec: TrainingSet, frame: pl.DataFrame) -> None:
    repeated = frame.height - frame["_record_id"].n_unique()
    if repeated:
        raise Blocked(
            f"{repeated} records share the id of another ({', '.join(spec.record_id)})",
            checks=("record_id_unique",),
            where=f"training set {spec.name}",
            mend="add the columns to record_id that tell records apart, or make the model unique by it",
        )


def _label(spec: TrainingSet, frame: pl.DataFrame) -> pl.DataFrame:
    """The label as it is published: a float for numbers, else the class's index in `label.classes`."""
    label, name = spec.label, spec.label.column
    dtype = frame.schema[name]
    if label.classes is None:
        if not dtype.is_numeric():
            raise DeclarationError(
                f"label {name} has type {dtype}, not a number", where=f"training set {spec.name}", mend="name its classes"
            )
        return frame
    classes = list(label.classes)
    if dtype == pl.Boolean or (dtype.is_integer() and not all(c.lstrip("-").isdigit() for c in classes)):
        numbered = pl.col(name).cast(pl.Int64)
        numbered = pl.when(numbered.is_between(0, len(classes) - 1)).then(numbered)
    else:
        numbered = (
            pl.col(name).cast(pl.String).replace_strict(classes, list(range(len(classes))), default=None, return_dtype=pl.Int64)
        )
    frame = frame.with_columns(numbered.alias(name))
    strange = frame[name].null_count()
    if strange:
        raise Blocked(
            f"{strange} labels are none of the {len(classes)} declared classes",
            checks=("label_classes",),
            where=f"training set {spec.name}",
            mend="add the class to label.classes, or leave such rows out in the model",
        )
    return frame
