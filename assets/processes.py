"""Whether a process of this machine still lives, so that what a killed one left is known for what it is.

A number alone does not name a process, because numbers are used again; the number and the moment it started do.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def started_at(pid: int) -> str:
    """When the process started, as an opaque word; empty where the system does not say, or there is no such process."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        state, *fields = (PROC / str(pid) / "stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    # A killed process that nobody has waited for yet is still listed, as a zombie.
    return "" if state in "ZX" else f"{boot}/{fields[18]}"


def is_alive(pid: int, started: str) -> bool:
    """Whether the process that `started_at` once gave this word for is still there."""
    if (PROC / "self" / "stat").exists():
        return bool(started) and started_at(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
