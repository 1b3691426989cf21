"""What a fetch of files brought before it failed, was cancelled or killed, so that the next one does not download it again.

For drops only: there a file's stamp says which edition it is, so what was whole once need not be asked for again. A body is held
beside the spool from the moment it is judged Ok. When a failed fetch has been archived, the archive holds its bytes, and here is
left where. A fetch that succeeds leaves nothing here. Best effort: what is lost here is downloaded again, and fails no fetch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from assets.archive.fetches import CONFIRMING, FetchRecord, archive_key
from assets.archive.records import StoredBody
from assets.payload import Payload
from assets.protocols.asking import Answer
from assets.protocols.kernel import Ok, Request
from assets.store import Store
from assets.transport.exchange import Exchange

OLDEST_S = 7 * 86400.0
"""What lies here longer is swept, whosever it is: the feed may be gone."""
_TOLD = ("url", "origin", "method", "status", "reason", "http_version", "bytes_read", "payload_sha256", "masked", "resource")


class Kept:
    """Of one feed and partition. `resumes`: False keeps nothing and finds nothing. `direct`: asking the agency itself."""

    def __init__(self, workdir: Path, feed: str, partition: str | None, *, resumes: bool, direct: bool) -> None:
        self._root, self._resumes, self._direct = workdir / "kept", resumes, direct
        self._folder = self._root / feed / (f"={quote(partition, safe='')}" if partition is not None else "-")
        self._feed = feed
        if resumes:
            self._sweep()

    def archived(self, stamp: str | None, store: Store, origins: set[str]) -> StoredBody | None:
        """Where the archive holds the body of that stamp; its origin goes to `origins`."""
        told = self._read(stamp)
        if told is None or "stored" not in told:
            return None
        try:
            body = StoredBody.from_json(told["stored"])
        except (KeyError, TypeError, ValueError):  # another version of Madang wrote it
            return None
        if not store.exists(archive_key(self._feed, body.fetch_id)):
            return None
        origins.add(told["origin"])
        return body

    def answer(self, request: Request, spool: Path, keep: Callable[[Answer], None]) -> Answer | None:
        """The answer that an unfinished fetch got for the step of that stamp, its body linked into `spool`, kept by `keep`."""
        told = self._read(request.stamp)
        if told is None or "exchange" not in told:
            return None
        path = spool / f"kept-{request.step}.body"
        try:
            _link(self._place(request.stamp, ".body"), path)
            if _sha256(path) != told["exchange"]["payload_sha256"]:
                return None
            one = Exchange(request, at=datetime.fromisoformat(told["at"]), body=Payload(path), **told["exchange"])
            one.request_headers, one.headers = [tuple(h) for h in told["sent"]], [tuple(h) for h in told["got"]]
        except (OSError, KeyError, TypeError, ValueError):
            return None
        one.complete, one.decoded = True, one.body
        one.look()
        found = Answer(one, Ok(), provider_stamp=request.stamp)
        keep(found)
        return found

    def hold(self, answer: Answer) -> None:
        """Hold the body of an Ok answer. One that came encoded is not held: it would have to be decoded anew."""
        exchange = answer.exchange
        stamp = exchange.request.stamp
        wanted = isinstance(answer.outcome, Ok) and not answer.probe and not answer.lead
        if not self._resumes or not wanted or stamp is None or exchange.decoded is not exchange.body:
            return
        told = {
            "origin": exchange.origin,
            "at": exchange.at.isoformat(),
            "exchange": {name: getattr(exchange, name) for name in _TOLD},
            "sent": exchange.request_headers,
            "got": exchange.headers,
        }
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            _link(exchange.body.path, self._place(stamp, ".body"))
            self._write(stamp, told)

    def settle(self, record: FetchRecord, bodies: Sequence[StoredBody]) -> None:
        """The fetch has been archived: after a success nothing is kept; after a failure only where its bodies lie."""
        if not self._resumes:
            return
        with suppress(OSError):
            if record.outcome in CONFIRMING:
                shutil.rmtree(self._folder, ignore_errors=True)
                return
            for body in bodies:
                if body.provider_stamp is not None:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    self._write(body.provider_stamp, {"origin": record.origin, "stored": body.as_json()})
                    self._place(body.provider_stamp, ".body").unlink(missing_ok=True)

    # --- files ---

    def _place(self, stamp: str | None, suffix: str) -> Path:
        return self._folder / (hashlib.sha256((stamp or "").encode("utf-8", "surrogatepass")).hexdigest() + suffix)

    def _read(self, stamp: str | None) -> dict[str, Any] | None:
        """What is noted of that stamp; None where there is nothing usable, or it came from elsewhere than this fetch asks."""
        if not self._resumes or stamp is None:
            return None
        try:
            told: dict[str, Any] = json.loads(self._place(stamp, ".json").read_bytes())
            same = told["stamp"] == stamp and (told["origin"] == "agency") == self._direct
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return told if same else None

    def _write(self, stamp: str, told: dict[str, Any]) -> None:
        """Whole or not at all: a process may be killed at any line of this."""
        target = self._place(stamp, ".json")
        new = target.with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps({"stamp": stamp, **told}), encoding="utf-8")
        new.replace(target)

    def _sweep(self) -> None:
        limit = time.time() - OLDEST_S
        for path in self._root.glob("*/*/*"):
            with suppress(OSError):
                if path.stat().st_mtime < limit:
                    path.unlink()


def _link(source: Path, target: Path) -> None:
    """The same bytes under another name; a copy where the disk knows no links. An older file of that name is replaced, never
    written into: it may be the body that another process is reading."""
    new = target.with_name(f"{target.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, new)
    new.replace(target)
    new.unlink(missing_ok=True)  # where both were links to one file, nothing was renamed


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
