"""What an ML team does with published sets: show, pull, verify. Runs on the base install (pyarrow, obstore), no platform.

Sources are where `sets/` lies: https://…, s3://…, file:///… or a folder. Nothing is trusted unread: every file is checked
against the manifest, the manifest against `_COMMITTED`, and that against the index.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from assets.errors import IntegrityError, MadangError, did_you_mean, disk_full
from assets.store import Store, file_sha256

CHUNK = 4 * 1024 * 1024
COMMITTED = "_COMMITTED"
UNLISTED = (COMMITTED, "manifest.json", "SHA256SUMS")
"""Files of a release that its manifest cannot list: they are made from it."""

Progress = Callable[[str, int, int], None]
"""progress(path of the file, bytes of the release done, bytes of the release in all)"""


class NotPublished(MadangError):
    """There is no such set, version or committed release at the source."""


class Unreachable(MadangError):
    """The place that is to hold `sets/` does not answer, breaks off, or refuses."""


class Source:
    """Read access to a tree of published sets. `url`: https:// or http://, s3://, file://, or a folder's path."""

    def __init__(self, url: str | Store) -> None:
        self._store: Store | None = None
        self._http: Any = None
        if isinstance(url, Store):
            self._store, self.url = url, url.url
            return
        scheme = urlsplit(url).scheme
        self.url = (url if scheme in ("http", "https", "s3", "file") else Path(url).absolute().as_uri()).rstrip("/")
        if scheme in ("http", "https"):
            from obstore.store import HTTPStore

            self._http = HTTPStore.from_url(self.url, client_options={"allow_http": scheme == "http"})
        else:
            self._store = Store(self.url)

    def get(self, key: str) -> bytes:
        """The whole object. FileNotFoundError where there is none, Unreachable where nobody gives it."""
        if self._store is not None and self._store.root is not None:
            return self._store.get_bytes(key)
        return b"".join(self.stream(key))

    def stream(self, key: str) -> Iterator[bytes]:
        """The object in pieces of at most a few megabytes. Errors are those of `get`."""
        import obstore
        from obstore.exceptions import NotFoundError

        if self._store is not None and self._store.root is not None:
            with (self._store.root / key).open("rb") as file:
                while piece := file.read(CHUNK):
                    yield piece
            return
        store = self._http if self._store is None else self._store._store
        try:
            with self._answering():
                for piece in obstore.get(store, key).stream(min_chunk_size=CHUNK):
                    yield bytes(piece)
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(f"{self.url}/{quote(key)}") from error

    def names(self) -> tuple[str, ...]:
        """The sets that lie there; none where they are served over HTTP, which lists nothing."""
        return () if self._store is None else self._store.folders("sets")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What the client of the store tells at length, in one sentence."""
        from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except NotFoundError:
            raise
        except (PermissionDeniedError, UnauthenticatedError) as error:
            mend = "ask who publishes there for access, or see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            raise Unreachable("access to the sets is refused", where=self.url, mend=mend) from error
        except BaseError as error:
            mend = "see that the address is right and can be reached, then type it again: what was pulled is kept"
            raise Unreachable("nothing there gives the sets", where=self.url, mend=mend) from error


@dataclass(frozen=True)
class Verified:
    """What `verify` found. `wrong`: the first file that is missing, surplus or altered, in the order of the manifest."""

    ok: bool
    name: str
    version: str
    files: int
    bytes: int
    wrong: str | None = None
    reason: str = ""
    problems: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "problems": list(self.problems)}


def read_index(source: Source, name: str) -> dict[str, Any]:
    """The set's index.json. NotPublished where there is none."""
    try:
        index: dict[str, Any] = json.loads(source.get(f"sets/{name}/index.json"))
    except FileNotFoundError:
        mend = did_you_mean(name, source.names(), "madang set list shows all")
        raise NotPublished(f"there is no training set '{name}'", where=source.url, mend=mend) from None
    return index


def resolve(index: dict[str, Any], version: str | None) -> dict[str, Any]:
    """The index's entry of `version` (1.4.0, v1.4.0, 1.4, 1, latest or None). A yanked one only by its full number."""
    wanted = (version or "latest").removeprefix("v")
    name = index["dataset_id"]
    if wanted == "latest":
        wanted = index.get("latest") or ""
        if not wanted:
            raise NotPublished(f"'{name}' has no release in force", mend="name a version; madang set show lists them")
    entries = {e["version"]: e for e in index["versions"]}
    if wanted in entries:
        return dict(entries[wanted])
    fitting = [v for v, e in entries.items() if v.startswith(f"{wanted}.") and e["status"] != "yanked"]
    if not fitting:
        raise NotPublished(f"'{name}' has no version {wanted}", mend=f"there are: {', '.join(entries) or 'none'}")
    return dict(entries[max(fitting, key=lambda v: tuple(int(n) for n in v.split(".")))])


def read_manifest(source: Source, name: str, entry: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The manifest of a committed release, checked against `_COMMITTED` and the index; also its bytes."""
    prefix = f"sets/{name}/v{entry['version']}"
    try:
        sealed = _sealed(source.get(f"{prefix}/{COMMITTED}"))
    except FileNotFoundError:
        raise NotPublished(f"{name} {entry['version']} is not committed", where=source.url, mend="take another version") from None
    raw = source.get(f"{prefix}/manifest.json")
    digest = hashlib.sha256(raw).hexdigest()
    if digest != sealed or digest != entry.get("manifest_sha256", digest):
        raise IntegrityError(
            "manifest.json is not the one that was committed", where=f"{source.url}/{prefix}", mend="do not use it"
        )
    manifest: dict[str, Any] = json.loads(raw)
    return manifest, raw


def show(source: str | Store, name: str, version: str | None = None) -> dict[str, Any]:
    """Index entry and manifest of one release, with the set's index beside them."""
    where = Source(source)
    index = read_index(where, name)
    entry = resolve(index, version)
    manifest, _ = read_manifest(where, name, entry)
    return {"index": index, "entry": entry, "manifest": manifest}


def pull(
    source: str | Store, name: str, dest: Path, version: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Copy a release into `dest`, verified; files already there with the right digest are not fetched again.

    Returns the manifest. `_COMMITTED` is written last, so an interrupted pull is not taken for a release; run again to resume.
    """
    where = Source(source)
    entry = resolve(read_index(where, name), version)
    manifest, raw = read_manifest(where, name, entry)
    prefix = f"sets/{name}/v{entry['version']}"
    total, done = sum(f["bytes"] for f in manifest["files"]), 0
    try:
        (dest / COMMITTED).unlink(missing_ok=True)
        for item in manifest["files"]:
            path = _inside(dest, item["path"])
            if not (path.is_file() and path.stat().st_size == item["bytes"] and file_sha256(path) == item["sha256"]):
                _fetch(where, f"{prefix}/{item['path']}", path, item)
            done += item["bytes"]
            if progress is not None:
                progress(item["path"], done, total)
        (dest / "manifest.json").write_bytes(raw)
        (dest / "SHA256SUMS").write_bytes(sums(manifest))
        (dest / COMMITTED).write_bytes(committed_bytes(raw))
    except OSError as error:
        there = str(dest.absolute())
        if full := disk_full(error, there):  # the folder that fills is the reader's, not Madang's
            raise full from error
        if error.filename is None or not str(Path(error.filename).absolute()).startswith(there):
            raise
        why = f"nothing can be written there ({error.strerror})"
        raise MadangError(why, where=there, mend="name a folder that you may write into") from error
    return manifest


def verify(target: str | Path) -> Verified:
    """Check a pulled folder, or a release at a URL (…/sets/<name>/v<version>), against its manifest; read every byte."""
    text = str(target).rstrip("/")
    scheme = urlsplit(text).scheme
    if scheme in ("http", "https", "s3", "file"):
        base, _, within = text.rpartition("/sets/")
        if not base:
            raise NotPublished("is not the address of a release", where=text, mend="give …/sets/<name>/v<version>")
        source, prefix = Source(base), f"sets/{within}/"
    else:
        folder = Path(text).absolute()
        if not folder.is_dir():
            raise NotPublished("there is no such folder", where=text, mend="give the folder that madang set pull filled")
        source, prefix = Source(folder.parent.as_uri()), f"{folder.name}/"
    try:
        raw = source.get(prefix + "manifest.json")
        seal = source.get(prefix + COMMITTED)
    except FileNotFoundError as error:
        missing = str(error).rpartition("/")[2]
        return Verified(False, "", "", 0, 0, missing, "is missing", (f"{missing}: is missing",))
    sealed = _sealed(seal)
    if sealed != hashlib.sha256(raw).hexdigest():
        wrong, reason = ("manifest.json", "is not the one that was committed") if sealed else (COMMITTED, "is no commit marker")
        return Verified(False, "", "", 0, 0, wrong, reason, (f"{wrong}: {reason}",))
    manifest = json.loads(raw)
    problems: list[tuple[str, str]] = []
    if not _same(source, prefix + "SHA256SUMS", sums(manifest)):
        problems.append(("SHA256SUMS", "does not say what the manifest says"))
    size = 0
    for item in manifest["files"]:
        _inside(Path(prefix), item["path"])
        if reason := _differs(source, prefix + item["path"], item):
            problems.append((item["path"], reason))
        size += item["bytes"]
    if scheme in ("", "file") and source._store is not None and source._store.root is not None:
        known = {f["path"] for f in manifest["files"]} | set(UNLISTED)
        root = source._store.root / prefix
        surplus = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        problems += [(p, "is not in the manifest") for p in surplus if p not in known]
    release = Verified(not problems, manifest["dataset_id"], manifest["version"], len(manifest["files"]), size)
    if not problems:
        return release
    said = tuple(f"{path}: {why}" for path, why in problems)
    return replace(release, wrong=problems[0][0], reason=problems[0][1], problems=said)


def sums(manifest: dict[str, Any]) -> bytes:
    """SHA256SUMS in coreutils' format, from the manifest."""
    return "".join(f"{f['sha256']}  {f['path']}\n" for f in manifest["files"]).encode()


def committed_bytes(manifest: bytes) -> bytes:
    return (json.dumps({"manifest_sha256": hashlib.sha256(manifest).hexdigest()}) + "\n").encode()


def _sealed(raw: bytes) -> str:
    """The manifest's digest that a `_COMMITTED` states; empty when it is no such marker."""
    try:
        value = json.loads(raw)
    except ValueError:
        return ""
    return str(value.get("manifest_sha256", "")) if isinstance(value, dict) else ""


def _fetch(source: Source, key: str, path: Path, item: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    digest, size = hashlib.sha256(), 0
    try:
        with part.open("wb") as file:
            for piece in source.stream(key):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        if size != item["bytes"] or digest.hexdigest() != item["sha256"]:
            raise IntegrityError("differs from the manifest", where=f"{source.url}/{key}", mend="pull again, or tell the publisher")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _differs(source: Source, key: str, item: dict[str, Any]) -> str:
    digest, size = hashlib.sha256(), 0
    try:
        for piece in source.stream(key):
            digest.update(piece)
            size += len(piece)
    except FileNotFoundError:
        return "is missing"
    if size != item["bytes"]:
        return f"has {size} bytes, the manifest says {item['bytes']}"
    return "" if digest.hexdigest() == item["sha256"] else "has another SHA-256 than the manifest says"


def _same(source: Source, key: str, expected: bytes) -> bool:
    try:
        return source.get(key) == expected
    except FileNotFoundError:
        return False


def _inside(folder: Path, relative: str) -> Path:
    """The path below `folder`; a manifest that points elsewhere is refused."""
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()) or path == folder.resolve():
        raise IntegrityError("the manifest names a path outside the release", where="manifest.json", mend="do not use this release")
    return path
