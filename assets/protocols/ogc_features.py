"""OGC API – Features: the items of a collection as GeoJSON, `{base}/collections/{id}/items` (protocols.md 3.4).

Here are its parameters and its two ways of paging. What its answers say is `ogc_answers.py`, where a next link may lead
`ogc_links.py`; paging discipline is the kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.feature_pages import features_in
from assets.protocols.answers.http_answers import by_status, names_a_secret
from assets.protocols.answers.json_answers import asked, in_words, odd_body
from assets.protocols.answers.json_members import members_of
from assets.protocols.answers.json_pages import Around, rows_of_records
from assets.protocols.answers.ogc_answers import RECOUNT, error_in, miscounted, page_of, recounted, recounts, with_reason
from assets.protocols.answers.ogc_links import keyed_at_home, next_of
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
    Validators,
    When,
)
from assets.protocols.queries import QuerySource, fill, query_of, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

ACCEPT = {"Accept": "application/geo+json, application/json;q=0.9"}
"""On every page: a next link often forgets the format (geopython/pygeoapi#2175)."""
_OWN = frozenset({"limit", "bbox", "bbox-crs", "datetime", "crs", "sortby"})
_PLACES_IN_LIST = frozenset({"offset", "startindex", "f"})


class OgcFeaturesSource(QuerySource):
    """`source:` of one collection."""

    protocol: Literal["ogc_features"]
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$", description="Address of the API, before /collections.")
    collection: str = Field(pattern=r"^[^\s?#/]+$", description="The collection's id, as /collections lists it.")
    bbox: tuple[float, ...] = Field((), description="Box: west, south, east, north (or with heights: six numbers).")
    bbox_crs: str = Field("", description="Coordinate system of the box, as `crs`; default: longitude and latitude.")
    datetime: str = Field(
        "", description="Time, or interval like 2026-01-01T00:00:00Z/.., of the features; may hold places. Without a value: all."
    )
    crs: str | int = Field(
        "", description="Coordinate system to ask for: number of the EPSG, or an address; default: longitude and latitude."
    )
    sort_by: str = Field("", description="Order (sortby), where the server has one: `name` or `-name`, by comma.")
    size: int = Field(1_000, gt=1, description="Features of a page (limit); a server may give fewer.")
    paging: Literal["next", "offset"] = Field(
        "next", description="By links to the next page, or by a parameter of the server's own."
    )
    offset_param: str = Field("offset", pattern=r"^[A-Za-z_$]+$", description="Its name: offset, startindex; with paging: offset.")
    total: Literal["exact", "ignored"] = Field(
        "exact", description="Whether the features must be as many as numberMatched says; ignored where that is an estimate."
    )
    empty_page_ends: bool = Field(False, description="An empty page that leads on to another is the end; else it fails the fetch.")
    limits: OneAtATime = OneAtATime()

    @model_validator(mode="after")
    def _fields_not_params(self) -> OgcFeaturesSource:
        own = _OWN | {self.offset_param} if self.paging == "offset" else _OWN
        if taken := sorted(own & self.params.keys()):
            raise ValueError(f"params: '{taken[0]}' has a field of its own: bbox, datetime, crs, sort_by, size or paging")
        if len(self.bbox) not in (0, 4, 6):
            raise ValueError("bbox: four numbers (west, south, east, north), or six with heights")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/collections/{quote(self.collection, safe=':@,;+')}/items"


class OgcFeatures(Protocol[OgcFeaturesSource]):
    """Pages of GeoJSON, by their links."""

    name: ClassVar[str] = "ogc_features"
    Source: ClassVar[type[SourceBase]] = OgcFeaturesSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: OgcFeaturesSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: OgcFeaturesSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        if cursor.token not in (None, RECOUNT):
            url, headers = keyed_at_home(cursor.token or "", source.address, ACCEPT, source.auth)
            return Request(url, headers=headers, step=step.ordinal, page=cursor.page)
        query = {"limit": "1" if cursor.token == RECOUNT else str(source.size)}
        query |= {
            "bbox": ",".join(f"{number:.12g}" for number in source.bbox),
            "bbox-crs": _crs(source.bbox_crs),
            "datetime": fill(source.datetime, step),
            "crs": _crs(source.crs),
            "sortby": source.sort_by,
        }
        query = {name: value for name, value in query.items() if value} | query_of(source, step)
        if cursor.offset and cursor.token is None:
            query[source.offset_param] = str(cursor.offset)
        return asked(source.address, query, source.auth, step, cursor, safe=":,;*/", headers=ACCEPT)

    def classify(self, source: OgcFeaturesSource, request: Request, response: Response) -> Outcome:
        seen = members_of(response)
        by = by_status(response.status, response.headers)
        if by is not None:
            return with_reason(by, seen)
        odd = odd_body(response, Around("{", ended=seen.ended) if seen is not None else None)
        if odd is not None:
            return odd
        assert seen is not None
        if not seen.holds_list("features"):
            return error_in(seen, response.headers)
        system = response.headers.get("content-crs", "").strip("<> \t")
        if source.crs and system and system != _crs(source.crs):
            return Malformed(f"coordinates in {in_words(system)} in place of {_crs(source.crs)}")
        if recounts(request.url):
            return recounted(seen)
        leads = next_of(seen.values.get("links"), request.url, source.address, source.auth, source.redirect_hosts)
        by_links = source.paging == "next"
        if by_links and leads is not None and not isinstance(leads, str):
            return leads
        return page_of(
            seen,
            leads if isinstance(leads, str) else None,
            first=request.page == 1,
            by_links=by_links,
            exact=source.total == "exact",
            empty_ends=source.empty_page_ends,
            size=source.size,
        )

    def parse(self, feed: Feed, source: OgcFeaturesSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in bodies:
                if recounts(body.url):
                    continue
                page, features = features_in(body.payload, order)
                if wrong := miscounted(page, len(features)):
                    raise order.refuse(wrong, "look at the archived body")
                yield from features

        return rows_of_records(feed, records())

    def canonical_sha256(self, source: OgcFeaturesSource, body: Body) -> str | None:
        """A page carries the moment of its making, and links that may hold a cursor of the day."""
        return canonical_json_sha256(body.payload, ("timeStamp", "links"))

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        found = re.fullmatch(r"(.*)/collections/([^/]+)(/items)?/?", parts.path)
        if found is None or parts.scheme not in ("http", "https") or not parts.hostname or not (found[3] or "f" in query):
            return None
        source: dict[str, Any] = {"protocol": self.name, "base_url": f"{parts.scheme}://{parts.netloc}{found[1]}"}
        source["collection"] = unquote(found[2])
        if re.fullmatch(r"-?[\d.]+(,-?[\d.]+){3}((,-?[\d.]+){2})?", query.get("bbox", "")):
            source["bbox"] = [float(number) for number in query["bbox"].split(",")]
        named = {"datetime": "datetime", "crs": "crs", "bbox-crs": "bbox_crs", "sortby": "sort_by"}
        source |= {field: query[name] for name, field in named.items() if query.get(name)}
        kept = {n: v for n, v in query.items() if n.lower() not in _OWN | _PLACES_IN_LIST and not names_a_secret(n)}
        return source | ({"params": kept} if kept else {})


def _crs(named: str | int) -> str:
    """The address of a coordinate system."""
    return f"http://www.opengis.net/def/crs/EPSG/0/{named}" if str(named).isdigit() else str(named)


PROTOCOL = OgcFeatures()
