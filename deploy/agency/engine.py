"""What an engine of the stand-in is: one protocol, answered from rows, with true paging, filters, cursors and keys.

An engine is a module of `engines/` that defines `ENGINE`. Here are the words that they share; which route is asked, clocks,
faults that change any reply, and the log of requests are `app.py`.
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl

from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

DEMO_KEY = "bWFkYW5n+ZGVtbw/a2V5IG9mIHRoZSBzdGFuZC1pbg=="
"""The stand-in's only registered key. It is no secret, and has the `+`, `/` and `=` that trip clients up."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """A fault that is switched on. `count`: which request of its route this is since then, from 1."""

    count: int
    argument: str | None

    def number(self, default: int) -> int:
        return int(self.argument) if self.argument else default


@dataclass(frozen=True)
class Asked:
    """One request to a route, as an engine sees it.

    `path`: as it came, decoded once; `raw_path`, `raw_query`: as they came; `headers`: lower-case names; `now`: the agency's clock,
    aware, in Asia/Seoul; `key`: the key that this stand-in knows; `faults`: by name; `memory`: what this route's engine keeps
    between requests; `spend`: takes one call of the route's daily quota and says whether there was one.
    """

    method: str
    host: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes
    now: datetime
    key: str
    faults: Mapping[str, Fault] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    spend: Callable[[], bool] = lambda: True
    raw_path: str = ""

    @property
    def params(self) -> dict[str, str]:
        """The query, decoded; the last of a repeated name."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True, encoding="utf-8"))

    def fault(self, name: str) -> Fault | None:
        return self.faults.get(name)


class NoOptions(Strict):
    """`options:` of a route whose engine has none."""


class Engine(ABC):
    """One protocol's server. Stateless but for `asked.memory`."""

    name: ClassVar[str]
    Options: ClassVar[type[Strict]] = NoOptions
    FAULTS: ClassVar[frozenset[str]] = frozenset()
    """Faults that this engine commits itself; those that change any reply are `faults.py`."""
    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    SCHEME: ClassVar[str] = "http"
    """What its server speaks: http, or the scheme of the door (`doors.py`) that leads to it."""
    PREFIX: ClassVar[bool] = False
    """Whether a route's path stands for every path below it."""
    SECRETS: ClassVar[tuple[str, ...]] = ()
    """Regular expressions of keys in a target; their second group is masked in the log of requests."""

    @abstractmethod
    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        """The reply, before faults that change replies."""


def rows_of(source: Source) -> Sequence[Row]:
    """The rows of a JSON list, JSONL or CSV (UTF-8) file, values as they stand there, with the faults of rows that are on."""
    rows: Sequence[Row] = _rows(source.path, source.path.stat().st_mtime_ns)
    return rows if source.edit is None else source.edit(rows)


@lru_cache(maxsize=128)
def _rows(path: Path, changed_ns: int) -> tuple[Row, ...]:
    data = path.read_bytes()
    if path.suffix == ".csv":
        return tuple(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    if path.suffix == ".jsonl":
        return tuple(json.loads(line) for line in data.splitlines() if line.strip())
    return tuple(json.loads(data))


def json_reply(value: Any, status: int = 200, content_type: str = "application/json;charset=UTF-8") -> Reply:
    return Reply(status, {"content-type": content_type}, json.dumps(value, ensure_ascii=False).encode())


def engines() -> dict[str, Engine]:
    """Every engine by name: one per module of `engines/`."""
    import importlib
    import pkgutil

    import deploy.agency.engines as package

    found = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    return {module.ENGINE.name: module.ENGINE for module in found if hasattr(module, "ENGINE")}
