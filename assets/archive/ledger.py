"""The ledger: what is remembered beside the archive, across processes and machines, on SQLite or PostgreSQL.

Fetches, the bodies and validators that the last Ok fetch left, quotas, host limits, leases. No bytes of any source and
no decisions; tables and connections are `database.py`. Fetches and bodies can be rebuilt from the archive (`reindex`);
quotas live only here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from assets.archive import database as db
from assets.archive.fetches import ANSWERING, CONFIRMING, FetchRecord, read_fetch_record
from assets.archive.records import StoredBody, storable
from assets.errors import IntegrityError
from assets.protocols.kernel import Validators
from assets.store import Store


@dataclass(frozen=True)
class Spending:
    """Whether the request may be sent, what is used of `per_day` in this window, and when (UTC) the window ends."""

    allowed: bool
    used: int
    resets_at: datetime


class Ledger:
    """One ledger. `url`: sqlite:///path or postgresql://user:password@host/database. All datetimes in and out are aware, UTC.

    Every method raises LedgerError where the database cannot be reached or stays locked for `busy_timeout_s`, and DiskFull
    where there is no room for it.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 30.0) -> None:
        self._db = db.Database(url, busy_timeout_s=busy_timeout_s)

    def __repr__(self) -> str:
        return f"Ledger({self._db.where!r})"

    def close(self) -> None:
        """Close all connections."""
        self._db.close()

    # --- fetches ---

    def record(self, fetch: FetchRecord, bodies: Sequence[StoredBody] = ()) -> None:
        """Keep a fetch; again with the same id: replaced. An Ok fetch's `bodies` replace those of its feed and partition,
        unless a later Ok fetch is there already. So do those of one that found the same under newer validators."""
        with self._db.write(f"fetches/{fetch.feed}") as connection:
            connection.execute(db.fetches.delete().where(db.fetches.c.fetch_id == fetch.fetch_id))
            connection.execute(db.fetches.insert().values(**_stored(fetch)))
            latest = connection.scalar(
                _latest(_fetches(fetch.feed, fetch.partition, ("Ok",))).with_only_columns(db.fetches.c.fetch_id)
            )
            confirms = fetch.outcome == "NotModified" and bool(bodies)
            if not (fetch.outcome == "Ok" or confirms) or latest != fetch.body_fetch_id:
                return
            connection.execute(db.bodies.delete().where(*_of(fetch.feed, fetch.partition)))
            if bodies:
                place = {"feed": fetch.feed, "partition": fetch.partition or ""}
                connection.execute(db.bodies.insert(), [{**_stored(b), **place} for b in bodies])

    def fetch(self, fetch_id: str) -> FetchRecord | None:
        """The fetch of that id."""
        return self._one(sa.select(db.fetches).where(db.fetches.c.fetch_id == fetch_id))

    def last(self, feed: str) -> FetchRecord | None:
        """The latest fetch, whatever its partition and outcome."""
        return self._one(_latest(sa.select(db.fetches).where(db.fetches.c.feed == feed)))

    def last_answered(self, feed: str, partition: str | None = None) -> FetchRecord | None:
        """The latest fetch of that partition that says what the rows are: Ok, or Empty."""
        return self._one(_latest(_fetches(feed, partition, ANSWERING)))

    def answered(self, feed: str, partition: str | None = None) -> list[FetchRecord]:
        """All fetches of that partition that say what the rows are, oldest first."""
        return self._all(_fetches(feed, partition, ANSWERING))

    def history(self, feed: str, since: datetime | None = None, until: datetime | None = None) -> list[FetchRecord]:
        """Fetches that started in [since, until), oldest first."""
        query = sa.select(db.fetches).where(db.fetches.c.feed == feed)
        if since is not None:
            query = query.where(db.fetches.c.started_at >= since)
        if until is not None:
            query = query.where(db.fetches.c.started_at < until)
        return self._all(query)

    def confirmed_at(self, feed: str, partition: str | None = None) -> datetime | None:
        """When the last Ok, Empty or NotModified fetch finished, of that partition where one is named."""
        query = sa.select(sa.func.max(db.fetches.c.finished_at, type_=db.Utc)).where(
            db.fetches.c.feed == feed, db.fetches.c.outcome.in_(CONFIRMING)
        )
        if partition is not None:
            query = query.where(db.fetches.c.partition == partition)
        with self._db.read() as connection:
            at: datetime | None = connection.scalar(query)
        return at

    def bodies(self, feed: str, partition: str | None = None) -> dict[tuple[int, int], StoredBody]:
        """What the last Ok fetch left, by (step, page): what an unchanged body's revisit refers to."""
        columns = [c for c in db.bodies.c if c.name not in ("feed", "partition")]
        with self._db.read() as connection:
            rows = connection.execute(sa.select(*columns).where(*_of(feed, partition))).mappings().all()
        return {(r["step"], r["page"]): StoredBody(**cast("dict[str, Any]", r)) for r in rows}

    def validators(self, feed: str, partition: str | None = None, step: int = 0) -> Validators:
        """Validators of the step's first page, empty where there was none."""
        c = db.bodies.c
        query = sa.select(c.etag, c.last_modified, c.provider_stamp).where(*_of(feed, partition), c.step == step, c.page == 1)
        with self._db.read() as connection:
            row = connection.execute(query).one_or_none()
        return Validators(*row) if row else Validators()

    def _one(self, query: sa.Select[Any]) -> FetchRecord | None:
        with self._db.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return _fetch_record(row) if row else None

    def _all(self, query: sa.Select[Any]) -> list[FetchRecord]:
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(*_ORDER)).mappings().all()
        return [_fetch_record(r) for r in rows]

    # --- quotas, host limits, leases ---

    def spend_quota(self, name: str, *, per_day: int, reset: str, now: datetime, amount: int = 1) -> Spending:
        """Take `amount` of the daily quota if that much is left, atomically across processes. `reset`: 'HH:MM Zone/Name'."""
        return self._quota(name, per_day, reset, now, amount)

    def quota(self, name: str, *, per_day: int, reset: str, now: datetime) -> Spending:
        """What is used so far, and whether one more request would be allowed; nothing is spent."""
        start, end = quota_window(reset, now)
        with self._db.read() as connection:
            row = connection.execute(sa.select(db.quotas).where(db.quotas.c.name == name)).one_or_none()
        used = row.used if row and row.window_start >= start else 0
        return Spending(used < per_day, used, end)

    def exhaust_quota(self, name: str, *, per_day: int, reset: str, now: datetime) -> Spending:
        """The agency says that the quota is used up: nothing more is sent until it resets."""
        return self._quota(name, per_day, reset, now, None)

    def _quota(self, name: str, per_day: int, reset: str, now: datetime, amount: int | None) -> Spending:
        """`amount` None: all that is left."""
        start, end = quota_window(reset, now)
        q = db.quotas
        with self._db.write(f"quota/{name}") as connection:
            row = connection.execute(sa.select(q).where(q.c.name == name)).one_or_none()
            # A later start is another machine's, whose clock is ahead: its window counts.
            used = row.used if row and row.window_start >= start else 0
            start = max(start, row.window_start) if row else start
            total = max(used, per_day) if amount is None else used + amount
            allowed = amount is not None and total <= per_day
            if allowed or amount is None:
                connection.execute(q.delete().where(q.c.name == name))
                connection.execute(q.insert().values(name=name, window_start=start, used=total))
                used = total
        return Spending(allowed, used, end)

    def reserve_slot(self, host: str, *, per_second: float, now: datetime) -> float:
        """Seconds to wait before the reserved moment to send one request to `host`, all processes taken together."""
        h = db.host_limits
        with self._db.write(f"host/{host}") as connection:
            next_at = connection.scalar(sa.select(h.c.next_at).where(h.c.host == host))
            slot = max(now, next_at) if next_at else now
            connection.execute(h.delete().where(h.c.host == host))
            connection.execute(h.insert().values(host=host, next_at=slot + timedelta(seconds=1 / per_second)))
        return (slot - now).total_seconds()

    def defer_host(self, host: str, until: datetime) -> None:
        """No slot before `until` (Retry-After), for any process."""
        h = db.host_limits
        with self._db.write(f"host/{host}") as connection:
            next_at = connection.scalar(sa.select(h.c.next_at).where(h.c.host == host))
            connection.execute(h.delete().where(h.c.host == host))
            connection.execute(h.insert().values(host=host, next_at=max(until, next_at) if next_at else until))

    def acquire_lease(self, host: str, *, concurrency: int, holder: str, ttl_s: float, now: datetime) -> bool:
        """One of `concurrency` places at `host`, or False. Again by the same holder: renewed. Expires after `ttl_s`."""
        t = db.leases
        with self._db.write(f"lease/{host}") as connection:
            connection.execute(t.delete().where(t.c.host == host, sa.or_(t.c.expires_at <= now, t.c.holder == holder)))
            held = connection.scalar(sa.select(sa.func.count()).select_from(t).where(t.c.host == host)) or 0
            if held < concurrency:
                connection.execute(t.insert().values(host=host, holder=holder, expires_at=now + timedelta(seconds=ttl_s)))
            return held < concurrency

    def release_lease(self, host: str, holder: str) -> None:
        """Give the place back; nothing happens where it had expired."""
        with self._db.write(f"lease/{host}") as connection:
            connection.execute(db.leases.delete().where(db.leases.c.host == host, db.leases.c.holder == holder))


def quota_window(reset: str, now: datetime) -> tuple[datetime, datetime]:
    """Start and end (UTC) of the daily window that `now` lies in. `reset`: 'HH:MM Zone/Name', local wall-clock time."""
    clock, zone_name = reset.split(" ", 1)
    zone = ZoneInfo(zone_name)
    at = time.fromisoformat(clock)
    day = now.astimezone(zone).date()
    # Three days around now: in a zone with summer time a day may have 23 or 25 hours.
    starts = [datetime.combine(day + timedelta(days=d), at, zone).astimezone(UTC) for d in (-1, 0, 1)]
    index = max(i for i, start in enumerate(starts) if start <= now)
    return starts[index], starts[index + 1]


@dataclass(frozen=True)
class Reindexed:
    """`recorded`: fetches put into the ledger. `broken`: keys and reasons of files that are no sound fetch."""

    recorded: int
    broken: tuple[tuple[str, str], ...]


def reindex(store: Store, ledger: Ledger, *, feed: str | None = None, only_missing: bool = False) -> Reindexed:
    """Record every fetch of the archive (of `feed`), in order of time, reading each WARC whole and verifying its digests.

    `only_missing`: leave fetches alone that the ledger has, which mends a crash between upload and ledger row.
    """
    keys = sorted(store.list(f"archive/{feed}" if feed else "archive"), key=lambda k: k.rsplit("/", 1)[-1])
    recorded, broken = 0, []
    for key in keys:
        fetch_id = key.rsplit("/", 1)[-1].removesuffix(".warc.gz")
        if only_missing and ledger.fetch(fetch_id) is not None:
            continue
        with tempfile.TemporaryDirectory(prefix="madang-reindex-") as cache:
            try:
                fetch, bodies = read_fetch_record(store.local_path(key, Path(cache)))
            except IntegrityError as error:
                broken.append((key, error.what))
                continue
        ledger.record(fetch, bodies)
        recorded += 1
    return Reindexed(recorded, tuple(broken))


_VALIDATORS = ("etag", "last_modified", "provider_stamp")
# An id sorts by the second only: two fetches within one would come in any order.
_ORDER = (db.fetches.c.started_at, db.fetches.c.fetch_id)


def _stored(record: FetchRecord | StoredBody) -> dict[str, Any]:
    """Its fields as a database takes them. A validator that it cannot take is none: it could not be sent either."""
    found = {name: storable(value) if isinstance(value, str) else value for name, value in vars(record).items()}
    changed = [name for name in _VALIDATORS if found[name] != getattr(record, name)]
    return found | dict.fromkeys(changed)


def _latest(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.order_by(*(column.desc() for column in _ORDER)).limit(1)


def _fetches(feed: str, partition: str | None, outcomes: Sequence[str]) -> sa.Select[Any]:
    """The fetches with one of `outcomes`."""
    c = db.fetches.c
    where = (c.feed == feed, c.partition.is_(None) if partition is None else c.partition == partition, c.outcome.in_(outcomes))
    return sa.select(db.fetches).where(*where)


def _of(feed: str, partition: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    return (db.bodies.c.feed == feed, db.bodies.c.partition == (partition or ""))


def _fetch_record(row: sa.RowMapping) -> FetchRecord:
    return FetchRecord(**cast("dict[str, Any]", row))
