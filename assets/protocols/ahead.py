"""Pages of one answer asked for before their turn, where the first has told how many there are and how long each is.

What comes is handed over in the order of the pages, so that the paging discipline (`pacing.py`) sees what it would see one after
another. Asking is `asking.py`'s, keeping `keeping.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from assets.protocols.asking import Answer, Lane
from assets.protocols.failing import Stopped
from assets.protocols.kernel import AuthFailed, Cursor, QuotaExhausted, RateLimited

_OF_THE_HOST = (AuthFailed, QuotaExhausted, RateLimited)
"""Failures that are not a page's own: whatever the pages before it say, the next request would meet them too."""


class OutOfStep(Exception):
    """A page that came before its turn is not the one that follows: the server changed the length of its pages."""


class Ahead:
    """The pages of one step. Use as an async context manager: leaving it calls back what is still out.

    `rest`: gives the places of the lanes back. A page that fails before its turn waits for it, since a page before it may say that
    all begins anew; but nothing more is asked ahead, and a failure that is not the page's own ends all requests in that moment.
    """

    def __init__(self, ask: Callable[[Cursor, Lane | None], Awaitable[Answer]], rest: Callable[[], None]) -> None:
        self._ask, self._rest = ask, rest
        self._free: list[Lane] = []
        self._size = self._last = self._most = 0
        self._out: dict[int, tuple[Cursor, asyncio.Task[Answer]]] = {}
        self._failed = False
        self._over: BaseException | None = None

    async def __aenter__(self) -> Ahead:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def started(self) -> bool:
        return self._size > 0

    @property
    def out(self) -> bool:
        """Whether pages were asked for whose turn has not come."""
        return bool(self._out)

    def start(self, size: int, total: int, lanes: list[Lane], max_pages: int) -> None:
        """From now on up to `lanes` requests are out at once. `size`: rows of every page but the last of `total` rows."""
        self._size, self._last, self._free = size, min(-(-total // size), max_pages), list(lanes)
        self._most = 2 * len(lanes)  # what has come and waits for its turn is held, so no lane runs far ahead

    async def answer(self, cursor: Cursor) -> Answer:
        """The answer to this cursor. Raises OutOfStep where another was asked for in its place."""
        if not self.started:
            return await self._ask(cursor, None)
        page = cursor.page
        while self._free and page <= self._last and len(self._out) < self._most and not self._failed:
            if page not in self._out:
                at = Cursor(page=page, offset=(page - 1) * self._size)
                self._out[page] = at, asyncio.create_task(self._through(at, self._free.pop()))
            page += 1
        asked = self._out.get(cursor.page)
        if asked is None or asked[0] != cursor:
            raise OutOfStep
        try:
            answer = await asked[1]
        except (Exception, asyncio.CancelledError):
            if self._over is None:
                raise
        if self._over is not None:
            raise self._over
        del self._out[cursor.page]
        return answer

    async def _through(self, cursor: Cursor, lane: Lane) -> Answer:
        try:
            return await self._ask(cursor, lane)
        except Exception as error:
            self._failed = True
            if self._over is None and not (isinstance(error, Stopped) and not isinstance(error.outcome, _OF_THE_HOST)):
                self._over = error
                for _, task in self._out.values():  # now, not at the next turn: by then they could have sent a request
                    if task is not asyncio.current_task():
                        task.cancel()
            raise
        finally:
            self._free.append(lane)

    async def stop(self) -> None:
        """Nothing is out any more when this returns, and nothing is asked ahead until the next `start`."""
        tasks = [task for _, task in self._out.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.started:
            self._rest()
        self._out, self._size, self._free, self._failed, self._over = {}, 0, [], False, None
