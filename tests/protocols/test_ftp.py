"""ftp over a real server: TLS verified, both forms of listing, Korean names, passive mode, what breaks and what is hidden."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from assets.protocols.ftp import FtpSource
from assets.transport.ftp import FtpConnection, fact_line, link_line, list_line
from tests.protocols.drop_scene import DropWorld, drop_feed, lay, table
from tests.transport.drop_servers import PASSWORD, FtpServer, certificate_for, running_ftp

ONE, TWO = table(("종로구", "31")), table(("종로구", "32"), ("중구", "7"))
HOST = "files.agency.example"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
KEYS = {"DROP_PASSWORD": PASSWORD}


@pytest.fixture
def world(tmp_path: Path) -> DropWorld:
    return DropWorld(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served" / "out").mkdir(parents=True)
    return tmp_path / "served" / "out"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_for(HOST, tmp_path_factory.mktemp("tls") / "server.pem")


@contextmanager
def served(folder: Path, certificate: Path | None = None, **more: Any) -> Iterator[FtpServer]:
    with running_ftp(folder.parent, certificate, **more) as server:
        yield server


def feed_of(server: FtpServer, path: str = "/out", scheme: str = "ftp", **source: Any) -> Feed:
    trust = {"tls": {"ca_bundle": str(server.certificate)}} if server.certificate else {"plain": True}
    auth = {"kind": "password", "name": "hanbit", "secret": "DROP_PASSWORD"}
    url = f"{scheme}://{HOST}:{server.port}{path}"
    return drop_feed({"protocol": "ftp", "url": url, "files": "*.csv", "auth": auth} | trust | source)


def test_a_file_is_taken_once_and_the_password_is_nowhere(world: DropWorld, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    lay(folder / "air.csv", ONE, 1)
    with served(folder) as server:
        feed = feed_of(server)
        record = world.fetch(feed, KEYS)
        assert world.rows(feed, record) == [("종로구", "31")]
        assert (record.outcome, record.responses, record.last_modified) == ("Ok", 3, "2026-11-24T15:01:00Z")
        assert server.seen.count("RETR") == 1
        assert {"PASV", "EPSV"} & set(server.seen)
        assert not {"PORT", "EPRT", "LIST"} & set(server.seen)
        assert world.fetch(feed, KEYS).outcome == "NotModified"
        assert server.seen.count("RETR") == 1
        lay(folder / "air.csv", TWO, 2)
        assert world.rows(feed, world.fetch(feed, KEYS)) == [("종로구", "32"), ("중구", "7")]
    warc = world.warc(record)
    assert warc.count(b"WARC-Type: resource") == 3
    assert b"application/http" not in warc
    assert PASSWORD.encode() not in warc
    assert PASSWORD not in caplog.text


def test_without_mlsd_the_listing_is_read_and_times_are_asked_for(world: DropWorld, folder: Path) -> None:
    lay(folder / "old one.csv", ONE, 1)
    lay(folder / "new one.csv", TWO, 2)
    (folder / "sub.csv").mkdir()
    with served(folder, without=("MLSD", "MLST")) as server:
        feed = feed_of(server)
        record = world.fetch(feed, KEYS)
        assert world.rows(feed, record) == [("종로구", "32"), ("중구", "7")]
        assert record.last_modified == "2026-11-24T15:02:00Z"
        assert "LIST" in server.seen
        assert "MDTM" in server.seen
        assert world.fetch(feed, KEYS).outcome == "NotModified"
    with served(folder, without=("MLSD", "MLST", "MDTM", "FEAT")) as server:
        feed = feed_of(server)
        assert len(world.rows(feed, world.fetch(feed, KEYS))) in (1, 2)
        assert world.fetch(feed, KEYS).outcome == "NotModified"


@pytest.mark.parametrize("without", [(), ("MLSD", "MLST")])
def test_names_in_cp949(world: DropWorld, folder: Path, without: tuple[str, ...]) -> None:
    lay(Path(os.fsdecode(os.fsencode(folder) + b"/" + "관측 값#1.csv".encode("cp949"))), ONE, 1)
    with served(folder, without=without) as server:
        feed = feed_of(server, files="관측*.csv")
        assert world.rows(feed, world.fetch(feed, KEYS)) == [("종로구", "31")]


def test_anonymous_and_home_relative(world: DropWorld, folder: Path) -> None:
    lay(folder / "air.csv", ONE)
    with served(folder) as server:
        feed = feed_of(server, "/~/out", auth={"kind": "none"})
        assert world.rows(feed, world.fetch(feed, {})) == [("종로구", "31")]


# --- TLS ---


@pytest.mark.parametrize(("scheme", "implicit"), [("ftp", False), ("ftps", True)])
def test_tls_is_verified_and_covers_the_files(
    world: DropWorld, folder: Path, certificate: Path, scheme: str, implicit: bool
) -> None:
    lay(folder / "air.csv", ONE * 2000)
    with served(folder, certificate, implicit=implicit) as server:
        feed = feed_of(server, scheme=scheme)
        assert len(world.rows(feed, world.fetch(feed, KEYS))) == 2 * 2000 - 1  # with the headers between
        assert "PROT" in server.seen


def test_a_certificate_that_is_not_trusted_gets_no_password(
    world: DropWorld, folder: Path, certificate: Path, tmp_path: Path
) -> None:
    with served(folder, certificate) as server:
        _, record = world.fails(feed_of(server, tls={}), KEYS)
        assert record.outcome == "BadRequest"
        assert "certificate" in record.reason
        assert "PASS" not in server.seen
    with served(folder, certificate_for("other.example", tmp_path / "other.pem")) as server:
        _, record = world.fails(feed_of(server), KEYS)
        assert (record.outcome, "PASS" in server.seen) == ("BadRequest", False)


def test_a_server_without_tls_gets_no_password_unless_the_feed_says_so(world: DropWorld, folder: Path) -> None:
    with served(folder) as server:
        _, record = world.fails(feed_of(server, plain=False), KEYS)
        assert record.outcome == "BadRequest"
        assert "plain" in record.reason
        assert "PASS" not in server.seen


# --- failures ---


def test_what_refusals_mean(world: DropWorld, folder: Path) -> None:
    with served(folder) as server:
        error, record = world.fails(feed_of(server), {"DROP_PASSWORD": "not the password"})
        assert record.outcome == "AuthFailed"
        assert "not the password" not in str(error)
        assert server.seen.count("PASS") == 1
        assert world.fails(feed_of(server, "/other"), KEYS)[1].outcome == "Gone"
        assert world.fails(feed_of(server, "/a%0D%0ADELE%20x"), KEYS)[1].outcome == "BadRequest"
        assert "DELE" not in server.seen
        record = world.fetch(feed_of(server), KEYS)
        assert (record.outcome, record.reason) == ("Empty", "no file is ready")


def test_a_transfer_that_is_cut_is_asked_again(world: DropWorld, folder: Path) -> None:
    lay(folder / "air.csv", ONE)
    cuts: list[int] = []

    def cut(handler: Any) -> None:
        cuts.append(1)
        if len(cuts) < 3:
            handler.close()

    with served(folder, retr=cut) as server:
        feed = feed_of(server)
        record = world.fetch(feed, KEYS)
    assert world.rows(feed, record) == [("종로구", "31")]
    assert len(cuts) == 3


def test_a_file_that_changes_while_it_is_read_is_not_taken(world: DropWorld, folder: Path) -> None:
    lay(folder / "air.csv", ONE, 1)
    with served(folder, retr=lambda handler: lay(folder / "air.csv", TWO, 2)) as server:
        _, record = world.fails(feed_of(server, limits={"max_attempts": 1}), KEYS)
    assert record.outcome == "Transient"
    assert "changed" in record.reason


def test_a_control_connection_that_goes_silent_costs_nothing_when_all_came(world: DropWorld, folder: Path) -> None:
    """A router forgets the idle control connection: the answer after the file never comes."""
    lay(folder / "air.csv", ONE)

    def mute(handler: Any) -> None:
        answer = handler.respond
        handler.respond = lambda text, *more: None if text.startswith("226") else answer(text, *more)

    with served(folder, retr=mute) as server:
        feed = feed_of(server, limits={"read_timeout_s": 0.5})
        record = world.fetch(feed, KEYS)
    assert record.outcome == "Ok"
    assert world.rows(feed, record) == [("종로구", "31")]


def test_a_server_that_is_no_ftp_server(world: DropWorld, tmp_path: Path) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connected, _ = listener.accept()
            with connected:
                connected.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        _, record = world.fails(feed_of(FtpServer(listener.getsockname()[1], [])), KEYS)
        thread.join()
    assert record.outcome == "BadRequest"


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.0.7"])
def test_private_addresses_are_refused(world: DropWorld, address: str) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return [address]

    _, record = world.fails(feed_of(FtpServer(1, [])), KEYS, direct=True, lookup=lookup)
    assert record.outcome == "BadRequest"


# --- the listing's forms ---


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-rw-r--r--   1 ftp ftp   12 Nov 24 23:10 a b.csv", ("a b.csv", 12, "2026-11-24T23:10:00Z")),
        ("-rw-r--r-- 1 user group name 7 Dec 31 23:59 a.csv", ("a.csv", 7, "2025-12-31T23:59:00Z")),
        ("-rw-rw-rw-+ 1 0 0 5 Feb  3  2024  lead.csv", (" lead.csv", 5, "2024-02-03T00:00:00Z")),
        ("11-24-26  11:10PM             1234 a.csv", ("a.csv", 1234, "2026-11-24T23:10:00Z")),
        ("01-02-2025  12:05AM 1 a.csv", ("a.csv", 1, "2025-01-02T00:05:00Z")),
        ("11-24-26  11:10PM       <DIR>          sub", None),
        ("drwxr-xr-x 2 ftp ftp 4096 Nov 24 23:10 sub", None),
        ("lrwxrwxrwx 1 ftp ftp 3 Nov 24 23:10 a -> b", None),
        ("total 12", None),
        ("-rw-r--r-- 1 a b 12 Xyz 24 23:10 a", ("a", 12, None)),
        ("-rw-r--r-- 1 1001 50 1234 Nov 24 23:10 a.csv", ("a.csv", 1234, "2026-11-24T23:10:00Z")),
        ("-rw-r--r-- 1 ftp ftp 12 11\xbf\xf9 24 23:10 a.csv", ("a.csv", 12, "2026-11-24T23:10:00Z")),
        ("-rw-r--r-- 1 ftp ftp 12 Sept 3  2024 a.csv", ("a.csv", 12, "2024-09-03T00:00:00Z")),
        ("-rw-r--r-- 1 a b 12 Feb 31 23:10 a", ("a", 12, None)),
        ("", None),
    ],
)
def test_forms_of_list(line: str, found: tuple[str, int, str | None] | None) -> None:
    assert list_line(line, NOW) == found


def test_a_leap_day_without_a_year_is_of_the_last_one() -> None:
    """Without a time it would come before all others, and an older file be taken for the newest."""
    line = "-rw-r--r-- 1 a b 12 Feb 29 23:10 a"
    assert list_line(line, datetime(2025, 1, 15, tzinfo=UTC)) == ("a", 12, "2024-02-29T23:10:00Z")


def listed_as(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(FtpConnection, "_lines", lambda self, command: list(lines))


def test_a_form_of_list_that_is_not_known_is_no_empty_folder(
    world: DropWorld, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing would ever be new, and nobody told."""
    with served(folder, without=("MLSD", "MLST")) as server:
        listed_as(monkeypatch, "AIR      2026-11-24 23:10  V  80  AIR.CSV")
        error, record = world.fails(feed_of(server), KEYS)
        assert (record.outcome, "a form of LIST that is not known" in str(error)) == ("BadRequest", True)
        for lines in (
            [],
            ["", "total 0"],
            ["drwxr-xr-x 2 ftp ftp 4096 Nov 24 23:10 sub", "lrwxrwxrwx 1 a b 3 Nov 24 23:10 a -> b"],
        ):
            listed_as(monkeypatch, *lines)
            assert world.fetch(feed_of(server), KEYS).outcome == "Empty"
        listed_as(monkeypatch, "11-24-26  11:10PM       <DIR>          sub")
        assert world.fetch(feed_of(server), KEYS).outcome == "Empty"


@pytest.mark.parametrize("refusal", ["550 No files found.", "450 *: No files found"])
def test_a_server_that_refuses_to_list_an_empty_folder_has_none(world: DropWorld, folder: Path, refusal: str) -> None:
    """The folder could be entered, so it is not gone."""
    with served(folder, ftp_MLSD=lambda handler, path: handler.respond(refusal)) as server:
        assert world.fetch(feed_of(server), KEYS).outcome == "Empty"


def test_links_to_files_are_followed(world: DropWorld, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link named latest.csv is often all that never changes its name."""
    lay(folder.parent / "old" / "air_2026.csv", ONE, 3)
    (folder / "latest.csv").symlink_to("../old/air_2026.csv")
    (folder / "folder.csv").symlink_to("../old")
    (folder / "nowhere.csv").symlink_to("../old/gone.csv")
    with served(folder, without=("MLSD", "MLST")) as server:
        record = world.fetch(feed_of(server), KEYS)
        assert world.rows(feed_of(server), record) == [("종로구", "31")]
        assert record.last_modified == "2026-11-24T15:03:00Z"
    facts = "modify=20200101000000;perm=adfr;size=19;type=OS.unix={};unique=801U2;UNIX.mode=0777; {}"
    with served(folder) as server:
        names = ("symlink", "latest.csv"), ("slink:/old", "folder.csv"), ("symlink", "nowhere.csv")
        listed_as(monkeypatch, *(facts.format(kind, name) for kind, name in names))
        assert world.fetch(feed_of(server), KEYS).outcome == "NotModified"


def test_of_very_many_files_the_newest_are_asked_for_their_times(
    world: DropWorld, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.transport.ftp.MAX_ASKED_TIMES", 1)
    lay(folder / "a_old.csv", ONE, 1)
    lay(folder / "z_new.csv", TWO, 2)
    moment = (folder / "z_new.csv").stat().st_mtime + 30
    os.utime(folder / "z_new.csv", (moment, moment))
    with served(folder, without=("MLSD", "MLST")) as server:
        assert world.fetch(feed_of(server), KEYS).last_modified == "2026-11-24T15:02:30Z"


def test_forms_of_mlsd() -> None:
    seen = fact_line("Type=file;Size=12;Modify=20261124231000.123;UNIX.mode=0644; a b.csv")
    assert seen is not None
    assert (seen.name, seen.size, seen.modified) == ("a b.csv", 12, "2026-11-24T23:10:00Z")
    assert fact_line("type=cdir;modify=20261124231000; .") is None
    bare = fact_line("type=file; x")
    assert bare is not None
    assert (bare.size, bare.modified) == (None, None)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=120))
def test_no_line_breaks_the_listing(line: str) -> None:
    fact_line(line)
    link_line(line)
    fact_line(f"type=file;size={line};modify={line}; {line}")
    list_line(line, NOW)
    list_line(f"-rw-r--r-- 1 a b 12 Nov {line[:2]} {line[2:6]} {line}", NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftps://h/x", "plain": True},
        {"url": "ftp://u:p@h/x"},
        {"url": "sftp://h/x"},
        {"auth": {"kind": "password", "name": "u"}},
        {"auth": {"kind": "private_key", "name": "u", "secret": "K"}},
    ],
)
def test_a_declaration_that_is_not_safe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        FtpSource.model_validate({"protocol": "ftp", "format": "csv", "url": "ftp://h/x"} | wrong)
