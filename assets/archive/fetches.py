"""The fetch as a thing of the archive: its record, its id, its place in the store, and its bodies read back.

What a WARC file looks like inside is `warc.py`; what is remembered beside the archive is `ledger.py`; asking an agency for
bytes is `assets/protocols/fetching.py`, which calls `archive_fetch` once, at the end.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.archive.encodings import Limits, decode_body
from assets.archive.warc import Record, StoredBody, read_records
from assets.errors import IntegrityError
from assets.protocols.kernel import Body
from assets.store import Store

if TYPE_CHECKING:
    from assets.archive.ledger import Ledger

CONFIRMING = ("Ok", "Empty", "NotModified")
"""Outcomes after which the feed is known to be as the table says (freshness counts these)."""
MAX_REVISIT_DEPTH = 8


@dataclass(frozen=True)
class FetchRecord:
    """One fetch as the ledger keeps it. Datetimes are aware and in UTC; digests are lower-case hex SHA-256; no secret in `url`."""

    fetch_id: str
    feed: str
    partition: str | None
    started_at: datetime
    finished_at: datetime
    outcome: str
    """The outcome's word (kernel.outcome_name) for the fetch as a whole."""
    reason: str
    origin: str
    """agency, replay or synthetic."""
    bytes_read: int
    """Bytes received on the wire, content-encoding included."""
    responses: int
    rows: int | None
    warc_key: str
    payload_sha256: str | None
    """`payload_digest` of the Ok bodies as received; None where there is none."""
    canonical_sha256: str | None
    """Digest of what is left when volatile parts are dropped (protocols.md 1.5)."""
    etag: str | None
    last_modified: str | None
    provider_stamp: str | None
    url: str
    licence: str
    """Licence id as declared at fetch time."""
    body_fetch_id: str
    """The fetch whose WARC holds the bytes: this one, unless all of it was unchanged."""

    def as_json(self) -> dict[str, Any]:
        """JSON-able; `from_json` reverses it exactly."""
        return {k: v.astimezone(UTC).isoformat() if isinstance(v, datetime) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FetchRecord:
        """Reverse of `as_json`. Raises KeyError or ValueError on anything else; unknown names are ignored."""
        given = {f.name: value[f.name] for f in fields(cls)}
        for name in ("started_at", "finished_at"):
            given[name] = datetime.fromisoformat(given[name]).astimezone(UTC)
        return cls(**given)


def new_fetch_id(now: datetime) -> str:
    """`<yyyymmddThhmmssZ>-<8 hex>`: sorts by time, unique by chance (32 random bits within one second)."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def archive_key(feed: str, fetch_id: str) -> str:
    """Where the fetch's WARC lies in the store; the id alone says year and month."""
    return f"archive/{feed}/{fetch_id[:4]}/{fetch_id[4:6]}/{fetch_id}.warc.gz"


def payload_digest(sha256s: Sequence[str]) -> str | None:
    """One digest for all Ok bodies of a fetch, in order: the body's own where there is one, else the SHA-256 of the hex digests."""
    import hashlib

    if len(sha256s) <= 1:
        return sha256s[0] if sha256s else None
    return hashlib.sha256("\n".join(sha256s).encode()).hexdigest()


def archive_fetch(store: Store, ledger: Ledger, record: FetchRecord, warc: Path, bodies: Sequence[StoredBody]) -> None:
    """Put the finished WARC into the store, then the row into the ledger; a crash in between is healed by `ledger.reindex`.

    `bodies`: the writer's, as `WarcWriter.finish` returned them.
    """
    if store.exists(record.warc_key):
        raise IntegrityError(
            "the archive already has this fetch", where=f"{store.url}/{record.warc_key}", mend="fetch ids must be new"
        )
    store.put_file(record.warc_key, warc)
    ledger.record(record, bodies)


def open_bodies(
    store: Store, ledger: Ledger, record: FetchRecord, workdir: Path, *, limits: Limits = Limits(), _depth: int = 0
) -> list[Body]:
    """The payloads of all Ok responses of a fetch, as files below `workdir`, in order of step and page.

    Digests are verified on the way (IntegrityError), transfer- and content-encoding removed within `limits` (UnreadableSource
    on a bomb), revisits resolved in the WARC that holds their bytes. Memory is bounded whatever the size of a body.
    """
    raise NotImplementedError


def read_fetch_record(path: Path) -> tuple[FetchRecord, list[StoredBody]]:
    """The FetchRecord and bodies that the WARC's last record carries. IntegrityError where the file is broken or cut short."""
    raise NotImplementedError
