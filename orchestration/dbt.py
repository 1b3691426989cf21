"""dbt inside Dagster: the project's models as assets over the feeds' tables, its tests as asset checks.

Only dbt opens the warehouse, one process at a time (pool `warehouse`). A training model is published, and its
materialization recorded, only after dbt has ended well: what a test refused is neither.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, DbtProject, dbt_assets
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from assets.errors import Blocked, MadangError
from assets.feeds.model import Feed
from assets.models import publish_model
from assets.platform import Platform
from assets.tables.assets import when_tables_change
from assets.tables.dbt_sources import DBT_PROJECT, empty_table, prepare_landing, tables_vars
from assets.tables.index import live_paths, read_index
from orchestration.failures import guard

TRAINING = "training"
POOL = "warehouse"


class Translator(DagsterDbtTranslator):
    """dbt's names in Dagster: sources are the feeds' table assets, models are `model/<name>`, seeds `seed/<name>`."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        super().__init__(settings=DagsterDbtTranslatorSettings(enable_asset_checks=True, enable_code_references=False))
        self._condition = when_tables_change(feeds.values())
        self._tables = {feed.relation: feed.segments for feed in feeds.values()}

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        kind, name = dbt_resource_props["resource_type"], dbt_resource_props["name"]
        if kind == "source":
            return dg.AssetKey(["table", *self._tables.get(name, [name])])
        return dg.AssetKey([kind, name])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        folder = dbt_resource_props["fqn"][1] if dbt_resource_props["resource_type"] == "model" else "seeds"
        return f"dbt_{folder}"

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition[Any]:
        return self._condition


def manifest_path() -> Path:
    """dbt's manifest, parsed anew when a file of the project is newer. Needs no network and no database."""
    manifest = DBT_PROJECT / "target" / "manifest.json"
    sources = [
        path for folder in ("models", "seeds", "macros", "tests") for path in (DBT_PROJECT / folder).rglob("*") if path.is_file()
    ]
    newest = max(path.stat().st_mtime for path in [*sources, DBT_PROJECT / "dbt_project.yml"])
    if not manifest.exists() or manifest.stat().st_mtime < newest:
        _parse()
    return manifest


def _parse() -> None:

    command = [
        sys.executable,
        "-m",
        "dbt.cli.main",
        "--quiet",
        "parse",
        "--project-dir",
        str(DBT_PROJECT),
        "--profiles-dir",
        str(DBT_PROJECT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dbt_environment())
    if done.returncode:
        raise MadangError("dbt cannot parse the project", where=str(DBT_PROJECT), mend=(done.stdout + done.stderr)[-1500:])


def dbt_environment(warehouse: str | None = None) -> dict[str, str]:
    """The environment of every dbt process: it reports to nobody, and knows the warehouse."""
    env = {**os.environ, "DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    if warehouse is not None:
        env["MADANG_WAREHOUSE"] = warehouse
    return env


def training_models(manifest: Path) -> dict[str, frozenset[str]]:
    """Training model → relations of the sources that it draws on, directly or through other models."""
    nodes = json.loads(manifest.read_text(encoding="utf-8"))
    parents: Mapping[str, Sequence[str]] = nodes["parent_map"]

    def sources(node: str) -> frozenset[str]:
        if node.startswith("source."):
            return frozenset({node.rpartition(".")[2]})
        return frozenset().union(*(sources(parent) for parent in parents.get(node, ())))

    return {
        node["name"]: sources(key)
        for key, node in nodes["nodes"].items()
        if node["resource_type"] == "model" and node["fqn"][1] == TRAINING
    }


def build_dbt_assets(feeds: Mapping[str, Feed]) -> dg.AssetsDefinition:
    """The one multi-asset that builds and tests the dbt project."""
    manifest = manifest_path()
    training = training_models(manifest)
    by_relation = {feed.relation: feed for feed in feeds.values()}

    @dbt_assets(
        manifest=manifest,
        name="dbt_build",
        dagster_dbt_translator=Translator(feeds),
        required_resource_keys={"platform", "dbt"},
        pool=POOL,
    )
    def dbt_build(context: dg.AssetExecutionContext) -> Iterator[Any]:
        platform: Platform = context.resources.platform
        selected = {key.path[-1] for key in context.selected_asset_keys if key.path[0] == "model"} & set(training)
        with platform.workdir("dbt") as workdir, guard():
            used = sorted(frozenset().union(*training.values()) & set(by_relation))
            live, sources = live_tables(platform, [by_relation[relation] for relation in used], workdir)
            landing = prepare_landing(workdir / "models", training)
            variables = tables_vars(live, feeds=feeds.values(), models_dir=str(workdir / "models"), links=workdir / "links")
            Path(platform.warehouse).parent.mkdir(parents=True, exist_ok=True)
            os.environ.update({k: v for k, v in dbt_environment(platform.warehouse).items() if os.environ.get(k) != v})
            run = context.resources.dbt.cli(
                ["build", "--vars", json.dumps(variables)], context=context, target_path=workdir / "target"
            )
            held, failed = [], ""
            try:
                for event in run.stream():
                    # A training model's success counts only once its tests have passed and its rows have landed.
                    if _asset_name(event) in training:
                        held.append(event)
                    else:
                        yield event
            except DagsterDbtCliRuntimeError as error:
                failed = str(error)
            refused = refused_models(workdir / "target", manifest) if failed else {}
            if failed and not refused:
                raise MadangError("dbt failed before it built anything", where="dbt_project", mend=failed[-1500:])
            landed = {}
            for model in sorted(selected - set(refused)):
                own = {by_relation[r].id: sources[r] for r in training[model] if r in sources}
                landed[model] = publish_model(
                    platform.store, model, landing[model].parent, run_id=context.run_id, sources=own, now=platform.now()
                )
            for event in held:
                name = _asset_name(event)
                if name in landed:
                    extra = {"dagster/row_count": landed[name].rows, "landed": ", ".join(landed[name].files)}
                    yield _with_metadata(event, extra)
            if refused:
                reasons = tuple(dict.fromkeys(reason for said in refused.values() for reason in said))
                raise Blocked(
                    f"dbt refused {', '.join(sorted(refused))}",
                    checks=reasons,
                    where="dbt_project",
                    mend=f"look at {', '.join(reasons[:5])}; the models that landed before stay",
                )

    return dbt_build


def refused_models(target: Path, manifest: Path) -> dict[str, list[str]]:
    """Model → names of the nodes that failed it: itself, its tests, or what it stands on (dbt then skips it)."""
    results = target / "run_results.json"
    if not results.exists():
        return {}
    nodes = json.loads(manifest.read_text(encoding="utf-8"))["nodes"]
    refused: dict[str, list[str]] = {}
    for result in json.loads(results.read_text(encoding="utf-8"))["results"]:
        node = nodes.get(result["unique_id"])
        if node is None or result["status"] not in ("error", "fail", "skipped"):
            continue
        about = [result["unique_id"]] if node["resource_type"] != "test" else node["depends_on"]["nodes"]
        for model in (nodes[id_] for id_ in about if id_ in nodes and nodes[id_]["resource_type"] == "model"):
            refused.setdefault(model["name"], []).append(node["name"])
    return refused


def live_tables(platform: Platform, feeds: Sequence[Feed], workdir: Path) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    """Relation → local paths of exactly the live files; relation → {fetch_id, origin} of what they hold."""
    live: dict[str, list[str]] = {}
    sources: dict[str, dict[str, str]] = {}
    for feed in feeds:
        index = read_index(platform.store, feed.id)
        if index is not None:
            sources[feed.relation] = {"fetch_id": index.fetch_id, "origin": index.origin}
        if index is None or not index.rows:
            live[feed.relation] = [str(empty_table(feed, workdir / "empty" / f"{feed.relation}.parquet"))]
        else:
            live[feed.relation] = [str(path) for path in live_paths(platform.store, index, platform.cache)]
    return live, sources


def _asset_name(event: Any) -> str | None:
    """The model that a materialization is about; None for everything else."""
    if isinstance(event, dg.MaterializeResult | dg.AssetMaterialization) and event.asset_key is not None:
        return dg.AssetKey.from_coercible(event.asset_key).path[-1]
    if isinstance(event, dg.Output):
        return str(event.output_name).removeprefix("model__")
    return None


def _with_metadata(event: Any, extra: Mapping[str, Any]) -> Any:
    if isinstance(event, dg.Output):
        return event.with_metadata({**event.metadata, **extra})
    return event._replace(metadata={**(event.metadata or {}), **extra})


def dbt_resource() -> DbtCliResource:
    return DbtCliResource(
        project_dir=DbtProject(DBT_PROJECT, profiles_dir=DBT_PROJECT), dbt_executable=str(Path(sys.executable).with_name("dbt"))
    )
