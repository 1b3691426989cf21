"""A tar of files that were cut into parts, as AI Hub sends them: its members found and checked, the parts joined again.

`X.zip.part0`, `X.zip.part1073741824`, …: the number is where the part begins in its file, so the order is the numbers' and a part
that is missing shows. Read by our own few lines: the library reads long names of any length into memory and unpacks sparse files,
both of which an archive from elsewhere may lie about. What a joined file holds is the other readers' business.
"""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from assets.errors import UnreadableSource
from assets.tables.readers.container import DAMAGE, decoded_name, leads_outside
from assets.tables.readers.spec import Unpacking

BLOCK = 512
END = bytes(2 * BLOCK)
"""Two blocks of zeros end every tar (POSIX.1, pax)."""
_MAX_LONG = 64 * 1024
"""Bytes of a long name, or of a member's extended header; names have hundreds."""
_PIECE = 1024 * 1024
_PART = re.compile(r"(.+)\.part([0-9]{1,18})", re.I | re.S)
_FILES = (b"0", b"\0", b"7")
_FOLDER, _LONG_NAME, _LONG_LINK, _EXTENDED, _GLOBAL = b"5", b"L", b"K", b"x", b"g"
_MEND = "check that the agency sent the whole file"


@dataclass(frozen=True)
class Member:
    """A file of a tar: `size` bytes from byte `start` of the archive."""

    name: str
    start: int
    size: int


def is_tar(head: bytes) -> bool:
    """Whether a body that begins so is a tar with something in it: its first block is a header whose checksum holds."""
    return len(head) >= BLOCK and _checked(head[:BLOCK])


def ends(tail: bytes, length: int) -> bool:
    """Whether a tar of `length` bytes that ends so is whole, as far as its end tells."""
    return length % BLOCK == 0 and tail.endswith(END)


def tar_members(path: Path, limits: Unpacking, where: str = "") -> list[Member]:
    """The files of a tar, in its order. UnreadableSource on a cut one, on names that lead outside, on links and the like."""
    with path.open("rb") as file:
        return list(_walk(file, path.stat().st_size, limits.max_members, where))


def whole_files(path: Path, limits: Unpacking, where: str = "") -> dict[str, list[Member]]:
    """The parts of each file of a tar in their order, files by name; a member without a part's number is a file of one part.

    UnreadableSource where a part is missing, where two claim one place, or where there is no file at all.
    """
    files: dict[str, dict[int, Member]] = {}
    for member in tar_members(path, limits, where):
        part = _PART.fullmatch(member.name)
        name, at = (part[1], int(part[2])) if part else (member.name, 0)
        if at in files.setdefault(name, {}):
            raise _refuse(f"the tar has two parts of '{name[:100]}' for byte {at:,}", where, "ask the agency which one counts")
        files[name][at] = member
    if not files:
        raise _refuse("a tar without a file", where, _MEND)
    for name, parts in files.items():
        _complete(name, sorted(parts.items()), where)
    return {name: [part for _, part in sorted(files[name].items())] for name in sorted(files)}


def join_parts(path: Path, limits: Unpacking, into: Path, where: str = "") -> list[tuple[str, Path]]:
    """Joins the files of a tar under numbered names, below `into`. Returns (name in the archive, file), in the order of names.

    The bytes of no member are taken for more than they are: what is written is at most the size of the tar.
    """
    files = whole_files(path, limits, where)
    check_room(into, 2 * sum(part.size for parts in files.values() for part in parts), "joining the parts", where)
    out = []
    with path.open("rb") as source:
        for i, (name, parts) in enumerate(files.items()):
            target = into / f"joined-{i:05d}"
            with target.open("wb") as file:
                for part in parts:
                    source.seek(part.start)
                    _copy(source, file, part.size)
            out.append((name, target))
    return out


def check_parts(path: Path, limits: Unpacking, where: str = "") -> None:
    """UnreadableSource where the files of a tar cannot be joined, or a ZIP among them has no directory: its last part is missing.

    Reads headers and directories only, so that gigabytes can be looked at before they count as fetched.
    """
    files = whole_files(path, limits, where)
    with path.open("rb") as source:
        for name, parts in files.items():
            joined = _Joined(source, parts)
            if joined.read(4) in (b"PK\x03\x04", b"PK\x05\x06") or name.lower().endswith(".zip"):
                _directory(joined, name, where)


def check_room(folder: Path, needed: int, what: str, where: str = "") -> None:
    """UnreadableSource where the disk of `folder` has less than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _refuse(f"{what} needs {needed / 1e9:,.1f} GB of room, and there are {free / 1e9:,.1f} GB", where, "free some room")


class _Joined(io.RawIOBase):
    """The parts of a file as one, without joining them on disk."""

    def __init__(self, source: IO[bytes], parts: list[Member]) -> None:
        self._source, self._parts, self._at = source, parts, 0
        self._size = sum(part.size for part in parts)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        begin = 0
        for part in self._parts:
            if begin <= self._at < begin + part.size:
                self._source.seek(part.start + self._at - begin)
                data = self._source.read(min(len(buffer), begin + part.size - self._at))
                buffer[: len(data)] = data
                self._at += len(data)
                return len(data)
            begin += part.size
        return 0


def _directory(joined: _Joined, name: str, where: str) -> None:
    try:
        with zipfile.ZipFile(io.BufferedReader(joined)):
            return
    except DAMAGE:
        what = f"'{name[:100]}' is no readable ZIP archive: a part of it is missing or damaged"
        raise _refuse(what, where, "run the feed again; if it stays so, the agency's archive is incomplete") from None


def _complete(name: str, parts: list[tuple[int, Member]], where: str) -> None:
    """Whether each part begins where the one before it ends. Parts that are merely counted (0, 1, 2, …) tell of no gap but that."""
    if len(parts) > 1 and [at for at, _ in parts] == list(range(len(parts))):
        return
    reached = 0
    for at, part in parts:
        if at != reached:
            what = f"the parts of '{name[:100]}' do not join: one ends at byte {reached:,}, the next begins at byte {at:,}"
            raise _refuse(what, where, "run the feed again; if it stays so, the agency's archive is incomplete")
        reached += part.size


def _walk(file: IO[bytes], length: int, most: int, where: str) -> Iterator[Member]:
    """Header after header. Every member takes a block at least, so this ends on any bytes."""
    at, name, size, seen = 0, None, None, 0
    while at + BLOCK <= length:
        file.seek(at)
        header = file.read(BLOCK)
        if header == END[:BLOCK]:
            return
        if not _checked(header):
            raise _refuse(f"no tar from byte {at:,} on: damaged", where, _MEND)
        kind, start, held = header[156:157], at + BLOCK, _number(header[124:136])
        about = kind in (_LONG_NAME, _LONG_LINK, _EXTENDED, _GLOBAL)  # says something of the member that follows
        held = held if about or size is None else size
        at = start + -(-held // BLOCK) * BLOCK
        if held < 0 or at > length:
            raise _refuse("the tar ends inside a member: it is cut off", where, _MEND)
        seen += not about
        if seen > most:
            raise _refuse(f"a tar of more than {most:,} members", where, "raise source.unpacking.max_members if that is right")
        if about and held > _MAX_LONG:
            raise _refuse(f"the tar has a name of {held:,} bytes", where, "refuse the file")
        if kind == _LONG_NAME:
            name = file.read(held).partition(b"\0")[0]
        elif kind == _EXTENDED:
            name, size = _extended(file.read(held), name, size, where)
        elif not about:
            full = decoded_name(name if name is not None else _short_name(header))
            name, size = None, None
            if leads_outside(full):
                raise _refuse(f"the tar has a member whose name leads outside it ('{full[:100]}')", where, "refuse the file")
            if kind not in (*_FILES, _FOLDER):
                raise _refuse(f"the tar has a link, or a member that is no file ('{full[:100]}')", where, "refuse the file")
            if kind != _FOLDER and not full.endswith("/"):  # the oldest tars write a folder so
                yield Member(full, start, held)
    raise _refuse("the tar has no end: it is cut off", where, _MEND)


def _checked(header: bytes) -> bool:
    """Whether the checksum of a header block holds; some writers sum signed bytes."""
    told = _number(header[148:156])
    summed = header[:148] + b" " * 8 + header[156:]
    return header[:1] != b"\0" and told in (sum(summed), sum(b - 256 if b > 127 else b for b in summed))


def _number(field: bytes) -> int:
    """An octal field, or GNU's form for numbers that do not fit one; -1 where it is neither."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.partition(b"\0")[0].strip(b" ")
    return int(text, 8) if re.fullmatch(rb"[0-7]{1,12}", text) else -1


def _short_name(header: bytes) -> bytes:
    """The name in the header itself, with POSIX's prefix."""
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _extended(text: bytes, name: bytes | None, size: int | None, where: str) -> tuple[bytes | None, int | None]:
    """Name and size out of an extended header (lines `<length> <key>=<value>`), where it gives them."""
    while text.strip(b"\0"):
        digits, _, _ = text.partition(b" ")
        length = int(digits) if re.fullmatch(rb"[0-9]{1,5}", digits) else 0
        record = text[len(digits) + 1 : length - 1]
        if not 0 < length <= len(text) or b"=" not in record:
            raise _refuse("the tar has an extended header that is none", where, _MEND)
        key, _, value = record.partition(b"=")
        if key == b"path":
            name = value
        elif key == b"size" and re.fullmatch(rb"[0-9]{1,18}", value):
            size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise _refuse("the tar has a sparse member", where, "refuse the file")
        text = text[length:]
    return name, size


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    while size > 0 and (piece := source.read(min(_PIECE, size))):
        target.write(piece)
        size -= len(piece)


def _refuse(what: str, where: str, mend: str) -> UnreadableSource:
    return UnreadableSource(what, where=where, mend=mend)
