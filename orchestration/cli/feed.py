"""`madang feed …`: list, check, preview, run, status."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets.errors import MadangError
from orchestration.cli.new import new
from orchestration.cli.output import Json, example, out, print_json, print_table, progress, say
from orchestration.cli.preview import preview
from orchestration.cli.standin import answering
from orchestration.settings import Settings

if TYPE_CHECKING:
    from assets.yaml_document import Problem

app = typer.Typer(help="Feeds: sources of rows, each declared by its agency in one feed.yaml.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="A feed's id, like kr.seoul.bike_hourly")]


@app.command("list", epilog=example("madang feed list"))
def list_(json_: Json = False) -> None:
    """Every declared feed: agency, protocol, schedule, licence, and when its real answer and its licence page were last archived.

    A feed that waits for a key says which; it runs on its schedule once the key is in the environment.
    """
    from assets.feeds.load import load_feeds, rows

    feeds, problems = load_feeds(Settings.from_environment().feed_folders)
    listed = rows(feeds.values(), os.environ)
    if json_:
        print_json(listed)
    else:
        columns = ["feed", "agency", "protocol", "enabled", "schedule", "licence", "verified"]
        print_table(columns, ([*row.values()] for row in listed))
    _leave_out(problems)


def _leave_out(problems: Sequence[Problem]) -> None:
    """Say which feeds are left out and why, and end with exit code 1 where there are any."""
    for problem in problems:
        say("left out:", "yellow", problem)
    raise typer.Exit(1 if problems else 0)


@app.command(epilog=example("madang feed check", "madang feed check feeds/kr.hanbit.library_loans"))
def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="feed.yaml, its folder, or a folder of feeds; default: every feed."),
    ] = None,
    json_: Json = False,
) -> None:
    """Check declarations without asking an agency. Each problem names file, line, field and mend; a sound feed, its next runs."""
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


app.command(epilog=example("madang feed new", "madang feed new --file loans.csv --url https://www.hanbit.example/open/loans.csv"))(
    new
)


app.command(epilog=example("madang feed preview kr.seoul.bike_hourly --rows 3"))(preview)


@app.command(epilog=example("madang feed run kr.seoul.bike_hourly"))
def run(id_: Id, json_: Json = False) -> None:
    """Run the feed now, whatever its schedule: fetch, archive, judge the rows, bring the table up to date.

    Exit code 1 where the fetch failed, or where the rows were refused and the table stays as it was; one sentence says why.
    The run is one of Dagster's, and `madang up` shows it. In a home filled by `madang demo` the stand-in agency answers.
    """
    from assets.feeds.load import load_feeds
    from orchestration.assembly import build_definitions, job_name
    from orchestration.running import find_feed, instance, run_job

    settings = Settings.from_environment()
    declared, problems = load_feeds(settings.feed_folders)
    feed = find_feed(declared, id_, problems)
    with answering(settings) as asking, progress() as bar, instance(settings) as opened:
        bar.add_task(f"Running {feed.id}", total=None)
        result = run_job(build_definitions(asking, also=[feed.id]), job_name(feed), opened)
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


@app.command(epilog=example("madang feed status"))
def status(json_: Json = False) -> None:
    """How every feed stands: what came of the last fetch, when the agency last confirmed the rows, how many were refused.

    Times are in UTC. No agency is asked.
    """
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
