"""ZIP archives as agencies make them, whole and broken: built from bytes, the same bytes for the same members."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

When = tuple[int, int, int, int, int, int]


def zipped(members: Mapping[str, bytes], *, when: When = (2026, 1, 1, 0, 0, 0), method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The members in their order. `when`: their date, which belongs to the bytes and not to the data."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name, when), body, method)
    return out.getvalue()


def with_bad_crc(archive: bytes) -> bytes:
    """The archive with a wrong checksum of its first member, in the member's header and in the directory."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        member, directory = opened.infolist()[0].header_offset, opened.start_dir
    broken = bytearray(archive)
    broken[member + 14] ^= 0xFF
    broken[directory + 16] ^= 0xFF
    return bytes(broken)


def without_name_flag(members: Mapping[str, bytes], encoding: str) -> bytes:
    """Names in this encoding, and nothing that says so: bit 11 is off (protocols.md 1.6)."""
    stand_ins = {name: f"{n:03d}".ljust(len(name.encode(encoding)), "_") for n, name in enumerate(members)}
    archive = zipped({stand_ins[name]: body for name, body in members.items()})
    for name, stand_in in stand_ins.items():
        archive = archive.replace(stand_in.encode(), name.encode(encoding))
    return archive
