"""JSON, JSON lines and GeoJSON: records found by a dotted path, values by dotted paths, numbers with all their digits.

Small bodies are parsed whole, larger ones as a stream; both give the same rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ijson
import pyarrow as pa

from assets.payload import Payload
from assets.tables.readers.batches import NAN, TEXT_LIMIT, Getter, Guard, Order, Row, RowBuffer, Seen, at_once, text_of
from assets.tables.readers.decoding import INLINE, Utf8File, nfc, open_utf8
from assets.tables.readers.json_text import NotJson, loads, short_document
from assets.tables.readers.spec import FileShape
from assets.tables.rows import RowStream, Tally

SMALL = 8 * 1024 * 1024
DEPTH = 512
LINE_LIMIT = 64 * 1024 * 1024


def read_json(path: Path, shape: FileShape, order: Order) -> RowStream:
    """The records at `records_path` (a list, or one object); of GeoJSON the features."""
    where = shape.records_path if shape.records_path is not None else "features" if shape.format == "geojson" else ""
    records, file = open_records(path, where, order)
    return stream_of(records, order, file.encoding.name, close=file)


def open_records(path: Path, where: str, order: Order) -> tuple[Iterator[Any], Utf8File]:
    """The records at a dotted path, one after another, and the file that they are read from; close it after the last.

    Raises UnreadableSource, here and while they are read.
    """
    if path.stat().st_size == 0:
        raise order.refuse("empty file", "the agency sent no bytes; keep the last good table")
    parts = [nfc(p) for p in where.split(".")] if where else []
    file = open_utf8(path, declared=order.encoding, korean=order.korean, where=order.where)
    small = path.stat().st_size <= SMALL
    return _whole(file, parts, order) if small else _streamed(file, path, parts, order), file


def read_jsonl(path: Path, shape: FileShape, order: Order) -> RowStream:
    """One record a line; a line that is no JSON is a broken record."""
    if path.stat().st_size == 0:
        raise order.refuse("empty file", "the agency sent no bytes; keep the last good table")
    file = open_utf8(path, declared=order.encoding, korean=order.korean, where=order.where)
    return stream_of(_lines(file), order, file.encoding.name, close=file)


class Broken:
    """A record that cannot be used, in place of its value."""

    __slots__ = ("reason", "text")

    def __init__(self, reason: str, text: str) -> None:
        self.reason, self.text = reason, text


def stream_of(records: Iterable[Any], order: Order, encoding: str | None, close: Utf8File | None = None) -> RowStream:
    """Rows out of records (dicts, or lists by position). At the end a wanted path that no record had is refused."""
    stream = RowStream(order.wanted, iter(()), [], encoding)
    stream.batches = _batches(records, order, stream, close)
    stream.tally = partial(_tallied, records, order, close)
    return stream


def _tallied(records: Iterable[Any], order: Order, close: Utf8File | None) -> Tally:
    """The records counted, and looked at no closer than it takes to know that no wanted path is missing."""
    try:
        kept = list(records)
        first = _flat(kept[0], order) if kept else None
        if first is None:
            first = _searched(kept, order)
    finally:
        if close is not None:
            close.close()
    return Tally(len(kept), first, kept)


def _flat(record: Any, order: Order) -> Hashable:
    """The texts of a record that has every wanted path as a key of its own; None of any other."""
    found = at_once(order.wanted)
    if found is None or type(record) is not dict:
        return None
    try:
        return tuple([text_of(value) for value in found(record)])
    except (KeyError, RecursionError):
        return None


def _searched(records: list[Any], order: Order) -> Hashable:
    """The first record in a comparable form, None where there is none. A wanted path that no record has is refused."""
    getters = [Getter(w) for w in order.wanted]
    sought = getters
    first: Hashable = None
    for number, record in enumerate(records):
        if not sought:
            break
        if not isinstance(record, (dict, list)):
            continue
        try:
            texts = tuple(text_of(g(record)) for g in sought)
        except RecursionError:
            texts = ("values nested too deeply",)
        if number == 0:
            first = texts
        sought = [g for g in sought if not g.found]
    if records and first is None:
        first = repr(records[0])[:TEXT_LIMIT]
    sound = any(isinstance(record, (dict, list)) for record in records)
    if sound and sought and order.missing == "freeze":
        seen = Seen([], [g.path for g in getters])
        for record in records:
            seen.add(record)
        order.check_present([*seen.names, *(g.path for g in getters if g.found)])
    return first


def _batches(records: Iterable[Any], order: Order, stream: RowStream, close: Utf8File | None) -> Iterator[pa.RecordBatch]:
    row = Row(order.wanted)
    seen = Seen(stream.seen_columns, [g.path for g in row.getters])
    buffer = RowBuffer(order.wanted)
    sound = 0
    try:
        for record in records:
            stream.records_read += 1
            if isinstance(record, (dict, list)):
                sound += 1
                seen.add(record)
                try:
                    buffer.add([v if type(v) is str else text_of(v) for v in row(record)])
                except RecursionError:
                    buffer.add_problem("values nested too deeply", "")
            elif isinstance(record, Broken):
                buffer.add_problem(record.reason, record.text)
            else:
                buffer.add_problem("the record is no object", text_of(record) or "null")
            if buffer.full:
                yield buffer.take()
        if sound and order.missing == "freeze":
            order.check_present([*stream.seen_columns, *(g.path for g in row.getters if g.found)])
        if len(buffer):
            yield buffer.take()
    finally:
        if close is not None:
            close.close()


def _lines(file: Utf8File) -> Iterator[Any]:
    for line in file.lines(LINE_LIMIT):
        if not line.strip():
            continue
        try:
            yield loads(line)
        except NotJson as error:
            yield Broken(str(error), line[:40_000].decode("utf-8", "replace"))


def at_path(value: Any, parts: list[str]) -> Any:
    """What stands at a path of keys. Raises KeyError with the part that is not there."""
    for part in parts:
        if not isinstance(value, dict):
            raise KeyError(part)
        if part not in value:
            value = {nfc(k): v for k, v in value.items()}
        value = value[part]
    return value


def _whole(file: Utf8File, parts: list[str], order: Order) -> Iterator[Any]:
    try:
        value = at_path(loads(file.read()), parts)
    except NotJson as error:
        raise order.refuse(str(error), "check source.format, and that the agency sent the whole file") from None
    except KeyError as error:
        raise _no_path(order, parts, str(error.args[0])) from None
    yield from records_in(value, parts, order)


def records_of_page(page: Payload, where: Sequence[str], order: Order) -> list[Any]:
    """The records of one archived page, at a path of keys, not to be changed. Raises UnreadableSource where it is no such JSON."""
    if page.size == 0:
        raise order.refuse("empty page", "look at the archived body")
    parts = list(where)
    try:
        return records_in(at_path(_document(page, order), parts), parts, order)
    except NotJson as error:
        raise order.refuse(f"a page is {error}", "look at the archived body") from None
    except KeyError as error:
        raise order.refuse(
            f"no '{str(error.args[0])[:100]}' on the path '{'.'.join(parts)}'", "look at the archived body"
        ) from None


def _document(page: Payload, order: Order) -> Any:
    """All of a page. Raises NotJson, or UnreadableSource where its encoding cannot be told."""
    if order.encoding is None and page.size < INLINE:
        try:
            return short_document(page.read_bytes())
        except NotJson:  # in another encoding, or no JSON: the longer way says which
            pass
    with open_utf8(page, declared=order.encoding, korean=order.korean, where=order.where) as text:
        return loads(text.read())


def records_in(value: Any, parts: list[str], order: Order) -> list[Any]:
    """A list is its records, an object is one record, null is none."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    if value is None:
        return []
    raise order.refuse(f"no list of records at {_shown(parts)}", "correct source.records_path")


def _no_path(order: Order, parts: list[str], part: str) -> Exception:
    return order.refuse(f"no '{part[:100]}' on the path {_shown(parts)}", "correct source.records_path")


def _shown(parts: list[str]) -> str:
    return f"'{'.'.join(parts)}'" if parts else "the top level"


def _streamed(file: Utf8File, path: Path, parts: list[str], order: Order) -> Iterator[Any]:
    kind = _kind_at(path, parts, file, order)
    prefix = ".".join(parts)
    if kind == "start_array":
        prefix = f"{prefix}.item" if prefix else "item"
    elif kind == "null":
        return
    elif kind != "start_map":
        raise order.refuse(f"no list of records at {_shown(parts)}", "correct source.records_path")
    guard = Guard(file, order, DEPTH)
    try:
        for record in ijson.items(guard, prefix, buf_size=65_536):
            guard.record()
            yield record
    except (ijson.JSONError, ValueError, ArithmeticError) as error:
        raise _not_json(error, order) from None


def _kind_at(path: Path, parts: list[str], file: Utf8File, order: Order) -> str:
    """The event with which the value at the path begins; reads no further."""
    wanted = ".".join(parts)
    with Utf8File(path, file.encoding, order.where) as text:
        try:
            for prefix, event, _ in ijson.parse(Guard(text, order, DEPTH), buf_size=65_536):
                if prefix == wanted and event != "map_key":
                    return str(event)
        except (ijson.JSONError, ValueError, ArithmeticError) as error:
            raise _not_json(error, order) from None
    raise _no_path(order, parts, parts[-1] if parts else "")


def _not_json(error: Exception, order: Order) -> Exception:
    if isinstance(error, ijson.IncompleteJSONError) and "premature" in str(error):
        what = "the JSON ends before its end: the file is incomplete"
    else:
        found = NAN.search(str(error))
        what = f"{found.group(1)} is no JSON value" if found else "no JSON"
    return order.refuse(what, "check source.format, and that the agency sent the whole file")
