"""A plain file behind a URL: conditional GET, then the file's own format.

Here is how a file server answers (protocols.md 3.18). Sending, resuming and limits are `transport/`; reading the file's rows
is `tables/readers/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.file_answers import not_the_file, packed_sha256
from assets.protocols.answers.http_answers import by_transfer, conditional_get
from assets.protocols.kernel import (
    Body,
    Cursor,
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
from assets.tables.readers.spec import FileShape

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream


class HttpFileSource(FileShape, SourceBase):
    """`source:` of a feed that is one file behind a URL."""

    protocol: Literal["http_file"]
    url: str = Field(
        pattern=r"^https?://[^\s/?#]+[^\s]*$",
        description=("Address of the file; may hold {partition}, its key, and {start:%Y} and {end:%Y}, its ends."),
    )
    method: Literal["GET"] = "GET"
    headers: dict[str, str] = Field(
        default_factory=dict, description="Extra request headers (Accept, Referer); keys belong to auth."
    )
    volatile: tuple[str, ...] = Field(
        (), description="Dotted paths of a JSON or GeoJSON file that change without a change of the data (metadata.generated)."
    )

    @property
    def address(self) -> str:
        return self.url


class HttpFile(Protocol[HttpFileSource]):
    """One response is the whole file."""

    name: ClassVar[str] = "http_file"
    Source: ClassVar[type[SourceBase]] = HttpFileSource

    def plan(self, feed: Feed, source: HttpFileSource, when: When) -> Iterable[Step]:
        return [Step(params=partition_places(feed, when))]

    def request(self, feed: Feed, source: HttpFileSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return conditional_get(fill_address(source.url, step.params), source.headers, source.auth, step, cursor, validators)

    def classify(self, source: HttpFileSource, request: Request, response: Response) -> Outcome:
        by = by_transfer(response, "file")
        if by is not None:
            return by
        wrong = not_the_file(source, source.container_of(source.url), response)
        return Malformed(wrong) if wrong else Ok()

    def canonical_sha256(self, source: HttpFileSource, body: Body) -> str | None:
        if (packed := source.container_of(source.url)) != "none":
            return packed_sha256(source, packed, body)
        return canonical_json_sha256(body.payload, source.volatile if source.format in ("json", "geojson") else ())

    def parse(self, feed: Feed, source: HttpFileSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import open_feed_rows  # loads Arrow: not at definition load

        return open_feed_rows(feed, source, [(b.path, source.url) for b in bodies])


PROTOCOL = HttpFile()
