"""A small agency with two days of rows, a feed and a set over its table, and homes in which runs of it are killed.

Only what the tests of this folder and the benchmark of kills share; what a reader finds afterwards is `reader.py`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path

from assets.commit import COMMIT_STEPS
from deploy.agency import AgencyConfig, running_agency
from deploy.agency.routes import Route
from tests.chaos import driver

FEED, SET = driver.FEED, driver.SET
DAYS = (date(2024, 1, 1), date(2024, 1, 2))
RUN_TIMEOUT_S = 240

FEED_YAML = """\
id: kr.chaos.readings
title: 수위 측정
title_en: Water level readings
agency: {name: 시험 기관, name_en: Test agency, country: KR}
licence: {id: KOGL-1, url: "https://www.kogl.or.kr/info/license.do", redistribution: true, ai_training: true}
documentation: https://files.example.kr/about
schedule: {cron: "0 3 * * *", timezone: Asia/Seoul}
source: {protocol: http_file, url: "https://files.example.kr/readings.csv", format: csv}
incremental: {kind: full}
deletes: {mode: snapshot_diff, shrink_guard: 0.5}
decode: {encoding: utf-8}
contract:
  key: [reading_id]
  columns:
    - {name: reading_id, source: id, type: string, nullable: false, description: Number of the reading., cleared: true}
    - {name: station, source: station, type: string, nullable: false, description: Where., cleared: true}
    - {name: read_on, source: day, type: date, format: "%Y-%m-%d", nullable: false, description: When., cleared: true}
    - {name: level_m, source: level, type: number, nullable: false, min: 0, max: 100, unit: m, description: Level., cleared: true}
    - {name: flow, source: flow, type: integer, description: Flow., cleared: true}
    - {name: raised, source: raised, type: string, nullable: false, description: Alarm raised., cleared: true}
"""

SET_YAML = """\
name: chaos_levels
title: 수위 경보
title_en: Was the alarm raised
summary: Readings of water levels, and whether the alarm was raised.
feed: kr.chaos.readings
task: tabular-classification
record_id: [reading_id]
label: {column: raised, kind: binary, classes: ["no", "yes"]}
features:
  - {name: reading_id, role: id, description: Number of the reading.}
  - {name: station, role: group, description: Where.}
  - {name: read_on, role: time, description: When.}
  - {name: level_m, description: Level., unit: m}
  - {name: flow, description: Flow.}
group: [station]
known_at: At the reading.
split: {kind: group, train: 0.6, validation: 0.2, salt: chaos_levels/1}
intended_uses: [Tests]
unfit_uses: [Anything else]
"""


def csv(day: int, rows: int = 3000) -> str:
    """The agency's file of day 0 or 1. The next day it has more rows, other values in some, and some are gone; a few are bad."""
    lines = ["id,station,day,level,flow,raised"]
    for n in range(rows + 200 * day):
        if day and n % 97 == 5:
            continue
        level = "-7" if n % 501 == 500 else f"{(n * 37 + (11 if day and n % 50 == 3 else 0)) % 1000 / 100:.2f}"
        flow = "" if n % 13 == 0 else (n * 53) % 211
        raised = "yes" if ((n * 7919) % 104729) % 3 == 0 else "no"
        lines.append(f"r{n:05d},역{n % 60},2023-{1 + n % 12:02d}-{1 + n % 28:02d},{level},{flow},{raised}")
    return "\r\n".join(lines) + "\r\n"


def write_declarations(folder: Path) -> None:
    """feeds/ with the feed and its two editions, sets/ with the set."""
    feed = folder / "feeds" / FEED
    feed.mkdir(parents=True)
    (feed / "feed.yaml").write_text(FEED_YAML, "utf-8")
    for number, day in enumerate(DAYS):
        (feed / f"sample.{day}.csv").write_text(csv(number), "utf-8", newline="")
    (feed / "sample.csv").write_text(csv(0), "utf-8", newline="")
    (folder / "sets" / SET).mkdir(parents=True)
    (folder / "sets" / SET / "set.yaml").write_text(SET_YAML, "utf-8")


@contextmanager
def agency(declared: Path, day: int) -> Iterator[str]:
    """The agency on that day, on loopback; yields its address."""
    route = Route(id=FEED, kind="file", host="files.example.kr", path="/readings.csv", editions="readings")
    with running_agency(AgencyConfig(feeds=declared / "feeds", routes=(route,), today=DAYS[day])) as url:
        yield url


@dataclass(frozen=True)
class Ended:
    """How a run ended: `code` as subprocess has it (negative: the signal), the commit steps that it reached, what it printed."""

    code: int
    steps: tuple[str, ...]
    said: str
    seconds: float

    @property
    def last_step(self) -> str:
        return self.steps[-1] if self.steps else "before the first"


@dataclass
class Run:
    """A run of the main job in a process of its own (driver.py), with a file for what it says."""

    process: BaseProcess
    told: Path
    started: float

    def begun(self) -> None:
        """Wait until the process has forked and set itself up."""
        while self.process.is_alive() and "begin" not in self._lines():
            time.sleep(0.005)
        self.started = time.monotonic()

    def wait_for(self, step: str) -> None:
        """Wait until the process has said that it reached a commit step."""
        while self.process.is_alive() and step not in self._lines():
            time.sleep(0.01)

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()

    def end(self) -> Ended:
        """Wait for the end; a run that hangs is killed and fails the test."""
        self.process.join(RUN_TIMEOUT_S)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"the run hangs: {self.told.read_text('utf-8')[-3000:]}")
        code, lines = self.process.exitcode, self._lines()
        assert code is not None
        steps = tuple(line for line in lines if line in COMMIT_STEPS)
        return Ended(code, steps, self.told.read_text("utf-8")[-3000:], time.monotonic() - self.started)

    def _lines(self) -> list[str]:
        return self.told.read_text("utf-8", errors="replace").split("\n") if self.told.exists() else []


@dataclass(frozen=True)
class Home:
    """One Madang home of its own. `declared`: the folder of `write_declarations`; `more`: further settings of its runs."""

    path: Path
    declared: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.path / "store"

    def copy(self, path: Path) -> Home:
        """The same home again, elsewhere."""
        shutil.copytree(self.path, path)
        return replace(self, path=path)

    def settings(self, url: str) -> dict[str, str]:
        """The environment variables of its runs."""
        own = {
            "MADANG_HOME": str(self.path),
            "MADANG_FEEDS": str(self.declared / "feeds"),
            "MADANG_SETS": str(self.declared / "sets"),
            "MADANG_CONNECT_TO": url,
        }
        return {**own, **self.more}

    def start(self, url: str, how: str = "plain", **more: str) -> Run:
        """Start a run: `how` is a name in driver.py, `more` further settings (MADANG_KILL_AT=…)."""
        told = self.path.with_name(f"{self.path.name}.{time.monotonic_ns()}.log")
        process = driver.process(how, {**self.settings(url), **more}, told)
        process.start()
        return Run(process, told, time.monotonic())

    def run(self, url: str, how: str = "plain", **more: str) -> Ended:
        """A run to its end, however it ends."""
        return self.start(url, how, **more).end()

    def finish(self, url: str, how: str = "plain", **more: str) -> Ended:
        """A run that must end well."""
        ended = self.run(url, how, **more)
        assert ended.code == 0, ended.said
        return ended

    def kill_after(self, url: str, seconds: float, how: str = "plain") -> Ended:
        """A run that is killed -9 so many seconds after it began, wherever it is then."""
        run = self.start(url, how)
        run.begun()
        time.sleep(seconds)
        run.kill()
        return run.end()
