"""ods21 against the stand-in: fetches whole or failed, what an unchanged data set costs, streams that break, quotas."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.ods_scene import RECORDS, ROUTE, feed, read_back, rows
from tests.protocols.standin_scene import KEY, Scene, fetch_on_paper, paper, scene

KEYED = {"kind": "header_key", "secret": "ODS_KEY"}
FORMATS = ("json", "jsonl", "geojson", "csv", "parquet")
FAULTS = [
    "stream_error_trailer", "stream_error_trailer:3", "clean_cut", "export_short:1", "export_short:7", "quota_after_n:2",
    "short_limit:1", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl", "modified_churn_only",
    "no_version", "error_200", "options_ignored", "html_200", "empty_body_200", "status_500:1", "status_429:1",
]  # fmt: skip
HOW: list[dict[str, Any]] = [RECORDS, *({"format": form} for form in FORMATS)]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(1, 15),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
    st.sampled_from(HOW),
    st.sampled_from([15, 25, 10_000]),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(
    total: int, size: int, faults: list[str], how: dict[str, Any], most: int
) -> None:
    asked = feed(**{**how, "size": size})
    route = {**ROUTE, "options": {**ROUTE["options"], "most": most}}
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(asked, paper(Path(folder), asked, rows(total), faults=faults, **route))
    assert done.outcome in ("Ok", "Empty", "Malformed", "RateLimited", "QuotaExhausted", "Transient"), done
    assert (done.outcome == "Empty") <= (total == 0)
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read_back(total, asked)


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("ods21"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(portal: Scene) -> Scene:
    portal.serve(rows(25))
    portal.fault()
    portal.secret = KEY
    portal.forget()
    return portal


def asked_for(scene_: Scene) -> list[str]:
    return [one["path"].rpartition("/")[2] for one in scene_.requests]


ABOUT = "some-rows"


def test_an_unchanged_data_set_is_not_downloaded_again(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read_back(25)
    assert asked_for(clean) == [ABOUT, "records", "json"]
    clean.forget()
    assert clean.fetch().outcome == "NotModified" and asked_for(clean) == [ABOUT, "records"]
    clean.serve(rows(24))  # the same version by its own word, and another count
    assert clean.rows(clean.fetch()) == read_back(24)


def test_a_version_that_moves_with_nothing_else_is_no_news(clean: Scene) -> None:
    clean.serve(rows(23))
    clean.fetch()
    clean.fault("modified_churn_only")
    clean.forget()
    assert clean.fetch().outcome == "NotModified" and asked_for(clean) == [ABOUT, "records", "json"]
    clean.fault("no_version")
    clean.forget()
    assert clean.fetch().outcome == "NotModified" and asked_for(clean) == [ABOUT, "records", "json"]  # by its bytes


def test_records_in_pages_and_their_version(clean: Scene) -> None:
    asked = feed(**RECORDS)
    clean.serve(rows(22))
    assert clean.rows(clean.fetch(asked), asked) == read_back(22)
    assert asked_for(clean) == [ABOUT, "records", "records", "records"]
    clean.forget()
    assert clean.fetch(asked).outcome == "NotModified" and asked_for(clean) == [ABOUT]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_the_same_rows(clean: Scene, form: str) -> None:
    asked = feed(format=form)
    clean.serve(rows(21))
    clean.fault("modified_churn_only")
    assert clean.rows(clean.fetch(asked), asked) == read_back(21, asked)


def test_a_portal_that_ignores_separator_and_mark_is_seen(clean: Scene) -> None:
    clean.serve(rows(20))
    clean.fault("options_ignored", "modified_churn_only")
    asked = feed(format="csv", delimiter=",")
    assert "semicolon" in str(clean.fails("Malformed", asked)) and asked_for(clean).count("csv") == 2
    assert clean.rows(clean.fetch(feed(format="csv")), feed(format="csv")) == read_back(
        20, feed(format="csv")
    )  # a mark, and no harm


def test_records_beyond_the_cap_become_an_export(tmp_path: Path) -> None:
    many = [{"number": f"{n:05d}", "street": "s", "note": None} for n in range(10_001)]
    asked = feed(**{**RECORDS, "size": 100})
    with scene(tmp_path, asked, many, **ROUTE) as portal:
        done = portal.fetch()
        assert len(portal.rows(done)) == 10_001 and done.rows == 10_001
        assert asked_for(portal) == [ABOUT, "records", "records", "json"]
        portal.forget()
        assert portal.fetch().outcome == "NotModified" and asked_for(portal) == [ABOUT, "records", "records"]


@pytest.mark.parametrize("how", [RECORDS, {"format": "json"}])
def test_the_catalogue_has_no_version_but_the_same_bytes_are_no_news(tmp_path: Path, how: dict[str, Any]) -> None:
    asked = feed(dataset=None, **how)
    route = {"kind": "ods21", "host": "data.agency.example", "path": "/api/explore/v2.1/catalog"}
    with scene(tmp_path, asked, rows(25), **route) as portal:
        assert portal.rows(portal.fetch()) == read_back(25)
        assert asked_for(portal) == (["datasets"] * 3 if how == RECORDS else ["datasets", "json"])
        assert portal.fetch().outcome == "NotModified"


def test_an_offset_of_an_export_would_break_it_and_is_never_asked_for(clean: Scene) -> None:
    clean.serve(rows(19))
    clean.fault("export_short:1")
    error = clean.fails("Malformed")
    assert "before all 19 rows: 19 are counted now" in str(error)
    assert asked_for(clean) == [ABOUT, "records", "json", "records", "records"]
    assert not any("offset" in one["query"] for one in clean.requests)


@pytest.mark.parametrize("form", FORMATS)
def test_a_stream_that_ends_in_an_error_is_asked_for_again(clean: Scene, form: str) -> None:
    asked = feed(format=form)
    clean.serve(rows(18))
    clean.fault("stream_error_trailer:4", "modified_churn_only")
    assert clean.rows(clean.fetch(asked), asked) == read_back(18, asked)
    assert asked_for(clean) == [ABOUT, "records", form, form, form]
    clean.forget()
    clean.fault("stream_error_trailer", "modified_churn_only")
    error = clean.fails("Transient", asked)
    assert "Connection reset by peer" in str(error) and asked_for(clean).count(form) == 5


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("fault", ["stream_cut:3", "reset_mid_body:3", "status_500:3", "short_limit:3", "202_then_200:3"])
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, form: str, fault: str) -> None:
    asked = feed(format=form)
    clean.serve([*rows(17), {"number": "9999", "street": fault, "note": "x"}])
    clean.fault("modified_churn_only", fault)
    assert clean.rows(clean.fetch(asked), asked) == [*read_back(17, asked), ("9999", fault, "x")]


@pytest.mark.parametrize(
    "fault", ["stream_cut:3", "reset_mid_body:3", "status_500:2", "short_limit:2", "retry_after_0:2", "total_changes_mid_crawl"]
)
def test_pages_that_are_disturbed_begin_anew(clean: Scene, fault: str) -> None:
    asked = feed(**RECORDS)
    clean.serve([*rows(24), {"number": "9999", "street": fault, "note": "x"}])
    clean.fault("modified_churn_only", fault)
    assert clean.rows(clean.fetch(asked), asked) == [*read_back(24), ("9999", fault, "x")]


def test_the_quota_of_the_day_is_not_waited_for(clean: Scene) -> None:
    clean.serve(rows(16))
    clean.fault("quota_after_n:0", "modified_churn_only")
    error = clean.fails("QuotaExhausted")
    tomorrow = datetime(clean.clock.time.year, clean.clock.time.month, clean.clock.time.day, tzinfo=UTC)
    assert len(clean.requests) == 1 and f"{tomorrow.month:02d}-" in str(error) and "00:00 UTC" in str(error)
    clean.forget()
    clean.fault("quota_after_n:2", "modified_churn_only")  # it ends between the count and the export
    clean.fails("QuotaExhausted")
    assert asked_for(clean) == [ABOUT, "records", "json"]


def test_a_key_that_nobody_knows_is_asked_with_once_and_shown_to_nobody(clean: Scene) -> None:
    for auth in (KEYED, {"kind": "query_key", "secret": "ODS_KEY"}):
        clean.serve(rows(15))
        clean.forget()
        clean.secret = "0123456789abcdef"
        error = clean.fails("AuthFailed", feed(auth=auth))
        assert len(clean.requests) == 1 and clean.secret not in str(error) and clean.secret not in str(clean.requests)
        clean.secret = KEY
        clean.fault("modified_churn_only")
        assert clean.rows(clean.fetch(feed(auth=auth))) == read_back(15)


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("error_200", "Malformed", 2),
        ("attachments_only", "Malformed", 2),
        ("clean_cut", "Transient", 7),
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


@pytest.mark.parametrize(("fault", "asked"), [("offset_ignored", 3), ("total_changes_mid_crawl:99", 7)])
def test_pages_that_do_not_add_up_are_refused(clean: Scene, fault: str, asked: int) -> None:
    clean.serve(rows(27))
    clean.fault(fault)
    clean.fails("Malformed", feed(**RECORDS))
    assert len(clean.requests) == asked


def test_a_condition_that_is_wrong_is_a_mistake_of_the_declaration(clean: Scene) -> None:
    clean.fails("BadRequest", feed(where="nosuch = 'x'"))
    assert asked_for(clean) == [ABOUT, "records"]


def test_withdrawn_rows_are_gone_and_nothing_at_all_is_said(clean: Scene) -> None:
    clean.serve(rows(30))
    clean.fault("rows_withdrawn")
    assert clean.rows(clean.fetch()) == read_back(30)[4:]
    clean.serve([])
    assert clean.fetch().outcome == "Empty"
