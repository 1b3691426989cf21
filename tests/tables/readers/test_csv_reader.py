"""CSV: what csv.writer writes comes back; what is broken is named, by row."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.tables.readers import csv_reader

from .reading import opened, order, problems_of, rows_of, table_of


def written(path: Path, data: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(data.encode(encoding) if isinstance(data, str) else data)
    return path


CP949_TEXT = st.text(
    st.one_of(st.characters(codec="cp949", exclude_characters="\0"), st.sampled_from("가힣똠방각하 ,;|\t\"'\n\r#")), max_size=12
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=500, deadline=None)
@given(
    data=st.data(),
    width=st.integers(1, 5),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    terminator=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp949", "utf-16"]),
)
def test_what_csv_writer_writes_is_read_back(
    data: st.DataObject, width: int, delimiter: str, quoting: Any, terminator: str, encoding: str
) -> None:
    cell = CP949_TEXT if encoding == "cp949" else ANY_TEXT
    rows = data.draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=20))
    if quoting == csv.QUOTE_MINIMAL and terminator == "\n":
        # Python before 3.13 leaves a bare CR unquoted there, and no reader can tell it from a line's end
        rows = [[c.replace("\r", "") for c in row] for row in rows]
    names = [f"열{i}" for i in range(width)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=terminator)
    writer.writerows([names, *rows])
    raw = text.getvalue().encode(encoding)
    if encoding == "cp949":
        assume(not _is_utf8(raw))
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "f", raw)
        stream = opened(path, order(*names, korean=True), format="csv", csv={"delimiter": delimiter})
        assert rows_of(stream) == [tuple(r) for r in rows]
        assert stream.seen_columns == names


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 2, 2, 2, 3]), min_size=1, max_size=400),
    block=st.sampled_from([64, 200, 1000]),
    blank=st.booleans(),
)
def test_ragged_rows_keep_every_ordinal_across_blocks(sizes: list[int], block: int, blank: bool) -> None:
    lines = [",".join(f"r{i}f{j}" for j in range(n)) for i, n in enumerate(sizes, 1)]
    text = "a,b\n" + ("\n\n" if blank else "\n").join(lines) + "\n\n"
    before = csv_reader.BLOCK
    csv_reader.BLOCK = block
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = written(Path(folder) / "f", text)
            expected = [(f"r{i}f0", f"r{i}f1") if n == 2 else (None, None) for i, n in enumerate(sizes, 1)]
            assert rows_of(opened(path, order("a", "b"), format="csv")) == expected
            found = problems_of(opened(path, order("a", "b"), format="csv"))
            assert found == {
                i: (f"ragged: {n} fields where the header has 2", lines[i - 1]) for i, n in enumerate(sizes, 1) if n != 2
            }
    finally:
        csv_reader.BLOCK = before


def test_a_wrong_delimiter_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "f", "a;b;c\n1;2;3\n")
    with pytest.raises(UnreadableSource, match=r"1 column .*semicolon.*source\.csv\.delimiter: ';'"):
        opened(path, order("a", "b"), format="csv")
    with pytest.raises(UnreadableSource, match=r"semicolon"):
        opened(path, order("a", "b", missing="null"), format="csv")
    path = written(tmp_path / "g", "a\tb,c\td\n1\t2,3\t4\n")
    with pytest.raises(UnreadableSource, match=r"a tab"):
        opened(path, order("a", "d"), format="csv")


def test_missing_columns_are_listed_or_null(tmp_path: Path) -> None:
    path = written(tmp_path / "f", "a,b\n1,2\n")
    with pytest.raises(UnreadableSource, match=r"column 'x', 'y' missing; the source has 'a', 'b'"):
        opened(path, order("a", "x", "y"), format="csv")
    assert rows_of(opened(path, order("x", "b", missing="null"), format="csv")) == [(None, "2")]
    assert rows_of(opened(path, order("x", missing="null"), format="csv")) == [(None,)]


def test_duplicate_names_matter_only_where_wanted(tmp_path: Path) -> None:
    path = written(tmp_path / "f", "a,b,a\n1,2,3\n")
    assert rows_of(opened(path, order("b"), format="csv")) == [("2",)]
    with pytest.raises(UnreadableSource, match="'a' stands more than once"):
        opened(path, order("a"), format="csv")


@pytest.mark.parametrize("text", ["", "\n\n", "   \n"])
def test_empty_files(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        rows_of(opened(written(tmp_path / "f", text), order("a"), format="csv"))


def test_header_alone_gives_no_rows(tmp_path: Path) -> None:
    for text in ("a,b", "a,b\n", "a,b\r\n\r\n"):
        assert rows_of(opened(written(tmp_path / "f", text), order("a", "b"), format="csv")) == []


@pytest.mark.parametrize("tail", ['5,"6\n7,8\n9,10\n', '"5,6\n7,8\n', '5,"6', '5,6,"7\n8\n'])
def test_an_open_quote_is_named_with_its_record(tail: str, tmp_path: Path) -> None:
    path = written(tmp_path / "f", "a,b\n1,2\n3,4\n" + tail)
    with pytest.raises(UnreadableSource, match=r"record 3 is never closed"):
        rows_of(opened(path, order("a", "b"), format="csv"))


def test_an_open_quote_before_more_than_a_block(tmp_path: Path) -> None:
    path = written(tmp_path / "f", 'a,b\n1,2\n3,"4\n' + "5,6\n" * 6_000_000)
    with pytest.raises(UnreadableSource, match=r"never closed"):
        rows_of(opened(path, order("a", "b"), format="csv"))


def test_quotes_inside_unquoted_fields_are_text(tmp_path: Path) -> None:
    path = written(tmp_path / "f", 'a,b\n1,5" pipe\n2,x\n')
    assert rows_of(opened(path, order("a", "b"), format="csv")) == [("1", '5" pipe'), ("2", "x")]
    path = written(tmp_path / "g", 'a,b\n"1,2\n3,"4\n')
    assert rows_of(opened(path, order("a", "b"), format="csv", csv={"quote": None})) == [('"1', "2"), ("3", '"4')]


def test_nul_makes_a_broken_record(tmp_path: Path) -> None:
    path = written(tmp_path / "f", b"a,b\n1,2\n3\x00,4\n5,6,7\n8,9\n")
    assert rows_of(opened(path, order("a", "b"), format="csv")) == [("1", "2"), (None, None), (None, None), ("8", "9")]
    found = problems_of(opened(path, order("a", "b"), format="csv"))
    assert found[2] == ("a NUL character in the record", "3␀,4")
    assert found[3][0].startswith("ragged")


def test_layout_options(tmp_path: Path) -> None:
    text = '제목\r\n단위: 명\r\n\r\n# note, "x\r\na,b\r\n1,"x\r\n#kept"\r\n# gone\r\n2,y\r\n'
    path = written(tmp_path / "f", text, "cp949")
    stream = opened(path, order("a", "b", korean=True), format="csv", csv={"skip_rows": 2, "comment": "#"})
    assert rows_of(stream) == [("1", "x\r\n#kept"), ("2", "y")]
    assert stream.encoding == "cp949"
    path = written(tmp_path / "g", "junk\na|b\n1|2\n")
    assert rows_of(opened(path, order("b"), format="csv", csv={"delimiter": "|", "header_row": 2})) == [("2",)]
    path = written(tmp_path / "h", "junk\n1\t2\n3\t4\n")
    shape = {"header_row": 0, "skip_rows": 1, "columns": ["p", "q"]}
    assert rows_of(opened(path, order("q", "p"), format="tsv", csv=shape)) == [("2", "1"), ("4", "3")]


def test_headers_are_compared_in_nfc(tmp_path: Path) -> None:
    import unicodedata

    path = written(tmp_path / "f", "\ufeff" + unicodedata.normalize("NFD", " 시도명 ") + ",b\n서울,1\n")
    stream = opened(path, order("시도명"), format="csv")
    assert rows_of(stream) == [("서울",)]
    assert stream.seen_columns == ["시도명", "b"]


def test_null_markers_and_blanks_stay_text(tmp_path: Path) -> None:
    path = written(tmp_path / "f", 'a,b\n,NA\nnull," "\n"",-\n')
    assert rows_of(opened(path, order("a", "b"), format="csv")) == [("", "NA"), ("null", " "), ("", "-")]


def test_a_file_that_is_all_ragged_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    path = written(tmp_path / "f", "a,b\n" + "1,2,3\n" * 400_000)
    with pytest.raises(UnreadableSource, match="nearly every record is ragged"):
        rows_of(opened(path, order("a", "b"), format="csv"))


def test_undecodable_bytes_far_into_the_file_are_located(tmp_path: Path) -> None:
    good = "가,나\n" * 1_000_000
    path = written(tmp_path / "f", b"a,b\n" + good.encode("cp949") + b"\xff\xff,x\n")
    offset = 4 + len(good.encode("cp949"))
    with pytest.raises(UnreadableSource, match=rf"not cp949 \(byte {offset}, line 1000002\)"):
        table_of(opened(path, order("a", "b", korean=True), format="csv"))


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_a_reader_that_stops_early_lets_go_of_its_threads(tmp_path: Path, encoding: str) -> None:
    import threading

    path = written(tmp_path / "f", "가,나\n" + "다,라\n" * 6_000_000, encoding)
    before = {t for t in threading.enumerate() if t.name == "madang-decode"}
    stream = opened(path, order("가", korean=True), format="csv")
    assert next(stream.batches).num_rows > 0
    stream.batches.close()  # type: ignore[attr-defined]
    assert {t for t in threading.enumerate() if t.name == "madang-decode"} <= before


def test_a_process_that_ends_after_the_last_batch_ends_well(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = written(tmp_path / "f", "가,나\n" + "다,라\n" * 1_000_000, "cp949")
    code = (
        "import sys\nfrom pathlib import Path\nfrom assets.tables.readers.batches import Order\n"
        "from assets.tables.readers.open import open_rows\nfrom assets.tables.readers.spec import FileShape\n"
        "s = open_rows(Path(sys.argv[1]), FileShape(format='csv'), Order(('가',), korean=True))\n"
        "print(sum(b.num_rows for b in s.batches))\n"
    )
    root = Path(__file__).resolve().parents[3]
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "1000000\n"), done.stderr
