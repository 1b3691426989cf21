"""`madang feed preview`: one fetch looked at by the person who declares the feed, and nothing kept of it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from orchestration.cli.output import Json, out, print_facts, print_json, print_table, progress, shown, title
from orchestration.cli.standin import answering
from orchestration.settings import Settings

if TYPE_CHECKING:
    from assets.store import Store
    from assets.tables.preview import Preview

CELL = 40
"""Characters of a value that a terminal shows; a pipe and --json get it whole."""


def preview(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A feed's id, like kr.seoul.bike_hourly")],
    partition: Annotated[str | None, typer.Option(metavar="KEY", help="Of a feed with partitions; default: the newest.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="Rows to show, of the accepted and of the refused each.")] = 10,
    json_: Json = False,
) -> None:
    """Fetch once and show rows, what would be quarantined, and whether a gate would stop the table. Nothing is kept.

    The rows are judged as in a run: by the contract and by the feed's expectations. Values of every column are shown, on this
    screen only.
    """
    from assets.archive.assets import fetch_feed
    from assets.feeds.load import load_feeds
    from assets.tables.preview import in_words, judge_only
    from orchestration.cli.feed import wanted_partitions
    from orchestration.opening import open_platform
    from orchestration.running import find_feed

    declared = Settings.from_environment()
    loaded = load_feeds(declared.feed_folders)
    feed = find_feed(loaded.feeds, id_, loaded.problems)
    with answering(declared) as settings, tempfile.TemporaryDirectory(prefix="madang-preview-") as folder:
        kept = replace(
            settings, home=Path(folder), store_url=f"file://{folder}/store", ledger_url=f"sqlite:///{folder}/ledger.sqlite"
        )
        platform = open_platform(kept, loaded.feeds, sets={}, make=False)
        with progress() as bar:
            bar.add_task(f"Fetching {feed.id}", total=None)
            record = fetch_feed(platform, feed, partition=wanted_partitions(feed, partition, None, None, platform.now())[0])
            seen = judge_only(
                feed,
                record,
                store=platform.store,
                ledger=platform.ledger,
                workdir=Path(folder),
                live=_existing(settings.store_url),
                rows=rows,
            )
        platform.ledger.close()
    report = {
        "feed": feed.id,
        **({"partition": record.partition} if record.partition else {}),
        "outcome": record.outcome,
        "origin": record.origin,
        "read": seen.rows_read,
        "accepted": seen.rows_accepted,
        "quarantined": seen.rows_quarantined,
        "by_rule": seen.by_rule,
        "blocked": {check.name: in_words(check) for check in seen.failed},
        "refusal": str(seen.refused) if seen.refused else None,
        "rows": list(seen.accepted),
        "quarantine": list(seen.quarantine),
    }
    if json_:
        print_json(report)
        return
    name = f"{feed.id} {record.partition}" if record.partition else feed.id
    _print_rows(f"{name}: {record.outcome}, {seen.rows_read:,} rows read, {seen.rows_accepted:,} accepted", report["rows"])
    if seen.quarantine:
        out.print()
        _print_rows(f"{seen.rows_quarantined:,} would be quarantined", report["quarantine"])
    out.print()
    _print_gates(seen, report["blocked"])


def _existing(url: str) -> Store | None:
    """The store, where there is one already: opening a local one would make its folder."""
    from assets.store import Store

    parts = urlsplit(url)
    return None if parts.scheme == "file" and not Path(unquote(parts.path)).is_dir() else Store(url)


def _print_rows(heading: str, rows: Any) -> None:
    title(heading)
    if rows:
        print_table(list(rows[0]), ([_cell(value) for value in row.values()] for row in rows))


def _cell(value: Any) -> str:
    """A value for a table of many columns: what a terminal leaves out is marked."""
    text = "" if value is None else str(value)
    return f"{text[:CELL]}…" if out.on_terminal and len(text) > CELL else text


def _print_gates(seen: Preview, blocked: Any) -> None:
    """Whether the table would change, and if not, the sentence with which a run would end."""
    if seen.refused is not None:
        title("A run would not change the table. It would end with:")
        out.print(shown(f"✗ {seen.refused}"))
        print_facts(blocked.items())
    elif seen.undecided:
        out.print(shown(seen.undecided))
    else:
        out.print("No gate would stop the table.", highlight=False)
