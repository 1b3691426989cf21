"""Which version a release gets: Croissant's meaning of MAJOR, MINOR and PATCH, as a pure function of what changed.

Records are compared by id, content by the hash of the published columns; provenance columns do not count (ai-ready.md 7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

Level = Literal["major", "minor", "patch"]


@dataclass(frozen=True)
class Difference:
    """What changed between two releases of a set. Counts of records; names of columns; `packaging`: anything else published."""

    added: int = 0
    edited: int = 0
    withdrawn: int = 0
    moved: int = 0
    unchanged: int = 0
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()
    columns_changed: tuple[str, ...] = ()
    packaging: bool = False

    def as_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self.__dict__.items()}

    @property
    def level(self) -> Level | None:
        """None: nothing changed, so there is no release."""
        if self.edited or self.withdrawn or self.moved or self.columns_removed or self.columns_changed:
            return "major"
        if self.added or self.columns_added:
            return "minor"
        return "patch" if self.packaging else None

    def in_words(self) -> str:
        """One sentence for a changelog."""
        parts = [f"{n:,} records {word}" for word in ("added", "edited", "withdrawn", "moved") if (n := getattr(self, word))]
        for word in ("added", "removed", "changed"):
            if names := getattr(self, f"columns_{word}"):
                parts.append(f"columns {word}: {', '.join(names)}")
        if self.packaging:
            parts.append("description or packaging changed")
        return "; ".join(parts) or "nothing changed"


def compare_records(before: pl.DataFrame, after: pl.DataFrame) -> tuple[Difference, pl.DataFrame]:
    """Compare by `_record_id` two frames of `_record_id`, `_split`, `_hash`.

    Returns the counts, and a frame of `_record_id`, `change` (added, edited, withdrawn, moved) of the records that changed.
    A record that is both edited and moved counts as moved.
    """
    both = before.select("_record_id", pl.col("_split").alias("_split_before"), pl.col("_hash").alias("_hash_before")).join(
        after.select("_record_id", "_split", "_hash"), on="_record_id", how="full", coalesce=True
    )
    change = (
        pl.when(pl.col("_split_before").is_null())
        .then(pl.lit("added"))
        .when(pl.col("_split").is_null())
        .then(pl.lit("withdrawn"))
        .when(pl.col("_split") != pl.col("_split_before"))
        .then(pl.lit("moved"))
        .when(pl.col("_hash") != pl.col("_hash_before"))
        .then(pl.lit("edited"))
        .otherwise(pl.lit("unchanged"))
    )
    changes = both.select("_record_id", change.alias("change"))
    count = {str(c): int(n) for c, n in changes.group_by("change").len().iter_rows()}.get
    difference = Difference(count("added", 0), count("edited", 0), count("withdrawn", 0), count("moved", 0), count("unchanged", 0))
    return difference, changes.filter(pl.col("change") != "unchanged").sort("_record_id")


def compare_columns(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Columns added, removed and changed between two mappings of column → what defines it (type, class names).

    Class names that are only appended leave old labels as they were, so the column counts as unchanged.
    """
    changed = [n for n in before if n in after and not _still(before[n], after[n])]
    return {
        "columns_added": tuple(n for n in after if n not in before),
        "columns_removed": tuple(n for n in before if n not in after),
        "columns_changed": tuple(changed),
    }


def _still(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    old, new = list(before.get("classes") or ()), list(after.get("classes") or ())
    return before.get("arrow_type") == after.get("arrow_type") and new[: len(old)] == old


def parts(version: str) -> tuple[int, int, int]:
    """The three numbers of a version; ValueError otherwise."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        raise ValueError(f"'{version}' is no version like 1.4.0")
    return int(match[1]), int(match[2]), int(match[3])


def next_version(level: Level | None, taken: tuple[str, ...]) -> str | None:
    """The version of the next release, above every one ever used (`taken`); None when nothing changed. The first is 1.0.0."""
    if not taken:
        return "1.0.0"
    if level is None:
        return None
    major, minor, patch = max(parts(v) for v in taken)
    if level == "major":
        return f"{major + 1}.0.0"
    return f"{major}.{minor + 1}.0" if level == "minor" else f"{major}.{minor}.{patch + 1}"
