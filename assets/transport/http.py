"""HTTP to agencies, on aiohttp: one request out, one Exchange back, its body on disk. No other code opens such a socket.

Deciding what a response means is the protocol's, asking again the kernel's (`protocols/fetching.py`); masking, address
rules and decoding are the modules beside this one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, quote, urlsplit

import aiohttp

from assets.errors import SettingsError
from assets.protocols.kernel import BadRequest, Request, SourceBase, Tls
from assets.transport import address
from assets.transport.call import SAFE, Call, merged
from assets.transport.exchange import Exchange
from assets.transport.resolving import GuardedResolver, Lookup, system_lookup
from assets.transport.secrets import PLACEHOLDER, Secrets
from assets.transport.trust import tls_context

NAME = f"Madang/{version('madang')}"


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
        return NAME + (f" (+{who})" if who else "")


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
        self._common: dict[tuple[str, bool], Mapping[str, str]] = {}
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
        templates = merged(self._headers(contact, source.auth.kind != "none"), request.headers)
        hops: list[Exchange] = []
        while True:
            call = Call(self, request, source, secrets, url, shown, templates, deadline, on_bytes)
            exchange = await call.run(self._file(spool))
            if call.location is None or exchange.verdict is not None:
                break
            decision = address.redirect(url, call.location, hosts=source.redirect_hosts, followed=len(hops))
            if exchange.status == 303 or (exchange.status in (301, 302) and request.method == "POST"):
                request = replace(request, method="GET", body=None)
            if isinstance(decision, address.Follow) and not decision.same_origin:
                templates = {n: v for n, v in templates.items() if not _is_private_header(n, v, secrets)}
                decision = _without_secrets(decision, request.body or b"", secrets)
            if isinstance(decision, address.Refused):
                exchange.verdict = BadRequest(secrets.redact(decision.why))
                break
            hops.append(exchange)
            url, shown = decision.url, secrets.redact(decision.url)
        exchange.hops = hops
        return exchange

    def _headers(self, contact: str, keyed: bool) -> Mapping[str, str]:
        """What is sent whatever is asked. `keyed`: the feed sends a key, which can be masked in a plain body only."""
        if (contact, keyed) not in self._common:
            coding = "identity" if keyed else "gzip, deflate"
            common = {"User-Agent": self._settings.user_agent(contact), "Accept": "*/*", "Accept-Encoding": coding}
            self._common[contact, keyed] = merged(common, self._settings.extra_headers)
        return self._common[contact, keyed]

    def _file(self, spool: Path) -> str:
        """Where the next body would be, if it is long."""
        self._ordinal += 1
        return f"{spool}/{self._ordinal:06d}.body"

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
        """The context that `trust.py` makes, made once."""
        if tls not in self._tls:
            self._tls[tls] = tls_context(tls)
        return self._tls[tls]

    def target(self, url: str) -> tuple[str, dict[str, str]]:
        """Where to connect for `url`, and the headers that this takes."""
        if self._settings.connect_to is None:
            return url, {}
        return self._settings.connect_to.rstrip("/") + address.origin_form(url), {"Host": address.host_of(url)}

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


def _is_private_header(name: str, value: str, secrets: Secrets) -> bool:
    return name.lower() in ("authorization", "cookie", "proxy-authorization") or secrets.carries(value)


def _without_secrets(decision: address.Follow, body: bytes, secrets: Secrets) -> address.Follow | address.Refused:
    """The redirect without query parameters that carry a secret; refused where the path or the body to send carries one."""
    parts = urlsplit(decision.url)
    if secrets.carries(parts.path) or secrets.carries(parts.netloc):
        return address.Refused(f"it redirected to another host, {parts.hostname}, with the key in the path")
    if secrets.carries(body.decode("utf-8", "replace")):
        return address.Refused(f"it redirected to another host, {parts.hostname}, with the key in the body")
    pairs = [p for p in parts.query.split("&") if p and not secrets.carries(p)]
    kept = [p for p in pairs if not any(secrets.carries(v) for _, v in parse_qsl(p, keep_blank_values=True))]
    return replace(decision, url=parts._replace(query="&".join(kept)).geturl())


def _ascii(url: str) -> str:
    """The URL with non-ASCII characters percent-encoded (UTF-8) and its host in IDNA."""
    if url.isascii():
        return url
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    return quote(parts._replace(netloc=host).geturl(), safe=SAFE)
