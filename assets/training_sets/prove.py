"""The gates of a release: what must hold of the built folder before `_COMMITTED` may be written, and the evidence of it.

The measures are `quality/leakage.py` and `quality/rights.py`; loading is `loaders.py`. Here they are put to a release.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from assets.errors import Blocked
from assets.training_sets.assemble import Assembled
from assets.training_sets.describe.croissant import REQUIRED
from assets.training_sets.describe.facts import Facts
from assets.training_sets.loaders import (
    IN_PROCESS,
    LOADERS,
    Loaded,
    LoaderFailed,
    installed,
    load_with,
    sample,
    worker,
)
from assets.training_sets.model import SplitByTime, TrainingSet
from assets.training_sets.shards import ROW_GROUP_BYTES, ROW_GROUP_ROWS, schema_sha256, to_arrow
from assets.training_sets.split import SPLITS, duration
from assets.training_sets.values import checksum
from quality.leakage import FeatureScore, gate, overlap_gate, overlaps, single_feature_scores, time_order_gate
from quality.verdict import CheckResult


def check(name: str, passed: bool, observed: Any, expected: Any, note: str = "") -> CheckResult:
    """A blocking check."""
    return CheckResult(name=name, passed=passed, blocking=True, observed=observed, expected=expected, note=note)


def layout_checks(built: Assembled) -> list[CheckResult]:
    """One schema in all shards; row groups that viewers can read; all rows written."""
    wanted = schema_sha256(built.schema)
    other = [s.path for s in built.shards if s.schema_sha256 != wanted]
    large = [s.path for s in built.shards if s.max_row_group_bytes > ROW_GROUP_BYTES or s.rows > ROW_GROUP_ROWS * s.row_groups]
    written = sum(s.rows for s in built.shards)
    return [
        check("schema_equal", not other, other, [], "shards with another schema"),
        check("row_group_cap", not large, large, [], f"row groups above {ROW_GROUP_ROWS:,} rows or 100 MiB"),
        check("rows_written", written == built.frame.height, written, built.frame.height),
    ]


def size_checks(spec: TrainingSet, built: Assembled) -> list[CheckResult]:
    """Enough records, every split filled, and no more withdrawn than declared."""
    rows = built.frame.height
    filled = sorted(set(built.frame["_split"].unique().to_list()))
    checks = [
        check("min_rows", rows >= spec.min_rows, rows, spec.min_rows),
        check("splits_filled", filled == sorted(SPLITS), filled, sorted(SPLITS)),
    ]
    change = built.difference
    before = change.unchanged + change.edited + change.moved + change.withdrawn
    share = change.withdrawn / before if before else 0.0
    checks.append(
        check("shrink", share <= spec.max_shrink, round(share, 6), spec.max_shrink, f"{change.withdrawn} records withdrawn")
    )
    checks.append(check("moved_since_previous", change.moved == 0, change.moved, 0))
    return checks


def leakage_checks(spec: TrainingSet, built: Assembled) -> tuple[list[CheckResult], list[FeatureScore]]:
    """No two splits share content or a group, time is in order, and no single feature tells the label."""
    parts = {s: built.frame.filter(pl.col("_split") == s) for s in SPLITS}
    checks = [overlap_gate(overlaps({s: p["_content"].to_list() for s, p in parts.items()}, "exact"), "overlap_exact")]
    checks.append(overlap_gate(overlaps({s: p["_record_id"].to_list() for s, p in parts.items()}, "record"), "overlap_record"))
    if isinstance(spec.split, SplitByTime):
        spans = {s: (p["_time"].min(), p["_time"].max()) for s, p in parts.items() if p.height}
        checks.append(time_order_gate(spans, SPLITS, duration(spec.split.embargo)))
    else:
        checks.append(overlap_gate(overlaps({s: p["_component_id"].to_list() for s, p in parts.items()}, "group"), "overlap_group"))
    features = [f.name for f in spec.features if f.role != "id"]
    try:
        scores = single_feature_scores(to_arrow(built.frame, built.schema), spec.label.column, spec.label.kind, features)
    except ValueError as error:
        return [*checks, check("label_varies", False, None, None, str(error))], []
    return [*checks, gate(scores, spec.leakage.max_single_feature, spec.leakage.accepted)], scores


def rights_check(rights: Mapping[str, Any]) -> CheckResult:
    """No conflict between the licences of the sources."""
    conflicts = rights["conflicts"]
    return check("rights_conflicts", not conflicts, len(conflicts), 0, "; ".join(c["reason"] for c in conflicts))


def expectation_checks(spec: TrainingSet, rows: Sequence[Path], scratch: Path) -> list[CheckResult]:
    """The set's own expectations over the rows that came in, by Great Expectations, which spills below `scratch`."""
    if not spec.expectations:
        return []
    from quality.validate import validate

    cleared = [f.name for f in spec.features if f.cleared]
    verdict = validate(spec.expectations, list(rows), rows_wanted=False, cleared=cleared, scratch=scratch, label=spec.name)
    return list(verdict.checks)


def croissant_check(document: Mapping[str, Any]) -> CheckResult:
    """All fields that the specification requires are there (mlcroissant does not ask for all of them)."""
    absent = [f for f in REQUIRED if not document.get(f)]
    return check("croissant_required", not absent, absent, [])


def loader_report(facts: Facts, release: Path, names: Sequence[str] = LOADERS) -> tuple[dict[str, Any], CheckResult]:
    """reports/loaders.json, and the gate: every loader that ran gave the same rows and values in every split.

    A loader that is not installed did not run and says so; it never passes.
    """
    expected = {s: facts.split(s).select(facts.schema.names) for s in facts.rows}
    entries: list[dict[str, Any]] = []
    failed: list[str] = []
    chosen = [n for n in LOADERS if n in names and installed(n) is not None]
    with ThreadPoolExecutor(2) as pool:  # mlcroissant beside all others, one after the other
        apart = {n: pool.submit(_try, n, release, expected) for n in chosen if n == "mlcroissant"}
        results = {n: _try(n, release, expected) for n in chosen if n not in apart}
        results |= {n: future.result() for n, future in apart.items()}
    for name in LOADERS:
        if name not in results:
            entries.append({"name": name, "status": "not run", "reason": "not asked for" if installed(name) else "not installed"})
            continue
        entries.append({"name": name, "version": installed(name), **results[name]})
        failed += [f"{name}: {w}" for w in results[name].get("problems", ())]
    result = check("loaders_equal", not failed, chosen, list(names), "; ".join(failed))
    report = {**facts.head("fail" if failed else "pass"), "rows": facts.rows, "loaders": entries, "checks": as_checks([result])}
    return report, result


def _try(name: str, release: Path, expected: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """One loader's entry in the report."""
    started = time.perf_counter()
    try:
        loaded = load_with(name, release) if name in IN_PROCESS else worker(name).load(name, release)
        wrong = _differences(expected, loaded)
    except LoaderFailed as error:
        loaded, wrong = {}, [str(error)]
    entry = {
        "status": "fail" if wrong else "pass",
        "rows_per_split": {s: v.rows for s, v in loaded.items()},
        "checksum_of_values": {s: v.checksum for s, v in loaded.items()},
        "coverage": "a seeded tenth of the rows" if any(v.sampled for v in loaded.values()) else "all rows",
        "seconds": round(time.perf_counter() - started, 2),
    }
    return {**entry, "problems": wrong} if wrong else entry


def _differences(expected: Mapping[str, pl.DataFrame], loaded: Mapping[str, Loaded]) -> list[str]:
    wrong = [f"split {s} is missing" for s in expected if s not in loaded] + [
        f"split {s} is surplus" for s in loaded if s not in expected
    ]
    for split, frame in expected.items():
        if split not in loaded:
            continue
        got = loaded[split]
        reference = sample(frame) if got.sampled else frame
        if got.rows != frame.height:
            wrong.append(f"{split} has {got.rows} rows instead of {frame.height}")
        elif got.checksum != checksum(reference, reference.columns):
            wrong.append(f"{split} has other values")
    return wrong


def as_checks(checks: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """Checks as reports list them: id, status, value, threshold, evidence."""
    return [
        {
            "id": c.name,
            "status": "pass" if c.passed else "fail" if c.blocking or c.severity == "critical" else "warn",
            "value": c.observed,
            "threshold": c.expected,
            "evidence": c.note,
        }
        for c in checks
    ]


def status(checks: Sequence[CheckResult]) -> str:
    """The status of a report: its worst check's."""
    found = {c["status"] for c in as_checks(checks)}
    return next((s for s in ("fail", "warn") if s in found), "pass")


def refuse(spec: TrainingSet, checks: Sequence[CheckResult]) -> None:
    """Raise Blocked if a blocking check failed, naming each and the first one's reason."""
    failed = [c for c in checks if c.blocking and not c.passed]
    if failed:
        reason = failed[0].note or f"observed {failed[0].observed}, expected {failed[0].expected}"
        more = f" (and {len(failed) - 1} more gates)" if len(failed) > 1 else ""
        raise Blocked(
            f"{failed[0].name}: {reason}{more}",
            checks=tuple(c.name for c in failed),
            where=f"training set {spec.name}",
            mend="the last release stays in force; mend the rows or the declaration and build again",
        )


def splits_report(facts: Facts, checks: Sequence[CheckResult]) -> dict[str, Any]:
    """reports/splits.json."""
    rule, frame, label = facts.spec.split, facts.frame, facts.spec.label
    per_split: dict[str, Any] = {}
    for split, rows in facts.rows.items():
        part = facts.split(split)
        entry: dict[str, Any] = {"rows": rows, "components": part["_component_id"].n_unique()}
        if label.classes is not None:
            entry["labels"] = {
                label.classes[int(k)]: int(n) for k, n in part[label.column].value_counts(name="_n").sort(label.column).iter_rows()
            }
            entry["js_distance"] = _js(part[label.column], frame[label.column])
        per_split[split] = entry
    return {
        **facts.head(status(checks)),
        "method": rule.kind,
        "group": list(facts.spec.group),
        "declared": rule.model_dump(mode="json"),
        "splits": per_split,
        "left_out": dict(facts.left_out),
        "adversarial_auc": "not assessed",
        "near_duplicates": "not assessed",
        "checks": as_checks(checks),
    }


def _js(part: pl.Series, whole: pl.Series) -> float:
    """Jensen-Shannon distance (base 2) between the label's distribution in a split and in the whole."""

    def shares(values: pl.Series) -> dict[Any, float]:
        return {k: n / len(values) for k, n in values.value_counts(name="_n").iter_rows()}

    p, q = shares(part), shares(whole)
    middle = {k: (p.get(k, 0.0) + q.get(k, 0.0)) / 2 for k in {*p, *q}}

    def kl(a: dict[Any, float]) -> float:
        return sum(v * math.log2(v / middle[k]) for k, v in a.items() if v)

    return round(math.sqrt(max(0.0, (kl(p) + kl(q)) / 2)), 6)
