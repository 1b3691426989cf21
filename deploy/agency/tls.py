"""Certificates of the stand-in's TLS listener: a good one for each agency's host, or, by fault, one that nobody may accept.

Made anew with each listener, under an authority that only who is given its file trusts. How the listener runs is `running.py`.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from deploy.agency.faults import Flaw


class Certificates:
    """`authority`: the PEM file to trust. `folder`: an existing one, for keys. `flaw_of`: host → what is wrong today.

    `greeted`: every host that a client named, in order, whether it went on or not.
    """

    def __init__(self, folder: Path, flaw_of: Callable[[str], Flaw]) -> None:
        self._folder, self._flaw_of = folder, flaw_of
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stand-in agency, test authority")])
        self._made: dict[tuple[str, Flaw], ssl.SSLContext] = {}
        self.greeted: list[str] = []
        self.authority = folder / "authority.pem"
        own = self._signed(self._name, self._key.public_key(), self._name, self._key, authority=True)
        self.authority.write_bytes(own.public_bytes(Encoding.PEM))

    def context(self) -> ssl.SSLContext:
        """The listener's: which certificate it shows is decided when the client names the host."""
        context = self._context("localhost", "good")

        def chosen(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            host = name or "localhost"
            self.greeted.append(host)
            connection.context = self._context(host, self._flaw_of(host))

        context.sni_callback = chosen
        return context

    def _context(self, host: str, flaw: Flaw) -> ssl.SSLContext:
        if (host, flaw) not in self._made:
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
            named = "elsewhere.example" if flaw == "other_name" else host
            issuer, signer = (subject, key) if flaw == "untrusted" else (self._name, self._key)
            found = self._signed(subject, key.public_key(), issuer, signer, named=named, expired=flaw == "expired")
            pem = self._folder / f"{len(self._made)}.pem"
            private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            pem.write_bytes(found.public_bytes(Encoding.PEM) + private)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            self._made[host, flaw] = context
        return self._made[host, flaw]

    def _signed(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey,
        issuer: x509.Name,
        signer: ec.EllipticCurvePrivateKey,
        *,
        named: str = "",
        expired: bool = False,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=-1 if expired else 30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if named:
            made = made.add_extension(x509.SubjectAlternativeName([_general(named)]), critical=False)
        return made.sign(signer, hashes.SHA256())


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
