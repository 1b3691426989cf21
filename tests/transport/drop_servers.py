"""Real servers for drops, on loopback: OpenSSH's sshd, paramiko's own SSH server where a password is wanted, and pyftpdlib."""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paramiko
import pyftpdlib.servers
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.ioloop import IOLoop

from tests.integration.s3_server import free_port

START_DEADLINE_S = 20
PASSWORD = "pa55+/ word=한글9"


def sshd_binary() -> str | None:
    """OpenSSH's server, which is seldom on a user's PATH."""
    return shutil.which("sshd") or shutil.which("/usr/sbin/sshd")


@dataclass
class SshServer:
    """`folder`: what is served (absolute). `keys`: fingerprints by kind. `private`: the text of the user's key."""

    port: int
    folder: Path
    user: str
    private: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"sftp://files.agency.example:{self.port}{self.folder}"


@contextmanager
def running_sshd(scratch: Path, more: str = "") -> Iterator[SshServer]:
    """sshd as the present user, with host keys of three kinds, a user key, and SFTP alone. `more`: of its settings."""
    binary = sshd_binary()
    assert binary is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    keys = {}
    for kind in ("ed25519", "ecdsa", "rsa"):
        keys[kind] = _keygen(scratch / f"host_{kind}", kind)
    _keygen(scratch / "user", "ed25519")
    shutil.copy(scratch / "user.pub", scratch / "authorized")
    port, served = free_port(), scratch / "out"
    served.mkdir()
    config = scratch / "sshd_config"
    config.write_text(
        f"""Port {port}
ListenAddress 127.0.0.1
HostKey {scratch}/host_ed25519
HostKey {scratch}/host_ecdsa
HostKey {scratch}/host_rsa
AuthorizedKeysFile {scratch}/authorized
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
ForceCommand internal-sftp
{more}
""",
        encoding="utf-8",
    )
    with (scratch / "sshd.log").open("wb") as log:
        process = subprocess.Popen([binary, "-D", "-e", "-f", str(config)], stderr=log, stdout=log)
    try:
        _wait_for(port, process, scratch / "sshd.log")
        yield SshServer(port, served, getpass.getuser(), (scratch / "user").read_text(), keys)
    finally:
        process.kill()
        process.wait()


def _keygen(path: Path, kind: str) -> str:
    """Make a key pair. The public key's fingerprint, as ssh-keygen says it."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)
    shown = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], check=True, capture_output=True, text=True).stdout
    return shown.split()[1]


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"sshd ended: {log.read_text(errors='replace')[-800:]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("sshd did not answer in time")


# --- paramiko's server: passwords, without an account on this machine ---


class _Door(paramiko.ServerInterface):
    def __init__(self, server: SshServer) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        right = (username, password) == (self._server.user, PASSWORD)
        self._server.logins.append(password)
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Files(paramiko.SFTPServerInterface):
    """The real folder, read only."""

    def __init__(self, server: paramiko.ServerInterface, root: Path) -> None:
        self._root = root

    def _real(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        try:
            return [paramiko.SFTPAttributes.from_stat(p.stat(), p.name) for p in self._real(path).iterdir()]
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(self._real(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        try:
            handle = paramiko.SFTPHandle(flags)
            handle.readfile = self._real(path).open("rb")  # type: ignore[attr-defined]
            handle.stat = lambda: self.stat(path)  # type: ignore[method-assign]
            return handle
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)


@contextmanager
def running_password_server(folder: Path) -> Iterator[SshServer]:
    """An SSH server that knows one user by password. `logins` are the passwords that it was given."""
    key = paramiko.ECDSAKey.generate()
    fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    listener = socket.create_server(("127.0.0.1", 0))
    server = SshServer(listener.getsockname()[1], Path("/"), "hanbit", keys={"ecdsa": fingerprint})
    open_ones: list[paramiko.Transport] = []

    def serve() -> None:
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connected)
            open_ones.append(transport)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files, folder)
            try:
                transport.start_server(server=_Door(server), event=threading.Event())
            except (paramiko.SSHException, EOFError):
                continue

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for transport in open_ones:
            transport.close()


# --- pyftpdlib ---


@dataclass
class FtpServer:
    """`seen`: every command that came. `certificate`: PEM of the authority to trust, where it speaks TLS."""

    port: int
    seen: list[str]
    certificate: Path | None = None


@contextmanager
def running_ftp(
    folder: Path,
    certificate: Path | None = None,
    *,
    implicit: bool = False,
    without: tuple[str, ...] = (),
    retr: Callable[[Any], None] | None = None,
    **handler: Any,
) -> Iterator[FtpServer]:
    """An FTP server that knows `hanbit` by password, and anonymous. `without`: commands that it does not know.

    `certificate`: PEM with key, which makes it speak TLS and nothing else. `retr`: called as a file is asked for.
    """
    authorizer = DummyAuthorizer()
    authorizer.add_user("hanbit", PASSWORD, str(folder), perm="elr")
    authorizer.add_anonymous(str(folder))
    seen: list[str] = []
    base: type = TLS_FTPHandler if certificate else FTPHandler

    class Handler(base):  # type: ignore[misc]
        proto_cmds = {k: v for k, v in base.proto_cmds.items() if k not in without}  # noqa: RUF012

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            seen.append(cmd)
            super().pre_process_command(line, cmd, arg)

        def ftp_RETR(self, file: str) -> Any:
            if retr is not None:
                retr(self)
            return super().ftp_RETR(file)

        def handle(self) -> None:
            if implicit:
                self.secure_connection(self.ssl_context)
            super().handle()

    Handler.authorizer = authorizer
    Handler.auth_failed_timeout = 0
    Handler.unicode_errors = "surrogateescape"
    if certificate:
        Handler.certfile, Handler.tls_control_required, Handler.tls_data_required = str(certificate), True, True
    for name, value in handler.items():
        setattr(Handler, name, value)
    server = pyftpdlib.servers.FTPServer(("127.0.0.1", 0), Handler, ioloop=IOLoop())
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            server.serve_forever(timeout=0.02, blocking=False)
        server.close_all()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield FtpServer(server.address[1], seen, certificate)
    finally:
        stop.set()
        thread.join()


def certificate_for(name: str, path: Path) -> Path:
    """A self-signed certificate with its key, one PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path
