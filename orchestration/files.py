"""The small web server beside the Dagster UI: reports and released sets, read from the store, on loopback only.

It serves `reports/` and `sets/` and nothing else of the store: the archive and the quarantine hold values. A browser gets
pages of a folder, a set and a release's card; a program, or `?raw`, gets the bytes of every file as they are.
"""

from __future__ import annotations

import json
import mimetypes
import re
from pathlib import Path, PurePosixPath

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from assets.store import Store
from orchestration import pages

SERVED = ("reports", "sets")
CARD, MANIFEST, INDEX = "README.md", "manifest.json", "index.json"
NAME = re.compile(r"[^.\x00-\x1f\x7f/\\<>][^\x00-\x1f\x7f/\\<>]{0,199}")
"""A part of a key that may be asked for; what begins with a dot is the store's own."""
TEXT_TYPES = {".md": "text/markdown", ".jsonld": "application/ld+json", ".cff": "application/yaml"}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # A page that tried to load anything from elsewhere would be refused by the browser.
    "Content-Security-Policy": "default-src 'self' data: 'unsafe-inline'; form-action 'none'; frame-ancestors 'self'",
    "Vary": "Accept",
}


def create_app(store: Store, cache: Path) -> Starlette:
    """ASGI app over one store. `cache`: folder for copies of immutable objects where the store is not local."""

    async def serve(request: Request) -> Response:
        key = request.path_params.get("key", "").strip("/")
        parts = key.split("/") if key else []
        if not parts:
            return HTMLResponse(pages.listing("", [f"{name}/" for name in SERVED]), headers=HEADERS)
        if parts[0] not in SERVED or not all(NAME.fullmatch(part) for part in parts):
            return PlainTextResponse("Only reports/ and sets/ are served.\n", status_code=404)
        for_people = "text/html" in request.headers.get("accept", "") and "raw" not in request.query_params
        if await run_in_threadpool(store.exists, key):
            if for_people and parts[0] == "sets" and parts[-1] == CARD:
                return HTMLResponse(await run_in_threadpool(_card, store, key.rpartition("/")[0]), headers=HEADERS)
            return await run_in_threadpool(_file, store, key, cache)
        page = await run_in_threadpool(_folder, store, key)
        if page is None:
            return PlainTextResponse(f"There is no {key}.\n", status_code=404)
        if not request.url.path.endswith("/"):
            return RedirectResponse(f"{request.url.path}/")
        return HTMLResponse(page, headers=HEADERS)

    return Starlette(routes=[Route("/", serve), Route("/{key:path}", serve)])


def _file(store: Store, key: str, cache: Path) -> Response:
    """The bytes of one object; parts of it by Range."""
    path = PurePosixPath(key)
    media_type = TEXT_TYPES.get(path.suffix) or mimetypes.guess_type(key)[0] or "application/octet-stream"
    if path.name == INDEX and not store.is_local:
        # The one object that changes under its name: never from the cache.
        return Response(store.get_bytes(key), media_type=media_type, headers=HEADERS)
    return FileResponse(store.local_path(key, cache), media_type=media_type, headers=HEADERS)


def _folder(store: Store, key: str) -> str | None:
    """The page of a folder, or None where nothing is below it."""
    depth = len(PurePosixPath(key).parts)
    names = set()
    for below in store.list(key):
        parts = PurePosixPath(below).parts
        if not any(part.startswith(".") for part in parts):
            names.add(parts[depth] + ("/" if len(parts) > depth + 1 else ""))
    if not names:
        return None
    if key.startswith("sets/") and CARD in names:
        return _card(store, key)
    if key.startswith("sets/") and INDEX in names:
        return pages.releases(key, json.loads(store.get_bytes(f"{key}/{INDEX}")))
    return pages.listing(key, sorted(names))


def _card(store: Store, folder: str) -> str:
    manifest = json.loads(store.get_bytes(f"{folder}/{MANIFEST}")) if store.exists(f"{folder}/{MANIFEST}") else None
    names = [] if manifest else sorted(key.removeprefix(f"{folder}/") for key in store.list(folder))
    return pages.card(folder, store.get_bytes(f"{folder}/{CARD}").decode(), manifest, names)
