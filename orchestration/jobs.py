"""The jobs in the Launchpad: what a person does at night, each with the few fields that it needs and nothing to script."""

from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from assets.errors import Blocked, DeclarationError, MadangError, UnreadableSource
from assets.feeds.model import Feed
from assets.platform import Platform
from orchestration.failures import guard


class FeedConfig(dg.Config):
    feed: str = Field(description="Id of the feed, like kr.seoul.bike_hourly")


class PartConfig(FeedConfig):
    partition: str = Field("", description="One partition, like 2026-11; empty: all that were fetched (or the feed has none)")


class AsOfConfig(FeedConfig):
    as_of: str = Field(description="Moment, or day at its end (UTC), ISO 8601: the table as it was then (2024-10-24)")
    into: str = Field(description="Local folder that gets the rebuilt table; the live table is not touched")


class SetConfig(dg.Config):
    name: str = Field(description="Name of the training set, like seoul_bike_demand")


class ReasonConfig(SetConfig):
    reason: str = Field(description="Why, for those who look at it in the morning")


class VersionConfig(ReasonConfig):
    version: str = Field(description="The version that `latest` shall name again, like 1.2.0")


def _feed(platform: Platform, id_: str) -> Feed:
    if id_ not in platform.feeds:
        raise DeclarationError(f"there is no feed {id_}", where="run config", mend="madang feed list shows the ids")
    return platform.feeds[id_]


def _moment(text: str) -> datetime:
    """A moment, UTC where it has no offset; a day alone means its end, so that the day's own fetches count."""
    try:
        moment = datetime.combine(date.fromisoformat(text), time.max) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        raise DeclarationError(
            f"'{text[:40]}' is no day and no moment", where="as_of", mend="write 2024-10-24, or 2024-10-24T12:00:00+09:00"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@dg.op(required_resource_keys={"platform"}, name="judge_all_again")
def _judge_all_again(context: dg.OpExecutionContext, config: PartConfig) -> None:
    _judge(context, config, everything=True)


@dg.op(required_resource_keys={"platform"}, name="judge_last_again")
def _judge_last_again(context: dg.OpExecutionContext, config: PartConfig) -> None:
    _judge(context, config, everything=False)


def _judge(context: dg.OpExecutionContext, config: PartConfig, *, everything: bool) -> None:
    """Build the feed's table from the archive: from all its fetches, or from the last one on top of what is live.

    Partition by partition where it has them; one that is refused stops no other, and fails the run at its end.
    """
    from assets.tables.replay import fetched_partitions

    platform: Platform = context.resources.platform
    with guard():
        feed = _feed(platform, config.feed)
        wanted: list[str | None]
        if feed.partitions is None or config.partition:
            wanted = [feed.partition(config.partition or None, platform.now())]
        else:
            wanted = [*fetched_partitions(feed, platform.ledger)]
        if not wanted:
            raise MadangError("nothing was ever fetched", where=feed.id, mend=f"madang feed run {feed.id}")
        refused = []
        for partition in wanted:
            try:
                _judge_part(context, platform, feed, partition, everything=everything)
            except (Blocked, UnreadableSource) as error:
                if len(wanted) == 1:
                    raise
                context.log.error(f"{partition}: {error}")
                refused.append((partition, error))
        if refused:
            names = ", ".join(str(partition) for partition, _ in refused)
            checks = tuple(dict.fromkeys(name for _, error in refused if isinstance(error, Blocked) for name in error.checks))
            raise Blocked(
                f"{len(refused)} of {len(wanted)} partitions keep their last good version: {names}",
                checks=checks,
                where=feed.id,
                mend=f"the run's log says why; of {refused[0][0]}: {refused[0][1].what}",
            )


def _judge_part(context: dg.OpExecutionContext, platform: Platform, feed: Feed, partition: str | None, *, everything: bool) -> None:
    from assets.archive.assets import DATA_VERSION_TAG, table_is_known
    from assets.tables.assets import build_feed_table, check_results, metadata_of, table_key_of
    from assets.tables.index import read_index

    result = build_feed_table(platform, feed, partition=partition, force=everything)
    name = f"{feed.id} {partition}" if partition else feed.id
    context.log.info(f"{name}: {result.rows_read} read, {result.accepted} accepted, {result.quarantined} quarantined")
    for check in check_results(feed, result.checks, set()):
        context.log.info(f"quality: {'passed' if check.passed else 'failed'}")
    result.raise_if_blocked()
    index = read_index(platform.store, feed.id)
    key, found = table_key_of(feed), metadata_of(platform, feed, result, index)
    version = index.version_of(partition) if index else None
    if version is None or (not result.changed and table_is_known(context.instance, feed, index, partition)):
        context.log_event(dg.AssetObservation(asset_key=key, partition=partition, metadata=found))
    else:
        tags = {DATA_VERSION_TAG: version}
        context.log_event(dg.AssetMaterialization(asset_key=key, partition=partition, metadata=found, tags=tags))


@dg.op(required_resource_keys={"platform"}, name="rebuild_as_of")
def _rebuild_as_of(context: dg.OpExecutionContext, config: AsOfConfig) -> None:
    from assets.tables.expectations import judge_expectations
    from assets.tables.replay import rebuild

    platform: Platform = context.resources.platform
    with guard(), platform.workdir("rebuild") as workdir:
        feed, moment, into = _feed(platform, config.feed), _moment(config.as_of), Path(config.into)
        rebuild(
            feed,
            as_of=moment,
            store=platform.store,
            ledger=platform.ledger,
            workdir=workdir,
            into=into,
            judge_expectations=judge_expectations,
        )
        context.log.info(f"{feed.id} as of {moment.isoformat()} is in {into}")


@dg.op(required_resource_keys={"platform"}, name="hold")
def _hold(context: dg.OpExecutionContext, config: ReasonConfig) -> None:
    from assets.training_sets.publish import hold

    with guard():
        platform: Platform = context.resources.platform
        hold(platform.store, config.name, config.reason, platform.now())


@dg.op(required_resource_keys={"platform"}, name="lift")
def _lift_hold(context: dg.OpExecutionContext, config: ReasonConfig) -> None:
    from assets.training_sets.publish import lift_hold

    with guard():
        platform: Platform = context.resources.platform
        lift_hold(platform.store, config.name, config.reason, platform.now())


@dg.op(required_resource_keys={"platform"}, name="roll_back")
def _roll_back(context: dg.OpExecutionContext, config: VersionConfig) -> None:
    from assets.training_sets.publish import rollback

    with guard():
        platform: Platform = context.resources.platform
        rollback(platform.store, config.name, config.version, config.reason, platform.now())


def _form(op: str, config: type[dg.Config]) -> dict[str, Any]:
    """The run config that the Launchpad opens with: every field is there, to be filled in."""
    return {"ops": {op: {"config": dict.fromkeys(config.model_fields, "")}}}


@dg.job(
    config=_form("judge_all_again", PartConfig),
    description="Rebuild a feed's table from all its archived fetches, with today's contract. The agency is not asked.",
)
def rerun_from_archive() -> None:
    _judge_all_again()


@dg.job(
    config=_form("judge_last_again", PartConfig),
    description="Judge the last archived fetch of a feed again after its contract was mended: the quarantine's second chance.",
)
def retry_quarantine() -> None:
    _judge_last_again()


@dg.job(
    config=_form("rebuild_as_of", AsOfConfig),
    description="Rebuild a feed's table as of any day from the archive alone, into a local folder.",
)
def rebuild_table_as_of() -> None:
    _rebuild_as_of()


@dg.job(config=_form("hold", ReasonConfig), description="Hold a training set: no new release until the hold is released.")
def hold_release() -> None:
    _hold()


@dg.job(config=_form("lift", ReasonConfig), description="Lift the hold of a training set: releases go out again.")
def lift_hold() -> None:
    _lift_hold()


@dg.job(
    config=_form("roll_back", VersionConfig),
    description="Let `latest` name an earlier version of a training set again. Nothing is deleted.",
)
def roll_back_release() -> None:
    _roll_back()


NIGHT_JOBS = [rerun_from_archive, retry_quarantine, rebuild_table_as_of, hold_release, lift_hold, roll_back_release]
