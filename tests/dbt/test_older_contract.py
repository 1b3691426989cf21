"""dbt over a table that is still an older contract's, because its newest fetch is blocked: what is new is NULL, nothing breaks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.archive.ledger import Ledger
from assets.feeds.model import Feed
from assets.store import Store
from assets.tables.index import live_paths, read_index
from tests.dbt.project import FEEDS, run_dbt
from tests.tables.making import Home

pytestmark = pytest.mark.dagster

MODEL = "stg_us_faa__airports"
SAMPLE = FEEDS / "us.faa.airports" / "sample.csv"


def before(feed: Feed, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Feed:
    """The feed as it was declared earlier, with other columns."""
    declared = feed.model_dump(mode="json")
    declared["contract"]["columns"] = change(declared["contract"]["columns"])
    return Feed.model_validate(declared)


def blocked_table(tmp_path: Path, old: Feed, new: Feed, rows: bytes) -> tuple[dict[str, list[str]], int]:
    """The table of `rows` under the old contract, which a fetch under the new one could not replace: its files, its rows."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    home = Home(tmp_path, Store(f"file://{tmp_path}/store"), ledger)
    try:
        built = home.build(old, home.archive(old, rows, datetime(2026, 11, 1, tzinfo=UTC)))
        assert built.changed and built.rows > 100
        cut = b"\n".join(rows.split(b"\n")[:3])
        result = home.build(new, home.archive(new, cut, datetime(2026, 11, 2, tzinfo=UTC)))
        assert result.blocked and not result.changed
        files = live_paths(home.store, read_index(home.store, new.id), tmp_path / "cache")
        return {new.relation: [str(path) for path in files]}, built.rows
    finally:
        ledger.close()


@pytest.fixture
def airports() -> Feed:
    from assets.feeds.load import load_feed

    return load_feed(FEEDS / "us.faa.airports")


def test_a_column_that_the_blocked_table_lacks_is_null_in_the_model(airports: Feed, tmp_path: Path) -> None:
    old = before(airports, lambda columns: [c for c in columns if c["name"] not in ("state", "latitude")])
    live, rows = blocked_table(tmp_path / "it's {old}", old, airports, SAMPLE.read_bytes())
    # Files as they are would stop every model that reads the new column.
    plain = run_dbt(["run", "--select", MODEL], home=tmp_path / "plain", live=live)
    made = run_dbt(["run", "--select", MODEL], home=tmp_path / "made", live=live, feeds=[airports])
    assert not plain.success and made.success, made.error
    assert made.sql(f"SELECT count(*), count(city) > 0, count(state), count(latitude) FROM {MODEL}") == [(rows, True, 0, 0)]
    assert made.sql(f"SELECT DISTINCT typeof(state), typeof(latitude) FROM {MODEL}") == [("VARCHAR", "DOUBLE")]


def test_a_value_that_does_not_fit_the_new_type_stops_what_reads_it_and_is_not_named(airports: Feed, tmp_path: Path) -> None:
    as_text = {"name": "latitude", "type": "string"}
    old = before(airports, lambda columns: [as_text if c["name"] == "latitude" else c for c in columns])
    secret = b"at the old mill"
    rows = SAMPLE.read_bytes()
    fits, _ = blocked_table(tmp_path / "fits", old, airports, rows)
    made = run_dbt(["run", "--select", MODEL], home=tmp_path / "a", live=fits, feeds=[airports])
    assert made.success, made.error
    assert made.sql(f"SELECT DISTINCT typeof(latitude) FROM {MODEL}") == [("DOUBLE",)]

    first = rows.splitlines()[1].split(b",")
    spoiled = rows.replace(first[5], secret, 1)
    broken, _ = blocked_table(tmp_path / "broken", old, airports, spoiled)
    made = run_dbt(["run", "--select", MODEL], home=tmp_path / "b", live=broken, feeds=[airports])
    # The staging model is a view: what leaves the column alone is not stopped by it.
    assert made.success, made.error
    with pytest.raises(
        duckdb.Error, match="a value of column latitude, VARCHAR until the contract changed, is no DOUBLE"
    ) as caught:
        made.sql(f"SELECT sum(latitude) FROM {MODEL}")
    assert secret.decode() not in str(caught.value)
