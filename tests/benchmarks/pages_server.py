"""A loopback server of small JSON pages, as plain as asyncio allows, so that the client is what is measured.

    python -m tests.benchmarks.pages_server PAGES

It speaks CKAN's datastore_search over PAGES pages of 20 rows, about 2 kB each, prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
            self._transport.write(self._bodies[number] if number < len(self._bodies) else _reply(page(self._total, self._total)))


def _reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def _serve(pages: int) -> None:
    total = pages * ROWS
    bodies = [_reply(page(n * ROWS, total)) for n in range(pages)]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Server(bodies, total), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def served(pages: int) -> Iterator[str]:
    """The server in a process of its own while the block lasts; its address."""
    command = [sys.executable, "-m", "tests.benchmarks.pages_server", str(pages)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
