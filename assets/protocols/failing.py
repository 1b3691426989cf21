"""The error of a fetch that failed: what the agency answered, and what the person who reads it should do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets.errors import FetchFailed, MadangError
from assets.protocols.kernel import AuthFailed, Outcome, QuotaExhausted

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord
    from assets.feeds.model import Feed

_MENDS = {
    "AuthFailed": "check that the key in {secret} is right, not expired, and approved for this very service",
    "QuotaExhausted": "wait until {resets}, or ask the agency for a larger quota",
    "BadRequest": "correct the feed's source: block as the reason says",
    "Gone": "find the new address at {documentation} and correct the feed's source: block",
    "RateLimited": "lower source.limits.per_second or source.limits.concurrency",
    "Transient": "run it again later; if it stays, ask the agency",
    "Malformed": "look at the archived response {warc} and compare it with the feed's source: block",
}


class Stopped(Exception):
    """The fetch, or one step of it, ends with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def failure_of(feed: Feed, record: FetchRecord, outcome: Outcome) -> MadangError:
    """The error that says what the agency answered and what to do about it."""
    resets = outcome.resets_at if isinstance(outcome, QuotaExhausted) else None
    own = outcome.mend if isinstance(outcome, AuthFailed) else ""
    mend = own or _MENDS.get(record.outcome, "look at the archived response {warc}").format(
        secret=feed.source.auth.secret or "the feed's auth.secret",
        resets=f"{resets:%Y-%m-%d %H:%M %Z}".strip() if resets else "the quota resets",
        documentation=feed.documentation or "the agency's site",
        warc=record.warc_key,
    )
    what = f"the fetch ended in {record.outcome}" + (f": {record.reason}" if record.reason else "")
    return FetchFailed(what, outcome=record.outcome, where=f"{feed.id} ({record.url})", mend=mend)
