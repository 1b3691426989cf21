"""The three declared sets agree with the dbt models that they publish, and publish nothing known only after the outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from assets.tables.dbt_sources import DBT_PROJECT
from assets.training_sets.load import check, load_set
from assets.training_sets.model import TrainingSet
from assets.training_sets.prepare import PROVENANCE, prepare, published
from assets.training_sets.split import SPLITS, split_records
from quality.leakage import gate, single_feature_scores
from tests.dbt.project import MODELS, Build

SETS = DBT_PROJECT.parent / "assets" / "training_sets"


def declared(name: str) -> TrainingSet:
    return load_set(SETS / name)


def model_columns(name: str) -> dict[str, dict[str, Any]]:
    models = YAML(typ="safe").load((DBT_PROJECT / "models" / "training" / "_training.yml").read_text(encoding="utf-8"))["models"]
    (model,) = (m for m in models if m["name"] == name)
    return {c["name"]: c for c in model["columns"]}


@pytest.mark.parametrize("name", MODELS)
def test_set_publishes_the_columns_of_its_model(name: str) -> None:
    spec, columns = declared(name), model_columns(name)
    assert spec.name == spec.model == name
    assert check(SETS / name) == []
    assert set(published(spec)) == set(columns) - set(PROVENANCE)
    for feature in spec.features:
        assert feature.title_ko and feature.title_en and feature.description
    for column in columns.values():
        assert column["description"] and column["data_type"]
    if spec.label.classes:
        (accepted,) = (t["accepted_values"] for t in columns[spec.label.column]["data_tests"] if "accepted_values" in t)
        assert list(spec.label.classes) == accepted["arguments"]["values"]


@pytest.mark.parametrize("name", MODELS)
def test_nothing_left_out_is_in_the_model(name: str) -> None:
    spec = declared(name)
    assert spec.left_out
    assert not {c.name for c in spec.left_out} & set(model_columns(name))
    assert all(c.note for c in spec.left_out)


def test_the_outcome_s_traces_are_left_out_for_that_reason() -> None:
    def after(name: str) -> set[str]:
        return {c.name for c in declared(name).left_out if c.reason == "known_after_outcome"}

    assert {"felt", "cdi", "mmi", "alert", "sig", "types", "updated", "status"} <= after("earthquake_felt")
    assert len([c for c in after("birdstrike_damage") if c.startswith("cost_")]) == 3


@pytest.mark.parametrize("name", MODELS)
def test_left_out_columns_are_columns_of_the_sources(name: str) -> None:
    from assets.feeds.load import load_feeds

    feeds = load_feeds([SETS.parent / "feeds"]).feeds
    spec = declared(name)
    held = {c.name for feed in spec.sources for c in feeds[feed].contract.columns}
    assert {c.name for c in spec.left_out} <= held


@pytest.mark.dagster
@pytest.mark.parametrize("name", MODELS)
def test_sources_are_those_that_the_model_reads(built: Build, name: str) -> None:
    manifest = json.loads((built.warehouse.parent / "target" / "manifest.json").read_text(encoding="utf-8"))
    waiting, seen = [f"model.madang.{name}"], set()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += manifest["parent_map"][node]
    relations = {manifest["sources"][n]["name"] for n in seen if n.startswith("source.")}
    agency_last = [s.split(".") for s in declared(name).sources]
    assert relations == {f"{'_'.join(s[:-1])}__{s[-1]}" for s in agency_last}


@pytest.mark.dagster
@pytest.mark.parametrize("name", MODELS)
def test_landed_rows_become_records_in_three_splits(built: Build, name: str) -> None:
    spec = declared(name)
    landed = built.models_dir / name / "part-00000.parquet"
    records = prepare(spec, [Path(landed)])
    assert records.read == records.frame.height == pq.read_metadata(landed).num_rows
    split = split_records(spec, records.frame.select("_record_id", "_component_id", "_content", "_time"), None)
    rows = split.kept.join(records.frame, on="_record_id")
    assert split.kept.height + split.left_out.height == records.read
    for part in SPLITS:
        of_part = rows.filter(rows["_split"] == part)
        assert of_part.height > 0.05 * rows.height, part
        if spec.label.classes:
            assert of_part[spec.label.column].n_unique() == len(spec.label.classes), part
    if spec.group:
        assert rows.group_by(spec.group).agg(pl.col("_split").n_unique().alias("n"))["n"].max() == 1


@pytest.mark.dagster
@pytest.mark.parametrize("name", MODELS)
def test_no_single_feature_tells_the_label(built: Build, name: str) -> None:
    """Without anything accepted: the sets pass the leakage gate on their own."""
    spec = declared(name)
    assert not spec.leakage.accepted
    table = pq.read_table(built.models_dir / name / "part-00000.parquet")
    scores = single_feature_scores(table, spec.label.column, spec.label.kind, [f.name for f in spec.features])
    assert gate(scores, spec.leakage.max_single_feature).passed, scores[0]
    assert scores[0].score > {"number": 0.3, "binary": 0.65}[spec.label.kind], "a set whose features tell nothing is of no use"


@pytest.mark.dagster
def test_the_gate_would_have_caught_what_the_reports_leave_behind(live_tables: dict[str, list[str]]) -> None:
    with duckdb.connect() as connection:
        table = connection.execute(
            "SELECT *, coalesce(felt, 0) > 0 AS was_felt FROM read_parquet(?) WHERE type = 'earthquake'",
            live_tables["us_usgs__earthquakes_week"],
        ).to_arrow_table()
    spec = declared("earthquake_felt")
    scores = {s.name: s.score for s in single_feature_scores(table, "was_felt", "binary", [c.name for c in spec.left_out])}
    limit = spec.leakage.max_single_feature
    assert {name for name, score in scores.items() if score >= limit} == {"felt", "cdi", "types"}
    # The gate alone would have let this one through: leaving out by thought, not by threshold, is what the list is for.
    assert 0.8 < scores["sig"] < limit
