"""A feed's expectations at the two moments of the one judgement, and their Data Docs in the store.

Row-level expectations look at all staged rows; aggregates, and shares of rows (`mostly`), at the accepted ones. What an
expectation is belongs to `quality/`; what a verdict does to rows and tables to `judging.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from assets.tables.judging import Stage
from quality.contract import ExpectationSpec
from quality.suite import derived, is_row_level, names, sends_to_quarantine, suite_of
from quality.verdict import ExpectationVerdict

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord
    from assets.feeds.model import Feed
    from assets.store import Store


def stage_of(spec: ExpectationSpec) -> Stage:
    """Which rows an expectation judges."""
    return "staged" if is_row_level(spec) and (sends_to_quarantine(spec) or spec.severity != "critical") else "accepted"


def judge_expectations(feed: Feed, parquet: Path, stage: Stage) -> ExpectationVerdict:
    """The verdict of one stage, its checks named as in the whole suite.

    The rows that break a derived expectation already carry their reason from staging, so only the written ones are asked to
    name theirs.
    """
    suite = suite_of(feed.contract, feed.expectations)
    called = dict(zip(range(len(suite)), names(suite), strict=True))
    own = len(derived(feed.contract))
    verdicts = []
    for indexes, rows_wanted in ((range(own), False), (range(own, len(suite)), stage == "staged")):
        chosen = [i for i in indexes if stage_of(suite[i]) == stage]
        if chosen:
            verdict = _renamed(
                _validated(feed, parquet, [suite[i] for i in chosen], stage, rows_wanted), [called[i] for i in chosen]
            )
            verdicts.append(verdict if rows_wanted or stage == "accepted" else _already_refused(verdict))
    return _joined(verdicts)


def _validated(feed: Feed, parquet: Path, specs: Sequence[ExpectationSpec], stage: Stage, rows_wanted: bool) -> ExpectationVerdict:
    from quality.validate import validate

    return validate(
        specs,
        parquet,
        rows_wanted=rows_wanted,
        cleared={column.name for column in feed.contract.columns if column.cleared},
        declared=[column.name for column in feed.contract.columns],
        scratch=parquet.parent,
        label=f"{feed.id} {stage}",
    )


def _renamed(verdict: ExpectationVerdict, called: Sequence[str]) -> ExpectationVerdict:
    new = {check.name: name for check, name in zip(verdict.checks, called, strict=True)}
    return replace(
        verdict,
        checks=tuple(replace(check, name=new[check.name]) for check in verdict.checks),
        failing_rows={new[name]: rows for name, rows in verdict.failing_rows.items()},
        truncated=tuple(new[name] for name in verdict.truncated),
    )


def _already_refused(verdict: ExpectationVerdict) -> ExpectationVerdict:
    """Staging has refused each row that breaks a derived expectation, so a failure that counts its rows need not block."""
    return replace(
        verdict,
        checks=tuple(
            check
            if check.passed or check.unexpected_count is None
            else replace(check, blocking=False, note=check.note or "its failing rows are in quarantine")
            for check in verdict.checks
        ),
    )


def _joined(verdicts: Sequence[ExpectationVerdict]) -> ExpectationVerdict:
    """One verdict of several over the same rows; Great Expectations' documents are joined result by result."""
    if not verdicts:
        return ExpectationVerdict(checks=())
    first = verdicts[0]
    document = dict(first.document)
    for verdict in verdicts[1:]:
        document["results"] = [*document.get("results", []), *verdict.document.get("results", [])]
    return replace(
        first,
        checks=tuple(check for verdict in verdicts for check in verdict.checks),
        failing_rows={name: rows for verdict in verdicts for name, rows in verdict.failing_rows.items()},
        truncated=tuple(name for verdict in verdicts for name in verdict.truncated),
        document=document,
    )


def write_docs(store: Store, feed: Feed, record: FetchRecord, verdicts: Sequence[ExpectationVerdict], workdir: Path) -> None:
    """Render Great Expectations' Data Docs of one judgement and put every page into the store."""
    from quality import data_docs

    verdict = _joined([verdict for verdict in verdicts if verdict.document])
    if not verdict.document:
        return
    folder = workdir / "data_docs"
    data_docs.write(verdict, folder, title=feed.id, run_name=record.fetch_id, run_time=record.finished_at)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put_file(f"reports/{feed.id}/{record.fetch_id}/{path.relative_to(folder).as_posix()}", path)
