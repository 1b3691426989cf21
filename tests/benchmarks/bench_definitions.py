"""Seconds from the start of a process to loaded definitions, with 10, 500 and 1,000 feeds, beside plain Dagster.

A feed is two assets, a job, a schedule and its checks. Plain Dagster is the least that could be there in its place: an asset
without checks, a job and a schedule each. The feeds that come with Madang, its sets and its dbt project are loaded too.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from unittest.mock import patch

from tests.benchmarks.measuring import ROOT, BenchmarkFailed, measured, say, watched
from tests.benchmarks.tables import Cell, Table, ratio

NAME = "definitions"

SIZES = (10, 500, 1_000)
QUICK_SIZES = (3,)

FEED = """\
id: us.bench.feed_{number:05d}
title: Rows of agency {number}
agency: {{name: Agency {number}, country: US, url: "https://agency{number}.example"}}
licence: {{id: US-PD, url: "https://agency{number}.example/licence"}}
schedule: {{cron: "{minute} {hour} * * *", timezone: Asia/Seoul}}
source:
  protocol: http_file
  url: https://agency{number}.example/rows.csv
  format: csv
decode: {{timezone: Asia/Seoul}}
contract:
  key: [id]
  columns:
    - {{name: id, source: Id, type: string, nullable: false, pattern: "[0-9]{{6}}", title_en: Identifier, cleared: true}}
    - {{name: day, source: Date, type: date, nullable: false, min: "2000-01-01", title_en: Day}}
    - {{name: amount, source: Amount, type: number, min: 0, title_en: Amount, unit: Cel}}
    - {{name: status, source: Status, type: string, codes: [open, closed], title_en: Status}}
expectations:
  - {{type: expect_column_mean_to_be_between, kwargs: {{column: amount, min_value: 0, max_value: 100}}, severity: warning}}
"""


def generate(folder: str, feeds: int) -> None:
    for number in range(feeds):
        path = Path(folder) / f"us.bench.feed_{number:05d}" / "feed.yaml"
        path.parent.mkdir()
        path.write_text(FEED.format(number=number, minute=number % 60, hour=number // 60 % 24), encoding="utf-8")


# --- what is compared -----------------------------------------------------------------------------------------------------


class _Steps:
    def __init__(self) -> None:
        import psutil

        self._at = psutil.Process().create_time()
        self.seconds: dict[str, float] = {}

    def done(self, name: str) -> None:
        now = time.time()
        self.seconds[name], self._at = now - self._at, now


def madang() -> dict[str, Any]:
    """Load as Dagster does, step by step; each step is then found done (modules imported, files read) by the whole."""
    steps = _Steps()
    steps.done("start of Python")
    import dagster as dg

    steps.done("import dagster")
    import dagster_dbt  # noqa: F401

    steps.done("import dagster_dbt, dbt")
    import orchestration.assembly as assembly

    steps.done("import madang")
    from assets.feeds.load import load_feeds
    from orchestration.settings import Settings

    settings = Settings.from_environment()
    loaded = load_feeds(settings.feed_folders)
    if loaded.problems:
        raise BenchmarkFailed(str(loaded.problems[0]))
    steps.done("read feed.yaml")
    # build_definitions reads the feeds itself: it gets what was just read, so that no second is counted twice.
    with patch.object(assembly, "load_feeds", lambda _folders: loaded):
        definitions = assembly.build_definitions(settings)
    steps.done("assets, checks, jobs, schedules")
    repository = definitions.get_repository_def()
    repository.load_all_definitions()
    steps.done("Dagster resolves them")
    return {
        "steps": steps.seconds,
        "feeds": len(loaded.feeds),
        "assets": len(repository.asset_graph.get_all_asset_keys()),
        "jobs": len(repository.get_all_jobs()),
        "schedules": len(repository.schedule_defs),
        "dagster": dg.__version__,
    }


def plain_dagster(number: int) -> dict[str, Any]:
    """As many trivial assets as feeds, one job and one schedule each."""
    steps = _Steps()
    import dagster as dg

    def asset(name: str) -> Any:
        @dg.asset(name=name)
        def trivial() -> None: ...

        return trivial

    assets = [asset(f"a{i}") for i in range(number)]
    jobs = [dg.define_asset_job(f"j{i}", selection=[f"a{i}"]) for i in range(number)]
    schedules = [dg.ScheduleDefinition(name=f"s{i}", job=job, cron_schedule="0 3 * * *") for i, job in enumerate(jobs)]
    repository = dg.Definitions(assets=assets, jobs=jobs, schedules=schedules).get_repository_def()
    repository.load_all_definitions()
    steps.done("all")
    return {"steps": steps.seconds, "assets": number, "jobs": len(repository.get_all_jobs()), "schedules": number}


def imports() -> list[tuple[str, float]]:
    """The costliest packages of one import of the definitions' module: seconds of their own modules, first import wins."""
    code = "import orchestration.assembly"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    own: dict[str, int] = {}
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[0].strip().isdigit():
            package = parts[2].strip().split(".")[0]
            own[package] = own.get(package, 0) + int(parts[0])
    return sorted(((name, micros / 1e6) for name, micros in own.items()), key=lambda item: -item[1])[:12]


T = TypeVar("T")


def _with_processor(run: Callable[[], T]) -> tuple[T, float]:
    """What `run` answers, and the processor seconds of the processes that it started and waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return answer, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- the benchmark --------------------------------------------------------------------------------------------------------


def run(quick: bool) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    steps: list[tuple[Cell, ...]] = []
    with TemporaryDirectory(prefix="madang-bench-") as folder:
        for size in QUICK_SIZES if quick else SIZES:
            feeds = Path(folder) / str(size)
            feeds.mkdir()
            generate(str(feeds), size)
            home = str(Path(folder) / "home")
            env = {"MADANG_FEEDS": str(feeds), "MADANG_HOME": home, "DAGSTER_HOME": "", "DO_NOT_TRACK": "1"}
            found, spent = _with_processor(partial(measured, "tests.benchmarks.bench_definitions:madang", env=env))
            plain, base = _with_processor(partial(measured, "tests.benchmarks.bench_definitions:plain_dagster", size))
            if found.answer["feeds"] < size or found.answer["schedules"] < found.answer["feeds"]:
                raise BenchmarkFailed(f"{size} feeds were declared: {found.answer}")
            for title, one, processor in (("Madang", found, spent), ("plain Dagster", plain, base)):
                seconds = sum(one.answer["steps"].values())
                counts = (one.answer["assets"], one.answer["jobs"], one.answer["schedules"])
                rows.append((size, title, *counts, seconds, processor, ratio(processor, base), one.peak_mb))
                say(f"{size} feeds: {title}: {seconds:.1f} s, of the processor {processor:.1f} s")
            steps += [(size, step, seconds) for step, seconds in found.answer["steps"].items()]
            if not quick:
                rows.append(_validated(size, env, base))
    tables = [
        Table(
            "From the start of a process to loaded definitions",
            ("feeds", "route", "assets", "jobs", "schedules", "seconds", "CPU s", "× plain", "peak MB"),
            tuple(rows),
            (
                f"Madang loads its {found.answer['feeds'] - size} shipped feeds, its sets and its dbt project besides.",
                "CPU s: of the processor, from the start to the end of the process; × plain compares these.",
            ),
        ),
        Table("Where Madang's seconds go", ("feeds", "step", "seconds"), tuple(steps)),
    ]
    if not quick:
        title = "Costliest packages of the import, in seconds of their own (with the profiler on)"
        tables.append(Table(title, ("package", "seconds"), tuple(imports())))
    return tables


def _validated(size: int, env: dict[str, str], base: float) -> tuple[Cell, ...]:
    """The whole command that people run. It loads in its own process, resolves every job, and makes their snapshots besides."""
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(ROOT / "workspace.yaml")]
    home = str(_instance(env["MADANG_HOME"]))
    done, processor = _with_processor(partial(watched, command, env={**env, "DAGSTER_HOME": home}))
    if done.code:
        raise BenchmarkFailed(done.output[-3000:])
    say(f"{size} feeds: dagster definitions validate: {done.seconds:.1f} s, of the processor {processor:.1f} s")
    title = "Madang, dagster definitions validate"
    return (size, title, None, None, None, done.seconds, processor, ratio(processor, base), done.peak_mb)


def _instance(home: str) -> Path:
    """A Dagster home that reports to nobody."""
    folder = Path(home) / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "deploy" / "dagster.yaml").read_text(encoding="utf-8")
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")
    return folder


if os.environ.get("DAGSTER_HOME") == "":
    del os.environ["DAGSTER_HOME"]
