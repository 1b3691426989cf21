"""Building training sets from our own commands: dbt's models and the set assets, in one Dagster run in this process."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from assets import models
from assets.errors import MadangError, did_you_mean
from assets.store import Store
from assets.tables.index import read_index
from orchestration.running import RunResult, instance, run_job
from orchestration.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from assets.training_sets.model import TrainingSet

SETS_JOB = "build_sets"


def build_sets(settings: Settings, names: Sequence[str], definitions: dg.Definitions | None = None) -> list[dict[str, Any]]:
    """Build dbt's models and then these sets; what each one's latest release is now, in the order of `names`.

    Raises MadangError with the first failure's own sentence.
    """
    from assets.training_sets.load import load_sets
    from orchestration.assembly import build_definitions

    declared = load_sets(settings.set_folders).sets
    unknown = [name for name in names if name not in declared]
    if unknown:
        raise MadangError(
            f"there is no set {', '.join(unknown)}", mend=did_you_mean(unknown[0], declared, "madang set list shows all")
        )
    definitions = definitions or build_definitions(settings)
    with instance(settings) as opened:
        result = run_job(definitions, SETS_JOB, opened, selection=selection_of([declared[name] for name in names], definitions))
    if not result.success:
        raise MadangError(result.error)
    return [latest_release(Store(settings.store_url), name, result) for name in names]


def selection_of(sets: Sequence[TrainingSet], definitions: dg.Definitions) -> list[dg.AssetKey]:
    """The set assets, and every dbt asset where any of them stands on a dbt model."""
    import dagster as dg

    keys = [dg.AssetKey(["set", spec.name]) for spec in sets]
    if any(spec.model is not None for spec in sets):
        graph = definitions.resolve_asset_graph()
        keys += [key for key in graph.materializable_asset_keys if key.path[0] in ("model", "seed")]
    return keys


def latest_release(store: Store, name: str, result: RunResult | None = None) -> dict[str, Any]:
    """A set's line in a report: name, version, rows per split, path; version None where nothing was released yet."""
    index = store.read_pointer(f"sets/{name}/index.json").value or {}
    version = index.get("latest")
    entry: dict[str, Any] = next((v for v in index.get("versions", []) if v["version"] == version), {})
    path = f"{store.url}/sets/{name}/v{version}" if version else None
    if path is not None and store.root is not None:
        path = str(store.root / "sets" / name / f"v{version}")
    return {"name": name, "version": version, "rows": entry.get("rows_per_split", {}), "path": path}


def is_up_to_date(store: Store, spec: TrainingSet) -> bool:
    """Whether the set's model stands on the live tables and its release is not older than what it is made of.

    A run that was killed between the tables and the release left this false, whatever changed since.
    """
    index = store.read_pointer(f"sets/{spec.name}/index.json").value or {}
    entry = next((v for v in index.get("versions", []) if v["version"] == index.get("latest")), None)
    if entry is None:
        return False
    tables = {feed: table for feed in spec.feeds if (table := read_index(store, feed)) is not None and table.rows}
    made_of = [table.updated_at for table in tables.values()]
    if spec.model is not None:
        landed = store.read_pointer(models.index_key(spec.model)).value
        if landed is None or any(landed["sources"].get(f, {}).get("fetch_id") != t.fetch_id for f, t in tables.items()):
            return False
        made_of.append(datetime.fromisoformat(landed["updated_at"]))
    # Released in whole seconds.
    released = datetime.fromisoformat(entry["released_at"].replace("Z", "+00:00"))
    return all(moment.replace(microsecond=0) <= released for moment in made_of)
