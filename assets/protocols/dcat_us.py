"""DCAT-US: an agency's catalogue as one JSON file, `data.json`, versions 1.1 and 3.0 (protocols.md 3.15).

Here are the request, what the catalogue must be, and that orders and dates alone make no news. Its data sets as records are
`dcat_us_records.py`; what is deleted, and the guard against a catalogue that shrank, are the table's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from assets.errors import UnreadableSource
from assets.protocols.answers.dcat_us_answers import Look, look, same_standard
from assets.protocols.answers.dcat_us_records import digest_of, rows_of
from assets.protocols.answers.http_answers import by_status, conditional_get
from assets.protocols.answers.json_answers import in_words
from assets.protocols.kernel import (
    HEAD_BYTES,
    Body,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.tables.readers.magic import NAMES, kind_of, wide

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

DATASETS = "dataset"
"""Where the data sets stand in a catalogue of either version."""


class DcatUsSource(SourceBase):
    """`source:` of one agency's data.json."""

    protocol: Literal["dcat_us"]
    url: str = Field(pattern=r"^https?://[^\s/?#{}]+[^\s{}]*$", description="Address of the catalogue, mostly /data.json.")
    rows: Literal["dataset", "distribution"] = Field("dataset", description="One row a data set, or one a distribution of it.")
    conforms_to: tuple[str, ...] = Field(
        (
            "https://project-open-data.cio.gov/v1.1/schema",
            "https://resources.data.gov/dcat-us/3",
            "https://resources.data.gov/resources/dcat-us3",
            "DCAT-US 3.0",
        ),
        description=(
            "What the catalogue may say that it conforms to, or begin with; one that says something else is refused, one that "
            "says nothing is not."
        ),
    )
    volatile: tuple[str, ...] = Field(
        ("modified",),
        description="Dotted paths in a data set that make no news alone, like a date of today on each; an interval is none.",
    )
    unordered: tuple[str, ...] = Field(
        ("keyword", "theme", "language", "bureauCode", "programCode", "references"),
        description="Lists of a data set whose order says nothing: they are sorted.",
    )

    @property
    def address(self) -> str:
        return self.url


class DcatUs(Protocol[DcatUsSource]):
    """One response is the whole catalogue."""

    name: ClassVar[str] = "dcat_us"
    Source: ClassVar[type[SourceBase]] = DcatUsSource

    def plan(self, feed: Feed, source: DcatUsSource, when: When) -> Iterable[Step]:
        return [Step()]

    def request(self, feed: Feed, source: DcatUsSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        return conditional_get(source.url, {"Accept": "application/json"}, source.auth, step, cursor, validators)

    def classify(self, source: DcatUsSource, request: Request, response: Response) -> Outcome:
        by = by_status(response.status, response.headers)
        if by is not None:
            return by
        if response.length == 0:
            return Malformed("an empty body in place of a catalogue")
        if not response.complete:
            return Transient("the connection ended before the end of the catalogue")
        if kind_of(response.head) != "json":
            return Malformed(f"{NAMES[kind_of(response.head)]} in place of a catalogue")
        whole = response.length <= len(response.head)
        return _meaning(source, look(response.head, whole), whole, response.tail, wide(response.head))

    def canonical_sha256(self, source: DcatUsSource, body: Body) -> str | None:
        """Of all data sets in any order, each without what is volatile; they are read one at a time, whatever the size."""
        from assets.tables.readers.batches import Order  # loads Arrow: not at definition load
        from assets.tables.readers.json_reader import open_records

        try:
            records, file = open_records(body.path, DATASETS, Order(()))
            with file:
                digests = sorted(digest_of(source, record) for record in records)
        except (UnreadableSource, RecursionError):
            return None
        return hashlib.sha256(b"".join(digests)).hexdigest()

    def parse(self, feed: Feed, source: DcatUsSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.json_reader import open_records, stream_of  # loads Arrow: not at definition load
        from assets.tables.readers.open import order_of

        order = order_of(feed)
        if len(bodies) != 1:
            raise order.refuse(f"{len(bodies)} catalogues in one fetch", "run the feed again")
        with bodies[0].path.open("rb") as start:
            kind = kind_of(start.read(HEAD_BYTES))
        if kind not in ("json", "empty"):
            raise order.refuse(f"{NAMES[kind]} in place of a catalogue", "look at the archived body; correct source.url")
        records, file = open_records(bodies[0].path, DATASETS, order)
        hashed = "content_sha256" in order.wanted
        made = (row for record in records for row in rows_of(source, record, hashed))
        return stream_of(made, order, file.encoding.name, close=file)

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.lower().endswith("/data.json"):
            return None
        return {"protocol": self.name, "url": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"}


def _meaning(source: DcatUsSource, seen: Look, whole: bool, tail: bytes, utf16: bool) -> Outcome:
    if seen.broken:
        return Malformed("no JSON in place of a catalogue")
    if seen.cut or (not whole and not utf16 and tail.rstrip()[-1:] != (b"}" if seen.root == "{" else b"]")):
        return Transient("the catalogue is cut off: its JSON does not end")
    if seen.root == "[":
        return Malformed("a bare list, as before DCAT-US 1.1; a catalogue is an object with 'dataset'")
    if seen.listed not in (None, "list") or (whole and seen.listed is None):
        said = f", but '{in_words(seen.said)}'" if seen.said else ""
        return Malformed(f"JSON without a list 'dataset'{said}")
    if seen.conforms and not any(same_standard(said, known) for said in seen.conforms for known in source.conforms_to):
        said = in_words(seen.conforms[0])
        return Malformed(f"the catalogue conforms to '{said}', which source.conforms_to does not name: look at its rows first")
    return Empty("the catalogue lists no data set") if seen.empty else Ok()


PROTOCOL = DcatUs()
