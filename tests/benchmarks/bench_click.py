"""A small feed's run from the click in Dagster's UI to the materialized table, and where the seconds go.

`madang up` over an empty home with the stand-in agency; the mutation is the one that the Launchpad's button sends; the times
are those of Dagster's event log. The daemon's queue and a process for each run are Dagster's defaults.
"""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import BenchmarkFailed, TreeMemory, measured, say
from tests.benchmarks.tables import Cell, Table

NAME = "click"

FEEDS = ("us.noaa.seattle_weather", "us.faa.airports")
"""The first run after `madang up`, and one more; the second is the usual one."""

PATIENCE_S = 300
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on InvalidSubsetError { message }
  }
}"""
EVENTS = """
query Events($run: ID!) {
  runOrError(runId: $run) { ... on Run { status eventConnection { events {
    __typename ... on MessageEvent { timestamp eventType stepKey message } } } } }
}"""
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def graphql(url: str, query: str, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", data=body, headers={"Content-Type": "application/json"})
    with _direct.open(request, timeout=60) as reply:
        answer = json.load(reply)
    if answer.get("errors"):
        raise BenchmarkFailed(str(answer["errors"])[:2000])
    return answer["data"]


def import_great_expectations() -> None:
    import quality.engine
    import quality.metrics  # noqa: F401


def run(quick: bool) -> list[Table]:
    from tests.browser.serving import served

    rows: list[tuple[Cell, ...]] = []
    with TemporaryDirectory(prefix="madang-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        # The mark of a demo home: `madang up` then serves the stand-in agency too.
        (home / "demo.json").write_text('{"data": null}\n', encoding="utf-8")
        started = time.perf_counter()
        with served(home, Path(folder) / "up.log") as up, TreeMemory(up.process.pid) as memory:
            ready = time.perf_counter() - started
            say(f"madang up answers after {ready:.1f} s")
            for feed in FEEDS[: 1 if quick else None]:
                laps = _clicked(up.ui, feed)
                say(f"{feed}: {sum(laps.values()):.1f} s")
                rows += [(feed, step, seconds) for step, seconds in laps.items()]
                rows.append((feed, "= click to the end of the run", sum(laps.values())))
    imported = measured("tests.benchmarks.bench_click:import_great_expectations").seconds
    notes = (
        f"madang up answered {ready:.1f} s after its start; it and its runs held {memory.peak_mb:,} MB at most.",
        f"Importing Great Expectations alone, in a fresh process: {imported:.1f} s; it is part of the table's step.",
    )
    return [Table("From the click to the materialized table", ("feed", "step", "seconds"), tuple(rows), notes)]


def _clicked(url: str, feed: str) -> dict[str, float]:
    """Launch the feed's job as the button does and wait for its end: seconds of each stretch, in order."""
    *agency, last = feed.split(".")
    selector = {
        "repositoryLocationName": "madang",
        "repositoryName": "__repository__",
        "pipelineName": f"feed__{'_'.join(agency)}__{last}",
    }
    clicked = time.time()
    answer = graphql(url, LAUNCH, params={"selector": selector, "runConfigData": {}, "mode": "default"})["launchPipelineExecution"]
    if "run" not in answer:
        raise BenchmarkFailed(f"{feed} was not launched: {answer}")
    events = _finished(url, answer["run"]["runId"])
    return _laps(feed, clicked, events)


def _finished(url: str, run_id: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = graphql(url, EVENTS, run=run_id)["runOrError"]
        if found["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            events: list[dict[str, Any]] = [e for e in found["eventConnection"]["events"] if "timestamp" in e]
            if found["status"] != "SUCCESS":
                raise BenchmarkFailed(f"the run ended {found['status']}: {[e['message'] for e in events][-5:]}")
            return events
        time.sleep(0.5)
    raise BenchmarkFailed(f"the run did not end within {PATIENCE_S} s")


def _laps(feed: str, clicked: float, events: list[dict[str, Any]]) -> dict[str, float]:
    archive, table = (f"{kind}__{feed.replace('.', '__')}" for kind in ("archive", "table"))

    def at(kind: str, step: str | None = None, message: str = "") -> float:
        for event in events:
            if event["eventType"] == kind and step in (None, event["stepKey"]) and message in (event["message"] or ""):
                return float(event["timestamp"]) / 1000
        seen = sorted({(e["eventType"], e["stepKey"]) for e in events if e["eventType"]}, key=str)
        raise BenchmarkFailed(f"the event log has no {kind} {message} of {step or 'the run'}; it has {seen}")

    marks = [
        ("click to queued (web server)", at("RUN_ENQUEUED")),
        ("queued to taken (daemon)", at("RUN_STARTING")),
        ("to the run's process (launcher)", at("ENGINE_EVENT", message="Started process for run")),
        ("Python, imports, definitions", at("RUN_START")),
        ("to the first step (resources)", at("STEP_START", archive)),
        ("archive: fetch, WARC, ledger", at("STEP_SUCCESS", archive)),
        ("to the second step", at("STEP_START", table)),
        ("table: parse, judge, publish", at("ASSET_MATERIALIZATION", table)),
        ("to the end of the run", at("RUN_SUCCESS")),
    ]
    before, laps = clicked, {}
    for name, moment in marks:
        laps[name], before = moment - before, moment
    return laps
