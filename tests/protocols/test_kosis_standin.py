"""kosis against the stand-in: whole or failed, whatever is too large; the data is asked for only when its update date moved."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.archive.fetches import open_bodies
from assets.tables.staging import stage
from tests.protocols.kosis_scene import MONTHS, ROUTE, kosis, read, table
from tests.protocols.standin_scene import NOW, Scene, fetch_on_paper, paper, scene

FAULTS = [
    "unquoted_json_keys",
    "tab_key",
    "too_often:1",
    "too_often:9",
    "xml_error_on_json:50",
    "kosis_error:11",
    "kosis_error:30",
    "html_200",
    "empty_body_200",
    "status_500:1",
    "utf8_bom",
    "cp949_body",
]


@settings(max_examples=150, deadline=None)
@given(
    regions=st.integers(0, 4),
    items=st.integers(1, 2),
    months=st.integers(1, 4),
    listed=st.booleans(),
    allowed=st.sampled_from([1, 2, 3, 5, 8, 100]),
    believed=st.sampled_from([1, 4, 40_000]),
    updates=st.booleans(),
    faults=st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
)
def test_a_finished_fetch_has_the_servers_cells_or_there_is_none(
    regions: int, items: int, months: int, listed: bool, allowed: int, believed: int, updates: bool, faults: list[str]
) -> None:
    source: dict[str, Any] = {"max_cells": believed, "updates": updates}
    if listed:
        source |= {"items": [f"T{n}" for n in range(items)], "classes": [[f"{10 + n}" for n in range(max(regions, 1))]]}
    rows, feed = table(regions, MONTHS[:months], items), kosis(**source)
    with tempfile.TemporaryDirectory() as folder:
        route = ROUTE | {"options": {"max_cells": allowed}}
        done = fetch_on_paper(feed, paper(Path(folder), feed, rows, faults=faults, **route))
    assert done.outcome in ("Ok", "Empty", "BadRequest", "RateLimited", "Transient", "AuthFailed", "Malformed"), done
    if done.outcome == "Ok":
        assert sorted(done.rows) == read(rows)
    if done.outcome == "Empty":
        assert not rows or "kosis_error:30" in faults
    if not faults:
        # even one month of all regions that is too much: which codes there are is asked for
        assert done.outcome == ("BadRequest" if not rows and updates else "Ok" if rows else "Empty")


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    route = ROUTE | {"options": {"max_cells": 12}}
    with scene(tmp_path_factory.mktemp("kosis"), kosis(), table(), **route) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.serve(table())
    agency.fault()
    agency.secret = "bWFkYW5n+ZGVtbw/a2V5IG9mIHRoZSBzdGFuZC1pbg=="
    agency.clock.time = NOW
    agency.forget()
    return agency


def fresh(clean: Scene, tmp_path: Path) -> Scene:
    """The same agency, asked for the first time."""
    return Scene(tmp_path, clean.feed, clean.agency, clean.url, secret=clean.secret)


def ranges(opened: Scene) -> list[str]:
    """What was asked of the data, by its periods and first class; NCD for the question about updates."""
    queries = [parse_qs(r["query"], keep_blank_values=True) for r in opened.requests]
    return ["NCD" if "type" in q else f"{q['startPrdDe'][0]}-{q['endPrdDe'][0]} {q['objL1'][0].strip()}" for q in queries]


def small(**source: Any) -> Any:
    """Two regions, one item, four months: 8 cells, which fit."""
    return kosis(items=["T0"], classes=[["10", "11"]], **source)


def cells(rows: list[dict[str, Any]], *regions: str) -> list[tuple[str, ...]]:
    return read([r for r in rows if r["ITM_ID"] == "T0" and r["C1"] in (regions or ("10", "11"))])


def test_the_data_is_asked_for_once_and_again_when_its_update_date_moves(clean: Scene, tmp_path: Path) -> None:
    world, feed = fresh(clean, tmp_path), small()
    first = world.fetch(feed)
    assert sorted(world.rows(first, feed)) == cells(table())
    assert ranges(world) == ["NCD", "202607-202610 10 11"]
    world.forget()
    assert world.fetch(feed).outcome == "NotModified"
    assert ranges(world) == ["NCD"]
    revised = table(sent="2026-11-20")
    revised[0]["DT"] = "999"
    clean.serve(revised)
    world.forget()
    assert sorted(world.rows(world.fetch(feed), feed)) == cells(revised)
    assert ranges(world) == ["NCD", "202607-202610 10 11"]


def test_what_was_sent_on_the_day_of_the_fetch_is_asked_for_once_more_the_day_after(clean: Scene, tmp_path: Path) -> None:
    world, feed = fresh(clean, tmp_path), small()
    clean.serve(table(sent="2026-11-26"))  # the first fetch is on the 26th
    assert world.fetch(feed).outcome == "Ok"
    later = table(sent="2026-11-26")
    later[0]["DT"] = "999"
    clean.serve(later)
    again = world.fetch(feed)
    assert again.outcome == "Ok" and sorted(world.rows(again, feed)) == cells(later)
    world.forget()
    assert world.fetch(feed).outcome == "NotModified"
    assert ranges(world) == ["NCD"]


def test_an_update_date_that_moves_over_the_same_cells_is_no_news(clean: Scene, tmp_path: Path) -> None:
    world, feed = fresh(clean, tmp_path), small()
    clean.fault("modified_churn_only")
    assert world.fetch(feed).outcome == "Ok"
    record = world.fetch(feed)
    assert record.outcome == "NotModified"
    assert len(world.requests) == 4


def test_parts_that_were_counted_beforehand_are_not_asked_again_either(clean: Scene, tmp_path: Path) -> None:
    world, feed = fresh(clean, tmp_path), small(max_cells=2)
    assert sorted(world.rows(world.fetch(feed), feed)) == cells(table())
    assert ranges(world) == ["NCD", *(f"{m}-{m} 10 11" for m in MONTHS)]
    world.forget()
    assert world.fetch(feed).outcome == "NotModified"
    assert ranges(world) == ["NCD"]


def test_error_31_halves_by_period_and_then_by_class_without_a_gap_or_a_double(clean: Scene, tmp_path: Path) -> None:
    world, feed = fresh(clean, tmp_path), kosis()  # 3 regions x 2 items x 4 months, 12 cells at once
    assert sorted(world.rows(world.fetch(feed), feed)) == read(table())
    assert ranges(world) == ["NCD", "202607-202610 ALL", "202607-202608 ALL", "202609-202610 ALL"]
    clean.serve(table(regions=13))
    world.forget()
    listed = kosis(items=["T0", "T1"], classes=[[f"{10 + n}" for n in range(13)]], window={"every": "month"})
    assert sorted(world.rows(world.fetch(listed), listed)) == [r for r in read(table(regions=13)) if r[3] == "202610"]
    asked = ranges(world)[1:]
    assert [len(a.split()) - 1 for a in asked] == [13, 6, 7, 3, 4]
    assert len(asked) == len(set(asked))


def test_error_31_of_one_period_of_all_codes_asks_which_codes_there_are(clean: Scene, tmp_path: Path) -> None:
    world, feed = fresh(clean, tmp_path), kosis(newest=1)
    clean.serve(table(regions=13))
    expected = [r for r in read(table(regions=13)) if r[3] == "202610"]
    assert sorted(world.rows(world.fetch(feed), feed)) == expected
    asked = [parse_qs(request["query"]) for request in world.requests]
    assert [(query.get("type") or query["objL1"])[0] for query in asked] == [
        "NCD", "ALL", "ITM", "10 11 12 13 14 15 ", "16 17 18 19 20 21 22 ", "16 17 18 ", "19 20 21 22 ",
    ]  # fmt: skip
    assert {query["itmId"][0] for query in asked if "itmId" in query} == {"ALL"}
    world.forget()
    assert world.fetch(feed).outcome == "NotModified" and len(world.requests) == 1


def test_what_cannot_be_halved_fails_with_the_agencys_reason(clean: Scene, tmp_path: Path) -> None:
    world, feed = fresh(clean, tmp_path), kosis(newest=13, items=["T0"], classes=[["10"]])
    clean.serve(table(1, tuple(f"2025{n:02d}" for n in range(1, 13)) + MONTHS, 1))
    error = world.fails("BadRequest", feed)
    assert "error 31" in str(error) and len(world.requests) == 2
    error = world.fails("Malformed", kosis(newest=13))
    assert "no codes to halve: give a window" in str(error)


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("kosis_error:10", "AuthFailed", 1),
        ("kosis_error:20", "BadRequest", 1),
        ("kosis_error:21", "BadRequest", 1),
        ("kosis_error:30", "BadRequest", 1),  # of the question about updates: there is no such table
        ("kosis_error:40", "RateLimited", 5),
        ("kosis_error:42", "AuthFailed", 1),
        ("kosis_error:50", "Transient", 5),
        ("kosis_error:99", "Malformed", 2),
        ("xml_error_on_json:11", "AuthFailed", 1),
        ("xml_error_on_json:50", "Transient", 5),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("status_403", "AuthFailed", 1),
        ("status_404", "Gone", 1),
        ("status_500", "Transient", 5),
        ("redirect_to_html", "Gone", 1),
        ("redirect_private", "BadRequest", 1),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(
    clean: Scene, tmp_path: Path, fault: str, outcome: str, asked: int
) -> None:
    world = fresh(clean, tmp_path)
    clean.fault(fault)
    world.fails(outcome, small())
    assert len([r for r in world.requests if r["path"].startswith("/openapi")]) == asked


@pytest.mark.parametrize(
    "fault",
    [
        "unquoted_json_keys",
        "tab_key",
        "utf8_bom",
        "cp949_body",
        "too_often:2",
        "status_500:2",
        "status_429:1",
        "retry_after_0:2",
        "stream_cut:2",
        "reset_mid_body:2",
        "etag_flip_same_bytes",
    ],
)
def test_what_passes_or_can_be_mended_leaves_no_gap_and_no_double(clean: Scene, tmp_path: Path, fault: str) -> None:
    world, feed = fresh(clean, tmp_path), small()
    clean.fault(fault)
    assert sorted(world.rows(world.fetch(feed), feed)) == cells(table())
    if fault == "too_often:2":
        assert [s for s in world.clock.slept if s >= 60] == [60.0, 60.0]
    world.forget()
    clean.fault(*[fault] if ":" not in fault else [])
    assert world.fetch(feed).outcome == "NotModified"
    assert ranges(world) == ["NCD"]


def test_keys_are_sent_encoded_once_and_a_wrong_one_is_not_tried_again(clean: Scene, tmp_path: Path) -> None:
    world = fresh(clean, tmp_path)
    world.secret = "wrong+key=="
    error = world.fails("AuthFailed", small())
    assert "wrong" not in str(error) and len(world.requests) == 1
    assert "apiKey=***" in world.requests[0]["query"]


def test_classes_that_do_not_match_the_table_are_a_mistake_in_the_declaration(clean: Scene, tmp_path: Path) -> None:
    world = fresh(clean, tmp_path)
    assert "error 21" in str(world.fails("BadRequest", kosis(classes=[["ALL"], ["ALL"]])))


def test_months_without_data_are_empty_and_the_others_come(clean: Scene, tmp_path: Path) -> None:
    world, feed = fresh(clean, tmp_path), small(max_cells=2)
    clean.serve(table(months=("202608",)))
    assert len(world.rows(world.fetch(feed), feed)) == 2
    clean.serve(table(months=("202501",)))
    assert world.fetch(feed).outcome == "Empty"


def test_symbols_in_place_of_a_number_stay_in_the_status_column(clean: Scene, tmp_path: Path) -> None:
    rows = table()
    for row, symbol in zip(rows, ["-", "X", "...", ""], strict=False):
        row["DT"] = symbol
    clean.serve(rows)
    columns = [{"name": "region", "source": "C1"}, {"name": "value", "source": "DT", "type": "integer"}]
    feed = kosis(columns=columns, items=["T0"], classes=[["10", "11"]])
    object.__setattr__(feed, "decode", feed.decode.model_copy(update={"null_values": ("-", "X", "...", "")}))
    world = fresh(clean, tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    bodies = open_bodies(world.store, world.ledger, world.fetch(feed), out)
    stage(feed, feed.protocol.parse(feed, feed.source, bodies), tmp_path / "staged.parquet")
    found = duckdb.sql(f"SELECT value, value_status FROM '{tmp_path}/staged.parquet' WHERE value IS NULL").fetchall()
    assert sorted(found) == [(None, ""), (None, "-"), (None, "..."), (None, "X")]
