"""A planted key is nowhere in a home: not in the archive, the ledger, Dagster's database, reports or logs, in no encoding.

The agency helps: it sends the key back, in an error, in a header, in a redirect and among the rows.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import duckdb
import pytest

from assets.archive.ledger import Ledger
from deploy.agency import AgencyConfig, running_agency
from orchestration.assembly import build_definitions
from orchestration.running import RunResult, instance, run_job
from orchestration.settings import Settings
from tests.loopback import Answer, Seen
from tests.main_job.wild_agency import wild_agency

KEY = "bG9va+Zm9y/bWUgaW4gdGhl+aG9tZSE0Mg=="
FEED, JOB = "kr.airkorea.sido_hourly", "feed__kr_airkorea__sido_hourly"
HOST = "apis.data.go.kr"
ONCE = quote(KEY, safe="")
FORMS = {
    "raw": KEY,
    "percent-encoded": ONCE,
    "percent-encoded, lower case": ONCE.replace("%2B", "%2b").replace("%2F", "%2f").replace("%3D", "%3d"),
    "double-encoded": quote(ONCE, safe=""),
    "slashes kept": quote(KEY),
    "in JSON": KEY.replace("/", "\\/"),
    "its middle": KEY[6:24],
}
"""What is looked for. The last is part of every form but the encoded ones."""


def echo(seen: Seen) -> Answer:
    """An error that repeats the whole address, decoded, as it came, and encoded once more; and the same in a header."""
    body = f"{seen.target} {unquote(seen.target)} {quote(seen.target)} {KEY}"
    return Answer(f"<error>{body}</error>".encode(), 500, {"X-Request": seen.target, "Content-Type": "text/xml"})


def echo_in_gateway_error(seen: Seen) -> Answer:
    body = f"""<OpenAPI_ServiceResponse><cmmMsgHeader><errMsg>SERVICE ERROR {KEY}</errMsg>
<returnAuthMsg>SERVICE_KEY_IS_NOT_REGISTERED_ERROR {ONCE}</returnAuthMsg><returnReasonCode>30</returnReasonCode></cmmMsgHeader>
</OpenAPI_ServiceResponse>"""
    return Answer(body.encode(), headers={"Content-Type": "text/xml"})


def echo_in_redirect(seen: Seen) -> Answer:
    return Answer(
        status=302, headers={"Location": f"https://elsewhere.test/login?back={quote(seen.target, safe='')}&serviceKey={ONCE}"}
    )


def echo_among_rows(seen: Seen) -> Answer:
    rows = [
        {"stationName": name, "sidoName": "서울", "dataTime": "2026-11-01 10:00", "pm10Value": "30", "mangName": f"도시대기 {form}"}
        for name, form in (("하나", KEY), ("둘", ONCE), ("셋", FORMS["double-encoded"]))
    ]
    whole = {
        "response": {
            "header": {"resultCode": "00", "resultMsg": "NORMAL_CODE"},
            "body": {"items": [_complete(row) for row in rows], "numOfRows": 100, "pageNo": 1, "totalCount": len(rows)},
        }
    }
    return Answer(json.dumps(whole, ensure_ascii=False).encode(), headers={"Content-Type": "application/json"})


def _complete(row: dict[str, str]) -> dict[str, str | None]:
    """With every field that the feed's contract names."""
    from assets.feeds.load import FOLDER, load_feed

    return {column.source_name: row.get(column.source_name) for column in load_feed(FOLDER / FEED).contract.columns}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[RunResult]]]:
    """The feed run over the stand-in, then over an agency that echoes the key in every way there is."""
    path = tmp_path_factory.mktemp("secrets") / "home"
    runs = []
    with pytest.MonkeyPatch.context() as patch, wild_agency() as wild, running_agency(AgencyConfig(key=KEY)) as url:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.delenv("MADANG_FEEDS", raising=False)
        patch.setenv("DATA_GO_KR_KEY", KEY)
        patch.setenv("MADANG_HOME", str(path))
        patch.setenv("MADANG_CONNECT_TO", url)
        settings = Settings.from_environment()
        with instance(settings) as opened:
            runs.append(run_job(build_definitions(settings), JOB, opened))
        patch.setenv("MADANG_CONNECT_TO", wild.url)
        settings = Settings.from_environment()
        definitions = build_definitions(settings)
        for answer in (echo_in_gateway_error, echo_in_redirect, echo_among_rows, echo):
            wild.give(HOST, answer)
            with instance(settings) as opened:
                runs.append(run_job(definitions, JOB, opened))
        # The key did go out, or nothing here was tested.
        assert all(f"serviceKey={ONCE}" in seen.target for seen in wild.asked[HOST])
    yield path, runs


def test_the_runs_were_what_they_should_be(home: tuple[Path, list[RunResult]]) -> None:
    _, runs = home
    assert runs[0].success, runs[0].error
    assert [run.success for run in runs[1:3]] == [False, False] and not runs[4].success
    assert "AuthFailed" in runs[1].error and "DATA_GO_KR_KEY" in runs[1].error
    assert "redirected to another host, elsewhere.test" in runs[2].error
    assert "Transient: HTTP 500" in runs[4].error
    for run in runs:
        assert all(form not in run.error for form in FORMS.values())


def contents(home: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below the home as bytes, unpacked where it is packed, and every text of every database."""
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        name = str(path.relative_to(home))
        raw = path.read_bytes()
        yield name, raw
        if path.suffix == ".gz":
            yield f"{name} (unpacked)", gzip.decompress(raw)
        if path.suffix == ".parquet":
            with duckdb.connect() as connection:
                rows = connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
            yield f"{name} (rows)", repr(rows).encode()
        if raw.startswith(b"SQLite format 3"):
            database = sqlite3.connect(path)
            yield f"{name} (dump)", "\n".join(database.iterdump()).encode()
            database.close()


def test_no_form_of_the_key_is_in_any_file_of_the_home(home: tuple[Path, list[RunResult]]) -> None:
    path, _ = home
    seen = dict(contents(path))
    found = {(name, form) for name, content in seen.items() for form, text in FORMS.items() if text.encode() in content}
    assert found == set()
    # All kinds of places were looked at.
    for kind in (".warc.gz (unpacked)", "ledger.sqlite (dump)", ".parquet (rows)", "table.json", ".html"):
        assert any(kind in name for name in seen), kind
    assert any(name.startswith("dagster/") and name.endswith("(dump)") for name in seen)


def test_what_was_echoed_is_masked_at_equal_length_and_flagged(home: tuple[Path, list[RunResult]]) -> None:
    path, _ = home
    ledger = Ledger(f"sqlite:///{path}/ledger.sqlite")
    # In the order in which they began: within one second their names say nothing of it.
    unpacked = [gzip.decompress((path / "store" / fetch.warc_key).read_bytes()) for fetch in ledger.history(FEED)]
    ledger.close()
    assert len(unpacked) == 5
    assert b"Madang-Masked" not in unpacked[0]
    for warc in (unpacked[1], unpacked[3], unpacked[4]):
        assert b"Madang-Masked" in warc and b"*" * len(KEY) in warc
