"""A GeoJSON of 2 GB and an XML of 1 GB: fetched from a loopback server, archived, read into staged Parquet; memory of each.

Beside them what plain libraries do with the same file: `json.load` in a quarter of the size (all of it would need several times the
memory), and lxml's `iterparse` that only counts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import BenchmarkFailed, measured, say
from tests.benchmarks.tables import Cell, Table

NAME = "large"

GEOJSON_MB, XML_MB = 2_000, 1_000
QUICK_MB = 12
LIMIT_MB = 500
PIECE = 1024 * 1024


def run(quick: bool) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    for kind, megabytes in (("geojson", QUICK_MB if quick else GEOJSON_MB), ("xml", QUICK_MB if quick else XML_MB)):
        with TemporaryDirectory(prefix="madang-bench-") as folder:
            file = Path(folder) / f"rows.{kind}"
            records = generate(file, megabytes)
            size = file.stat().st_size // 1_000_000
            with one_file(file) as url:
                fetched = measured("tests.benchmarks.bench_large:fetched", url, folder, kind)
            file.unlink()
            rows.append((f"{kind}: fetch and archive", size, fetched.seconds, fetched.peak_mb))
            staged = measured("tests.benchmarks.bench_large:staged", folder, kind)
            if staged.answer != records:
                raise BenchmarkFailed(f"{kind}: {staged.answer} rows of {records}")
            rows.append((f"{kind}: read from the archive into Parquet", size, staged.seconds, staged.peak_mb))
            say(f"{kind} of {size} MB: {fetched.peak_mb} MB to archive, {staged.peak_mb} MB to stage")
            small = Path(folder) / f"plain.{kind}"
            generate(small, max(megabytes // 4, 1))
            plain = measured(f"tests.benchmarks.bench_large:plain_{kind}", str(small))
            rows.append((f"{kind}: {PLAIN[kind]}", small.stat().st_size // 1_000_000, plain.seconds, plain.peak_mb))
    title = f"Large files (promised: under {LIMIT_MB} MB of memory whatever the size)"
    return [Table(title, ("what", "MB", "seconds", "peak MB"), tuple(rows))]


PLAIN = {"geojson": "json.load, a quarter of the size", "xml": "lxml iterparse that only counts, a quarter of the size"}


def generate(file: Path, megabytes: int) -> int:
    """Records until the file has that many million bytes; how many."""
    count = 0
    make = _feature if file.suffix == ".geojson" else _item
    with file.open("wb") as out:
        out.write(b'{"type":"FeatureCollection","features":[' if file.suffix == ".geojson" else b"<?xml version='1.0'?><rows>")
        while out.tell() < megabytes * 1_000_000:
            out.write(b"".join(make(n) for n in range(count, count + 2_000)))
            count += 2_000
        out.write(b"]}" if file.suffix == ".geojson" else b"</rows>")
    return count


def _feature(n: int) -> bytes:
    ring = ",".join(f"[{126.5 + n % 900 / 1000 + i / 1e4:.6f},{37.1 + n % 700 / 1000 + i / 1e4:.6f}]" for i in range(12))
    properties = f'{{"id":"F{n:09d}","name":"필지 {n % 977}","area":{n % 100000 / 7:.3f},"use":"대","price":{n % 9_000_000}}}'
    geometry = f'{{"type":"Polygon","coordinates":[[{ring}]]}}'
    return f'{"," if n else ""}{{"type":"Feature","properties":{properties},"geometry":{geometry}}}'.encode()


def _item(n: int) -> bytes:
    return (
        f"<item><id>F{n:09d}</id><name>한빛식당 {n % 977}호점</name><area>{n % 100000 / 7:.3f}</area>"
        f"<address>서울특별시 중구 세종대로 {n % 300}</address><price>{n % 9_000_000}</price><note/></item>"
    ).encode()


@contextmanager
def one_file(file: Path) -> Iterator[str]:
    """The file from a loopback server while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            with file.open("rb") as opened:
                while piece := opened.read(PIECE):
                    self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _feed(kind: str) -> Any:
    from assets.feeds.model import Feed

    at = "properties." if kind == "geojson" else ""
    columns: list[dict[str, Any]] = [
        {"name": "id", "source": f"{at}id", "type": "string", "nullable": False},
        {"name": "name", "source": f"{at}name", "type": "string"},
        {"name": "area", "source": f"{at}area", "type": "number"},
        {"name": "price", "source": f"{at}price", "type": "integer"},
    ]
    if kind == "geojson":
        columns.append({"name": "geometry", "source": "geometry", "type": "string"})
    source = {"protocol": "http_file", "url": f"https://agency.example/rows.{kind}", "format": kind}
    limits = {"max_body_bytes": 8 * 1024**3}
    return Feed.model_validate(
        {
            "id": "kr.bench.parcels", "title": "필지", "agency": {"name": "기관", "country": "KR"},
            "licence": {"id": "KOGL-1", "url": "https://agency.example/licence"}, "schedule": {"cron": "0 0 * * *"},
            "source": source | {"limits": limits} | ({"records_path": "rows.item"} if kind == "xml" else {}),
            "contract": {"columns": columns},
        }
    )  # fmt: skip


def _archive(folder: str) -> Any:
    from assets.archive.ledger import Ledger
    from assets.store import Store

    return Store(f"file://{folder}/store"), Ledger(f"sqlite:///{folder}/ledger.db")


def fetched(url: str, folder: str, kind: str) -> int:
    from assets.protocols.fetching import FetchDeps, run_fetch
    from assets.transport.http import TransportSettings

    store, ledger = _archive(folder)
    record = run_fetch(_feed(kind), deps=FetchDeps(store, ledger, TransportSettings(connect_to=url), {}, Path(folder) / "work"))
    return record.bytes_read


def staged(folder: str, kind: str) -> int:
    from assets.archive.fetches import open_bodies
    from assets.tables.staging import stage

    feed, (store, ledger) = _feed(kind), _archive(folder)
    record = ledger.last(feed.id)
    bodies = open_bodies(store, ledger, record, Path(folder) / "bodies")
    done = stage(feed, feed.protocol.parse(feed, feed.source, bodies), Path(folder) / "staged.parquet")
    return int(done.rows_read)


def plain_geojson(file: str) -> int:
    with Path(file).open("rb") as opened:
        return len(json.load(opened)["features"])


def plain_xml(file: str) -> int:
    from lxml import etree

    count = 0
    for _, element in etree.iterparse(file, tag="item"):
        count += 1
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]
    return count
