"""WFS, versions 2.0.0 and 1.1.0: the features of one type by GetFeature, as GeoJSON or as GML (protocols.md 3.5).

Here are its parameters, where the next page begins, and the count that the pages are held against. What its answers say is
`wfs_answers.py`; GML is read by `tables/readers/`; paging discipline is the kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.feature_pages import features_in
from assets.protocols.answers.http_answers import by_status, names_a_secret
from assets.protocols.answers.json_answers import asked
from assets.protocols.answers.json_pages import rows_of_records
from assets.protocols.answers.ows_exceptions import exception_in
from assets.protocols.answers.wfs_answers import HITS, count_of, counts, gml_sha256, page_of, seen_of
from assets.protocols.kernel import (
    Body,
    Cursor,
    Malformed,
    OneAtATime,
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
from assets.protocols.queries import QuerySource, query_of, steps_of
from assets.tables.readers.magic import NAMES, kind_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

_OWN = frozenset(
    {"service", "version", "request", "typename", "typenames", "outputformat", "count", "maxfeatures", "startindex", "sortby",
     "srsname", "resulttype"}
)  # fmt: skip


class WfsSource(QuerySource):
    """`source:` of one feature type."""

    protocol: Literal["wfs"]
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$", description="Address of the service, before the question mark.")
    type_name: str = Field(pattern=r"^[^\s&?#,]+$", description="The feature type, as the service lists it: `workspace:layer`.")
    sort_by: str = Field(
        "", description="Property that tells all features apart, the order of the pages; without it only one page is asked."
    )
    format: Literal["json", "gml"] = Field("json", description="GeoJSON, or GML where the service has no other.")
    output_format: str = Field(
        "", description="The service's word for it (outputFormat); default: application/json, or none for GML."
    )
    srs: str = Field("EPSG:4326", description="Coordinate system to ask for (srsName); empty: the type's own.")
    version: Literal["2.0.0", "1.1.0"] = Field("2.0.0", description="Of the protocol.")
    size: int = Field(1_000, gt=0, description="Features of a page (count; maxFeatures in 1.1.0).")
    hits: bool = Field(
        True, description="Whether the service counts (resultType=hits) where its pages do not say how many there are."
    )
    volatile: tuple[str, ...] = Field(
        ("timeStamp", "links"),
        description="JSON paths that change without a change of the data; features.id where ids are made up.",
    )
    limits: OneAtATime = OneAtATime()

    @model_validator(mode="after")
    def _consistent(self) -> WfsSource:
        if taken := sorted(name for name in self.params if name.lower() in _OWN):
            raise ValueError(
                f"params: '{taken[0]}' has a field of its own: type_name, sort_by, output_format, srs, version or size"
            )
        if not self.hits and not self.sort_by:
            raise ValueError("hits: without a count one page does not show that it is all; declare sort_by")
        if not self.hits and self.boxed:
            raise ValueError("hits: with a bbox pages may be short, and only the count shows that nothing is missing")
        return self

    @property
    def boxed(self) -> bool:
        """Whether a box is asked for. Some services count before they filter by it (MapServer/MapServer#7328)."""
        return any(name.lower() == "bbox" for name in (*self.params, *(name for entry in self.each_values() for name in entry)))

    @property
    def address(self) -> str:
        return self.base_url

    @property
    def element(self) -> str:
        """The name of a feature in GML, without its namespace."""
        return self.type_name.rpartition(":")[2]


class Wfs(Protocol[WfsSource]):
    """Pages by startIndex, until there are as many features as the service counts."""

    name: ClassVar[str] = "wfs"
    Source: ClassVar[type[SourceBase]] = WfsSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: WfsSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: WfsSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        new = source.version == "2.0.0"
        query = {"service": "WFS", "version": source.version, "request": "GetFeature"}
        query |= {"typeNames" if new else "typeName": source.type_name}
        if cursor.token == HITS:
            query |= {"srsName": source.srs, "resultType": "hits"}
        else:
            start = _start(source, cursor)
            query |= {
                "outputFormat": source.output_format or ("application/json" if source.format == "json" else ""),
                "srsName": source.srs,
                "count" if new else "maxFeatures": str(source.size),
                "startIndex": str(start) if start else "",
                "sortBy": source.sort_by,
            }
        query = {name: value for name, value in query.items() if value} | query_of(source, step)
        return asked(source.base_url, query, source.auth, step, cursor, safe=":,;*/()'")

    def classify(self, source: WfsSource, request: Request, response: Response) -> Outcome:
        seen = seen_of(response, source.element)
        exception = exception_in(seen.root, seen.fields, response)
        if exception is not None:
            return exception
        by = by_status(response.status, response.headers)
        if by is not None:
            return by
        if not response.complete:
            return Transient("the connection ended before the end of the answer")
        counting = counts(request.url)
        if response.length == 0 or not seen.root or kind_of(response.head) == "html":
            return Malformed("an empty body" if response.length == 0 else f"{NAMES[kind_of(response.head)]} in place of features")
        if not seen.ended:
            return Transient("the answer is cut off: it does not end")
        if not seen.features or (not counting and (seen.root == "json") != (source.format == "json")):
            what = "JSON" if seen.root == "json" else f"XML ({seen.root})"
            return Malformed(f"{what} in place of features as {source.format}; see source.format and source.output_format")
        if counting:
            needed = "declare source.sort_by" if not source.sort_by else "ask without a bbox" if source.boxed else ""
            return count_of(request, seen, needed=needed)
        if not seen.empty and not seen.named:
            return Malformed(f"features, but no element '{source.element}'; see source.type_name")
        return page_of(request, seen, ordered=bool(source.sort_by), counted=source.hits, boxed=source.boxed)

    def parse(self, feed: Feed, source: WfsSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import open_feed_rows, order_of  # loads Arrow: not at definition load
        from assets.tables.readers.spec import FileShape

        pages = [body for body in bodies if not counts(body.url)]
        if source.format == "gml" and pages:
            shape = FileShape(format="xml", container="none", records_path=source.element)
            return open_feed_rows(feed, shape, [(body.path, source.address) for body in pages])
        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in pages:
                yield from features_in(body.payload, order)[1]

        return rows_of_records(feed, records())

    def canonical_sha256(self, source: WfsSource, body: Body) -> str | None:
        if source.format == "gml" or counts(body.url):
            return gml_sha256(body.payload)
        return canonical_json_sha256(body.payload, source.volatile)

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query)
        query = {name.lower(): value for name, value in pairs}
        kind = query.get("typenames") or query.get("typename") or ""
        if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[^\s&?#,]+", kind):
            return None
        if query.get("service", "").upper() != "WFS" or query.get("request", "GetFeature").lower() != "getfeature":
            return None
        source: dict[str, Any] = {
            "protocol": self.name,
            "base_url": f"{parts.scheme}://{parts.netloc}{parts.path}",
            "type_name": kind,
        }
        source |= {"version": "1.1.0"} if query.get("version", "2.0.0").startswith("1") else {}
        form = query.get("outputformat", "")
        source |= {"output_format": form} if form and form != "application/json" else {}
        source |= {"format": "gml"} if form and "json" not in form.lower() else {}
        source |= {field: query[name] for name, field in (("sortby", "sort_by"), ("srsname", "srs")) if query.get(name)}
        kept = {name: value for name, value in pairs if name.lower() not in _OWN and not names_a_secret(name)}
        return source | ({"params": kept} if kept else {})


def _start(source: WfsSource, cursor: Cursor) -> int:
    """Where a page begins: where the last one leads; else, after one that tells nothing, after the features so far."""
    word, _, number = (cursor.token or "").partition(" ")
    if not number.isdecimal():
        return cursor.offset
    if word == "at":
        return int(number)
    return cursor.offset if cursor.offset > int(number) else int(number) + source.size


PROTOCOL = Wfs()
