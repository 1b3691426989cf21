"""What a clerk is told when a declaration is wrong: the line, the field, what, and the mend; and never a key."""

# ruff: noqa: E501  (a mistake a line)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from assets.errors import DeclarationError
from assets.feeds.load import FOLDER
from assets.feeds.model import Feed
from assets.yaml_document import InvalidDeclaration, Problem, read, validate

SHIPPED = FOLDER / "us.faa.airports" / "feed.yaml"
KEY = "aB3dE5gH7jK9mN1pQ3sT5vX7zB9dF1h2"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "feed.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(tmp_path: Path, old: str, new: str, feed: Path = SHIPPED) -> list[Problem]:
    """The problems of a shipped feed after one replacement."""
    text = feed.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    with pytest.raises(InvalidDeclaration) as caught:
        validate(Feed, read(written(tmp_path, text.replace(old, new, 1))))
    return list(caught.value.problems)


def line_of(text: str, feed: Path = SHIPPED) -> int:
    return next(i for i, line in enumerate(feed.read_text(encoding="utf-8").splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "at", "field", "what", "mend"),
    [
        ("schedule:", "shedule:", "schedule:", "shedule", "no field", "did you mean 'schedule'?"),
        ("redistribution: true", 'redistribution: "yes"', "redistribution", "licence.redistribution", "needs true or false", "without quotes"),
        ("redistribution: true", "redistribution: yes", "redistribution", "licence.redistribution", "needs true or false", "without quotes"),
        ("shrink_guard: 0.02", 'shrink_guard: "0.02"', "shrink_guard", "deletes.shrink_guard", "needs a number", "without quotes"),
        ("shrink_guard: 0.02", "shrink_guard: 2", "shrink_guard", "deletes.shrink_guard", "at most 1", "change"),
        ("title: Airports of the United States\n", "title: 5\n", "title: A", "title", "needs text", "quotes"),
        ("title: Airports of the United States\n", "", "# yaml", "title", "is missing", "add 'title:'"),
        ("protocol: http_file", "protocol: http_fil", "source:", "source.protocol", "'http_fil' is none", "did you mean 'http_file'?"),
        ("protocol: http_file", "protocol: gopher", "source:", "source.protocol", "'gopher' is none", "data_go_kr"),
        ("  protocol: http_file\n", "", "source:", "source.protocol", "is missing", "http_file"),
        ("mode: snapshot_diff", "mode: snapshot_dif", "snapshot_diff", "deletes.mode", "none of the choices", "'snapshot_diff'"),
        ("kind: full", "kind: [full]", "kind: full", "incremental.kind", "none of the choices", "full"),
        ("key: [iata]", "key: iata", "key: [", "contract.key", "needs a list", "[a, b]"),
        ("key: [iata]", "key: [code]", "contract:", "contract", "code", ""),
        ("  format: csv", "  format: csv\n  delimeter: ','", "  format: csv", "source.delimeter", "no field", "source"),
        ("name: latitude, source: latitude, type: number", "name: latitude, source: latitude, typ: number", "name: latitude", "contract.columns[5].typ", "no field", "did you mean 'type'?"),
        ('"15 6 1 * *"', '"15 6 1 *"', "schedule:", "schedule.cron", "five fields", ""),
    ],
)  # fmt: skip
def test_each_mistake_is_told_where_it_stands(
    tmp_path: Path, old: str, new: str, at: str, field: str, what: str, mend: str
) -> None:
    problems = changed(tmp_path, old, new)
    found = next(p for p in problems if p.field == field)
    assert what in found.what
    assert mend in found.mend
    assert abs(found.line - line_of(at)) <= (1 if new.count("\n") > old.count("\n") else 0)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8").replace("title:", "titel:", 1).replace("type: csv", "type: 1")
    text = text.replace("shrink_guard: 0.02", "shrink_guard: many")
    with pytest.raises(InvalidDeclaration) as caught:
        validate(Feed, read(written(tmp_path, text)), "feeds/x/feed.yaml")
    fields = {p.field for p in caught.value.problems}
    assert {"titel", "title", "deletes.shrink_guard"} <= fields
    assert str(caught.value).startswith("feeds/x/feed.yaml:")
    assert [p.line for p in caught.value.problems] == sorted(p.line for p in caught.value.problems)


def test_whole_numbers_do_for_floats_and_iso_text_for_durations(tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8").replace("shrink_guard: 0.02", "shrink_guard: 0")
    text = text.replace("timezone: America/New_York}", "timezone: America/New_York, lag: PT90M}")
    feed = validate(Feed, read(written(tmp_path, text)))
    assert feed.deletes.shrink_guard == 0
    assert feed.schedule.lag.total_seconds() == 5400


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("secret: DATA_GO_KR_KEY", f"secret: {KEY}"),
        ('params: {sidoName: 전국, ver: "1.3"}', f"params: {{sidoName: 전국, serviceKey: {KEY}}}"),
        ("operation: getCtprvnRltmMesureDnsty", f"operation: get?serviceKey={KEY}"),
        ("base_url: https://apis.data.go.kr/", f"base_url: https://user:{KEY}@apis.data.go.kr/"),
        ("protocol: data_go_kr", f"protocol: {KEY}"),
        ("kind: query_key", f"kind: {KEY}"),
        ("timezone: Asia/Seoul, lag", f"timezone: {KEY}, lag"),
        ("nodata: retry", f"nodata: {KEY}"),
    ],
)
def test_a_key_in_the_file_is_refused_and_never_repeated(tmp_path: Path, old: str, new: str) -> None:
    problems = changed(tmp_path, old, new, FOLDER / "kr.airkorea.sido_hourly" / "feed.yaml")
    assert problems
    assert KEY not in "".join(map(str, problems))
    if "serviceKey: " in new or "secret" in new or "user:" in new:
        assert any("environment" in p.mend for p in problems)


SYNTAX: list[tuple[str, int, str]] = [
    ("id: a\ntitle: [1, 2\nother: 3\n", 3, "syntax"),
    ("id: a\nid: b\n", 2, "twice"),
    ("id: a\nsource: {url: 1, url: 2}\n", 2, "twice"),
    ("id: &x a\ntitle: *x\n", 1, "anchors"),
    ("id: !!python/object:os.system ls\n", 1, "tags"),
    ("id: a\n---\nid: b\n", 2, "syntax"),
    ("- a\n- b\n", 1, "mapping"),
    ("", 1, "mapping"),
    ("id: a\n1: b\n", 2, "not text"),
    ("id: a\nmin: .inf\n", 2, ".inf"),
    ("id: a\n\tb: c\n", 2, "syntax"),
    ("a: " + "[" * 200, 1, "deeper"),
]


@pytest.mark.parametrize(("text", "line", "what"), SYNTAX)
def test_syntax_is_told_with_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DeclarationError) as caught:
        read(path)
    assert what in str(caught.value)
    assert caught.value.where.startswith(f"{path}:{line}") or (caught.value.where == str(path) and line == 1)


def test_a_billion_laughs_costs_nothing(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]" for p, c in zip("abcdefgh", "bcdefghi", strict=True)]
    with pytest.raises(DeclarationError, match="aliases"):
        read(written(tmp_path, "\n".join(lines)))


def test_size_encoding_and_absence(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="1 MB"):
        read(written(tmp_path, "# " + "x" * 1024 * 1024))
    path = tmp_path / "cp949.yaml"
    path.write_bytes("id: a\ntitle: 서울\n".encode("cp949"))
    with pytest.raises(DeclarationError, match="UTF-8") as caught:
        read(path)
    assert caught.value.where.endswith(":2")
    with pytest.raises(DeclarationError, match="cannot be read"):
        read(tmp_path / "none.yaml")


def test_yaml_1_2_words_stay_words(tmp_path: Path) -> None:
    document = read(written(tmp_path, "a: no\nb: on\nc: true\nd: 2024-01-02\ne: 010\nf: ~\ng: 1e3\n"))
    data: dict[str, Any] = document.data
    assert data == {"a": "no", "b": "on", "c": True, "d": "2024-01-02", "e": 10, "f": None, "g": 1000.0}
    assert document.line(("d",)) == 4
    assert document.line(("d", "x")) == 4
    assert document.line(("zzz",)) == 1


def test_plain_data_is_what_another_reader_sees() -> None:
    for path in sorted(FOLDER.glob("*/feed.yaml")):
        plain = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        assert read(path).data == plain
