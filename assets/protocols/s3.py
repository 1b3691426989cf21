"""S3 and what speaks it: files that an agency lays into a bucket, below a prefix (protocols.md 3.20).

Here is what a feed declares, and where a listing begins. Which files are ready is `drops.py`; the connection `transport/s3.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from assets.protocols.drops import LISTING, Drop, DropSource, Login
from assets.protocols.kernel import Cursor, Request, SourceBase, Step, Validators, When
from assets.protocols.queries import fill_text

if TYPE_CHECKING:
    from assets.feeds.model import Feed

_SINCE = re.compile(r"\{since:([^{}]+)\}")
_VARIABLE = r"^[A-Z][A-Z0-9_]*$"


class S3Login(Login):
    """Whose keys sign. Without a kind: an open bucket, unsigned."""

    kind: str = Field("none", pattern="^(none|access_key)$", description="access_key, or none for an open bucket.")
    name: str | None = Field(None, pattern=_VARIABLE, description="Environment variable that holds the access key's id.")
    secret: str | None = Field(None, pattern=_VARIABLE, description="Environment variable that holds the secret key.")


class S3Source(DropSource):
    """`source:` of a feed whose files lie in a bucket."""

    protocol: Literal["s3"]
    url: str = Field(
        pattern=r"^s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/[^\s?#]*)?$",
        description="Bucket and prefix: s3://bucket/out/air. {partition} is the partition's key. Prefixes end at a slash.",
    )
    files: str = Field("*", min_length=1, description="Glob of the keys below the prefix (* crosses slashes); {partition} too.")
    endpoint: str | None = Field(
        None, pattern=r"^https?://[^\s/?#@]+/?$", description="Where the store answers. Default: Amazon's for the region."
    )
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]+$", description="Region that requests are signed for.")
    addressing: Literal["path", "virtual"] = Field(
        "path", description="How the store wants the bucket named: path: host/bucket/key; virtual: bucket.host/key."
    )
    begins_with: str = Field(
        "",
        description="Only keys that begin so, below the prefix, are listed; {partition} too. It leaves out the marks of a whole "
        "folder (_SUCCESS, manifest.json).",
    )
    requester_pays: bool = Field(False, description="The bucket makes the reader pay for reading; this consents.")
    start_after: str | None = Field(
        None,
        description="Key below the prefix after which the listing begins; {since:%Y/%m/%d} is the day of the last answer, less "
        "the look-back. For take: all with incremental.kind: upsert; the first fetch lists everything.",
    )
    auth: S3Login = S3Login()

    @model_validator(mode="after")
    def _complete(self) -> S3Source:
        if self.auth.kind == "access_key" and not (self.auth.name and self.auth.secret):
            raise ValueError("auth needs 'name' and 'secret', the variables that hold the access key's id and its secret key")
        if self.requester_pays and self.auth.kind == "none":
            raise ValueError("requester_pays needs auth: nobody can be billed for an unsigned request")
        if self.addressing == "virtual" and self.answering.startswith("https:") and "." in urlsplit(self.url).netloc:
            raise ValueError("a bucket with a dot in its name has no certificate of its own: use addressing: path")
        return self

    @property
    def answering(self) -> str:
        """The address of the store."""
        return (self.endpoint or f"https://s3.{self.region}.amazonaws.com").rstrip("/")


class S3(Drop[S3Source]):
    """Files below a prefix of a bucket. A listing names each by key, ETag, size and time; the version comes with the file."""

    name: ClassVar[str] = "s3"
    Source: ClassVar[type[SourceBase]] = S3Source
    schemes: ClassVar[tuple[str, ...]] = ("s3",)
    crosses: ClassVar[bool] = True

    def plan(self, feed: Feed, source: S3Source, when: When) -> Iterable[Step]:
        after = source.start_after or ""
        if _SINCE.search(after):
            after = _dated(after, when.since.astimezone(ZoneInfo(feed.schedule.timezone))) if when.since else ""
        return [replace(step, params={**step.params, "after": after}) for step in super().plan(feed, source, when)]

    def recognise(self, url: str) -> dict[str, Any] | None:
        """As of any drop. What stands before the pattern narrows the listing; an object is there whole or not at all."""
        found = super().recognise(url)
        if found is None:
            return None
        begins = re.split(r"[*?\[]", found["files"], maxsplit=1)[0]
        return found | ({"begins_with": begins} if begins else {}) | {"settle_s": 0}

    def login(self, user: str | None, host: str) -> dict[str, Any] | None:
        """An open bucket: no address tells whose keys sign."""
        return {} if user is None else None

    def request(self, feed: Feed, source: S3Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        request = super().request(feed, source, step, cursor, validators)
        if request.method != LISTING:
            return request
        begins = fill_text(source.begins_with, step.params)
        asked = {"start-after": step.params.get("after", ""), "begins-with": begins}
        return replace(request, headers={name: value for name, value in asked.items() if value})


def _dated(text: str, day: datetime) -> str:
    return _SINCE.sub(lambda m: day.strftime(m[1]), text)


PROTOCOL = S3()
