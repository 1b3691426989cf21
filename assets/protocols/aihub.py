"""AI Hub: the catalogue of its data sets, and the files of one data set, as its own shell script fetches them (protocols.md 2.8).

Here are the requests, and one step a file. What sentences mean is `aihub_answers.py`, how lists and trees are written
`aihub_texts.py`, the tar of parts that a download is `tables/readers/tar_parts.py`. What the files hold is declared as for every
file, and read by `tables/readers/`.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, model_validator

from assets.errors import UnreadableSource
from assets.protocols.answers.aihub_answers import by_sentence, by_tar, by_text
from assets.protocols.answers.aihub_texts import MAX_TEXT_BYTES, Leaf, begun, data_sets, decoded, files_of, in_korean, looked
from assets.protocols.answers.file_answers import packed_in
from assets.protocols.answers.http_answers import by_status, keyed
from assets.protocols.kernel import (
    Body,
    Cursor,
    Examined,
    Gone,
    Malformed,
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
from assets.tables.readers.magic import NAMES, kind_of
from assets.tables.readers.spec import Container, FileShape, Format
from assets.tables.readers.tar_parts import check_parts, check_room, is_tar, join_parts

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.readers.batches import Order
    from assets.tables.rows import RowStream

LISTED = ("datasetkey", "name")
"""The columns of the catalogue."""
NO_DATA_SET = "-1"
"""Asking for its files shows whether the key is fine: the answer is 502 with a sentence either way."""
ROOM = 3
"""Times the size of a file that must be free: the tar, the joined parts, and what they unpack to."""


class AihubSource(FileShape, SourceBase):
    """`source:` of the catalogue, or of the files of one data set."""

    protocol: Literal["aihub"]
    base_url: str = Field("https://api.aihub.or.kr", pattern=r"^https?://[^\s/?#]+$", description="Where the API answers.")
    site: str = Field(
        "https://aihub.or.kr", pattern=r"^https?://[^\s/?#]+$", description="The site with the form that permits a data set."
    )
    version: str = Field("0.6", pattern=r"^\d{1,3}(\.\d{1,3}){0,2}$", description="Version of the download, as its address says.")
    dataset: str | None = Field(
        None,
        pattern=r"^[1-9]\d{0,8}$",
        description="Number of the data set (dataSetSn), from its address. Without it, the rows are the catalogue.",
    )
    files: str = Field("*", min_length=1, description="Glob of the files in the data set's tree, by whole path or by name.")
    max_files: int = Field(1000, gt=0, le=10_000, description="Most files of one fetch.")
    format: Format = Field("json", description="Format of what the files hold; of a data set only.")
    container: Container | None = Field(None, description="none, zip, gzip or 7z. Default: by each file's first bytes.")

    @model_validator(mode="after")
    def _key_for_files(self) -> AihubSource:
        if self.dataset is not None and (self.auth.kind != "header_key" or self.auth.secret is None):
            raise ValueError("the files of a data set need a key: auth: {kind: header_key, name: apikey, secret: AIHUB_KEY}")
        if self.dataset is None and self.files != "*":
            raise ValueError("'files' belongs to a data set: give its number as 'dataset'")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url}/info/{self.dataset or 'dataset'}.do"

    @property
    def form(self) -> str:
        """The page on which the data set is applied for and its terms are accepted."""
        return f"{self.site}/aihubdata/data/dwld.do?dataSetSn={self.dataset}"


class Aihub(Protocol[AihubSource]):
    """The list in one answer; or two leads, the key and the tree, and one step for each file that the glob takes."""

    name: ClassVar[str] = "aihub"
    Source: ClassVar[type[SourceBase]] = AihubSource
    drop: ClassVar[bool] = True

    def plan(self, feed: Feed, source: AihubSource, when: When) -> Iterable[Step]:
        return [Step(params={"ask": "list"}) if source.dataset is None else Step(params={"ask": "key"}, lead=True)]

    def follow(self, feed: Feed, source: AihubSource, step: Step, body: Body) -> Iterable[Step]:
        if step.params.get("ask") == "key":
            return [Step(params={"ask": "tree"}, lead=True)]
        taken = _taken(feed, source, files_of(_text(body.path)))
        needed = ROOM * sum(leaf.bounds[1] for leaf in taken)
        check_room(body.path.parent, needed, f"fetching {len(taken)} files (source.files may choose fewer)", feed.id)
        return [Step(params={"ask": "file", "key": leaf.key}, stamp=f"{source.dataset}|{leaf.stamp}") for leaf in taken]

    def request(self, feed: Feed, source: AihubSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        ask = step.params["ask"]
        if ask in ("list", "tree"):
            return Request(source.address, step=step.ordinal)
        down = f"{source.base_url}/down/{source.version}"
        url = f"{down}/{NO_DATA_SET}.do" if ask == "key" else f"{down}/{source.dataset}.do?fileSn={step.params['key']}"
        auth = source.auth.model_copy(update={"name": source.auth.name or "apikey"})
        url, headers = keyed(url, {}, auth)
        return Request(url, headers=headers, step=step.ordinal, stamp=step.stamp)

    def classify(self, source: AihubSource, request: Request, response: Response) -> Outcome:
        asked = _asked(source, request)
        if response.status == 403 and asked == "tree":
            return Gone(f"AI Hub has closed data set {source.dataset}")
        if response.status not in (200, 502):
            return by_status(response.status, response.headers) or Malformed(f"HTTP {response.status}")
        if not response.complete:
            return Transient("the connection ended before the end of the answer")
        if asked == "file" and is_tar(response.head):
            return by_tar((request.stamp or "").rpartition("|")[2], response.tail, response.length)
        kind = kind_of(response.head)
        if kind in ("empty", "html"):
            return (
                Transient("HTTP 502 of a gateway")
                if response.status == 502
                else Malformed(f"{NAMES[kind]} in place of AI Hub's answer")
            )
        # 502 comes with good lists, with the answer about the key, and with refusals: the body decides
        text = looked(response)
        if kind != "text" or "\0" in text:
            return Malformed(f"{NAMES[kind] if kind != 'text' else 'bytes'} in place of AI Hub's answer")
        if response.status == 502 and not in_korean(text) and not begun(text):
            return Transient("HTTP 502 of a gateway")
        return by_text(asked, text) if asked in ("list", "tree") else by_sentence(asked, text, source)

    def examine(self, source: AihubSource, body: Body) -> Examined:
        """A tar that lacks a part would else stand for its file for ever: the tree would still name the same edition."""
        try:
            if source.dataset is not None:
                check_parts(body.path, source.unpacking)
        except UnreadableSource as error:
            return Examined(Malformed(error.what))
        return Examined()

    def parse(self, feed: Feed, source: AihubSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import concatenated, order_of  # loads Arrow: not at definition load

        order = order_of(feed)
        if not bodies:
            raise order.refuse("no file was fetched", "run the feed again")
        opened = _listed if source.dataset is None else _joined
        return concatenated([partial(opened, body.path, source, order) for body in bodies], order)

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        host, path = (parts.hostname or "").removeprefix("www."), parts.path
        block: dict[str, Any] = {"protocol": self.name}
        if host == "api.aihub.or.kr" and path == "/info/dataset.do":
            return block
        number = re.fullmatch(r"/(?:info|down/[\d.]+)/([1-9]\d{0,8})\.do", path) if host == "api.aihub.or.kr" else None
        told = parse_qs(parts.query).get("dataSetSn", [""])[-1] if host == "aihub.or.kr" else ""
        dataset = number[1] if number else told if re.fullmatch(r"[1-9]\d{0,8}", told) else None
        if dataset is None:
            return None
        auth = {"kind": "header_key", "name": "apikey", "secret": "AIHUB_KEY"}
        return block | {"dataset": dataset, "files": "*라벨링데이터*", "format": "json", "auth": auth}


def _asked(source: AihubSource, request: Request) -> str:
    """What a request asked for, by its address."""
    if request.url == source.address:
        return "list" if source.dataset is None else "tree"
    return "key" if request.url.endswith(f"/{NO_DATA_SET}.do") else "file"


# --- the tree ------------------------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return decoded(file.read(MAX_TEXT_BYTES))


def _taken(feed: Feed, source: AihubSource, leaves: list[Leaf] | None) -> list[Leaf]:
    """The files that the glob takes, by path; the same key twice is the same file."""
    if leaves is None:
        raise UnreadableSource("no tree of files, or one that does not end", where=feed.id, mend="look at the archived answer")
    pattern = unicodedata.normalize("NFC", source.files)
    hits = [one for one in leaves if any(fnmatchcase(name, pattern) for name in (one.path, one.path.rpartition("/")[2]))]
    found = sorted({one.key: one for one in hits}.values(), key=lambda one: (one.path, one.key))
    if not found:
        names = ", ".join(f"'{one.path[:100]}'" for one in leaves[:5])
        raise UnreadableSource(f"none of {len(leaves)} files fits source.files; there are {names}", where=feed.id)
    if len(found) > source.max_files:
        raise UnreadableSource(f"{len(found)} files fit source.files: more than source.max_files", where=feed.id)
    return found


# --- rows ----------------------------------------------------------------------------------------------------------------------


def _listed(path: Path, source: AihubSource, order: Order) -> RowStream:
    from assets.tables.readers.json_reader import stream_of

    found = data_sets(_text(path))
    if found is None:
        raise order.refuse("no list of data sets, or one that does not end", "look at the archived answer")
    return stream_of((dict(zip(LISTED, entry, strict=True)) for entry in found), order, "utf-8")


def _joined(path: Path, source: AihubSource, order: Order) -> RowStream:
    """The rows of all files of one tar. They lie joined beside it for as long as they are read."""
    from assets.tables.readers.open import concatenated, open_rows

    folder = tempfile.TemporaryDirectory(prefix="joined-", dir=path.parent)
    try:
        files = [file for _, file in join_parts(path, source.unpacking, Path(folder.name), order.where)]
        openers = [partial(open_rows, file, source, order, container=packed_in(source, file)) for file in files]
        return concatenated(openers, order, folder.cleanup)
    except BaseException:
        folder.cleanup()
        raise


PROTOCOL = Aihub()
