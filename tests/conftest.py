"""What every folder of tests shares: the machine's servers and files as fixtures, marks by folder, the last line of a run."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.integration.postgres import binaries, running_postgres
from tests.integration.s3_server import S3Server, running_s3
from tests.requirements import REQUIREMENTS, ROOT, find_chromium, require, shared_folder, summary

if TYPE_CHECKING:
    from tests.main_job.homes import MadangHome

# A busy machine is slow, not wrong: no test asserts a time.
hypothesis.settings.register_profile("madang", deadline=None)
hypothesis.settings.load_profile("madang")

TESTS = ROOT / "tests"
FOLDER_MARKS = {
    "integration": "integration",
    "browser": "browser",
    "chaos": "chaos",
    "orchestration": "dagster",
    "main_job": "dagster",
    "dbt": "dagster",
}
"""First folder below tests/ → the mark that every test in it gets."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the agencies' real files (never committed)."""
    require("shared_data")
    return shared_folder()


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's program, for Playwright's `executable_path`."""
    require("chromium")
    found = find_chromium()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a running PostgreSQL, one per test process; `new_database` of tests/integration/postgres.py makes databases in it."""
    require("postgres")
    programs = binaries()
    assert programs is not None
    with running_postgres(programs) as url:
        yield url


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server; all tests that ask for it run in one process, so there is one server in a run.

    A test that asks through `request.getfixturevalue` names the group itself: `pytest.mark.xdist_group("s3")`.
    """
    require("s3")
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """s3://… of a fresh versioned bucket, with the AWS_* variables set for the test."""
    from assets.store import bootstrap

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    url = f"s3://madang-{secrets.token_hex(6)}"
    bootstrap(url)
    return url


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> MadangHome:
    """A home in which `madang demo --json` ran twice over the bundled rows. Read it; copy it (`copy`) to change it."""
    from tests.main_job.homes import MadangHome  # loads Dagster

    home = MadangHome(tmp_path_factory.mktemp("demo") / "home")
    home.demo("--json")
    home.demo("--json")
    return home


@pytest.fixture(scope="session")
def replay_home(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> MadangHome:
    """A home in which `madang demo --data` ran over the agencies' real files: once with --json, then once for a person."""
    from tests.main_job.homes import MadangHome

    home = MadangHome(tmp_path_factory.mktemp("replay") / "home", shared_data)
    home.demo("--json")
    home.demo()
    return home


def pytest_configure(config: pytest.Config) -> None:
    # xdist registers it itself, but one may run without xdist.
    config.addinivalue_line("markers", "xdist_group(name): tests of one group run in one process")
    config.addinivalue_line("markers", f"needs(*keys): what the test needs of the machine: {', '.join(REQUIREMENTS)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for key in mark.args:
            require(key)


# Before xdist, which reads the groups in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks by folder, groups for xdist, and the long versions left to `make bench` (`-m nightly` runs them)."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if folder in FOLDER_MARKS:
            item.add_marker(FOLDER_MARKS[folder])
        if item.get_closest_marker("xdist_group") is None:
            asked = getattr(item, "fixturenames", ())
            if "s3_server" in asked:
                item.add_marker(pytest.mark.xdist_group("s3"))
            elif home := next((name for name in ("demo_home", "replay_home") if name in asked), None):
                # A demo takes most of a minute: one serves all tests that ask for it.
                item.add_marker(pytest.mark.xdist_group(home))
                item.add_marker(pytest.mark.timeout(900))
            elif folder == "dbt":
                # One build of the whole project serves the folder.
                item.add_marker(pytest.mark.xdist_group("dbt"))
            elif folder in FOLDER_MARKS:
                # These modules share a started process; two workers would each start one.
                item.add_marker(pytest.mark.xdist_group(item.path.relative_to(TESTS).as_posix()))
    if "nightly" not in config.getoption("markexpr", ""):
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        if nightly:
            config.hook.pytest_deselected(items=nightly)
            items[:] = [item for item in items if item not in nightly]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Gather the reasons of all skips; the line itself comes after pytest's own last one."""
    if config.option.collectonly or not any(map(terminalreporter.stats.get, ("passed", "failed", "skipped", "error"))):
        return
    reasons = [str(r.longrepr[2]) for r in terminalreporter.stats.get("skipped", []) if isinstance(r.longrepr, tuple)]
    config.stash[LAST_LINES] = summary(reasons)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for line in config.stash.get(LAST_LINES, []):
            reporter.write_line(line)


LAST_LINES = pytest.StashKey[list[str]]()
