"""data_go_kr: the rows of a page, in every shape of its items, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assets.errors import UnreadableSource
from assets.protocols.answers.gateway_envelope import normalise_items
from tests.protocols.data_go_kr_scene import envelope, rows_of


@pytest.mark.parametrize(
    ("items", "rows"),
    [
        ({"item": [{"a": "1"}, {"a": "2"}]}, 2),
        ({"item": {"a": "1"}}, 1),
        ([{"a": "1"}, {"a": "2"}], 2),
        ({"a": "1"}, 1),
        ("", 0),
        ({}, 0),
        ([], 0),
        (None, 0),
        ({"item": ""}, 0),
        ({"item": []}, 0),
        ("  ", 0),
    ],
)
def test_all_shapes_of_items(items: Any, rows: int, tmp_path: Path) -> None:
    assert len(normalise_items(items)) == rows
    assert len(rows_of(tmp_path, envelope(items).encode(), columns=("a",))) == rows


def test_rows_of_json_and_xml_pages_are_the_same(tmp_path: Path) -> None:
    as_json = envelope({"item": [{"a": "가", "b": "1.50"}, {"a": "나", "b": ""}]}).encode()
    as_xml = (
        "<?xml version='1.0' encoding='UTF-8'?><response><header><resultCode>00</resultCode></header><body><items>"
        "<item><a>가</a><b>1.50</b></item><item><a>나</a><b></b></item></items><totalCount>2</totalCount></body></response>"
    ).encode()
    one = "<response><header/><body><items><item><a>다</a><b>&lt;3&gt;</b></item></items></body></response>".encode()
    none = b"<response><header/><body><items/></body></response>"
    assert rows_of(tmp_path, as_json) == rows_of(tmp_path, as_xml) == [("가", "1.50", 1), ("나", "", 2)]
    past = b"<response><header/><body/></response>"
    assert rows_of(tmp_path, as_xml, past, as_json)[2:] == [("가", "1.50", 3), ("나", "", 4)]
    assert rows_of(tmp_path, as_xml, one, none, as_json)[2:] == [("다", "<3>", 3), ("가", "1.50", 4), ("나", "", 5)]


def test_numbers_keep_their_digits_and_a_row_that_is_no_object_is_told(tmp_path: Path) -> None:
    page = b'{"response":{"header":{"resultCode":"00"},"body":{"items":[{"a":12345678901234567890.10,"b":null},7]}}}'
    assert rows_of(tmp_path, page) == [("12345678901234567890.1", None, 1), (None, None, 2)]


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"{",
        b"<a>",
        b"[1]",
        b'{"x":1}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'<!DOCTYPE r [<!ENTITY a "b">]><response><body><items><item><a>&a;</a></item></items></body></response>',
    ],
)
def test_hostile_pages_raise_unreadable_source_only(page: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        rows_of(tmp_path, page)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b"", "cap"),
        (b"<a><b></a>", "no well-formed XML at line 1"),
        (b'<!DOCTYPE r [<!ENTITY a "b">]><response><body><items><item><a>&a;</a></item></items></body></response>', "DOCTYPE"),
        (b'{"response": [', "a page is"),
        (b'{"other": 1}', "no 'response' on the path"),
    ],
)
def test_what_is_wrong_with_a_page_is_told(page: bytes, why: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match=why) as told:
        rows_of(tmp_path, page, columns=("a",), missing_columns="null")
    assert why in f"{told.value.what} {told.value.mend}"


def test_a_column_that_no_row_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="'b' missing"):
        rows_of(tmp_path, envelope([{"a": 1}]).encode())
    assert rows_of(tmp_path, envelope([{"a": 1}]).encode(), missing_columns="null") == [("1", None, 1)]
