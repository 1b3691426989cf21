"""What a file is by its first bytes, which count more than its name and its Content-Type. Pure."""

from __future__ import annotations

import codecs
import re

from assets.tables.readers.spec import Container, Format

_SIGNATURES = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an empty archive
    (b"\x1f\x8b", "gzip"),
    (b"PAR1", "parquet"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"%PDF-", "pdf"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "rar"),
    (b"HWP Document File", "hwp"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
)
_HTML = re.compile(rb"^(?:<!--.{0,4000}?-->\s*)*<(?:!doctype\s+html|html|head|body|script|title|meta)\b", re.I | re.S)
_HWP = (b"HWP Document File", "HWP Document File".encode("utf-16-le"), "HwpSummaryInformation".encode("utf-16-le"))
_LOCKED = "EncryptedPackage".encode("utf-16-le")
"""Names in the directory of an old Office file: what Hancom's word processor writes, and a workbook with a password."""

NAMES = {
    "zip": "a ZIP archive",
    "gzip": "a gzip file",
    "parquet": "a Parquet file",
    "ole": "an old Office file (XLS, HWP)",
    "pdf": "a PDF",
    "7z": "a 7z archive",
    "rar": "a RAR archive",
    "hwp": "an HWP document",
    "locked": "a file that is protected by a password",
    "image": "an image",
    "html": "an HTML page",
    "xml": "XML",
    "json": "JSON",
    "text": "text",
    "empty": "empty",
}

_EXPECTED: dict[Format, frozenset[str]] = {
    "csv": frozenset({"text", "json"}),  # a CSV line may start with a bracket
    "tsv": frozenset({"text", "json"}),
    "json": frozenset({"json"}),
    "jsonl": frozenset({"json"}),
    "geojson": frozenset({"json"}),
    "xml": frozenset({"xml"}),
    "xls": frozenset({"ole"}),
    "xlsx": frozenset({"zip"}),
    "parquet": frozenset({"parquet"}),
}


def kind_of(head: bytes) -> str:
    """One of the keys of `NAMES`. `text` is whatever has no mark of its own."""
    if not head:
        return "empty"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return _old_office(head) if kind == "ole" else kind
    start = head[:8192]
    for mark, wide in ((codecs.BOM_UTF8, ""), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if start.startswith(mark):
            start = start[len(mark) :]
            if wide:
                start = start[: len(start) // 2 * 2].decode(wide, "replace").encode("utf-8", "replace")
            break
    start = start.lstrip()
    if _HTML.match(start):
        return "html"
    if start.startswith(b"<"):
        # an XHTML page has an XML declaration before its doctype
        return "html" if start.startswith(b"<?xml") and re.search(rb"<(?:!doctype\s+)?html\b", start[:2000], re.I) else "xml"
    return "json" if start[:1] in (b"{", b"[") else "text"


def _old_office(head: bytes) -> str:
    if any(mark in head for mark in _HWP):
        return "hwp"
    return "locked" if _LOCKED in head else "ole"


def wide(head: bytes) -> bool:
    """Whether the text is UTF-16 or UTF-32 by its byte order mark."""
    return head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))


def mismatch(head: bytes, file_format: Format, container: Container = "none") -> str | None:
    """Why these first bytes cannot be the declared file, as half a sentence; None where they can."""
    kind = kind_of(head)
    if kind == "empty":
        return "empty file"
    expected = frozenset({container}) if container != "none" else _EXPECTED[file_format]
    if kind in expected:
        return None
    declared = container if container != "none" else file_format
    return f"{NAMES[kind]} in place of {declared}"
