"""The USGS earthquake summary feeds: one GeoJSON file, replaced about every minute (protocols.md 3.13).

Each feed is a rolling window; events are revised, merged (`ids`) and deleted, so a feed declares `incremental.kind: upsert`
with `aliases`. Reading GeoJSON is `tables/readers/`; the FDSN query service is another protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.features import not_features, rows_of_features, told
from assets.protocols.answers.http_answers import by_transfer, conditional_get
from assets.protocols.kernel import (
    Body,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Validators,
    When,
)

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

    def recognise(self, url: str) -> dict[str, Any] | None:
        match = re.fullmatch(r"https?://earthquake\.usgs\.gov/earthquakes/feed/v1\.0/summary/([a-z0-9._]+)\.geojson", url)
        return {"protocol": self.name, "feed": match[1]} if match else None

    def plan(self, feed: Feed, source: UsgsFeedSource, when: When) -> Iterable[Step]:
        return [Step()]

    def request(self, feed: Feed, source: UsgsFeedSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        accept = {"Accept": "application/geo+json, application/json"}
        return conditional_get(source.address, accept, source.auth, step, cursor, validators)

    def classify(self, source: UsgsFeedSource, request: Request, response: Response) -> Outcome:
        by = by_transfer(response, "feed")
        if by is not None:
            return by
        if wrong := not_features(response.head, response.tail):
            return Malformed(wrong)
        total = told(response.head, "count")
        if total == 0:
            return Empty("no earthquake in the window")
        return Ok(PageInfo(total=total))

    def canonical_sha256(self, source: UsgsFeedSource, body: Body) -> str | None:
        return canonical_json_sha256(body.payload, source.volatile)

    def parse(self, feed: Feed, source: UsgsFeedSource, bodies: Sequence[Body]) -> RowStream:
        return rows_of_features(feed, bodies, source.address, must_count=True)


PROTOCOL = UsgsFeed()
