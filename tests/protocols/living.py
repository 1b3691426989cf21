"""The life of an agency's rows: each day some are added, revised, withdrawn or re-ordered, in a copy of a feed's sample.

Keys stay unique and values stay of the kind that the column holds: a new row is one that was held back from the start, or a copy of
another under the next date or number; a revised value is another row's. Nothing here knows how a protocol tells of it. A shape that
cannot be edited in this way stays as it is, and `Life.still` says why.
"""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import os
import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from assets.feeds.model import Feed
from deploy.agency.app import SEOUL
from deploy.agency.routes import Route
from quality.contract import Column

Row = dict[Any, Any]
RAW = None
"""Name of the field in which a row of a file keeps its own text, until it is changed."""
STAMPS = {
    "socrata2": ":updated_at",
    "socrata3": ":updated_at",
    "sdmx21": "_updated",
    "sdmx30": "_updated",
    "kosis": "LST_CHN_DE",
    "ckan": "metadata_modified",
}
"""Protocol → the field in which its server keeps when a row last changed, beside the feed's own cursor."""
ROLLED = 12
"""Most rows that a day adds under its own date."""


class Shape(ABC):
    """How rows lie in a sample: `rows` out of its bytes, and `written` back."""

    rows: list[Row]

    @abstractmethod
    def written(self, rows: Sequence[Row]) -> bytes: ...


class Listed(Shape):
    """A JSON list, or the features of GeoJSON with their count."""

    def __init__(self, body: bytes) -> None:
        self._whole = json.loads(body)
        self.rows = self._whole if isinstance(self._whole, list) else self._whole["features"]

    def written(self, rows: Sequence[Row]) -> bytes:
        if isinstance(self._whole, list):
            return json.dumps(rows, ensure_ascii=False).encode()
        about = {**self._whole["metadata"], "count": len(rows)}
        return json.dumps({**self._whole, "metadata": about, "features": rows}, ensure_ascii=False).encode()


class Lines(Shape):
    """Records under a header, or of `names` without one. What is not changed keeps its own text."""

    def __init__(self, text: str, delimiter: str = ",", names: Sequence[str] = ()) -> None:
        self._delimiter, self._end = delimiter, "\r\n" if "\r\n" in text else "\n"
        records = list(_records(text))
        self._head = [] if names else [records.pop(0).rstrip("\r\n")]
        self._names = list(names) or next(csv.reader(self._head, delimiter=delimiter))
        self.rows = [self._row(record) for record in records if record.strip()]

    def _row(self, record: str) -> Row:
        fields = next(csv.reader(io.StringIO(record, newline=""), delimiter=self._delimiter))
        if len(fields) != len(self._names):
            raise ValueError("a record has another number of fields than the header")
        return {**dict(zip(self._names, fields, strict=True)), RAW: record.rstrip("\r\n")}

    def lines(self, rows: Sequence[Row]) -> list[str]:
        return [*self._head, *(self._text(row) for row in rows)]

    def _text(self, row: Row) -> str:
        if RAW in row:
            return str(row[RAW])
        out = io.StringIO()
        csv.writer(out, delimiter=self._delimiter, lineterminator="").writerow([row[name] for name in self._names])
        return out.getvalue()

    def written(self, rows: Sequence[Row]) -> bytes:
        return "".join(line + self._end for line in self.lines(rows)).encode()


class Encoded(Lines):
    """A file of lines, in its own encoding, perhaps compressed."""

    def __init__(self, path: Path, delimiter: str, names: Sequence[str]) -> None:
        body = path.read_bytes()
        self._packed = path.suffix == ".gz"
        body = gzip.decompress(body) if self._packed else body
        self._encoding = "utf-8-sig" if body.startswith(b"\xef\xbb\xbf") else "utf-8"
        try:
            text = body.decode(self._encoding)
        except UnicodeDecodeError:
            self._encoding = "cp949"
            text = body.decode(self._encoding)
        super().__init__(text, delimiter, names)

    def written(self, rows: Sequence[Row]) -> bytes:
        body = super().written(rows).decode().encode(self._encoding)
        return gzip.compress(body, mtime=0) if self._packed else body


class Timetable(Shape):
    """One table of a timetable, whose sample is JSON: file → its lines."""

    def __init__(self, body: bytes, member: str) -> None:
        self._whole, self._member = json.loads(body), member
        self._lines = Lines("".join(f"{line}\n" for line in self._whole[member]))
        self.rows = self._lines.rows

    def written(self, rows: Sequence[Row]) -> bytes:
        return json.dumps({**self._whole, self._member: self._lines.lines(rows)}, ensure_ascii=False).encode()


def _records(text: str) -> Iterator[str]:
    """Records, of which one may span lines between quotes."""
    held = ""
    for line in text.splitlines(keepends=True):
        held += line
        if held.count('"') % 2 == 0:
            yield held
            held = ""


def shape_of(feed: Feed, path: Path) -> Shape:
    """Raises ValueError, KeyError or TypeError where the sample has a shape of its own."""
    if feed.source.protocol == "gtfs":
        return Timetable(path.read_bytes(), f"{getattr(feed.source, 'table', '')}.txt")
    if {".csv", ".tsv"} & set(path.suffixes):
        how = getattr(feed.source, "csv", None)
        if how is not None and (how.header_row > 1 or how.skip_rows or how.comment):
            raise ValueError("lines stand above the rows")
        return Encoded(path, getattr(feed.source, "delimiter", ","), how.columns if how is not None else ())
    return Listed(path.read_bytes())


def place(row: Any, path: str) -> tuple[Any, Any] | None:
    """Where the value of a dotted path lies: what holds it, and under which name. One level of wrapping is seen through."""
    wrapped = (value for name, value in row.items() if isinstance(value, dict)) if isinstance(row, dict) else ()
    return _place(row, path) or next((found for inner in wrapped if (found := _place(inner, path))), None)


def _place(row: Any, path: str) -> tuple[Any, Any] | None:
    if isinstance(row, dict) and path in row:
        return row, path
    first, dot, rest = path.partition(".")
    if not dot:
        return (row, int(path)) if isinstance(row, list) and path.isdecimal() and int(path) < len(row) else None
    if isinstance(row, list):
        return _place(row[int(first)], rest) if first.isdecimal() and int(first) < len(row) else None
    return _place(row[first], rest) if isinstance(row, dict) and first in row else None


def value(row: Row, path: str) -> Any:
    """The value of a dotted path; None where there is none."""
    found = place(row, path)
    return None if found is None else found[0][found[1]]


def put(row: Row, path: str, new: Any) -> None:
    found = place(row, path)
    if found is None:
        row[path] = new
    else:
        found[0][found[1]] = new
    row.pop(RAW, None)


class Life:
    """The rows of one feed's sample below `folder`, which is a copy, and what has happened to them.

    `still`: why nothing can happen to them, else empty. `happened`: added, revised, withdrawn, reordered rows; `written`: how often
    the sample was. The feed's declared `deletes` decide how rows are withdrawn: left out of full fetches, marked, or never.
    """

    def __init__(self, feed: Feed, route: Route, folder: Path, seed: str, started: datetime) -> None:
        self.feed, self._route, self._folder = feed, route, folder / feed.id
        self._dice, self._started = random.Random(seed), started
        self.still, self.happened, self.written = "", Counter[str](), 0
        self.rows: list[Row] = []
        self._held: list[Row] = []
        samples = sorted(p for p in self._folder.glob("sample*") if not re.search(r"\d{4}-\d{2}-\d{2}", p.name))
        columns = feed.contract.columns
        self._key = [c for c in columns if c.name in feed.contract.key]
        self._dates = [c for c in columns if c.type in ("date", "timestamp")]
        self._cursor = feed.contract.column(feed.incremental.cursor).source_name if feed.incremental.cursor else None
        try:
            self._path = samples[0]
            self._shape = shape_of(feed, self._path)
            self._base = [copy.deepcopy(row) for row in self._shape.rows]
            if not all(any(place(row, c.source_name) for row in self._base) for c in self._key):
                self.still = "its key is not in the sample as it stands"
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            self.still = "its sample has a shape of its own"
        if not self.still and any("member" in row for row in self._base):
            self.still = "its rows lie in archives that the agency tells apart by number and size alone"
        if not self.still and len(self._base) < 4:
            self.still = "its sample has fewer than four rows"
        parts = feed.partitions.column if feed.partitions is not None else None
        names = {parts} if isinstance(parts, str) else set(parts or ())
        self._parts = [c.source_name for c in columns if c.name in names]
        taken = {feed.deletes.column, feed.incremental.cursor, feed.incremental.aliases, *feed.contract.key, *names}
        self._revisable = [
            c for c in columns if c.name not in taken and c not in self._dates and not self.still and self._varies(c.source_name)
        ]

    def _varies(self, path: str) -> bool:
        return len({json.dumps(value(row, path)) for row in self._base}) > 1

    # --- from outside ---

    def begin(self, now: datetime) -> None:
        """The first day: some rows are not published yet."""
        if self.still:
            return
        rows = copy.deepcopy(self._base)
        held = set(self._dice.sample(range(len(rows)), max(1, min(len(rows) // 8, 20))))
        self._held = [row for n, row in enumerate(rows) if n in held]
        self.rows = [row for n, row in enumerate(rows) if n not in held]
        if (name := STAMPS.get(self.feed.source.protocol)) and name.startswith(("_", ":")):
            for row in rows:
                self._stamp(row, now - timedelta(days=30))
        self._write(now)

    def go_on(self, now: datetime) -> None:
        """What happens until `now`, since it was last called."""
        if self.still:
            return
        before = Counter(map(self._part, self.rows))
        for news in (self._rolled, self._published):
            for row in news(now):
                self._stamp(row, now)
                self.rows.insert(self._dice.randint(0, len(self.rows)), row)
                self.happened["added"] += 1
        for _ in range(self._dice.randint(1, 1 + min(4, len(self.rows) // 10))):
            self._revise(now)
        self._withdraw(before, now)
        if self._dice.random() < 0.4:
            self._dice.shuffle(self.rows)
            self.happened["reordered"] += len(self.rows)
        self._write(now)

    # --- what happens ---

    def _published(self, now: datetime) -> list[Row]:
        """One or two rows that were held back, or else copies under a number of their own, with the dates of today."""
        found = []
        for _ in range(self._dice.randint(1, 2)):
            row = self._held.pop(self._dice.randrange(len(self._held))) if self._held else self._copied()
            if row is None:
                continue
            moved = self._moved(row, self._days(now))
            taken = self._keys([*self.rows, *self._held, *found])
            free = [one for one in (moved, row) if one is not None and (not self._key or self._of(one) not in taken)]
            found += free[:1]
        return found

    def _rolled(self, now: datetime) -> list[Row]:
        """Rows of the sample under today's date, where dates are part of the key."""
        if not any(c in self._key for c in self._dates):
            return []
        taken, found = self._keys([*self.rows, *self._held]), list[Row]()
        # Of a long series the ends are enough.
        for row in [*self._base[-200:], *self._base[:200]][:: -1 if self._dice.random() < 0.5 else 1]:
            if len(found) == ROLLED:
                break
            moved = self._moved(row, self._days(now))
            if moved is not None and self._of(moved) not in taken:
                taken.add(self._of(moved))
                found.append(moved)
        return found

    def _copied(self) -> Row | None:
        """A copy of a row under the next free number of its key; None where no part of the key holds a number."""
        row = copy.deepcopy(self._dice.choice(self.rows))
        row.pop(RAW, None)
        if not self._key:
            return row
        taken = self._keys([*self.rows, *self._held])
        for column in self._key:
            old = str(value(row, column.source_name))
            if column in self._dates or not (runs := [m.span() for m in re.finditer(r"\d{4,}", old)]):
                continue
            start, end = runs[-1]
            for number in range(int(old[start:end]) + 1, 10 ** (end - start)):
                new = f"{old[:start]}{number:0{end - start}d}{old[end:]}"
                one = copy.deepcopy(row)
                put(one, column.source_name, type(value(row, column.source_name))(new))
                if self._of(one) not in taken:
                    # The number also stands in other names and addresses of the row.
                    _replace(one, old, new)
                    if self.feed.incremental.aliases:
                        put(one, self.feed.contract.column(self.feed.incremental.aliases).source_name, f",{new},")
                    return one
        return None

    def _revise(self, now: datetime) -> None:
        """One value becomes another row's."""
        if not self._revisable:
            return
        row, donor = self._dice.choice(self.rows), self._dice.choice(self.rows)
        column = self._dice.choice(self._revisable)
        new = value(donor, column.source_name)
        if place(row, column.source_name) is None or new in (None, "") or new == value(row, column.source_name):
            return
        put(row, column.source_name, new)
        self._stamp(row, now)
        self.happened["revised"] += 1

    def _withdraw(self, before: Counter[tuple[str, ...]], now: datetime) -> None:
        """Never so many that the table would be suspected of having shrunk; of a table in parts, that a part would be."""
        feed, source = self.feed, self.feed.source
        spare = int(feed.deletes.shrink_guard * len(self.rows) / 4)
        count = self._dice.randint(0, min(3, len(self.rows) - before.total() + spare))
        if feed.deletes_mode == "snapshot_diff":
            for _ in range(min(count, len(self.rows) - max(3, feed.contract.min_rows))):
                grown = Counter(map(self._part, self.rows)) - before
                free = [n for n, row in enumerate(self.rows) if not self._parts or self._part(row) in grown]
                if not free:
                    break
                self._held.append(self.rows.pop(free[self._dice.randrange(len(free))]))
                self.happened["withdrawn"] += 1
        elif feed.deletes_mode == "tombstone" and getattr(source, "deleted", False):
            mark = feed.contract.column(str(feed.deletes.column)).source_name
            alive = [row for row in self.rows if value(row, mark) not in feed.deletes.values]
            for row in self._dice.sample(alive, min(count, max(0, len(alive) - 3))):
                put(row, mark, feed.deletes.values[0])
                self._stamp(row, now)
                self.happened["withdrawn"] += 1

    # --- keys, dates, stamps ---

    def _part(self, row: Row) -> tuple[str, ...]:
        """Which part of the table the row belongs to; of a table that has none, the whole."""
        return tuple(str(value(row, path)) for path in self._parts)

    def _of(self, row: Row) -> tuple[str, ...]:
        return tuple(str(value(row, column.source_name)).strip() for column in self._key)

    def _keys(self, rows: Sequence[Row]) -> set[tuple[str, ...]]:
        return {self._of(row) for row in rows}

    def _days(self, now: datetime) -> int:
        return (now.astimezone(SEOUL).date() - self._started.astimezone(SEOUL).date()).days

    def _moved(self, row: Row, days: int) -> Row | None:
        """A copy with all its dates so many days later; None where one has a form of its own."""
        moved = copy.deepcopy(row)
        for column in self._dates:
            old = value(moved, column.source_name)
            if old in (None, ""):
                continue
            try:
                put(moved, column.source_name, later(old, column, days))
            except ValueError:
                return None
        return moved

    def _stamp(self, row: Row, now: datetime) -> None:
        """That the row changed now, where its server or its feed keeps that."""
        names = [self._cursor, STAMPS.get(self.feed.source.protocol)]
        if self._cursor and any(c.source_name == self._cursor for c in self._key):
            names = names[1:]  # part of the key
        for name in names:
            if name is not None and (name.startswith(("_", ":")) or place(row, name)):
                put(row, name, stamped(value(row, name), now, ZoneInfo(self.feed.decode.timezone)))

    def _write(self, now: datetime) -> None:
        path = self._path
        if self._route.editions is not None:
            path = self._folder / f"sample.{now.astimezone(SEOUL).date()}{self._path.suffix}"
        self.written += 1
        path.write_bytes(self._shape.written(self.rows))
        os.utime(path, (now.timestamp(), now.timestamp()))


def _replace(row: Any, old: str, new: str) -> None:
    """The old text by the new one wherever it stands in the row's texts."""
    items = list(row.items()) if isinstance(row, dict) else list(enumerate(row))
    for name, one in items:
        if isinstance(one, str):
            row[name] = one.replace(old, new)
        elif isinstance(one, dict | list):
            _replace(one, old, new)


def later(old: Any, column: Column, days: int) -> Any:
    """A date or moment in the column's format, so many days later. Raises ValueError on any other form."""
    if isinstance(old, int) and column.format in ("epoch_ms", "epoch_s"):
        return old + days * (86_400_000 if column.format == "epoch_ms" else 86_400)
    text = str(old)
    if column.format is None:
        return f"{datetime.fromisoformat(text[:10]) + timedelta(days=days):%Y-%m-%d}{text[10:]}"
    if re.fullmatch(r"%Y-%m-%d.+", column.format) and "24:" in text[10:]:
        return f"{datetime.fromisoformat(text[:10]) + timedelta(days=days):%Y-%m-%d}{text[10:]}"
    moved: Any = (datetime.strptime(text, column.format) + timedelta(days=days)).strftime(column.format)
    return type(old)(moved)


def stamped(old: Any, now: datetime, zone: ZoneInfo) -> Any:
    """`now` in the form of the stamp that it replaces; ISO in UTC where there was none."""
    local = now.astimezone(zone)
    if isinstance(old, int):
        return int(now.timestamp() * 1000)
    text = str(old or "")
    for form, pattern in (
        ("%Y%m%d%H%M%S", r"\d{14}"),
        ("%Y%m%d", r"\d{8}"),
        ("%Y-%m-%d", r"\d{4}-\d\d-\d\d"),
        ("%Y-%m-%dT%H:%M:%S.000", r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}"),
        ("%Y-%m-%dT%H:%M:%S.000000", r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}"),
        ("%Y-%m-%dT%H:%M:%S", r"\d{4}-\d\d-\d\dT[\d:]{8}"),
    ):
        if re.fullmatch(pattern, text):
            return local.strftime(form)
    if text and not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}(\.000)?Z", text):
        raise ValueError(f"a stamp of a form of its own: {text}")
    return now.astimezone(ZoneInfo("UTC")).strftime(
        "%Y-%m-%dT%H:%M:%S.000Z" if ".000" in text or not text else "%Y-%m-%dT%H:%M:%SZ"
    )
