"""The canonical digest: the same data under another stamp is the same, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.protocols.canonical import canonical_json_sha256

VOLATILE = ("metadata.generated", "features.stamp")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


def digest(folder: Path, text: str | bytes) -> str | None:
    path = folder / "body"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return canonical_json_sha256(path, VOLATILE)


@given(value=JSON, stamp=st.integers())
def test_a_stamp_and_the_order_of_keys_do_not_count(tmp_path_factory: pytest.TempPathFactory, value: Any, stamp: int) -> None:
    folder = tmp_path_factory.mktemp("canonical")
    one = {"metadata": {"generated": 0, "count": 1}, "features": [{"stamp": 1, "v": value}]}
    two = {"features": [{"v": value, "stamp": stamp}], "metadata": {"count": 1, "generated": stamp}}
    assert digest(folder, json.dumps(one)) == digest(folder, json.dumps(two))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1}', '{"a": 1.0}'),
        ('{"a": [1, 2]}', '{"a": [2, 1]}'),
        ('{"a": 12345678901234567890.1}', '{"a": 12345678901234567890.2}'),
        ('{"metadata": {"count": 1}}', '{"metadata": {"count": 2}}'),
    ],
)
def test_any_other_change_counts(tmp_path: Path, one: str, two: str) -> None:
    assert digest(tmp_path, one) != digest(tmp_path, two)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_has_no_digest(tmp_path: Path, body: bytes) -> None:
    assert digest(tmp_path, body) is None


def test_without_volatile_paths_bytes_are_compared(tmp_path: Path) -> None:
    (tmp_path / "body").write_text("{}")
    assert canonical_json_sha256(tmp_path / "body", ()) is None
