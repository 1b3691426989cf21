"""manifest.json: every file of a release with its size and digest, and what the release was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assets.store import file_sha256
from assets.training_sets.describe.facts import SPEC, Facts, stamp
from assets.training_sets.read import UNLISTED
from assets.training_sets.shards import CONFIG

_MEDIA = {
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".cff": "application/yaml",
    ".py": "text/x-python; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".arrow": "application/vnd.apache.arrow.file",
}
_ROLES = {
    "data": "data",
    "media": "media",
    "schema": "schema",
    "reports": "report",
    "provenance": "provenance",
    "legal": "legal",
    "load": "card",
}


def manifest(facts: Facts, root: Path, packaging: str) -> dict[str, Any]:
    """The manifest of the release that lies complete in `root`. `packaging`: digest of what it is described by."""
    shards = {s.path: s for s in facts.shards}
    files = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        relative = path.relative_to(root).as_posix()
        if relative in UNLISTED:
            continue
        entry: dict[str, Any] = {
            "path": relative,
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
            "media_type": media_type(relative),
        }
        entry["role"] = _ROLES.get(relative.partition("/")[0], "card") if "/" in relative else "card"
        if shard := shards.get(relative):
            entry |= {"config": CONFIG, **{k: v for k, v in shard.as_json().items() if k not in entry}}
        files.append(entry)
    return {
        "spec": SPEC,
        "dataset_id": facts.name,
        "version": facts.version,
        "origin": facts.origin,
        "created_at": stamp(facts.created_at),
        "as_of": stamp(facts.as_of) if facts.as_of else None,
        "previous_version": facts.previous_version,
        "salt_id": getattr(facts.spec.split, "salt", None),
        "changes": facts.difference.as_json(),
        "packaging_sha256": packaging,
        "tool_versions": dict(facts.tool_versions),
        "totals": {
            "files": len(files),
            "bytes": sum(f["bytes"] for f in files),
            "rows": sum(facts.rows.values()),
            "rows_per_split": facts.rows,
        },
        "files": files,
    }


def media_type(path: str) -> str:
    return "application/ld+json" if path.startswith("croissant") else _MEDIA.get(Path(path).suffix, "application/octet-stream")
