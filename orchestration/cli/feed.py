"""`madang feed …`: list, check, preview, run, status."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
    from assets.feeds.model import Feed
    from assets.yaml_document import Problem
    from orchestration.running import RunResult

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
                "partitions": found.partitions,
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
            if id_ in found.partitions:
                out.print(f"  {partitions_in_words(found.partitions[id_])}", highlight=False)
    raise typer.Exit(1 if found.problems else 0)


def partitions_in_words(told: Mapping[str, Any]) -> str:
    """What `feed check` says of a feed's partitions."""
    if not told["count"]:
        return f"partitions: one a {told['every']}; none yet"
    each = f"one a {told['every']}, {told['count']:,} by now, {told['first']} to {told['last']}"
    return f"partitions: {each}; a run asks for {', '.join(told['due']) or 'none yet'}"


app.command(epilog=example("madang feed new", "madang feed new --file loans.csv --url https://www.hanbit.example/open/loans.csv"))(
    new
)


app.command(epilog=example("madang feed preview kr.seoul.bike_hourly --rows 3"))(preview)


@app.command(
    epilog=example(
        "madang feed run kr.seoul.bike_hourly",
        "madang feed run kr.molit.apartment_deals --partition 2026-09",
        "madang feed run kr.molit.apartment_deals --from 2026-01 --to 2026-06",
    )
)
def run(
    id_: Id,
    partition: Annotated[str | None, typer.Option(metavar="KEY", help="One partition of the feed, like 2026-11.")] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="KEY", help="The first of several partitions.")] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="KEY", help="The last of several; default: the last there is.")
    ] = None,
    json_: Json = False,
) -> None:
    """Run the feed now, whatever its schedule: fetch, archive, judge the rows, bring the table up to date.

    A feed with partitions runs once for each: those that are due, as its schedule has it, or those that are named, newest first.

    Exit code 1 where the fetch failed, or where the rows were refused and the table stays as it was; one sentence says why.
    Each run is one of Dagster's, and `madang up` shows it. In a home filled by `madang demo` the stand-in agency answers.
    """
    from assets.feeds.load import load_feeds
    from orchestration.assembly import build_definitions, job_name
    from orchestration.running import find_feed, instance, run_job

    settings = Settings.from_environment()
    declared, problems = load_feeds(settings.feed_folders)
    feed = find_feed(declared, id_, problems)
    wanted = wanted_partitions(feed, partition, first, last, datetime.now(UTC))
    lines: list[dict[str, Any]] = []
    failed: list[tuple[str | None, str]] = []
    in_a_row = 0
    with answering(settings) as asking, progress() as bar, instance(settings) as opened:
        task = bar.add_task(f"Running {feed.id}", total=None if len(wanted) == 1 else len(wanted))
        definitions = build_definitions(asking, also=[feed.id])
        for key in wanted:
            bar.update(task, description=f"Running {feed.id}{f' {key}' if key else ''}")
            result = run_job(definitions, job_name(feed), opened, partition=key)
            bar.advance(task)
            if result.success:
                lines.append(feed_report(settings, feed, result.metadata, key))
                in_a_row = 0
                continue
            failed.append((key, result.error))
            in_a_row += 1
            if in_a_row == STOP_AFTER or not may_go_on(result):
                break
    report = lines[0] if feed.partitions is None and lines else {"id": feed.id, "partitions": lines}
    if feed.partitions is not None and failed:
        report["failed"] = dict(failed)
        report["not_asked"] = wanted[len(lines) + len(failed) :]
    if json_ and (lines or feed.partitions is not None):
        print_json(report)
    elif lines:
        print_table(list(lines[0]), [list(line.values()) for line in lines])
    if failed and not (json_ and feed.partitions is not None):
        raise MadangError(_failure(failed, len(wanted), report.get("not_asked", [])))
    raise typer.Exit(1 if failed else 0)


STOP_AFTER = 3
"""Partitions that fail in a row; the agency is then left in peace."""


def may_go_on(result: RunResult) -> bool:
    """Whether the next partition may come although this one failed: not where the key, the quota or the declaration is at fault."""
    if "outcome" in result.failure:
        return result.failure["outcome"] not in ("AuthFailed", "QuotaExhausted")
    return result.failure.get("failure class") in ("data", "time")


def wanted_partitions(feed: Feed, partition: str | None, first: str | None, last: str | None, now: datetime) -> list[str | None]:
    """The partitions that the options name, newest first, or those that are due; [None] for a feed without."""
    if partition is not None and (first is not None or last is not None):
        raise MadangError("--partition names one, --from and --to several", where=feed.id, mend="give the one or the others")
    named = next((key for key in (partition, first, last) if key is not None), None)
    if feed.partitions is None or partition is not None:
        return [feed.partition(named, now)]
    if named is None:
        if not (due := feed.due(now)):
            raise MadangError("no partition is due yet", where=feed.id, mend="madang feed check shows the first one")
        return due
    return [*feed.partitions.between(feed.schedule, first, last, now, where=feed.id)]


def _failure(failed: Sequence[tuple[str | None, str]], wanted: int, not_asked: Sequence[str]) -> str:
    """The sentence of the run: of one partition its own, of several how many, and the first's."""
    key, said = failed[0]
    if wanted == 1:
        return said
    others = f"; not asked: {', '.join(not_asked[:12])}{' …' if len(not_asked) > 12 else ''}" if not_asked else ""
    return f"{len(failed)} of {wanted} partitions failed ({', '.join(str(k) for k, _ in failed)}{others}). {key}: {said}"


def feed_report(
    settings: Settings, feed: Feed, metadata: dict[tuple[str, ...], dict[str, Any]], partition: str | None = None
) -> dict[str, Any]:
    """One line of a run: what the agency answered, and what its rows came to."""
    outcome = metadata.get(("archive", *feed.segments), {}).get("outcome", "")
    part = {"partition": partition} if partition else {}
    counts = counts_of(settings, feed.id, partition)
    return {"id": feed.id, **part, "protocol": feed.source.protocol, "outcome": outcome, **counts}


def counts_of(settings: Settings, feed_id: str, partition: str | None = None) -> dict[str, int]:
    """Rows read, accepted and quarantined by the last judgement of the feed, also where that refused the table."""
    from assets.archive.ledger import Ledger
    from assets.store import Store

    ledger = Ledger(settings.ledger_url)
    record = ledger.last_answered(feed_id, partition)
    ledger.close()
    counts = {"read": 0, "accepted": 0, "quarantined": 0}
    if record is None:
        return counts
    try:
        rows = Store(settings.store_url).get_json(f"reports/{feed_id}/{record.fetch_id}/table.json")["rows"]
    except FileNotFoundError:
        return counts
    return {name: rows[name] for name in counts}


@app.command(epilog=example("madang feed grid 37.5665 126.9780"))
def grid(
    latitude: Annotated[float, typer.Argument(metavar="LATITUDE", help="In degrees, like 37.5665.")],
    longitude: Annotated[float, typer.Argument(metavar="LONGITUDE", help="In degrees, like 126.9780.")],
    json_: Json = False,
) -> None:
    """The point of Korea's 5 km forecast grid that is nearest to a place: nx and ny, as a KMA feed lists them in `each`."""
    from assets.onboarding.kma_grid import distance_km, place_of, point_of

    nx, ny = point_of(latitude, longitude)
    there = place_of(nx, ny)
    away_km = round(distance_km((latitude, longitude), there), 1)
    if json_:
        print_json({"nx": nx, "ny": ny, "latitude": round(there[0], 4), "longitude": round(there[1], 4), "away_km": away_km})
    else:
        line = f"- {{nx: {nx}, ny: {ny}}}  # {there[0]:.4f}, {there[1]:.4f}; {away_km} km away"
        out.print(line, highlight=False, markup=False)


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
