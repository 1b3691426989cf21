"""The same rows and values come out of every loader, and a loader that gives others is caught."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.errors import Blocked
from assets.store import Store
from assets.training_sets import loaders, prove
from assets.training_sets.describe.croissant import REQUIRED
from assets.training_sets.loaders import LOADERS, LoaderFailed, installed, load_with, worker
from assets.training_sets.read import pull
from tests.training_sets.making import build, rows, spec


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with nulls in every type, Korean text and several shards in a split, pulled into a folder."""
    root = tmp_path_factory.mktemp("release")
    store = Store((root / "store").as_uri())
    for last in (400, 460):
        build(store, root / "w", rows(range(last)), public_url="https://data.example.org/sets")
    pull(store.url, "little_set", root / "copy")
    return root / "copy"


@pytest.mark.parametrize("name", LOADERS)
def test_each_loader_gives_the_same_values(release: Path, name: str) -> None:
    if installed(name) is None:
        pytest.skip(f"{name} is not installed")
    expected = load_with("pyarrow", release)
    found = worker(name).load(name, release) if name in loaders.IN_WORKER else load_with(name, release)
    assert found == expected
    assert sum(v.rows for v in found.values()) == 460


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_sees_another_value(release: Path, tmp_path: Path, name: str) -> None:
    """One changed value in one shard changes the checksum of that split in every loader, or the loader refuses."""
    if installed(name) is None:
        pytest.skip(f"{name} is not installed")
    copy = tmp_path / "copy"
    shutil.copytree(release, copy)
    path = next((copy / "data").glob("*/train/*.parquet"))
    table = pq.read_table(path)
    at = table.schema.names.index("count")
    changed = pa.array([1234567, *table["count"].to_pylist()[1:]], pa.int64())
    pq.write_table(table.set_column(at, table.schema.field(at), changed), path)
    good = load_with("pyarrow", release)
    try:
        bad = worker(name).load(name, copy) if name in loaders.IN_WORKER else load_with(name, copy)
    except LoaderFailed:
        assert name == "mlcroissant"  # it checks the digests that the document states
        return
    assert bad["train"].checksum != good["train"].checksum
    assert bad["test"] == good["test"]


def test_the_gate_refuses_a_loader_that_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shortened(release: Path) -> Any:
        for split, table in loaders._pyarrow(release):
            yield split, table.slice(1)

    monkeypatch.setitem(loaders._READERS, "polars", shortened)  # type: ignore[misc]
    store = Store((tmp_path / "store").as_uri())
    with pytest.raises(Blocked, match="polars: test has"):
        build(store, tmp_path / "w", rows(range(400)))
    assert not list(store.list("sets"))


def test_what_did_not_run_never_passes(release: Path) -> None:
    report = json.loads((release / "reports" / "loaders.json").read_text())
    assert {e["name"]: e["status"] for e in report["loaders"]} == {
        n: "pass" if n in loaders.IN_PROCESS else "not run" for n in LOADERS
    }


def test_croissant_has_what_the_specification_requires(release: Path) -> None:
    document = json.loads((release / "croissant.json").read_text())
    assert all(document.get(f) for f in REQUIRED)
    assert document["@context"]["@vocab"] == "https://schema.org/"
    assert all(
        f["contentUrl"].startswith("https://data.example.org/sets/sets/little_set/v1.1.0/data/") for f in document["distribution"]
    )
    assert sum(k.startswith("rai:") for k in document) == 20
    assert document["rai:personalSensitiveInformation"] == "not assessed"
    local = json.loads((release / "croissant.local.json").read_text())
    assert all((release / f["contentUrl"]).is_file() for f in local["distribution"])
    labels = [f for r in document["recordSet"] for f in r["field"] if f["name"] == "outcome"]
    assert labels and all("cr:Label" in f["dataType"] for f in labels)


def test_card_is_one_that_hubs_accept(release: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.DatasetCard.load(release / "README.md")
    assert card.data.pretty_name == "A little set"
    assert card.text.lstrip().startswith("Origin: replay.")
    for heading in (
        "Summary",
        "Quick start",
        "Intended and out-of-scope uses",
        "Composition",
        "Collection",
        "Preparation",
        "Labels",
        "Splits and leakage proof",
        "Quality summary",
        "Bias and limits",
        "Personal data",
        "Licence and attribution",
        "Provenance",
        "Maintenance",
        "Changes",
        "Citation",
    ):
        assert f"\n## {heading}\n" in card.text
    manifest = json.loads((release / "manifest.json").read_text())
    splits = {s["name"]: s["num_examples"] for s in card.data.to_dict()["dataset_info"][0]["splits"]}
    assert splits == manifest["totals"]["rows_per_split"]


def test_profile_counts_every_row_and_hides_what_is_not_cleared(release: Path, tmp_path: Path) -> None:
    profile = json.loads((release / "reports" / "profile.json").read_text())
    train = pl.read_parquet(sorted((release / "data").glob("*/train/*.parquet")))
    columns = {c["column_name"]: c for c in profile["splits"]["train"]["statistics"]}
    assert profile["splits"]["train"]["num_examples"] == train.height
    count = columns["count"]["column_statistics"]
    assert (count["min"], count["max"], count["nan_count"]) == (
        train["count"].min(),
        train["count"].max(),
        train["count"].null_count(),
    )
    assert sum(count["histogram"]["hist"]) == train.height - train["count"].null_count()
    assert len(count["histogram"]["bin_edges"]) == len(count["histogram"]["hist"]) + 1
    assert sum(columns["outcome"]["column_statistics"]["frequencies"].values()) == train.height
    features = spec().model_dump()["features"]
    hidden = spec(features=[{**f, "cleared": f["name"] != "kind"} for f in features])
    store = Store((tmp_path / "store").as_uri())
    build(store, tmp_path / "w", rows(range(400)), hidden)
    said = b"".join(store.get_bytes(k) for k in store.list("sets/little_set/v1.0.0") if not k.endswith(".parquet"))
    assert "종류1".encode() not in said and "곳1".encode() in said


def test_real_hours_of_seoul_in_all_loaders(shared_data: Path, tmp_path: Path) -> None:
    """The agency's own file, as a time series without SQL before it."""
    raw = pl.read_csv(shared_data / "seoul-bike-hourly.csv", infer_schema_length=None)
    at = pl.col("Date").str.to_datetime("%d/%m/%Y", time_unit="us") + pl.duration(hours=pl.col("Hour") - 9)
    hours = raw.select(
        at.alias("seen_at"),
        pl.col("Hour").alias("hour"),
        pl.col("Temperature").alias("temperature"),
        (pl.col("Holiday") == "Holiday").alias("holiday"),
        pl.col("Seasons").alias("season"),
        pl.col("Rented Bike Count").alias("rented"),
        pl.lit("20261120T030000Z-0000aaaa").alias("_source_id"),
        pl.int_range(1, pl.len() + 1).alias("_source_row"),
        pl.lit(datetime(2026, 11, 20, tzinfo=UTC)).alias("_fetched_at"),
    )
    names = ("seen_at", "hour", "temperature", "holiday", "season")
    declared = spec(
        task="tabular-regression",
        record_id=["seen_at"],
        label={"column": "rented", "kind": "number"},
        features=[{"name": n, "description": n, "role": "time" if n == "seen_at" else "feature"} for n in names],
        group=[],
        time="seen_at",
        split={"kind": "time", "validation_from": "2018-09-01T00:00:00Z", "test_from": "2018-10-16T00:00:00Z", "embargo": "PT24H"},
    )
    store = Store((tmp_path / "store").as_uri())
    result = build(store, tmp_path / "w", hours, declared, loader_names=LOADERS)
    # 8,760 hours of a year, less 24 before each cut-off.
    assert (sum(result.rows.values()), result.left_out) == (8760 - 48, {"embargo": 48})
    report = store.get_json("sets/little_set/v1.0.0/reports/loaders.json")
    assert {e["status"] for e in report["loaders"] if installed(e["name"])} == {"pass"}
    train = pl.read_parquet(store.root / "sets/little_set/v1.0.0/data/default/train")  # type: ignore[operator]
    assert train["seen_at"].is_sorted()
    assert prove.status(result.checks) == "pass"


def test_the_release_s_own_loader_needs_pyarrow_only(release: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from load import batches, load; "
        "t = load('train', ['_record_id']); parts = [b.num_rows for r in (0, 1) for b in batches('train', rank=r, world=2)]; "
        "assert sum(parts) == t.num_rows and not {'assets', 'polars', 'pandas'} & set(sys.modules); print(t.num_rows)"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code, str(release / "load")], check=False, capture_output=True, text=True, cwd=release
    )
    assert result.stderr == ""
    assert int(result.stdout) == json.loads((release / "manifest.json").read_text())["totals"]["rows_per_split"]["train"]


def test_a_worker_that_died_is_a_verdict_and_is_replaced(release: Path) -> None:
    if installed("datasets") is None:
        pytest.skip("datasets is not installed")
    first = worker("datasets")
    first._process.kill()
    first._process.wait()
    with pytest.raises(LoaderFailed, match="died"):
        first.load("datasets", release)
    assert worker("datasets") is not first
    assert worker("datasets").load("datasets", release) == load_with("pyarrow", release)
