"""set.yaml: the declared sets load, and each mistake is told with its line and field."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from assets.errors import DeclarationError
from assets.training_sets.load import OWN_SETS, check, load_set, load_sets
from assets.training_sets.prepare import prepare
from tests.training_sets.making import rows, spec


def test_own_sets_load() -> None:
    sets = load_sets().sets
    assert {"seoul_bike_demand", "earthquake_felt", "birdstrike_damage"} <= set(sets)
    assert all(name == declared.name for name, declared in sets.items())


@pytest.mark.parametrize(
    ("line", "instead", "field", "said"),
    [
        ('validation_from: "2018-08-31T15:00:00Z"', "validation_from: yesterday", "split.validation_from", "cannot be read"),
        ("embargo: PT0S", "embargo: P1M", "split.embargo", "cannot be read"),
        ('test_from: "2018-10-15T15:00:00Z"', 'test_from: "2018-01-01T00:00:00Z"', "split.test_from", "not after"),
        ("name: seoul_bike_demand", "name: other_name", "name", "folder"),
        ("task: tabular-regression", "task: poetry", "task", ""),
        ("time: hour_starts_at", "tiem: hour_starts_at", "tiem", ""),
    ],
)
def test_each_mistake_has_its_line(tmp_path: Path, line: str, instead: str, field: str, said: str) -> None:
    text = (OWN_SETS / "seoul_bike_demand" / "set.yaml").read_text("utf-8")
    number = next(i for i, found in enumerate(text.splitlines(), 1) if found.strip() == line)
    file = tmp_path / "seoul_bike_demand" / "set.yaml"
    file.parent.mkdir()
    file.write_text(text.replace(line, instead, 1), "utf-8")
    (problem, *_) = [p for p in check(file) if p.field.startswith(field)]
    assert (problem.line, said in problem.what) == (number, True)
    with pytest.raises(DeclarationError):
        load_set(file)


def test_unknown_sources_and_two_sets_of_one_name(tmp_path: Path) -> None:
    (problem,) = check(OWN_SETS / "seoul_bike_demand", feeds=())
    assert problem.field == "sources" and "kr.seoul.bike_hourly" in problem.what
    shutil.copytree(OWN_SETS / "seoul_bike_demand", tmp_path / "seoul_bike_demand")
    both = load_sets([OWN_SETS, tmp_path])
    assert both.sets.keys() == load_sets().sets.keys()
    assert ["too" in twice.what for twice in both.problems] == [True]


def test_a_broken_set_does_not_keep_the_others_from_loading(tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "set.yaml"
    broken.parent.mkdir()
    broken.write_text("name: broken\nmodle: typo\n", "utf-8")
    both = load_sets([OWN_SETS, tmp_path])
    assert both.sets.keys() == load_sets().sets.keys()
    assert {problem.file for problem in both.problems} == {str(broken)}


def test_records_without_id_columns_are_told_apart_by_occurrence(tmp_path: Path) -> None:
    declared = spec(record_id=[], features=[f for f in spec().model_dump()["features"] if f["name"] != "key"])
    path = tmp_path / "rows.parquet"
    pl.concat([rows(range(50)), rows(range(20))]).write_parquet(path)
    frame = prepare(declared, [path]).frame
    assert frame["_record_id"].n_unique() == 70
    assert frame["_content"].n_unique() == 50
    one = tmp_path / "once.parquet"
    rows(range(50)).write_parquet(one)
    assert set(prepare(declared, [one]).frame["_record_id"]) < set(frame["_record_id"])


def test_minus_zero_nan_and_missing_labels(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    odd = rows(range(4)).with_columns(
        pl.Series("size", [-0.0, float("nan"), 1.0, None]), pl.Series("outcome", ["yes", "no", None, "no"])
    )
    odd.write_parquet(path)
    records = prepare(spec(), [path])
    assert [str(v) for v in records.frame["size"].to_list()] == ["0.0", "None", "None"]
    assert records.left_out["reason"].to_list() == ["no label"]
    assert records.frame["outcome"].to_list() == [1, 0, 0]
