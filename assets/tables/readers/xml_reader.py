"""XML: record elements found by path, read one at a time and dropped; attributes are `@name`, repeated children JSON lists.

Entities are never expanded: a document that declares any is refused, and nothing is fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from lxml import etree

from assets.tables.readers.batches import Guard, Order
from assets.tables.readers.decoding import nfc, open_utf8
from assets.tables.readers.json_reader import stream_of
from assets.tables.readers.spec import FileShape
from assets.tables.rows import RowStream


class Hardened(TypedDict):
    """What keeps a document of strangers from expanding, fetching or growing without end."""

    resolve_entities: bool
    no_network: bool
    load_dtd: bool
    huge_tree: bool
    remove_comments: bool
    remove_pis: bool


HARDENED: Hardened = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._\-]{1,40})["']""")
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"


def read_xml(path: Path, shape: FileShape, order: Order) -> RowStream:
    """The elements at `records_path` (a/b/row, or the end of such a path; namespaces are left out) as records."""
    if path.stat().st_size == 0:
        raise order.refuse("empty file", "the agency sent no bytes; keep the last good table")
    declared = order.encoding
    if declared is None:
        with path.open("rb") as head:
            found = _DECLARED.match(head.read(400))
        declared = found.group(1).decode() if found else None
    file = open_utf8(path, declared=declared, korean=order.korean, where=order.where)
    parts = [nfc(p) for p in re.split(r"[/.]", (shape.records_path or "").strip("/.")) if p]
    return stream_of(_records(Guard(file, order), parts, order), order, file.encoding.name, close=file)


def _records(source: Guard, parts: list[str], order: Order) -> Iterator[Any]:
    path: list[str] = []
    depth = 0  # of the record being read, 0 outside
    parent_seen, checked = len(parts) == 1, False
    try:
        events = etree.iterparse(source, events=("start", "end"), encoding="utf-8", **HARDENED)
        for event, element in events:
            if not checked:
                checked = True
                _refuse_entities(element, order)
            if event == "start":
                path.append(local(element.tag))
                if not depth and path[-len(parts) :] == parts:
                    depth = len(path)
                parent_seen = parent_seen or path[-len(parts) + 1 :] == parts[:-1]
                continue
            if depth and len(path) == depth:
                yield value_of(element)
                source.record()
                depth = 0
                parent_seen = True
            if not depth:
                _drop(element)
            path.pop()
    except etree.XMLSyntaxError as error:
        line = error.position[0] if error.position else 0
        raise order.refuse(f"no well-formed XML at line {line}", "check that the agency sent the whole file") from None
    if not parent_seen:
        raise order.refuse(f"no element at '{'/'.join(parts)}'", "correct source.records_path")


def _refuse_entities(root: Any, order: Order) -> None:
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise order.refuse("the XML declares entities, which are never expanded", "ask the agency for a file without a DOCTYPE")


def _drop(element: Any) -> None:
    """Forget an element that has been read, and the siblings before it, or the tree grows with the file."""
    element.clear(keep_tail=False)
    parent = element.getparent()
    if parent is not None:
        while element.getprevious() is not None:
            del parent[0]


def local(tag: Any) -> str:
    """An element's name without its namespace."""
    return nfc(tag.rpartition("}")[2]) if isinstance(tag, str) else ""


def value_of(element: Any, top: bool = True) -> Any:
    """A record element as a dict; a child without children and attributes is its text, repeated ones are a list."""
    if not top and element.get(_NIL) in ("true", "1"):
        return None
    out: dict[str, Any] = {f"@{local(k)}": v for k, v in element.attrib.items() if k != _NIL}
    for child in element:
        if not isinstance(child.tag, str):  # an entity reference
            continue
        name, value = local(child.tag), value_of(child, top=False)
        if name not in out:
            out[name] = value
        elif isinstance(out[name], _Repeated):
            out[name].append(value)
        else:
            out[name] = _Repeated((out[name], value))
    text = element.text or ""
    if not top and not out:
        return text
    if text.strip():
        out["#text"] = text
    return out


class _Repeated(list[Any]):
    """The values of a child that occurs more than once."""
