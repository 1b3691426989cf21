"""sdmx21 and sdmx30 against the stand-in: whole or failed, exports that take time, halves, changes alone, flags of TSV."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.archive.fetches import open_bodies
from assets.feeds.model import Feed
from assets.tables.staging import stage
from tests.protocols.standin_scene import Scene, fetch_on_paper, paper, scene
from tests.protocols.test_sdmx21 import COLUMNS, OPTIONS, ROUTE, WINDOW, feed, read, rows

FAULTS = ["sdmx_error:500", "sdmx_error:140", "sdmx_error:510", "sdmx_error_200:100", "html_200", "status_500:1",
          "column_renamed", "utf8_bom", "no_data"]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 12),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
    st.sampled_from(["SDMX-CSV", "CSV2"]),
    st.one_of(st.none(), st.integers(1, 24)),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(
    count: int, faults: list[str], form: str, largest: int | None
) -> None:
    one = feed(**{**WINDOW, "params": {**WINDOW["params"], "format": form}})
    limits = {"synchronous": largest, "maximum": largest} if largest else {}
    with tempfile.TemporaryDirectory() as folder:
        agency = paper(Path(folder), one, rows(count), faults=faults, **{**ROUTE, "options": OPTIONS | limits})
        done = fetch_on_paper(one, agency)
    assert done.outcome in ("Ok", "Empty", "Malformed", "Transient", "BadRequest"), done
    if done.outcome == "Ok":
        assert sorted(done.rows, key=str) == sorted(read(count), key=str)
    if done.outcome == "Empty":
        assert count == 0 or {"sdmx_error_200:100", "no_data"} & set(faults)
    if not faults and count and (largest is None or largest >= 2):
        assert done.outcome == "Ok"


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("stat"), feed(**WINDOW), rows(12), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.serve(rows(12))
    agency.fault()
    agency.forget()
    agency.agency.memories.clear()
    return agency


def named(word: str) -> Feed:
    """The same feed with a memory of its own: no earlier answer is compared with."""
    return feed().model_copy(update={"id": f"kr.test.{word}"})


def paths(scene: Scene) -> list[str]:
    return [request["path"].removeprefix("/sdmx/2.1/") for request in scene.requests]


def test_one_answer_is_the_fetch_and_the_next_is_not_modified(clean: Scene) -> None:
    one = feed()
    assert clean.rows(clean.fetch(one), one) == read(12)
    assert clean.ledger.validators("kr.test.rows", None, 0).provider_stamp == "STAT:RATES(1.0)"
    again = clean.fetch(one)
    assert again.outcome == "NotModified" and paths(clean) == ["data/RATES/M.KR+US"] * 2
    assert [request["status"] for request in clean.requests] == [200, 304]


@pytest.mark.parametrize(
    ("fault", "outcome", "times"),
    [
        ("sdmx_error:140", "BadRequest", 1),
        ("sdmx_error:110", "AuthFailed", 1),
        ("sdmx_error:500", "Transient", 5),
        ("sdmx_error_200:150", "BadRequest", 1),
        ("sdmx_error_200:503", "Transient", 5),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("column_renamed", "Malformed", 2),
        ("status_403", "AuthFailed", 1),
        ("status_500", "Transient", 5),
        ("truncated_gzip", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, times: int) -> None:
    clean.fault(fault)
    clean.fails(outcome, named("faults"))
    assert len(clean.requests) == times


@pytest.mark.parametrize(
    "fault", ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "utf8_bom"]
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    """A cut answer is continued by range where the service gives an ETag."""
    one = named(fault.partition(":")[0])
    clean.fault(fault)
    assert sorted(clean.rows(clean.fetch(one), one)) == sorted(read(12))


def test_an_export_is_waited_for(clean: Scene) -> None:
    clean.fault("async_footer:3")
    clean.clock.slept.clear()
    one = feed(params={"detail": "export"})
    assert clean.rows(clean.fetch(one), one) == read(12)
    assert paths(clean) == ["data/RATES/M.KR+US", *["async/0"] * 4] and clean.clock.slept == [300.0] * 4


def test_an_export_that_is_never_there_ends_at_the_deadline(clean: Scene) -> None:
    clean.fault("async_footer:99")
    assert "in time" in str(clean.fails("Transient", feed(limits={"total_timeout_s": 1500})))
    assert len(clean.requests) == 6


def test_the_structure_is_archived_and_asked_for_each_time(clean: Scene) -> None:
    one = feed(structure="datastructure/STAT/RATES?references=children")
    record = clean.fetch(one)
    assert clean.rows(record, one) == read(12)
    assert paths(clean) == ["datastructure/STAT/RATES", "data/RATES/M.KR+US"] and record.responses == 2
    clean.serve(rows(12, OBS_FLAG="p"))
    clean.forget()
    assert clean.fetch(one).outcome in ("Ok", "NotModified") and len(clean.requests) == 2


def test_what_is_too_large_is_asked_in_halves(clean: Scene) -> None:
    options = OPTIONS | {"synchronous": 5, "maximum": 5}
    with scene(clean.folder / "small", feed(**WINDOW), rows(12), **{**ROUTE, "options": options}) as small:
        assert sorted(small.rows(small.fetch())) == sorted(read(12))
        asked = [request["query"] for request in small.requests]
        assert asked[0] == "startPeriod=2025-11&endPeriod=2026-10" and asked[1] == "startPeriod=2025-11&endPeriod=2026-04"
        small.forget()
        small.serve(rows(12, tuple(f"A{n}" for n in range(9))))
        assert "EXTRACTION_TOO_BIG" in str(small.fails("BadRequest", feed(**WINDOW, key="all")))


def test_changes_alone_come_with_updated_after(clean: Scene) -> None:
    one = feed(params={"updatedAfter": "{since:%Y-%m-%dT%H:%M:%SZ}"})
    fresh = one.model_copy(update={"id": "kr.test.changes"})
    old = rows(12, _updated="2026-01-01T00:00:00Z")
    clean.serve(old)
    assert clean.rows(clean.fetch(fresh), fresh) == read(12)
    assert clean.fetch(fresh).outcome == "Empty"
    clean.serve([*old[:-1], old[-1] | {"_updated": "2027-01-01T00:00:00Z", "OBS_VALUE": "99"}])
    assert clean.rows(clean.fetch(fresh), fresh) == [("US", "2026-10", "99")]


def test_updated_after_where_it_is_not_supported_is_an_error_once(clean: Scene) -> None:
    with scene(clean.folder / "old", feed(), rows(3), **{**ROUTE, "options": OPTIONS | {"updated_after": False}}) as old:
        old.fails("BadRequest", feed(params={"updatedAfter": "2026-01-01"}))
        assert len(old.requests) == 1


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ({"key": "M.XX"}, "Empty"),
        ({"flow": "NONE"}, "Empty"),
        ({"key": "M"}, "BadRequest"),
        ({"params": {"format": "x"}}, "BadRequest"),
    ],
)
def test_queries_that_bring_nothing(clean: Scene, source: dict[str, Any], outcome: str) -> None:
    if outcome == "Empty":
        assert clean.fetch(feed(**source)).outcome == "Empty"
    else:
        clean.fails(outcome, feed(**source))
    assert len(clean.requests) == 1


def test_flags_of_tsv_stand_beside_the_value_and_its_marker_in_its_status(clean: Scene) -> None:
    value = {"name": "rate", "source": "OBS_VALUE", "type": "decimal", "scale": 1}
    one: Feed = feed(["AREA", "TIME_PERIOD", value, "OBS_FLAG"], format="tsv", params={"format": "TSV"})
    one = one.model_copy(update={"decode": one.decode.model_copy(update={"null_values": ("", ":")})})
    some = rows(2, ("KR",))
    some[0]["OBS_FLAG"], some[1]["OBS_VALUE"], some[1]["OBS_FLAG"] = "p", None, "c"
    clean.serve(some)
    record = clean.fetch(one)
    assert clean.rows(record, one) == [("KR", "2025-11", "0.5", "p"), ("KR", "2025-12", ":", "c")]
    out = clean.folder / "tsv"
    out.mkdir()
    stream = one.protocol.parse(one, one.source, open_bodies(clean.store, clean.ledger, record, out))
    staged = stage(one, stream, out / "staged.parquet")
    found = duckdb.sql(f"SELECT rate, rate_status FROM '{out}/staged.parquet' ORDER BY 1").fetchall()
    assert staged is not None and [(str(v), s) for v, s in found] == [("0.5", None), ("None", ":")]


@pytest.mark.parametrize(("form", "word"), [("csv", "SDMX-CSV"), ("tsv", "TSV")])
@pytest.mark.parametrize("fault", ["", "async_footer:1"])
def test_answers_that_come_packed_are_read(clean: Scene, form: str, word: str, fault: str) -> None:
    one = feed(format=form, params={"format": word, "compressed": "true"})
    clean.fault(*[fault] if fault else [])
    record = clean.fetch(one)
    assert sorted(clean.rows(record, one)) == sorted(read(12))


def test_tables_without_a_header_of_tsv_are_refused(clean: Scene) -> None:
    clean.fails("Malformed", feed(COLUMNS, format="tsv", params={"format": "SDMX-CSV"}))
    assert len(clean.requests) == 2
