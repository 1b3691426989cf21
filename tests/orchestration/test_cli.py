"""`madang feed …` and `madang set …`: shapes for machines, sentences for people, exit codes, and the base install."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer.main

from assets.feeds.load import is_ready, load_feeds
from deploy.agency import DEMO_KEY, running_agency
from deploy.agency.make_samples import REFUSED
from orchestration.cli import app
from orchestration.settings import ROOT
from tests.main_job.homes import FEEDS, MadangHome, environment
from tests.orchestration.calling import call

Capture = pytest.CaptureFixture[str]
SET = "earthquake_felt"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of the test's own, and nothing of the machine's settings."""
    for name in ("MADANG_STORE", "MADANG_FEEDS", "MADANG_SETS", "MADANG_CONNECT_TO", "MADANG_LEDGER", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MADANG_HOME", str(tmp_path / "home"))


@pytest.fixture
def in_demo(demo_home: MadangHome, monkeypatch: pytest.MonkeyPatch) -> MadangHome:
    monkeypatch.setenv("MADANG_HOME", str(demo_home.path))
    return demo_home


# --- feeds ------------------------------------------------------------------------------------------------------------------


def test_feed_list_for_machines(capsys: Capture) -> None:
    done = call("feed", "list", "--json", capsys=capsys)
    assert done.code == 0 and len(done.out.splitlines()) == 1
    listed = json.loads(done.out)
    columns = ["id", "agency", "protocol", "enabled", "schedule", "licence", "verified"]
    feeds = load_feeds().feeds
    assert [list(line) for line in listed] == [columns] * len(feeds)
    for line in listed:
        feed = feeds[line["id"]]
        assert line["agency"] == feed.agency.name and line["protocol"] == feed.source.protocol
        waits = f"needs {feed.source.auth.secret}" if feed.enabled else "no"
        assert line["enabled"] == ("yes" if is_ready(feed, os.environ) else waits) and line["licence"] == feed.licence.id
        assert line["verified"] == "never"
        assert line["schedule"].startswith(feed.schedule.cron)
    assert sorted(line["id"] for line in listed) == sorted(feeds)


def test_a_feed_waits_for_its_key_and_is_ready_with_it(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, said in ((None, "needs DATA_GO_KR_KEY"), ("a key", "yes")):
        monkeypatch.delenv("DATA_GO_KR_KEY", raising=False)
        if key:
            monkeypatch.setenv("DATA_GO_KR_KEY", key)
        listed = {line["id"]: line for line in json.loads(call("feed", "list", "--json", capsys=capsys).out)}
        assert listed["kr.airkorea.sido_hourly"]["enabled"] == said


def test_feed_list_for_people_and_what_it_leaves_out(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = call("feed", "list", capsys=capsys)
    assert done.code == 0
    assert done.out.splitlines()[0].split() == ["feed", "agency", "protocol", "enabled", "schedule", "licence", "verified"]
    assert "서울특별시" in done.out
    (tmp_path / "feeds" / "kr.broken.feed").mkdir(parents=True)
    (tmp_path / "feeds" / "kr.broken.feed" / "feed.yaml").write_text("id: kr.broken.feed\n", encoding="utf-8")
    monkeypatch.setenv("MADANG_FEEDS", str(tmp_path / "feeds"))
    for command in ("list", "status"):
        done = call("feed", command, capsys=capsys)
        assert done.code == 1 and "kr.seoul.bike_hourly" in done.out and "kr.broken.feed/feed.yaml" in done.err


def test_feed_check_of_all_that_ships(capsys: Capture) -> None:
    done = call("feed", "check", "--json", capsys=capsys)
    assert done.code == 0
    found = json.loads(done.out)
    assert found["problems"] == [] and sorted(found["next_runs"]) == sorted(load_feeds().feeds)
    assert all(len(runs) == 3 for runs in found["next_runs"].values())


def test_feed_check_names_file_line_field_and_mend(capsys: Capture, tmp_path: Path) -> None:
    text = (ROOT / "assets" / "feeds" / "kr.seoul.bike_hourly" / "feed.yaml").read_text(encoding="utf-8")
    folder = tmp_path / "kr.seoul.bike_hourly"
    folder.mkdir()
    wrong = text.replace("incremental: {kind: full}", "incremental: {kind: fall}")
    line = next(n for n, content in enumerate(wrong.splitlines(), 1) if "fall" in content)
    (folder / "feed.yaml").write_text(wrong, encoding="utf-8")
    done = call("feed", "check", str(folder), "--json", capsys=capsys)
    assert done.code == 1
    (problem,) = json.loads(done.out)["problems"]
    assert problem["file"] == str((folder / "feed.yaml").resolve()) and problem["line"] == line
    assert problem["field"] == "incremental.kind" and "full" in problem["what"] + problem["mend"]
    done = call("feed", "check", str(folder), capsys=capsys)
    assert done.code == 1 and f"feed.yaml:{line}: incremental.kind: " in done.err


def test_feed_preview_fetches_judges_and_keeps_nothing(
    in_demo: MadangHome, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = in_demo.snapshot()
    feed = "kr.mois.legal_dong_codes"
    with running_agency() as url:
        monkeypatch.setenv("MADANG_CONNECT_TO", url)
        monkeypatch.setenv("DATA_GO_KR_KEY", DEMO_KEY)
        done = call("feed", "preview", feed, "--rows", "3", "--json", capsys=capsys)
        people = call("feed", "preview", "kr.airkorea.sido_hourly", capsys=capsys)
    assert done.code == 0
    seen = json.loads(done.out)
    assert (seen["feed"], seen["outcome"], seen["origin"]) == (feed, "Ok", "synthetic")
    assert seen["read"] == seen["accepted"] + seen["quarantined"] and seen["quarantined"] == REFUSED[feed]
    assert sum(seen["by_rule"].values()) == seen["quarantined"]
    assert len(seen["rows"]) == 3 and len(seen["quarantine"]) == 3
    assert people.code == 0 and "rows read" in people.out and "would be quarantined" in people.out
    assert in_demo.snapshot() == before


def test_feed_status_tells_what_ledger_and_tables_know(in_demo: MadangHome, capsys: Capture) -> None:
    done = call("feed", "status", "--json", capsys=capsys)
    assert done.code == 0
    lines = {line["feed"]: line for line in json.loads(done.out)}
    assert sorted(lines) == sorted(load_feeds().feeds)
    assert {feed for feed, line in lines.items() if line["outcome"] == "never fetched"} == lines.keys() - set(FEEDS)
    for feed in FEEDS:
        line, index = lines[feed], in_demo.index(feed)
        assert line["outcome"] == "NotModified" and line["origin"] == "synthetic"
        assert line["rows"] == index.rows and line["quarantined"] == REFUSED[feed]
        assert line["checked"] >= line["unchanged_since"]
    done = call("feed", "status", capsys=capsys)
    assert done.code == 0 and "kr.seoul.bike_hourly" in done.out


def test_a_place_and_its_point_of_the_forecast_grid(capsys: Capture) -> None:
    done = call("feed", "grid", "37.5665", "126.9780", capsys=capsys)
    assert done.out == "- {nx: 60, ny: 127}  # 37.5799, 126.9894; 1.8 km away\n"
    done = call("feed", "grid", "33.4996", "126.5312", "--json", capsys=capsys)
    assert json.loads(done.out) == {"nx": 53, "ny": 38, "latitude": 33.5009, "longitude": 126.5466, "away_km": 1.4}
    done = call("feed", "grid", "126.9780", "37.5665", capsys=capsys)
    assert done.code == 1 and "latitude first" in done.err


def test_a_run_that_cannot_begin_says_what_is_not_there(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is opened before the first step, where no step can say why it failed."""
    settings = {"MADANG_STORE": "s3://madang", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "x"}
    for name, value in {**settings, "AWS_ACCESS_KEY_ID": "who", "AWS_SECRET_ACCESS_KEY": "hidden-key"}.items():
        monkeypatch.setenv(name, value)
    done = call("feed", "run", "us.faa.airports", capsys=capsys)
    assert done.code == 1 and done.err.startswith("✗ s3://madang: the object store does not answer — ")
    assert "AWS_ENDPOINT_URL" in done.err and "hidden-key" not in done.err and done.out == ""


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), sqlite3.OperationalError("disk I/O error")],
    ids=["system", "SQLite"],
)
def test_a_full_disk_is_a_sentence_wherever_it_is_met(capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full() -> None:
        raise error

    monkeypatch.setattr("orchestration.cli.app", full)
    done = call("feed", "run", "us.faa.airports", capsys=capsys)
    assert done.code == 1 and "the disk is full" in done.err and "make room" in done.err


def test_an_unknown_feed_and_a_nearby_name(capsys: Capture) -> None:
    done = call("feed", "run", "kr.seoul.bike_hourli", capsys=capsys)
    assert done.code == 1 and "did you mean kr.seoul.bike_hourly?" in done.err and "Traceback" not in done.err
    done = call("feed", "run", "kr.seoul.bike_hourli", "--json", capsys=capsys)
    assert done.code == 1 and list(json.loads(done.out)) == ["error", "what", "where", "mend"]
    assert call("feed", "run", capsys=capsys).code == 2
    assert call("feed", "check", "no/such/folder", capsys=capsys).code == 1


# --- sets -------------------------------------------------------------------------------------------------------------------


def test_set_list_and_show(in_demo: MadangHome, capsys: Capture) -> None:
    done = call("set", "list", "--json", capsys=capsys)
    assert done.code == 0
    rows = {line["name"]: line["rows"] for line in json.loads(done.out)}
    assert rows == {line["name"]: sum(line["rows"].values()) for line in in_demo.report(0)["sets"]}
    done = call("set", "show", SET, "--json", capsys=capsys)
    assert done.code == 0 and json.loads(done.out)["manifest"]["origin"] == "synthetic"
    done = call("set", "show", SET, capsys=capsys)
    assert done.code == 0 and f"{SET} 1.0.0" in done.out and "origin: synthetic" in done.out
    done = call("set", "show", SET, "9.9.9", capsys=capsys)
    assert done.code == 1 and "has no version 9.9.9" in done.err and "1.0.0" in done.err


def test_set_check_takes_a_file_its_folder_or_a_folder_of_sets(capsys: Capture, tmp_path: Path) -> None:
    own = ROOT / "assets" / "training_sets"
    names = sorted(path.parent.name for path in own.glob("*/set.yaml"))
    for paths, count in (((), len(names)), ((own,), len(names)), ((own / SET,), 1), ((own / SET / "set.yaml", own / SET), 1)):
        done = call("set", "check", *map(str, paths), "--json", capsys=capsys)
        assert done.code == 0 and json.loads(done.out) == {"checked": count, "problems": []}
    for name in names[:2]:
        text = (own / name / "set.yaml").read_text(encoding="utf-8")
        (tmp_path / "sets" / name).mkdir(parents=True)
        (tmp_path / "sets" / name / "set.yaml").write_text(text.replace("task: ", "tusk: "), encoding="utf-8")
    done = call("set", "check", str(tmp_path / "sets"), capsys=capsys)
    assert done.code == 1 and all(f"{name}/set.yaml:" in done.err for name in names[:2])
    for wrong in (tmp_path, tmp_path / "nowhere"):
        done = call("set", "check", str(wrong), capsys=capsys)
        assert done.code == 1 and str(wrong) in done.err and "Traceback" not in done.err


def test_set_check_finds_two_sets_of_one_name(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / SET).mkdir()
    text = (ROOT / "assets" / "training_sets" / SET / "set.yaml").read_text(encoding="utf-8")
    (tmp_path / SET / "set.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MADANG_SETS", str(tmp_path))
    done = call("set", "check", "--json", capsys=capsys)
    (problem,) = json.loads(done.out)["problems"]
    assert done.code == 1 and problem["file"] == str(tmp_path / SET / "set.yaml") and problem["field"] == "name"


def test_set_trace_in_words_and_for_machines(in_demo: MadangHome, capsys: Capture) -> None:
    root = in_demo.store.root
    assert root is not None
    shard = next((root / "sets" / SET / "v1.0.0" / "data" / "default" / "train").glob("*.parquet"))
    with duckdb.connect() as connection:
        query = "SELECT _record_id, _source_id, _source_row FROM read_parquet(?) LIMIT 1"
        ((record, fetch, row),) = connection.execute(query, [str(shard)]).fetchall()
    traced = json.loads(call("set", "trace", SET, record, "--json", capsys=capsys).out)
    assert traced["record"]["_source_id"] == fetch and traced["fetch"]["source_id"] == fetch
    done = call("set", "trace", SET, record, capsys=capsys)
    assert done.code == 0 and "{" not in done.out and "datetime" not in done.out
    said = dict(re.findall(r"^  (\S.*?)  +(\S.*)$", done.out, re.M))
    assert (said["split"], said["row in it"], said["fetch"]) == ("train", str(row), fetch)
    assert (said["origin"], said["archive file"]) == ("synthetic", traced["fetch"]["warc_key"])
    assert (root / said["archive file"]).is_file()
    done = call("set", "trace", SET, "no-such-record", capsys=capsys)
    assert done.code == 1 and "has no such record" in done.err


def test_pull_then_verify_then_one_byte_too_many(in_demo: MadangHome, capsys: Capture, tmp_path: Path) -> None:
    done = call("set", "pull", SET, str(tmp_path / "pulled"), "--json", capsys=capsys)
    assert done.code == 0
    pulled = json.loads(done.out)
    assert pulled["version"] == "1.0.0" and pulled["files"] > 10
    assert call("set", "verify", str(tmp_path / "pulled"), capsys=capsys).code == 0
    shard = next((tmp_path / "pulled").rglob("test-*.parquet"))
    shard.write_bytes(shard.read_bytes() + b"\0")
    done = call("set", "verify", str(tmp_path / "pulled"), capsys=capsys)
    assert done.code == 1 and shard.name in done.err and "do not train on this copy" in done.err
    done = call("set", "verify", str(tmp_path / "pulled"), "--json", capsys=capsys)
    assert done.code == 1 and json.loads(done.out)["wrong"].endswith(shard.name)


def test_a_set_that_nobody_published(capsys: Capture, tmp_path: Path) -> None:
    done = call("set", "pull", "no_such_set", str(tmp_path / "x"), capsys=capsys)
    assert done.code == 1 and "there is no training set 'no_such_set'" in done.err and not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "command",
    [("show",), ("pull", "DEST"), ("diff", "1.0.0", "1.0.1"), ("trace", "id"), ("yank", "1.0.0", "--reason", "why"), ("build",)],
    ids=lambda command: command[0],
)
def test_an_unknown_set_and_a_nearby_name(in_demo: MadangHome, capsys: Capture, tmp_path: Path, command: tuple[str, ...]) -> None:
    verb, *rest = (str(tmp_path / "x") if word == "DEST" else word for word in command)
    done = call("set", verb, "eartquake_felt", *rest, capsys=capsys)
    assert done.code == 1 and f"did you mean {SET}? madang set list shows all" in done.err and "Traceback" not in done.err
    done = call("set", verb, "nothing_like_it", *rest, capsys=capsys)
    assert done.code == 1 and "did you mean" not in done.err and "madang set list shows all" in done.err
    assert not (tmp_path / "x").exists()


BASE_INSTALL = """
import sys
BLOCKED = {"dagster", "dagster_dbt", "duckdb", "polars", "great_expectations", "dbt", "sqlalchemy", "aiohttp", "croniter",
           "fastwarc", "starlette", "datasets", "mlcroissant", "pandas", "lxml", "ijson"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Blocker())
from orchestration.cli import main
main()
"""


def base_install(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """`madang` where only the base dependencies can be imported."""
    command = [sys.executable, "-c", BASE_INSTALL, *arguments]
    env = environment(MADANG_HOME=str(home), PYTHONPATH=str(ROOT))
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=120)


def test_an_ml_team_needs_only_the_base_install(demo_home: MadangHome, tmp_path: Path) -> None:
    store = f"file://{demo_home.store.root}"
    done = base_install("set", "pull", SET, str(tmp_path / "pulled"), "--from", store, home=tmp_path)
    assert done.returncode == 0, done.stderr
    done = base_install("set", "verify", str(tmp_path / "pulled"), "--json", home=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["ok"] is True, done.stderr
    done = base_install("set", "show", SET, "--from", store, "--json", home=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["entry"]["version"] == "1.0.0", done.stderr
    # What needs more says so in one sentence.
    done = base_install("feed", "status", home=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "this command needs the platform" in done.stderr and "make setup" in done.stderr


# --- help -------------------------------------------------------------------------------------------------------------------


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a group, by the words that are typed."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


EVERY = dict(commands(typer.main.get_command(app)))


def test_the_commands_are_those_of_the_design() -> None:
    assert {path for path, command in EVERY.items() if not hasattr(command, "commands")} >= {
        ("demo",),
        ("up",),
        ("doctor",),
        *(("feed", name) for name in ("list", "check", "preview", "run", "status")),
        *(("set", name) for name in ("list", "build", "show", "pull", "verify", "diff", "trace", "yank")),
        ("agency", "serve"),
    }
    counted = Counter(path[0] for path in EVERY if path)
    assert counted["set"] >= 8


@pytest.mark.parametrize("path", EVERY, ids=lambda path: " ".join(path) or "madang")
def test_every_command_explains_itself(path: tuple[str, ...], capsys: Capture) -> None:
    done = call(*path, "--help", capsys=capsys)
    assert done.code == 0 and "Usage:" in done.out
    first = (EVERY[path].help or "").strip().splitlines()[0]
    assert first and first.split(":")[0][:40] in " ".join(done.out.split())
    if not hasattr(EVERY[path], "commands") and path not in (("up",), ("agency", "serve")):
        assert "--json" in done.out


@pytest.mark.parametrize("path", [path for path, command in EVERY.items() if not hasattr(command, "commands")], ids=" ".join)
def test_every_command_has_an_example_that_can_be_typed(path: tuple[str, ...]) -> None:
    examples = re.findall(r"Example: `(madang .+?)`", EVERY[path].epilog or "")
    assert examples
    for example in examples:
        words = shlex.split(example)[1:]
        assert tuple(words[: len(path)]) == path
        # Parsed, not run.
        with EVERY[path].make_context(example, words[len(path) :]):
            pass


def test_json_is_json_alone(in_demo: MadangHome, capsys: Capture) -> None:
    for arguments in (("feed", "list"), ("feed", "status"), ("set", "list"), ("set", "show", SET), ("doctor",)):
        done = call(*arguments, "--json", capsys=capsys)
        assert len(done.out.splitlines()) == 1
        json.loads(done.out)
