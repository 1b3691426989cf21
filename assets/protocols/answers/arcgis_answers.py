"""What the answers of ArcGIS servers say: a layer of itself, a page of what follows it, errors with status 200 (protocols.md 3.3).

Pure; what is asked is `arcgis.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assets.protocols.answers.http_answers import retry_after
from assets.protocols.answers.json_answers import in_words
from assets.protocols.answers.json_pages import Around
from assets.protocols.answers.numbers import whole_number
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    RateLimited,
    Request,
    Transient,
)

COUNT = "count"
"""The cursor of the last page: how many features the layer counts."""


@dataclass(frozen=True)
class Layer:
    """What a layer says of itself. `oid`: its field of object ids; `size`: features of a page; `edited`: epoch ms."""

    oid: str
    size: int
    offsets: bool
    edited: int | None


def layer_of(told: Any, wanted: int | None, paging: str) -> Layer | None:
    """What the layer says of itself; None where that is not enough to ask it."""
    if not isinstance(told, dict):
        return None
    listed = told.get("fields")
    fields = [field for field in listed if isinstance(field, dict)] if isinstance(listed, list) else []
    typed = (field.get("name") for field in fields if field.get("type") == "esriFieldTypeOID")
    oid = told.get("objectIdField") or next(typed, None)
    most, edited = whole_number(told.get("maxRecordCount")), None
    size = min(wanted or most, most) if most else wanted
    if not isinstance(oid, str) or not re.fullmatch(r"[\w.]{1,128}", oid) or not size:
        return None
    if isinstance(editing := told.get("editingInfo"), dict):
        edited = whole_number(editing.get("lastEditDate"))
    advanced = told.get("advancedQueryCapabilities")
    supported = (advanced if isinstance(advanced, dict) else told).get("supportsPagination", told.get("supportsPagination"))
    return Layer(oid, size, paging == "offset" or (paging == "auto" and supported is True), edited)


def page_of(request: Request, query: Mapping[str, str], seen: Around, whole: Mapping[str, Any] | None, tail: bytes) -> Outcome:
    """A page of features. Only exceededTransferLimit says whether there are more: a page may be short or empty before the end."""
    more = str(seen.fields.get("exceededTransferLimit")).lower() == "true"
    empty = whole is not None and whole.get("features") == []
    offset, size = whole_number(query.get("resultOffset")), whole_number(query.get("resultRecordCount"))
    if not more:
        return Empty("no features") if empty and request.page == 1 else Ok(PageInfo(next_cursor=COUNT))
    if offset is not None and size:
        return Ok(PageInfo(next_cursor=str(offset + size)))
    oid, text = query.get("orderByFields", "").partition(" ")[0], tail.decode("utf-8", "replace")
    ids = re.findall(rf'(?<!\\)"{re.escape(oid)}"\s*:\s*(\d{{1,18}})\b', text) if oid else []
    if not ids:
        return Malformed(f"more features are promised, and the end of the page has no {oid or 'object id'} to go on from")
    return Ok(PageInfo(next_cursor=ids[-1]))


def row_of(feature: Any) -> Any:
    """The attributes, and beside them the geometry; what is no feature stays as it is, and is a broken record."""
    if not isinstance(feature, dict):
        return feature
    named = feature.get("attributes", feature.get("properties"))
    if not isinstance(named, dict):
        return "a feature without attributes"
    ident = {"id": feature["id"]} if "id" in feature else {}
    return {**ident, **named, **({"geometry": feature["geometry"]} if isinstance(feature.get("geometry"), dict) else {})}


def error_of(told: Any, status: int, headers: Mapping[str, str]) -> Outcome:
    """The outcome of the error in a body, whatever the status above it."""
    told = told if isinstance(told, dict) else {"message": told}
    code = whole_number(told.get("code")) or status
    details = told.get("details")
    said = [in_words(told.get("message")), *(in_words(one) for one in (details if isinstance(details, list) else [details]) if one)]
    why = in_words(f"error {code}: {'; '.join(said)}")
    if code in (498, 499):
        return AuthFailed(why, "get a new token from the server's /generateToken" if code == 498 else "the layer wants a token")
    if code in (401, 403):
        return AuthFailed(why)
    if code in (404, 410):
        return Gone(why)
    if code == 429:
        return RateLimited(retry_after(headers), why)
    if 500 <= code < 600:
        return Transient(why)
    return BadRequest(why) if 400 <= code < 500 else Malformed(why)
