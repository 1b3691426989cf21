"""Build a release locally, put it through the gates, and publish it: the one function that the platform calls per set.

Every decision is made elsewhere (`split.py`, `versions.py`, `prove.py`); here they are called in order, and files written.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform as python_platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq

from assets.commit import reached
from assets.errors import Blocked, IntegrityError, MadangError
from assets.feeds.model import Feed
from assets.store import Store, file_sha256
from assets.training_sets import loaders, prove, publish
from assets.training_sets.assemble import Assembled, Previous, assemble
from assets.training_sets.describe import card, croissant, manifest, profile, rights, schema
from assets.training_sets.describe.facts import Facts
from assets.training_sets.model import TrainingSet
from assets.training_sets.prepare import prepare
from assets.training_sets.read import Source, read_manifest, sums
from assets.training_sets.shards import CONFIG
from assets.training_sets.split import counts, split_records
from assets.training_sets.versions import next_version, parts
from quality.verdict import CheckResult

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord

LAYOUT = "1"
"""Raised when what a release contains besides its data changes: then every set gets a PATCH."""
ORIGINS = ("synthetic", "replay", "agency")
TOOLS = ("pyarrow", "polars", "duckdb", "datasets", "mlcroissant", "dbt-core", "great-expectations", "dagster")


class Held(MadangError):
    """Somebody holds the set: nothing is released until the hold is lifted."""


class SyntheticRefused(MadangError):
    """Synthetic rows were about to be published where they could be taken for an agency's."""


@dataclass(frozen=True)
class ReleaseResult:
    """What became of a build. `changed`: a new version was published; else `version` is the one in force.

    `path`: the release's URL in the store. `checks`: every gate's result (empty where nothing changed).
    """

    version: str
    changed: bool
    rows: dict[str, int]
    path: str
    checks: tuple[CheckResult, ...]
    left_out: dict[str, int]
    changes: str = ""


def tool_versions() -> dict[str, str]:
    """Versions of what made the release, as far as it is installed."""
    found = {"python": python_platform.python_version()}
    for name in TOOLS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def weakest(origins: Mapping[str, str]) -> str:
    """The origin of a whole made of parts: synthetic before replay before agency. Raises ValueError on another word."""
    return ORIGINS[min((ORIGINS.index(o) for o in origins.values()), default=ORIGINS.index("agency"))]


def build_set(
    spec: TrainingSet,
    rows: Sequence[Path],
    *,
    feeds: Mapping[str, Feed],
    origins: Mapping[str, str],
    fetches: Sequence[FetchRecord],
    store: Store,
    workdir: Path,
    now: datetime,
    public_url: str | None = None,
    versions: Mapping[str, str] | None = None,
    allow_synthetic: bool = False,
    compact: bool = False,
    loader_names: Sequence[str] = loaders.LOADERS,
) -> ReleaseResult:
    """Build, prove and publish a release of `spec` from Parquet `rows`, or say that nothing changed.

    `origins`: feed id → agency, replay or synthetic, for every feed of the set. `compact`: write all shards anew (a PATCH).
    Raises Blocked (gates; the last release stays), Held, SyntheticRefused, DeclarationError, StoreConflict.
    """
    unknown = [f for f in spec.feeds if f not in feeds or f not in origins]
    if unknown:
        raise MadangError(
            f"feed {unknown[0]} is not known", where=f"training set {spec.name}", mend="declare it, and pull it first"
        )
    origin = weakest({f: origins[f] for f in spec.feeds})
    if origin == "synthetic" and not store.is_local and not allow_synthetic:
        raise SyntheticRefused(
            "its rows are synthetic, and the store is not local",
            where=f"training set {spec.name}",
            mend="pull real rows, or say --allow-synthetic",
        )
    for name in loader_names:
        if name in loaders.IN_WORKER and loaders.installed(name):
            loaders.worker(name)  # it imports while this process splits and writes
    publish.adopt(store, spec.name, now)
    index = publish.load_index(store, spec.name)
    if index["hold"] is not None:
        raise Held(f"is held: {index['hold']['reason']}", where=f"training set {spec.name}", mend="lift the hold first")
    folder = workdir / spec.name
    shutil.rmtree(folder, ignore_errors=True)
    previous = _previous(store, index, spec, folder)
    records = prepare(spec, rows)
    before = None if previous is None else previous.frame().select("_record_id", "_component_id", "_split")
    assigned = split_records(spec, records.frame, before)
    frame = records.frame.drop("_component_id").join(assigned.kept, on="_record_id").sort("_record_id")
    left_out = pl.concat([assigned.left_out, records.left_out])
    root = folder / "release"
    reuse = not compact and (previous is None or previous.manifest["origin"] == origin)
    built = assemble(spec, frame, previous, root, reuse=reuse)
    used = {f: feeds[f] for f in spec.feeds}
    own = [f for f in fetches if f.feed in used]
    legal = rights.rights_json(spec, used, own, origin == "synthetic")
    packaging = _packaging(spec, legal, origin, public_url)
    repackaged = previous is not None and (
        previous.manifest.get("packaging_sha256") != packaging or _data_digests(previous) != sorted(s.sha256 for s in built.shards)
    )
    difference = replace(built.difference, packaging=repackaged)
    version = next_version(difference.level, tuple(e["version"] for e in index["versions"]))
    if version is None:
        assert previous is not None
        known = previous.manifest["totals"]["rows_per_split"]
        return ReleaseResult(
            previous.version, False, known, _address(store, spec, previous.version), (), counts(left_out["reason"])
        )
    facts = Facts(
        spec=spec,
        version=version,
        previous_version=None if previous is None else previous.version,
        created_at=now.astimezone(UTC),
        as_of=max((f.finished_at for f in own), default=None),
        origin=origin,
        frame=built.frame,
        schema=built.schema,
        shards=built.shards,
        difference=difference,
        left_out=counts(left_out["reason"]),
        feeds=used,
        fetches=tuple(own),
        rights=legal,
        public_url=public_url,
        tool_versions=dict(versions or tool_versions()),
        read=records.read,
        changelog=tuple(reversed(index["versions"])),
    )
    checks = _gates(facts, built, rows, root, store)
    _describe(facts, root, left_out)
    report, equal = prove.loader_report(facts, root, loader_names)
    publish.write_local(root / "reports" / "loaders.json", report)
    described = prove.croissant_check(json.loads((root / "croissant.json").read_text("utf-8")))
    checks = [*checks, equal, described]
    _refuse(facts, store, checks)
    _seal(facts, root, packaging)
    reached("release.built")
    publish.publish(store, spec.name, root, now)
    words = difference.in_words() if previous is not None else "first release"
    return ReleaseResult(version, True, facts.rows, _address(store, spec, version), tuple(checks), dict(facts.left_out), words)


def _address(store: Store, spec: TrainingSet, version: str) -> str:
    return f"{store.url}/{publish.prefix(spec.name, version)}"


def _previous(store: Store, index: Mapping[str, Any], spec: TrainingSet, folder: Path) -> Previous | None:
    """The release to compare with: the one in force, else the highest there ever was (its splits still bind)."""
    if not index["versions"]:
        return None
    version = index["latest"] or max((e["version"] for e in index["versions"]), key=parts)
    entry = next(e for e in index["versions"] if e["version"] == version)
    found, _ = read_manifest(Source(store), spec.name, entry)
    base = publish.prefix(spec.name, version)
    files = {}
    for item in found["files"]:
        if item["role"] == "data":
            path = store.local_path(f"{base}/{item['path']}", folder / "previous")
            if file_sha256(path) != item["sha256"]:
                raise IntegrityError(
                    "differs from its manifest", where=f"{base}/{item['path']}", mend="restore it, or yank the version"
                )
            files[item["path"]] = path
    columns = {
        c["name"]: {"arrow_type": c["arrow_type"], "classes": c["classes"]}
        for c in store.get_json(f"{base}/schema/{CONFIG}.json")["columns"]
        if not c["name"].startswith("_")
    }
    return Previous(version, found, columns, files)


def _data_digests(previous: Previous) -> list[str]:
    return sorted(f["sha256"] for f in previous.manifest["files"] if f["role"] == "data")


def _packaging(spec: TrainingSet, legal: Mapping[str, Any], origin: str, public_url: str | None) -> str:
    """Digest of all that a release says besides its rows and dates."""
    stable = {k: v for k, v in legal.items() if k != "inputs"}
    stable["inputs"] = [{k: i[k] for k in ("source_id", "license", "url", "holder")} for i in legal["inputs"]]
    said = {"layout": LAYOUT, "spec": spec.as_declared(), "rights": stable, "origin": origin, "public_url": public_url}
    return hashlib.sha256(json.dumps(said, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _gates(facts: Facts, built: Assembled, rows: Sequence[Path], root: Path, store: Store) -> list[CheckResult]:
    """All gates but the loaders', their reports written; the run stops here if one fails."""
    layout = [*prove.layout_checks(built), *prove.size_checks(facts.spec, built)]
    leakage, scores = prove.leakage_checks(facts.spec, built)
    quality = prove.expectation_checks(facts.spec, rows, root.parent)
    legal = prove.rights_check(facts.rights)
    reports = root / "reports"
    leak = {
        **facts.head(prove.status(leakage)),
        "checks": prove.as_checks(leakage),
        "single_feature": [s.as_json() for s in scores],
    }
    publish.write_local(reports / "leakage.json", leak)
    overlaps = [c for c in leakage if c.name != "single_feature_leakage"]
    publish.write_local(
        reports / "splits.json", prove.splits_report(facts, [*overlaps, *[c for c in layout if c.name == "moved_since_previous"]])
    )
    own = [*quality, *layout, legal]
    publish.write_local(reports / "quality.json", {**facts.head(prove.status(own)), "checks": prove.as_checks(own)})
    _refuse(facts, store, [*own, *leakage])
    return [*own, *leakage]


def _refuse(facts: Facts, store: Store, checks: Sequence[CheckResult]) -> None:
    """Stop on a failed gate, leaving the verdict (never data) under reports/."""
    try:
        prove.refuse(facts.spec, checks)
    except Blocked:
        verdict = {**facts.head("fail"), "checks": prove.as_checks(checks)}
        store.put_json(f"reports/sets/{facts.name}/{facts.created_at:%Y%m%dT%H%M%SZ}/gates.json", verdict)
        raise


def _describe(facts: Facts, root: Path, left_out: pl.DataFrame) -> None:
    """Everything of the release but its data, the loaders' report and the manifest."""
    write = publish.write_local
    write(root / "schema" / f"{CONFIG}.json", schema.schema_json(facts))
    write(root / "reports" / "profile.json", profile.profile(facts))
    write(root / "croissant.json", croissant.croissant(facts, local=False))
    if facts.url:
        write(root / "croissant.local.json", croissant.croissant(facts, local=True))
    write(root / "legal" / "rights.json", dict(facts.rights))
    (root / "legal" / "ATTRIBUTION.md").write_text(rights.attribution_md(facts), "utf-8")
    (root / "legal" / "LICENSE").write_text(rights.licence_note(facts), "utf-8")
    provenance = root / "provenance"
    provenance.mkdir(exist_ok=True)
    pq.write_table(rights.sources_table(facts), provenance / "sources.parquet", compression="zstd")
    pq.write_table(left_out.sort("_record_id", "reason").to_arrow(), provenance / "left_out.parquet", compression="zstd")
    evidence = {n: json.loads((root / "reports" / f"{n}.json").read_text("utf-8"))["checks"] for n in ("leakage", "quality")}
    (root / "README.md").write_text(card.readme(facts, evidence), "utf-8")
    (root / "CITATION.cff").write_text(card.citation_cff(facts), "utf-8")
    (root / "load").mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).parent / "describe" / "load.py", root / "load" / "load.py")
    (root / "CHANGELOG.md").write_text(card.changelog(facts), "utf-8")


def _seal(facts: Facts, root: Path, packaging: str) -> None:
    """The manifest and SHA256SUMS over all that lies in the folder."""
    document = manifest.manifest(facts, root, packaging)
    words = facts.difference.in_words() if facts.previous_version else "first release"
    document |= {"title": facts.spec.title, "publisher": facts.spec.publisher, "changes_in_words": words}
    publish.write_local(root / "manifest.json", document)
    (root / "SHA256SUMS").write_bytes(sums(document))
