"""`madang up`: the Dagster UI and daemon, with reports and sets served beside them, all on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Annotated, Any

import typer

from assets.errors import MadangError
from orchestration.cli.output import out
from orchestration.demo_home import stands_aside
from orchestration.settings import ROOT, Settings

POLL_S = 0.5
STOP_S = 45
"""What Dagster gets to end its services in order; what is left then is asked to end, and after SWEEP_S is ended."""
SWEEP_S = 10


def up(
    port: Annotated[
        int, typer.Option(help="Port of the Dagster UI; reports and sets are on the next one.", min=1, max=65534)
    ] = 3000,
) -> None:
    """Run the feeds on their schedules and serve the Dagster UI, until Ctrl-C. On this machine only; nobody is asked to log in.

    In a home filled by `madang demo` the stand-in agency answers. Anywhere else the real agencies are asked.
    """
    from assets.store import bootstrap
    from orchestration.cli.standin import IN_PLACE, agency_of
    from orchestration.running import dagster_home

    settings = Settings.from_environment()
    with ExitStack() as stack:
        asked = stack.enter_context(_stop_signals())
        _bind(port).close()
        reports = _bind(port + 1)
        env = {
            **os.environ,
            "MADANG_HOME": str(settings.home),
            "DAGSTER_HOME": os.environ.get("DAGSTER_HOME") or str(dagster_home(settings)),
            "MADANG_REPORTS_URL": os.environ.get("MADANG_REPORTS_URL") or f"http://127.0.0.1:{port + 1}",
            "DO_NOT_TRACK": "1",
            # Dagster warns of its own command's successor at every start, in every process.
            "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS") or "ignore::FutureWarning",
        }
        served = agency_of(settings) if settings.connect_to is None else None
        if served is not None:
            env.update(stack.enter_context(served))
            _say(IN_PLACE)
        elif settings.connect_to is not None:
            _say(f"{settings.connect_to} answers for every agency.")
        else:
            _say(f"{_enabled(settings)} feeds are on schedule and ask the real agencies.")
        if not (settings.home / "dagster" / "storage").exists() and served is None:
            _say(f"Nothing has run in {settings.home} yet. For a tour without asking an agency: madang demo --home another-folder")
        bootstrap(settings.store_url)
        stack.enter_context(_serving(settings, reports))
        _say("Starting. Stop with Ctrl-C.")
        process = stack.enter_context(_dagster(env, port))
        ready = False
        while process.poll() is None and not asked.wait(POLL_S):
            if not ready and _answers(port):
                ready = True
                _say(f"Dagster UI       http://127.0.0.1:{port}\nReports and sets http://127.0.0.1:{port + 1}")
        if process.returncode is not None:
            raise MadangError("the Dagster UI ended by itself", where=f"port {port}", mend="its message is above")
        _say("Stopping.")


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts as usual."""
    asked = threading.Event()

    def stop(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    # Also where a shell started us in the background with SIGINT ignored: children would inherit that, and never end.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _dagster(env: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's UI, daemon and code server in a process group of their own, all ended with the block."""
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    # Of their own, for Ctrl-C reaches a terminal's whole group, and Dagster interrupted twice leaves its services behind.
    process = subprocess.Popen([*command, "--log-level", "warning"], env=env, cwd=ROOT, start_new_session=True)
    try:
        yield process
    finally:
        try:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        finally:
            # Whatever happened above, a second Ctrl-C included, nothing of the group outlives us.
            _end_group(process.pid)
        process.wait()


def _end_group(group: int) -> None:
    """End every process of a group: asked first, so that a run under way marks itself cancelled, then not asked."""
    pause = threading.Event()
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        for _ in range(int(SWEEP_S / POLL_S)):
            pause.wait(POLL_S)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)


@contextmanager
def _serving(settings: Settings, bound: socket.socket) -> Iterator[None]:
    """The file server on a bound socket, in a thread."""
    import uvicorn

    from assets.store import Store
    from orchestration.files import create_app

    app = create_app(Store(settings.store_url), settings.home / "cache")
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="reports and sets", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        thread.join(STOP_S)
        bound.close()


def _bind(port: int) -> socket.socket:
    """A loopback socket bound to the port. Raises MadangError where the port is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError as error:
        bound.close()
        raise MadangError(
            f"cannot be used: {error.strerror}", where=f"port {port}", mend="choose another: madang up --port N"
        ) from error
    return bound


def _answers(port: int) -> bool:
    """Whether the UI answers yet."""
    # No proxy of the environment stands between us and our own loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/server_info", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _enabled(settings: Settings) -> int:
    from assets.feeds.load import is_ready, load_feeds

    return sum(
        is_ready(feed, os.environ) and not stands_aside(feed, settings) for feed in load_feeds(settings.feed_folders).feeds.values()
    )


def _say(text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True)
