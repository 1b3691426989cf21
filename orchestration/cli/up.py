"""`madang up`: the Dagster UI and daemon, with reports and sets served beside them, all on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import Annotated

import typer

from assets.errors import MadangError
from orchestration.cli.output import out
from orchestration.settings import ROOT, Settings

DEMO_MARK = "demo.json"
"""A home that holds this file was filled by `madang demo`: its feeds ask the stand-in agency, never the real ones."""


def up(port: Annotated[int, typer.Option(help="Port of the Dagster UI; reports and sets are on the next one.")] = 3000) -> None:
    """Serve the Dagster UI until Ctrl-C. In a home filled by `madang demo` the stand-in agency is served too."""
    import uvicorn

    from assets.store import Store, bootstrap
    from orchestration.cli.demo import agency_of
    from orchestration.files import create_app
    from orchestration.running import dagster_home

    settings = Settings.from_environment()
    with ExitStack() as stack:
        env = {
            **os.environ,
            "MADANG_HOME": str(settings.home),
            "DAGSTER_HOME": os.environ.get("DAGSTER_HOME") or str(dagster_home(settings)),
            "MADANG_REPORTS_URL": os.environ.get("MADANG_REPORTS_URL") or f"http://127.0.0.1:{port + 1}",
            "DO_NOT_TRACK": "1",
        }
        served = agency_of(settings)
        if served is not None and settings.connect_to is None:
            env.update(stack.enter_context(served))
            out.print("This home holds demo rows: the stand-in agency answers for every agency.")
        bootstrap(settings.store_url)
        config = uvicorn.Config(create_app(Store(settings.store_url)), host="127.0.0.1", port=port + 1, log_level="warning")
        files = uvicorn.Server(config)
        threading.Thread(target=files.run, daemon=True).start()
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
        out.print(
            f"Dagster UI       http://127.0.0.1:{port}\nReports and sets http://127.0.0.1:{port + 1}\nStop with Ctrl-C.",
            highlight=False,
        )
        process = subprocess.Popen(command, env=env, cwd=ROOT)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            code = process.wait()
        files.should_exit = True
    if code not in (0, -signal.SIGINT, -signal.SIGTERM, 130):
        raise MadangError(
            "the Dagster UI ended", where=f"port {port}", mend="its message is above; is the port free? madang up --port N"
        )
