"""`madang up` as a process of its own, on free ports, over a home; and proof that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

MADANG = Path(sys.executable).with_name("madang")
PRIVATE = ("MADANG_", "DAGSTER_HOME", "DATA_GO_KR_KEY", "AWS_")
"""Variables of the machine that must not lead `up` to another home."""
START_S, STOP_S = 240, 120
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_ports() -> int:
    """A free loopback port whose next one is free too."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise RuntimeError("no two free ports in a row")


def answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=10) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@dataclass
class Served:
    """A running `madang up`. `ui`, `files`: base URLs; `family`: its processes as they were last seen."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    family: list[psutil.Process]

    @property
    def ui(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def files(self) -> str:
        return f"http://127.0.0.1:{self.port + 1}"

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def look(self) -> list[psutil.Process]:
        """Remember every process below `madang up`, however deep."""
        self.family = [*self.family, *psutil.Process(self.process.pid).children(recursive=True)]
        return self.family

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop as a person or a service manager does, and return its exit code."""
        self.look()
        self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def left(self) -> list[str]:
        """Command lines of its processes that still run."""
        alive = [p for p in set(self.family) if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        return [" ".join(p.cmdline()[:6]) for p in alive]


@contextmanager
def served(home: Path, log: Path) -> Iterator[Served]:
    """`madang up` over a home, ready to be looked at; everything it started is gone after the block."""
    port = free_ports()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE)}
    env = {**kept, "MADANG_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(MADANG), "up", "--port", str(port)], env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    up = Served(process, port, log, [])
    try:
        deadline = time.monotonic() + START_S
        while "Dagster UI" not in up.said():
            assert process.poll() is None, up.said()
            assert time.monotonic() < deadline, up.said()
            time.sleep(0.5)
        up.look()
        yield up
    finally:
        if process.poll() is None:
            up.look()
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        for one in set(up.family):
            if one.is_running():
                one.kill()
