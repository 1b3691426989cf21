"""Live files of an older contract, as today's contract has them: what dbt and the training sets read."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from assets.errors import MadangError
from assets.tables.presenting import as_contract, contract_files
from tests.tables.making import make_feed

DAY = {"name": "day", "type": "date", "nullable": False}
PRICE = {"name": "price", "type": "number"}
GRADE = {"name": "grade", "type": "string"}
CONTRACT = {"key": ["day"]}


def written(path: Path, feed_columns: list[dict[str, object]], values: str) -> Path:
    """A table file with these columns, their statuses and provenance, as the feed's contract lays it out."""
    from assets.tables.sql import copy, table_columns

    types = table_columns(make_feed(feed_columns, contract=CONTRACT))
    given = dict(part.split("=") for part in values.split())
    columns = ", ".join(f'CAST({given.get(name, "NULL")} AS {kind}) AS "{name}"' for name, kind in types.items())
    with duckdb.connect() as connection:
        connection.execute(copy(f"SELECT {columns}", path, len(types)))
    return path


def test_a_file_that_has_just_the_contracts_columns_is_read_as_it_is(tmp_path: Path) -> None:
    file = written(tmp_path / "a.parquet", [DAY, PRICE], "day='2024-01-01' price=1.5")
    feed = make_feed([DAY, PRICE], contract=CONTRACT)
    assert as_contract(feed, [str(file)]) is None
    assert contract_files(feed, [file], tmp_path / "out") == [file]


def test_a_column_that_came_later_is_null_in_its_type(tmp_path: Path) -> None:
    old = written(tmp_path / "a.parquet", [DAY, PRICE], "day='2024-01-01' price=1.5")
    new = written(tmp_path / "b.parquet", [DAY, PRICE, GRADE], "day='2024-01-02' price=2 grade='high'")
    feed = make_feed([DAY, PRICE, GRADE], contract=CONTRACT)
    [file] = contract_files(feed, [old, new], tmp_path / "out")
    rows = duckdb.sql(f"SELECT day::VARCHAR, price, grade, typeof(grade) FROM '{file}' ORDER BY day").fetchall()
    assert rows == [("2024-01-01", 1.5, None, "VARCHAR"), ("2024-01-02", 2.0, "high", "VARCHAR")]


def test_a_column_that_the_contract_dropped_is_gone(tmp_path: Path) -> None:
    old = written(tmp_path / "a.parquet", [DAY, PRICE, GRADE], "day='2024-01-01' price=1.5 grade='low'")
    [file] = contract_files(make_feed([DAY, PRICE], contract=CONTRACT), [old], tmp_path / "out")
    assert "grade" not in duckdb.sql(f"SELECT * FROM '{file}'").columns


def test_another_type_is_cast_and_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    count = {"name": "price", "type": "integer"}
    whole = written(tmp_path / "a.parquet", [DAY, PRICE], "day='2024-01-01' price=3")
    feed = make_feed([DAY, count], contract=CONTRACT)
    [file] = contract_files(feed, [whole], tmp_path / "out")
    assert duckdb.sql(f"SELECT price, typeof(price) FROM '{file}'").fetchall() == [(3, "BIGINT")]
    broken = written(tmp_path / "b.parquet", [DAY, PRICE], "day='2024-01-01' price=1.5")
    with pytest.raises(MadangError, match="does not fit") as caught:
        contract_files(feed, [broken], tmp_path / "again")
    assert feed.id in str(caught.value) and caught.value.mend
