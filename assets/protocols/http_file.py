"""A plain file behind a URL: conditional GET, then the file's own format.

Here is how a file server answers (protocols.md 3.18). Sending, resuming and limits are `transport/`; reading the file's rows
is `tables/readers/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field

from assets.protocols.canonical import canonical_json_sha256
from assets.protocols.http_answers import by_transfer, conditional_get
from assets.protocols.kernel import (
    Body,
    Cursor,
    Malformed,
    Ok,
    Outcome,
    Protocol,
    Request,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.tables.readers.magic import kind_of, mismatch, wide
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
        return [Step(params={"partition": when.partition} if when.partition else {})]

    def request(self, feed: Feed, source: HttpFileSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        url = source.url.replace("{partition}", quote(step.params.get("partition", ""), safe=""))
        return conditional_get(url, source.headers, source.auth, step, cursor, validators)

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
        by = by_transfer(status, headers, complete, "file")
        if by is not None:
            return by
        if length == 0:
            return Malformed("empty file")
        container = source.container_of(source.url)
        if container == "gzip" and source.container is None and kind_of(head) != "gzip":
            container = "none"
        wrong = mismatch(head, source.format, container)
        if wrong:
            return Malformed(wrong)
        if container == "none" and (cut := _cut_off(source.format, head, tail, length)):
            return Malformed(cut)
        return Ok()

    def canonical_sha256(self, source: HttpFileSource, body: Body) -> str | None:
        return canonical_json_sha256(body.path, source.volatile if source.format in ("json", "geojson") else ())

    def parse(self, feed: Feed, source: HttpFileSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import open_feed_rows  # loads Arrow: not at definition load

        return open_feed_rows(feed, source, [(b.path, source.url) for b in bodies])


def _cut_off(file_format: str, head: bytes, tail: bytes, length: int) -> str | None:
    """What the end of a body tells: a format with an end mark that is not there, or an error in place of a table."""
    end = tail.rstrip(b"\x00\t\n\r ")
    if file_format in ("json", "geojson") and not wide(head) and end[-1:] not in (b"}", b"]"):
        return f"{file_format} that does not end"
    if file_format == "xml" and not wide(head) and end[-1:] != b">":
        return "xml that does not end"
    if file_format == "parquet" and tail[-4:] != b"PAR1":
        return "parquet that does not end"
    if file_format in ("csv", "tsv") and length <= len(head) and kind_of(head) == "json":
        try:
            json.loads(head)
        except (ValueError, RecursionError):  # a CSV line may start with a bracket
            return None
        return f"JSON in place of {file_format}"
    return None


PROTOCOL = HttpFile()
