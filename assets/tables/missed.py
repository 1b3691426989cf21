"""Which archived fetches a table has missed: a run that was killed between the archive and the table left one behind.

Only the question; taking them in is `build.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets.tables.index import WHOLE, read_index
from assets.tables.replay import history
from assets.tables.report import report_key

if TYPE_CHECKING:
    from assets.archive.fetches import FetchRecord
    from assets.archive.ledger import Ledger
    from assets.feeds.model import Feed
    from assets.store import Store


def missed(
    feed: Feed, record: FetchRecord, digest: str, store: Store, ledger: Ledger, *, rebuilding: bool = False
) -> list[FetchRecord]:
    """The answered fetches of the record's partition and origin, oldest first, that came before it and after what is live.

    None where the record alone says what the table holds (its rows replace all others), or where the table is about to be
    rebuilt. A fetch that was refused under the contract of this `digest` was not missed: its report says so.
    """
    if feed.deletes_mode == "snapshot_diff":
        return []
    index = read_index(store, feed.id)
    part = index.partitions.get(record.partition or WHOLE) if index else None
    if part is not None and (rebuilding or part.origin != record.origin or part.contract_sha256 != digest):
        return []
    before = history(feed, ledger, record.partition or WHOLE, record, None)
    later = [fetch for fetch in before if fetch.origin == record.origin and (part is None or part.comes_before(fetch))]
    return [fetch for fetch in later if not _refused(store, feed, fetch, digest)]


def _refused(store: Store, feed: Feed, fetch: FetchRecord, digest: str) -> bool:
    try:
        said = store.get_json(report_key(feed.id, fetch.fetch_id))
    except FileNotFoundError:
        return False
    return bool(said["blocked"]) and said["contract_sha256"] == digest
