"""ZIP and gzip: names, choice of members, and every way an archive can harm."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.tables.readers.container import check_zip, members
from assets.tables.readers.spec import Unpacking

from .reading import opened, order, rows_of

CSV = b"a,b\n1,2\n"


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def read(path: Path, container: str = "zip", **shape: Any) -> list[tuple[str | None, ...]]:
    return rows_of(opened(path, order("a", "b"), format="csv", container=container, **shape))


def with_raw_name(path: Path, raw: bytes) -> Path:
    """A ZIP whose one member's name is these very bytes, with bit 11 unset."""
    plain = zipped(path, {"N" * len(raw): CSV}).read_bytes()
    path.write_bytes(plain.replace(b"N" * len(raw), raw))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_names_without_the_utf8_flag(tmp_path: Path, encoding: str) -> None:
    name = "자료/2026년.csv"
    path = with_raw_name(tmp_path / "z", name.encode(encoding))
    assert list(members(path, Unpacking())) == [name]
    assert read(path, member="*년.csv") == [("1", "2")]


def test_a_name_with_the_flag_and_one_of_dos(tmp_path: Path) -> None:
    assert list(members(zipped(tmp_path / "a", {"가.csv": CSV}), Unpacking())) == ["가.csv"]
    assert list(members(with_raw_name(tmp_path / "b", b"\x81\x20.csv"), Unpacking())) == ["ü .csv"]


def test_members_are_read_in_the_order_of_their_names_and_numbered_on(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z", {"d/b.csv": b"b,a\n3,4\n5,6\n", "a.csv": CSV, "c.txt": b"no", "__MACOSX/a.csv": b"no", "e/": b""})
    assert read(path, member="*.csv") == [("1", "2"), ("4", "3"), ("6", "5")]
    with pytest.raises(UnreadableSource, match=r"no member .*'\*\.tsv'; it has .*'a\.csv'.*source\.member"):
        read(path, member="*.tsv")


@pytest.mark.parametrize("name", ["../x.csv", "a/../../x.csv", "/etc/x.csv", "C:/x.csv", "..\\x.csv", "c:x.csv"])
def test_names_that_lead_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableSource, match="leads outside"):
        read(zipped(tmp_path / "z", {"a.csv": CSV, name: CSV}))


def test_a_symbolic_link(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a.csv")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UnreadableSource, match="symbolic link"):
        read(tmp_path / "z")


def test_an_encrypted_member(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "z", {"a.csv": CSV}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "z").write_bytes(data)
    with pytest.raises(UnreadableSource, match="encrypted"):
        read(tmp_path / "z")


def test_a_bad_checksum(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "z", {"a.csv": CSV * 50}, zipfile.ZIP_STORED).read_bytes())
    data[data.index(b"1,2")] ^= 1
    (tmp_path / "z").write_bytes(data)
    with pytest.raises(UnreadableSource, match=r"'a\.csv' is damaged"):
        read(tmp_path / "z")


def test_bombs_are_stopped_while_inflating(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z", {"a.csv": b"a,b\n" + b"1,2\n" * 5_000_000})
    with pytest.raises(UnreadableSource, match=r"more than 200 times"):
        read(path)
    with pytest.raises(UnreadableSource, match=r"more than 1,000,000 bytes"):
        read(path, unpacking={"max_member_bytes": 1_000_000, "max_ratio": 1e9})
    packed = tmp_path / "g"
    packed.write_bytes(gzip.compress(bytes(300_000_000), 9))
    with pytest.raises(UnreadableSource, match=r"more than 200 times"):
        read(packed, "gzip")
    with pytest.raises(UnreadableSource, match=r"3 members"):
        read(zipped(tmp_path / "m", dict.fromkeys("abc", CSV)), unpacking={"max_members": 2})


def test_a_size_that_the_header_understates_is_not_believed(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "z", {"a.csv": b"a,b\n" + b"1,2\n" * 1000}).read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (8).to_bytes(4, "little")
    (tmp_path / "z").write_bytes(data)
    with pytest.raises(UnreadableSource, match="damaged"):
        read(tmp_path / "z")


def test_gzip_of_several_members_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "g"
    path.write_bytes(gzip.compress(CSV) + gzip.compress(b"3,4\n"))
    assert read(path, "gzip") == [("1", "2"), ("3", "4")]
    path.write_bytes(gzip.compress(CSV * 1000)[:-9])
    with pytest.raises(UnreadableSource, match="truncated"):
        read(path, "gzip")
    whole = bytearray(gzip.compress(CSV * 1000))
    whole[-6] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UnreadableSource, match="damaged"):
        read(path, "gzip")


def test_what_is_in_the_place_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for data, said in ((CSV, "text in place of zip"), (b"<html>", "HTML"), (b"PK\x03\x04" + b"x" * 50, "no readable ZIP")):
        path.write_bytes(data)
        with pytest.raises(UnreadableSource, match=said):
            read(path)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.csv", CSV)
    with pytest.raises(UnreadableSource, match=r"ZIP archive in place of csv"):
        read(zipped(path, {"a.csv": inner.getvalue()}))


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 8), cut=st.booleans())
def test_damaged_archives_raise_unreadable_source_only(
    tmp_path_factory: pytest.TempPathFactory, seed: int, flips: int, cut: bool
) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("damaged")
    for container, data in (
        ("zip", bytearray(zipped(folder / "z", {"a.csv": CSV * 20, "b.csv": CSV}).read_bytes())),
        ("gzip", bytearray(gzip.compress(CSV * 20))),
    ):
        for _ in range(flips):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (folder / "x").write_bytes(data[: chance.randrange(1, len(data))] if cut else data)
        try:
            rows = read(folder / "x", container)
        except UnreadableSource:
            continue
        # the flip hit a name or a spare field: what is read has passed its checksum
        assert set(rows) <= {("1", "2"), ("a", "b")}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_changed_byte_is_refused_or_harmless_whatever_the_method(tmp_path: Path, method: int) -> None:
    whole = zipped(tmp_path / "z", {"a.csv": CSV * 20}, method).read_bytes()
    path = tmp_path / "changed"

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255), st.integers(0, 3))
    def refused_or_harmless(at: int, by: int, cut: int) -> None:
        path.write_bytes((whole[:at] + bytes([whole[at] ^ by]) + whole[at + 1 :])[: len(whole) - cut])
        with suppress(UnreadableSource):
            check_zip(path, Unpacking())

    refused_or_harmless()
    for at in range(len(whole)):  # all of them, by one value that says 'all bits'
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with suppress(UnreadableSource):
            check_zip(path, Unpacking())
