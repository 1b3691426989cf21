"""The tables of fields in docs/protocols/, made from the Pydantic models: `python -m tests.docs.fields` writes them there.

A table stands after a line `<!-- fields: NAME -->` and ends at the first empty line. What a field means is the model's own
description; only where the model has none, the words are here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from assets.feeds.model import PROTOCOLS
from assets.feeds.partitions import Partitions
from assets.protocols.kernel import SourceBase
from assets.protocols.queries import QuerySource

PAGES = Path(__file__).resolve().parents[2] / "docs" / "protocols"
SHARED, QUERIES, PARTITIONS = "every protocol", "queries", "partitions"
"""Names of the tables of what every `source:` may say, and every one with parameters; and of what `partitions:` may say."""

WORDS = {
    "auth.kind": "none, query_key, header_key or path_key (the key stands at `{key}` in the address).",
    "base_url": "Folder of the summary feeds.",
    "format": "csv, tsv, json, jsonl, geojson, xml, xls, xlsx or parquet.",
    "limits.concurrency": "Requests to the host at the same time.",
    "limits.connect_timeout_s": "Seconds until a connection must stand.",
    "limits.max_body_bytes": "Largest answer.",
    "limits.max_pages": "Most pages of one fetch.",
    "limits.per_second": "Requests in a second.",
    "limits.read_timeout_s": "Seconds without a byte.",
    "limits.total_timeout_s": "Seconds of a whole answer.",
    "method": "Only GET.",
    "paging.kind": "Only page_number.",
    "paging.page_param": "Parameter with the page's number, from 1.",
    "paging.size_param": "Parameter with the rows of a page.",
    "records.item_key": "Name of one row in that list.",
    "records.path": "Where the rows are, in JSON and in XML.",
    "format.value": "What it says for JSON.",
    "format.param": "Its name: returnType, _type, dataType, resultType; no two agencies agree.",
    "unpacking.max_members": "Most members of a ZIP or 7z.",
}


def table(name: str) -> str:
    """The Markdown table of a protocol's own fields, or of the shared ones."""
    model: type[BaseModel] = {SHARED: SourceBase, QUERIES: QuerySource, PARTITIONS: Partitions}.get(name) or PROTOCOLS[name].Source
    shared = {"protocol"} if name == SHARED else set(SourceBase.model_fields)
    if name not in (SHARED, QUERIES) and issubclass(model, QuerySource):
        shared |= set(QuerySource.model_fields)
    lines = ["| field | default | meaning |", "| --- | --- | --- |"]
    for path, info in _fields(model, skip=shared):
        default = "required" if info.is_required() else f"`{_shown(info.get_default(call_default_factory=True))}`"
        meaning = info.description or WORDS[path]
        lines.append(f"| `{path}` | {default} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _fields(model: type[BaseModel], prefix: str = "", skip: Collection[str] = ()) -> Iterator[tuple[str, FieldInfo]]:
    """Every field that holds no further model, by its dotted path."""
    for name, info in model.model_fields.items():
        if name in skip:
            continue
        inner = next((part for part in _parts(info.annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)
        if inner is None:
            yield f"{prefix}{name}", info
            continue
        yield from _fields(inner, f"{prefix}{name}.")


def _parts(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return json.dumps(to_jsonable_python(value), ensure_ascii=False)


def with_tables(text: str) -> str:
    """The page with every table made anew."""
    pattern = re.compile(r"(<!-- fields: ([a-z0-9_ ]+) -->\n)(?:.+\n)*")
    return pattern.sub(lambda match: f"{match[1]}{table(match[2])}\n", text)


def main() -> None:
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
