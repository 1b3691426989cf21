"""Which record goes to which split: deterministic, independent of row order, and sticky across releases (ai-ready.md 4.1).

Only the decision lives here, over a frame of keys; nothing is read or written. The proof is `prove.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from assets.training_sets.model import SplitByHash, SplitByTime, TrainingSet

SPLITS = ("train", "validation", "test")
"""In the order of protection: where a new component could take two, the later one wins."""

KEYS = {"_record_id": pl.String, "_component_id": pl.String, "_content": pl.String}
"""The frame that `split_records` works on, besides `_time` (Datetime, for a split by time)."""


@dataclass(frozen=True)
class Assignment:
    """`kept`: `_record_id`, `_component_id`, `_split`; `left_out`: `_record_id`, `reason`. Both sorted by record id."""

    kept: pl.DataFrame
    left_out: pl.DataFrame


def u(salt: str, component: str) -> float:
    """A component's fixed place in [0, 1): int(sha256(salt || 0x1f || component)[:8]) / 2^64."""
    digest = hashlib.sha256(salt.encode() + b"\x1f" + component.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def by_hash(rule: SplitByHash, component: str) -> str:
    """The split of a component that no release knows yet."""
    place = u(rule.salt, component)
    if place < rule.train:
        return "train"
    return "validation" if place < rule.train + rule.validation else "test"


def duration(text: str) -> timedelta:
    """An ISO 8601 duration of weeks, days, hours, minutes and seconds (months and years have no fixed length)."""
    match = re.fullmatch(
        r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?", text
    )
    if match is None or text in ("P", "PT") or text.endswith("T"):
        raise ValueError(f"'{text}' is no ISO 8601 duration in weeks, days, hours, minutes or seconds, like P7D or PT24H")
    return timedelta(**{unit: int(value) for unit, value in match.groupdict().items() if value is not None})


def moment(text: str) -> datetime:
    """An ISO time as naive UTC, which is how tables hold times."""
    value = datetime.fromisoformat(text)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def _rule(spec: TrainingSet, records: pl.DataFrame) -> pl.DataFrame:
    """`_fresh`: the split that the rule alone gives, null with a `reason` where it gives none."""
    rule = spec.split
    if isinstance(rule, SplitByTime):
        validation, test, gap = moment(rule.validation_from), moment(rule.test_from), duration(rule.embargo)
        time = pl.col("_time")
        embargoed = time.is_between(validation - gap, validation, closed="left") | time.is_between(test - gap, test, closed="left")
        return records.with_columns(
            pl.when(time.is_null() | embargoed)
            .then(None)
            .when(time >= test)
            .then(pl.lit("test"))
            .when(time >= validation)
            .then(pl.lit("validation"))
            .otherwise(pl.lit("train"))
            .alias("_fresh"),
            pl.when(time.is_null()).then(pl.lit("no time")).when(embargoed).then(pl.lit("embargo")).alias("reason"),
        )
    components = records["_component_id"].unique().to_list()
    fresh = pl.DataFrame(
        {"_component_id": components, "_fresh": [by_hash(rule, c) for c in components]},
        schema={"_component_id": pl.String, "_fresh": pl.String},
    )
    return records.join(fresh, on="_component_id", how="left").with_columns(pl.lit(None, pl.String).alias("reason"))


def _strongest(column: str) -> pl.Expr:
    """The most protected split among a group's values; nulls do not count."""
    return pl.col(column).replace_strict(dict(zip(SPLITS, range(3), strict=True)), default=None, return_dtype=pl.Int8).max()


def _named(column: str) -> pl.Expr:
    return pl.col(column).replace_strict(dict(enumerate(SPLITS)), default=None, return_dtype=pl.String)


def split_records(spec: TrainingSet, records: pl.DataFrame, previous: pl.DataFrame | None) -> Assignment:
    """Assign every record of `records` (columns KEYS, `_time`) to a split, or leave it out with a reason.

    `previous`: `_record_id`, `_component_id`, `_split` of the release before, or None. What it holds keeps its split;
    a record that would now join two splits, or move to another, is left out. Row order has no influence.
    """
    empty = pl.DataFrame(schema={"_record_id": pl.String, "_component_id": pl.String, "_split": pl.String})
    before = empty if previous is None else previous.select(empty.columns)
    rows = _rule(spec, records).join(before.select("_record_id", pl.col("_split").alias("_was")), on="_record_id", how="left")
    if spec.split.kind == "time":
        rows = rows.with_columns(pl.col("_fresh").alias("_rule"))
    else:
        known = before.group_by("_component_id").agg(_strongest("_split").alias("_known"))
        held = rows.group_by("_component_id").agg(_strongest("_was").alias("_held"))
        rows = rows.join(known, on="_component_id", how="left").join(held, on="_component_id", how="left")
        rows = rows.with_columns(pl.coalesce("_known", "_held").alias("_inherited"))
        rows = rows.with_columns(pl.coalesce(_named("_inherited"), pl.col("_fresh")).alias("_rule"))
    rows = rows.with_columns(
        pl.when(pl.col("reason").is_not_null())
        .then("reason")
        .when(pl.col("_was").is_not_null() & (pl.col("_was") != pl.col("_rule")))
        .then(pl.lit("would move to another split"))
        .alias("reason")
    )
    rows = _without_bridges(rows)
    kept = rows.filter(pl.col("reason").is_null()).select("_record_id", "_component_id", pl.col("_rule").alias("_split"))
    left_out = rows.filter(pl.col("reason").is_not_null()).select("_record_id", "reason")
    return Assignment(kept.sort("_record_id"), left_out.sort("_record_id"))


def _without_bridges(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out records whose very content stands in another split: earlier records stay, else the most protected split."""
    standing = rows.filter(pl.col("reason").is_null())
    places = standing.group_by("_content").agg(
        pl.col("_rule").n_unique().alias("_places"),
        _strongest("_was").alias("_earlier"),
        _strongest("_rule").alias("_new"),
    )
    home = places.filter(pl.col("_places") > 1).with_columns(pl.coalesce("_earlier", "_new").alias("_home"))
    rows = rows.join(home.select("_content", _named("_home").alias("_home")), on="_content", how="left")
    bridge = pl.col("reason").is_null() & pl.col("_home").is_not_null() & (pl.col("_home") != pl.col("_rule"))
    return rows.with_columns(
        pl.when(bridge).then(pl.lit("same content as a record of another split")).otherwise("reason").alias("reason")
    )


def counts(values: Iterable[str]) -> dict[str, int]:
    """How often each reason or split occurs, largest first."""
    tally: dict[str, int] = {}
    for value in values:
        tally[value] = tally.get(value, 0) + 1
    return dict(sorted(tally.items(), key=lambda item: (-item[1], item[0])))
