"""`madang up` as a process: it stops when asked and leaves nothing behind, says what it asks, and names a port that is taken."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.browser.serving import MADANG, answers, free_ports, served

pytestmark = [pytest.mark.xdist_group("demo_home"), pytest.mark.timeout(600)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_when_asked_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    # A home that asks nobody: the address answers nothing, and no schedule can reach an agency.
    (tmp_path / "demo.json").write_text('{"data": null}\n', encoding="utf-8")
    with served(tmp_path, tmp_path / "up.log") as up:
        assert answers(f"{up.ui}/server_info")
        assert answers(f"{up.files}/")
        assert len(up.look()) >= 4
        assert up.stop(number) == 0, up.said()
        assert up.left() == []
    assert "Traceback" not in up.said()


def test_a_port_that_is_taken_is_named() -> None:
    port = free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 1))
        taken.listen()
        done = subprocess.run(
            [str(MADANG), "up", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "NO_COLOR": "1"},
        )
    assert done.returncode == 1
    assert f"port {port + 1}" in done.stderr
    assert "madang up --port" in done.stderr
    assert "Traceback" not in done.stderr
