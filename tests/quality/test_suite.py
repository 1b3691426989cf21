"""Suites from contracts: what is derived, how checks are named, and what is wrong with what people write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quality.contract import Column, Contract, ExpectationSpec
from quality.suite import blocks, check_names, derived, names, problems, sends_to_quarantine, suite_of

CONTRACT = Contract(
    columns=(
        Column(name="station", nullable=False, pattern="[A-Z]{3}", max_length=3),
        Column(name="at", type="timestamp", nullable=False, min="2024-01-01T00:00:00+09:00"),
        Column(name="day", type="date", max="2030-12-31"),
        Column(name="grade", codes=("1", "2")),
        Column(name="value", type="decimal", scale=2, min=0, max=100),
    ),
    key=("station", "at"),
)


def spec(type_: str, severity: Any = "critical", **kwargs: Any) -> ExpectationSpec:
    return ExpectationSpec(type=type_, kwargs=kwargs, severity=severity)


def test_a_contract_becomes_expectations() -> None:
    found = {name: s.kwargs for name, s in zip(names(derived(CONTRACT)), derived(CONTRACT), strict=True)}
    assert found["table_columns_to_match_set"]["column_set"] == ["station", "at", "day", "grade", "value"]
    assert found["table_row_count_to_be_between"] == {"min_value": 1}
    assert found["column_values_to_match_regex_station"]["regex"] == "^(?:[A-Z]{3})$"
    assert found["column_value_lengths_to_be_between_station"]["max_value"] == 3
    assert found["column_values_to_be_between_at"] == {"column": "at", "min_value": "2023-12-31T15:00:00"}  # universal time
    assert found["column_values_to_be_between_day"] == {"column": "day", "max_value": "2030-12-31"}
    assert found["column_values_to_be_between_value"] == {"column": "value", "min_value": 0, "max_value": 100}
    assert found["column_values_to_be_in_set_grade"]["value_set"] == ["1", "2"]
    assert {"column_values_to_not_be_null_station", "column_values_to_not_be_null_at", "values_parse_as_declared"} <= set(found)
    assert found["compound_columns_to_be_unique_station_at"]["mostly"] == 1.0
    assert problems(derived(CONTRACT), [c.name for c in CONTRACT.columns]) == []
    assert [s.type for s in derived(Contract(columns=(Column(name="a", nullable=False),), key=("a",), min_rows=0))][-1] == (
        "expect_column_values_to_be_unique"
    )


def test_only_blocking_aggregates_are_checks_of_their_own() -> None:
    written = [
        spec("expect_column_mean_to_be_between", column="value", min_value=1),
        spec("expect_column_mean_to_be_between", "warning", column="value", min_value=10),
        spec("expect_column_values_to_be_between", column="value", max_value=50),
        spec("expect_column_values_to_be_between", column="value", max_value=20, mostly=0.9),
    ]
    checks = check_names(CONTRACT, written)
    assert set(list(checks)[:3]) == {
        "table_columns_to_match_set",
        "table_row_count_to_be_between",
        "compound_columns_to_be_unique_station_at",
    }
    assert len(checks) == 5 and "column_mean_to_be_between_value" in checks
    assert all(blocks(s) and not sends_to_quarantine(s) for s in checks.values())
    assert suite_of(CONTRACT, derived(CONTRACT)) == derived(CONTRACT)  # what repeats the contract stays once


kwargs = st.dictionaries(
    st.sampled_from(["column", "min_value", "value_set", "column_list", "mostly"]),
    st.one_of(st.integers(), st.text(max_size=8), st.lists(st.text(max_size=4), max_size=3)),
    max_size=4,
)
specs = st.lists(
    st.builds(ExpectationSpec, type=st.sampled_from(["expect_a_b", "expect_column_values_to_be_between"]), kwargs=kwargs),
    max_size=12,
)


@given(specs, specs)
def test_names_are_unique_valid_and_keep_when_specs_are_added(first: list[ExpectationSpec], more: list[ExpectationSpec]) -> None:
    got = names(first)
    assert len(set(got)) == len(got) == len(first)
    assert all(n.isascii() and n.replace("_", "a").isalnum() and n == n.lower() for n in got)
    assert names([*first, *more])[: len(first)] == got


def test_problems_name_the_field_and_the_mend() -> None:
    found = problems(
        [
            spec("expect_column_value_to_be_between", column="value"),
            spec("expect_column_values_to_be_between", column="valeu", min_valu=3),
            spec("expect_column_values_to_be_between", column="value"),
            spec("expect_column_values_to_be_in_set", column="grade"),
            spec("expect_column_values_to_match_regex", column="station", regex="(?=a)"),
            spec("expect_query_results_to_match_comparison"),
            spec("expect_column_values_to_be_between", column="value", min_value=1, mostly=3),
            spec("expect_column_values_to_be_between", column="value", min_value=1, mostly=0.3),
        ],
        [c.name for c in CONTRACT.columns],
    )
    by_index = {i: [p for p in found if p.index == i] for i in range(8)}
    assert by_index[0][0].mend == "did you mean 'expect_column_values_to_be_between'?"
    assert [(p.field, p.mend) for p in by_index[1]] == [
        ("kwargs.min_valu", "did you mean 'min_value'?"),
        ("kwargs.column", "did you mean 'value'?"),
    ]
    assert "cannot both be None" in by_index[2][0].what
    assert by_index[3][0].field == "kwargs.value_set"
    assert "look-around" in by_index[4][0].mend
    assert by_index[5][0].mend == "it reads a second data source; write a dbt test instead"
    assert by_index[6][0].field == "kwargs.mostly" and by_index[7] == []


def test_definitions_load_without_great_expectations() -> None:
    code = (
        "import sys, quality.suite, quality.validate, quality.verdict, quality.rights\n"
        "heavy = {m.split('.')[0] for m in sys.modules} & {'great_expectations', 'pandas', 'sqlalchemy', 'duckdb'}\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], check=True)
