"""The small web server beside the Dagster UI: reports and released sets, read from the store, on loopback only.

It serves `reports/` and `sets/` and nothing else of the store: the archive and the quarantine hold values.
"""

from __future__ import annotations

import html
import mimetypes
from pathlib import PurePosixPath

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from assets.store import Store

SERVED = ("reports", "sets")
TEXT_TYPES = {".md": "text/markdown", ".jsonld": "application/ld+json", ".parquet": "application/vnd.apache.parquet"}


def create_app(store: Store) -> Starlette:
    """ASGI app over one store. A folder answers with a listing, an object with its bytes and honours Range."""

    async def serve(request: Request) -> Response:
        key = request.path_params.get("key", "").strip("/")
        parts = PurePosixPath(key).parts
        if not parts:
            return _listing("", list(SERVED))
        if parts[0] not in SERVED or ".." in parts:
            return PlainTextResponse("Only reports/ and sets/ are served.\n", status_code=404)
        try:
            data = await run_in_threadpool(store.get_bytes, key)
        except (FileNotFoundError, IsADirectoryError, OSError):
            names = await run_in_threadpool(_children, store, key)
            return _listing(key, names) if names else PlainTextResponse(f"There is no {key}.\n", status_code=404)
        suffix = PurePosixPath(key).suffix
        media_type = TEXT_TYPES.get(suffix) or mimetypes.guess_type(key)[0] or "application/octet-stream"
        headers = {"X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes"}
        span = _range(request.headers.get("range"), len(data))
        if span is not None:
            start, end = span
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            return Response(data[start:end], status_code=206, media_type=media_type, headers=headers)
        return Response(data, media_type=media_type, headers=headers)

    return Starlette(routes=[Route("/", serve), Route("/{key:path}", serve)])


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span of a single `bytes=a-b` range, or None to answer with everything."""
    if not header or not header.startswith("bytes=") or "," in header:
        return None
    first, _, last = header.removeprefix("bytes=").partition("-")
    try:
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
    except ValueError:
        return None
    return (start, end) if 0 <= start < end else None


def _children(store: Store, folder: str) -> list[str]:
    """Names directly below a folder, folders with a trailing slash."""
    depth = len(PurePosixPath(folder).parts)
    names = set()
    for key in store.list(folder):
        parts = PurePosixPath(key).parts
        if not any(part.startswith(".") for part in parts):
            names.add(parts[depth] + ("/" if len(parts) > depth + 1 else ""))
    return sorted(names)


def _listing(key: str, names: list[str]) -> HTMLResponse:
    rows = "".join(
        f'<li><a href="/{html.escape(key + "/" if key else "")}{html.escape(name)}">{html.escape(name)}</a></li>' for name in names
    )
    title = f"Madang · {html.escape(key) or 'reports and sets'}"
    return HTMLResponse(f'<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><ul>{rows}</ul>')
