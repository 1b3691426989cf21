"""The Dagster asset of the training-set stage: `set/<name>`, one release or none a run. Thin: the work is `release.py`."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from assets.archive.assets import Guard, known_version
from assets.errors import Blocked, MadangError, StoreConflict
from assets.feeds.model import Feed
from assets.models import live_model
from assets.platform import Platform
from assets.tables.assets import preview_markdown, when_tables_change
from assets.tables.index import live_paths, read_index
from assets.tables.presenting import contract_files
from assets.training_sets.model import TrainingSet
from assets.training_sets.release import ReleaseResult, build_set

GATES: dict[str, tuple[str, ...]] = {
    "leakage": ("overlap_exact", "overlap_record", "overlap_group", "time_order", "single_feature_leakage", "label_varies"),
    "rights": ("rights_conflicts",),
    "layout": ("schema_equal", "row_group_cap", "rows_written"),
    "size": ("min_rows", "splits_filled", "shrink", "moved_since_previous"),
    "loaders": ("loaders_equal", "croissant_required"),
    "expectations": (),
}
"""The gates as the UI shows them, and the checks that each is made of; `expectations` is all that is in no other."""


def set_key_of(spec: TrainingSet) -> dg.AssetKey:
    return dg.AssetKey(["set", spec.name])


def set_asset(spec: TrainingSet, feeds: Mapping[str, Feed], guard: Guard) -> dg.AssetsDefinition:
    """The asset `set/<name>`: build, prove, and release if anything changed."""
    key = set_key_of(spec)
    upstream = (
        [dg.AssetKey(["model", spec.model])]
        if spec.model is not None
        else [dg.AssetKey(["table", *feeds[id_].segments]) for id_ in spec.feeds if id_ in feeds]
    )

    @dg.asset(
        key=key,
        deps=upstream,
        group_name="training_sets",
        owners=list(spec.owners) or None,
        kinds={"parquet", "croissant"},
        tags={"madang/task": spec.task},
        metadata={
            "title": f"{spec.title} / {spec.title_en}",
            "label": spec.label.column,
            "features": ", ".join(feature.name for feature in spec.features),
            "left out": preview_markdown([{"column": c.name, "why": c.reason, "note": c.note} for c in spec.left_out]),
            "intended uses": "; ".join(spec.intended_uses),
            "unfit uses": "; ".join(spec.unfit_uses),
        },
        description=spec.summary,
        output_required=False,
        required_resource_keys={"platform"},
        pool=f"set__{spec.name}",
        automation_condition=when_tables_change([feeds[id_] for id_ in spec.feeds if id_ in feeds]),
        check_specs=[dg.AssetCheckSpec(name, asset=key, blocking=True) for name in GATES],
    )
    def training_set(context: dg.AssetExecutionContext) -> Iterator[Any]:
        platform: Platform = context.resources.platform
        with guard():
            try:
                result = release_set(platform, spec)
            except Blocked as blocked:
                for gate in sorted({gate_of(name) for name in blocked.checks}):
                    yield dg.AssetCheckResult(asset_key=key, check_name=gate, passed=False, metadata={"what": blocked.what})
                raise
        yield from _check_results(key, result)
        found = metadata_of(platform, spec, result)
        # A run killed after the release was committed left one that Dagster has not heard of.
        if not result.changed and known_version(context.instance, key) == result.version:
            context.log_event(dg.AssetObservation(asset_key=key, metadata=found))
            context.log.info(f"{spec.name}: nothing changed since {result.version}, no release")
            return
        yield dg.MaterializeResult(asset_key=key, metadata=found, data_version=dg.DataVersion(result.version))

    return training_set


def release_set(platform: Platform, spec: TrainingSet) -> ReleaseResult:
    """Build the set from the live rows of its model or feed. Raises Blocked where a gate refuses.

    Where another process released the set meanwhile, it is compared with that release, once more.
    """
    try:
        return _release_live(platform, spec)
    except StoreConflict:
        return _release_live(platform, spec)


def _release_live(platform: Platform, spec: TrainingSet) -> ReleaseResult:
    store = platform.store
    if spec.model is not None:
        landed = live_model(store, spec.model)
        if landed is None:
            raise MadangError(
                f"the dbt model {spec.model} has not landed yet",
                where=f"training set {spec.name}",
                mend=f"madang set build {spec.name}",
            )
        rows = [store.local_path(key, platform.cache) for key in landed.files]
        origins = {feed: source["origin"] for feed, source in landed.sources.items()}
        fetch_ids = {source["fetch_id"] for source in landed.sources.values()}
    else:
        index = read_index(store, str(spec.feed))
        if index is None:
            raise MadangError("its table does not exist yet", where=str(spec.feed), mend=f"madang feed run {spec.feed}")
        rows = live_paths(store, index, platform.cache)
        origins, fetch_ids = {str(spec.feed): index.origin}, {index.fetch_id}
    fetches = [record for record in map(platform.ledger.fetch, sorted(fetch_ids)) if record is not None]
    with platform.workdir("set") as workdir:
        if spec.feed is not None and spec.feed in platform.feeds:
            rows = contract_files(platform.feeds[spec.feed], rows, workdir / "table")
        return build_set(
            spec,
            rows,
            feeds=platform.feeds,
            origins=origins,
            fetches=fetches,
            store=store,
            workdir=workdir,
            now=platform.now(),
            public_url=platform.public_url,
            allow_synthetic=platform.allow_synthetic,
        )


def gate_of(check: str) -> str:
    """The gate that a check belongs to."""
    return next((gate for gate, names in GATES.items() if check in names), "expectations")


def _check_results(key: dg.AssetKey, result: ReleaseResult) -> Iterator[dg.AssetCheckResult]:
    for gate in GATES:
        checks = [check for check in result.checks if gate_of(check.name) == gate]
        table = [{"": "✓" if c.passed else "✗", "check": c.name, "observed": c.observed, "expected": c.expected} for c in checks]
        metadata: dict[str, Any] = {"checks": dg.MetadataValue.md(preview_markdown(table))} if table else {}
        if not result.changed:
            metadata["note"] = f"nothing changed: the gates of {result.version} stand"
        failed = [check for check in checks if check.blocking and not check.passed]
        yield dg.AssetCheckResult(asset_key=key, check_name=gate, passed=not failed, metadata=metadata)


def metadata_of(platform: Platform, spec: TrainingSet, result: ReleaseResult) -> dict[str, Any]:
    """What a person wants to know of a release."""
    where = f"{platform.reports_url}/sets/{spec.name}/v{result.version}"
    return {
        "version": result.version,
        "card": dg.MetadataValue.url(f"{where}/README.md"),
        "release": dg.MetadataValue.url(f"{where}/"),
        "changes": result.changes or "none",
        "dagster/row_count": sum(result.rows.values()),
        **{f"rows in {split}": rows for split, rows in result.rows.items()},
        "left out": ", ".join(f"{reason}: {count}" for reason, count in result.left_out.items()) or "none",
        "path": result.path,
    }
