"""The file pages of data.go.kr: a page with a button, the edition behind it, and its bytes (protocols.md 2.4).

One portal holds many data sets: a route answers for its own, and for those of the shipped routes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

from pydantic import Field

from deploy.agency.engine import Asked, Engine, json_reply
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

EDITION, FILE = "/tcs/dss/selectFileDataDownload.do", "/cmm/cmm/fileDownload.do"
LOGIN = "<!DOCTYPE html>\n<html><head><title>로그인</title></head><body><h1>로그인이 필요한 서비스입니다.</h1></body></html>\n"
MISSING = "<!DOCTYPE html>\n<html><head><title>안내</title></head><body><h1>페이지를 찾을 수 없습니다.</h1></body></html>\n"


class DataSetOptions(Strict):
    """One data set of the portal."""

    dataset: str = Field(pattern=r"^\d+$", description="Its number (publicDataPk).")
    title: str = Field("자료", description="Its name, which the portal sends along as dataNm.")
    others: tuple[str, ...] = Field((), description="Files that the page offers besides, by their uddi; all of the same bytes.")


class DataGoKrFile(Engine):
    """Three requests to one file. The edition's number moves with its bytes."""

    name: ClassVar[str] = "data_go_kr_file"
    Options: ClassVar[type[Strict]] = DataSetOptions
    PREFIX: ClassVar[bool] = True
    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD", "POST")
    FAULTS: ClassVar[frozenset[str]] = frozenset({"needs_login", "login_at_download", "json_envelope", "status_false", "no_button"})

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        page = re.fullmatch(r"/data/(\d+)/fileData\.do", asked.path)
        if page is not None:
            found = data_set(route, source, asked, page[1])
            return page_of(found[0], asked) if found else html(404, MISSING)
        if asked.path == EDITION:
            return edition(route, source, asked)
        if asked.path == FILE:
            return download(route, source, asked)
        return html(404, MISSING)


def data_set(route: Route, source: Source, asked: Asked, number: str) -> tuple[DataSetOptions, Source] | None:
    """The data set of that number: the route's own, or a shipped one whose sample lies beside it."""
    options = route.settings
    assert isinstance(options, DataSetOptions)
    if options.dataset == number:
        return options, source
    from deploy.agency.routes import load_routes, source_of  # this module is loaded by that one

    for other in load_routes():
        settings = other.settings
        if isinstance(settings, DataSetOptions) and settings.dataset == number:
            file = source_of(other, asked.now.date(), feeds=source.path.parent.parent)
            return (settings, file) if file is not None else None
    return None


def siblings(route: Route, source: Source, asked: Asked) -> Iterator[Source]:
    """The files of the shipped data sets whose samples lie beside the route's own."""
    from deploy.agency.routes import load_routes, source_of

    for other in load_routes():
        if isinstance(other.settings, DataSetOptions) and other.id != route.id:
            file = source_of(other, asked.now.date(), feeds=source.path.parent.parent)
            if file is not None:
                yield file


def uddi(number: str) -> str:
    digits = hashlib.sha256(number.encode()).hexdigest()
    return f"uddi:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


def edition_id(source: Source) -> str:
    """Another edition, another number."""
    return f"FILE_{int(hashlib.sha256(source.path.read_bytes()).hexdigest()[:12], 16) % 10**15:015d}"


def page_of(options: DataSetOptions, asked: Asked) -> Reply:
    files = [uddi(options.dataset), *options.others]
    if asked.fault("no_button"):
        files = []
    buttons = "\n".join(
        f"<a href=\"#\" onclick=\"fileDetailObj.fn_fileDataDown('{options.dataset}', '{file}', '','1', '2')\">다운로드</a>"
        for file in files
    )
    # the page of another data set is often advertised on this one
    advert = "<a onclick=\"fileDetailObj.fn_fileDataDown('15000001', 'uddi:0-0', '', '1', '2')\">추천 데이터</a>"
    return html(200, f"<!DOCTYPE html>\n<html><body><h1>{options.title}</h1>\n{advert}\n{buttons}\n</body></html>\n")


def edition(route: Route, source: Source, asked: Asked) -> Reply:
    """What the page's script asks: the form's names, a referer of the portal, and the mark of a script."""
    raw = asked.body.decode("utf-8", "replace") if asked.method == "POST" else asked.raw_query
    form = {name: values[-1] for name, values in parse_qs(raw, keep_blank_values=True).items()}
    scripted = asked.headers.get("x-requested-with") == "XMLHttpRequest" and "/data/" in asked.headers.get("referer", "")
    found = data_set(route, source, asked, form.get("publicDataPk", ""))
    if not scripted or asked.fault("needs_login"):
        return html(200, LOGIN)
    known = found is not None and form.get("publicDataDetailPk") in (uddi(found[0].dataset), *found[0].others)
    if found is None or not known or asked.fault("status_false"):
        return json_reply({"status": False})
    options, file = found
    return json_reply(
        {
            "status": True,
            "atchFileId": edition_id(file),
            "fileDetailSn": form.get("fileDetailSn", "1"),
            "dataSetFileDetailInfo": {"publicDataPk": options.dataset, "dataNm": options.title},
            "fileDataRegistVO": {"orginlFileNm": file.path.name, "atchFileExtsn": file.path.suffix[1:], "atchFileCo": "1234"},
        }
    )


def download(route: Route, source: Source, asked: Asked) -> Reply:
    if asked.fault("login_at_download") or not asked.headers.get("referer"):
        return html(200, LOGIN)
    if asked.fault("json_envelope"):
        return json_reply({"status": False, "message": "활용신청이 필요한 데이터입니다."})
    wanted = asked.params.get("atchFileId", "")
    for file in chain([source], siblings(route, source, asked)):
        if edition_id(file) == wanted:
            # the name as old servers send it: CP949 bytes in a header
            name = f"{asked.params.get('dataNm', '')}{file.path.suffix}".encode("cp949", "replace").decode("latin-1")
            headers = {"content-type": "application/octet-stream", "content-disposition": f'attachment; filename="{name}"'}
            return Reply(200, headers, file.path.read_bytes())
    return html(404, MISSING)


def html(status: int, text: str) -> Reply:
    return Reply(status, {"content-type": "text/html;charset=UTF-8"}, text.encode())


ENGINE = DataGoKrFile()
