"""socrata3 against the stand-in: fetches whole or failed, versions with and without headers, exports, and the agency's faults."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from tests.protocols.socrata_scene import KEYED, ROUTE3, feed3, read_back, rows
from tests.protocols.standin_scene import KEY, Scene, fetch_on_paper, paper, scene

NAMES = ("number", "street", "note")
GEOJSON = feed3(tuple(f"properties.{name}" for name in NAMES), select=",".join(NAMES), mode="export", format="geojson")
FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "changed_mid_crawl", "status_429:1", "html_200",
    "empty_body_200", "status_500:1", "no_stamp", "no_headers", "no_rows_updated", "full_replace_new_ids", "error_200",
    "export_short:1", "clean_cut", "page_ignored", "rows_lost_mid_crawl",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(1, 15),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
    st.sampled_from([feed3(), feed3(**KEYED), feed3(mode="export"), GEOJSON]),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, faults: list[str], how: Feed) -> None:
    asked = how.model_copy(update={"source": how.source.model_copy(update={"size": size})})
    with tempfile.TemporaryDirectory() as folder:
        served = paper(Path(folder), asked, rows(total), faults=faults, **ROUTE3)
        done = fetch_on_paper(asked, served)
    assert done.outcome in ("Ok", "Empty", "Malformed", "RateLimited", "Transient"), done
    assert (done.outcome == "Empty") <= (total == 0)
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        blank = "" if how.source.mode == "export" and how is not GEOJSON else None  # CSV knows no null
        assert done.rows == [(a, b, c or blank) for a, b, c in read_back(total)]


def test_keyset_never_asks_for_a_deep_page_and_number_asks_for_each_once(tmp_path: Path) -> None:
    for how, numbers in ((KEYED, [1, 1, 1]), ({}, [1, 2, 3])):
        served = paper(tmp_path, feed3(), rows(25), **ROUTE3)
        assert fetch_on_paper(feed3(**how), served).rows == read_back(25)
        assert [json.loads(one.body or b"")["page"]["pageNumber"] for one in served.asked[1:]] == numbers


@pytest.fixture(scope="module")
def socrata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("socrata3"), feed3(), rows(25), **ROUTE3) as opened:
        yield opened


@pytest.fixture
def clean(socrata: Scene) -> Scene:
    socrata.serve(rows(25))
    socrata.fault()
    socrata.secret = KEY
    socrata.forget()
    return socrata


def asked_for(scene_: Scene) -> list[str]:
    return [f"{one['method']} {one['path'].rpartition('/')[2]}" for one in scene_.requests]


def test_all_pages_once_and_the_same_version_costs_one_request(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read_back(25)
    assert asked_for(clean) == ["POST query.json"] * 4
    clean.forget()
    assert clean.fetch().outcome == "NotModified" and len(clean.requests) == 1
    clean.serve(rows(24))
    assert clean.rows(clean.fetch()) == read_back(24)


def test_without_headers_the_description_is_asked_and_an_unchanged_data_set_is_not_read_again(clean: Scene) -> None:
    clean.fault("no_headers")
    clean.serve(rows(23))
    assert clean.rows(clean.fetch()) == read_back(23)
    assert asked_for(clean) == ["POST query.json", "GET abcd-1234.json", *["POST query.json"] * 3]
    clean.forget()
    assert clean.fetch().outcome == "NotModified"
    assert asked_for(clean) == ["POST query.json", "GET abcd-1234.json"]
    clean.fault("no_headers", "no_rows_updated")
    clean.forget()
    assert clean.fetch().outcome == "NotModified"  # by its bytes, and by nothing less
    assert len(clean.requests) == 5


def test_an_export_comes_whole_or_not_at_all(clean: Scene) -> None:
    asked = feed3(mode="export")
    assert [row[:2] for row in clean.rows(clean.fetch(asked), asked)] == [row[:2] for row in read_back(25)]
    assert asked_for(clean) == ["POST query.json", "POST export.csv"]
    clean.forget()
    clean.fault("full_replace_new_ids", "export_short:2")
    error = clean.fails("Malformed", asked)
    assert "before all 25 rows" in str(error) and asked_for(clean).count("POST export.csv") == 1
    clean.forget()
    clean.fault("full_replace_new_ids", "clean_cut")
    clean.fails("Transient", asked)
    assert asked_for(clean).count("POST export.csv") == 5


def test_an_export_that_breaks_off_is_asked_for_again(clean: Scene) -> None:
    asked = GEOJSON
    for fault in ("stream_cut:2", "reset_mid_body:2", "status_500:2", "202_then_200:2"):
        clean.fault("full_replace_new_ids", fault)
        assert clean.rows(clean.fetch(asked), asked) == read_back(25)


def test_processing_is_awaited_with_the_question_itself(clean: Scene) -> None:
    clean.fault("202_then_200:7")  # longer than a failure would be borne
    clean.serve(rows(24))
    assert clean.rows(clean.fetch()) == read_back(24)
    assert {one["method"] for one in clean.requests} == {"POST"} and len(clean.requests) == 7 + 4


def test_increments_and_the_full_replacement(clean: Scene) -> None:
    asked = feed3(("number", "street"), key="number", changes=True)
    dated = [{**row, ":updated_at": "2026-11-01T00:00:00.000Z"} for row in rows(12)]
    clean.serve(dated)
    clean.fault("no_stamp")
    assert len(clean.rows(clean.fetch(asked), asked)) == 12
    later = f"{clean.clock.time:%Y-%m-%dT%H:%M:%S}.999Z"
    clean.serve([*dated[:11], {**dated[11], "street": "moved", ":updated_at": later}])
    assert clean.rows(clean.fetch(asked), asked) == [("0011", "moved")]
    assert clean.fetch(asked).outcome == "Empty"
    clean.fault("no_stamp", "full_replace_new_ids")
    assert len(clean.rows(clean.fetch(asked), asked)) == 12  # the trap: all rows changed, and all are asked for


def test_rows_that_were_withdrawn_are_absent_from_a_full_fetch(clean: Scene) -> None:
    clean.serve(rows(22))
    clean.fault("rows_withdrawn")
    assert clean.rows(clean.fetch(feed3(**KEYED)), feed3(**KEYED)) == read_back(22, 3)


def test_a_token_that_nobody_knows_is_asked_with_once(clean: Scene) -> None:
    clean.secret = "0123456789abcdef"
    error = clean.fails("AuthFailed")
    assert len(clean.requests) == 1 and clean.secret not in str(error)


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("error_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 3),
        ("page_ignored", "Malformed", 3),
        ("changed_mid_crawl", "Malformed", 4),
        ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1),
        ("status_429", "RateLimited", 5),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.serve(rows(26))
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


def test_a_column_that_is_not_there_is_a_mistake_of_the_declaration(clean: Scene) -> None:
    clean.fails("BadRequest", feed3(where="nosuch = 'x'"))
    assert len(clean.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        "status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "utf8_bom", "202_then_200:3",
        "page_size_capped:7", "out_of_date:2", "etag_flip_same_bytes",
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", [{}, KEYED])
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str, how: dict[str, Any]) -> None:
    asked = feed3(**how)
    clean.serve([*rows(24), {"number": "9999", "street": fault, "note": "x"}])
    clean.fault("full_replace_new_ids", fault)  # a new version each day
    assert clean.rows(clean.fetch(asked), asked) == [*read_back(24), ("9999", fault, "x")]
