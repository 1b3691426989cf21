"""What lies in a GTFS archive: the feed's folder, archives in the archive, the file of a table, and what its absence means.

No row is read here and no request known; how a ZIP is inflated within limits is `tables/readers/container.py`.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from assets.errors import UnreadableSource
from assets.protocols.kernel import Empty, Malformed, Outcome
from assets.tables.readers.container import inflated, members, opened
from assets.tables.readers.spec import Unpacking

REQUIRED = ("agency", "routes", "trips", "stop_times")
"""Tables without which an archive is no GTFS feed, whatever else it holds (GTFS Schedule reference, dataset files)."""
_CORE = frozenset(f"{table}.txt" for table in (*REQUIRED, "stops", "calendar", "calendar_dates"))
_INFO = "feed_info.txt"
_INFO_BYTES = 64 * 1024
_END = b"PK\x05\x06"


def file_of(table: str) -> str:
    """The table's file: only the locations of demand-responsive services are no CSV."""
    return "locations.geojson" if table == "locations" else f"{table}.txt"


@dataclass
class Budget:
    """What all members together may still unpack to, archives in the archive included."""

    limits: Unpacking
    left: int = field(init=False)
    whole: set[tuple[Path, int]] = field(default_factory=set)
    """Members that were inflated to their ends, by archive and offset."""

    def __post_init__(self) -> None:
        self.left = self.limits.max_member_bytes

    def pieces(self, archive: Path, info: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
        with opened(archive) as packed:
            for piece in inflated(packed, info, name, self.limits):
                self.left -= len(piece)
                if self.left < 0:
                    raise UnreadableSource(
                        f"the archive unpacks to more than {self.limits.max_member_bytes:,} bytes",
                        mend="raise source.unpacking.max_member_bytes if that is right",
                    )
                yield piece
        self.whole.add((archive, info.header_offset))


@dataclass(frozen=True)
class Folder:
    """The files of one feed by their names. `name`: its folder or archive in the archive, '' where it lies at the top."""

    name: str
    archive: Path
    files: Mapping[str, zipfile.ZipInfo]


def folders(archive: Path, within: str | None, scratch: Path, budget: Budget) -> list[Folder]:
    """The feeds of an archive that `within` (a glob) names, in the order of their names; the only one without it.

    Inner archives are unpacked into `scratch`, one level deep. Raises UnreadableSource where there is none, or more than one.
    """
    found = members(archive, budget.limits)
    here = _plain_folders(archive, found)
    inner = {name: info for name, info in found.items() if name.lower().endswith(".zip") and not name.startswith("__MACOSX/")}
    if within is None:
        if here:
            return [_only(here)]
        opened = [feed for name, info in inner.items() for feed in _inside(archive, name, info, scratch, budget)]
        return [_only(opened)]
    chosen = [feed for feed in here if fnmatch.fnmatchcase(feed.name, within)]
    for name, info in inner.items():
        if fnmatch.fnmatchcase(name, within):
            chosen += _inside(archive, name, info, scratch, budget)
    if not chosen:
        names = ", ".join(f"'{name[:100]}'" for name in sorted([f.name for f in here if f.name] + list(inner))[:20])
        raise UnreadableSource(f"no feed in the archive matches '{within}'; it has {names or 'none'}", mend="correct source.within")
    return sorted(chosen, key=lambda feed: feed.name)


def _plain_folders(archive: Path, found: Mapping[str, zipfile.ZipInfo]) -> list[Folder]:
    """Every folder that holds one of GTFS's own files; those beside a feed at the top are its extras."""
    by_folder: dict[str, dict[str, zipfile.ZipInfo]] = {}
    for name, info in found.items():
        folder, _, last = name.rpartition("/")
        if not name.startswith("__MACOSX/"):
            by_folder.setdefault(folder, {})[last] = info
    return [Folder(name, archive, files) for name, files in by_folder.items() if _CORE & files.keys()]


def _inside(archive: Path, name: str, info: zipfile.ZipInfo, scratch: Path, budget: Budget) -> list[Folder]:
    target = scratch / f"inner-{len(list(scratch.iterdir())):05d}.zip"
    with target.open("wb") as file:
        for piece in budget.pieces(archive, info, name):
            file.write(piece)
    here = _plain_folders(target, members(target, budget.limits, name))
    return [Folder(name, target, _only(here).files)] if here else []


def _only(feeds: Sequence[Folder]) -> Folder:
    if not feeds:
        raise UnreadableSource(
            "a ZIP without any file of GTFS (agency.txt, stops.txt, …)", mend="look at the archived body; correct source.url"
        )
    top = [feed for feed in feeds if feed.name == ""] or list(feeds)
    if len(top) > 1:
        names = ", ".join(f"'{feed.name[:100]}'" for feed in top[:20])
        raise UnreadableSource(f"the archive holds {len(top)} feeds: {names}", mend="name one in source.within, or '*' for all")
    return top[0]


# --- what a table's absence means -----------------------------------------------------------------------------------------


def absent(table: str, files: Set[str]) -> Outcome:
    """What it means that the feed has no rows of `table`. `files`: the names of those that have rows.

    Empty only where GTFS lets a whole feed go without: a feed that lacks what every feed must have empties no table.
    """
    name, lacking = file_of(table), [file_of(t) for t in REQUIRED if file_of(t) not in files]
    if table in REQUIRED:
        return Malformed(f"the feed has no rows in {name}, which GTFS requires")
    if lacking:
        return Malformed(f"no whole GTFS feed: it has no rows in {', '.join(lacking)}")
    for one, other in (("calendar", "calendar_dates.txt"), ("calendar_dates", "calendar.txt"), ("stops", "locations.geojson")):
        if table == one and other not in files:
            return Malformed(f"the feed has no rows in {name} and none in {other}, of which GTFS requires one")
    if table == "feed_info" and "translations.txt" in files:
        return Malformed(f"the feed has no {name}, which GTFS requires beside translations.txt")
    return Empty(f"the feed has no rows in {name}")


def ends(tail: bytes) -> bool:
    """Whether a ZIP has its end mark; one that is cut off has none. `tail`: the last 64 kB."""
    return _END in tail


# --- the whole of an archive ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inspected:
    """`filled`: the names of the files that have rows, of each feed. `version`: the provider's own, else of the content.

    `table_sha256`: hex digest of the table's file, of all feeds; nothing of the archive around it.
    """

    filled: Sequence[Set[str]]
    version: str
    table_sha256: str


def inspect(archive: Path, table: str, within: str | None, scratch: Path, limits: Unpacking) -> Inspected:
    """Inflates every member once, so that a wrong checksum anywhere shows. Raises UnreadableSource.

    All of them, because feeds of several tables over one archive must not come from different editions of it.
    """
    budget = Budget(limits)
    feeds = folders(archive, within, scratch, budget)
    places = {(feed.archive, info.header_offset): feed.name for feed in feeds for info in feed.files.values()}
    filled: dict[str, set[str]] = {feed.name: set() for feed in feeds}
    content: list[str] = []
    versions: list[str] = []
    tables: dict[str, str] = {}
    for path in dict.fromkeys([archive, *(feed.archive for feed in feeds)]):
        for name, info in members(path, limits).items():
            place = (path, info.header_offset)
            if place in budget.whole and place not in places:
                continue  # an archive in the archive, unpacked already
            last, digest, rows, head = name.rpartition("/")[2], hashlib.sha256(), _Rows(), b""
            for piece in budget.pieces(path, info, name):
                digest.update(piece)
                rows.feed(piece)
                head = head or piece[:_INFO_BYTES]
            feed = places.get(place)
            if feed is None:
                continue
            content.append(f"{feed if len(feeds) > 1 else ''}/{last}:{digest.hexdigest()}")
            if rows.found or last.endswith(".geojson"):
                filled[feed].add(last)
            if last == file_of(table):
                tables[feed] = digest.hexdigest()
            if last == _INFO and (version := feed_version(head)):
                versions.append(version)
    version = " ".join(versions) or _sha256(sorted(content))
    # Where there is one feed, its folder is no more of the data than the archive's name.
    of_all = next(iter(tables.values()), "") if len(feeds) == 1 else _sha256(f"{tables[name]} {name}" for name in sorted(tables))
    return Inspected(list(filled.values()), version, of_all)


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def unpack(archive: Path, table: str, within: str | None, scratch: Path, limits: Unpacking) -> list[tuple[str, Path]]:
    """The table's file of all chosen feeds, unpacked into `scratch`: (its place in the archive, file). Raises UnreadableSource."""
    budget, out = Budget(limits), []
    for n, feed in enumerate(folders(archive, within, scratch, budget)):
        if (info := feed.files.get(file_of(table))) is None:
            continue
        target = scratch / f"table-{n:05d}"
        with target.open("wb") as file:
            for piece in budget.pieces(feed.archive, info, info.filename):
                file.write(piece)
        if target.stat().st_size:
            out.append((f"{feed.name}/{file_of(table)}".removeprefix("/"), target))
    return out


class _Rows:
    """Whether a text, seen in pieces, has a line behind its first that is not blank."""

    def __init__(self) -> None:
        self.lines, self.inside, self.found = 0, False, False

    def feed(self, piece: bytes) -> None:
        for line in () if self.found else piece.splitlines(keepends=True):
            if line.strip():
                self.lines += not self.inside
                self.inside = True
            self.inside = self.inside and not line.endswith((b"\n", b"\r"))
            if self.lines > 1:
                self.found = True
                return


def feed_version(info: bytes) -> str | None:
    """`feed_version` of the first row of feed_info.txt, at most 200 characters; None where it says none. Never raises."""
    try:
        rows = csv.reader(info.decode("utf-8-sig", "replace").splitlines())
        header = [name.strip() for name in next(rows)]
        row = next(row for row in rows if any(cell.strip() for cell in row))
        return row[header.index("feed_version")].strip()[:200] or None
    except (StopIteration, ValueError, IndexError, csv.Error):
        return None
