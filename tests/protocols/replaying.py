"""Days of one feed under one clock: two collectors ask two stand-ins over the same living rows, one through seeded faults.

The feed runs at the ticks of its own schedule. A run that a fault ends is made up for soon after, or at the next tick, as Dagster
would run it. Whenever both have come through, their tables hold the same rows; a full feed's table holds what is served. Found and
counted here, judged by whoever asked (`Report.wrong`): the seven days of the suite, the thirty of the benchmark.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from assets.errors import FetchFailed
from assets.feeds.load import next_times
from assets.feeds.model import Feed
from assets.protocols.asking import quota_name
from assets.tables.judging import judge
from assets.tables.staging import stage
from orchestration.failures import failure_class
from tests.protocols.living import Life, value
from tests.protocols.replay_scene import Agencies, Collector, Values, values_of
from tests.protocols.standin_scene import NOW
from tests.tables.making import make_stream

PASSING = ("reset_mid_body:1", "retry_after_0:2", "status_429:1", "status_500:2", "status_503:1", "stream_cut:1")
"""Faults that end within one fetch: it must succeed."""
FAILING = {
    "empty_body_200": {"Malformed", "Transient"},
    "html_200": {"AuthFailed", "BadRequest", "Malformed"},
    "status_403": {"AuthFailed", "RateLimited"},  # EIA throttles with 403
    "status_404": {"Gone"},
    "status_500": {"Transient"},
}
"""Faults that stay, and the outcomes that name them."""
OF_PROTOCOL = {
    "data_go_kr": {"xml_error_on_json:22": {"QuotaExhausted"}, "xml_error_on_json:30": {"AuthFailed"}},
    "data_go_kr_standard": {"xml_error_on_json:22": {"QuotaExhausted"}, "xml_error_on_json:30": {"AuthFailed"}},
    "sftp": {"file_gone": {"Transient"}},
    "ftp": {"file_gone": {"Transient"}},
    "s3": {"file_gone": {"Transient"}},
}
"""Those that one protocol's agencies have besides."""
SEOUL_MIDNIGHT = "00:00 Asia/Seoul"
"""When the stand-in's quotas come back."""
SPARE = 4
"""Requests of a tight quota beyond those of a day without faults: fewer than a fault that stays makes the collector ask."""
SOON = timedelta(minutes=5)
"""After which somebody runs again what a fault has ended."""
BEFORE = timedelta(minutes=30)
"""How long before a run the agency's rows change."""


@dataclass
class Report:
    """What became of one feed. `outcomes`: of the faulty collector's fetches that succeeded; `failures`: of those that did not.

    `classes`: what mends these; `faults`: how often each was met; `ended`: how often it ended the fetch; `quota`: route, day, used,
    allowed; `still`: why its rows did not change; `wrong`: what must not be. `lost`, `twice`, `foreign`: rows that were missing,
    that stood there under a key which had one already, or that are none of the agency's, in any comparison.
    """

    feed: str
    days: int
    runs: int = 0
    fetches: int = 0
    requests: int = 0
    rows: int = 0
    compared: int = 0
    lost: int = 0
    twice: int = 0
    foreign: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    life: Counter[str] = field(default_factory=Counter)
    quota: list[tuple[str, str, int, int]] = field(default_factory=list)
    still: str = ""
    wrong: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {name: dict(held) if isinstance(held, Counter) else held for name, held in vars(self).items()}


# --- the days -------------------------------------------------------------------------------------------------------------


def slots(feed: Feed, *, days: int, a_day: int, least: int, dice: random.Random) -> list[list[datetime]]:
    """The ticks of the feed's schedule in so many days from NOW, day by day: the first of a day, and of the others as many as fit.

    A feed that has a tick on fewer than `least` days is followed further, until it has.
    """
    found: dict[int, list[datetime]] = {}
    after = NOW - timedelta(seconds=1)
    while ticks := next_times(feed.schedule.cron, feed.schedule.timezone, after, 50):
        for tick in ticks:
            day = (tick - NOW).days
            if day >= days and len(found) >= least:
                return [_some(found[d], a_day, dice) for d in sorted(found)]
            found.setdefault(day, []).append(tick)
        after = ticks[-1]
    raise ValueError(f"{feed.id}: the schedule ends")


def _some(ticks: list[datetime], most: int, dice: random.Random) -> list[datetime]:
    first, *others = ticks
    return [first, *sorted(dice.sample(others, min(len(others), most - 1)))]


def faults_for(feed: Feed) -> dict[str, set[str]]:
    """Faults that end a fetch of the feed, each with the outcomes that name it."""
    known = FAILING | OF_PROTOCOL.get(feed.source.protocol, {})
    if getattr(feed.source, "window", None) is not None:
        # Until the quota is there again the window has moved.
        return {fault: outcomes for fault, outcomes in known.items() if outcomes != {"QuotaExhausted"}}
    return known


def replay(
    feed: Feed, agencies: Agencies, folder: Path, *, days: int, a_day: int = 1, least: int = 1, quiet: float = 0.0
) -> Report:
    """So many days of one feed. `a_day`: most runs a day; `least`: days with a run, however seldom the feed runs; `quiet`: share of
    the days on which no row changes.
    """
    dice = random.Random(feed.id)
    replayed = _Replay(feed, agencies, folder, dice, days, a_day)
    try:
        planned = slots(feed, days=days, a_day=a_day, least=least, dice=dice)
        for number, times in enumerate(planned):
            changes = dice.randrange(len(times)) if dice.random() >= quiet else -1
            for n, now in enumerate(times):
                last = number == len(planned) - 1 and n == len(times) - 1
                replayed.tick(now, changes=n == changes, faultless=last)
            replayed.settle()
        replayed.finish(planned[-1][-1])
    finally:
        replayed.close()
    return replayed.report


class _Replay:
    """One feed's days while they pass."""

    def __init__(self, feed: Feed, agencies: Agencies, folder: Path, dice: random.Random, days: int, a_day: int) -> None:
        self._a_day = a_day
        self.feed, self.agencies, self.folder, self._dice = feed, agencies, folder, dice
        self.report = Report(feed.id, days)
        route = next(route for route in agencies.calm.routes if route.id == feed.id)
        self._life = Life(feed, route, agencies.folder, f"{feed.id} {dice.random()}", NOW)
        self.report.still = self._life.still
        self._clean = Collector(folder / "clean", agencies.calm_url)
        self._faulty = Collector(folder / "faulty", agencies.rough_url)
        self._behind = self._begun = self._told = False
        self._written = 0
        self._routes, self._strict = agencies.rough.routes, feed
        # Of a feed in parts a run brings only those that are due.
        self._whole = feed.incremental.kind == "full" and feed.partitions is None
        # What has left a window is not asked for again, so a run that failed is made up for before the window moves.
        self._moves = getattr(feed.source, "window", None) is not None and feed.incremental.kind == "upsert"
        for agency in (agencies.calm, agencies.rough):
            agency.used.clear()

    def close(self) -> None:
        self._clean.close()
        self._faulty.close()
        self.agencies.rough.routes = self._routes

    # --- a run ---

    def tick(self, now: datetime, *, changes: bool, faultless: bool) -> None:
        """A run of both collectors; `changes`: the rows do so before it; `faultless`: without a fault."""
        if not self._begun:
            self._life.begin(now - BEFORE)
            self._begun = True
        elif changes:
            self._life.go_on(now - BEFORE)
        now = max(now, self._faulty.clock.time, self._clean.clock.time)
        self._clean.clock.time = self._faulty.clock.time = now
        self.agencies.set(now)
        self._clean.run(self.feed)
        routes = {entry["route"] for entry in self.agencies.calm.requests if entry["route"]}
        if not self.report.runs:
            self._tighten(len(self.agencies.calm.requests))
        failing = faults_for(self.feed)
        fault = None if faultless else self._dice.choice([None, *PASSING, *failing])
        if fault is not None and routes:
            self.report.faults[fault] += 1
            for route in routes:
                self.agencies.rough.switch(route, fault)
        self.report.runs += 1
        self._behind = not self._fetched(fault)
        self.report.requests += len(self.agencies.rough.requests)
        if self._behind and (faultless or self._moves or self._dice.random() < 0.5):
            self._again()
        self._check_quota()

    def _tighten(self, requests: int) -> None:
        """Where the agency's day is the quota's: a quota that a day without faults keeps to, and one with many retries does not."""
        limits = self.feed.source.limits
        if limits.per_day is None or limits.reset != SEOUL_MIDNIGHT or self._moves:
            return
        most = requests * self._a_day + SPARE
        strict = limits.model_copy(update={"per_day": most})
        self._strict = self.feed.model_copy(update={"source": self.feed.source.model_copy(update={"limits": strict})})
        self.agencies.rough.routes = tuple(
            route.model_copy(update={"per_day": most}) if route.id == self.feed.id else route for route in self._routes
        )

    def _again(self) -> None:
        """Somebody runs it again."""
        self._faulty.clock.time += SOON
        self.agencies.set(self._faulty.clock.time)
        self._behind = not self._fetched(None)
        self.report.requests += len(self.agencies.rough.requests)

    def _fetched(self, fault: str | None) -> bool:
        """Whether the faulty collector came through; what it met is in the report."""
        self.report.fetches += 1
        expected = faults_for(self.feed).get(fault or "", set())
        used_up = self._exhausted()
        try:
            outcome = self._faulty.run(self._strict).outcome
        except FetchFailed as failed:
            self.report.failures[failed.outcome] += 1
            self.report.classes[failure_class(failed).value] += 1
            if fault is not None:
                self.report.ended[fault] += 1
            # The day's quota was gone before, or its last request went out now.
            used_up = used_up or (self._strict is not self.feed and self._exhausted())
            if failed.outcome not in expected and not (used_up and failed.outcome == "QuotaExhausted"):
                self.report.wrong.append(f"{fault} ended in {failed.outcome}: {failed}")
            return False
        self.report.outcomes[outcome] += 1
        # SDMX says "no data" with 404, which is no failure; the agency is asked again all the same.
        return not (outcome == "Empty" and fault in ("status_404", "no_data"))

    def _exhausted(self) -> bool:
        """Whether the faulty collector's own count of the day's requests is used up."""
        limits = self._strict.source.limits
        if limits.per_day is None:
            return False
        name, now = quota_name(self._strict.source), self._faulty.clock.now()
        return not self._faulty.ledger.quota(name, per_day=limits.per_day, reset=limits.reset, now=now).allowed

    # --- what is compared ---

    def settle(self) -> None:
        """At the end of a day: the tables of both, and what is served, where it is not as it was."""
        clean = self._clean.rows(self.feed)
        if not self._behind:
            self._compare(self._faulty.rows(self.feed), clean, "the faulty collector's table")
        if self._whole and self._written != self._life.written:
            self._written = self._life.written
            served = served_rows(self.feed, self._life, self.folder / "served")
            self._told = served is not None
            if served is not None:
                self._compare(clean, served, "the table of what is served")

    def finish(self, now: datetime) -> None:
        """Until the faulty collector has come through, which a used-up quota may put off to another day; then the last look."""
        for _ in range(2):
            if self._behind:
                now += timedelta(days=1)
                self.tick(now, changes=False, faultless=True)
                self.settle()
        if self._behind:
            self.report.wrong.append("it never caught up")
        if not self._told:
            self._newcomer()
        self.report.rows = sum(self._faulty.rows(self.feed).values())
        self.report.life = self._life.happened
        told = Counter(r.outcome for r in self._faulty.ledger.history(self.feed.id))
        if self.feed.partitions is None and told != self.report.outcomes + self.report.failures:  # else a run is many fetches
            self.report.wrong.append(f"the ledger says {dict(told)}")
        if not self.report.rows:
            self.report.wrong.append("no row ever came")

    def _newcomer(self) -> None:
        """Whoever asks for the first time today finds nothing that the collector of all the days has not."""
        self.agencies.set(self._clean.clock.time)
        newcomer = Collector(self.folder / "newcomer", self.agencies.calm_url)
        newcomer.clock.time = self._clean.clock.time
        try:
            newcomer.run(self.feed)
            found, kept = newcomer.rows(self.feed), self._clean.rows(self.feed)
        finally:
            newcomer.close()
        if self._whole:
            self._compare(kept, found, "the table of what a newcomer finds")
        elif missing := found - kept:
            self._count("lost", missing, "what a newcomer finds")

    def _compare(self, found: Values, wanted: Values, what: str) -> None:
        self.report.compared += 1
        lost, twice, foreign = difference(self.feed, found, wanted)
        for name, rows in (("lost", lost), ("twice", twice), ("foreign", foreign)):
            if rows:
                self._count(name, rows, what)

    def _count(self, name: str, rows: Values, what: str) -> None:
        setattr(self.report, name, getattr(self.report, name) + sum(rows.values()))
        self.report.wrong.append(f"{what}: {sum(rows.values())} {name}, as {next(iter(rows))}")

    def _check_quota(self) -> None:
        rough = self.agencies.rough
        allowed = {route.id: route.per_day for route in rough.routes}
        self.report.quota = [(route, str(day), used, allowed[route]) for (route, day), used in sorted(rough.used.items())]
        for route, day, used, most in self.report.quota:
            if used > most:
                self.report.wrong.append(f"{used} requests of {most} to {route} on {day}")


def difference(feed: Feed, found: Values, wanted: Values) -> tuple[Values, Values, Values]:
    """Rows that are wanted and not found, rows found under a key that has one already, and other rows that are not wanted."""
    names = [column.name for column in feed.contract.columns]
    places = [names.index(name) for name in feed.contract.key]
    lost, over = wanted - found, found - wanted
    seen: Counter[tuple[object, ...]] = Counter()
    for row, count in found.items():
        seen[tuple(row[n] for n in places) if places else row] += count
    twice = Counter(
        {
            row: count
            for row, count in over.items()
            if (seen[tuple(row[n] for n in places)] if places else wanted[row]) > (1 if places else 0)
        }
    )
    return lost, twice, over - twice


def served_rows(feed: Feed, life: Life, folder: Path) -> Values | None:
    """What a table of the served rows must hold, by the contract alone; None where the sample's fields are not its columns'."""
    if life.still or feed.source.protocol == "datagov_search":
        return None  # whose query leaves rows out
    paths = [column.source_name for column in feed.contract.columns]
    if not all(any(value(row, path) is not None for row in life.rows) for path in paths):
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = [[_text(value(row, path)) for path in paths] for row in life.rows]
    staged = stage(feed, make_stream(feed, rows, batch=10_000), folder / "staged.parquet")
    return values_of(feed, [judge(feed, staged, folder, source_id="served", fetched_at=NOW).accepted])


def _text(found: Any) -> str | None:
    """A value as the agency writes it."""
    if found is None or isinstance(found, str):
        return found
    return json.dumps(found, ensure_ascii=False)
