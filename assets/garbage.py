"""Python's collector of cyclic garbage, called less often while millions of small objects are made that are no garbage.

It looks at every young object each time some hundreds were made, and finds nothing: rows and pages hold no cycles.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 50_000
"""Objects made, less those that went, after which it looks (Python's own number is 700, from 3.12 on 2,000)."""


_lock = threading.Lock()
_blocks: list[tuple[int, int, int]] = []
"""The thresholds that each block found, in the order in which they began."""


@contextmanager
def collected_rarely() -> Iterator[None]:
    """For as long as such a block lasts, in the whole process. Blocks may lie within one another, and in several threads."""
    with _lock:
        _blocks.append(gc.get_threshold())
        young, *older = _blocks[0]
        if young:  # 0: somebody switched it off
            gc.set_threshold(max(young, YOUNG), *older)
    try:
        yield
    finally:
        with _lock:
            first = _blocks[0]
            _blocks.pop()
            if not _blocks:
                gc.set_threshold(*first)
