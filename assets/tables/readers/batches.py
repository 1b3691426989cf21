"""What every reader shares: its orders, the batches it fills, and the text of a value.

Finding the values in a format is the business of the module of that format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc

from assets.errors import UnreadableSource
from assets.tables.readers.decoding import nfc
from assets.tables.readers.json_text import NumberText
from assets.tables.rows import batch_schema

BATCH_ROWS = 10_000
TEXT_LIMIT = 10_000
"""Characters of a broken record that are kept (rows.py)."""
RECORD_BYTES = 256 * 1024 * 1024
"""Bytes after which a reader that has found no further record gives up: a record is held in memory."""
NUL = "a NUL character in the record"


@dataclass(frozen=True)
class Order:
    """What a reader is asked for. `wanted`: source columns; `missing`: the contract's missing_columns; `where`: for errors."""

    wanted: tuple[str, ...]
    missing: Literal["freeze", "null"] = "freeze"
    encoding: str | None = None
    korean: bool = False
    where: str = ""

    def refuse(self, what: str, mend: str = "") -> UnreadableSource:
        return UnreadableSource(what, where=self.where, mend=mend)

    def of_member(self, name: str) -> Order:
        """The same, its errors naming the member of an archive."""
        return replace(self, where=f"{self.where} ({name[:100]})".strip()) if name else self

    def check_present(self, seen: Iterable[str]) -> None:
        """Raises UnreadableSource where a wanted column is not among `seen` and the contract does not allow that."""
        names = list(dict.fromkeys(seen))
        have = {nfc(n) for n in names}
        missing = [w for w in self.wanted if nfc(w) not in have]
        if missing and self.missing == "freeze":
            raise self.refuse(
                f"column {listing(missing)} missing; the source has {listing(names)}",
                "correct contract.columns[].source, or set contract.missing_columns: null",
            )


def listing(names: Sequence[str], limit: int = 40) -> str:
    shown = ", ".join(f"'{n[:100]}'" for n in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown or "none"


def number_text(text: str) -> str:
    """The shortest text of the same number, no digit lost: 2.0 → 2, 1.50 → 1.5, 12e2 → 1200, 6.02e23 as it stands."""
    if "." not in text and "e" not in text and "E" not in text:
        return text
    try:
        value = Decimal(text)
    except ArithmeticError:  # an exponent past what a decimal may have
        return str(text)
    if not value.is_finite() or abs(value.adjusted()) > 40:
        return str(text)
    plain = format(value, "f")
    return (plain.rstrip("0").rstrip(".") or "0") if "." in plain else plain


def text_of(value: Any) -> str | None:
    """A JSON value as the text that staging reads: null is None, bool true/false, numbers shortest, nested values JSON."""
    kind = type(value)
    if value is None or kind is str:
        return cast("str | None", value)
    if kind is NumberText:
        return number_text(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return number_text(str(value))
    if isinstance(value, dict) and "#text" in value:  # an XML element with attributes
        return text_of(value["#text"])
    return nested_text(value)


def nested_text(value: Any) -> str:
    """Compact JSON with its numbers as written."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(str(k))}:{nested_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(nested_text, value)) + "]"
    if isinstance(value, str) and not isinstance(value, NumberText):
        return _quoted(value)
    return "null" if value is None else text_of(value) or "null"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_MISSING = object()


class Getter:
    """Finds one dotted path in a record: a key of that very name first, else step by step; numbers index lists."""

    def __init__(self, path: str) -> None:
        self.path, self.parts = _parts(path)
        self.found = False
        """Whether any record so far carried the path (or null where it would begin)."""

    def __call__(self, record: Any) -> Any:
        value = record.get(self.path, _MISSING) if isinstance(record, dict) else _MISSING
        if value is _MISSING:
            value = record
            for part in self.parts:
                if isinstance(value, dict):
                    value = value.get(part, _MISSING)
                elif isinstance(value, list):
                    value = value[int(part)] if part.isascii() and part.isdigit() and int(part) < len(value) else _MISSING
                elif value is not None:
                    value = _MISSING
                if value is None or value is _MISSING:
                    break
        if value is _MISSING:
            return None
        self.found = True
        return value


@lru_cache(maxsize=1024)
def _parts(path: str) -> tuple[str, list[str]]:
    """The path as it is compared, and its steps; every page of an answer looks for the same ones."""
    path = nfc(path)
    return path, path.split(".")


@lru_cache(maxsize=256)
def at_once(paths: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]] | None:
    """All values of a flat record, as nearly all are; raises KeyError for any other. None where there is but one path."""
    return itemgetter(*(_parts(path)[0] for path in paths)) if len(paths) > 1 else None


class Row:
    """Finds the values of a row in a record, each as its Getter does."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.getters = [Getter(path) for path in paths]
        self._at_once = at_once(paths)
        self._all_found = False

    def __call__(self, record: Any) -> Sequence[Any]:
        if self._at_once is not None and type(record) is dict:
            try:
                values: Sequence[Any] = self._at_once(record)
            except KeyError:
                return [getter(record) for getter in self.getters]
            if not self._all_found:
                self._all_found = True
                for getter in self.getters:
                    getter.found = True
            return values
        return [getter(record) for getter in self.getters]


class Seen:
    """The column names that records carry, as dotted paths, in order of appearance."""

    def __init__(self, names: list[str], wanted: Sequence[str]) -> None:
        self.names = names
        self._known = set(names)
        self._shapes: set[tuple[str, ...]] = set()
        self._inside = {".".join(w.split(".")[:i]) for w in wanted for i in range(1, w.count(".") + 1)}
        self._left = 200

    def add(self, record: Any) -> None:
        """Looks closely at the first records and at every new set of keys; the rest cost one set look-up."""
        shape = tuple(record) if isinstance(record, dict) else ()
        if self._left <= 0 and shape in self._shapes:
            return
        self._left -= 1
        if len(self._shapes) < 10_000:
            self._shapes.add(shape)
        self._walk(record, "", 0)

    def _walk(self, value: Any, path: str, depth: int) -> None:
        children: Iterable[tuple[str, Any]]
        if isinstance(value, dict) and depth < 8 and value:
            children = value.items()
        elif isinstance(value, list) and (path in self._inside or not path):
            children = ((str(i), v) for i, v in enumerate(value[:100]))
        else:
            if path and path not in self._known and len(self._known) < 10_000:
                self._known.add(path)
                self.names.append(path)
            return
        for key, child in children:
            self._walk(child, nfc(f"{path}.{key}" if path else str(key)), depth + 1)


class RowBuffer:
    """Collects rows of Python values into batches of `batch_schema(wanted)`."""

    def __init__(self, wanted: Sequence[str], first: int = 1) -> None:
        self.schema = batch_schema(wanted)
        self.width = len(wanted)
        self.next = first
        self._rows: list[Sequence[str | None]] = []
        self._problems: dict[int, tuple[str, str]] = {}

    def add(self, values: Sequence[str | None]) -> None:
        self._rows.append(values)

    def add_problem(self, reason: str, text: str) -> None:
        self._problems[len(self._rows)] = (reason, text[:TEXT_LIMIT])
        self._rows.append((None,) * self.width)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def full(self) -> bool:
        return len(self._rows) >= BATCH_ROWS

    def take(self) -> pa.RecordBatch:
        """What was collected. Rows with NUL or half a surrogate pair become broken records: no text column can hold them."""
        try:
            columns = self._columns()
        except UnicodeEncodeError:
            columns = None
        if columns is None or any(pc.any(pc.match_substring(column, "\0")).as_py() for column in columns):
            self._set_broken_aside()
            columns = self._columns()
        n = len(self._rows)
        reasons: list[str | None] = [None] * n
        texts: list[str | None] = [None] * n
        for i, (reason_, text) in self._problems.items():
            reasons[i], texts[i] = reason_, clean(text)
        ordinals = pa.arange(self.next, self.next + n)
        self.next += n
        self._rows, self._problems = [], {}
        return pa.RecordBatch.from_arrays(
            [*columns, ordinals, pa.array(reasons, pa.string()), pa.array(texts, pa.string())], schema=self.schema
        )

    def _columns(self) -> list[pa.Array]:
        """Raises UnicodeEncodeError for half a surrogate pair."""
        columns = zip(*self._rows, strict=True) if self._rows else [()] * self.width
        return [pa.array(column, pa.string()) for column in columns]

    def _set_broken_aside(self) -> None:
        for i, row in enumerate(self._rows):
            joined = "\x1f".join(v for v in row if v is not None)
            reason = NUL if "\0" in joined else None if encodable(joined) else "half a surrogate pair in the record"
            if reason:
                self._problems[i] = (reason, clean(joined.replace("\x1f", ",")))
                self._rows[i] = (None,) * self.width


def encodable(text: str) -> bool:
    """Whether UTF-8 can hold it; half a surrogate pair it cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean(text: str) -> str:
    """Text fit to be shown: NUL as its symbol, half pairs as U+FFFD, at most TEXT_LIMIT characters."""
    return text[:TEXT_LIMIT].replace("\0", "␀").encode("utf-8", "replace").decode()


def mask_nul(batch: pa.RecordBatch, width: int) -> pa.RecordBatch:
    """The batch with its NUL-bearing rows turned into broken records; the first `width` columns are text."""
    bad: Any = None
    for column in batch.columns[:width]:
        hit = pc.fill_null(pc.match_substring(column, "\0"), False)
        bad = hit if bad is None else pc.or_(bad, hit)
    if bad is None or not pc.any(bad).as_py():
        return batch
    joined = pc.binary_join_element_wise(*batch.columns[:width], ",", null_handling="replace", null_replacement="")
    texts = pa.array([clean(t) if b else None for t, b in zip(joined.to_pylist(), bad.to_pylist(), strict=True)], pa.string())
    none = pa.scalar(None, pa.string())
    columns = [pc.if_else(bad, none, c) for c in batch.columns[:width]]
    reasons = pc.if_else(bad, pa.scalar(NUL), batch.column(width + 1))
    return pa.RecordBatch.from_arrays(
        [*columns, batch.column(width), reasons, pc.coalesce(texts, batch.column(width + 2))], schema=batch.schema
    )


class Readable(Protocol):
    """The one thing asked of a byte source."""

    def read(self, size: int = -1, /) -> bytes: ...


_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.S)
_STRING_END = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.S)


class Guard:
    """A byte source that stops a parser which swallows without end: no record for RECORD_BYTES, or JSON nested beyond `depth`.

    Call `record()` at each record found. The depth is exact at every 4 kB of what stands outside strings.
    """

    def __init__(self, source: Readable, order: Order, depth: int | None = None) -> None:
        self._source, self._order, self._depth = source, order, depth
        self._since = 0
        self._open = 0
        self._in_string = False
        self._edge = b""

    def record(self) -> None:
        self._since = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._since += len(data)
        if self._since > RECORD_BYTES:
            raise self._order.refuse(f"no record within {RECORD_BYTES:,} bytes", "check source.records_path")
        if self._depth is not None:
            marks = self._outside_strings(data)
            for start in range(0, len(marks), 4096):
                piece = marks[start : start + 4096]
                self._open += piece.count(b"[") + piece.count(b"{") - piece.count(b"]") - piece.count(b"}")
                if self._open > self._depth:
                    raise self._order.refuse(f"values nested deeper than {self._depth:,}", "this is no table of records")
        return data

    def _outside_strings(self, data: bytes) -> bytes:
        data, self._edge = self._edge + data, b""
        if (len(data) - len(data.rstrip(b"\\"))) % 2:  # no escape may be split between two reads
            data, self._edge = data[:-1], b"\\"
        if self._in_string:
            end = _STRING_END.match(data)
            if end is None:
                return b""
            data, self._in_string = data[end.end() :], False
        data = _STRING.sub(b"", data)
        start = data.find(b'"')
        if start >= 0:
            data, self._in_string = data[:start], True
        return data


NAN = re.compile(r"(?<![\w\"])-?(NaN|Infinity)(?![\w\"])")


def chained(parts: Iterable[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield from part


def load_file(path: Path, limit: int) -> bytes | None:
    """The bytes of a small file; None where it is larger than `limit`."""
    if path.stat().st_size > limit:
        return None
    return path.read_bytes()
