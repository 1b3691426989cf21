"""The metrics of Great Expectations that DuckDB needs said otherwise: types, regex, strptime, JSON, order, duplicates.

Importing this module registers them for `MadangDuckDBExecutionEngine` (and imports Great Expectations: seconds).
Each answers as the pandas engine answers on the same rows; tests/quality/test_engine.py compares them all.
"""

# ruff: noqa: N805 (Great Expectations passes the class by the name cls)
from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.core.metric_function_types import MetricFunctionTypes
from great_expectations.expectations.metrics.column_aggregate_metric_provider import ColumnAggregateMetricProvider
from great_expectations.expectations.metrics.column_aggregate_metrics.column_outlier_statistics import OutlierStatistics
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import column_condition_partial
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import ColumnMapMetricProvider
from great_expectations.expectations.metrics.map_metric_provider.column_pair_condition_partial import column_pair_condition_partial
from great_expectations.expectations.metrics.map_metric_provider.column_pair_map_metric_provider import ColumnPairMapMetricProvider
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_function_partial import multicolumn_function_partial
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_map_metric_provider import MulticolumnMapMetricProvider
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.multicolumn_map_metrics.compound_columns_unique import CompoundColumnsUnique
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from great_expectations.expectations.registry import register_metric

from quality.engine import ROW_COLUMN, MadangDuckDBExecutionEngine, type_class


def _text(column: Any) -> Any:
    return sa.cast(column, sa.String)


class DuckDBColumnTypes(TableMetricProvider):
    """Columns of the view and their DuckDB types, from DESCRIBE: reflection through PostgreSQL's catalogue loses them."""

    metric_name = "table.column_types"
    value_keys = ("include_nested",)
    default_kwarg_values = {"include_nested": True}  # noqa: RUF012  Great Expectations reads a plain class attribute

    @metric_value(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, execution_engine: MadangDuckDBExecutionEngine, **_: Any) -> list[dict[str, Any]]:
        return [{"name": name, "type": type_class(type_)()} for name, type_ in execution_engine.column_types.items()]


class DuckDBMatchRegex(ColumnMapMetricProvider):
    """A regular expression (RE2) found anywhere in the value, as in pandas."""

    condition_metric_name = "column_values.match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, regex: str, **_: Any) -> Any:
        return sa.func.regexp_matches(_text(column), regex)


class DuckDBNotMatchRegex(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, regex: str, **_: Any) -> Any:
        return sa.not_(sa.func.regexp_matches(_text(column), regex))


class DuckDBMatchRegexList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.match_regex_list"
    condition_value_keys = ("regex_list", "match_on")
    default_kwarg_values = {"match_on": "any"}  # noqa: RUF012

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, regex_list: Sequence[str], match_on: str | None, **_: Any) -> Any:
        if match_on not in (None, "any", "all"):
            raise ValueError("match_on must be either 'any' or 'all'")
        found = [sa.func.regexp_matches(_text(column), regex) for regex in regex_list]
        return sa.and_(*found) if match_on == "all" else sa.or_(*found)


class DuckDBNotMatchRegexList(ColumnMapMetricProvider):
    condition_metric_name = "column_values.not_match_regex_list"
    condition_value_keys = ("regex_list",)

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, regex_list: Sequence[str], **_: Any) -> Any:
        return sa.not_(sa.or_(*[sa.func.regexp_matches(_text(column), regex) for regex in regex_list]))


class DuckDBStrftime(ColumnMapMetricProvider):
    """Python's own strptime: DuckDB's is laxer (a year of two digits passes %Y) and knows fewer zones."""

    condition_metric_name = "column_values.match_strftime_format"
    condition_value_keys = ("strftime_format",)

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, strftime_format: str, _execution_engine: MadangDuckDBExecutionEngine, **_: Any) -> Any:
        _text_only(column, _execution_engine)

        def holds(value: str) -> bool:
            try:
                datetime.strptime(value, strftime_format)
            except ValueError:
                return False
            return True

        return _execution_engine.predicate("strptime", strftime_format, holds)(column)


class DuckDBDateutil(ColumnMapMetricProvider):
    condition_metric_name = "column_values.dateutil_parseable"

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, _execution_engine: MadangDuckDBExecutionEngine, **_: Any) -> Any:
        from dateutil.parser import parse  # type: ignore[import-untyped]

        _text_only(column, _execution_engine)

        def holds(value: str) -> bool:
            try:
                parse(value)
            except (ValueError, OverflowError):
                return False
            return True

        return _execution_engine.predicate("dateutil", "", holds)(column)


class DuckDBJsonParseable(ColumnMapMetricProvider):
    condition_metric_name = "column_values.json_parseable"

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, _execution_engine: MadangDuckDBExecutionEngine, **_: Any) -> Any:
        def holds(value: str) -> bool:
            try:
                json.loads(value)
            except ValueError:
                return False
            return True

        return _execution_engine.predicate("json", "", holds)(column)


class DuckDBMatchJsonSchema(ColumnMapMetricProvider):
    """Text that is no JSON does not match (the pandas engine raises there)."""

    condition_metric_name = "column_values.match_json_schema"
    condition_value_keys = ("json_schema",)

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(
        cls: Any, column: Any, json_schema: dict[str, Any], _execution_engine: MadangDuckDBExecutionEngine, **_: Any
    ) -> Any:
        import jsonschema  # type: ignore[import-untyped]

        validator = jsonschema.validators.validator_for(json_schema)
        validator.check_schema(json_schema)
        checker = validator(json_schema)

        def holds(value: str) -> bool:
            try:
                return bool(checker.is_valid(json.loads(value)))
            except ValueError:
                return False

        return _execution_engine.predicate("jsonschema", json.dumps(json_schema, sort_keys=True), holds)(column)


class DuckDBIncreasing(ColumnMapMetricProvider):
    """Each value against the one before it in the order of `_source_row`, nulls left out."""

    condition_metric_name = "column_values.increasing"
    condition_value_keys = ("strictly",)
    default_kwarg_values = {"strictly": False}  # noqa: RUF012

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, _table: Any, _execution_engine: Any, strictly: bool | None = None, **_: Any) -> Any:
        return _in_order(column, _table, _execution_engine, "<=" if strictly else "<")


class DuckDBDecreasing(ColumnMapMetricProvider):
    condition_metric_name = "column_values.decreasing"
    condition_value_keys = ("strictly",)
    default_kwarg_values = {"strictly": False}  # noqa: RUF012

    @column_condition_partial(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, column: Any, _table: Any, _execution_engine: Any, strictly: bool | None = None, **_: Any) -> Any:
        return _in_order(column, _table, _execution_engine, ">=" if strictly else ">")


class DuckDBPairInSet(ColumnPairMapMetricProvider):
    """A pair with one null is a pair that is not in the set; in SQL it would be neither in nor out."""

    condition_metric_name = "column_pair_values.in_set"
    condition_value_keys = ("value_pairs_set",)
    condition_domain_keys = ("batch_id", "table", "column_A", "column_B", "ignore_row_if")

    @column_pair_condition_partial(engine=MadangDuckDBExecutionEngine)  # type: ignore[untyped-decorator]
    def _duckdb(cls: Any, column_a: Any, column_b: Any, value_pairs_set: Any = None, **_: Any) -> Any:
        if value_pairs_set is None:
            return sa.true()
        same = [sa.and_(column_a.is_not_distinct_from(a), column_b.is_not_distinct_from(b)) for a, b in value_pairs_set]
        return sa.or_(sa.false(), *same)


_COUNTED = "counted"


class DuckDBCompoundCount(MulticolumnMapMetricProvider):
    """How often each row's combination occurs. Only combinations that repeat are joined back, nulls equal to nulls."""

    function_metric_name = "compound_columns.count"
    condition_domain_keys = ("batch_id", "table", "column_list", "row_condition", "condition_parser", "ignore_row_if")
    function_domain_keys = condition_domain_keys

    @multicolumn_function_partial(engine=MadangDuckDBExecutionEngine)  # type: ignore[untyped-decorator]
    def _duckdb(cls: Any, _column_list: Any, _column_names: Any, _table: Any, _table_columns: Any, **_: Any) -> Any:
        source = sa.select(*[sa.column(name) for name in _table_columns]).select_from(_table).alias("source")
        keys = [source.c[name] for name in _column_names]
        count = sa.func.count().label("_num_rows")
        repeated = sa.select(*keys, count).group_by(*keys).having(sa.func.count() > 1).alias("repeated")
        same = sa.and_(*[repeated.c[name].is_not_distinct_from(source.c[name]) for name in _column_names])
        occurs = sa.func.coalesce(repeated.c["_num_rows"], 1).label("_num_rows")
        return sa.select(source, occurs).select_from(source.outerjoin(repeated, same)).alias(_COUNTED)


def _rows_of_repeated_combinations(
    cls: Any,
    execution_engine: MadangDuckDBExecutionEngine,
    metric_domain_kwargs: Any,
    metric_value_kwargs: dict[str, Any],
    metrics: dict[str, Any],
    **_: Any,
) -> list[dict[str, list[Any]]]:
    """The index columns of the rows whose combination repeats; Great Expectations' own query names its table twice."""
    condition = metrics["unexpected_condition"][0]
    wanted = metric_value_kwargs["result_format"]
    index = wanted["unexpected_index_column_names"]
    columns: list[Any] = [sa.literal_column(f'{_COUNTED}."{name}"').label(name) for name in index]
    query = sa.select(*columns).where(condition).limit(wanted["partial_unexpected_count"])
    rows = execution_engine.execute_query(query).fetchall()
    return [{name: [row[place] for row in rows] for place, name in enumerate(index)}] if rows else []


register_metric(
    metric_name="compound_columns.unique.unexpected_index_list",
    metric_domain_keys=CompoundColumnsUnique.condition_domain_keys,
    metric_value_keys=("result_format",),
    execution_engine=MadangDuckDBExecutionEngine,
    metric_class=CompoundColumnsUnique,
    metric_provider=_rows_of_repeated_combinations,
    metric_fn_type=MetricFunctionTypes.VALUE,
)


class DuckDBOutlierStatistics(ColumnAggregateMetricProvider):
    """Quartiles (interpolated, as pandas does) or mean and sample deviation, in one query."""

    metric_name = "column.outlier_statistics"
    value_keys = ("method",)

    @metric_value(engine=MadangDuckDBExecutionEngine)
    def _duckdb(
        cls: Any,
        execution_engine: MadangDuckDBExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> OutlierStatistics:
        engine: Any = execution_engine
        domain = engine.add_column_row_condition(metric_domain_kwargs)
        table, _compute, accessor = engine.get_compute_domain(domain, domain_type=MetricDomainTypes.COLUMN)
        column: Any = sa.cast(sa.column(accessor["column"]), sa.Double)
        source: Any = table.subquery() if isinstance(table, sa.Select) else table
        if metric_value_kwargs["method"] == "iqr":
            pair = (sa.func.quantile_cont(column, 0.25), sa.func.quantile_cont(column, 0.75))
        elif metric_value_kwargs["method"] == "std":
            pair = (sa.func.avg(column), sa.func.stddev_samp(column))
        else:
            raise ValueError("method must be 'iqr' or 'std'")
        first, second = execution_engine.execute_query(sa.select(*pair).select_from(source)).fetchone()
        if metric_value_kwargs["method"] == "std":
            return OutlierStatistics.symmetric(center=first, spread=second)
        return OutlierStatistics(first, second, None if first is None else second - first)


def _in_order(column: Any, table: Any, engine: MadangDuckDBExecutionEngine, wrong: str) -> Any:
    """True where the value stands right after the one before it. The set of wrong rows is one uncorrelated subquery."""
    if ROW_COLUMN not in engine.column_types:
        raise NotImplementedError(f"an order of rows needs the column {ROW_COLUMN}, which these files do not have")
    source = table.subquery() if isinstance(table, sa.Select) else table
    row: Any = sa.column(ROW_COLUMN)
    before = sa.func.lag(column).over(order_by=row).label("before")
    pairs = sa.select(row, column.label("value"), before).select_from(source).where(column.is_not(None)).subquery()
    value, earlier = pairs.c["value"], pairs.c["before"]
    return row.not_in(sa.select(pairs.c[ROW_COLUMN]).where(value.op(wrong)(earlier)))


def _text_only(column: Any, engine: MadangDuckDBExecutionEngine) -> None:
    type_ = engine.column_types.get(str(column.name), "VARCHAR")
    if type_ != "VARCHAR":
        raise TypeError(f"column {column.name} is {type_}; this expectation judges text, before it becomes a date or a number")
