"""The transport that the kernel uses: the client by the scheme of the address. HTTP is `http.py`, drops are `drops.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from assets.protocols.kernel import Request, SourceBase
from assets.transport.drops import Connection, Place, empty_exchange, exchange_by
from assets.transport.exchange import Exchange
from assets.transport.http import HttpTransport
from assets.transport.resolving import GuardedResolver
from assets.transport.secrets import Secrets


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
        kind = _connection(urlsplit(request.url).scheme)
        if kind is None:
            return await super().exchange(request, source, spool, secrets=secrets, contact=contact, on_bytes=on_bytes)

        async def locate(host: str, port: int) -> Place:
            if self._settings.connect_to is not None:
                # The stand-in's machine; the port stays, since one port speaks one protocol.
                return Place(host, urlsplit(self._settings.connect_to).hostname or "", port, redirected=True)
            found = await GuardedResolver(self._lookup, source.allow_private).resolve(host, port)
            return Place(host, found[0]["host"], port)

        exchange = empty_exchange(request, self._files(spool), self.now(), self.origin({}))
        return await exchange_by(kind, locate, request, source, exchange, secrets, on_bytes)


def _connection(scheme: str) -> type[Connection] | None:
    """The client of a scheme, loaded when it is first used."""
    if scheme == "sftp":
        from assets.transport.sftp import SftpConnection

        return SftpConnection
    if scheme in ("ftp", "ftps"):
        from assets.transport.ftp import FtpConnection, ImplicitTlsConnection

        return FtpConnection if scheme == "ftp" else ImplicitTlsConnection
    if scheme == "s3":
        from assets.transport.s3 import S3Connection

        return S3Connection
    return None
