"""The replay itself: that rows live and stay an agency's rows, that feeds run at their own ticks, and that a loss would be seen."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from assets.feeds.load import FOLDER, shipped
from assets.feeds.model import Feed
from deploy.agency.routes import load_routes
from quality.contract import Column
from tests.protocols.living import RAW, Life, later, shape_of, stamped, value
from tests.protocols.replay_scene import Agencies, running_agencies
from tests.protocols.replaying import difference, replay, slots
from tests.protocols.standin_scene import NOW, feed_for

FEEDS = shipped()
SHAPES = {
    "JSON": "kr.gov24.services",
    "nested JSON": "gb.data_gov_uk.datasets",
    "GeoJSON": "us.usgs.earthquakes_week",
    "CSV": "us.faa.airports",
    "CSV in CP949": "kr.mois.legal_dong_codes",
    "CSV, compressed": "us.noaa.ghcn_daily_year",
    "TSV": "eu.entsoe.total_load",
    "timetable": "us.mbta.stops",
}


def life_of(feed_id: str, folder: Path) -> Life:
    """The feed's life in a copy of its sample."""
    shutil.copytree(FOLDER / feed_id, folder / feed_id)
    route = next(route for route in load_routes() if route.id == feed_id)
    return Life(FEEDS[feed_id], route, folder, feed_id, NOW)


def keys(feed: Feed, life: Life) -> Counter[tuple[str, ...]]:
    paths = [feed.contract.column(name).source_name for name in feed.contract.key]
    return Counter(tuple(str(value(row, path)) for path in paths) for row in life.rows)


# --- rows that live -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed_id", SHAPES.values(), ids=SHAPES.keys())
def test_what_is_written_is_the_same_shape_with_the_rows_of_the_day(feed_id: str, tmp_path: Path) -> None:
    life = life_of(feed_id, tmp_path)
    assert life.still == ""
    life.begin(NOW)
    for day in range(1, 15):
        life.go_on(NOW + timedelta(days=day))
        path = next((tmp_path / feed_id).glob("sample.*"))
        plain = [{name: one for name, one in row.items() if name is not RAW} for row in life.rows]
        read = [{name: one for name, one in row.items() if name is not RAW} for row in shape_of(FEEDS[feed_id], path).rows]
        assert read == plain
        assert path.stat().st_mtime == (NOW + timedelta(days=day)).timestamp()
    assert life.happened["added"] and life.happened["revised"] and life.happened["reordered"]


@pytest.mark.parametrize("feed_id", SHAPES.values(), ids=SHAPES.keys())
def test_a_new_row_has_a_key_of_its_own(feed_id: str, tmp_path: Path) -> None:
    life, feed = life_of(feed_id, tmp_path), FEEDS[feed_id]
    life.begin(NOW)
    twice = sum(count - 1 for count in keys(feed, life).values())  # some samples hold such rows on purpose
    for day in range(1, 10):
        life.go_on(NOW + timedelta(days=day))
        assert sum(count - 1 for count in keys(feed, life).values()) <= twice + 1  # the other of two may come later


def test_a_line_that_nothing_happened_to_keeps_its_own_text(tmp_path: Path) -> None:
    life = life_of("us.noaa.storm_events", tmp_path)
    before = set((FOLDER / "us.noaa.storm_events" / "sample.csv").read_text().splitlines())
    life.begin(NOW)
    life.go_on(NOW + timedelta(days=1))
    lines = (tmp_path / "us.noaa.storm_events" / "sample.csv").read_text().splitlines()
    touched = life.happened["added"] + life.happened["revised"]
    assert 0 < sum(line not in before for line in lines) <= touched


def test_rows_are_withdrawn_as_the_feed_declares(tmp_path: Path) -> None:
    """Left out of a full fetch, marked where the agency marks them, and never where nobody could see it."""
    lives = {
        name: life_of(name, tmp_path) for name in ("kr.std.cctv", "us.usgs.korea_earthquakes", "kr.kma.asos_daily", "org.imf.cpi")
    }
    for life in lives.values():
        life.begin(NOW)
        for day in range(1, 15):
            life.go_on(NOW + timedelta(days=day))
    withdrawn = {name: life.happened["withdrawn"] for name, life in lives.items()}
    assert withdrawn["kr.std.cctv"] and withdrawn["us.usgs.korea_earthquakes"]
    assert withdrawn["kr.kma.asos_daily"] == withdrawn["org.imf.cpi"] == 0
    marks = Counter(row["properties"]["status"] for row in lives["us.usgs.korea_earthquakes"].rows)
    assert marks["deleted"] >= withdrawn["us.usgs.korea_earthquakes"]


def test_a_new_event_has_no_name_of_another(tmp_path: Path) -> None:
    life = life_of("us.usgs.korea_earthquakes", tmp_path)
    life.begin(NOW)
    known = Counter(one for row in life.rows for one in row["properties"]["ids"].split(",") if one)
    for day in range(1, 15):
        life.go_on(NOW + timedelta(days=day))
    names = Counter(one for row in life.rows for one in row["properties"]["ids"].split(",") if one)
    assert len(names) > len(known) and max(names.values()) == max(known.values())


def test_an_edition_is_a_file_of_its_own_day(tmp_path: Path) -> None:
    life = life_of("us.eia.wti_daily", tmp_path)
    life.begin(NOW)
    life.go_on(NOW + timedelta(days=1))
    names = {path.name for path in (tmp_path / "us.eia.wti_daily").glob("sample.2026*")}
    assert names == {"sample.2026-11-25.csv", "sample.2026-11-26.csv"}


def test_a_sample_of_another_shape_stays_as_it_is(tmp_path: Path) -> None:
    life = life_of("kr.aihub.pill_labels", tmp_path)
    before = (tmp_path / "kr.aihub.pill_labels" / "sample.json").read_bytes()
    life.begin(NOW)
    life.go_on(NOW + timedelta(days=1))
    assert life.still and not life.happened
    assert (tmp_path / "kr.aihub.pill_labels" / "sample.json").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "kind", "form", "new"),
    [
        ("2026-02-27", "date", None, "2026-03-01"),
        ("20260227", "date", "%Y%m%d", "20260301"),
        (20260227, "date", "%Y%m%d", 20260301),
        ("27/02/2026", "date", "%d/%m/%Y", "01/03/2026"),
        ("2026-02-27T23:59:00.000", "timestamp", None, "2026-03-01T23:59:00.000"),
        ("2026-02-27 24:00", "timestamp", "%Y-%m-%d %H:%M", "2026-03-01 24:00"),
        (1000, "timestamp", "epoch_ms", 172_801_000),
    ],
)
def test_dates_move_in_their_own_form(old: str | int, kind: str, form: str | None, new: str | int) -> None:
    assert later(old, Column.model_validate({"name": "at", "type": kind, "format": form}), 2) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2026-11-01", "2026-11-25"),
        ("20261101", "20261125"),
        ("20261101080910", "20261125120000"),
        ("2026-11-01T08:09:10.000", "2026-11-25T12:00:00.000"),
        (None, "2026-11-25T03:00:00.000Z"),
        ("2026-11-01T08:09:10Z", "2026-11-25T03:00:00Z"),
        (1, 1_795_575_600_000),
    ],
)
def test_stamps_keep_their_form(old: str | int | None, new: str | int) -> None:
    assert stamped(old, NOW, ZoneInfo("Asia/Seoul")) == new
    with pytest.raises(ValueError, match="of its own"):
        stamped("last Tuesday", NOW, ZoneInfo("Asia/Seoul"))


# --- ticks ----------------------------------------------------------------------------------------------------------------


def scheduled(cron: str, zone: str = "Asia/Seoul") -> Feed:
    source = {"protocol": "http_file", "url": "https://agency.example/rows.csv", "format": "csv"}
    return feed_for(source, ["a"], schedule={"cron": cron, "timezone": zone})


def hours(found: list[list[datetime]]) -> list[list[str]]:
    return [[f"{tick:%d %H:%M}" for tick in day] for day in found]


def test_feeds_run_at_their_own_ticks() -> None:
    daily = slots(scheduled("30 3 * * *"), days=3, a_day=2, least=1, dice=random.Random(1))
    assert hours(daily) == [["26 03:30"], ["27 03:30"], ["28 03:30"]]
    hourly = slots(scheduled("45 * * * *"), days=2, a_day=3, least=1, dice=random.Random(1))
    assert [len(day) for day in hourly] == [3, 3]
    assert [day[0].strftime("%d %H:%M") for day in hourly] == ["25 12:45", "26 12:45"]
    assert all(day == sorted(day) and {tick.minute for tick in day} == {45} for day in hourly)


def test_a_seldom_feed_is_followed_until_it_has_run_often_enough() -> None:
    monthly = slots(scheduled("40 4 2 * *"), days=7, a_day=1, least=3, dice=random.Random(1))
    assert [f"{day[0]:%Y-%m-%d}" for day in monthly] == ["2026-12-02", "2027-01-02", "2027-02-02"]


# --- that a loss would be seen --------------------------------------------------------------------------------------------


def test_rows_that_are_lost_repeated_or_foreign_are_told_apart() -> None:
    feed = feed_for(
        {"protocol": "http_file", "url": "https://agency.example/rows.csv", "format": "csv"},
        [{"name": "id", "nullable": False}, {"name": "level"}],
        contract={"columns": [{"name": "id", "nullable": False}, {"name": "level"}], "key": ["id"]},
    )
    wanted = Counter[tuple[object, ...]]({("a", "1"): 1, ("b", "2"): 1, ("c", "3"): 1})
    found = Counter[tuple[object, ...]]({("a", "1"): 2, ("b", "9"): 1})
    lost, twice, foreign = difference(feed, found, wanted)
    assert lost == Counter({("b", "2"): 1, ("c", "3"): 1})
    assert twice == Counter({("a", "1"): 1}) and foreign == Counter({("b", "9"): 1})
    assert difference(feed, wanted, wanted) == (Counter(), Counter(), Counter())


@contextmanager
def apart(folder: Path) -> Iterator[Agencies]:
    """Agencies of which the faulty collector's has rows that never change: whoever asks there loses what happens."""
    with running_agencies(folder / "a") as living, running_agencies(folder / "b") as frozen:
        yield replace(living, rough=frozen.rough, rough_url=frozen.rough_url)


@pytest.mark.parametrize("feed_id", ["kr.std.cctv", "us.faa.airports"])
def test_a_collector_that_misses_what_happened_is_found_out(feed_id: str, tmp_path: Path) -> None:
    with apart(tmp_path) as agencies:
        report = replay(FEEDS[feed_id], agencies, tmp_path / "replay", days=3, least=3)
    assert report.lost and report.foreign
    assert any("lost" in what for what in report.wrong)


def test_a_quota_that_is_exceeded_and_a_failure_of_another_class_are_found_out(tmp_path: Path) -> None:
    feed_id = "kr.kma.asos_daily"
    with running_agencies(tmp_path) as agencies:
        agencies.rough.routes = tuple(
            route.model_copy(update={"per_day": 1}) if route.id == feed_id else route for route in agencies.rough.routes
        )
        report = replay(FEEDS[feed_id], agencies, tmp_path / "replay", days=2)
    assert any(f"requests of 1 to {feed_id}" in what for what in report.wrong)
    assert any("ended in QuotaExhausted" in what for what in report.wrong)


def test_a_quota_that_many_retries_use_up_is_kept_to(tmp_path: Path) -> None:
    """The collector stops at the last request of the day, and goes on when the day is over in Seoul."""
    with running_agencies(tmp_path) as agencies:
        report = replay(FEEDS["kr.gov24.services"], agencies, tmp_path / "replay", days=9)
        assert agencies.rough.routes == agencies.calm.routes
    assert report.wrong == [] and report.classes["quota"]
    assert max(used - most for _, _, used, most in report.quota) == 0
    assert report.lost == report.twice == report.foreign == 0 and report.compared
