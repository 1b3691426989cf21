"""Which servers are believed: one TLS context for HTTP and FTP alike. Verification is never switched off."""

from __future__ import annotations

import ssl

from assets.errors import SettingsError
from assets.protocols.kernel import Tls


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A verifying context, always; with more trust or older ciphers where the feed says so. Raises SettingsError."""
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
    return context
