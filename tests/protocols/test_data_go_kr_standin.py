"""data_go_kr against the stand-in: whole or failed, whatever the page size and the faults; nothing asked again that must not be."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.standin_scene import KEY, Scene, feed_for, fetch_on_paper, fill, paper, scene

ROUTE: dict[str, Any] = {"kind": "data_go_kr", "host": "apis.data.go.kr", "path": "/1613000/Service/op", "per_day": 1000}
BASE = "https://apis.data.go.kr/1613000/Service"


def feed(size: int = 10, **source: Any) -> Any:
    declared = {"protocol": "data_go_kr", "base_url": BASE, "operation": "op", "params": {"_type": "json"}}
    return feed_for({**declared, "paging": {"size": size}, "limits": {"per_day": 900}, **source}, ["n", "name"])


def rows(count: int) -> list[dict[str, Any]]:
    return [{"n": n, "name": f"이름 {n}"} for n in range(count)]


def read(count: int) -> list[tuple[str, str]]:
    return [(str(n), f"이름 {n}") for n in range(count)]


FAULTS = [
    "page_size_capped:3",
    "offset_ignored",
    "duplicate_rows_between_pages",
    "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50",
    "quota_after_n:2",
    "xml_error_on_json:22",
    "xml_error_on_json:02",
    "html_200",
    "empty_body_200",
    "status_500:1",
    "no_data",
]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 15), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True))
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, faults: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(feed(size), paper(Path(folder), feed(size), rows(total), faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "Empty", "Malformed", "QuotaExhausted", "Transient"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read(total)
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("gateway"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.serve(rows(25))
    agency.fault()
    agency.forget()
    return agency


def test_all_pages_once_and_the_key_encoded_once(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read(25)
    assert [r["query"].count("%25") for r in clean.requests] == [0, 0, 0]


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("quota_after_n:1", "QuotaExhausted", 2),
        ("xml_error_on_json:22", "QuotaExhausted", 1),
        ("xml_error_on_json:30", "AuthFailed", 1),
        ("xml_error_on_json:12", "Gone", 1),
        ("xml_error_on_json:10", "BadRequest", 1),
        ("status_403", "AuthFailed", 1),
        ("status_404", "Gone", 1),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("xml_error_on_json:02", "Transient", 5),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


def test_one_row_is_an_object_and_none_an_empty_text(clean: Scene) -> None:
    clean.fault("one_item_object")
    assert clean.rows(clean.fetch()) == read(1) and len(clean.requests) == 1
    clean.fault("zero_item_empty_string")
    assert clean.fetch().outcome == "Empty"


def test_a_page_too_many_is_answered_with_nothing_and_code_00(clean: Scene) -> None:
    """Other clients ask for total // rows + 1 pages."""
    query = fill("serviceKey={secret:KEY}&pageNo=4&numOfRows=10&_type=json", KEY)
    reply, _ = clean.agency.reply("GET", "apis.data.go.kr", ROUTE["path"], query, {}, b"")
    said = json.loads(reply.body)["response"]
    assert (said["header"]["resultCode"], said["body"]["items"], said["body"]["totalCount"]) == ("00", "", 25)


@pytest.mark.parametrize(
    "fault", ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7"]
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read(25)
