"""Training models as Parquet: what dbt landed in a folder becomes `models/<model>/<run_id>/` and its index.

Running dbt is `orchestration/dbt.py`; what a training set makes of a model is `assets/training_sets/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from assets.commit import reached
from assets.errors import MadangError
from assets.store import Store, file_sha256


@dataclass(frozen=True)
class LandedModel:
    """The live version of one training model. `sources`: feed id → {fetch_id, origin} that the rows came from."""

    model: str
    run_id: str
    files: tuple[str, ...]
    rows: int
    sources: Mapping[str, Mapping[str, str]]
    changed: bool = True


def index_key(model: str) -> str:
    return f"models/{model}/index.json"


def live_model(store: Store, model: str) -> LandedModel | None:
    """What the model's index says is live, or None where it never landed."""
    value = store.read_pointer(index_key(model)).value
    return None if value is None else _from_index(value, changed=False)


def publish_model(
    store: Store, model: str, folder: Path, *, run_id: str, sources: Mapping[str, Mapping[str, str]], now: datetime
) -> LandedModel:
    """Upload the Parquet files of `folder` and swap the model's index, last. Equal bytes make no new version.

    Raises MadangError where dbt landed nothing for the model.
    """
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise MadangError(f"dbt landed no Parquet for the model {model}", where=str(folder), mend="look at dbt's run before it")
    files = [
        {
            "key": f"models/{model}/{run_id}/{path.name}",
            "rows": pq.read_metadata(path).num_rows,
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in paths
    ]
    pointer = store.read_pointer(index_key(model))
    old = pointer.value or {}
    if [f["sha256"] for f in old.get("files", [])] == [f["sha256"] for f in files] and old.get("sources") == _plain(sources):
        return _from_index(old, changed=False)
    for path, file in zip(paths, files, strict=True):
        store.put_file(str(file["key"]), path)
    reached("model.uploaded")
    value = {"model": model, "run_id": run_id, "updated_at": now.isoformat(), "files": files, "sources": _plain(sources)}
    store.swap(index_key(model), pointer, value)
    reached("model.swapped")
    return _from_index(value, changed=True)


def _from_index(value: Mapping[str, Any], *, changed: bool) -> LandedModel:
    return LandedModel(
        model=value["model"],
        run_id=value["run_id"],
        files=tuple(f["key"] for f in value["files"]),
        rows=sum(f["rows"] for f in value["files"]),
        sources=value["sources"],
        changed=changed,
    )


def _plain(sources: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {feed: dict(sources[feed]) for feed in sorted(sources)}
