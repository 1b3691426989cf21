"""GTFS Schedule: an agency's timetable as one ZIP of CSV files, of which a feed is one table (protocols.md 3.17).

Here is how the archive is asked for and what it means; where a table lies in it is `gtfs_archive.py`, reading CSV
`tables/readers/`. Feeds of several tables over one address fetch the archive once each.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import Field

from assets.errors import UnreadableSource
from assets.protocols.answers.gtfs_archive import absent, ends, file_of, inspect, unpack
from assets.protocols.answers.http_answers import by_transfer, conditional_get
from assets.protocols.kernel import (
    Body,
    Cursor,
    Examined,
    Malformed,
    Ok,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.protocols.queries import fill_address, partition_places
from assets.tables.readers.magic import mismatch
from assets.tables.readers.spec import FileShape, Unpacking

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.readers.batches import Order
    from assets.tables.rows import RowStream

_ADDRESS = re.compile(r"gtfs|google[_-]?transit", re.I)
_REALTIME = re.compile(r"gtfs[-_]?rt\b|realtime|\.pb\b|trip-?updates|vehicle-?positions|alerts", re.I)
_KEY = re.compile(r"^(api_?key|app_?key|key|token|access_token|subscription-key)$", re.I)


class GtfsSource(SourceBase):
    """`source:` of one table of a GTFS feed."""

    protocol: Literal["gtfs"]
    url: str = Field(
        pattern=r"^https?://[^\s/?#]+[^\s]*$", description="Address of the archive; {partition} is the partition's key."
    )
    table: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,62}$", description="The table, as its file is named without .txt: stops, routes, stop_times."
    )
    within: str | None = Field(
        None,
        description=(
            "Glob of the folder, or of the archive in the archive, that holds the feed; all that match are read together. "
            "Default: the only feed that there is."
        ),
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="Extra request headers (Accept, Referer); keys belong to auth."
    )
    trust_validators: bool = Field(
        True, description="Ask by ETag and Last-Modified; false where the server says 'not modified' of what it has changed."
    )
    unpacking: Unpacking = Unpacking()

    @property
    def address(self) -> str:
        return self.url

    @property
    def shape(self) -> FileShape:
        if self.table == "locations":
            return FileShape(format="geojson", records_path="features")
        return FileShape(format="csv")


class Gtfs(Protocol[GtfsSource]):
    """One response is the whole archive."""

    name: ClassVar[str] = "gtfs"
    Source: ClassVar[type[SourceBase]] = GtfsSource

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        if not _ADDRESS.search(parts.path) or _REALTIME.search(parts.path):
            return None
        if not re.search(r"\.zip$|gtfs/?$|schedule/?$", parts.path, re.I):
            return None
        query = parse_qsl(parts.query, keep_blank_values=True)
        kept = urlencode([(name, value) for name, value in query if not _KEY.match(name)])
        found: dict[str, Any] = {
            "protocol": self.name,
            "url": parts._replace(query=kept, fragment="").geturl(),
            "table": "stops",
        }
        if parts.fragment:  # the way in which catalogues of feeds name an archive in the archive
            found["within"] = parts.fragment
        if key := next((name for name, _ in query if _KEY.match(name)), None):
            found["auth"] = {"kind": "query_key", "name": key, "secret": "GTFS_KEY"}
        return found

    def plan(self, feed: Feed, source: GtfsSource, when: When) -> Iterable[Step]:
        return [Step(params=partition_places(feed, when))]

    def request(self, feed: Feed, source: GtfsSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        known = validators if source.trust_validators else Validators()
        return conditional_get(fill_address(source.url, step.params), source.headers, source.auth, step, cursor, known)

    def classify(self, source: GtfsSource, request: Request, response: Response) -> Outcome:
        by = by_transfer(response, "archive")
        if by is not None:
            return by
        wrong = mismatch(response.head, "csv", "zip")
        if wrong:
            return Malformed(wrong)
        return Ok() if ends(response.tail) else Malformed("a ZIP that does not end: it is cut off")

    def examine(self, source: GtfsSource, body: Body) -> Examined:
        """A damaged archive is told before it could take the place of the last good one.

        Its digest is that of the table's own file: the order and dates of members, and other tables, are no news of this one.
        """
        try:
            with _scratch(body.path) as folder:
                found = inspect(body.path, source.table, source.within, Path(folder), source.unpacking)
        except UnreadableSource as error:
            return Examined(Malformed(error.what))
        if any(file_of(source.table) in files for files in found.filled):
            return Examined(Ok(), found.version, found.table_sha256)
        verdicts = [absent(source.table, files) for files in found.filled]
        return Examined(next((v for v in verdicts if isinstance(v, Malformed)), verdicts[0]), found.version)

    def parse(self, feed: Feed, source: GtfsSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import concatenated, order_of  # loads Arrow: not at definition load

        order = order_of(feed)
        if not bodies:
            raise order.refuse("no archive was fetched", "run the feed again")
        return concatenated([_opener(source, body.path, order) for body in bodies], order)


def _scratch(archive: Path) -> tempfile.TemporaryDirectory[str]:
    """Where members are unpacked: beside the archive, on a disk with room, where that may be written."""
    return tempfile.TemporaryDirectory(prefix="unpacked-", dir=archive.parent if os.access(archive.parent, os.W_OK) else None)


def _opener(source: GtfsSource, archive: Path, order: Order) -> Callable[[], RowStream]:
    """The table's rows in one archive, when they are wanted; the files are unpacked for as long as they are read."""
    from assets.tables.readers.open import concatenated, open_rows

    def reader(name: str, file: Path) -> Callable[[], RowStream]:
        return lambda: open_rows(file, source.shape, order.of_member(name), container="none")

    def opened() -> RowStream:
        folder = _scratch(archive)
        try:
            files = unpack(archive, source.table, source.within, Path(folder.name), source.unpacking)
            if not files:
                raise order.refuse(f"the archive has no table '{source.table}'", "correct source.table")
            return concatenated([reader(name, file) for name, file in files], order, folder.cleanup)
        except BaseException:
            folder.cleanup()
            raise

    return opened


PROTOCOL = Gtfs()
