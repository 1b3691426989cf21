"""What the ledger's tests run in processes of their own."""

from __future__ import annotations

import resource
from datetime import UTC, datetime

from assets.archive.ledger import Ledger
from assets.errors import MadangError
from tests.archive.making import FEED, record

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)


def spend(url: str, tries: int, per_day: int) -> int:
    """How many of `tries` were allowed."""
    ledger = Ledger(url)
    allowed = [ledger.spend_quota("shared", per_day=per_day, reset="00:00 Asia/Seoul", now=NOW).allowed for _ in range(tries)]
    ledger.close()
    return sum(allowed)


def hold_slots(url: str, count: int) -> list[float]:
    ledger = Ledger(url)
    waits = [ledger.reserve_slot("h", per_second=10, now=NOW) for _ in range(count)]
    ledger.close()
    return waits


def lease_places(url: str, name: str, count: int) -> int:
    ledger = Ledger(url)
    got = [ledger.acquire_lease("h", concurrency=7, holder=f"{name}{i}", ttl_s=60, now=NOW) for i in range(count)]
    ledger.close()
    return sum(got)


def open_ledger(url: str) -> int:
    ledger = Ledger(url)
    found = len(ledger.history(FEED))
    ledger.close()
    return found


def record_many(url: str, first: int, count: int) -> None:
    ledger = Ledger(url)
    for n in range(first, first + count):
        ledger.record(record(n))
    ledger.close()


def record_on_a_full_disk(url: str, grows_to: int) -> MadangError:
    """What is raised where no file may grow beyond that many bytes."""
    ledger = Ledger(url)
    resource.setrlimit(resource.RLIMIT_FSIZE, (grows_to, resource.RLIM_INFINITY))
    try:
        for n in range(1000):
            ledger.record(record(n))
    except MadangError as error:
        return error
    finally:
        ledger.close()
    raise AssertionError("nothing was raised")
