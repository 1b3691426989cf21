"""From a local file and its declared layout to rows: unpack, look at the first bytes, choose the reader."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from assets.tables.readers.batches import BATCH_ROWS, Order
from assets.tables.readers.container import check_zip, unpack_gzip, unpack_zip
from assets.tables.readers.magic import kind_of, mismatch
from assets.tables.readers.spec import Container, FileShape
from assets.tables.rows import ROW, RowStream

if TYPE_CHECKING:
    from assets.feeds.model import Feed

HELD_BYTES = 8 * 1024 * 1024
"""Bytes of small batches that are gathered into one at most."""


def open_rows(
    path: Path, shape: FileShape, order: Order, *, container: Container | None = None, scratch: Path | None = None
) -> RowStream:
    """The rows of one file, of all its chosen members in the order of their names.

    `container`: in place of the declared one, where the caller knows the address. `scratch`: where members are unpacked for as
    long as they are read; default: beside the file. Raises UnreadableSource at once on what the first bytes or the header show,
    and while reading on what only the rest shows.
    """
    packed = container if container is not None else shape.container or "none"
    with path.open("rb") as file:
        head = file.read(8192)
    if not head:
        raise order.refuse("empty file", "the agency sent no bytes; keep the last good table")
    if packed == "gzip" and shape.container is None and kind_of(head) != "gzip":
        packed = "none"  # a server that names .gz as Content-Encoding too has it taken off in transport
    wrong = mismatch(head, shape.format, packed)
    if wrong:
        raise order.refuse(wrong, "look at the archived body; correct source.url, format or container")
    if packed == "none":
        return _open_plain(path, shape, order)
    beside = scratch if scratch is not None else path.parent if os.access(path.parent, os.W_OK) else None
    folder = tempfile.TemporaryDirectory(prefix="unpacked-", dir=beside)
    try:
        into = Path(folder.name)
        if packed == "gzip":
            files = [("", unpack_gzip(path, shape.unpacking, into / "member", order.where))]
        elif packed == "7z":
            from assets.tables.readers.seven_zip import unpack_7z  # an extra of its own

            files = unpack_7z(path, shape.member, shape.unpacking, into, order.where)
        else:
            files = unpack_zip(path, shape.member, shape.unpacking, into, order.where)
        return concatenated([_opener(f, shape, order.of_member(name)) for name, f in files], order, folder.cleanup)
    except BaseException:
        folder.cleanup()
        raise


def _opener(path: Path, shape: FileShape, order: Order) -> Callable[[], RowStream]:
    def opened() -> RowStream:
        with path.open("rb") as file:
            wrong = mismatch(file.read(8192), shape.format)
        if wrong:
            raise order.refuse(wrong, "correct source.format or source.member")
        return _open_plain(path, shape, order)

    return opened


def _open_plain(path: Path, shape: FileShape, order: Order) -> RowStream:
    # imported by format: a CSV feed needs neither lxml nor calamine
    if shape.format in ("csv", "tsv"):
        from assets.tables.readers.csv_reader import read_csv

        return read_csv(path, shape, order)
    if shape.format == "jsonl":
        from assets.tables.readers.json_reader import read_jsonl

        return read_jsonl(path, shape, order)
    if shape.format in ("json", "geojson"):
        from assets.tables.readers.json_reader import read_json

        return read_json(path, shape, order)
    if shape.format == "xml":
        from assets.tables.readers.xml_reader import read_xml

        return read_xml(path, shape, order)
    if shape.format == "parquet":
        from assets.tables.readers.parquet_reader import read_parquet

        return read_parquet(path, shape, order)
    from assets.tables.readers.excel_reader import read_excel

    if shape.format == "xlsx" and "xl/workbook.xml" not in check_zip(path, shape.unpacking, order.where):
        raise order.refuse(
            "a ZIP archive that is no workbook in place of xlsx", "set source.container: zip and the member's format"
        )
    return read_excel(path, shape, order)


def concatenated(openers: Sequence[Callable[[], RowStream]], order: Order, done: Callable[[], None] = lambda: None) -> RowStream:
    """Several streams of one layout as one, with the ordinals running on. The first is opened at once, each other in its turn.

    Small batches are gathered: thousands of members of one record each would else be thousands of batches, each judged by itself.
    """
    first = openers[0]()
    stream = RowStream(order.wanted, iter(()), first.seen_columns, first.encoding)

    def batches() -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        read = rows = size = 0
        try:
            for i, opener in enumerate(openers):
                part = first if i == 0 else opener()
                before = read
                for batch in part.batches:
                    held.append(_shifted(batch, before))
                    read, rows, size = before + part.records_read, rows + batch.num_rows, size + batch.nbytes
                    if rows >= BATCH_ROWS // 2 or size >= HELD_BYTES:
                        stream.records_read = read
                        yield _gathered(held)
                        held, rows, size = [], 0, 0
                read = before + part.records_read
                stream.seen_columns.extend(n for n in part.seen_columns if n not in stream.seen_columns)
            stream.records_read = read
            if held:
                yield _gathered(held)
        finally:
            done()

    stream.batches = batches()
    return stream


def _gathered(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _shifted(batch: pa.RecordBatch, by: int) -> pa.RecordBatch:
    if not by:
        return batch
    import pyarrow.compute as pc

    index = batch.schema.get_field_index(ROW)
    return batch.set_column(index, batch.schema.field(index), pc.add(batch.column(index), by))


def order_of(feed: Feed) -> Order:
    """What a feed's contract and decode block ask of a reader."""
    return Order(
        wanted=feed.contract.source_names,
        missing=feed.contract.missing_columns,
        encoding=feed.decode.encoding,
        korean=feed.agency.country == "KR",
        where=feed.id,
    )


def open_feed_rows(feed: Feed, shape: FileShape, paths: Sequence[tuple[Path, str]]) -> RowStream:
    """The rows of a feed's files, each given with the address it came from (it may tell the container)."""
    order = order_of(feed)

    def opener(path: Path, address: str) -> Callable[[], RowStream]:
        return lambda: open_rows(path, shape, order, container=shape.container_of(address))

    if not paths:
        raise order.refuse("no file was fetched", "run the feed again")
    return concatenated([opener(p, a) for p, a in paths], order)
