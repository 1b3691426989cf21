"""SFTP: files that an agency lays into a folder of an SSH server (protocols.md 3.19).

Here is only what a feed declares. Which files are ready is `drops.py`; the connection and its host key `transport/sftp.py`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from assets.protocols.drops import Drop, DropSource, Login
from assets.protocols.kernel import SourceBase


def is_fingerprint(text: str) -> bool:
    """Whether this can be the SHA-256 fingerprint of a host key, as `ssh-keygen -lf` shows it."""
    return text.startswith("SHA256:") and len(text.rstrip("=")) == len("SHA256:") + 43


class SftpLogin(Login):
    """Who logs in over SSH."""

    kind: str = Field("password", pattern="^(password|private_key)$", description="password or private_key.")
    secret: str | None = Field(
        None,
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="Environment variable that holds the password, or the private key's text (line ends may be written \\n).",
    )


class SftpSource(DropSource):
    """`source:` of a feed whose files lie on an SFTP server."""

    protocol: Literal["sftp"]
    url: str = Field(
        pattern=r"^sftp://[^\s/?#@]+(/[^\s?#]*)?$",
        description="Folder: sftp://host:port/path; /~/path is below the user's home. {partition} is the partition's key.",
    )
    host_keys: tuple[str, ...] = Field(
        min_length=1,
        description="Fingerprints of the server's host keys (SHA256:…), as the agency states them or `ssh-keygen -lf` shows them.",
    )
    auth: SftpLogin = SftpLogin()

    @model_validator(mode="after")
    def _complete(self) -> SftpSource:
        if not self.auth.name or not self.auth.secret:
            raise ValueError("auth needs the user's 'name' and the 'secret', the variable that holds the password or key")
        for key in self.host_keys:
            if not is_fingerprint(key):
                raise ValueError(f"'{key}' is no fingerprint like SHA256: and 43 characters, which `ssh-keygen -lf` shows")
        return self


class Sftp(Drop[SftpSource]):
    """Files of a folder on an SSH server."""

    name: ClassVar[str] = "sftp"
    Source: ClassVar[type[SourceBase]] = SftpSource
    schemes: ClassVar[tuple[str, ...]] = ("sftp",)


PROTOCOL = Sftp()
