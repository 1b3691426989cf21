"""Files that an agency lays into a folder: which of them are ready, in what order, and which were taken (protocols.md 3.19, 3.20).

Here is what SFTP, FTP and S3 drops share, without any socket: the listing's form, the rules of readiness, the five functions.
How each of the three speaks on the wire is `transport/`; how each is declared `sftp.py`, `ftp.py`, `s3.py`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar
from urllib.parse import quote, unquote, unquote_to_bytes

from pydantic import Field

from assets.errors import UnreadableSource
from assets.protocols.answers.file_answers import not_the_file, packed_sha256
from assets.protocols.kernel import (
    Auth,
    Body,
    Cursor,
    Malformed,
    Ok,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.queries import SPAN_PLACES, fill_address, fill_text, partition_places
from assets.tables.readers.spec import FORMATS, FileShape

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

LISTING, FILE, CHECKSUM = "LIST", "GET", "CHECKSUM"
"""What a Request of a drop asks for, as its method: a folder, a file, the small file that holds a file's MD5."""
MAX_CHECKSUM_BYTES = 64 * 1024
_UNFINISHED = (".part", ".tmp", ".filepart")
_COMPANIONS = (".done", ".ok", ".md5")
_FOR_ALL = ("_SUCCESS", "manifest.json")
_MD5 = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{32}(?![0-9A-Fa-f])")

_ADDRESS = re.compile(r"([A-Za-z0-9]+)://(?:([^\s/?#@:]+)@)?([^\s/?#@]+)((?:/.*)?)")
_PATTERN = re.compile(r"[*?\[]")
_PACKED = (".gz", ".zip")


# --- pure rules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One file of a listing. `name`: as people read it, NFC. `at`: its place below the folder, percent-encoded as on the wire.

    `modified`: ISO 8601 in UTC, None where the server does not say. `version`: the server's own mark of the content.
    """

    name: str
    at: str
    size: int | None = None
    modified: str | None = None
    version: str | None = None

    @property
    def stamp(self) -> str:
        """What tells one edition of the file from the next."""
        return f"{self.at}|{self.size}|{self.modified}|{self.version or ''}"

    @property
    def order(self) -> tuple[str, str]:
        return self.modified or "", self.name


def entry_of(
    raw: bytes, size: int | None, modified: str | None, version: str | None = None, *, encoding: str = "cp949", safe: str = ""
) -> Entry:
    """An entry from a name's bytes: UTF-8 where they are, else `encoding`; what fits neither keeps its bytes as escapes."""
    for candidate in ("utf-8", encoding):
        try:
            name = raw.decode(candidate)
            break
        except UnicodeDecodeError:
            continue
    else:
        name = raw.decode("utf-8", "backslashreplace")
    return Entry(unicodedata.normalize("NFC", name), quote(raw, safe=safe), size, modified, version)


def listing_bytes(entries: Iterable[Entry]) -> bytes:
    """A listing as it is archived: a JSON list, one entry a line, in order of name."""
    lines = [json.dumps(asdict(e), ensure_ascii=False) for e in sorted(entries, key=lambda e: (e.name, e.at))]
    return ("[" + ",\n".join(lines) + "]\n").encode("utf-8", "backslashreplace")


def read_listing(path: Path) -> list[Entry]:
    """The entries of an archived listing. Raises UnreadableSource."""
    try:
        return [Entry(**value) for value in json.loads(path.read_bytes())]
    except (ValueError, TypeError, RecursionError):
        raise UnreadableSource("the listing cannot be read", where=str(path)) from None


def matching(entries: Iterable[Entry], glob: str) -> list[Entry]:
    """The data files whose name fits, oldest first: no unfinished ones, no companions, no hidden ones, no hostile names."""
    pattern = unicodedata.normalize("NFC", glob)
    return sorted((e for e in entries if _is_data(e.name) and fnmatchcase(e.name, pattern)), key=lambda e: e.order)


def _is_data(name: str) -> bool:
    parts, last = name.split("/"), name.rpartition("/")[2]
    hostile = any(p in ("", ".", "..") for p in parts) or any(ord(c) < 32 or ord(c) == 127 for c in name)
    unfinished = last.startswith((".", "~$")) or last.lower().endswith(_UNFINISHED)
    return not (hostile or unfinished or last.lower().endswith(_COMPANIONS) or last in _FOR_ALL)


def companion(entry: Entry, entries: Mapping[str, Entry], suffixes: Sequence[str] = _COMPANIONS) -> Entry | None:
    """The file that says that `entry` is whole: its name or stem with a suffix, or one for the folder; none that is older.

    `entries`: by their names `as_companion`.
    """
    folder, slash, last = entry.name.rpartition("/")
    stem = f"{folder}{slash}{last.rpartition('.')[0] or last}"
    names = [f"{base}{s}" for s in suffixes for base in (entry.name, stem)]
    names += [f"{folder}{slash}{name}" for name in _FOR_ALL] if suffixes == _COMPANIONS else []
    found = (entries[n] for n in names if n in entries)
    return next((c for c in found if not (c.modified and entry.modified and c.modified < entry.modified)), None)


def as_companion(name: str) -> str:
    """The name as `companion` looks for it: NFC, with the suffix of a companion in small letters (Windows writes .MD5)."""
    name = unicodedata.normalize("NFC", name)
    return next((name[: -len(s)] + s for s in _COMPANIONS if name.lower().endswith(s)), name)


def md5_in(text: str, name: str) -> str | None:
    """The MD5 that a checksum file gives for `name`: on the line that names it, or its only one."""
    last = name.rpartition("/")[2]
    found = [(m[0].lower(), last in unicodedata.normalize("NFC", line)) for line in text.splitlines() if (m := _MD5.search(line))]
    named = [digest for digest, names_it in found if names_it]
    return named[0] if named else found[0][0] if len(found) == 1 else None


def folder_and_files(path: str, *, crosses: bool = False) -> tuple[str, str] | None:
    """A pasted path as the folder, still percent-encoded, and the glob of the files in it; None where a folder has a pattern.

    `crosses`: the glob may cross slashes. A last part without a pattern is a file's name where it ends as one does.
    """
    parts = path.strip("/").split("/")
    at = next((n for n, part in enumerate(parts) if _PATTERN.search(part)), len(parts) - 1)
    if at < len(parts) - 1 and not crosses:
        return None
    files = "/".join(parts[at:])
    if path.endswith("/") or not (_PATTERN.search(files) or files.lower().endswith(_PACKED) or _suffix(files) in FORMATS):
        at, files = len(parts), "*"
    folder = "/".join(parts[:at])
    return f"/{folder}" if folder else "", entry_of(unquote_to_bytes(files), None, None).name


def _suffix(files: str) -> str:
    lower = files.lower()
    for packed in _PACKED:
        lower = lower.removesuffix(packed)
    return lower.rpartition(".")[2]


# --- the declaration ----------------------------------------------------------------------------------------------------


class Login(Auth):
    """Who logs in. The password or key is only ever in the environment, under the name `secret`."""

    kind: str = Field("none", pattern="^(none|password|private_key)$", description="none, password or private_key.")
    name: str | None = Field(None, description="User name.")


class DropSource(FileShape, SourceBase):
    """What every `source:` of a drop says."""

    url: str
    files: str = Field("*", min_length=1, description="Glob of the file names; may hold {partition}, its key, and {start:%Y%m%d}.")
    take: Literal["newest", "all"] = Field(
        "newest", description="newest: the last ready file is the whole of the feed; all: all ready files together."
    )
    settle_s: float = Field(30, ge=0, le=600, description="Seconds between two listings; a file that is the same in both is whole.")
    require_companion: bool = Field(
        False, description="Only files with a companion (.done, .ok, .md5, _SUCCESS, manifest.json) are whole; no second listing."
    )
    max_files: int = Field(1000, gt=0, le=10_000, description="Most files of one fetch.")

    @property
    def address(self) -> str:
        return self.url


D = TypeVar("D", bound=DropSource)


class Drop(Protocol[D]):
    """A folder is listed, listed again after a while, and what is ready in it is read: one file, one step."""

    drop: ClassVar[bool] = True
    schemes: ClassVar[tuple[str, ...]] = ()
    crosses: ClassVar[bool] = False
    """Whether the glob of the files crosses slashes."""

    def plan(self, feed: Feed, source: D, when: When) -> Iterable[Step]:
        return [Step(params={"ask": LISTING, "partition": "", **partition_places(feed, when)}, lead=True)]

    def follow(self, feed: Feed, source: D, step: Step, body: Body) -> Iterable[Step]:
        if step.params["ask"] == CHECKSUM:
            return [_verified(step, body.path)]
        entries = read_listing(body.path)
        places = {name: step.params[name] for name in SPAN_PLACES & step.params.keys()}
        found = matching(entries, fill_text(source.files, places))
        by_name = {as_companion(e.name): e for e in entries}
        whole = {e.at for e in found if companion(e, by_name)}
        if "before" in step.params:
            whole |= {e.at for e in found if step.params["before"].get(e.at) == e.stamp}
        elif not source.require_companion and any(e.at not in whole for e in (found[-1:] if source.take == "newest" else found)):
            before = {e.at: e.stamp for e in found}
            return [Step(params={**step.params, "before": before}, lead=True, wait_s=source.settle_s)]
        ready = [e for e in found if e.at in whole]
        if source.take == "newest":
            ready = ready[-1:]
            found = [e for e in found if ready and e.order > ready[0].order]
        if len(ready) > source.max_files:
            raise UnreadableSource(f"{len(ready)} files are ready, more than source.max_files ({source.max_files})")
        folder = fill_address(source.url, places)
        steps = [_step(e, companion(e, by_name, (".md5",)), places, folder) for e in ready]
        if source.take == "all" and feed.deletes_mode != "snapshot_diff":
            return steps  # what a file brought stays in the table without it
        # Without a file that is being written anew an older edition, or a part, would be taken for the whole.
        return steps + [replace(_step(e, None, places, folder), unready=True) for e in found if e.at not in whole]

    def request(self, feed: Feed, source: D, step: Step, cursor: Cursor, validators: Validators) -> Request:
        asked = step.params
        folder = fill_address(source.url, asked)
        folder = folder if folder.endswith("/") else f"{folder}/"
        expected = {name: str(asked[name]) for name in ("size", "modified", "version", "md5") if asked.get(name) is not None}
        return Request(folder + asked.get("at", ""), asked["ask"], headers=expected, step=step.ordinal, page=cursor.page)

    def classify(self, source: D, request: Request, response: Response) -> Outcome:
        """What failed on the wire the transport has judged; here is only whether a file is the declared one."""
        if response.status != 200:
            return Malformed(f"a drop answers with no status {response.status}")
        if not response.complete:
            return Transient("the file ends early")
        if request.method == CHECKSUM and response.length > MAX_CHECKSUM_BYTES:
            return Malformed("the checksum file is too large to be one")
        wrong = not_the_file(source, source.container_of(request.url), response) if request.method == FILE else None
        return Malformed(wrong) if wrong else Ok()

    def canonical_sha256(self, source: D, body: Body) -> str | None:
        return packed_sha256(source, source.container_of(body.url), body)

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From scheme://user@host/folder/pattern*.csv; a file's name, or nothing, in place of the pattern. No password is kept."""
        found = _ADDRESS.fullmatch(url)
        if found is None or found[1].lower() not in self.schemes:
            return None
        scheme, user, host, path = found[1].lower(), found[2], found[3], found[4]
        split, login = folder_and_files(path, crosses=self.crosses), self.login(user, host)
        if split is None or login is None or re.search(r"[\s?#]", split[0]):
            return None
        folder, files = split
        source = {"protocol": self.name, "url": f"{scheme}://{host}{folder}", "files": files}
        return source | {"format": FORMATS.get(_suffix(files), "csv")} | login

    def login(self, user: str | None, host: str) -> dict[str, Any] | None:
        """What the user of a pasted address means for `source:`; None where there can be none."""
        if user is None:
            return {}
        variable = re.sub(r"[^A-Z0-9]+", "_", f"{self.name} {host.partition(':')[0]} password".upper())
        return {"auth": {"kind": "password", "name": unquote(user), "secret": variable}}

    def parse(self, feed: Feed, source: D, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import open_feed_rows  # loads Arrow: not at definition load

        return open_feed_rows(feed, source, [(b.path, b.url) for b in bodies])


def _step(entry: Entry, checksum: Entry | None, places: Mapping[str, Any], folder: str) -> Step:
    """The step that reads the file; where there is a checksum, the lead that reads that first.

    The folder is part of the stamp: an FTP listing may tell a name and a size alone, and last year's folder has both too.
    """
    stamp = f"{folder}|{entry.stamp}"
    if checksum is None:
        return Step(params={"ask": FILE, **places, **asdict(entry)}, stamp=stamp)
    params: dict[str, Any] = {"ask": CHECKSUM, **places, "of": asdict(entry), **asdict(checksum)}
    return Step(params=params, lead=True, stamp=f"{stamp}|{checksum.stamp}")


def _verified(step: Step, path: Path) -> Step:
    entry = Entry(**step.params["of"])
    with path.open("rb") as file:
        digest = md5_in(entry_of(file.read(MAX_CHECKSUM_BYTES), None, None).name, entry.name)
    if digest is None:
        raise UnreadableSource(f"the checksum file {step.params['name']} holds no MD5 of {entry.name}")
    places = {name: step.params[name] for name in SPAN_PLACES & step.params.keys()}
    params = {"ask": FILE, **places, "md5": digest, **asdict(entry)}
    return Step(params=params, stamp=step.stamp)
