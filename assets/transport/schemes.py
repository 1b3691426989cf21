"""The transport that the kernel uses: the client by the scheme of the address. HTTP is `http.py`, S3 over it `s3.py`, other
drops are `drops.py`. Where a stand-in answers for an agency is found here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from assets.protocols.kernel import Gone, Request, SourceBase
from assets.transport.drops import Connection, DropFailed, Place, empty_exchange, exchange_by
from assets.transport.exchange import Exchange
from assets.transport.http import HttpTransport
from assets.transport.resolving import GuardedResolver
from assets.transport.secrets import Secrets

STANDIN_TIMEOUT_S = 10


class Transport(HttpTransport):
    """HTTP, and what is no HTTP, behind one `exchange`."""

    async def exchange(
        self,
        request: Request,
        source: SourceBase,
        spool: Path,
        *,
        secrets: Secrets,
        contact: str = "",
        on_bytes: Callable[[int], None] | None = None,
    ) -> Exchange:
        """As `HttpTransport.exchange`; of a drop an Exchange with `resource`."""
        scheme = request.url.partition(":")[0].lower()
        if scheme in ("http", "https"):
            return await super().exchange(request, source, spool, secrets=secrets, contact=contact, on_bytes=on_bytes)
        exchange = empty_exchange(request, self._file(spool), self.now(), self.origin({}))
        if scheme == "s3":
            from assets.transport.s3 import exchange_s3

            by_http = partial(super().exchange, spool=spool, secrets=secrets, contact=contact)
            return await exchange_s3(by_http, request, source, exchange, secrets, on_bytes)

        async def locate(host: str, port: int) -> Place:
            if self._settings.connect_to is not None:
                place, exchange.origin = await self._standin(request.url, host, port)
                return place
            found = await GuardedResolver(self._lookup, source.allow_private).resolve(host, port)
            return Place(host, found[0]["host"], port)

        return await exchange_by(_connection(scheme), locate, request, source, exchange, secrets, on_bytes)

    async def _standin(self, url: str, host: str, port: int) -> tuple[Place, str]:
        """Where the stand-in answers for a server that speaks no HTTP, and with what origin. Raises DropFailed.

        One port speaks one protocol, so it is asked for the port. What answers there and knows nothing of drops is another
        stand-in: the declared port on its machine.
        """
        at = self._settings.connect_to or ""
        place = Place(host, urlsplit(at).hostname or "", port)
        try:
            where, soon = f"{at.rstrip('/')}/__agency__/drops", aiohttp.ClientTimeout(total=STANDIN_TIMEOUT_S)
            async with self.session(allow_private=False).get(where, params={"url": url}, timeout=soon) as answer:
                told = await answer.json() if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, ValueError):
            told = None
        if not isinstance(told, dict):
            return place, self.origin({})
        if told.get("port") is None:
            raise DropFailed(Gone(f"the stand-in agency lays no files at {host}"))
        found = replace(place, port=int(told["port"]), host_key=told.get("host_key"), plain=bool(told.get("plain")))
        return found, self.origin({"madang-origin": str(told.get("origin"))})


def _connection(scheme: str) -> type[Connection]:
    """The client of a scheme, loaded when it is first used."""
    if scheme == "sftp":
        from assets.transport.sftp import SftpConnection

        return SftpConnection
    from assets.transport.ftp import FtpConnection, ImplicitTlsConnection

    return FtpConnection if scheme == "ftp" else ImplicitTlsConnection
