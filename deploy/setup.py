"""Make `.venv` and install the locked packages into it. Standard library only: it runs before anything is installed.

What a fresh Debian or Ubuntu machine lacks (the `venv` module) is installed from its own packages when that is possible
without asking; otherwise the one command to type is printed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"


def main() -> int:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        found = ".".join(map(str, sys.version_info[:3]))
        print(f"Madang needs Python 3.11, 3.12 or 3.13, and this is {found}. Try: make PYTHON=python3.12 …", file=sys.stderr)
        return 1
    print("Setting up .venv (once; about 1.5 GB) …", flush=True)
    if not make_environment():
        return 1
    python = VENV / "bin" / "python"
    bootstrap = VENV / "bootstrap.lock"
    bootstrap.write_text(entry("uv"), encoding="utf-8")
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", bootstrap)
    if not sync_with_uv(python):
        # uv does not read pip's own configuration (mirrors, extra indexes); pip, though slower, does.
        run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", LOCK)
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-build-isolation", "--no-deps", "-e", ROOT)
    (VENV / ".installed").touch()
    return 0


def make_environment() -> bool:
    """Create `.venv` with pip in it, installing Debian's venv package first where it is missing and allowed."""
    if (VENV / "bin" / "pip").exists():
        return True
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        if not install_debian_package(package):
            print(f"Python's venv module is missing. Type: sudo apt-get install -y {package}", file=sys.stderr)
            return False
        # This process started without ensurepip; a new one sees it.
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        return True
    venv.create(VENV, with_pip=True)
    return True


def install_debian_package(package: str) -> bool:
    if shutil.which("apt-get") is None:
        return False
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if prefix and shutil.which("sudo") is None:
        return False
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*prefix, "apt-get", "update"], check=False, **quiet)  # type: ignore[call-overload]
    done = subprocess.run([*prefix, "apt-get", "install", "-y", "--no-install-recommends", package], check=False, **quiet)  # type: ignore[call-overload]
    return bool(done.returncode == 0)


def entry(name: str) -> str:
    """The lines of the lock that pin one package, with its hashes."""
    match = re.search(rf"^{re.escape(name)}==.*(?:\n    --hash=.*)+", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise SystemExit(f"{LOCK.name} does not pin {name}")
    return match.group(0).rstrip("\\ \n") + "\n"


def sync_with_uv(python: Path) -> bool:
    done = subprocess.run(
        [str(VENV / "bin" / "uv"), "pip", "install", "-q", "--require-hashes", "-r", str(LOCK), "--python", str(python)],
        check=False,
    )
    return done.returncode == 0


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], check=False)
    if done.returncode:
        raise SystemExit(f"setup stopped: {' '.join(str(part) for part in command[1:4])} … failed (its message is above)")


if __name__ == "__main__":
    raise SystemExit(main())
