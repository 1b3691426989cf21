"""FTP, and FTP over TLS: files that an agency lays into a folder of an FTP server (protocols.md 3.19).

Here is only what a feed declares. Which files are ready is `drops.py`; the connection and the listing's forms `transport/ftp.py`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from assets.protocols.drops import Drop, DropSource, Login
from assets.protocols.kernel import SourceBase


class FtpLogin(Login):
    """Who logs in. Without a kind: anonymous."""

    kind: str = Field("none", pattern="^(none|password)$", description="password, or none for anonymous FTP.")
    secret: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that holds the password.")


class FtpSource(DropSource):
    """`source:` of a feed whose files lie on an FTP server."""

    protocol: Literal["ftp"]
    url: str = Field(
        pattern=r"^ftps?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="Folder. ftp://host/path begins TLS on port 21 (AUTH TLS); ftps://host/path is TLS from the first byte, "
        "on port 990. /~/path is below the user's home. {partition} is the partition's key.",
    )
    plain: bool = Field(False, description="The server has no TLS: password and files travel in the clear.")
    auth: FtpLogin = FtpLogin()

    @model_validator(mode="after")
    def _complete(self) -> FtpSource:
        if self.auth.kind == "password" and not (self.auth.name and self.auth.secret):
            raise ValueError("auth needs the user's 'name' and the 'secret', the variable that holds the password")
        if self.plain and self.url.startswith("ftps:"):
            raise ValueError("an ftps:// address is never plain: write ftp://, or drop 'plain'")
        return self


class Ftp(Drop[FtpSource]):
    """Files of a folder on an FTP server."""

    name: ClassVar[str] = "ftp"
    Source: ClassVar[type[SourceBase]] = FtpSource
    schemes: ClassVar[tuple[str, ...]] = ("ftp", "ftps")


PROTOCOL = Ftp()
