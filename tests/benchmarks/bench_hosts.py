"""Two hundred feeds on twenty hosts at once, from several processes that share one ledger: is every host's limit kept?

The server counts: requests that were open at once at each host, and requests within any one second. Beside the time stands the
shortest that the declared pace allows.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import ROOT, BenchmarkFailed, say
from tests.benchmarks.pages_server import ROWS, feed_of_pages, page, reply, served_by, until_told
from tests.benchmarks.tables import Cell, Table

NAME = "hosts"

HOSTS, FEEDS, PAGES, PROCESSES = 20, 200, 5, 4
PER_SECOND, CONCURRENCY = 10.0, 2
HOLD_S = 0.05
"""How long the server keeps a request open, so that requests at once would be seen."""


def run(quick: bool) -> list[Table]:
    hosts, feeds = (2, 8) if quick else (HOSTS, FEEDS)
    processes = 2 if quick else PROCESSES
    with TemporaryDirectory(prefix="madang-bench-") as folder:
        seen_at = Path(folder) / "seen.json"
        here = "tests.benchmarks.bench_hosts"
        with served_by(here, "serve", str(seen_at)) as url:
            started = time.perf_counter()
            command = [sys.executable, "-m", here, "collect", url, folder]
            collectors = [
                subprocess.Popen([*command, str(n), str(processes), str(feeds), str(hosts)], cwd=ROOT) for n in range(processes)
            ]
            codes = [collector.wait() for collector in collectors]
            seconds = time.perf_counter() - started
        if any(codes):
            raise BenchmarkFailed(f"a collector ended with {codes}")
        seen = json.loads(seen_at.read_text(encoding="utf-8"))
    arrivals = {host: [at for at, _ in spans] for host, spans in seen.items()}
    at_once = max(_at_once(spans) for spans in seen.values())
    in_a_second, in_three = (max(_within(sorted(times), span_s) for times in arrivals.values()) for span_s in (1.0, 3.0))
    requests = sum(map(len, arrivals.values()))
    if requests != feeds * PAGES or at_once > CONCURRENCY or in_three > 3 * PER_SECOND + 2:
        raise BenchmarkFailed(f"{requests} requests, {at_once} open at once, {in_a_second} within a second")
    say(f"{requests} requests in {seconds:.1f} s; at most {at_once} at once and {in_a_second} a second at one host")
    shortest = feeds / hosts * PAGES / PER_SECOND
    row: tuple[Cell, ...] = (feeds, hosts, processes, requests, seconds, shortest, at_once, in_a_second, in_three)
    columns = ("feeds", "hosts", "processes", "requests", "seconds", "shortest allowed", "most at once", "most in 1 s", "in 3 s")
    title = f"{feeds} feeds on {hosts} hosts at once, each host with {CONCURRENCY} requests at once and {PER_SECOND:.0f} a second"
    return [Table(title, columns, (row,), ("the most at any one host; seconds hold the start of the processes",))]


def _at_once(spans: list[list[float]]) -> int:
    edges = sorted([(at, 1) for at, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    return most


def _within(times: list[float], span_s: float) -> int:
    """The most arrivals within so many seconds. What leaves at its pace may arrive in a bunch on a busy machine."""
    return max(sum(1 for at in times[n:] if at < start + span_s) for n, start in enumerate(times))


# --- the server -------------------------------------------------------------------------------------------------------------


async def _serve(seen_at: str) -> None:
    seen: dict[str, list[list[float]]] = defaultdict(list)
    total = PAGES * ROWS

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().split("\r\n")
            host = next(line[6:] for line in lines if line.lower().startswith("host: "))
            offset = int(lines[0].partition("offset=")[2].partition(" ")[0].partition("&")[0])
            start = time.monotonic()
            await asyncio.sleep(HOLD_S)
            body = page(offset, total)
            seen[host].append([start, time.monotonic()])
            writer.write(reply(body))
            await writer.drain()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    await until_told(await asyncio.start_server(until_closed, "127.0.0.1", 0))
    Path(seen_at).write_text(json.dumps(seen), encoding="utf-8")


# --- a collector ------------------------------------------------------------------------------------------------------------


def _feed(number: int, hosts: int) -> Any:
    # every other feed of a host asks for pages ahead, and must leave the others their places
    limits = {"per_second": PER_SECOND, "concurrency": CONCURRENCY, "pages_at_once": CONCURRENCY if number // hosts % 2 else 1}
    return feed_of_pages(f"kr.bench.f{number}", f"agency{number % hosts}.example", f"r{number}", limits, ("_id",))


async def _collect(url: str, folder: str, which: int, processes: int, feeds: int, hosts: int) -> None:
    from assets.archive.ledger import Ledger
    from assets.protocols.fetching import FetchDeps, fetch
    from assets.store import Store
    from assets.transport.http import TransportSettings

    store, ledger = Store(f"file://{folder}/store"), Ledger(f"sqlite:///{folder}/ledger.db")
    deps = FetchDeps(store, ledger, TransportSettings(connect_to=url), {}, Path(folder) / f"work{which}")
    mine = [_feed(number, hosts) for number in range(which, feeds, processes)]
    records = await asyncio.gather(*(fetch(feed, deps=deps) for feed in mine))
    assert all(record.rows == PAGES * ROWS for record in records)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "serve":
        asyncio.run(_serve(*words))
    else:
        asyncio.run(_collect(words[0], words[1], *map(int, words[2:])))
