"""The ledger on SQLite and on a real PostgreSQL: the same tests on both."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from assets.archive.database import LedgerError
from assets.archive.ledger import Ledger, quota_window, reindex
from assets.errors import Blocked, DiskFull, FetchFailed, SettingsError
from assets.protocols.kernel import Validators
from assets.store import Store
from tests.archive.making import FEED, START, archived, fetch_id, record
from tests.archive.working import hold_slots, lease_places, open_ledger, record_many, record_on_a_full_disk, spend
from tests.integration.postgres import new_database

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return new_database(request.getfixturevalue("postgres"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger(url)
    yield opened
    opened.close()


# --- fetches ---


def test_a_record_comes_back_as_it_was(ledger: Ledger) -> None:
    kept = replace(record(1, partition="2026-11"), rows=3, bytes_read=2**40, reason="가 \u2028 '\"")
    ledger.record(kept)
    assert ledger.fetch(kept.fetch_id) == kept
    assert ledger.fetch(kept.fetch_id).started_at.tzinfo == UTC  # type: ignore[union-attr]
    assert ledger.fetch("nothing") is None


def test_a_record_may_be_kept_again(ledger: Ledger) -> None:
    ledger.record(record(1))
    ledger.record(replace(record(1), rows=7))
    assert [f.rows for f in ledger.history(FEED)] == [7]


def test_last_and_last_answered_and_confirmed(ledger: Ledger) -> None:
    for n, outcome in enumerate(["Ok", "Empty", "NotModified", "Transient"]):
        ledger.record(record(n, outcome=outcome))
    ledger.record(record(9, partition="p"))
    ledger.record(record(20, feed="kr.other.feed"))
    assert ledger.last(FEED) == record(9, partition="p")
    assert ledger.last_answered(FEED) == record(1, outcome="Empty")
    assert ledger.last_answered(FEED, "p") == record(9, partition="p")
    assert ledger.last_answered(FEED, "q") is None
    assert ledger.confirmed_at(FEED) == record(9).finished_at
    assert ledger.confirmed_at("kr.no.feed") is None


def test_of_two_fetches_within_one_second_the_later_is_the_last(ledger: Ledger) -> None:
    early, late = (
        replace(record(1), fetch_id=f"{fetch_id(1)[:-8]}{tail}", started_at=record(1).started_at + timedelta(microseconds=us))
        for tail, us in (("ffffffff", 1), ("00000000", 2))
    )
    for each in (late, early):
        ledger.record(each)
    assert ledger.last(FEED) == ledger.last_answered(FEED) == late


def test_a_failed_fetch_confirms_nothing(ledger: Ledger) -> None:
    ledger.record(record(1, outcome="NotModified"))
    ledger.record(record(2, outcome="Malformed"))
    assert ledger.confirmed_at(FEED) == record(1).finished_at


def test_history_is_half_open_and_in_order(ledger: Ledger) -> None:
    for n in (3, 1, 2):
        ledger.record(record(n))
    assert [f.fetch_id for f in ledger.history(FEED)] == [fetch_id(n) for n in (1, 2, 3)]
    hours = [START + timedelta(hours=n) for n in (1, 3)]
    assert [f.fetch_id for f in ledger.history(FEED, *hours)] == [fetch_id(1), fetch_id(2)]


def test_validators_are_those_of_the_last_ok_fetch(ledger: Ledger, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    assert ledger.validators(FEED) == Validators()
    first = archived(store, ledger, tmp_path, 1, [b"a", b"b"])
    latest = archived(store, ledger, tmp_path, 2, [b"c"])
    assert ledger.validators(FEED) == Validators(etag='"e"')
    assert ledger.validators(FEED, "p") == Validators()
    left = ledger.bodies(FEED)
    assert set(left) == {(0, 1)}
    assert left[0, 1].fetch_id == latest.fetch_id
    ledger.record(record(3, outcome="NotModified"))
    assert ledger.bodies(FEED) == left
    ledger.record(record(0))  # an older fetch that is recorded late takes nothing away
    assert ledger.bodies(FEED) == left
    # The same bytes under another tag: it is what the next request asks by.
    again = {(0, 1): replace(left[0, 1], etag='"f"')}
    for confirmed, found in ((first, left), (latest, again)):
        ledger.record(replace(record(4, outcome="NotModified"), body_fetch_id=confirmed.fetch_id), list(again.values()))
        assert ledger.bodies(FEED) == found
    assert ledger.validators(FEED) == Validators(etag='"f"')


def test_naive_times_are_refused(ledger: Ledger) -> None:
    with pytest.raises(Exception, match="aware"):
        ledger.record(replace(record(1), started_at=datetime(2026, 1, 1)))


# --- quotas ---


def test_a_quota_is_spent_and_then_refused(ledger: Ledger) -> None:
    spent = [ledger.spend_quota("q", per_day=3, reset="00:00 Asia/Seoul", now=NOW) for _ in range(5)]
    assert [s.allowed for s in spent] == [True, True, True, False, False]
    assert [s.used for s in spent] == [1, 2, 3, 3, 3]
    assert ledger.spend_quota("other", per_day=3, reset="00:00 Asia/Seoul", now=NOW).allowed
    assert not ledger.spend_quota("other", per_day=3, reset="00:00 Asia/Seoul", now=NOW, amount=3).allowed
    assert ledger.quota("other", per_day=3, reset="00:00 Asia/Seoul", now=NOW).used == 1


def test_a_quota_resets_at_midnight_in_seoul(ledger: Ledger) -> None:
    seoul = ZoneInfo("Asia/Seoul")
    before = datetime(2026, 11, 22, 23, 59, 59, 999999, tzinfo=seoul)
    midnight = datetime(2026, 11, 23, 0, 0, tzinfo=seoul)
    first = ledger.spend_quota("q", per_day=1, reset="00:00 Asia/Seoul", now=before)
    assert first.allowed
    assert first.resets_at == midnight
    assert first.resets_at == datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
    assert not ledger.spend_quota("q", per_day=1, reset="00:00 Asia/Seoul", now=before).allowed
    assert ledger.spend_quota("q", per_day=1, reset="00:00 Asia/Seoul", now=midnight).allowed


def test_a_clock_that_lags_gets_no_second_quota(ledger: Ledger) -> None:
    midnight = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
    assert ledger.spend_quota("q", per_day=1, reset="00:00 Asia/Seoul", now=midnight).allowed
    assert not ledger.spend_quota("q", per_day=1, reset="00:00 Asia/Seoul", now=midnight - timedelta(seconds=2)).allowed


def test_an_exhausted_quota_stays_so_until_it_resets(ledger: Ledger) -> None:
    told = ledger.exhaust_quota("q", per_day=10, reset="00:00 Asia/Seoul", now=NOW)
    assert not told.allowed
    assert not ledger.spend_quota("q", per_day=10, reset="00:00 Asia/Seoul", now=NOW).allowed
    assert ledger.spend_quota("q", per_day=10, reset="00:00 Asia/Seoul", now=told.resets_at).allowed


@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["00:00 Asia/Seoul", "02:30 Europe/Berlin", "23:59 America/New_York", "00:00 UTC", "12:00 Pacific/Apia"]),
)
def test_every_moment_lies_in_its_window(now: datetime, reset: str) -> None:
    start, end = quota_window(reset, now)
    assert start <= now < end
    assert timedelta(hours=22) < end - start <= timedelta(hours=49)  # Apia left out a day in 2011
    assert quota_window(reset, start) == (start, end)
    assert quota_window(reset, end)[0] == end


def test_two_processes_never_overspend_one_quota(url: str) -> None:
    with SPAWN.Pool(2) as pool:
        spent = pool.starmap(spend, [(url, 60, 100), (url, 60, 100)])
    assert sum(spent) == 100
    ledger = Ledger(url)
    assert ledger.quota("shared", per_day=100, reset="00:00 Asia/Seoul", now=NOW).used == 100
    ledger.close()


# --- host limits and leases ---


def test_slots_keep_their_distance(ledger: Ledger) -> None:
    assert [ledger.reserve_slot("h", per_second=2, now=NOW) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert ledger.reserve_slot("other", per_second=2, now=NOW) == 0
    assert ledger.reserve_slot("h", per_second=2, now=NOW + timedelta(seconds=60)) == 0


def test_a_deferred_host_waits(ledger: Ledger) -> None:
    ledger.defer_host("h", NOW + timedelta(seconds=30))
    ledger.defer_host("h", NOW + timedelta(seconds=10))
    assert ledger.reserve_slot("h", per_second=1, now=NOW) == 30


def test_two_processes_never_get_the_same_slot(url: str) -> None:
    with SPAWN.Pool(2) as pool:
        waits = pool.starmap(hold_slots, [(url, 40), (url, 40)])
    assert sorted(waits[0] + waits[1]) == pytest.approx([i / 10 for i in range(80)])


def test_leases_are_few_expire_and_come_back(ledger: Ledger) -> None:
    def ask(holder: str, at: float) -> bool:
        return ledger.acquire_lease("h", concurrency=2, holder=holder, ttl_s=10, now=NOW + timedelta(seconds=at))

    assert [ask("a", 0), ask("b", 1), ask("c", 2)] == [True, True, False]
    assert ask("a", 9)  # renewed until 19
    assert [ask("c", 10.9), ask("c", 11), ask("d", 12)] == [False, True, False]
    ledger.release_lease("h", "a")
    ledger.release_lease("h", "a")
    assert ask("d", 12)


def test_two_processes_never_hold_more_leases_than_there_are(url: str) -> None:
    with SPAWN.Pool(2) as pool:
        got = pool.starmap(lease_places, [(url, "a", 20), (url, "b", 20)])
    assert sum(got) == 7


# --- the database ---


def test_many_processes_may_make_one_ledger_at_once(url: str) -> None:
    with SPAWN.Pool(4) as pool:
        assert pool.map(open_ledger, [url] * 8, chunksize=1) == [0] * 8


def test_processes_record_side_by_side(url: str) -> None:
    with SPAWN.Pool(2) as pool:
        pool.starmap(record_many, [(url, 0, 25), (url, 25, 25)])
    ledger = Ledger(url)
    assert [f.fetch_id for f in ledger.history(FEED)] == [fetch_id(n) for n in range(50)]
    ledger.close()


def test_a_locked_sqlite_ledger_says_so(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}", busy_timeout_s=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked") as caught:
        ledger.record(record(1))
    assert caught.value.mend
    assert ledger.last(FEED) is None  # readers do not wait for the writer
    other.execute("ROLLBACK")
    ledger.record(record(1))
    other.close()
    ledger.close()


@pytest.mark.parametrize("grows_to", [512, 100_000])
def test_a_full_disk_is_said_of_the_ledger(tmp_path: Path, grows_to: int) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    record_many(url, 0, 1)
    with SPAWN.Pool(1) as pool:
        error = pool.apply(record_on_a_full_disk, (url, grows_to))
    assert isinstance(error, DiskFull) and error.where == url
    assert "the disk is full" in error.what and "make room" in error.mend
    record_many(url, 1000, 1)  # with room again it goes on


def test_a_full_disk_in_sqlites_other_words_is_said_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    record_many(url, 0, 1)

    def no_more_pages(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite takes it as: as many as there are

    sa.event.listen(sa.pool.Pool, "connect", no_more_pages)
    try:
        with pytest.raises(DiskFull, match="the disk is full; what was there") as caught:
            record_many(url, 1, 1000)
    finally:
        sa.event.remove(sa.pool.Pool, "connect", no_more_pages)
    assert caught.value.where == url


def test_an_unreachable_postgres_is_named_without_its_password() -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger("postgresql://someone:hunter2@127.0.0.1:1/x")
    said = str(caught.value.as_json())
    assert "127.0.0.1:1" in said
    assert "hunter2" not in said
    assert caught.value.__cause__ is None
    assert caught.value.mend


def test_an_error_crosses_processes() -> None:
    """Else a pool's worker that fails leaves its parent waiting for ever."""
    import pickle

    for error in (LedgerError("a", where="b", mend="c"), FetchFailed("a", outcome="Gone", mend="c"), Blocked("a", checks=("x",))):
        back = pickle.loads(pickle.dumps(error))
        assert type(back) is type(error)
        assert (str(back), vars(back)) == (str(error), vars(error))


@pytest.mark.parametrize("url", ["", "mysql://a:hunter2@b/c", "sqlite://", "postgresql://a:hunter2@b:port/c", "hunter2"])
def test_a_url_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Ledger(url)
    assert "hunter2" not in str(caught.value.as_json())


def test_a_ledger_of_another_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(LedgerError, match="99"):
        Ledger(f"sqlite:///{path}")


# --- rebuilding ---


def test_a_ledger_rebuilt_from_the_archive_equals_the_lost_one(ledger: Ledger, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    for n, pages in enumerate([[b"a"], [b"b", b"c"], [b"d"]]):
        archived(store, ledger, tmp_path, n, pages)
    archived(store, ledger, tmp_path, 5, [b"e"], partition="2026")
    rebuilt = Ledger(f"sqlite:///{tmp_path}/rebuilt.db")
    done = reindex(store, rebuilt)
    assert (done.recorded, done.broken) == (4, ())
    assert rebuilt.history(FEED) == ledger.history(FEED) != []
    for partition in (None, "2026"):
        assert rebuilt.bodies(FEED, partition) == ledger.bodies(FEED, partition) != {}
    assert reindex(store, rebuilt, only_missing=True).recorded == 0
    rebuilt.close()


def test_a_crash_between_upload_and_row_is_mended(ledger: Ledger, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    archived(store, ledger, tmp_path, 1, [b"a"])
    elsewhere = Ledger(f"sqlite:///{tmp_path}/elsewhere.db")
    lost = archived(store, elsewhere, tmp_path, 2, [b"b"])
    elsewhere.close()
    assert reindex(store, ledger, feed=FEED, only_missing=True).recorded == 1
    assert ledger.last_answered(FEED) == lost


def test_a_broken_file_is_named_and_the_others_are_recorded(ledger: Ledger, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    broken = archived(store, ledger, tmp_path, 1, [b"a" * 1000])
    archived(store, ledger, tmp_path, 2, [b"b"])
    path = store.local_path(broken.warc_key, tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    rebuilt = Ledger(f"sqlite:///{tmp_path}/rebuilt.db")
    done = reindex(store, rebuilt)
    assert done.recorded == 1
    assert [key for key, _ in done.broken] == [broken.warc_key]
    rebuilt.close()
