"""Whether the body of a download is the declared file, by its first and last bytes. For all protocols that hand over files.

Pure but for `packed_in` and `packed_sha256`. What a server's status means is `http_answers.py`; reading the file's rows is
`tables/readers/`.
"""

from __future__ import annotations

import json
from pathlib import Path

from assets.errors import SettingsError, UnreadableSource
from assets.protocols.answers.canonical import MAX_CANONICAL_BYTES
from assets.protocols.kernel import Body, Response
from assets.tables.readers.magic import NAMES, kind_of, mismatch, wide
from assets.tables.readers.spec import Container, FileShape


def not_the_file(shape: FileShape, container: Container, response: Response) -> str | None:
    """Why this body is not the declared file, as half a sentence; None where it may be.

    `container`: as declared or as the address says. A gzip that no one declared may have been taken off in transport.
    """
    if response.length == 0:
        return "empty file"
    if container == "gzip" and shape.container is None and kind_of(response.head) != "gzip":
        container = "none"
    return mismatch(response.head, shape.format, container) or (
        _cut_off(shape.format, response.head, response.tail, response.length) if container == "none" else None
    )


def _cut_off(file_format: str, head: bytes, tail: bytes, length: int) -> str | None:
    """What the end of a body tells: a format with an end mark that is not there, or an error in place of a table."""
    end = tail.rstrip(b"\x00\t\n\r ")
    if file_format in ("json", "geojson") and not wide(head) and end[-1:] not in (b"}", b"]"):
        return f"{file_format} that does not end"
    if file_format == "xml" and not wide(head) and end[-1:] != b">":
        return "xml that does not end"
    if file_format == "parquet" and tail[-4:] != b"PAR1":
        return "parquet that does not end"
    if file_format in ("csv", "tsv") and is_json(head, length):
        return f"JSON in place of {file_format}"
    return None


def cut_in_a_line(file_format: str, tail: bytes) -> bool:
    """Whether a table of lines breaks off within one: its writers end each line, and a last line that is whole JSON needs no end.

    For files that are made while they are sent, where nothing else tells of a cut in the last row.
    """
    if file_format not in ("csv", "tsv", "jsonl") or tail[-1:] in (b"\n", b"\r"):
        return False
    if file_format != "jsonl":
        return True
    last = tail.rstrip().rpartition(b"\n")[2]
    return not is_json(last, len(last))


def is_json(head: bytes, length: int) -> bool:
    """Whether the body, seen whole, is one JSON object or list; a CSV line may start with a bracket, too."""
    if length > len(head) or kind_of(head) != "json":
        return False
    try:
        json.loads(head)
    except (ValueError, RecursionError):
        return False
    return True


def document_in(head: bytes, file_format: str) -> str | None:
    """The document or workbook that stands in place of the file, by its first bytes; None where there is none."""
    kind, member = kind_of(head), _first_member(head)
    if kind in ("hwp", "pdf", "image"):
        return NAMES[kind]
    if kind != "zip":
        return None
    if member == b"mimetype":
        return "an HWPX document" if b"application/hwp+zip" in head[:200] else "an OpenDocument"
    if file_format != "xlsx" and member.startswith((b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/", b"word/", b"ppt/")):
        return "an Office document (DOCX, XLSX)"
    return None


def _first_member(head: bytes) -> bytes:
    """The name of a ZIP's first member, from its local header."""
    return head[30 : 30 + int.from_bytes(head[26:28], "little")] if len(head) > 30 else b""


def packing(shape: FileShape, head: bytes) -> Container:
    """The declared container; else what the first bytes say, since the portal's names and types are not to be relied on."""
    if shape.container is not None:
        return shape.container
    kind = kind_of(head)
    if kind == "zip":
        return "none" if shape.format == "xlsx" else "zip"
    return "gzip" if kind == "gzip" else "7z" if kind == "7z" else "none"


def packed_in(shape: FileShape, path: Path) -> Container:
    """`packing` of a file on disk."""
    with path.open("rb") as file:
        return packing(shape, file.read(8192))


def packed_sha256(shape: FileShape, packed: Container, body: Body) -> str | None:
    """Of what is packed: archives are written anew, with other dates and in another order, around the same data. Never raises.

    None of what is not packed, too large or damaged.
    """
    from assets.tables.readers.container import content_sha256  # not at definition load

    if packed == "none" or body.payload.size > MAX_CANONICAL_BYTES:
        return None
    try:
        if packed == "7z":
            from assets.tables.readers.seven_zip import content_sha256_7z  # an extra of its own

            return content_sha256_7z(body.path, shape.member, shape.unpacking)
        return content_sha256(body.path, packed, shape.member, shape.unpacking)
    except (UnreadableSource, SettingsError):
        return None  # reading the rows says what is wrong
