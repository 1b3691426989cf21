"""Events and feeds for the tests of fdsn_event. No test stands here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from assets.feeds.model import Feed
from deploy.agency.engines.fdsn_event import HEADER
from tests.protocols.standin_scene import NOW, feed_for

BASE = "https://quakes.example/fdsnws/event/1"
USGS: dict[str, Any] = {"protocol": "fdsn_event", "base_url": BASE, "format": "geojson", "start": "2026-01-01", "count": True}
TEXT: dict[str, Any] = {"protocol": "fdsn_event", "base_url": BASE, "format": "text", "start": "2026-01-01"}
ROUTE: dict[str, Any] = {"kind": "fdsn_event", "host": "quakes.example", "path": "/fdsnws/event/1"}
COUNTS = ROUTE | {"options": {"counts": True}}
FIRST = datetime(2026, 11, 1, 12, tzinfo=UTC)


def usgs(columns: Sequence[str] = ("id", "properties.mag"), parts: dict[str, Any] | None = None, **source: Any) -> Feed:
    return feed_for(USGS | source, columns, **(parts or {}))


def text(**source: Any) -> Feed:
    return feed_for(TEXT | source, ["EventID", "Magnitude"])


def changes(**source: Any) -> Feed:
    """A feed that is fetched as the shipped one is: changes and deletions since the last fetch, merged events as one row."""
    columns = [
        {"name": "id", "nullable": False},
        {"name": "updated", "source": "properties.updated", "type": "timestamp", "format": "epoch_ms"},
        {"name": "status", "source": "properties.status"},
        {"name": "ids", "source": "properties.ids"},
    ]
    return feed_for(
        USGS | {"changes": True, "deleted": True} | source,
        columns,
        contract={"columns": columns, "key": ["id"], "min_rows": 0},
        incremental={"kind": "upsert", "cursor": "updated", "aliases": "ids"},
        deletes={"mode": "tombstone", "column": "status", "values": ["deleted"], "shrink_guard": 1},
    )


def event(n: int, *, hours: float = 1.0, **properties: Any) -> dict[str, Any]:
    """The n-th event, so many hours after the one before."""
    at = round((FIRST + timedelta(hours=n * hours)).timestamp() * 1000)
    told = {
        "mag": round(2.1 + n % 5 / 10, 1),
        "time": at,
        "updated": at + 60_000,
        "status": "reviewed",
        "ids": f",ev{n},",
        **properties,
    }
    return {"type": "Feature", "id": f"ev{n}", "properties": told, "geometry": {"type": "Point", "coordinates": [127.0, 37.0, 10]}}


def events(count: int, hours: float = 1.0) -> list[dict[str, Any]]:
    return [event(n, hours=hours) for n in range(count)]


def lines(count: int) -> list[dict[str, Any]]:
    """Rows of the text format."""
    blank = dict.fromkeys(HEADER, "")
    at = [(FIRST + timedelta(hours=n)).replace(tzinfo=None).isoformat() for n in range(count)]
    return [
        blank | {"EventID": f"{n}", "Time": at[n], "Magnitude": "2.1", "Latitude": "42", "Longitude": "13"} for n in range(count)
    ]


def later(days: float = 0.0) -> int:
    """Epoch ms, so many days after the moment of the scene."""
    return round((NOW + timedelta(days=days)).timestamp() * 1000)
