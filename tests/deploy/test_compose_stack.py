"""The services of compose.yaml as processes of this machine: its commands, its environment, its dagster.yaml and workspace.yaml.

They come up, and a feed runs through them: launched in the web server, executed beside the code, kept in both servers.

Only the engine is missing: hosts become loopback, ports free ones, and folders the test's own. PostgreSQL and the S3 server are
real ones.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
import yaml

from assets.store import Store
from tests.deploy.test_compose import HERE, load
from tests.integration.postgres import new_database
from tests.integration.s3_server import S3Server, free_port
from tests.requirements import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.dagster]
START_DEADLINE_S = 180
LOCATION = "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename } } } } }"
REPOSITORY = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name jobs { name } } } } }"
HEALTH = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"


JOB = "feed__us_faa__airports"
LAUNCH = """mutation { launchRun(executionParams: { runConfigData: "{}", selector: {
  repositoryLocationName: "madang", repositoryName: "%s", jobName: "%s" } }) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUN = """{ runOrError(runId: "%s") { __typename ... on Run { status } } }"""


def demo_lines() -> dict[str, str]:
    """The lines of env.example that lead to the stand-in agency, as a reader would take their # away."""
    lines = re.findall(r"^# ([A-Z_]+)=(.+)$", (HERE / "env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in lines} == {"MADANG_CONNECT_TO", "MADANG_ALLOW_SYNTHETIC"}
    return dict(lines)


class Stack:
    """compose.yaml moved to loopback. `run(service)`: its command to the end; `start(service)`: until the block ends."""

    def __init__(self, folder: Path, replaced: dict[str, str], stack: ExitStack) -> None:
        self.folder, self.replaced, self.stack = folder, replaced, stack
        self.compose = load({"POSTGRES_PASSWORD": "from-env", "S3_ACCESS_KEY": "from-env", "S3_SECRET_KEY": "from-env"})
        self.home = folder / "home"
        self.dagster_home = folder / "opt" / "dagster"
        self.home.mkdir()
        self.dagster_home.mkdir(parents=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            (self.dagster_home / name).write_text(self.moved((HERE / name).read_text(encoding="utf-8")), encoding="utf-8")

    def moved(self, text: str) -> str:
        # All at once: a free port may hold the digits of another's old one.
        pattern = re.compile("|".join(map(re.escape, self.replaced)))
        text = pattern.sub(lambda match: self.replaced[match[0]], text)
        return text.replace("/var/lib/madang", str(self.home)).replace("/opt/dagster", str(self.dagster_home))

    def command(self, words: list[str]) -> list[str]:
        program = sys.executable if words[0] == "python" else str(Path(sys.executable).with_name(words[0]))
        return [program, *(self.moved(word) for word in words[1:])]

    def environment(self, service: str, given: dict[str, str]) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not re.match(r"(MADANG|AWS|DAGSTER)_", k)}
        image = {"DAGSTER_HOME": str(self.dagster_home), "DBT_LOG_PATH": str(self.folder / "dbt"), "DO_NOT_TRACK": "1"}
        wanted = {k: self.moved(v) for k, v in self.compose.services[service].environment.items()}
        filled_in = {k: self.moved(v) for k, v in demo_lines().items()} if self.compose.services[service].env_file else {}
        return {**ours, **image, **filled_in, **wanted, **{k: v for k, v in given.items() if k in wanted}}

    def start(self, service: str, given: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{service}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(self.compose.services[service].command),
                env=self.environment(service, given),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self.stack.callback(end, process)
        return process

    def healthy(self, service: str, given: dict[str, str], process: subprocess.Popen[bytes] | None) -> None:
        """Wait for the service's own health check."""
        check = self.compose.services[service].healthcheck
        assert check is not None
        self.until(
            lambda: (
                subprocess.run(
                    self.command(check.test[1:]), env=self.environment(service, given), cwd=ROOT, capture_output=True, check=False
                ).returncode
                == 0
            ),
            service,
            process,
        )

    def until(self, ready: Callable[[], bool], service: str, process: subprocess.Popen[bytes] | None) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while not ready():
            ended = process is not None and process.poll() is not None
            if ended or time.monotonic() > deadline:
                pytest.fail(f"{service} is not ready: {(self.folder / f'{service}.log').read_text(errors='replace')[-3000:]}")
            time.sleep(1)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ask(port: str, query: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


@contextmanager
def stack_of(folder: Path, ports: dict[str, str], database: str) -> Iterator[Stack]:
    pg = urlsplit(database)
    replaced = {
        "@postgres:5432/madang_ledger": f"@{pg.hostname}:{pg.port}{pg.path}",
        "host: code": "host: 127.0.0.1",
        "0.0.0.0": "127.0.0.1",
        **ports,
    }
    with ExitStack() as stack:
        yield Stack(folder, replaced, stack)


@pytest.mark.timeout(600)
def test_the_services_work_together(tmp_path: Path, postgres: str, s3_url: str, s3_server: S3Server) -> None:
    dagster_db, ledger_db = (urlsplit(new_database(postgres)) for _ in range(2))
    code_port, web_port, files_port, agency_port = (str(free_port()) for _ in range(4))
    given = {
        "DAGSTER_PG_HOST": str(dagster_db.hostname),
        "DAGSTER_PG_DB": dagster_db.path[1:],
        "DAGSTER_PG_USER": str(dagster_db.username),
        "DAGSTER_PG_PASSWORD": str(dagster_db.password),
        "MADANG_STORE": f"{s3_url}-compose",
        "MADANG_LEDGER": ledger_db.geturl(),
        **s3_server.environment,
    }
    ports = {"4000": code_port, "3000": web_port, "3001": files_port, "8055": agency_port}
    with stack_of(tmp_path, ports, ledger_db.geturl()) as stack:
        # dagster.yaml has no port: in containers every server has a host of its own.
        file = stack.dagster_home / "dagster.yaml"
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        document["storage"]["postgres"]["postgres_db"]["port"] = dagster_db.port
        file.write_text(yaml.safe_dump(document), encoding="utf-8")

        bucket = stack.start("bucket", given)
        assert bucket.wait(60) == 0, (tmp_path / "bucket.log").read_text()
        assert list(Store(given["MADANG_STORE"]).list("sets")) == []

        code, files = stack.start("code", given), stack.start("files", given)
        stack.healthy("code", given, code)
        stack.healthy("files", given, files)
        webserver, daemon = stack.start("webserver", given), stack.start("daemon", given)
        stack.healthy("webserver", given, webserver)
        stack.healthy("daemon", given, daemon)

        (entry,) = ask(web_port, LOCATION)["workspaceOrError"]["locationEntries"]
        assert entry["name"] == "madang"
        assert entry["locationOrLoadError"] == {"__typename": "RepositoryLocation"}, (tmp_path / "code.log").read_text()[-3000:]
        (repository,) = ask(web_port, REPOSITORY)["repositoriesOrError"]["nodes"]
        assert JOB in {job["name"] for job in repository["jobs"]}

        def all_daemons_healthy() -> bool:
            statuses = ask(web_port, HEALTH)["instance"]["daemonHealth"]["allDaemonStatuses"]
            return all(status["healthy"] for status in statuses if status["required"])

        stack.until(all_daemons_healthy, "daemon", daemon)

        stack.start("agency", given)
        launched = ask(web_port, LAUNCH % (repository["name"], JOB))["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run = RUN % launched["run"]["runId"]
        stack.until(lambda: ask(web_port, run)["runOrError"]["status"] in ("SUCCESS", "FAILURE", "CANCELED"), "code", code)
        assert ask(web_port, run)["runOrError"]["status"] == "SUCCESS", (tmp_path / "code.log").read_text()[-5000:]
        index = Store(given["MADANG_STORE"]).get_json("tables/us.faa.airports/index.json")
        assert (index["feed"], index["origin"]) == ("us.faa.airports", "synthetic")
        assert index["partitions"]["all"]["rows"] > 0
        with psycopg2.connect(given["MADANG_LEDGER"]) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM fetches WHERE feed = 'us.faa.airports' AND outcome = 'Ok'")
            assert cursor.fetchone() == (1,)

        # Nothing is written where the containers cannot write; Dagster's own state is in PostgreSQL.
        written = {p.name for p in stack.dagster_home.iterdir()} - {"dagster.yaml", "workspace.yaml"}
        assert written <= {Path(t.partition(":")[0]).name for t in stack.compose.services["webserver"].tmpfs}
        with psycopg2.connect(dagster_db.geturl()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM daemon_heartbeats")
            (beats,) = cursor.fetchone() or (0,)
        assert int(beats) > 0
