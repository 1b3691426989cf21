"""What Dagster loads: assets, checks, jobs and schedules made from declarations. No network, no database, no Great Expectations.

A feed whose declaration is broken must not take the others down: it is left out, and `madang feed check` says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from assets.archive.assets import archive_asset, archive_key_of, group_of
from assets.feeds.load import load_feeds
from assets.feeds.model import Feed
from assets.platform import Platform
from assets.tables.assets import table_asset, table_key_of
from assets.training_sets.assets import set_asset
from assets.training_sets.load import load_sets
from assets.training_sets.model import TrainingSet
from orchestration import jobs
from orchestration.dbt import build_dbt_assets, dbt_resource
from orchestration.failures import guard
from orchestration.freshness import confirmed_on_time
from orchestration.settings import Settings


def build_definitions(settings: Settings | None = None) -> dg.Definitions:
    """Every definition, from the declarations in the settings' folders."""
    settings = settings or Settings.from_environment()
    feeds, problems = load_feeds(settings.feed_folders)
    sets = load_sets(settings.set_folders)
    for problem in problems:
        dg.get_dagster_logger("madang").error(f"left out: {problem}")
    archives = [archive_asset(feed, guard) for feed in feeds.values()]
    tables = [table_asset(feed, guard) for feed in feeds.values()]
    products = [set_asset(spec, feeds, guard) for spec in sets.values()]
    feed_jobs = {feed.id: feed_job(feed) for feed in feeds.values()}
    sets_job = dg.define_asset_job("build_sets", selection=_downstream(), description="dbt models and training sets.")
    return dg.Definitions(
        assets=[*archives, *tables, build_dbt_assets(feeds), *products],
        asset_checks=[confirmed_on_time(feed) for feed in feeds.values()],
        jobs=[*feed_jobs.values(), sets_job, *jobs.NIGHT_JOBS],
        schedules=[feed_schedule(feed, feed_jobs[feed.id]) for feed in feeds.values()],
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "automation", target=_downstream(), default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=30
            )
        ],
        resources={"platform": platform_resource(settings), "dbt": dbt_resource()},
        executor=dg.in_process_executor if settings.executor == "in_process" else dg.multiprocess_executor,
    )


def _downstream() -> dg.AssetSelection:
    """Everything after the tables: dbt's models and seeds, and the sets."""
    return dg.AssetSelection.key_prefixes(["model"], ["seed"], ["set"])


def job_name(feed: Feed) -> str:
    return f"feed__{feed.relation}"


def feed_job(feed: Feed) -> dg.UnresolvedAssetJobDefinition:
    """Fetch and table of one feed, and their checks."""
    return dg.define_asset_job(
        job_name(feed),
        selection=dg.AssetSelection.assets(archive_key_of(feed), table_key_of(feed)),
        description=f"{feed.agency.name}: {feed.title}",
        tags={"madang/feed": feed.id, "madang/group": group_of(feed)},
    )


def feed_schedule(feed: Feed, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """The feed's own cron expression in its own time zone; running as soon as the daemon does, if the feed is enabled."""
    return dg.ScheduleDefinition(
        name=job_name(feed),
        job=job,
        cron_schedule=feed.schedule.cron,
        execution_timezone=feed.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if feed.enabled else dg.DefaultScheduleStatus.STOPPED,
        description=feed.title,
    )


def open_platform(
    settings: Settings,
    feeds: Mapping[str, Feed] | None = None,
    sets: Mapping[str, TrainingSet] | None = None,
    *,
    allow_synthetic: bool = False,
) -> Platform:
    """The platform that the settings name, with its bucket made and its folders there."""
    from assets.store import Store, bootstrap
    from assets.transport.http import TransportSettings

    bootstrap(settings.store_url)
    settings.home.mkdir(parents=True, exist_ok=True)
    return Platform(
        home=settings.home,
        store=Store(settings.store_url),
        ledger_url=settings.ledger_url,
        warehouse=settings.warehouse,
        feeds=load_feeds(settings.feed_folders)[0] if feeds is None else feeds,
        sets=load_sets(settings.set_folders) if sets is None else sets,
        transport=TransportSettings(connect_to=settings.connect_to, contact=settings.contact),
        secrets=os.environ,
        public_url=settings.public_url,
        reports_url=settings.reports_url,
        allow_synthetic=allow_synthetic or bool(os.environ.get("MADANG_ALLOW_SYNTHETIC")),
    )


def platform_resource(settings: Settings) -> dg.ResourceDefinition:
    """Opened when a run starts, from the environment of that run; closed when it ends."""

    @contextmanager
    def platform(context: dg.InitResourceContext) -> Iterator[Platform]:
        opened = open_platform(settings)
        try:
            yield opened
        finally:
            if "ledger" in opened.__dict__:
                opened.ledger.close()

    return dg.ResourceDefinition(platform, description="The opened store, ledger and declarations")


defs = build_definitions()
