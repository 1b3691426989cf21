"""The USGS earthquake summary feeds: one GeoJSON file, replaced about every minute (protocols.md 3.13).

Each feed is a rolling window; events are revised, merged (`ids`) and deleted, so a feed declares `incremental.kind: upsert`
with `aliases`. Reading GeoJSON is `tables/readers/`; the FDSN query service is another protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from assets.protocols.kernel import Body, Cursor, Malformed, Outcome, Protocol, Request, SourceBase, Step, Validators

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream


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

    def plan(self, feed: Feed, source: UsgsFeedSource, partition: str | None, now: datetime) -> Iterable[Step]:
        return [Step()]

    def request(self, feed: Feed, source: UsgsFeedSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return Request(source.address)

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
        return Malformed("not yet classified")

    def parse(self, feed: Feed, source: UsgsFeedSource, bodies: Sequence[Body]) -> RowStream:
        raise NotImplementedError


PROTOCOL = UsgsFeed()
