"""Real servers for drops, on loopback: OpenSSH's sshd, and paramiko's own SSH server where passwords or odd names are wanted."""

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

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
def running_sshd(scratch: Path) -> Iterator[SshServer]:
    """sshd as the present user, with host keys of three kinds, a user key, and SFTP alone."""
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
