"""data_go_kr_file: the three requests, what each of their answers means, and files whose names are not to be relied on."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.data_go_kr_file import PROTOCOL, DataGoKrFileSource
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Gone,
    Malformed,
    Ok,
    Outcome,
    RateLimited,
    Request,
    Response,
    Step,
    Transient,
    Validators,
    When,
)
from tests.protocols.standin_scene import NOW, feed_for, parsed

PAGE = "https://www.data.go.kr/data/15062804/fileData.do"
EDITION = "https://www.data.go.kr/tcs/dss/selectFileDataDownload.do"
FILE = "https://www.data.go.kr/cmm/cmm/fileDownload.do"
HTML = "<!DOCTYPE html><html><body>로그인이 필요합니다</body></html>"
TABLE = "목록키,목록명\n1,가나\n2,다라\n"


def feed_of(columns: tuple[str, ...] = ("목록키", "목록명"), **source: Any) -> Feed:
    return feed_for({"protocol": "data_go_kr_file", "dataset": "15062804", "format": "csv"} | source, columns)


def follow(tmp_path: Path, step: Step, answer: str | bytes, **source: Any) -> Step:
    feed = feed_of(**source)
    (tmp_path / "answer").write_bytes(answer.encode() if isinstance(answer, str) else answer)
    [led] = PROTOCOL.follow(feed, feed.source, step, Body(tmp_path / "answer", {}, PAGE))
    return led


def first_step() -> Step:
    feed = feed_of()
    [step] = PROTOCOL.plan(feed, feed.source, When(NOW))
    return step


def sent(step: Step) -> Request:
    feed = feed_of()
    return PROTOCOL.request(feed, feed.source, step, Cursor(), Validators(etag='"old"'))


def button(pk: str = "15062804", detail: str = "uddi:a-1", sn: str = "1") -> str:
    return f"<a onclick=\"fileDetailObj.fn_fileDataDown('{pk}','{detail}','','{sn}','2')\">다운로드</a>"


def about(**more: Any) -> dict[str, Any]:
    return {
        "status": True,
        "atchFileId": "FILE_000000003695488",
        "fileDetailSn": "1",
        "dataSetFileDetailInfo": {"dataNm": "목록개방현황 & 2026"},
        "fileDataRegistVO": {"orginlFileNm": "x.csv", "atchFileExtsn": "csv", "atchFileCo": "1234"},
    } | more


# --- what is sent ----------------------------------------------------------------------------------------------------------


def test_the_three_requests(tmp_path: Path) -> None:
    page = first_step()
    request = sent(page)
    assert page.lead and (request.method, request.url, dict(request.headers)) == ("GET", PAGE, {})
    edition = follow(tmp_path, page, f"<html>{button()}</html>")
    request = sent(edition)
    assert edition.lead and edition.stamp is None
    assert (request.method, request.url) == ("POST", EDITION)
    assert request.body == b"publicDataDetailPk=uddi%3Aa-1&publicDataPk=15062804&atchFileId=&fileDetailSn=1&publicDataTyCode=PR0051"
    assert dict(request.headers) == {
        "Referer": PAGE,
        "X-Requested-With": "XMLHttpRequest",
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
    }
    file = follow(tmp_path, edition, json.dumps(about()))
    request = sent(file)
    assert not file.lead and file.stamp == "FILE_000000003695488"
    assert (request.method, dict(request.headers)) == ("GET", {"Referer": PAGE})
    name = "%EB%AA%A9%EB%A1%9D%EA%B0%9C%EB%B0%A9%ED%98%84%ED%99%A9%20%26%202026"
    assert request.url == f"{FILE}?atchFileId=FILE_000000003695488&fileDetailSn=1&dataNm={name}"


@pytest.mark.parametrize(
    "page",
    [
        button("15000001", "uddi:advert") + button(detail="uddi:a-1", sn="3") + button(detail="uddi:old"),
        "fn_fileDataDown ( ) fn_fileDataDown( '15062804' , 'uddi:a-1' ,\n '' , '3' ) ",
        'onclick=\'fn_fileDataDown(&quot;15062804&quot;,&#39;uddi:a-1&#39;,"","3","2")\'',
        "\ufefffunction x() { return fn_fileDataDown('15062804', 'uddi:a-1', '','3', '2', ''); }",
    ],
    ids=["several", "spaces", "entities", "script"],
)
def test_the_button_of_this_data_set_is_found(page: str, tmp_path: Path) -> None:
    assert follow(tmp_path, first_step(), page).params == {"ask": "edition", "detail": "uddi:a-1", "sn": "3"}


def test_a_declared_file_of_several_is_chosen(tmp_path: Path) -> None:
    page = button(detail="uddi:new") + button(detail="uddi:old", sn="")
    assert follow(tmp_path, first_step(), page, detail="uddi:old").params == {"ask": "edition", "detail": "uddi:old", "sn": "1"}
    with pytest.raises(UnreadableSource, match="offers 2 files, but not uddi:other"):
        follow(tmp_path, first_step(), page, detail="uddi:other")


@pytest.mark.parametrize(
    "page", ["", "<html></html>", button("15000001"), "fn_fileDataDown('15062804')", "fn_fileDataDown(" + "'" * 10**5]
)
def test_a_page_without_its_button_says_what_to_do(page: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no download button") as caught:
        follow(tmp_path, first_step(), page)
    assert "by hand" in caught.value.mend


@pytest.mark.parametrize(
    "answer", ["", "{", "[]", "7", "{}", '{"atchFileId":""}', '{"atchFileId":null}', '{"atchFileId":{}}', "[" * 10**5]
)
def test_an_edition_without_a_number_is_unreadable(answer: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        follow(tmp_path, Step(params={"ask": "edition"}), answer)


def test_names_of_the_edition_in_their_other_places(tmp_path: Path) -> None:
    edition = Step(params={"ask": "edition"})
    said = about(dataSetFileDetailInfo=None, fileDataRegistVO={"dataNm": "이름"}, fileDetailSn=2)
    assert follow(tmp_path, edition, json.dumps(said)).params == {
        "ask": "file", "atchFileId": "FILE_000000003695488", "fileDetailSn": "2", "dataNm": "이름",
    }  # fmt: skip
    bare = follow(tmp_path, edition, '{"atchFileId":"FILE_1"}')
    assert sent(bare).url == f"{FILE}?atchFileId=FILE_1&fileDetailSn=1"


@pytest.mark.parametrize("source", [{"dataset": "x"}, {"detail": "a-1"}, {"url": "https://x"}, {"base_url": "ftp://x"}])
def test_mistakes_in_the_declaration(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed_of(**source)


@pytest.mark.parametrize("url", [PAGE, f"{PAGE}?recommendDataYn=Y", f"{PAGE}#layer_data_infomation"])
def test_the_page_of_a_data_set_is_recognised(url: str) -> None:
    assert PROTOCOL.recognise(url) == {"protocol": "data_go_kr_file", "dataset": "15062804", "format": "csv"}
    assert PROTOCOL.recognise(url.replace("fileData", "openapi")) is None


# --- what answers mean -----------------------------------------------------------------------------------------------------


def classify(url: str, body: str | bytes, status: int = 200, complete: bool = True, **source: Any) -> Outcome:
    raw = body.encode() if isinstance(body, str) else body
    declared = feed_of(**source).source
    return PROTOCOL.classify(declared, Request(url), Response.of(raw, status, {}, complete))


@pytest.mark.parametrize("url", [PAGE, EDITION, f"{FILE}?atchFileId=x"])
@pytest.mark.parametrize(
    ("status", "outcome"),
    [(401, AuthFailed), (403, AuthFailed), (404, Gone), (429, RateLimited), (500, Transient), (400, BadRequest)],
)
def test_statuses(url: str, status: int, outcome: type) -> None:
    assert isinstance(classify(url, HTML, status), outcome)


def test_a_page_is_html() -> None:
    assert classify(PAGE, HTML) == Ok()
    for body in ("", "{}", TABLE):
        assert isinstance(classify(PAGE, body), Malformed)
    assert isinstance(classify(PAGE, HTML, complete=False), Transient)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (json.dumps(about()), Ok),
        (json.dumps(about(status="true")), Ok),
        (HTML, AuthFailed),
        ('{"status":false}', AuthFailed),
        ('{"status":false,"atchFileId":"FILE_1"}', AuthFailed),
        ('{"status":true}', Malformed),
        ('{"status":true,"atchFileId":""}', Malformed),
        ("[1]", Malformed),
        ("<error/>", Malformed),
        ("", Malformed),
        ("ok", Malformed),
        (json.dumps(about())[:-4], Transient),
    ],
)
def test_answers_about_the_edition(body: str, outcome: type) -> None:
    said = classify(EDITION, body)
    assert isinstance(said, outcome), said
    if isinstance(said, AuthFailed):
        assert "by hand" in said.reason


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


WORKBOOK = zipped(("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", b"<x/>"))
HWPX = zipped(("mimetype", b"application/hwp+zip"), ("Contents/section0.xml", b"<x/>"))
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
HWP = OLE + b"\0" * 500 + b"HWP Document File" + b"\0" * 500


FILES = [
    "csv",
    "cp949",
    "zip",
    "gzip",
    "xlsx",
    "xls",
    "json",
    "html",
    "html-xlsx",
    "notice",
    "notice-xlsx",
    "notice-json",
    "hwp",
    "hwp-xls",
    "hwpx",
    "hwpx-xlsx",
    "pdf",
    "odf",
    "workbook",
    "ole",
    "text-xlsx",
    "text-zip",
    "empty",
    "cut",
]


@pytest.mark.parametrize(
    ("body", "source", "outcome", "words"),
    [
        (TABLE, {}, Ok, ""),
        (TABLE.encode("cp949"), {}, Ok, ""),
        (zipped(("자료.csv", TABLE.encode())), {}, Ok, ""),
        (gzip.compress(TABLE.encode(), mtime=0), {}, Ok, ""),
        (WORKBOOK, {"format": "xlsx"}, Ok, ""),
        (OLE + b"\0" * 600, {"format": "xls"}, Ok, ""),
        ('{"data":[{"목록키":"1"}]}', {"format": "json", "records_path": "data"}, Ok, ""),
        (HTML, {}, AuthFailed, "by hand"),
        (HTML, {"format": "xlsx"}, AuthFailed, "by hand"),
        ('{"status":false,"message":"활용신청"}', {}, AuthFailed, "by hand"),
        ('{"code":"-1"}', {"format": "xlsx"}, AuthFailed, "by hand"),
        ('{"status":false}', {"format": "json"}, AuthFailed, "by hand"),
        (HWP, {}, BadRequest, "an HWP document"),
        (HWP, {"format": "xls"}, BadRequest, "an HWP document"),
        (HWPX, {}, BadRequest, "an HWPX document"),
        (HWPX, {"format": "xlsx"}, BadRequest, "an HWPX document"),
        (b"%PDF-1.7 ...", {}, BadRequest, "a PDF"),
        (zipped(("mimetype", b"application/vnd.oasis.opendocument.spreadsheet")), {}, BadRequest, "OpenDocument"),
        (WORKBOOK, {}, BadRequest, "Office document"),
        (OLE, {}, Malformed, "old Office file"),
        (TABLE, {"format": "xlsx"}, Malformed, "text in place of xlsx"),
        (TABLE, {"container": "zip"}, Malformed, "text in place of zip"),
        (b"", {}, Malformed, "empty"),
        ('{"a":', {"format": "json"}, Malformed, "does not end"),
    ],
    ids=FILES,
)
def test_bytes_count_and_names_do_not(body: str | bytes, source: dict[str, Any], outcome: type, words: str) -> None:
    said = classify(f"{FILE}?atchFileId=x&dataNm=a.csv", body, **source)
    assert isinstance(said, outcome), said
    assert words in getattr(said, "reason", "")


@settings(max_examples=300, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda a, b: a + b,
            st.sampled_from([b"PK\x03\x04", OLE, b"<", b"{", b"[", b"%PDF-", b"\x1f\x8b", HWPX]),
            st.binary(max_size=60),
        ),
    ),
    status=st.integers(-1, 700),
    complete=st.booleans(),
    url=st.sampled_from([PAGE, EDITION, FILE]),
    file_format=st.sampled_from(["csv", "json", "jsonl", "xls", "xlsx", "parquet"]),
    length=st.one_of(st.none(), st.integers(0, 10**9)),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, url: str, file_format: str, length: int | None) -> None:
    source = DataGoKrFileSource.model_validate({"protocol": "data_go_kr_file", "dataset": "15062804", "format": file_format})
    said = PROTOCOL.classify(
        source, Request(url), Response(status, {}, body, body, len(body) if length is None else length, complete)
    )
    assert isinstance(said, Outcome)
    if isinstance(said, Ok):
        assert 200 <= status < 300 and complete


# --- rows ------------------------------------------------------------------------------------------------------------------


def rows_of(tmp_path: Path, data: bytes, columns: tuple[str, ...] = ("목록키", "목록명"), **source: Any) -> list[Any]:
    (tmp_path / "file").write_bytes(data)
    return parsed(feed_of(columns, **source), [Body(tmp_path / "file", {}, FILE)])


@pytest.mark.parametrize(
    "data",
    [
        TABLE.encode("cp949"),
        TABLE.encode(),
        b"\xef\xbb\xbf" + TABLE.encode(),
        TABLE.encode("utf-16"),
        TABLE.replace("\n", "\r\n").encode("cp949"),
        zipped(("자료.csv", TABLE.encode("cp949"))),
        gzip.compress(TABLE.encode(), mtime=0),
    ],
    ids=["cp949", "utf-8", "bom", "utf-16", "crlf", "zip", "gzip"],
)
def test_editions_of_one_set_read_the_same_whatever_their_encoding_and_packing(data: bytes, tmp_path: Path) -> None:
    assert rows_of(tmp_path, data) == [("1", "가나"), ("2", "다라")]


def test_a_workbook_with_a_merged_header_of_two_rows(tmp_path: Path) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    book = xlsxwriter.Workbook(str(tmp_path / "book.xlsx"))
    sheet = book.add_worksheet()
    sheet.write(0, 0, "2026년 개방 현황")
    sheet.merge_range(1, 0, 2, 0, "목록키")
    sheet.merge_range(1, 1, 1, 2, "건수")
    for column, text in enumerate(["파일", "API"], 1):
        sheet.write(2, column, text)
    for column, text in enumerate(["1", "10", "20"]):
        sheet.write(3, column, text)
    book.close()
    data = (tmp_path / "book.xlsx").read_bytes()
    columns = ("목록키", "건수 파일", "건수 API")
    assert rows_of(tmp_path, data, columns, format="xlsx", skip_rows=1, header_rows=2) == [("1", "10", "20")]


@pytest.mark.parametrize("data", [b"", HTML.encode(), b"\xff\xff\xff", b"PK\x03\x04broken", OLE, b"\x1f\x8b\x08broken"])
def test_hostile_files_raise_unreadable_source_only(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        rows_of(tmp_path, data)
    with pytest.raises(UnreadableSource):
        parsed(feed_of(), [])


def test_an_edition_that_is_packed_anew_around_the_same_table_is_no_news(tmp_path: Path) -> None:
    """Whatever the address and the declaration say of packing: the first bytes tell."""
    feed = feed_of()

    def digest(body: bytes) -> str | None:
        (tmp_path / "file").write_bytes(body)
        return PROTOCOL.canonical_sha256(feed.source, Body(tmp_path / "file", {}, FILE))

    one, two = ("a.csv", TABLE.encode()), ("b.csv", b"x")
    assert digest(zipped(one, two)) == digest(zipped(two, one)) is not None
    assert digest(zipped(one)) != digest(zipped(two)) != digest(gzip.compress(two[1]))
    assert digest(gzip.compress(one[1], 1)) == digest(gzip.compress(one[1], 9)) is not None
    assert digest(TABLE.encode()) is None and digest(zipped(one)[:-30]) is None
