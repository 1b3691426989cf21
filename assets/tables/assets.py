"""The Dagster asset of the table stage: `table/<feed>`, built from the archive alone. Thin: the work is `build.py`.

Materializing it by itself re-runs the judgement over the archived bytes, with today's contract; the agency is not asked.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.archive.assets import (
    Guard,
    archive_key_of,
    check_spec,
    group_of,
    partition_of,
    table_is_known,
    time_partitions,
)
from assets.errors import MadangError
from assets.feeds.model import Feed
from assets.platform import Platform
from assets.tables.build import build_table
from assets.tables.expectations import judge_expectations
from assets.tables.index import TableIndex, read_index
from assets.tables.report import TableResult
from quality.suite import check_names
from quality.verdict import CheckResult

TYPES = {"string": "string", "integer": "int", "number": "float", "decimal": "decimal", "boolean": "bool"}
QUALITY = "quality"
GATES = {
    "accounted_for": "Accepted and quarantined rows together are all rows read.",
    "columns_as_promised": "The source carries the columns that the contract promises.",
    "quarantine_within_bound": "Not more rows were refused than the contract allows.",
    "row_count_at_least": "Not fewer rows than the contract promises.",
    "shrink_guard": "Not more rows vanished than the feed allows.",
}
"""The gates of every table, whatever its contract."""


def table_key_of(feed: Feed) -> dg.AssetKey:
    return dg.AssetKey(["table", *feed.segments])


def table_asset(feed: Feed, guard: Guard) -> dg.AssetsDefinition:
    """The asset `table/<feed>` with its gates, its blocking expectations by name, and one `quality` check for the rest."""
    key = table_key_of(feed)
    blocking = check_names(feed.contract, feed.expectations)
    specs = [check_spec(feed, name, key, text, blocking=True) for name, text in GATES.items()]
    specs += [check_spec(feed, name, key, _sentence(spec.type), blocking=True) for name, spec in blocking.items()]
    rest = "All other expectations, in one table. Rows that fail one are in quarantine; none blocks."
    specs.append(check_spec(feed, QUALITY, key, rest))

    @dg.asset(
        key=key,
        deps=[archive_key_of(feed)],
        group_name=group_of(feed),
        owners=list(feed.owners) or None,
        kinds={"duckdb", "parquet", "greatexpectations"},
        tags={"madang/protocol": feed.source.protocol, "madang/licence": feed.licence.id},
        metadata={"dagster/column_schema": column_schema(feed), "relation": feed.relation},
        description=feed.description or f"Accepted rows of {feed.title}",
        output_required=False,
        required_resource_keys={"platform"},
        partitions_def=time_partitions(feed),
        check_specs=specs,
    )
    def table(context: dg.AssetExecutionContext) -> Iterator[Any]:
        platform: Platform = context.resources.platform
        with guard():
            partition = partition_of(context)
            result = build_feed_table(platform, feed, partition=partition)
        yield from check_results(feed, result.checks, set(GATES) | set(blocking))
        with guard():
            result.raise_if_blocked()
        index = read_index(platform.store, feed.id)
        found = metadata_of(platform, feed, result, index)
        if not result.changed and table_is_known(context.instance, feed, index, partition):
            context.log_event(dg.AssetObservation(asset_key=key, partition=partition, metadata=found))
            context.log.info(f"{feed.id}: the same rows as before, no new table")
            return
        version = None if index is None else index.version_of(partition)
        yield dg.MaterializeResult(asset_key=key, metadata=found, data_version=None if version is None else dg.DataVersion(version))

    return table


def when_tables_change(feeds: Iterable[Feed]) -> dg.AutomationCondition[Any]:
    """Eager, as Dagster has it, but partitions that nobody has fetched are not waited for: a table is what there is of it."""
    parted = [table_key_of(feed) for feed in feeds if feed.partitions]
    eager = dg.AutomationCondition.eager()
    if not parted:
        return eager
    missing = dg.AutomationCondition.any_deps_missing()
    return eager.replace("any_deps_missing", missing.ignore(dg.AssetSelection.assets(*parted)).with_label("any_deps_missing"))


def build_feed_table(platform: Platform, feed: Feed, *, partition: str | None = None, force: bool = False) -> TableResult:
    """Judge the last good fetch (of the partition) and swap the table. Raises MadangError where there was never one."""
    record = platform.ledger.last_answered(feed.id, partition)
    if record is None:
        part = f" --partition {partition}" if partition else ""
        raise MadangError(
            f"nothing was ever fetched{f' of {partition}' if partition else ''}",
            where=feed.id,
            mend=f"madang feed run {feed.id}{part}",
        )
    with platform.workdir("table") as workdir:
        return build_table(
            feed,
            record,
            store=platform.store,
            ledger=platform.ledger,
            workdir=workdir,
            now=platform.now(),
            judge_expectations=judge_expectations,
            force=force,
        )


def check_results(feed: Feed, checks: tuple[CheckResult, ...], named: set[str]) -> Iterator[dg.AssetCheckResult]:
    """Each blocking check by its name; every other one as a row of `quality`."""
    key = table_key_of(feed)
    given = {check.name: check for check in checks}
    for name in sorted(named):
        # A gate that was not reached (nothing to merge, say) has nothing against the table.
        check = given.get(name) or CheckResult(name, True, note="not reached: nothing changed, or an earlier gate refused")
        # Rows that are all in quarantine stop nobody: the bound on the quarantine does. An ERROR here would stop what follows.
        severity = dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN
        yield dg.AssetCheckResult(asset_key=key, check_name=name, passed=check.passed, severity=severity, metadata=_facts(check))
    rest = [check for check in checks if check.name not in named]
    failed = [check for check in rest if not check.passed]
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=QUALITY,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"expectations": len(rest), "failed": len(failed), "table": dg.MetadataValue.md(_markdown(rest))},
    )


def metadata_of(platform: Platform, feed: Feed, result: TableResult, index: TableIndex | None) -> dict[str, Any]:
    """What a person wants to know of a table at night. Values only of columns cleared for it."""
    found: dict[str, Any] = {
        "dagster/row_count": result.rows,
        "dagster/column_schema": column_schema(feed),
        "rows read": result.rows_read,
        "accepted": result.accepted,
        "quarantined": result.quarantined,
        "added": result.changes.added,
        "revised": result.changes.revised,
        "withdrawn": result.changes.withdrawn,
        "unchanged": result.changes.unchanged,
        "origin": result.origin,
        "fetch": result.fetch_id,
        **_part_of(feed, result, index),
        "encoding": result.encoding or "",
        "unknown columns": ", ".join(result.unknown_columns) or "none",
        "Data Docs": dg.MetadataValue.url(f"{platform.reports_url}/reports/{feed.id}/{result.fetch_id}/index.html"),
    }
    if result.note:
        found["note"] = result.note
    if result.preview:
        found["preview"] = dg.MetadataValue.md(preview_markdown(result.preview))
    return found


def _part_of(feed: Feed, result: TableResult, index: TableIndex | None) -> dict[str, Any]:
    """What is to be said of one partition, and of the others beside it."""
    if feed.partitions is None or index is None:
        return {}
    old = sorted(name for name, part in index.partitions.items() if part.contract_sha256 != result.contract_sha256)
    told = f"{len(old)}, from {old[0]} on; rerun_from_archive rebuilds them" if old else "none"
    return {
        "partition": result.partition,
        "partitions in the table": len(index.partitions),
        "rows in the table": index.rows,
        "partitions of an earlier contract": told,
    }


def column_schema(feed: Feed) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                TYPES.get(column.type, column.type),
                description=" / ".join(text for text in (column.title_ko, column.title_en, column.description) if text) or None,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=feed.contract.key == (column.name,)),
            )
            for column in feed.contract.columns
        ]
    )


def preview_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of a few rows; a bar in a value must not make a new cell."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in rows:
        cells = ("" if row[name] is None else str(row[name]).replace("|", "\\|").replace("\n", " ")[:80] for name in names)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _facts(check: CheckResult) -> dict[str, Any]:
    facts = {"observed": check.observed, "expected": check.expected, "note": check.note or None}
    facts |= {"unexpected rows": check.unexpected_count, "rows": check.element_count}
    return {
        name: value if isinstance(value, (int, float, str)) else str(value) for name, value in facts.items() if value is not None
    }


def _markdown(checks: list[CheckResult]) -> str:
    rows = [
        {
            "": "✓" if check.passed else "✗",
            "expectation": check.name,
            "severity": check.severity,
            "unexpected rows": check.unexpected_count,
            "of": check.element_count,
            "note": check.note,
        }
        for check in sorted(checks, key=lambda c: c.passed)
    ]
    return preview_markdown(rows) if rows else "No expectation besides the blocking ones."


def _sentence(type_: str) -> str:
    return type_.replace("_", " ")
