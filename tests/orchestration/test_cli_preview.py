"""`madang feed preview` against a real server: it names the gate that would stop the table, as a run does, and writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.one_file_agency import one_file_agency
from tests.orchestration.calling import call

Capture = pytest.CaptureFixture[str]
Serve = Callable[[str], None]
FEED = "kr.hanbit.visitors"
DECLARATION = """\
id: kr.hanbit.visitors
title: 방문자 수
title_en: Visitors
agency: {name: 한빛시, name_en: City of Hanbit, country: KR}
licence: {id: KOGL-1, url: "https://www.kogl.or.kr/info/license.do", redistribution: true, ai_training: true, attribution: 한빛시}
schedule: {cron: "30 3 5 * *", timezone: Asia/Seoul}
source: {protocol: http_file, url: "https://www.hanbit.example/visitors.csv", format: csv}
contract:
  key: [place]
  max_quarantine: 0.2
  min_rows: 5
  columns:
    - {name: place, type: string, nullable: false, cleared: true}
    - {name: visitors, type: integer, min: 0, cleared: true}
expectations:
  - {type: expect_column_max_to_be_between, kwargs: {column: visitors, min_value: 10}, severity: critical}
"""


def csv(rows: int, refused: int = 0, visitors: int = 40) -> str:
    """`rows` lines of which the last `refused` break the minimum."""
    lines = [f"p{n},{-1 if n >= rows - refused else visitors}" for n in range(rows)]
    return "\n".join(["place,visitors", *lines, ""])


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    with one_file_agency(tmp_path, FEED, monkeypatch) as agency:
        agency.declaration.write_text(DECLARATION, encoding="utf-8")

        def give(text: str) -> None:
            agency.answer = text.encode()

        yield give


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder with its digest, and every folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def preview(capsys: Capture) -> dict[str, Any]:
    done = call("feed", "preview", FEED, "--json", capsys=capsys)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


@pytest.mark.parametrize(
    ("text", "gate", "words"),
    [
        (csv(10, refused=3), "quarantine_within_bound", "3 of 10 rows (30.0%) are refused; at most 20.0% may be"),
        (csv(4), "row_count_at_least", "4 rows came; the contract asks for 5 at least"),
        (csv(10, visitors=3), "column_max_to_be_between_visitors", "seen: 3; expected: min_value 10"),
    ],
)
def test_the_gate_that_would_stop_the_table_is_named(text: str, gate: str, words: str, serve: Serve, capsys: Capture) -> None:
    serve(text)
    found = preview(capsys)
    assert next(iter(found["blocked"])) == gate and words in found["blocked"][gate]
    people = call("feed", "preview", FEED, capsys=capsys)
    assert people.code == 0 and f"✗ {found['refusal']}" in people.out.splitlines() and words in people.out
    # What the run then says is the same sentence.
    run = call("feed", "run", FEED, capsys=capsys)
    assert run.code == 1 and found["refusal"] in run.err


def test_a_table_that_would_shrink_is_not_touched(serve: Serve, capsys: Capture, tmp_path: Path) -> None:
    serve(csv(20))
    found = preview(capsys)
    assert found["refusal"] is None and found["blocked"] == {}
    assert not (tmp_path / "home").exists(), "a preview made a home"
    assert call("feed", "run", FEED, capsys=capsys).code == 0
    before = contents(tmp_path / "home")
    serve(csv(12))
    found = preview(capsys)
    said = "the table has 20 rows and would have 12; 40.0% would be gone, at most 20.0% may be"
    assert found["blocked"] == {"shrink_guard": said} and "shrink_guard failed" in found["refusal"]
    serve(csv(17, refused=1))
    assert preview(capsys)["blocked"] == {}
    done = call("feed", "preview", FEED, capsys=capsys)
    assert "No gate would stop the table." in done.out
    assert contents(tmp_path / "home") == before


def test_under_a_changed_contract_the_table_is_measured_as_a_run_rebuilds_it(serve: Serve, capsys: Capture, tmp_path: Path) -> None:
    serve(csv(20))
    assert call("feed", "run", FEED, capsys=capsys).code == 0
    path = tmp_path / "feeds" / FEED / "feed.yaml"
    path.write_text(DECLARATION.replace("type: integer", "type: number"), encoding="utf-8")
    serve(csv(9))
    found = preview(capsys)
    assert list(found["blocked"]) == ["shrink_guard"]
    run = call("feed", "run", FEED, capsys=capsys)
    assert run.code == 1 and found["refusal"] in run.err
