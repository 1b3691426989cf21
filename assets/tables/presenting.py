"""A table's live files as today's contract has them: while the newest fetch is blocked they are still an older contract's.

What dbt and the training sets read of a table goes through here. Rebuilding a table under a changed contract is `build.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from assets.errors import MadangError
from assets.tables.sql import copy, ident, listed, literal, table_columns

if TYPE_CHECKING:
    from assets.feeds.model import Feed

_WIDER = {"BIGINT": "DOUBLE", "DATE": "TIMESTAMP"}
"""Where text is cast to a type that would round it, the type that shows what was lost."""


def read_files(files: Sequence[str]) -> str:
    """SQL that reads exactly these Parquet files; key=value in a path makes no column."""
    return f"read_parquet([{listed([literal(file) for file in files])}], union_by_name = true, hive_partitioning = false)"


def as_contract(feed: Feed, files: Sequence[str], read: Callable[[Sequence[str]], str] = read_files) -> str | None:
    """A query of these local files with the contract's columns and no others; None where they have just these already.

    A column that a file lacks is NULL in its type. One of another type is cast, and a value that the cast would lose or round
    makes the query fail without naming it: the rows were judged by the old contract, and a NULL in place of a value would
    pass for one that the agency left out. `read`: how some of the files are read.
    """
    wanted = {name: _plain(kind) for name, kind in table_columns(feed).items()}
    with duckdb.connect() as connection:
        held = [_types(connection, file) for file in files]
    if all(types == wanted for types in held):
        return None
    selects = []
    for _, group in groupby(zip(files, held, strict=True), key=lambda pair: list(pair[1].items())):
        alike = list(group)
        columns = listed([_column(feed, name, kind, alike[0][1]) for name, kind in wanted.items()])
        selects.append(f"SELECT {columns} FROM {read([file for file, _ in alike])}")
    return " UNION ALL ".join(selects)


def contract_files(feed: Feed, paths: Sequence[Path], folder: Path) -> list[Path]:
    """The files themselves where they have the contract's columns, else one file in `folder` that has.

    Raises MadangError where a value does not fit the type that its column has now.
    """
    query = as_contract(feed, [str(path) for path in paths]) if paths else None
    if query is None:
        return list(paths)
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{feed.relation}.parquet"
    with duckdb.connect() as connection:
        try:
            connection.execute(copy(query, out, len(table_columns(feed))))
        except duckdb.InvalidInputException as error:
            raise MadangError(
                "its live rows are of an older contract, and a value does not fit the new one",
                where=f"table {feed.id}",
                mend="mend what blocks its newest fetch; the table is then rebuilt under the new contract",
            ) from error
    return [out]


def _types(connection: duckdb.DuckDBPyConnection, file: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE SELECT * FROM {read_files([file])}").fetchall()
    return {str(name): _plain(kind) for name, kind, *_ in described}


def _plain(kind: str) -> str:
    return kind.replace(", ", ",")


def _column(feed: Feed, name: str, kind: str, held: dict[str, str]) -> str:
    if name not in held:
        return f"CAST(NULL AS {kind}) AS {ident(name)}"
    if held[name] == kind:
        return ident(name)
    old, value = held[name], ident(name)
    new = f"TRY_CAST({value} AS {kind})"
    wider = "DOUBLE" if kind.startswith("DECIMAL") else _WIDER.get(kind, kind)
    kept = f"TRY_CAST({value} AS {wider}) = CAST({new} AS {wider})" if old == "VARCHAR" else f"TRY_CAST({new} AS {old}) = {value}"
    said = f"table {feed.relation}: a value of column {name}, {old} until the contract changed, is no {kind}; mend its newest fetch"
    return f"CASE WHEN {value} IS NULL OR {kept} THEN {new} ELSE error({literal(said)}) END AS {value}"
