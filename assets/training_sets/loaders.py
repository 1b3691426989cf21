"""Every way in which an ML team loads a release, each through one function: rows and a checksum of the values per split.

Loading only: comparing the answers and judging them is `prove.py`. The heavy loaders (datasets, mlcroissant, torch) run in
one worker process, started once and shared by all sets of a run, because importing them costs seconds.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from assets.training_sets.values import checksum

IN_PROCESS = ("pyarrow", "polars", "duckdb")
IN_WORKER = ("datasets", "mlcroissant", "torch")
LOADERS = (*IN_PROCESS, *IN_WORKER)
ROW_WISE = ("mlcroissant", "torch")
"""Loaders that hand over Python objects row by row: above ROW_WISE_ROWS a seeded sample of the rows is compared."""
ROW_WISE_ROWS = 100_000


@dataclass(frozen=True)
class Loaded:
    """One split as one loader gave it. `checksum`: values.checksum over all columns, in the schema's types."""

    rows: int
    checksum: str
    sampled: bool = False


class LoaderFailed(Exception):
    """A loader raised or warned; the message is its own, without values of the data."""


def installed(name: str) -> str | None:
    """The loader's version, or None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def shard_files(release: Path) -> dict[str, list[Path]]:
    """Shards per split, in order, as the release's manifest or folder has them."""
    found: dict[str, list[Path]] = {}
    for path in sorted((release / "data").glob("*/*/*.parquet")):
        found.setdefault(path.parent.name, []).append(path)
    return found


def load_with(name: str, release: Path) -> dict[str, Loaded]:
    """Load every split of a local release with the loader `name` and say what came out."""
    tables = _READERS[name](release)
    return {split: _loaded(table, name in ROW_WISE) for split, table in tables}


def _loaded(table: pa.Table, row_wise: bool) -> Loaded:
    rows = table.num_rows
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    sampled = row_wise and rows > ROW_WISE_ROWS
    return Loaded(rows, checksum(sample(frame) if sampled else frame, frame.columns), sampled)


def sample(frame: pl.DataFrame) -> pl.DataFrame:
    """The same tenth of a large split in every loader: the records whose hashed id begins low."""
    places = [hashlib.sha256(f"loaders\x1f{r}".encode()).digest()[0] for r in frame["_record_id"].to_list()]
    return frame.filter(pl.Series(places, dtype=pl.Int64) < 26)


def _schema(release: Path) -> pa.Schema:
    first = next(iter(shard_files(release).values()))[0]
    return pq.read_schema(first).remove_metadata()


def _pyarrow(release: Path) -> Iterable[tuple[str, pa.Table]]:
    for split, paths in shard_files(release).items():
        yield split, pq.read_table([str(p) for p in paths], partitioning=None)


def _polars(release: Path) -> Iterable[tuple[str, pa.Table]]:
    schema = _schema(release)
    for split, paths in shard_files(release).items():
        yield split, pl.read_parquet(paths, hive_partitioning=False).to_arrow().cast(schema)


def _duckdb(release: Path) -> Iterable[tuple[str, pa.Table]]:
    import duckdb

    schema = _schema(release)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        for split, paths in shard_files(release).items():
            relation = connection.sql("SELECT * FROM read_parquet($1)", params=[[str(p) for p in paths]])
            yield split, relation.to_arrow_table().cast(schema)


@cache
def _hf_dataset(release: Path, changed: int) -> Any:
    import datasets

    datasets.disable_progress_bars()
    cache_dir = tempfile.mkdtemp(prefix="madang-datasets-")
    atexit.register(__import__("shutil").rmtree, cache_dir, ignore_errors=True)
    return datasets.load_dataset(str(release), cache_dir=cache_dir)


def _datasets(release: Path) -> Iterable[tuple[str, pa.Table]]:
    """By the README's own configs, as on a hub: a wrong card fails here."""
    schema = _schema(release)
    loaded = _hf_dataset(release, (release / "README.md").stat().st_mtime_ns)
    for split, part in loaded.items():
        yield str(split), part.with_format("arrow")[:].select(schema.names).cast(schema)


def _torch(release: Path) -> Iterable[tuple[str, pa.Table]]:
    """Through a DataLoader: numbers become tensors (null as NaN), everything else stays a list."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    schema = _schema(release)
    numbers = [f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)]

    class Rows(Dataset[Any]):
        def __init__(self, table: pa.Table) -> None:
            self.columns = {n: table[n].to_pylist() for n in table.column_names}

        def __len__(self) -> int:
            return len(self.columns["_record_id"])

        def __getitem__(self, at: int) -> dict[str, Any]:
            return {n: v[at] for n, v in self.columns.items()}

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            n: torch.tensor([math.nan if r[n] is None else r[n] for r in rows], dtype=torch.float64)
            if n in numbers
            else [r[n] for r in rows]
            for n in schema.names
        }

    for split, table in _pyarrow(release):
        columns: dict[str, list[Any]] = {n: [] for n in schema.names}
        for batch in DataLoader(Rows(table), batch_size=1024, collate_fn=collate):
            for name, values in batch.items():
                columns[name].extend(values.tolist() if name in numbers else values)
        yield split, from_python(columns, schema)


def _mlcroissant(release: Path) -> Iterable[tuple[str, pa.Table]]:
    """Validate without errors or warnings, then read every record of every record set."""
    import mlcroissant as mlc

    schema = _schema(release)
    published = mlc.Dataset(jsonld=str(release / "croissant.json"))
    _refuse_issues(published)
    local = release / "croissant.local.json"
    dataset = published
    if local.exists():
        dataset = mlc.Dataset(jsonld=str(local))
        _refuse_issues(dataset)
    parts: dict[str, list[pa.Table]] = {}
    for record_set in dataset.metadata.record_sets:
        records = list(dataset.records(record_set.id))
        if not records:
            raise LoaderFailed(f"record set {record_set.id} is empty")
        if record_set.id.startswith("default/"):
            columns = {n: [r[f"{record_set.id}/{n}"] for r in records] for n in schema.names}
            parts.setdefault(record_set.id.split("/")[1], []).append(from_python(columns, schema))
    for split, tables in parts.items():
        yield split, pa.concat_tables(tables)


def _refuse_issues(dataset: Any) -> None:
    issues = dataset.metadata.ctx.issues
    complaints = [*sorted(issues.errors), *sorted(issues.warnings)]
    if complaints:
        raise LoaderFailed(f"mlcroissant finds {len(complaints)} issues: {complaints[0]}")


_READERS: Mapping[str, Callable[[Path], Iterable[tuple[str, pa.Table]]]] = {
    "pyarrow": _pyarrow,
    "polars": _polars,
    "duckdb": _duckdb,
    "datasets": _datasets,
    "mlcroissant": _mlcroissant,
    "torch": _torch,
}


def from_python(columns: Mapping[str, list[Any]], schema: pa.Schema) -> pa.Table:
    """Python values as a row-wise loader gives them, in the types of the schema: NaN and NaT are null, bytes are UTF-8."""
    return pa.table([pa.array([_value(v, f.type) for v in columns[f.name]], f.type) for f in schema], schema=schema)


def _value(value: Any, dtype: pa.DataType) -> Any:
    if value is None or value != value:
        return None
    if isinstance(value, bytes):
        return value.decode()
    if pa.types.is_integer(dtype) and isinstance(value, float):
        if not value.is_integer():
            raise LoaderFailed("an integer column came back with fractions")
        return int(value)
    if isinstance(value, datetime) and hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime()
    if pa.types.is_date(dtype) and isinstance(value, datetime):
        return value.date()
    if pa.types.is_timestamp(dtype) and not isinstance(value, (datetime, date)):
        return datetime.fromisoformat(str(value))
    return value


class Worker:
    """The process that the heavy loaders run in. It answers one request a line and ends with its parent."""

    def __init__(self, module: str) -> None:
        self._busy = threading.Lock()
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "assets.training_sets.loaders", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            text=True,
        )
        atexit.register(self.close)

    def load(self, name: str, release: Path) -> dict[str, Loaded]:
        """`load_with` over there. Raises LoaderFailed with the loader's own message."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = ""
        with self._busy, suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"loader": name, "release": str(release)}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise LoaderFailed(f"the process that runs {name} died")
        answer = json.loads(line)
        if "error" in answer:
            raise LoaderFailed(answer["error"])
        return {split: Loaded(**loaded) for split, loaded in answer["splits"].items()}

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def worker(name: str) -> Worker:
    """The worker that the loader `name` runs in, started at the first call; starting it early hides the time its imports take.

    mlcroissant, by far the slowest, has one of its own; each worker answers one caller at a time.
    """
    module = "mlcroissant" if name == "mlcroissant" else "datasets"
    with _starting:
        if module not in _workers or not _workers[module].alive:
            _workers[module] = Worker(module)
        return _workers[module]


_starting = threading.Lock()
_workers: dict[str, Worker] = {}


def _serve() -> None:
    """Answer requests until stdin ends. Loaders print as they like, so the answers keep a stdout of their own."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in sys.argv[1:]:
        if installed(name):
            __import__(name)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            splits = load_with(request["loader"], Path(request["release"]))
            answer: dict[str, Any] = {"splits": {s: asdict(v) for s, v in splits.items()}}
        except Exception as error:  # noqa: BLE001 - whatever a loader raises is its verdict, and goes to the caller
            answer = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
