"""An SFTP server by paramiko, read only, over an agency's folders: nothing of this machine's files is in reach."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import stat
import threading
import time
from typing import Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)
from paramiko.sftp import SFTP_FAILURE, SFTP_NO_SUCH_FILE, SFTP_PERMISSION_DENIED

from deploy.agency.doors import Door, Visit
from deploy.agency.replies import Reply, reset_when_closed


class _Names(paramiko.Message):
    """A message whose names may be in any encoding."""

    def get_text(self) -> str:
        return self.get_string().decode("utf-8", "surrogateescape")


class _Server(paramiko.SFTPServer):
    def _process(self, kind: int, number: int, message: paramiko.Message) -> None:
        super()._process(kind, number, _Names(message.get_remainder()))  # type: ignore[misc]


class _Login(paramiko.ServerInterface):
    """Any user with the stand-in's key as password."""

    def __init__(self, visit: Visit, connection: paramiko.Transport) -> None:
        self.visit, self.connection = visit, connection

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        return AUTH_SUCCESSFUL if password == self.visit.agency.config.key else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class _File(paramiko.SFTPHandle):
    def __init__(self, files: _Files, path: str, reply: Reply) -> None:
        super().__init__(0)
        self._files, self._path, self._reply = files, path, reply

    def read(self, offset: int, length: int) -> bytes | int:
        end = self._reply.broken_after
        if end is not None and offset + length > end:
            self._files.break_off(self._reply.ending)
            return SFTP_FAILURE
        return self._reply.body[offset : offset + length]

    def stat(self) -> paramiko.SFTPAttributes | int:
        return self._files.stat(self._path)

    def close(self) -> None:
        return None


class _Files(paramiko.SFTPServerInterface):
    def __init__(self, server: paramiko.ServerInterface, *more: Any) -> None:
        super().__init__(server)
        assert isinstance(server, _Login)
        self._visit, self._connection = server.visit, server.connection

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        reply, files = self._visit.listing(_absolute(path))
        if (refused := self._refused(reply)) is not None:
            return refused
        if reply.broken_after is not None:
            self.break_off(reply.ending)
            return SFTP_FAILURE
        return [_attributes(size, at.timestamp(), name) for name, size, at in files]

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        reply = self._visit.file(_absolute(path))
        refused = self._refused(reply)
        return _File(self, path, reply) if refused is None else refused

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        if (file := self._visit.lies_there(_absolute(path))) is not None:
            return _attributes(len(file.body), file.modified.timestamp(), file.name)
        return SFTP_NO_SUCH_FILE

    lstat = stat

    def _refused(self, reply: Reply) -> int | None:
        if reply.delay_s:
            time.sleep(reply.delay_s)
        if reply.status == 200:
            return None
        return {404: SFTP_NO_SUCH_FILE, 401: SFTP_PERMISSION_DENIED, 403: SFTP_PERMISSION_DENIED}.get(reply.status, SFTP_FAILURE)

    def break_off(self, ending: str) -> None:
        """End the whole connection, politely or not."""
        if ending == "reset" and isinstance(sock := self._connection.sock, socket.socket):
            reset_when_closed(sock)
        self._connection.close()


def _absolute(path: str) -> str:
    return f"/{path.strip('/')}"


def _attributes(size: int, modified: float, name: bytes) -> paramiko.SFTPAttributes:
    made = paramiko.SFTPAttributes()
    made.st_size, made.st_mode, made.st_uid, made.st_gid = size, stat.S_IFREG | 0o444, 0, 0
    made.st_mtime = made.st_atime = int(modified)
    made.filename = name  # type: ignore[assignment]  # as bytes it goes over the wire unchanged
    return made


class SftpDoor(Door):
    """One SSH server. Under the fault `host_key_changed` it shows another key than the one it told of."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._key, self._other = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
        self.host_key = "SHA256:" + base64.b64encode(hashlib.sha256(self._key.asbytes()).digest()).decode().rstrip("=")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[paramiko.Transport] = []
        threading.Thread(target=self._serve, name="stand-in sftp", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._welcome, args=(connected,), daemon=True).start()

    def _welcome(self, connected: socket.socket) -> None:
        connection = paramiko.Transport(connected)
        self._open = [*(one for one in self._open if one.is_active()), connection]
        connection.add_server_key(self._other if self._visit.switched("host_key_changed") else self._key)
        connection.set_subsystem_handler("sftp", _Server, _Files)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            connection.start_server(event=threading.Event(), server=_Login(self._visit, connection))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
