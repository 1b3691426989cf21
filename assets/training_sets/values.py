"""One canonical text of a row's values: record ids, content hashes and loader checksums are all made of it.

Defined once, so that "the same values" means the same thing everywhere. Nothing here reads or writes files.

The text of a value depends on the value only, never on a library's way to print it: integers in decimal, floats as the
decimal of their 64 bits (−0.0 as 0.0; NaN counts as null, because row-wise loaders cannot tell the two apart), booleans
as 0 and 1, dates as days and timestamps as microseconds since 1970 UTC, decimals in plain notation, text as UTF-8 with
its length in bytes before it. A null is empty, every other value is led by `=`. Values are joined by 0x1f.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

SEPARATOR = "\x1f"


def canonical(series: pl.Series) -> pl.Series:
    """The canonical text of each value, as a Series of strings without nulls."""
    dtype = series.dtype
    if dtype.is_float():
        floats = series.cast(pl.Float64).fill_nan(None)
        bits = pl.Series((floats.fill_null(0.0).to_numpy() + 0.0).view("int64")).cast(pl.String)
        text = pl.select(pl.when(floats.is_null()).then(None).otherwise(bits)).to_series()
    elif dtype.is_integer():
        text = series.cast(pl.String)
    elif dtype == pl.Boolean:
        text = series.cast(pl.Int8).cast(pl.String)
    elif dtype == pl.Date:
        text = series.cast(pl.Int32).cast(pl.String)
    elif isinstance(dtype, pl.Datetime):
        text = series.cast(pl.Datetime("us", dtype.time_zone)).cast(pl.Int64).cast(pl.String)
    elif isinstance(dtype, pl.Decimal):
        text = series.cast(pl.String)
    elif dtype in (pl.String, pl.Categorical, pl.Enum):
        plain = series.cast(pl.String)
        text = plain.str.len_bytes().cast(pl.String) + ":" + plain
    elif dtype == pl.Null:
        text = series.cast(pl.String)
    else:
        raise TypeError(f"column {series.name!r} has type {dtype}, which no training set publishes")
    return ("=" + text).fill_null("").rename(series.name)


def row_texts(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """The canonical text of each row over `columns`, in that order."""
    if not columns:
        return pl.Series([""] * frame.height, dtype=pl.String)
    parts = pl.DataFrame([canonical(frame[c]) for c in columns])
    return parts.select(pl.concat_str(pl.all(), separator=SEPARATOR)).to_series()


def hashes(texts: pl.Series) -> pl.Series:
    """SHA-256 of each text, lower-case hex."""
    return pl.Series([hashlib.sha256(t.encode()).hexdigest() for t in texts.to_list()], dtype=pl.String)


def row_hashes(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """SHA-256 of the canonical text of each row over `columns`."""
    return hashes(row_texts(frame, columns))


def checksum(frame: pl.DataFrame, columns: Sequence[str]) -> str:
    """A checksum of the rows' values that does not depend on their order: the sum of the row hashes modulo 2^256, as hex.

    A sum, not XOR, so that a row read twice does not cancel itself.
    """
    total = sum(int(h, 16) for h in row_hashes(frame, columns).to_list())
    return f"{total % 2**256:064x}"
