"""The collector of cyclic garbage, called rarely for a while."""

from __future__ import annotations

import gc
import threading

import pytest

from assets.garbage import YOUNG, collected_rarely


def test_it_is_called_rarely_in_the_block_and_as_before_after_it() -> None:
    before = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), collected_rarely():
        assert gc.get_threshold() == (YOUNG, *before[1:])
        with collected_rarely():
            assert gc.get_threshold() == (YOUNG, *before[1:])
        assert gc.get_threshold() == (YOUNG, *before[1:])
        raise ZeroDivisionError
    assert gc.get_threshold() == before


def test_blocks_of_threads_that_end_in_any_order_leave_nothing_behind() -> None:
    before = gc.get_threshold()
    begun, go_on = threading.Event(), threading.Event()

    def other() -> None:
        with collected_rarely():
            begun.set()
            go_on.wait(30)

    thread = threading.Thread(target=other)
    with collected_rarely():
        thread.start()
        assert begun.wait(30)
    assert gc.get_threshold() == (YOUNG, *before[1:])
    go_on.set()
    thread.join(30)
    assert gc.get_threshold() == before


def test_who_switched_it_off_finds_it_off() -> None:
    before = gc.get_threshold()
    gc.set_threshold(0, *before[1:])
    try:
        with collected_rarely():
            assert gc.get_threshold()[0] == 0
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
