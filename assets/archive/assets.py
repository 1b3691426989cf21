"""The Dagster asset of the archive stage: `archive/<feed>`, one fetch a run. Thin: the work is `assets/protocols/fetching.py`.

A fetch that finds nothing new yields no output, so nothing downstream runs; it leaves an observation (design.md decision 6).
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, time
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData as _Target
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as _Status

from assets.archive.fetches import FetchRecord
from assets.errors import MadangError
from assets.feeds.model import Feed
from assets.feeds.partitions import CRONS, FORMS
from assets.platform import Platform
from assets.tables.build import is_current
from assets.tables.index import TableIndex, confirm, read_index

DATA_VERSION_TAG = "dagster/data_version"

Guard = Callable[[], AbstractContextManager[None]]
"""Turns a MadangError into the failure that Dagster shows; given by the orchestration, which knows failure classes."""


def group_of(feed: Feed) -> str:
    """Feeds are grouped by agency: the id without its last segment."""
    return "_".join(feed.segments[:-1])


def archive_key_of(feed: Feed) -> dg.AssetKey:
    return dg.AssetKey(["archive", *feed.segments])


def time_partitions(feed: Feed) -> dg.TimeWindowPartitionsDefinition | None:
    """The feed's partitions as Dagster has them, with the same keys; None where it has none."""
    if feed.partitions is None:
        return None
    return dg.TimeWindowPartitionsDefinition(
        start=datetime.combine(feed.partitions.start, time()),
        fmt=FORMS[feed.partitions.every],
        timezone=feed.partitions.timezone or feed.schedule.timezone,
        cron_schedule=CRONS[feed.partitions.every],
        end_offset=1 if feed.partitions.running else 0,
    )


def check_spec(feed: Feed, name: str, key: dg.AssetKey, description: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
    """A check that a run of the feed evaluates: of each partition on its own, or a good month would hide a bad one."""
    with warnings.catch_warnings(action="ignore", category=dg.PreviewWarning):
        return dg.AssetCheckSpec(name, asset=key, description=description, blocking=blocking, partitions_def=time_partitions(feed))


def partition_of(context: dg.AssetExecutionContext) -> str | None:
    """The partition that this run is for; None for the whole of a feed that has none.

    One run is for one partition, and the assets have no backfill policy, so a backfill starts them so. A run for several would
    have to materialize all of them or none, with one result for each check: where the third of twelve fails, it could only lie.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        return None
    keys: list[str] = list(context.partition_keys)
    if len(keys) != 1:
        raise MadangError(f"the run is for {len(keys)} partitions", where=f"{keys[0]} to {keys[-1]}", mend="start one for each")
    return keys[0]


def archive_asset(feed: Feed, guard: Guard) -> dg.AssetsDefinition:
    """The asset `archive/<feed>`: pull the feed, keep the bytes as received."""

    @dg.asset(
        key=archive_key_of(feed),
        group_name=group_of(feed),
        owners=list(feed.owners) or None,
        kinds={"warc", "http"},
        tags={"madang/protocol": feed.source.protocol, "madang/licence": feed.licence.id},
        metadata={
            "agency": feed.agency.name,
            "title": feed.title,
            "address": dg.MetadataValue.url(feed.source.address),
            "licence": dg.MetadataValue.url(feed.licence.url),
            "schedule": f"{feed.schedule.cron} {feed.schedule.timezone}",
            "notes": feed.notes,
        },
        description=f"Bytes as received from {feed.agency.name}: {feed.title}",
        output_required=False,
        required_resource_keys={"platform"},
        partitions_def=time_partitions(feed),
        check_specs=[check_spec(feed, "confirmed", archive_key_of(feed), "The agency answered, with news or without.")],
    )
    def archive(context: dg.AssetExecutionContext) -> Iterator[Any]:
        platform: Platform = context.resources.platform
        with guard():
            partition = partition_of(context)
            record = fetch_feed(platform, feed, context.log.info, partition=partition)
        found = metadata_of(platform, feed, record)
        yield dg.AssetCheckResult(asset_key=archive_key_of(feed), check_name="confirmed", passed=True, metadata=found)
        store = platform.store
        if (
            record.outcome == "NotModified"
            and is_current(feed, record, store)
            and table_is_known(context.instance, feed, read_index(store, feed.id), partition)
        ):
            confirm(store, feed.id, record.finished_at)
            repeat_verdicts(context.instance, context.run_id, dg.AssetKey(["table", *feed.segments]), partition)
            context.log_event(dg.AssetObservation(asset_key=archive_key_of(feed), partition=partition, metadata=found))
            context.log.info(f"{feed.id}: nothing new since {found['unchanged since']}")
            return
        yield dg.MaterializeResult(asset_key=archive_key_of(feed), metadata=found)

    return archive


def table_is_known(instance: dg.DagsterInstance, feed: Feed, index: TableIndex | None, partition: str | None = None) -> bool:
    """Whether Dagster knows the table that is live; a run killed after the swap left one that it has not heard of."""
    if index is None:
        return True
    return known_version(instance, dg.AssetKey(["table", *feed.segments]), partition) == index.version_of(partition)


def repeat_verdicts(instance: dg.DagsterInstance, run_id: str, key: dg.AssetKey, partition: str | None = None) -> None:
    """Say of a table that stays as it is what was last said of it: Dagster would show each check that this run skips as "Skipped".

    Only checks that the run planned, each with what its last evaluation found, and when.
    """
    latest = instance.fetch_materializations(_records(key, partition), limit=1).records
    target = _Target(storage_id=latest[0].storage_id, run_id=latest[0].run_id, timestamp=latest[0].timestamp) if latest else None
    planned = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    for entry in planned:
        data: Any = entry.dagster_event.event_specific_data if entry.dagster_event else None
        if data is None or data.asset_key != key:
            continue
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, data.check_name),
            limit=1,
            status={_Status.SUCCEEDED, _Status.FAILED},
            partition_filter=PartitionKeyFilter(key=partition),
        )
        event = history[0].event.dagster_event if history and history[0].event else None
        if event is None:
            continue
        last = event.asset_check_evaluation_data
        judged = dg.MetadataValue.timestamp(datetime.fromtimestamp(history[0].create_timestamp, UTC))
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=last.check_name,
                passed=last.passed,
                metadata={"judged": judged, **last.metadata},
                target_materialization_data=target,
                severity=last.severity,
                description=last.description,
                blocking=last.blocking,
                partition=partition,
            )
        )


def known_version(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None = None) -> str | None:
    """The data version of the last recorded materialization of the asset, or of that partition of it."""
    latest = instance.fetch_materializations(_records(key, partition), limit=1).records
    tags = latest[0].asset_materialization.tags if latest and latest[0].asset_materialization else None
    return (tags or {}).get(DATA_VERSION_TAG)


def _records(key: dg.AssetKey, partition: str | None) -> dg.AssetRecordsFilter:
    return dg.AssetRecordsFilter(key, asset_partitions=None if partition is None else [partition])


def fetch_feed(
    platform: Platform, feed: Feed, say: Callable[[str], Any] | None = None, *, partition: str | None = None
) -> FetchRecord:
    """One fetch of a feed (of one partition of it) with everything that the platform gives it.

    Raises FetchFailed and other MadangErrors.
    """
    from assets.protocols.fetching import FetchDeps, SystemClock, run_fetch

    # One folder for all fetches, so that the next one sweeps what a killed one left.
    workdir = platform.home / "spool" / "fetches"
    workdir.mkdir(parents=True, exist_ok=True)
    deps = FetchDeps(
        store=platform.store,
        ledger=platform.ledger,
        transport=platform.transport,
        secrets=platform.secrets,
        workdir=workdir,
        clock=platform.clock or SystemClock(),
        progress=None if say is None else lambda progress: say(str(progress)),
    )
    return run_fetch(feed, partition=partition, deps=deps)


def metadata_of(platform: Platform, feed: Feed, record: FetchRecord) -> dict[str, Any]:
    """What a person wants to know of a fetch, by the words of the design."""
    source = platform.ledger.fetch(record.body_fetch_id) or record
    return {
        "outcome": record.outcome,
        **({"partition": record.partition} if record.partition else {}),
        **({"reason": record.reason} if record.reason else {}),
        "origin": record.origin,
        "bytes read": record.bytes_read,
        "responses": record.responses,
        "last confirmed check": dg.MetadataValue.timestamp(record.finished_at),
        "unchanged since": source.started_at.isoformat(timespec="seconds"),
        "archive": f"{platform.store.url}/{record.warc_key}",
        "fetch": record.fetch_id,
    }
