"""Layers of ArcGIS servers, `…/rest/services/…/FeatureServer/0` and MapServer (protocols.md 3.3).

Here are the look at a layer before it is asked, its two ways of paging, and the count that the pages are held against. What the
answers say is `arcgis_answers.py`; paging discipline is the kernel's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qs, parse_qsl, urlsplit

from pydantic import Field

from assets.protocols.answers.arcgis_answers import COUNT, Layer, error_of, layer_of, page_of, row_of
from assets.protocols.answers.arcgis_domains import Domains, domains_of
from assets.protocols.answers.http_answers import by_status, keyed, query_string
from assets.protocols.answers.json_answers import asked, odd_body, whole_of
from assets.protocols.answers.json_pages import around, records_of, rows_of_records
from assets.protocols.kernel import (
    Auth,
    Body,
    Cursor,
    Malformed,
    Ok,
    OneAtATime,
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
from assets.protocols.queries import QuerySource, fill, query_of, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

LONGEST_URL = 1800
"""Longer questions are sent as a form."""


class ArcgisAuth(Auth):
    """Most layers take no token; those that do take it in the address."""

    name: str | None = "token"


class ArcgisSource(QuerySource):
    """`source:` of one layer or table."""

    protocol: Literal["arcgis"]
    base_url: str = Field(
        pattern=r"^https?://[^\s?#]+/(FeatureServer|MapServer)/\d+$", description="Address of the layer, up to its number."
    )
    where: str = Field(
        "1=1",
        min_length=1,
        description="Condition on the features; may hold places. One whose place has no value asks for everything.",
    )
    fields: tuple[str, ...] = Field(("*",), min_length=1, description="Fields to ask for, or [*].")
    geometry: bool = Field(True, description="Whether to ask for geometries.")
    format: Literal["json", "geojson"] = Field("json", description="Esri's JSON, or GeoJSON where the layer has it.")
    crs: int = Field(4326, gt=0, description="Number of the coordinate system to ask for (outSR); the layer's own is any.")
    domains: bool = Field(
        False, description="Give each coded value its name: a column with source: STATUS.name beside one with source: STATUS."
    )
    paging: Literal["auto", "offset", "keyset"] = Field(
        "auto", description="By offset, or by object ids above the last one; auto: by offset where the layer supports it."
    )
    size: int | None = Field(None, gt=0, description="Features of a page; never more than the layer's maxRecordCount, the default.")
    auth: ArcgisAuth = ArcgisAuth()
    limits: OneAtATime = OneAtATime()

    @property
    def address(self) -> str:
        return self.base_url


class Arcgis(Protocol[ArcgisSource]):
    """Pages of features, which go on until the layer says that there are no more; then its count."""

    name: ClassVar[str] = "arcgis"
    Source: ClassVar[type[SourceBase]] = ArcgisSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: ArcgisSource, when: When) -> Iterable[Step]:
        return [Step(params={"queries": [step.params for step in steps_of(feed, source, when)]}, lead=True)]

    def follow(self, feed: Feed, source: ArcgisSource, step: Step, body: Body) -> Iterable[Step]:
        """The queries, each stamped with the layer's last edit and what is asked, where the layer tells of edits."""
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)
        told = next(iter(records_of(body.payload, (), order)), None)
        layer = layer_of(told, source.size, source.paging)
        if layer is None:
            mend = "look at the archived body: source.base_url must be a layer; where it has no maxRecordCount give source.size"
            raise order.refuse("a layer without a field of object ids, or without maxRecordCount", mend)
        parts = [Step(params={**params, "layer": layer}) for params in step.params["queries"]]
        # the layer once more, this time as one of the bodies that rows are read from
        codes = [Step(stamp=f"codes {domains_of(told).digest()}" if layer.edited else None)] if source.domains else []
        if layer.edited is None:
            return codes + parts
        # `since` moves with every fetch, and asks for nothing that is not told by the last edit
        still = [replace(part, params={**part.params, "since": None}) for part in parts]
        return codes + [
            replace(part, stamp=f"{layer.edited} {_digest(_query(source, one))}") for part, one in zip(parts, still, strict=True)
        ]

    def request(self, feed: Feed, source: ArcgisSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        if step.lead or "layer" not in step.params:
            return asked(source.base_url, {"f": "json"}, source.auth, step, cursor)
        layer: Layer = step.params["layer"]
        query = _query(source, step)
        if cursor.token == COUNT:
            query = {"where": query["where"], **query_of(source, step), "returnCountOnly": "true", "f": "json"}
        elif layer.offsets:
            query |= {
                "orderByFields": f"{layer.oid} ASC",
                "resultOffset": cursor.token or "0",
                "resultRecordCount": str(layer.size),
            }
        else:
            if cursor.token is not None:
                query["where"] = f"({query['where']}) AND {layer.oid} > {cursor.token}"
            query |= {"orderByFields": f"{layer.oid} ASC"}
        return _sent(f"{source.base_url}/query", query, source.auth, step, cursor)

    def classify(self, source: ArcgisSource, request: Request, response: Response) -> Outcome:
        seen, whole = around(response, "features"), whole_of(response.head, response.length)
        if whole is not None and whole.get("error") is not None:
            return error_of(whole["error"], response.status, response.headers)
        by = by_status(response.status, response.headers)
        if by is not None:
            return by
        odd = odd_body(response, seen)
        if odd is not None:
            return odd
        query = _asked_for(request)
        if seen is None or seen.root != "{":
            return Malformed("a list in place of a layer's answer")
        if "where" not in query:
            return Ok() if not seen.records else Malformed("features in place of what the layer says of itself")
        if "returnCountOnly" in query:
            count = seen.number("count")
            return Malformed("no count") if count is None or seen.records else Ok(PageInfo(total=count))
        if not seen.records:
            return Malformed("an answer without features")
        return page_of(request, query, seen, whole, response.tail)

    def parse(self, feed: Feed, source: ArcgisSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)

        def records() -> Iterator[Any]:
            domains = Domains()
            for body in bodies:
                page = next(iter(records_of(body.payload, (), order)), None)
                if isinstance(page, dict) and "count" in page and "features" not in page:
                    continue
                if source.domains and isinstance(page, dict) and "fields" in page and "features" not in page:
                    domains = domains_of(page)
                    continue
                features = page.get("features") if isinstance(page, dict) else None
                if not isinstance(features, list):
                    raise order.refuse("a page without a list of features", "look at the archived body")
                yield from (domains.named(row_of(feature)) for feature in features)

        return rows_of_records(feed, records())

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        layer = re.match(r"(.*/rest/services/.*/(?:FeatureServer|MapServer)/\d+)(?:/query)?/?$", parts.path)
        if layer is None or parts.scheme not in ("http", "https") or not parts.hostname:
            return None
        query = dict(parse_qsl(parts.query))
        source: dict[str, Any] = {"protocol": self.name, "base_url": f"{parts.scheme}://{parts.hostname}{layer[1]}"}
        if (where := query.get("where", "1=1")) != "1=1":
            source["where"] = where
        if (fields := query.get("outFields", "*")) != "*":
            source["fields"] = [name.strip() for name in fields.split(",") if name.strip()]
        return source | ({"geometry": False} if query.get("returnGeometry", "").lower() == "false" else {})


# --- what is sent ---------------------------------------------------------------------------------------------------------


def _query(source: ArcgisSource, step: Step) -> dict[str, str]:
    """The question without its page."""
    about = {"where": fill(source.where, step) or "1=1", "outFields": ",".join(source.fields)}
    about |= {"returnGeometry": str(source.geometry).lower(), "outSR": str(source.crs), "f": source.format}
    return about | query_of(source, step)


def _sent(base: str, query: Mapping[str, str], auth: Auth, step: Step, cursor: Cursor) -> Request:
    short = asked(base, query, auth, step, cursor)
    if len(short.url) <= LONGEST_URL:
        return short
    url, headers = keyed(base, {"Content-Type": "application/x-www-form-urlencoded"}, auth)
    form = query_string(query)
    return Request(url, "POST", headers, form.encode(), step.ordinal, cursor.page)


def _asked_for(request: Request) -> dict[str, str]:
    text = request.body.decode("utf-8", "replace") if request.body else urlsplit(request.url).query
    return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}


def _digest(query: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{name}={value}" for name, value in sorted(query.items())).encode()).hexdigest()[:12]


PROTOCOL = Arcgis()
