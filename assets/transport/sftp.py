"""SFTP by paramiko, blocking: the pinned host key first, the login after it, then a listing or a file."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import socket
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import paramiko
from paramiko.sftp import CMD_HANDLE, CMD_NAME, CMD_OPEN, CMD_OPENDIR, CMD_READDIR, SFTP_FLAG_READ

from assets.protocols.drops import Entry, entry_of
from assets.protocols.kernel import AuthFailed, BadRequest, Outcome, Request, Transient
from assets.transport.drops import Connection, DropFailed, missing

_FAMILIES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""Kinds of host key. A server has several, and shows the one that the client asks for first."""
_ANY = tuple(kind for family in _FAMILIES for kind in family)

# What goes wrong is told by the outcome; without a handler the library would print it, with a traceback, on the terminal.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class _File(paramiko.SFTPFile):
    """Reading ahead ends in silence when the connection is closed under it; the reader itself notices."""

    def _prefetch_thread(self, chunks: Any, max_concurrent_requests: int | None) -> None:
        try:
            super()._prefetch_thread(chunks, max_concurrent_requests)  # type: ignore[misc]
        except (OSError, EOFError, paramiko.SSHException):
            return


class _Client(paramiko.SFTPClient):
    """Names as bytes: paramiko's own listing fails as a whole at the first name that is no UTF-8."""

    def entries(self, path: bytes) -> Iterator[tuple[bytes, paramiko.SFTPAttributes]]:
        kind, answer = self._request(CMD_OPENDIR, path)  # type: ignore[attr-defined]
        if kind != CMD_HANDLE:
            raise paramiko.SFTPError("no handle")
        handle = answer.get_binary()
        while True:
            try:
                kind, answer = self._request(CMD_READDIR, handle)  # type: ignore[attr-defined]
            except EOFError:
                return
            if kind != CMD_NAME:
                raise paramiko.SFTPError("no names")
            for _ in range(answer.get_int()):
                name = answer.get_binary()
                answer.get_binary()
                yield name, paramiko.SFTPAttributes._from_msg(answer)  # type: ignore[attr-defined]

    def opened(self, path: bytes) -> _File:
        kind, answer = self._request(CMD_OPEN, path, SFTP_FLAG_READ, paramiko.SFTPAttributes())  # type: ignore[attr-defined]
        if kind != CMD_HANDLE:
            raise paramiko.SFTPError("no handle")
        return _File(self, answer.get_binary(), "rb", -1)


class SftpConnection(Connection):
    """One SSH connection. Only a server whose key is pinned is given the password."""

    default_port = 22

    def open(self) -> None:
        self._transport: paramiko.Transport | None = None
        self._file: paramiko.SFTPFile | None = None
        self._path, self._is_listing = "", False
        seen: list[str] = []
        shown: set[str] = set()
        believed = {key.rstrip("=") for key in (*self.source.host_keys, self.place.host_key) if key}
        for family in (_ANY, *_FAMILIES):  # most often the first key shown is the declared one
            if shown & set(family) or (transport := self._shaken(family)) is None:
                continue
            key = transport.get_remote_server_key()
            fingerprint = fingerprint_of(key)
            shown.add(key.get_name())
            if fingerprint in believed:
                return self._login(transport)
            transport.close()
            seen += [fingerprint] if fingerprint not in seen else []
        if not seen:
            old = f"{self.place.host} speaks an SSH that is too old: no kind of host key or of key exchange is safe on both sides"
            raise DropFailed(BadRequest(old))
        raise DropFailed(
            AuthFailed(
                f"the host key of {self.place.host} is {' or '.join(seen)}, and not the declared one",
                "ask the agency, by telephone, for its new host key fingerprint, and only then change source.host_keys; "
                "nothing was sent to this server",
            )
        )

    def _shaken(self, family: tuple[str, ...]) -> paramiko.Transport | None:
        """A connection whose server showed a host key of this family; None where it has none."""
        limits = self.source.limits
        connected = socket.create_connection((self.place.address, self.place.port), timeout=limits.connect_timeout_s)
        transport = self._transport = paramiko.Transport(connected)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = limits.connect_timeout_s
        transport.channel_timeout = limits.read_timeout_s
        transport.get_security_options().key_types = family
        try:
            transport.start_client(timeout=limits.connect_timeout_s)
        except paramiko.ssh_exception.IncompatiblePeer:
            transport.close()
            return None
        return transport

    def _login(self, transport: paramiko.Transport) -> None:
        auth, secret = self.source.auth, self.password()
        if auth.kind == "private_key":
            transport.auth_publickey(auth.name, _private_key(secret))
        else:
            transport.auth_password(auth.name, secret)
        client = _Client.from_transport(transport)
        assert client is not None
        channel = client.get_channel()
        assert channel is not None
        channel.settimeout(self.source.limits.read_timeout_s)
        self._client = client

    def listing(self, path: bytes) -> Iterator[Entry]:
        self._path, self._is_listing = path.decode("utf-8", "backslashreplace"), True
        for name, seen in self._client.entries(_below_home(path)):
            attributes = seen
            if stat.S_ISLNK(attributes.st_mode or 0):
                try:
                    attributes = self._client.stat(_below_home(path) + b"/" + name)
                except OSError:
                    continue  # a link that leads nowhere
            if attributes.st_mode is None or stat.S_ISREG(attributes.st_mode):
                yield entry_of(name, attributes.st_size, _moment(attributes.st_mtime))

    def start(self, path: bytes, request: Request) -> None:
        self._path, self._is_listing = path.decode("utf-8", "backslashreplace"), False
        self._file = self._client.opened(_below_home(path))
        if (size := request.headers.get("size")) is not None:
            self._file.prefetch(int(size), max_concurrent_requests=64)

    def read(self, size: int) -> bytes:
        assert self._file is not None
        return self._file.read(size)

    def finish(self, received: int) -> None:
        """The file must still be what was listed: a writer may have been at it while it was read."""
        assert self._file is not None
        now = self._file.stat()
        listed = self.request.headers.get("modified")
        if (now.st_size not in (None, received)) or (listed and _moment(now.st_mtime) != listed):
            raise DropFailed(Transient("the file changed after it was listed"))

    def close(self) -> None:
        transport = getattr(self, "_transport", None)
        if transport is not None:
            transport.close()

    def judge(self, error: BaseException) -> Outcome | None:
        host = self.place.host
        if isinstance(error, paramiko.BadAuthenticationType):
            return AuthFailed(f"{host} takes no {self.source.auth.kind}; it takes {', '.join(sorted(error.allowed_types))}")
        if isinstance(error, paramiko.AuthenticationException):
            return AuthFailed(f"{host} does not admit the user {self.source.auth.name} with this {self.source.auth.kind}")
        if isinstance(error, PermissionError):
            return AuthFailed(f"{host} does not let the user {self.source.auth.name} read {self._path}")
        if isinstance(error, FileNotFoundError):
            return missing(self._path, self._is_listing)
        if isinstance(error, paramiko.SSHException | paramiko.SFTPError):
            return Transient(f"{host} broke the SSH connection")
        if isinstance(error, UnicodeDecodeError | ValueError):
            return BadRequest(f"{host} speaks no SFTP that can be read")
        return None


def fingerprint_of(key: paramiko.PKey) -> str:
    """As `ssh-keygen -lf` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _private_key(text: str) -> paramiko.PKey:
    text = text.replace("\\n", "\n").strip() + "\n"
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text))
        except (paramiko.SSHException, ValueError):
            continue
    raise DropFailed(
        AuthFailed(
            "the private key cannot be read",
            "put the text of an unencrypted Ed25519, ECDSA or RSA key into the variable, line ends written \\n",
        )
    )


def _below_home(path: bytes) -> bytes:
    """`/~/x` is x below the user's home; a folder without its last slash."""
    path = path.removeprefix(b"/~/") if path.startswith(b"/~") else path
    return path.rstrip(b"/") or (b"/" if path.startswith(b"/") else b".")


def _moment(seconds: float | None) -> str | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return None
