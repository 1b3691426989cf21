"""How dbt learns of the tables: sources generated from the feeds, and the exact live files given at run time.

`dbt_project/models/staging/_sources.yml` is written here from the contracts (`python -m assets.tables.dbt_sources`), never by
hand. Which files are live is the table index's to say; running dbt is the orchestration's. Nothing here imports dbt.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from assets.errors import MadangError
from assets.feeds.model import Feed
from assets.tables.presenting import as_contract, read_files
from assets.tables.sql import copy, ident, listed, table_columns
from quality.contract import Column

DBT_PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
SOURCES = DBT_PROJECT / "models" / "staging" / "_sources.yml"
SOURCE_NAME = "tables"
TABLES_VAR = "madang_tables"
MODELS_VAR = "madang_models_dir"

LARGEST_ARGUMENT = 128_000
"""Linux refuses a single argument of 131,072 bytes, and `--vars` is one argument."""

NAMED_FILES = 50
"""Above so many live files a table is read through a folder of links: 20 such tables name fewer than the argument holds."""

_HEADER = "# Generated from the feeds by `python -m assets.tables.dbt_sources`; change the feed.yaml, not this file.\n"

_MEANING = {
    "_source_id": "Fetch that the record came from.",
    "_source_row": "Ordinal of the record in its fetch, from 1.",
    "_fetched_at": "When this record's content was first seen, UTC.",
    "_row_hash": "Hash of the record's content.",
}


def sources_yaml(feeds: Iterable[Feed]) -> str:
    """The whole of `_sources.yml` for these feeds, in order of id; the same feeds give the same bytes.

    The location has a default, so that dbt parses without variables; a build without them fails on that name.
    """
    from io import StringIO

    from ruamel.yaml import YAML

    tables = [_source_table(feed) for feed in sorted(feeds, key=lambda f: f.id)]
    document = {
        "version": 2,
        "sources": [
            {
                "name": SOURCE_NAME,
                "description": "Accepted rows of the feeds: typed Parquet, one row per record, as the feed's contract promises.",
                "tables": tables,
            }
        ],
    }
    yaml = YAML()
    yaml.width = 132
    yaml.allow_unicode = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = StringIO()
    yaml.dump(document, text)
    return _HEADER + text.getvalue()


def tables_vars(
    live: Mapping[str, Sequence[str]],
    *,
    feeds: Iterable[Feed] = (),
    models_dir: str | None = None,
    links: Path | None = None,
) -> dict[str, Any]:
    """dbt's `--vars` for one run.

    `live`: relation → the local files of its table, exactly those that its index lists (an empty feed: `empty_table`'s).
    `feeds`: those whose tables are shown as today's contract has them, whatever contract their files are of.
    `links`: an empty folder for links to the files of tables that have too many to be named, as those of many partitions have.
    `models_dir`: folder where the training models land; without it they stay in the warehouse only.
    """
    declared = {feed.relation: feed for feed in feeds}
    variables: dict[str, Any] = {
        TABLES_VAR: {
            relation: _table_expression(relation, files, declared.get(relation), links) for relation, files in live.items()
        }
    }
    if models_dir is not None:
        variables[MODELS_VAR] = models_dir
    size = len(json.dumps(variables))
    if size > LARGEST_ARGUMENT:
        raise MadangError(
            f"{sum(map(len, live.values()))} live files make dbt's variables {size:,} characters long, "
            f"and a command line takes {LARGEST_ARGUMENT:,}",
            where=", ".join(sorted(live, key=lambda relation: -len(live[relation]))[:3]),
            mend="give only the tables that the run's models read, or compact the tables named here",
        )
    return variables


def empty_table(feed: Feed, path: Path) -> Path:
    """Write the zero-row Parquet file that stands for a feed without live files, with every column in its type."""
    types = table_columns(feed)
    columns = listed([f"CAST(NULL AS {kind}) AS {ident(name)}" for name, kind in types.items()])
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(copy(f"SELECT {columns} WHERE false", path, len(types)))
    return path


def prepare_landing(models_dir: Path, models: Iterable[str]) -> dict[str, Path]:
    """Make each model's folder under a local `models_dir` (DuckDB's COPY makes none) and say where its file will be."""
    landed = {}
    for model in models:
        folder = models_dir / model
        folder.mkdir(parents=True, exist_ok=True)
        landed[model] = folder / "part-00000.parquet"
    return landed


def _source_table(feed: Feed) -> dict[str, Any]:
    title = " / ".join(dict.fromkeys(t for t in (feed.title, feed.title_en) if t))
    texts = {c.name: _column_text(c) for c in feed.contract.columns} | _MEANING
    texts |= {f"{c.name}_status": f"Why {c.name} is null, as the source wrote it." for c in feed.contract.columns}
    columns = [_column(name, kind, texts[name]) for name, kind in table_columns(feed).items()]
    unknown = f"(table {feed.relation} was not given in the variable {TABLES_VAR})"
    return {
        "name": feed.relation,
        "description": _plain("\n\n".join(t for t in (f"{title} ({feed.agency.name})", feed.description.strip()) if t)),
        "config": {
            "meta": {
                "feed": feed.id,
                "licence": feed.licence.id,
                "dagster": {"asset_key": ["table", *feed.segments]},
                "external_location": f"{{{{ var('{TABLES_VAR}', {{}}).get('{feed.relation}', '{unknown}') }}}}",
            }
        },
        "columns": columns,
    }


def _column(name: str, kind: str, description: str) -> dict[str, str]:
    entry = {"name": name, "data_type": kind.lower()}
    if description:
        entry["description"] = _plain(description)
    return entry


def _column_text(column: Column) -> str:
    title = " / ".join(dict.fromkeys(t for t in (column.title_ko, column.title_en) if t))
    unit = f"Unit: {column.unit}." if column.unit else ""
    return " ".join(t for t in (": ".join(t for t in (title, column.description.strip()) if t), unit) if t)


def _plain(text: str) -> str:
    """Descriptions pass through dbt's Jinja: an agency's braces must not become code."""
    return re.sub(r"\{(?=[{%#])", "{ ", text)


def _linked(folder: Path, files: Sequence[str]) -> str:
    """SQL for exactly these files, through links that are numbered in their order, in a folder of their own below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    here = folder / f"{len(list(folder.iterdir())):03}"
    here.mkdir()
    for number, file in enumerate(files):
        (here / f"{number:06}.parquet").symlink_to(Path(file).absolute())
    # the links' own folder may lie in one whose name holds a pattern
    return read_files([re.sub(r"[*?\[]", r"[\g<0>]", str(here)) + "/*.parquet"])


def _table_expression(relation: str, files: Sequence[str], feed: Feed | None, links: Path | None) -> str:
    """SQL for exactly these files. Braces are doubled because dbt-duckdb passes the location through `str.format_map`."""
    if not files:
        raise MadangError(
            "no live file was given for this table", where=f"table {relation}", mend="give the zero-row file of an empty feed"
        )
    globbed = [f for f in files if re.search(r"[*?[]", f)]
    if globbed:
        raise MadangError(
            "a path holds *, ? or [, which DuckDB would read as a pattern for other files",
            where=f"table {relation}",
            mend="move MADANG_STORE to a folder whose path holds none of them",
        )

    def read(some: Sequence[str]) -> str:
        return _linked(links / relation, some) if links is not None and len(some) > NAMED_FILES else read_files(some)

    query = as_contract(feed, files, read) if feed is not None else None
    expression = read(files) if query is None else f"({query})"
    return expression.replace("{", "{{").replace("}", "}}")


def main() -> None:
    """Write `_sources.yml` from the feeds of this checkout."""
    from assets.feeds.load import load_feeds

    feeds = load_feeds([DBT_PROJECT.parent / "assets" / "feeds"]).feeds
    SOURCES.write_text(sources_yaml(feeds.values()), encoding="utf-8")
    sys.stdout.write(f"{SOURCES}: {len(feeds)} sources\n")


if __name__ == "__main__":
    main()
