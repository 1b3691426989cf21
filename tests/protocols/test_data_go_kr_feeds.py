"""What the shipped feeds of the gateway ask for at a moment, and what becomes of their agencies' markers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import duckdb
import pytest

from assets.feeds.load import shipped
from assets.feeds.model import Feed
from assets.protocols.kernel import Body, Cursor, Validators, When
from assets.tables.staging import stage
from deploy.agency.engine import rows_of
from deploy.agency.engines.data_go_kr import envelope
from deploy.agency.routes import load_routes, source_of
from tests.protocols.standin_scene import NOW, fetch_on_paper, paper

SEOUL = ZoneInfo("Asia/Seoul")
FEEDS = {name: feed for name, feed in shipped().items() if feed.source.protocol == "data_go_kr"}


def asked(name: str, *moment: int) -> list[dict[str, str]]:
    """The parameters of each query of a fetch at this moment in Seoul, in 2026."""
    feed = FEEDS[name]
    now = datetime(2026, *moment, tzinfo=SEOUL)  # type: ignore[misc, arg-type]
    steps = feed.protocol.plan(feed, feed.source, When(now))
    urls = [feed.protocol.request(feed, feed.source, step, Cursor(), Validators()).url for step in steps]
    return [dict(parse_qsl(urlsplit(url).query)) for url in urls]


def issues(name: str, *moment: int) -> list[str]:
    return list(dict.fromkeys(f"{query['base_date']} {query['base_time']}" for query in asked(name, *moment)))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ((11, 25, 2, 9), ["20261124 2000", "20261124 2300"]),
        ((11, 25, 2, 10), ["20261124 2300", "20261125 0200"]),
        ((1, 1, 0, 5), ["20251231 2000", "20251231 2300"]),
        ((11, 25, 12, 0), ["20261125 0800", "20261125 1100"]),
    ],
)
def test_a_forecast_is_not_asked_for_before_it_is_there(moment: tuple[int, ...], expected: list[str]) -> None:
    assert issues("kr.kma.village_forecast", *moment) == expected


@pytest.mark.parametrize(
    ("moment", "newest"),
    [((11, 25, 0, 39), "20261124 2300"), ((11, 25, 0, 40), "20261125 0000"), ((1, 1, 0, 10), "20251231 2300")],
)
def test_an_observation_is_there_forty_minutes_after_its_hour(moment: tuple[int, ...], newest: str) -> None:
    assert issues("kr.kma.ultra_now", *moment)[-1] == newest


def test_each_city_is_asked_for_in_each_issue() -> None:
    queries = asked("kr.kma.village_forecast", 11, 25, 12, 0)
    assert len(queries) == 12
    assert len({(q["base_time"], q["nx"], q["ny"]) for q in queries}) == 12
    assert {q["dataType"] for q in queries} == {"JSON"}


def test_other_windows() -> None:
    (bids,) = asked("kr.pps.bids", 11, 25, 12, 0)
    assert (bids["inqryBgnDt"], bids["inqryEndDt"], bids["type"]) == ("202611240000", "202611260000", "json")
    assert [query["solYear"] for query in asked("kr.kasi.holidays", 1, 1, 0, 0)] == ["2025", "2026"]
    daily = asked("kr.kma.asos_daily", 11, 25, 12, 0)
    assert {(q["startDt"], q["endDt"]) for q in daily} == {("20261117", "20261123")}
    (festivals,) = asked("kr.tour.festivals", 11, 25, 12, 0)
    assert (festivals["MobileOS"], festivals["MobileApp"], festivals["eventStartDate"]) == ("ETC", "Madang", "20261001")


# --- from the stand-in ------------------------------------------------------------------------------------------------------


def sample(name: str) -> tuple[Feed, dict[str, Any], list[dict[str, Any]]]:
    route = next(route for route in load_routes() if route.id == name)
    source = source_of(route, NOW.date())
    assert source is not None
    return FEEDS[name], route.model_dump(exclude={"id"}), [dict(row) for row in rows_of(source)]


@pytest.mark.parametrize("name", sorted(FEEDS))
def test_every_row_of_the_window_comes_once(name: str, tmp_path: Path) -> None:
    feed, route, rows = sample(name)
    agency = paper(tmp_path, feed, rows, **route)
    parts = [None] if feed.partitions is None else feed.partitions.keys(feed.schedule, NOW)[-12:]
    done = [fetch_on_paper(feed, agency, partition=partition) for partition in parts]
    assert {each.outcome for each in done} <= ({"Ok"} if feed.partitions is None else {"Ok", "Empty"})
    key = [c.name for c in feed.contract.columns].index(next(iter(feed.contract.key), feed.contract.columns[0].name))
    came = [row for each in done for row in each.rows]
    assert len(came) == len(rows)
    assert all(row[key] for row in came)


@pytest.mark.parametrize("text", ["강수없음", "1mm 미만", "30.0~50.0mm"])
def test_amounts_of_rain_stay_words(text: str, tmp_path: Path) -> None:
    feed, route, rows = sample("kr.kma.village_forecast")
    one = next(row for row in rows if row["category"] == "PCP") | {"fcstValue": text, "nx": 60, "ny": 127, "baseTime": 1100}
    done = fetch_on_paper(feed, paper(tmp_path, feed, [one], **route))
    value = [c.name for c in feed.contract.columns].index("value")
    assert [row[value] for row in done.rows] == [text]


@pytest.mark.parametrize("marker", ["-999", "-99.0", "900", "+900", "-900"])
def test_a_marker_of_a_missing_value_is_null(marker: str, tmp_path: Path) -> None:
    feed, _, rows = sample("kr.kma.ultra_now")
    path = tmp_path / "body.json"
    path.write_bytes(envelope([rows[0], rows[1] | {"obsrValue": marker}], 2, 1, 10, as_json=True, shape="item").body)
    stage(feed, feed.protocol.parse(feed, feed.source, [Body(path, {}, feed.source.address)]), tmp_path / "staged.parquet")
    values = duckdb.sql(f"SELECT value FROM '{tmp_path}/staged.parquet'").fetchall()
    assert values == [(8.4,), (None,)]
