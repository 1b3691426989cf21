"""The canonical digest: the same data under another stamp is the same, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.payload import Payload
from assets.protocols.answers.canonical import canonical_json_sha256

VOLATILE = ("metadata.generated", "features.stamp")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


def digest(folder: Path, text: str | bytes) -> str | None:
    path = folder / "body"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return canonical_json_sha256(Payload(path), VOLATILE)


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


def test_lists_whose_order_says_nothing_are_sorted_and_no_other(tmp_path: Path) -> None:
    def digest_of(value: Any) -> str | None:
        (tmp_path / "body").write_text(json.dumps(value))
        return canonical_json_sha256(Payload(tmp_path / "body"), ("sets.day",), ("sets.words", "sets.parts.words"))

    one = {"sets": [{"words": ["b", 1, {"z": 1, "a": None}], "rows": [1, 2], "day": 1, "parts": {"words": [2, 1]}}]}
    two = {"sets": [{"words": [{"a": None, "z": 1}, "b", 1], "rows": [1, 2], "day": 2, "parts": {"words": [1, 2]}}]}
    assert digest_of(one) == digest_of(two) is not None
    for path, value in {"rows": [2, 1], "words": ["b", 1], "other": None}.items():
        assert digest_of({"sets": [one["sets"][0] | {path: value}]}) != digest_of(one)


def test_without_volatile_paths_bytes_are_compared(tmp_path: Path) -> None:
    (tmp_path / "body").write_text("{}")
    assert canonical_json_sha256(Payload(tmp_path / "body"), ()) is None
