"""S3 by obstore, blocking: a listing page by page, a file as a stream. Nothing of this process's own AWS_* variables goes along."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store

from assets.protocols.drops import Entry, entry_of
from assets.protocols.kernel import AuthFailed, BadRequest, Outcome, RateLimited, Request, Transient
from assets.transport.drops import Connection, DropFailed, missing

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_PORTS = {"http": 80, "https": 443}


class S3Connection(Connection):
    """One bucket. Every setting is given, because obstore takes what is missing from the environment, our own store's keys too."""

    @classmethod
    def where(cls, source: Any, request: Request) -> tuple[str, int]:
        parts = urlsplit(source.answering)
        return parts.hostname or "", parts.port or _PORTS[parts.scheme]

    def open(self) -> None:
        source, limits = self.source, self.source.limits
        endpoint = f"http://{self.place.address}:{self.place.port}" if self.place.redirected else source.answering
        self._key, self._is_listing = "", True
        self._stream: Iterator[Any] = iter(())
        signed = source.auth.kind == "access_key"
        keys = {"access_key_id": "", "secret_access_key": "", "token": None, "expires_at": None}
        if signed:
            keys |= {
                "access_key_id": self.secrets.fill_header(f"{{secret:{source.auth.name}}}"),
                "secret_access_key": self.password(),
            }
        self._store: Any = S3Store(
            urlsplit(source.url).netloc,
            endpoint=endpoint,
            region=source.region,
            skip_signature=not signed,
            virtual_hosted_style_request=False,
            request_payer=source.requester_pays,
            client_options={
                "allow_http": endpoint.startswith("http:"),
                "connect_timeout": timedelta(seconds=limits.connect_timeout_s),
                "read_timeout": timedelta(seconds=limits.read_timeout_s),
                "timeout": timedelta(seconds=limits.total_timeout_s),
            },
            retry_config={"max_retries": 0},
            credential_provider=lambda: keys,  # type: ignore[arg-type]
        )

    def listing(self, path: bytes) -> Iterator[Entry]:
        prefix = path.decode().strip("/")
        self._key = prefix
        below = f"{prefix}/" if prefix else ""
        after = self.request.headers.get("start-after")
        for page in obstore.list(self._store, prefix or None, offset=f"{below}{after}" if after else None, chunk_size=1000):
            for seen in page:
                mark = "@".join(filter(None, (seen["e_tag"], seen["version"])))
                at = seen["last_modified"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                name = seen["path"].removeprefix(below)
                yield entry_of(name.encode(), seen["size"], at, mark or None, safe="/")

    def start(self, path: bytes, request: Request) -> None:
        self._key, self._is_listing = path.decode().strip("/"), False
        tag = request.headers.get("version", "").partition("@")[0]
        got = obstore.get(self._store, self._key, options={"if_match": tag} if tag else None)
        self._listed = request.headers.get("size")
        self._stream = iter(got.stream(min_chunk_size=256 * 1024))

    def read(self, size: int) -> bytes:
        return bytes(next(self._stream, b""))

    def finish(self, received: int) -> None:
        if self._listed is not None and int(self._listed) != received:
            raise DropFailed(Transient(f"the file ends after {received} of {self._listed} bytes"))

    def close(self) -> None:
        self._stream = iter(())

    def judge(self, error: BaseException) -> Outcome | None:
        host, text = self.place.host, str(error)
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            return AuthFailed(f"{host} does not let this key read {self._key or 'the bucket'}")
        if isinstance(error, exceptions.NotFoundError | FileNotFoundError):
            return missing(self._key or "the bucket", self._is_listing)
        if isinstance(error, exceptions.PreconditionError):
            return Transient("the file changed after it was listed")
        if isinstance(error, exceptions.InvalidPathError | UnicodeDecodeError):
            return BadRequest("a key that cannot be asked for: it holds an empty or a dotted part")
        if isinstance(error, exceptions.BaseError):
            found, code = _STATUS.search(text), _CODE.search(text)
            outcome = meaning(int(found[1]) if found else 0, code[1] if code else "", host)
            return outcome or missing(self._key or "the bucket", self._is_listing)
        return None


def meaning(status: int, code: str, host: str) -> Outcome | None:
    """What a refusal means: HTTP status (0: none came) and S3's own code. None: it is not there."""
    if code == "RequestTimeTooSkewed":
        return BadRequest(f"{host} says that the clock of this machine is wrong")
    if code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException") or 300 <= status < 400:
        return BadRequest(f"{host} says that the bucket is in another region: correct source.region or source.endpoint")
    if code == "SlowDown" or status == 429:
        return RateLimited(None, f"{host} says {code or status}")
    if status in (401, 403):
        return AuthFailed(f"{host} does not accept this key, or does not let it read here ({code or status})")
    if status in (404, 410):
        return None
    if 400 <= status < 500 and status not in (408, 425):
        return BadRequest(f"{host} refuses with {status} {code}".rstrip())
    return Transient(f"{host} answers {status} {code}".rstrip() if status else f"could not connect to {host}, or it broke off")
