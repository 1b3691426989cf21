"""ZIP and gzip: members found, named and unpacked within limits; nothing here knows what the members hold. 7z is `seven_zip.py`.

Sizes and ratios are counted while inflating: what a header says is never believed.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import lzma
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Literal, TypeVar

from assets.errors import UnreadableSource
from assets.tables.readers.spec import Unpacking

_PIECE = 1024 * 1024
FREE = 1024 * 1024
"""Bytes that a member may unpack to whatever its ratio: short texts compress well."""
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, KeyError,
    struct.error, IndexError,
)  # fmt: skip
"""What zipfile raises on hostile bytes."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_UTF8_FLAG, _ENCRYPTED = 0x800, 0x1
_MEND = "check that the agency sent the whole file"

Kind = Literal["file", "folder", "link"]
M = TypeVar("M")
"""A member, as its archive's library has it."""


def member_name(info: zipfile.ZipInfo) -> str:
    """A member's name, NFC: UTF-8 where bit 11 says so, else strict UTF-8, else CP949, else CP437 (protocols.md 1.6)."""
    if info.flag_bits & _UTF8_FLAG:
        return unicodedata.normalize("NFC", info.orig_filename)
    return decoded_name(info.orig_filename.encode("cp437", "surrogateescape"))


def decoded_name(raw: bytes) -> str:
    """A name that says nothing of its encoding, NFC: strict UTF-8, else CP949, else CP437, which fits always."""
    for encoding in ("utf-8", "cp949"):
        try:
            return unicodedata.normalize("NFC", raw.decode(encoding))
        except UnicodeDecodeError:
            continue
    return unicodedata.normalize("NFC", raw.decode("cp437"))


def leads_outside(name: str) -> bool:
    """Whether a member of that name, unpacked by its name, would lie outside the folder that it is unpacked into."""
    absolute = name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name) is not None
    return absolute or ".." in re.split(r"[/\\]", name) or "\0" in name


def members(path: Path, limits: Unpacking, where: str = "") -> dict[str, zipfile.ZipInfo]:
    """Files of a ZIP by name, in the order of their names. Raises UnreadableSource on names that lead outside, and on bombs."""
    with opened(path, where) as archive:
        infos = [(member_name(info), info) for info in archive.infolist()]
    entries = [(name, _kind(name, info), info) for name, info in infos]
    return files_by_name(entries, limits, "ZIP", where)


def _kind(name: str, info: zipfile.ZipInfo) -> Kind:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "link"
    return "folder" if info.is_dir() or name.endswith("/") else "file"


def files_by_name(entries: Collection[tuple[str, Kind, M]], limits: Unpacking, archive: str, where: str = "") -> dict[str, M]:
    """What is a file among an archive's entries, in the order of the names. `archive`: what the archive is called.

    Raises UnreadableSource on too many entries, names that lead outside or stand twice, and links.
    """
    if len(entries) > limits.max_members:
        raise _refuse(f"a {archive} of {len(entries):,} members", where, "raise source.unpacking.max_members if that is right")
    found: dict[str, M] = {}
    for name, kind, member in entries:
        if leads_outside(name):
            raise _refuse(f"the {archive} has a member whose name leads outside it ('{name[:100]}')", where, "refuse the file")
        if kind == "link":
            raise _refuse(f"the {archive} has a symbolic link ('{name[:100]}')", where, "refuse the file")
        if kind == "folder":
            continue
        if name in found:
            raise _refuse(f"the {archive} has two members of one name ('{name[:100]}')", where, "ask the agency which one counts")
        found[name] = member
    return dict(sorted(found.items()))


def chosen(path: Path, pattern: str, limits: Unpacking, where: str = "") -> list[tuple[str, zipfile.ZipInfo]]:
    """The members that a glob matches, by their whole name or by their last part. Raises UnreadableSource on none."""
    found = members(path, limits, where)
    return [(name, found[name]) for name in matching(found, pattern, "ZIP", where)]


def matching(names: Collection[str], pattern: str, archive: str, where: str = "") -> list[str]:
    """The names that a glob matches, wholly or by their last part. Raises UnreadableSource on none. `archive`: as above."""
    pattern = unicodedata.normalize("NFC", pattern)
    hits = [
        name
        for name in names
        if not name.startswith("__MACOSX/")
        and (fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.rpartition("/")[2], pattern))
    ]
    if not hits:
        shown = ", ".join(f"'{n[:100]}'" for n in list(names)[:20]) or "none"
        raise _refuse(f"no member of the {archive} matches '{pattern}'; it has {shown}", where, "correct source.member")
    return hits


def unpack_zip(path: Path, pattern: str, limits: Unpacking, into: Path, where: str = "") -> list[tuple[str, Path]]:
    """Unpacks the chosen members under numbered names. Returns (name in the archive, file)."""
    out, hits = [], chosen(path, pattern, limits, where)
    with opened(path, where) as archive:
        for i, (name, info) in enumerate(hits):
            target = into / f"member-{i:05d}"
            with target.open("wb") as file:
                for piece in inflated(archive, info, name, limits, where):
                    file.write(piece)
            out.append((name, target))
    return out


def check_zip(path: Path, limits: Unpacking, where: str = "") -> list[str]:
    """Inflates every member to nowhere within the limits: an XLSX is a ZIP too. Returns the names."""
    found = members(path, limits, where)
    with opened(path, where) as archive:
        for name, info in found.items():
            for _ in inflated(archive, info, name, limits, where):
                pass
    return list(found)


def opened(path: Path, where: str = "") -> zipfile.ZipFile:
    """Raises UnreadableSource where it is no ZIP archive that can be read."""
    try:
        return zipfile.ZipFile(path)
    except DAMAGE:
        raise _refuse("no readable ZIP archive: damaged or cut off", where, _MEND) from None


def inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, limits: Unpacking, where: str = "") -> Iterator[bytes]:
    """One member in pieces of a megabyte, its checksum proved at the end. Raises UnreadableSource."""
    if info.flag_bits & _ENCRYPTED:
        raise _refuse(f"member '{name[:100]}' is encrypted", where, "ask the agency for a file without a password")
    if info.compress_type not in _METHODS:
        raise _refuse(f"member '{name[:100]}' is compressed by method {info.compress_type}", where, "ask for plain deflate")
    try:
        with archive.open(info) as member:
            yield from _limited(member, info.compress_size, limits, f"member '{name[:100]}'", where)
    except DAMAGE:
        raise _refuse(f"member '{name[:100]}' is damaged (its checksum or its end is wrong)", where, _MEND) from None


def _limited(source: IO[bytes] | gzip.GzipFile, packed: int, limits: Unpacking, what: str, where: str) -> Iterator[bytes]:
    done = 0
    most = max(FREE, packed * limits.max_ratio)
    while piece := source.read(_PIECE):
        done += len(piece)
        if done > limits.max_member_bytes:
            raise _refuse(
                f"{what} unpacks to more than {limits.max_member_bytes:,} bytes", where, "raise source.unpacking.max_member_bytes"
            )
        if done > most:
            raise _refuse(
                f"{what} unpacks to more than {limits.max_ratio:g} times its size", where, "raise source.unpacking.max_ratio"
            )
        yield piece


class Truncated(UnreadableSource):
    """A gzip file that ends before its end mark."""


def gzip_pieces(path: Path, limits: Unpacking, where: str = "") -> Iterator[bytes]:
    """The content of a gzip file, of several members too, in pieces. Raises Truncated, or UnreadableSource on other damage."""
    try:
        with gzip.open(path) as source:
            yield from _limited(source, path.stat().st_size, limits, "the gzip file", where)
    except EOFError:
        raise Truncated("the gzip file is truncated: it ends before its end mark", where=where, mend=_MEND) from None
    except (gzip.BadGzipFile, zlib.error):
        raise _refuse("the gzip file is damaged (its checksum or a block is wrong)", where, _MEND) from None


def unpack_gzip(path: Path, limits: Unpacking, target: Path, where: str = "") -> Path:
    """Unpacks a gzip file, of several members too."""
    with target.open("wb") as file:
        file.writelines(gzip_pieces(path, limits, where))
    return target


def content_sha256(path: Path, packed: Literal["zip", "gzip"], pattern: str, limits: Unpacking, where: str = "") -> str:
    """Hex digest of what is packed: of the chosen members of a ZIP by name, or of a gzip. Order, dates and method are none of it.

    Raises UnreadableSource on what is damaged or beyond the limits.
    """
    if packed == "gzip":
        whole = hashlib.sha256()
        for piece in gzip_pieces(path, limits, where):
            whole.update(piece)
        return whole.hexdigest()
    hits = chosen(path, pattern, limits, where)
    with opened(path, where) as archive:

        def hexdigest(name: str, info: zipfile.ZipInfo) -> str:
            digest = hashlib.sha256()
            for piece in inflated(archive, info, name, limits, where):
                digest.update(piece)
            return digest.hexdigest()

        return sha256_of_members((name, hexdigest(name, info)) for name, info in hits)


def sha256_of_members(members: Iterable[tuple[str, str]]) -> str:
    """One hex digest of names and the hex digests of what they hold."""
    whole = hashlib.sha256()
    for name, digest in members:
        whole.update(f"{digest} {name}\n".encode("utf-8", "surrogatepass"))
    return whole.hexdigest()


def _refuse(what: str, where: str, mend: str) -> UnreadableSource:
    return UnreadableSource(what, where=where, mend=mend)
