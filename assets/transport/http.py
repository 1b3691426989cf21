"""HTTP to agencies, on aiohttp: one request out, one Exchange back, its body on disk. No other code opens such a socket.

Deciding what a response means is the protocol's, asking again the kernel's (`protocols/fetching.py`); masking, address
rules and decoding are the modules beside this one.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, quote, urlsplit

import aiohttp
from yarl import URL

from assets.errors import SettingsError
from assets.protocols.kernel import BadRequest, Malformed, Outcome, Request, SourceBase, Tls
from assets.transport import address, encoding
from assets.transport.exchange import Exchange, Sink
from assets.transport.failures import BROKEN, sentence, verdict
from assets.transport.resolving import GuardedResolver, Lookup, literal_refusal, system_lookup
from assets.transport.secrets import PLACEHOLDER, Secrets

MAX_RESUMES = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NO_BODY = frozenset((204, 304))
_SAFE = "%/:?#[]@!$&'()*+,;=~-._|{}"
_CHUNK = 256 * 1024


@dataclass(frozen=True)
class TransportSettings:
    """What is the same for every feed. `connect_to`: http://host:port of the stand-in that answers for every agency."""

    connect_to: str | None = None
    contact: str = ""
    extra_headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.connect_to is not None:
            parts = urlsplit(self.connect_to)
            if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
                raise SettingsError(
                    f"'{self.connect_to}' is no address of a stand-in",
                    where="MADANG_CONNECT_TO",
                    mend="use http://127.0.0.1:8800, without a path",
                )

    def user_agent(self, contact: str = "") -> str:
        """The honest name that we go by; agencies' firewalls drop anonymous clients."""
        who = self.contact or contact
        return f"Madang/{version('madang')}" + (f" (+{who})" if who else "")


class HttpTransport:
    """A client for many feeds, inside one event loop; use it as an async context manager."""

    def __init__(
        self,
        settings: TransportSettings,
        *,
        lookup: Lookup | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._lookup, self._now = settings, lookup or system_lookup, now
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._tls: dict[Tls, ssl.SSLContext] = {}
        self._ordinal = 0

    async def __aenter__(self) -> HttpTransport:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for session in self._sessions.values():
            await session.close()

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
        """Send one request, follow what redirects may be followed, resume a broken body. Never raises for what a server does.

        `spool`: an existing folder for the body files. Raises SettingsError for a secret that is not set.
        """
        deadline = asyncio.get_running_loop().time() + source.limits.total_timeout_s
        url = _ascii(secrets.fill_url(request.url))
        shown = PLACEHOLDER.sub("***", request.url)
        templates = {
            "User-Agent": self._settings.user_agent(contact),
            "Accept": "*/*",
            # A key can be masked in a plain body only; so a feed that sends one asks for plain bodies.
            "Accept-Encoding": "gzip, deflate" if source.auth.kind == "none" else "identity",
        }
        templates = _merged(_merged(templates, self._settings.extra_headers), request.headers)
        hops: list[Exchange] = []
        while True:
            call = _Call(self, request, source, secrets, url, shown, templates, deadline, on_bytes)
            exchange = await call.run(self._files(spool))
            if call.location is None or exchange.verdict is not None:
                break
            decision = address.redirect(url, call.location, hosts=source.redirect_hosts, followed=len(hops))
            if isinstance(decision, address.Follow) and not decision.same_origin:
                templates = {n: v for n, v in templates.items() if not _is_private_header(n, v, secrets)}
                decision = _without_secrets(decision, secrets)
            if isinstance(decision, address.Refused):
                exchange.verdict = BadRequest(secrets.redact(decision.why))
                break
            hops.append(exchange)
            url, shown = decision.url, secrets.redact(decision.url)
            if exchange.status == 303 or (exchange.status in (301, 302) and request.method == "POST"):
                request = replace(request, method="GET", body=None)
        exchange.hops = hops
        return exchange

    def _files(self, spool: Path) -> Path:
        self._ordinal += 1
        return spool / f"{self._ordinal:06d}.body"

    # --- what a call needs ---

    def session(self, *, allow_private: bool) -> aiohttp.ClientSession:
        if allow_private not in self._sessions:
            guarded = None if self._settings.connect_to else GuardedResolver(self._lookup, allow_private)
            self._sessions[allow_private] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=guarded, use_dns_cache=False, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_line_size=64 * 1024,
                max_field_size=64 * 1024,
            )
        return self._sessions[allow_private]

    def tls(self, tls: Tls) -> ssl.SSLContext:
        """A verifying context, always; with more trust or older ciphers where the feed says so."""
        if tls not in self._tls:
            context = ssl.create_default_context()
            if tls.ca_bundle is not None:
                try:
                    context.load_verify_locations(cafile=tls.ca_bundle)
                except (OSError, ssl.SSLError):
                    raise SettingsError(
                        "the CA bundle cannot be read", where=tls.ca_bundle, mend="name a PEM file in source.tls.ca_bundle"
                    ) from None
            if tls.legacy:
                context.set_ciphers("DEFAULT@SECLEVEL=1")
                context.options |= 0x4  # OP_LEGACY_SERVER_CONNECT, which has a name from Python 3.12 on
            self._tls[tls] = context
        return self._tls[tls]

    def target(self, url: str) -> tuple[str, dict[str, str]]:
        """Where to connect for `url`, and the headers that this takes."""
        if self._settings.connect_to is None:
            return url, {}
        parts = urlsplit(url)
        path = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
        return self._settings.connect_to.rstrip("/") + path, {"Host": parts.netloc.rpartition("@")[2]}

    def origin(self, headers: Mapping[str, str]) -> str:
        """Where the rows come from. A stand-in that does not say so is taken for synthetic, the word that blocks publishing."""
        if self._settings.connect_to is None:
            return "agency"
        return "replay" if headers.get("madang-origin") == "replay" else "synthetic"

    def now(self) -> datetime:
        return self._now()

    @property
    def direct(self) -> bool:
        return self._settings.connect_to is None


@dataclass
class _Call:
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

    async def run(self, path: Path) -> Exchange:
        path.write_bytes(b"")
        exchange = Exchange(
            self.request, self.shown, self.transport.now(), self.transport.origin({}), path, self.request.method, decoded_path=path
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
            exchange.bytes_read, exchange.payload_sha256, exchange.masked = sink.close()
        if exchange.status == 0:
            return exchange
        exchange.complete = not cut
        exchange.error = cut or None
        return self._decoded(exchange)

    async def _first(self, exchange: Exchange, sink: Sink) -> str:
        """Send, and read the body. Returns why the body is cut, or ''."""
        try:
            async with self._open(self.templates) as response:
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
            async with self._open(_merged(self.templates, extra)) as response:
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
        left = self.deadline - asyncio.get_running_loop().time()
        timeout = aiohttp.ClientTimeout(
            total=max(left, 0.001), sock_connect=limits.connect_timeout_s, sock_read=limits.read_timeout_s
        )
        return self.transport.session(allow_private=self.source.allow_private).request(
            self.request.method,
            URL(target, encoded=True),
            headers=headers,
            data=self.request.body,
            allow_redirects=False,
            timeout=timeout,
            ssl=self.transport.tls(self.source.tls) if target.startswith("https:") else True,
        )

    def _declare(self, exchange: Exchange, templates: Mapping[str, str]) -> None:
        host = urlsplit(self.url).netloc.rpartition("@")[2]
        exchange.request_headers = [("Host", host)]
        exchange.request_headers += [(n, self.secrets.redact(v)) for n, v in templates.items()]

    def _accept(self, exchange: Exchange, response: aiohttp.ClientResponse) -> None:
        received = [(_text(name), _text(value)) for name, value in response.raw_headers]
        exchange.status = response.status
        exchange.reason = self.secrets.redact(response.reason or "")
        if response.version is not None:
            exchange.http_version = f"{response.version.major}.{response.version.minor}"
        exchange.headers = [(name, self.secrets.redact(value)) for name, value in received]
        exchange.origin = self.transport.origin(exchange.header_map())
        if response.status in _REDIRECTS:
            where = next((value for name, value in received if name.lower() == "location"), None)
            self.location = None if where is None else quote(where.encode("utf-8", "surrogateescape"), safe=_SAFE)

    async def _read(self, exchange: Exchange, response: aiohttp.ClientResponse, sink: Sink) -> str:
        """Stream the body into the sink. Returns why it is cut, or ''."""
        most = self.source.limits.max_body_bytes
        if (response.content_length or 0) + sink.received > most and self.request.method != "HEAD":
            exchange.verdict = BadRequest(f"the body is larger than {most} bytes")
            return "the body is too large"
        why = ""
        try:
            async for chunk in response.content.iter_chunked(_CHUNK):
                sink.write(chunk)
                if self.on_bytes is not None:
                    self.on_bytes(len(chunk))
                if sink.received > most:
                    exchange.verdict = BadRequest(f"the body is larger than {most} bytes")
                    return "the body is too large"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = sentence(error, self.url, self.secrets)
            # aiohttp raises before it hands over what it still holds; those bytes did arrive.
            for left in _unread(response):
                sink.write(left)
        return why

    def _decoded(self, exchange: Exchange) -> Exchange:
        """Undo Content-Encoding, and look at the head and the tail."""
        coding = encoding.codings(exchange.header("content-encoding") or "")
        if coding and exchange.bytes_read and exchange.status not in _NO_BODY:
            out = exchange.body_path.with_suffix(".decoded")
            result = encoding.decode(
                exchange.body_path,
                out,
                coding,
                max_bytes=self.source.limits.max_body_bytes,
                masker=self.secrets.body_masker(),
            )
            exchange.decoded_path = out
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
        exchange.body_path.write_bytes(b"")
        exchange.decoded_path.unlink(missing_ok=True)
        empty = Exchange(exchange.request, "", exchange.at, exchange.origin, exchange.body_path)
        exchange.decoded_path = exchange.body_path
        exchange.bytes_read, exchange.payload_sha256 = 0, empty.payload_sha256
        exchange.masked, exchange.complete, exchange.verdict = True, False, Malformed(why)


def _failed(exchange: Exchange, outcome: Outcome) -> Exchange:
    exchange.verdict = outcome
    exchange.error = getattr(outcome, "reason", "")
    return exchange


def _unread(response: aiohttp.ClientResponse) -> list[bytes]:
    reader = response.content
    parts = list(getattr(reader, "_buffer", ()))
    offset = getattr(reader, "_buffer_offset", 0)
    return [parts[0][offset:], *parts[1:]] if parts else []


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
    etag, again = exchange.header("etag"), response.headers.get("ETag")
    return etag is None or again is None or etag == again


def _merged(headers: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Headers where a later name replaces an earlier one, whatever its case."""
    names = {name.lower() for name in more}
    return {n: v for n, v in headers.items() if n.lower() not in names} | dict(more)


def _is_private_header(name: str, value: str, secrets: Secrets) -> bool:
    return name.lower() in ("authorization", "cookie", "proxy-authorization") or secrets.carries(value)


def _without_secrets(decision: address.Follow, secrets: Secrets) -> address.Follow | address.Refused:
    """The redirect without query parameters that carry a secret; refused where the path carries one."""
    parts = urlsplit(decision.url)
    if secrets.carries(parts.path) or secrets.carries(parts.netloc):
        return address.Refused(f"it redirected to another host, {parts.hostname}, with the key in the path")
    pairs = [p for p in parts.query.split("&") if p and not secrets.carries(p)]
    kept = [p for p in pairs if not any(secrets.carries(v) for _, v in parse_qsl(p, keep_blank_values=True))]
    return replace(decision, url=parts._replace(query="&".join(kept)).geturl())


def _text(raw: bytes) -> str:
    """A header as text that gives back the same bytes: Korean servers send raw CP949 file names."""
    return raw.decode("utf-8", "surrogateescape")


def _ascii(url: str) -> str:
    """The URL with non-ASCII characters percent-encoded (UTF-8) and its host in IDNA."""
    if url.isascii():
        return url
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    return quote(parts._replace(netloc=host).geturl(), safe=_SAFE)
