"""Who may publish a set right now: a claim in the store, so that two processes never write the same release.

A claim is renewed while its owner works. A dead owner's is taken over: at once on the same machine, elsewhere when its
renewals stop. What is published, and how, is `publish.py`.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from assets.errors import StoreConflict
from assets.processes import is_alive, started_at
from assets.store import Store

LIFE_S = 600
"""How long a claim of another machine stands without being renewed."""
RENEW_S = 60
WAIT_S = 120
"""How long to wait for another process that is publishing the same set."""


def claim_key(name: str) -> str:
    return f"sets/{name}/claim.json"


@contextmanager
def claimed(store: Store, name: str, *, wait_s: float = WAIT_S) -> Iterator[Callable[[], None]]:
    """Hold the set's claim. Yields a function to call between steps: it renews, and raises StoreConflict if the claim is lost."""
    key = claim_key(name)
    mine = {"by": secrets.token_hex(8), "host": socket.gethostname(), "pid": os.getpid(), "started": started_at(os.getpid())}
    renewed = _take(store, key, mine, time.monotonic() + wait_s)

    def still_mine() -> None:
        nonlocal renewed
        if time.monotonic() - renewed < RENEW_S:
            return
        pointer = store.read_pointer(key)
        if (pointer.value or {}).get("by") != mine["by"]:
            raise _busy(store, key)
        store.swap(key, pointer, {**mine, "at": time.time()})
        renewed = time.monotonic()

    try:
        yield still_mine
    finally:
        pointer = store.read_pointer(key)
        if (pointer.value or {}).get("by") == mine["by"]:
            # Taken over between the two lines: then it is no longer ours to give back.
            with suppress(StoreConflict):
                store.swap(key, pointer, {})


def _take(store: Store, key: str, mine: dict[str, Any], deadline: float) -> float:
    """Write the claim as soon as nobody else's stands. The moment of it, by the monotonic clock."""
    while True:
        pointer = store.read_pointer(key)
        if not _stands(pointer.value or {}):
            try:
                store.swap(key, pointer, {**mine, "at": time.time()})
            except StoreConflict:
                continue
            return time.monotonic()
        if time.monotonic() > deadline:
            raise _busy(store, key)
        time.sleep(0.2)


def _stands(claim: dict[str, Any]) -> bool:
    if not claim:
        return False
    if claim["host"] == socket.gethostname():
        return is_alive(claim["pid"], claim["started"])
    return time.time() - float(claim["at"]) < LIFE_S


def _busy(store: Store, key: str) -> StoreConflict:
    return StoreConflict("another process is publishing this set", where=f"{store.url}/{key}", mend="run again when it is done")
