"""What a broken exchange means, and the one sentence that says so without the client's own message (it may hold the URL)."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import aiohttp

from assets.protocols.kernel import BadRequest, Outcome, Transient
from assets.transport.resolving import AddressRefused
from assets.transport.secrets import Secrets

BROKEN = (aiohttp.ClientError, AddressRefused, OSError, TimeoutError, ValueError)
"""Everything that the client raises for a request that did not come to a whole response."""


def sentence(error: BaseException, url: str, secrets: Secrets) -> str:
    """One sentence for a broken exchange, built without the client's own message where that may hold the URL."""
    host = urlsplit(url).hostname or ""
    if isinstance(error, AddressRefused):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate of {host} is not trusted: {getattr(error.certificate_error, 'verify_message', '')}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {host} cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"could not connect to {host}: {secrets.redact(error.os_error.strerror or type(error.os_error).__name__)}"
    if isinstance(error, TimeoutError):
        return f"{host} did not answer in time"
    if isinstance(error, aiohttp.ClientPayloadError | ConnectionError | aiohttp.ServerDisconnectedError):
        return f"{host} broke the connection"
    return f"the exchange with {host} failed ({type(error).__name__})"


def verdict(error: BaseException, why: str) -> Outcome:
    """What a request without a response means: a broken trust or address is ours to mend, the rest may pass."""
    if isinstance(error, AddressRefused | aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL):
        return BadRequest(why)
    if isinstance(error, aiohttp.ClientConnectorSSLError) and not isinstance(
        error.os_error, ssl.SSLEOFError | ssl.SSLZeroReturnError
    ):
        return BadRequest(f"{why}; an old server may need source.tls.legacy")
    return Transient(why)
