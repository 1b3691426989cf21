"""Removing transfer- and content-encoding from a body, as a stream and within limits. Character encodings are `tables/decoding.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on a decoded body: `max_bytes`, and `max_ratio` of decoded to encoded size once past `ratio_floor` bytes."""

    max_bytes: int = 16 * 1024**3
    max_ratio: float = 200.0
    ratio_floor: int = 64 * 1024**2


def decode_body(chunks: Iterable[bytes], transfer: str, content: str, limits: Limits, where: str) -> Iterator[bytes]:
    """`chunks` without the encodings that the header values `transfer` and `content` name. UnreadableSource on anything wrong."""
    raise NotImplementedError
