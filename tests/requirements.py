"""What tests need of the machine beyond the locked packages, and the one command that provides each. Nothing else knows it.

A test asks by a fixture (`postgres`, `s3_server`, `chromium`, `shared_data`) or by the mark `needs("torch")`. What is missing
fails the test where CI=true; elsewhere the test is skipped and `make test` ends by naming it and its command.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.integration import postgres, s3_server
from tests.transport import drop_servers

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
REASON = "this machine has no "


@dataclass(frozen=True)
class Requirement:
    """One thing of the machine. `packages` (Debian) or `pip` or `advice` says how to get it; `present` looks for it."""

    key: str
    label: str
    present: Callable[[], bool]
    packages: tuple[str, ...] = ()
    pip: str = ""
    advice: str = ""

    @property
    def reason(self) -> str:
        """The skip's reason, by which the summary knows it again."""
        return f"{REASON}{self.label}"


def shared_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the agencies' real files are: MADANG_SHARED_DATA, else `shared/data` beside the checkout."""
    return Path(environ.get("MADANG_SHARED_DATA") or ROOT.parent / "shared" / "data")


def find_chromium() -> Path | None:
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return Path(found) if found else None


def find_seven_zip() -> Path | None:
    found = next(filter(None, map(shutil.which, ("7zz", "7z"))), None)
    return Path(found) if found else None


REQUIREMENTS = {
    r.key: r
    for r in (
        Requirement("postgres", "PostgreSQL server", lambda: postgres.binaries() is not None, ("postgresql",)),
        Requirement(
            "s3",
            "S3 server",
            lambda: s3_server.available() is not None,
            ("ceph-common", "ceph-mgr", "ceph-mon", "ceph-osd", "radosgw"),
        ),
        Requirement("sshd", "SSH server", lambda: drop_servers.sshd_binary() is not None, ("openssh-server",)),
        Requirement("seven_zip", "7-Zip", lambda: find_seven_zip() is not None, ("7zip",)),
        Requirement("chromium", "Chromium", lambda: find_chromium() is not None, ("chromium", "fonts-noto-cjk")),
        Requirement("torch", "PyTorch", lambda: importlib.util.find_spec("torch") is not None, pip="torch==2.13.0"),
        Requirement(
            "shared_data",
            "folder of the agencies' real files",
            lambda: shared_folder().is_dir(),
            advice="name the folder of the agencies' real files in MADANG_SHARED_DATA",
        ),
    )
}


def require(key: str) -> None:
    """Return where the machine has it; else fail (CI=true) or skip the test that asks."""
    requirement = REQUIREMENTS[key]
    if not requirement.present():
        miss(requirement)


def miss(requirement: Requirement) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{requirement.reason}; {command([requirement]) or requirement.advice}", pytrace=False)
    pytest.skip(requirement.reason)


def command(missing: Iterable[Requirement]) -> str:
    """The one command line that provides everything in `missing`; empty where no command can."""
    packages = [package for r in missing for package in r.packages]
    pip = [r.pip for r in missing if r.pip]
    steps = []
    if packages:
        sudo = "" if os.geteuid() == 0 else "sudo "
        steps.append(f"{sudo}apt-get install -y --no-install-recommends {' '.join(packages)}")
    if pip:
        steps.append(f".venv/bin/python -m pip install {' '.join(pip)}")
    return " && ".join(steps)


def summary(reasons: Iterable[str]) -> list[str]:
    """The last lines of a test run, from the reasons of its skips."""
    counts = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    missing = [r for r in REQUIREMENTS.values() if r.reason in counts]
    lines = []
    if missing:
        left_out = sum(counts[r.reason] for r in missing)
        things = ", ".join(f"no {r.label}" for r in missing)
        lines.append(f"Could not run {left_out} test{'s' * (left_out != 1)}: {things}.")
        if typed := command(missing):
            lines.append(f"One command allows them: {typed}")
        lines += [f"For the rest: {r.advice}." for r in missing if r.advice]
    known = {r.reason for r in missing}
    for reason, count in sorted(counts.items()):
        if reason not in known:
            lines.append(f"Left out {count} test{'s' * (count != 1)}: {reason}")
    return lines or ["Every test could run on this machine."]
