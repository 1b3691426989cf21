"""What the tests of the JSON protocols share: addresses as sent, bodies judged, pages read, hostile bodies. No test stands here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from assets.feeds.model import Feed
from assets.protocols.kernel import Body, Cursor, Outcome, Request, Response, Validators, When
from tests.protocols.standin_scene import NOW, parsed


def requests(feed: Feed, cursor: Cursor | None = None) -> list[Request]:
    """The first request (or the one at the cursor) of every step that a fetch at the scene's moment asks."""
    protocol, source = feed.protocol, feed.source
    steps = protocol.plan(feed, source, When(NOW))
    return [protocol.request(feed, source, step, cursor or Cursor(), Validators()) for step in steps]


def urls(feed: Feed, cursor: Cursor | None = None) -> list[str]:
    return [request.url for request in requests(feed, cursor)]


def said(feed: Feed, body: Any, status: int = 200, page: int = 1, complete: bool = True, **headers: str) -> Outcome:
    """What a response means; a body that is neither bytes nor text is sent as JSON."""
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    request = Request("https://agency.example/rows", page=page)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return feed.protocol.classify(feed.source, request, Response.of(raw, status, named, complete))


def read(folder: Path, feed: Feed, *pages: Any, url: str = "https://agency.example/rows") -> list[tuple[str | None, ...]]:
    bodies = []
    for n, page in enumerate(pages, 1):
        raw = page if isinstance(page, bytes) else json.dumps(page).encode()
        (folder / f"{n}").write_bytes(raw)
        bodies.append(Body(folder / f"{n}", {}, url, page=n))
    return parsed(feed, bodies)


def hostile(names: Sequence[str]) -> SearchStrategy[bytes]:
    """Bytes, text, and JSON of any shape that uses the protocol's own names."""
    inner = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    shapes = st.recursive(
        inner, lambda i: st.lists(i, max_size=3) | st.dictionaries(st.sampled_from(list(names)), i, max_size=4), max_leaves=12
    )
    return st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        shapes.map(lambda value: json.dumps(value).encode()),
        shapes.map(lambda value: json.dumps(value).encode()[:-1]),
    )


def judged(feed: Feed, body: bytes, status: int, complete: bool, length: int | None) -> Outcome:
    """Twice the same judgement, or it is not pure."""
    size = len(body) if length is None else length
    request = Request("https://agency.example/rows")
    once = feed.protocol.classify(feed.source, request, Response(status, {}, body, body, size, complete))
    assert once == feed.protocol.classify(feed.source, request, Response(status, {}, body, body, size, complete))
    assert isinstance(once, Outcome)
    return once
