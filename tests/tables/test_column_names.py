"""Columns may have any name that a contract allows: a SQL keyword, or a word that our own queries use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assets.tables.merging import Changes, merge
from tests.tables.making import judged_rows, make_feed, read

KEYWORDS = ("select", "order", "group", "table", "all", "case", "user", "current_date")
OURS = ("row", "rule", "column", "reason", "change", "hash", "late", "every", "identity", "cursor", "copy", "place", "id", "ids")
INNER = ("fresh", "live", "decided", "staged", "refused", "fresh_row", "live_id", "broken", "c0", "t0", "x0", "v0", "n0", "n1", "a")
NAMES = (*KEYWORDS, *OURS, *INNER)
OTHERS = len(NAMES) - 1


def rows_of(*rows: tuple[str, str]) -> list[list[str]]:
    """Records of key and one value that fills every other column."""
    return [[key, *[value] * OTHERS] for key, value in rows]


@pytest.mark.parametrize("key", ["order", "row", "hash", "change", "id", "fresh_row", "live_id"])
@pytest.mark.parametrize("aliased", [False, True])
def test_judged_and_merged_whatever_the_columns_are_called(key: str, aliased: bool, tmp_path: Path) -> None:
    others = [name for name in NAMES if name != key]
    columns: list[dict[str, Any]] = [{"name": key, "nullable": False, "max_length": 3}, *({"name": name} for name in others)]
    incremental = {"kind": "upsert", "cursor": others[0]} | ({"aliases": others[1]} if aliased else {})
    feed = make_feed(columns, contract={"key": [key], "max_quarantine": 1}, incremental=incremental)
    live: list[Path] = []
    fetches = [
        (rows_of(("k1", "a1"), ("k2", "a2"), ("k2", "a2"), ("too long", "a3")), Changes(added=2)),
        (rows_of(("k1", "b1"), ("k3", "b3"), ("k3", "a3")), Changes(added=1, revised=1, unchanged=1)),
    ]
    for number, (rows, expected) in enumerate(fetches):
        folder = tmp_path / str(number)
        folder.mkdir()
        judgement = judged_rows(feed, rows, folder, fetch=f"f{number}")
        merged = merge(feed, judgement.accepted, live, folder / "merged", first=not live)
        assert merged.counts == expected and merged.table is not None and merged.changes is not None
        live = [merged.table]
        refused = {row["_source_row"]: row["_rule"] for row in read(judgement.quarantine)}
        assert refused == ({3: "duplicate_row", 4: "max_length"}, {3: "superseded"})[number]
    found = {row[key]: {row[name] for name in others} for row in read(live)}
    assert found == {"k1": {"b1"}, "k2": {"a2"}, "k3": {"b3"}}
    assert [row["_change"] for row in read(merged.changes, "_change")] == ["added", "revised"]
