"""What a sample suggests: types, markers, keys, and bounds that tomorrow's rows will keep too."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.onboarding.columns import propose
from assets.onboarding.naming import column_name, column_names, romanised
from quality.contract import Column, Contract


def guessed(*values: str, source: str = "a") -> dict[str, Any]:
    proposal = propose([source], [[value] for value in values])
    return proposal.columns[0].declared


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        (("1", "-2", "30"), {"type": "integer"}),
        (("1", "2.5"), {"type": "number"}),
        (("1,204", "12"), {"type": "integer", "thousands": ","}),
        (("2026-01-31", "2026-02-01"), {"type": "date"}),
        (("1994.05.02", "2011.03.15"), {"type": "date", "format": "%Y.%m.%d"}),
        (("20260131", "20260201"), {"type": "date", "format": "%Y%m%d"}),
        (("31/12/2017", "01/12/2017"), {"type": "date", "format": "%d/%m/%Y"}),
        (("12/31/2017", "12/01/2017"), {"type": "date", "format": "%m/%d/%Y"}),
        (("2026-11-25 14:00", "2026-11-25 15:00"), {"type": "timestamp", "format": "%Y-%m-%d %H:%M"}),
        (("2026-11-25T14:00:00Z",), {"type": "timestamp"}),
        (("202601", "202612"), {"type": "period", "max_length": 7}),
        (("2024Q1", "2024Q4"), {"type": "period", "max_length": 7}),
        (("2024S1", "2024S2"), {"type": "period", "max_length": 7}),
        (("2014 1/4", "2014 4/4"), {"type": "period", "max_length": 8}),
        (("2017.1/4", "2017.2/4"), {"type": "period", "max_length": 8}),
        (("23:59:00", "25:10:00"), {"type": "duration"}),
        (("Y", "N", "Y"), {"type": "boolean"}),
    ],
)
def test_types_by_their_values(values: tuple[str, ...], declared: dict[str, Any]) -> None:
    assert {k: v for k, v in guessed(*values).items() if k not in ("cleared", "nullable")} == declared


def test_codes_with_leading_zeros_and_of_one_length_stay_text() -> None:
    """01101 and 1101 are two districts; a number would make them one."""
    assert guessed("01101", "11010")["type"] == "string"
    assert guessed("1101000000", "1102000000", source="법정동코드")["type"] == "string"


def test_markers_count_only_where_the_rest_has_a_type() -> None:
    proposal = propose(["n", "memo"], [["1", "X"], ["-", "y"], ["...", "-"], ["2", "z"]])
    assert proposal.columns[0].declared["type"] == "integer" and proposal.columns[1].declared["type"] == "string"
    assert proposal.decode == {"null_values": ["", "-", "..."]}


def test_24_oclock_and_sentinels() -> None:
    rows = [[f"2026-11-25 {hour:02}:00", "-999" if hour == 3 else str(hour)] for hour in range(1, 25)]
    proposal = propose(["time", "level"], rows)
    assert proposal.decode == {"allow_24h": True}
    assert proposal.columns[1].declared | {"cleared": True} == {"type": "integer", "sentinels": [-999], "cleared": True}
    assert [note.key for note in proposal.notes] == ["key_guess", "sentinels"]


@pytest.mark.parametrize(
    ("source", "bounds"),
    [
        ("인구수", {"min": 0}), ("대출 건수", {"min": 0}), ("면적(㎡)", {"min": 0}), ("Rented Bike Count", {"min": 0}),
        ("precipitation", {"min": 0}), ("rowCount", {"min": 0}),
        ("습도(%)", {"min": 0, "max": 100}), ("위도", {"min": -90, "max": 90}),
        ("평균기온", {}), ("증감률(%)", {}), ("전년대비(%)", {}), ("소비자물가지수", {}), ("순이동자수", {}), ("인구 증감 수", {}),
        ("Price", {}), ("Population change", {}), ("Temperature", {}),
    ],
)  # fmt: skip
def test_bounds_are_of_what_is_counted_or_measured_from_nothing(source: str, bounds: dict[str, int]) -> None:
    """A price was never below zero before 20 April 2020, and a winter is colder than a sample of the summer."""
    declared = guessed("12", "25", "31", source=source)
    assert {name: declared[name] for name in ("min", "max") if name in declared} == bounds


def test_no_price_of_oil_is_refused_for_a_bound_from_the_rows_before_it(shared_data: Path) -> None:
    rows = list(csv.reader((shared_data / "eia-wti-editions" / "2024-10-05.csv").read_text(encoding="utf-8-sig").splitlines()))
    price = propose(rows[0], rows[1:5001]).columns[1]
    lowest = min(float(row[1]) for row in rows[1:] if row[1])
    assert price.source == "Price" and lowest < 0 and "min" not in price.declared


def test_a_value_that_is_merely_large_is_no_sentinel() -> None:
    assert "sentinels" not in guessed("9998", "9999", "10000")
    assert "sentinels" not in guessed("-90", "-99", "-80")


def test_the_key_is_the_fewest_columns_that_tell_rows_apart() -> None:
    rows = [[library, month, "7"] for library in ("강변", "달빛") for month in ("2026-09", "2026-10")]
    assert propose(["도서관명", "기준월", "대출"], rows).key == ("doseogwanmyeong", "gijunwol")
    assert propose(["n", "id"], [["5", "a"], ["6", "b"]]).key == ("id",)
    assert propose(["a"], [["x"], ["x"]]).key == ()
    # A column with a gap identifies nothing.
    assert propose(["id", "day"], [["", "2026-01-01"], ["a", "2026-01-02"]]).key == ("day",)


def test_what_may_be_about_people_is_not_shown() -> None:
    proposal = propose(["대표자 성명", "전화번호", "면적"], [["홍길동", "02-000-0000", "12"], ["김철수", "02-000-0001", "13"]])
    assert [column.declared.get("cleared", False) for column in proposal.columns] == [False, False, True]
    assert [note.key for note in proposal.notes].count("personal") == 2


@pytest.mark.parametrize(
    ("source", "value", "shown"),
    [
        ("contactPoint.fn", "Harold", False), ("contactPoint.hasEmail", "mailto:h@a.gov", False),
        ("Contact Email", "none yet", False),
        ("비고", "hong@hanbit.example", False), ("memo", "010-1234-5678", False), ("번호", "900101-1******", False),
        ("name", "Kim", False), ("agency_phone", "(07)405", False), ("주민센터", "청운동", True), ("route_short_name", "110", True),
        ("agency_name", "Translink", True), ("Airport Name", "JFK", True), ("비고", "정상", True),
    ],
)  # fmt: skip
def test_a_column_is_about_people_by_its_header_however_written_or_by_its_values(source: str, value: str, shown: bool) -> None:
    """Few values that come often would be cleared to be shown: one officer's address stands in every row of a catalogue."""
    proposal = propose([source, "n"], [[value, str(n)] for n in range(20)])
    assert (proposal.columns[0].declared.get("cleared", False), [n.key for n in proposal.notes].count("personal")) == (
        shown,
        not shown,
    )


def test_people_are_no_key_where_anything_else_is() -> None:
    assert propose(["이름", "점수"], [[f"a{n}", str(n)] for n in range(40)]).key == ("jeomsu",)


def test_names_of_columns() -> None:
    assert romanised("대출권수") == "daechulgwonsu" and romanised("값") == "gap" and romanised("abc") == "abc"
    assert column_name("properties.mag") == "mag" and column_name("PM10 Value") == "pm10_value"
    assert (
        column_name("면적(㎡)") == "myeonjeok" and column_name("stationName") == "station_name" and column_name("2024") == "c_2024"
    )
    assert column_names(["a", "A", "a b", "a_status"]) == {"a": "a", "A": "a_2", "a b": "a_b", "a_status": "a_status_2"}


@pytest.mark.parametrize("name", ["noaa-seattle-weather.csv", "faa-airports.csv", "seoul-bike-hourly.csv"])
def test_real_files_keep_what_is_proposed_of_their_first_half(name: str, shared_data: Path) -> None:
    """Bounds and types of the first rows hold for all the others: the agency's next edition is not refused for being new."""
    rows = list(csv.reader((shared_data / name).read_text(encoding="utf-8-sig").splitlines()))
    header, body = rows[0], rows[1:]
    half, whole = propose(header, body[: len(body) // 2]), propose(header, body)
    assert [c.declared["type"] for c in half.columns] == [c.declared["type"] for c in whole.columns]
    assert half.key == whole.key


CELL = st.one_of(
    st.none(), st.sampled_from(["", "-", "1", "2.5", "1,000", "2026-01-01", "24:00", "Y", "가나", "-999"]), st.text(max_size=8)
)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 4).flatmap(lambda n: st.tuples(
    st.lists(st.text(min_size=1, max_size=12), min_size=n, max_size=n, unique=True),
    st.lists(st.lists(CELL, min_size=n, max_size=n), max_size=12),
)))  # fmt: skip
def test_any_sample_gives_a_contract_that_is_valid(sample: tuple[list[str], list[list[str | None]]]) -> None:
    sources, rows = sample
    proposal = propose(sources, rows)
    columns = tuple(Column.model_validate(guess.as_column()) for guess in proposal.columns)
    assert Contract(columns=columns, key=proposal.key).columns == columns
