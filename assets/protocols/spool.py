"""Where a fetch keeps its bodies while it runs: a locked folder, swept by the next fetch if the process died."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def spool_folder(workdir: Path, fetch_id: str) -> Iterator[Path]:
    """A folder for one fetch. Folders whose process died are swept: their lock is free."""
    root = workdir / "fetching"
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)  # nobody sweeps a folder between its making and its locking
        for stale in (f for f in root.iterdir() if f.is_dir()):
            with (stale / ".lock").open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(stale, ignore_errors=True)
        folder = root / fetch_id
        folder.mkdir()
        held = (folder / ".lock").open("a")
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        held.close()
