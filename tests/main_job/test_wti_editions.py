"""27 real editions of one series, served day by day by the stand-in, through the real fetch and the real build.

Each edition replaces the one before; two of them withdraw a row that was published by mistake. Then the agency is switched
off, and the table of every edition's day comes back from the archive.
"""

from __future__ import annotations

import csv
import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from assets.archive.assets import archive_asset, fetch_feed
from assets.archive.fetches import FetchRecord
from assets.feeds.load import FOLDER, load_feed
from assets.feeds.model import Feed
from assets.platform import Platform
from assets.tables.assets import build_feed_table, table_asset
from assets.tables.build import is_current
from assets.tables.index import TableIndex, live_paths, read_index
from assets.tables.replay import rebuild
from deploy.agency import AgencyConfig, running_agency
from orchestration.assembly import feed_job, job_name
from orchestration.failures import guard
from orchestration.freshness import confirmed_on_time
from orchestration.opening import open_platform
from orchestration.running import instance, run_job
from orchestration.settings import Settings

pytestmark = [pytest.mark.xdist_group("wti_editions"), pytest.mark.timeout(600)]

WITHDRAWN = {date(2024, 10, 24): {date(2024, 10, 14)}, date(2024, 11, 21): {date(2024, 11, 11)}}
THROUGH_DAGSTER = (date(2024, 10, 24), date(2024, 11, 21), date(2025, 3, 27))
Prices = dict[date, Decimal]


class Calendar:
    """The clock of the fetches: nine in the morning, Universal Time, of the edition's day. Waiting takes no time."""

    def __init__(self) -> None:
        self.moment = datetime(2024, 1, 1, tzinfo=UTC)

    def turn_to(self, day: date) -> None:
        self.moment = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)

    def now(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment

    async def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Day:
    """What one day brought. `changed`: kind of change → dates, from the table's own list of what changed in this version."""

    first: FetchRecord
    again: FetchRecord
    index: TableIndex
    live: Prices
    changed: dict[str, set[date]] = field(default_factory=dict)


@dataclass
class Story:
    feed: Feed
    platform: Platform
    days: dict[date, Day]


def editions(data: Path) -> dict[date, Prices]:
    """Every edition by its day, read by the standard library."""
    found = {}
    for path in sorted((data / "eia-wti-editions").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found[date.fromisoformat(path.stem)] = {date.fromisoformat(row["Date"]): Decimal(row["Price"]) for row in rows}
    return found


def prices(paths: list[Path]) -> Prices:
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT date, price FROM read_parquet(?)", [[str(path) for path in paths]]).fetchall()
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def set_clock(agency: str, day: date) -> None:
    body = json.dumps({"now": f"{day}T12:00:00"}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{agency}/__agency__/clock", body, method="POST"), timeout=10).close()


def requests_seen(agency: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{agency}/__agency__/requests", timeout=10) as answer:
        return [r for r in json.load(answer)["requests"] if r["route"] == "us.eia.wti_daily"]


def run_in_dagster(feed: Feed, platform: Platform, settings: Settings) -> None:
    """One run of the feed's own job, with the assets as every installation has them."""
    definitions = dg.Definitions(
        assets=[archive_asset(feed, guard), table_asset(feed, guard)],
        asset_checks=[confirmed_on_time(feed)],
        jobs=[feed_job(feed)],
        resources={"platform": dg.ResourceDefinition.hardcoded_resource(platform)},
        executor=dg.in_process_executor,
    )
    with instance(settings) as opened:
        result = run_job(definitions, job_name(feed), opened)
    assert result.success, result.error
    assert ("table", *feed.segments) in result.changed


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Story]:
    """All 27 days, each fetched twice; when it is yielded the agency no longer runs."""
    home = tmp_path_factory.mktemp("wti")
    feed = load_feed(FOLDER / "us.eia.wti_daily")
    calendar, days = Calendar(), {}
    first_day = min(editions(shared_data))
    with running_agency(AgencyConfig(data=shared_data, today=first_day)) as url:
        settings = Settings.from_environment({"MADANG_HOME": str(home), "MADANG_CONNECT_TO": url})
        platform = replace(open_platform(settings, {feed.id: feed}, {}), clock=calendar)
        for day in editions(shared_data):
            calendar.turn_to(day)
            set_clock(url, day)
            if day in THROUGH_DAGSTER:
                run_in_dagster(feed, platform, settings)
                first = platform.ledger.last(feed.id)
                assert first is not None
            else:
                first = fetch_feed(platform, feed)
                result = build_feed_table(platform, feed)
                result.raise_if_blocked()
                assert result.changed
            again = fetch_feed(platform, feed)
            index = read_index(platform.store, feed.id)
            assert index is not None and is_current(feed, again, platform.store)
            days[day] = Day(
                first, again, index, prices(live_paths(platform.store, index, platform.cache)), changes_of(platform, index)
            )
        asked = requests_seen(url)
    # Two requests a day, the second one always conditional and always answered without a body.
    assert [request["status"] for request in asked] == [200, 304] * len(days)
    yield Story(feed, platform, days)
    platform.ledger.close()


def changes_of(platform: Platform, index: TableIndex) -> dict[str, set[date]]:
    files = [str(platform.store.local_path(file.key, platform.cache)) for file in index.partitions["all"].changed_files]
    with duckdb.connect() as connection:
        found = connection.execute("SELECT _change, date FROM read_parquet(?)", [files]).fetchall()
    return {kind: {day for k, day in found if k == kind} for kind in {k for k, _ in found}}


def test_there_are_27_editions_and_every_fetch_brought_one(story: Story, shared_data: Path) -> None:
    assert list(story.days) == list(editions(shared_data)) and len(story.days) == 27
    assert {day.first.outcome for day in story.days.values()} == {"Ok"}
    assert {day.first.origin for day in story.days.values()} == {"replay"}
    assert [day.first.started_at.date() for day in story.days.values()] == list(story.days)


def test_a_second_fetch_of_the_same_day_is_not_modified(story: Story) -> None:
    for day in story.days.values():
        assert day.again.outcome == "NotModified"
        assert day.again.body_fetch_id == day.first.fetch_id
        assert day.again.bytes_read == 0


def test_the_table_is_each_day_that_day_s_edition(story: Story, shared_data: Path) -> None:
    for day, expected in editions(shared_data).items():
        assert story.days[day].live == expected


def test_only_what_changed_between_editions_changed_in_the_table(story: Story, shared_data: Path) -> None:
    before: Prices = {}
    for day, now in editions(shared_data).items():
        expected = {
            "added": now.keys() - before.keys(),
            "revised": {d for d in now.keys() & before.keys() if now[d] != before[d]},
            "withdrawn": before.keys() - now.keys(),
        }
        assert story.days[day].changed == {kind: dates for kind, dates in expected.items() if dates}
        counts = {kind: len(dates) for kind, dates in expected.items()}
        counts["unchanged"] = len(now) - counts["added"] - counts["revised"]
        assert story.days[day].index.partitions["all"].changes == counts
        before = now


def test_the_two_rows_published_by_mistake_are_recorded_as_withdrawn(story: Story) -> None:
    found = {day: seen.changed["withdrawn"] for day, seen in story.days.items() if "withdrawn" in seen.changed}
    assert found == WITHDRAWN
    # They had stood in the edition before, and are in no later table.
    assert date(2024, 10, 14) in story.days[date(2024, 10, 18)].live
    assert not set().union(*WITHDRAWN.values()) & story.days[date(2025, 3, 27)].live.keys()


def test_the_agency_off_the_archive_gives_any_edition_back(story: Story, shared_data: Path, tmp_path: Path) -> None:
    """Both withdrawals, the days before them, the ends, and every sixth in between; all 27 have the nightly mark."""
    days = list(editions(shared_data))
    around = {n for n, day in enumerate(days) if day in WITHDRAWN or days[min(n + 1, len(days) - 1)] in WITHDRAWN}
    rebuilt_as_published(
        story, shared_data, tmp_path, [days[n] for n in sorted(around | {0, len(days) - 1} | set(range(6, len(days), 6)))]
    )
    before_the_first = datetime(2024, 10, 4, tzinfo=UTC)
    surroundings: dict[str, Any] = {"store": story.platform.store, "ledger": story.platform.ledger, "workdir": tmp_path / "work"}
    assert rebuild(story.feed, as_of=before_the_first, into=tmp_path / "none", **surroundings) == []


@pytest.mark.nightly
def test_the_agency_off_the_archive_gives_every_edition_back(story: Story, shared_data: Path, tmp_path: Path) -> None:
    rebuilt_as_published(story, shared_data, tmp_path, list(editions(shared_data)))


def rebuilt_as_published(story: Story, shared_data: Path, folder: Path, days: Sequence[date]) -> None:
    """The table of each of these days, from the archive alone, is the edition of that day; the live table is not touched."""
    platform, feed = story.platform, story.feed
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{platform.transport.connect_to}/", timeout=5)
    live = platform.store.read_pointer(f"tables/{feed.id}/index.json").value
    published = editions(shared_data)
    for day in days:
        files = rebuild(
            feed,
            as_of=datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC),
            store=platform.store,
            ledger=platform.ledger,
            workdir=folder / "work",
            into=folder / str(day),
        )
        assert prices(files) == published[day], day
    assert platform.store.read_pointer(f"tables/{feed.id}/index.json").value == live
