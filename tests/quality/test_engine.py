"""Every expectation that makes sense on a Parquet table: in DuckDB and in Great Expectations' pandas engine, the same rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

ROWS = """
SELECT i::BIGINT AS id, i % 7 AS k, (i * 37 % 101) / 10.0 AS x, (i * 37 % 101) / 10.0 AS x2,
  CASE WHEN i % 10 = 0 THEN NULL ELSE 'c' || (i % 5) END AS code,
  '2024-' || lpad((1 + i % 13)::VARCHAR, 2, '0') || '-05' AS day_text, DATE '2024-01-01' + (i % 400)::INT AS d,
  TIMESTAMP '2024-01-01' + to_hours(i::INT) AS ts, i % 2 = 0 AS flag, 'a' || i AS u,
  CASE WHEN i % 50 = 0 THEN '{bad' ELSE '{"a":' || i || '}' END AS js, '{"a":' || i || '}' AS good_js,
  i // 2 AS inc, (i % 90 / 4.0)::DECIMAL(10, 2) AS dec, CASE WHEN i % 3 = 0 THEN NULL ELSE i END AS sparse,
  CASE i % 4 WHEN 0 THEN '24-01-05' WHEN 1 THEN ' 2024-01-05' WHEN 2 THEN '2024-1-5' ELSE '2024-02-30' END AS odd_day,
  CASE i % 3 WHEN 0 THEN '서울특별시' WHEN 1 THEN '부산광역시 ' ELSE NULL END AS name_ko, i::BIGINT AS _source_row
FROM range(1000) t(i)
"""
COLUMNS = 18

Case = tuple[str, dict[str, Any]]
QUANTILES = {"quantiles": [0.1, 0.5, 0.9], "value_ranges": [[0, 20], [0, 20], [0, 3]]}

SAME: list[Case] = [
    ("expect_column_distinct_values_to_be_in_set", {"column": "code", "value_set": ["c0", "c1", "c2"]}),
    ("expect_column_distinct_values_to_contain_set", {"column": "code", "value_set": ["c0", "c1"]}),
    ("expect_column_distinct_values_to_equal_set", {"column": "code", "value_set": ["c0", "c1", "c2", "c3", "c4"]}),
    (
        "expect_column_kl_divergence_to_be_less_than",
        {"column": "code", "partition_object": {"values": ["c0", "c1", "c2", "c3", "c4"], "weights": [0.2] * 5}, "threshold": 0.1},
    ),
    ("expect_column_max_to_be_between", {"column": "x", "min_value": 1, "max_value": 20}),
    ("expect_column_mean_to_be_between", {"column": "x", "min_value": 6, "max_value": 20}),
    ("expect_column_median_to_be_between", {"column": "x", "min_value": 1, "max_value": 20}),
    ("expect_column_median_to_be_between", {"column": "sparse", "min_value": 1, "max_value": 20}),
    ("expect_column_min_to_be_between", {"column": "d", "min_value": "2023-01-01", "max_value": "2025-01-01"}),
    ("expect_column_most_common_value_to_be_in_set", {"column": "k", "value_set": [0, 1, 2, 3, 4, 5], "ties_okay": True}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "id", "column_B": "k"}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "id", "column_B": "k", "or_equal": True}),
    ("expect_column_pair_values_to_be_equal", {"column_A": "x", "column_B": "x2"}),
    ("expect_column_pair_values_to_be_in_set", {"column_A": "k", "column_B": "code", "value_pairs_set": [(0, "c0"), (1, None)]}),
    ("expect_column_proportion_of_non_null_values_to_be_between", {"column": "code", "min_value": 0.95}),
    ("expect_column_proportion_of_unique_values_to_be_between", {"column": "code", "min_value": 0.0, "max_value": 0.5}),
    ("expect_column_quantile_values_to_be_between", {"column": "x", "quantile_ranges": QUANTILES}),
    ("expect_column_stdev_to_be_between", {"column": "x", "min_value": 0, "max_value": 20}),
    ("expect_column_sum_to_be_between", {"column": "id", "min_value": 0}),
    ("expect_column_to_exist", {"column": "x"}),
    ("expect_column_to_exist", {"column": "not_there"}),
    ("expect_column_unique_value_count_to_be_between", {"column": "k", "min_value": 7, "max_value": 7}),
    ("expect_column_value_lengths_to_be_between", {"column": "u", "min_value": 2, "max_value": 3}),
    ("expect_column_value_lengths_to_be_between", {"column": "name_ko", "max_value": 5}),
    ("expect_column_value_lengths_to_equal", {"column": "u", "value": 4}),
    ("expect_column_value_z_scores_to_be_less_than", {"column": "x", "threshold": 1.5, "double_sided": True}),
    ("expect_column_values_to_be_between", {"column": "x", "min_value": 1, "max_value": 9, "strict_min": True}),
    ("expect_column_values_to_be_between", {"column": "x", "max_value": 9, "mostly": 0.5}),
    ("expect_column_values_to_be_between", {"column": "d", "min_value": "2024-01-10", "max_value": "2024-12-31"}),
    ("expect_column_values_to_be_dateutil_parseable", {"column": "day_text"}),
    ("expect_column_values_to_be_decreasing", {"column": "k"}),
    ("expect_column_values_to_be_decreasing", {"column": "k", "strictly": True}),
    ("expect_column_values_to_be_in_set", {"column": "code", "value_set": ["c0", "c1"]}),
    ("expect_column_values_to_be_increasing", {"column": "inc"}),
    ("expect_column_values_to_be_increasing", {"column": "inc", "strictly": True}),
    ("expect_column_values_to_be_increasing", {"column": "sparse", "strictly": True}),
    ("expect_column_values_to_be_increasing", {"column": "d"}),
    ("expect_column_values_to_be_json_parseable", {"column": "js"}),
    ("expect_column_values_to_be_null", {"column": "code"}),
    ("expect_column_values_to_be_unique", {"column": "k"}),
    ("expect_column_values_to_be_unique", {"column": "u"}),
    ("expect_column_values_to_be_unique", {"column": "sparse"}),
    (
        "expect_column_values_to_match_json_schema",
        {"column": "good_js", "json_schema": {"type": "object", "properties": {"a": {"type": "integer", "maximum": 500}}}},
    ),
    ("expect_column_values_to_match_regex", {"column": "u", "regex": "^a[0-5]+$"}),
    ("expect_column_values_to_match_regex", {"column": "code", "regex": "c[0-3]"}),
    ("expect_column_values_to_match_regex", {"column": "name_ko", "regex": "^[가-힣]+$"}),
    ("expect_column_values_to_match_regex", {"column": "id", "regex": "5"}),
    ("expect_column_values_to_match_regex_list", {"column": "u", "regex_list": ["1", "2"], "match_on": "all"}),
    ("expect_column_values_to_match_regex_list", {"column": "u", "regex_list": ["1", "2"]}),
    ("expect_column_values_to_match_strftime_format", {"column": "day_text", "strftime_format": "%Y-%m-%d"}),
    ("expect_column_values_to_match_strftime_format", {"column": "odd_day", "strftime_format": "%Y-%m-%d"}),
    ("expect_column_values_to_not_be_in_set", {"column": "code", "value_set": ["c0"]}),
    ("expect_column_values_to_not_be_null", {"column": "code"}),
    ("expect_column_values_to_not_be_outliers", {"column": "x", "method": "iqr", "multiplier": 0.4}),
    ("expect_column_values_to_not_be_outliers", {"column": "x", "method": "std", "multiplier": 1.5}),
    ("expect_column_values_to_not_match_regex", {"column": "u", "regex": "9$"}),
    ("expect_column_values_to_not_match_regex_list", {"column": "u", "regex_list": ["9$", "8$"]}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["k", "code"]}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["id", "code"]}),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["id", "k"], "sum_total": 10}),
    ("expect_multicolumn_values_to_be_equal", {"column_list": ["x", "x2"]}),
    ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["id", "k"]}),
    ("expect_table_column_count_to_be_between", {"min_value": 1, "max_value": 30}),
    ("expect_table_column_count_to_equal", {"value": COLUMNS}),
    ("expect_table_columns_to_match_ordered_list", {"column_list": ["id", "k"]}),
    ("expect_table_columns_to_match_set", {"column_set": ["id", "k"], "exact_match": False}),
    ("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": 10}),
    ("expect_table_row_count_to_equal", {"value": 1000}),
]
"""Compared with pandas: success, unexpected count, element count, missing count and observed value are equal."""

ALONE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # pandas names types its own way and has no LIKE, so these are compared with what SQL says of the same rows
    ("expect_column_type_to_be", {"column": "x", "type_": "DOUBLE"}, {"success": True, "observed_value": "DOUBLE"}),
    ("expect_column_values_to_be_of_type", {"column": "u", "type_": "VARCHAR"}, {"success": True, "observed_value": "VARCHAR"}),
    ("expect_column_values_to_be_of_type", {"column": "u", "type_": "BIGINT"}, {"success": False, "observed_value": "VARCHAR"}),
    ("expect_column_values_to_be_of_type", {"column": "dec", "type_": "DECIMAL"}, {"success": True}),
    ("expect_column_values_to_be_of_type", {"column": "dec", "type_": "DECIMAL(10,2)"}, {"success": True}),
    ("expect_column_values_to_be_of_type", {"column": "dec", "type_": "DECIMAL(10,3)"}, {"success": False}),
    ("expect_column_values_to_be_in_type_list", {"column": "ts", "type_list": ["DATE", "TIMESTAMP"]}, {"success": True}),
    ("expect_column_values_to_be_in_type_list", {"column": "ts", "type_list": ["DATE"]}, {"success": False}),
    (
        "expect_column_values_to_be_between",  # the pandas engine cannot compare its datetimes with these bounds
        {"column": "ts", "min_value": "2024-01-02T00:00:00", "max_value": "2024-02-01T00:00:00"},
        {"unexpected_count": "NOT ts BETWEEN TIMESTAMP '2024-01-02' AND TIMESTAMP '2024-02-01'"},
    ),
    (
        "expect_column_values_to_match_like_pattern",
        {"column": "u", "like_pattern": "a1%"},
        {"unexpected_count": "u NOT LIKE 'a1%'"},
    ),
    (
        "expect_column_values_to_match_like_pattern_list",
        {"column": "u", "like_pattern_list": ["a1%", "a2%"]},
        {"unexpected_count": "u NOT LIKE 'a1%' AND u NOT LIKE 'a2%'"},
    ),
    (
        "expect_column_values_to_not_match_like_pattern",
        {"column": "u", "like_pattern": "a1%"},
        {"unexpected_count": "u LIKE 'a1%'"},
    ),
    (
        "expect_column_values_to_not_match_like_pattern_list",
        {"column": "u", "like_pattern_list": ["a1%", "a2%"]},
        {"unexpected_count": "u LIKE 'a1%' OR u LIKE 'a2%'"},
    ),
    (
        "expect_column_values_to_match_json_schema",
        {"column": "js", "json_schema": {"type": "object"}},
        {"unexpected_count": "js = '{bad'"},
    ),
]


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engine") / "rows.parquet"
    duckdb.execute(f"COPY ({ROWS}) TO '{path}' (FORMAT parquet)")
    return path


@pytest.fixture(scope="module")
def validators(parquet: Path) -> Iterator[tuple[Any, Any]]:
    import quality.metrics  # noqa: F401
    from quality.engine import RELATION, MadangDuckDBExecutionEngine

    # isort: split
    import pandas as pd
    from great_expectations.core.batch import Batch, LegacyBatchDefinition
    from great_expectations.core.id_dict import IDDict
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.execution_engine.pandas_batch_data import PandasBatchData
    from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
    from great_expectations.validator.validator import Validator

    definition = LegacyBatchDefinition("madang", "parquet", "rows", IDDict())
    with MadangDuckDBExecutionEngine([parquet]) as engine:
        data = SqlAlchemyBatchData(execution_engine=engine, table_name=RELATION, source_table_name=RELATION)
        ours = Validator(execution_engine=engine, batches=[Batch(data=data, batch_definition=definition)])
        panda = PandasExecutionEngine()
        frame = PandasBatchData(execution_engine=panda, dataframe=pd.read_parquet(parquet))
        theirs = Validator(execution_engine=panda, batches=[Batch(data=frame, batch_definition=definition)])
        for validator in (ours, theirs):
            validator.metrics_calculator.show_progress_bars = False
        yield ours, theirs


def judged(validator: Any, case: Case) -> Any:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    configuration = ExpectationConfiguration(type=case[0], kwargs=dict(case[1]))
    wanted = {"result_format": {"result_format": "BASIC", "partial_unexpected_count": 0, "include_unexpected_rows": False}}
    configurations = validator.process_expectations_for_validation([configuration], None)
    (result,) = validator.graph_validate(configurations, runtime_configuration=wanted)
    raised = [
        v for v in (result.exception_info, *result.exception_info.values()) if isinstance(v, dict) and v.get("raised_exception")
    ]
    assert not raised, raised[0]["exception_message"][:500]
    return result


def close(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, (int, float)):
        return bool(a == b)
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize(
    "case", SAME, ids=lambda case: f"{case[0].removeprefix('expect_')}-{'-'.join(map(str, case[1].values()))[:40]}"
)
def test_equals_the_pandas_engine(validators: tuple[Any, Any], case: Case) -> None:
    ours, theirs = (judged(validator, case) for validator in validators)
    assert bool(ours.success) == bool(theirs.success)
    for field in ("unexpected_count", "element_count", "missing_count", "observed_value"):
        assert close(ours.result.get(field), theirs.result.get(field)), (field, ours.result.get(field), theirs.result.get(field))


@pytest.mark.parametrize(
    "case", ALONE, ids=lambda case: f"{case[0].removeprefix('expect_')}-{'-'.join(map(str, case[1].values()))[:40]}"
)
def test_what_pandas_cannot_say(
    validators: tuple[Any, Any], parquet: Path, case: tuple[str, dict[str, Any], dict[str, Any]]
) -> None:
    result = judged(validators[0], case[:2])
    for field, expected in case[2].items():
        if field == "success":
            assert bool(result.success) == expected
        elif field == "unexpected_count":
            row = duckdb.execute(f"SELECT count(*) FROM '{parquet}' WHERE {expected}").fetchone()
            assert row is not None and 0 < row[0] < 1000
            assert result.result["unexpected_count"] == row[0]
        else:
            assert result.result[field] == expected


def test_every_expectation_is_covered_or_refused() -> None:
    """A new version of Great Expectations with a new expectation fails here, until somebody decides."""
    from great_expectations.expectations import registry

    import quality.engine  # noqa: F401
    from quality.suite import FORBIDDEN, ROW_LEVEL

    known = {n for n in registry.list_registered_expectation_implementations() if n.startswith("expect_")}
    covered = {case[0] for case in SAME} | {case[0] for case in ALONE}
    assert covered | set(FORBIDDEN) == known
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )

    kinds = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
    by_row = {n for n in known if issubclass(registry.get_expectation_impl(n), kinds)}
    assert by_row - {"expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list"} == ROW_LEVEL


def test_the_engine_is_limited_as_every_duckdb_is_and_spills_where_it_is_told(parquet: Path, tmp_path: Path) -> None:
    from assets.tables import sql
    from quality.engine import MadangDuckDBExecutionEngine

    names = ("memory_limit", "threads", "autoinstall_known_extensions", "autoload_known_extensions", "TimeZone")
    asked = ", ".join(f"current_setting('{name}')" for name in names)
    with MadangDuckDBExecutionEngine([parquet], scratch=tmp_path) as engine:
        with engine.engine.connect() as connection:
            ours = connection.exec_driver_sql(f"SELECT {asked}").fetchone()
            (spill,) = connection.exec_driver_sql("SELECT current_setting('temp_directory')").fetchone()
        assert Path(spill).parent == tmp_path
    with sql.connect(tmp_path / "other", columns=len(pq.read_schema(parquet).names)) as connection:
        assert tuple(ours) == connection.execute(f"SELECT {asked}").fetchone()


def test_more_distinct_values_than_its_memory_holds_are_spilled(tmp_path: Path) -> None:
    from quality.engine import MadangDuckDBExecutionEngine

    path = tmp_path / "many.parquet"
    duckdb.execute(f"COPY (SELECT md5(n::VARCHAR) AS key FROM range(4_000_000) AS t(n)) TO '{path}' (FORMAT parquet)")
    repeated = "SELECT count(*) FROM (SELECT key FROM rows GROUP BY key HAVING count(*) > 1)"
    with MadangDuckDBExecutionEngine([path], memory_limit="128MB", scratch=tmp_path) as engine:
        assert engine.execute_query(sa.text(repeated)).fetchall() == [(0,)]
    assert list(tmp_path.iterdir()) == [path]


def test_the_engine_leaves_nothing_behind(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quality.engine import MadangDuckDBExecutionEngine

    monkeypatch.chdir(tmp_path)
    with MadangDuckDBExecutionEngine([parquet]) as engine:
        spill = Path(engine._spill.name)
        assert spill.is_dir() and engine.column_types["dec"] == "DECIMAL(10,2)"
    assert not spill.exists() and list(tmp_path.iterdir()) == []
