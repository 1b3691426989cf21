"""`make bench`: every `bench_*.py` of this folder, each in a process of its own, what is compared side by side.

    python -m tests.benchmarks [--quick] [--only NAME]… [--json] [--list]

A benchmark is a module with `NAME: str` and `run(quick: bool) -> list[Table]`; `quick` means small sizes, to see that it works.
Progress is on standard error; the tables, or with --json one document, are on standard output.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.benchmarks.measuring import ROOT, BenchmarkFailed, machine, machine_line, say
from tests.benchmarks.tables import Table

FOLDER = Path(__file__).resolve().parent


def discovered() -> dict[str, str]:
    """Name of each benchmark → its module."""
    modules = [f"tests.benchmarks.{path.stem}" for path in sorted(FOLDER.glob("bench_*.py"))]
    return {_loaded(module).NAME: module for module in modules}


def _loaded(module: str) -> ModuleType:
    found = importlib.import_module(module)
    if not isinstance(getattr(found, "NAME", None), str) or not callable(getattr(found, "run", None)):
        raise SystemExit(f"{module} is no benchmark: it needs NAME and run(quick)")
    return found


def alone(module: str, quick: bool) -> tuple[list[Table], str]:
    """One benchmark in a process of its own: its tables, and what went wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tables.json"
        command = [sys.executable, "-m", "tests.benchmarks", "--in-process", module, "--out", str(out)]
        done = subprocess.run([*command, *(["--quick"] if quick else [])], cwd=ROOT, stdout=sys.stderr, check=False)
        found = (
            json.loads(out.read_text(encoding="utf-8"))
            if out.exists()
            else {"tables": [], "error": f"ended with {done.returncode}"}
        )
    return [Table.from_json(table) for table in found["tables"]], found["error"]


def in_process(module: str, quick: bool, out: Path) -> None:
    tables: list[Table] = []
    error = ""
    try:
        tables = _loaded(module).run(quick)
    except BenchmarkFailed as failed:
        error = str(failed)
    out.write_text(json.dumps({"tables": [table.as_json() for table in tables], "error": error}), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: that they work, not how fast")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this one; may be given again")
    parser.add_argument("--json", action="store_true", help="one JSON document in place of tables")
    parser.add_argument("--list", action="store_true", help="the names, and nothing else")
    parser.add_argument("--in-process", metavar="MODULE", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        in_process(options.in_process, options.quick, options.out)
        return 0
    found = discovered()
    if options.list:
        print("\n".join(found))
        return 0
    unknown = set(options.only or ()) - set(found)
    if unknown:
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(found)}")
    chosen = {name: module for name, module in found.items() if not options.only or name in options.only}
    return _print(chosen, options.quick, options.json)


def _print(chosen: dict[str, str], quick: bool, as_json: bool) -> int:
    host, report, failed = machine(), list[dict[str, Any]](), 0
    if not as_json:
        print(machine_line(host), flush=True)
    for number, (name, module) in enumerate(chosen.items(), 1):
        print(f"[{number}/{len(chosen)}] {name}", file=sys.stderr, flush=True)
        started = time.perf_counter()
        tables, error = alone(module, quick)
        seconds = time.perf_counter() - started
        failed += bool(error)
        report.append({"name": name, "seconds": round(seconds, 1), "error": error, "tables": [t.as_json() for t in tables]})
        say(f"{'failed' if error else 'done'} after {seconds:.0f} s")
        if as_json:
            continue
        for table in tables:
            print(f"\n{table.text()}", flush=True)
        if error:
            print(f"\n{name} failed: {error}", flush=True)
    if as_json:
        print(json.dumps({"machine": host, "quick": quick, "benchmarks": report}, ensure_ascii=False, indent=2))
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    sys.exit(main())
