"""Opening the platform that the settings name: store, ledger, declarations. Dagster and the command line both start here."""

from __future__ import annotations

import os
from collections.abc import Mapping

from assets.feeds.load import load_feeds
from assets.feeds.model import Feed
from assets.platform import Platform
from assets.store import Store, bootstrap
from assets.training_sets.load import load_sets
from assets.training_sets.model import TrainingSet
from assets.transport.http import TransportSettings
from orchestration.settings import Settings


def open_platform(
    settings: Settings,
    feeds: Mapping[str, Feed] | None = None,
    sets: Mapping[str, TrainingSet] | None = None,
    *,
    allow_synthetic: bool = False,
    make: bool = True,
) -> Platform:
    """The platform that the settings name. `make`: its bucket and home are made where they are missing; False: only looked at."""
    if make:
        bootstrap(settings.store_url)
        settings.make_home()
    return Platform(
        home=settings.home,
        store=Store(settings.store_url),
        ledger_url=settings.ledger_url,
        warehouse=settings.warehouse,
        feeds=load_feeds(settings.feed_folders)[0] if feeds is None else feeds,
        sets=load_sets(settings.set_folders).sets if sets is None else sets,
        transport=TransportSettings(connect_to=settings.connect_to, contact=settings.contact),
        secrets=os.environ,
        public_url=settings.public_url,
        reports_url=settings.reports_url,
        allow_synthetic=allow_synthetic or bool(os.environ.get("MADANG_ALLOW_SYNTHETIC")),
    )
