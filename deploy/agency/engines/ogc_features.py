"""A collection of an OGC API over the rows of a JSON list of features: pages by links, filters of box, time (protocols.md 3.4)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

CODES = {400: "InvalidParameterValue", 404: "NotFound", 500: "NoApplicableCode"}
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
KNOWN = {"limit", "offset", "after", "bbox", "datetime", "crs", "sortby", "f", "api_key", "hole"}


class OgcOptions(Strict):
    """One collection, whose id ends the path. `when`: the property that `datetime` means; `token`: whether it wants a key."""

    most: int = Field(10_000, gt=0, description="Most features of a page; more are not given, and nothing is said.")
    matched: Literal["exact", "absent", "unknown"] = "exact"
    pages: Literal["offset", "after", "none"] = Field("offset", description="What a next link holds; none: there are no links.")
    href: Literal["absolute", "relative", "inside"] = Field("absolute", description="inside: as the server knows itself.")
    features_last: bool = False
    when: str = "updated"
    token: bool = False


class OgcFeatures(Engine):
    """The items of the collection. `collections` and the rest of the API are not served."""

    name: ClassVar[str] = "ogc_features"
    Options: ClassVar[type[Strict]] = OgcOptions
    PREFIX: ClassVar[bool] = True
    SECRETS: ClassVar[tuple[str, ...]] = (r"(api_key=)([^&]*)",)
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "page_size_capped", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl", "no_data",
            "empty_page_more_true", "ogc_error", "ogc_error_200", "ogc_no_next", "ogc_next_elsewhere", "ogc_next_again",
            "ogc_number_returned", "ogc_search_window", "ogc_other_crs", "ogc_key_in_links",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, OgcOptions)
        for name in ("ogc_error", "ogc_error_200"):
            if fault := asked.fault(name):
                return error(fault.number(500), "as switched on", 200 if name.endswith("200") else None)
        params = asked.params
        if options.token and asked.key not in (params.get("api_key"), asked.headers.get("x-api-key")):
            return json_reply({"error": {"code": "API_KEY_INVALID", "message": "An invalid api_key was supplied."}}, 403)
        if asked.path.rstrip("/") != route.path + "/items":
            return error(404, "Collection not found")
        if unknown := sorted(params.keys() - KNOWN):
            return error(400, f"unknown query parameter: {unknown[0]}")
        try:
            features = _chosen(list(rows_of(source)), params, options)
            limit, start = int(params.get("limit", "10")), int(params.get("offset", "0"))
        except ValueError:
            return error(400, "a parameter is wrong")
        if limit < 1:
            return error(400, "limit value should be strictly positive")
        features = [] if asked.fault("no_data") else features
        if "after" in params:
            start = next((n for n, f in enumerate(features) if str(f["id"]) == params["after"]), len(features)) + 1
        return _page(features, min(start, len(features)), min(limit, options.most), params, options, route, asked)


def _page(
    features: list[Row], start: int, limit: int, params: dict[str, str], options: OgcOptions, route: Route, asked: Asked
) -> Reply:
    if capped := asked.fault("page_size_capped"):
        limit = min(limit, capped.number(3))
    begin = 0 if asked.fault("offset_ignored") else start
    found = features[begin : begin + limit]
    if asked.fault("duplicate_rows_between_pages") and begin and found:
        found = [features[begin - 1], *found[:-1]]
    total, after = len(features), start + limit
    if (changes := asked.fault("total_changes_mid_crawl")) and start and changes.count <= changes.number(2):
        total += start
    hole = asked.fault("empty_page_more_true")
    more = after < len(features)
    if hole and "hole" not in params and 0 < start <= limit:
        found, after, more = [], start, True
    links = [{"rel": "self", "type": "application/geo+json", "href": _href(options, route, {"f": "json"}, asked)}]
    if (more or asked.fault("ogc_next_again")) and options.pages != "none" and not _silent(asked):
        # as pygeoapi: what was asked for goes along, but for the format
        kept = {n: v for n, v in params.items() if n not in ("f", "offset", "after")} | ({} if found else {"hole": "1"})
        if asked.fault("ogc_key_in_links") is None:
            kept.pop("api_key", None)
        if options.pages == "after" and found:
            kept["after"] = str(found[-1]["id"])
        else:
            kept["offset"] = str(start if asked.fault("ogc_next_again") else after)
        links.append({"rel": "next", "type": "application/geo+json", "href": _href(options, route, kept, asked)})
    if asked.fault("ogc_search_window"):
        total = 10_000
    returned = len(found) + (1 if asked.fault("ogc_number_returned") else 0)
    about: dict[str, Any] = {} if options.matched == "absent" else {"numberMatched": total}
    if options.matched == "unknown":
        about = {"numberMatched": "unknown"}
    about |= {"numberReturned": returned, "links": links, "timeStamp": f"{asked.now.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
    parts = [{"features": found}, about]
    whole: dict[str, Any] = {"type": "FeatureCollection"}
    for part in reversed(parts) if options.features_last else parts:
        whole |= part
    reply = json_reply(whole, content_type="application/geo+json")
    system = "http://www.opengis.net/def/crs/EPSG/0/3857" if asked.fault("ogc_other_crs") else params.get("crs", CRS84)
    return reply.with_headers(content_crs=f"<{system}>")


def _silent(asked: Asked) -> bool:
    """Whether the link is left out: always, or after page N."""
    fault = asked.fault("ogc_no_next")
    return fault is not None and (fault.argument is None or fault.count >= fault.number(1))


def _href(options: OgcOptions, route: Route, query: dict[str, str], asked: Asked) -> str:
    text = "&".join(f"{name}={quote(value, safe=',')}" for name, value in query.items())
    items = f"{route.path}/items?{text}"
    if asked.fault("ogc_next_elsewhere"):
        return f"https://elsewhere.example/more?{text}"
    if options.href == "relative":
        return f"items?{text}"
    if options.href == "inside":
        return f"http://localhost:5000/collections/{route.path.rpartition('/')[2]}/items?{text}"
    return f"https://{route.host}{items}"


def _chosen(features: list[Row], params: dict[str, str], options: OgcOptions) -> list[Row]:
    """The features within the box and the time, in order. Raises ValueError where a parameter is none."""
    if box := params.get("bbox"):
        west, south, east, north = map(float, box.split(","))
        features = [
            f
            for f in features
            if west <= f["geometry"]["coordinates"][0] <= east and south <= f["geometry"]["coordinates"][1] <= north
        ]
    if span := params.get("datetime"):
        low, slash, high = span.partition("/")
        first, last = _moment(low), _moment(high if slash else low)
        moments = [(f, datetime.fromisoformat(f["properties"][options.when])) for f in features]
        features = [f for f, at in moments if (first is None or at >= first) and (last is None or at <= last)]
    for name in reversed([part for part in params.get("sortby", "").split(",") if part]):
        features.sort(key=lambda f: str(f["properties"].get(name.lstrip("+-"))), reverse=name.startswith("-"))
    return features


def _moment(text: str) -> datetime | None:
    return None if text in ("..", "") else datetime.fromisoformat(text)


def error(status: int, description: str, sent: int | None = None) -> Reply:
    """OGC's code and description; N over 1000: a problem by RFC 7807 with status N - 1000."""
    if status > 1000:
        problem = {"type": "about:blank", "title": "Problem", "status": status - 1000, "detail": description}
        return json_reply(problem, sent or status - 1000, "application/problem+json")
    code = CODES.get(status, "NoApplicableCode")
    return json_reply({"code": code, "type": code, "description": description}, sent or status)


ENGINE = OgcFeatures()
