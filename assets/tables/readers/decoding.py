"""The ladder that finds a text file's encoding, and the file as UTF-8 (protocols.md 1.6).

BOM, strict UTF-8, the declared encoding, strict CP949 for Korean feeds, else an error that carries a suggestion: no rung guesses.
Nothing here knows of CSV, JSON or XML.
"""

from __future__ import annotations

import codecs
import queue
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from assets.errors import UnreadableSource
from assets.payload import Payload, as_payload

CHUNK = 4 * 1024 * 1024
INLINE = 256 * 1024
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MARKS = tuple(mark for mark, _ in _BOMS)
# What these write is also valid UTF-8 (ASCII with NUL or ESC bytes in it), so for them that byte decides.
_LOOKS_LIKE_ASCII = {"utf-16": 0x00, "utf-32": 0x00, "iso2022": 0x1B, "hz": 0x7E}


def nfc(name: str) -> str:
    """A name as Madang compares it: NFC (macOS writes NFD), without white space or a BOM around it."""
    return unicodedata.normalize("NFC", name).strip().strip("\ufeff").strip()


@dataclass(frozen=True)
class Encoding:
    """What the ladder chose. `skip`: bytes of the BOM."""

    name: str
    skip: int = 0


@dataclass(frozen=True)
class _Failure:
    offset: int
    line: int


def canonical(name: str, where: str) -> str:
    """Python's name of a declared encoding. EUC-KR is read as CP949, its superset, as browsers do."""
    try:
        found = codecs.lookup(name)
    except LookupError:
        raise UnreadableSource(
            f"'{name}' is no encoding that is known", where=where, mend="write decode.encoding: utf-8 or cp949"
        ) from None
    if not getattr(found, "_is_text_encoding", True):
        raise UnreadableSource(f"'{name}' is no text encoding", where=where, mend="write decode.encoding: utf-8 or cp949")
    return "cp949" if found.name == "euc_kr" else found.name


def choose(file: Path | Payload, *, declared: str | None = None, korean: bool = False, where: str = "") -> Encoding:
    """The encoding of a whole file by the ladder. Raises UnreadableSource where no rung decodes it.

    Every rung but the last is tried on the whole file. The last possible one is taken unread when the UTF-8 pass has already
    failed: `Utf8File` is strict too and raises the same error, so a CP949 file is decoded once, not twice.
    """
    path = as_payload(file)
    if declared is None and _is_plain(path):
        return Encoding("utf-8")
    with path.open() as opened:
        head = opened.read(4)
    for mark, name in _BOMS:
        if head.startswith(mark):
            failure = _first_failure(path, name, len(mark))
            if failure:
                raise _undecodable(path, [(name, failure)], where, "it starts with that encoding's byte order mark")
            return Encoding(name, len(mark))
    rungs = ["utf-8"]
    if declared:
        rungs.append(canonical(declared, where))
    if korean:
        rungs.append("cp949")
    rungs = list(dict.fromkeys(rungs))
    failures: list[tuple[str, _Failure]] = []
    for rung in rungs:
        telltale = next((byte for start, byte in _LOOKS_LIKE_ASCII.items() if rungs[-1].startswith(start)), None)
        if rung == "utf-8" and declared and telltale is not None and _contains(path, telltale):
            continue
        if rung == rungs[-1] and rung == "cp949" and len(rungs) == 2 and failures:
            return Encoding(rung)
        failure = _first_failure(path, rung, 0)
        if failure is None:
            return Encoding(rung)
        failures.append((rung, failure))
    raise _undecodable(path, failures, where)


def _is_plain(payload: Payload) -> bool:
    """Whether a short body is UTF-8 without a mark, as nearly every page of an API is; else the ladder must be climbed."""
    if payload.size >= INLINE:
        return False
    data = payload.read_bytes()
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return not data.startswith(_MARKS)


def _pieces(path: Payload, skip: int, size: int = CHUNK) -> Iterator[bytes]:
    with path.open() as file:
        file.seek(skip)
        while piece := file.read(size):
            yield piece


def _contains(path: Payload, byte: int) -> bool:
    return any(byte in piece for piece in _pieces(path, 0))


def _first_failure(path: Payload, encoding: str, skip: int) -> _Failure | None:
    """Where strict decoding first fails, as byte offset from 0 and line from 1; None where the whole file decodes."""
    try:
        for _ in _decoded(path, encoding, skip):
            pass
    except _Undecodable as error:
        return error.failure
    return None


class _Undecodable(Exception):
    def __init__(self, failure: _Failure) -> None:
        super().__init__()
        self.failure = failure


def _decoded(path: Payload, encoding: str, skip: int) -> Iterator[str]:
    """The text in pieces, strict, with an incremental decoder (a piece may end inside a character)."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    done, lines, held = skip, 1, 0
    # small pieces first: most files that are not UTF-8 show it in their header
    with path.open() as file:
        file.seek(skip)
        size = 64 * 1024
        while True:
            piece = file.read(size)
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeError as error:  # one without a place: UTF-16 without the mark that tells its order
                start = max(0, min(getattr(error, "start", 0), held + len(piece)))
                raise _Undecodable(_Failure(done - held + start, lines + piece.count(b"\n", 0, max(0, start - held)))) from None
            yield text
            if not piece:
                return
            done += len(piece)
            lines += piece.count(b"\n")
            held = len(decoder.getstate()[0])
            size = CHUNK


def _undecodable(path: Payload, failures: list[tuple[str, _Failure]], where: str, why: str = "") -> UnreadableSource:
    tried = "; ".join(f"not {name} (byte {f.offset}, line {f.line})" for name, f in failures)
    suggestion = suggest(path)
    mend = (
        f"it looks like {suggestion}: open it, and if that is right declare decode.encoding: {suggestion}"
        if suggestion
        else "ask the agency for its encoding and declare it as decode.encoding"
    )
    return UnreadableSource(f"the text cannot be decoded: {tried}{'; ' + why if why else ''}", where=where, mend=mend)


def suggest(file: Path | Payload, limit: int = 1024 * 1024) -> str | None:
    """What charset-normalizer takes the file for: a suggestion to the operator, never a rung.

    Looks at the first `limit` bytes cut at a line end, because a slice that ends inside a character misleads it.
    """
    from charset_normalizer import from_bytes

    with as_payload(file).open() as opened:
        data = opened.read(limit)
    if len(data) == limit and (cut := data.rfind(b"\n") + 1):
        data = data[:cut]
    best = from_bytes(data).best()
    return best.encoding if best else None


class Utf8File:
    """A text file as UTF-8 bytes, without its BOM: a file object for parsers, decoded on a thread of its own.

    Decoding holds the interpreter's lock while Arrow's parser does not, so the two overlap. At most three pieces of `CHUNK`
    bytes are held. A file of less than `INLINE` bytes, a page of an API say, is decoded where it is read: a thread would cost
    more. `nul_seen` turns True when a NUL passes. Raises UnreadableSource on bytes that the encoding refuses.
    """

    def __init__(self, file: Path | Payload, encoding: Encoding, where: str = "") -> None:
        self.path, self.encoding, self.where = as_payload(file), encoding, where
        self.nul_seen = False
        self.closed = False
        self._rest = b""
        self._ended = False
        self._inline: Iterator[bytes | _Undecodable | OSError] | None = None
        self._thread: threading.Thread | None = None
        if self.path.size < INLINE:
            self._inline = self._items()
            return
        self._pieces: queue.Queue[bytes | _Undecodable | OSError] = queue.Queue(maxsize=2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="madang-decode", daemon=True)
        self._thread.start()

    def _items(self) -> Iterator[bytes | _Undecodable | OSError]:
        """The text in pieces, none of them empty, and the failure that ends it, if one does."""
        name = self.encoding.name
        try:
            if name == "utf-8":  # the ladder has validated it
                yield from _pieces(self.path, self.encoding.skip)
            else:
                for text in _decoded(self.path, name, self.encoding.skip):
                    if text:
                        yield text.encode("utf-8", "surrogatepass")
        except (_Undecodable, OSError) as error:
            yield error

    def _feed(self) -> None:
        for item in self._items():
            if not self._put(item):
                return
        self._put(b"")

    def _put(self, item: bytes | _Undecodable | OSError) -> bool:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._pieces.put(item, timeout=0.2)
                return True
        return False

    def _take(self) -> bytes | _Undecodable | OSError:
        if self._inline is not None:
            return next(self._inline, b"")
        while not self._stop.is_set():
            with suppress(queue.Empty):
                return self._pieces.get(timeout=0.2)
        return b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, b'' at the end; all that is left when `size` is negative."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        if not self._rest and not self._ended and size:
            item = self._take()
            if isinstance(item, _Undecodable):
                self._ended = True
                raise _undecodable(self.path, [(self.encoding.name, item.failure)], self.where)
            if isinstance(item, OSError):
                self._ended = True
                raise item
            self._ended = not item
            self._rest = item
            self.nul_seen = self.nul_seen or b"\0" in item
        if len(self._rest) <= size:
            out, self._rest = self._rest, b""
        else:
            out, self._rest = self._rest[:size], self._rest[size:]
        return out

    def lines(self, limit: int) -> Iterator[bytes]:
        """Lines without their ends (LF or CRLF). A line of more than `limit` bytes raises UnreadableSource."""
        left = b""
        while piece := self.read(CHUNK):
            *whole, left = (left + piece).split(b"\n")
            for line in whole:
                yield line.removesuffix(b"\r")
            if len(left) > limit:
                raise UnreadableSource(f"a line of more than {limit:,} bytes", where=self.where, mend="check source.format")
        if left:
            yield left

    def close(self) -> None:
        self.closed = True
        if self._thread is not None:
            self._stop.set()
            self._thread.join(5)

    def __enter__(self) -> Utf8File:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_utf8(file: Path | Payload, *, declared: str | None = None, korean: bool = False, where: str = "") -> Utf8File:
    """The file by the ladder, ready to be read as UTF-8; `.encoding.name` says what it was."""
    return Utf8File(file, choose(file, declared=declared, korean=korean, where=where), where)
