"""AI Hub: the list of data sets, and one data set's tree, key check and downloads as tars of parts (protocols.md 2.8).

Two forms of rows: those of the list, and members of files (`file`, `member`, `content`), which are packed into ZIPs here. A file
without members has a `size` alone, as originals of gigabytes have that nobody fetches.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, rows_of
from deploy.agency.replies import Reply
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

BANNER = (
    "The contents are encoded in UTF-8 including Korean characters. \n"
    "If the following contents are not output normally, \n"
    "Please modify the character information of the OS. \n"
)
NOTICE = "=================공지사항=================== \n{}\n========================================== \n"
KEY_FINE = (
    "요청하신 데이터셋의 파일이 존재하지 않습니다. "
    "파일의 존재여부 및 자세한 사항은 홈페이지(https://aihub.or.kr)에서 확인 바랍니다."
)
KEY_REFUSED = "인증에 실패했습니다. API 키를 확인하시기 바랍니다."
NOT_ACCEPTED = "다운로드 권한이 없습니다. 홈페이지에서 데이터 활용 신청 및 약관 동의 후 이용하시기 바랍니다."
NO_PAGE = "페이지가 존재하지 않습니다."
GATEWAY = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"


class AihubOptions(Strict):
    """Without `dataset`: the list. With it: one data set."""

    dataset: str | None = None
    title: str = "데이터"
    version: str = "0.6"
    first_key: int = 69412
    part_bytes: int = Field(1024**3, gt=0, description="Bytes of a part of a file.")
    notice: str = ""


class AiHub(Engine):
    """Whatever is not a file comes as text, with 200 or 502."""

    name: ClassVar[str] = "aihub"
    Options: ClassVar[type[Strict]] = AihubOptions
    PREFIX: ClassVar[bool] = True
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "http_502_with_body", "gateway_502", "key_refused", "terms_not_accepted", "dataset_closed", "dataset_gone", "file_gone",
            "cut_text", "tar_without_end", "part_missing", "short_tar", "tar_slip", "tar_link", "fails_at_file",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, AihubOptions)
        if asked.fault("gateway_502"):
            return Reply(502, {"content-type": "text/html"}, GATEWAY)
        if options.dataset is None:
            return listing(options, rows_of(source), asked) if asked.path == route.path else said(200, NO_PAGE)
        if asked.path == f"/info/{options.dataset}.do":
            return tree(options, rows_of(source), asked)
        if re.fullmatch(r"/info/\d+\.do", asked.path):
            return said(200, NO_PAGE)
        if asked.path in (f"/down/{options.version}/{options.dataset}.do", f"/down/{options.version}/-1.do"):
            return download(options, rows_of(source), asked)
        return Reply(404, {"content-type": "text/html"}, b"<html><body>404</body></html>")


def listing(options: AihubOptions, rows: Sequence[Row], asked: Asked) -> Reply:
    lines = "".join(f"{row['datasetkey']}, {row['name']}\n" for row in rows)
    body = f"{BANNER}{NOTICE.format(options.notice)}\n=================DataSet 목록=================\n{lines}{'=' * 45}\n"
    return text(body, asked)


def tree(options: AihubOptions, rows: Sequence[Row], asked: Asked) -> Reply:
    if asked.fault("dataset_closed"):
        return said(403, "Forbidden")
    if asked.fault("dataset_gone"):
        return said(200, NO_PAGE)
    return text(f"{BANNER}{NOTICE.format(options.notice)}\n{drawn(options, rows)}\n\n", asked)


def text(body: str, asked: Asked) -> Reply:
    data = body.encode()
    if asked.fault("cut_text"):
        data = data[: len(data) * 2 // 3]
    return Reply(502 if asked.fault("http_502_with_body") else 200, {"content-type": "text/plain;charset=UTF-8"}, data)


def said(status: int, sentence: str) -> Reply:
    return Reply(status, {"content-type": "text/plain;charset=UTF-8"}, sentence.encode())


def download(options: AihubOptions, rows: Sequence[Row], asked: Asked) -> Reply:
    if asked.fault("key_refused") or asked.headers.get("apikey") != asked.key:
        return said(502, KEY_REFUSED)
    if asked.path.endswith("/-1.do"):
        return said(502, KEY_FINE)
    if asked.fault("terms_not_accepted") or asked.fault("http_502_with_body"):
        return said(502, NOT_ACCEPTED)
    files = packed(options, rows)
    keys = {str(options.first_key + n): name for n, name in enumerate(files)}
    wanted = list(keys) if asked.params.get("fileSn") == "all" else asked.params.get("fileSn", "").split(",")
    if asked.fault("file_gone") or not all(key in keys and files[keys[key]] is not None for key in wanted):
        return said(502, KEY_FINE)
    if (fails := asked.fault("fails_at_file")) and str(options.first_key + fails.number(1)) in wanted:
        return said(500, "오류")
    parts = [part for key in wanted for part in cut(options, keys[key], files[keys[key]] or b"")]
    if asked.fault("part_missing"):
        parts = [part for part in parts if not part[0].endswith(f".part{options.part_bytes}")]
    if asked.fault("short_tar"):
        parts = [(name, data[:1]) for name, data in parts[:1]]
    body = tarred(parts, slip=asked.fault("tar_slip") is not None, link=asked.fault("tar_link") is not None)
    if asked.fault("tar_without_end"):
        body = body.rstrip(b"\0") + b"\0" * 40
    # the server knows no ranges, and names no validators
    headers = {"content-type": "application/octet-stream", "content-disposition": 'attachment; filename="download.tar"'}
    return Reply(200, headers, body)


def packed(options: AihubOptions, rows: Sequence[Row]) -> dict[str, bytes | None]:
    """Every file of the data set by its path, in the order of the rows: its bytes, or None where only its size is known."""
    members: dict[str, list[tuple[str, bytes]]] = {}
    for row in rows:
        of_file = members.setdefault(row["file"], [])
        if "content" in row:
            content = row["content"]
            data = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            of_file.append((row.get("member", ""), data.encode()))
    return {name: _file(name, tuple(found)) if found else None for name, found in members.items()}


@cache
def _file(name: str, members: tuple[tuple[str, bytes], ...]) -> bytes:
    if not name.endswith(".zip"):
        return b"".join(data for _, data in members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members:
            archive.writestr(zipfile.ZipInfo(member, (2022, 8, 30, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def cut(options: AihubOptions, name: str, data: bytes) -> list[tuple[str, bytes]]:
    """The parts of a file, in the order of their names as text; spaces in names have become underscores."""
    place = f"{options.title}/{name}".replace(" ", "_")
    starts = range(0, max(len(data), 1), options.part_bytes)
    return sorted((f"{place}.part{at}", data[at : at + options.part_bytes]) for at in starts)


def tarred(parts: Sequence[tuple[str, bytes]], *, slip: bool, link: bool) -> bytes:
    """GNU form, as the server writes it: long Korean names stand before their members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in parts:
            info = tarfile.TarInfo(f"../../{name}" if slip else name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(info)
    return out.getvalue()


def drawn(options: AihubOptions, rows: Sequence[Row]) -> str:
    """The tree as the shell shows it. A level under a last branch is four columns wide, under any other three."""
    sizes = {row["file"]: row.get("size") for row in rows}
    found: dict[str, object] = {}
    for number, (path, data) in enumerate(packed(options, rows).items()):
        *folders, name = path.split("/")
        at = found
        for folder in folders:
            at = at.setdefault(folder, {})  # type: ignore[assignment]
        at[name] = f"{name} | {size_of(data) if data is not None else sizes[path]} | {options.first_key + number}"
    return "\n".join([f"    └─{options.title}", *_branches(found, "        ")])


def _branches(folder: dict[str, object], before: str) -> list[str]:
    lines: list[str] = []
    for n, (name, what) in enumerate(folder.items()):
        last = n == len(folder) - 1
        lines.append(f"{before}{'└─' if last else '├─'}{what if isinstance(what, str) else name}")
        if isinstance(what, dict):
            lines += _branches(what, before + ("    " if last else "│  "))
    return lines


def size_of(data: bytes) -> str:
    """Rounded to whole units, as the tree has it."""
    size, unit = float(len(data)), 0
    while size >= 1024 and unit < 4:
        size, unit = size / 1024, unit + 1
    return f"{round(size)} {' KMGT'[unit].strip()}B"


ENGINE = AiHub()
