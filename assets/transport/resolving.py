"""Names to addresses, with the address rule applied to every one before a socket opens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from assets.transport import address

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Host name and port → IP addresses. Raises OSError."""


class AddressRefused(Exception):
    """The name resolves to an address that must not be connected to."""


class GuardedResolver(AbstractResolver):
    """Resolves, and refuses a name if any of its addresses must not be connected to."""

    def __init__(self, lookup: Lookup, allow_private: bool) -> None:
        self._lookup, self._allow_private = lookup, allow_private

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        found = await self._lookup(host, port)
        for one in found:
            if why := address.refusal(one, allow_private=self._allow_private):
                raise AddressRefused(f"{host} resolves to {why}")
        return [
            ResolveResult(
                hostname=host,
                host=one,
                port=port,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for one in found
        ]

    async def close(self) -> None:
        return None


async def system_lookup(host: str, port: int) -> list[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


def literal_refusal(url: str, allow_private: bool) -> str | None:
    """The rule for a URL that names an address itself, which no resolver sees."""
    return _literal_refusal(address.hostname_of(url), allow_private)


@lru_cache(maxsize=256)
def _literal_refusal(host: str, allow_private: bool) -> str | None:
    try:
        ip_address(host)
    except ValueError:
        return None
    return address.refusal(host, allow_private=allow_private)
