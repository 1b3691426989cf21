"""One run of the chaos scene's main job in a process of its own, to be killed: fetch, table, release.

The process is forked from one that has already imported everything, because importing costs more than the whole run.
`plain` calls the stages' own functions; `dagster` runs the feed's job and the set's asset as the command line does.
"""

from __future__ import annotations

import faulthandler
import functools
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

FEED, SET, MODEL = "kr.chaos.readings", "chaos_levels", "chaos_model"
PRELOADED = (
    "great_expectations",
    "quality.validate",
    "quality.data_docs",
    "assets.protocols.fetching",
    "assets.training_sets.assets",
    "orchestration.building",
    "orchestration.assembly",
    "tests.chaos.driver",
)
TELLING = ("archive.fetches", "protocols.keeping", "tables.build", "models", "training_sets.publish", "training_sets.release")
"""The modules of `assets` that reach commit steps."""
CHEAP_LOADERS = ("pyarrow", "polars", "duckdb")
FAILED = 1
FULL_BYTES = 512
HANGS_AFTER_S = 120
"""When a run that still goes on writes down where it is."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(PRELOADED))


def process(how: str, environment: Mapping[str, str], told: Path) -> BaseProcess:
    """A process, not yet started, that runs `how` in that environment and writes what it has to say to `told`."""
    return _context.Process(target=_run, args=(how, dict(environment), str(told)), daemon=True)


def _run(how: str, environment: dict[str, str], told: str) -> None:
    # A fork of a process with threads may hang; the imports must not have started any.
    assert threading.active_count() == 1, threading.enumerate()
    for name in [n for n in os.environ if n.startswith(("MADANG_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ.update(environment)
    file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.setsid()
    faulthandler.dump_traceback_later(HANGS_AFTER_S)
    _tell()
    print("begin", flush=True)
    try:
        {"plain": plain, "dagster": dagster, "model": model}[how]()
    except BaseException as error:  # noqa: BLE001
        resource.setrlimit(resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE)[1:] * 2)
        print(f"{type(error).__module__}.{type(error).__name__}: {error}", flush=True)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FAILED)


def _tell() -> None:
    """Print each commit step when it is reached, so that a test knows how far a killed run came; CHAOS_STOP_AT
    halts there, CHAOS_FULL_AT lets no file grow from there on.
    """
    from assets.commit import reached

    def told(name: str) -> None:
        # Dagster's runs redirect sys.stdout; the descriptor stays.
        os.write(1, f"{name}\n".encode())
        if os.environ.get("CHAOS_FULL_AT") == name:
            # As a disk that is full from here on: what grows beyond this fails with an error.
            resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, resource.RLIM_INFINITY))
        if os.environ.get("CHAOS_STOP_AT") == name:
            os.kill(os.getpid(), signal.SIGSTOP)
        reached(name)

    for name in TELLING:
        importlib.import_module(f"assets.{name}").reached = told  # type: ignore[attr-defined]


def plain() -> None:
    """The stages' own functions, one after the other; the release is proved with the loaders that need no further process."""
    from assets.archive.assets import fetch_feed
    from assets.feeds.load import load_feed
    from assets.tables.assets import build_feed_table
    from assets.training_sets import assets as stage
    from assets.training_sets.load import load_set
    from assets.training_sets.release import build_set
    from orchestration.opening import open_platform
    from orchestration.settings import Settings

    settings = Settings.from_environment()
    feed = load_feed(settings.feed_folders[-1] / FEED / "feed.yaml")
    spec = load_set(settings.set_folders[-1] / SET / "set.yaml")
    platform = open_platform(settings, {FEED: feed}, {SET: spec})
    fetch_feed(platform, feed)
    build_feed_table(platform, feed).raise_if_blocked()
    vars(stage)["build_set"] = functools.partial(build_set, loader_names=CHEAP_LOADERS)
    print(stage.release_set(platform, spec).version, flush=True)


def model() -> None:
    """Land a training model as dbt would have left it: CHAOS_ROWS rows."""
    from datetime import UTC, datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    from assets.models import publish_model
    from assets.store import Store
    from orchestration.settings import Settings

    settings, rows = Settings.from_environment(), int(os.environ["CHAOS_ROWS"])
    folder = settings.home / f"landed-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"n": range(rows)}), folder / "part-00000.parquet")
    sources = {FEED: {"fetch_id": str(rows), "origin": "replay"}}
    publish_model(Store(settings.store_url), MODEL, folder, run_id=f"run-{os.getpid()}", sources=sources, now=datetime.now(UTC))


def dagster() -> None:
    """The feed's job, then the set's asset, each as a Dagster run, as `madang feed run` and `madang set build` have it."""
    from orchestration.assembly import build_definitions
    from orchestration.building import build_sets
    from orchestration.running import instance, run_job
    from orchestration.settings import Settings

    settings = Settings.from_environment()
    definitions = build_definitions(settings)
    with instance(settings) as opened:
        result = run_job(definitions, "feed__kr_chaos__readings", opened)
    if not result.success:
        raise SystemExit(result.error)
    (line,) = build_sets(settings, [SET], definitions)
    print(line["version"], flush=True)
