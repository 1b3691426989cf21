"""A layer of an ArcGIS server over the rows of a JSON list of features: pages by offset or object id (protocols.md 3.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, json_reply, rows_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

MESSAGES = {
    400: ("Unable to complete operation.", "Unable to perform query operation."),
    403: ("You do not have permissions to access this resource or perform this operation.", ""),
    404: ("Layer not found", ""),
    429: ("Too many requests", ""),
    498: ("Invalid token.", ""),
    499: ("Token Required", ""),
    500: ("Error performing query operation", ""),
}
TERM = re.compile(r"\(*\s*([\w.]+)\s*(>=|<=|=|>|<)\s*(?:TIMESTAMP '([^']*)'|'([^']*)'|(-?\d+))\s*\)*")


class ArcgisOptions(Strict):
    """One layer. `edited`: when it was last edited, epoch ms; `token`: whether it wants the stand-in's key.

    `codes`: field → code → name; `types`: more of what the layer says of itself, as it stands.
    """

    object_id: str = "OBJECTID"
    most: int | None = 2000
    pagination: bool = True
    edited: int | None = None
    token: bool = False
    codes: dict[str, dict[str, str]] = Field(default_factory=dict)
    types: dict[str, Any] = Field(default_factory=dict)


class Arcgis(Engine):
    """The layer at its address, its features at /query. Errors come with status 200."""

    name: ClassVar[str] = "arcgis"
    Options: ClassVar[type[Strict]] = ArcgisOptions
    PREFIX: ClassVar[bool] = True
    METHODS: ClassVar[tuple[str, ...]] = ("GET", "POST", "HEAD")
    SECRETS: ClassVar[tuple[str, ...]] = (r"(token=)([^&]*)",)
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "short_page_more_true", "empty_page_more_true", "offset_ignored", "duplicate_rows_between_pages", "page_size_capped",
            "total_changes_mid_crawl", "arcgis_error", "arcgis_endless", "rows_revised",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, ArcgisOptions)
        params = asked.params | dict(parse_qsl(asked.body.decode("utf-8", "replace"), keep_blank_values=True))
        if broken := asked.fault("arcgis_error"):
            return error(broken.number(400))
        if options.token and params.get("token") != asked.key:
            return error(498 if params.get("token") else 499)
        features = list(rows_of(source))
        if asked.path.rstrip("/") == route.path:
            return json_reply(_about(options, features, asked))
        if not asked.path.endswith("/query") or params.get("f") not in ("json", "geojson"):
            return error(400)
        try:
            features = [f for f in features if _fits(f["attributes"], params.get("where", ""))]
        except ValueError:
            return error(400)
        features.sort(key=lambda feature: feature["attributes"][options.object_id])
        if params.get("returnCountOnly") == "true":
            changing = asked.fault("total_changes_mid_crawl")
            return json_reply({"count": len(features) + (1 if changing else 0)})
        if params.get("orderByFields") != f"{options.object_id} ASC":
            features.reverse()  # without an order any order is as good
        found, more = _page(features, params, options, asked)
        return json_reply(_shown(found, more, params, options))


def _about(options: ArcgisOptions, features: list[Row], asked: Asked) -> dict[str, Any]:
    names = list(features[0]["attributes"]) if features else [options.object_id]
    kinds = {options.object_id: "esriFieldTypeOID"}
    edited = options.edited + 86_400_000 if options.edited and asked.fault("rows_revised") else options.edited
    return {
        "currentVersion": 11.2, "id": 0, "name": "Layer", "type": "Feature Layer", "geometryType": "esriGeometryPoint",
        "fields": [
            {"name": name, "type": kinds.get(name, "esriFieldTypeString"), "domain": _domain(options.codes.get(name))}
            for name in names
        ],
        **options.types,
        **({"objectIdField": options.object_id, "editingInfo": {"lastEditDate": edited}} if edited else {}),
        **({"maxRecordCount": options.most} if options.most else {}),
        "advancedQueryCapabilities": {"supportsPagination": options.pagination},
    }  # fmt: skip


def _domain(codes: dict[str, str] | None) -> dict[str, Any] | None:
    if codes is None:
        return None
    listed = [{"name": name, "code": int(code) if code.isdigit() else code} for code, name in codes.items()]
    return {"type": "codedValue", "name": "domain", "codedValues": listed}


def _page(features: list[Row], params: dict[str, str], options: ArcgisOptions, asked: Asked) -> tuple[list[Row], bool]:
    """The features of a page and whether there are more. By offset a page is cut before what the index lets through is filtered."""
    most = options.most or 1000
    if not options.pagination or "resultOffset" not in params:
        kept = features[: max(1, most // 2)] if asked.fault("short_page_more_true") else features[:most]
        return kept, len(kept) < len(features) or asked.fault("arcgis_endless") is not None
    size = min(int(params.get("resultRecordCount", most)), most)
    start = 0 if asked.fault("offset_ignored") else int(params["resultOffset"])
    slots: list[Row | None] = list(features)
    if asked.fault("short_page_more_true"):
        slots = [slot for feature in features for slot in (None, feature)]
    if hole := asked.fault("empty_page_more_true"):
        slots = [*features[:size], *([None] * size * hole.number(1)), *features[size:]]
    if asked.fault("duplicate_rows_between_pages") and 0 < start <= len(slots):
        slots[start - 1 : start] = [slots[start - 1]] * 2
    if asked.fault("arcgis_endless"):
        return [], True
    taken = slots[start : start + size]
    more = start + size < len(slots)
    if capped := asked.fault("page_size_capped"):
        more, taken = more or len(taken) > capped.number(10), taken[: capped.number(10)]
    return [slot for slot in taken if slot is not None], more


def _shown(found: list[Row], more: bool, params: dict[str, str], options: ArcgisOptions) -> dict[str, Any]:
    """As Esri's JSON or as GeoJSON, with the fields that were asked for. Only `true` is said of more."""
    wanted = params.get("outFields", "*")
    keep = None if wanted == "*" else set(wanted.split(",")) | {options.object_id}
    shown = [({k: v for k, v in f["attributes"].items() if keep is None or k in keep}, f.get("geometry")) for f in found]
    with_geometry = params.get("returnGeometry", "true") == "true"
    if params["f"] == "geojson":
        points = [None if g is None or not with_geometry else {"type": "Point", "coordinates": [g["x"], g["y"]]} for _, g in shown]
        features = [
            {"type": "Feature", "id": a[options.object_id], "geometry": point, "properties": a}
            for (a, _), point in zip(shown, points, strict=True)
        ]
        about = {"properties": {"exceededTransferLimit": True}} if more else {}
        return {"type": "FeatureCollection", "features": features, **about}
    flag = {"exceededTransferLimit": True} if more else {}
    rows = [{"attributes": a, **({"geometry": g} if g is not None and with_geometry else {})} for a, g in shown]
    return {"objectIdFieldName": options.object_id, **flag, "fields": [{"name": options.object_id}], "features": rows}


def _fits(row: Row, where: str) -> bool:
    """Whether a row fits conditions joined by AND. Raises ValueError where a condition is none that the stand-in knows."""
    for term in re.split(r"\s+AND\s+", where):
        if term.strip("() ") == "1=1":
            continue
        match = TERM.fullmatch(term.strip())
        if match is None or match[1] not in row:
            raise ValueError(term)
        value: Any = row[match[1]]
        other: Any = match[4] if match[4] is not None else int(match[5]) if match[5] else None
        if match[3] is not None:
            other = int(datetime.fromisoformat(match[3]).replace(tzinfo=UTC).timestamp() * 1000)
        if value is None or not {
            ">": lambda a, b: a > b, "<": lambda a, b: a < b, "=": lambda a, b: a == b,
            ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b,
        }[match[2]](value, other):  # fmt: skip
            return False
    return True


def error(code: int, status: int = 200) -> Reply:
    message, detail = MESSAGES.get(code, ("Unexpected error", ""))
    return json_reply({"error": {"code": code, "message": message, "details": [detail] if detail else []}}, status)


ENGINE = Arcgis()
