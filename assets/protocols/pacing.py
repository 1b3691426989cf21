"""The kernel's pure decisions: how long to wait before asking again, and whether the pages of a step add up (protocols.md 1.2)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from assets.protocols.kernel import Cursor, PageInfo

BASE_S = 1.0
CAP_S = 60.0
FLOOR_S = 1.0
CEILING_S = 900.0
"""A server that asks for a longer pause than this ends the fetch: a schedule asks again, a process does not sit and wait."""
MAX_RESTARTS = 2
MOST_EMPTY = 50
"""Pages without a record, one after another, of which each leads on: a server that gives more of them will never end."""


def next_delay_s(*, failures: int, max_attempts: int, retry_after_s: float | None, jitter: float) -> float | None:
    """Seconds until the request is sent again, or None: give up.

    `failures`: how often it failed so far, from 1. `jitter`: in [0, 1). Half of an exponential pause is fixed, half jittered;
    a Retry-After is never undercut, and one of 0 still waits `FLOOR_S` (a peer burned all its tries on `Retry-After: 0`).
    """
    if failures >= max_attempts:
        return None
    pause = min(BASE_S * 2.0 ** min(failures - 1, 30), CAP_S)
    pause = pause / 2 + jitter * pause / 2
    if retry_after_s is None:
        return max(pause, FLOOR_S)
    if retry_after_s > CEILING_S:
        return None
    return max(retry_after_s, pause, FLOOR_S)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """The Retry-After header (seconds or HTTP date; lower-case names) in seconds from `now`, at least 0. None: none or nonsense."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) < 10 else CEILING_S * 2
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)


# --- paging -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Next:
    cursor: Cursor


@dataclass(frozen=True)
class Done:
    """All pages are there, and they add up."""


@dataclass(frozen=True)
class Restart:
    """The total changed meanwhile: the pages seen so far are of another state of the source."""


@dataclass(frozen=True)
class Broken:
    why: str


@dataclass(frozen=True)
class Paging:
    """The pages of one step so far. `first`: the previous page's first record, in any comparable form; `empty`: how many pages had
    none since the last that had one.

    `mark`: the cursor that led to the last page whose number is a power of two; a circle of cursors meets it (Brent).
    """

    max_pages: int
    total: int | None = None
    rows: int = 0
    page: int = 1
    token: str | None = None
    mark: str | None = None
    first: Hashable = None
    restarts: int = 0
    empty: int = 0

    def take(
        self, info: PageInfo, rows: int, first: Hashable, *, overlaps: bool = False
    ) -> tuple[Paging, Next | Done | Restart | Broken]:
        """One more page: `rows` on it, its `first` record (None where it has none). What follows, and the state after it.

        `overlaps`: it begins with a record of the page before, in a feed whose rows have a key: rows moved, and where one comes
        twice another is left out, though the count is right.
        """
        if info.total is not None and self.total is not None and info.total != self.total:
            return self._again(f"the total changed during each of {MAX_RESTARTS + 1} passes (from {self.total} to {info.total})")
        if first is not None and first == self.first:
            return self, Broken(f"page {self.page} begins with the same record as the page before: the server ignored the offset")
        if overlaps:
            return self._again(
                f"page {self.page} begins with a record of the page before, in each of {MAX_RESTARTS + 1} passes: the agency's "
                "order is not stable, so other records are left out; ask for another order, or for larger pages"
            )
        total = self.total if info.total is None else info.total
        seen = replace(self, total=total, rows=self.rows + rows, first=first, empty=0 if rows else self.empty + 1)
        if total is not None:
            if seen.rows > total:
                return seen, Broken(f"{seen.rows} rows came where the total says {total}")
            if seen.rows == total:
                return seen, Done()
            if rows == 0:
                return seen, Broken(f"page {self.page} is empty after {seen.rows} of {total} rows")
            if info.next_cursor is None and self.token is not None:
                return seen, Broken(f"the pages end after {seen.rows} of {total} rows")
        elif info.next_cursor is None and (rows == 0 or self._last(info, rows)):
            return seen, Done()
        if seen.empty > MOST_EMPTY:
            return seen, Broken(f"{seen.empty} pages in a row are empty, and each leads on to another")
        if info.next_cursor is not None and info.next_cursor == self.token:
            return seen, Broken(f"page {self.page} leads to itself: the same cursor twice")
        if info.next_cursor is not None and info.next_cursor == self.mark:
            return seen, Broken(f"page {self.page} leads back to a page that came before: the cursors go in a circle")
        if self.page >= self.max_pages:
            return seen, Broken(f"there are more than {self.max_pages} pages (source.limits.max_pages)")
        page, token = self.page + 1, info.next_cursor
        mark = self.mark if page & self.page else token
        after = replace(seen, page=page, token=token, mark=mark)
        return after, Next(Cursor(page, seen.rows, token))

    def _again(self, otherwise: str) -> tuple[Paging, Restart | Broken]:
        """From the first page anew, unless that was tried often enough."""
        if self.restarts == MAX_RESTARTS:
            return self, Broken(otherwise)
        return Paging(self.max_pages, restarts=self.restarts + 1), Restart()

    def _last(self, info: PageInfo, rows: int) -> bool:
        """Whether a page without a cursor, of an answer without a total, is the last: its links ended, or it is not full."""
        return self.token is not None or (info.page_size is not None and rows < info.page_size)
