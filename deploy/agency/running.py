"""Running the stand-in: in the foreground for the command line, in a background thread for tests and the demo."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from deploy.agency.app import Agency, AgencyConfig, create_app

START_TIMEOUT_S = 20.0


class BreakableProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with the transport within reach of the application, so that it can cut its own connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}


class Server(uvicorn.Server):
    """uvicorn, with the agency's other servers, which it closes as it ends."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self.config.app.state.agency.close()  # type: ignore[union-attr]


def server(config: AgencyConfig, port: int, tls: Path | None = None) -> tuple[Server, socket.socket]:
    """A server on a bound loopback port (0: a free one), not yet running. `tls`: over TLS, with its certificates in that folder."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    settings = uvicorn.Config(
        create_app(config),
        http=BreakableProtocol,
        ws="none",
        lifespan="off",
        log_level="error",
        server_header=False,
        access_log=False,
    )
    if tls is not None:
        from deploy.agency.tls import Certificates

        agency = settings.app.state.agency  # type: ignore[union-attr]
        agency.certificates = Certificates(tls, agency.flaw)
        settings.load()
        settings.ssl = agency.certificates.context()
    return Server(settings), bound


@contextmanager
def running_server(config: AgencyConfig, *, port: int = 0, tls: Path | None = None) -> Iterator[tuple[Agency, str]]:
    """The stand-in in a background thread; yields its memory and its base URL, http://127.0.0.1:PORT. Ends with the block.

    `tls`: an existing folder, where the file to trust will be authority.pem; the stand-in then speaks https.
    """
    running, bound = server(config, port, tls)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, name="stand-in agency", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not running.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise RuntimeError("the stand-in agency did not start")
            time.sleep(0.01)
        agency: Agency = running.config.app.state.agency  # type: ignore[union-attr]
        yield agency, f"http{'s' * (tls is not None)}://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        running.should_exit = running.force_exit = True
        thread.join(START_TIMEOUT_S)
        bound.close()


@contextmanager
def running_agency(config: AgencyConfig | None = None, *, port: int = 0, tls: Path | None = None) -> Iterator[str]:
    """As `running_server`, with the base URL alone."""
    with running_server(config or AgencyConfig(), port=port, tls=tls) as (_, url):
        yield url
