"""The object store: where everything that Madang keeps is put (layout: design.md), on `file://` or `s3://` alike.

obstore moves the bytes; `minio` administers buckets (`bootstrap`). Keys are relative to the store's URL. Objects are
written once under names that nobody reuses; only pointers (`index.json`) change, by `swap`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import GenericError, NotFoundError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from assets.errors import IntegrityError, SettingsError, StoreConflict, StoreUnreachable

_SEE_KEYS = "see that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are right and may use it, and that MADANG_STORE names it"
_SEE_SERVER = "see that it runs, and that AWS_ENDPOINT_URL names it, like http://s3.example:9000; madang doctor asks it again"

_SILENT = "the object store does not answer"
_PASSING = ("408", "429")
"""Statuses below 500 of a server that may answer later."""

SWAP_ATTEMPTS = 8
TICKET_LIFE_S = 30
"""How long a writer may hold a pointer alone; far more than one small PUT needs."""
SWAP_FILES = re.compile(r"(^|/)(\.tickets/|\.[^/]+\.(lock|part)$)")
"""Lock and part files on `file://`, tickets on S3."""
UNFINISHED = re.compile(r"#\d+$")
"""How obstore names a file that it has not finished writing; it lists none of them."""


@dataclass(frozen=True)
class Pointer:
    """A mutable JSON object as it was read: `value`, and the `version` that a swap must still find (None: absent)."""

    value: dict[str, Any] | None
    version: str | None


class Store:
    """One object store. `url`: file:///abs/dir or s3://bucket[/prefix]; S3 settings are the AWS_* variables.

    Where an S3 server does not answer, after the client's own retries, every method raises StoreUnreachable, and SettingsError
    where it refuses.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme == "file":
            self.root: Path | None = Path(unquote(parts.path))
            self.root.mkdir(parents=True, exist_ok=True)
            self._store: LocalStore | S3Store = LocalStore(self.root)
        elif parts.scheme == "s3" and parts.netloc:
            self.root = None
            self._store = S3Store.from_url(self.url, client_options=_client_options(), config=_s3_config())
        else:
            raise SettingsError(
                f"'{url}' is no store URL", where="MADANG_STORE", mend="use file:///absolute/folder or s3://bucket/prefix"
            )

    @property
    def is_local(self) -> bool:
        return self.root is not None

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    # --- immutable objects ---

    def put_file(self, key: str, path: Path) -> None:
        """Stream a local file to `key` (multipart on S3)."""
        self._put(key, path)

    def put_bytes(self, key: str, data: bytes) -> None:
        self._put(key, data)

    def _put(self, key: str, data: bytes | Path, **how: Any) -> None:
        try:
            with self._answering():
                obstore.put(self._store, _checked(key), data, **how)
        except (NotFoundError, FileNotFoundError) as error:
            if self.root is None and "NoSuchBucket" in str(error):
                raise _failed(self.url, str(error)) from error
            raise

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What the client tells at length of a server that dies or refuses, in one sentence. A file's errors stay what they are."""
        try:
            yield
        except (GenericError, PermissionDeniedError, UnauthenticatedError) as error:
            if self.root is not None:
                raise
            raise _failed(self.url, str(error)) from error

    def put_json(self, key: str, value: Any) -> None:
        self.put_bytes(key, dump_json(value))

    def get_bytes(self, key: str) -> bytes:
        """Raises FileNotFoundError where there is no such object."""
        try:
            with self._answering():
                return bytes(obstore.get(self._store, _checked(key)).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(f"{self.url}/{key}") from error

    def get_json(self, key: str) -> Any:
        return json.loads(self.get_bytes(key))

    def exists(self, key: str) -> bool:
        try:
            with self._answering():
                obstore.head(self._store, _checked(key))
        except (NotFoundError, FileNotFoundError):
            return False
        return True

    def size(self, key: str) -> int:
        """Bytes. Raises FileNotFoundError where there is no such object."""
        try:
            with self._answering():
                return int(obstore.head(self._store, _checked(key))["size"])
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(f"{self.url}/{key}") from error

    def list(self, prefix: str) -> Iterator[str]:
        """Keys below `prefix/`, in no particular order; what swapping a pointer needs beside it is not among them."""
        return (key for key in self._keys(_checked(prefix)) if not SWAP_FILES.search(key))

    def _keys(self, prefix: str) -> Iterator[str]:
        pages = iter(obstore.list(self._store, prefix=prefix))
        while True:
            with self._answering():
                page = next(pages, None)
            if page is None:
                return
            yield from (str(meta["path"]) for meta in page)

    def folders(self, prefix: str) -> tuple[str, ...]:
        """Names directly below `prefix/` that keys go on from, sorted."""
        with self._answering():
            below = obstore.list_with_delimiter(self._store, prefix=_checked(prefix))["common_prefixes"]
        return tuple(sorted(path.rpartition("/")[2] for path in below))

    def delete(self, key: str) -> None:
        with self._answering():
            obstore.delete(self._store, _checked(key))

    def sweep(self, prefix: str) -> None:
        """Remove what writers that were killed in the middle of a put left below `prefix/`; nobody may be writing there now.

        On `file://` obstore writes beside the object (`name#1`) and then renames; on S3 an unfinished put is invisible.
        """
        if self.root is not None:
            for path in (self.root / _checked(prefix)).rglob("*"):
                if UNFINISHED.search(path.name) and path.is_file():
                    path.unlink(missing_ok=True)

    def download(self, key: str, path: Path) -> None:
        """Stream `key` into a local file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: threads of one process may download the same object at the same time.
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        try:
            with part.open("wb") as file, self._answering():
                for chunk in obstore.get(self._store, _checked(key)).stream(min_chunk_size=4 * 1024 * 1024):
                    file.write(chunk)
            part.replace(path)
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(f"{self.url}/{key}") from error
        finally:
            part.unlink(missing_ok=True)

    def local_path(self, key: str, cache: Path) -> Path:
        """A local file with the bytes of an immutable object: the object itself on `file://`, a cached copy on S3."""
        if self.root is not None:
            path = self.root / _checked(key)
            if not path.exists():
                raise FileNotFoundError(f"{self.url}/{key}")
            return path
        path = cache / _checked(key)
        if not path.exists():
            self.download(key, path)
        if path.stat().st_size != self.size(key):
            raise IntegrityError("the cached copy differs in size from the object", where=str(path), mend="delete the cached file")
        return path

    # --- pointers ---

    def read_pointer(self, key: str) -> Pointer:
        """The pointer's value and the version to swap against."""
        if self.root is not None:
            try:
                data = (self.root / _checked(key)).read_bytes()
            except FileNotFoundError:
                return Pointer(None, None)
            return Pointer(json.loads(data), _digest(data))
        try:
            with self._answering():
                result = obstore.get(self._store, _checked(key))
                data = bytes(result.bytes())
        except (NotFoundError, FileNotFoundError):
            return Pointer(None, None)
        return Pointer(json.loads(data), result.meta["e_tag"])

    def swap(self, key: str, old: Pointer, value: dict[str, Any]) -> None:
        """Replace the pointer atomically if it still is `old`, else raise StoreConflict; a reader sees old or new.

        On `file://` a lock file and an atomic rename do it (obstore's LocalStore cannot compare and swap). On S3 it is
        `If-Match`, where the server honours it; where it does not (Ceph 16 refuses every `If-Match` on a versioned bucket and
        ignores `If-None-Match` everywhere) the swap is made alone, under a ticket that every other writer sees.
        """
        data = dump_json(value)
        if self.root is not None:
            path = self.root / _checked(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_name(f".{path.name}.lock")):
                if self.read_pointer(key).version != old.version:
                    raise self.conflict(key)
                part = path.with_name(f".{path.name}.part")
                with part.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            return
        if old.version is not None:
            try:
                self._put(key, data, mode={"e_tag": old.version})
            except PreconditionError as error:
                if self.read_pointer(key).version != old.version:
                    raise self.conflict(key) from error
            else:
                return
        with self._alone(key):
            if self.read_pointer(key).version != old.version:
                raise self.conflict(key)
            self._put(key, data)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Exclude other writers of `key` on an S3 server without conditional writes.

        A writer puts a ticket and lists all tickets; it goes ahead only if its own is the only one, else it takes its ticket
        back and waits a random moment. Two writers that both put before either lists both step back; one that listed alone
        is seen by everybody after it, because S3 listings are strongly consistent. A ticket older than TICKET_LIFE_S is a
        dead writer's and is removed.
        """
        folder = str(PurePosixPath(key).parent / ".tickets" / PurePosixPath(key).name)
        deadline = time.monotonic() + 2 * TICKET_LIFE_S
        while True:
            ticket = f"{folder}/{time.time_ns() // 1_000_000}-{secrets.token_hex(8)}"
            self.put_bytes(ticket, b"")
            try:
                others = [t for t in self._keys(folder) if t.rpartition("/")[2] != ticket.rpartition("/")[2]]
                alive = [t for t in others if not self._expired(t)]
                if not alive:
                    yield
                    return
            finally:
                self.delete(ticket)
            if time.monotonic() > deadline:
                raise self.conflict(key)
            time.sleep(0.05 + secrets.randbelow(200) / 1000)

    def _expired(self, ticket: str) -> bool:
        born_s = int(ticket.rpartition("/")[2].partition("-")[0]) / 1000
        if time.time() - born_s < TICKET_LIFE_S:
            return False
        self.delete(ticket)
        return True

    def update_pointer(self, key: str, change: Any) -> dict[str, Any]:
        """Apply `change(value or {}) -> value` by compare-and-swap, again on a conflict, a bounded number of times."""
        for attempt in range(SWAP_ATTEMPTS):
            old = self.read_pointer(key)
            value: dict[str, Any] = change(json.loads(json.dumps(old.value or {})))
            try:
                self.swap(key, old, value)
            except StoreConflict:
                if attempt == SWAP_ATTEMPTS - 1:
                    raise
                time.sleep(0.05 * 2**attempt)
            else:
                return value
        raise AssertionError("unreachable")

    def conflict(self, key: str) -> StoreConflict:
        """What is to be raised where somebody else moved the pointer."""
        return StoreConflict("another writer changed it meanwhile", where=f"{self.url}/{key}", mend="run again")


def file_sha256(path: Path) -> str:
    """Lower-case hex SHA-256 of a file, read in pieces: the name by which objects are verified and shared."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dump_json(value: Any) -> bytes:
    """JSON as Madang stores it: UTF-8, two-space indent, a newline at the end, keys in the order given."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def _checked(key: str) -> str:
    """The key, if it stays below the store's root."""
    parts = PurePosixPath(key).parts
    if not parts or key.startswith("/") or ".." in parts:
        raise ValueError(f"store key {key!r} leaves the store")
    return key


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _s3_config() -> Any:
    config: dict[str, Any] = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        config["endpoint"] = endpoint
        config["virtual_hosted_style_request"] = False
    config["region"] = os.environ.get("AWS_REGION", "us-east-1")
    return config


def _client_options() -> Any:
    return {"allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")}


def bootstrap(url: str) -> None:
    """Make the store's bucket, versioned, where it does not exist yet. Nothing to do on `file://`. Errors are those of Store."""
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return
    from minio.error import MinioException, S3Error
    from urllib3.exceptions import HTTPError

    try:
        _bucket(parts.netloc)
    except S3Error as error:
        raise _refused(url, error.code) from error
    except (HTTPError, MinioException, ValueError) as error:
        raise StoreUnreachable(_SILENT, where=url, mend=_SEE_SERVER) from error


def _refused(url: str, code: str | None) -> SettingsError:
    return SettingsError(f"the object store refuses the bucket '{urlsplit(url).netloc}' ({code})", where=url, mend=_SEE_KEYS)


def _failed(url: str, said: str) -> StoreUnreachable | SettingsError:
    """The sentence for what the client says of a server's failure, which has the answer's status and S3's own code in its text."""
    status = re.search(r"status code: (\d{3})", said)
    if status is None:
        return StoreUnreachable(_SILENT, where=url, mend=_SEE_SERVER)
    code = re.search(r"<Code>(\w+)</Code>", said)
    shown = code[1] if code else f"status {status[1]}"
    if status[1].startswith("4") and status[1] not in _PASSING:
        return _refused(url, shown)
    return StoreUnreachable(f"the object store fails ({shown})", where=url, mend=_SEE_SERVER)


def _bucket(name: str) -> None:
    from minio import Minio
    from minio.commonconfig import ENABLED
    from minio.error import S3Error
    from minio.versioningconfig import VersioningConfig

    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com"))
    client = Minio(
        endpoint=endpoint.netloc,
        access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
        session_token=os.environ.get("AWS_SESSION_TOKEN"),
        region=os.environ.get("AWS_REGION", "us-east-1"),
        secure=endpoint.scheme == "https",
    )
    if not client.bucket_exists(bucket_name=name):
        try:
            client.make_bucket(bucket_name=name)
        except S3Error as error:
            # Another process of ours was faster.
            if error.code not in ("BucketAlreadyOwnedByYou", "OperationAborted"):
                raise
    client.set_bucket_versioning(bucket_name=name, config=VersioningConfig(ENABLED))
