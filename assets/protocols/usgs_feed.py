"""The USGS earthquake summary feeds: one GeoJSON file, replaced about every minute (protocols.md 3.13).

Each feed is a rolling window; events are revised, merged (`ids`) and deleted, so a feed declares `incremental.kind: upsert`
with `aliases`. Reading GeoJSON is `tables/readers/`; the FDSN query service is another protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from assets.errors import UnreadableSource
from assets.protocols.canonical import canonical_json_sha256
from assets.protocols.http_answers import by_transfer, conditional_get
from assets.protocols.kernel import (
    HEAD_BYTES,
    Body,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Protocol,
    Request,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.tables.readers.magic import mismatch

if TYPE_CHECKING:
    import pyarrow as pa

    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

_COUNT = re.compile(rb'"count"\s*:\s*(\d{1,9})\b')


class UsgsFeedSource(SourceBase):
    """`source:` of one USGS summary feed."""

    protocol: Literal["usgs_feed"]
    base_url: str = Field("https://earthquake.usgs.gov/earthquakes/feed/v1.0/summary", pattern=r"^https?://[^\s?#]+$")
    feed: str = Field(
        pattern=r"^(all|1\.0|2\.5|4\.5|significant)_(hour|day|week|month)$",
        description="Smallest magnitude and period: all_week, 2.5_day, significant_month.",
    )
    volatile: tuple[str, ...] = Field(("metadata.generated",), description="JSON paths that change without a change of the data.")

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/{self.feed}.geojson"


class UsgsFeed(Protocol[UsgsFeedSource]):
    """One response is the whole feed."""

    name: ClassVar[str] = "usgs_feed"
    Source: ClassVar[type[SourceBase]] = UsgsFeedSource

    def recognise(self, url: str) -> dict[str, Any] | None:
        match = re.fullmatch(r"https?://earthquake\.usgs\.gov/earthquakes/feed/v1\.0/summary/([a-z0-9._]+)\.geojson", url)
        return {"protocol": self.name, "feed": match[1]} if match else None

    def plan(self, feed: Feed, source: UsgsFeedSource, when: When) -> Iterable[Step]:
        return [Step()]

    def request(self, feed: Feed, source: UsgsFeedSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        accept = {"Accept": "application/geo+json, application/json"}
        return conditional_get(source.address, accept, source.auth, step, cursor, validators)

    def classify(
        self,
        source: UsgsFeedSource,
        request: Request,
        status: int,
        headers: Mapping[str, str],
        head: bytes,
        tail: bytes,
        length: int,
        complete: bool,
    ) -> Outcome:
        by = by_transfer(status, headers, complete, "feed")
        if by is not None:
            return by
        wrong = mismatch(head, "geojson")
        if wrong:
            return Malformed(wrong)
        if b'"FeatureCollection"' not in head:
            return Malformed("JSON that is no FeatureCollection")
        if not tail.rstrip().endswith(b"}"):
            return Malformed("GeoJSON that does not end")
        total = _count(head)
        if total == 0:
            return Empty("no earthquake in the window")
        return Ok(PageInfo(total=total))

    def canonical_sha256(self, source: UsgsFeedSource, body: Body) -> str | None:
        return canonical_json_sha256(body.payload, source.volatile)

    def parse(self, feed: Feed, source: UsgsFeedSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import open_feed_rows, order_of  # loads Arrow: not at definition load
        from assets.tables.readers.spec import FileShape

        shape = FileShape(format="geojson", records_path="features")
        stream = open_feed_rows(feed, shape, [(b.path, source.address) for b in bodies])
        promised = 0
        for body in bodies:
            with body.payload.open() as file:
                count = _count(file.read(HEAD_BYTES))
            if count is None:
                raise order_of(feed).refuse("the feed's metadata has no count", "look at the archived body: its layout has changed")
            promised += count
        stream.batches, stream.tally = _counted(stream.batches, stream, promised, feed), None
        return stream


def _count(head: bytes) -> int | None:
    """`metadata.count`, which stands before the features, however long the body is."""
    start = head.find(b'"metadata"')
    found = _COUNT.search(head, start, start + 4096) if start >= 0 else None
    return int(found.group(1)) if found else None


def _counted(batches: Iterator[pa.RecordBatch], stream: RowStream, promised: int, feed: Feed) -> Iterator[pa.RecordBatch]:
    """The batches of `stream`; at their end the number of features must be what the feed says of itself."""
    yield from batches
    if stream.records_read != promised:
        raise UnreadableSource(
            f"the feed says it has {promised:,} features and carries {stream.records_read:,}",
            where=feed.id,
            mend="run the feed again; if it stays so, the agency's file is incomplete",
        )


PROTOCOL = UsgsFeed()
