"""Feeds and rows for the tests of ncei. No test stands here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from assets.feeds.model import Feed
from tests.protocols.standin_scene import feed_for

HOST = "https://records.example"
WINDOW: dict[str, Any] = {"every": "day", "count": 300, "requests": "one"}
"""Long enough for the days of the rows, whenever a test fetches them."""
BASE: dict[str, Any] = {"protocol": "ncei", "base_url": HOST}
DATA = BASE | {"dataset": "daily-summaries", "stations": ["A1"], "data_types": ["TMAX", "PRCP"], "window": WINDOW}
SEARCH = BASE | {"service": "search", "dataset": "daily-summaries", "box": {"north": 39, "west": 124, "south": 33, "east": 132}}
CDO = BASE | {"service": "cdo", "dataset": "GHCND", "stations": ["GHCND:A1"], "window": WINDOW}
ROUTE: dict[str, Any] = {"kind": "ncei", "host": "records.example"}
ROUTES: dict[str, dict[str, Any]] = {
    "data": ROUTE | {"path": "/access/services/data/v1"},
    "search": ROUTE | {"path": "/access/services/search/v1/data", "options": {"service": "search"}},
    "cdo": ROUTE | {"path": "/cdo-web/api/v2/data", "options": {"service": "cdo"}},
}
FIRST = date(2026, 10, 28)


def data(columns: Sequence[str] = ("DATE", "TMAX", "PRCP"), **source: Any) -> Feed:
    return feed_for(DATA | source, columns)


def search(size: int = 10, **source: Any) -> Feed:
    return feed_for(SEARCH | {"size": size} | source, ["stations.0.id", "name"])


def cdo(size: int = 10, **source: Any) -> Feed:
    return feed_for(CDO | {"size": size} | source, ["date", "value"])


def days(count: int) -> list[dict[str, Any]]:
    """Records of a station: padded text, and every third without precipitation."""
    found = []
    for n in range(count):
        row = {"DATE": f"{FIRST + timedelta(days=n)}", "STATION": "A1", "TMAX": f"{10 + n / 10:7.1f}", "TMAX_ATTRIBUTES": ",,S"}
        found.append(row | ({"PRCP": "    0.3", "PRCP_ATTRIBUTES": ",,S"} if n % 3 else {}))
    return found


def read_days(count: int) -> list[tuple[str, str, str | None]]:
    return [(row["DATE"], row["TMAX"], row.get("PRCP")) for row in days(count)]


def stations(count: int) -> list[dict[str, Any]]:
    return [{"name": f"f{n}.csv", "centroid": [126.0, 36.0], "stations": [{"id": f"S{n:03d}", "count": 5}]} for n in range(count)]


def read_stations(count: int) -> list[tuple[str, str]]:
    return [(f"S{n:03d}", f"f{n}.csv") for n in range(count)]


def values(count: int) -> list[dict[str, Any]]:
    """Rows of CDO: one a day."""
    at = [f"{FIRST + timedelta(days=n % 25)}T00:00:00" for n in range(count)]
    return [{"date": at[n], "datatype": "TMAX", "station": "GHCND:A1", "attributes": ",,W,2400", "value": n} for n in range(count)]


def read_values(count: int) -> list[tuple[str, str]]:
    return [(row["date"], str(row["value"])) for row in values(count)]
