"""What agencies and declarations do wrong, and what becomes of it, through the whole path: one Dagster run each.

Each line of the table is a promise: what was received, how often it was asked for, which outcome the ledger keeps, and either
the sentence that the run ends with or the rule under which rows were set aside. Whatever came, the last good table stays
readable, nothing half-written is left, and no row's value is in a sentence, a report or Dagster's database.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from assets.archive.assets import fetch_feed
from assets.archive.fetches import FetchRecord
from assets.feeds.load import load_feed
from assets.feeds.model import Feed
from assets.platform import Platform
from assets.tables.build import build_table
from assets.tables.index import TableIndex, live_paths, read_index
from orchestration.assembly import build_definitions, job_name
from orchestration.opening import open_platform
from orchestration.running import RunResult, instance, run_job
from orchestration.settings import Settings
from tests.loopback import Answer
from tests.main_job.bad_input_cases import (
    CASES,
    GOOD,
    KEY,
    NEWS,
    PERSONAL,
    Case,
    lines,
    text,
)
from tests.main_job.wild_agency import WildAgency, wild_agency

pytestmark = pytest.mark.xdist_group("bad_input")

# --- one home, one Dagster instance, one agency for all of them -------------------------------------------------------------


@dataclass
class World:
    """Everything that the cases share; each has a feed and a host of its own."""

    agency: WildAgency
    settings: Settings
    platform: Platform
    definitions: dg.Definitions
    planted: Path

    def build_good(self, case: Case, feed: Feed) -> None:
        """The last good table: the file as it was before, through fetch and build."""
        allowed = replace_key(feed)
        self.agency.give(case.host, case.good)
        record = fetch_feed(self.platform, allowed)
        with self.platform.workdir("table") as workdir:
            surroundings: dict[str, Any] = {"store": self.platform.store, "ledger": self.platform.ledger}
            result = build_table(feed, record, workdir=workdir, now=self.platform.now(), **surroundings)
        assert result.changed and result.rows == 20

    def run(self, case: Case) -> RunResult:
        """The feed's own job in Dagster, as its schedule would start it."""
        with instance(self.settings) as opened:
            return run_job(self.definitions, job_name(self.platform.feeds[case.id]), opened)

    def index(self, case: Case) -> TableIndex:
        index = read_index(self.platform.store, case.id)
        assert index is not None
        return index

    def rows(self, case: Case) -> dict[str, tuple[Any, ...]]:
        """The live table by its key."""
        paths = [str(path) for path in live_paths(self.platform.store, self.index(case), self.platform.cache)]
        with duckdb.connect() as connection:
            found = connection.execute("SELECT code, name, day, visitors FROM read_parquet(?)", [paths]).fetchall()
        return {row[0]: row[1:] for row in found}

    def objects(self, case: Case) -> set[str]:
        return set(self.platform.store.list(f"tables/{case.id}"))

    def last(self, case: Case) -> FetchRecord:
        record = self.platform.ledger.last(case.id)
        assert record is not None
        return record

    def failures(self, run: RunResult) -> list[Any]:
        with instance(self.settings) as opened:
            found = opened.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        return [entry.dagster_event.step_failure_data for entry in found if entry.dagster_event is not None]

    def failed_checks(self, run: RunResult) -> dict[str, dg.AssetCheckSeverity]:
        with instance(self.settings) as opened:
            found = opened.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        seen = [entry.dagster_event.asset_check_evaluation_data for entry in found if entry.dagster_event is not None]
        return {check.check_name: check.severity for check in seen if not check.passed}


def replace_key(feed: Feed) -> Feed:
    """The feed as it was while its key was there; other feeds as they are."""
    if feed.source.auth.secret != "A_KEY_THAT_IS_NOT_SET":
        return feed
    return feed.model_copy(update={"source": feed.source.model_copy(update={"auth": type(feed.source.auth)()})})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("bad_input")
    planted = root / "planted.txt"
    planted.write_text("the content of a file of this machine", encoding="utf-8")
    for case in CASES:
        folder = root / "feeds" / case.id
        folder.mkdir(parents=True)
        (folder / "feed.yaml").write_text(json.dumps(case.declaration(), ensure_ascii=False, indent=1), encoding="utf-8")
    for name, declaration in BROKEN.items():
        (root / "feeds" / name).mkdir()
        (root / "feeds" / name / "feed.yaml").write_text(declaration.text, encoding="utf-8")
    with wild_agency() as agency, pytest.MonkeyPatch.context() as patch:
        patch.delenv("A_KEY_THAT_IS_NOT_SET", raising=False)
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.setenv("DATA_GO_KR_KEY", KEY)
        patch.setenv("MADANG_HOME", str(root / "home"))
        patch.setenv("MADANG_FEEDS", str(root / "feeds"))
        patch.setenv("MADANG_CONNECT_TO", agency.url)
        settings = Settings.from_environment()
        platform = open_platform(settings)
        yield World(agency, settings, platform, build_definitions(settings), planted)
        platform.ledger.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case: Case, world: World) -> None:
    feed = world.platform.feeds[case.id]
    world.build_good(case, feed)
    rows, objects, pointer = world.rows(case), world.objects(case), world.index(case)
    answers = [Answer(**{**a.__dict__, "body": a.body.replace(b"{planted}", str(world.planted).encode())}) for a in case.answers]
    world.agency.give(case.host, *answers)
    world.agency.give("allowed.test", NEWS)
    fetches = len(world.platform.ledger.history(case.id))

    run = world.run(case)

    assert len(world.agency.asked[case.host]) == case.requests
    assert len(world.platform.ledger.history(case.id)) == fetches + (case.outcome is not None)
    if case.outcome is not None:
        assert world.last(case).outcome == case.outcome
    assert run.success == (not case.says), run.error
    if case.says:
        # One sentence, ours, with its mend; and the table is as it was.
        for part in case.says:
            assert re.search(part, run.error), run.error
        _is_one_clear_sentence(run.error, case)
        (failure,) = world.failures(run)
        assert failure.user_failure_data is not None
        assert failure.user_failure_data.metadata["failure class"].value != "defect"
        assert ("table", *feed.segments) not in run.changed
        assert world.index(case) == pointer and world.objects(case) == objects and world.rows(case) == rows
        errors = {name for name, severity in world.failed_checks(run).items() if severity is dg.AssetCheckSeverity.ERROR}
        assert errors == set(case.checks)
    else:
        assert ("archive", *feed.segments) in run.changed
        index = world.index(case)
        assert index.fetch_id == world.last(case).fetch_id or index.partitions["all"].last_fetch_id == world.last(case).fetch_id
        assert index.rows == len(world.rows(case)) == case.live
        aside = [str(world.platform.store.local_path(f.key, world.platform.cache)) for f in index.quarantine_files()]
        found: list[tuple[str]] = []
        if aside:
            with duckdb.connect() as connection:
                found = connection.execute("SELECT _rule FROM read_parquet(?)", [aside]).fetchall()
        assert Counter(rule for (rule,) in found) == case.aside
        # All other rows are there, unchanged.
        now = world.rows(case)
        assert {code: row for code, row in now.items() if code not in ("c01", "c02", "c03")} == {
            code: row for code, row in rows.items() if code not in ("c01", "c02", "c03")
        }
    assert _left_behind(world.settings.home / "spool") == []


def _is_one_clear_sentence(sentence: str, case: Case) -> None:
    what, dash, mend = sentence.partition(" — ")
    assert dash and what.strip() and mend.strip(), sentence
    assert case.id in sentence or "A_KEY_THAT_IS_NOT_SET" in sentence
    for never in ("Traceback", "Error:", "\n", PERSONAL, KEY, "key%2Bof", "the content of a file"):
        assert never not in sentence, sentence


def _left_behind(spool: Path) -> list[Path]:
    """Files of unfinished work, lock files aside."""
    return [path for path in spool.rglob("*") if path.is_file() and path.name != ".lock"]


def test_what_the_declared_forms_of_odd_values_mean(world: World) -> None:
    """The same odd values, in feeds that declare them (after the runs above)."""
    cases = {case.name: case for case in CASES}
    assert world.rows(cases["number_dash_declared"])["c01"][2] is None
    assert world.rows(cases["number_grouped_declared"])["c01"][2] == 1234
    assert str(world.rows(cases["midnight_as_24_declared"])["c01"][1]) == "2024-01-02 00:00:00"
    for name in ("cp949_of_a_korean_agency", "utf8_declared_cp949"):
        assert world.rows(cases[name])["c07"][0] == "이름7"


def test_an_exhausted_quota_is_not_asked_again(world: World) -> None:
    case = next(case for case in CASES if case.name == "quota_in_plain_text")
    before = len(world.agency.asked[case.host])
    run = world.run(case)
    assert not run.success and "nothing was sent" in run.error
    assert len(world.agency.asked[case.host]) == before
    assert world.last(case).outcome == "QuotaExhausted"


def test_loopback_is_refused_where_no_stand_in_is_named(world: World, tmp_path: Path) -> None:
    """Without MADANG_CONNECT_TO a feed leads nowhere near this machine, whatever it allows."""
    port = world.agency.url.rpartition(":")[2]
    case = Case("to_this_machine", (GOOD,), source={"url": f"http://127.0.0.1:{port}/rows.csv", "allow_private": True})
    folder = tmp_path / "feeds" / case.id
    folder.mkdir(parents=True)
    (folder / "feed.yaml").write_text(json.dumps(case.declaration()), encoding="utf-8")
    feed = load_feed(folder)
    settings = Settings.from_environment({"MADANG_HOME": str(tmp_path / "home"), "MADANG_FEEDS": str(tmp_path / "feeds")})
    world.agency.give("127.0.0.1", GOOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MADANG_CONNECT_TO")
        with instance(settings) as opened:
            run = run_job(build_definitions(settings), job_name(feed), opened)
    assert not run.success and "127.0.0.1 is a loopback address" in run.error and " — " in run.error
    assert world.agency.asked["127.0.0.1"] == []


def test_no_row_value_stands_in_reports_or_in_dagster(world: World) -> None:
    """After all the runs above: the value lies in archive, tables and quarantine, and nowhere else in this home."""
    home, needle = world.settings.home, PERSONAL.encode()
    places = {"archive", "tables", "quarantine"}
    escaped = json.dumps(PERSONAL)[1:-1].encode()
    seen = 0
    for path in home.rglob("*"):
        if path.is_file() and not (path.is_relative_to(home / "store") and path.relative_to(home / "store").parts[0] in places):
            seen += 1
            content = path.read_bytes()
            assert needle not in content and escaped not in content, path
    assert seen > 50


# --- declarations that cannot be used ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Broken:
    """A feed.yaml, the line and field of its mistake, and what is said of it."""

    text: str
    line: int
    field: str
    says: str


SOUND = """\
id: {id}
title: Visitors
agency: {{name: Agency, country: US}}
licence: {{id: US-PD, url: "https://agency.test/licence"}}
schedule: {{cron: "0 3 * * *", timezone: Asia/Seoul}}
source:
  protocol: http_file
  url: https://agency.test/rows.csv
  format: csv
contract:
  key: [code]
  columns:
    - {{name: code, type: string, nullable: false}}
    - {{name: visitors, type: integer}}
"""


def _broken(name: str, old: str, new: str, line: int, field_: str, says: str) -> tuple[str, Broken]:
    id_ = f"test.broken.{name}"
    sound = SOUND.format(id=id_)
    assert old in sound
    return id_, Broken(sound.replace(old, new), line, field_, says)


BROKEN = dict(
    [
        _broken("wrong_type", "nullable: false", "nullable: perhaps", 13, "contract.columns[0].nullable", "true or false"),
        _broken("unknown_key", "  key: [code]", "  keys: [code]", 11, "contract.keys", "did you mean 'key'"),
        _broken("wrong_column_type", "type: integer", "type: int", 14, "contract.columns[1].type", "integer"),
        _broken("wrong_zone", "Asia/Seoul", "Asia/Soul", 5, "schedule.timezone", "time zone"),
        _broken("no_yaml", "schedule: {", "schedule: [", 5, "", ""),
        _broken("key_in_the_file", "rows.csv", "rows.csv?serviceKey=aB3dE5gH7jK9mN1pQ3sT5vW7", 8, "source.url", "environment"),
    ]
)


@pytest.mark.parametrize("id_", BROKEN)
def test_a_broken_declaration_names_file_line_field_and_mend(
    id_: str, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.orchestration.calling import call

    file = Path(world.settings.feed_folders[-1]) / id_ / "feed.yaml"
    case = BROKEN[id_]
    done = call("feed", "check", str(file.parent), capsys=capsys)
    assert done.code == 1
    assert f"{file.resolve()}:{case.line}" in done.err and case.field in done.err and case.says in done.err
    assert " — " in done.err or "like Asia/Seoul" in done.err
    assert "Traceback" not in done.err and "aB3dE5gH7jK9mN1pQ3sT5vW7" not in done.err
    # Running it says the same, in one sentence, and leaves nothing behind.
    done = call("feed", "run", id_, capsys=capsys)
    assert done.code == 1 and f"{id_}/feed.yaml:{case.line}" in done.err and "Traceback" not in done.err
    assert world.platform.ledger.last(id_) is None


def test_broken_declarations_do_not_take_the_others_down(world: World) -> None:
    jobs = {job.name for job in world.definitions.resolve_all_job_defs()}
    assert {job_name(world.platform.feeds[case.id]) for case in CASES} <= jobs
    assert not any("test_broken__" in name for name in jobs)


# --- the same through the command line --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wrong_delimiter", "missing_secret"])
def test_the_command_line_ends_in_one_sentence(name: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.orchestration.calling import call

    case = next(case for case in CASES if case.name == name)
    world.agency.give(case.host, *case.answers)
    done = call("feed", "run", case.id, capsys=capsys)
    assert done.code == 1 and done.out == ""
    assert "Traceback" not in done.err and " — " in done.err and len(done.err.strip().splitlines()) == 1
    for part in case.says:
        assert re.search(part, done.err), done.err


def test_the_command_line_counts_what_was_set_aside(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.orchestration.calling import call

    case = next(case for case in CASES if case.name == "number_with_words")
    world.agency.give(case.host, text(lines("c01,x,2024-01-01 10:00,1명 (+1)", "c02,y,2024-01-02 10:00,7")))
    done = call("feed", "run", case.id, "--json", capsys=capsys)
    assert done.code == 0
    assert json.loads(done.out) == {
        "id": case.id,
        "protocol": "http_file",
        "outcome": "Ok",
        "read": 20,
        "accepted": 19,
        "quarantined": 1,
    }
