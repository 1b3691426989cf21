"""`madang feed new` against a real server and with a file in hand: what it writes passes the check and can be previewed at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assets.feeds.load import load_feed
from orchestration.cli import app, output
from tests.one_file_agency import one_file_agency
from tests.orchestration.calling import call

Capture = pytest.CaptureFixture[str]
CSV = """\
도서관명,기준월,대출권수,개관일,구분
중앙도서관,2026-09,"12,408",1994.05.02,시립
중앙도서관,2026-10,"13,190",1994.05.02,시립
강변도서관,2026-09,"4,117",2011.03.15,구립
강변도서관,2026-10,-,2011.03.15,구립
"""
URL = "https://www.hanbit.example/open/library-loans.csv"
PASTED = (
    "https://apis.data.go.kr/B552584/ArpltnInforInqireSvc/getCtprvnRltmMesureDnsty"
    "?serviceKey=SOMEBODYSKEY&returnType=json&numOfRows=10&pageNo=1&sidoName=%EC%A0%84%EA%B5%AD&ver=1.3"
)
OPTIONS = ("--title", "도서관별 대출", "--agency", "한빛시", "--licence", "KOGL-1", "--schedule", "매월 5일 오전 3시 30분")


@pytest.fixture
def agency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    with one_file_agency(tmp_path, "unused.feed", monkeypatch) as served:
        served.declaration.parent.rmdir()
        monkeypatch.chdir(tmp_path)

        def give(body: bytes) -> None:
            served.answer = body

        give(CSV.encode("cp949"))
        yield give


def new(*options: str, capsys: Capture) -> Any:
    return call("feed", "new", "--into", "feeds", "--json", *options, capsys=capsys)


def test_from_an_address_to_a_feed_that_can_be_previewed(agency: Any, tmp_path: Path, capsys: Capture) -> None:
    done = new("--url", URL, *OPTIONS, capsys=capsys)
    assert done.code == 0, done.err
    said = json.loads(done.out)
    feed = load_feed(Path(said["path"]))
    assert (feed.id, feed.schedule.cron, feed.decode.encoding) == ("kr.hanbit.doseogwanbyeol_daechul", "30 3 5 * *", "cp949")
    assert feed.contract.key == ("doseogwanmyeong", "gijunwol") and said["rows"] == 4
    assert {c.name: c.type for c in feed.contract.columns}["daechulgwonsu"] == "integer"
    assert len(said["next_runs"]) == 3 and said["encoding"] == "cp949"
    assert not (tmp_path / "home").exists(), "looking keeps nothing"
    preview = call("feed", "preview", feed.id, "--json", capsys=capsys)
    report = json.loads(preview.out)
    assert (report["read"], report["accepted"], report["refusal"]) == (4, 4, None)


def test_questions_are_asked_in_korean_and_asked_again_where_the_answer_is_no_schedule(agency: Any, tmp_path: Path) -> None:
    output._state["json"] = False
    answers = ["도서관별 대출", "한빛시", "", "", "", "", "매일 아무 때나", "매일 03:00"]
    done = CliRunner().invoke(app, ["feed", "new", "--url", URL, "--lang", "ko"], input="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    for said in ("4행 5열", "행을 구별하는 키: doseogwanmyeong, gijunwol", "이렇게 적어 주십시오", "다음 실행", "저장했습니다"):
        assert said in done.output, said
    feed = load_feed(tmp_path / "feeds" / "kr.hanbit.doseogwanbyeol_daechul")
    assert (feed.schedule.cron, feed.licence.id, feed.documentation) == ("0 3 * * *", "KOGL-1", URL)


@pytest.mark.parametrize("said", ["공공누리 제1유형", "공공누리1유형", "kogl-1", " KOGL-1 "])
def test_a_licence_may_be_named_as_the_agencys_page_does(said: str, agency: Any, tmp_path: Path, capsys: Capture) -> None:
    done = new("--url", URL, *OPTIONS, "--licence", said, "--id", "kr.hanbit.loans", capsys=capsys)
    assert done.code == 0, done.out
    licence = load_feed(tmp_path / "feeds" / "kr.hanbit.loans").licence
    assert licence.id == "KOGL-1" and licence.url.startswith("https://www.kogl.or.kr")


def test_a_file_in_hand_is_looked_at_and_nobody_is_asked(agency: Any, tmp_path: Path, capsys: Capture) -> None:
    agency(b"<html>not there yet</html>")
    (tmp_path / "loans.csv").write_bytes(CSV.encode("cp949"))
    done = new("--file", "loans.csv", "--url", URL, *OPTIONS, "--id", "kr.hanbit.loans", capsys=capsys)
    assert done.code == 0, done.err
    assert load_feed(tmp_path / "feeds" / "kr.hanbit.loans").source.address == URL


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--url", URL), "--title is missing"),
        (("--url", URL, *OPTIONS[:-2]), "--schedule is missing"),
        (("--url", URL, *OPTIONS[:-1], "매월 31일 03:00"), "not every month has a day 31"),
        (("--url", "loans.csv", *OPTIONS), "no http address"),
        (("--url", "https://user:secret@www.hanbit.example/x.csv", *OPTIONS), "user name or password"),
        (("--url", URL, *OPTIONS, "--id", "Loans"), "no feed id"),
        (("--url", URL, *OPTIONS, "--protocol", "gopher"), "there is no protocol 'gopher'"),
        (("--url", URL, *OPTIONS, "--protocol", "htp_file"), "did you mean http_file?"),
        (("--url", URL, *OPTIONS, "--country", "대한민국"), "'대한민국' is no country"),
        (("--url", URL, *OPTIONS, "--timezone", "KST"), "'KST' is no time zone"),
        (("--url", URL, *OPTIONS, "--timezone", "../etc"), "is no time zone"),
        (("--url", URL, *OPTIONS, "--licence", "자유 이용"), "'자유 이용' is no id of a licence"),
        (("--url", URL, *OPTIONS, "--lang", "jp"), "no language 'jp'"),
        (("--url", URL, *OPTIONS[:-1], "0 25 * * *"), "'0 25 * * *' is no cron expression"),
        (("--url", "https://www.data.go.kr/data/15073861/openapi.do", *OPTIONS), "https://apis.data.go.kr/"),
        (("--url", "https://[hanbit/x.csv", *OPTIONS), "no http address"),
        (("--url", URL, "--file", "nowhere.csv", *OPTIONS), "no such file"),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_nothing_is_written(
    options: tuple[str, ...], said: str, agency: Any, tmp_path: Path, capsys: Capture
) -> None:
    done = new("--lang", "en", *options, capsys=capsys)
    assert done.code == 1 and said in done.err + done.out
    assert not list((tmp_path / "feeds").rglob("feed.yaml"))


@pytest.mark.parametrize("option", ["--url", "--documentation", "--licence-url"])
def test_a_key_in_an_address_is_refused_and_is_neither_shown_nor_written(
    option: str, agency: Any, tmp_path: Path, capsys: Capture
) -> None:
    done = new("--url", URL, *OPTIONS, option, f"{URL}?apiKey=SOMEBODYSKEY", capsys=capsys)
    assert done.code == 1 and "the address holds a key" in done.out + done.err
    assert "SOMEBODYSKEY" not in done.out + done.err and not list((tmp_path / "feeds").rglob("*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--url", "loans.csv", *OPTIONS), "http 주소가 아닙니다"),
        (("--url", URL), "--title 옵션이 없습니다: 데이터 이름"),
        (("--url", f"{URL}?apiKey=SOMEBODYSKEY", *OPTIONS), "주소에 인증키가 들어 있습니다"),
        (("--url", f"{URL}#page", "--file", "page.html", *OPTIONS), "page.html: 웹 화면(HTML)이며, 표가 아닙니다"),
        (("--url", URL, *OPTIONS[:-1], "수시"), "알아듣지 못했습니다('수시'에는 일정이 없습니다)"),
        (("--url", "https://apis.data.go.kr/B552584/X/getY", *OPTIONS), "export DATA_GO_KR_KEY="),
    ],
)
def test_what_is_wrong_is_said_in_korean_to_who_reads_korean(
    options: tuple[str, ...], said: str, agency: Any, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATA_GO_KR_KEY", raising=False)
    monkeypatch.setenv("LC_ALL", "ko_KR.UTF-8")
    (tmp_path / "page.html").write_text("<!doctype html><html></html>", encoding="utf-8")
    done = call("feed", "new", "--yes", *options, capsys=capsys)
    assert done.code == 1 and said in done.err


def test_every_sentence_stands_in_both_languages_with_the_same_places_and_every_refusal_has_a_mend() -> None:
    from string import Formatter

    from assets.onboarding.words import _all

    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    groups = _all()
    assert groups["refused"].keys() == groups["mends"].keys()
    for group, sentences in groups.items():
        for key, said in sentences.items():
            assert said.keys() == {"en", "ko"} and places(said["en"]) >= places(said["ko"]), f"{group}.{key}"


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"<!DOCTYPE html><html><body>x</body></html>", "HTML page"), (b"", "empty, which is no table"), (b"%PDF-1.7", "PDF")],
)
def test_an_answer_that_is_no_table_is_named(body: bytes, said: str, agency: Any, tmp_path: Path, capsys: Capture) -> None:
    agency(body)
    done = new("--url", URL, *OPTIONS, capsys=capsys)
    assert done.code == 1 and said in done.out and URL in done.out and not list((tmp_path / "feeds").rglob("feed.yaml"))


def test_a_feed_that_is_there_is_not_overwritten(agency: Any, tmp_path: Path, capsys: Capture) -> None:
    assert new("--url", URL, *OPTIONS, capsys=capsys).code == 0
    path = next((tmp_path / "feeds").rglob("feed.yaml"))
    path.write_text("mine\n", encoding="utf-8")
    done = new("--url", URL, *OPTIONS, capsys=capsys)
    assert done.code == 1 and "there is a feed already" in done.err + done.out and path.read_text(encoding="utf-8") == "mine\n"


def test_an_api_of_the_portal_is_recognised_and_the_key_in_the_pasted_address_is_dropped(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.agency import DEMO_KEY, running_agency

    monkeypatch.setenv("DATA_GO_KR_KEY", DEMO_KEY)
    monkeypatch.chdir(tmp_path)
    with running_agency() as url:
        monkeypatch.setenv("MADANG_CONNECT_TO", url)
        done = new("--url", PASTED, *OPTIONS, "--id", "kr.test.air", capsys=capsys)
        answers = ["대기오염 정보", "한국환경공단", "kr.test.air_asked", "", "", "", "매일 03:00"]
        asked = CliRunner().invoke(app, ["feed", "new", "--url", PASTED, "--lang", "ko"], input="\n".join(answers) + "\n")
    assert asked.exit_code == 0 and "SOMEBODYSKEY" not in asked.output, "the address is proposed as the page about the data"
    assert "SOMEBODYSKEY" not in (tmp_path / "feeds" / "kr.test.air_asked" / "feed.yaml").read_text(encoding="utf-8")
    assert done.code == 0, done.err
    text = (tmp_path / "feeds" / "kr.test.air" / "feed.yaml").read_text(encoding="utf-8")
    feed = load_feed(tmp_path / "feeds" / "kr.test.air")
    assert feed.source.protocol == "data_go_kr" and "SOMEBODYSKEY" not in text and DEMO_KEY not in text
    assert {"stationName", "dataTime"} <= {column.source_name for column in feed.contract.columns}


def test_a_file_in_hand_of_an_api_is_read_as_the_api_speaks(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"identifier": f"d-{n}", "title": "loans", "distribution": [{"downloadURL": URL}]} for n in range(3)]
    (tmp_path / "answer.json").write_text(json.dumps({"dataset": rows}), encoding="utf-8")
    page = "https://www.hanbit.example/data.json"
    done = new("--file", "answer.json", "--url", page, "--protocol", "dcat_us", *OPTIONS, "--id", "kr.hanbit.all", capsys=capsys)
    assert done.code == 0, done.out
    assert load_feed(tmp_path / "feeds" / "kr.hanbit.all").source.protocol == "dcat_us" and json.loads(done.out)["rows"] == 3


KEY = "SHA256:" + "A" * 43


@pytest.mark.parametrize(
    ("address", "more", "found"),
    [
        (
            "sftp://madang@sftp-transparency.entsoe.eu:22/TP_export/ActualTotalLoad_6.1.A_r3/20*.csv",
            ("--host-key", KEY),
            {"host_keys": (KEY,), "files": "20*.csv", "url": "sftp://sftp-transparency.entsoe.eu:22/TP_export/ActualTotalLoad_6.1.A_r3"},
        ),
        (
            "ftp://ftp.ncei.noaa.gov/pub/data/swdi/stormevents/csvfiles/StormEvents_details-*.csv.gz",
            (),
            {"files": "StormEvents_details-*.csv.gz", "format": "csv"},
        ),
        ("s3://noaa-ghcn-pds/csv/by_station/USW00094728.csv", (), {"begins_with": "USW00094728.csv", "format": "csv"}),
    ],
)  # fmt: skip
def test_a_folder_of_files_is_looked_at_and_declared(
    address: str, more: tuple[str, ...], found: dict[str, Any], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest file that fits is looked at: its columns, its delimiter and its encoding are in the proposal."""
    from deploy.agency import DEMO_KEY, running_agency

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTP_SFTP_TRANSPARENCY_ENTSOE_EU_PASSWORD", DEMO_KEY)
    with running_agency() as url:
        monkeypatch.setenv("MADANG_CONNECT_TO", url)
        done = new("--url", address, *more, *OPTIONS, "--id", "xx.test.drop", capsys=capsys)
    assert done.code == 0, done.err + done.out
    feed = load_feed(tmp_path / "feeds" / "xx.test.drop")
    assert {name: getattr(feed.source, name) for name in found} == found
    assert json.loads(done.out)["rows"] > 0 and len(feed.contract.columns) > 3
    assert DEMO_KEY not in (tmp_path / "feeds" / "xx.test.drop" / "feed.yaml").read_text(encoding="utf-8")


def test_a_file_in_hand_that_will_lie_in_a_folder(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loans.csv").write_bytes(CSV.encode("cp949"))
    address = "sftp://madang@files.hanbit.example/out/loans_*.csv"
    options = ("--file", "loans.csv", "--url", address, *OPTIONS, "--id", "kr.hanbit.loans")
    done = new("--lang", "en", *options, capsys=capsys)
    assert done.code == 1 and "--host-key is missing" in done.err + done.out
    done = new(*options, "--host-key", "SHA256:short", capsys=capsys)
    assert done.code == 1 and "no fingerprint of a host key" in done.err + done.out
    monkeypatch.setenv("SFTP_FILES_HANBIT_EXAMPLE_PASSWORD", "-----BEGIN OPENSSH PRIVATE KEY-----")
    assert new(*options, "--host-key", KEY, capsys=capsys).code == 0
    feed = load_feed(tmp_path / "feeds" / "kr.hanbit.loans")
    assert (feed.source.address, feed.source.auth.kind) == ("sftp://files.hanbit.example/out", "private_key")
    assert feed.decode.encoding == "cp949"


def test_a_folder_without_a_file_that_fits_is_told(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.agency import running_agency

    monkeypatch.chdir(tmp_path)
    with running_agency() as url:
        monkeypatch.setenv("MADANG_CONNECT_TO", url)
        done = new("--url", "s3://noaa-ghcn-pds/csv/by_station/XX*.csv", *OPTIONS, "--id", "xx.test.drop", capsys=capsys)
        gone = new("--url", "s3://no-such-bucket/out/*.csv", *OPTIONS, "--id", "xx.test.drop", capsys=capsys)
    assert done.code == 1 and "no file there fits XX*.csv" in done.err + done.out
    assert gone.code == 1 and "look at a file in hand (--file)" in gone.err + gone.out
