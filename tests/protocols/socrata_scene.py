"""What the tests of both editions of Socrata share: rows as it has them, and as they are read. No test stands here."""

from __future__ import annotations

from typing import Any

from assets.feeds.model import Feed
from tests.protocols.standin_scene import feed_for

BASE = "https://data.agency.example/resource/abcd-1234.json"
ROUTE: dict[str, Any] = {"kind": "socrata2", "host": "data.agency.example", "path": "/resource/abcd-1234.json"}
BASE3 = "https://data.agency.example/api/v3/views/abcd-1234"
ROUTE3: dict[str, Any] = {
    "kind": "socrata3",
    "host": "data.agency.example",
    "path": "/api",
    "options": {"dataset": "abcd-1234"},
}
TOKEN = {"kind": "header_key"}
KEYED: dict[str, Any] = {"system": True, "paging": "keyset"}


def feed(columns: tuple[str, ...] = ("number", "street", "note"), key: str = "", missing: str = "freeze", **source: Any) -> Feed:
    """`key`: the source of the first column is the key, and the feed an upsert. Of edition 2 where `source` says no other."""
    named = [{"name": f"c{n}", "source": c, "nullable": c != key} for n, c in enumerate(columns)]
    contract: dict[str, Any] = {"columns": named, "missing_columns": missing}
    parts = {"contract": contract | ({"key": ["c0"]} if key else {}), "incremental": {"kind": "upsert" if key else "full"}}
    block = {"protocol": "socrata2", "base_url": "https://data.agency.example", "dataset": "abcd-1234", "size": 10, **source}
    return feed_for(block, columns, **parts, id="kr.test.changes" if key else "kr.test.rows")


def feed3(columns: tuple[str, ...] = ("number", "street", "note"), key: str = "", **source: Any) -> Feed:
    """The same of edition 3, with the columns named."""
    return feed(columns, key, **{"protocol": "socrata3", "select": ",".join(columns), **source})


def changing(**source: Any) -> Feed:
    return feed(("number", "street"), key="number", changes=True, **source)


def rows(count: int) -> list[dict[str, Any]]:
    """Every third has a note; numbers are text, as Socrata sends them."""
    return [{"number": f"{n:04d}", "street": f"{n} Main St", **({} if n % 3 else {"note": "x"})} for n in range(count)]


def read_back(count: int, start: int = 0) -> list[tuple[str | None, ...]]:
    return [(f"{n:04d}", f"{n} Main St", None if n % 3 else "x") for n in range(start, count)]
