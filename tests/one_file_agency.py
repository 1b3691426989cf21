"""A Madang home with one declared feed, and a server on loopback that gives the same bytes to whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@dataclass
class OneFileAgency:
    """`answer`: what every request gets; `declaration`: the feed's `feed.yaml`, to be written by the test."""

    declaration: Path
    answer: bytes = b""


@contextmanager
def one_file_agency(folder: Path, feed: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneFileAgency]:
    """Served while the block lasts; Madang's settings name a new home below the folder and connect to this server alone."""
    agency = OneFileAgency(folder / "feeds" / feed / "feed.yaml")
    agency.declaration.parent.mkdir(parents=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(agency.answer)))
            self.end_headers()
            self.wfile.write(agency.answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("MADANG_STORE", "MADANG_SETS", "MADANG_LEDGER", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MADANG_HOME", str(folder / "home"))
    monkeypatch.setenv("MADANG_FEEDS", str(folder / "feeds"))
    monkeypatch.setenv("MADANG_CONNECT_TO", f"http://127.0.0.1:{server.server_port}")
    try:
        yield agency
    finally:
        server.shutdown()
        server.server_close()
