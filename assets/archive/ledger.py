"""The ledger: what is remembered beside the archive, across processes and machines, on SQLite or PostgreSQL.

Fetches, the bodies and validators that the last Ok fetch left, quotas, host limits, leases, holds. No bytes of any source and
no decisions. Fetches and bodies can be rebuilt from the archive (`reindex`); quotas and holds live only here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from assets.archive.fetches import FetchRecord
from assets.archive.warc import StoredBody
from assets.protocols.kernel import Validators
from assets.store import Store


@dataclass(frozen=True)
class Spending:
    """Whether the request may be sent, what is used of `per_day` in this window, and when (UTC) the window ends."""

    allowed: bool
    used: int
    resets_at: datetime


@dataclass(frozen=True)
class Hold:
    kind: Literal["feed", "set"]
    name: str
    reason: str
    since: datetime


class Ledger:
    """One ledger. `url`: sqlite:///path or postgresql://user:password@host/database. All datetimes in and out are aware, UTC."""

    def __init__(self, url: str, *, busy_timeout_s: float = 30.0) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close all connections."""
        raise NotImplementedError

    # --- fetches ---

    def record(self, fetch: FetchRecord, bodies: Sequence[StoredBody] = ()) -> None:
        """Keep a fetch; again with the same id: replaced. An Ok fetch's `bodies` replace those of its feed and partition."""
        raise NotImplementedError

    def fetch(self, fetch_id: str) -> FetchRecord | None:
        raise NotImplementedError

    def last(self, feed: str) -> FetchRecord | None:
        """The latest fetch, whatever its outcome."""
        raise NotImplementedError

    def last_ok(self, feed: str, partition: str | None = None) -> FetchRecord | None:
        """The latest fetch whose outcome is Ok."""
        raise NotImplementedError

    def history(self, feed: str, since: datetime | None = None, until: datetime | None = None) -> list[FetchRecord]:
        """Fetches that started in [since, until), oldest first."""
        raise NotImplementedError

    def confirmed_at(self, feed: str) -> datetime | None:
        """When the last Ok, Empty or NotModified fetch finished."""
        raise NotImplementedError

    def bodies(self, feed: str, partition: str | None = None) -> dict[tuple[int, int], StoredBody]:
        """What the last Ok fetch left, by (step, page): what an unchanged body's revisit refers to."""
        raise NotImplementedError

    def validators(self, feed: str, partition: str | None = None, step: int = 0) -> Validators:
        """Validators of the step's first page, empty where there was none."""
        raise NotImplementedError

    # --- quotas, host limits, leases ---

    def spend_quota(self, name: str, *, per_day: int, reset: str, now: datetime, amount: int = 1) -> Spending:
        """Take `amount` of the daily quota if that much is left, atomically across processes. `reset`: 'HH:MM Zone/Name'."""
        raise NotImplementedError

    def quota_used(self, name: str, *, reset: str, now: datetime) -> int:
        raise NotImplementedError

    def exhaust_quota(self, name: str, *, per_day: int, reset: str, now: datetime) -> Spending:
        """The agency says that the quota is used up: nothing more is sent until it resets."""
        raise NotImplementedError

    def reserve_slot(self, host: str, *, per_second: float, now: datetime) -> float:
        """Seconds to wait before the reserved moment to send one request to `host`, all processes taken together."""
        raise NotImplementedError

    def defer_host(self, host: str, until: datetime) -> None:
        """No slot before `until` (Retry-After): for all processes."""
        raise NotImplementedError

    def acquire_lease(self, host: str, *, concurrency: int, holder: str, ttl_s: float, now: datetime) -> bool:
        """One of `concurrency` places at `host`, or False. Again by the same holder: renewed. Expires after `ttl_s`."""
        raise NotImplementedError

    def release_lease(self, host: str, holder: str) -> None:
        raise NotImplementedError

    # --- holds ---

    def hold(self, kind: Literal["feed", "set"], name: str, reason: str, now: datetime) -> None:
        """Stop a feed or set until `release_hold`; the first reason stays."""
        raise NotImplementedError

    def release_hold(self, kind: Literal["feed", "set"], name: str) -> bool:
        """Whether there was one."""
        raise NotImplementedError

    def holds(self, kind: Literal["feed", "set"] | None = None) -> list[Hold]:
        raise NotImplementedError


def reindex(store: Store, ledger: Ledger, *, workdir: Path) -> int:
    """Record every fetch of the archive that carries its FetchRecord, in order of time. Returns how many."""
    raise NotImplementedError
