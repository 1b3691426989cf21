"""Staging: the rows of one fetch, typed by the contract, every broken rule beside the row that broke it.

One DuckDB COPY from the reader's Arrow batches to one Parquet file; memory does not grow with the file. Here is how a
contract becomes SQL. What is then accepted or set aside is `judging.py`; how text is found in files, `readers/`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from assets.errors import DeclarationError, IntegrityError
from assets.garbage import collected_rarely
from assets.tables import sql
from assets.tables.dates import FORMAT_24H, DatePattern, date_pattern
from assets.tables.rows import PROBLEM, PROBLEM_TEXT, ROW, RowStream, batch_schema
from assets.tables.sql import ident, listed, literal
from quality.contract import Column

if TYPE_CHECKING:
    from assets.feeds.model import Feed

RULES = ("type", "not_null", "min", "max", "codes", "pattern", "max_length", "record")
"""The rules that staging knows, as `_failures[].rule` names them."""

WHITE_SPACE = " \t\r\n\f\v\u00a0\u3000\ufeff\u200b"
"""What `decode.trim` drops around a value: white space as Korean and Western files have it, and stray marks of no width."""

_BATCH_ROWS = 8_192
_INTEGER = r"[+-]?[0-9]+(\.0*)?"
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?"
_DURATION = r"[0-9]{1,4}:[0-5][0-9]:[0-5][0-9]"
_EPOCH = r"[+-]?[0-9]{1,15}(\.[0-9]{1,6}0*)?"
_EPOCH_LOW, _EPOCH_HIGH = -62_135_596_800, 253_402_300_799  # years 1 to 9999, seconds


@dataclass(frozen=True)
class Staged:
    """The staged rows of one fetch.

    `path`: Parquet of the contract's columns, statuses, `_source_row`, `_failures`, `_raw`. `unknown_columns`: what the source
    carried beyond the contract. `missing_columns`: sources that the contract names and the fetch, though it had rows, did not
    carry. `encoding`: of the text, as the reader found it.
    """

    path: Path
    rows_read: int
    unknown_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    encoding: str | None = None


def stage(
    feed: Feed, stream: RowStream, out: Path, *, threads: int = sql.DEFAULT_THREADS, memory_limit: str = sql.DEFAULT_MEMORY
) -> Staged:
    """Type the stream's rows by the feed's contract into `out`. Raises what the reader raises; nothing is left out silently."""
    out.parent.mkdir(parents=True, exist_ok=True)
    source = _Batches(stream, feed.decode.trim)
    source.look()
    width = len(sql.table_columns(feed))
    with sql.connect(out.parent, threads=threads, memory_limit=memory_limit, columns=width) as connection:
        # As a bare stream: around a reader DuckDB puts pyarrow's scanner, which reads up to 1 GB ahead of it.
        reader = pa.RecordBatchReader.from_batches(source.schema, source.renamed())
        connection.register("incoming", reader.__arrow_c_stream__())
        query = sql.copy(staging_query(feed, stream.wanted), out, width, row_bytes=source.row_bytes)
        try:
            with collected_rarely():
                copied = connection.execute(query).fetchone()
        except duckdb.Error:
            # An exception of the reader reaches DuckDB as text only: raise the one that happened.
            if source.error is not None:
                raise source.error from None
            raise
    rows = int(copied[0]) if copied else 0
    if not rows == source.rows == stream.records_read:
        raise IntegrityError(
            f"{source.rows} rows arrived, {stream.records_read} were counted by the reader, {rows} were staged", where=feed.id
        )
    seen, promised = stream.seen_columns, feed.contract.source_names
    return Staged(
        path=out,
        rows_read=rows,
        unknown_columns=tuple(name for name in dict.fromkeys(seen) if name not in promised),
        missing_columns=tuple(name for name in promised if name not in seen) if rows else (),
        encoding=stream.encoding,
    )


class _Batches:
    """The stream's batches under names that are safe in SQL whatever the source calls its columns; remembers the error.

    c0, c1, …: the text as received; with `trim` t0, t1, … beside them, the text without white space around it.
    """

    def __init__(self, stream: RowStream, trim: bool) -> None:
        self.stream, self.trim, self.rows, self.row_bytes = stream, trim, 0, 0.0
        self._first: list[pa.RecordBatch] = []
        self.error: Exception | None = None
        fields = [pa.field(f"{mark}{i}", pa.string()) for mark in ("ct" if trim else "c") for i in range(len(stream.wanted))]
        self.schema = pa.schema([*fields, *batch_schema(())])

    def look(self) -> None:
        """Read the first batch, so that `row_bytes` says how long its rows are. Raises what the reader raises."""
        self._first = list(islice(self.stream.batches, 1))
        for batch in self._first:
            self.row_bytes = sum(column.nbytes for column in batch.columns[: len(self.stream.wanted)]) / max(batch.num_rows, 1)

    def renamed(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in chain(self._first, self.stream.batches):
                self.rows += batch.num_rows
                # DuckDB's threads take a batch each: small ones let them share a short file.
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    yield self._renamed(batch.slice(start, _BATCH_ROWS))
        except Exception as error:
            self.error = error
            raise

    def _renamed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        received = batch.columns[: len(self.stream.wanted)]
        # Arrow trims at a twentieth of what DuckDB's trim() costs.
        trimmed = [pc.utf8_trim(column, characters=WHITE_SPACE) for column in received] if self.trim else []
        columns = [*received, *trimmed, *batch.columns[len(received) :]]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


# --- the contract as SQL ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """One rule of one column: `broken` and `reason` are SQL over the settled columns; the reason never holds the value."""

    name: str
    column: str
    broken: str
    reason: str

    def failure(self) -> str:
        return f"CASE WHEN {self.broken} THEN {_failure(self.name, self.column, self.reason)} END"


def _failure(rule: str, column: str | None, reason: str) -> str:
    where = "NULL::VARCHAR" if column is None else literal(column)
    return f'struct_pack(rule := {literal(rule)}, "column" := {where}, reason := {reason})'


def staging_query(feed: Feed, wanted: tuple[str, ...]) -> str:
    """The whole of staging as one query over `incoming`, whose columns are `_Batches`' in the order of `wanted`.

    Each layer computes a thing once: t the cleaned text, x the text without null markers, p and o what was parsed (in local
    and in universal time), v the typed value, n the value without sentinels. Only rows that broke something pay for the rest.
    """
    columns = [_ColumnSql(feed, i, c, wanted) for i, c in enumerate(feed.contract.columns)]
    keep = listed([ROW, PROBLEM, PROBLEM_TEXT, *(f"c{i}" for i in range(len(wanted)))])
    cleaned = f"SELECT {keep}, {listed([c.cleaned() for c in columns])} FROM incoming"
    marked = f"SELECT *, {listed([c.marked() for c in columns])} FROM ({cleaned})"
    parsed = f"SELECT *, {listed([part for c in columns for part in c.parsed()])} FROM ({marked})"
    typed = f"SELECT *, {listed([c.typed() for c in columns])} FROM ({parsed})"
    settled = f"SELECT *, {listed([c.settled() for c in columns])} FROM ({typed})"
    rules = [rule for c in columns for rule in c.rules()]
    broken = " OR ".join([f"{PROBLEM} IS NOT NULL", *(f"coalesce({rule.broken}, false)" for rule in rules)])
    judged = f"SELECT *, ({broken}) AS broken FROM ({settled})"
    found = f"list_filter([{listed([rule.failure() for rule in rules])}], f -> f IS NOT NULL)" if rules else "[]"
    received = listed([f"{literal(name)}, c{i}" for i, name in enumerate(wanted)])
    outputs = [
        *(f"n{c.i} AS {ident(c.column.name)}" for c in columns),
        *(f"{c.status()} AS {ident(c.column.name + '_status')}" for c in columns if sql.has_status(feed, c.column)),
        ROW,
        f"CAST(CASE WHEN NOT broken THEN [] WHEN {PROBLEM} IS NOT NULL THEN [{_failure('record', None, PROBLEM)}] "
        f"ELSE {found} END AS {sql.FAILURES_TYPE}) AS _failures",
        f"CASE WHEN NOT broken THEN NULL WHEN {PROBLEM} IS NOT NULL THEN json_object('_record', {PROBLEM_TEXT}) "
        f"ELSE json_object({received}) END::VARCHAR AS _raw",
    ]
    return f"SELECT {listed(outputs)} FROM ({judged})"


class _ColumnSql:
    """The SQL of one column, layer by layer. `i`: its place in the contract; `trimmed`: the incoming column, or NULL."""

    def __init__(self, feed: Feed, i: int, column: Column, wanted: tuple[str, ...]) -> None:
        self.feed, self.i, self.column = feed, i, column
        self.trimmed = "NULL::VARCHAR"
        if column.source_name in wanted:
            self.trimmed = f"{'t' if feed.decode.trim else 'c'}{wanted.index(column.source_name)}"
        self.markers = sql.null_markers(feed, column)
        self.sentinels = sql.sentinels(feed, column)
        self.zone = feed.decode.timezone
        self.epoch = column.format in ("epoch_ms", "epoch_s")
        self.pattern = date_pattern(column) if column.type in ("date", "timestamp") and not self.epoch else None
        self.local = column.type == "timestamp" and not self.epoch and self.zone != "UTC"

    def cleaned(self) -> str:
        return f"{self.trimmed} AS t{self.i}"

    def _is_marker(self) -> str:
        return f"t{self.i} IN ({listed([literal(m) for m in self.markers])})" if self.markers else "false"

    def marked(self) -> str:
        return f"CASE WHEN {self._is_marker()} THEN NULL ELSE t{self.i} END AS x{self.i}"

    def parsed(self) -> list[str]:
        """p: date or timestamp as written; o: instant of a value that carries its own offset."""
        x, pattern = f"x{self.i}", self.pattern
        if pattern is None:
            return []
        local = []
        if pattern.local:
            local.append(f"CASE WHEN regexp_full_match({x}, {literal(pattern.local)}) THEN {pattern.parse(x)} END")
        if pattern.midnight and self.feed.decode.allow_24h:
            zeroed = f"regexp_replace({x}, {literal(pattern.midnight)}, {literal(FORMAT_24H)})"
            met = f"regexp_full_match({x}, {literal(pattern.midnight)})"
            local.append(f"CASE WHEN {met} THEN {pattern.parse(zeroed)} + INTERVAL 1 DAY END")
        parts = [f"coalesce({listed([*local, 'NULL::TIMESTAMP'])}) AS p{self.i}"]
        if pattern.offset:
            parts.append(f"CASE WHEN regexp_full_match({x}, {literal(pattern.offset)}) THEN {pattern.instant(x)} END AS o{self.i}")
        return parts

    def typed(self) -> str:
        return f"{self._typed()} AS v{self.i}"

    def _typed(self) -> str:
        x, kind = f"x{self.i}", self.column.type
        if kind in ("string", "period"):
            return x
        if kind == "boolean":
            true, false = (listed([literal(v) for v in vs]) for vs in (self.column.true_values, self.column.false_values))
            cases = [f"WHEN {x} IN ({vs}) THEN {word}" for vs, word in ((true, "true"), (false, "false")) if vs]
            return _case(cases, "NULL::BOOLEAN")
        if kind == "duration":
            return self._duration(x)
        if self.epoch:
            return self._epoch(x)
        if self.pattern is not None:
            return self._moment(self.pattern)
        return self._number(x)

    def _number(self, x: str) -> str:
        column = self.column
        shape = {"integer": _INTEGER, "number": _NUMBER, "decimal": rf"[+-]?[0-9]+(\.[0-9]{{0,{column.scale or 0}}}0*)?"}[
            column.type
        ]
        digits = x
        if column.thousands:
            mark = re.escape(column.thousands)
            grouped = shape.replace("[0-9]+", rf"([0-9]+|[0-9]{{1,3}}({mark}[0-9]{{3}})+)", 1)
            # Where the grouping mark is the point, nothing can say where the fraction starts: whole numbers only.
            shape = rf"[+-]?([0-9]+|[0-9]{{1,3}}({mark}[0-9]{{3}})+)" if column.thousands == "." else grouped
            digits = f"replace({x}, {literal(column.thousands)}, '')"
        cast = f"CASE WHEN regexp_full_match({x}, {literal(shape)}) THEN TRY_CAST({digits} AS {column.duckdb_type}) END"
        # Adding zero turns -0.0 into 0.0, so that the same number has one spelling; infinity is no value.
        return f"CASE WHEN isfinite({cast}) THEN ({cast}) + 0.0::DOUBLE END" if column.type == "number" else cast

    def _duration(self, x: str) -> str:
        """Seconds of H:MM:SS; 25:10:00 are 90,600, never ten past one."""
        hours, minutes, seconds = (f"CAST(split_part({x}, ':', {n}) AS BIGINT)" for n in (1, 2, 3))
        return f"CASE WHEN regexp_full_match({x}, {literal(_DURATION)}) THEN {hours} * 3600 + {minutes} * 60 + {seconds} END"

    def _epoch(self, x: str) -> str:
        per_second = 1000 if self.column.format == "epoch_ms" else 1
        number = f"TRY_CAST({x} AS DECIMAL(38, 6))"
        micros = f"CAST({number} * {1_000_000 // per_second} AS BIGINT)"
        low, high = _EPOCH_LOW * per_second, _EPOCH_HIGH * per_second
        guard = f"regexp_full_match({x}, {literal(_EPOCH)}) AND {number} BETWEEN {low} AND {high}"
        instant = f"make_timestamp({micros})"
        if self.column.type == "date":
            instant = f"CAST(timezone({literal(self.zone)}, timezone('UTC', {instant})) AS DATE)"
        return f"CASE WHEN {guard} THEN {instant} END"

    def _moment(self, pattern: DatePattern) -> str:
        p, o = f"p{self.i}", f"o{self.i}"
        if self.column.type == "date":
            moment = f"coalesce({p}, {o})" if pattern.offset else p
            return f"CAST({moment} AS DATE)"
        if self.local and pattern.local:
            zoned = f"timezone({literal(self.zone)}, {p})"
            # A local time that a clock change skips comes back different; one that happens twice is read as the later.
            universal = f"CASE WHEN timezone({literal(self.zone)}, {zoned}) = {p} THEN make_timestamp(epoch_us({zoned})) END"
        else:
            universal = p
        return f"coalesce({o}, {universal})" if pattern.offset else universal

    def _is_sentinel(self) -> str:
        return f"{self._as_double()} IN ({listed([_double(s) for s in self.sentinels])})" if self.sentinels else "false"

    def _as_double(self) -> str:
        return f"v{self.i}" if self.column.type == "number" else f"CAST(v{self.i} AS DOUBLE)"

    def settled(self) -> str:
        v = f"v{self.i}"
        value = f"CASE WHEN {self._is_sentinel()} THEN NULL ELSE {v} END" if self.sentinels else v
        return f"{value} AS n{self.i}"

    def status(self) -> str:
        """The marker as received; of a sentinel, the declared number, so that -999.0 and -999 are one reason."""
        cases = [f"WHEN {self._is_marker()} THEN t{self.i}"] if self.markers else []
        cases += [f"WHEN {self._as_double()} = {_double(s)} THEN {literal(f'{s:g}')}" for s in self.sentinels]
        return _case(cases, "NULL::VARCHAR")

    def rules(self) -> Iterator[_Rule]:
        """Only the rules that can be broken: a plain nullable text has none."""
        c, n = self.column, f"n{self.i}"
        mistyped = f"(x{self.i} IS NOT NULL AND v{self.i} IS NULL)"
        typed = c.type not in ("string", "period")
        if typed:
            yield _Rule("type", c.name, mistyped, self._type_reason())
        if not c.nullable:
            empty = f"({n} IS NULL AND NOT {mistyped})" if typed else f"{n} IS NULL"
            yield _Rule("not_null", c.name, empty, literal("a value is required here"))
        for rule, sign, words, bound in (("min", "<", "below the minimum", c.min), ("max", ">", "above the maximum", c.max)):
            if bound is not None:
                left, right = self._compared(rule, bound)
                yield _Rule(rule, c.name, f"{left} {sign} {right}", literal(f"{words} {_shown(bound)}"))
        if c.codes is not None:
            codes = listed([literal(code) for code in c.codes])
            wrong = f"{n} NOT IN ({codes})" if codes else f"{n} IS NOT NULL"
            yield _Rule("codes", c.name, wrong, literal(f"not one of the {len(c.codes)} allowed codes"))
        if c.pattern is not None:
            wrong = f"NOT regexp_full_match({n}, {literal(c.pattern)})"
            yield _Rule("pattern", c.name, wrong, literal(f"does not match the pattern {c.pattern}"))
        if c.max_length is not None:
            yield _Rule("max_length", c.name, f"length({n}) > {c.max_length}", literal(f"longer than {c.max_length} characters"))

    def _compared(self, rule: str, bound: float | str) -> tuple[str, str]:
        n, kind = f"n{self.i}", self.column.type
        if isinstance(bound, str):
            return n, _moment_literal(self.feed, self.column, rule, bound)
        if kind in ("integer", "duration"):
            return n, str(math.ceil(bound) if rule == "min" else math.floor(bound))
        return (n if kind == "number" else f"CAST({n} AS DOUBLE)"), _double(bound)

    def _type_reason(self) -> str:
        c = self.column
        if self.epoch:
            return literal(
                f"not a number of {'milliseconds' if c.format == 'epoch_ms' else 'seconds'} since 1970 (years 1 to 9999)"
            )
        words = {
            "integer": "not a whole number of 64 bits",
            "number": "not a finite number",
            "decimal": f"not a decimal with at most {c.scale} digits after the point, 38 in all",
            "boolean": "not one of the declared true and false values",
            "date": f"not a date of the form {c.format or 'YYYY-MM-DD'}",
            "duration": "not a duration of the form H:MM:SS",
            "timestamp": f"not a time of the form {c.format or 'YYYY-MM-DD hh:mm:ss'}",
        }[c.type]
        if not self.local or self.pattern is None or not self.pattern.local:
            return literal(words)
        skipped = f"no such local time in {self.zone}: a clock change skips it"
        return f"CASE WHEN p{self.i} IS NOT NULL THEN {literal(skipped)} ELSE {literal(words)} END"


def _case(whens: list[str], otherwise: str) -> str:
    return f"CASE {' '.join(whens)} ELSE {otherwise} END" if whens else otherwise


def _double(value: float) -> str:
    return f"CAST('{float(value)!r}' AS DOUBLE)"


def _shown(bound: float | str) -> str:
    return bound if isinstance(bound, str) else f"{bound:g}"


def _moment_literal(feed: Feed, column: Column, rule: str, bound: str) -> str:
    """A bound of a date or timestamp column as SQL; a bound without an offset is universal time, as the column is."""
    try:
        if column.type == "date":
            return f"DATE '{date.fromisoformat(bound).isoformat()}'"
        moment = datetime.fromisoformat(bound)
    except ValueError:
        raise DeclarationError(
            f"'{rule}' of column {column.name} is no ISO {column.type}",
            where=feed.id,
            mend="write 2024-01-31 or 2024-01-31T12:00:00",
        ) from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return f"TIMESTAMP '{moment.isoformat(sep=' ')}'"
