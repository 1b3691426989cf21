"""Two hundred feeds on twenty hosts at once, from several processes that share one ledger: is every host's limit kept?

The server counts: requests that were open at once at each host, and requests within any one second. At half of the hosts the pace
binds, at the others, which answer slowly, the places. Beside the time stands the shortest that the limits allow.
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
HOLD_S = (0.05, 0.6)
"""How long the server keeps a request open, in turn from host to host: at the one kind the pace binds, at the other the places."""


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
    requests = sum(map(len, seen.values()))
    if requests != feeds * PAGES:
        raise BenchmarkFailed(f"{requests} requests for {feeds} feeds of {PAGES} pages")
    each = requests // hosts
    rows = tuple(_row(f"the {name}", kind, seen, each) for kind, name in enumerate(("pace", "places")))
    say(f"{requests} requests in {seconds:.1f} s, no host's limit exceeded")
    columns = ("what binds", "hosts", "requests", "seconds", "shortest allowed", "most at once", "most in 1 s", "in 3 s")
    title = (
        f"{feeds} feeds on {hosts} hosts at once, from {processes} processes, in {seconds:.1f} s; each host with {CONCURRENCY} "
        f"requests at once and {PER_SECOND:.0f} a second"
    )
    notes = (
        f"a request stays open for {HOLD_S[0]} s at the first kind of hosts, {HOLD_S[1]} s at the second; the most at any one host",
    )
    return [Table(title, columns, rows, notes)]


def _row(binds: str, kind: int, seen: dict[str, list[list[float]]], each: int) -> tuple[Cell, ...]:
    """One kind of hosts. Raises BenchmarkFailed where one of them got more than it allows."""
    spans_of = [spans for host, spans in seen.items() if _kind(host) == kind]
    at_once = max(map(_at_once, spans_of))
    in_a_second, in_three = (max(_within(sorted(at for at, _ in spans), span_s) for spans in spans_of) for span_s in (1.0, 3.0))
    if at_once > CONCURRENCY or in_three > 3 * PER_SECOND + 2:
        raise BenchmarkFailed(f"{binds}: {at_once} open at once, {in_three} within three seconds at one host")
    lasted = max(max(end for _, end in spans) - min(at for at, _ in spans) for spans in spans_of)
    shortest = max(each / PER_SECOND, each * HOLD_S[kind] / CONCURRENCY)
    return binds, len(spans_of), sum(map(len, spans_of)), lasted, shortest, at_once, in_a_second, in_three


def _kind(host: str) -> int:
    return int(host.removeprefix("agency").partition(".")[0]) % len(HOLD_S)


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
            await asyncio.sleep(HOLD_S[_kind(host)])
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
