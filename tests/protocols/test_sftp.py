"""sftp over real SSH servers: keys, logins, files that grow, what is taken and what is not, what the archive keeps."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assets.feeds.model import Feed
from assets.protocols.fetching import FetchCancelled
from assets.protocols.kernel import Limits
from tests.protocols.drop_scene import DAY, DropWorld, drop_feed, lay, table
from tests.requirements import require
from tests.transport.drop_servers import PASSWORD, SshServer, running_password_server, running_sshd

ONE, TWO = table(("종로구", "31")), table(("종로구", "32"), ("중구", "7"))


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    require("sshd")
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def world(tmp_path: Path) -> DropWorld:
    return DropWorld(tmp_path)


@pytest.fixture
def folder(sshd: SshServer, request: pytest.FixtureRequest) -> Path:
    """A folder of the test's own on the server."""
    made = sshd.folder / hashlib.sha1(request.node.name.encode()).hexdigest()[:12]
    made.mkdir()
    return made


def feed_of(server: SshServer, folder: Path | str, kind: str = "ed25519", **source: Any) -> Feed:
    auth = {"kind": "private_key", "name": server.user, "secret": "DROP_KEY"}
    url = f"sftp://files.agency.example:{server.port}{folder}"
    return drop_feed({"protocol": "sftp", "url": url, "host_keys": [server.keys[kind]], "auth": auth, "files": "*.csv"} | source)


def keys(server: SshServer) -> dict[str, str]:
    return {"DROP_KEY": server.private}


def test_a_file_is_taken_once(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "air.csv", ONE, 1)
    feed = feed_of(sshd, folder)
    record = world.fetch(feed, keys(sshd))
    assert (record.outcome, record.origin, record.responses) == ("Ok", "synthetic", 3)  # two listings and a file
    assert world.rows(feed, record) == [("종로구", "31")]
    assert record.last_modified == "2026-11-24T15:01:00Z"
    assert record.bytes_read > len(ONE.encode())
    again = world.fetch(feed, keys(sshd))
    assert (again.outcome, again.responses) == ("NotModified", 2)
    lay(folder / "air.csv", TWO, 2)
    third = world.fetch(feed, keys(sshd))
    assert third.outcome == "Ok"
    assert world.rows(feed, third) == [("종로구", "32"), ("중구", "7")]


def test_the_settling_waits_by_the_clock_and_gives_its_place_back(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "air.csv", ONE)
    world.fetch(feed_of(sshd, folder, settle_s=45), keys(sshd))
    assert world.clock.slept == [45]
    lay(folder / "air.csv", TWO, 1)
    lay(folder / "air.csv.done", "", 2)
    assert world.fetch(feed_of(sshd, folder, settle_s=45), keys(sshd)).outcome == "Ok"
    assert world.clock.slept == [45]


def test_a_file_that_grows_waits_for_the_next_fetch(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "air.csv", ONE, 1)
    feed = feed_of(sshd, folder)
    world.clock.meanwhile = lambda: lay(folder / "air.csv", TWO, 2)
    record = world.fetch(feed, keys(sshd))
    assert (record.outcome, record.reason) == ("Empty", "no file is ready")
    assert world.rows(feed, world.fetch(feed, keys(sshd))) == [("종로구", "32"), ("중구", "7")]
    world.clock.meanwhile = lambda: lay(folder / "air.csv", ONE, 4)
    lay(folder / "air.csv", TWO + "끝", 3)
    assert world.fetch(feed, keys(sshd)).outcome == "NotModified"


def test_a_folder_that_was_cleared_withdraws_nothing(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "air.csv", ONE)
    feed = feed_of(sshd, folder)
    world.fetch(feed, keys(sshd))
    (folder / "air.csv").unlink()
    record = world.fetch(feed, keys(sshd))
    assert (record.outcome, record.reason) == ("NotModified", "no new file is ready")


def test_newest_by_time_then_name(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "z_old.csv", ONE, 1)
    lay(folder / "a_new.csv", TWO, 2)
    lay(folder / "newest.csv.part", "junk", 9)
    feed = feed_of(sshd, folder, files="*")
    record = world.fetch(feed, keys(sshd))
    assert world.rows(feed, record) == [("종로구", "32"), ("중구", "7")]
    assert record.responses == 3


def test_all_takes_each_file_once_in_order(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    feed = feed_of(sshd, folder, take="all")
    lay(folder / "b.csv", table(("나", "1")), 1)
    lay(folder / "a.csv", table(("가", "2")), 2)
    first = world.fetch(feed, keys(sshd))
    assert world.rows(feed, first) == [("나", "1"), ("가", "2")]
    assert world.fetch(feed, keys(sshd)).outcome == "NotModified"
    lay(folder / "c.csv", table(("다", "3")), 3)
    third = world.fetch(feed, keys(sshd))
    assert world.rows(feed, third) == [("나", "1"), ("가", "2"), ("다", "3")]
    assert third.responses == 3  # two listings and the one new file
    assert world.warc(third).count(b"WARC-Type: revisit") == 2
    lay(folder / "d.csv", table(("라", "4")), 0)  # an older one comes late: the others are still not asked for
    fourth = world.fetch(feed, keys(sshd))
    assert world.rows(feed, fourth) == [("라", "4"), ("나", "1"), ("가", "2"), ("다", "3")]
    assert fourth.responses == 3
    (folder / "b.csv").unlink()
    assert world.rows(feed, world.fetch(feed, keys(sshd))) == [("라", "4"), ("가", "2"), ("다", "3")]


@pytest.mark.parametrize("take", ["newest", "all"])
@pytest.mark.parametrize("marked", [False, True])
def test_while_a_file_is_written_anew_the_others_are_not_taken_for_the_whole(
    world: DropWorld, sshd: SshServer, folder: Path, take: str, marked: bool
) -> None:
    """An older edition would come back, or the file's rows be missed, until the next fetch."""
    feed = feed_of(sshd, folder, take=take, require_companion=marked)

    def written(name: str, value: str, minute: int, *, mark: bool) -> None:
        lay(folder / name, table((name, value)), minute)
        if mark:
            lay(folder / f"{name}.done", "", minute)

    written("a.csv", "1", 1, mark=marked)
    written("b.csv", "2", 2, mark=marked)
    before = world.rows(feed, world.fetch(feed, keys(sshd)))
    assert before[-1] == ("b.csv", "2")
    written("b.csv", "3", 3, mark=False)
    world.clock.meanwhile = lambda: written("b.csv", "4", 4, mark=False)
    written("new.csv", "9", 0, mark=marked)
    record = world.fetch(feed, keys(sshd))
    assert (record.outcome, record.reason) == ("NotModified", "a file of the last fetch is being written")
    assert world.rows(feed, record) == before
    written("b.csv", "5", 5, mark=marked)
    assert world.rows(feed, world.fetch(feed, keys(sshd)))[-1] == ("b.csv", "5")


def test_where_files_add_to_the_table_one_that_is_written_holds_up_no_other(
    world: DropWorld, sshd: SshServer, folder: Path
) -> None:
    source = feed_of(sshd, folder, take="all").source.model_dump(exclude_unset=True)
    contract = {"key": ["c0"], "columns": [{"name": "c0", "source": "지점", "nullable": False}, {"name": "c1", "source": "값"}]}
    feed = drop_feed(source, contract=contract, incremental={"kind": "upsert"})
    lay(folder / "a.csv", table(("가", "1")), 1)
    lay(folder / "b.csv", table(("나", "2")), 2)
    world.fetch(feed, keys(sshd))
    lay(folder / "c.csv", table(("다", "3")), 2)
    world.clock.meanwhile = lambda: lay(folder / "b.csv", table(("나", "4")), 4)
    assert world.rows(feed, world.fetch(feed, keys(sshd))) == [("가", "1"), ("다", "3")]


def test_the_same_bytes_under_a_new_time_are_no_news(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "air.csv", ONE, 1)
    feed = feed_of(sshd, folder)
    world.fetch(feed, keys(sshd))
    lay(folder / "air.csv", ONE, 2)
    record = world.fetch(feed, keys(sshd))
    assert (record.outcome, record.responses) == ("NotModified", 3)
    assert b"identical-payload-digest" in world.warc(record)
    assert world.rows(feed, record) == [("종로구", "31")]
    third = world.fetch(feed, keys(sshd))
    assert (third.outcome, third.responses) == ("NotModified", 2), "the new time is known: the file is not downloaded again"
    assert world.rows(feed, third) == [("종로구", "31")]


def test_an_archive_that_is_packed_anew_around_the_same_files_is_no_news(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    feed = feed_of(sshd, folder, files="*.zip")
    for minute, (name, outcome) in enumerate([("a.csv", "Ok"), ("a.csv", "NotModified"), ("b.csv", "Ok")]):
        with zipfile.ZipFile(folder / "air.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1 + minute, 0, 0, 0)), ONE)
        os.utime(folder / "air.zip", (DAY.timestamp(), DAY.timestamp() + minute))
        assert world.fetch(feed, keys(sshd)).outcome == outcome


def test_the_archive_holds_resources_and_no_http(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "air.csv", ONE)
    record = world.fetch(feed_of(sshd, folder), keys(sshd))
    warc = world.warc(record)
    assert warc.count(b"WARC-Type: resource") == 3
    assert b"application/http" not in warc
    assert f"WARC-Target-URI: {sshd.url.split(':', 2)[0]}".encode() in warc
    assert b"PRIVATE KEY" not in warc
    assert sshd.private.splitlines()[2].encode() not in warc
    assert b'"name": "air.csv"' in warc


def test_a_checksum_is_verified(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "air.csv", ONE, 1)
    lay(folder / "air.csv.md5", hashlib.md5(TWO.encode()).hexdigest() + "  air.csv\n", 1)
    feed = feed_of(sshd, folder)
    _, record = world.fails(feed, keys(sshd))
    assert record.outcome == "Malformed"
    assert "MD5" in record.reason
    assert record.responses == 1 + 1 + 2  # the listing, the checksum, the file and once more
    lay(folder / "air.csv.md5", hashlib.md5(ONE.encode()).hexdigest() + "  air.csv\n", 2)
    right = world.fetch(feed, keys(sshd))
    assert world.rows(feed, right) == [("종로구", "31")]
    assert world.fetch(feed, keys(sshd)).responses == 1


def test_names_as_agencies_write_them(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    raw = os.fsencode(folder) + b"/" + "관측 값#1%.csv".encode("cp949")
    lay(Path(os.fsdecode(raw)), ONE, 2)
    feed = feed_of(sshd, folder, files="관측*.csv")
    assert world.rows(feed, world.fetch(feed, keys(sshd))) == [("종로구", "31")]
    lay(folder / unicodedata.normalize("NFD", "관측 값.csv"), TWO, 3)
    assert world.rows(feed, world.fetch(feed, keys(sshd))) == [("종로구", "32"), ("중구", "7")]


def test_links_are_followed_and_folders_are_not_read(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "real" / "x.txt", ONE, 1)
    (folder / "sub.csv").mkdir()
    (folder / "nowhere.csv").symlink_to(folder / "gone")
    (folder / "latest.csv").symlink_to(folder / "real" / "x.txt")
    feed = feed_of(sshd, folder)
    assert world.rows(feed, world.fetch(feed, keys(sshd))) == [("종로구", "31")]


# --- trust ---


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_any_of_the_servers_host_keys_may_be_pinned(world: DropWorld, sshd: SshServer, folder: Path, kind: str) -> None:
    lay(folder / "air.csv", ONE)
    assert world.fetch(feed_of(sshd, folder, kind), keys(sshd)).outcome == "Ok"


def test_an_unknown_host_key_is_not_given_the_password(world: DropWorld, tmp_path: Path) -> None:
    lay(tmp_path / "files" / "air.csv", ONE)
    with running_password_server(tmp_path / "files") as server:
        feed = password_feed(server, host_keys=["SHA256:" + "A" * 43])
        error, record = world.fails(feed, {"DROP_PASSWORD": PASSWORD})
        assert server.logins == []
    assert record.outcome == "AuthFailed"
    assert server.keys["ecdsa"] in record.reason
    assert "fingerprint" in (error.mend or "")
    assert record.responses == 0


def password_feed(server: SshServer, **source: Any) -> Feed:
    auth = {"kind": "password", "name": server.user, "secret": "DROP_PASSWORD"}
    return feed_of(server, "/", "ecdsa", **({"auth": auth} | source))


@pytest.mark.parametrize("old", ["HostKeyAlgorithms ssh-rsa", "KexAlgorithms diffie-hellman-group14-sha1"])
def test_a_server_that_is_too_old_is_told_so_and_not_as_another_host_key(world: DropWorld, tmp_path: Path, old: str) -> None:
    require("sshd")
    (tmp_path / "sshd").mkdir()
    with running_sshd(tmp_path / "sshd", old) as server:
        error, record = world.fails(feed_of(server, server.folder, "rsa"), keys(server))
    assert record.outcome == "BadRequest" and "too old" in str(error) and "telephone" not in str(error)


def test_a_password_logs_in_and_is_nowhere(world: DropWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    lay(tmp_path / "files" / "air.csv", ONE)
    with running_password_server(tmp_path / "files") as server:
        feed = password_feed(server)
        record = world.fetch(feed, {"DROP_PASSWORD": PASSWORD})
        assert world.rows(feed, record) == [("종로구", "31")]
        error, failed = world.fails(feed, {"DROP_PASSWORD": "wrong-password"})
        assert failed.outcome == "AuthFailed"
        assert set(server.logins) == {PASSWORD, "wrong-password"}
        key_feed = password_feed(server, auth={"kind": "private_key", "name": "hanbit", "secret": "K"})
        _, refused = world.fails(key_feed, {"K": "no key"})
        assert "private key cannot be read" in refused.reason
    for secret in (PASSWORD, "wrong-password"):
        assert secret.encode() not in world.warc(record) + world.warc(failed)
        assert secret not in caplog.text + str(error) + failed.reason


def test_a_wrong_key_is_auth_failed_at_once(world: DropWorld, sshd: SshServer, folder: Path, tmp_path: Path) -> None:
    import paramiko

    other = tmp_path / "other"
    paramiko.ECDSAKey.generate().write_private_key_file(str(other))
    _, record = world.fails(feed_of(sshd, folder), {"DROP_KEY": other.read_text().replace("\n", "\\n")})
    assert record.outcome == "AuthFailed"
    assert sshd.user in record.reason
    assert b"madang-failure: " in world.warc(record)
    assert world.clock.slept == []


@pytest.mark.parametrize(("address", "word"), [("127.0.0.1", "loopback"), ("10.1.2.3", "private"), ("169.254.169.254", "metadata")])
def test_private_addresses_are_refused_after_resolution(world: DropWorld, sshd: SshServer, address: str, word: str) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return [address]

    _, record = world.fails(feed_of(sshd, "/"), keys(sshd), direct=True, lookup=lookup)
    assert (record.outcome, record.responses) == ("BadRequest", 0)
    assert word in record.reason


# --- failures ---


def test_a_folder_that_is_not_there_is_gone(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    assert world.fails(feed_of(sshd, folder / "other"), keys(sshd))[1].outcome == "Gone"


def test_a_server_that_is_down_is_tried_again(world: DropWorld, sshd: SshServer) -> None:
    from tests.integration.s3_server import free_port

    down = SshServer(free_port(), sshd.folder, sshd.user, sshd.private, sshd.keys)
    _, record = world.fails(feed_of(down, "/x", limits={"max_attempts": 3}), keys(sshd))
    assert record.outcome == "Transient"
    assert "refused" in record.reason
    assert len(world.clock.slept) == 2


def test_a_file_too_large_is_not_begun(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    lay(folder / "air.csv", ONE * 100)
    _, record = world.fails(feed_of(sshd, folder, limits={"max_body_bytes": 1000}), keys(sshd))
    assert record.outcome == "BadRequest"
    assert record.responses == 2


def test_a_large_file_comes_whole_and_can_be_cancelled(world: DropWorld, sshd: SshServer, folder: Path) -> None:
    body = (table() + "가,1\n" * 700_000).encode()
    lay(folder / "air.csv", body)
    feed = feed_of(sshd, folder)
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 12

    with pytest.raises(FetchCancelled):
        world.fetch(feed, keys(sshd), cancelled=cancelled)
    assert world.ledger.last(feed.id) is None
    record = world.fetch(feed, keys(sshd))
    [held] = world.bodies(record)
    assert hashlib.sha256(held.path.read_bytes()).digest() == hashlib.sha256(body).digest()
    assert list((world.folder / "work" / "fetching").glob("*/")) == []


def test_a_silent_server_times_out(world: DropWorld, sshd: SshServer) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        quiet = SshServer(silent.getsockname()[1], sshd.folder, sshd.user, sshd.private, sshd.keys)
        limits = Limits(connect_timeout_s=0.3, max_attempts=1).model_dump()
        _, record = world.fails(feed_of(quiet, "/x", limits=limits), keys(sshd))
    assert record.outcome == "Transient"
