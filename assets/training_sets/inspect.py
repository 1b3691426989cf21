"""Questions about published releases: what changed between two of them, and where a record comes from.

Reads releases only. What a consumer needs to load one is `read.py`; the comparison rule itself is `versions.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from assets.errors import MadangError
from assets.store import Store
from assets.training_sets.publish import prefix
from assets.training_sets.read import Source, read_index, read_manifest, resolve


class NoSuchRecord(MadangError):
    """The release has no record of that id."""


def _release(store: Store, name: str, version: str | None, cache: Path) -> tuple[dict[str, Any], list[Path]]:
    """A release's manifest and its shards as local files."""
    source = Source(store)
    entry = resolve(read_index(source, name), version)
    manifest, _ = read_manifest(source, name, entry)
    base = prefix(name, manifest["version"])
    return manifest, [store.local_path(f"{base}/{f['path']}", cache) for f in manifest["files"] if f["role"] == "data"]


def diff(store: Store, name: str, first: str, second: str, cache: Path) -> dict[str, Any]:
    """What changed from version `first` to `second`: counts, columns, and the ids of the records that changed."""
    import polars as pl

    from assets.training_sets.values import row_hashes
    from assets.training_sets.versions import compare_columns, compare_records

    (old, old_files), (new, new_files) = _release(store, name, first, cache), _release(store, name, second, cache)
    definitions = []
    for manifest in (old, new):
        document = store.get_json(f"{prefix(name, manifest['version'])}/schema/default.json")
        named = [c for c in document["columns"] if not c["name"].startswith("_")]
        definitions.append({c["name"]: {"arrow_type": c["arrow_type"], "classes": c["classes"]} for c in named})
    columns = compare_columns(*definitions)
    shared = [c for c in definitions[0] if c in definitions[1] and c not in columns["columns_changed"]]
    frames = [pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files]) for files in (old_files, new_files)]
    difference, changes = compare_records(*(f.with_columns(row_hashes(f, shared).alias("_hash")) for f in frames))
    counts = {k: getattr(difference, k) for k in ("added", "edited", "withdrawn", "moved", "unchanged")}
    listed = {c: changes.filter(pl.col("change") == c)["_record_id"].to_list() for c in ("added", "edited", "withdrawn", "moved")}
    return {
        "dataset_id": name,
        "from": old["version"],
        "to": new["version"],
        **counts,
        **{k: list(v) for k, v in columns.items()},
        "records": listed,
    }


def trace(store: Store, name: str, record_id: str, cache: Path, version: str | None = None) -> dict[str, Any]:
    """From a record back to its fetch: split, source row, when first seen, and the fetch as provenance/sources.parquet has it."""
    manifest, files = _release(store, name, version, cache)
    wanted = ["_record_id", "_source_id", "_source_row", "_fetched_at", "_component_id", "_split"]
    found = ds.dataset([str(f) for f in files], format="parquet").to_table(
        columns=wanted, filter=ds.field("_record_id") == record_id
    )
    if not found.num_rows:
        raise NoSuchRecord(f"'{name}' {manifest['version']} has no such record", mend="give a _record_id of this version")
    record = found.to_pylist()[0]
    base = prefix(name, manifest["version"])
    sources = pq.read_table(store.local_path(f"{base}/provenance/sources.parquet", cache)).to_pylist()
    fetch = next((s for s in sources if s["source_id"] == record["_source_id"]), None)
    return {"dataset_id": name, "version": manifest["version"], "record": record, "fetch": fetch}
