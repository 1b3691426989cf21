"""A CSV of 1 GB in CP949, from the archive to accepted Parquet, beside polars' plain read and write of the same data in UTF-8.

Madang's side decodes, parses, types by a contract of twelve columns, finds duplicate keys, sets aside and adds provenance;
polars' side decodes nothing, infers types and judges nothing. Peak memory at a quarter of the size shows that it does not grow.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.measuring import BenchmarkFailed, Measured, measured, say
from tests.benchmarks.tables import Cell, Table, ratio

NAME = "csv"

SIZES_MB = (250, 1000)
QUICK_SIZES_MB = (1,)

# Deterministic: every value is a function of the row's number. Quoted thousands, blanks, two kinds of dates, text of all lengths.
ROWS = """
SELECT 'KR-' || lpad(i::VARCHAR, 10, '0') AS "관리번호",
  (['서울특별시', '부산광역시', '대구광역시', '인천광역시', '경기도', '강원특별자치도', '제주특별자치도'])
    [1 + (hash(i) % 7)::INTEGER] AS "시도명",
  (['중구', '해운대구', '수성구', '남동구', '수원시 영통구', '춘천시', '서귀포시'])
    [1 + (hash(i * 3) % 7)::INTEGER] AS "시군구명",
  (['한빛', '다온', '가람', '마루', '새봄'])[1 + (hash(i * 5) % 5)::INTEGER]
    || (['식당', '약국', '서점', '의원', '문화센터'])[1 + (hash(i * 7) % 5)::INTEGER]
    || ' ' || (hash(i * 11) % 900 + 1) || '호점' AS "업소명",
  ['영업', '휴업', '폐업'][1 + (hash(i * 13) % 3)::INTEGER] AS "영업상태",
  strftime(DATE '2000-01-01' + (hash(i * 17) % 9000)::INTEGER, '%Y-%m-%d') AS "인허가일자",
  strftime(TIMESTAMP '2020-01-01' + to_minutes((hash(i * 19) % 3000000)::BIGINT), '%Y-%m-%d %H:%M') AS "최종수정시점",
  format('{{:,}}', (hash(i * 23) % 90000000)::BIGINT) AS "자본금",
  CASE WHEN i % 10 = 0 THEN NULL ELSE ((hash(i * 29) % 100000) / 100.0)::VARCHAR END AS "면적",
  (hash(i * 31) % 400)::VARCHAR AS "종업원수",
  CASE WHEN i % 4 = 0 THEN NULL ELSE '0' || (2 + hash(i * 37) % 60) || '-' || (1000 + hash(i * 41) % 9000) || '-'
    || (1000 + hash(i * 43) % 9000) END AS "대표전화",
  CASE WHEN i % 3 = 0 THEN '소재지 변경 신고, 담당자 확인 완료' END AS "비고"
FROM range({start}, {stop}) t(i)
"""
PIECE_ROWS = 200_000

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "source": "관리번호", "type": "string", "nullable": False, "pattern": "KR-[0-9]{10}"},
    {"name": "province", "source": "시도명", "type": "string", "nullable": False},
    {"name": "district", "source": "시군구명", "type": "string", "nullable": False},
    {"name": "business", "source": "업소명", "type": "string", "max_length": 60},
    {"name": "status", "source": "영업상태", "type": "string", "codes": ["영업", "휴업", "폐업"]},
    {"name": "licensed", "source": "인허가일자", "type": "date", "min": "1990-01-01"},
    {"name": "modified", "source": "최종수정시점", "type": "timestamp", "format": "%Y-%m-%d %H:%M"},
    {"name": "capital", "source": "자본금", "type": "integer", "thousands": ",", "min": 0},
    {"name": "area", "source": "면적", "type": "number", "min": 0},
    {"name": "staff", "source": "종업원수", "type": "integer", "min": 0, "max": 400},
    {"name": "phone", "source": "대표전화", "type": "string"},
    {"name": "remark", "source": "비고", "type": "string"},
]
EXPECTATIONS: list[dict[str, Any]] = [
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
    {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "staff", "min_value": 100, "max_value": 300}},
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "area", "mostly": 0.8}, "severity": "warning"},
    {"type": "expect_column_unique_value_count_to_be_between", "kwargs": {"column": "province", "min_value": 7, "max_value": 7}},
]


def feed(key: bool = True) -> Any:
    from assets.feeds.model import Feed

    return Feed.model_validate(
        {
            "id": "kr.bench.businesses",
            "title": "업소",
            "agency": {"name": "행정안전부", "country": "KR"},
            "licence": {"id": "KOGL-1", "url": "https://agency.example/licence"},
            "schedule": {"cron": "0 0 * * *"},
            "source": {"protocol": "http_file", "url": "https://agency.example/rows.csv", "format": "csv"},
            "decode": {"encoding": "cp949", "timezone": "Asia/Seoul"},
            "contract": {"columns": COLUMNS, "key": ["id"] if key else []},
            "expectations": EXPECTATIONS,
        }
    )


# --- the data -------------------------------------------------------------------------------------------------------------


def generate(folder: str, megabytes: int) -> int:
    """`rows.cp949.csv` of about that many million bytes and `rows.utf8.csv` of the same rows; returns the number of rows."""
    import duckdb

    cp949, utf8, piece = (Path(folder) / name for name in ("rows.cp949.csv", "rows.utf8.csv", "piece.csv"))
    per_piece = PIECE_ROWS if megabytes > 50 else 2_000
    rows = 0
    with cp949.open("wb") as korean, utf8.open("wb") as unicode_, duckdb.connect() as connection:
        while korean.tell() < megabytes * 1_000_000:
            query = ROWS.format(start=rows, stop=rows + per_piece)
            connection.execute(f"COPY ({query}) TO '{piece}' (FORMAT csv, HEADER {'true' if rows == 0 else 'false'})")
            data = piece.read_bytes()
            unicode_.write(data)
            korean.write(data.decode().encode("cp949"))
            rows += per_piece
    piece.unlink()
    return rows


def archive(folder: str) -> None:
    """The CP949 file as one fetch in a store and a ledger: what the table stage starts from."""
    from dataclasses import replace

    from assets.archive.fetches import archive_fetch, payload_digest
    from assets.archive.ledger import Ledger
    from assets.archive.records import Http
    from assets.store import Store
    from tests.archive.making import REQUEST, record, writer

    home = Path(folder)
    store, ledger = Store(f"file://{home}/store"), Ledger(f"sqlite:///{home}/ledger.sqlite")
    fetch = record(0, feed=feed().id)
    path = home / "fetch.warc.gz"
    with writer(path, fetch) as warc:
        stored = warc.write_exchange(
            url=fetch.url,
            request=REQUEST,
            response=Http("HTTP/1.1 200 OK", [("Content-Type", "text/csv")]),
            body=home / "rows.cp949.csv",
            at=fetch.started_at,
            outcome="Ok",
            step=0,
            page=1,
            payload_sha256=_sha256(home / "rows.cp949.csv"),
            remote_ip="192.0.2.7",
        )
        if stored is None:
            raise BenchmarkFailed("the body was not archived")
        archive_fetch(store, ledger, replace(fetch, payload_sha256=payload_digest([stored.sha256])), path, warc.finish(fetch))
    ledger.close()


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what is compared -----------------------------------------------------------------------------------------------------


def madang(folder: str, expectations: bool) -> dict[str, Any]:
    """The table stage, step by step: bytes out of the archive, parsed and staged, judged. Seconds of each, and its figures."""
    clock = _Laps()
    from assets.archive.fetches import open_bodies
    from assets.archive.ledger import Ledger
    from assets.store import Store
    from assets.tables.expectations import judge_expectations
    from assets.tables.judging import judge
    from assets.tables.replay import fresh_folder
    from assets.tables.staging import stage

    home, declared = Path(folder), feed()
    store, ledger = Store(f"file://{home}/store"), Ledger(f"sqlite:///{home}/ledger.sqlite")
    record = ledger.last_answered(declared.id)
    if record is None:
        raise BenchmarkFailed("nothing was archived")
    workdir = fresh_folder(home / "work")
    if expectations:
        pass
    clock.lap("imports")
    bodies = open_bodies(store, ledger, record, workdir / "bodies")
    clock.lap("out of the archive")
    stream = declared.protocol.parse(declared, declared.source, bodies)
    staged = stage(declared, stream, workdir / "staged.parquet")
    clock.lap("decode, parse, type")
    judgement = judge(
        declared,
        staged,
        workdir,
        source_id=record.fetch_id,
        fetched_at=datetime(2026, 11, 23, tzinfo=UTC),
        judge_expectations=judge_expectations if expectations else None,
    )
    clock.lap("judge, write accepted rows")
    ledger.close()
    failed = [check.name for check in judgement.checks if not check.passed]
    if failed or judgement.rows_quarantined:
        raise BenchmarkFailed(f"refused {judgement.rows_quarantined} rows; failed: {', '.join(failed)}")
    return {"steps": clock.seconds, "encoding": staged.encoding, **_figures(judgement.accepted, "id", "capital", "area", "remark")}


def polars_stream(folder: str) -> dict[str, Any]:
    import polars as pl

    out = Path(folder) / "polars.parquet"
    pl.scan_csv(Path(folder) / "rows.utf8.csv").sink_parquet(out)
    return _figures(out, "관리번호", "자본금", "면적", "비고")


def polars_whole(folder: str) -> dict[str, Any]:
    import polars as pl

    out = Path(folder) / "polars.parquet"
    pl.read_csv(Path(folder) / "rows.utf8.csv").write_parquet(out)
    return _figures(out, "관리번호", "자본금", "면적", "비고")


class _Laps:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._at = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._at = now - self._at, now


def _figures(path: Path, identity: str, capital: str, area: str, remark: str) -> dict[str, Any]:
    """What all results must agree on. Read lazily, by another engine than either's, and far cheaper than what is measured."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = total = blank = remarks = 0
    last = ""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[identity, capital, area, remark]):
            ids, money, sizes, words = batch.columns
            if money.type in ("string", "large_string", "string_view"):
                money = pc.cast(pc.replace_substring(pc.cast(money, "string"), ",", ""), "int64")
            rows += batch.num_rows
            total += pc.sum(money).as_py()
            blank += sizes.null_count
            remarks += words.null_count
            last = max(last, pc.max(pc.cast(ids, "string")).as_py())
    return {"rows": rows, "capital": total, "blank areas": blank, "blank remarks": remarks, "last id": last}


# --- the benchmark --------------------------------------------------------------------------------------------------------

ROUTES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "Madang, contract": ("madang", (False,)),
    "Madang, contract and expectations": ("madang", (True,)),
    "polars scan_csv → sink_parquet (UTF-8)": ("polars_stream", ()),
    "polars read_csv → write_parquet (UTF-8)": ("polars_whole", ()),
}
BASE = "polars scan_csv → sink_parquet (UTF-8)"


def run(quick: bool) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    steps: list[tuple[Cell, ...]] = []
    peaks: dict[str, list[int]] = {}
    sizes = QUICK_SIZES_MB if quick else SIZES_MB
    for megabytes in sizes:
        with TemporaryDirectory(prefix="madang-bench-") as folder:
            count, found = _all_routes(folder, megabytes)
        base = found[BASE]
        for title, one in found.items():
            memory = ratio(one.peak_mb, base.peak_mb)
            peaks.setdefault(title, []).append(one.peak_mb)
            rows.append((megabytes, count, title, one.seconds, ratio(one.seconds, base.seconds), one.peak_mb, memory))
            steps += [(megabytes, title, step, seconds) for step, seconds in one.answer.get("steps", {}).items()]
    return [
        Table(
            "CSV in CP949 to accepted Parquet, beside polars' plain read and write of the same rows in UTF-8 (results equal)",
            ("MB", "rows", "route", "seconds", "× polars", "peak MB", "× memory"),
            tuple(rows),
        ),
        Table(
            "Peak memory in MB as the file grows",
            ("route", *(f"{size:,} MB" for size in sizes), "last / first"),
            tuple((title, *found, ratio(found[-1], found[0])) for title, found in peaks.items()),
        ),
        Table("Where Madang's seconds go", ("MB", "route", "step", "seconds"), tuple(steps)),
    ]


def _all_routes(folder: str, megabytes: int) -> tuple[int, dict[str, Measured]]:
    say(f"{megabytes} MB: generating and archiving")
    count = measured("tests.benchmarks.bench_csv:generate", folder, megabytes).answer
    measured("tests.benchmarks.bench_csv:archive", folder)
    found = {}
    for title, (function, arguments) in ROUTES.items():
        found[title] = measured(f"tests.benchmarks.bench_csv:{function}", folder, *arguments)
        say(f"{megabytes} MB: {title}: {found[title].seconds:.1f} s, {found[title].peak_mb} MB")
    names = ("rows", "capital", "blank areas", "blank remarks", "last id")
    agreed = {title: {name: one.answer[name] for name in names} for title, one in found.items()}
    first = agreed[BASE]
    different = [title for title, figures in agreed.items() if figures != first]
    if different or first["rows"] != count:
        raise BenchmarkFailed(f"{count} rows were generated; the results differ: {agreed}")
    return count, found
