"""The servers of the stand-in that speak no HTTP: one for each agency's host, on a loopback port of its own, opened when asked for.

A door only translates. What it is asked goes through the agency as an HTTP request does: routes, faults, clock, and the log.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from deploy.agency.drops import GET, LIST, Laid, laid, unpacked
from deploy.agency.engine import Asked, Fault
from deploy.agency.replies import Reply

if TYPE_CHECKING:
    from datetime import datetime

    from deploy.agency.app import Agency


class Visit:
    """What the door of one host asks the agency for."""

    def __init__(self, agency: Agency, scheme: str, host: str) -> None:
        self.agency, self.scheme, self.host = agency, scheme, host

    def switched(self, fault: str) -> bool:
        """Whether a folder of this host has the fault; for what a server does before it knows the folder. Not counted."""
        with self.agency.lock:
            ids = {r.id for r in self.agency.routes if r.host == self.host and r.scheme == self.scheme}
            return any(one.name == fault for route in ids for one in self.agency.faults.get(route, []))

    def is_folder(self, path: str) -> bool:
        """Whether the path is an agency's folder, or leads to one."""
        path = path.rstrip("/") + "/"
        paths = [r.path.rstrip("/") + "/" for r in self.agency.routes if r.host == self.host and r.scheme == self.scheme]
        return any(known.startswith(path) for known in paths)

    def listing(self, path: str) -> tuple[Reply, list[tuple[bytes, int, datetime]]]:
        """The folder's files; none where the reply refuses, or where a fault left nothing that is a listing."""
        reply = self._asked(LIST, path)
        try:
            return reply, unpacked(reply.body) if reply.status == 200 else []
        except ValueError:
            return Reply(500), []

    def file(self, path: str) -> Reply:
        return self._asked(GET, path)

    def _asked(self, method: str, path: str) -> Reply:
        reply, route = self.agency.reply(method, self.host, path, "", {}, b"", scheme=self.scheme)
        sent = len(reply.body) if reply.broken_after is None else reply.broken_after
        self.agency.note(
            {
                "at": self.agency.now().isoformat(),
                "method": method,
                "host": self.host,
                "path": path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
                "query": "",
                "route": route.id if route else None,
                "status": reply.status,
                "headers": {},
                "bytes": sent,
            }
        )
        return reply

    def lies_there(self, path: str) -> Laid | None:
        """The file as it is at this moment, for its size and time. Not counted, and nothing happens to it."""
        agency, route = self.agency, self.agency.find(self.host, path, self.scheme)
        if route is None or (source := agency.source(route)) is None:
            return None
        with agency.lock:
            faults = {one.name: Fault(one.count, one.argument) for one in agency.faults.get(route.id, [])}
        asked = Asked("", self.host, path, "", {}, b"", agency.now(), "", faults, agency.memories[route.id])
        name = path[len(route.path.rstrip("/")) :].strip("/").encode("utf-8", "surrogateescape")
        return next((file for file in laid(route, source, asked) if file.name == name), None)


class Door(ABC):
    """A running server. `host_key`: the fingerprint that a collector may believe; None where the protocol has none."""

    port: int
    host_key: str | None = None

    @abstractmethod
    def close(self) -> None:
        """Stop answering; connections end."""


def open_door(visit: Visit) -> Door:
    """The server for the visit's host, running. Its library is loaded now and not before."""
    if visit.scheme == "sftp":
        from deploy.agency.sftp_door import SftpDoor

        return SftpDoor(visit)
    from deploy.agency.ftp_door import FtpDoor

    return FtpDoor(visit)
