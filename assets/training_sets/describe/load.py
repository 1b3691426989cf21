"""Load this release with pyarrow alone: a copy of this file travels in each release as load/load.py.

    from load import load
    train = load("train")                        # a pyarrow.Table, its files checked against the manifest
    for batch in batches("train", rank=0, world=4): ...

Nothing of Madang is needed to run it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

RELEASE = Path(__file__).resolve().parent.parent


def files(split: str, *, verify: bool = True) -> list[Path]:
    """The shards of a split in order. With `verify`, ValueError on the first that is not what the manifest says."""
    raw = (RELEASE / "manifest.json").read_bytes()
    if hashlib.sha256(raw).hexdigest() != json.loads((RELEASE / "_COMMITTED").read_text("utf-8"))["manifest_sha256"]:
        raise ValueError("manifest.json is not the one that was committed")
    entries = [f for f in json.loads(raw)["files"] if f["role"] == "data" and f["split"] == split]
    if not entries:
        raise ValueError(f"this release has no split '{split}'")
    for entry in entries if verify else ():
        with (RELEASE / entry["path"]).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                raise ValueError(f"{entry['path']} differs from the manifest")
    return [RELEASE / e["path"] for e in entries]


def load(split: str, columns: Sequence[str] | None = None, *, verify: bool = True) -> pa.Table:
    """A whole split as one Arrow table."""
    return pa.concat_tables([pq.ParquetFile(f).read(columns=columns) for f in files(split, verify=verify)])


def batches(split: str, columns: Sequence[str] | None = None, *, rank: int = 0, world: int = 1) -> Iterator[pa.RecordBatch]:
    """The split's record batches, row groups dealt round-robin to `world` readers; this one is `rank`."""
    place = 0
    for path in files(split):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            if place % world == rank:
                yield from file.iter_batches(row_groups=[group], columns=columns)
            place += 1
