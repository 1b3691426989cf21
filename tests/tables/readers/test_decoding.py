"""The ladder: which encoding is chosen, and what is said when none fits."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.payload import Payload
from assets.tables.readers.decoding import Encoding, Utf8File, choose, open_utf8

KOREAN = "번호,이름\n1,똠방각하 펲시콜라\n"


def at(folder: str | Path, data: bytes) -> Path:
    path = Path(folder) / "f"
    path.write_bytes(data)
    return path


def text_of(path: Path, declared: str | None = None, korean: bool = False) -> tuple[str, str]:
    with open_utf8(path, declared=declared, korean=korean) as file:
        return file.encoding.name, file.read().decode()


@settings(max_examples=500, deadline=None)
@given(
    text=st.text(st.characters(codec="cp949"), max_size=300),
    declared=st.sampled_from([None, "utf-8", "cp949", "euc-kr"]),
    truth=st.sampled_from(["utf-8", "cp949"]),
)
def test_korean_text_survives_whatever_was_declared(text: str, declared: str | None, truth: str) -> None:
    raw = text.encode(truth)
    with tempfile.TemporaryDirectory() as folder:
        found, back = text_of(at(folder, raw), declared, korean=True)
    try:
        as_utf8 = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        assert (found, back) == ("cp949", text)
    else:
        assert (found, back) == ("utf-8", as_utf8)
        assert truth == "cp949" or back == text.removeprefix("\ufeff")


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200).filter(lambda t: not t.startswith("\ufeff")),
    name=st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]),
)
def test_a_byte_order_mark_decides(text: str, name: str) -> None:
    if name == "utf-16" and text.startswith("\0"):
        return  # its first four bytes are also the mark of UTF-32
    with tempfile.TemporaryDirectory() as folder:
        found, back = text_of(at(folder, text.encode(name)), declared="cp949", korean=True)
    assert back == text
    assert found.startswith(name[:5])


def test_the_rungs_in_their_order(tmp_path: Path) -> None:
    assert choose(at(tmp_path, KOREAN.encode()), declared="cp949").name == "utf-8"
    assert choose(at(tmp_path, KOREAN.encode("cp949")), declared="utf-8", korean=True).name == "cp949"
    assert choose(at(tmp_path, "日本語\n".encode("shift-jis")), declared="shift_jis").name == "shift_jis"
    assert choose(at(tmp_path, "é\n".encode("latin-1")), declared="latin-1", korean=True).name == "iso8859-1"
    assert choose(at(tmp_path, "a,b\n".encode("utf-16-le")), declared="utf-16-le").name == "utf-16-le"
    assert choose(at(tmp_path, b"a,b\n"), declared="utf-16-le").name == "utf-8"


def test_no_rung_fits_without_the_feed_being_korean(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match=r"not utf-8 \(byte 0, line 1\).*cp949"):
        choose(at(tmp_path, (KOREAN * 20).encode("cp949")), declared="utf-8", where="us.x")


def test_a_mark_that_lies_and_names_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="byte order mark"):
        choose(at(tmp_path, b"\xef\xbb\xbfab\n\xb0\xa1"), korean=True)
    for name in ("klingon", "base64", "hex"):
        with pytest.raises(UnreadableSource, match=r"decode\.encoding"):
            choose(at(tmp_path, b"abc"), declared=name)


@pytest.mark.parametrize("pad", range(6))
@pytest.mark.parametrize("encoding", ["utf-8", "cp949", "utf-16"])
def test_characters_across_pieces(tmp_path: Path, pad: int, encoding: str) -> None:
    text = "x" * pad + "가나다라마바사아" * 700_000
    assert text_of(at(tmp_path, text.encode(encoding)), korean=True)[1] == text


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
@pytest.mark.parametrize("lines", [0, 3, 5_000, 900_000])
def test_the_place_of_the_first_bad_byte(tmp_path: Path, encoding: str, lines: int) -> None:
    before = ("가나다\n" * lines).encode(encoding) + "가".encode(encoding)
    path = at(tmp_path, before + b"\xff\xff")
    declared = encoding if encoding != "utf-8" else None
    with pytest.raises(UnreadableSource, match=rf"not {encoding} \(byte {len(before)}, line {lines + 1}\)"):
        open_utf8(path, declared=declared, korean=False).read()


def test_a_text_that_ends_inside_a_character(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match=r"not cp949 \(byte 2, line 1\)"):
        open_utf8(at(tmp_path, "가나".encode("cp949")[:-1]), korean=True).read()


def test_closing_early_ends_the_thread(tmp_path: Path) -> None:
    file = Utf8File(at(tmp_path, b"a" * 40_000_000), choose(tmp_path / "f"))
    file.read(10)
    file.close()
    file._thread.join(5)
    assert not file._thread.is_alive()


_MARKED = st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\0\0\xfe\xff"])
_TEXTS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text("가각힣a\0\x1b~{", max_size=20).flatmap(
        lambda text: st.sampled_from(["utf-8", "cp949", "utf-16-le", "iso2022_kr"]).map(lambda name: text.encode(name, "replace"))
    ),
)


@settings(max_examples=400, deadline=None)
@given(_MARKED, _TEXTS, st.sampled_from([None, "utf-8", "cp949", "utf-16", "iso2022_kr"]), st.booleans())
def test_bytes_in_memory_and_in_a_file_are_one_text(mark: bytes, data: bytes, declared: str | None, korean: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text"
        path.write_bytes(mark + data)

        def found(file: Path | Payload) -> tuple[Encoding, bytes] | str:
            try:
                with open_utf8(file, declared=declared, korean=korean, where="w") as text:
                    return text.encoding, text.read()
            except UnreadableSource as error:
                return error.what

        assert found(Payload(Path("nowhere"), mark + data)) == found(path)
