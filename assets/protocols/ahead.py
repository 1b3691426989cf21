"""Pages of one answer asked for before their turn, where the first has told how many there are and how long each is.

What comes is handed over in the order of the pages, so that the paging discipline (`pacing.py`) sees what it would see one after
another. Asking is `asking.py`'s, keeping `fetching.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from assets.protocols.asking import Answer, Lane
from assets.protocols.kernel import Cursor


class OutOfStep(Exception):
    """A page that came before its turn is not the one that follows: the server changed the length of its pages."""


class Ahead:
    """The pages of one step. Use as an async context manager: leaving it calls back what is still out."""

    def __init__(self, ask: Callable[[Cursor, Lane | None], Awaitable[Answer]]) -> None:
        self._ask = ask
        self._free: list[Lane] = []
        self._size = self._last = 0
        self._out: dict[int, tuple[Cursor, asyncio.Task[Answer]]] = {}

    async def __aenter__(self) -> Ahead:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def started(self) -> bool:
        return self._size > 0

    def start(self, size: int, total: int, lanes: list[Lane]) -> None:
        """From now on up to `lanes` requests are out at once. `size`: rows of every page but the last of `total` rows."""
        self._size, self._last, self._free = size, -(-total // size), lanes

    async def answer(self, cursor: Cursor) -> Answer:
        """The answer to this cursor. Raises OutOfStep where another was asked for in its place."""
        if not self.started:
            return await self._ask(cursor, None)
        page = cursor.page
        while self._free and page <= self._last:
            if page not in self._out:
                at = Cursor(page=page, offset=(page - 1) * self._size)
                self._out[page] = at, asyncio.create_task(self._through(at, self._free.pop()))
            page += 1
        if cursor.page not in self._out:
            raise OutOfStep
        at, task = self._out.pop(cursor.page)
        if at != cursor:
            task.cancel()
            raise OutOfStep
        return await task

    async def _through(self, cursor: Cursor, lane: Lane) -> Answer:
        try:
            return await self._ask(cursor, lane)
        finally:
            self._free.append(lane)

    async def stop(self) -> None:
        """Nothing is out any more when this returns, and nothing is asked ahead until the next `start`."""
        tasks = [task for _, task in self._out.values()]
        self._out, self._size, self._free = {}, 0, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
