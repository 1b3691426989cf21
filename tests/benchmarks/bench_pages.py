"""Ten thousand pages of 2 kB from a loopback server, archived and parsed into Parquet, beside dlt and beside bare aiohttp.

dlt does the same job without an archive: a REST source with an offset paginator into Parquet files. aiohttp only downloads, with as
many requests at once as the feed allows Madang, and one after another.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import BenchmarkFailed, measured, say
from tests.benchmarks.pages_server import PATH, ROWS, feed_of_pages, served
from tests.benchmarks.tables import Cell, Table, ratio

NAME = "pages"

PAGES, FEW = 10_000, 300
AT_ONCE = 8
COLUMNS = ("_id", "station", "measured_at", "pm10", "pm25", "flag")


def run(quick: bool) -> list[Table]:
    pages = FEW if quick else PAGES
    kinds = [
        (f"aiohttp, downloads only, {AT_ONCE} at once", "aiohttp_only", (pages, AT_ONCE)),
        ("aiohttp, downloads only, one after another", "aiohttp_only", (pages, 1)),
        (f"Madang, WARC and Parquet, {AT_ONCE} at once", "madang", (AT_ONCE,)),
        ("Madang, WARC and Parquet, one after another", "madang", (1,)),
        ("dlt, Parquet", "dlt_pipeline", ()),
    ]
    found: list[tuple[str, float, float, int]] = []
    with served(pages) as url:
        for label, function, more in kinds:
            with TemporaryDirectory(prefix="madang-bench-") as folder:
                done = measured(f"tests.benchmarks.bench_pages:{function}", url, folder, *more)
            came, seconds, cpu_s = done.answer
            if came != (pages * ROWS if function != "aiohttp_only" else pages):
                raise BenchmarkFailed(f"{label}: {came} came of {pages} pages of {ROWS} rows")
            say(f"{label}: {seconds:.1f} s, {cpu_s:.1f} s of processor, {pages / seconds:,.0f} pages/s, {done.peak_mb} MB")
            found.append((label, seconds, cpu_s, done.peak_mb))
    fastest, dlt = found[0][1], found[-1][1]
    rows: list[tuple[Cell, ...]] = [
        (label, seconds, cpu_s, round(pages / seconds), peak, ratio(fastest, seconds), ratio(dlt, seconds))
        for label, seconds, cpu_s, peak in found
    ]
    columns = ("what", "seconds", "processor s", "pages/s", "peak MB", "speed, of the fastest download", "speed, of dlt")
    title = f"{pages:,} pages of 2 kB ({ROWS} rows each) from a loopback server, libraries loaded before"
    return [Table(title, columns, tuple(rows))]


class _Clock:
    """Seconds and processor seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def answer(self, came: int) -> tuple[int, float, float]:
        return came, time.perf_counter() - self._wall, time.process_time() - self._cpu


def aiohttp_only(url: str, folder: str, pages: int, at_once: int) -> tuple[int, float, float]:
    import aiohttp

    async def all_pages() -> int:
        numbers, came = iter(range(pages)), 0
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def some() -> None:
                nonlocal came
                for number in numbers:
                    async with session.get(f"{url}{PATH}?limit={ROWS}&offset={number * ROWS}") as response:
                        await response.read()
                    came += 1

            await asyncio.gather(*(some() for _ in range(at_once)))
        return came

    clock = _Clock()
    return clock.answer(asyncio.run(all_pages()))


def madang(url: str, folder: str, at_once: int) -> tuple[int, float, float]:
    """One fetch with its archive and ledger, then the archived bodies parsed into the staged Parquet. Rows in it."""
    import pyarrow.parquet as pq

    from assets.archive.fetches import open_bodies
    from assets.archive.ledger import Ledger
    from assets.protocols.fetching import FetchDeps, run_fetch
    from assets.store import Store
    from assets.tables.staging import stage
    from assets.transport.http import TransportSettings

    limits = {"concurrency": at_once, "pages_at_once": at_once, "max_pages": 1_000_000}
    feed = feed_of_pages("kr.bench.rows", "agency.example", "r", limits, COLUMNS)
    home = Path(folder)
    store, ledger = Store(f"file://{home}/store"), Ledger(f"sqlite:///{home}/ledger.db")
    deps = FetchDeps(store, ledger, TransportSettings(connect_to=url), {}, home / "work")
    clock = _Clock()
    record = run_fetch(feed, deps=deps)
    bodies = open_bodies(store, ledger, record, home / "bodies")
    stage(feed, feed.protocol.parse(feed, feed.source, bodies), home / "staged.parquet")
    return clock.answer(pq.read_metadata(home / "staged.parquet").num_rows)


def dlt_pipeline(url: str, folder: str) -> tuple[int, float, float]:
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": f"{folder}/dlt", "RUNTIME__LOG_LEVEL": "ERROR"}
    import dlt
    import pyarrow.dataset as ds
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

    client = RESTClient(url, paginator=OffsetPaginator(limit=ROWS, total_path="result.total"), data_selector="result.records")

    @dlt.resource(name="rows", write_disposition="replace")
    def rows() -> Any:
        yield from client.paginate(PATH)

    destination = dlt.destinations.filesystem(bucket_url=f"file://{folder}/out")
    pipeline = dlt.pipeline("bench", destination=destination, dataset_name="bench", pipelines_dir=f"{folder}/pipelines")
    clock = _Clock()
    pipeline.run(rows(), loader_file_format="parquet")
    return clock.answer(ds.dataset(f"{folder}/out/bench/rows", format="parquet").count_rows())
