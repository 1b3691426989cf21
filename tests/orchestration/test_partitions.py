"""A feed of time partitions in Dagster and on the command line: backfills, schedules, checks, night jobs, freshness."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

from assets.archive.ledger import Ledger
from assets.feeds.load import load_feeds
from assets.feeds.model import Feed
from assets.store import Store
from assets.tables.assets import when_tables_change
from assets.tables.index import TableIndex, live_paths, read_index
from orchestration.assembly import FRESHNESS_JOB, build_definitions, job_name
from orchestration.dbt import live_tables
from orchestration.freshness import CONFIRMED_ON_TIME, last_confirmed
from orchestration.opening import open_platform
from orchestration.running import instance, run_job
from orchestration.settings import Settings
from tests.loopback import Answer, Seen
from tests.main_job.wild_agency import WildAgency, wild_agency
from tests.orchestration.backfilling import INSTANCE, backfill
from tests.orchestration.calling import Called, call
from tests.tables.making import read

Capture = pytest.CaptureFixture[str]
ID = "kr.hanbit.loans"
HOST = "www.hanbit.example"
DECLARATION = """\
id: kr.hanbit.loans
title: 대출
title_en: Loans
agency: {name: 한빛시, name_en: City of Hanbit, country: KR}
licence: {id: KOGL-1, url: "https://www.kogl.or.kr/info/license.do"}
schedule: {cron: "0 3 * * *", timezone: Asia/Seoul}
partitions: {every: month, start: 2026-01, revised: 1, column: day}
source: {protocol: http_file, url: "https://www.hanbit.example/{partition}.csv", format: csv}
contract:
  key: [day]
  max_quarantine: 0.5
  columns:
    - {name: day, type: date, nullable: false}
    - {name: loans, type: integer, MIN, cleared: true}
"""
ARCHIVE, TABLE = (dg.AssetKey([stage, *ID.split(".")]) for stage in ("archive", "table"))


@dataclass
class City:
    """An agency with a file a month, a home, and the feed's declaration, which the test may change."""

    agency: WildAgency
    home: Path
    declaration: Path
    months: dict[str, str] = field(default_factory=dict)

    def answer(self, seen: Seen) -> Answer:
        key = seen.path.removeprefix("/").removesuffix(".csv")
        if key not in self.months:
            return Answer(b"no such month", 404, {"content-type": "text/plain"})
        return Answer(body=f"day,loans\n{self.months[key]}".encode(), headers={"content-type": "text/csv"})

    def declare(self, minimum: str = "min: 0") -> None:
        self.declaration.write_text(DECLARATION.replace("MIN", minimum), encoding="utf-8")

    def give(self, *numbers: int, loans: int = 10) -> None:
        for number in numbers:
            key = f"2026-{number:02}"
            self.months[key] = "".join(f"{key}-{day:02},{loans + day}\n" for day in range(1, 4))

    @property
    def settings(self) -> Settings:
        return Settings.from_environment()

    @property
    def feed(self) -> Feed:
        return load_feeds(self.settings.feed_folders).feeds[ID]

    @property
    def store(self) -> Store:
        return Store(self.settings.store_url)

    @property
    def index(self) -> TableIndex:
        found = read_index(self.store, ID)
        assert found is not None
        return found

    @property
    def rows(self) -> dict[str, int]:
        """How many live rows each month has."""
        found: dict[str, int] = {}
        for row in read(live_paths(self.store, self.index, self.home / "cache")):
            found[f"{row['day']:%Y-%m}"] = found.get(f"{row['day']:%Y-%m}", 0) + 1
        return found

    def asked(self) -> list[str]:
        return [seen.path for seen in self.agency.asked[HOST]]

    def run(self, definitions: dg.Definitions, partition: str) -> Any:
        with instance(self.settings) as opened:
            return run_job(definitions, job_name(self.feed), opened, partition=partition)


@pytest.fixture
def city(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[City]:
    for name in ("MADANG_STORE", "MADANG_SETS", "MADANG_LEDGER", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "feeds" / ID
    folder.mkdir(parents=True)
    with wild_agency() as agency:
        monkeypatch.setenv("MADANG_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("MADANG_FEEDS", str(folder.parent))
        monkeypatch.setenv("MADANG_CONNECT_TO", agency.url)
        made = City(agency, tmp_path / "home", folder / "feed.yaml")
        made.declare()
        agency.give(HOST, made.answer)
        made.give(*range(1, 11))
        yield made


def checks_of(opened: dg.DagsterInstance, name: str, partition: str) -> list[bool]:
    """What the check found of that partition, the latest first."""
    key = dg.AssetCheckKey(TABLE, name)
    history = opened.event_log_storage.get_asset_check_execution_history(
        key, limit=10, status={Status.SUCCEEDED, Status.FAILED}, partition_filter=PartitionKeyFilter(key=partition)
    )
    events = [entry.event.dagster_event for entry in history if entry.event]
    found = [event.asset_check_evaluation_data for event in events if event]
    assert all(each.partition == partition for each in found)
    return [each.passed for each in found]


# --- Dagster ------------------------------------------------------------------------------------------------------------------


def test_a_backfill_from_the_ui_is_a_run_a_partition_and_a_failed_one_is_no_other_ones(city: City) -> None:
    """Three months are asked for; of one there is no file, of another the rows are refused."""
    del city.months["2026-02"]
    city.months["2026-04"] = "2026-04-01,-1\n2026-04-02,-1\n2026-04-03,5\n"
    wanted = ["2026-02", "2026-03", "2026-04"]
    with dg.instance_for_test(overrides=INSTANCE) as opened:
        assert backfill(opened, [ARCHIVE, TABLE], wanted) is BulkActionStatus.COMPLETED_FAILED
        assert opened.get_materialized_partitions(ARCHIVE) == {"2026-03", "2026-04"}
        assert opened.get_materialized_partitions(TABLE) == {"2026-03"}
        ended = {run.tags["dagster/partition"]: run.status.value for run in opened.get_runs()}
        assert ended == dict.fromkeys(wanted, "SUCCESS") | {"2026-02": "FAILURE", "2026-04": "FAILURE"}
        assert checks_of(opened, "quarantine_within_bound", "2026-04") == [False]
        assert checks_of(opened, "quarantine_within_bound", "2026-03") == [True]
        assert checks_of(opened, "quarantine_within_bound", "2026-02") == []
        (latest,) = opened.fetch_materializations(dg.AssetRecordsFilter(TABLE, asset_partitions=["2026-03"]), limit=5).records
        assert latest.asset_materialization is not None
        said = {name: value.value for name, value in latest.asset_materialization.metadata.items()}
        assert (said["partition"], said["dagster/row_count"], said["rows read"]) == ("2026-03", 3, 3)
    assert city.rows == {"2026-03": 3}


def test_a_tick_asks_for_the_newest_month_and_those_that_are_still_revised(city: City) -> None:
    definitions = build_definitions()
    (schedule,) = [s for s in definitions.schedules or () if s.name == job_name(city.feed)]  # type: ignore[union-attr]
    assert isinstance(schedule, dg.ScheduleDefinition)

    def tick(moment: str) -> list[str | None]:
        with instance(city.settings) as opened:
            context = dg.build_schedule_context(
                instance=opened,
                scheduled_execution_time=datetime.fromisoformat(moment),
                repository_def=definitions.get_repository_def(),
            )
            return [request.partition_key for request in schedule.evaluate_tick(context).run_requests or ()]

    assert tick("2026-11-01T03:00+09:00") == ["2026-10", "2026-09"]
    # 00:30 of the first of November in Seoul; in UTC it is still October.
    assert tick("2026-10-31T15:30+00:00") == ["2026-10", "2026-09"]
    assert tick("2026-10-31T14:30+00:00") == ["2026-09", "2026-08"]
    assert tick("2026-02-10T03:00+09:00") == ["2026-01"]
    assert tick("2026-01-10T03:00+09:00") == []


def test_a_month_that_is_as_it_was_is_an_observation_of_that_month(city: City) -> None:
    definitions = build_definitions()
    assert city.run(definitions, "2026-08").success and city.run(definitions, "2026-09").success
    again = city.run(definitions, "2026-08")
    assert again.success and again.changed == frozenset()
    city.give(9, loans=50)
    revised = city.run(definitions, "2026-09")
    assert revised.changed == {tuple(ARCHIVE.path), tuple(TABLE.path)}
    assert revised.metadata[tuple(TABLE.path)]["partitions in the table"] == 2
    with instance(city.settings) as opened:
        for key in (ARCHIVE, TABLE):
            made = [r.partition_key for r in opened.fetch_materializations(dg.AssetRecordsFilter(key), limit=9).records]
            assert sorted(map(str, made)) == ["2026-08", "2026-09", "2026-09"]
        (seen,) = opened.fetch_observations(dg.AssetRecordsFilter(ARCHIVE), limit=9).records
        assert seen.partition_key == "2026-08"
        # What was found of August is said again of August, not what was last found of September.
        assert checks_of(opened, "shrink_guard", "2026-08") == [True, True]
        assert checks_of(opened, "shrink_guard", "2026-09") == [True, True]
    # What stands on the table reads all that is live of it.
    platform = open_platform(city.settings)
    files, sources = live_tables(platform, [city.feed], city.home / "work")
    platform.ledger.close()
    assert [Path(file).parts[-3] for file in files[city.feed.relation]] == ["2026-08", "2026-09"]
    assert sources[city.feed.relation] == {"fetch_id": city.index.fetch_id, "origin": "replay"}


def test_downstream_does_not_wait_for_months_that_nobody_fetched(city: City) -> None:
    """As Dagster's own eager would, for ever: a table from 2020 on of which the newest months are there."""
    months = dg.TimeWindowPartitionsDefinition(start="2026-01", fmt="%Y-%m", cron_schedule="0 0 1 * *")
    requested = {}
    for name, condition in (("eager", dg.AutomationCondition.eager()), ("ours", when_tables_change([city.feed]))):

        @dg.asset(key=TABLE, partitions_def=months)
        def table() -> None: ...

        @dg.asset(deps=[TABLE], automation_condition=condition)
        def model() -> None: ...

        definitions = dg.Definitions(assets=[table, model])
        with dg.instance_for_test() as opened:
            first = dg.evaluate_automation_conditions(definitions, instance=opened)
            opened.report_runless_asset_event(dg.AssetMaterialization(TABLE, partition="2026-03"))
            then = dg.evaluate_automation_conditions(definitions, instance=opened, cursor=first.cursor)
            requested[name] = then.get_num_requested(dg.AssetKey("model"))
    assert requested == {"eager": 0, "ours": 1}


def test_a_run_for_several_partitions_is_refused_in_one_sentence(city: City) -> None:
    tags = {"dagster/asset_partition_range_start": "2026-01", "dagster/asset_partition_range_end": "2026-03"}
    with instance(city.settings) as opened:
        job = build_definitions().resolve_job_def(job_name(city.feed))
        result = job.execute_in_process(instance=opened, raise_on_error=False, tags=tags)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    said = failed.step_failure_data.user_failure_data
    assert said is not None and said.description == "2026-01 to 2026-03: the run is for 3 partitions — start one for each"
    assert city.asked() == []
    # A range of one is that one, however it was started.
    with instance(city.settings) as opened:
        one = dict.fromkeys(tags, "2026-02")
        assert job.execute_in_process(instance=opened, raise_on_error=False, tags=one).success
        assert opened.get_materialized_partitions(TABLE) == {"2026-02"}
    assert city.rows == {"2026-02": 3}


# --- at night -------------------------------------------------------------------------------------------------------------------


def night(city: City, name: str, op: str, **config: str) -> dg.ExecuteInProcessResult:
    with instance(city.settings) as opened:
        job = build_definitions().resolve_job_def(name)
        return job.execute_in_process(instance=opened, raise_on_error=False, run_config={"ops": {op: {"config": config}}})


def test_the_quarantine_of_every_month_gets_a_second_chance(city: City) -> None:
    for number in (8, 9):
        city.months[f"2026-{number:02}"] += f"2026-{number:02}-04,-1\n"
        assert city.run(build_definitions(), f"2026-{number:02}").success
    assert city.rows == {"2026-08": 3, "2026-09": 3}
    asked = len(city.asked())
    city.declare(minimum="min: -1")
    assert night(city, "retry_quarantine", "judge_last_again", feed=ID, partition="2026-09").success
    assert city.rows == {"2026-08": 3, "2026-09": 4}
    assert night(city, "retry_quarantine", "judge_last_again", feed=ID).success
    assert city.rows == {"2026-08": 4, "2026-09": 4} and len(city.asked()) == asked
    with instance(city.settings) as opened:
        made = [r.partition_key for r in opened.fetch_materializations(dg.AssetRecordsFilter(TABLE), limit=9).records]
    assert sorted(map(str, made)) == ["2026-08", "2026-08", "2026-09", "2026-09"]


def test_a_rerun_from_the_archive_rebuilds_every_month_and_a_refused_one_stops_no_other(city: City) -> None:
    for number in (8, 9):
        city.give(number, loans=3 if number == 8 else 10)
        assert city.run(build_definitions(), f"2026-{number:02}").success
    city.declare(minimum="min: 8")
    result = night(city, "rerun_from_archive", "judge_all_again", feed=ID)
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    said = failed.step_failure_data.user_failure_data
    assert said is not None and "1 of 2 partitions keep their last good version: 2026-08" in str(said.description)
    parts = city.index.partitions
    assert parts["2026-09"].contract_sha256 != parts["2026-08"].contract_sha256
    assert city.rows == {"2026-08": 3, "2026-09": 3}
    wrong = night(city, "rerun_from_archive", "judge_all_again", feed=ID, partition="2026-99")
    assert not wrong.success
    into = city.home / "then"
    city.declare()
    assert night(city, "rebuild_table_as_of", "rebuild_as_of", feed=ID, as_of="2099-01-01", into=str(into)).success
    assert len(read(sorted(into.glob("*.parquet")))) == 6


def test_freshness_asks_about_the_month_that_is_due(city: City) -> None:
    """A backfill of January confirms nothing of October."""
    definitions, due = build_definitions(), datetime(2026, 11, 20, tzinfo=UTC)
    assert city.run(definitions, "2026-01").success
    ledger = Ledger(city.settings.ledger_url)
    assert last_confirmed(ledger, city.feed, due) is None and ledger.confirmed_at(ID) is not None
    assert city.run(definitions, "2026-10").success
    assert last_confirmed(ledger, city.feed, due) == ledger.confirmed_at(ID)
    ledger.close()
    with instance(city.settings) as opened:
        assert run_job(definitions, FRESHNESS_JOB, opened).success
        key = dg.AssetCheckKey(ARCHIVE, CONFIRMED_ON_TIME)
        assert len(opened.event_log_storage.get_asset_check_execution_history(key, limit=5)) == 1


# --- the command line -------------------------------------------------------------------------------------------------------------


def feed_run(capsys: Capture, *options: str) -> tuple[Called, Any]:
    done = call("feed", "run", ID, *options, "--json", capsys=capsys)
    return done, json.loads(done.out)


def test_runs_of_one_of_several_and_of_those_that_are_due(city: City, capsys: Capture) -> None:
    done, said = feed_run(capsys, "--partition", "2026-03")
    line = {"id": ID, "partition": "2026-03", "protocol": "http_file", "outcome": "Ok", "read": 3, "accepted": 3, "quarantined": 0}
    assert done.code == 0 and said == {"id": ID, "partitions": [line]}
    done, said = feed_run(capsys, "--from", "2026-03", "--to", "2026-04")
    assert [(one["partition"], one["outcome"]) for one in said["partitions"]] == [("2026-04", "Ok"), ("2026-03", "NotModified")]
    assert done.code == 0 and city.rows == {"2026-03": 3, "2026-04": 3}
    done = call("feed", "check", str(city.declaration), "--json", capsys=capsys)
    told = json.loads(done.out)["partitions"][ID]
    city.months |= {key: f"{key}-01,1\n" for key in told["due"]}
    done = call("feed", "run", ID, capsys=capsys)
    assert done.code == 0 and all(key in done.out for key in told["due"]) and "partition" in done.out.splitlines()[0]
    assert len(told["due"]) == 2 and set(told["due"]) <= city.rows.keys()
    status = {line["feed"]: line for line in json.loads(call("feed", "status", "--json", capsys=capsys).out)}
    assert status[ID]["rows"] == city.index.rows and status[ID]["outcome"] == "Ok"


def test_a_month_that_fails_stops_no_other_and_fails_the_command(city: City, capsys: Capture) -> None:
    del city.months["2026-03"]
    done, said = feed_run(capsys, "--from", "2026-02", "--to", "2026-03")
    assert done.code == 1 and [one["partition"] for one in said["partitions"]] == ["2026-02"]
    assert list(said["failed"]) == ["2026-03"] and "Gone" in said["failed"]["2026-03"] and said["not_asked"] == []
    done = call("feed", "run", ID, "--from", "2026-02", "--to", "2026-03", capsys=capsys)
    assert done.code == 1 and "1 of 2 partitions failed (2026-03). " in done.err and "2026-02" in done.out


def test_three_failures_in_a_row_leave_the_agency_in_peace(city: City, capsys: Capture) -> None:
    city.months.clear()
    done, said = feed_run(capsys, "--from", "2026-01", "--to", "2026-10")
    assert done.code == 1 and len(said["failed"]) == 3 and len(said["not_asked"]) == 7
    assert len(set(city.asked())) == 3


def test_a_key_that_is_missing_is_missed_once(city: City, capsys: Capture) -> None:
    city.declaration.write_text(
        city.declaration.read_text().replace("format: csv", "format: csv, auth: {kind: query_key, name: k, secret: HANBIT_KEY}")
    )
    done, said = feed_run(capsys, "--from", "2026-01", "--to", "2026-10")
    assert done.code == 1 and list(said["failed"]) == ["2026-10"] and "HANBIT_KEY" in said["failed"]["2026-10"]
    assert city.asked() == [] and len(said["not_asked"]) == 9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--partition", "2025-12"], "'2025-12' is no partition: the first is 2026-01, the last 20"),
        (["--partition", "2026-1"], "write year and month, like 2026-11"),
        (["--from", "2026-05", "--to", "2026-04"], "2026-05 is after 2026-04"),
        (["--partition", "2026-05", "--to", "2026-06"], "give the one or the others"),
    ],
)
def test_a_wrong_option_is_one_sentence(city: City, capsys: Capture, options: list[str], said: str) -> None:
    done = call("feed", "run", ID, *options, capsys=capsys)
    assert done.code == 1 and said in done.err and "Traceback" not in done.err and city.asked() == []


def test_a_feed_without_partitions_takes_none(city: City, capsys: Capture) -> None:
    for option in (["--partition", "2026-01"], ["--from", "2026-01"]):
        done = call("feed", "run", "us.faa.airports", *option, capsys=capsys)
        assert done.code == 1 and "it has no partitions, so there is no '2026-01'" in done.err


def test_the_check_explains_partitions_to_people(city: City, capsys: Capture) -> None:
    done = call("feed", "check", str(city.declaration), capsys=capsys)
    assert done.code == 0
    assert all(text in done.out for text in ("partitions: one a month, ", "2026-01 to ", "a run asks for "))


def test_a_preview_looks_at_one_month(city: City, capsys: Capture) -> None:
    done = call("feed", "preview", ID, "--partition", "2026-03", "--json", capsys=capsys)
    said = json.loads(done.out)
    assert done.code == 0 and (said["partition"], said["accepted"]) == ("2026-03", 3)
    assert city.asked() == ["/2026-03.csv"]
