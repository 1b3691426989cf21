"""Thirty days of every shipped feed under one clock, over rows that change, through seeded faults: is anything lost?

What is replayed, and what is compared after each day, is `tests/protocols/replaying.py`; the suite replays seven days of it. A row
that is lost, repeated or foreign, a failure in a wrong class or a request beyond a quota fails the benchmark.
"""

from __future__ import annotations

import atexit
import multiprocessing
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import BenchmarkFailed, say
from tests.benchmarks.tables import Cell, Table

NAME = "replay"

DAYS, A_DAY, LEAST = 30, 3, 7
"""Days; most runs a day; days on which the most seldom feed runs, though it takes months."""
QUICK_DAYS, QUICK_FEEDS = 2, 5
PROCESSES = 2
SHOWN = 20

_running: Any = None
"""The stand-ins of this process."""


def run(quick: bool) -> list[Table]:
    from assets.feeds.load import shipped

    feeds = sorted(shipped())
    if quick:
        feeds = feeds[:: -(-len(feeds) // QUICK_FEEDS)]
    days, a_day, least = (QUICK_DAYS, 1, 1) if quick else (DAYS, A_DAY, LEAST)
    started = time.perf_counter()
    with TemporaryDirectory(prefix="madang-bench-") as folder:
        context = multiprocessing.get_context("spawn")
        reports = []
        try:
            with ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=_start, initargs=(folder,)) as pool:
                waiting = [pool.submit(replayed, feed, folder, days, a_day, least) for feed in feeds]
                for number, future in enumerate(waiting, 1):
                    reports.append(future.result())
                    say(f"[{number}/{len(feeds)}] {reports[-1]['feed']}: {reports[-1]['runs']} runs")
        except BrokenProcessPool:
            raise BenchmarkFailed("a process of the replay ended before its feeds did") from None
    return tables_of(reports, days, time.perf_counter() - started)


def tables_of(reports: list[dict[str, Any]], days: int, seconds: float) -> list[Table]:
    """Raises BenchmarkFailed where any feed's report says that something is wrong."""
    if wrong := [f"{report['feed']}: {what}" for report in reports for what in report["wrong"]]:
        more = f"\nand {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise BenchmarkFailed("\n".join(wrong[:SHOWN]) + more)
    return [_all(reports, days, seconds), _by_protocol(reports), _by_fault(reports), _by_outcome(reports)]


# --- in a process of its own ----------------------------------------------------------------------------------------------


def _start(folder: str) -> None:
    """The stand-ins of a worker, until it ends."""
    from tests.protocols.replay_scene import running_agencies

    global _running
    stack = ExitStack()
    atexit.register(stack.close)
    own = Path(folder) / multiprocessing.current_process().name
    _running = stack.enter_context(running_agencies(own))


def replayed(feed: str, folder: str, days: int, a_day: int, least: int) -> dict[str, Any]:
    """The report of one feed as JSON; a table that was refused, or rows that could not be read, are what is wrong."""
    from assets.errors import MadangError
    from assets.feeds.load import shipped
    from tests.protocols.replaying import Report, replay

    with TemporaryDirectory(dir=folder) as own:
        try:
            report = replay(shipped()[feed], _running, Path(own), days=days, a_day=a_day, least=least)
        except (AssertionError, MadangError) as error:
            report = Report(feed, days, wrong=[f"{type(error).__name__}: {error}"])
    return report.as_json()


# --- the tables -----------------------------------------------------------------------------------------------------------


def _sum(reports: list[dict[str, Any]], name: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for report in reports:
        found.update(report[name])
    return found


def _all(reports: list[dict[str, Any]], days: int, seconds: float) -> Table:
    outcomes, life = _sum(reports, "outcomes"), _sum(reports, "life")
    tight = [(used, most) for report in reports for _, _, used, most in report["quota"]]
    rows: list[tuple[str, int]] = [
        ("runs, at the ticks of each feed's own schedule", sum(report["runs"] for report in reports)),
        ("fetches, with those that made up for a failure", sum(report["fetches"] for report in reports)),
        *((f"  {name}", outcomes[name]) for name in ("Ok", "NotModified", "Empty")),
        ("  failed", sum(_sum(reports, "failures").values())),
        ("requests", sum(report["requests"] for report in reports)),
        *((f"rows {name} by the agencies", life[name]) for name in ("added", "revised", "withdrawn", "reordered")),
        ("comparisons of whole tables", sum(report["compared"] for report in reports)),
        ("rows in the tables at the end", sum(report["rows"] for report in reports)),
        *((f"rows {name}", sum(report[name] for report in reports)) for name in ("lost", "twice", "foreign")),
        ("days of a quota", len(tight)),
        ("  on which it was used up", sum(used == most for used, most in tight)),
        ("  on which it was exceeded", sum(used > most for used, most in tight)),
    ]
    still = [f"Rows that do not change: {report['feed']} ({report['still']})" for report in reports if report["still"]]
    title = f"{days} days of {len(reports)} feeds in {PROCESSES} processes, {seconds:,.0f} s"
    return Table(title, ("what", "count"), tuple(rows), tuple(still))


def _by_protocol(reports: list[dict[str, Any]]) -> Table:
    from assets.feeds.load import shipped

    protocol = {id_: feed.source.protocol for id_, feed in shipped().items()}
    rows: list[tuple[Cell, ...]] = []
    for name in sorted(set(protocol.values())):
        own = [report for report in reports if protocol[report["feed"]] == name]
        if own:
            counts = [sum(report[what] for report in own) for what in ("runs", "fetches", "requests", "rows", "lost", "twice")]
            rows.append((name, len(own), *counts))
    return Table("By protocol", ("protocol", "feeds", "runs", "fetches", "requests", "rows", "lost", "twice"), tuple(rows))


def _by_fault(reports: list[dict[str, Any]]) -> Table:
    met, ended = _sum(reports, "faults"), _sum(reports, "ended")
    rows = tuple((name, met[name], ended[name]) for name in sorted(met))
    return Table("Faults of the agencies", ("fault", "runs that met it", "fetches that it ended"), rows)


def _by_outcome(reports: list[dict[str, Any]]) -> Table:
    from orchestration.failures import OUTCOME_CLASSES

    failures = _sum(reports, "failures")
    rows = tuple((name, OUTCOME_CLASSES[name].value, failures[name]) for name in sorted(failures))
    return Table("Failures, by what mends them", ("outcome", "class", "fetches"), rows)
