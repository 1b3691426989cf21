"""Workbooks as agencies hand them out: a cover, titles and units above the header, headers of several rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from assets.errors import UnreadableSource
from assets.onboarding.looking import Sample, look_at_file

Sheets = dict[str, list[list[Any]]]
Merges = tuple[tuple[int, int, int, int, str], ...]
ROWS: list[list[Any]] = [[dt.date(2026, month, 1), 10 * month, 20 * month, "-"] for month in range(1, 10)]


def looked(path: Path, sheets: Sheets, merges: Merges = ()) -> Sample:
    """`merges`: of the last sheet."""
    with xlsxwriter.Workbook(str(path)) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for name, rows in sheets.items():
            page = book.add_worksheet(name)
            for r, row in enumerate(rows):
                for c, value in enumerate(row):
                    if isinstance(value, dt.date):
                        page.write_datetime(r, c, dt.datetime(value.year, value.month, value.day), day)
                    elif value is not None:
                        page.write(r, c, value)
        for merge in merges:
            page.merge_range(*merge)
    return look_at_file(path, path.name, country="KR")


def shape(sample: Sample) -> dict[str, Any]:
    return {name: sample.source[name] for name in ("sheet", "header_row", "header_rows") if name in sample.source}


def test_a_plain_sheet_needs_no_words(tmp_path: Path) -> None:
    sample = looked(tmp_path / "f.xlsx", {"자료": [["월", "도착", "출발", "비고"], *ROWS]})
    assert shape(sample) == {} and sample.sources == ("월", "도착", "출발", "비고") and len(sample.rows) == 9


def test_the_sheet_of_the_table_is_read_and_not_the_cover_and_titles_are_above_its_header(tmp_path: Path) -> None:
    cover = [["2026년 통계"], ["담당", "항공과"]]
    table = [["월별 실적"], [None, None, None, "(단위: 편)"], ["월", "도착", "출발", "비고"], *ROWS]
    sample = looked(tmp_path / "f.xlsx", {"표지": cover, "자료": table}, ((0, 0, 0, 3, "월별 실적"),))
    assert shape(sample) == {"sheet": "자료", "header_row": 3} and sample.sources == ("월", "도착", "출발", "비고")
    assert sample.rows[0] == ("2026-01-01", "10", "20", "-")
    assert [(note.key, dict(note.values)) for note in sample.notes] == [("sheet", {"sheet": "자료", "count": 2, "row": 3})]


@pytest.mark.parametrize("deep", [((0, 0, 1, 0, "월"), (0, 1, 0, 2, "운항"), (0, 3, 1, 3, "비고")), ((0, 1, 0, 2, "운항"),)])
def test_a_header_of_two_rows_is_told_by_its_merged_cells(deep: Merges, tmp_path: Path) -> None:
    table = [["월", "운항", None, "비고"], [None, "도착", "출발", None], *ROWS]
    sample = looked(tmp_path / "f.xlsx", {"자료": table}, deep)
    assert shape(sample) == {"header_rows": 2} and sample.sources == ("월", "운항 도착", "운항 출발", "비고")
    assert len(sample.rows) == 9


def test_a_sheet_with_nothing_below_its_header_says_so(tmp_path: Path) -> None:
    sample = looked(tmp_path / "f.xlsx", {"자료": [["월", "도착"]]})
    assert sample.rows == () and [note.key for note in sample.notes] == ["sheet", "no_rows"]


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4096))
    with pytest.raises(UnreadableSource, match="no readable workbook"):
        look_at_file(path, "f.xls", country="KR")
