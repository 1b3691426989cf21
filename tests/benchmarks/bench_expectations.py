"""Great Expectations in DuckDB beside Great Expectations in pandas and one hand-written SQL aggregate, equal results asserted.

    python -m tests.benchmarks.bench_expectations --rows 1000000 --rows 10000000 [--json] [--skip pandas]

Twenty expectations over twelve columns. Each route runs in a process of its own; peak memory is that process's own, and
the import of Great Expectations (seconds, the same for both of its routes) is shown apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
TITLES = {"duckdb": "Great Expectations in DuckDB", "pandas": "Great Expectations in pandas", "sql": "one SQL aggregate by hand"}


def measured(route: str, path: Path) -> dict[str, Any]:
    """One route in a process of its own: answers, seconds, and that process's peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.bench_expectations", "--route", route, "--file", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{TITLES[route]} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def assert_equal(results: dict[str, dict[str, Any]]) -> None:
    first, *others = results
    for other in others:
        for spec, a, b in zip(SPECS, results[first]["answers"], results[other]["answers"], strict=True):
            if abs(float(a) - float(b)) > 1e-9 * max(1.0, abs(float(a))):
                raise SystemExit(f"{spec}: {TITLES[first]} says {a}, {TITLES[other]} says {b}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append")
    parser.add_argument("--skip", choices=ROUTES, action="append", default=[])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--route", choices=ROUTES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.route:
        answers, imported, seconds = ROUTES[arguments.route](arguments.file)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            json.dumps({"answers": answers, "import_s": round(imported, 2), "seconds": round(seconds, 2), "peak_mb": round(peak)})
        )
        return

    import duckdb

    report = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in arguments.rows or [1_000_000]:
            path = Path(folder) / f"{rows}.parquet"
            duckdb.execute(f"COPY ({DATA.format(rows=rows)}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
            results = {route: measured(route, path) for route in ROUTES if route not in arguments.skip}
            assert_equal(results)
            report += [
                {"rows": rows, "route": TITLES[r], **{k: v for k, v in m.items() if k != "answers"}} for r, m in results.items()
            ]
            path.unlink()
    if arguments.json:
        print(json.dumps({"expectations": len(SPECS), "columns": 12, "results_equal": True, "measurements": report}, indent=2))
        return
    print(f"{len(SPECS)} expectations, 12 columns, results equal\n")
    print(f"{'rows':>12}  {'route':<30} {'seconds':>8} {'peak MB':>8} {'import s':>9}")
    for line in report:
        print(f"{line['rows']:>12,}  {line['route']:<30} {line['seconds']:>8.2f} {line['peak_mb']:>8,} {line['import_s']:>9.2f}")


if __name__ == "__main__":
    main()
