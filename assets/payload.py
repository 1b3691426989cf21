"""The bytes of one body, wherever they lie: in memory while they are few, in a file of their own, or inside a larger file.

A page of an API is a few kilobytes; making, naming and deleting a file for each costs more than asking for it. What the bytes mean
is nobody's business here.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

MEMORY_BYTES = 256 * 1024
"""Up to so many bytes of a body are held in memory; a longer one is in a file."""


class Payload:
    """Bytes to be read, as often as somebody likes. `path` makes a file of them where there is none yet.

    Its place is kept as it was given, since most bodies never have a file, and a Path costs more than the bytes of a page.
    """

    __slots__ = ("_data", "_pack", "_path", "_size", "_start")

    def __init__(self, path: Path | str, data: bytes | None = None) -> None:
        """`path`: the file that holds them, or, where `data` is given, the one that would."""
        self._path, self._data = path, data
        self._pack: Pack | None = None
        self._start = 0
        self._size = len(data) if data is not None else None

    @property
    def in_memory(self) -> bytes | None:
        """The bytes where they need no disk to be read; None for those in a file."""
        return self._data

    @property
    def size(self) -> int:
        """In bytes."""
        return self.place.stat().st_size if self._size is None else self._size

    @property
    def place(self) -> Path:
        """The file that holds them, or that `path` would make."""
        return Path(self._path)

    @property
    def path(self) -> Path:
        """A file that holds exactly these bytes."""
        place = self.place
        if self._data is not None or self._pack is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self.read_bytes())
            self._data = self._pack = self._size = None
        return place

    def open(self) -> BinaryIO:
        if self._data is None and self._pack is None:
            return self.place.open("rb")
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        if self._data is not None:
            return self._data
        if self._pack is not None:
            return self._pack.read(self._start, self._size or 0)
        return self.place.read_bytes()

    def discard(self) -> None:
        """The bytes are not needed any more."""
        if self._data is None and self._pack is None:
            self.place.unlink(missing_ok=True)
        self._data, self._pack, self._size = b"", None, 0


class Spill:
    """Collects bytes into a Payload: they move to the file once they are more than MEMORY_BYTES."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._held: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._file is not None:
            self._file.write(data)
            return
        self._held.append(data)
        if self._size > MEMORY_BYTES:
            self._file = Payload(self._path).place.open("wb")
            self._file.writelines(self._held)
            self._held = []

    def restart(self) -> None:
        """Forget what came."""
        self._held, self._size = [], 0
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def close(self) -> Payload:
        if self._file is not None:
            self._file.close()
            return Payload(self._path)
        return Payload(self._path, b"".join(self._held))


class Pack:
    """One file that holds many small payloads one after the other; it stays open until the last of them is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._end = 0

    def add(self, data: bytes, path: Path | str) -> Payload:
        """Keep the bytes here. `path`: the file that they would have if they had one."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w+b", MEMORY_BYTES)
        self._file.write(data)
        added = Payload(path)
        added._pack, added._start, added._size = self, self._end, len(data)
        self._end += len(data)
        return added

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, start: int, size: int) -> bytes:
        assert self._file is not None
        self._file.flush()
        return os.pread(self._file.fileno(), size, start)


def as_payload(file: Path | Payload) -> Payload:
    return file if isinstance(file, Payload) else Payload(file)
