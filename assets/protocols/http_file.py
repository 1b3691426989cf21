"""A plain file behind a URL: conditional GET, then the file's own format.

Here is how a file server answers (protocols.md 3.18). Sending, resuming and limits are `transport/`; reading the file's rows
is `tables/readers/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from assets.protocols.kernel import Body, Cursor, Malformed, Outcome, Protocol, Request, SourceBase, Step, Validators
from assets.tables.readers.spec import FileShape

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream


class HttpFileSource(FileShape, SourceBase):
    """`source:` of a feed that is one file behind a URL."""

    protocol: Literal["http_file"]
    url: str = Field(pattern=r"^https?://[^\s/?#]+[^\s]*$", description="Address of the file; {partition} is the partition's key.")
    method: Literal["GET"] = "GET"
    headers: dict[str, str] = Field(
        default_factory=dict, description="Extra request headers (Accept, Referer); keys belong to auth."
    )
    volatile: tuple[str, ...] = Field((), description="JSON paths that change without a change of the data (metadata.generated).")

    @property
    def address(self) -> str:
        return self.url


class HttpFile(Protocol[HttpFileSource]):
    """One response is the whole file."""

    name: ClassVar[str] = "http_file"
    Source: ClassVar[type[SourceBase]] = HttpFileSource

    def plan(self, feed: Feed, source: HttpFileSource, partition: str | None, now: datetime) -> Iterable[Step]:
        return [Step()]

    def request(self, feed: Feed, source: HttpFileSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return Request(source.url, headers=source.headers)

    def classify(
        self,
        source: HttpFileSource,
        request: Request,
        status: int,
        headers: Mapping[str, str],
        head: bytes,
        tail: bytes,
        length: int,
        complete: bool,
    ) -> Outcome:
        return Malformed("not yet classified")

    def parse(self, feed: Feed, source: HttpFileSource, bodies: Sequence[Body]) -> RowStream:
        raise NotImplementedError


PROTOCOL = HttpFile()
