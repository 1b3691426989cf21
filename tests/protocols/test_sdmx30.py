"""sdmx30: addresses and filters of 3.0, CSV 2.0 with rows taken back, and whole fetches from the stand-in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.feeds.model import Feed
from assets.protocols.kernel import Cursor, Validators, When
from assets.protocols.sdmx30 import PROTOCOL
from tests.protocols.standin_scene import NOW, Scene, feed_for, fetch_on_paper, paper, scene
from tests.protocols.test_sdmx21 import COLUMNS, OPTIONS, read, rows

BASE = "https://stat.example/sdmx/3.0"
ROUTE: dict[str, Any] = {"kind": "sdmx30", "host": "stat.example", "path": "/sdmx/3.0", "options": OPTIONS}
SOURCE: dict[str, Any] = {"protocol": "sdmx30", "base_url": BASE, "agency": "STAT", "flow": "RATES", "key": "M.KR+US"}
PERIOD: dict[str, Any] = {
    "filters": {"TIME_PERIOD": "ge:{start:%Y-%m}+le:{last:%Y-%m}"},
    "window": {"every": "month", "count": 12, "requests": "one"},
}


def feed(columns: list[Any] = COLUMNS, **source: Any) -> Feed:
    return feed_for(SOURCE | source, columns)


def test_a_query_as_it_is_sent() -> None:
    one = feed(**PERIOD, params={"attributes": "none"}, version="1.0+")
    (step,) = PROTOCOL.plan(one, one.source, When(NOW))
    request = PROTOCOL.request(one, one.source, step, Cursor(), Validators())
    filters = "c%5BTIME_PERIOD%5D=ge%3A2025-11%2Ble%3A2026-10"
    assert request.url == f"{BASE}/data/dataflow/STAT/RATES/1.0+/M.KR+US?attributes=none&{filters}"
    assert dict(request.headers) == {"Accept": "application/vnd.sdmx.data+csv;version=2.0.0"}
    halves = [PROTOCOL.request(one, one.source, part, Cursor(), Validators()).url for part in PROTOCOL.split(one, one.source, step)]
    assert [url.partition("=ge")[2] for url in halves] == ["%3A2025-11%2Ble%3A2026-04", "%3A2026-05%2Ble%3A2026-10"]


@pytest.mark.parametrize("value", ["2026-01", "ge:2026+2027", "about:2026", "ge:{start:%Y}"])
def test_a_filter_without_operator_or_window_is_told_at_once(value: str) -> None:
    with pytest.raises(ValidationError, match=r"operator|window"):
        feed(filters={"TIME_PERIOD": value})


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 12),
    st.lists(
        st.sampled_from(["sdmx_error:500", "sdmx_error_200:140", "html_200", "status_503:1", "column_renamed", "no_data"]),
        max_size=2,
    ),
    st.one_of(st.none(), st.integers(1, 24)),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(count: int, faults: list[str], largest: int | None) -> None:
    one = feed(**PERIOD)
    limits = {"synchronous": largest, "maximum": largest} if largest else {}
    with tempfile.TemporaryDirectory() as folder:
        agency = paper(Path(folder), one, rows(count), faults=faults, **{**ROUTE, "options": OPTIONS | limits})
        done = fetch_on_paper(one, agency)
    assert done.outcome in ("Ok", "Empty", "Malformed", "Transient", "BadRequest"), done
    if done.outcome == "Ok":
        assert sorted(done.rows, key=str) == sorted(read(count), key=str)
    if not faults and (largest is None or largest >= 2):
        assert done.outcome == ("Ok" if count else "Empty")


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("stat3"), feed(), rows(12), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.serve(rows(12))
    agency.fault()
    agency.forget()
    agency.agency.memories.clear()
    return agency


def named(word: str, columns: list[Any] = COLUMNS, **source: Any) -> Feed:
    return feed(columns, **source).model_copy(update={"id": f"kr.test.{word}"})


@pytest.mark.parametrize(
    ("fault", "outcome", "times"),
    [
        ("sdmx_error:140", "BadRequest", 1), ("sdmx_error:110", "AuthFailed", 1), ("sdmx_error:503", "Transient", 5),
        ("sdmx_error_200:150", "BadRequest", 1), ("html_200", "Malformed", 2), ("empty_body_200", "Malformed", 2),
        ("column_renamed", "Malformed", 2), ("status_500", "Transient", 5), ("truncated_gzip", "Transient", 5),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, times: int) -> None:
    clean.fault(fault)
    clean.fails(outcome, named("faults"))
    assert len(clean.requests) == times


@pytest.mark.parametrize(
    "fault", ["status_500:2", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "utf8_bom", "async_footer:2"]
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    one = named(fault.partition(":")[0])
    clean.fault(fault)
    assert clean.rows(clean.fetch(one), one) == read(12)


def test_the_same_answer_again_is_not_modified(clean: Scene) -> None:
    one = named("again")
    assert clean.rows(clean.fetch(one), one) == read(12)
    assert clean.fetch(one).outcome == "NotModified" and [r["status"] for r in clean.requests] == [200, 304]


def test_rows_taken_back_come_marked_among_the_changes(clean: Scene) -> None:
    one = named("changes", ["ACTION", *COLUMNS], params={"updatedAfter": "{since:%Y-%m-%dT%H:%M:%SZ}"})
    old = rows(12, _updated="2026-01-01T00:00:00Z")
    clean.serve(old)
    assert clean.rows(clean.fetch(one), one) == [("I", *row) for row in read(12)]
    assert clean.fetch(one).outcome == "Empty"
    clean.serve([*old[:-1], old[-1] | {"_updated": "2027-01-01T00:00:00Z", "_deleted": True}])
    assert clean.rows(clean.fetch(one), one) == [("D", *read(12)[-1])]


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ({"key": "M.XX"}, "Empty"),
        ({"flow": "NONE"}, "Empty"),
        ({"filters": {"COLOUR": "eq:1"}}, "BadRequest"),
        ({"params": {"startPeriod": "2026"}}, "BadRequest"),
        ({"accept": "application/json"}, "BadRequest"),
    ],
)
def test_queries_that_bring_nothing(clean: Scene, source: dict[str, Any], outcome: str) -> None:
    one = named("nothing", **source)
    if outcome == "Empty":
        assert clean.fetch(one).outcome == "Empty"
    else:
        clean.fails(outcome, one)
    assert len(clean.requests) == 1
