"""Publishing: idempotent, write-once, versions and shards across releases, gates that refuse, the operator's commands."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from assets.errors import Blocked, DeclarationError
from assets.store import Store
from assets.training_sets import publish
from assets.training_sets.assets import GATES
from assets.training_sets.read import NotPublished, pull, resolve, show, verify
from assets.training_sets.release import Held, SyntheticRefused, build_set
from tests.training_sets.making import CHEAP, FEED_ID, NOW, build, digests, feed, fetch, rows, spec


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "store").as_uri())


def test_unchanged_rows_make_no_release_in_any_order(store: Store, tmp_path: Path) -> None:
    first = build(store, tmp_path / "w", rows(range(400)))
    assert (first.version, first.changed, sum(first.rows.values())) == ("1.0.0", True, 400)
    before = sorted(store.list("sets"))
    again = build(store, tmp_path / "w", rows(range(400)).sample(fraction=1, shuffle=True, seed=3), now=NOW + timedelta(days=1))
    assert (again.version, again.changed, again.rows) == ("1.0.0", False, first.rows)
    assert sorted(store.list("sets")) == before


def test_every_gate_of_the_asset_is_judged(store: Store, tmp_path: Path) -> None:
    judged = {check.name for check in build(store, tmp_path, rows(range(400))).checks}
    # Those two are judged where they can fail: sets split by time, and labels of one value.
    assert judged >= {name for names in GATES.values() for name in names} - {"time_order", "label_varies"}


def test_a_sets_own_expectations_spill_beside_the_release(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the disk that has room for the set: the system's temporary folder is often small, and here is none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    own = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "size", "min_value": 0}}
    result = build(store, tmp_path / "w", rows(range(400)), spec(expectations=[own]))
    assert [check.passed for check in result.checks if "between" in check.name] == [True]
    assert not list((tmp_path / "w").rglob("madang-quality-*"))


def test_same_input_same_bytes(store: Store, tmp_path: Path) -> None:
    other = Store((tmp_path / "elsewhere").as_uri())
    build(store, tmp_path / "a", rows(range(400)))
    build(other, tmp_path / "b", rows(range(399, -1, -1)), now=NOW + timedelta(days=9), public_url="https://data.example.org")
    for folder in ("data/", "schema/"):
        assert digests(store, "1.0.0", folder) == digests(other, "1.0.0", folder) != {}


def test_added_records_are_minor_and_reuse_shards(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    result = build(store, tmp_path / "w", rows(range(460)))
    assert result.version == "1.1.0"
    old, new = digests(store, "1.0.0", "data/"), digests(store, "1.1.0", "data/")
    assert set(old.values()) < set(new.values())
    manifest = store.get_json("sets/little_set/v1.1.0/manifest.json")
    assert {f["reused_from"] for f in manifest["files"] if f["sha256"] in old.values()} == {"1.0.0"}
    schemas = {f["schema_sha256"] for f in manifest["files"] if f["role"] == "data"}
    assert len(schemas) == 1
    compacted = build(store, tmp_path / "w", rows(range(460)), compact=True)
    assert compacted.version == "1.1.1"
    assert len(digests(store, "1.1.1", "data/")) == 3
    assert not build(store, tmp_path / "w", rows(range(460))).changed


def test_edited_and_withdrawn_records_are_major(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    edited = rows(range(400)).with_columns(pl.when(pl.col("key") == "k5").then(99.5).otherwise("size").alias("size"))
    assert build(store, tmp_path / "w", edited).version == "2.0.0"
    unchanged = [p for p, d in digests(store, "1.0.0", "data/").items() if digests(store, "2.0.0", "data/")[p] == d]
    assert len(unchanged) == 2
    assert build(store, tmp_path / "w", edited.filter(pl.col("key") != "k6")).version == "3.0.0"


def test_provenance_alone_is_no_change_and_first_seen_stays(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    later = rows(range(400)).with_columns(
        pl.col("_fetched_at") + pl.duration(days=3), pl.lit("20261123T030000Z-0000bbbb").alias("_source_id")
    )
    assert not build(store, tmp_path / "w", later).changed
    more = pl.concat([later, rows(range(400, 401))])
    build(store, tmp_path / "w", more.with_columns(pl.when(pl.col("key") == "k7").then(1.5).otherwise("size").alias("size")))
    seen = pl.read_parquet([store.root / f"sets/little_set/v2.0.0/{p}" for p in digests(store, "2.0.0", "data/")])  # type: ignore[operator]
    by_fetch = dict(seen["_source_id"].value_counts().iter_rows())
    assert by_fetch == {"20261120T030000Z-0000aaaa": 400, "20261123T030000Z-0000bbbb": 1}


def test_new_description_is_a_patch_and_new_column_minor(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    assert build(store, tmp_path / "w", rows(range(400)), spec(summary="Told better.")).version == "1.0.1"
    assert digests(store, "1.0.0", "data/") == digests(store, "1.0.1", "data/")
    wider = spec(features=[*spec().model_dump()["features"], {"name": "tail", "description": "Tail."}])
    assert (
        build(store, tmp_path / "w", rows(range(400)).with_columns((pl.col("_source_row") % 3).alias("tail")), wider).version
        == "1.1.0"
    )


def test_shards_are_as_specified(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    for path in digests(store, "1.0.0", "data/"):
        file = pq.ParquetFile(store.root / f"sets/little_set/v1.0.0/{path}")  # type: ignore[operator]
        assert file.metadata.format_version == "2.6"
        column = file.metadata.row_group(0).column(0)
        assert (column.compression, column.has_offset_index, column.has_column_index, column.is_stats_set) == (
            "ZSTD",
            True,
            True,
            True,
        )
        meta = file.schema_arrow.metadata
        assert b"pandas" not in meta and meta[b"dataset_id"] == b"little_set"
        assert (b"canary" in meta) == ("/test/" in path)
        assert [n for n in file.schema_arrow.names if n.startswith("_")] == [
            "_record_id",
            "_source_id",
            "_source_row",
            "_fetched_at",
            "_component_id",
            "_split",
        ]


def blocked(store: Store, tmp_path: Path, frame: pl.DataFrame, **changes: object) -> Blocked:
    with pytest.raises(Blocked) as caught:
        build(store, tmp_path / "w", frame, spec(**changes))
    return caught.value


def test_a_feature_that_tells_the_label_is_named(store: Store, tmp_path: Path) -> None:
    telling = rows(range(400)).with_columns((pl.col("outcome") == "yes").alias("wet"))
    error = blocked(store, tmp_path, telling)
    assert error.checks == ("single_feature_leakage",)
    assert "wet" in error.what
    assert not [k for k in store.list("sets") if "/v" in k]
    assert [k for k in store.list("reports") if k.endswith("gates.json")]
    accepted = spec(leakage={"accepted": {"wet": "That is the point of this test."}})
    assert build(store, tmp_path / "w", telling, accepted).version == "1.0.0"


def test_shrinking_too_far_keeps_the_last_release(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    assert blocked(store, tmp_path, rows(range(200))).checks == ("shrink",)
    assert publish.load_index(store, "little_set")["latest"] == "1.0.0"


def test_too_few_rows_repeated_ids_and_strange_labels_block(store: Store, tmp_path: Path) -> None:
    assert "min_rows" in blocked(store, tmp_path, rows(range(400)), min_rows=401).checks
    assert blocked(store, tmp_path, pl.concat([rows(range(400)), rows(range(1))])).checks == ("record_id_unique",)
    strange = rows(range(400)).with_columns(pl.lit("maybe").alias("outcome"))
    error = blocked(store, tmp_path, strange)
    assert error.checks == ("label_classes",)
    assert "maybe" not in str(error)
    with pytest.raises(DeclarationError, match="size"):
        build(store, tmp_path / "w", rows(range(400)).drop("size"))


def test_forbidding_licence_blocks(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows(range(400)).write_parquet(path)
    closed = feed().model_copy(update={"licence": feed().licence.model_copy(update={"id": "KOGL-3"})})
    with pytest.raises(Blocked, match="forbids adaptations"):
        build_set(
            spec(),
            [path],
            feeds={FEED_ID: closed},
            origins={FEED_ID: "agency"},
            fetches=[fetch("agency")],
            store=store,
            workdir=tmp_path / "w",
            now=NOW,
            loader_names=CHEAP,
        )


def test_records_that_bridge_are_left_out_and_listed(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    old = pl.read_parquet([store.root / f"sets/little_set/v1.0.0/{p}" for p in digests(store, "1.0.0", "data/")])  # type: ignore[operator]
    site = {split: old.filter(pl.col("_split") == split)["site"][0] for split in ("train", "test")}
    moved = rows(range(400)).with_columns(
        pl.when((pl.col("site") == site["train"]) & (pl.col("key") == old.filter(pl.col("site") == site["train"])["key"][0]))
        .then(pl.lit(site["test"]))
        .otherwise("site")
        .alias("site")
    )
    result = build(store, tmp_path / "w", moved)
    assert (result.version, result.left_out) == ("2.0.0", {"would move to another split": 1})
    listed = pq.read_table(store.root / "sets/little_set/v2.0.0/provenance/left_out.parquet")  # type: ignore[operator]
    assert listed["reason"].to_pylist() == ["would move to another split"]


def test_synthetic_rows_name_no_agency_and_need_a_local_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(store, tmp_path / "w", rows(range(400)), origin="synthetic")
    said = b"".join(store.get_bytes(k) for k in store.list("sets/little_set/v1.0.0") if not k.endswith(".parquet"))
    assert feed().agency.name.encode() not in said
    sources = pq.read_table(store.root / "sets/little_set/v1.0.0/provenance/sources.parquet")  # type: ignore[operator]
    assert sources["agency"].to_pylist() == sources["attribution_ko"].to_pylist() == [None]
    card = store.get_bytes("sets/little_set/v1.0.0/README.md").decode()
    assert card.split("\n---\n", 1)[1].startswith("Origin: synthetic.")
    assert publish.load_index(store, "little_set")["versions"][0]["origin"] == "synthetic"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(SyntheticRefused, match="not local"):
        build(Store("s3://bucket"), tmp_path / "w", rows(range(400)), origin="synthetic")


def test_yank_rollback_and_hold(store: Store, tmp_path: Path) -> None:
    for last in (400, 430, 460):
        build(store, tmp_path / "w", rows(range(last)))
    index = publish.yank(store, "little_set", "1.2.0", "wrong unit", NOW)
    assert (index["latest"], resolve(index, "1")["version"]) == ("1.1.0", "1.1.0")
    index = publish.rollback(store, "little_set", "1.0.0", "test", NOW)
    assert index["latest"] == "1.0.0"
    with pytest.raises(Held):
        build(store, tmp_path / "w", rows(range(460)))
    publish.lift_hold(store, "little_set", "mended", NOW)
    assert build(store, tmp_path / "w", rows(range(460))).version == "1.3.0"
    history = publish.load_index(store, "little_set")["history"]
    assert [h["action"] for h in history] == ["released"] * 3 + ["yanked", "rolled back", "hold lifted", "released"]
    with pytest.raises(publish.NoSuchVersion):
        publish.yank(store, "little_set", "9.9.9", "x", NOW)


def test_pull_resumes_and_verify_names_the_first_wrong_file(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    dest, seen = tmp_path / "copy", []
    manifest = pull(store.url, "little_set", dest, progress=lambda path, done, total: seen.append((path, done, total)))
    assert seen[-1][1] == seen[-1][2] == manifest["totals"]["bytes"]
    report = verify(dest)
    assert (report.ok, report.version, report.wrong) == (True, "1.0.0", None)
    assert verify(f"{store.url}/sets/little_set/v1.0.0").ok
    victim = dest / "data/default/test/test-00000-of-00001.parquet"
    raw = bytearray(victim.read_bytes())
    raw[len(raw) // 2] ^= 1
    victim.write_bytes(raw)
    report = verify(dest)
    assert (report.ok, report.wrong) == (False, "data/default/test/test-00000-of-00001.parquet")
    kept = (dest / "README.md").stat().st_mtime_ns
    pull(store.url, "little_set", dest)
    assert verify(dest).ok and (dest / "README.md").stat().st_mtime_ns == kept
    (dest / "surplus.txt").write_text("x")
    assert verify(dest).wrong == "surplus.txt"
    (dest / "surplus.txt").unlink()
    (dest / "legal" / "rights.json").unlink()
    assert (verify(dest).wrong, verify(dest).reason) == ("legal/rights.json", "is missing")


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "_COMMITTED"])
def test_tampering_with_the_seal_is_seen(store: Store, tmp_path: Path, name: str) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    pull(store.url, "little_set", tmp_path / "copy")
    path = tmp_path / "copy" / name
    path.write_bytes(path.read_bytes().replace(b"1", b"2").replace(b"a", b"b"))
    assert not verify(tmp_path / "copy").ok


def test_uncommitted_and_unknown_versions_are_not_read(store: Store, tmp_path: Path) -> None:
    build(store, tmp_path / "w", rows(range(400)))
    store.delete("sets/little_set/v1.0.0/_COMMITTED")
    with pytest.raises(NotPublished, match="not committed"):
        show(store.url, "little_set")
    with pytest.raises(NotPublished, match="no version"):
        pull(store.url, "little_set", tmp_path / "copy", "4")
    with pytest.raises(NotPublished, match="no training set"):
        show(store.url, "nothing_here")
