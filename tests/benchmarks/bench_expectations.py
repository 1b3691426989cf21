"""Great Expectations in DuckDB beside Great Expectations in pandas and one hand-written SQL aggregate, results equal.

Twenty expectations over twelve columns. The import of Great Expectations (seconds, the same for both of its routes) is shown
apart.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import BenchmarkFailed, Measured, measured, say
from tests.benchmarks.tables import Cell, Table, ratio

NAME = "expectations"

SIZES = (1_000_000, 10_000_000)
QUICK_SIZES = (20_000,)

DATA = """
SELECT i::BIGINT AS id, (hash(i) % 500)::INTEGER AS station, TIMESTAMP '2020-01-01' + to_seconds(i::BIGINT) AS at,
  DATE '2020-01-01' + (i // 86400)::INTEGER AS day, (hash(i * 3) % 4000) / 100.0 AS temperature,
  (hash(i * 5) % 101)::INTEGER AS humidity,
  CASE WHEN i % 20 = 0 THEN NULL ELSE (hash(i * 7) % 900) / 10.0 END AS pm10,
  ['normal', 'check', 'fault'][1 + (hash(i * 11) % 3)::INTEGER] AS status,
  'KR-' || lpad((hash(i) % 500)::VARCHAR, 4, '0') AS code, hash(i * 13) % 2 = 0 AS holiday,
  (hash(i * 17) % 100000)::BIGINT AS users, strftime(DATE '2020-01-01' + (i // 86400)::INTEGER, '%Y-%m-%d') AS day_text
FROM range({rows}) t(i)
"""

SPECS: list[tuple[str, dict[str, Any]]] = [
    ("expect_table_row_count_to_be_between", {"min_value": 1}),
    ("expect_column_values_to_not_be_null", {"column": "id"}),
    ("expect_column_values_to_be_unique", {"column": "id"}),
    ("expect_column_values_to_not_be_null", {"column": "station"}),
    ("expect_column_values_to_be_between", {"column": "station", "min_value": 0, "max_value": 498}),
    ("expect_column_values_to_not_be_null", {"column": "at"}),
    ("expect_column_values_to_not_be_null", {"column": "day"}),
    ("expect_column_values_to_be_between", {"column": "temperature", "min_value": 0.5, "max_value": 39}),
    ("expect_column_mean_to_be_between", {"column": "temperature", "min_value": 10, "max_value": 30}),
    ("expect_column_stdev_to_be_between", {"column": "temperature", "min_value": 1, "max_value": 30}),
    ("expect_column_values_to_be_between", {"column": "humidity", "min_value": 0, "max_value": 99}),
    ("expect_column_values_to_not_be_null", {"column": "pm10", "mostly": 0.9}),
    ("expect_column_max_to_be_between", {"column": "pm10", "max_value": 100}),
    ("expect_column_values_to_be_in_set", {"column": "status", "value_set": ["normal", "check"]}),
    ("expect_column_value_lengths_to_be_between", {"column": "code", "min_value": 7, "max_value": 7}),
    ("expect_column_values_to_match_regex", {"column": "code", "regex": "^KR-0[0-4]"}),
    ("expect_column_unique_value_count_to_be_between", {"column": "code", "min_value": 1, "max_value": 500}),
    ("expect_column_values_to_not_be_null", {"column": "holiday"}),
    ("expect_column_sum_to_be_between", {"column": "users", "min_value": 0}),
    ("expect_column_values_to_match_strftime_format", {"column": "day_text", "strftime_format": "%Y-%m-%d"}),
]

BY_HAND = """
SELECT count(*), count(*) FILTER (id IS NULL),
  (SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM t GROUP BY id HAVING n > 1)),
  count(*) FILTER (station IS NULL), count(*) FILTER (NOT station BETWEEN 0 AND 498),
  count(*) FILTER (t."at" IS NULL), count(*) FILTER (day IS NULL),
  count(*) FILTER (NOT temperature BETWEEN 0.5 AND 39), avg(temperature), stddev_samp(temperature),
  count(*) FILTER (NOT humidity BETWEEN 0 AND 99), count(*) FILTER (pm10 IS NULL), max(pm10),
  count(*) FILTER (status NOT IN ('normal', 'check')), count(*) FILTER (length(code) <> 7),
  count(*) FILTER (NOT regexp_matches(code, '^KR-0[0-4]')), count(DISTINCT code), count(*) FILTER (holiday IS NULL),
  sum(users)::BIGINT, count(*) FILTER (try_strptime(day_text, '%Y-%m-%d') IS NULL)
FROM t
"""


def duckdb_route(path: Path) -> tuple[list[Any], float, float]:
    started = time.perf_counter()
    import quality.metrics  # noqa: F401
    from quality.contract import ExpectationSpec
    from quality.validate import validate

    imported = time.perf_counter() - started
    specs = [ExpectationSpec(type=type_, kwargs=kwargs) for type_, kwargs in SPECS]
    started = time.perf_counter()
    verdict = validate(specs, path, rows_wanted=False, cleared={s.kwargs["column"] for s in specs if "column" in s.kwargs})
    assert not [c for c in verdict.checks if c.note], [c for c in verdict.checks if c.note]
    seconds = time.perf_counter() - started
    return [c.unexpected_count if c.unexpected_count is not None else c.observed for c in verdict.checks], imported, seconds


def pandas_route(path: Path) -> tuple[list[Any], float, float]:
    import os

    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    started = time.perf_counter()
    import great_expectations as gx
    import pandas as pd

    imported = time.perf_counter() - started
    started = time.perf_counter()
    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": pd.read_parquet(path)})
    suite = gx.ExpectationSuite("suite")
    for type_, kwargs in SPECS:
        suite.add_expectation(getattr(gx.expectations, _class(type_))(**kwargs))
    result = batch.validate(suite, result_format={"result_format": "BASIC", "partial_unexpected_count": 0})
    seconds = time.perf_counter() - started
    answers = {_key(r.expectation_config.type, r.expectation_config.kwargs): r.result for r in result.results}
    got = [answers[_key(type_, kwargs)] for type_, kwargs in SPECS]
    return [float(a["observed_value"]) if "observed_value" in a else int(a["unexpected_count"]) for a in got], imported, seconds


def _class(type_: str) -> str:
    return "".join(part.title() for part in type_.split("_"))


def _key(type_: str, kwargs: dict[str, Any]) -> str:
    return f"{type_} {kwargs.get('column')}"


def sql_route(path: Path) -> tuple[list[Any], float, float]:
    started = time.perf_counter()
    import duckdb

    imported = time.perf_counter() - started
    started = time.perf_counter()
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{path}')")
    row = connection.execute(BY_HAND).fetchone()
    assert row is not None
    return list(row), imported, time.perf_counter() - started


ROUTES = {"duckdb": duckdb_route, "pandas": pandas_route, "sql": sql_route}
TITLES = {
    "duckdb": "Great Expectations in DuckDB",
    "pandas": "Great Expectations in pandas",
    "sql": "one SQL aggregate by hand",
}


def generate(path: str, rows: int) -> None:
    import duckdb

    duckdb.execute(f"COPY ({DATA.format(rows=rows)}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def route(name: str, path: str) -> dict[str, Any]:
    """One route: its answers in the order of SPECS, seconds of importing and of judging."""
    answers, imported, seconds = ROUTES[name](Path(path))
    return {"answers": answers, "import_s": imported, "judge_s": seconds}


def run(quick: bool) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    for size in QUICK_SIZES if quick else SIZES:
        with TemporaryDirectory(prefix="madang-bench-") as folder:
            path = f"{folder}/rows.parquet"
            measured("tests.benchmarks.bench_expectations:generate", path, size)
            found = {}
            for name, title in TITLES.items():
                found[name] = measured("tests.benchmarks.bench_expectations:route", name, path)
                say(f"{size:,} rows: {title}: {found[name].answer['judge_s']:.2f} s")
            assert_equal(found)
        base = found["duckdb"]
        for name, one in found.items():
            seconds, most = one.answer["judge_s"], base.answer["judge_s"]
            memory = ratio(one.peak_mb, base.peak_mb)
            rows.append((size, TITLES[name], seconds, ratio(seconds, most), one.peak_mb, memory, one.answer["import_s"]))
    return [
        Table(
            f"{len(SPECS)} expectations over 12 columns, results equal",
            ("rows", "route", "seconds", "× DuckDB", "peak MB", "× memory", "import s"),
            tuple(rows),
        )
    ]


def assert_equal(found: dict[str, Measured]) -> None:
    first, *others = found
    for other in others:
        for spec, a, b in zip(SPECS, found[first].answer["answers"], found[other].answer["answers"], strict=True):
            if abs(float(a) - float(b)) > 1e-9 * max(1.0, abs(float(a))):
                raise BenchmarkFailed(f"{spec}: {TITLES[first]} says {a}, {TITLES[other]} says {b}")
