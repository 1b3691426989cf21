"""Assets, checks, jobs and schedules made from declarations. No network, no database, no Great Expectations import.

A feed whose declaration is broken must not take the others down: it is left out, and `madang feed check` says why.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

# Not exported by Dagster: what `define_asset_job` returns, and what it is resolved among.
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets.archive.assets import archive_asset, archive_key_of, group_of
from assets.feeds.load import is_ready, load_feeds
from assets.feeds.model import Feed
from assets.platform import Platform
from assets.tables.assets import table_asset, table_key_of
from assets.training_sets.assets import set_asset
from assets.training_sets.load import load_sets
from orchestration import jobs, killed
from orchestration.dbt import build_dbt_assets, dbt_resource
from orchestration.demo_home import stands_aside
from orchestration.failures import guard
from orchestration.freshness import CONFIRMED_ON_TIME, confirmed_on_time
from orchestration.opening import open_platform
from orchestration.settings import Settings

FRESHNESS_JOB = "check_freshness"

Job = Any
"""A job over a selection of assets, not yet resolved; Dagster does not export the type of it."""


def build_definitions(settings: Settings | None = None, also: Collection[str] = ()) -> dg.Definitions:
    """Every definition, from the declarations in the settings' folders. In a demo's home: of the feeds that the demo pulls, and
    those named in `also`.
    """
    settings = settings or Settings.from_environment()
    declared, problems = load_feeds(settings.feed_folders)
    feeds = {feed.id: feed for feed in declared.values() if feed.id in also or not stands_aside(feed, settings)}
    sets, set_problems = load_sets(settings.set_folders)
    for problem in [*problems, *set_problems]:
        dg.get_dagster_logger("madang").error(f"left out: {problem}")
    archives = [archive_asset(feed, guard) for feed in feeds.values()]
    tables = [table_asset(feed, guard) for feed in feeds.values()]
    products = [set_asset(spec, feeds, guard) for spec in sets.values()]
    feed_jobs = {feed.id: feed_job(feed) for feed in feeds.values()}
    running = {feed.id for feed in feeds.values() if is_ready(feed, os.environ)}
    sets_job = dg.define_asset_job("build_sets", selection=_downstream(), description="dbt models and training sets.")
    freshness_job = dg.define_asset_job(
        FRESHNESS_JOB,
        selection=_freshness_of(feeds[id_] for id_ in sorted(running)),
        description="Was every feed that is enabled and has its key asked on time? Reads the ledger, asks nobody.",
    )
    return dg.Definitions(
        assets=[*archives, *tables, build_dbt_assets(feeds), *products],
        asset_checks=[confirmed_on_time(feed) for feed in feeds.values()],
        jobs=[*feed_jobs.values(), sets_job, freshness_job, *jobs.NIGHT_JOBS],
        schedules=[
            *(feed_schedule(feed, feed_jobs[feed.id], feed.id in running) for feed in feeds.values()),
            freshness_schedule(freshness_job),
        ],
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


def _freshness_of(feeds: Iterable[Feed]) -> dg.AssetSelection:
    """The freshness checks alone: in a feed's own run they would be skipped exactly when nothing changed."""
    keys = [dg.AssetCheckKey(archive_key_of(feed), CONFIRMED_ON_TIME) for feed in feeds]
    return dg.AssetSelection.checks(*keys)


def freshness_schedule(job: Job) -> dg.ScheduleDefinition:
    """Every hour, a quarter past: late feeds show as warnings, whether or not anything runs for them."""
    return dg.ScheduleDefinition(
        name=FRESHNESS_JOB, job=job, cron_schedule="15 * * * *", default_status=dg.DefaultScheduleStatus.RUNNING
    )


def job_name(feed: Feed) -> str:
    return f"feed__{feed.relation}"


class FeedJob(UnresolvedAssetJobDefinition):
    """A job over one feed's assets that Dagster resolves among that feed's own definitions.

    Dagster itself looks for a job's assets among all assets and checks of the code location: with a job a feed, the seconds grow
    with the square of the feeds. Each job is resolved when it is first needed, so a run pays for its own alone.
    """

    def resolve(
        self,
        asset_graph: AssetGraph,
        default_executor_def: dg.ExecutorDefinition | None = None,
        resource_defs: Mapping[str, dg.ResourceDefinition] | None = None,
    ) -> dg.JobDefinition:
        keys = self.selection.resolve(asset_graph)
        checks = {check for key in keys for check in asset_graph.get(key).check_keys}
        own = AssetGraph.from_assets(asset_graph.assets_defs_for_keys(keys | checks))
        return super().resolve(own, default_executor_def, resource_defs)


def feed_job(feed: Feed) -> FeedJob:
    """Fetch and table of one feed, and their checks."""
    return FeedJob(
        job_name(feed),
        selection=dg.AssetSelection.assets(archive_key_of(feed), table_key_of(feed)) - _freshness_of([feed]),
        description=f"{feed.agency.name}: {feed.title}",
        tags={"madang/feed": feed.id, "madang/group": group_of(feed)},
    )


def feed_schedule(feed: Feed, job: Job, running: bool) -> dg.ScheduleDefinition:
    """The feed's own cron expression in its own time zone; running with the daemon, if the feed is enabled and has its key.

    A tick asks for the partitions that are due by then, each in a run of its own.
    """

    def due(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        keys = feed.due(context.scheduled_execution_time)
        if not keys:
            yield dg.SkipReason("no partition is due yet")
        for key in keys:
            yield dg.RunRequest(run_key=key, partition_key=key)

    return dg.ScheduleDefinition(
        name=job_name(feed),
        job=job,
        execution_fn=due if feed.partitions else None,
        cron_schedule=feed.schedule.cron,
        execution_timezone=feed.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=feed.title,
    )


def platform_resource(settings: Settings) -> dg.ResourceDefinition:
    """Opened when a run starts, from the environment of that run; closed when it ends."""

    @contextmanager
    def platform(context: dg.InitResourceContext) -> Iterator[Platform]:
        if context.instance is not None and context.run_id and settings.executor == "in_process":
            # Before the first step asks for its place in a pool.
            killed.sign(context.instance, context.run_id)
            killed.bury(context.instance)
        opened = open_platform(settings)
        try:
            yield opened
        finally:
            if "ledger" in opened.__dict__:
                opened.ledger.close()

    return dg.ResourceDefinition(platform, description="The opened store, ledger and declarations")
