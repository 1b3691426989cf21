"""Ten thousand pages of 2 kB from a loopback server, archived and parsed into Parquet, beside dlt and beside bare aiohttp.

dlt does the same job without an archive: a REST source with an offset paginator into Parquet files. aiohttp only downloads, with as
many requests at once as the feed allows Madang, and one after another. Two whole fetches of half the pages each, in two processes
side by side, show what a fetch could come to at most if its work were spread over processes.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import BenchmarkFailed, measured, say
from tests.benchmarks.pages_server import PATH, ROWS, feed_of_pages, served
from tests.benchmarks.tables import Cell, Table, ratio

NAME = "pages"

PAGES, FEW, WARM = 10_000, 300, 20
AT_ONCE = 8
COLUMNS = ("_id", "station", "measured_at", "pm10", "pm25", "flag")


def run(quick: bool) -> list[Table]:
    pages = FEW if quick else PAGES
    kinds = [
        (f"aiohttp, downloads only, {AT_ONCE} at once", "aiohttp_only", AT_ONCE),
        ("aiohttp, downloads only, one after another", "aiohttp_only", 1),
        (f"Madang, WARC and Parquet, {AT_ONCE} at once", "madang", AT_ONCE),
        ("Madang, WARC and Parquet, one after another", "madang", 1),
        ("dlt, Parquet", "dlt_pipeline", 1),
    ]
    found: list[tuple[str, float, float, int]] = []
    with served(WARM) as warm, served(pages) as url:
        for label, function, at_once in kinds:
            with TemporaryDirectory(prefix="madang-bench-") as folder:
                done = measured("tests.benchmarks.bench_pages:timed", function, [[warm, WARM], [url, pages]], folder, at_once)
            came, seconds, cpu_s = done.answer
            if came != pages * ROWS:
                raise BenchmarkFailed(f"{label}: {came} rows came of {pages} pages of {ROWS}")
            say(f"{label}: {seconds:.1f} s, {cpu_s:.1f} s of processor, {pages / seconds:,.0f} pages/s, {done.peak_mb} MB")
            found.append((label, seconds, cpu_s, done.peak_mb))
    with served(WARM) as warm, served(pages // 2) as one, served(pages // 2) as other, TemporaryDirectory() as folder:
        done = measured("tests.benchmarks.bench_pages:side_by_side", warm, [one, other], pages // 2, folder, AT_ONCE)
    came, seconds, cpu_s = done.answer
    if came != pages * ROWS:
        raise BenchmarkFailed(f"side by side: {came} rows came of {pages} pages of {ROWS}")
    found.insert(-1, (f"Madang, two fetches of half the pages, {AT_ONCE} at once each", seconds, cpu_s, done.peak_mb))
    fastest, alone, dlt = found[0][1], found[1][1], found[-1][1]
    rows: list[tuple[Cell, ...]] = [
        (label, seconds, cpu_s, round(pages / seconds), peak, ratio(fastest, seconds), ratio(alone, seconds), ratio(dlt, seconds))
        for label, seconds, cpu_s, peak in found
    ]
    columns = ("what", "seconds", "processor s", "pages/s", "peak MB", f"speed, of {AT_ONCE} at once", "of one by one", "of dlt")
    title = f"{pages:,} pages of 2 kB ({ROWS} rows each) from a loopback server, each after {WARM} pages that load its libraries"
    return [Table(title, columns, tuple(rows))]


def timed(function: str, jobs: list[tuple[str, int]], folder: str, at_once: int) -> tuple[int, float, float]:
    """The rows, seconds and processor seconds of the last of the jobs, each an address and a number of pages."""
    for number, (url, pages) in enumerate(jobs):
        place = Path(folder) / str(number)
        place.mkdir()
        wall, cpu = time.perf_counter(), time.process_time()
        came = {"aiohttp_only": aiohttp_only, "madang": madang, "dlt_pipeline": dlt_pipeline}[function](url, place, pages, at_once)
        spent = time.perf_counter() - wall, time.process_time() - cpu
    return came, *spent


def side_by_side(warm: str, urls: list[str], pages: int, folder: str, at_once: int) -> tuple[int, float, float]:
    """All rows, the seconds until the last has ended, and the processor seconds of fetches in a process each."""
    with ExitStack() as stack:
        context = get_context("spawn")
        pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for _ in urls]

        def all_of(name: str, jobs: list[tuple[str, int]]) -> list[tuple[int, float, float]]:
            places = [Path(folder) / f"{name}{n}" for n in range(len(pools))]
            for place in places:
                place.mkdir()
            tried = zip(pools, jobs, places, strict=True)
            futures = [pool.submit(timed, "madang", [job], str(place), at_once) for pool, job, place in tried]
            return [future.result() for future in futures]

        all_of("warm", [(warm, WARM)] * len(urls))
        begun = time.perf_counter()
        done = all_of("whole", [(url, pages) for url in urls])
        seconds = time.perf_counter() - begun
    return sum(came for came, _, _ in done), seconds, sum(cpu_s for _, _, cpu_s in done)


def aiohttp_only(url: str, folder: Path, pages: int, at_once: int) -> int:
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
                    came += ROWS

            await asyncio.gather(*(some() for _ in range(at_once)))
        return came

    return asyncio.run(all_pages())


def madang(url: str, folder: Path, pages: int, at_once: int) -> int:
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
    store, ledger = Store(f"file://{folder}/store"), Ledger(f"sqlite:///{folder}/ledger.db")
    record = run_fetch(feed, deps=FetchDeps(store, ledger, TransportSettings(connect_to=url), {}, folder / "work"))
    bodies = open_bodies(store, ledger, record, folder / "bodies")
    stage(feed, feed.protocol.parse(feed, feed.source, bodies), folder / "staged.parquet")
    return int(pq.read_metadata(folder / "staged.parquet").num_rows)


def dlt_pipeline(url: str, folder: Path, pages: int, at_once: int) -> int:
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
    pipeline.run(rows(), loader_file_format="parquet")
    return int(ds.dataset(f"{folder}/out/bench/rows", format="parquet").count_rows())
