"""From archived fetches to the live table: 27 real editions in order, withdrawals, time travel, refusals, kills, rebuilds."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.archive.ledger import Ledger, reindex
from assets.errors import Blocked, IntegrityError
from assets.feeds.model import Feed
from assets.tables.build import contract_digest, is_current
from assets.tables.index import confirm, live_paths, read_index
from assets.tables.replay import rebuild
from tests.tables.making import NOW, Home, make_feed, read

DAY = {"name": "day", "source": "Date", "type": "date", "nullable": False}
PRICE = {"name": "price", "source": "Price", "type": "number", "cleared": True}


def wti(**parts: Any) -> Feed:
    return make_feed([DAY, PRICE], contract={"key": ["day"]}, **parts)


def editions(shared_data: Path) -> list[tuple[date, bytes]]:
    found = sorted((shared_data / "eia-wti-editions").glob("*.csv"))
    assert len(found) == 27
    return [(date.fromisoformat(path.stem), path.read_bytes()) for path in found]


def prices(body: bytes) -> dict[date, float | None]:
    """An edition read without any of Madang's code."""
    rows = csv.DictReader(body.decode().splitlines())
    return {date.fromisoformat(row["Date"]): float(row["Price"]) if row["Price"].strip() else None for row in rows if row["Date"]}


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 9, tzinfo=UTC)


def live(home: Home, feed: Feed) -> dict[date, float | None]:
    rows = read(live_paths(home.store, read_index(home.store, feed.id), home.folder / "cache"))
    assert len({row["day"] for row in rows}) == len(rows)
    return {row["day"]: row["price"] for row in rows}


def test_27_real_editions_in_order(home: Home, shared_data: Path) -> None:
    feed, before, seen = wti(), {}, {}
    withdrawn: dict[date, list[date]] = {}
    for day, body in editions(shared_data):
        now = prices(body)
        result = home.build(feed, home.archive(feed, body, at(day)))
        assert not result.blocked
        assert result.rows_read == result.accepted == len(now)
        assert result.changes.added == len(now.keys() - before.keys())
        assert result.changes.withdrawn == len(before.keys() - now.keys())
        assert result.changes.revised == sum(1 for d in now.keys() & before.keys() if now[d] != before[d])
        assert live(home, feed) == now
        index = read_index(home.store, feed.id)
        assert index is not None
        if result.changed:
            changes = read([home.store.local_path(f.key, home.folder) for f in index.partitions["all"].changed_files])
            if gone := [row["day"] for row in changes if row["_change"] == "withdrawn"]:
                withdrawn[day] = gone
        # A record's provenance is the edition that first had this content.
        seen = {d: seen[d] if d in seen and before.get(d) == v else day for d, v in now.items()}
        rows = read([home.store.local_path(f.key, home.folder) for f in index.live_files()], columns="day, _fetched_at")
        assert {row["day"]: row["_fetched_at"].date() for row in rows} == seen
        before = now
    assert withdrawn == {date(2024, 10, 24): [date(2024, 10, 14)], date(2024, 11, 21): [date(2024, 11, 11)]}

    # The table as of any day, from the archive alone, equals that day's edition as read independently.
    index_before = home.store.read_pointer(f"tables/{feed.id}/index.json")
    for number, (day, body) in enumerate(editions(shared_data)):
        if number not in (0, 3, 7, 26):
            continue
        files = rebuild(
            feed,
            as_of=at(day) + timedelta(days=1),
            store=home.store,
            ledger=home.ledger,
            workdir=home.folder / "work",
            into=home.folder / f"as-of-{day}",
        )
        assert {row["day"]: row["price"] for row in read(files)} == prices(body)
    assert home.store.read_pointer(f"tables/{feed.id}/index.json") == index_before


def csv_of(*rows: tuple[str, str]) -> bytes:
    return "".join(f"{a},{b}\n" for a, b in (("Date", "Price"), *rows)).encode()


ROWS = tuple((f"2024-01-{n:02d}", str(n)) for n in range(1, 21))


def test_building_again_changes_nothing(home: Home) -> None:
    feed = wti()
    fetch = home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1)))
    first = home.build(feed, fetch)
    index = home.store.read_pointer(f"tables/{feed.id}/index.json")
    second = home.build(feed, fetch)
    assert first.changed and not second.changed
    assert second.changes == first.changes and second.files == first.files
    assert home.store.read_pointer(f"tables/{feed.id}/index.json") == index
    assert is_current(feed, fetch, home.store)


def test_same_numbers_in_new_bytes_make_no_new_table(home: Home) -> None:
    feed = wti()
    first = home.build(feed, home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1))))
    rewritten = csv_of(*((day, f"{float(price):.2f}") for day, price in reversed(ROWS))).replace(b"\n", b"\r\n")
    later = home.archive(feed, rewritten, at(date(2024, 2, 2)))
    second = home.build(feed, later)
    assert not second.changed and not second.changes.any and second.changes.unchanged == 20
    assert second.files == first.files
    index = read_index(home.store, feed.id)
    assert index is not None and index.fetch_id == first.fetch_id and index.confirmed_at == later.finished_at
    assert is_current(feed, later, home.store)


def test_same_input_same_bytes(home: Home, tmp_path: Path) -> None:
    feed = wti()
    fetch = home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1)))
    digests = set()
    for n in range(2):
        surroundings = {"store": home.store, "ledger": home.ledger, "workdir": tmp_path / "w"}
        files = rebuild(feed, as_of=None, **surroundings, into=tmp_path / f"r{n}", threads=n + 1)
        digests.add(files[0].read_bytes())
    built = home.build(feed, fetch)
    digests.add(home.store.get_bytes(built.files[0].key))
    assert len(digests) == 1


def test_a_shrunk_answer_keeps_the_last_good_table(home: Home) -> None:
    feed = wti()
    home.build(feed, home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1))))
    result = home.build(feed, home.archive(feed, csv_of(*ROWS[:15]), at(date(2024, 2, 2))))
    assert [check.name for check in result.blocked] == ["shrink_guard"]
    assert not result.changed and len(live(home, feed)) == 20
    with pytest.raises(Blocked) as caught:
        result.raise_if_blocked()
    assert caught.value.checks == ("shrink_guard",)
    # Exactly the bound is allowed.
    assert home.build(feed, home.archive(feed, csv_of(*ROWS[:16]), at(date(2024, 2, 3)))).changed
    assert len(live(home, feed)) == 16


def test_too_many_refused_rows_block_and_stay_readable(home: Home) -> None:
    feed = wti()
    home.build(feed, home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1))))
    bad = (*ROWS[:18], ("2024-01-19", "1명 (+1)"), ("2024-01-20", "-"))
    result = home.build(feed, home.archive(feed, csv_of(*bad), at(date(2024, 2, 2))))
    assert [check.name for check in result.blocked] == ["quarantine_within_bound"]
    assert live(home, feed)[date(2024, 1, 20)] == 20
    quarantined = read([home.store.local_path(f.key, home.folder) for f in result.quarantine_files], "_source_row")
    assert [json.loads(row["_raw"])["Price"] for row in quarantined] == ["1명 (+1)", "-"]
    assert {row["_rule"] for row in quarantined} == {"type"}
    report = home.store.get_bytes(result.report_key).decode()
    assert json.loads(report)["blocked"] == ["quarantine_within_bound"]
    assert "1명" not in report


def test_an_empty_answer_needs_leave(home: Home) -> None:
    strict = wti()
    fetch = home.archive(strict, b"", at(date(2024, 2, 1)), outcome="Empty")
    assert [check.name for check in home.build(strict, fetch).blocked] == ["row_count_at_least"]
    assert read_index(home.store, strict.id) is None
    lenient = make_feed([DAY, PRICE], contract={"key": ["day"], "min_rows": 0})
    result = home.build(lenient, fetch)
    assert result.changed and result.rows == 0 and not result.blocked
    (path,) = live_paths(home.store, read_index(home.store, lenient.id), home.folder)
    assert read(path) == []
    # But it never empties a table that has rows.
    home.build(lenient, home.archive(lenient, csv_of(*ROWS), at(date(2024, 2, 2))))
    emptied = home.build(lenient, home.archive(lenient, b"", at(date(2024, 2, 3)), outcome="Empty"))
    assert [check.name for check in emptied.blocked] == ["shrink_guard"] and len(live(home, lenient)) == 20


def test_a_late_run_of_an_older_fetch_does_not_turn_back_the_table(home: Home) -> None:
    feed = wti()
    older = home.archive(feed, csv_of(*ROWS[:19]), at(date(2024, 2, 1)))
    newer = home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 2)))
    home.build(feed, newer)
    assert not home.build(feed, older).changed
    assert len(live(home, feed)) == 20

    upsert = wti(id="us.test.upserted", incremental={"kind": "upsert"})
    newer = home.archive(upsert, csv_of(("2024-01-02", "22"), ("2024-01-03", "3")), at(date(2024, 2, 2)))
    home.build(upsert, newer)
    # Recorded only now: another machine was slow.
    older = home.archive(upsert, csv_of(("2024-01-01", "1"), ("2024-01-02", "2")), at(date(2024, 2, 1)))
    late = home.build(upsert, older)
    assert late.changes.added == 1 and late.changes.revised == 0
    assert live(home, upsert) == {date(2024, 1, 1): 1, date(2024, 1, 2): 22, date(2024, 1, 3): 3}
    index = read_index(home.store, upsert.id)
    assert index is not None and index.partitions["all"].last_fetch_id == newer.fetch_id


def test_a_changed_contract_rebuilds_from_the_archive(home: Home) -> None:
    strict = wti(incremental={"kind": "upsert"})
    home.build(strict, home.archive(strict, csv_of(*ROWS, ("2024-01-21", "n.a.")), at(date(2024, 2, 1))))
    second = home.archive(strict, csv_of(("2024-01-22", "22")), at(date(2024, 2, 2)))
    home.build(strict, second)
    assert len(live(home, strict)) == 21
    mended = wti(incremental={"kind": "upsert"}, decode={"null_values": ["", "n.a."]})
    assert contract_digest(mended) != contract_digest(strict) and not is_current(mended, second, home.store)
    result = home.build(mended, second, force=True)
    assert result.changed and not result.blocked
    assert live(home, mended)[date(2024, 1, 21)] is None and len(live(home, mended)) == 22
    index = read_index(home.store, mended.id)
    assert index is not None
    status = read(live_paths(home.store, index, home.folder), columns="day, price_status, _source_id")
    assert [row["price_status"] for row in status if row["day"] == date(2024, 1, 21)] == ["n.a."]
    # Its rows still come from the fetch that brought them, and the version before stays listed.
    assert {row["_source_id"] for row in status} == {record.fetch_id for record in home.ledger.history(mended.id)}
    assert [version.rows for version in index.partitions["all"].previous] == [21, 20]


def test_the_same_fetch_under_another_contract_is_another_version(home: Home) -> None:
    """What Dagster knows a table by moves with the contract, so that what follows is built anew."""
    feed, bounded = wti(), make_feed([DAY, PRICE | {"min": 0}], contract={"key": ["day"]})
    record = home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1)))
    versions = []
    for each in (feed, feed, bounded):
        home.build(each, record)
        index = read_index(home.store, feed.id)
        assert index is not None and index.data_version.startswith(f"{record.fetch_id}+")
        versions.append(index.data_version)
    assert versions[0] == versions[1] != versions[2]


def test_wording_is_no_part_of_the_digest() -> None:
    reworded = make_feed([DAY, PRICE | {"title_ko": "가격", "unit": "USD"}], contract={"key": ["day"]})
    assert contract_digest(wti()) == contract_digest(reworded)
    assert contract_digest(wti()) != contract_digest(make_feed([DAY, PRICE | {"min": 0}], contract={"key": ["day"]}))


def test_the_preview_shows_cleared_columns_only(home: Home) -> None:
    feed = wti()
    result = home.build(feed, home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1))))
    assert len(result.preview) == 10 and {name for row in result.preview for name in row} == {"price"}


def test_a_fetch_of_another_origin_starts_the_table_afresh(home: Home) -> None:
    """No made-up row stands beside an agency's, and the guard against shrinking does not miss it."""
    feed = wti(incremental={"kind": "upsert"}, deletes={"shrink_guard": 0})
    made_up = csv_of(("2024-01-01", "1"), ("2024-01-02", "2"))
    home.build(feed, home.archive(feed, made_up, at(date(2024, 2, 1)), origin="synthetic"))
    result = home.build(feed, home.archive(feed, csv_of(("2024-01-03", "3")), at(date(2024, 2, 2)), origin="agency"))
    assert result.changed and result.note == "started afresh: the origin changed from synthetic to agency"
    index = read_index(home.store, feed.id)
    assert index is not None and index.origin == "agency" and set(live(home, feed)) == {date(2024, 1, 3)}
    # The agency's own rows add up from here on.
    home.build(feed, home.archive(feed, csv_of(("2024-01-04", "4")), at(date(2024, 2, 3)), origin="agency"))
    assert set(live(home, feed)) == {date(2024, 1, 3), date(2024, 1, 4)}
    # Back at the stand-in, its earlier rows are there again, and none of the agency's.
    home.build(feed, home.archive(feed, csv_of(("2024-01-05", "5")), at(date(2024, 2, 4)), origin="synthetic"))
    index = read_index(home.store, feed.id)
    assert index is not None and index.origin == "synthetic"
    assert set(live(home, feed)) == {date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 5)}


def test_a_rebuild_keeps_origins_apart(home: Home) -> None:
    strict, lenient = (
        make_feed([DAY, PRICE], contract={"key": ["day"], "max_quarantine": bound}, incremental={"kind": "upsert"})
        for bound in (0, 1)
    )
    first = csv_of(("2024-01-01", "1"), ("2024-01-02", "n.a."))
    assert home.build(strict, home.archive(strict, first, at(date(2024, 2, 1)), origin="synthetic")).blocked
    agency = home.archive(strict, csv_of(("2024-01-03", "3")), at(date(2024, 2, 2)), origin="agency")
    home.build(strict, agency)
    # Under the lenient contract the synthetic fetch would pass; the table is the agency's all the same.
    home.build(lenient, agency, force=True)
    index = read_index(home.store, strict.id)
    assert index is not None and (index.rows, index.origin) == (1, "agency")
    into = home.folder / "rebuilt"
    surroundings: dict[str, Any] = {"store": home.store, "ledger": home.ledger, "workdir": home.folder / "again"}
    paths = rebuild(lenient, as_of=None, into=into, **surroundings)
    assert [row["day"] for row in read(paths, columns="day")] == [date(2024, 1, 3)]


def test_a_rebuild_without_the_ledgers_past_is_refused(home: Home) -> None:
    feed = wti(incremental={"kind": "upsert"}, deletes={"shrink_guard": 1})
    home.build(feed, home.archive(feed, csv_of(("2024-01-01", "1")), at(date(2024, 2, 1))))
    new = Home(home.folder, home.store, Ledger(f"sqlite:///{home.folder}/new.db"))
    second = new.archive(feed, csv_of(("2024-01-02", "2")), at(date(2024, 2, 2)))
    new.build(feed, second)
    with pytest.raises(IntegrityError, match="lacks 1 of the fetches") as caught:
        new.build(feed, second, force=True)
    assert "--reindex" in caught.value.mend and len(live(home, feed)) == 2
    reindex(new.store, new.ledger, only_missing=True)
    new.build(feed, second, force=True)
    assert len(live(home, feed)) == 2


def test_confirming_moves_forward_only(home: Home) -> None:
    feed = wti()
    confirm(home.store, feed.id, NOW)
    assert read_index(home.store, feed.id) is None
    fetch = home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1)))
    home.build(feed, fetch)
    confirm(home.store, feed.id, NOW)
    confirm(home.store, feed.id, fetch.finished_at)
    index = read_index(home.store, feed.id)
    assert index is not None and index.confirmed_at == NOW


BUILD = """
import sys
from pathlib import Path
from assets.archive.ledger import Ledger
from assets.store import Store
from tests.tables.making import Home
from tests.tables.test_build import wti
folder = Path(sys.argv[1])
home = Home(folder, Store(f"file://{folder}/store"), Ledger(f"sqlite:///{folder}/ledger.db"))
home.build(wti(), home.ledger.fetch(sys.argv[2]))
"""


@pytest.mark.chaos
@pytest.mark.parametrize("step", ["table.staged", "table.judged", "table.uploaded", "table.swapped"])
def test_killed_at_any_step_the_table_is_old_or_new_and_running_again_finishes(home: Home, step: str) -> None:
    feed = wti()
    home.build(feed, home.archive(feed, csv_of(*ROWS), at(date(2024, 2, 1))))
    fetch = home.archive(feed, csv_of(*ROWS, ("2024-01-21", "21")), at(date(2024, 2, 2)))
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", BUILD, str(home.folder), fetch.fetch_id], cwd=root, env={**os.environ, "MADANG_KILL_AT": step}
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(live(home, feed)) == (21 if step == "table.swapped" else 20)
    assert not home.build(feed, fetch).blocked
    assert live(home, feed) == {date(2024, 1, n): n for n in range(1, 22)}
    keys = [key for key in home.store.list(f"tables/{feed.id}") if key.endswith(".parquet")]
    assert len(keys) == 4  # two versions, each with its table and its changes
