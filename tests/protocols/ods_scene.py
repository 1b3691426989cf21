"""What the tests of ods21 share: a feed of a data set, rows as it has them, and as they are read. No test stands here."""

from __future__ import annotations

from typing import Any

from assets.feeds.model import Feed
from tests.protocols.standin_scene import feed_for

BASE = "https://data.agency.example/api/explore/v2.1/catalog/datasets/some-rows"
ROUTE: dict[str, Any] = {
    "kind": "ods21",
    "host": "data.agency.example",
    "path": "/api/explore/v2.1/catalog/datasets/some-rows",
    "options": {"dataset": "some-rows"},
}
ABOUT = {"dataset_id": "some-rows", "metas": {"default": {"data_processed": "2026-11-24T10:00:00+00:00", "modified": "x"}}}
"""What a data set says of itself."""
RECORDS: dict[str, Any] = {"mode": "records", "order_by": "number", "size": 10}


def feed(columns: tuple[str, ...] = ("number", "street", "note"), **source: Any) -> Feed:
    block = {"protocol": "ods21", "base_url": "https://data.agency.example", "dataset": "some-rows", **source}
    if block.get("format") == "geojson":
        columns = tuple(f"properties.{name}" for name in columns)
    named = [{"name": f"c{n}", "source": name} for n, name in enumerate(columns)]
    return feed_for(block, columns, contract={"columns": named, "missing_columns": "freeze"})


def rows(count: int) -> list[dict[str, Any]]:
    """Every third has a note; the others have it as null, as OpenDataSoft sends them."""
    return [{"number": f"{n:04d}", "street": f"{n} Grand’Rue; côté", "note": None if n % 3 else "x"} for n in range(count)]


def read_back(count: int, asked: Feed | None = None) -> list[tuple[str | None, ...]]:
    """As they are read; CSV knows no null."""
    blank = "" if asked is not None and getattr(asked.source, "format", "") == "csv" else None
    return [(f"{n:04d}", f"{n} Grand’Rue; côté", blank if n % 3 else "x") for n in range(count)]
