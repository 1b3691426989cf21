"""Great Expectations inside DuckDB, over Parquet: the execution engine and the metrics that duckdb-engine lacks.

Importing this module imports Great Expectations (seconds): do it inside functions, never at definition load.
What to expect is `suite.py`, running it `validate.py`.

Why an engine of ours: Great Expectations closes a connection before it fetches, and a DuckDB result dies with its
connection; DuckDB's `~` means a full match, so the PostgreSQL regex operator may not be borrowed; and column types,
strftime, JSON and ordering have no SQL provider at all. Results equal those of the pandas engine; the tests compare them.
"""

# ruff: noqa: N805 (Great Expectations passes the class by the name cls)
from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # nobody is told that somebody judges data

import great_expectations  # noqa: F401  registers the expectations and metrics that the classes below extend
import pyarrow as pa
import sqlalchemy as sa
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import column_condition_partial
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import ColumnMapMetricProvider
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider
from sqlalchemy.pool import StaticPool

RELATION = "rows"
"""Name of the view over the Parquet files inside DuckDB."""

ROW_COLUMN = "_source_row"

_TYPE_ALIASES = {"INT8": "BIGINT", "INT4": "INTEGER", "INT": "INTEGER", "FLOAT8": "DOUBLE", "BOOL": "BOOLEAN", "TEXT": "VARCHAR"}
_TYPE_ALIASES |= {"STRING": "VARCHAR", "NUMERIC": "DECIMAL", "DATETIME": "TIMESTAMP", "LONG": "BIGINT", "REAL": "FLOAT"}


class _DuckDBTypes(ModuleType):
    """Stands where Great Expectations looks for a dialect's types: any DuckDB type name, as a class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__") or name.endswith("Dialect"):  # Great Expectations probes dialects by such attributes
            raise AttributeError(name)
        return _type_class(name)

    @property
    def dialect(self) -> type:
        """The LIKE operator is PostgreSQL's, so the dialect that Great Expectations asks for is duckdb-engine's own."""
        from duckdb_engine import Dialect

        return Dialect


@lru_cache(maxsize=256)
def _type_class(name: str) -> type:
    plain = " ".join(name.upper().split()).replace(", ", ",")
    plain = _TYPE_ALIASES.get(plain, plain)
    if "(" in plain and not plain.endswith("[]"):  # DECIMAL(10,2) is a DECIMAL
        return type(plain, (_type_class(plain.split("(", 1)[0]),), {})
    return type(plain, (), {})


class MadangDuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """Great Expectations' SQL engine, with results read before their connection closes.

    It owns an in-memory DuckDB whose view `rows` reads the given Parquet files. `close()` frees both.
    Errors: whatever DuckDB raises for a file it cannot read.
    """

    def __init__(self, parquet: Sequence[Path | str], *, columns: str = "*", threads: int | None = None) -> None:
        self._spill = tempfile.TemporaryDirectory(prefix="madang-quality-")  # DuckDB's default is the working directory
        config: dict[str, Any] = {
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": self._spill.name,
        }
        if threads is not None:
            config["threads"] = threads
        engine = sa.create_engine("duckdb:///:memory:", poolclass=StaticPool, connect_args={"config": config})
        super().__init__(engine=engine, create_temp_table=False)
        self.dialect_module = _DuckDBTypes("duckdb_types")
        self._predicates: set[str] = set()
        files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in parquet)
        with self.engine.connect() as connection:
            connection.exec_driver_sql("SET TimeZone = 'UTC'")
            connection.exec_driver_sql(f"CREATE VIEW {RELATION} AS SELECT {columns} FROM read_parquet([{files}])")
            connection.commit()
            self.column_types = {str(row[0]): str(row[1]) for row in connection.exec_driver_sql(f"DESCRIBE {RELATION}").fetchall()}

    def execute_query(self, query: Any) -> Any:
        """The result, its rows already read: a DuckDB result dies with its connection."""
        with self.get_connection() as connection:
            return _frozen(self._execute_query_with_recovery(connection, query))

    def execute_query_in_transaction(self, query: Any) -> Any:
        """As `execute_query`, committed."""
        with self.get_connection() as connection:
            result = _frozen(self._execute_query_with_recovery(connection, query))
            if connection.in_transaction():
                connection.commit()
            return result

    def predicate(self, kind: str, parameter: str, holds: Callable[[str], bool]) -> Callable[[Any], Any]:
        """A Python predicate over text as a DuckDB function; each distinct value of a chunk is asked once.

        For the few conditions that SQL cannot say as Python says them (strptime, dateutil, JSON schema).
        """
        name = f"madang_{kind}_{hashlib.sha256(parameter.encode()).hexdigest()[:12]}"
        if name not in self._predicates:
            cached = lru_cache(maxsize=100_000)(holds)

            def vector(values: pa.ChunkedArray) -> pa.Array:
                column = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
                encoded = column.dictionary_encode()
                answers = pa.array([cached(value) for value in encoded.dictionary.to_pylist()], pa.bool_())
                return answers.take(encoded.indices)

            with self.engine.connect() as connection:
                duck: Any = connection.connection.driver_connection
                duck.create_function(name, vector, ["VARCHAR"], "BOOLEAN", type="arrow")
            self._predicates.add(name)
        return lambda column: getattr(sa.func, name)(sa.cast(column, sa.String))

    def close(self) -> None:
        self.engine.dispose()
        self._spill.cleanup()

    def __enter__(self) -> MadangDuckDBExecutionEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _frozen(result: Any) -> Any:
    return result.freeze()() if result.returns_rows else result


def _text(column: Any) -> Any:
    return sa.cast(column, sa.String)


class DuckDBColumnTypes(TableMetricProvider):
    """Columns of the view and their DuckDB types, from DESCRIBE: reflection through PostgreSQL's catalogue loses them."""

    metric_name = "table.column_types"
    value_keys = ("include_nested",)
    default_kwarg_values = {"include_nested": True}  # noqa: RUF012  Great Expectations reads a plain class attribute

    @metric_value(engine=MadangDuckDBExecutionEngine)
    def _duckdb(cls: Any, execution_engine: MadangDuckDBExecutionEngine, **_: Any) -> list[dict[str, Any]]:
        return [{"name": name, "type": _type_class(type_)()} for name, type_ in execution_engine.column_types.items()]


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
