"""The data of a release in a local folder: earlier shards reused where nothing in them changed, new ones for the rest.

What is a record and where it belongs is decided before (`prepare.py`, `split.py`); how a shard is written is `shards.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from assets.training_sets.model import TrainingSet
from assets.training_sets.prepare import PROVENANCE
from assets.training_sets.shards import (
    Shard,
    arrow_schema,
    chunks,
    describe_shard,
    footer,
    hf_features,
    ordered,
    schema_sha256,
    shard_path,
    write_shard,
)
from assets.training_sets.split import SPLITS
from assets.training_sets.values import row_hashes
from assets.training_sets.versions import Difference, compare_columns, compare_records


@dataclass(frozen=True)
class Previous:
    """The release before: its version, manifest, columns (name → arrow_type, classes) and shards as local files by path."""

    version: str
    manifest: dict[str, Any]
    columns: dict[str, dict[str, Any]]
    files: dict[str, Path] = field(default_factory=dict)

    def frame(self) -> pl.DataFrame:
        """All records, every column, `_path` saying which shard each is in."""
        frames = [
            pl.read_parquet(path, hive_partitioning=False).with_columns(pl.lit(name).alias("_path"))
            for name, path in self.files.items()
        ]
        return pl.concat(frames)


@dataclass(frozen=True)
class Assembled:
    """`frame`: every published record with its technical columns, as written; `changes`: `_record_id`, `change`."""

    frame: pl.DataFrame
    schema: pa.Schema
    shards: tuple[Shard, ...]
    difference: Difference
    changes: pl.DataFrame


def column_definitions(spec: TrainingSet, schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Published columns by name: what must stay equal for the column to count as the same."""
    return {
        f.name: {
            "arrow_type": str(f.type),
            "classes": list(spec.label.classes) if f.name == spec.label.column and spec.label.classes is not None else None,
        }
        for f in schema
        if not f.name.startswith("_")
    }


def assemble(spec: TrainingSet, frame: pl.DataFrame, previous: Previous | None, out: Path, *, reuse: bool = True) -> Assembled:
    """Write the shards of `frame` (published and technical columns, `_time`) below `out`.

    `reuse=False` writes every shard anew (compaction, or another origin).
    A record whose content is that of the release before keeps the provenance under which it was first published.
    """
    schema = arrow_schema(spec, frame)
    if previous is None:
        shards = _write(spec, frame, schema, {s: [] for s in SPLITS}, out)
        return Assembled(
            frame, schema, shards, Difference(added=frame.height), frame.select("_record_id", pl.lit("added").alias("change"))
        )
    columns = compare_columns(previous.columns, column_definitions(spec, schema))
    shared = [n for n in previous.columns if n in schema.names and n not in columns["columns_changed"]]
    before = previous.frame()
    before = before.with_columns(row_hashes(before, shared).alias("_hash"))
    frame = frame.with_columns(row_hashes(frame, shared).alias("_hash"))
    difference, changes = compare_records(before, frame)
    difference = Difference(**{**difference.__dict__, **columns})
    if reuse:
        frame = _keep_provenance(frame, before)
    kept: dict[str, list[tuple[str, pl.DataFrame | None]]] = {s: [] for s in SPLITS}
    if reuse and not any(columns.values()) and _same_footer(spec, schema, previous):
        touched = changes.filter(pl.col("change") != "added")["_record_id"].implode()
        for name in previous.files:
            old = before.filter(pl.col("_path") == name)
            split = str(old["_split"][0])
            if old["_record_id"].is_in(touched).any():
                rows = old.select("_record_id").join(
                    frame.filter(pl.col("_split") == split), on="_record_id", maintain_order="left"
                )
                if rows.height:
                    kept[split].append((name, rows))
            else:
                kept[split].append((name, None))
    placed = before.filter(pl.col("_path").is_in([n for entries in kept.values() for n, _ in entries]))
    placed = placed.select("_record_id", "_split")
    fresh = frame.join(placed, on=["_record_id", "_split"], how="anti")
    shards = _write(spec, fresh, schema, kept, out, previous)
    return Assembled(frame, schema, shards, difference, changes)


def _keep_provenance(frame: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    first = before.select("_record_id", "_hash", pl.lit(True).alias("_seen"), *(pl.col(p).alias(f"{p}_first") for p in PROVENANCE))
    joined = frame.join(first, on=["_record_id", "_hash"], how="left", maintain_order="left")
    seen = pl.col("_seen").fill_null(False)
    return joined.with_columns(pl.when(seen).then(f"{p}_first").otherwise(p).alias(p) for p in PROVENANCE).select(frame.columns)


def _same_footer(spec: TrainingSet, schema: pa.Schema, previous: Previous) -> bool:
    """Whether the shards of the release before carry exactly what new ones would."""
    for path in previous.files.values():
        old = pq.read_schema(path)
        mine = json.dumps({"info": {"features": hf_features(spec, schema)}}, ensure_ascii=False, sort_keys=True)
        if schema_sha256(old) != schema_sha256(schema) or (old.metadata or {}).get(b"huggingface", b"").decode() != mine:
            return False
    return bool(footer(spec, schema, "train"))


def _write(
    spec: TrainingSet,
    fresh: pl.DataFrame,
    schema: pa.Schema,
    kept: Mapping[str, list[tuple[str, pl.DataFrame | None]]],
    out: Path,
    previous: Previous | None = None,
) -> tuple[Shard, ...]:
    written: list[Shard] = []
    for split in SPLITS:
        mine = fresh.filter(pl.col("_split") == split)
        new = list(chunks(ordered(spec, mine, split))) if mine.height else []
        total = len(kept[split]) + len(new)
        for number, (name, rows) in enumerate(kept[split]):
            relative = shard_path(split, number, total)
            if rows is None:
                assert previous is not None
                (out / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(previous.files[name], out / relative)
            else:
                write_shard(spec, rows, schema, split, out / relative)
            origin = _first_release(previous, name) if rows is None else None
            written.append(describe_shard(out, relative, split, origin))
        for number, rows in enumerate(new, start=len(kept[split])):
            relative = shard_path(split, number, total)
            write_shard(spec, rows, schema, split, out / relative)
            written.append(describe_shard(out, relative, split, None))
    return tuple(written)


def _first_release(previous: Previous | None, name: str) -> str | None:
    """The version that a reused shard first appeared in."""
    if previous is None:
        return None
    entry: dict[str, Any] = next((f for f in previous.manifest["files"] if f["path"] == name), {})
    return str(entry.get("reused_from") or previous.version)
