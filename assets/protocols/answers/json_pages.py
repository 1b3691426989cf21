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
    text = response.head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text[:1] not in ("{", "["):
        return None
    if response.length <= len(response.head):
        try:
            document = _parsed(text)
        except (ValueError, RecursionError):
            return _from_text(text, text, records, ended=False)
        fields: dict[str, Scalar] = {}
        found = _walk(document, records, fields)
        return Around(text[0], fields, found or (records is None and isinstance(document, list)), whole=True)
    return _from_text(text, response.tail.decode("utf-8", "replace"), records, ended=None)


def _parsed(text: str) -> Any:
    """As json.loads, in half the time: what msgspec refuses (NaN, half a surrogate pair) is read the slow way."""
    import msgspec  # not at definition load

    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return json.loads(text)


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
    """The records of one archived page, at a path of keys. Raises UnreadableSource where the page is no such JSON."""
    from assets.tables.readers.decoding import open_utf8, plain_text
    from assets.tables.readers.json_reader import NotJson, at_path, loads, records_in

    page = as_payload(file)
    if page.size == 0:
        raise order.refuse("empty page", "look at the archived body")
    data: str | bytes | None = plain_text(page, declared=order.encoding)
    if data is None:
        with open_utf8(page, declared=order.encoding, korean=order.korean, where=order.where) as text:
            data = text.read()
    parts = list(where)
    try:
        return records_in(at_path(loads(data), parts), parts, order)
    except NotJson as error:
        raise order.refuse(f"a page is {error}", "look at the archived body") from None
    except KeyError as error:
        raise order.refuse(
            f"no '{str(error.args[0])[:100]}' on the path '{'.'.join(parts)}'", "look at the archived body"
        ) from None


def rows_of_pages(feed: Feed, bodies: Sequence[Body], where: Sequence[str]) -> RowStream:
    """The rows of pages whose records stand at one path of keys, in order."""
    from assets.tables.readers.json_reader import stream_of  # loads Arrow: not at definition load
    from assets.tables.readers.open import order_of

    order = order_of(feed)

    def records() -> Iterator[Any]:
        for body in bodies:
            yield from records_of(body.payload, where, order)

    return stream_of(records(), order, "utf-8")


def rows_of_records(feed: Feed, records: Iterable[Any]) -> RowStream:
    """Rows out of records that a protocol made itself (lists zipped with a header, attributes joined with a geometry)."""
    from assets.tables.readers.json_reader import stream_of
    from assets.tables.readers.open import order_of

    return stream_of(records, order_of(feed), "utf-8")
