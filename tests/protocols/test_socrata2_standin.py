"""socrata2 against the stand-in: fetches whole or failed, versions, increments, and the faults of the agency."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.socrata_scene import ROUTE, TOKEN, changing, feed, read_back, rows
from tests.protocols.standin_scene import KEY, Scene, fetch_on_paper, paper, scene

FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "changed_mid_crawl", "status_429:1", "html_200",
    "empty_body_200", "status_500:1", "no_stamp", "full_replace_new_ids", "202_then_200:1", "error_200",
    "rows_lost_mid_crawl",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 15), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True))
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, faults: list[str]) -> None:
    asked = feed(size=size)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(asked, paper(Path(folder), asked, rows(total), faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "Empty", "Malformed", "RateLimited", "Transient"), done
    assert (done.outcome == "Empty") <= (total == 0)
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read_back(total)


@pytest.fixture(scope="module")
def socrata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("socrata2"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(socrata: Scene) -> Scene:
    socrata.serve(rows(25))
    socrata.fault()
    socrata.secret = KEY
    socrata.forget()
    return socrata


def test_all_pages_once_and_the_same_version_costs_one_request(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read_back(25) and len(clean.requests) == 4
    clean.forget()
    assert clean.fetch().outcome == "NotModified" and len(clean.requests) == 1
    clean.serve(rows(24))
    assert clean.rows(clean.fetch()) == read_back(24)


def test_where_the_agency_gives_no_version_the_rows_are_held_to_the_count(clean: Scene) -> None:
    clean.fault("no_stamp", "page_size_capped:7")
    clean.serve(rows(23))
    assert clean.rows(clean.fetch()) == read_back(23) and len(clean.requests) == 5
    clean.fault("no_stamp", "rows_lost_mid_crawl")
    assert "empty after 22 of 23 rows" in str(clean.fails("Malformed"))


def test_increments_and_the_full_replacement(clean: Scene) -> None:
    asked = changing()
    dated = [{**row, ":updated_at": "2026-11-01T00:00:00.000Z"} for row in rows(12)]
    clean.serve(dated)
    clean.fault("no_stamp")
    assert len(clean.rows(clean.fetch(asked), asked)) == 12
    later = f"{clean.clock.time:%Y-%m-%dT%H:%M:%S}.999Z"
    clean.serve([*dated[:11], {**dated[11], "street": "moved", ":updated_at": later}])
    clean.forget()
    assert clean.rows(clean.fetch(asked), asked) == [("0011", "moved")] and len(clean.requests) == 3
    assert clean.fetch(asked).outcome == "Empty"
    clean.fault("no_stamp", "full_replace_new_ids")
    assert len(clean.rows(clean.fetch(asked), asked)) == 12  # the trap: all rows changed, and all are asked for


def test_rows_that_were_withdrawn_are_absent_from_a_full_fetch(clean: Scene) -> None:
    clean.serve(rows(22))
    clean.fault("rows_withdrawn")
    assert clean.rows(clean.fetch()) == read_back(22, 3)


def test_a_token_that_nobody_knows_is_asked_with_once(clean: Scene) -> None:
    clean.secret = "0123456789abcdef"
    error = clean.fails("AuthFailed", feed(auth=TOKEN))
    assert len(clean.requests) == 1 and clean.secret not in str(error)
    clean.secret = KEY
    assert clean.rows(clean.fetch(feed(auth=TOKEN))) == read_back(25)


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("error_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 3),
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
    clean.fails("BadRequest", feed(where="nosuch = 'x'"))
    assert len(clean.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        "status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7", "utf8_bom",
        "202_then_200:3", "out_of_date:2", "etag_flip_same_bytes",
    ],
)  # fmt: skip
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.serve([*rows(24), {"number": "9999", "street": fault, "note": "x"}])
    clean.fault("full_replace_new_ids", fault)  # a new version each day
    assert clean.rows(clean.fetch()) == [*read_back(24), ("9999", fault, "x")]
