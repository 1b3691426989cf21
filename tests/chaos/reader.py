"""What a stranger finds in a store: tables and releases read with pyarrow, hashlib and json alone, by the documented layout.

Nothing of Madang is imported, so that a fault in its own readers cannot hide one in its writers.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MOMENTARY = ("_source_id", "_fetched_at")
"""Columns that say by which fetch a row came, and so differ between two runs over the same rows."""


@dataclass(frozen=True)
class State:
    """What is visible. `table`, `release`: digest of the rows in force ('' where there is none); `versions`: version → digest of
    its manifest, in the order of the set's index.
    """

    table: str
    release: str
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[str, str]:
        return self.table, self.release


def see(store: Path, feed: str, name: str) -> State:
    """Read the live table of `feed` and all releases of the set `name`; AssertionError where anything visible is not whole."""
    release, versions = _releases(store, name)
    return State(_table(store, feed), release, versions)


def _table(store: Path, feed: str) -> str:
    index = _json(store / "tables" / feed / "index.json")
    if index is None:
        return ""
    tables = []
    for part in index["partitions"].values():
        live = [_whole(store, file) for file in part["files"]]
        for file in (*part["quarantine"]["files"], *part["changed_files"]):
            _whole(store, file)
        assert sum(table.num_rows for table in live) == part["rows"], "the table has another number of rows than its index says"
        tables += live
    return _digest(tables)


def _releases(store: Path, name: str) -> tuple[str, dict[str, str]]:
    index = _json(store / "sets" / name / "index.json")
    if index is None:
        return "", {}
    versions, latest = {}, ""
    for entry in index["versions"]:
        folder = store / "sets" / name / f"v{entry['version']}"
        raw = (folder / "manifest.json").read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        assert json.loads((folder / "_COMMITTED").read_bytes())["manifest_sha256"] == digest == entry["manifest_sha256"]
        manifest = json.loads(raw)
        assert manifest["version"] == entry["version"]
        tables = []
        for file in manifest["files"]:
            data = (folder / file["path"]).read_bytes()
            assert len(data) == file["bytes"] and hashlib.sha256(data).hexdigest() == file["sha256"], file["path"]
            if file["role"] == "data":
                split = file["path"].split("/")[2]
                table = pq.read_table(BytesIO(data))
                tables.append(table.append_column("split", pa.array([split] * table.num_rows)))
        assert sum(table.num_rows for table in tables) == entry["rows"] == manifest["totals"]["rows"]
        listed = {file["path"] for file in manifest["files"]} | {"_COMMITTED", "manifest.json", "SHA256SUMS"}
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert found == listed, f"v{entry['version']} holds other files than its manifest: {sorted(found ^ listed)}"
        versions[entry["version"]] = digest
        if entry["version"] == index["latest"]:
            latest = _digest(tables)
    assert index["latest"] in versions
    return latest, versions


def see_archive(home: Path) -> int:
    """How many fetches the ledger knows; each must have its archive, readable to the end, and so must the archives it lacks."""
    connection = sqlite3.connect(f"file:{home / 'ledger.sqlite'}?mode=ro", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        keys = [row[0] for row in connection.execute("SELECT warc_key FROM fetches")]
    finally:
        connection.close()
    files = {p.relative_to(home / "store").as_posix() for p in (home / "store" / "archive").rglob("*.warc.gz")}
    assert set(keys) <= files, "the ledger names archives that are not there"
    for key in files:
        assert gzip.decompress((home / "store" / key).read_bytes()).startswith(b"WARC/1.1")
    return len(keys)


def _whole(store: Path, file: Mapping[str, Any]) -> pa.Table:
    data = (store / file["key"]).read_bytes()
    assert len(data) == file["bytes"] and hashlib.sha256(data).hexdigest() == file["sha256"], file["key"]
    table = pq.read_table(BytesIO(data))
    assert table.num_rows == file["rows"], file["key"]
    return table


def _digest(tables: list[pa.Table]) -> str:
    """SHA-256 of all rows, sorted, whichever files hold them."""
    rows = sorted(
        json.dumps({k: v for k, v in row.items() if k not in MOMENTARY}, default=str, sort_keys=True)
        for table in tables
        for row in table.to_pylist()
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes()) if path.exists() else None
