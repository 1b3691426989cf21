"""sftp against the stand-in agency's own SSH server: faults with their outcomes, the door, and whose host key is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assets.errors import FetchFailed
from deploy.agency.app import Agency, AgencyConfig
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
from tests.protocols.drop_scene import DropWorld
from tests.protocols.standin_scene import Scene

SOURCE: dict[str, Any] = {
    "protocol": "sftp",
    "url": f"sftp://{HOST}/out/air",
    "host_keys": ["SHA256:" + "A" * 43],
    "auth": {"kind": "password", "name": "madang", "secret": "DROP_PASSWORD"},
}
ROUTE = {"kind": "sftp", "host": HOST, "path": "/out/air"}


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Scene]:
    with drop_scene(tmp_path, SOURCE, **ROUTE) as one:
        yield one


def test_rows_come_through_a_door_of_their_own(standin: Scene) -> None:
    record = standin.fetch()
    assert (record.outcome, record.origin, record.responses) == ("Ok", "synthetic", 3)
    assert standin.rows(record) == ROWS
    assert asked(standin) == ["LIST", "LIST", "GET"]
    assert standin.fetch().outcome == "NotModified"
    assert len(standin.agency.doors) == 1


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


def test_names_in_cp949(tmp_path: Path) -> None:
    with drop_scene(tmp_path, SOURCE | {"files": "관측*.csv"}, **ROUTE) as standin:
        standin.fault("cp949_names")
        assert standin.rows(standin.fetch()) == ROWS


def test_another_host_key_than_the_standins_gets_no_password(standin: Scene) -> None:
    standin.fault("host_key_changed")
    failed = standin.fails("AuthFailed")
    assert "host key" in failed.what
    assert standin.requests == []
    standin.fault()
    assert standin.rows(standin.fetch()) == ROWS


def test_the_standins_key_is_believed_under_connect_to_alone(standin: Scene, tmp_path: Path) -> None:
    told = standin.agency.drop(SOURCE["url"])
    assert told["host_key"].startswith("SHA256:")
    # The same server, reached at its port without being told of: only the declared key counts.
    feed = drop_feed_of(SOURCE | {"url": f"sftp://{HOST}:{told['port']}/out/air"})
    with pytest.raises(FetchFailed) as failed:
        DropWorld(tmp_path / "other").fetch(feed, {"DROP_PASSWORD": standin.secret})
    assert failed.value.outcome == "AuthFailed"
    assert told["host_key"] in failed.value.what
    declared = drop_feed_of(SOURCE | {"url": f"sftp://{HOST}:{told['port']}/out/air", "host_keys": [told["host_key"]]})
    assert DropWorld(tmp_path / "third").fetch(declared, {"DROP_PASSWORD": standin.secret}).outcome == "Ok"


def test_a_wrong_password_is_auth_failed_at_once(standin: Scene) -> None:
    standin.secret = "wrong-password"
    failed = standin.fails("AuthFailed")
    assert "wrong-password" not in str(failed)
    assert standin.requests == []


def test_a_host_that_the_standin_does_not_know_is_gone(standin: Scene) -> None:
    feed = drop_feed_of(SOURCE | {"url": "sftp://elsewhere.example/out"})
    assert "elsewhere.example" in standin.fails("Gone", feed).what
    folder = drop_feed_of(SOURCE | {"url": f"sftp://{HOST}/other"})
    standin.fails("Gone", folder)


def test_real_files_are_replayed_and_say_so(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_bytes(FILE)
    route = Route(id="kr.test.rows", real="real.csv", options={"name": "air.csv"}, **ROUTE)
    agency = Agency(AgencyConfig(data=tmp_path, feeds=tmp_path, routes=(route,)))
    try:
        assert agency.drop(SOURCE["url"])["origin"] == "replay"
    finally:
        agency.close()
    assert agency.drop(SOURCE["url"]) == {"port": None}
