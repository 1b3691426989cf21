"""`madang demo`, twice in one fresh home, after set-up: seconds and peak memory of its whole process tree.

The promise is at most 90 s and 1.5 GB on two cores with nothing else running; it is printed here and asserted nowhere.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import BenchmarkFailed, Watched, say, watched
from tests.benchmarks.tables import Cell, Table

NAME = "demo"

PROMISED_S, PROMISED_MB = 90, 1536
# What makes this the demo's own home and store, whatever the caller's shell holds.
CLEARED = ("MADANG_STORE", "MADANG_LEDGER", "MADANG_WAREHOUSE", "MADANG_FEEDS", "MADANG_SETS", "MADANG_CONNECT_TO", "DAGSTER_HOME")


def run(quick: bool) -> list[Table]:
    """`quick` runs nothing less: there is no smaller demo, so the smoke test leaves this benchmark out."""
    del quick
    rows: list[tuple[Cell, ...]] = []
    reports = []
    with TemporaryDirectory(prefix="madang-bench-") as folder:
        for which in ("first", "second"):
            done, report = _demo(Path(folder))
            say(f"{which} run: {done.seconds:.1f} s, {done.peak_mb} MB")
            outcomes = [feed["outcome"] for feed in report["feeds"]]
            rows.append((which, done.seconds, done.peak_mb, len(outcomes), outcomes.count("Ok"), outcomes.count("NotModified")))
            reports.append(report)
    _check(*reports)
    title = f"madang demo after set-up (promised: {PROMISED_S} s and {PROMISED_MB} MB on two idle cores)"
    return [Table(title, ("run", "seconds", "peak MB", "feeds", "Ok", "NotModified"), tuple(rows))]


def _demo(folder: Path) -> tuple[Watched, dict[str, Any]]:
    out = folder / "report.json"
    command = [sys.executable, "-c", "from orchestration.cli import main; main()"]
    env = {**dict.fromkeys(CLEARED, ""), "MADANG_HOME": str(folder / "home")}
    done = watched([*command, "demo", "--json"], env=env, stdout=out)
    if done.code:
        raise BenchmarkFailed(
            f"madang demo ended with {done.code}:\n{out.read_text(encoding='utf-8')[-2000:]}{done.output[-3000:]}"
        )
    report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return done, report


def _check(first: dict[str, Any], second: dict[str, Any]) -> None:
    """The second run finds nothing new: the same versions with the same rows."""
    released = [(s["name"], s["version"], s["rows"]) for s in first["sets"]]
    if any(version is None for _, version, _ in released) or not released:
        raise BenchmarkFailed(f"not every set was released: {released}")
    if released != [(s["name"], s["version"], s["rows"]) for s in second["sets"]]:
        raise BenchmarkFailed("the second run released something")
