"""Sources generated from the feeds, and the variables that give dbt exactly the live files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from ruamel.yaml import YAML

from assets.errors import MadangError
from assets.feeds.model import Feed
from assets.tables.dbt_sources import DBT_PROJECT, SOURCES, empty_table, sources_yaml, tables_vars
from assets.tables.sql import literal, table_columns
from tests.dbt.project import FEEDS, FILES, MODELS, make_tables, run_dbt
from tests.tables.making import make_feed


def expression(path: Path) -> str:
    """What dbt-duckdb makes of the variable's value: its own `str.format_map` pass is applied."""
    (sql,) = tables_vars({"t": [str(path)]})["madang_tables"].values()
    return str(sql.format_map({"name": "t"}))


@pytest.mark.parametrize("folder", ["plain", "한국 환경공단", "it's", "{braces} {0}", "day=2024-01-01", "per%cent", "dollar$name"])
def test_every_path_is_read_as_it_is(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "part-00000.parquet"
    path.parent.mkdir()
    duckdb.sql(f"COPY (SELECT 7 AS a) TO {literal(str(path))} (FORMAT parquet)")
    answer = duckdb.sql(f"SELECT * FROM {expression(path)}")
    assert (answer.columns, answer.fetchall()) == (["a"], [(7,)])


def test_files_under_an_older_contract_are_read_together(tmp_path: Path) -> None:
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    duckdb.sql(f"COPY (SELECT 1 AS a) TO {literal(str(old))} (FORMAT parquet)")
    duckdb.sql(f"COPY (SELECT 'x' AS b, 2 AS a) TO {literal(str(new))} (FORMAT parquet)")
    sql = tables_vars({"t": [str(old), str(new)]})["madang_tables"]["t"]
    assert duckdb.sql(f"SELECT a, b FROM {sql} ORDER BY a").fetchall() == [(1, None), (2, "x")]


@pytest.mark.parametrize("name", ["a*.parquet", "a?.parquet", "a[b].parquet"])
def test_a_path_that_duckdb_would_expand_is_refused(name: str) -> None:
    with pytest.raises(MadangError, match="pattern"):
        tables_vars({"t": [f"/store/{name}"]})


def test_a_table_without_files_is_refused() -> None:
    with pytest.raises(MadangError, match="zero-row file"):
        tables_vars({"t": []})


def test_more_files_than_a_command_line_takes_are_refused() -> None:
    with pytest.raises(MadangError, match="2000 live files"):
        tables_vars({"small": ["/a"], "large": [f"/store/{'x' * 60}/{i}.parquet" for i in range(1999)]})


def test_many_files_are_read_through_links_to_exactly_these(tmp_path: Path) -> None:
    """A daily partition for years: its files' names alone would be longer than a command line."""
    store = tmp_path / ("store" + "x" * 60)
    store.mkdir()
    files = [str(store / f"{n}.parquet") for n in range(1200)]
    for n in (0, 1, 2, 600, 1199):
        duckdb.sql(f"COPY (SELECT {n} AS n) TO {literal(files[n])} (FORMAT parquet)")
    for file in files:
        if not Path(file).exists():
            Path(file).hardlink_to(files[2])
    live = [file for n, file in enumerate(files) if n != 600]
    for links in (tmp_path / "links", tmp_path / "[links]*"):
        sql = tables_vars({"t": live, "few": files[:2]}, links=links)["madang_tables"]
        assert len(sql["t"]) < 500 and files[0] in sql["few"]
        assert duckdb.sql(f"SELECT count(*), max(n), sum((n = 600)::INT) FROM {sql['t']}").fetchall() == [(1199, 1199, 0)]


def test_many_files_of_two_contracts_are_read_through_links(tmp_path: Path) -> None:
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    feed = make_feed([{"name": "a", "type": "integer"}])
    empty_table(feed, new)
    duckdb.sql(f"COPY (SELECT '7' AS a) TO {literal(str(old))} (FORMAT parquet)")
    relation = feed.relation
    sql = tables_vars({relation: [str(old)] * 60 + [str(new)] * 60}, feeds=[feed], links=tmp_path / "links")["madang_tables"][
        relation
    ]
    assert len(sql) < 5000 and duckdb.sql(f"SELECT count(*), sum(a) FROM {sql}").fetchall() == [(60, 420)]


def test_landing_folder_is_given_only_when_asked() -> None:
    assert set(tables_vars({"t": ["/a.parquet"]})) == {"madang_tables"}
    assert tables_vars({"t": ["/a.parquet"]}, models_dir="/models")["madang_models_dir"] == "/models"


def awkward_feed() -> Feed:
    return Feed.model_validate(
        {
            "id": "kr.agency.table_a",
            "title": "표 {{ danger }} {% raw %}",
            "agency": {"name": '기관: "따옴표" #1', "country": "KR"},
            "licence": {"id": "KOGL-1", "url": "https://www.kogl.or.kr/"},
            "schedule": {"cron": "0 3 * * *"},
            "source": {"protocol": "http_file", "url": "https://example.org/a.csv", "format": "csv"},
            "contract": {
                "columns": [
                    {"name": "id", "type": "integer", "nullable": False, "title_ko": "번호", "title_en": "Number"},
                    {"name": "price", "type": "decimal", "scale": 2, "unit": "KRW", "description": "Price: 'as paid'"},
                    {"name": "day", "type": "date", "format": "%Y-%m-%d"},
                    {"name": "seen_at", "type": "timestamp"},
                ],
                "key": ["id"],
            },
        }
    )


def test_sources_carry_the_contract() -> None:
    feed = awkward_feed()
    text = sources_yaml([feed])
    assert text == sources_yaml([feed])
    (table,) = YAML(typ="safe").load(text)["sources"][0]["tables"]
    assert table["name"] == "kr_agency__table_a"
    assert table["config"]["meta"]["dagster"] == {"asset_key": ["table", "kr", "agency", "table_a"]}
    assert {c["name"]: c["data_type"] for c in table["columns"]} == {n: k.lower() for n, k in table_columns(feed).items()}
    described = {c["name"]: c.get("description") for c in table["columns"]}
    assert described["id"] == "번호 / Number"
    assert described["price"] == "Price: 'as paid' Unit: KRW."
    assert "{{" not in table["description"] and "{%" not in table["description"]


def test_empty_table_has_every_column_in_its_type(tmp_path: Path) -> None:
    feed = awkward_feed()
    path = empty_table(feed, tmp_path / "new" / "empty.parquet")
    described = duckdb.sql(f"DESCRIBE SELECT * FROM {expression(path)}").fetchall()
    normal = {n: k.replace(", ", ",") for n, k in table_columns(feed).items()}
    assert {row[0]: row[1] for row in described} == normal
    assert duckdb.sql(f"SELECT count(*) FROM {expression(path)}").fetchall() == [(0,)]


@pytest.fixture(scope="module")
def feeds() -> dict[str, Feed]:
    from assets.feeds.load import load_feeds

    loaded: dict[str, Feed] = load_feeds([DBT_PROJECT.parent / "assets" / "feeds"]).feeds
    return loaded


def test_sources_file_is_up_to_date(feeds: dict[str, Feed]) -> None:
    assert SOURCES.read_text(encoding="utf-8") == sources_yaml(feeds.values()), "run: python -m assets.tables.dbt_sources"


@pytest.mark.dagster
def test_every_model_builds_over_feeds_that_have_no_rows_yet(feeds: dict[str, Feed], tmp_path: Path) -> None:
    live = {f.relation: [str(empty_table(f, tmp_path / f"{f.relation}.parquet"))] for f in feeds.values()}
    answer = run_dbt(["build"], home=tmp_path / "dbt", live=live, models_dir=tmp_path / "models")
    assert answer.success, answer.error
    for model in MODELS:
        assert answer.sql(f"SELECT count(*) FROM {model}") == [(0,)]


@pytest.mark.dagster
def test_a_table_that_was_not_given_is_named(tmp_path: Path, live_tables: dict[str, list[str]]) -> None:
    some: dict[str, Any] = {r: f for r, f in live_tables.items() if r != "us_faa__airports"}
    answer = run_dbt(["run", "--select", "stg_us_faa__airports"], home=tmp_path, live=some)
    assert not answer.success
    assert "us_faa__airports was not given in the variable madang_tables" in answer.error


@pytest.mark.dagster
def test_the_bundled_samples_build_and_pass(tmp_path: Path) -> None:
    """What `make demo` runs on, without any file of an agency."""
    samples = {feed: next((FEEDS / feed).glob("sample.*")) for feed in FILES}
    answer = run_dbt(
        ["build"], home=tmp_path / "dbt", live=make_tables(samples, tmp_path / "tables"), models_dir=tmp_path / "models"
    )
    assert answer.success, answer.error
    for model in MODELS:
        assert answer.sql(f"SELECT count(*) > 100 FROM {model}") == [(True,)], model
