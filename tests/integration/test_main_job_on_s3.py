"""The main job, unchanged, with its store on a real S3 server; refused, killed and raced there as on a local disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from minio import Minio

from assets.store import Store
from tests.chaos.reader import State, see
from tests.chaos.scene import FEED, SET, Home, agency, write_declarations
from tests.integration.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.main_job.homes import madang

SETS = ("birdstrike_damage", "earthquake_felt", "seoul_bike_demand")


def client(server: S3Server) -> Minio:
    return Minio(endpoint=server.endpoint.removeprefix("http://"), access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)


def mirror(url: str, folder: Path) -> Path:
    """All objects below the store's URL as files, as a stranger with the bucket's key would copy them."""
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(url)
    for place in ("tables", "quarantine", "sets"):
        for key in store.list(place):
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(store.get_bytes(key))
    return folder


def read_everywhere(server: S3Server, url: str, entry: dict[str, Any], name: str, home: Path) -> None:
    """The release's rows straight from the bucket, by pyarrow, polars and DuckDB; all three count what the manifest counts."""
    base = f"{url.removeprefix('s3://')}/sets/{name}/v{entry['version']}/data/default"
    filesystem = pafs.S3FileSystem(
        access_key=ACCESS_KEY, secret_key=SECRET_KEY, endpoint_override=server.endpoint, scheme="http", region="us-east-1"
    )
    options = {
        "aws_access_key_id": ACCESS_KEY,
        "aws_secret_access_key": SECRET_KEY,
        "aws_endpoint_url": server.endpoint,
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
    }
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        httpfs(connection)
        connection.execute(
            "CREATE SECRET (TYPE s3, KEY_ID $key, SECRET $secret, ENDPOINT $endpoint, URL_STYLE 'path', USE_SSL false)",
            {"key": ACCESS_KEY, "secret": SECRET_KEY, "endpoint": server.endpoint.removeprefix("http://")},
        )
        for split, rows in entry["rows"].items():
            files = [f"{base}/{split}/{info.base_name}" for info in filesystem.get_file_info(pafs.FileSelector(f"{base}/{split}"))]
            tables = [pq.read_table(path, filesystem=filesystem) for path in files]
            ids = sorted(i for table in tables for i in table["_record_id"].to_pylist())
            assert len(ids) == rows > 0
            frame = pl.read_parquet([f"s3://{path}" for path in files], storage_options=options, hive_partitioning=False)
            assert sorted(frame["_record_id"].to_list()) == ids
            found = connection.execute("SELECT _record_id FROM read_parquet(?)", [[f"s3://{p}" for p in files]]).fetchall()
            assert sorted(row[0] for row in found) == ids


def httpfs(connection: duckdb.DuckDBPyConnection) -> None:
    """DuckDB's S3 access from the pinned Python package; nothing is downloaded."""
    import duckdb_extension_httpfs

    package = Path(next(iter(duckdb_extension_httpfs.__path__)))
    (extension,) = package.rglob("httpfs.duckdb_extension")
    connection.execute(f"LOAD '{extension}'")


@pytest.mark.timeout(600)
def test_the_demo_on_s3(s3_server: S3Server, s3_url: str, shared_data: Path, tmp_path: Path) -> None:
    """The agencies' real files go to the bucket without being asked for; the second run changes nothing."""
    url = f"{s3_url}/마당/main"
    settings = {"MADANG_STORE": url, **s3_server.environment}
    ran = ["demo", "--home", str(tmp_path / "home"), "--data", str(shared_data), "--json"]
    first = madang(*ran, **settings)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout.splitlines()[-1])
    assert [(s["name"], s["version"]) for s in report["sets"]] == [(name, "1.0.0") for name in SETS]
    assert client(s3_server).get_bucket_versioning(bucket_name=s3_url.removeprefix("s3://")).status == "Enabled"
    assert not (tmp_path / "home" / "store").exists()
    before = {k: hashlib.sha256(Store(url).get_bytes(k)).hexdigest() for k in Store(url).list("sets")}
    for entry in report["sets"]:
        read_everywhere(s3_server, url, entry, entry["name"], tmp_path / "home")
    pulled = madang("set", "pull", "seoul_bike_demand", str(tmp_path / "pulled"), "--json", **settings)
    assert pulled.returncode == 0, pulled.stderr
    assert madang("set", "verify", str(tmp_path / "pulled")).returncode == 0
    assert madang("set", "verify", f"{url}/sets/earthquake_felt/v1.0.0", **settings).returncode == 0
    second = madang(*ran, **settings)
    assert second.returncode == 0, second.stderr
    again = json.loads(second.stdout.splitlines()[-1])
    assert again["sets"] == report["sets"]
    assert {line["outcome"] for line in again["feeds"]} == {"NotModified"}
    assert {k: hashlib.sha256(Store(url).get_bytes(k)).hexdigest() for k in Store(url).list("sets")} == before


@pytest.mark.timeout(600)
def test_synthetic_rows_are_refused_there_unless_allowed(s3_server: S3Server, s3_url: str, tmp_path: Path) -> None:
    feed, name = FEED, SET
    write_declarations(tmp_path / "declared")
    home = Home(tmp_path / "home", tmp_path / "declared", {"MADANG_STORE": s3_url, **s3_server.environment})
    with agency(tmp_path / "declared", 0) as agency_url:
        settings = home.settings(agency_url)
        fetched = madang("feed", "run", feed, **settings)
        assert fetched.returncode == 0, fetched.stderr
        refused = madang("set", "build", name, **settings)
        assert refused.returncode != 0
        assert "synthetic" in refused.stderr and "--allow-synthetic" in refused.stderr
        assert not list(Store(s3_url).list(f"sets/{name}"))
        killed = madang("set", "build", name, "--allow-synthetic", MADANG_KILL_AT="release.manifest", **settings)
        assert killed.returncode == -9
        assert not Store(s3_url).exists(f"sets/{name}/index.json")
        assert Store(s3_url).exists(f"sets/{name}/v1.0.0/manifest.json")
        allowed = madang("set", "build", name, "--json", MADANG_ALLOW_SYNTHETIC="1", **settings)
        assert allowed.returncode == 0, allowed.stderr
        assert madang("set", "verify", f"{s3_url}/sets/{name}/v1.0.0", **settings).returncode == 0
        shown = json.loads(madang("set", "show", name, "--json", **settings).stdout)
        assert shown["manifest"]["origin"] == "synthetic"


def test_killed_and_raced_on_s3(s3_server: S3Server, s3_url: str, tmp_path: Path) -> None:
    """Every run of day two dies at its publish, each a step later; then two finish the work at once."""
    write_declarations(tmp_path / "declared")
    more = {"MADANG_STORE": s3_url, "MADANG_ALLOW_SYNTHETIC": "1", **s3_server.environment}
    remote, local = Home(tmp_path / "remote", tmp_path / "declared", more), Home(tmp_path / "local", tmp_path / "declared")

    def seen() -> State:
        return see(mirror(s3_url, tmp_path / "mirror"), FEED, SET)

    with agency(tmp_path / "declared", 0) as first, agency(tmp_path / "declared", 1) as second:
        remote.finish(first)
        local.finish(first)
        old = seen()
        assert old.rows == see(local.store, FEED, SET).rows
        local.finish(second)
        new = see(local.store, FEED, SET)
        for step in ("table.uploaded", "release.data", "release.manifest", "release.committed"):
            killed = remote.run(second, MADANG_KILL_AT=step)
            assert (killed.code, killed.last_step) == (-9, step), killed.said
            assert seen().rows == (old.table if step == "table.uploaded" else new.table, old.release)
        ended = [run.end() for run in [remote.start(second), remote.start(second)]]
        assert [e.code for e in ended] == [0, 0], [e.said for e in ended]
        found = seen()
        assert found.rows == new.rows and list(found.versions) == ["1.0.0", "2.0.0"]
        assert found.versions["1.0.0"] == old.versions["1.0.0"]
