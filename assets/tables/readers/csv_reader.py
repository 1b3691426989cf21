"""CSV and TSV: the header is checked here, the records are parsed by Arrow, streaming, every column as text.

The dialect is the declared one; a wrong one is named in the error, never replaced by a guess.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from assets.errors import UnreadableSource
from assets.tables.readers.batches import TEXT_LIMIT, Order, clean, listing, mask_nul
from assets.tables.readers.decoding import CHUNK, Utf8File, nfc, open_utf8
from assets.tables.readers.spec import FileShape
from assets.tables.rows import RowStream, batch_schema

BLOCK = 8 * 1024 * 1024
_HEADER_LIMIT = 4 * 1024 * 1024
_PENDING_TEXT = 64 * 1024 * 1024
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def read_csv(path: Path, shape: FileShape, order: Order) -> RowStream:
    """The rows of one CSV file. Raises UnreadableSource at once on an empty file or a header that lacks what is wanted."""
    if path.stat().st_size == 0:
        raise order.refuse("empty file", "the agency sent no bytes; keep the last good table")
    text = open_utf8(path, declared=order.encoding, korean=order.korean, where=order.where)
    try:
        source = _Stream(text, shape, order)
        names = [nfc(n) for n in shape.csv.columns] or source.header()
        _check_header(names, source.header_text, shape, order)
    except BaseException:
        text.close()
        raise
    stream = RowStream(order.wanted, iter(()), list(dict.fromkeys(names)), text.encoding.name)
    stream.batches = _batches(source, names, shape, order, stream)
    return stream


class _Stream:
    """What Arrow reads: the text behind the header, without comment lines, and at its end one record that nobody sent.

    That last record shows whether a quote was left open: if it does not come back as a record of its own, it was swallowed.
    """

    def __init__(self, text: Utf8File, shape: FileShape, order: Order) -> None:
        self.text, self.shape, self.order = text, shape, order
        self.header_text = ""
        self.mark = f"end{secrets.token_hex(8)}"
        self.closed = False
        self.error: UnreadableSource | OSError | None = None
        self._buffer = b""
        self._ended = False
        self._in_quotes = False
        self._line = b""
        self.width = 0
        self._lent: list[bytes | bytearray] = []

    def _next(self) -> bytes:
        piece = self.text.read(CHUNK)
        if self.shape.csv.comment is None:
            return piece
        kept = b""
        while not kept:
            kept = self._without_comments(piece, final=not piece)
            if not piece:
                break
            piece = self.text.read(CHUNK) if not kept else piece
        return kept

    def _without_comments(self, piece: bytes, final: bool) -> bytes:
        """Drops lines that start with the comment character outside quotes."""
        comment, quote = (self.shape.csv.comment or "").encode(), (self.shape.csv.quote or "").encode()
        *lines, self._line = (self._line + piece).split(b"\n")
        lines = [line + b"\n" for line in lines]
        if final:
            lines.append(self._line)
            self._line = b""
        kept = []
        for line in lines:
            if not self._in_quotes and line.startswith(comment):
                continue
            if quote and line.count(quote) % 2:
                self._in_quotes = not self._in_quotes
            kept.append(line)
        return b"".join(kept)

    def header(self) -> list[str]:
        """Reads the header record and stands behind it."""
        dialect = self.shape.csv
        lead = dialect.skip_rows + dialect.header_row - 1
        ended = False
        while True:
            more = b"" if ended else self._next()
            ended = ended or not more
            self._buffer += more
            found = self._parse_header(lead, ended)
            if found is not None:
                return found
            if ended:
                raise self.order.refuse(
                    f"no header in line {lead + 1}: the file ends before it", "check source.csv.header_row and skip_rows"
                )
            if len(self._buffer) > _HEADER_LIMIT:
                raise self.order.refuse(
                    "the header does not end within 4 MB: a quote in it is never closed, or this is no CSV file",
                    "check source.format and source.csv.quote",
                )

    def _parse_header(self, lead: int, ended: bool) -> list[str] | None:
        window = self._buffer[: _HEADER_LIMIT + 4]
        text = window.decode("utf-8", "ignore" if len(window) < len(self._buffer) or not ended else "replace")
        lines = io.StringIO(text, newline="")
        for _ in range(lead):
            if not lines.readline():
                return None
        consumed: list[str] = []

        def counted() -> Iterator[str]:
            for line in lines:
                consumed.append(line)
                yield line

        start = lines.tell()
        try:
            names = next((row for row in self._reader(counted()) if row and row != [""]), None)
        except csv.Error:
            raise self.order.refuse("the header cannot be parsed", "check source.csv.quote and source.csv.delimiter") from None
        self.header_text = "".join(consumed).strip("\r\n")
        end = start + sum(map(len, consumed))
        if names is None or (end >= len(text) and not ended):
            return None
        self._buffer = self._buffer[len(text[:end].encode()) :]
        return [nfc(n) for n in names]

    def _reader(self, lines: Iterator[str], delimiter: str | None = None) -> Iterator[list[str]]:
        quote = self.shape.csv.quote
        if quote is None:
            return csv.reader(lines, delimiter=delimiter or self.shape.delimiter, quoting=csv.QUOTE_NONE)
        return csv.reader(lines, delimiter=delimiter or self.shape.delimiter, quotechar=quote)

    def skip_lead(self) -> None:
        """Without a header: drops skip_rows lines."""
        left = self.shape.csv.skip_rows
        while left:
            line, sep, rest = self._buffer.partition(b"\n")
            if sep:
                self._buffer, left = rest, left - 1
            else:
                more = self._next()
                if not more:
                    self._buffer = b""
                    return
                self._buffer = line + more

    def read(self, size: int = -1) -> bytes | bytearray:
        """For Arrow. An error is kept for the caller, because Arrow would wrap it."""
        if self.closed:
            return bytearray()
        out = self._read(size) or bytearray()  # an object of its own even at the end: b"" is everybody's
        self._lent = [b for b in self._lent if sys.getrefcount(b) > 3] + [out]
        return out

    def _read(self, size: int) -> bytes:
        try:
            if not self._buffer and not self._ended:
                self._buffer = self._next()
                if not self._buffer:
                    self._ended = True
                    self._buffer = ("\n" + self.shape.delimiter.join([self.mark] * self.width) + "\n").encode()
        except (UnreadableSource, OSError) as error:
            self.error = error
            raise
        out, self._buffer = (self._buffer[:size], self._buffer[size:]) if 0 <= size < len(self._buffer) else (self._buffer, b"")
        return out

    def close(self) -> None:
        self.closed = True
        self.text.close()

    def settle(self, references: int, deadline_s: float = 10.0) -> None:
        """Waits until Arrow has let go of this object and of what it read.

        Arrow reads on a thread of its own, which may still be dropping its last reference when the last batch is out. A process
        that ends in that moment is aborted: a foreign thread asks a dying interpreter for its lock.
        """
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            self._lent = [b for b in self._lent if sys.getrefcount(b) > 3]
            if not self._lent and sys.getrefcount(self) <= references:
                return
            time.sleep(0.001)

    # what pyarrow asks of a Python file
    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def _check_header(names: list[str], header: str, shape: FileShape, order: Order) -> None:
    have = set(names)
    missing = [w for w in order.wanted if nfc(w) not in have]
    if missing and header:
        better = _likely_delimiter(header, names, shape, order)
        if better:
            raise order.refuse(
                f"the header has {len(names)} column{'s' if len(names) > 1 else ''} when split at "
                f"{_DELIMITERS.get(shape.delimiter, repr(shape.delimiter))}; {_DELIMITERS[better]} is likely the delimiter",
                f"set source.csv.delimiter: {better!r}",
            )
    twice = [w for w in order.wanted if names.count(nfc(w)) > 1]
    if twice:
        raise order.refuse(
            f"column {listing(twice)} stands more than once in the header",
            "name the columns in source.csv.columns with header_row: 0 and skip_rows",
        )
    order.check_present(names)


def _likely_delimiter(header: str, names: list[str], shape: FileShape, order: Order) -> str | None:
    """The delimiter that finds more of the wanted columns, or, for a header of one column, that splits it."""
    wanted = {nfc(w) for w in order.wanted}
    now, best = len(wanted & set(names)), None
    for delimiter in _DELIMITERS:
        if delimiter == shape.delimiter:
            continue
        parts = {nfc(p.strip('"')) for p in re.split(re.escape(delimiter), header)}
        if len(wanted & parts) > now:
            now, best = len(wanted & parts), delimiter
    if best is None and len(names) == 1:
        best = max((d for d in _DELIMITERS if d in names[0]), key=names[0].count, default=None)
    return best


def _batches(source: _Stream, names: list[str], shape: FileShape, order: Order, stream: RowStream) -> Iterator[pa.RecordBatch]:
    try:
        if shape.csv.header_row == 0:
            source.skip_lead()
        source.width = len(names)
        yield from _parsed(source, names, shape, order, stream)
    finally:
        source.close()


class _Broken:
    """Records that Arrow set aside, until the batch that they stand in is handed over."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.pending: list[tuple[int, str, str]] = []
        self.size = 0
        self.overflow = self.swallowed = False

    def __call__(self, row: pa.csv.InvalidRow) -> str:
        if self.mark in row.text[-len(self.mark) * (row.expected_columns + 1) - 64 :]:
            self.swallowed = True
        text = row.text[:TEXT_LIMIT]
        reason = f"ragged: {row.actual_columns} fields where the header has {row.expected_columns}"
        self.pending.append((row.number, reason, clean(text)))
        self.size += len(text) + 200
        self.overflow = self.size > _PENDING_TEXT
        return "error" if self.overflow else "skip"

    def take(self, before: int | None) -> list[tuple[int, str, str]]:
        taken = [p for p in self.pending if before is None or p[0] < before]
        self.pending = self.pending[len(taken) :]
        self.size = sum(len(p[2]) + 200 for p in self.pending)
        return taken


def _parsed(source: _Stream, names: list[str], shape: FileShape, order: Order, stream: RowStream) -> Iterator[pa.RecordBatch]:
    keys = [f"c{i}" for i in range(len(names))]
    where = {name: key for key, name in reversed(list(zip(keys, names, strict=True)))}
    picked = [where.get(nfc(w)) for w in order.wanted]
    include = list(dict.fromkeys(p for p in picked if p)) or keys[:1]
    broken = _Broken(source.mark)
    quote = shape.csv.quote
    schema = batch_schema(order.wanted)
    held: pa.RecordBatch | None = None
    reader = file = None
    references = sys.getrefcount(source)
    try:
        file = pa.PythonFile(source, mode="r")
        reader = pa.csv.open_csv(
            file,
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=keys),
            parse_options=pa.csv.ParseOptions(
                delimiter=shape.delimiter,
                quote_char=quote or False,
                double_quote=quote is not None,
                newlines_in_values=quote is not None,
                invalid_row_handler=broken,
            ),
            convert_options=pa.csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(keys, pa.string()),
                strings_can_be_null=False,
                include_columns=include,
            ),
        )
        for batch in reader:
            if not batch.num_rows:
                continue
            if held is not None:
                yield _numbered(held, picked, broken, schema, source, stream)
            held = batch
    except (pa.ArrowException, OSError) as error:
        if source.error is not None:
            raise source.error from None
        if isinstance(error, OSError) and not isinstance(error, pa.ArrowException):
            raise
        if broken.overflow:
            raise order.refuse(
                f"nearly every record is ragged ({broken.pending[0][1]})", "check source.csv.delimiter, quote and header_row"
            ) from None
        if "straddling" in str(error):
            raise _unclosed(order, stream.records_read + (held.num_rows if held is not None else 0) + 1, "in or after") from None
        raise order.refuse("the records cannot be parsed", "check source.csv.delimiter and source.csv.quote") from None
    finally:
        reader = file = None
        source.close()
        source.settle(references + 1)
    rows = held.num_rows if held is not None else 0
    if broken.swallowed:
        raise _unclosed(order, broken.pending[-1][0])
    if held is None or held.column(0)[rows - 1].as_py() != source.mark:
        raise _unclosed(order, stream.records_read + rows + len(broken.pending))
    last = _numbered(held.slice(0, rows - 1), picked, broken, schema, source, stream, final=True)
    if last.num_rows:
        yield last


def _unclosed(order: Order, record: int, how: str = "in") -> UnreadableSource:
    return order.refuse(
        f"a quote that opens {how} record {record:,} is never closed and swallows the rest of the file",
        "correct the source file, or set source.csv.quote: null where quotes are plain text",
    )


def _numbered(
    batch: pa.RecordBatch,
    picked: list[str | None],
    broken: _Broken,
    schema: pa.Schema,
    source: _Stream,
    stream: RowStream,
    final: bool = False,
) -> pa.RecordBatch:
    """The batch in its final shape, with the broken records in their places and every record's ordinal."""
    first, n = stream.records_read + 1, batch.num_rows
    bad: list[tuple[int, str, str]] = []
    if broken.pending:
        # a good record's ordinal moves on by the broken ones before it
        last = first + n - 1
        for number, *_ in broken.pending:
            if number > last and not final:
                break
            last += 1
        bad = broken.take(None if final else last + 1)
    skipped = {number for number, *_ in bad}
    total = n + len(bad)
    if bad:
        ordinals = pa.array((i for i in range(first, first + total) if i not in skipped), pa.int64())
    else:
        ordinals = pa.arange(first, first + n)
    none = pa.nulls(n, pa.string())
    columns = [none if p is None else batch.column(p) for p in picked]
    out = pa.RecordBatch.from_arrays([*columns, ordinals, none, none], schema=schema)
    if source.text.nul_seen:
        out = mask_nul(out, len(picked))
    stream.records_read += total
    if not bad:
        return out
    empty = pa.nulls(len(bad), pa.string())
    numbers, reasons, texts = zip(*bad, strict=True)
    rest = pa.RecordBatch.from_arrays(
        [*[empty] * len(picked), pa.array(numbers, pa.int64()), pa.array(reasons, pa.string()), pa.array(texts, pa.string())],
        schema=schema,
    )
    merged = pa.Table.from_batches([out, rest]).sort_by(schema.field(len(picked)).name).combine_chunks()
    return merged.to_batches()[0] if merged.num_rows else out
