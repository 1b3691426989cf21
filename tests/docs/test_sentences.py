"""The agency's page says what is refused, with which sentence, and what goes through: each is sent to the page's own feed."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assets.errors import MadangError
from orchestration.cli import app
from tests.docs.pages import ROOT, blocks
from tests.docs.test_docs import rows_after
from tests.one_file_agency import one_file_agency

PAGE = ROOT / "docs" / "agency.md"
KOREAN = ROOT / "docs" / "agency.ko.md"
FEED = "kr.hanbit.library_loans"


def text_of_the_page() -> str:
    """The CSV file that the page has its reader type."""
    (found,) = re.findall(r"<<'END'\n(.*?)END\n", "".join(block.text for block in blocks(PAGE)), re.S)
    return str(found)


CSV = text_of_the_page()
# In the order of the page's table.
REFUSED: list[bytes] = [
    "<!DOCTYPE html><html><head><title>점검</title></head><body>시스템 점검 중입니다</body></html>".encode(),
    b"",
    CSV.replace("대출권수", "대출 권수").encode("cp949"),
    CSV.replace(",", ";").encode("cp949"),
    CSV.encode("utf-16-le"),
]
ACCEPTED: dict[str, Callable[[str], bytes]] = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with BOM": lambda text: text.encode("utf-8-sig"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode("cp949"),
    "another order": lambda text: "\n".join(_turned(line) for line in text.splitlines()).encode("cp949"),
    "a new column": lambda text: "\n".join(f"{line},새 값" for line in text.splitlines()).encode("cp949"),
    "gzip": lambda text: gzip.compress(text.encode("cp949")),
}


def _turned(line: str) -> str:
    """The line with its last column first."""
    rest, _, last = line.rpartition(",")
    return f"{last},{rest}"


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Serve these bytes in place of the agency, and declare the page's feed (with another address where one is given)."""
    (declaration,) = (block.text for block in blocks(PAGE) if block.directive == "file")
    with one_file_agency(tmp_path, FEED, monkeypatch) as agency:

        def give(data: bytes, suffix: str = "") -> None:
            agency.answer = data
            text = declaration.replace("library-loans.csv", f"library-loans.csv{suffix}")
            agency.declaration.write_text(text, encoding="utf-8")

        yield give


def test_both_pages_have_the_same_feed_and_the_same_sentences() -> None:
    english, korean = (rows_after(page, heading) for page, heading in ((PAGE, "what came"), (KOREAN, "받은 것")))
    assert [sentence for _, sentence in english] == [sentence for _, sentence in korean]
    assert len(english) == len(REFUSED)
    values = [re.sub(r" +#.*", "", block.text) for page in (PAGE, KOREAN) for block in blocks(page) if block.directive == "file"]
    assert values[0] == values[1]


@pytest.mark.parametrize("row", range(len(REFUSED)))
def test_what_is_refused_says_the_sentence_of_the_page(row: int, serve: Callable[..., None]) -> None:
    what, sentence = rows_after(PAGE, "what came")[row]
    serve(REFUSED[row])
    result = CliRunner().invoke(app, ["feed", "preview", FEED])
    assert isinstance(result.exception, MadangError), f"{what}: {result.output}"
    assert sentence in str(result.exception)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_goes_through_gives_the_same_rows(name: str, serve: Callable[..., None]) -> None:
    serve(CSV.encode("cp949"))
    expected = json.loads(CliRunner().invoke(app, ["feed", "preview", FEED, "--json"]).stdout)
    serve(ACCEPTED[name](CSV), ".gz" if name == "gzip" else "")
    found = CliRunner().invoke(app, ["feed", "preview", FEED, "--json"])
    assert found.exception is None, found.exception
    assert json.loads(found.stdout)["rows"] == expected["rows"]
    assert expected["accepted"] == 7
