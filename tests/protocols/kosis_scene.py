"""A small table of KOSIS, and a feed of it. Only what the tests of kosis share; no test stands here."""

from __future__ import annotations

from typing import Any

from assets.feeds.model import Feed
from tests.protocols.standin_scene import feed_for

ROUTE: dict[str, Any] = {"kind": "kosis", "host": "kosis.kr", "path": "/openapi"}
MONTHS = ("202607", "202608", "202609", "202610")
"""The latest months before the scene's noon of 25 November 2026."""
COLUMNS = ["C1", "C1_NM", "ITM_ID", "PRD_DE", "DT"]


def kosis(columns: list[Any] | None = None, **source: Any) -> Feed:
    declared: dict[str, Any] = {"protocol": "kosis", "org": "101", "table": "DT_1X", "period": "M"}
    if not {"newest", "params", "window"} & source.keys():
        declared["window"] = {"every": "month", "count": len(MONTHS), "requests": "one"}
    return feed_for(declared | source, columns or COLUMNS)


def table(regions: int = 3, months: tuple[str, ...] = MONTHS, items: int = 2, sent: str = "2026-11-03") -> list[dict[str, Any]]:
    """One row a cell, in the order of KOSIS: class, item, period."""
    return [
        {
            "ORG_ID": "101",
            "TBL_ID": "DT_1X",
            "TBL_NM": "시도별 인구",
            "C1_OBJ_NM": "시도별",
            "C1": f"{10 + region}",
            "C1_NM": f"시도 {region}",
            "ITM_ID": f"T{item}",
            "ITM_NM": "인구",
            "UNIT_NM": "명",
            "PRD_SE": "M",
            "PRD_DE": month,
            "DT": f"{region}{item}{month}",
            "LST_CHN_DE": sent,
        }
        for region in range(regions)
        for item in range(items)
        for month in months
    ]


def read(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return sorted(tuple(row[c] for c in COLUMNS) for row in rows)
