"""GeoJSON that may say of itself how many features it has: the summary feeds and the event services of seismologists.

What the two protocols share, and neither's own: whether a body is a whole FeatureCollection, its metadata, and features counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from assets.errors import UnreadableSource
from assets.protocols.kernel import HEAD_BYTES, Body
from assets.tables.readers.magic import mismatch

if TYPE_CHECKING:
    import pyarrow as pa

    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream


def not_features(head: bytes, tail: bytes) -> str | None:
    """Why this body is no whole FeatureCollection; None where it may be one."""
    if wrong := mismatch(head, "geojson"):
        return wrong
    if b'"FeatureCollection"' not in head:
        return "JSON that is no FeatureCollection"
    return None if tail.rstrip().endswith(b"}") else "GeoJSON that does not end"


def told(head: bytes, name: str) -> int | None:
    """A whole number of the metadata, which stand before the features, however long the body is."""
    start = head.find(b'"metadata"')
    if start < 0:
        return None
    end = head.find(b'"features"', start)
    found = re.compile(rb'"%b"\s*:\s*(\d{1,9})\b' % name.encode()).search(
        head, start, min(start + 4096, end if end > 0 else len(head))
    )
    return int(found[1]) if found else None


def rows_of_features(feed: Feed, bodies: Sequence[Body], address: str, *, must_count: bool) -> RowStream:
    """The features of all bodies, as many as each says it has. `must_count`: one that does not say is refused."""
    from assets.tables.readers.open import open_feed_rows, order_of  # loads Arrow: not at definition load
    from assets.tables.readers.spec import FileShape

    shape = FileShape(format="geojson", records_path="features")
    stream = open_feed_rows(feed, shape, [(b.path, address) for b in bodies])
    promised: int | None = 0
    for body in bodies:
        with body.payload.open() as file:
            count = told(file.read(HEAD_BYTES), "count")
        if count is None and must_count:
            raise order_of(feed).refuse("the feed's metadata has no count", "look at the archived body: its layout has changed")
        promised = None if count is None or promised is None else promised + count
    if promised is not None:
        stream.batches, stream.tally = _counted(stream.batches, stream, promised, feed), None
    return stream


def _counted(batches: Iterator[pa.RecordBatch], stream: RowStream, promised: int, feed: Feed) -> Iterator[pa.RecordBatch]:
    """The batches of `stream`; at their end the number of features must be what the feed says of itself."""
    yield from batches
    if stream.records_read != promised:
        raise UnreadableSource(
            f"the feed says it has {promised:,} features and carries {stream.records_read:,}",
            where=feed.id,
            mend="run the feed again; if it stays so, the agency's file is incomplete",
        )
