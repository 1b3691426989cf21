"""Tars of parts: joined in the order of their numbers, whole or refused, and every way a tar can harm."""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.tables.readers.spec import Unpacking
from assets.tables.readers.tar_parts import check_parts, check_room, ends, is_tar, join_parts, tar_members

LIMITS = Unpacking()
LONG = "166.약품식별_인공지능/01.데이터/1.Training/라벨링데이터/" + "경구약제조합_5000종/" * 4 + "TL_1_조합.zip"


def tarred(files: Sequence[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT, encoding: str = "utf-8") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, encoding=encoding) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def joined(folder: Path, data: bytes, limits: Unpacking = LIMITS) -> dict[str, bytes]:
    path = folder / "download.tar"
    path.write_bytes(data)
    into = folder / "into"
    into.mkdir(exist_ok=True)
    return {name: file.read_bytes() for name, file in join_parts(path, limits, into)}


def refused(folder: Path, data: bytes, limits: Unpacking = LIMITS) -> str:
    with pytest.raises(UnreadableSource) as caught:
        joined(folder, data, limits)
    assert caught.value.mend
    return caught.value.what


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(min_size=1, max_size=400),
    size=st.integers(1, 60),
    seed=st.randoms(use_true_random=False),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_parts_in_any_order_join_to_the_file_they_were_cut_from(data: bytes, size: int, seed: object, form: int) -> None:
    parts = [(f"{LONG}.part{at}", data[at : at + size]) for at in range(0, len(data), size)]
    seed.shuffle(parts)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        packed = tarred(parts, form)
        assert is_tar(packed[:512]) and ends(packed[-1024:], len(packed))
        assert joined(Path(folder), packed) == {LONG: data}


def test_the_order_is_the_numbers_not_the_texts(tmp_path: Path) -> None:
    # as texts part10 stands before part2: so it is with real parts from 10 GiB on (part10737418240, part2147483648)
    parts = [(f"a/X.zip.part{at}", bytes([at])) for at in range(12)]
    assert joined(tmp_path, tarred(sorted(parts))) == {"a/X.zip": bytes(range(12))}
    at_bytes = [(f"a/X.zip.part{at}", b"%4d" % at) for at in range(0, 48, 4)]
    assert joined(tmp_path, tarred(sorted(at_bytes))) == {"a/X.zip": b"".join(b"%4d" % at for at in range(0, 48, 4))}


def test_files_of_several_folders_with_and_without_parts(tmp_path: Path) -> None:
    files = [("b/Y.csv", b"plain"), ("a/X.zip.part3", b"def"), ("c/X.zip.part0", b"other"), ("a/X.zip.part0", b"abc")]
    assert joined(tmp_path, tarred(files)) == {"a/X.zip": b"abcdef", "b/Y.csv": b"plain", "c/X.zip": b"other"}


def test_names_in_cp949_and_the_oldest_form(tmp_path: Path) -> None:
    assert joined(tmp_path, tarred([("라벨/가.zip.part0", b"x")], tarfile.USTAR_FORMAT, "cp949")) == {"라벨/가.zip": b"x"}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([("X.zip.part0", b"abc"), ("X.zip.part6", b"ghi")], "ends at byte 3, the next begins at byte 6"),
        ([("X.zip.part3", b"def")], "ends at byte 0, the next begins at byte 3"),
        ([("X.zip.part0", b"abcd"), ("X.zip.part3", b"def")], "ends at byte 4, the next begins at byte 3"),
        ([("X.zip.part0", b"abc"), ("X.zip.part00", b"abc")], "two parts"),
        ([("X.zip", b"abc"), ("X.zip.part0", b"abc")], "two parts"),
    ],
)
def test_a_part_that_is_missing_or_doubled_is_refused(tmp_path: Path, parts: list[tuple[str, bytes]], words: str) -> None:
    assert words in refused(tmp_path, tarred(parts))


@pytest.mark.parametrize(
    "name", ["../x.zip.part0", "a/../../x.zip.part0", "/etc/x.zip.part0", "a\\..\\x.zip.part0", "C:\\x.zip.part0"]
)
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert "leads outside" in refused(tmp_path, tarred([(name, b"x")], form))
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S", b"V"])
def test_links_and_odd_members_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x.zip.part0")
    info.type, info.linkname = kind, "/etc/hostname"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(info)
    assert "no file" in refused(tmp_path, out.getvalue())


def test_folders_pass_and_hold_nothing(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("a", tarfile.DIRTYPE), ("../b", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)
            if name == "a":
                whole = out.getvalue() + bytes(1024)
    assert "without a file" in refused(tmp_path, whole)
    assert "leads outside" in refused(tmp_path, out.getvalue())


def test_a_tar_that_ends_early_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = tarred([("a.zip.part0", b"x" * 700), ("a.zip.part700", b"y" * 700)])
    end = 2 * (512 + 1024)  # header and padded data, twice
    assert joined(tmp_path, whole[: end + 1024])
    for cut in (1, 511, 512, 513, 1100, 1535, 1536, 2047, 2048, 3000, end):
        assert refused(tmp_path, whole[:cut])
        assert not ends(whole[:cut][-1024:], cut)


def test_sizes_and_counts_are_not_believed(tmp_path: Path) -> None:
    many = tarred([(f"{n}.zip.part0", b"") for n in range(30)])
    assert "more than 20 members" in refused(tmp_path, many, Unpacking(max_members=20))
    info = tarfile.TarInfo("x.zip.part0")
    info.size = 10**15  # a header alone, larger than any disk
    assert "cut off" in refused(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = b"L", 10**6
    assert "a name of 1,000,000 bytes" in refused(tmp_path, long.tobuf(tarfile.GNU_FORMAT) + bytes(2 * 10**6))
    sparse = tarfile.TarInfo("x.zip.part0")
    sparse.pax_headers = {"GNU.sparse.realsize": "1000000000000"}
    assert "sparse" in refused(tmp_path, sparse.tobuf(tarfile.PAX_FORMAT) + bytes(1024))


@settings(max_examples=150, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 4096),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_any_bytes_are_a_tar_or_refused(flips: list[tuple[int, int]], cut: int, form: int) -> None:
    data = bytearray(tarred([(f"{LONG}.part0", b"x" * 300), ("b.zip.part0", b"y")], form)[:4096])
    for at, value in flips:
        data[at] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.tar"
        path.write_bytes(data[:cut])
        is_tar(bytes(data[:cut]))
        try:
            members = tar_members(path, LIMITS)
        except UnreadableSource:
            return
        assert all(m.start + m.size <= cut for m in members)


def zipped(size: int = 5000) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("label.json", random.Random(1).randbytes(size))
    return out.getvalue()


def parts_of(data: bytes, size: int) -> list[tuple[str, bytes]]:
    return [(f"a/X.zip.part{at}", data[at : at + size]) for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 100, 4096, 10**6])
def test_a_whole_zip_passes_the_look_at_its_parts(tmp_path: Path, size: int) -> None:
    data = zipped(50 if size == 1 else 5000)
    path = tmp_path / "download.tar"
    path.write_bytes(tarred([*sorted(parts_of(data, size)), ("b/Y.csv.part0", b"a,b")]))
    check_parts(path, LIMITS)


@pytest.mark.parametrize("missing", [0, 1, -1])
def test_any_part_that_is_missing_is_seen_without_joining(tmp_path: Path, missing: int) -> None:
    parts = parts_of(zipped(), 1000)
    del parts[missing]
    path = tmp_path / "download.tar"
    path.write_bytes(tarred(parts))
    with pytest.raises(UnreadableSource, match="do not join" if missing >= 0 else "a part of it is missing"):
        check_parts(path, LIMITS)
    path.write_bytes(bytes(1024))
    with pytest.raises(UnreadableSource, match="without a file"):
        check_parts(path, LIMITS)


def test_room_is_looked_for_before_it_is_used(tmp_path: Path) -> None:
    check_room(tmp_path, 1, "a byte")
    with pytest.raises(UnreadableSource, match=r"needs 1,000,000,000\.0 GB of room"):
        check_room(tmp_path, 10**18, "joining the parts")
