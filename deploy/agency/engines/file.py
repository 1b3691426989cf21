"""Plain files: the bytes as they lie there, with validators. The USGS feeds are files too."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from deploy.agency.engine import Asked, Engine
from deploy.agency.replies import Reply, etag_of, http_date

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

_CONTENT_TYPES = {".csv": "text/csv", ".geojson": "application/json; charset=utf-8", ".json": "application/json;charset=UTF-8"}


class File(Engine):
    """One file a route."""

    name: ClassVar[str] = "file"

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        body = source.path.read_bytes()
        headers = {
            "content-type": _CONTENT_TYPES.get(source.path.suffix, "application/octet-stream"),
            "last-modified": http_date(source.modified),
            "etag": etag_of(body),
            "accept-ranges": "bytes",
        }
        return Reply(200, headers, body)


ENGINE = File()
