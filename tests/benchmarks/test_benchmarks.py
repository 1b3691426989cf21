"""That the benchmarks run, print figures and refuse unequal results. Never how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.benchmarks import bench_csv, bench_demo, bench_expectations, bench_replay
from tests.benchmarks.__main__ import FOLDER, discovered
from tests.benchmarks.measuring import ROOT, BenchmarkFailed, Measured, machine, machine_line, measured
from tests.benchmarks.tables import Table, ratio
from tests.protocols.replaying import Report

QUICK = ("csv", "definitions", "expectations", "hosts", "pages")
"""Those with a small size. The demo and the click are Dagster at work, which tests/main_job and tests/browser start."""


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    done = bench("--quick", "--json", *(part for name in QUICK for part in ("--only", name)))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(report: dict[str, Any], name: str, table: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = next(b for b in report["benchmarks"] if b["name"] == name)["tables"][table]["rows"]
    return found


def test_every_figure_is_there(report: dict[str, Any]) -> None:
    assert [b["name"] for b in report["benchmarks"]] == sorted(QUICK)
    assert report["machine"]["cores"] >= 1
    for benchmark in report["benchmarks"]:
        assert benchmark["error"] == "" and benchmark["tables"]
        for table in benchmark["tables"]:
            for row in table["rows"]:
                assert list(row) == table["columns"]
                assert all(value >= 0 for value in row.values() if not isinstance(value, str))


def test_routes_are_side_by_side(report: dict[str, Any]) -> None:
    assert [row["route"] for row in rows(report, "csv")] == list(bench_csv.ROUTES)
    assert {row["rows"] for row in rows(report, "csv")} == {8_000}
    assert [row["route"] for row in rows(report, "expectations")] == list(bench_expectations.TITLES.values())
    assert all(row["peak MB"] > 20 and row["seconds"] > 0 for name in ("csv", "expectations") for row in rows(report, name))
    assert [row["route"] for row in rows(report, "csv", 1)] == list(bench_csv.ROUTES)
    steps = [row["step"] for row in rows(report, "csv", 2)]
    assert "decode, parse, type" in steps and "judge, write accepted rows" in steps
    madang, plain = rows(report, "definitions")
    assert madang["schedules"] > plain["schedules"] == 3


def test_every_benchmark_is_found() -> None:
    found = discovered()
    assert sorted(found.values()) == sorted(f"tests.benchmarks.{path.stem}" for path in FOLDER.glob("bench_*.py"))
    assert {"csv", "definitions", "expectations", "click", "demo", "replay"} <= set(found)


def test_an_unknown_name_is_refused() -> None:
    done = bench("--only", "nothing")
    assert done.returncode == 2
    assert "no benchmark is named nothing" in done.stderr


def test_unequal_answers_are_refused() -> None:
    answers = [1.0] * len(bench_expectations.SPECS)
    same = {name: Measured({"answers": list(answers)}, 1.0, 1) for name in bench_expectations.ROUTES}
    bench_expectations.assert_equal(same)
    same["sql"].answer["answers"][7] = 2.0
    with pytest.raises(BenchmarkFailed, match="says 2"):
        bench_expectations.assert_equal(same)


def test_a_second_demo_that_releases_is_refused() -> None:
    first = {"sets": [{"name": "a", "version": "1.0.0", "rows": {"train": 1}}]}
    second = {"sets": [{"name": "a", "version": "1.1.0", "rows": {"train": 2}}]}
    bench_demo._check(first, first)
    with pytest.raises(BenchmarkFailed):
        bench_demo._check(first, second)
    with pytest.raises(BenchmarkFailed, match="not every set"):
        bench_demo._check({"sets": []}, {"sets": []})


def test_a_replay_that_loses_is_refused() -> None:
    reports = [Report("kr.std.cctv", 2, runs=2, rows=20, quota=[("kr.std.cctv", "2026-11-30", 5, 5)]).as_json() for _ in range(2)]
    reports[0]["failures"] = {"QuotaExhausted": 1}
    whole, *_, outcomes = bench_replay.tables_of(reports, 2, 1.0)
    assert dict(whole.rows)["  on which it was used up"] == 2 and dict(whole.rows)["rows lost"] == 0
    assert outcomes.rows == (("QuotaExhausted", "quota", 1),)
    reports[1]["wrong"] = ["the faulty collector's table: 1 lost"]
    with pytest.raises(BenchmarkFailed, match=r"kr\.std\.cctv: the faulty collector's table: 1 lost"):
        bench_replay.tables_of(reports, 2, 1.0)


def hold(megabytes: int) -> int:
    """For the next test: a process that holds memory and hands back its argument."""
    held = bytearray(megabytes * 1024**2)
    held[::4096] = b"x" * len(held[::4096])
    return megabytes


def test_memory_and_answer_are_of_the_function_s_own_process() -> None:
    before = bytearray(300 * 1024**2)  # ours must not be counted
    before[::4096] = b"x" * len(before[::4096])
    small, large = (measured("tests.benchmarks.test_benchmarks:hold", size) for size in (1, 200))
    assert (small.answer, large.answer) == (1, 200)
    assert 180 <= large.peak_mb - small.peak_mb <= 220
    with pytest.raises(BenchmarkFailed, match="TypeError"):
        measured("tests.benchmarks.test_benchmarks:hold", "many")
    assert len(before) > small.peak_mb


def test_tables_are_aligned() -> None:
    table = Table(
        "Title", ("route", "seconds", "× base"), (("한글", 1.5, 1.0), ("plain", 1234.0, ratio(3, 2)), ("x", None, 0.004)), ("n",)
    )
    assert table.text().splitlines() == [
        "Title",
        "",
        "  route   seconds  × base",
        "  한글       1.50    1.00",
        "  plain  1,234.00    1.50",
        "  x                0.0040",
        "  n",
    ]
    assert Table.from_json(json.loads(json.dumps(table.as_json()))) == table
    assert f"{machine()['cores']} cores" in machine_line(machine())
