"""Measuring a function in a process of its own: its answer, its seconds, and the peak memory of the whole process tree.

    measured("tests.benchmarks.bench_csv:polars_stream", path, ...)

What is measured is in the `bench_*.py` files.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_S = 0.05
VERSIONS = ("dagster", "dbt-core", "duckdb", "great-expectations", "polars", "pyarrow")


@dataclass(frozen=True)
class Measured:
    """`seconds`: of the function, without the start of its process. `peak_mb`: resident memory of its process and all below it."""

    answer: Any
    seconds: float
    peak_mb: int


class BenchmarkFailed(Exception):
    """What was measured did not work, or its results differ from what they must equal."""


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def measured(function: str, *args: Any, env: Mapping[str, str] | None = None) -> Measured:
    """Call `module:function` with JSON-able arguments in a fresh interpreter. Raises BenchmarkFailed with the end of its output."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "tests.benchmarks.measuring", function, json.dumps(args, default=str), str(out)]
        done = watched(command, env=env)
        if done.code or not out.exists():
            raise BenchmarkFailed(f"{function} ended with {done.code}:\n{done.output[-4000:]}")
        found = json.loads(out.read_text(encoding="utf-8"))
    return Measured(found["answer"], found["seconds"], max(done.peak_mb, found["peak_mb"]))


@dataclass(frozen=True)
class Watched:
    code: int
    seconds: float
    peak_mb: int
    output: str


def watched(command: Sequence[str], env: Mapping[str, str] | None = None, stdout: Path | None = None) -> Watched:
    """Run a command and watch its process tree. `output`: what it printed, without what went to the file `stdout`."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        started = time.perf_counter()
        target = stdout.open("w", encoding="utf-8") if stdout else None
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=target or log, stderr=log
            )
            with TreeMemory(process.pid) as memory:
                code = process.wait()
        finally:
            if target is not None:
                target.close()
        seconds = time.perf_counter() - started
        log.seek(0)
        return Watched(code, seconds, memory.peak_mb, log.read())


class TreeMemory:
    """The greatest sum of resident memory of a process and everything below it, looked at 20 times a second.

    Pages that processes share are counted in each of them, so for a tree the figure is an upper bound.
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def peak_mb(self) -> int:
        return round(self.peak / 1024**2)

    def __enter__(self) -> TreeMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            try:
                top = psutil.Process(self._pid)
                tree = [top, *top.children(recursive=True)]
            except psutil.Error:
                return
            total = 0
            for process in tree:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)


def own_peak_mb() -> int:
    """Peak resident memory of this process. Linux's own figure: getrusage's is inherited from whoever started the process."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (1024**2 if sys.platform == "darwin" else 1024))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1024**3, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 1),
        **{name: metadata.version(name) for name in VERSIONS},
    }


def machine_line(found: Mapping[str, Any]) -> str:
    versions = " · ".join(f"{name} {found[name]}" for name in VERSIONS)
    return (
        f"{found['cores']} cores · {found['memory_gb']} GB · {found['system']} · Python {found['python']} · {versions} · "
        f"load {found['load_at_start']} at the start"
    )


def resolve(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _child() -> None:
    function, args, out = sys.argv[1:]
    call = resolve(function)
    started = time.perf_counter()
    answer = call(*json.loads(args))
    seconds = time.perf_counter() - started
    Path(out).write_text(json.dumps({"answer": answer, "seconds": seconds, "peak_mb": own_peak_mb()}), encoding="utf-8")


if __name__ == "__main__":
    _child()
