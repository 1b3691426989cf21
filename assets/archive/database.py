"""The ledger's tables, and how they are reached safely on SQLite and on PostgreSQL. What they mean is `ledger.py`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError

from assets.errors import MadangError, SettingsError, disk_full

SCHEMA_VERSION = 1
WAL_ATTEMPTS = 100


class LedgerError(MadangError):
    """The ledger's database cannot be reached, is locked, or is not one that this Madang can use."""


class Utc(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime: timestamptz on PostgreSQL, naive UTC text on SQLite, which has no zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the ledger takes aware datetimes only")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()
schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))
fetches = sa.Table(
    "fetches",
    metadata,
    sa.Column("fetch_id", sa.Text, primary_key=True),
    sa.Column("feed", sa.Text, nullable=False),
    sa.Column("partition", sa.Text),
    sa.Column("started_at", Utc, nullable=False),
    sa.Column("finished_at", Utc, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("bytes_read", sa.BigInteger, nullable=False),
    sa.Column("responses", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger),
    sa.Column("warc_key", sa.Text, nullable=False),
    sa.Column("payload_sha256", sa.Text),
    sa.Column("canonical_sha256", sa.Text),
    sa.Column("etag", sa.Text),
    sa.Column("last_modified", sa.Text),
    sa.Column("provider_stamp", sa.Text),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("licence", sa.Text, nullable=False),
    sa.Column("body_fetch_id", sa.Text, nullable=False),
    sa.Index("fetches_by_feed", "feed", "started_at", "fetch_id"),
)
# The partition is '' where a feed has none: a primary key takes no null.
bodies = sa.Table(
    "bodies",
    metadata,
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("partition", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("page", sa.Integer, primary_key=True),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("fetch_id", sa.Text, nullable=False),
    sa.Column("record_id", sa.Text, nullable=False),
    sa.Column("date", Utc, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("etag", sa.Text),
    sa.Column("last_modified", sa.Text),
    sa.Column("provider_stamp", sa.Text),
)
quotas = sa.Table(
    "quotas",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("window_start", Utc, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
)
host_limits = sa.Table(
    "host_limits", metadata, sa.Column("host", sa.Text, primary_key=True), sa.Column("next_at", Utc, nullable=False)
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, primary_key=True),
    sa.Column("expires_at", Utc, nullable=False),
)


class Database:
    """Connections to one ledger database; its tables are made on first use, by one process at a time."""

    def __init__(self, url: str, *, busy_timeout_s: float) -> None:
        try:
            parsed = sa.make_url(url)
        except (ArgumentError, ValueError):
            # The URL may hold a password, so it is not shown.
            raise _bad_url() from None
        backend = parsed.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise _bad_url()
        self._sqlite = backend == "sqlite"
        self.where = parsed.render_as_string(hide_password=True)
        if self._sqlite:
            if not parsed.database or parsed.database == ":memory:":
                raise _bad_url()
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(parsed.set(drivername="sqlite"), connect_args={"timeout": busy_timeout_s})
            sa.event.listen(self._engine, "connect", _set_up_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        else:
            self._engine = sa.create_engine(
                parsed.set(drivername="postgresql+psycopg2"),
                pool_pre_ping=True,
                connect_args={
                    "connect_timeout": 10,
                    "application_name": "madang-ledger",
                    "options": f"-c lock_timeout={int(busy_timeout_s * 1000)} -c timezone=UTC",
                },
            )
        self._create()

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A read-only look; it does not wait for writers."""
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, lock: str) -> Iterator[sa.Connection]:
        """A transaction that no other with the same `lock` overlaps, in any process: read, decide and write within it."""
        with self._explained(), self._engine.connect().execution_options(madang_write=True) as connection, connection.begin():
            if not self._sqlite:
                # SQLite has one writer at a time as it is (BEGIN IMMEDIATE).
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_key(lock)})
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if full := disk_full(error, self.where):
                raise full from None
            said = str(error.orig).strip().splitlines()[0] if error.orig is not None and str(error.orig).strip() else "no answer"
            mend = (
                "see that the file is writable and no other program holds it open for long"
                if self._sqlite
                else "see that PostgreSQL runs, that MADANG_LEDGER names it, and that nothing holds a lock for long"
            )
            raise LedgerError(f"the ledger cannot be used: {said}", where=self.where, mend=mend) from None

    def _create(self) -> None:
        with self.write("schema") as connection:
            metadata.create_all(connection)
            version = connection.scalar(sa.select(schema_version.c.version))
            if version is None:
                connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise LedgerError(
                    f"the ledger has schema version {version}, this Madang knows {SCHEMA_VERSION}",
                    where=self.where,
                    mend="run the Madang that made it, or name a new ledger and rebuild it from the archive",
                )


def _bad_url() -> SettingsError:
    return SettingsError(
        "this is no ledger URL",
        where="MADANG_LEDGER",
        mend="use sqlite:////absolute/file or postgresql://user:password@host:port/database",
    )


def _lock_key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"madang/{name}".encode()).digest()[:8], "big", signed=True)


def _set_up_sqlite(connection: Any, _: object) -> None:
    import sqlite3

    connection.isolation_level = None  # BEGIN is ours: the driver's own starts no transaction before the first write.
    cursor = connection.cursor()
    for attempt in range(WAL_ATTEMPTS):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            # Switching to WAL does not honour the busy timeout.
            if attempt == WAL_ATTEMPTS - 1:
                raise
            time.sleep(0.05)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("madang_write") else "BEGIN")
