"""gtfs: how often an archive is inflated, the digest that comes of it, and memory that does not grow with the timetable."""

from __future__ import annotations

import hashlib
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets.protocols.gtfs import PROTOCOL
from assets.protocols.kernel import Body, Ok, outcome_name
from assets.tables.readers.container import inflated
from deploy.agency.archives import zipped
from tests.protocols.test_gtfs import FILES, URL, body, digest, gtfs, without

# --- how often it is inflated -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("within", [None, "*.zip"])
def test_one_look_inflates_every_member_once(tmp_path: Path, within: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its meaning, its version and its table's digest come of one look, archives in the archive included."""
    seen: list[str] = []

    def counted(packed: Any, info: zipfile.ZipInfo, name: str, limits: Any) -> Iterator[bytes]:
        seen.append(info.filename)
        return inflated(packed, info, name, limits)

    monkeypatch.setattr("assets.protocols.answers.gtfs_archive.inflated", counted)
    feed = gtfs(within=within)
    data = zipped(FILES) if within is None else zipped({"inner.zip": zipped(FILES), "readme.txt": b"of the region"})
    one = body(tmp_path, data)
    examined = PROTOCOL.examine(feed.source, one)
    assert examined.outcome == Ok() and examined.version
    digest = examined.canonical_sha256 or PROTOCOL.canonical_sha256(feed.source, one)
    assert digest == hashlib.sha256(FILES["stops.txt"]).hexdigest()
    assert sorted(seen) == sorted([*FILES, *(["inner.zip", "readme.txt"] if within else [])])


def test_the_digest_of_a_table_of_several_feeds_knows_whose_is_whose(tmp_path: Path) -> None:
    one, other = zipped(FILES), zipped(FILES | {"stops.txt": b"stop_id,stop_name\r\nC,Reef Rd\r\n"})
    told = {
        name: digest(tmp_path, zipped(parts), within="*")
        for name, parts in {
            "first": {"a.zip": one, "b.zip": other},
            "in another order": {"b.zip": other, "a.zip": one},
            "changed places": {"a.zip": other, "b.zip": one},
            "a feed more": {"a.zip": one, "b.zip": other, "c.zip": one},
        }.items()
    }
    assert told["first"] == told["in another order"] and len(set(told.values())) == 3 and None not in told.values()


# --- large timetables -----------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_timetable(tmp_path: Path) -> None:
    lines = "".join(f"trip-{n % 97:04d},{n % 30:02d}:{n % 60:02d}:{n * 7 % 60:02d}\n" for n in range(1000)).encode()
    thousands, one = 4_000, Body(tmp_path / "large", {}, URL)
    with zipfile.ZipFile(one.path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in without("stop_times.txt").items():
            archive.writestr(name, data)
        with archive.open("stop_times.txt", "w") as member:
            member.write(b"trip_id,arrival_time\n")
            for _ in range(thousands):
                member.write(lines)
    assert thousands * len(lines) > 72_000_000
    feed, rows, most = gtfs("stop_times"), 0, 0
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        examined = PROTOCOL.examine(feed.source, one)
        assert outcome_name(examined.outcome) == "Ok" and examined.canonical_sha256
        stream = PROTOCOL.parse(feed, feed.source, [one])  # unpacked by now; how a CSV file is read has a test of its own
        _, python = tracemalloc.get_traced_memory()
        for batch in stream.batches:
            rows += batch.num_rows
            most = max(most, pa.total_allocated_bytes() - before)
    finally:
        tracemalloc.stop()
    assert rows == stream.records_read == thousands * 1000
    assert python < 50_000_000 and most < 50_000_000, (python, most)  # pieces and blocks, never the whole
