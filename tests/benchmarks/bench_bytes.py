"""Ten thousand arbitrary bodies for each protocol's `classify`, `parse` and `follow`: do they ever raise what they must not?

The tests are those of the suite (`tests/protocols/test_every_protocol.py`), which tries five hundred; here each runs in the same
process of pytest, on two workers, and every one must pass.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.benchmarks.measuring import BenchmarkFailed, say, watched
from tests.benchmarks.tables import Cell, Table

NAME = "bytes"

CASES, FEW = 10_000, 20
TESTS = "test_classify_means or test_parse_reads or test_follow_reads"


def run(quick: bool) -> list[Table]:
    cases = FEW if quick else CASES
    with tempfile.TemporaryDirectory(prefix="madang-bench-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-n", "2", "--timeout", "3600", "-k", TESTS, f"--junit-xml={report}"]
        done = watched([*command, "tests/protocols/test_every_protocol.py"], env={"MADANG_PROTOCOL_CASES": str(cases)})
        if done.code:
            raise BenchmarkFailed(done.output[-4000:])
        # Made a moment ago by our own pytest.
        tried = [case.attrib for case in ElementTree.parse(report).iter("testcase")]
    by_test: dict[str, list[float]] = {}
    for case in tried:
        by_test.setdefault(re.sub(r"\[.*", "", case["name"]), []).append(float(case["time"]))
    rows: list[tuple[Cell, ...]] = [
        (name.removeprefix("test_").replace("_", " "), len(times), cases, len(times) * cases, sum(times), max(times))
        for name, times in sorted(by_test.items())
    ]
    say(f"{sum(map(len, by_test.values()))} properties of {cases:,} cases, none raised")
    columns = ("property", "protocols", "cases each", "cases", "seconds", "slowest")
    return [Table(f"Arbitrary bytes, {cases:,} cases each: none raised", columns, tuple(rows))]
