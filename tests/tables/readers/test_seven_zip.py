"""7z: archives of 7-Zip itself by every method, choice of members, and every way an archive can harm."""

from __future__ import annotations

import io
import os
import random
import resource
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import py7zr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import SettingsError, UnreadableSource
from assets.onboarding.layout import layout_of
from assets.tables.readers import seven_zip
from assets.tables.readers.seven_zip import content_sha256_7z, members_7z, unpack_7z
from assets.tables.readers.spec import Unpacking
from tests.requirements import find_seven_zip

from .reading import opened, order, rows_of

CSV = b"a,b\n1,2\n"


def packed(path: Path, files: dict[str, bytes], **how: Any) -> Path:
    with py7zr.SevenZipFile(path, "w", **how) as archive:
        for name, data in files.items():
            archive.writestr(data, name)
    return path


def read(path: Path, **shape: Any) -> list[tuple[str | None, ...]]:
    return rows_of(opened(path, order("a", "b"), format="csv", container="7z", **shape))


def unlike(rows: int) -> bytes:
    """A table that packs badly, so that no ratio is met."""
    chance = random.Random(rows)
    return b"a,b\n" + b"".join(b"%d,%d\n" % (chance.getrandbits(60), n) for n in range(rows))


# --- what 7-Zip writes ----------------------------------------------------------------------------------------------------


@pytest.mark.needs("seven_zip")
@pytest.mark.parametrize(
    "flags",
    [
        "-m0=lzma2",
        "-m0=lzma2 -ms=off",
        "-m0=lzma",
        "-m0=ppmd",
        "-m0=bzip2",
        "-m0=deflate",
        "-m0=copy",
        "-mhc=off",
        "-m0=bcj -m1=lzma2",
    ],
)
def test_archives_of_7_zip_itself(tmp_path: Path, flags: str) -> None:
    """Solid or not, by each of its methods, with Korean names in folders, an empty file and an empty folder."""
    inside = tmp_path / "자료"
    (inside / "빈 폴더").mkdir(parents=True)
    files = {"2025년.csv": CSV, "2026년.csv": unlike(5000), "빈.csv": b"", "읽어보기.txt": b"no table"}
    for name, data in files.items():
        (inside / name).write_bytes(data)
    path = tmp_path / "rows.7z"
    words = [str(find_seven_zip()), "a", "-bso0", *flags.split(), str(path), "자료"]
    subprocess.run(words, cwd=tmp_path, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert members_7z(path, Unpacking()) == {f"자료/{name}": len(data) for name, data in sorted(files.items())}
    out = tmp_path / "out"
    out.mkdir()
    unpacked = unpack_7z(path, "*.csv", Unpacking(), out)
    assert {name: file.read_bytes() for name, file in unpacked} == {
        f"자료/{name}": files[name] for name in sorted(files) if name.endswith(".csv")
    }
    rows = read(path, member="20*년.csv")
    assert len(rows) == 5001 and rows[0] == ("1", "2")


@pytest.mark.needs("seven_zip")
@pytest.mark.parametrize("flags", ["-psecret", "-psecret -mhe=on"])
def test_an_archive_with_a_password(tmp_path: Path, flags: str) -> None:
    (tmp_path / "a.csv").write_bytes(CSV)
    subprocess.run([str(find_seven_zip()), "a", "-bso0", *flags.split(), "a.7z", "a.csv"], cwd=tmp_path, check=True)
    with pytest.raises(UnreadableSource, match=r"encrypted.*without a password"):
        read(tmp_path / "a.7z")


# --- members --------------------------------------------------------------------------------------------------------------


def test_members_are_read_in_the_order_of_their_names_and_numbered_on(tmp_path: Path) -> None:
    path = packed(tmp_path / "z", {"d/b.csv": b"b,a\n3,4\n5,6\n", "c.txt": b"no", "a.csv": CSV, "__MACOSX/a.csv": b"no"})
    assert read(path, member="*.csv") == [("1", "2"), ("4", "3"), ("6", "5")]
    with pytest.raises(UnreadableSource, match=r"no member of the 7z archive .*'\*\.tsv'; it has .*'a\.csv'.*source\.member"):
        read(path, member="*.tsv")


def test_names_that_lead_outside_and_names_alike(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="leads outside"):
        read(packed(tmp_path / "drive", {"a.csv": CSV, "C:/x.csv": CSV}))
    plain = packed(tmp_path / "plain", {"a.csv": CSV, "__/x.csv": CSV})  # py7zr itself writes no ../
    members = {info.filename for info in py7zr.SevenZipFile(plain).list()}
    assert members == {"a.csv", "__/x.csv"}
    with pytest.raises(UnreadableSource, match="leads outside"):
        read(renamed(tmp_path / "up", "__/x.csv", "../x.csv"))
    with pytest.raises(UnreadableSource, match="two members of one name"):
        read(renamed(tmp_path / "twice", "b.csv", "a.csv"))


def renamed(path: Path, name: str, other: str) -> Path:
    """An archive of `a.csv` and one that bears another name, which py7zr would not have written."""
    archive = py7zr.SevenZipFile(path, "w")
    archive.set_encoded_header_mode(False)
    archive.writestr(CSV, "a.csv")
    archive.writestr(CSV, name)
    archive.header.files_info.files[-1]["filename"] = other
    archive.close()
    return path


def test_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("/etc/passwd")
    with py7zr.SevenZipFile(tmp_path / "z", "w") as archive:
        archive.write(tmp_path / "a.csv", "a.csv")
    with pytest.raises(UnreadableSource, match="symbolic link"):
        read(tmp_path / "z")


# --- limits ---------------------------------------------------------------------------------------------------------------


def test_bombs_are_stopped(tmp_path: Path) -> None:
    path = packed(tmp_path / "z", {"a.csv": b"a,b\n" + b"1,2\n" * 5_000_000})
    with pytest.raises(UnreadableSource, match="more than 200 times"):
        read(path)
    with pytest.raises(UnreadableSource, match="more than 1,000,000 bytes"):
        read(path, unpacking={"max_member_bytes": 1_000_000, "max_ratio": 1e9})
    with pytest.raises(UnreadableSource, match="3 members"):
        read(packed(tmp_path / "m", dict.fromkeys("abc", CSV)), unpacking={"max_members": 2})
    # of members that nobody wants too: they are packed as one
    with pytest.raises(UnreadableSource, match="more than 200 times"):
        read(packed(tmp_path / "u", {"zeros": bytes(20_000_000), "a.csv": CSV}), member="a.csv")


def test_a_list_of_members_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    path = packed(tmp_path / "z", {f"{n:03}{'x' * 200}": b"" for n in range(20)})
    with pytest.raises(UnreadableSource, match=r"the list of members .* more than 3,072 bytes"):
        read(path, unpacking={"max_members": 3})


# --- damage ---------------------------------------------------------------------------------------------------------------


def test_any_changed_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    for mode in (True, False):
        archive = py7zr.SevenZipFile(tmp_path / "whole", "w", filters=None if mode else [{"id": py7zr.FILTER_COPY}])
        archive.set_encoded_header_mode(mode)
        archive.writestr(CSV * 20, "a.csv")
        archive.writestr(CSV, "b.csv")
        archive.close()
        whole = (tmp_path / "whole").read_bytes()
        for at in range(len(whole)):
            for by in (0xFF, 1):
                assert_refused_or_whole(tmp_path, whole[:at] + bytes([whole[at] ^ by]) + whole[at + 1 :])
        for length in range(1, len(whole)):
            assert_refused_or_whole(tmp_path, whole[:length])


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=300), flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
def test_damaged_archives_raise_unreadable_source_only(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, flips: list[tuple[int, int]]
) -> None:
    """Lists of members made anew, with their checksums, so that what stands in them is looked at."""
    out = io.BytesIO()
    archive = py7zr.SevenZipFile(out, "w")
    archive.set_encoded_header_mode(False)
    archive.writestr(CSV * 20, "a.csv")
    archive.close()
    data = out.getvalue()
    start = py7zr.archiveinfo.SignatureHeader.retrieve(io.BytesIO(data))
    listed = bytearray(data[32 + start.nextheaderofs :])
    for at, value in flips:
        listed[at % len(listed)] = value
    if not flips:
        listed[:] = b"\x01" + body
    start.nextheadersize = len(listed)
    start.calccrc(len(listed), py7zr.helpers.calculate_crc32(bytes(listed)))
    head = io.BytesIO()
    start.write(head)
    assert_refused_or_whole(
        tmp_path_factory.mktemp("damaged"), head.getvalue() + data[32 : 32 + start.nextheaderofs] + bytes(listed)
    )


def assert_refused_or_whole(folder: Path, data: bytes) -> None:
    (folder / "x").write_bytes(data)
    with suppress(UnreadableSource):
        members_7z(folder / "x", Unpacking())
        rows = rows_of(opened(folder / "x", order("a", "b", missing="null"), format="csv", container="7z"))
        assert set(rows) <= {("1", "2"), ("a", "b")}


def test_a_disk_that_takes_no_more_is_not_the_archives_fault(tmp_path: Path) -> None:
    path, out = packed(tmp_path / "z", {"a.csv": unlike(20_000)}), tmp_path / "out"
    out.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            unpack_7z(path, "*", Unpacking(), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- beside the rows ------------------------------------------------------------------------------------------------------


def test_the_members_are_compared_and_not_the_archive(tmp_path: Path) -> None:
    def said(name: str, files: dict[str, bytes], **how: Any) -> str:
        return content_sha256_7z(packed(tmp_path / name, files, **how), "*.csv", Unpacking())

    two = {"a.csv": b"a\n1\n", "b.csv": b"a\n2\n", "readme.txt": b"as of May"}
    first = said("first", two)
    assert first == said("order", dict(reversed(two.items()))) == said("other", two | {"readme.txt": b"as of June"})
    assert first == said("method", two, filters=[{"id": py7zr.FILTER_COPY}])
    assert first != said("row", two | {"b.csv": b"a\n3\n"})
    assert first != said("places", {"a.csv": two["b.csv"], "b.csv": two["a.csv"]})


def test_a_file_in_hand_is_laid_out(tmp_path: Path) -> None:
    path = packed(tmp_path / "x", {"d/b.csv": CSV * 3, "a.csv": CSV, "note.pdf": b"%PDF-"})
    found = layout_of(path, "x.7z")
    assert found.shape == {"format": "csv", "member": "*.csv"} and found.notes[-1].key == "members"
    assert layout_of(path, "download.do?file=7").shape == {**found.shape, "container": "7z"}


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path / "z", {"a.csv": CSV})
    monkeypatch.setattr(seven_zip, "py7zr", None)
    with pytest.raises(SettingsError, match=r"7z archive.*sevenzip"):
        read(path)
