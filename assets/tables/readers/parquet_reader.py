"""Parquet: columns picked by name or dotted path, batch by batch, every value as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assets.tables.readers.batches import Order, mask_nul, text_of
from assets.tables.readers.decoding import nfc
from assets.tables.readers.spec import FileShape
from assets.tables.rows import RowStream, batch_schema

_ROWS = 65_536
_MEND = "check source.format and that the agency sent the whole file"


def read_parquet(path: Path, shape: FileShape, order: Order) -> RowStream:
    """The rows of one Parquet file; only the wanted columns are read."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError):
        raise order.refuse("no readable Parquet file", _MEND) from None
    leaves: dict[str, tuple[str, ...]] = {}
    for field in file.schema_arrow:
        leaves[nfc(field.name)] = (field.name,)
        for path_ in _inside(field.type, (field.name,)):
            leaves[nfc(".".join(path_))] = path_
    order.check_present(leaves)
    top = [nfc(n) for n in file.schema_arrow.names]
    stream = RowStream(order.wanted, iter(()), list(dict.fromkeys(top)))
    picked = [leaves.get(nfc(w)) for w in order.wanted]
    stream.batches = _batches(file, picked, order, stream)
    return stream


def _inside(kind: pa.DataType, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield (*path, field.name)
            yield from _inside(field.type, (*path, field.name))


def _batches(
    file: pq.ParquetFile, picked: list[tuple[str, ...] | None], order: Order, stream: RowStream
) -> Iterator[pa.RecordBatch]:
    schema = batch_schema(order.wanted)
    columns = list(dict.fromkeys(p[0] for p in picked if p))
    try:
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
            n = batch.num_rows
            none = pa.nulls(n, pa.string())
            values = []
            for path in picked:
                if path is None:
                    values.append(none)
                    continue
                column = batch.column(path[0])
                for part in path[1:]:
                    column = pc.struct_field(column, part)
                values.append(_texts(column, ".".join(path), order))
            first = stream.records_read + 1
            out = pa.RecordBatch.from_arrays([*values, pa.arange(first, first + n), none, none], schema=schema)
            stream.records_read += n
            yield mask_nul(out, len(values))
    except (pa.ArrowException, OSError):
        raise order.refuse("the Parquet file is damaged", _MEND) from None
    finally:
        file.close()


def _texts(column: pa.Array, name: str, order: Order) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary_decode(), name, order)
    if pa.types.is_string(kind):
        return column
    if pa.types.is_nested(kind):
        return pa.array((text_of(_plain(v)) for v in column.to_pylist()), pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            return column.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            raise order.refuse(f"column '{name}' holds bytes that are no UTF-8 text", "take it out of contract.columns") from None
    if pa.types.is_timestamp(kind) and kind.tz is not None:  # Parquet keeps an instant, in UTC
        return pc.binary_join_element_wise(column.cast(pa.timestamp(kind.unit)).cast(pa.string()), "Z", "")
    return column.cast(pa.string())


def _plain(value: object) -> object:
    """A nested value in the terms of JSON."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return repr(value) if value != value or value in (float("inf"), float("-inf")) else value_text(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def value_text(value: float) -> object:
    """A float as the JSON number that reads back as the same float."""
    from decimal import Decimal

    return Decimal(repr(value))
