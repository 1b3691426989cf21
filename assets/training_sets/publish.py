"""The store's side of a release: upload, commit, index; and what an operator may do to the index afterwards.

Order: data, reports and the rest, manifest, `_COMMITTED`, then a compare-and-swap of index.json. A version's prefix is
never touched again once `_COMMITTED` is there; one without it was left by a killed publish and is finished or cleared. One
process at a time publishes a set (`claim.py`), or two would write the same prefix.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from assets.commit import reached
from assets.errors import IntegrityError, MadangError, StoreConflict
from assets.store import Store, dump_json
from assets.training_sets.claim import claimed
from assets.training_sets.describe.facts import stamp
from assets.training_sets.read import COMMITTED, UNLISTED, Source, committed_bytes, read_index, read_manifest
from assets.training_sets.versions import parts

Index = dict[str, Any]


class NoSuchVersion(MadangError):
    """The index does not list the version."""


def index_key(name: str) -> str:
    return f"sets/{name}/index.json"


def prefix(name: str, version: str) -> str:
    return f"sets/{name}/v{version}"


def empty_index(name: str) -> Index:
    return {"dataset_id": name, "latest": None, "channels": {"stable": None}, "hold": None, "versions": [], "history": []}


def load_index(store: Store, name: str) -> Index:
    """The set's index, empty where nothing was published."""
    value = store.read_pointer(index_key(name)).value
    return value if value is not None else empty_index(name)


def adopt(store: Store, name: str, now: datetime) -> list[str]:
    """Put into the index what a killed publish had committed but not indexed. Returns the versions added."""
    listed = {e["version"] for e in load_index(store, name)["versions"]}
    found = {k.split("/")[2][1:] for k in store.list(f"sets/{name}") if k.endswith(f"/{COMMITTED}") and k.count("/") == 3}
    missing = sorted(found - listed, key=parts)
    for version in missing:
        manifest, raw = read_manifest(Source(store), name, {"version": version})
        _enter(store, name, manifest, raw, now)
        reached("release.indexed")
    return missing


def publish(store: Store, name: str, root: Path, now: datetime) -> Index:
    """Publish the release that lies complete in `root`, manifest.json included. Returns the new index.

    Raises StoreConflict where another process publishes the set, or has published this version since it was built.
    """
    raw = (root / "manifest.json").read_bytes()
    manifest = json.loads(raw)
    base = prefix(name, manifest["version"])
    with claimed(store, name) as still_mine:
        if any(e["version"] == manifest["version"] for e in load_index(store, name)["versions"]):
            raise StoreConflict("another run released this version meanwhile", where=base, mend="build again")
        if store.exists(f"{base}/{COMMITTED}"):
            raise IntegrityError(
                "is committed already, and a release is write-once", where=base, mend="build again; the version will be higher"
            )
        files = [f["path"] for f in manifest["files"]]
        known = {f"{base}/{p}" for p in (*files, *UNLISTED)}
        store.sweep(base)
        for key in [k for k in store.list(base) if k not in known]:
            store.delete(key)
        for path in (f for f in files if f.startswith(("data/", "media/"))):
            still_mine()
            store.put_file(f"{base}/{path}", root / path)
        reached("release.data")
        for path in (f for f in files if not f.startswith(("data/", "media/"))):
            store.put_file(f"{base}/{path}", root / path)
        store.put_file(f"{base}/SHA256SUMS", root / "SHA256SUMS")
        store.put_bytes(f"{base}/manifest.json", raw)
        reached("release.manifest")
        still_mine()
        store.put_bytes(f"{base}/{COMMITTED}", committed_bytes(raw))
        reached("release.committed")
        index = _enter(store, name, manifest, raw, now)
        reached("release.indexed")
    return index


def _enter(store: Store, name: str, manifest: dict[str, Any], raw: bytes, now: datetime) -> Index:
    digest = json.loads(committed_bytes(raw))["manifest_sha256"]

    def change(index: Index) -> Index:
        index = index or empty_index(name)
        if any(e["version"] == manifest["version"] for e in index["versions"]):
            return index
        index["title"], index["publisher"] = manifest["title"], manifest["publisher"]
        index["versions"].append(
            {
                "version": manifest["version"],
                "released_at": manifest["created_at"],
                "manifest_sha256": digest,
                "rows": manifest["totals"]["rows"],
                "rows_per_split": manifest["totals"]["rows_per_split"],
                "bytes": manifest["totals"]["bytes"],
                "origin": manifest["origin"],
                "status": "active",
                "yank_reason": None,
                "previous": manifest["previous_version"],
                "changes": manifest["changes_in_words"],
            }
        )
        _point(index, manifest["version"])
        return _history(index, now, "released", manifest["version"], manifest["changes_in_words"])

    return store.update_pointer(index_key(name), change)


def _point(index: Index, version: str | None) -> None:
    index["latest"] = version
    index["channels"] = {"stable": version}


def _history(index: Index, now: datetime, action: str, version: str | None, reason: str) -> Index:
    index["history"] = [*index["history"], {"at": stamp(now), "action": action, "version": version, "reason": reason}]
    return index


def _entry(index: Index, name: str, version: str) -> dict[str, Any]:
    for entry in index.get("versions", []):
        if entry["version"] == version.removeprefix("v"):
            return dict(entry)
    listed = ", ".join(e["version"] for e in index.get("versions", [])) or "none"
    raise NoSuchVersion(f"'{name}' has no version {version}", mend=f"there are: {listed}")


def _change(store: Store, name: str, change: Callable[[Index], Index]) -> Index:
    return store.update_pointer(index_key(name), lambda index: change(index or empty_index(name)))


def yank(store: Store, name: str, version: str, reason: str, now: datetime) -> Index:
    """Withdraw a version from use: its files stay, `latest` goes to the highest active one before. Only the index changes."""

    def change(index: Index) -> Index:
        wanted = _entry(index, name, version)["version"]
        for entry in index["versions"]:
            if entry["version"] == wanted:
                entry["status"], entry["yank_reason"] = "yanked", reason
        if index["latest"] == wanted:
            active = [e["version"] for e in index["versions"] if e["status"] == "active"]
            _point(index, max(active, key=parts, default=None))
        return _history(index, now, "yanked", wanted, reason)

    read_index(Source(store), name)
    return _change(store, name, change)


def hold(store: Store, name: str, reason: str, now: datetime) -> Index:
    """Let no release of the set out until the hold is lifted."""

    def change(index: Index) -> Index:
        index["hold"] = {"at": stamp(now), "reason": reason}
        return _history(index, now, "held", None, reason)

    return _change(store, name, change)


def lift_hold(store: Store, name: str, reason: str, now: datetime) -> Index:
    """Let releases out again."""

    def change(index: Index) -> Index:
        index["hold"] = None
        return _history(index, now, "hold lifted", None, reason)

    return _change(store, name, change)


def rollback(store: Store, name: str, version: str, reason: str, now: datetime) -> Index:
    """Make an earlier version the latest; those above it become deprecated. Holds the set, or its next run would undo it."""

    def change(index: Index) -> Index:
        entry = _entry(index, name, version)
        if entry["status"] == "yanked":
            raise NoSuchVersion(f"'{name}' {entry['version']} is yanked", mend="roll back to a version that is not")
        for other in index["versions"]:
            if parts(other["version"]) > parts(entry["version"]) and other["status"] == "active":
                other["status"] = "deprecated"
        _point(index, entry["version"])
        for other in index["versions"]:
            if other["version"] == entry["version"]:
                other["status"] = "active"
        index["hold"] = {"at": stamp(now), "reason": f"rolled back to {entry['version']}: {reason}"}
        return _history(index, now, "rolled back", entry["version"], reason)

    return _change(store, name, change)


def write_local(path: Path, value: Any) -> None:
    """A JSON document of the release in its local folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dump_json(value))
