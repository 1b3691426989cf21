"""Pages of JSON: what stands around the records, from a body's head and tail alone, and the records themselves.

Shared by the protocols that answer with one JSON document a page. What the fields around the records mean is each protocol's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assets.payload import Payload, as_payload
from assets.protocols.answers.numbers import written_number

if TYPE_CHECKING:
    from pathlib import Path

    from assets.feeds.model import Feed
    from assets.protocols.kernel import Body, Response
    from assets.tables.readers.batches import Order
    from assets.tables.rows import RowStream

Scalar = str | int | float | bool | None

NO_MORE_PAGES = 10**15
"""The page size of an answer that is the whole, or the last page: no answer fills it."""

_FIELD = re.compile(
    r'"((?:[^"\\]|\\.){1,100})"\s*:\s*("(?:[^"\\]|\\.){0,2000}"|-?\d{1,18}(?:\.\d{1,18})?(?![\d.eE])|true|false|null)(?=\s*[,}\]])'
)
_MAX_DEPTH = 64
_BLANK = b"\xef\xbb\xbf \t\r\n"
"""What may stand before a document: a mark of UTF-8, and blanks."""


@dataclass(frozen=True)
class Around:
    """A JSON document without its records. `root`: '{' or '['. `fields`: its scalars by their own name, the first of a name wins.

    `records`: whether the list of records stands there; `whole`: the document was parsed to its end, else only its head and tail
    were looked at; `ended`: it ends as JSON does.
    """

    root: str
    fields: dict[str, Scalar] = field(default_factory=dict)
    records: bool = False
    whole: bool = False
    ended: bool = True

    def number(self, name: str) -> int | None:
        """A whole number that is not negative, from an int or a numeric string ("1,284" too); None for anything else."""
        return written_number(self.fields.get(name))

    def text(self, name: str) -> str | None:
        """The field as text; None where it is absent or null."""
        value = self.fields.get(name)
        return None if value is None else str(value)


def around(response: Response, records: str | None) -> Around | None:
    """What stands around the list named `records` (None: the document itself is the list). None: this is no JSON. Never raises."""
    head = response.head.lstrip(_BLANK)
    if head[:1] not in (b"{", b"["):
        return None
    if response.length <= len(response.head):
        try:
            document = _whole(head)
        except (ValueError, RecursionError):
            text = head.decode("utf-8", "replace")
            return _from_text(text, text, records, ended=False)
        fields: dict[str, Scalar] = {}
        found = _walk(document, records, fields)
        return Around(head[:1].decode(), fields, found or (records is None and isinstance(document, list)), whole=True)
    return _from_text(head.decode("utf-8", "replace"), response.tail.decode("utf-8", "replace"), records, ended=None)


def _whole(head: bytes) -> Any:
    """The document of a body that is seen whole; what is no JSON to the letter (NaN, stray bytes) as Python reads it."""
    from assets.tables.readers.json_text import NotJson, short_document  # not at definition load

    try:
        return short_document(head)
    except NotJson:
        return json.loads(head.decode("utf-8", "replace"))


def _walk(document: Any, records: str | None, fields: dict[str, Scalar]) -> bool:
    """Collect scalars, the nearer the root the earlier; whether the records were met."""
    met, level = False, [document]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, list):
                below += value[:100]
            elif isinstance(value, dict):
                for name, inner in value.items():
                    if name == records:
                        met = True
                    elif isinstance(inner, (dict, list)):
                        below.append(inner)
                    else:
                        fields.setdefault(name, inner)
        level = below
        if records is None or not level:
            break
    return met


def _from_text(start: str, end: str, records: str | None, ended: bool | None) -> Around:
    if records is None:
        before = after = ""
        met = start[0] == "["
    else:
        opening = re.search(rf'"{re.escape(records)}"\s*:\s*[\[{{]', start)
        met = opening is not None
        before = start[: opening.start()] if opening else start
        after = end[end.rfind("]") :] if "]" in end else ""
    fields: dict[str, Scalar] = {}
    for piece in (before, after):
        for name, value in _FIELD.findall(piece):
            try:
                fields.setdefault(json.loads(f'"{name}"'), json.loads(value))
            except ValueError:
                continue
    if ended is None:
        ended = end.rstrip()[-1:] == ("}" if start[0] == "{" else "]")
    return Around(start[0], fields, met, ended=ended)


def records_of(file: Path | Payload, where: Sequence[str], order: Order) -> list[Any]:
    """As `json_reader.records_of_page`."""
    from assets.tables.readers.json_reader import records_of_page  # loads Arrow: not at definition load

    return records_of_page(as_payload(file), where, order)


def rows_of_pages(feed: Feed, bodies: Sequence[Body], where: Sequence[str]) -> RowStream:
    """The rows of pages whose records stand at one path of keys, in order."""
    from assets.tables.readers.json_reader import records_of_page, stream_of  # loads Arrow: not at definition load
    from assets.tables.readers.open import order_of

    order = order_of(feed)

    def records() -> Iterator[Any]:
        for body in bodies:
            yield from records_of_page(body.payload, where, order)

    return stream_of(records(), order, "utf-8")


def rows_of_records(feed: Feed, records: Iterable[Any]) -> RowStream:
    """Rows out of records that a protocol made itself (lists zipped with a header, attributes joined with a geometry)."""
    from assets.tables.readers.json_reader import stream_of
    from assets.tables.readers.open import order_of

    return stream_of(records, order_of(feed), "utf-8")
