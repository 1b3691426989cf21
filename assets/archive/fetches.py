"""The fetch as a thing of the archive: its record, its id, its place in the store, and its bodies read back.

What a WARC file looks like inside is `warc.py`; what is remembered beside the archive is `ledger.py`; asking an agency for
bytes is `assets/protocols/fetching.py`, which calls `archive_fetch` once, at the end.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.archive.reading import Record, dechunk, digest_hex, read_records
from assets.archive.records import CLOSING, StoredBody, broken
from assets.commit import reached
from assets.errors import IntegrityError, UnreadableSource
from assets.garbage import collected_rarely
from assets.payload import Pack, Spill
from assets.protocols.kernel import Body
from assets.store import Store
from assets.transport.encoding import codings, decode
from assets.transport.secrets import BodyMasker

if TYPE_CHECKING:
    from assets.archive.ledger import Ledger

ANSWERING = ("Ok", "Empty")
"""Outcomes that say what the rows are."""
CONFIRMING = (*ANSWERING, "NotModified")
"""Outcomes after which the feed is known to be as the table says (freshness counts these)."""
MAX_DECODED_BYTES = 16 * 1024**3
MAX_REVISITS = 8
"""Fetches that a chain of revisits may lead through; our writer always makes one hop."""
_NOT_OVERLAID = ("content-length", "content-encoding", "content-range", "transfer-encoding")


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
        return {k: v.astimezone(UTC).isoformat() if isinstance(v, datetime) else v for k, v in vars(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FetchRecord:
        """Reverse of `as_json`. Raises KeyError or ValueError on anything else; unknown names are ignored."""
        given = {f.name: value[f.name] for f in fields(cls)}
        for name in ("started_at", "finished_at"):
            given[name] = datetime.fromisoformat(given[name]).astimezone(UTC)
        return cls(**given)


def new_fetch_id(now: datetime) -> str:
    """`<yyyymmddThhmmssZ>-<8 hex>`: sorts by its second, unique by chance (32 random bits within one); order is `started_at`'s."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def archive_key(feed: str, fetch_id: str) -> str:
    """Where the fetch's WARC lies in the store; the id alone says year and month."""
    return f"archive/{feed}/{fetch_id[:4]}/{fetch_id[4:6]}/{fetch_id}.warc.gz"


def payload_digest(sha256s: Sequence[str]) -> str | None:
    """One digest for all Ok bodies of a fetch, in order: the body's own where there is one, else the SHA-256 of the hex digests."""
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
    reached("fetch.archived")
    ledger.record(record, bodies)
    reached("fetch.recorded")


def open_bodies(
    store: Store, ledger: Ledger, record: FetchRecord, workdir: Path, *, max_bytes: int = MAX_DECODED_BYTES
) -> list[Body]:
    """The payloads of all Ok responses of a fetch, below `workdir`, in order of step and page; small ones share a file.

    Digests are verified on the way (IntegrityError); transfer- and content-encoding are removed, with bounds on size and
    ratio (UnreadableSource on a bomb or an encoding that is none); revisits are resolved in the WARC that holds their
    bytes. Memory is bounded whatever the size of a body; disk is needed for the encoded and the decoded form.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    holder = ledger.fetch(record.body_fetch_id) if record.body_fetch_id != record.fetch_id else record
    key = holder.warc_key if holder else archive_key(record.feed, record.body_fetch_id)
    with collected_rarely():
        found = _Extraction(store, ledger, record, workdir, max_bytes).bodies(key)
    return [found[place] for place in sorted(found)]


def read_fetch_record(path: Path) -> tuple[FetchRecord, list[StoredBody]]:
    """The FetchRecord and the bodies that the WARC's last record carries. IntegrityError where the file is broken or cut short."""
    closing: bytes | None = None
    for record in read_records(path):
        closing = b"".join(record.chunks()) if _is_closing(record) else None
    return _closing(closing, path)


class _Extraction:
    """Bodies out of WARC files, one pass over each file."""

    def __init__(self, store: Store, ledger: Ledger, record: FetchRecord, workdir: Path, max_bytes: int) -> None:
        self._store, self._ledger, self._record, self._workdir, self._max_bytes = store, ledger, record, workdir, max_bytes
        self._small = Pack(workdir / f"{record.fetch_id}.bodies")

    def bodies(self, key: str) -> dict[tuple[int, int], Body]:
        """All bodies that count, by (step, page)."""
        path = self._open(key)
        found: dict[tuple[int, int], tuple[str, Body]] = {}
        revisits: dict[tuple[int, int], tuple[str, Record]] = {}
        rounds: dict[int, int] = {}
        closing: bytes | None = None
        for record in read_records(path, questions=False):
            closing = b"".join(record.chunks()) if _is_closing(record) else None
            if not _counts(record):
                continue
            place = (_number(record, "madang-step", path), _number(record, "madang-page", path))
            turn = _number(record, "madang-round", path)
            if turn > rounds.setdefault(place[0], turn):
                # The step began again: what it gave before is void (kernel: the total changed while paging).
                rounds[place[0]] = turn
                found = {k: v for k, v in found.items() if k[0] != place[0]}
                revisits = {k: v for k, v in revisits.items() if k[0] != place[0]}
            found.pop(place, None)
            revisits.pop(place, None)
            if record.kind == "revisit":
                revisits[place] = (record.headers.get("warc-refers-to", ""), record)
            else:
                found[place] = (record.headers.get("warc-record-id", ""), self._extract(record, place, path))
        _, listed = _closing(closing, path)
        # A step of which nothing is listed was given up: its query was too large, and asked in parts instead.
        steps = {body.step for body in listed}
        found = {k: v for k, v in found.items() if k[0] in steps}
        revisits = {k: v for k, v in revisits.items() if k[0] in steps}
        ids = {k: v[0] for k, v in {**found, **revisits}.items()}
        if ids != {(b.step, b.page): b.record_id for b in listed}:
            raise broken(str(path), "its bodies are not those that its closing record lists")
        return {**{k: v[1] for k, v in found.items()}, **self._resolve(revisits, path)}

    def _resolve(self, revisits: Mapping[tuple[int, int], tuple[str, Record]], path: Path) -> dict[tuple[int, int], Body]:
        """Bodies of earlier fetches, each with the headers that the revisit brought laid over its own."""
        found: dict[tuple[int, int], Body] = {}
        wanted: dict[str, dict[str, list[tuple[int, int]]]] = {}
        for place, (target, record) in revisits.items():
            holder = record.headers.get("madang-refers-to-fetch", "")
            wanted.setdefault(holder, {}).setdefault(target, []).append(place)
        for _ in range(MAX_REVISITS):
            if not wanted:
                break
            onward: dict[str, dict[str, list[tuple[int, int]]]] = {}
            for holder, targets in wanted.items():
                earlier = self._ledger.fetch(holder)
                held = self._open(earlier.warc_key if earlier else archive_key(self._record.feed, holder))
                for record in read_records(held):
                    places = targets.pop(record.headers.get("warc-record-id", ""), [])
                    for place in places:
                        if record.kind == "revisit":
                            next_holder = onward.setdefault(record.headers.get("madang-refers-to-fetch", ""), {})
                            next_holder.setdefault(record.headers.get("warc-refers-to", ""), []).append(place)
                    if places and record.kind != "revisit":
                        self._same(record, [revisits[p][1] for p in places], path)
                        body = self._extract(record, places[0], held)
                        for place in places:
                            found[place] = _overlay(body, revisits[place][1], place)
                if targets:
                    raise broken(str(path), f"it refers to records that are not in fetch {holder}")
            wanted = onward
        if wanted:
            raise broken(str(path), f"its revisits lead through more than {MAX_REVISITS} fetches")
        return found

    def _same(self, record: Record, revisits: Sequence[Record], path: Path) -> None:
        digest = digest_hex(record)
        if any(digest_hex(r) not in (None, digest) for r in revisits):
            raise broken(str(path), f"a revisit's digest is not that of record {record.headers.get('warc-record-id')}")

    def _open(self, key: str) -> Path:
        try:
            return self._store.local_path(key, self._workdir / "warc")
        except FileNotFoundError:
            raise broken(f"{self._store.url}/{key}", "the archive lacks this fetch") from None

    def _extract(self, record: Record, place: tuple[int, int], warc: Path) -> Body:
        """Write one payload, verified, then decoded."""
        if digest_hex(record) is None:
            raise broken(str(warc), f"record {record.headers.get('warc-record-id')} has no payload digest")
        headers = record.http.map() if record.http else {"content-type": record.headers.get("content-type", "")}
        path = f"{self._workdir}/{self._record.fetch_id}-{place[0]:05}-{place[1]:06}.body"
        chunks = record.chunks()
        if record.http and "chunked" in headers.get("transfer-encoding", "").lower():
            chunks = dechunk(chunks, str(warc))
        coding = codings(headers.get("content-encoding", ""))
        spill = Spill(f"{path}.encoded" if coding else path)
        for chunk in chunks:
            spill.write(chunk)
        payload = spill.close()
        record.finish()
        if coding:
            # A secret was masked before it was archived; nothing is looked for here.
            encoded = payload
            payload, done = decode(encoded, Path(path), coding, max_bytes=self._max_bytes, masker=BodyMasker(None, 0))
            encoded.discard()
            if done.problem or not done.complete:
                raise UnreadableSource(
                    done.problem or "the compressed body ends early",
                    where=f"{warc.name}, step {place[0]}, page {place[1]}",
                    mend="fetch again; if it stays so, ask the agency",
                )
        if payload.in_memory is not None:
            payload = self._small.add(payload.in_memory, path)
        return Body(payload, headers, record.headers.get("warc-target-uri", ""), *place)


def _counts(record: Record) -> bool:
    if record.kind == "revisit":
        return True
    return record.kind in ("response", "resource") and record.headers.get("madang-outcome") == "Ok"


def _overlay(body: Body, revisit: Record, place: tuple[int, int]) -> Body:
    fresh = revisit.http.map() if revisit.http else {}
    headers = {**body.headers, **{k: v for k, v in fresh.items() if k not in _NOT_OVERLAID}}
    return Body(body.file, headers, revisit.headers.get("warc-target-uri", body.url), *place)


def _is_closing(record: Record) -> bool:
    return record.kind == "metadata" and record.headers.get("content-type") == CLOSING


def _number(record: Record, name: str, path: Path) -> int:
    try:
        return int(record.headers[name])
    except (KeyError, ValueError):
        raise broken(str(path), f"record {record.headers.get('warc-record-id')} has no {name}") from None


def _closing(block: bytes | None, path: Path) -> tuple[FetchRecord, list[StoredBody]]:
    if block is None:
        raise broken(str(path), "it ends before its closing record")
    try:
        value = json.loads(block)
        return FetchRecord.from_json(value["fetch"]), [StoredBody.from_json(b) for b in value["bodies"]]
    except (ValueError, KeyError, TypeError) as error:
        raise broken(str(path), f"its closing record cannot be read ({type(error).__name__})") from None
