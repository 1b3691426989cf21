"""Great Expectations inside DuckDB, over Parquet: the execution engine. The metrics that it lacks are `metrics.py`.

Importing this module imports Great Expectations (seconds): do it inside functions, never at definition load.
What to expect is `suite.py`, running it `validate.py`.

Why an engine of ours: Great Expectations closes a connection before it fetches, and a DuckDB result dies with its
connection. duckdb-engine as it comes raises `list index out of range` for every expectation.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # nobody is told that somebody judges data

import great_expectations  # noqa: F401  registers the expectations and metrics that the classes below extend
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from sqlalchemy.pool import StaticPool

from quality.duck import DEFAULT_MEMORY, DEFAULT_THREADS, configuration

# Its log repeats statements and the values they choke on; every reason is kept in the result instead.
logging.getLogger("great_expectations").setLevel(logging.CRITICAL)

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
        return type_class(name)

    @property
    def dialect(self) -> type:
        """The LIKE operator is PostgreSQL's, so the dialect that Great Expectations asks for is duckdb-engine's own."""
        from duckdb_engine import Dialect

        return Dialect


@lru_cache(maxsize=256)
def type_class(name: str) -> type:
    plain = " ".join(name.upper().split()).replace(", ", ",")
    plain = _TYPE_ALIASES.get(plain, plain)
    if "(" in plain and not plain.endswith("[]"):  # DECIMAL(10,2) is a DECIMAL
        return type(plain, (type_class(plain.split("(", 1)[0]),), {})
    return type(plain, (), {})


class MadangDuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """Great Expectations' SQL engine, with results read before their connection closes.

    It owns an in-memory DuckDB, limited as every other (`duck.py`), whose view `rows` reads the given Parquet files. `close()`
    frees both. `scratch`: the folder below which it spills; None: the system's temporary one.
    Errors: whatever DuckDB raises for a file it cannot read.
    """

    def __init__(
        self,
        parquet: Sequence[Path | str],
        *,
        columns: str = "*",
        threads: int = DEFAULT_THREADS,
        memory_limit: str = DEFAULT_MEMORY,
        scratch: Path | None = None,
    ) -> None:
        # DuckDB's default is the working directory.
        self._spill = tempfile.TemporaryDirectory(prefix="madang-quality-", dir=scratch)
        width = len(pq.read_schema(parquet[0]).names)
        config = configuration(Path(self._spill.name), columns=width, threads=threads, memory_limit=memory_limit)
        engine = sa.create_engine("duckdb:///:memory:", poolclass=StaticPool, connect_args={"config": config})
        super().__init__(engine=engine, create_temp_table=False)
        self.dialect_module = _DuckDBTypes("duckdb_types")
        self._predicates: set[str] = set()
        files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in parquet)
        with self.engine.connect() as connection:
            connection.exec_driver_sql("SET TimeZone = 'UTC'")
            words = connection.exec_driver_sql("SELECT keyword_name FROM duckdb_keywords()").fetchall()
            preparer: Any = self.engine.dialect.identifier_preparer
            preparer.reserved_words = {*preparer.reserved_words, *(str(row[0]) for row in words)}  # a column may be called `at`
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
