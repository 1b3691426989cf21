"""What an SDMX web service answers, by the status, the first bytes and the messages inside; and the rows of its CSV and TSV.

Shared by sdmx21 and sdmx30 (protocols.md 3.7). How a query is put is each protocol's own. Pure but for reading archived bodies.
"""

from __future__ import annotations

import csv
import html
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from assets.errors import UnreadableSource
from assets.protocols.answers.file_answers import is_json
from assets.protocols.answers.http_answers import by_status
from assets.protocols.answers.json_pages import rows_of_records
from assets.protocols.kernel import (
    HEAD_BYTES,
    AuthFailed,
    BadRequest,
    Body,
    Empty,
    Gone,
    Malformed,
    NotModified,
    Ok,
    Outcome,
    Pending,
    Response,
    Transient,
)
from assets.protocols.queries import QuerySource
from assets.tables.readers.magic import NAMES, kind_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.payload import Payload
    from assets.tables.readers.batches import Order
    from assets.tables.readers.decoding import Utf8File
    from assets.tables.rows import RowStream

_ERROR = re.compile(rb"<(?:[\w.-]{1,40}:)?ErrorMessage\b[^>]{0,2000}?\bcode\s*=\s*[\"']([^\"']{0,40})[\"']")
_FOOTER = re.compile(rb"<(?:[\w.-]{1,40}:)?Message\b[^>]{0,2000}?\bcode\s*=\s*[\"']413[\"'][^>]{0,2000}>(.{0,4000})", re.S)
_ADDRESS = re.compile(r"https?://[^\s<>\"']{1,2000}")
_TAG = re.compile(r"<[^>]{0,2000}>")
_PIECE = 1 << 20
_TOO_BIG = b"EXTRACTION_TOO_BIG"
_STRUCTURE = re.compile(rb"<(?:[\w.-]{1,40}:)?DataStructure\b")


class SdmxSource(QuerySource):
    """What both versions may say of a service. What providers differ in is declared here, never looked up by their name."""

    base_url: str = Field(pattern=r"^https?://[^\s?#]+$", description="Address of the service, before /data.")
    format: Literal["csv", "tsv"] = Field("csv", description="SDMX-CSV, or Eurostat's TSV with its flags beside the values.")
    first_column: tuple[str, ...] = Field(
        (), description="Header that a service's own CSV begins with (ECB csvdata: KEY). SDMX-CSV 1.0 and 2.0 are known."
    )
    required: tuple[str, ...] = Field(("TIME_PERIOD", "OBS_VALUE"), description="Columns that a CSV answer must have.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="Delimiter of the CSV.")
    structure: str | None = Field(
        None,
        pattern=r"^[^/\s#][^\s#]*$",
        description="Path of the data structure, after base_url. It is asked for first, and archived with the snapshot.",
    )
    poll_after_s: float = Field(300, ge=1, le=600, description="Seconds between two looks at an export that is being made.")

    @property
    def base(self) -> str:
        return self.base_url.rstrip("/")


def meaning(source: SdmxSource, url: str, response: Response) -> Outcome:
    """What a response means. Total, on any bytes."""
    kind = kind_of(response.head)
    structure = source.structure is not None and url.startswith(f"{source.base}/{source.structure}")
    asked = "structure" if structure else "data" if url.startswith(f"{source.base}/data/") else "poll"
    by = by_status(response.status, response.headers)
    if isinstance(by, NotModified):
        return by
    if kind == "gzip" and by is None:
        response = _unpacked(response)
        kind = kind_of(response.head)
    if kind == "xml" and (said := _said(source, by, response.head)) is not None:
        return Gone("the data structure is not there") if asked == "structure" and isinstance(said, Empty) else said
    if response.status == 404 and asked == "poll":
        return Pending(url, source.poll_after_s)  # the export is not there yet
    if response.status == 404 and asked == "data" and kind != "html":
        return Empty("HTTP 404: no data")
    if response.status == 413:
        return BadRequest("HTTP 413: the query asks for too much", too_large=True)
    if response.status in (406, 414, 501):
        why = {406: "it does not give this format", 414: "the query is too long", 501: "it cannot do what is asked"}[
            response.status
        ]
        return BadRequest(f"HTTP {response.status}: {why}")
    if by is not None:
        return by
    if not response.complete:
        return Transient("the connection ended before the end of the answer")
    if asked == "structure":
        return (
            Ok()
            if kind == "xml" and _STRUCTURE.search(response.head + response.tail)
            else Malformed("no data structure in the answer")
        )
    if asked == "poll" and kind == "zip":
        return Ok()
    return _table(source, kind, response)


def _unpacked(response: Response) -> Response:
    """What is seen of an answer that comes packed (compressed=true), itself where that is nothing. `damage` proves its end."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        head = unpacking.decompress(response.head, HEAD_BYTES)
    except zlib.error:
        return response
    whole = unpacking.eof and not unpacking.unused_data
    length = len(head) if whole else max(response.length, HEAD_BYTES + 1)
    return replace(response, head=head, tail=head if whole else b"\n", length=length)


def damage(body: Body) -> Outcome | None:
    """Why a packed body cannot be unpacked to its end; None where it can, or is not packed. Never raises."""
    from assets.tables.readers.container import Truncated, gzip_pieces
    from assets.tables.readers.spec import Unpacking

    if _packing(body) != "gz":
        return None
    try:
        for _ in gzip_pieces(body.path, Unpacking()):
            pass
    except Truncated:
        return Transient("the packed answer ends early")
    except UnreadableSource as error:
        return Malformed(error.what)
    return None


def _said(source: SdmxSource, by: Outcome | None, head: bytes) -> Outcome | None:
    """What an SDMX message says in place of data; None where it says nothing."""
    if _TOO_BIG in head:
        return BadRequest("EXTRACTION_TOO_BIG: the query asks for more cells than the service gives", too_large=True)
    if footer := _FOOTER.search(head):
        place = _ADDRESS.search(html.unescape(footer[1].decode("utf-8", "replace")))
        if place is not None:
            return Pending(place[0].rstrip(".,;)"), source.poll_after_s)
        return BadRequest("413 in the footer, without a place to ask at", too_large=True)
    found = _ERROR.search(head)
    return by_code(found[1].decode("utf-8", "replace"), _text_after(head[found.start() :]), by) if found else None


def _text_after(data: bytes) -> str:
    text = _TAG.sub(" ", data[:4000].decode("utf-8", "replace"))
    return " ".join(html.unescape(text).split())[:200]


def by_code(code: str, text: str, by: Outcome | None) -> Outcome:
    """The outcome of an SDMX error code; one that is not known means what the status means."""
    reason = f"{code}: {text}".rstrip(": ")
    if code in ("100", "404"):
        return Empty(reason)
    if code in ("110", "401", "403"):
        return AuthFailed(reason)
    if code in ("130", "510", "413"):
        return BadRequest(reason, too_large=True)
    if code in ("140", "150", "400", "406", "414", "501"):
        return BadRequest(reason)
    if code in ("500", "503"):
        return Transient(reason)
    return by if by is not None else Malformed(f"an SDMX error of unknown code {reason}")


def _table(source: SdmxSource, kind: str, response: Response) -> Outcome:
    if response.length == 0:
        return Malformed("an empty body: not even a header")
    if kind != "text" or is_json(response.head, response.length):
        return Malformed(f"{NAMES.get(kind, kind)} in place of {source.format}")
    line, end, rest = response.head.decode("utf-8", "replace").removeprefix("\ufeff").partition("\n")
    if not end and response.length > len(response.head):
        return Malformed("no header: the first line does not end")
    if wrong := _wrong_header(source, line.rstrip("\r")):
        return Malformed(wrong)
    if not response.tail.endswith(b"\n") and "content-length" not in response.headers:
        return Transient("the table is cut off: it does not end with a line's end, and nothing says how long it is")
    if not rest.strip() and response.length <= len(response.head):
        return Empty("a header without rows")
    return Ok()


def _wrong_header(source: SdmxSource, line: str) -> str | None:
    """Why this is not the header of SDMX data, as a sentence; None where it is."""
    if source.format == "tsv":
        first = line.split("\t")[0]
        return None if "\\" in first and "\t" in line else "the TSV does not begin with 'dimensions\\TIME_PERIOD'"
    try:
        names = next(csv.reader([line], delimiter=source.delimiter), [])
    except csv.Error:
        return "the first line is no CSV header"
    names = [name.strip() for name in names]
    known = names[:1] == ["DATAFLOW"] or ([n.partition("[")[0] for n in names[:2]] == ["STRUCTURE", "STRUCTURE_ID"])
    if not known and (not names or names[0] not in source.first_column):
        return "the first column is none of SDMX-CSV 1.0 (DATAFLOW) or 2.0 (STRUCTURE, STRUCTURE_ID), nor declared"
    missing = [name for name in source.required if name not in names]
    return f"no column {', '.join(missing)} in the CSV" if missing else None


def flow_of(head: bytes) -> str | None:
    """Flow and version that the first row of an SDMX-CSV names, like ECB:EXR(1.0); None where there is none. Never raises."""
    lines = head[:20_000].decode("utf-8", "replace").removeprefix("\ufeff").splitlines()[:2]
    try:
        names, values = (next(csv.reader([line]), []) for line in lines)
    except (ValueError, csv.Error):
        return None
    row = dict(zip(names, values, strict=False))
    return (row.get("DATAFLOW") or row.get("STRUCTURE_ID") or None) if names else None


def rows_of(feed: Feed, source: SdmxSource, bodies: Sequence[Body]) -> RowStream:
    """The rows of all bodies. Raises UnreadableSource."""
    from assets.tables.readers.open import open_feed_rows  # loads Arrow: not at definition load
    from assets.tables.readers.spec import CsvShape, FileShape

    if source.format == "tsv":
        return rows_of_records(feed, _melted(feed, bodies))
    shape = FileShape(format="csv", csv=CsvShape(delimiter=source.delimiter))
    return open_feed_rows(feed, shape, [(body.path, f"data.{_packing(body)}") for body in bodies])


def _packing(body: Body) -> str:
    """The ending that the body's first bytes deserve: with compressed=true it comes packed, an export perhaps anyhow."""
    with body.payload.open() as file:
        return {"zip": "zip", "gzip": "gz"}.get(kind_of(file.read(8192)), "csv")


def _melted(feed: Feed, bodies: Sequence[Body]) -> Iterator[dict[str, Any]]:
    """One record for each cell of TSV: dimensions, TIME_PERIOD, OBS_VALUE (`:` stays, for null_values) and OBS_FLAG."""
    from assets.tables.readers.decoding import open_utf8
    from assets.tables.readers.open import order_of

    order = order_of(feed)
    for body in bodies:
        with (
            _plain(body, order) as payload,
            open_utf8(payload, declared=order.encoding, korean=order.korean, where=order.where) as file,
        ):
            lines = _lines(file)
            first, *periods = next(lines, "").split("\t")
            names, slash, time = first.rpartition("\\")
            if not slash:
                raise order.refuse("no TSV header of dimensions\\TIME_PERIOD", "look at the archived body")
            dimensions = names.split(",")
            for number, line in enumerate(lines, 2):
                key, *cells = line.split("\t")
                values = key.split(",")
                if len(values) != len(dimensions) or len(cells) != len(periods):
                    raise order.refuse(f"line {number} has not the fields of the header", "look at the archived body")
                for period, cell in zip(periods, cells, strict=True):
                    value, _, flag = cell.strip().partition(" ")
                    yield {
                        **dict(zip(dimensions, values, strict=True)),
                        time.strip(): period.strip(),
                        "OBS_VALUE": value,
                        "OBS_FLAG": flag.strip(),
                    }


@contextmanager
def _plain(body: Body, order: Order) -> Iterator[Payload | Path]:
    """The body, unpacked for as long as it is read where it comes packed."""
    from assets.tables.readers.container import unpack_gzip
    from assets.tables.readers.spec import Unpacking

    if _packing(body) != "gz":
        yield body.payload
        return
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=body.path.parent) as folder:
        yield unpack_gzip(body.path, Unpacking(), Path(folder) / "member", order.where)


def _lines(file: Utf8File) -> Iterator[str]:
    """The lines of a text, without their ends, read piece by piece."""
    rest = b""
    while piece := file.read(_PIECE):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode("utf-8", "replace").rstrip("\r") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace").rstrip("\r")
