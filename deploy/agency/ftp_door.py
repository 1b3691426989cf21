"""An FTP server by pyftpdlib, read only and without TLS, over an agency's folders: nothing of this machine's files is in reach."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Any

from pyftpdlib.authorizers import AuthenticationFailed, DummyAuthorizer  # type: ignore[import-untyped]
from pyftpdlib.filesystems import AbstractedFS  # type: ignore[import-untyped]
from pyftpdlib.handlers import FTPHandler  # type: ignore[import-untyped]
from pyftpdlib.ioloop import IOLoop  # type: ignore[import-untyped]
from pyftpdlib.servers import FTPServer  # type: ignore[import-untyped]

from deploy.agency.doors import Door, Visit
from deploy.agency.replies import Reply, reset_when_closed

POLL_S = 0.1
# Without a handler the library would set up one of its own, and print every command.
logging.getLogger("pyftpdlib").addHandler(logging.NullHandler())
_SPOKEN = tuple(FTPHandler.proto_cmds.keys() & {
    "USER", "PASS", "FEAT", "OPTS", "SYST", "NOOP", "TYPE", "PWD", "CWD", "PASV", "EPSV", "MLSD", "LIST", "MDTM", "RETR", "QUIT",
    "ABOR", "STAT",
})  # fmt: skip
"""Every other command of the library would look at this machine's files, or write."""
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class _Paths(AbstractedFS):  # type: ignore[misc]
    """Paths as words. No method that looks at a file is ever called."""

    def validpath(self, path: str) -> bool:
        return True


class _Users(DummyAuthorizer):  # type: ignore[misc]
    """Anonymous, and any user with the stand-in's key as password."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    def validate_authentication(self, username: str, password: str, handler: Any) -> None:
        if username != "anonymous" and password != self._key:
            raise AuthenticationFailed("Authentication failed.")

    def has_user(self, username: str) -> bool:
        return True

    def get_home_dir(self, username: str) -> str:
        return "/"

    def has_perm(self, username: str, perm: str, path: str | None = None) -> bool:
        return perm in "elr"

    def get_msg_login(self, username: str) -> str:
        return "Login successful."

    def get_msg_quit(self, username: str) -> str:
        return "Goodbye."


class _Cut:
    """Half of the bytes; then the connection is gone."""

    def __init__(self, handler: Any, body: bytes, ending: str) -> None:
        self._handler, self._body, self._ending = handler, body, ending

    def more(self) -> bytes:
        body, self._body = self._body, b""
        if not body:
            channel = self._handler.data_channel
            if self._ending == "reset" and channel is not None:
                reset_when_closed(channel.socket)
            self._handler.ioloop.call_later(0, self._handler.close)
            if channel is not None:
                self._handler.ioloop.call_later(0, channel.close)
        return body


def handler_for(visit: Visit) -> type:
    """The class of connections to this host."""

    class Handler(FTPHandler):  # type: ignore[misc]
        abstracted_fs = _Paths
        authorizer = _Users(visit.agency.config.key)
        auth_failed_timeout = 0
        unicode_errors = "surrogateescape"
        banner = "The stand-in agency."

        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            old = visit.switched("list_only") or visit.switched("list_windows")
            spoken = [c for c in _SPOKEN if not (old and c in ("MLSD", "MDTM"))]
            self.proto_cmds = {c: FTPHandler.proto_cmds[c] for c in spoken}

        def ftp_CWD(self, path: str) -> str | None:  # noqa: N802
            if not visit.is_folder(path):
                self.respond("550 No such file or directory.")
                return None
            self.fs.cwd = path
            self.respond(f'250 "{path}" is the current directory.')
            return path

        def ftp_MLSD(self, path: str) -> str | None:  # noqa: N802
            return self._listed(path, "MLSD", _facts)

        def ftp_LIST(self, path: str) -> str | None:  # noqa: N802
            return self._listed(path, "LIST", _windows if visit.switched("list_windows") else _unix)

        def _listed(self, path: str, command: str, form: Any) -> str | None:
            reply, files = visit.listing(path)
            lines = b"".join(form(size, at) + name + b"\r\n" for name, size, at in files)
            return self._sent(path, reply, lines, command)

        def ftp_RETR(self, file: str) -> str | None:  # noqa: N802
            reply = visit.file(file)
            return self._sent(file, reply, reply.body, "RETR")

        def _sent(self, path: str, reply: Reply, body: bytes, command: str) -> str | None:
            if reply.status != 200:
                self.respond(_refusal(reply.status))
                return None

            def send() -> None:
                if reply.broken_after is None:
                    self.push_dtp_data(body, cmd=command)
                else:
                    self.push_dtp_data(_Cut(self, body[: len(body) // 2], reply.ending), isproducer=True, cmd=command)

            if reply.delay_s:
                self.ioloop.call_later(reply.delay_s, send)
            else:
                send()
            return path

        def ftp_STAT(self, path: str) -> None:  # noqa: N802
            self.respond("502 Command not implemented.")

        def ftp_MDTM(self, path: str) -> str | None:  # noqa: N802
            if (file := visit.lies_there(path)) is None:
                self.respond("550 No such file.")
                return None
            self.respond(f"213 {file.modified.astimezone(UTC):%Y%m%d%H%M%S}")
            return path

    return Handler


def _refusal(status: int) -> str:
    if status == 404:
        return "550 No such file or directory."
    if status in (401, 403):
        return "550 Permission denied."
    return "421 Too many connections, try later." if status in (429, 503) else "451 Local error in processing."


def _facts(size: int, at: datetime) -> bytes:
    return f"type=file;size={size};modify={at.astimezone(UTC):%Y%m%d%H%M%S}; ".encode()


def _unix(size: int, at: datetime) -> bytes:
    return f"-rw-r--r--   1 ftp      ftp      {size:>12} {_MONTHS[at.month - 1]} {at.day:>2} {at:%H:%M} ".encode()


def _windows(size: int, at: datetime) -> bytes:
    return f"{at:%m-%d-%y  %I:%M%p} {size:>20} ".encode()


class FtpDoor(Door):
    """One FTP server, in a thread of its own."""

    def __init__(self, visit: Visit) -> None:
        self._server = FTPServer(("127.0.0.1", 0), handler_for(visit), ioloop=IOLoop())
        self.port = self._server.address[1]
        self._stop = threading.Event()
        threading.Thread(target=self._serve, name="stand-in ftp", daemon=True).start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._server.ioloop.loop(timeout=POLL_S, blocking=False)
        self._server.close_all()

    def close(self) -> None:
        self._stop.set()
