"""A feature type of a WFS over the rows of a JSON list of features: GeoJSON or GML, counts, exceptions (protocols.md 3.5)."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from xml.sax.saxutils import escape, quoteattr

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

NATURAL = "Cannot do natural order without a primary key, please add it or specify a manual sort over existing attributes"
EXCEPTIONS = {
    1: ("InvalidParameterValue", "srsName", "Could not decode srsName"),
    2: ("InvalidParameterValue", "typeName", "Feature type unknown"),
    3: ("NoApplicableCode", "", "java.io.IOException: connection to the database was lost"),
    4: ("NoApplicableCode", "", f"java.lang.RuntimeException: {NATURAL}"),
    5: ("OperationNotSupported", "request", "no such operation"),
    6: ("NoApplicableCode", "", "Could not parse CQL filter list."),
    7: ("INVALID_KEY", "", "등록되지 않은 인증키입니다."),
    8: ("OVER_REQUEST_LIMIT", "", "서비스 사용량이 일일 제한량을 초과하였습니다."),
    9: ("SomethingOdd", "", "?"),
}


class WfsOptions(Strict):
    """One feature type. `forms`: what it can give; `matched`: what its pages say of the number of all; `token`: it wants a key."""

    type_name: str
    most: int = Field(1_000_000, gt=0, description="Most features of a page; more are not given, and nothing is said.")
    forms: Literal["both", "json", "gml"] = "both"
    matched: Literal["exact", "unknown", "absent"] = "exact"
    hits: Literal["exact", "unknown", "refused"] = "exact"
    links: bool = False
    primary_key: bool = False
    token: bool = False


class Wfs(Engine):
    """GetFeature. Exceptions come with status 200; names of parameters in any case."""

    name: ClassVar[str] = "wfs"
    Options: ClassVar[type[Strict]] = WfsOptions
    SECRETS: ClassVar[tuple[str, ...]] = (r"(key=)([^&]*)",)
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "page_size_capped", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl", "no_data",
            "short_page_more_true", "empty_page_more_true", "wfs_exception", "wfs_exception_json", "wfs_new_ids",
            "quota_after_n",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, WfsOptions)
        params = {name.lower(): value for name, value in asked.params.items()}
        if (over := asked.fault("quota_after_n")) and over.count > over.number(1):
            return exception(*EXCEPTIONS[8])
        if fault := asked.fault("wfs_exception"):
            return exception(*EXCEPTIONS[fault.number(3)])
        if fault := asked.fault("wfs_exception_json"):
            code, locator, words = EXCEPTIONS[fault.number(3)]
            return json_reply({"version": "2.0.0", "exceptions": [{"code": code, "locator": locator, "text": words}]})
        if options.token and params.get("key") != asked.key:
            return exception(*EXCEPTIONS[7])
        if params.get("service") != "WFS" or params.get("request") != "GetFeature":
            return exception("MissingParameterValue", "request", "no request")
        new = params.get("version") == "2.0.0"
        if params.get("typenames" if new else "typename") != options.type_name:
            return exception("InvalidParameterValue", "typeName", f"Feature type {params.get('typenames', '')} unknown")
        form = "json" if "json" in params.get("outputformat", "") else "gml"
        if options.forms not in ("both", form) and params.get("resulttype") != "hits":
            return exception("InvalidParameterValue", "outputFormat", f"Failed to find response for output format {form}")
        try:
            count = int(params.get("count" if new else "maxfeatures", options.most))
            start, box = int(params.get("startindex", "0")), [float(n) for n in params.get("bbox", "").split(",")[:4] if n]
        except ValueError:
            return exception("InvalidParameterValue", "count", "no number")
        if "startindex" in params and "sortby" not in params and not options.primary_key:
            return exception(*EXCEPTIONS[4])
        return _answer(list(rows_of(source)), start, min(count, options.most), box, params, form, options, asked)


def _answer(
    features: list[Row],
    start: int,
    count: int,
    box: list[float],
    params: dict[str, str],
    form: str,
    options: WfsOptions,
    asked: Asked,
) -> Reply:
    features = [] if asked.fault("no_data") else features
    if name := params.get("sortby", "").split()[:1]:
        features.sort(key=lambda f: str(f["properties"].get(name[0])))
    fits = [f for f in features if not box or _within(f, box)]
    # counted before they are filtered, as some servers do; else filtered and then counted
    slots: list[Row | None] = [f if f in fits else None for f in features] if asked.fault("short_page_more_true") else [*fits]
    total = len(fits)
    if hole := asked.fault("empty_page_more_true"):
        slots = [*slots[:count], *([None] * count * hole.number(1)), *slots[count:]]
    if (changes := asked.fault("total_changes_mid_crawl")) and start and changes.count <= changes.number(2):
        total += start
    if params.get("resulttype") == "hits":
        if options.hits == "refused":
            return exception("InvalidParameterValue", "resultType", "hits is not supported")
        return _gml([], "unknown" if options.hits == "unknown" else total, None, params, options, asked, hits=True)
    if capped := asked.fault("page_size_capped"):
        count = min(count, capped.number(3))
    begin = 0 if asked.fault("offset_ignored") else start
    if asked.fault("duplicate_rows_between_pages") and 0 < begin < len(slots):
        slots[begin] = slots[begin - 1]
    found = [f for f in slots[begin : begin + count] if f is not None]
    if asked.fault("wfs_new_ids"):
        found = [f | {"id": f"fid-{asked.fault('wfs_new_ids').count:x}-{n}"} for n, f in enumerate(found)]  # type: ignore[union-attr]
    onward = start + count if options.links and start + count < len(slots) else None
    matched: Any = total if options.matched == "exact" else options.matched
    if form == "gml":
        return _gml(found, matched, onward, params, options, asked)
    about: dict[str, Any] = {} if matched == "absent" else {"totalFeatures": matched, "numberMatched": matched}
    if matched != "absent":
        about["numberReturned"] = len(found)
    if onward is not None:
        href = f"http://localhost:8080/geoserver/wfs?TYPENAMES={options.type_name}&COUNT={count}&STARTINDEX={onward}"
        about["links"] = [{"title": "next page", "type": "application/json", "rel": "next", "href": href}]
    about["timeStamp"] = _stamp(asked)
    shown = [{"type": "Feature", "id": f["id"], "geometry_name": "geom", **f} for f in found]
    return json_reply({"type": "FeatureCollection", "features": shown, **about, "crs": None})


def _within(feature: Row, box: list[float]) -> bool:
    x, y = feature["geometry"]["coordinates"][:2]
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])


def _stamp(asked: Asked) -> str:
    return f"{asked.now.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _gml(
    found: list[Row],
    matched: Any,
    onward: int | None,
    params: dict[str, str],
    options: WfsOptions,
    asked: Asked,
    hits: bool = False,
) -> Reply:
    """GML 3.2 of version 2.0.0, GML 3.1 of 1.1.0; latitude before longitude, and no element of what has no value."""
    new = params.get("version") == "2.0.0"
    kind = options.type_name.rpartition(":")[2]
    members = "".join(_feature(f, kind, new) for f in found)
    about = f'timeStamp="{_stamp(asked)}"'
    if new:
        about += f' numberMatched="{"unknown" if matched == "absent" else matched}" numberReturned="{len(found)}"'
        if onward is not None:
            about += f" next={quoteattr(f'http://localhost:8080/wfs?REQUEST=GetFeature&STARTINDEX={onward}')}"
    else:
        about += f' numberOfFeatures="{matched if hits else len(found)}"'
        members = f"<gml:featureMembers>{members}</gml:featureMembers>" if members else ""
    names = (
        'xmlns:wfs="http://www.opengis.net/wfs/2.0" xmlns:gml="http://www.opengis.net/gml/3.2" xmlns:app="http://agency.example"'
    )
    head = f'<?xml version="1.0" encoding="UTF-8"?><wfs:FeatureCollection {names} {about}'
    body = f"{head}>{members}</wfs:FeatureCollection>" if members else f"{head}/>"
    return Reply(200, {"content-type": "text/xml; subtype=gml/3.2; charset=UTF-8"}, body.encode())


def _feature(feature: Row, kind: str, new: bool) -> str:
    parts = "".join(
        f"<app:{name}>{escape(str(value))}</app:{name}>" for name, value in feature["properties"].items() if value is not None
    )
    if feature["geometry"] is not None:
        x, y = feature["geometry"]["coordinates"][:2]
        system = 'srsName="urn:ogc:def:crs:EPSG::4326" srsDimension="2"'
        parts += f"<app:geom><gml:Point {system}><gml:pos>{y} {x}</gml:pos></gml:Point></app:geom>"
    one = f"<app:{kind} gml:id={quoteattr(str(feature['id']))}>{parts}</app:{kind}>"
    return f"<wfs:member>{one}</wfs:member>" if new else one


def exception(code: str, locator: str, words: str, status: int = 200) -> Reply:
    where = f" locator={quoteattr(locator)}" if locator else ""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1" version="2.0.0">'
        f'<ows:Exception exceptionCode="{code}"{where}><ows:ExceptionText>{escape(words)}</ows:ExceptionText></ows:Exception>'
        "</ows:ExceptionReport>"
    )
    return Reply(status, {"content-type": "application/xml"}, body.encode())


ENGINE = Wfs()
