"""Small sets, rows and releases for the tests of training sets. Run as a program it makes one release (to be killed in it)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from assets.archive.fetches import FetchRecord
from assets.feeds.load import load_feed
from assets.feeds.model import Feed
from assets.store import Store
from assets.training_sets.model import TrainingSet
from assets.training_sets.release import ReleaseResult, build_set

ROOT = Path(__file__).resolve().parents[2]
FEED_ID = "kr.seoul.bike_hourly"
NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
CHEAP = ("pyarrow", "polars", "duckdb")


def feed() -> Feed:
    return load_feed(ROOT / "assets" / "feeds" / FEED_ID / "feed.yaml")


def fetch(origin: str = "synthetic") -> FetchRecord:
    return FetchRecord(
        fetch_id="20261120T030000Z-0000aaaa",
        feed=FEED_ID,
        partition=None,
        started_at=NOW,
        finished_at=NOW,
        outcome="Ok",
        reason="",
        origin=origin,
        bytes_read=10,
        responses=1,
        rows=10,
        warc_key="archive/x.warc.gz",
        payload_sha256="ab" * 32,
        canonical_sha256=None,
        etag=None,
        last_modified=None,
        provider_stamp=None,
        url="https://example.org/rows",
        licence="KOGL-1",
        body_fetch_id="20261120T030000Z-0000aaaa",
    )


def spec(**changes: Any) -> TrainingSet:
    """A set split by the group `site`, with a binary label."""
    declared: dict[str, Any] = {
        "name": "little_set",
        "title": "작은 집합",
        "title_en": "A little set",
        "summary": "Made for tests.",
        "feed": FEED_ID,
        "task": "tabular-classification",
        "record_id": ["key"],
        "label": {"column": "outcome", "kind": "binary", "classes": ["no", "yes"]},
        "features": [
            {"name": "key", "description": "Key.", "role": "id"},
            {"name": "site", "description": "Site | group.", "role": "group"},
            {"name": "seen_at", "description": "When.", "role": "time"},
            {"name": "size", "description": "Size.", "unit": "m"},
            {"name": "count", "description": "Count; may be missing."},
            {"name": "kind", "description": "Kind."},
            {"name": "wet", "description": "Wet or not."},
            {"name": "day", "description": "Day."},
        ],
        "group": ["site"],
        "known_at": "Before.",
        "split": {"kind": "group", "train": 0.6, "validation": 0.2, "salt": "little/1"},
        "intended_uses": ["Tests"],
        "unfit_uses": ["Anything else"],
    }
    return TrainingSet.model_validate({**declared, **changes})


def rows(numbers: Sequence[int], *, sites: int = 30) -> pl.DataFrame:
    """One row a number; every value a function of it, and the label of no single feature."""
    start = datetime(2024, 1, 1)
    return pl.DataFrame(
        {
            "key": [f"k{n}" for n in numbers],
            "site": [f"곳{n % sites}" for n in numbers],
            "seen_at": [start + timedelta(minutes=n) for n in numbers],
            "size": [None if n % 11 == 0 else n * 0.1 for n in numbers],
            "count": [None if n % 7 == 0 else (n * 37) % 101 for n in numbers],
            "kind": [None if n % 13 == 0 else f"종류{n % 5}" for n in numbers],
            "wet": [None if n % 17 == 0 else n % 2 == 0 for n in numbers],
            "day": [(start + timedelta(days=n % 40)).date() for n in numbers],
            "outcome": [("yes", "no")[((n * 7919) % 104729) % 3 > 0] for n in numbers],
            "_source_id": ["20261120T030000Z-0000aaaa"] * len(numbers),
            "_source_row": [n + 1 for n in numbers],
            "_fetched_at": [datetime(2026, 11, 20, 3, 0)] * len(numbers),
        },
        schema_overrides={"size": pl.Float64, "count": pl.Int64, "wet": pl.Boolean, "kind": pl.String},
    )


def build(
    store: Store,
    work: Path,
    frame: pl.DataFrame,
    declared: TrainingSet | None = None,
    *,
    now: datetime = NOW,
    origin: str = "replay",
    loader_names: Sequence[str] = CHEAP,
    **more: Any,
) -> ReleaseResult:
    """Release `frame` into `store`, with the cheap loaders unless told otherwise."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "rows.parquet"
    frame.write_parquet(path)
    return build_set(
        declared or spec(),
        [path],
        feeds={FEED_ID: feed()},
        origins={FEED_ID: origin},
        fetches=[fetch(origin)],
        store=store,
        workdir=work,
        now=now,
        loader_names=loader_names,
        **more,
    )


def digests(store: Store, version: str, below: str = "") -> dict[str, str]:
    """Path → SHA-256 of a release's listed files."""
    manifest = store.get_json(f"sets/little_set/v{version}/manifest.json")
    return {f["path"]: f["sha256"] for f in manifest["files"] if f["path"].startswith(below)}


if __name__ == "__main__":
    url, work_folder, last = sys.argv[1:]
    print(build(Store(url), Path(work_folder), rows(range(int(last)))).version)
