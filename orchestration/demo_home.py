"""A home that `madang demo` filled: how it is marked, and which feeds run there. Serving the stand-in is `cli/standin.py`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from orchestration.settings import Settings

if TYPE_CHECKING:
    from assets.feeds.model import Feed

MARK = "demo.json"


def is_demo(settings: Settings) -> bool:
    """Whether the home holds a demo's rows."""
    return (settings.home / MARK).exists()


@cache
def demo_feeds() -> frozenset[str]:
    """The shipped feeds that the demo pulls."""
    from deploy.agency.routes import load_routes

    return frozenset(route.id for route in load_routes() if route.demo)


def stands_aside(feed: Feed, settings: Settings) -> bool:
    """Whether a shipped feed has no assets and no schedule here: in a demo's home those that the demo does not pull."""
    from assets.feeds.load import FOLDER

    return is_demo(settings) and (FOLDER / feed.id).is_dir() and feed.id not in demo_feeds()
