"""The named steps at which Madang's effects become visible, so that a test can kill the process exactly there.

Only the names and the kill switch live here. The code that commits something calls `reached` right after the effect.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

COMMIT_STEPS: tuple[str, ...] = (
    "fetch.spooled",  # the WARC is whole on the local disk
    "fetch.archived",  # the WARC is in the store
    "fetch.recorded",  # the ledger knows the fetch
    "table.staged",  # the rows are typed, on the local disk
    "table.judged",  # accepted and quarantined rows are apart, on the local disk
    "table.uploaded",  # the table's new files are in the store, and nobody reads them yet
    "table.swapped",  # the table's index names them
    "model.uploaded",  # a training model's files are in the store
    "model.swapped",  # the model's index names them
    "release.built",  # the release is whole on the local disk, and its gates have passed
    "release.data",  # its shards are in the store
    "release.manifest",  # so are its reports and its manifest
    "release.committed",  # _COMMITTED is written
    "release.indexed",  # the set's index names the release
)
"""Every name that `reached` is called with, in the order of the data's path."""

_seen: Counter[str] = Counter()


def reached(name: str) -> None:
    """Say that a commit step is done. Does nothing, unless MADANG_KILL_AT names it (`name`, or `name:N` for the Nth time)."""
    if name not in COMMIT_STEPS:
        raise ValueError(f"{name!r} is no commit step: add it to COMMIT_STEPS")
    wanted, _, ordinal = os.environ.get("MADANG_KILL_AT", "").partition(":")
    if wanted != name:
        return
    _seen[name] += 1
    if _seen[name] == int(ordinal or 1):
        os.kill(os.getpid(), signal.SIGKILL)
