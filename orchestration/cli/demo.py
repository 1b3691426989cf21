"""`madang demo`: the whole main job on the embedded default, with the stand-in agency in place of the real ones."""

from __future__ import annotations

import json
import os
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.errors import MadangError
from orchestration.cli.output import Json, out, print_json, print_table, progress, say
from orchestration.cli.standin import agency, environment
from orchestration.demo_home import MARK, demo_feeds
from orchestration.settings import ROOT, Settings

REAL_HOME = ROOT / ".madang-data"
"""The home of `--data` where no other is named."""


def demo(
    home: Annotated[
        Path | None, typer.Option(help="Folder of the demo's state; default: MADANG_HOME, or .madang (with --data: .madang-data).")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The agencies' real files, which the stand-in serves in place of the bundled rows of the same name."),
    ] = None,
    json_: Json = False,
) -> None:
    """Pull the nine demo feeds from a stand-in agency, build the models, release the training sets. Asks no real agency.

    It takes some minutes. Run it twice: the second run finds every feed unchanged and releases nothing.
    """
    started = time.monotonic()
    settings = demo_settings(home, data)
    with agency(data, settings) as variables, environment(variables):
        settings = replace(settings, connect_to=variables["MADANG_CONNECT_TO"])
        feeds, sets = run_demo(settings)
    report = {"feeds": feeds, "sets": sets, "seconds": round(time.monotonic() - started, 1)}
    if json_:
        print_json(report)
    else:
        _print(report, settings)


def demo_settings(home: Path | None, data: Path | None) -> Settings:
    """The settings of a demo home, marked as one; real files get a home of their own, beside the bundled rows'."""
    if data is not None and not data.is_dir():
        raise MadangError("there is no such folder", where=str(data), mend="give the folder with the agencies' real files")
    if home is None and data is not None and not os.environ.get("MADANG_HOME"):
        home = REAL_HOME
    env = dict(os.environ) if home is None else {**os.environ, "MADANG_HOME": str(home)}
    settings = Settings.from_environment(env)
    mark = settings.home / MARK
    if not mark.exists():
        if (settings.home / "ledger.sqlite").exists():
            raise MadangError(
                "this home was not made by the demo", where=str(settings.home), mend="madang demo --home another-folder"
            )
        settings.make_home()
    elif (json.loads(mark.read_text(encoding="utf-8"))["data"] is None) != (data is None):
        # Feeds that only add and revise would keep the rows of both.
        raise MadangError(
            f"this home holds {'bundled rows' if data is not None else 'real files'}, and both would be mixed",
            where=str(settings.home),
            mend="madang demo --home another-folder",
        )
    mark.write_text(json.dumps({"data": str(data.absolute()) if data else None}) + "\n", encoding="utf-8")
    os.environ["MADANG_HOME"] = str(settings.home)
    return settings


def run_demo(settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every feed of the demo, and of other folders, in a Dagster run of its own, then dbt and the sets if anything changed."""
    from assets.feeds.load import load_feeds, shipped
    from assets.store import Store
    from assets.training_sets.load import load_sets
    from orchestration.assembly import build_definitions, job_name
    from orchestration.building import build_sets, is_up_to_date, latest_release
    from orchestration.cli.feed import counts_of
    from orchestration.running import instance, run_job

    others = shipped().keys() - demo_feeds()
    feeds = {id_: feed for id_, feed in load_feeds(settings.feed_folders).feeds.items() if feed.enabled and id_ not in others}
    sets = load_sets(settings.set_folders).sets
    definitions = build_definitions(settings)
    store = Store(settings.store_url)
    lines, changed = [], set()
    with progress() as bar, instance(settings) as opened:
        task = bar.add_task("Feeds", total=len(feeds) + 1)
        for feed in feeds.values():
            bar.update(task, description=feed.id)
            result = run_job(definitions, job_name(feed), opened)
            if not result.success:
                say("✗", "red", result.error)
            if ("table", *feed.segments) in result.changed:
                changed.add(feed.id)
            outcome = result.metadata.get(("archive", *feed.segments), {}).get("outcome", "Failed")
            lines.append({"id": feed.id, "protocol": feed.source.protocol, "outcome": outcome, **counts_of(settings, feed.id)})
            bar.advance(task)
        bar.update(task, description="dbt models and training sets")
        stale = [s.name for s in sets.values() if changed & set(s.feeds) or not is_up_to_date(store, s)]
        if stale:
            build_sets(settings, stale, definitions)
        bar.advance(task)
    return lines, [latest_release(store, name) for name in sets]


def _print(report: dict[str, Any], settings: Settings) -> None:
    columns = ["feed", "protocol", "outcome", "read", "accepted", "quarantined"]
    print_table(columns, ([*line.values()] for line in report["feeds"]))
    out.print()
    splits = ("train", "validation", "test")
    lines = ([s["name"], s["version"], *(s["rows"].get(split, 0) for split in splits), _short(s["path"])] for s in report["sets"])
    print_table(["training set", "version", *splits, "path"], lines)
    home = "" if settings.home == ROOT / ".madang" else f"MADANG_HOME={shlex.quote(str(settings.home))} "
    out.print(f"\nDone in {report['seconds']} s. Look at it all in the Dagster UI:\n\n    {home}make up\n", highlight=False)


def _short(path: str | None) -> str:
    """The path as it is shortest to type from here."""
    if path is None:
        return "not released"
    try:
        return os.path.relpath(path) if path.startswith(str(Path.cwd())) else path
    except ValueError:
        return path
