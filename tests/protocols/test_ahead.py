"""Pages asked for before their turn (`limits.pages_at_once`), over questions that the test answers.

Whole fetches against a real server are `test_ahead_fetches.py`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assets.payload import Payload
from assets.protocols.ahead import Ahead, OutOfStep
from assets.protocols.asking import Answer as Answered
from assets.protocols.asking import FetchCancelled, Lane
from assets.protocols.failing import Stopped
from assets.protocols.kernel import AuthFailed, Cursor, Gone, Outcome, QuotaExhausted, RateLimited, Request
from assets.transport.exchange import Exchange


@pytest.fixture(autouse=True)
def _nothing_unheard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No task may end in an error that nobody looked at; asyncio says so when it is collected."""
    caplog.set_level(logging.ERROR, "asyncio")
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


class Asked:
    """Questions that wait until the test answers them."""

    def __init__(self) -> None:
        self.pages: list[int] = []
        self.open: dict[int, asyncio.Future[Answered]] = {}
        self.rested = 0

    async def __call__(self, cursor: Cursor, lane: Lane | None) -> Answered:
        self.pages.append(cursor.page)
        self.open[cursor.page] = asyncio.get_running_loop().create_future()
        try:
            return await self.open[cursor.page]
        finally:
            del self.open[cursor.page]

    def rest(self) -> None:
        self.rested += 1

    async def answers(self, number: int) -> None:
        request = Request("https://agency.example", page=number)
        exchange = Exchange(request, "", datetime(2026, 1, 1, tzinfo=UTC), "agency", Payload(Path(), b""))
        self.open[number].set_result(Answered(exchange, Gone("")))
        await _turns()

    async def fails(self, number: int, error: Exception) -> None:
        self.open[number].set_exception(error)
        await _turns()


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def at(number: int, size: int = 10) -> Cursor:
    return Cursor(page=number, offset=(number - 1) * size)


def started(asked: Asked, lanes: int = 3, total: int = 95, max_pages: int = 1000) -> Ahead:
    ahead = Ahead(asked, asked.rest)
    ahead.start(10, total, [Lane(f"h/{n}") for n in range(lanes)], max_pages)
    return ahead


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_as_many_are_out_as_there_are_lanes_and_they_come_in_order() -> None:
    async def test() -> None:
        asked = Asked()
        async with started(asked) as ahead:
            second = asyncio.create_task(ahead.answer(at(2)))
            await _turns()
            assert sorted(asked.open) == [2, 3, 4]
            await asked.answers(4)
            await asked.answers(3)
            assert not second.done() and asked.open.keys() == {2}
            await asked.answers(2)
            assert (await second).exchange.request.page == 2
            assert (await ahead.answer(at(3))).exchange.request.page == 3
            assert asked.pages[:3] == [2, 3, 4] and len(asked.open) <= 3
        assert asked.open == {} and asked.rested == 1

    run(test)


@pytest.mark.parametrize(("total", "max_pages"), [(25, 1000), (1000, 3)])
def test_no_page_after_the_last_is_asked_for(total: int, max_pages: int) -> None:
    async def test() -> None:
        asked = Asked()
        async with started(asked, total=total, max_pages=max_pages) as ahead:
            task = asyncio.create_task(ahead.answer(at(2)))
            await _turns()
            assert sorted(asked.open) == [2, 3]
            task.cancel()

    run(test)


@pytest.mark.parametrize("outcome", [AuthFailed("no"), QuotaExhausted(None, "used up"), RateLimited(None, "slow down")])
def test_a_refusal_of_the_host_ends_all_in_that_moment(outcome: Outcome) -> None:
    async def test() -> None:
        asked = Asked()
        with pytest.raises(Stopped) as caught:
            async with started(asked) as ahead:
                task = asyncio.create_task(ahead.answer(at(2)))
                await _turns()
                await asked.fails(3, Stopped(outcome))
                assert asked.open == {}, "what was out is called back before the fetch's own turn"
                await task
        assert caught.value.outcome == outcome and sorted(asked.pages) == [2, 3, 4]

    run(test)


def test_so_does_a_fetch_that_was_cancelled_and_a_defect_of_ours() -> None:
    async def test(error: Exception) -> None:
        asked = Asked()
        with pytest.raises(type(error)):
            async with started(asked) as ahead:
                task = asyncio.create_task(ahead.answer(at(2)))
                await _turns()
                await asked.fails(4, error)
                await task

    run(lambda: test(FetchCancelled("stop", where="", mend="")))
    run(lambda: test(ZeroDivisionError()))


def test_a_pages_own_failure_waits_for_its_turn_and_nothing_more_is_asked() -> None:
    async def test() -> None:
        asked = Asked()
        with pytest.raises(Stopped):
            async with started(asked) as ahead:
                second = asyncio.create_task(ahead.answer(at(2)))
                await _turns()
                await asked.fails(3, Stopped(Gone("no such page")))
                assert not second.done()
                await asked.answers(2)
                await second
                await ahead.answer(at(3))
        assert sorted(asked.pages) == [2, 3, 4]

    run(test)


def test_a_restart_forgets_a_failure_that_was_not_reached() -> None:
    async def test() -> None:
        asked = Asked()
        async with started(asked) as ahead:
            second = asyncio.create_task(ahead.answer(at(2)))
            await _turns()
            await asked.fails(4, Stopped(Gone("no such page")))
            await asked.answers(2)
            await second
            await ahead.stop()
            assert asked.open == {} and not ahead.started
            ahead.start(10, 95, [Lane("h")], 1000)
            again = asyncio.create_task(ahead.answer(at(2)))
            await _turns()
            await asked.answers(2)
            await again

    run(test)


@pytest.mark.parametrize("done", [False, True])
def test_another_offset_than_was_asked_for_is_out_of_step(done: bool) -> None:
    async def test() -> None:
        asked = Asked()
        async with started(asked) as ahead:
            second = asyncio.create_task(ahead.answer(at(2)))
            await _turns()
            await asked.answers(2)
            await second
            if done:
                await asked.fails(3, Stopped(Gone("nobody looks at this one")))
            with pytest.raises(OutOfStep):
                await ahead.answer(Cursor(page=3, offset=17))
        assert asked.open == {}

    run(test)


def test_pages_that_have_come_hold_the_lanes_back() -> None:
    """A page that is slow to come does not let the others run to the end of a large answer, all of it in memory."""

    async def test() -> None:
        asked = Asked()
        async with started(asked, total=10_000) as ahead:
            second = asyncio.create_task(ahead.answer(at(2)))
            await _turns()
            for number in range(3, 8):
                await asked.answers(number) if number in asked.open else None
            assert max(asked.pages) <= 2 + 2 * 3 - 1
            await asked.answers(2)
            await second
            third = asyncio.create_task(ahead.answer(at(3)))
            await _turns()
            await third
            assert max(asked.pages) <= 3 + 2 * 3 - 1

    run(test)
