"""One request over the transport to a server on loopback. Only what the tests of HTTP share; no test stands here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from assets.protocols.kernel import Auth, Request, SourceBase
from assets.transport.exchange import Exchange
from assets.transport.http import HttpTransport, TransportSettings
from assets.transport.secrets import Secrets
from tests.loopback import Answer, Loopback, Seen, loopback

KEY = "aB3+/x9Qz7Lm0Pk2Rt5Wy8=="
BODY = random.Random(7).randbytes(300_000)


class Source(SourceBase):
    protocol: Literal["t"] = "t"


def ask(
    answer: Callable[[Seen], Answer],
    tmp_path: Path,
    *,
    url: str = "http://agency.example/data?q=1",
    key: str | None = None,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    **source: Any,
) -> tuple[Exchange, Loopback]:
    async def run() -> tuple[Exchange, Loopback]:
        auth = Auth(kind="query_key", name="serviceKey", secret="AGENCY_KEY") if key else Auth()
        declared = Source(auth=auth, **source)
        secrets = Secrets({"AGENCY_KEY": key or ""}, feed="kr.x.y", auth=auth)
        async with loopback(answer) as server, HttpTransport(TransportSettings(connect_to=server.url)) as transport:
            request = Request(url, "GET" if body is None else "POST", headers or {}, body)
            exchange = await transport.exchange(request, declared, tmp_path, secrets=secrets)
        return exchange, server

    return asyncio.run(run())
