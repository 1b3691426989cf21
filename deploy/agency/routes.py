"""What the stand-in serves where: `served/*.yaml` as a model, and the file that answers for a route on a given day."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from assets.yaml_document import read, validate
from deploy.agency.engine import Engine, Row, engines
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.tape import Tape

FEEDS = Path(__file__).resolve().parents[2] / "assets" / "feeds"
SERVED = Path(__file__).with_name("served")
ENGINES = engines()

_EDITION = re.compile(r"(?:^|\.)(\d{4}-\d{2}-\d{2})\.[a-z]+$")


class Route(Strict):
    """One address of one agency. `id` is the feed's, and the name by which faults are switched; `kind`: the engine's name.

    `path`: the address, or what all its addresses begin with, by the engine. `real`: name of the file that --data serves in
    place of the sample; `editions`: name of a folder of dated files below --data.
    """

    id: str
    kind: str
    host: str
    path: str
    real: str | None = None
    editions: str | None = None
    demo: bool = Field(False, description="Whether `madang demo` pulls the feed.")
    per_day: int = Field(1000, gt=0, description="Calls a day, until midnight in Seoul.")
    options: dict[str, Any] = Field(default_factory=dict, description="The engine's own.")

    @model_validator(mode="after")
    def _known_engine(self) -> Route:
        if self.kind not in ENGINES:
            raise ValueError(f"'{self.kind}' is no engine; there are: {', '.join(sorted(ENGINES))}")
        self.engine.Options.model_validate(self.options)
        return self

    @property
    def engine(self) -> Engine:
        return ENGINES[self.kind]

    @property
    def scheme(self) -> str:
        """What the agency's server speaks there."""
        return self.engine.SCHEME

    @cached_property
    def settings(self) -> Strict:
        """`options`, as the engine's model."""
        return self.engine.Options.model_validate(self.options)

    def serves(self, host: str, path: str) -> bool:
        if host != self.host:
            return False
        return path == self.path or (self.engine.PREFIX and path.startswith(self.path.rstrip("/") + "/"))


class Routes(Strict):
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class Source:
    """The file behind a route. `modified`: UTC; `origin`: synthetic or replay; `edit`: what has happened to its rows since.

    `tape`: what answers in place of a file; each of its replies has an origin of its own.
    """

    path: Path
    modified: datetime
    origin: Literal["synthetic", "replay"]
    edit: Callable[[Sequence[Row]], Sequence[Row]] | None = None
    tape: Tape | None = None


@cache
def load_routes(folder: Path = SERVED) -> tuple[Route, ...]:
    """Raises DeclarationError where a file is no list of routes."""
    return tuple(route for path in sorted(folder.glob("*.yaml")) for route in validate(Routes, read(path)).routes)


def source_of(route: Route, today: date, *, data: Path | None = None, feeds: Path = FEEDS) -> Source | None:
    """The file that answers on that day: the newest edition not after it, the real file of --data, or the feed's sample.

    None where nothing had been published yet.
    """
    if data is not None and route.editions is not None and (data / route.editions).is_dir():
        return _edition(data / route.editions, today, "replay")
    if data is not None and route.real is not None and (data / route.real).is_file():
        return _plain(data / route.real, "replay")
    folder = feeds / route.id
    if route.editions is not None and (found := _editions(folder)):
        return _edition(folder, today, "synthetic") if found else None
    sample = next((p for p in sorted(folder.glob("sample.*")) if not _EDITION.search(p.name)), None)
    return _plain(sample, "synthetic") if sample is not None else None


def _plain(path: Path, origin: Literal["synthetic", "replay"]) -> Source:
    # Whole seconds: Last-Modified has no finer ones, and a conditional GET compares them.
    return Source(path, datetime.fromtimestamp(int(path.stat().st_mtime), UTC), origin)


def _editions(folder: Path) -> dict[date, Path]:
    found = ((_EDITION.search(p.name), p) for p in folder.iterdir())
    return {date.fromisoformat(match[1]): path for match, path in found if match}


def _edition(folder: Path, today: date, origin: Literal["synthetic", "replay"]) -> Source | None:
    published = {day: path for day, path in _editions(folder).items() if day <= today}
    if not published:
        return None
    day = max(published)
    return Source(published[day], datetime.combine(day, time(0), UTC), origin)
