"""seoul against the stand-in: whole or failed, whatever the page size and the faults; nothing asked again that must not be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from tests.protocols.standin_scene import NOW, Scene, feed_for, fetch_on_paper, paper, scene

FORMER = {"USE_YMD": "USE_DT", "SBWY_ROUT_LN_NM": "LINE_NUM", "SBWY_STNS_NM": "SUB_STA_NM", "GTON_TNOPE": "RIDE_PASGR_NUM"}
FIELDS = ["SBWY_STNS_NM", "GTON_TNOPE"]
OPTIONS = {
    "service": "CardSubwayStatsNew", "options": ["USE_YMD", "SBWY_ROUT_LN_NM", "SBWY_STNS_NM"], "required": 1,
    "lengths": {"USE_YMD": 8}, "renamed": FORMER,
}  # fmt: skip
ROUTE: dict[str, Any] = {"kind": "seoul", "host": "openapi.seoul.go.kr", "path": "/", "options": OPTIONS}
DAY = "20261121"


def feed(size: int = 10, columns: list[str] = FIELDS, missing: str = "freeze", **source: Any) -> Feed:
    declared = {"protocol": "seoul", "service": "CardSubwayStatsNew", "params": {"day": DAY}, "size": size}
    contract = {"columns": [{"name": c.lower(), "source": c} for c in columns], "missing_columns": missing}
    return feed_for(declared | source, columns, contract=contract)


def rows(count: int, day: str = DAY) -> list[dict[str, Any]]:
    return [row(n, day) for n in range(count)]


def row(n: int, day: str) -> dict[str, Any]:
    riders = float(n) if n % 2 else str(n)
    return {"USE_YMD": day, "SBWY_ROUT_LN_NM": f"{n % 9 + 1}호선", "SBWY_STNS_NM": f"역 {n}", "GTON_TNOPE": riders}


def read(count: int) -> list[tuple[str, str]]:
    return [(f"역 {n}", str(n)) for n in range(count)]


FAULTS = [
    "page_size_capped:3",
    "offset_ignored",
    "duplicate_rows_between_pages",
    "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50",
    "xml_error_on_json:ERROR-500",
    "xml_error_on_json:INFO-100",
    "html_200",
    "empty_body_200",
    "status_500:1",
    "no_data",
    "column_renamed",
]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(1, 15),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
    st.sampled_from(["json", "xml"]),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, faults: list[str], kind: str) -> None:
    one = feed(size, type=kind)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, rows(total), faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "Empty", "Malformed", "AuthFailed", "Transient"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert [(name, float(count or "nan")) for name, count in done.rows] == [(f"역 {n}", n) for n in range(total)]
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("plaza"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.serve(rows(25))
    agency.fault()
    agency.forget()
    agency.secret = agency.agency.config.key
    return agency


def paths(scene: Scene) -> list[str]:
    return [request["path"] for request in scene.requests]


def test_all_pages_once_with_the_key_in_no_log(clean: Scene) -> None:
    record = clean.fetch()
    assert clean.rows(record) == read(25)
    assert paths(clean) == [f"/***/json/CardSubwayStatsNew/{first}/{first + 9}/{DAY}" for first in (1, 11, 21)]
    assert clean.secret not in repr(record)


def test_xml_has_the_same_rows(clean: Scene) -> None:
    one = feed(type="xml")
    assert [name for name, _ in clean.rows(clean.fetch(one), one)] == [name for name, _ in read(25)]


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("xml_error_on_json:INFO-100", "AuthFailed", 1),
        ("xml_error_on_json:ERROR-310", "Gone", 1),
        ("xml_error_on_json:ERROR-300", "BadRequest", 1),
        ("xml_error_on_json:ERROR-600", "Transient", 5),
        ("status_403", "AuthFailed", 1),
        ("status_404", "Gone", 1),
        ("status_500", "Transient", 5),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("total_changes_mid_crawl:99", "Malformed", 6),
        ("column_renamed", "Malformed", 2),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault",
    [
        "status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7", "cp949_body",
        "utf8_bom", "total_changes_mid_crawl:2",
    ],
)  # fmt: skip
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read(25)


def test_renamed_columns_are_drift_and_not_empty_values(clean: Scene) -> None:
    clean.fault("column_renamed")
    error = clean.fails("Malformed")
    assert "SBWY_STNS_NM" in str(error) and "SUB_STA_NM" in str(error)
    lenient = feed(size=25, missing="null")
    assert clean.rows(clean.fetch(lenient), lenient) == [(None, None)] * 25
    former = feed(columns=["SUB_STA_NM", "RIDE_PASGR_NUM"])
    assert clean.rows(clean.fetch(former), former) == read(25)


def test_the_sample_key_gives_five_rows_and_no_more(clean: Scene) -> None:
    clean.secret = "sample"
    assert "ERROR-335" in str(clean.fails("AuthFailed"))
    assert len(clean.requests) == 1
    clean.serve(rows(5))
    five = feed(size=5)
    assert clean.rows(clean.fetch(five), five) == read(5)
    clean.serve(rows(6))
    clean.fails("AuthFailed", five)


def test_a_wrong_key_is_asked_once(clean: Scene) -> None:
    clean.secret = "4f4f4f4f4f4f4f4f4f4f4f4f"
    assert clean.secret not in str(clean.fails("AuthFailed"))
    assert paths(clean) == [f"/***/json/CardSubwayStatsNew/1/10/{DAY}"]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"service": "NoSuchService"}, "Gone"),
        ({"params": {}}, "BadRequest"),
        ({"params": {"day": "2026112111"}}, "BadRequest"),
    ],
)
def test_a_query_that_the_plaza_refuses_is_not_asked_again(clean: Scene, change: dict[str, Any], outcome: str) -> None:
    clean.fails(outcome, feed(**change))
    assert len(clean.requests) == 1


def test_an_option_in_the_middle_may_be_skipped(clean: Scene) -> None:
    one = feed(params={"day": DAY, "line": "", "station": "역 7"})
    assert clean.rows(clean.fetch(one), one) == [("역 7", "7")]
    assert paths(clean) == [f"/***/json/CardSubwayStatsNew/1/10/{DAY}/ /역 7"]


def test_days_without_rows_are_empty_and_others_are_kept(clean: Scene) -> None:
    week = feed(params={"day": "{start:%Y%m%d}"}, window={"every": "day", "count": 3, "lag": "P3D"})
    clean.clock.time = NOW
    clean.serve([*rows(3, "20261121"), *rows(12, "20261122")])
    record = clean.fetch(week)
    assert (record.outcome, clean.rows(record, week)) == ("Ok", read(3) + read(12))
    assert [path.rpartition("/")[2] for path in paths(clean)] == ["20261120", "20261121", "20261122", "20261122"]
    clean.serve(rows(3, "20200101"))
    assert clean.fetch(week).outcome == "Empty"


def test_errors_in_the_subways_own_wrapping(tmp_path: Path) -> None:
    options = {"service": "realtimeStationArrival", "prefix": "/api/subway/", "wrapped": True}
    route = {"kind": "seoul", "host": "swopenapi.seoul.go.kr", "path": "/api/subway", "options": options}
    trains = feed(base_url="http://swopenapi.seoul.go.kr/api/subway", service="realtimeStationArrival", params={"station": "가나"})
    with scene(tmp_path, trains, [], **route) as opened:
        assert opened.fetch().outcome == "Empty"
        opened.secret = "nobodys-key"
        opened.fails("AuthFailed")
        assert paths(opened) == ["/api/subway/***/json/realtimeStationArrival/1/10/가나"] * 2
