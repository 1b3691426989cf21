"""File data of data.go.kr: the page of a data set, the edition that it offers, and that edition's bytes (protocols.md 2.4).

Here are the three requests and what stands in the way of them: logins, applications, documents in place of tables. What the file
looks like is declared as for every file; reading it is `tables/readers/`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote, urlencode

from pydantic import Field

from assets.errors import UnreadableSource
from assets.protocols.answers.file_answers import document_in, is_json, not_the_file, packed_in, packed_sha256, packing
from assets.protocols.answers.http_answers import by_transfer
from assets.protocols.answers.json_pages import around
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
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
from assets.tables.readers.magic import kind_of
from assets.tables.readers.spec import Container, FileShape

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

PAGE, EDITION, FILE = "/fileData.do", "/tcs/dss/selectFileDataDownload.do", "/cmm/cmm/fileDownload.do"
_PAGE_BYTES = 16 * 1024 * 1024
_QUOTED = r"(?:'[^'\n]{0,200}'|\"[^\"\n]{0,200}\")"
_BUTTON = re.compile(rf"fn_fileDataDown\(\s*({_QUOTED}(?:\s*,\s*{_QUOTED}){{3,5}})\s*\)")
_WORD = re.compile(r"'([^'\n]*)'|\"([^\"\n]*)\"")
_BY_HAND = "download the file by hand at the data set's page, and declare a feed that reads it where you put it"
_TABULAR = ("csv", "tsv", "xls", "xlsx", "xml", "parquet")


class DataGoKrFileSource(FileShape, SourceBase):
    """`source:` of one file data set of the portal."""

    protocol: Literal["data_go_kr_file"]
    base_url: str = Field("https://www.data.go.kr", pattern=r"^https?://[^\s/?#]+$", description="The portal.")
    container: Container | None = Field(None, description="none, zip, gzip or 7z. Default: by the file's first bytes.")
    dataset: str = Field(pattern=r"^\d{5,12}$", description="Number of the data set (publicDataPk), from its address.")
    detail: str | None = Field(
        None,
        pattern=r"^uddi:\S+$",
        description="Which file of the page (publicDataDetailPk), where it offers several. Default: the first.",
    )

    @property
    def address(self) -> str:
        return f"{self.base_url}/data/{self.dataset}{PAGE}"


class DataGoKrFile(Protocol[DataGoKrFileSource]):
    """Two leads, the page and the edition, and one file whose version is the edition's atchFileId."""

    name: ClassVar[str] = "data_go_kr_file"
    Source: ClassVar[type[SourceBase]] = DataGoKrFileSource

    def plan(self, feed: Feed, source: DataGoKrFileSource, when: When) -> Iterable[Step]:
        return [Step(params={"ask": "page"}, lead=True)]

    def follow(self, feed: Feed, source: DataGoKrFileSource, step: Step, body: Body) -> Iterable[Step]:
        with body.payload.open() as file:
            text = file.read(_PAGE_BYTES).decode("utf-8-sig", "replace")
        if step.params.get("ask") == "page":
            return [Step(params={"ask": "edition", **_button(feed, source, text)}, lead=True)]
        return [_edition(feed, text)]

    def request(self, feed: Feed, source: DataGoKrFileSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        ask = step.params["ask"]
        if ask == "page":
            return Request(source.address, step=step.ordinal)
        headers = {"Referer": source.address}
        if ask == "file":
            query = {name: step.params[name] for name in ("atchFileId", "fileDetailSn", "dataNm") if step.params[name]}
            return Request(f"{source.base_url}{FILE}?{urlencode(query, quote_via=quote)}", headers=headers, step=step.ordinal)
        # these names in this order, empty atchFileId included, are what the page's own button sends
        form = {
            "publicDataDetailPk": step.params["detail"],
            "publicDataPk": source.dataset,
            "atchFileId": "",
            "fileDetailSn": step.params["sn"],
            "publicDataTyCode": "PR0051",
        }
        headers |= {
            "X-Requested-With": "XMLHttpRequest",
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        }
        return Request(source.base_url + EDITION, "POST", headers, urlencode(form).encode(), step=step.ordinal)

    def classify(self, source: DataGoKrFileSource, request: Request, response: Response) -> Outcome:
        by = by_transfer(response, "answer")
        if by is not None:
            return by
        if response.length == 0:
            return Malformed("an empty answer")
        if EDITION in request.url:
            return _by_edition(response)
        if FILE in request.url:
            return _by_file(source, response)
        return Ok() if kind_of(response.head) == "html" else Malformed("no HTML in place of the data set's page")

    def recognise(self, url: str) -> dict[str, Any] | None:
        match = re.fullmatch(rf"https?://www\.data\.go\.kr/data/(\d{{5,12}}){re.escape(PAGE)}(?:[?#].*)?", url)
        return {"protocol": self.name, "dataset": match[1], "format": "csv"} if match else None

    def canonical_sha256(self, source: DataGoKrFileSource, body: Body) -> str | None:
        return packed_sha256(source, packed_in(source, body.path), body)

    def parse(self, feed: Feed, source: DataGoKrFileSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import concatenated, open_rows, order_of  # loads Arrow: not at definition load

        order = order_of(feed)
        if not bodies:
            raise order.refuse("no file was fetched", "run the feed again")
        files = [partial(open_rows, b.path, source, order, container=packed_in(source, b.path)) for b in bodies]
        return concatenated(files, order)


# --- the leads ---------------------------------------------------------------------------------------------------------------


def _button(feed: Feed, source: DataGoKrFileSource, page: str) -> dict[str, str]:
    """What the page's download button names: its file (`detail`) and that file's number (`sn`)."""
    found = [[a or b for a, b in _WORD.findall(match[1])] for match in _BUTTON.finditer(html.unescape(page))]
    offered = [(words[1], words[3]) for words in found if words[0] == source.dataset]
    for detail, sn in offered:
        if source.detail in (None, detail):
            return {"detail": detail, "sn": sn or "1"}
    if offered:
        raise _unreadable(feed, f"the page offers {len(offered)} files, but not {source.detail}", "correct source.detail")
    raise _unreadable(feed, "the page has no download button: a link elsewhere, or a data set that is no longer offered", _BY_HAND)


def _edition(feed: Feed, answer: str) -> Step:
    """The file step of the edition that the portal names."""
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not _text(said, "atchFileId"):
        raise _unreadable(feed, "no atchFileId in the answer about the edition", "look at the archived answer")
    about = [said[name] for name in ("dataSetFileDetailInfo", "fileDataRegistVO") if isinstance(said.get(name), dict)]
    params = {
        "ask": "file",
        "atchFileId": _text(said, "atchFileId"),
        "fileDetailSn": _text(said, "fileDetailSn") or "1",
        "dataNm": next((name for one in about if (name := _text(one, "dataNm"))), ""),
    }
    return Step(params=params, stamp=params["atchFileId"])


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _unreadable(feed: Feed, what: str, mend: str) -> UnreadableSource:
    return UnreadableSource(what, where=feed.id, mend=mend)


# --- what answers mean ---------------------------------------------------------------------------------------------------------


def _by_edition(response: Response) -> Outcome:
    if kind_of(response.head) == "html":
        return AuthFailed(f"the portal gives no file without a login or an application: {_BY_HAND}")
    said = around(response, None)
    if said is None or said.root != "{":
        return Malformed("no JSON about the edition")
    if not said.ended:
        return Transient("the answer about the edition is cut off")
    if said.fields.get("status") is False:
        return AuthFailed(f"the portal refuses the file (status: false): {_BY_HAND}")
    return Ok() if said.text("atchFileId") else Malformed("no atchFileId in the answer about the edition")


def _by_file(source: DataGoKrFileSource, response: Response) -> Outcome:
    if kind_of(response.head) == "html" or (is_json(response.head, response.length) and _is_envelope(source, response)):
        return AuthFailed(f"a page or a notice in place of the file: it needs a login or an application; {_BY_HAND}")
    if (document := document_in(response.head, source.format)) is not None:
        return BadRequest(f"the edition is {document}, and no {source.format}: ask the agency for a table (CSV, XLSX)")
    wrong = not_the_file(source, packing(source, response.head), response)
    return Malformed(wrong) if wrong else Ok()


def _is_envelope(source: DataGoKrFileSource, response: Response) -> bool:
    """Whether JSON is the portal's notice: any, where the file is none; else an object that says whether it went well."""
    said = around(response, None)
    return source.format in _TABULAR or (said is not None and isinstance(said.fields.get("status"), bool))


PROTOCOL = DataGoKrFile()
