"""Folders of an FTP server (protocols.md 3.19). What lies there is `drops.py`; the FTP server itself `ftp_door.py`."""

from __future__ import annotations

from typing import ClassVar

from deploy.agency.drops import Folder


class Ftp(Folder):
    """One folder a route. `list_only`: an old server without MLSD and MDTM; `list_windows`: whose LIST has Windows's form too."""

    name: ClassVar[str] = "ftp"
    SCHEME: ClassVar[str] = "ftp"
    FAULTS: ClassVar[frozenset[str]] = Folder.FAULTS | {"list_only", "list_windows"}


ENGINE = Ftp()
