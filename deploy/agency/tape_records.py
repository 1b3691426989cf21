"""What a tape takes from one WARC file or record: names, origin, payload without chunking, and one way to write dates and digests.

Other writers differ in all of these. What belongs together is `tape_index.py`; digests are verified in `assets/archive/reading.py`.
"""

from __future__ import annotations

import base64
import itertools
import re
import string
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from assets.archive.reading import Record, dechunk
from assets.archive.records import CHUNK, to_bytes
from assets.errors import IntegrityError, MadangError

SUFFIXES = (".warc", ".warc.gz")
CONDITIONS = ("if-none-match", "if-modified-since")
MAX_INFO = 1024 * 1024
OF_THE_WIRE = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "x-orig-transfer-encoding", "trailer", "upgrade", "te")
)
"""Headers of the connection that was recorded, not of this one."""
OURS = frozenset(("date", "madang-origin"))
"""Headers that the stand-in gives itself."""
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
STATUS = re.compile(r"HTTP/\S+ +(\d{3})(?: |$)")
_SIZE_LINE = re.compile(rb"[0-9a-fA-F]+[ \t]*(?:;[^\r\n]*)?\r\n")


class Unsound(Exception):
    """A record does not hold; what reads its payload must not take that for a broken chunk."""

    def __init__(self, error: IntegrityError) -> None:
        super().__init__()
        self.error = error


def warc_files(paths: Iterable[Path]) -> list[Path]:
    """All WARC files that the paths name, each once. MadangError for a path that is none."""
    found: dict[Path, Path] = {}
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.name.endswith(SUFFIXES) and p.is_file()) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            what = "the folder holds no .warc or .warc.gz" if path.is_dir() else "there is no such file"
            raise MadangError(what, where=str(path), mend="give a WARC file, or a folder of them, as archive/<feed>/")
        found |= {file.resolve(): file for file in files if file.resolve() not in found}
    return list(found.values())


def origin_of(block: bytes) -> tuple[str, bool]:
    """The origin that answers of this warcinfo have, and whether Madang wrote it. Other writers know no stand-in: `replay`."""
    lines = (line.partition(":") for line in block.decode("utf-8", "replace").splitlines())
    fields = {name.strip().lower(): value.strip() for name, _, value in lines}
    ours = "madang-fetch" in fields
    said = fields.get("madang-origin", "synthetic" if ours else "replay")
    return "replay" if said in ("agency", "replay") else "synthetic", ours


def beginning(record: Record, most: int) -> bytes:
    found = b""
    for chunk in record.chunks():
        found += chunk[: most - len(found)]
    return found


def payload_of(record: Record) -> Iterator[bytes]:
    """The payload without chunking. IntegrityError where the chunks are none; Unsound where the record does not hold."""
    chunks = _sound(record)
    if not record.chunked:
        return chunks
    begin = b""
    for chunk in chunks:
        begin += chunk
        if len(begin) >= CHUNK or b"\r\n" in begin:
            break
    whole = itertools.chain([begin], chunks)
    # Some writers take the chunking off, and leave the header on.
    return dechunk(whole, record.headers.get("warc-record-id", "")) if _SIZE_LINE.match(begin) else whole


def _sound(record: Record) -> Iterator[bytes]:
    try:
        yield from record.chunks()
    except IntegrityError as error:
        raise Unsound(error) from None


def address_of(text: str) -> str:
    """An address in ASCII; wget writes it in angle brackets."""
    return quote(to_bytes(text.strip().removeprefix("<").removesuffix(">")), safe=string.punctuation)


def latin(text: str) -> str:
    """A header's value with one character for each of its bytes, as it goes out again."""
    return to_bytes(text).decode("latin-1")


def moment(text: str) -> str:
    """A WARC date so that text order is time's; '' where it is none."""
    with suppress(ValueError):
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")
    return ""


def digest_name(text: str) -> str:
    """A digest as the index names it: the algorithm in lower case, SHA-256 in hex."""
    algorithm, _, value = text.strip().partition(":")
    algorithm = algorithm.lower()
    if algorithm == "sha256" and len(value) != 64:
        with suppress(ValueError):
            value = base64.b32decode(value.upper()).hex()
    return f"{algorithm}:{value.lower() if algorithm == 'sha256' else value.upper()}" if value else ""
