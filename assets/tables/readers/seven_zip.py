"""7z archives: members found, named and unpacked within limits, on py7zr (the extra `sevenzip`).

As `container.py` does for ZIP, with one difference that the format makes: many members are packed as one, so that the size and
the ratio are of all members together, wanted or not.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from assets.errors import SettingsError, UnreadableSource
from assets.tables.readers.container import DAMAGE, FREE, Kind, files_by_name, matching, sha256_of_members
from assets.tables.readers.spec import Unpacking

try:
    import py7zr
    from py7zr.archiveinfo import HeaderStreamsInfo, SignatureHeader
except ImportError:
    py7zr = None  # type: ignore[assignment]  # the extra is not installed: `_library` says so

Take = Callable[[bytes], object]
"""Takes the pieces of a member, in their order."""
HEADER_BYTES_OF_A_MEMBER = 1024
"""What a member's name, times and attributes take in the list of members, and much more."""
ARCHIVE = "7z archive"
_START, _PACKED_LIST = 32, b"\x17"
_MEND = "check that the agency sent the whole file"


def members_7z(path: Path, limits: Unpacking, where: str = "") -> dict[str, int]:
    """Files of a 7z archive by name, with their sizes in bytes as declared, in the order of their names.

    Raises UnreadableSource on what is damaged, encrypted or beyond the limits, and on names that lead outside; SettingsError where
    the extra is not installed.
    """
    with _opened(path, limits, where) as archive:
        return {name: file.size for name, file in archive.files.items()}


def unpack_7z(path: Path, pattern: str, limits: Unpacking, into: Path, where: str = "") -> list[tuple[str, Path]]:
    """Unpacks the members that a glob matches under numbered names. Returns (name in the archive, file). Raises as `members_7z`."""
    files: dict[str, Path] = {}

    def append_to(name: str) -> Take:
        file = files[name] = into / f"member-{len(files):05d}"
        file.touch()
        return partial(_append, file)

    _unpacked(path, pattern, limits, append_to, where)
    return list(files.items())


def content_sha256_7z(path: Path, pattern: str, limits: Unpacking, where: str = "") -> str:
    """As `container.content_sha256`, of the members that a glob matches. Raises as `members_7z`."""
    digests: dict[str, hashlib._Hash] = {}

    def update(name: str) -> Take:
        digests[name] = hashlib.sha256()
        return digests[name].update

    _unpacked(path, pattern, limits, update, where)
    return sha256_of_members((name, digest.hexdigest()) for name, digest in digests.items())


def _append(file: Path, piece: bytes) -> None:
    with file.open("ab") as out:
        out.write(piece)


def _unpacked(path: Path, pattern: str, limits: Unpacking, take: Callable[[str], Take], where: str) -> None:
    """Hands every piece of the chosen members to what `take` gives for its name, asked in the order of the names."""
    with _opened(path, limits, where) as archive:
        wanted = matching(archive.files, pattern, ARCHIVE, where)
        takers = {archive.files[name].stored: take(name) for name in wanted}
        _extract(archive.archive, takers, sum(file.size for file in archive.files.values()), where)


def _library() -> None:
    if py7zr is None:
        raise SettingsError(
            "this feed's file is a 7z archive, and what reads it is not installed",
            where="source.container",
            mend="install Madang with the extra sevenzip (pip install -e '.[platform,sevenzip]'), or ask the agency for a ZIP",
        )


class _File(NamedTuple):
    """A member. `stored`: its name as it stands; `size`: declared, and what is unpacked at most."""

    stored: str
    size: int


class _Archive(NamedTuple):
    """`files`: by name (NFC), in the order of the names."""

    archive: Any
    files: dict[str, _File]


@contextmanager
def _opened(path: Path, limits: Unpacking, where: str) -> Iterator[_Archive]:
    _library()
    most = limits.max_members * HEADER_BYTES_OF_A_MEMBER
    with path.open("rb") as file:  # of an open file py7zr unpacks in this thread alone
        try:
            packed = path.stat().st_size
            if _list_bytes(file, packed) > most:
                mend = "raise source.unpacking.max_members if that is right"
                raise _refuse(f"the list of members of the 7z archive unpacks to more than {most:,} bytes", where, mend)
            archive = py7zr.SevenZipFile(file, "r")
            files = _files(archive, packed, limits, where)
        except py7zr.exceptions.PasswordRequired:
            raise _encrypted(where) from None
        except _damage():
            raise _refuse("no readable 7z archive: damaged or cut off", where, _MEND) from None
        yield _Archive(archive, files)


def _list_bytes(file: BinaryIO, length: int) -> int:
    """What the list of members takes when it is unpacked, as the archive declares it; py7zr unpacks no more than that."""
    start = SignatureHeader.retrieve(file)
    file.seek(_START + start.nextheaderofs)
    raw = file.read(min(start.nextheadersize, length))
    file.seek(0)
    if raw[:1] != _PACKED_LIST:
        return len(raw)
    return sum(folder.unpacksizes[-1] for folder in HeaderStreamsInfo.retrieve(io.BytesIO(raw[1:])).unpackinfo.folders)


def _files(archive: Any, packed: int, limits: Unpacking, where: str) -> dict[str, _File]:
    """The members. `packed`: bytes of the archive. Its dates are not looked at, and may be any."""
    if archive.needs_password():
        raise _encrypted(where)
    entries = [(unicodedata.normalize("NFC", info.filename), _kind(info), info) for info in archive.files]
    listed = files_by_name(entries, limits, ARCHIVE, where)
    found = {name: _File(info.filename, int(info.uncompressed)) for name, info in listed.items()}
    sizes = [file.size for file in found.values()]
    if max(sizes, default=0) > limits.max_member_bytes:
        raise _refuse(
            f"a member of the 7z archive unpacks to more than {limits.max_member_bytes:,} bytes",
            where,
            "raise source.unpacking.max_member_bytes",
        )
    if sum(sizes) > max(FREE, packed * limits.max_ratio):
        raise _refuse(
            f"the 7z archive unpacks to more than {limits.max_ratio:g} times its size", where, "raise source.unpacking.max_ratio"
        )
    return found


def _kind(info: Any) -> Kind:
    return "link" if info.is_symlink else "folder" if info.is_directory else "file"


def _extract(archive: Any, takers: Mapping[str, Take], size: int, where: str) -> None:
    failed: list[OSError] = []
    came: set[str] = set()

    class Member(py7zr.io.Py7zIO):
        """One member on its way out."""

        def __init__(self, take: Take) -> None:
            self.take, self.taken = take, 0

        def write(self, s: bytes | bytearray) -> int:
            try:
                self.take(bytes(s))
            except OSError as error:
                failed.append(error)
                raise
            self.taken += len(s)
            return len(s)

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return offset

        def flush(self) -> None:
            pass

        def size(self) -> int:
            return self.taken

    class Members(py7zr.io.WriterFactory):
        def create(self, filename: str) -> Member:
            came.add(filename)
            return Member(takers[filename])

    try:
        archive.max_extract_size = size
        archive.extract(targets=list(takers), factory=Members())
    except _damage():
        if failed:
            raise failed[0] from None  # the disk's fault, not the archive's
        raise _refuse("the 7z archive is damaged (its checksum or a block is wrong)", where, _MEND) from None
    if missing := sorted(takers.keys() - came):
        raise _refuse(f"member '{missing[0][:100]}' of the 7z archive did not come out", where, _MEND)


def _damage() -> tuple[type[BaseException], ...]:
    """What py7zr raises on hostile bytes."""
    odd = (TypeError, AttributeError, AssertionError, ArithmeticError, MemoryError, LookupError, lzma.LZMAError)
    return (*DAMAGE, *odd, py7zr.exceptions.ArchiveError)


def _encrypted(where: str) -> UnreadableSource:
    return _refuse("the 7z archive is encrypted", where, "ask the agency for a file without a password")


def _refuse(what: str, where: str, mend: str) -> UnreadableSource:
    return UnreadableSource(what, where=where, mend=mend)
