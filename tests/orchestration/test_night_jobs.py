"""The jobs that a person starts at night, each on a copy of a home that the demo filled, or on a small one of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from orchestration.assembly import build_definitions, job_name
from orchestration.running import instance, run_job
from orchestration.settings import Settings
from tests.loopback import Answer
from tests.main_job.homes import MadangHome
from tests.main_job.wild_agency import wild_agency

SET = "seoul_bike_demand"
SEOUL = "kr.seoul.bike_hourly"


class Night:
    """A home and its definitions. No agency is served: a job that asks one would fail."""

    def __init__(self, home: MadangHome, settings: Settings | None = None) -> None:
        self.home, self.settings = home, settings or home.settings
        self.definitions = build_definitions(self.settings)

    def job(self, name: str, op: str, /, **config: str) -> dg.ExecuteInProcessResult:
        """A job from the Launchpad with its fields filled in."""
        with self.home.instance() as opened:
            return self.definitions.resolve_job_def(name).execute_in_process(
                instance=opened, raise_on_error=False, run_config={"ops": {op: {"config": config}}}
            )

    def release(self, settings: Settings | None = None) -> Any:
        """Build the set's asset alone, from the model that has landed."""
        definitions = self.definitions if settings is None else build_definitions(settings)
        with instance(settings or self.settings) as opened:
            return run_job(definitions, "build_sets", opened, selection=[dg.AssetKey(["set", SET])])

    @property
    def index(self) -> dict[str, Any]:
        value: dict[str, Any] = self.home.store.get_json(f"sets/{SET}/index.json")
        return value


def sentence(result: dg.ExecuteInProcessResult) -> str:
    """The failure's own description."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None, event.step_failure_data.error
    return str(failure.description)


@pytest.fixture(scope="module")
def night(demo_home: MadangHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MADANG_CONNECT_TO", "DAGSTER_HOME"):
            patch.delenv(name, raising=False)
        yield Night(demo_home.copy(tmp_path_factory.mktemp("night") / "home"))


def test_a_rerun_judges_the_archived_bytes_and_asks_nobody(night: Night) -> None:
    before, rows = night.home.snapshot(), night.home.rows(SEOUL)
    digests = {file.sha256 for file in night.home.index(SEOUL).live_files()}
    with night.home.ledger() as ledger:
        fetches = len(ledger.history(SEOUL))
    result = night.job("rerun_from_archive", "judge_all_again", feed=SEOUL)
    assert result.success
    after = night.home.snapshot()
    key = ("table", *SEOUL.split("."))
    # The same rows are no new table: what was looked at is an observation, and nothing downstream is stirred.
    assert after.events[key].materialized == before.events[key].materialized
    assert after.events[key].observed == before.events[key].observed + 1
    assert {file.sha256 for file in night.home.index(SEOUL).live_files()} == digests
    assert sorted(night.home.rows(SEOUL), key=str) == sorted(rows, key=str)
    with night.home.ledger() as ledger:
        assert len(ledger.history(SEOUL)) == fetches


def test_a_job_for_an_unknown_feed_ends_in_one_sentence(night: Night) -> None:
    result = night.job("rerun_from_archive", "judge_all_again", feed="kr.seoul.bikes")
    assert not result.success and sentence(result).startswith("run config: there is no feed kr.seoul.bikes — ")


def test_a_table_is_rebuilt_as_of_a_day_with_its_expectations(night: Night, tmp_path: Path) -> None:
    """One of these rows breaks no column's rule, only an expectation that compares two columns."""
    feed = "us.noaa.seattle_weather"
    live = night.home.index(feed)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    result = night.job("rebuild_table_as_of", "rebuild_as_of", feed=feed, as_of=today, into=str(tmp_path / "now"))
    assert result.success
    with duckdb.connect() as connection:
        rebuilt = connection.execute("SELECT _row_hash FROM read_parquet(?)", [str(tmp_path / "now" / "*.parquet")]).fetchall()
    assert sorted(rebuilt) == sorted(night.home.rows(feed, "_row_hash")) and len(rebuilt) == live.rows
    assert night.home.index(feed) == live
    result = night.job("rebuild_table_as_of", "rebuild_as_of", feed=feed, as_of="2001-01-01", into=str(tmp_path / "then"))
    assert result.success and list((tmp_path / "then").iterdir()) == []
    result = night.job("rebuild_table_as_of", "rebuild_as_of", feed=feed, as_of="yesterday", into=str(tmp_path / "no"))
    assert not result.success and "'yesterday' is no day and no moment — write 2024-10-24" in sentence(result)


def test_a_hold_stops_releases_until_it_is_lifted_and_a_roll_back_holds(night: Night) -> None:
    assert night.job("hold_release", "hold", name=SET, reason="labels of May are being checked").success
    before = night.index
    assert before["hold"]["reason"] == "labels of May are being checked"
    # What a change of the public address would release, the hold keeps in.
    elsewhere = replace(night.settings, public_url="https://data.agency.test")
    run = night.release(elsewhere)
    assert not run.success
    assert run.error == f"training set {SET}: is held: labels of May are being checked — lift the hold first"
    assert night.index == before

    assert night.job("lift_hold", "lift", name=SET, reason="they were right").success
    assert night.index["hold"] is None
    run = night.release(elsewhere)
    assert run.success and run.changed == {("set", SET)}
    assert night.index["latest"] == "1.0.1" and [v["version"] for v in night.index["versions"]] == ["1.0.0", "1.0.1"]
    assert night.release(elsewhere).changed == frozenset()

    assert not night.job("roll_back_release", "roll_back", name=SET, version="7.0.0", reason="x").success
    assert night.job("roll_back_release", "roll_back", name=SET, version="1.0.0", reason="the address is wrong").success
    index = night.index
    assert index["latest"] == "1.0.0" and index["channels"] == {"stable": "1.0.0"}
    assert [v["status"] for v in index["versions"]] == ["active", "deprecated"]
    assert index["hold"]["reason"] == "rolled back to 1.0.0: the address is wrong"
    assert [h["action"] for h in index["history"]] == ["released", "held", "hold lifted", "released", "rolled back"]
    # Nothing was deleted, and the next run does not undo it.
    assert night.home.store.exists(f"sets/{SET}/v1.0.1/_COMMITTED")
    assert not night.release(elsewhere).success and night.index == index


HEADER = "day,visitors"


def declaration(**visitors: Any) -> str:
    column = {"name": "visitors", "type": "integer", **visitors}
    return json.dumps(
        {
            "id": "test.night.visitors",
            "title": "Visitors",
            "agency": {"name": "Agency", "country": "US"},
            "licence": {"id": "US-PD", "url": "https://agency.test/licence"},
            "schedule": {"cron": "0 3 * * *"},
            "source": {"protocol": "http_file", "url": "http://night.agency.test/rows.csv", "format": "csv"},
            "contract": {"key": ["day"], "columns": [{"name": "day", "type": "date", "nullable": False}, column]},
        }
    )


def test_the_quarantine_gets_its_second_chance_after_the_contract_was_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "feeds" / "test.night.visitors"
    folder.mkdir(parents=True)
    (folder / "feed.yaml").write_text(declaration(), encoding="utf-8")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("MADANG_FEEDS", str(tmp_path / "feeds"))
    monkeypatch.setenv("MADANG_HOME", str(tmp_path / "home"))
    good = [f"2024-01-{day:02},{day}" for day in range(1, 31)]
    with wild_agency() as agency:
        agency.give("night.agency.test", Answer("\n".join([HEADER, *good, '2024-01-31,"1,234"', ""]).encode()))
        settings = Settings.from_environment()
        monkeypatch.setenv("MADANG_CONNECT_TO", agency.url)
        settings = Settings.from_environment()
        home = MadangHome(tmp_path / "home")
        night = Night(home, settings)
        feed_job = job_name(night_feed(settings))
        with instance(settings) as opened:
            assert run_job(night.definitions, feed_job, opened).success
    feed = "test.night.visitors"
    assert len(home.rows(feed)) == 30 and home.quarantine(feed, "_rule") == [("type",)]

    (folder / "feed.yaml").write_text(declaration(thousands=","), encoding="utf-8")
    result = Night(home, settings).job("retry_quarantine", "judge_last_again", feed=feed)
    assert result.success
    assert home.quarantine(feed) == []
    rows = home.rows(feed, "day, visitors, _source_id", "visitors = 1234")
    with home.ledger() as ledger:
        (fetch,) = ledger.history(feed)
    # The row came from the one fetch there ever was; the agency is gone and was not asked.
    assert [(str(day), source) for day, _, source in rows] == [("2024-01-31", fetch.fetch_id)]
    with home.instance() as opened:
        assert len(opened.fetch_materializations(dg.AssetKey(["table", *feed.split(".")]), limit=10).records) == 2


def night_feed(settings: Settings) -> Any:
    from assets.feeds.load import load_feeds

    return load_feeds(settings.feed_folders).feeds["test.night.visitors"]
