"""What a file in hand is, from its bytes: format, container, encoding, dialect, where its records are.

A proposal, shown to a person before it is declared: only here is anything sniffed; a declared feed is read as declared.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any

from assets.errors import UnreadableSource
from assets.onboarding.words import NoTable, Note
from assets.onboarding.workbook import look_at_workbook
from assets.tables.readers.container import DAMAGE, check_zip, inflated, members, opened
from assets.tables.readers.magic import kind_of
from assets.tables.readers.spec import FORMATS, FileShape, Unpacking

LOOK_BYTES = 4 * 1024 * 1024
"""So much of a file, unpacked, is looked at."""
HEAD_BYTES = 64 * 1024
"""And so much of the other members of a ZIP, for their headers alone."""
MOST_MEMBERS = 200
SHOWN_MEMBERS = 8


@dataclass(frozen=True)
class Layout:
    """`shape`: fields of `source:` that describe the file, without defaults. `encoding`: None where none is to be declared."""

    shape: dict[str, Any]
    encoding: str | None = None
    notes: tuple[Note, ...] = ()
    """What a person should look at."""


def layout_of(path: Path, name: str, address: str | None = None) -> Layout:
    """The layout of one file. `name`: its file name; `address`: where the agency has it, when that is another name.

    Raises UnreadableSource where it is no table that Madang reads.
    """
    with path.open("rb") as file:
        head = file.read(LOOK_BYTES)
    kind = kind_of(head[:8192])
    suffix = Path(name.split("?", 1)[0].split("#", 1)[0].lower()).suffix
    if kind == "gzip":
        with gzip.open(io.BytesIO(head)) as packed:
            inner = _read(packed)
        found, container = _plain(inner, Path(name.lower().removesuffix(".gz")).suffix), "gzip"
    elif kind == "zip":
        found, container = _zip(path)
    elif kind == "7z":
        found, container = _seven_zip(path), "7z"
    elif kind == "ole":
        found, container = _old_office(path, head), "none"
    else:
        found, container = _plain(head, suffix, whole=len(head) < LOOK_BYTES), "none"
    # What the end of the address says is not declared; a download by number says nothing, whatever the file in hand is called.
    said = FileShape(format="csv").container_of(name if address is None else address)
    return found if said == container else Layout({**found.shape, "container": container}, found.encoding, found.notes)


def refuse_sdmx_json(path: Path) -> None:
    """Raises UnreadableSource for SDMX-JSON, which no protocol reads: SDMX services give the same as CSV."""
    with path.open("rb") as file:
        head = file.read(LOOK_BYTES)
    if kind_of(head[:8192]) == "json" and _is_sdmx(_text(head)[0]):
        raise NoTable("sdmx_json")


def _read(packed: Any) -> bytes:
    try:
        return bytes(packed.read(LOOK_BYTES))
    except DAMAGE as error:
        raise NoTable("damaged", error=type(error).__name__) from None


def _zip(path: Path) -> tuple[Layout, str]:
    """The layout, and the container: a workbook is a ZIP too, and is in none."""
    limits = Unpacking()
    found = members(path, limits)
    if "xl/workbook.xml" in found:
        check_zip(path, limits)
        return _excel(path, "xlsx"), "none"
    with opened(path) as archive:

        def head(name: str, most: int) -> bytes:
            return _first(inflated(archive, found[name], name, limits), most)

        return _archive({name: info.file_size for name, info in found.items()}, head), "zip"


def _seven_zip(path: Path) -> Layout:
    from assets.tables.readers.seven_zip import members_7z, unpack_7z  # an extra of its own

    found = members_7z(path, Unpacking())
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=path.parent) as folder:
        files = dict(unpack_7z(path, "*", Unpacking(), Path(folder)))

        def head(name: str, most: int) -> bytes:
            with files[name].open("rb") as file:
                return file.read(most)

        return _archive(found, head)


def _archive(found: Mapping[str, int], head: Callable[[str, int], bytes]) -> Layout:
    """The layout of the largest table in an archive, and which of its members are alike. `found`: name → bytes."""
    readable = (name for name in found if Path(name.lower()).suffix.removeprefix(".") in FORMATS)
    tables = sorted(readable, key=lambda name: -found[name])
    if not tables:
        raise NoTable("archive_without_table")
    ending = Path(tables[0]).suffix
    alike = [name for name in tables if Path(name).suffix == ending]
    data = head(tables[0], LOOK_BYTES)
    inner = _plain(data, ending.lower())
    header = _header(data, inner)
    others = [name for name in alike[1:MOST_MEMBERS] if _other_columns(head(name, HEAD_BYTES), ending.lower(), header)]
    shape: dict[str, Any] = dict(inner.shape)
    notes = inner.notes
    if len(found) > 1:
        shape["member"] = _pattern(tables[0], alike, others) if others else f"*{ending}"
        key = "members_differ" if others else "members"
        listed = ", ".join(sorted([tables[0], *others])[:SHOWN_MEMBERS])
        notes = (*notes, Note(key, {"count": len(found), "member": shape["member"], "names": listed}))
    return Layout(shape, inner.encoding, notes)


def _first(pieces: Iterator[bytes], most: int) -> bytes:
    data = b""
    for piece in pieces:
        data += piece
        if len(data) >= most:
            break
    return data[:most]


def _header(data: bytes, found: Layout) -> tuple[int, frozenset[str]] | None:
    """The line of the header in a CSV file, and its names; None where the format has no header, or the file none."""
    dialect = found.shape.get("csv", {})
    if found.shape["format"] not in ("csv", "tsv") or (line := dialect.get("header_row", 1)) == 0:
        return None
    delimiter = "\t" if found.shape["format"] == "tsv" else dialect.get("delimiter", ",")
    rows = list(csv.reader(io.StringIO(_text(data)[0]), delimiter=delimiter))
    return (line, frozenset(cell.strip() for cell in rows[line - 1])) if len(rows) >= line else None


def _other_columns(data: bytes, ending: str, header: tuple[int, frozenset[str]] | None) -> bool:
    """Whether a member has another header, or the same on another line: one declaration cannot read both."""
    if header is None:
        return False
    try:
        return _header(data, _plain(data, ending)) != header
    except UnreadableSource:
        return True


def _pattern(first: str, alike: Sequence[str], others: Sequence[str]) -> str:
    """A glob for the members of one table, and for none of the others."""
    same = [name for name in alike if name not in others]
    low, high = min(same), max(same)
    start = low[: next((n for n, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))]
    glob = f"{escape(start)}*{Path(first).suffix}"
    return glob if len(same) > 1 and not any(fnmatchcase(name, glob) for name in others) else escape(first)


def _old_office(path: Path, head: bytes) -> Layout:
    """The directory, which tells what is in the file, may lie far behind its beginning."""
    kind = kind_of(head)
    if kind == "locked":
        raise NoTable("locked_workbook")
    if kind != "ole":
        raise NoTable("no_table", kind=kind)
    return _excel(path, "xls")


def _excel(path: Path, file_format: str) -> Layout:
    shape, notes = look_at_workbook(path)
    return Layout({"format": file_format, **shape}, notes=notes)


def _plain(data: bytes, suffix: str, *, whole: bool = False) -> Layout:
    kind = kind_of(data[:8192])
    if kind == "parquet":
        return Layout({"format": "parquet"})
    if kind == "json" and suffix not in (".csv", ".tsv", ".txt"):
        return _json(data, suffix)
    if kind == "xml":
        return _xml(data)
    if kind not in ("text", "json"):
        raise NoTable("no_table", kind=kind)
    text, encoding = _text(data)
    return Layout(*_csv(text, suffix, encoding))


# --- text ------------------------------------------------------------------------------------------------------------------


def _text(data: bytes) -> tuple[str, str | None]:
    """The text, and the encoding to declare (None: UTF-8, which needs no declaration). The ladder of protocols.md 1.6."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(name, "ignore"), None
    for name in ("utf-8", "cp949"):
        try:
            return _decoded(data, name), None if name == "utf-8" else name
        except UnicodeDecodeError:
            continue
    from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    if best is None:
        raise NoTable("no_encoding")
    return str(best), best.encoding


def _decoded(data: bytes, name: str) -> str:
    """Strict, but for a character that the look cut in half."""
    import codecs

    return codecs.getincrementaldecoder(name)("strict").decode(data, final=len(data) < LOOK_BYTES)


def _csv(text: str, suffix: str, encoding: str | None) -> tuple[dict[str, Any], str | None, tuple[Note, ...]]:
    lines = text.splitlines()[:2000]
    if not any(line.strip() for line in lines):
        raise NoTable("no_text")
    delimiter = max(",\t;|", key=lambda d: _regularity(lines, d))
    rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    width = _usual([len(row) for row in rows if any(cell.strip() for cell in row)])
    shape: dict[str, Any] = {"format": "tsv" if delimiter == "\t" else "csv"}
    dialect: dict[str, Any] = {}
    if delimiter not in (",", "\t"):
        dialect["delimiter"] = delimiter
    notes = []
    header = next((n for n, row in enumerate(rows) if len(row) == width and all(cell.strip() for cell in row)), 0)
    if header:
        dialect["header_row"] = header + 1
        notes.append(Note("above_header", {"count": header}))
    if width < 2:
        notes.append(Note("one_column"))
    if _looks_like_values(rows[header]):
        dialect["header_row"] = 0
        dialect["columns"] = [f"column_{n + 1}" for n in range(width)]
        notes.append(Note("no_header"))
    if dialect:
        shape["csv"] = dialect
    return shape, encoding, tuple(notes)


def _regularity(lines: list[str], delimiter: str) -> tuple[float, int]:
    """How far lines agree on a number of cells, more than one."""
    counts = [len(row) for row in csv.reader(io.StringIO("\n".join(lines[:300])), delimiter=delimiter) if row]
    usual = _usual(counts)
    return (sum(1 for c in counts if c == usual) / max(1, len(counts)) if usual > 1 else 0.0, usual)


def _usual(counts: list[int]) -> int:
    return max(set(counts), key=counts.count) if counts else 0


def _looks_like_values(row: list[str]) -> bool:
    """A header has words: a row of which half is numbers or dates is none."""
    values = sum(1 for cell in row if re.fullmatch(r"[+-]?[\d.,:\-/ ]+", cell.strip()))
    return values * 2 > len(row)


# --- trees ----------------------------------------------------------------------------------------------------------------


def _json(data: bytes, suffix: str) -> Layout:
    text, _ = _text(data)
    first, _, rest = text.strip().partition("\n")
    if suffix == ".jsonl" or (rest.strip().startswith("{") and _is_json(first)):
        return Layout({"format": "jsonl"})
    if _is_sdmx(text):
        raise NoTable("sdmx_json")
    try:
        document = json.loads(text)
    except ValueError:
        if len(data) < LOOK_BYTES:
            raise NoTable("json_cut") from None
        # Too large to be looked at whole: a list at the top, or features, can still be told.
        return Layout({"format": "geojson" if '"FeatureCollection"' in text[:2000] else "json"})
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        return Layout({"format": "geojson"})
    path = _longest_list(document)
    if path is None:
        raise NoTable("json_without_list")
    return Layout({"format": "json", **({"records_path": path} if path else {})})


_SDMX_BEGUN = re.compile(r'"dataSets"\s*:\s*\[\s*\{[^\[\]]*"(?:series|observations)"\s*:\s*\{|sdmx-json-data-schema')
"""SDMX-JSON whose end is not looked at."""


def _is_sdmx(text: str) -> bool:
    """Whether it is data in SDMX-JSON: 1.0 and before have dataSets and structure at the top, 2.0 has them in `data`."""
    if '"dataSets"' not in text and "sdmx-json-data-schema" not in text:
        return False
    try:
        document = json.loads(text)
    except ValueError:
        return _SDMX_BEGUN.search(text) is not None
    data = document.get("data", document) if isinstance(document, dict) else None
    return isinstance(data, dict) and isinstance(data.get("dataSets"), list) and ("structure" in data or "structures" in data)


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _longest_list(document: Any) -> str | None:
    """The dotted path of the longest list of objects; '' for the top level, None where there is none."""
    found: list[tuple[int, str]] = []

    def walk(value: Any, path: str, depth: int) -> None:
        if depth > 12:
            return
        if isinstance(value, list):
            if value and all(isinstance(item, dict) for item in value[:50]):
                found.append((len(value), path))
        elif isinstance(value, dict):
            for name, inner in value.items():
                if "." not in name:
                    walk(inner, f"{path}.{name}".strip("."), depth + 1)

    walk(document, "", 0)
    return max(found, key=lambda f: f[0])[1] if found else None


def _xml(data: bytes) -> Layout:
    """The path of the element that repeats most with children of its own."""
    from lxml import etree

    from assets.tables.readers.xml_reader import HARDENED, local

    counts: dict[str, int] = {}
    open_elements: list[str] = []
    parser = etree.XMLPullParser(("start", "end"), recover=True, **HARDENED)
    parser.feed(data)
    events: Iterator[Any] = parser.read_events()
    for event, element in events:
        if not isinstance(element.tag, str):
            continue
        if event == "start":
            open_elements.append(local(element.tag))
        else:
            if len(element):
                path = "/".join(open_elements)
                counts[path] = counts.get(path, 0) + 1
            open_elements.pop()
    if not counts:
        raise NoTable("xml_without_rows")
    # A part of each record comes as often as the record: the record has all of its parts. What comes once is a mere wrapper.
    most = max(counts.values())
    path = max(counts, key=lambda p: (counts[p], p.count("/") if most == 1 else -p.count("/")))
    return Layout({"format": "xml", "records_path": path})
