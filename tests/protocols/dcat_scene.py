"""What the tests of the two DCAT protocols share: feeds of a catalogue in RDF, its rows, pages of it. No test stands here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from threading import Thread
from typing import Any

from assets.feeds.model import Feed
from assets.protocols.kernel import Body, PageInfo
from tests.protocols.standin_scene import feed_for, parsed

CATALOGUE = "https://open.example/catalog"
KEYS = ("uri", "title", "publisher", "modified", "distributions")
ROUTE: dict[str, Any] = {"kind": "dcat_rdf", "host": "open.example", "path": "/"}
FORMS = ("ttl", "rdf", "jsonld", "nt")
TURTLE = (
    "@prefix dcat: <http://www.w3.org/ns/dcat#> . @prefix dct: <http://purl.org/dc/terms/> . @prefix foaf: "
    "<http://xmlns.com/foaf/0.1/> . @prefix hydra: <http://www.w3.org/ns/hydra/core#> . @prefix skos: "
    "<http://www.w3.org/2004/02/skos/core#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
)


def rdf_feed(form: str = "ttl", columns: Sequence[str | dict[str, Any]] = KEYS, **parts: Any) -> Feed:
    """A feed of the catalogue in this form; parts of the source by name, `parts` of the feed."""
    source = {"protocol": "dcat_rdf", "url": f"{CATALOGUE}.{form}"} | parts.pop("source", {})
    return feed_for(source, columns, **parts)


def rows(count: int, start: int = 1) -> list[dict[str, Any]]:
    """Data sets as the stand-in has them."""
    return [
        {
            "uri": f"https://open.example/dataset/d{n:03d}",
            "title": {"de": f"Brunnen {n}", "en": f"Wells & springs {n}"},
            "description": f"Level of <water> {n}.",
            "publisher": "Wasseramt",
            "issued": "2020-01-01",
            "modified": f"2026-{(n - 1) // 28 % 12 + 1:02d}-{(n - 1) % 28 + 1:02d}T08:00:00+00:00",
            "licence": "https://licence.example/by",
            "themes": ["https://theme.example/ENVI"],
            "keywords": {"de": ["Wasser", "Brunnen"], "en": ["water"]},
            "distributions": [{"url": f"https://files.example/{n}.csv", "format": "CSV"}] * (n % 3 > 0),
        }
        for n in range(start, start + count)
    ]


def read_rows(count: int) -> list[tuple[str, ...]]:
    return [
        (row["uri"], row["title"]["en"], row["publisher"], row["modified"], str(len(row["distributions"]))) for row in rows(count)
    ]


def page(folder: Path, feed: Feed, text: str | bytes, *, number: int = 1, url: str = f"{CATALOGUE}.ttl") -> Body:
    path = folder / f"page{number}"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Body(path, {}, url, page=number)


def turtle(folder: Path, text: str, columns: Sequence[str], **source: Any) -> list[tuple[str | None, ...]]:
    """The rows of one page in Turtle, whose prefixes are known."""
    feed = rdf_feed(columns=columns, source=source)
    return parsed(feed, [page(folder, feed, TURTLE + text)])


def info(folder: Path, text: str, *, number: int = 1, url: str = f"{CATALOGUE}.ttl?page=1", **source: Any) -> PageInfo | None:
    """What a page in Turtle says of itself."""
    feed = rdf_feed(source=source)
    stream = feed.protocol.parse(feed, feed.source, [page(folder, feed, TURTLE + text, number=number, url=url)])
    for _ in stream.batches:
        pass
    return stream.page


@contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """A server on loopback: its address, and what was asked of it, which should stay empty."""
    asked: list[bytes] = []
    with create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + b'{"@context": {}}')

        thread = Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(2)
    thread.join(5)
