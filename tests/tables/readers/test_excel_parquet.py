"""Excel and Parquet: sheets, merged headers, dates and numbers as text; damaged files refused."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from assets.errors import UnreadableSource

from .reading import opened, order, rows_of, table_of


def workbook(
    path: Path, rows: list[list[Any]], merges: tuple[tuple[int, int, int, int, str], ...] = (), sheet: str = "자료"
) -> Path:
    with xlsxwriter.Workbook(str(path)) as book:
        book.add_worksheet("표지").write(0, 0, "cover")
        page = book.add_worksheet(sheet)
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        for r, row in enumerate(rows):
            for c, value in enumerate(row):
                if isinstance(value, dt.datetime):
                    page.write_datetime(r, c, value, moment)
                elif isinstance(value, dt.date):
                    page.write_datetime(r, c, value, day)
                elif value is not None:
                    page.write(r, c, value)
        for merge in merges:
            page.merge_range(*merge)
    return path


BIFF = (
    "H4sIAAAAAAACA+1YXUgUURT+7uzsj+bPalpoIIOQf4kgvURgW/7kS4lZYURQqztErbsr6/awPZRl+yIEQU9FBII9CGL10g8VFPT3EBj1EAjFWm/1FBX0"
    "oE7nnpkp3TZQKGFjznDPnDn3O/eeuffcc+/My+mS9NjNyllk0Da4sGDkwbNIJ6jk2Q9+UL1hSNG++6gYDuUU5floIj1u3Ct84ZVzKOd7FgpuqI+IA++p"
    "HMIgumJRXVtFamUfgkL60CJUij0FV6gUoYL9KmXez3wt8+uMvc98O2vOM28hbFocxHSgq2GLFccHlGquKyIucJttZljTjHI8l3F8+oIwsW7siB8LDuRY"
    "RZVagHHQlHbqUT0un/24hjVAJBLRQo1akiiNMprvcXwzNOCrvbAfao5+dfUCpP++VO/9g95Hs5ipv6iowDCMI0JGc4pS86hq5uO2WDShRxNDKYr0tNtc"
    "3+3BRFBrnsMo52tZKCr2N+1t0jooUo4mKR+0BvvDWiKm2eYFsKy2apFgSKc9YG/sRLxfD+tJ6qind1+bygh9PfU/OTGpoQ7tiGGAriDiGCKHB6GTpKGV"
    "NXF6GkC9XH5Pn+x6li93Fs5E/iWZqJDXZwHxEIpZLuFV6ie/5yY+v9rd1x04zJphfhNzj9ooxwMGzkgLMi76WWPyBrbYxPwst7qB5UrmZbSE6F7TXW4J"
    "O0cYc45ra6ifzUyvA7WL5DqSU5/23KlKfQjUkzzVOXuybOpNYAzVtGeGyF5eI2gUjeLyJUl3A/ZdWNnsLfOK3zKbT/FbvhvWRlyMeeSzWGLu1kopbkko"
    "Zb5ftBqjyo0yNldHVck6qvKNzSd7dCReZMELxrssvGC8auGVLHiF8W4Lb46+x8K7MvAP6B1cvNvNfJS4L7XSH4lUsyBVRr5j5HHYSHdG5JxS8llXiquP"
    "FUZ4MtqSCA97KduSXnrYS68dacgWaQ455JBDDjnkUK6QsE5v8pQhzw9u64zotf7rzFNZcH6T/LfUQ59pMSTow6wDUbrHkVxR/KyDW9htiWXa2P8LJfVS"
    "73GE0cd+hFccv3TGF4vfZ9mG/r+3hFba/8JK/PzH/f8A2pC+0QAWAAA="
)
"""An old workbook (BIFF 8), packed: nothing here writes such files, and agencies have them. Its second sheet, `Data 1`, has two
lines of notes, the column names in row 3, and days as serial numbers with a date's format (as EIA's wti-day.xls)."""


def test_an_old_workbook_has_dates_as_days_and_texts_in_korean(tmp_path: Path) -> None:
    (tmp_path / "f.xls").write_bytes(gzip.decompress(base64.b64decode(BIFF)))
    wanted = order("Date", "가격 (Dollars per Barrel)")
    for sheet in (2, "Data 1"):
        stream = opened(tmp_path / "f.xls", wanted, format="xls", sheet=sheet, header_row=3)
        assert rows_of(stream) == [("1986-01-02", "25.56"), ("1986-01-03", "26"), ("2024-02-29", None), ("31415", "없음")]


def test_cells_as_text(tmp_path: Path) -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5)
    rows: list[list[Any]] = [
        ["a", "b", "c", "d", "e"],
        [19880423.0, 1.5, True, dt.date(2026, 1, 2), "가"],
        [None, -0.1, False, moment, " x "],
        [None] * 5,
        [1e300, 0, None, None, "0012"],
    ]
    path = workbook(tmp_path / "f.xlsx", rows)
    stream = opened(path, order("a", "b", "c", "d", "e"), format="xlsx", sheet="자료")
    assert rows_of(stream) == [
        ("19880423", "1.5", "true", "2026-01-02", "가"),
        (None, "-0.1", "false", "2026-01-02T03:04:05", " x "),
        ("1e+300", "0", None, None, "0012"),
    ]
    assert rows_of(opened(path, order("b"), format="xlsx", sheet=2)) == [("1.5",), ("-0.1",), ("0",)]


def test_merged_headers_and_title_rows(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["제목"], [], [None] * 5, [None, "남", "여", "남", "여"], ["중구", 1, 2, 3, 4]]
    merges = ((2, 0, 3, 0, "구"), (2, 1, 2, 2, "2024"), (2, 3, 2, 4, "2025"))
    path = workbook(tmp_path / "f.xlsx", rows, merges)
    shape = {"sheet": "자료", "skip_rows": 2, "header_rows": 2}
    stream = opened(path, order("구", "2025 여", "2024 남"), format="xlsx", **shape)
    assert rows_of(stream) == [("중구", "4", "1")]
    assert stream.seen_columns == ["구", "2024 남", "2024 여", "2025 남", "2025 여"]
    single = opened(path, order("제목"), format="xlsx", sheet="자료")
    assert rows_of(single)[0] == ("구",)
    with pytest.raises(UnreadableSource, match="more than once"):
        opened(path, order("남"), format="xlsx", sheet="자료", header_row=4)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = workbook(tmp_path / "f.xlsx", [["a"], [1]])
    with pytest.raises(UnreadableSource, match=r"no sheet 'x'; the workbook has '표지', '자료'"):
        opened(path, order("a"), format="xlsx", sheet="x")
    with pytest.raises(UnreadableSource, match="'b' missing; the source has 'a'"):
        opened(path, order("b"), format="xlsx", sheet="자료")
    with pytest.raises(UnreadableSource, match="no header in row 50"):
        opened(path, order("a"), format="xlsx", sheet="자료", header_row=50)
    with pytest.raises(UnreadableSource, match="ZIP archive in place of xls"):
        opened(path, order("a"), format="xls")


def test_a_workbook_with_a_password_is_said_to_have_one(tmp_path: Path) -> None:
    """Office wraps a workbook with a password into its old format, whatever the name says."""
    path = tmp_path / "f.xlsx"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1024) + "EncryptedPackage".encode("utf-16-le") + bytes(1024))
    for file_format in ("xls", "xlsx"):
        with pytest.raises(UnreadableSource, match=f"a file that is protected by a password in place of {file_format}"):
            opened(path, order("a"), format=file_format)


def test_an_xlsx_that_unpacks_without_end(tmp_path: Path) -> None:
    path = workbook(tmp_path / "f.xlsx", [["a"], *[["x" * 30_000] for _ in range(3)]])
    with pytest.raises(UnreadableSource, match="unpacks to more than"):
        opened(path, order("a"), format="xlsx", sheet=2, unpacking={"max_member_bytes": 1000})


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_raise_unreadable_source_only(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    book = workbook(tmp_path / "f.xlsx", [["a", "b"], *[[i, f"v{i}"] for i in range(50)]])
    pq.write_table(pa.table({"a": list(range(500)), "b": ["x"] * 500}), tmp_path / "f.parquet")
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(chance.randrange(256) for _ in range(2000))
    for data, name in ((book.read_bytes(), "xlsx"), ((tmp_path / "f.parquet").read_bytes(), "parquet"), (ole, "xls")):
        damaged = bytearray(data)
        for _ in range(chance.randrange(1, 20)):
            damaged[chance.randrange(8, len(damaged))] = chance.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged[: chance.randrange(9, len(damaged))] if seed % 3 == 0 else damaged)
        shape: dict[str, Any] = {"sheet": 2} if name == "xlsx" else {}
        try:
            table = table_of(opened(path, order("a", "b", missing="null"), format=name, **shape))
        except UnreadableSource:
            continue
        assert name != "xls" and table.num_rows <= 500


def test_parquet_values_as_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "f": pa.array([0.1, 2.0], pa.float64()),
            "d": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "t": pa.array([dt.datetime(2026, 1, 2, 3, 4, 5), None], pa.timestamp("us", "Asia/Seoul")),
            "day": pa.array([dt.date(2026, 1, 2), None], pa.date32()),
            "s": pa.array(["가", "\0"], pa.string()).dictionary_encode(),
            "n": pa.array([{"x": 1, "y": [1.5]}, None], pa.struct([("x", pa.int8()), ("y", pa.list_(pa.float32()))])),
            "ok": pa.array([True, False]),
        }
    )
    path = tmp_path / "f"
    pq.write_table(table, path)
    stream = opened(path, order("i", "f", "d", "t", "day", "n", "n.x", "ok"), format="parquet")
    assert rows_of(stream) == [
        ("1", "0.1", "1.50", "2026-01-02 03:04:05.000000Z", "2026-01-02", '{"x":1,"y":[1.5]}', "1", "true"),
        (None, "2", None, None, None, None, None, "false"),
    ]
    assert stream.seen_columns == ["i", "f", "d", "t", "day", "s", "n", "ok"]
    assert rows_of(opened(path, order("s"), format="parquet")) == [("가",), (None,)]
    with pytest.raises(UnreadableSource, match="'z' missing"):
        opened(path, order("z"), format="parquet")
    assert rows_of(opened(path, order("z", missing="null"), format="parquet")) == [(None,), (None,)]
