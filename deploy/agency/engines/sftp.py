"""Folders of an SSH server (protocols.md 3.19). What lies there is `drops.py`; the SSH server itself `sftp_door.py`."""

from __future__ import annotations

from typing import ClassVar

from deploy.agency.drops import Folder


class Sftp(Folder):
    """One folder a route."""

    name: ClassVar[str] = "sftp"
    SCHEME: ClassVar[str] = "sftp"
    FAULTS: ClassVar[frozenset[str]] = Folder.FAULTS | {"host_key_changed"}


ENGINE = Sftp()
