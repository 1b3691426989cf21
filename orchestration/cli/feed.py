"""`madang feed …`: list, check, preview, run, status."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets.errors import MadangError
from orchestration.cli.output import Json, out, print_json, print_table, progress, say
from orchestration.settings import Settings

if TYPE_CHECKING:
    from assets.yaml_document import Problem

app = typer.Typer(help="Feeds: the sources that agencies declare in feed.yaml.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="A feed's id, like kr.seoul.bike_hourly")]


@app.command("list")
def list_(json_: Json = False) -> None:
    """Every declared feed: agency, protocol, whether it is enabled, schedule and licence."""
    from assets.feeds.load import load_feeds, rows

    feeds, problems = load_feeds(Settings.from_environment().feed_folders)
    listed = rows(feeds.values())
    if json_:
        print_json(listed)
    else:
        print_table(["feed", "agency", "protocol", "enabled", "schedule", "licence"], ([*row.values()] for row in listed))
    _leave_out(problems)


def _leave_out(problems: Sequence[Problem]) -> None:
    """Say which feeds are left out and why, and end with exit code 1 where there are any."""
    for problem in problems:
        say("left out:", "yellow", problem)
    raise typer.Exit(1 if problems else 0)


@app.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]…", help="feed.yaml files or folders; default: all.")] = None,
    json_: Json = False,
) -> None:
    """Check declarations: unknown keys, types, expectations, schedules. Each problem names file, line, field and mend."""
    from assets.feeds import load

    for path in paths or []:
        if not path.exists():
            raise MadangError("there is no such file or folder", where=str(path), mend="give a feed.yaml, or a folder of feeds")
    found = load.check(paths or Settings.from_environment().feed_folders)
    if json_:
        print_json(
            {
                "problems": [p.as_json() for p in found.problems],
                "notes": [p.as_json() for p in found.notes],
                "next_runs": {id_: [run.isoformat() for run in runs] for id_, runs in found.next_runs.items()},
            }
        )
    else:
        for problem in found.problems:
            say("✗", "red", problem)
        for note in found.notes:
            say("·", "yellow", note)
        for id_, runs in found.next_runs.items():
            out.print(f"[green]✓[/] {id_}   next: {', '.join(f'{run:%m-%d %H:%M %Z}' for run in runs)}", highlight=False)
    raise typer.Exit(1 if found.problems else 0)


@app.command()
def preview(id_: Id, rows: Annotated[int, typer.Option(min=1, max=1000, help="Rows to show.")] = 10, json_: Json = False) -> None:
    """Fetch once and show rows, outcome and what would be quarantined. Nothing is kept."""
    from assets.archive.assets import fetch_feed
    from assets.feeds.load import load_feeds
    from assets.store import Store
    from assets.tables.preview import judge_only
    from orchestration.opening import open_platform
    from orchestration.running import find_feed

    settings = Settings.from_environment()
    with tempfile.TemporaryDirectory(prefix="madang-preview-") as folder:
        kept = replace(
            settings, home=Path(folder), store_url=f"file://{folder}/store", ledger_url=f"sqlite:///{folder}/ledger.sqlite"
        )
        platform = open_platform(kept, sets={}, make=False)
        feed = find_feed(platform.feeds, id_, load_feeds(settings.feed_folders).problems)
        with progress() as bar:
            bar.add_task(f"Fetching {feed.id}", total=None)
            record = fetch_feed(platform, feed)
            seen = judge_only(feed, record, store=Store(kept.store_url), ledger=platform.ledger, workdir=Path(folder), rows=rows)
        platform.ledger.close()
    report = {
        "feed": feed.id,
        "outcome": record.outcome,
        "origin": record.origin,
        "read": seen.rows_read,
        "accepted": seen.rows_accepted,
        "quarantined": seen.rows_quarantined,
        "by_rule": seen.by_rule,
        "rows": list(seen.accepted),
        "quarantine": list(seen.quarantine),
    }
    if json_:
        print_json(report)
        return
    _print_rows(f"{feed.id}: {record.outcome}, {seen.rows_read:,} rows read, {seen.rows_accepted:,} accepted", report["rows"])
    if seen.quarantine:
        out.print()
        _print_rows(f"{seen.rows_quarantined:,} would be quarantined", report["quarantine"])


def _print_rows(title: str, rows: Any) -> None:
    out.print(f"[bold]{title}[/]", highlight=False)
    if rows:
        print_table(list(rows[0]), (["" if v is None else str(v)[:40] for v in row.values()] for row in rows))


@app.command()
def run(id_: Id, json_: Json = False) -> None:
    """Run the feed's job in Dagster now: fetch, archive, judge, swap the table. `madang up` shows the run."""
    from assets.feeds.load import load_feeds
    from orchestration.assembly import build_definitions, job_name
    from orchestration.running import find_feed, instance, run_job

    settings = Settings.from_environment()
    declared, problems = load_feeds(settings.feed_folders)
    feed = find_feed(declared, id_, problems)
    with progress() as bar, instance(settings) as opened:
        bar.add_task(f"Running {feed.id}", total=None)
        result = run_job(build_definitions(settings), job_name(feed), opened)
    if not result.success:
        raise MadangError(result.error)
    report = feed_report(settings, feed, result.metadata)
    if json_:
        print_json(report)
    else:
        print_table(list(report), [list(report.values())])


def feed_report(settings: Settings, feed: Any, metadata: dict[tuple[str, ...], dict[str, Any]]) -> dict[str, Any]:
    """One feed's line of a run: what the agency answered, and what its rows came to."""
    outcome = metadata.get(("archive", *feed.segments), {}).get("outcome", "")
    return {"id": feed.id, "protocol": feed.source.protocol, "outcome": outcome, **counts_of(settings, feed.id)}


def counts_of(settings: Settings, feed_id: str) -> dict[str, int]:
    """Rows read, accepted and quarantined by the last judgement of the feed, also where that refused the table."""
    from assets.archive.ledger import Ledger
    from assets.store import Store

    ledger = Ledger(settings.ledger_url)
    record = ledger.last_answered(feed_id)
    ledger.close()
    counts = {"read": 0, "accepted": 0, "quarantined": 0}
    if record is None:
        return counts
    try:
        rows = Store(settings.store_url).get_json(f"reports/{feed_id}/{record.fetch_id}/table.json")["rows"]
    except FileNotFoundError:
        return counts
    return {name: rows[name] for name in counts}


@app.command()
def status(json_: Json = False) -> None:
    """Every feed as the ledger and the tables know it: last outcome, last confirmed check, rows, quarantine."""
    from assets.feeds.load import load_feeds
    from assets.tables.index import read_index
    from orchestration.opening import open_platform

    settings = Settings.from_environment()
    feeds, problems = load_feeds(settings.feed_folders)
    platform = open_platform(settings, feeds, sets={}, make=False)
    lines = []
    for feed in platform.feeds.values():
        last, confirmed = platform.ledger.last(feed.id), platform.ledger.confirmed_at(feed.id)
        index = read_index(platform.store, feed.id)
        lines.append(
            {
                "feed": feed.id,
                "outcome": last.outcome if last else "never fetched",
                "checked": _minute(confirmed) if confirmed else "",
                "unchanged_since": _minute(index.updated_at) if index else "",
                "rows": index.rows if index else 0,
                "quarantined": sum(part.quarantine.rows for part in index.partitions.values()) if index else 0,
                "origin": index.origin if index else "",
            }
        )
    platform.ledger.close()
    if json_:
        print_json(lines)
    else:
        print_table(
            ["feed", "last outcome", "checked", "unchanged since", "rows", "quarantined", "origin"], ([*x.values()] for x in lines)
        )
    _leave_out(problems)


def _minute(moment: datetime) -> str:
    """A moment as people read it, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%MZ}"
