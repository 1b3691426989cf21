"""The Parquet shards of a release: one Arrow schema, written by pyarrow, the same bytes for the same records.

Version and dates stay out of the files: a shard is shared between versions by its SHA-256, and the same input must give
the same digest anywhere. What a shard must say of itself (features, data set, canary) is in its footer.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from assets.store import file_sha256
from assets.training_sets.model import TrainingSet
from assets.training_sets.prepare import TECHNICAL

MIB = 1024 * 1024
ONE_FILE_BELOW = 64 * MIB
MANY_FROM = 1024 * MIB
SHARD_BYTES = 256 * MIB
ROW_GROUP_ROWS = 122_880
ROW_GROUP_BYTES = 100 * MIB
CONFIG = "default"

_ARROW: dict[Any, pa.DataType] = {
    pl.Int64: pa.int64(),
    pl.Float64: pa.float64(),
    pl.String: pa.string(),
    pl.Boolean: pa.bool_(),
    pl.Date: pa.date32(),
}
_HF: dict[pa.DataType, str] = {
    pa.int64(): "int64",
    pa.float64(): "float64",
    pa.string(): "string",
    pa.bool_(): "bool",
    pa.date32(): "date32",
    pa.timestamp("us"): "timestamp[us]",
    pa.timestamp("us", tz="UTC"): "timestamp[us, tz=UTC]",
}


@dataclass(frozen=True)
class Shard:
    """One written shard, as the manifest lists it. `path` is relative to the release."""

    path: str
    split: str
    rows: int
    row_groups: int
    max_row_group_bytes: int
    bytes: int
    sha256: str
    schema_sha256: str
    min_key: str | None
    max_key: str | None
    reused_from: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def shard_path(split: str, number: int, of: int) -> str:
    return f"data/{CONFIG}/{split}/{split}-{number:05d}-of-{of:05d}.parquet"


def canary(spec: TrainingSet) -> str:
    """The GUID by which a model that saw the test split can be found out. Fixed for the life of the set."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:madang:canary:{spec.name}"))


def arrow_type(dtype: pl.DataType) -> pa.DataType:
    if isinstance(dtype, pl.Datetime):
        return pa.timestamp("us", tz=dtype.time_zone)
    return _ARROW[type(dtype) if not isinstance(dtype, type) else dtype]


def arrow_schema(spec: TrainingSet, frame: pl.DataFrame) -> pa.Schema:
    """The one schema of all shards, without metadata: published columns, then the technical ones."""
    names = [n for n in frame.columns if not n.startswith("_")] + list(TECHNICAL)
    types = {**{n: arrow_type(t) for n, t in frame.schema.items() if n in names}, "_split": pa.string()}
    sure = {"_record_id", "_component_id", "_split", spec.label.column}
    return pa.schema([pa.field(n, types[n], nullable=n not in sure) for n in names])


def hf_features(spec: TrainingSet, schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's features JSON of the schema: ClassLabel for the label's classes, Value for the rest."""
    features: dict[str, Any] = {}
    for field in schema:
        if field.name == spec.label.column and spec.label.classes is not None:
            features[field.name] = {"names": list(spec.label.classes), "_type": "ClassLabel"}
        else:
            features[field.name] = {"dtype": _HF[field.type], "_type": "Value"}
    return features


def footer(spec: TrainingSet, schema: pa.Schema, split: str) -> dict[str, str]:
    """Footer metadata of a shard: equal in all shards of a split, in every version with this schema."""
    meta = {
        "huggingface": json.dumps({"info": {"features": hf_features(spec, schema)}}, ensure_ascii=False, sort_keys=True),
        "dataset_id": spec.name,
    }
    return {**meta, "canary": canary(spec)} if split == "test" else meta


def schema_sha256(schema: pa.Schema) -> str:
    """Digest of names, order, types and nullability; metadata is judged apart, because only test shards carry the canary."""
    text = json.dumps([[f.name, str(f.type), f.nullable] for f in schema])
    return hashlib.sha256(text.encode()).hexdigest()


def shard_count(size: int) -> int:
    """How many shards a split of `size` bytes (in Arrow) gets: one below 64 MiB, then a multiple of 8, 64 or more above 1 GiB."""
    if size < ONE_FILE_BELOW:
        return 1
    fewest = 64 if size > MANY_FROM else 8
    return max(fewest, -(-size // SHARD_BYTES // 8) * 8)


def ordered(spec: TrainingSet, frame: pl.DataFrame, split: str) -> pl.DataFrame:
    """The published order of the records of one new batch of shards.

    Series stay in order of group and time. Else train is shuffled by sha256(seed || record id), so that reading on is a
    good shuffle, and the seed is the set's salt; validation and test follow their natural key.
    """
    if spec.split.kind == "time":
        return frame.sort(*[g for g in spec.group if g in frame.columns], "_time", "_record_id", nulls_last=True)
    if split == "train":
        seed = spec.split.salt.encode() + b"\x1f"
        places = [hashlib.sha256(seed + r.encode()).hexdigest() for r in frame["_record_id"].to_list()]
        return frame.with_columns(pl.Series("_place", places, dtype=pl.String)).sort("_place").drop("_place")
    natural = [k for k in spec.record_id if k in frame.columns]
    return frame.sort(*natural, "_record_id", nulls_last=True)


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """The frame's published columns as exactly this schema."""
    return frame.select(schema.names).to_arrow().cast(schema)


def chunks(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Cut ordered records into the shards they will form; rows per shard are equal within one."""
    count = min(shard_count(int(frame.estimated_size())), max(frame.height, 1))
    small, larger = divmod(frame.height, count)
    start = 0
    for number in range(count):
        rows = small + (number < larger)
        yield frame.slice(start, rows)
        start += rows


def write_shard(spec: TrainingSet, frame: pl.DataFrame, schema: pa.Schema, split: str, path: Path) -> None:
    """Write one shard. Deterministic: equal records in equal order give equal bytes (pyarrow's version aside)."""
    table = to_arrow(frame, schema).replace_schema_metadata(footer(spec, schema, split)).combine_chunks()
    width = max(1, table.nbytes // max(1, table.num_rows))
    rows = max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES // width))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table,
        path,
        row_group_size=rows,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_content_defined_chunking=True,
        write_page_index=True,
        write_statistics=True,
    )


def describe_shard(root: Path, relative: str, split: str, reused_from: str | None) -> Shard:
    """What the manifest says of a shard, read back from the file itself."""
    path = root / relative
    meta = pq.read_metadata(path)
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    column = meta.schema.names.index("_record_id")
    stats = [g.column(column).statistics for g in groups if g.num_rows]
    return Shard(
        path=relative,
        split=split,
        rows=meta.num_rows,
        row_groups=meta.num_row_groups,
        max_row_group_bytes=max((g.total_byte_size for g in groups), default=0),
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
        schema_sha256=schema_sha256(meta.schema.to_arrow_schema()),
        min_key=min((str(s.min) for s in stats), default=None),
        max_key=max((str(s.max) for s in stats), default=None),
        reused_from=reused_from,
    )
