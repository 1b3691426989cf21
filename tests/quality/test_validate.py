"""A validation of staged rows: which rows fail, what blocks, what may be shown; and its Data Docs without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from quality.contract import Column, Contract, ExpectationSpec
from quality.suite import suite_of
from quality.validate import HIDDEN, validate
from quality.verdict import ExpectationVerdict

SECRET = "880101-1234567"

STAGED = f"""
SELECT i AS station, i % 24 AS hour, CASE WHEN i = 17 THEN NULL ELSE i * 1.5 END AS rented,
  CASE WHEN i = 5 THEN 'Monsoon' ELSE ['Spring', 'Summer'][1 + i % 2] END AS season, '{SECRET}' || i AS person,
  i + 1 AS _source_row,
  CASE WHEN i = 17 THEN [{{'rule': 'type', 'column': 'rented', 'reason': 'not a number'}}]
    WHEN i = 5 THEN [{{'rule': 'codes', 'column': 'season', 'reason': 'not a code'}}] ELSE [] END AS _failures,
  CASE WHEN i IN (5, 17) THEN '{{"person": "{SECRET}"}}' END AS _raw
FROM range(100) t(i)
"""

CONTRACT = Contract(
    columns=(
        Column(name="station", type="integer", nullable=False, min=0, max=98),
        Column(name="hour", type="integer", nullable=False),
        Column(name="rented", type="number", cleared=True),
        Column(name="season", codes=("Spring", "Summer")),
        Column(name="person", pattern=r"\d{6}-\d{7,9}", max_length=15),
    ),
    key=("station", "hour"),
    min_rows=50,
)


def spec(type_: str, severity: Any = "critical", **kwargs: Any) -> ExpectationSpec:
    return ExpectationSpec(type=type_, kwargs=kwargs, severity=severity)


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("staged") / "part-0.parquet"
    duckdb.execute(f"COPY ({STAGED}) TO '{path}' (FORMAT parquet)")
    return path


WRITTEN = (
    spec("expect_column_mean_to_be_between", column="rented", min_value=0, max_value=1000),
    spec("expect_column_max_to_be_between", column="hour", max_value=5),
    spec("expect_column_distinct_values_to_be_in_set", "warning", column="person", value_set=["nobody"]),
    spec("expect_column_values_to_be_between", "warning", column="hour", max_value=22),
    spec("expect_column_values_to_be_between", column="hour", min_value=1, mostly=0.99),
    spec("expect_column_values_to_be_between", "warning", column="gone", min_value=0),
    spec("expect_column_values_to_match_regex", column="person", regex="(?!x)"),
    spec("expect_column_sum_to_be_between", "info", column="person", min_value=0),
    spec("expect_table_column_count_to_equal", value=5),
)


@pytest.fixture(scope="module")
def verdict(staged: Path) -> ExpectationVerdict:
    return validate(
        suite_of(CONTRACT, WRITTEN), staged, cleared={"rented"}, declared=[c.name for c in CONTRACT.columns], label="kr.test"
    )


def test_failing_rows_are_named_by_their_source_row(verdict: ExpectationVerdict) -> None:
    assert verdict.failing_rows == {
        "values_parse_as_declared": [18],
        "column_values_to_be_between_station": [100],
        "column_values_to_be_in_set_season": [6],
        "column_value_lengths_to_be_between_person": list(range(11, 101)),
    }
    assert verdict.truncated == () and verdict.statistics["rows"] == 100


def test_what_blocks_and_what_goes_to_quarantine(verdict: ExpectationVerdict) -> None:
    failed = {c.name: c for c in verdict.checks if not c.passed}
    blocked = [c.name for c in verdict.blocked]
    assert len(blocked) == 3 and blocked[0] == "column_max_to_be_between_hour"
    assert re.fullmatch(r"column_values_to_be_between_hour_[0-9a-f]{8}", blocked[1])  # a share of rows
    assert re.fullmatch(r"column_values_to_match_regex_person_[0-9a-f]{8}", blocked[2])  # it raised
    assert not failed["column_values_to_be_in_set_season"].blocking  # its row is set aside
    assert failed["column_max_to_be_between_hour"].blocking
    assert not failed["column_values_to_be_between_hour"].blocking  # a warning
    assert verdict.check("compound_columns_to_be_unique_station_hour").blocking
    assert verdict.check("compound_columns_to_be_unique_station_hour").passed
    assert verdict.check("table_columns_to_match_set").passed and verdict.check("table_column_count_to_equal").passed


def test_an_expectation_that_raises_fails_alone_with_its_reason(verdict: ExpectationVerdict) -> None:
    raised = {c.name: c for c in verdict.checks if c.note.startswith("raised")}
    assert len(raised) == 3
    (regex,) = [c for c in raised.values() if "regex" in c.name]
    assert regex.blocking and "invalid perl operator" in regex.note
    assert not raised["column_values_to_be_between_gone"].blocking and '"gone"' in raised["column_values_to_be_between_gone"].note
    assert raised["column_sum_to_be_between_person"].severity == "info"
    assert verdict.check("column_mean_to_be_between_rented").observed == pytest.approx((4950 - 17) * 1.5 / 99)


def test_no_value_of_an_uncleared_column_anywhere(verdict: ExpectationVerdict) -> None:
    assert verdict.check("column_max_to_be_between_hour").note == HIDDEN
    assert verdict.check("column_max_to_be_between_hour").observed is None
    text = json.dumps(verdict.as_json(), ensure_ascii=False)
    assert SECRET not in text and "Monsoon" not in text and "unexpected_list" not in text and "unexpected_rows" not in text
    assert ExpectationVerdict.from_json(json.loads(text)) == verdict


def test_nothing_of_a_value_in_logs_or_output(staged: Path, tmp_path: Path) -> None:
    """A conversion error quotes the value that it chokes on; it must reach neither a log nor the result."""
    code = (
        "import logging, json, sys; logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)\n"
        "logging.getLogger('sqlalchemy').setLevel(logging.WARNING)\n"
        "from pathlib import Path; from quality.validate import validate; from quality.contract import ExpectationSpec as S\n"
        "kinds = {'sum_to_be_between': {'min_value': 0}, 'values_to_not_be_outliers': {'method': 'iqr', 'multiplier': 1}}\n"
        "specs = [S(type='expect_column_' + kind, kwargs={'column': 'person', **more}) for kind, more in kinds.items()]\n"
        f"v = validate(specs, Path({str(staged)!r}))\n"
        "print(json.dumps(v.as_json()))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(root)}, check=True
    )
    assert "raised" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []  # and no file of Great Expectations' or DuckDB's in the working directory


def test_the_list_of_rows_can_be_bounded(staged: Path) -> None:
    specs = [spec("expect_column_values_to_be_between", column="station", min_value=50)]
    verdict = validate(specs, staged, max_failing_rows=7)
    (name,) = verdict.failing_rows
    assert len(verdict.failing_rows[name]) == 7 and verdict.truncated == (name,)
    assert verdict.check(name).unexpected_count == 50
    whole = validate(specs, staged)
    assert whole.failing_rows[name] == list(range(1, 51)) and whole.truncated == ()


def test_without_rows_a_critical_failure_blocks(staged: Path) -> None:
    specs = [spec("expect_column_values_to_be_between", column="station", min_value=50)]
    verdict = validate(specs, staged, rows_wanted=False)
    assert verdict.failing_rows == {} and [c.name for c in verdict.blocked] == ["column_values_to_be_between_station"]
    assert validate(specs, staged, row_column="not_there").blocked


def test_each_row_level_kind_names_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    duckdb.execute(
        "COPY (SELECT * FROM (VALUES (1, 1, 'a', '2024-01-01', 10), (2, 1, 'a', '24-01-01', 11), "
        f"(3, 2, NULL, 'x', 9), (4, 3, 'b', NULL, 12)) t(a, b, c, d, _source_row)) TO '{path}' (FORMAT parquet)"
    )
    cases = {
        ("expect_column_values_to_be_unique", "column", "b"): [10, 11],
        ("expect_column_values_to_not_be_null", "column", "c"): [9],
        ("expect_compound_columns_to_be_unique", "column_list", ("b", "c")): [10, 11],
        ("expect_column_values_to_be_decreasing", "column", "a"): [11, 12],
        ("expect_select_column_values_to_be_unique_within_record", "column_list", ("a", "b")): [10],
    }
    specs = [spec(t, **{k: list(v) if isinstance(v, tuple) else v}) for t, k, v in cases]
    specs += [
        spec("expect_column_values_to_match_strftime_format", column="d", strftime_format="%Y-%m-%d"),
        spec("expect_column_pair_values_a_to_be_greater_than_b", column_A="a", column_B="b"),
        spec("expect_multicolumn_sum_to_equal", column_list=["a", "b"], sum_total=2),
    ]
    verdict = validate(specs, path)
    assert [verdict.failing_rows[c.name] for c in verdict.checks] == [*cases.values(), [9, 11], [10], [9, 11, 12]]


def test_columns_may_be_called_what_sql_calls_its_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    named = ("at", "order", "select", "table", "group", "end", "Mixed Case", "기온", "rows", "sum", "a.b")
    columns = ", ".join(f'i AS "{name}"' for name in named)
    duckdb.execute(f"COPY (SELECT {columns}, i AS _source_row FROM range(20) t(i)) TO '{path}' (FORMAT parquet)")
    for type_, more in (
        ("expect_column_values_to_be_between", {"max_value": 17}),
        ("expect_column_values_to_be_unique", {}),
        ("expect_column_values_to_be_increasing", {"strictly": True}),
        ("expect_column_mean_to_be_between", {"max_value": 50}),
        ("expect_column_quantile_values_to_be_between", {"quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, 20]]}}),
    ):
        verdict = validate([spec(type_, column=name, **more) for name in named], path)
        assert [c.note for c in verdict.checks if c.note.startswith("raised")] == [], type_
        assert all(rows == [18, 19] for rows in verdict.failing_rows.values())
        assert len(verdict.failing_rows) == (len(named) if more == {"max_value": 17} else 0)
    verdict = validate([spec("expect_compound_columns_to_be_unique", column_list=list(named))], path)
    assert verdict.passed


def test_an_empty_table_and_several_files(staged: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.parquet"
    duckdb.execute(f"COPY (SELECT * FROM '{staged}' WHERE false) TO '{empty}' (FORMAT parquet)")
    verdict = validate(suite_of(CONTRACT, ()), empty)
    assert {c.name for c in verdict.checks if not c.passed} == {"table_row_count_to_be_between"}
    assert validate(suite_of(CONTRACT, ()), [empty, staged]).statistics["rows"] == 100
    with pytest.raises(OSError):
        validate(suite_of(CONTRACT, ()), tmp_path / "gone.parquet")
    assert validate([], staged).checks == ()


def test_data_docs_open_without_a_network(verdict: ExpectationVerdict, tmp_path: Path) -> None:
    from quality.data_docs import INDEX, PAGE, write

    when = datetime(2026, 11, 14, 2, tzinfo=UTC)
    write(verdict, tmp_path / "one", title="kr.test", run_name="20261114T020000Z-0a1b2c3d", run_time=when)
    write(verdict, tmp_path / "two", title="kr.test", run_name="20261114T020000Z-0a1b2c3d", run_time=when)
    for name in (INDEX, PAGE):
        page = (tmp_path / "one" / name).read_text("utf-8")
        assert page == (tmp_path / "two" / name).read_text("utf-8")
        assert SECRET not in page and "Monsoon" not in page
        assert not re.search(r"https?:|//[a-z]|<script|<img|<link|@import|url\(", page, re.I)
    assert "Values for given compound columns must be unique together" in page and "kr.test" in page


@pytest.mark.parametrize("tail", ["3295a00a", "7664a08a", "00000000", "0a1b2c3d"])
def test_data_docs_of_a_run_whose_id_reads_like_a_date(verdict: ExpectationVerdict, tmp_path: Path, tail: str) -> None:
    """Ids end in eight hex digits; one in ten thousand reads as a zone of some thousand hours, which no clock can compare."""
    from quality.data_docs import PAGE, write

    write(verdict, tmp_path, title="kr.test", run_name=f"20261114T020000Z-{tail}", run_time=datetime(2026, 11, 14, 2, tzinfo=UTC))
    assert f"20261114T020000Z-{tail}" in (tmp_path / PAGE).read_text("utf-8")


@pytest.mark.browser
def test_data_docs_in_a_browser(verdict: ExpectationVerdict, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    from quality.data_docs import INDEX, write

    write(verdict, tmp_path, title="kr.test", run_name="run", run_time=datetime(2026, 11, 14, tzinfo=UTC))
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("Chromium is not installed at /usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium), args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / INDEX).as_uri())
        page.click("text=The validation as Great Expectations shows it")
        assert page.locator("table.table tr").count() > len(verdict.checks) / 2
        assert page.locator("text=Overview").first.is_visible()
        browser.close()
    assert asked and all(url.startswith("file:") for url in asked)
