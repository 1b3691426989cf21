"""One request to a server that speaks no HTTP: a listing or a file, streamed to disk under the same limits. SFTP and FTP alike.

How each kind of server is spoken to are the modules beside this one, blocking; here they run in threads, one call at a time, so
that a fetch can be cancelled, and closing the connection frees a thread that waits.
"""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from assets.payload import Payload
from assets.protocols.drops import LISTING, Entry, listing_bytes
from assets.protocols.kernel import BadRequest, Gone, Malformed, Outcome, Request, Transient
from assets.transport.exchange import Exchange, Sink
from assets.transport.resolving import AddressRefused
from assets.transport.secrets import PLACEHOLDER, Secrets

MAX_ENTRIES = 100_000
"""A folder with more files is refused: its listing is held in memory."""
CHUNK = 256 * 1024


class DropFailed(Exception):
    """The server's answer, or its silence, as the outcome that it means."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(getattr(outcome, "reason", ""))
        self.outcome = outcome


@dataclass(frozen=True)
class Place:
    """Where to connect. `address`: the checked IP address; `host`: the name that the feed declares, for certificates.

    `host_key`: the fingerprint of a stand-in's own host key, believed beside the declared ones; `plain`: a stand-in, without TLS.
    """

    host: str
    address: str
    port: int
    host_key: str | None = None
    plain: bool = False


class Connection(ABC):
    """One connection to one server, blocking. Its methods raise DropFailed, OSError, EOFError, or what `judge` knows."""

    default_port: int

    def __init__(self, source: Any, place: Place, secrets: Secrets, request: Request) -> None:
        self.source, self.place, self.secrets, self.request = source, place, secrets, request

    @classmethod
    def where(cls, source: Any, request: Request) -> tuple[str, int]:
        """Host and port that answer for the request."""
        parts = urlsplit(request.url)
        return parts.hostname or "", parts.port or cls.default_port

    @abstractmethod
    def open(self) -> None:
        """Connect, make sure of the server, and log in."""

    @abstractmethod
    def listing(self, path: bytes) -> Iterable[Entry]:
        """The files of the folder."""

    @abstractmethod
    def start(self, path: bytes, request: Request) -> None:
        """Open the file; `request.headers` are what the listing said of it."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """The next bytes, b'' at the end."""

    @abstractmethod
    def finish(self, received: int) -> None:
        """After the last byte: whether the file still is what was listed, for a writer may have been at it meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection, from any thread, whatever state it is in. Never raises."""

    @abstractmethod
    def judge(self, error: BaseException) -> Outcome | None:
        """What an error of the client library means; None where it is not one. No secret, no text of the server unmasked."""

    def password(self) -> str:
        """The value of the feed's secret."""
        return self.secrets.fill_header(f"{{secret:{self.source.auth.secret}}}")


async def exchange_by(
    kind: type[Connection],
    locate: Callable[[str, int], Any],
    request: Request,
    source: Any,
    exchange: Exchange,
    secrets: Secrets,
    on_bytes: Callable[[int], None] | None,
) -> Exchange:
    """Fill `exchange`. `locate`: host and port → Place, checked. Raises nothing for what a server does."""
    sink = Sink(exchange.body.place, secrets.body_masker())
    host, port = kind.where(source, request)
    connection: Connection | None = None
    try:
        async with asyncio.timeout(source.limits.total_timeout_s):
            connection = kind(source, await locate(host, port), secrets, request)
            await asyncio.to_thread(connection.open)
            path = unquote_to_bytes(urlsplit(request.url).path)
            if request.method == LISTING:
                await _listing(connection, path, exchange, sink, source, on_bytes)
            else:
                await _file(connection, path, exchange, sink, source, on_bytes)
    except (DropFailed, AddressRefused, OSError, EOFError, TimeoutError) as error:
        _failed(exchange, _verdict(error, connection, host))
    except Exception as error:
        outcome = connection.judge(error) if connection is not None else None
        if outcome is None:
            raise
        _failed(exchange, outcome)
    finally:
        if connection is not None:
            connection.close()
        sink.close(exchange)
        exchange.error = secrets.redact(exchange.error) if exchange.error else None
    exchange.look()
    return exchange


async def _listing(
    connection: Connection, path: bytes, exchange: Exchange, sink: Sink, source: Any, on_bytes: Callable[[int], None] | None
) -> None:
    entries = await asyncio.to_thread(lambda: list(islice(connection.listing(path), MAX_ENTRIES + 1)))
    if len(entries) > MAX_ENTRIES:
        raise DropFailed(BadRequest(f"the folder holds more than {MAX_ENTRIES} files"))
    body = listing_bytes(entries)
    exchange.status, exchange.headers = 200, [("content-type", "application/json")]
    _take(body, exchange, sink, source, on_bytes)
    exchange.complete = True


async def _file(
    connection: Connection, path: bytes, exchange: Exchange, sink: Sink, source: Any, on_bytes: Callable[[int], None] | None
) -> None:
    expected, digest = exchange.request.headers, hashlib.md5(usedforsecurity=False)
    if int(expected.get("size") or 0) > source.limits.max_body_bytes:
        raise DropFailed(BadRequest(f"the file is larger than {source.limits.max_body_bytes} bytes"))
    await asyncio.to_thread(connection.start, path, exchange.request)
    exchange.status = 200
    if modified := expected.get("modified"):
        exchange.headers.append(("last-modified", modified))
    if version := expected.get("version"):
        exchange.headers.append(("etag", version))
    while chunk := await asyncio.to_thread(connection.read, CHUNK):
        digest.update(chunk)
        _take(chunk, exchange, sink, source, on_bytes)
    await asyncio.to_thread(connection.finish, sink.received)
    _check(expected, sink.received, digest.hexdigest())
    exchange.complete = True


def verified(file: Payload, expected: Mapping[str, str]) -> None:
    """Raises DropFailed where a file that came is not the one that was listed."""
    digest = ""
    if "md5" in expected:
        with file.open() as opened:
            md5 = hashlib.md5(usedforsecurity=False)
            while chunk := opened.read(1024 * 1024):
                md5.update(chunk)
            digest = md5.hexdigest()
    _check(expected, file.size, digest)


def _check(expected: Mapping[str, str], received: int, digest: str) -> None:
    size = expected.get("size")
    if size is not None and received != int(size):
        raise DropFailed(Transient(f"the file changed while it was read: {received} bytes, {size} in the listing"))
    if (promised := expected.get("md5")) and digest != promised:
        raise DropFailed(Malformed(f"the file's MD5 is {digest}, its checksum file says {promised}"))


def _take(chunk: bytes, exchange: Exchange, sink: Sink, source: Any, on_bytes: Callable[[int], None] | None) -> None:
    sink.write(chunk)
    if on_bytes is not None:
        on_bytes(len(chunk))
    if sink.received > source.limits.max_body_bytes:
        raise DropFailed(BadRequest(f"the body is larger than {source.limits.max_body_bytes} bytes"))


def _failed(exchange: Exchange, outcome: Outcome) -> None:
    exchange.verdict, exchange.error, exchange.complete = outcome, getattr(outcome, "reason", ""), False


def _verdict(error: BaseException, connection: Connection | None, host: str) -> Outcome:
    """What an error means, in a sentence of our own."""
    if isinstance(error, DropFailed):
        return error.outcome
    if isinstance(error, AddressRefused):
        return BadRequest(str(error))
    if connection is not None and (known := connection.judge(error)) is not None:
        return known
    if isinstance(error, TimeoutError):
        return Transient(f"{host} did not answer in time")
    if connection is None:
        return Transient(f"the name {host} cannot be resolved")
    if isinstance(error, ConnectionRefusedError):
        return Transient(f"could not connect to {host}: connection refused")
    return Transient(f"{host} broke the connection")


def missing(what: str, request_is_listing: bool) -> Outcome:
    """No such folder is the agency's change; no such file, when it was listed a moment ago, passes."""
    if request_is_listing:
        return Gone(f"there is no folder {what}")
    return Transient(f"{what} was there when the folder was listed, and is no longer")


def empty_exchange(request: Request, path: str, at: Any, origin: str) -> Exchange:
    shown = PLACEHOLDER.sub("***", request.url)
    return Exchange(request, shown, at, origin, Payload(path, b""), request.method, resource=True)
