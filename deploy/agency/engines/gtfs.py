"""A timetable as one ZIP of CSV files, with validators. A sample is JSON: file → its lines; a real archive is sent as it is."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from deploy.agency.archives import with_bad_crc, without_name_flag, zipped
from deploy.agency.engine import Asked, Engine, Fault
from deploy.agency.replies import Reply, etag_of, http_date
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

Members = dict[str, bytes]
BOMB = b"0" * (64 * 1024 * 1024)
NIGHT = b"25:10:00"


class GtfsOptions(Strict):
    """Options of an archive."""

    beside: tuple[str, ...] = Field((), description="Feeds over the same address, whose samples are parts of the same archive.")


def members_of(source: Source, beside: Sequence[str] = ()) -> Members:
    """The files of the feed, in the order in which they stand."""
    data = source.path.read_bytes()
    if source.path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    tables = json.loads(data)
    for feed in beside:
        tables |= json.loads((source.path.parents[1] / feed / source.path.name).read_bytes())
    return {name: "".join(f"{line}\r\n" for line in lines).encode() for name, lines in tables.items()}


def _each(edit: Callable[[list[bytes], Fault], list[bytes]]) -> Callable[[Members, Fault], Members]:
    """An edit of the lines of every table."""
    return lambda members, fault: {
        name: b"\r\n".join(edit(body.splitlines(), fault)) + b"\r\n" for name, body in members.items() if name.endswith(".txt")
    }


def _ragged(lines: list[bytes], fault: Fault) -> list[bytes]:
    """The last record loses its last field."""
    return [*lines[:-1], lines[-1].rpartition(b",")[0]] if len(lines) > 2 else lines


def _more(lines: list[bytes], fault: Fault) -> list[bytes]:
    """A record more with each request, under a new identifier."""
    return [*lines, *(b"N%d%s" % (n, lines[-1]) for n in range(fault.count))] if len(lines) > 1 else lines


def _night(members: Members, fault: Fault) -> Members:
    """The last bus: ten past one, on the timetable of the day before."""
    lines = members["stop_times.txt"].rstrip().split(b"\r\n")
    names, last = lines[0].split(b","), lines[-1].split(b",")
    for name in (b"arrival_time", b"departure_time"):
        last[names.index(name)] = NIGHT
    return members | {"stop_times.txt": b"\r\n".join([*lines[:-1], b",".join(last), b""])}


def _nested(members: Members, fault: Fault) -> Members:
    """So many archives in the archive; each of its own modes of transport, as whole feeds."""
    return {f"{n}/google_transit.zip": zipped(members) for n in range(1, fault.number(1) + 1)}


EDITS: dict[str, Callable[[Members, Fault], Members]] = {
    "25:10:00": _night,
    "utf8_bom": lambda members, fault: {name: b"\xef\xbb\xbf" + body for name, body in members.items()},
    "ragged_rows": _each(_ragged),
    "same_etag_new_bytes": _each(_more),
    "blank_lines": _each(lambda lines, fault: [part for line in lines for part in (line, b"", b"")]),
    "unknown_column": _each(lambda lines, fault: [line + (b",x" if n else b",vendor_extra") for n, line in enumerate(lines)]),
    "empty_file": _each(lambda lines, fault: lines[:1]),
    "no_calendar": lambda members, fault: {name: body for name, body in members.items() if name != "calendar.txt"},
    "required_missing": lambda members, fault: {name: body for name, body in members.items() if name != "trips.txt"},
    "sub_directory": lambda members, fault: {f"google_transit/{name}": body for name, body in members.items()},
    "zip_in_zip": _nested,
    "zip_slip": lambda members, fault: members | {"../../outside.txt": b"a\n1\n"},
    "zip_bomb": lambda members, fault: members | {"shapes.txt": BOMB},
}
"""Faults of what the archive holds, in the order in which they are committed."""


class Gtfs(Engine):
    """One agency's archive a route."""

    name: ClassVar[str] = "gtfs"
    Options: ClassVar[type[Strict]] = GtfsOptions
    FAULTS: ClassVar[frozenset[str]] = frozenset({*EDITS, "bad_crc_zip", "zip_name_no_flag", "repacked", "truncated_zip"})

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        members = members_of(source, cast(GtfsOptions, route.settings).beside)
        whole = source.path.read_bytes() if source.path.suffix == ".zip" else zipped(members)
        body = whole
        edited = [(edit, asked.faults[name]) for name, edit in EDITS.items() if name in asked.faults]
        for edit, fault in edited:
            members = edit(members, fault)
        if edited:
            body = zipped(members)
        if asked.fault("repacked"):
            body = zipped(dict(reversed(members.items())), when=(2026, 2, 1 + asked.faults["repacked"].count % 28, 3, 0, 0))
        if fault_ := asked.fault("zip_name_no_flag"):
            encoding = "cp949" if fault_.argument == "949" else "utf-8"
            body = without_name_flag({f"버스시간표/{name}": data for name, data in members.items()}, encoding)
        if asked.fault("bad_crc_zip"):
            body = with_bad_crc(body)
        if asked.fault("truncated_zip"):
            body = body[: len(body) // 2]
        headers = {
            "content-type": "application/zip",
            "last-modified": http_date(source.modified),
            "etag": etag_of(whole if asked.fault("same_etag_new_bytes") else body),
            "accept-ranges": "bytes",
        }
        return Reply(200, headers, body)


ENGINE = Gtfs()
