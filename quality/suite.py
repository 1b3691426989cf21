"""From a contract and what people wrote to one list of expectations, and the names of the checks they become.

Nothing here imports Great Expectations at import time: definitions load this module. Only `problems` does, when called.
Running a list is `validate.py`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quality.contract import Column, Contract, ExpectationSpec

UNPARSED = "_unparsed"
"""Column that `validate` adds: names of the columns whose received text is not of the declared type, else null."""

ROW_LEVEL: frozenset[str] = frozenset(
    {
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_value_z_scores_to_be_less_than",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_dateutil_parseable",
        "expect_column_values_to_be_decreasing",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_increasing",
        "expect_column_values_to_be_json_parseable",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_unique",
        "expect_column_values_to_match_json_schema",
        "expect_column_values_to_match_like_pattern",
        "expect_column_values_to_match_like_pattern_list",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_match_strftime_format",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_be_outliers",
        "expect_column_values_to_not_match_like_pattern",
        "expect_column_values_to_not_match_like_pattern_list",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_compound_columns_to_be_unique",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
    }
)
"""Expectations that judge each row by itself and can name the rows that fail. Column types are judged once a column."""

FORBIDDEN: dict[str, str] = {
    "expect_query_results_to_match_comparison": "it reads a second data source; write a dbt test instead",
    "expect_table_row_count_to_equal_other_table": "there is no other table beside the rows judged; write a dbt test instead",
}
"""Great Expectations' own that cannot be judged over the rows of one Parquet table, and what to do instead."""


def is_row_level(spec: ExpectationSpec) -> bool:
    return spec.type in ROW_LEVEL


def sends_to_quarantine(spec: ExpectationSpec) -> bool:
    """Critical, row by row, without `mostly`: its failing rows go to quarantine and it is no check of its own."""
    return is_row_level(spec) and spec.severity == "critical" and "mostly" not in spec.kwargs


def blocks(spec: ExpectationSpec) -> bool:
    """Critical and about all rows together (an aggregate, or a share of rows given by `mostly`)."""
    return spec.severity == "critical" and not sends_to_quarantine(spec)


def derived(contract: Contract) -> tuple[ExpectationSpec, ...]:
    """The contract as expectations; a bound of a timestamp without an offset is universal time, as the column is.

    Uniqueness of the key carries `mostly: 1`: it is judged over the accepted rows and blocks, because which of two rows
    with one key is right cannot be told from the rows.
    """
    specs = [_spec("expect_table_columns_to_match_set", column_set=[c.name for c in contract.columns], exact_match=False)]
    if contract.min_rows:
        specs.append(_spec("expect_table_row_count_to_be_between", min_value=contract.min_rows))
    specs.append(_spec("expect_column_values_to_be_null", column=UNPARSED))
    for column in contract.columns:
        specs.extend(_derived(column))
    if len(contract.key) == 1:
        specs.append(_spec("expect_column_values_to_be_unique", column=contract.key[0], mostly=1.0))
    elif contract.key:
        specs.append(_spec("expect_compound_columns_to_be_unique", column_list=list(contract.key), mostly=1.0))
    return tuple(specs)


def _derived(column: Column) -> Iterable[ExpectationSpec]:
    if not column.nullable:
        yield _spec("expect_column_values_to_not_be_null", column=column.name)
    bounds = {f"{end}_value": _bound(column, bound) for end, bound in (("min", column.min), ("max", column.max))}
    if any(bound is not None for bound in bounds.values()):
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        yield _spec("expect_column_values_to_be_between", column=column.name, **given)
    if column.codes is not None:
        yield _spec("expect_column_values_to_be_in_set", column=column.name, value_set=list(column.codes))
    if column.pattern is not None:
        yield _spec("expect_column_values_to_match_regex", column=column.name, regex=f"^(?:{column.pattern})$")
    if column.max_length is not None:
        yield _spec("expect_column_value_lengths_to_be_between", column=column.name, max_value=column.max_length)


def _spec(type_: str, **kwargs: Any) -> ExpectationSpec:
    return ExpectationSpec(type=type_, kwargs=kwargs)


def _bound(column: Column, bound: float | str | None) -> float | str | None:
    if not isinstance(bound, str) or column.type != "timestamp":
        return bound
    moment = datetime.fromisoformat(bound)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat()


def written(expectations: Sequence[ExpectationSpec]) -> tuple[ExpectationSpec, ...]:
    """What a declaration says, as it stands: the place for anything that all written expectations share."""
    return tuple(expectations)


def suite_of(contract: Contract, expectations: Sequence[ExpectationSpec]) -> tuple[ExpectationSpec, ...]:
    """The whole suite of a feed: derived, then written; what a person repeats of the contract stays once."""
    own = derived(contract)
    return own + tuple(spec for spec in written(expectations) if spec not in own)


def names(specs: Sequence[ExpectationSpec]) -> tuple[str, ...]:
    """One unique snake-case name for each spec, in order: the expectation and its columns.

    Where two would share a name, all but the first get the hash of their arguments, so that a name does not depend on
    what else the suite holds.
    """
    taken: set[str] = set()
    result = []
    for spec in specs:
        name = plain = _plain_name(spec)
        if name in taken:
            name = f"{plain}_{_digest(spec)}"
        count = 2
        while name in taken:  # the very same spec written again
            name, count = f"{plain}_{_digest(spec)}_{count}", count + 1
        taken.add(name)
        result.append(name)
    return tuple(result)


def _plain_name(spec: ExpectationSpec) -> str:
    if spec.kwargs.get("column") == UNPARSED:
        return "values_parse_as_declared"
    parts = [spec.type.removeprefix("expect_")]
    for key in ("column", "column_A", "column_B", "column_list"):
        value = spec.kwargs.get(key)
        parts += [str(v) for v in value] if isinstance(value, (list, tuple)) else [str(value)] if value is not None else []
    safe = "_".join(parts).lower()
    return "".join(ch if ch.isascii() and (ch.isalnum() or ch == "_") else "_" for ch in safe)


def _digest(spec: ExpectationSpec) -> str:
    text = json.dumps([spec.kwargs, spec.severity], sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def check_names(contract: Contract, specs: Sequence[ExpectationSpec]) -> dict[str, ExpectationSpec]:
    """The Dagster asset checks of a table by name: the blocking ones of contract and `specs` (a feed's expectations).

    Everything else folds into one `quality` check; row-level critical ones show as quarantine.
    """
    every = suite_of(contract, specs)
    return {name: spec for name, spec in zip(names(every), every, strict=True) if blocks(spec)}


@dataclass(frozen=True)
class SpecProblem:
    """What is wrong with one written expectation: its place in the list, the field, what, and the mend."""

    index: int
    field: str
    what: str
    mend: str = ""


def problems(specs: Sequence[ExpectationSpec], columns: Sequence[str] | None = None) -> list[SpecProblem]:
    """Everything that would make an expectation raise, told before any row is read. Imports Great Expectations (seconds).

    columns: names that the rows have, to find misspelt ones; None leaves them unchecked.
    """
    from quality.engine import MadangDuckDBExecutionEngine  # noqa: F401  switches analytics off before the import below

    from great_expectations.expectations import registry  # isort: skip

    known = sorted(n for n in registry.list_registered_expectation_implementations() if n.startswith("expect_"))
    found: list[SpecProblem] = []
    for index, spec in enumerate(specs):
        if spec.type not in known:
            found.append(
                SpecProblem(index, "type", f"'{spec.type}' is no expectation of Great Expectations", _near(spec.type, known))
            )
        elif spec.type in FORBIDDEN:
            found.append(SpecProblem(index, "type", f"'{spec.type}' cannot be judged here", FORBIDDEN[spec.type]))
        else:
            found += _kwargs_problems(index, spec, registry.get_expectation_impl(spec.type))
            found += _column_problems(index, spec, columns)
            found += _regex_problems(index, spec)
    return found


_OURS = {
    "id",
    "meta",
    "notes",
    "result_format",
    "description",
    "catch_exceptions",
    "rendered_content",
    "severity",
    "windows",
    "batch_id",
}


def _kwargs_problems(index: int, spec: ExpectationSpec, expectation: Any) -> list[SpecProblem]:
    from great_expectations.compatibility import pydantic

    allowed = sorted(set(expectation.__fields__) - _OURS - {"library_metadata"})
    unknown = sorted(set(spec.kwargs) - set(allowed))
    if unknown:
        return [SpecProblem(index, f"kwargs.{k}", f"'{k}' is no argument of {spec.type}", _near(k, allowed)) for k in unknown]
    try:
        expectation(**spec.kwargs)
    except pydantic.ValidationError as error:
        return [
            SpecProblem(index, ".".join(["kwargs", *(str(p) for p in e["loc"] if p != "__root__")]), str(e["msg"]))
            for e in error.errors()
        ]
    except (TypeError, ValueError) as error:
        return [SpecProblem(index, "kwargs", str(error))]
    return []


def _column_problems(index: int, spec: ExpectationSpec, columns: Sequence[str] | None) -> list[SpecProblem]:
    if columns is None or spec.type == "expect_column_to_exist":
        return []
    found = []
    for key in ("column", "column_A", "column_B", "column_list"):
        value = spec.kwargs.get(key)
        wanted = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        found += [
            SpecProblem(index, f"kwargs.{key}", f"'{name}' is no column", _near(str(name), columns))
            for name in wanted
            if name not in columns and name != UNPARSED
        ]
    return found


def _regex_problems(index: int, spec: ExpectationSpec) -> list[SpecProblem]:
    import duckdb

    patterns = [spec.kwargs[k] for k in ("regex",) if isinstance(spec.kwargs.get(k), str)]
    patterns += [p for p in spec.kwargs.get("regex_list") or () if isinstance(p, str)]
    found = []
    for pattern in patterns:
        try:
            duckdb.execute("SELECT regexp_matches('', ?)", [pattern])
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            found.append(
                SpecProblem(
                    index,
                    "kwargs.regex",
                    f"DuckDB cannot use this regular expression: {reason}",
                    "write it in RE2 (no look-around)",
                )
            )
    return found


def _near(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""
