"""Faults that any agency's server may commit, and the tables that a collector makes of its answers: paged rows and whole files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from assets.tables.build import TableResult, build_table
from assets.tables.index import live_paths, read_index
from tests.protocols.standin_scene import Scene, feed_for, scene
from tests.tables.making import read

COLUMNS: list[dict[str, Any]] = [
    {"name": "station", "nullable": False},
    {"name": "at", "type": "timestamp", "format": "%Y-%m-%d %H:%M"},
    {"name": "level", "type": "number"},
]
PARTS: dict[str, Any] = {
    "contract": {"columns": COLUMNS, "key": ["station"], "max_quarantine": 0.2},
    "decode": {"timezone": "Asia/Seoul", "allow_24h": True, "sentinels": [-999]},
    "incremental": {"kind": "full"},
    "deletes": {"mode": "snapshot_diff", "shrink_guard": 0.3},
}
ROWS = [{"station": f"측정소 {n:02d}", "at": "2026-11-24 23:00", "level": f"{n + 1}.5"} for n in range(20)]
FILE = "station,at,level\r\n" + "".join(",".join(row.values()) + "\r\n" for row in ROWS)
GATEWAY = {
    "protocol": "data_go_kr", "base_url": "https://apis.data.go.kr/1/S", "operation": "op",
    "params": {"_type": "json"}, "paging": {"size": 7},
}  # fmt: skip
PLAIN = {"protocol": "http_file", "url": "https://agency.example/rows.csv", "format": "csv"}
HOURS = datetime(2026, 11, 24, 14), datetime(2026, 11, 24, 15)
"""23:00 and 24:00 in Seoul, as universal time."""


@contextmanager
def agency(folder: Path, kind: str, **source: Any) -> Iterator[Scene]:
    """The same twenty rows behind the gateway, or as one file."""
    if kind == "pages":
        feed = feed_for(GATEWAY | source, COLUMNS, **PARTS)
        with scene(folder, feed, ROWS, kind="data_go_kr", host="apis.data.go.kr", path="/1/S/op") as opened:
            yield opened
        return
    feed = feed_for(PLAIN | source, COLUMNS, **PARTS)
    with scene(folder, feed, FILE.encode(), suffix="csv", kind="file", host="agency.example", path="/rows.csv") as opened:
        yield opened


def built(one: Scene) -> tuple[TableResult, list[dict[str, Any]]]:
    """A fetch, the table that comes of it, and its live rows."""
    result = build_table(
        one.feed, one.fetch(), store=one.store, ledger=one.ledger, workdir=one.folder / "build", now=one.clock.now()
    )
    index = read_index(one.store, one.feed.id)
    assert index is not None
    return result, sorted(read(live_paths(one.store, index, one.folder / "cache")), key=lambda row: str(row["station"]))


@pytest.fixture(params=["pages", "file"])
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with agency(tmp_path, request.param) as opened:
        yield opened


def test_24_oclock_is_midnight_at_the_days_end(one: Scene) -> None:
    one.fault("24:00")
    result, rows = built(one)
    assert result.blocked == () and [row["at"] for row in rows] == [HOURS[1], *[HOURS[0]] * 19]


def test_a_sentinel_is_no_value_and_its_reason_is_kept(one: Scene) -> None:
    one.fault("sentinel_-999")
    result, rows = built(one)
    assert result.blocked == () and (rows[0]["level"], rows[0]["level_status"]) == (None, "-999")
    assert [row["level"] for row in rows[1:]] == [n + 1.5 for n in range(1, 20)]


def test_rows_that_were_taken_back_leave_the_table_and_come_again(one: Scene) -> None:
    built(one)
    one.fault("rows_withdrawn")
    result, rows = built(one)
    assert (result.changes.withdrawn, result.changes.added, len(rows)) == (2, 0, 18)
    one.fault()
    result, rows = built(one)
    assert (result.changes.withdrawn, result.changes.added, len(rows)) == (0, 2, 20)


def test_too_many_rows_taken_back_at_once_block_the_table(one: Scene) -> None:
    _, before = built(one)
    one.fault("rows_withdrawn:2")
    result, rows = built(one)
    assert [check.name for check in result.blocked] == ["shrink_guard"] and rows == before


def test_a_row_that_was_revised_is_one_change(one: Scene) -> None:
    built(one)
    one.fault("rows_revised")
    result, rows = built(one)
    assert (result.changes.revised, result.changes.added, result.changes.withdrawn, rows[0]["level"]) == (1, 0, 0, 11.5)


@pytest.mark.parametrize("fault", ["key_double_encoded", "plus_as_space"])
def test_a_key_that_arrives_changed_is_no_key_and_asking_again_does_not_help(tmp_path: Path, fault: str) -> None:
    with agency(tmp_path, "pages") as opened:
        opened.fault(fault)
        opened.fails("AuthFailed")
        assert len(opened.requests) == 1


@pytest.mark.parametrize("fault", ["key_double_encoded", "plus_as_space"])
def test_nor_is_it_at_odcloud(tmp_path: Path, fault: str) -> None:
    source = {"protocol": "odcloud", "path": "15000001/v1/uddi:aaaa-1", "limits": {"per_day": 900}}
    options = {"namespace": "15000001/v1", "editions": {"uddi:aaaa-1": "자료"}}
    route = {"kind": "odcloud", "host": "api.odcloud.kr", "path": "/", "options": options}
    with scene(tmp_path, feed_for(source, ["station"]), ROWS, **route) as opened:
        opened.fault(fault)
        opened.fails("AuthFailed")
        assert len(opened.requests) == 1


@pytest.mark.parametrize("fault", ["zip_name_no_flag", "zip_name_no_flag:949"])
def test_a_korean_name_in_a_zip_needs_no_flag(tmp_path: Path, fault: str) -> None:
    with agency(tmp_path, "file", container="zip", member="자료/통계표.csv") as opened:
        opened.fault(fault)
        result, rows = built(opened)
        assert result.blocked == () and len(rows) == 20
