"""ftp against the stand-in agency's own FTP server: faults with their outcomes, old servers, and logins."""

from __future__ import annotations

import ftplib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.agency.app import Agency, AgencyConfig
from deploy.agency.doors import Visit
from deploy.agency.routes import Route
from tests.protocols.drop_faults import (
    FAILING,
    FILE,
    HOST,
    PASSING,
    ROWS,
    a_marker_is_waited_for,
    asked,
    asked_anew_where_it_breaks_off,
    drop_feed_of,
    drop_scene,
    fails_as,
    passes,
    unfinished_files_wait,
)
from tests.protocols.drop_scene import lay
from tests.protocols.standin_scene import Scene

SOURCE: dict[str, Any] = {"protocol": "ftp", "url": f"ftp://{HOST}/out/air"}
ROUTE = {"kind": "ftp", "host": HOST, "path": "/out/air"}


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Scene]:
    with drop_scene(tmp_path, SOURCE, **ROUTE) as one:
        yield one


@pytest.mark.parametrize("scheme", ["ftp", "ftps"])
def test_rows_come_through_a_door_without_tls(standin: Scene, scheme: str) -> None:
    feed = drop_feed_of(SOURCE | {"url": f"{scheme}://{HOST}/out/air"})
    record = standin.fetch(feed)
    assert (record.outcome, record.origin, record.responses) == ("Ok", "synthetic", 3)
    assert standin.rows(record, feed) == ROWS
    assert asked(standin) == ["LIST", "LIST", "GET"]
    assert standin.fetch(feed).outcome == "NotModified"


@pytest.mark.parametrize(("fault", "more"), PASSING)
def test_faults_that_pass_cost_a_request(standin: Scene, fault: str, more: int) -> None:
    passes(standin, fault, more)


@pytest.mark.parametrize(("fault", "outcome", "requests"), FAILING)
def test_faults_that_stay_have_their_outcome(standin: Scene, fault: str, outcome: str, requests: int) -> None:
    fails_as(standin, fault, outcome, requests)


def test_a_file_that_breaks_off_is_asked_for_anew(standin: Scene) -> None:
    asked_anew_where_it_breaks_off(standin)


def test_unfinished_files_wait(standin: Scene) -> None:
    unfinished_files_wait(standin)


def test_a_marker_is_waited_for(tmp_path: Path) -> None:
    with drop_scene(tmp_path, SOURCE | {"require_companion": True}, options={"companion": ".md5"}, **ROUTE) as standin:
        a_marker_is_waited_for(standin)


@pytest.mark.parametrize("fault", ["list_only", "list_windows"])
def test_old_servers_tell_times_to_the_minute_and_their_files_are_taken_once(standin: Scene, fault: str) -> None:
    standin.fault(fault)
    assert standin.rows(standin.fetch()) == ROWS
    assert standin.fetch().outcome == "NotModified"
    assert asked(standin).count("GET") == 1


@pytest.mark.parametrize("faults", [("cp949_names",), ("cp949_names", "list_only"), ("cp949_names", "list_windows")])
def test_names_in_cp949(tmp_path: Path, faults: tuple[str, ...]) -> None:
    with drop_scene(tmp_path, SOURCE | {"files": "관측*.csv"}, **ROUTE) as standin:
        standin.fault(*faults)
        assert standin.rows(standin.fetch()) == ROWS


def test_a_login_is_judged(tmp_path: Path) -> None:
    auth = {"kind": "password", "name": "madang", "secret": "DROP_PASSWORD"}
    with drop_scene(tmp_path, SOURCE | {"auth": auth}, **ROUTE) as standin:
        assert standin.rows(standin.fetch()) == ROWS
        standin.secret = "wrong-password"
        assert "wrong-password" not in str(standin.fails("AuthFailed"))


def test_parts_are_dealt_by_records(tmp_path: Path) -> None:
    """Every row once, in files that each begin with the header, line ends between quotes included."""
    rows = [(f'"관측\n소 {n}"' if n % 2 else f"{n}", str(n)) for n in range(7)]
    with drop_scene(
        tmp_path, SOURCE | {"take": "all"}, options={"name": "{part}.csv.gz", "parts": ["a", "b", "c"]}, **ROUTE
    ) as standin:
        feed = drop_feed_of(SOURCE | {"take": "all", "files": "*.csv.gz"})
        standin.serve(("지점,값\n" + "".join(f"{a},{b}\n" for a, b in rows)).encode(), "csv")
        record = standin.fetch(feed)
        assert standin.rows(record, feed) == [(a.strip('"'), b) for a, b in rows]
        assert asked(standin).count("GET") == 3


def test_a_listing_and_the_time_of_a_file_are_of_the_same_day_in_seoul(tmp_path: Path) -> None:
    for day in (24, 25):
        lay(tmp_path / "kr.test.rows" / f"sample.2026-11-{day}.csv", FILE)
    route = Route(id="kr.test.rows", editions="air", options={"name": "air.csv"}, **ROUTE)
    agency = Agency(AgencyConfig(feeds=tmp_path, routes=(route,)))
    agency.set_clock(datetime(2026, 11, 24, 16, tzinfo=UTC))
    visit = Visit(agency, "ftp", HOST)
    _, [(_, _, listed)] = visit.listing("/out/air")
    file = visit.lies_there("/out/air/air.csv")
    assert file is not None and file.modified == listed == datetime(2026, 11, 25, tzinfo=UTC)


def test_the_door_shows_nothing_of_this_machine(standin: Scene) -> None:
    port = standin.agency.drop(SOURCE["url"])["port"]
    with ftplib.FTP(encoding="latin-1") as client:
        client.connect("127.0.0.1", port, timeout=10)
        client.login()
        client.cwd("/out/air")
        for command in ("CWD /etc", "CWD /tmp", "RETR /etc/hostname", "MDTM /etc/hostname", "SIZE /etc/hostname", "STAT /etc"):
            with pytest.raises(ftplib.error_perm):
                client.sendcmd(command)
        for command in ("DELE air.csv", "MKD x", "STOR x", "SITE CHMOD 777 air.csv", "RNFR air.csv"):
            with pytest.raises(ftplib.error_perm):
                client.sendcmd(command)
