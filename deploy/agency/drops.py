"""What lies in an agency's folder: the files of a route, from the feed's sample, and the faults of those who lay them there.

`sftp`, `ftp` and `s3` are engines over this. The servers that speak SFTP and FTP are `doors.py`; S3 is HTTP, its engine answers it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Fault
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

LIST, GET = "LIST", "GET"
_OF_ROWS = ("empty_file", "ragged_rows", "column_renamed", "shrinks_90pct", "cp949_body", "utf8_bom")
_OF_BYTES = ("html_200", "empty_body_200", "zip_bomb", "zip_slip", "bad_crc_zip", "truncated_gzip")
"""Faults of any reply that here are faults of the file: its size in the listing is the faulty file's."""
_UNFINISHED_S = 60


class FolderOptions(Strict):
    """The files of a folder. `name`: of the data file; {part} is one of `parts`, over which the rows of a CSV are dealt."""

    name: str
    parts: tuple[str, ...] = ()
    companion: str | None = Field(None, description="Suffix of the file that says that another is whole (.md5 holds the digest).")
    others: tuple[str, ...] = Field((), description="Files that lie there too and are none of the feed's.")


@dataclass(frozen=True)
class Laid:
    """One file. `name`: its bytes on the wire."""

    name: bytes
    body: bytes
    modified: datetime

    @property
    def etag(self) -> str:
        """As S3 says it of a file that came in one part."""
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


def laid(route: Route, source: Source, asked: Asked) -> list[Laid]:
    """All files of the folder as they lie there now. A GET that `file_changes` meets finds them newer than the listing."""
    options = route.settings
    assert isinstance(options, FolderOptions)
    packed = options.name.endswith(".gz")
    whole = _broken(source.path.read_bytes(), asked, _OF_ROWS)
    found: list[Laid] = []
    for n, (part, body) in enumerate(zip(options.parts or ("",), _dealt(whole, max(1, len(options.parts))), strict=True)):
        out = _broken(gzip.compress(body, mtime=0) if packed else body, asked, _OF_BYTES)
        name = options.name.replace("{part}", part).encode()
        found.append(_as_it_is(Laid(name, out, source.modified + timedelta(seconds=n)), asked))
    if options.companion and not asked.fault("marker_missing"):
        found += [_companion(one, options.companion, asked) for one in found]
    return found + [Laid(name.encode(), b"nothing of this feed\n", source.modified) for name in options.others]


def _broken(body: bytes, asked: Asked, names: Iterable[str]) -> bytes:
    from deploy.agency.faults import CHANGES  # it knows every engine

    for name in names:
        if fault := asked.fault(name):
            body = CHANGES[name](Reply(200, {}, body), asked, fault).body
    return body


def _dealt(body: bytes, parts: int) -> list[bytes]:
    """The records of a CSV in so many files, each with the header."""
    if parts == 1:
        return [body]
    records: list[bytes] = [b""]
    for line in body.splitlines(keepends=True):
        if records[-1].count(b'"') % 2:
            records[-1] += line  # a line end between quotes
        else:
            records.append(line)
    head, rows = b"".join(records[1:2]), records[2:]
    size = -(-len(rows) // parts)
    return [b"".join([head, *rows[i * size : (i + 1) * size]]) for i in range(parts)]


def _as_it_is(file: Laid, asked: Asked) -> Laid:
    """The file with the faults of those who lay it there."""
    if asked.fault("cp949_names"):
        file = replace(file, name="관측 값#1 ".encode("cp949") + file.name)
    if asked.fault("part_names"):
        file = replace(file, name=file.name + b".part")
    if (grows := asked.fault("file_grows")) and _meets(grows):
        left = max(1, len(file.body) // (grows.count + 1))
        file = replace(file, body=file.body[:-left], modified=file.modified - timedelta(seconds=_UNFINISHED_S - grows.count))
    if asked.fault("file_changes") and (times := asked.memory.get("changed", 0)):
        file = replace(file, body=file.body + b"\n" * times, modified=file.modified + timedelta(seconds=times))
    return file


def _meets(fault: Fault) -> bool:
    """For the first N requests, or all of them without a number."""
    return fault.argument is None or fault.count <= int(fault.argument)


def _companion(file: Laid, suffix: str, asked: Asked) -> Laid:
    digest = hashlib.md5(b"" if asked.fault("wrong_md5") else file.body, usedforsecurity=False).hexdigest()
    body = digest.encode() + b"  " + file.name + b"\n" if suffix == ".md5" else b""
    return Laid(file.name + suffix.encode(), body, file.modified)


def one(route: Route, source: Source, asked: Asked, name: bytes) -> Laid | None:
    """The file that is asked for, and what happens to it at that moment."""
    if asked.fault("file_gone"):
        return None
    if (changes := asked.fault("file_changes")) and _meets(changes):
        asked.memory["changed"] = asked.memory.get("changed", 0) + 1
    return next((file for file in laid(route, source, asked) if file.name == name), None)


def sent(reply: Reply, asked: Asked) -> Reply:
    """The reply with the file; under `file_cut` half of it, and the connection is gone."""
    if (fault := asked.fault("file_cut")) is None:
        asked.memory.pop("cut", None)
        return reply
    asked.memory["cut"] = times = asked.memory.get("cut", 0) + 1
    if fault.argument is not None and times > int(fault.argument):
        return reply
    return replace(reply, broken_after=len(reply.body) // 2, ending="reset" if times % 2 else "close")


class Folder(Engine):
    """A folder behind a server that speaks no HTTP: LIST of the folder, GET of a file. Its door makes of the reply what it can."""

    Options: ClassVar[type[Strict]] = FolderOptions
    PREFIX: ClassVar[bool] = True
    METHODS: ClassVar[tuple[str, ...]] = (LIST, GET)
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            *_OF_ROWS,
            *_OF_BYTES,
            "file_grows",
            "file_changes",
            "file_gone",
            "file_cut",
            "part_names",
            "cp949_names",
            "marker_missing",
            "wrong_md5",
        }
    )

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        name = asked.path[len(route.path.rstrip("/")) :].strip("/").encode("utf-8", "surrogateescape")
        if asked.method == LIST:
            return Reply(200, {}, packed(laid(route, source, asked))) if not name else text(404, "no such folder")
        found = one(route, source, asked, name)
        return sent(Reply(200, {}, found.body), asked) if found is not None else text(404, "no such file")


def packed(files: Iterable[Laid]) -> bytes:
    """A listing on its way from the engine to the door."""
    return json.dumps([(file.name.hex(), len(file.body), file.modified.timestamp()) for file in files]).encode()


def unpacked(body: bytes) -> list[tuple[bytes, int, datetime]]:
    """Name, size and time of each file of a listing. Raises ValueError where a fault left none."""
    try:
        return [(bytes.fromhex(name), int(size), datetime.fromtimestamp(at, UTC)) for name, size, at in json.loads(body)]
    except TypeError as error:
        raise ValueError("no listing") from error
