"""A loopback server of small JSON pages, as plain as asyncio allows, so that the client is what is measured.

    python -m tests.benchmarks.pages_server PAGES

It speaks CKAN's datastore_search over PAGES pages of 20 rows, about 2 kB each, prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.benchmarks.measuring import ROOT

ROWS = 20
PATH = "/api/3/action/datastore_search"


def page(offset: int, total: int) -> bytes:
    """The body of one page, about 2 kB."""
    records = [
        {"_id": n, "station": f"관측소 {n % 97}", "measured_at": f"2026-11-{n % 28 + 1:02d} {n % 24:02d}:00", "pm10": str(n % 150),
         "pm25": None if n % 11 == 0 else str(n % 80), "flag": ""}
        for n in range(offset, min(offset + ROWS, total))
    ]  # fmt: skip
    result = {"include_total": True, "limit": ROWS, "records": records, "total": total, "total_was_estimated": False}
    return json.dumps({"help": "?", "success": True, "result": result}, ensure_ascii=False).encode()


class _Server(asyncio.Protocol):
    def __init__(self, bodies: list[bytes], total: int) -> None:
        self._bodies, self._total, self._rest = bodies, total, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            target = request.split(b" ", 2)[1].decode()
            number = int(parse_qs(urlsplit(target).query)["offset"][0]) // ROWS
            self._transport.write(self._bodies[number] if number < len(self._bodies) else reply(page(self._total, self._total)))


def reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def _serve(pages: int) -> None:
    total = pages * ROWS
    bodies = [reply(page(n * ROWS, total)) for n in range(pages)]
    await until_told(await asyncio.get_running_loop().create_server(lambda: _Server(bodies, total), "127.0.0.1", 0))


async def until_told(server: asyncio.Server) -> None:
    """Print the server's port, and go on when standard input ends."""
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def feed_of_pages(id_: str, host: str, resource: str, limits: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """A feed of such pages; its columns are text. Made where it is needed: the server loads nothing of Madang."""
    from assets.feeds.model import Feed

    source = {"protocol": "ckan", "base_url": f"http://{host}", "action": "datastore_search", "resource_id": resource}
    return Feed.model_validate(
        {
            "id": id_, "title": "Rows", "agency": {"name": "기관", "country": "KR"},
            "licence": {"id": "KOGL-1", "url": "https://agency.example/licence"}, "schedule": {"cron": "0 3 * * *"},
            "source": source | {"size": ROWS, "limits": limits},
            "contract": {"columns": [{"name": f"c{n}", "source": name, "type": "string"} for n, name in enumerate(columns)]},
        }
    )  # fmt: skip


def served(pages: int) -> AbstractContextManager[str]:
    """The pages from a process of their own while the block lasts; the address."""
    return served_by("tests.benchmarks.pages_server", str(pages))


@contextmanager
def served_by(module: str, *words: str) -> Iterator[str]:
    """A module that serves `until_told`, in a process of its own while the block lasts, and ended after it; its address."""
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
