"""One hop of an exchange: the request to one URL, its body streamed to disk, broken parts resumed, encodings undone.

Following redirects is `http.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
from yarl import URL

from assets.payload import Payload
from assets.protocols.kernel import BadRequest, Malformed, Outcome, Request, SourceBase
from assets.transport import encoding
from assets.transport.address import host_of
from assets.transport.exchange import Exchange, Sink
from assets.transport.failures import BROKEN, sentence, verdict
from assets.transport.resolving import literal_refusal
from assets.transport.secrets import Secrets

if TYPE_CHECKING:
    from assets.transport.http import HttpTransport

MAX_RESUMES = 5
SAFE = "%/:?#[]@!$&'()*+,;=~-._|{}"
"""Characters that stay as they are where a URL is only made ASCII."""
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NO_BODY = frozenset((204, 304))
_CHUNK = 256 * 1024


@dataclass
class Call:
    """One hop: the request to one URL, with the body's broken parts resumed."""

    transport: HttpTransport
    request: Request
    source: SourceBase
    secrets: Secrets
    url: str
    shown: str
    templates: Mapping[str, str]
    deadline: float
    on_bytes: Callable[[int], None] | None
    location: str | None = None

    async def run(self, path: str) -> Exchange:
        """`path`: the file that a long body gets."""
        exchange = Exchange(
            self.request, self.shown, self.transport.now(), self.transport.origin({}), Payload(path, b""), self.request.method
        )
        self._declare(exchange, self.templates)
        if why := literal_refusal(self.url, self.source.allow_private):
            return _failed(exchange, BadRequest(why))
        sink = Sink(path, self.secrets.body_masker())
        try:
            cut = await self._first(exchange, sink)
            while cut and self._resumable(exchange, sink):
                before = sink.received
                exchange.resumed += 1
                resumed = await self._resume(exchange, sink)
                if resumed is None or (resumed and sink.received <= before):
                    break
                cut = resumed
        finally:
            sink.close(exchange)
        if exchange.status == 0:
            return exchange
        exchange.complete = not cut
        exchange.error = cut or None
        return self._decoded(exchange)

    async def _first(self, exchange: Exchange, sink: Sink) -> str:
        """Send, and read the body. Returns why the body is cut, or ''."""
        try:
            async with asyncio.timeout_at(self.deadline), self._open(self.templates) as response:
                self._accept(exchange, response)
                return await self._read(exchange, response, sink)
        except BROKEN as error:
            if exchange.status:
                return sentence(error, self.url, self.secrets)
            _failed(exchange, verdict(error, sentence(error, self.url, self.secrets)))
            return ""

    async def _resume(self, exchange: Exchange, sink: Sink) -> str | None:
        """Ask for the rest. Returns why it is cut again, '' when it is whole, None when the server does not resume."""
        validator = _strong_validator(exchange)
        assert validator is not None
        extra = {"Range": f"bytes={sink.received}-", "If-Range": validator}
        try:
            async with asyncio.timeout_at(self.deadline), self._open(merged(self.templates, extra)) as response:
                if response.status == 206 and _continues(response, sink.received, exchange):
                    return await self._read(exchange, response, sink)
                if response.status != 200:
                    return None
                sink.restart(self.secrets.body_masker())  # the body changed meanwhile: this is a new one, from its start
                self._accept(exchange, response)
                return await self._read(exchange, response, sink)
        except BROKEN as error:
            return sentence(error, self.url, self.secrets)

    def _resumable(self, exchange: Exchange, sink: Sink) -> bool:
        return (
            exchange.verdict is None
            and exchange.status == 200
            and self.request.method == "GET"
            and exchange.resumed < MAX_RESUMES
            and sink.received > 0
            and _strong_validator(exchange) is not None
            and (exchange.header("accept-ranges") or "bytes").strip().lower() == "bytes"
        )

    def _open(self, templates: Mapping[str, str]) -> aiohttp.client._RequestContextManager:
        target, more = self.transport.target(self.url)
        headers = {name: self.secrets.fill_header(value) for name, value in templates.items()} | more
        limits = self.source.limits
        return self.transport.session(allow_private=self.source.allow_private).request(
            self.request.method,
            URL(target, encoded=True),
            headers=headers,
            data=self.secrets.fill_body(self.request.body),
            allow_redirects=False,
            timeout=_timeout(limits.connect_timeout_s, limits.read_timeout_s),
            ssl=self.transport.tls(self.source.tls) if target.startswith("https:") else True,
        )

    def _declare(self, exchange: Exchange, templates: Mapping[str, str]) -> None:
        exchange.request_headers = [("Host", host_of(self.url))]
        exchange.request_headers += [(n, self.secrets.redact(v)) for n, v in templates.items()]

    def _accept(self, exchange: Exchange, response: aiohttp.ClientResponse) -> None:
        received = _texts(response.raw_headers)
        exchange.status = response.status
        exchange.reason = self.secrets.redact(response.reason or "")
        if response.version is not None:
            exchange.http_version = f"{response.version.major}.{response.version.minor}"
        exchange.headers = [(name, self.secrets.redact(value)) for name, value in received]
        exchange.origin = self.transport.origin(exchange.header_map())
        if response.status in _REDIRECTS:
            where = next((value for name, value in received if name.lower() == "location"), None)
            self.location = None if where is None else quote(where.encode("utf-8", "surrogateescape"), safe=SAFE)

    async def _read(self, exchange: Exchange, response: aiohttp.ClientResponse, sink: Sink) -> str:
        """Stream the body into the sink. Returns why it is cut, or ''."""
        most = self.source.limits.max_body_bytes
        if (response.content_length or 0) + sink.received > most and self.request.method != "HEAD":
            exchange.verdict = BadRequest(f"the body is larger than {most} bytes")
            return "the body is too large"
        try:
            while chunk := await self._chunk(response):
                sink.write(chunk)
                if self.on_bytes is not None:
                    self.on_bytes(len(chunk))
                if sink.received > most:
                    exchange.verdict = BadRequest(f"the body is larger than {most} bytes")
                    return "the body is too large"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return sentence(error, self.url, self.secrets)
        return ""

    async def _chunk(self, response: aiohttp.ClientResponse) -> bytes:
        """The next piece of the body, b'' at its end. Our own clock: aiohttp's stops where a chunk's framing is broken."""
        if response.content.is_eof() and not response.content.exception():
            return response.content.read_nowait(_CHUNK)  # the rest is here already: a page of an API, usually
        left = self.deadline - asyncio.get_running_loop().time()
        async with asyncio.timeout(min(self.source.limits.read_timeout_s, left)):
            return await response.content.read(_CHUNK)

    def _decoded(self, exchange: Exchange) -> Exchange:
        """Undo Content-Encoding, and look at the head and the tail."""
        coding = encoding.codings(exchange.header("content-encoding") or "")
        if coding and exchange.bytes_read and exchange.status not in _NO_BODY:
            exchange.decoded, result = encoding.decode(
                exchange.body,
                exchange.body.place.with_suffix(".decoded"),
                coding,
                max_bytes=self.source.limits.max_body_bytes,
                masker=self.secrets.body_masker(),
            )
            if exchange.complete and not result.complete and result.problem is None:
                exchange.error = f"the {coding[0]} stream ends before its end"
            exchange.complete = exchange.complete and result.complete
            if result.echoed:
                self._drop(exchange, "the agency repeats the key inside a compressed body, where it cannot be masked")
            elif result.problem is not None and exchange.verdict is None:
                exchange.verdict = BadRequest(result.problem) if result.too_large else Malformed(result.problem)
        exchange.look()
        return exchange

    def _drop(self, exchange: Exchange, why: str) -> None:
        """Keep nothing of a body that holds a secret where it cannot be masked."""
        exchange.body.discard()
        exchange.decoded.discard()
        empty = Exchange(exchange.request, "", exchange.at, exchange.origin, exchange.body)
        exchange.decoded = exchange.body
        exchange.bytes_read, exchange.payload_sha256 = 0, empty.payload_sha256
        exchange.masked, exchange.complete, exchange.verdict = True, False, Malformed(why)


@lru_cache(maxsize=64)
def _timeout(connect_s: float, read_s: float) -> aiohttp.ClientTimeout:
    """Without a total: the whole call has its deadline."""
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=read_s)


def _failed(exchange: Exchange, outcome: Outcome) -> Exchange:
    exchange.verdict = outcome
    exchange.error = getattr(outcome, "reason", "")
    return exchange


def _strong_validator(exchange: Exchange) -> str | None:
    etag = exchange.header("etag")
    if etag and not etag.startswith("W/"):
        return etag
    return exchange.header("last-modified")


_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)$")


def _continues(response: aiohttp.ClientResponse, offset: int, exchange: Exchange) -> bool:
    """Whether a 206 gives exactly the rest of the body that broke off."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != offset:
        return False
    total = exchange.header("content-length")
    if match[3] != "*" and (int(match[2]) + 1 != int(match[3]) or (total and total != match[3])):
        return False
    told = ((exchange.header(name), response.headers.get(name)) for name in ("ETag", "Last-Modified"))
    return all(first is None or again is None or first == again for first, again in told)


def merged(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Headers where a later name replaces an earlier one, whatever its case."""
    names = {name.lower() for name in more}
    return {n: v for n, v in headers.items() if n.lower() not in names} | dict(more)


@lru_cache(maxsize=64)
def _texts(raw: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[str, str], ...]:
    """Headers as text that gives back the same bytes: Korean servers send raw CP949 file names."""
    return tuple((name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in raw)
