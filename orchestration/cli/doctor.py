"""`madang doctor`: what is in force, and what stands in the way of a run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from assets.errors import MadangError
from orchestration.cli.output import Json, out, print_json, print_table
from orchestration.cli.standin import IN_PLACE
from orchestration.demo_home import is_demo
from orchestration.settings import Settings


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `ok`, what was found, and what to do where it is not."""

    name: str
    ok: bool
    found: str
    mend: str = ""


def doctor(
    reindex: Annotated[
        bool,
        typer.Option("--reindex", help="First put every archived fetch that the ledger (the list of fetches) lacks into it."),
    ] = False,
    json_: Json = False,
) -> None:
    """Print the settings in force (secrets masked) and check what a run needs. Exit code 1 when something is missing.

    Type it first when something does not work: each ✗ comes with its mend. No agency is asked.
    """
    settings = Settings.from_environment()
    findings = [*([_reindexed(settings)] if reindex else []), *examine(settings)]
    if json_:
        print_json({"settings": settings.in_force(), "findings": [asdict(f) for f in findings]})
    else:
        print_table(["setting", "value"], settings.in_force().items())
        out.print()
        print_table(["", "check", "found", "mend"], [("✓" if f.ok else "✗", f.name, f.found, f.mend) for f in findings])
    raise typer.Exit(0 if all(f.ok for f in findings) else 1)


def examine(settings: Settings) -> list[Finding]:
    """Every check; none writes anything but a probe file below the home."""
    known = (3, 11) <= sys.version_info[:2] <= (3, 13)
    findings = [Finding("Python", known, sys.version.split()[0], "" if known else "use Python 3.11 to 3.13")]
    platform = importlib.util.find_spec("dagster") is not None
    findings.append(
        Finding("platform packages", platform, "installed" if platform else "missing", "" if platform else "make setup")
    )
    try:
        settings.make_home()
    except MadangError as error:
        return [*findings, Finding("home", False, error.what, f"{error.where}: {error.mend}")]
    free_gb = shutil.disk_usage(settings.home).free / 1e9
    findings.append(Finding("free disk", free_gb > 2, f"{free_gb:.0f} GB", "" if free_gb > 2 else "free at least 2 GB"))
    findings.append(_store(settings))
    if platform:
        findings.append(_ledger(settings))
        findings.extend(_feeds(settings))
        findings.extend(_agencies(settings))
    return findings


def _reindexed(settings: Settings) -> Finding:
    """Mend a lost ledger, or a fetch that a crash kept out of it, from the archive alone."""
    from assets.archive.ledger import Ledger, reindex
    from assets.store import Store

    ledger = Ledger(settings.ledger_url)
    try:
        done = reindex(Store(settings.store_url), ledger, only_missing=True)
    finally:
        ledger.close()
    broken = [f"{key}: {why}" for key, why in done.broken]
    found = "; ".join([f"{done.recorded} fetches put into the ledger", *broken])
    return Finding("archive", not broken, found, "restore these files from a copy, or fetch again" if broken else "")


def _store(settings: Settings) -> Finding:
    from assets.store import Store

    try:
        Store(settings.store_url).exists("sets/index.json")
    except MadangError as error:
        return Finding("store", False, error.what, error.mend)
    except Exception as error:  # noqa: BLE001 -- a doctor reports whatever the object store says
        return Finding("store", False, type(error).__name__, "check MADANG_STORE, AWS_ENDPOINT_URL and the AWS keys")
    return Finding("store", True, settings.store_url)


def _ledger(settings: Settings) -> Finding:
    from assets.archive.ledger import Ledger
    from orchestration.settings import without_password

    try:
        Ledger(settings.ledger_url)
    except MadangError as error:
        return Finding("ledger", False, error.what, error.mend)
    return Finding("ledger", True, without_password(settings.ledger_url))


def _feeds(settings: Settings) -> list[Finding]:
    from assets.feeds.load import load_feeds

    feeds, problems = load_feeds(settings.feed_folders)
    return [
        Finding("feeds", not problems, f"{len(feeds)} declared, {len(problems)} problems", "madang feed check" if problems else "")
    ]


def _agencies(settings: Settings) -> list[Finding]:
    """Who answers a run that is started here, and the keys that it lacks."""
    from assets.feeds.load import is_ready, load_feeds

    if settings.connect_to is None and is_demo(settings):
        return [Finding("agencies", True, IN_PLACE)]
    answers = "the real agencies are asked" if settings.connect_to is None else f"{settings.connect_to} answers for every agency"
    findings = [Finding("agencies", True, answers)]
    feeds = load_feeds(settings.feed_folders).feeds.values()
    waiting = Counter(str(feed.source.auth.secret) for feed in feeds if feed.enabled and not is_ready(feed, os.environ))
    said = (f"{name} ({count} feed{'s' * (count > 1)} wait{'s' * (count == 1)} for it)" for name, count in sorted(waiting.items()))
    if waiting:
        # Not a fault: nobody has the keys of all agencies.
        findings.append(Finding("keys", True, f"not set: {', '.join(said)}"))
    return findings
