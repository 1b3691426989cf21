"""Bytes in memory, in a file, or packed with others: the same bytes, as often as they are read, and no file more than is needed."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.payload import MEMORY_BYTES, Pack, Payload, Spill, as_payload

SIZES = st.sampled_from([0, 1, 1000, MEMORY_BYTES - 1, MEMORY_BYTES, MEMORY_BYTES + 1, 2 * MEMORY_BYTES])


def spilled(path: Path, parts: list[bytes]) -> Payload:
    spill = Spill(path)
    for part in parts:
        spill.write(part)
    return spill.close()


def read_every_way(payload: Payload, expected: bytes) -> None:
    for _ in range(2):
        assert payload.read_bytes() == expected and payload.size == len(expected)
        with payload.open() as file:
            assert file.read(3) + file.read() == expected
            assert file.seek(0, 2) == len(expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SIZES, max_size=4), st.lists(SIZES, max_size=3) | st.none())
def test_no_byte_is_lost_or_doubled_at_the_border(tmp_path: Path, sizes: list[int], again: list[int] | None) -> None:
    place = tmp_path / "body"
    place.unlink(missing_ok=True)
    parts = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
    spill = Spill(place)
    for part in parts:
        spill.write(part)
    if again is not None:
        spill.restart()
        parts = [bytes([n + 100]) * size for n, size in enumerate(again)]
        for part in parts:
            spill.write(part)
    payload, whole = spill.close(), b"".join(parts)
    assert (payload.in_memory is None) == place.exists()
    assert len(whole) <= MEMORY_BYTES or payload.in_memory is None
    read_every_way(payload, whole)
    path = payload.path
    assert payload.path == path == place and path.read_bytes() == whole
    read_every_way(payload, whole)
    payload.discard()
    assert not place.exists()
    payload.discard()


@pytest.mark.parametrize("size", [0, 5, MEMORY_BYTES + 1])
def test_what_was_discarded_is_empty_and_leaves_no_file(tmp_path: Path, size: int) -> None:
    payload = spilled(tmp_path / "body", [b"x" * size])
    payload.discard()
    assert (payload.read_bytes(), payload.size, payload.in_memory) == (b"", 0, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_pack_outlives_its_maker_and_goes_with_its_last_body(tmp_path: Path) -> None:
    def made() -> list[Payload]:
        pack = Pack(tmp_path / "below" / "pack")
        return [pack.add(bytes([n]) * (n * 100), tmp_path / f"{n}") for n in range(20)]

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        bodies = made()
        gc.collect()
        for n, body in reversed(list(enumerate(bodies))):
            assert body.in_memory is None
            read_every_way(body, bytes([n]) * (n * 100))
        bodies[3].discard()
        assert bodies[3].read_bytes() == b"" and not (tmp_path / "3").exists()
        assert bodies[4].path.read_bytes() == bodies[4].path.read_bytes() == bytes([4]) * 400
        read_every_way(bodies[4], bytes([4]) * 400)
        read_every_way(bodies[5], bytes([5]) * 500)
        body = bodies = []
        gc.collect()
    assert [str(w.message) for w in seen if w.category is ResourceWarning] == []


def test_a_path_is_a_payload(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    payload = as_payload(tmp_path / "x")
    read_every_way(payload, b"abc")
    assert as_payload(payload) is payload and payload.path == tmp_path / "x"
