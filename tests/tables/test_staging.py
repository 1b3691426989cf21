"""A contract as SQL: every rule, hostile text, time zones; and real agency files typed whole."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.errors import DeclarationError, IntegrityError, UnreadableSource
from assets.tables.rows import RowStream, batch_schema
from assets.tables.staging import stage
from tests.tables.making import make_feed, make_stream, read, staged_rows


def one(tmp_path: Path, value: str | None, type_: str, *, decode: dict[str, Any] | None = None, **column: Any) -> dict[str, Any]:
    """The staged row of a single value."""
    feed = make_feed([{"name": "v", "type": type_, **column}], decode=decode or {})
    return staged_rows(feed, [[value]], tmp_path)[1][0]


def rules(row: dict[str, Any]) -> list[str]:
    return [failure["rule"] for failure in row["_failures"]]


SOUND: list[tuple[str | None, str, dict[str, Any], Any]] = [
    ("12", "integer", {}, 12),
    ("12.0", "integer", {}, 12),
    ("+5", "integer", {}, 5),
    ("9007199254740993.0", "integer", {}, 9007199254740993),
    ("\u30007\t", "integer", {}, 7),
    ("1,234", "integer", {"thousands": ","}, 1234),
    ("-1,234,567", "integer", {"thousands": ","}, -1234567),
    ("1.234.567", "integer", {"thousands": "."}, 1234567),
    ("1,234.5", "number", {"thousands": ","}, 1234.5),
    ("1.5e-3", "number", {}, 0.0015),
    (".5", "number", {}, 0.5),
    ("1.250", "decimal", {"scale": 2}, Decimal("1.25")),
    ("Y", "boolean", {}, True),
    ("no", "boolean", {}, False),
    ("예", "boolean", {"true_values": ["예"], "false_values": ["아니오"]}, True),
    ("2024-02-29", "date", {}, date(2024, 2, 29)),
    ("1/2/2024", "date", {"format": "%d/%m/%Y"}, date(2024, 2, 1)),
    ("19880423.0", "date", {"format": "%Y%m%d.0"}, date(1988, 4, 23)),
    ("1517966773840", "timestamp", {"format": "epoch_ms"}, datetime(2018, 2, 7, 1, 26, 13, 840000)),
    ("1517966773.5", "timestamp", {"format": "epoch_s"}, datetime(2018, 2, 7, 1, 26, 13, 500000)),
    ("2024-01-01 09:00", "timestamp", {}, datetime(2024, 1, 1, 9)),
    ("2024-01-01T09:00:00.1234560", "timestamp", {}, datetime(2024, 1, 1, 9, 0, 0, 123456)),
    ("2024-01-01T09:00:00Z", "timestamp", {}, datetime(2024, 1, 1, 9)),
    ("2024-01-01T09:00+09", "timestamp", {}, datetime(2024, 1, 1)),
    ("2024-01-01 09:00:00 +0900", "timestamp", {}, datetime(2024, 1, 1)),
    ("2024Q1", "period", {}, "2024Q1"),
    ("25:10:00", "duration", {}, 90_600),
    ("24:00:00", "duration", {"max": 86_400}, 86_400),
    ("8:05:09", "duration", {}, 29_109),
    ("100:00:01", "duration", {}, 360_001),
    (None, "string", {}, None),
]
BROKEN: list[tuple[str | None, str, dict[str, Any], list[str]]] = [
    ("-", "integer", {}, ["type"]),
    ("1,234", "integer", {}, ["type"]),
    ("1명 (+1)", "integer", {}, ["type"]),
    ("12.5", "integer", {}, ["type"]),
    ("1_000", "integer", {}, ["type"]),
    ("0x1F", "integer", {}, ["type"]),
    ("９", "integer", {}, ["type"]),
    ("99999999999999999999", "integer", {}, ["type"]),
    ("12,34", "integer", {"thousands": ","}, ["type"]),
    ("1.5", "number", {"thousands": "."}, ["type"]),
    ("1e400", "number", {}, ["type"]),
    ("nan", "number", {}, ["type"]),
    ("inf", "number", {}, ["type"]),
    ("1.255", "decimal", {"scale": 2}, ["type"]),
    ("maybe", "boolean", {}, ["type"]),
    ("2023-02-29", "date", {}, ["type"]),
    ("2024-01-01 x", "date", {}, ["type"]),
    ("1/1/24", "date", {"format": "%d/%m/%Y"}, ["type"]),
    ("31/02/2024", "date", {"format": "%d/%m/%Y"}, ["type"]),
    ("99999999999999999", "timestamp", {"format": "epoch_ms"}, ["type"]),
    ("2024-01-01 24:00", "timestamp", {}, ["type"]),
    ("08:05", "duration", {}, ["type"]),
    ("08:60:00", "duration", {}, ["type"]),
    ("-1:00:00", "duration", {}, ["type"]),
    ("1e3:00:00", "duration", {}, ["type"]),
    ("90600", "duration", {}, ["type"]),
    ("24:00:01", "duration", {"max": 86_400}, ["max"]),
    (None, "duration", {"nullable": False}, ["not_null"]),
    ("2024-01-01 09:00:00.1234567", "timestamp", {}, ["type"]),
    (None, "integer", {"nullable": False}, ["not_null"]),
    ("", "string", {"nullable": False}, ["not_null"]),
    ("x", "integer", {"nullable": False}, ["type"]),
    ("-1", "integer", {"min": 0}, ["min"]),
    ("5", "integer", {"min": 5.5}, ["min"]),
    ("101", "number", {"max": 100}, ["max"]),
    ("0.01", "decimal", {"scale": 2, "min": 0.5}, ["min"]),
    ("1999-12-31", "date", {"min": "2000-01-01"}, ["min"]),
    ("2030-01-01", "timestamp", {"max": "2029-12-31T23:59:59"}, ["max"]),
    ("c", "string", {"codes": ["a", "b"]}, ["codes"]),
    ("abc1", "string", {"pattern": "[a-z]+"}, ["pattern"]),
    ("abcd", "string", {"codes": ["x"], "pattern": "[0-9]", "max_length": 3}, ["codes", "pattern", "max_length"]),
]


@pytest.mark.parametrize(("text", "type_", "column", "value"), SOUND)
def test_a_sound_value(tmp_path: Path, text: str | None, type_: str, column: dict[str, Any], value: Any) -> None:
    row = one(tmp_path, text, type_, **column)
    assert row["v"] == value and row["_failures"] == [] and row["_raw"] is None


@pytest.mark.parametrize(("text", "type_", "column", "broken"), BROKEN)
def test_a_broken_value(tmp_path: Path, text: str | None, type_: str, column: dict[str, Any], broken: list[str]) -> None:
    row = one(tmp_path, text, type_, **column)
    assert rules(row) == broken
    assert json.loads(row["_raw"]) == {"v": text}
    assert all(text not in failure["reason"] for failure in row["_failures"] if text and len(text) > 3)


def test_minus_zero_is_zero(tmp_path: Path) -> None:
    assert str(one(tmp_path, "-0.0", "number")["v"]) == "0.0"


SEOUL, NEW_YORK = {"timezone": "Asia/Seoul"}, {"timezone": "America/New_York"}


@pytest.mark.parametrize(
    ("text", "decode", "format_", "utc"),
    [
        ("2024-01-01 09:00", SEOUL, None, datetime(2024, 1, 1)),
        ("1988-07-01 12:00", SEOUL, None, datetime(1988, 7, 1, 2)),  # Korea's last summer time
        ("2024-01-01T09:00:00Z", SEOUL, None, datetime(2024, 1, 1, 9)),
        ("2024-01-15 12:00", NEW_YORK, None, datetime(2024, 1, 15, 17)),
        ("2024-07-15 12:00", NEW_YORK, None, datetime(2024, 7, 15, 16)),
        ("2024-11-03 01:30", NEW_YORK, None, datetime(2024, 11, 3, 6, 30)),  # happens twice: the later
        ("2024-12-31 24:00", SEOUL | {"allow_24h": True}, None, datetime(2024, 12, 31, 15)),
        ("2024-02-28T24:00:00", {"allow_24h": True}, None, datetime(2024, 2, 29)),
        ("2024123124", SEOUL | {"allow_24h": True}, "%Y%m%d%H", datetime(2024, 12, 31, 15)),
        ("24:00 31/12/2024", {"allow_24h": True}, "%H:%M %d/%m/%Y", datetime(2025, 1, 1)),
        ("2024-01-01 00:00 +0900", NEW_YORK, "%Y-%m-%d %H:%M %z", datetime(2023, 12, 31, 15)),
    ],
)
def test_times_become_universal(tmp_path: Path, text: str, decode: dict[str, Any], format_: str | None, utc: datetime) -> None:
    row = one(tmp_path, text, "timestamp", decode=decode, format=format_)
    assert row["_failures"] == [] and row["v"] == utc


@pytest.mark.parametrize(
    ("text", "decode", "format_"),
    [
        ("2024-03-10 02:30", NEW_YORK, None),
        ("1988-05-08 02:30", SEOUL, None),
        ("2024-12-31 24:01", {"allow_24h": True}, None),
        ("2024123124", {}, "%Y%m%d%H"),
        ("24:01 31/12/2024", {"allow_24h": True}, "%H:%M %d/%m/%Y"),
    ],
)
def test_times_that_are_none(tmp_path: Path, text: str, decode: dict[str, Any], format_: str | None) -> None:
    row = one(tmp_path, text, "timestamp", decode=decode, format=format_)
    assert rules(row) == ["type"] and row["v"] is None


def test_a_skipped_hour_says_so(tmp_path: Path) -> None:
    row = one(tmp_path, "2024-03-10 02:30", "timestamp", decode=NEW_YORK)
    assert "clock change" in row["_failures"][0]["reason"]


def test_markers_and_sentinels_keep_their_reason(tmp_path: Path) -> None:
    feed = make_feed(
        [{"name": "a", "type": "number", "min": 0}, {"name": "b", "null_values": ["."]}, {"name": "c", "nullable": False}],
        decode={"null_values": ["", "-", "X"], "sentinels": [-999]},
    )
    _, rows = staged_rows(
        feed, [["X", ".", "k"], ["-999.00", "-", "k"], [" - ", "x", "k"], [None, None, "k"], ["3", "", "-"]], tmp_path
    )
    assert [(r["a"], r["a_status"], r["b"], r["b_status"], rules(r)) for r in rows] == [
        (None, "X", None, ".", []),
        (None, "-999", "-", None, []),
        (None, "-", "x", None, []),
        (None, None, None, None, []),
        (3.0, None, "", None, ["not_null"]),
    ]
    assert "c_status" not in rows[0]


def test_without_trim_white_space_counts(tmp_path: Path) -> None:
    feed = make_feed([{"name": "a"}, {"name": "b", "type": "integer"}], decode={"trim": False})
    _, rows = staged_rows(feed, [[" x ", " 1"]], tmp_path)
    assert rows[0]["a"] == " x " and rules(rows[0]) == ["type"]


def test_a_broken_record_has_that_one_failure(tmp_path: Path) -> None:
    feed = make_feed([{"name": "a", "type": "integer", "nullable": False}])
    stream = RowStream(("a",), iter(()), ["a"], records_read=2)
    values = [["1", None], [1, 2], [None, "3 fields where 1 is promised"], [None, "x,y,z"]]
    arrays = [pa.array(v, f.type) for v, f in zip(values, batch_schema(("a",)), strict=True)]
    stream.batches = iter([pa.RecordBatch.from_arrays(arrays, schema=batch_schema(("a",)))])
    rows = read(stage(feed, stream, tmp_path / "s.parquet").path, "_source_row")
    assert rows[0]["_failures"] == []
    assert rows[1]["_failures"] == [{"rule": "record", "column": None, "reason": "3 fields where 1 is promised"}]
    assert json.loads(rows[1]["_raw"]) == {"_record": "x,y,z"}


def test_what_the_reader_raises_comes_out_as_it_was(tmp_path: Path) -> None:
    feed = make_feed([{"name": "a"}])
    stream = make_stream(feed, [["x"]] * 5)
    sound = stream.batches

    def failing() -> Any:
        yield next(sound)
        raise UnreadableSource("the file ends in the middle of a record", where="rows.csv")

    stream.batches = failing()
    with pytest.raises(UnreadableSource, match="middle of a record"):
        stage(feed, stream, tmp_path / "s.parquet")


def test_a_lost_row_is_noticed(tmp_path: Path) -> None:
    feed = make_feed([{"name": "a"}])
    stream = make_stream(feed, [["x"]] * 5)
    stream.records_read = 1
    with pytest.raises(IntegrityError):
        stage(feed, stream, tmp_path / "s.parquet")


def test_columns_beyond_and_below_the_promise(tmp_path: Path) -> None:
    feed = make_feed([{"name": "a"}, {"name": "b"}])
    staged, _ = staged_rows(feed, [["x", None]], tmp_path, seen=["a", "new", "new"])
    assert staged.unknown_columns == ("new",) and staged.missing_columns == ("b",)


def test_a_bound_that_is_no_date_is_the_declarations_fault(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="min"):
        one(tmp_path, "2024-01-01", "date", min="yesterday")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=TEXT.filter(lambda s: s != "k"),
    values=st.lists(TEXT, min_size=1, max_size=4),
    markers=st.lists(TEXT, max_size=3),
    codes=st.lists(TEXT, min_size=1, max_size=3),
)
def test_hostile_names_and_values_stay_text(
    tmp_path: Path, source: str, values: list[str], markers: list[str], codes: list[str]
) -> None:
    """Names, markers, codes and values are data, whatever quotes, controls or NULs they hold."""
    columns = [{"name": "select", "source": source, "codes": codes, "null_values": markers}, {"name": "k", "nullable": False}]
    feed = make_feed(columns, decode={"trim": False})
    _, rows = staged_rows(feed, [[value, "k"] for value in values], tmp_path)
    for value, row in zip(values, rows, strict=True):
        null = value in markers
        assert row["select"] == (None if null else value)
        if markers:
            assert row["select_status"] == (value if null else None)
        sound = null or value in codes
        assert rules(row) == ([] if sound else ["codes"])
        if not sound:
            assert json.loads(row["_raw"]) == {source: value, "k": "k"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.one_of(st.none(), TEXT, st.integers().map(str), st.floats().map(str), st.decimals().map(str)), min_size=1)
)
def test_numbers_are_exact_or_refused(tmp_path: Path, values: list[str | None]) -> None:
    """Whatever arrives: the exact number, or null with a failure. Never a rounded integer, never a silent null."""
    feed = make_feed([{"name": "i", "source": "v", "type": "integer", "null_values": []}])
    _, rows = staged_rows(feed, [[v] for v in values], tmp_path)
    for value, row in zip(values, rows, strict=True):
        if row["i"] is not None:
            assert (
                value is not None and Decimal(value.strip("\u200b\ufeff \t\r\n\f\v\xa0\u3000")) == row["i"] and not row["_failures"]
            )
        else:
            assert value is None or rules(row) == ["type"]
