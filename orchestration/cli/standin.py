"""Who answers for the agencies: the agencies themselves, what MADANG_CONNECT_TO names, or the stand-in in a home of the demo.

A home that `madang demo` filled is marked by `demo.json`. Each command that asks agencies there starts a stand-in of its own on a
free port, so that none is in the way of another, nor of `madang up`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from assets.errors import MadangError
from orchestration.cli.output import say
from orchestration.demo_home import MARK, demo_feeds
from orchestration.settings import Settings

IN_PLACE = "This home holds demo rows: the stand-in agency answers for every agency."


@contextmanager
def agency(data: Path | None, settings: Settings, *, every_key: bool = False) -> Iterator[dict[str, str]]:
    """The stand-in agency, served while the context lasts; yields the environment that leads to it.

    Its key is its own: a real one of the environment is neither sent to it nor known to it. `every_key`: also for feeds that the
    demo does not pull, which without a key are not on their schedules.
    """
    from assets.feeds.load import load_feeds
    from deploy.agency import DEMO_KEY, AgencyConfig, running_agency

    feeds, pulled = load_feeds(settings.feed_folders).feeds.values(), demo_feeds()
    named = {feed.source.auth.secret for feed in feeds if feed.source.auth.secret}
    wanted = {feed.source.auth.secret for feed in feeds if feed.id in pulled}
    keys = {name: DEMO_KEY for name in named if name in wanted or every_key or name in os.environ}
    with running_agency(AgencyConfig(data=data)) as url:
        yield {"MADANG_CONNECT_TO": url, **keys}


def agency_of(settings: Settings, *, every_key: bool = False) -> AbstractContextManager[dict[str, str]] | None:
    """The stand-in for a home that the demo filled, with the same data; None for any other home."""
    mark = settings.home / MARK
    if not mark.exists():
        return None
    data = json.loads(mark.read_text(encoding="utf-8"))["data"]
    if data is not None and not Path(data).is_dir():
        raise MadangError(
            "this home holds the rows of real files, and their folder is gone",
            where=data,
            mend="put the folder back, or use another MADANG_HOME",
        )
    return agency(Path(data) if data else None, settings, every_key=every_key)


@contextmanager
def answering(settings: Settings) -> Iterator[Settings]:
    """The settings with which a command asks agencies. In a home of the demo the stand-in is served while the context lasts,
    unless MADANG_CONNECT_TO names who answers.
    """
    served = agency_of(settings, every_key=True) if settings.connect_to is None else None
    if served is None:
        yield settings
        return
    with served as variables, environment(variables):
        say("·", "yellow", IN_PLACE)
        yield replace(settings, connect_to=variables["MADANG_CONNECT_TO"])


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the runs inside, and put the old ones back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
