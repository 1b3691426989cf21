"""An agency on loopback that may answer anything: many hosts behind one address, each with answers of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.loopback import Answer, Loopback, Seen, loopback

Reply = Answer | Callable[[Seen], Answer]


@dataclass
class WildAgency:
    """`answers`: host → its answers in order, the last one again for ever; a function makes its answer of the request.

    `asked`: host → every request that came in.
    """

    url: str = ""
    answers: dict[str, Sequence[Reply]] = field(default_factory=dict)
    asked: dict[str, list[Seen]] = field(default_factory=dict)

    def give(self, host: str, *answers: Reply) -> None:
        """From now on the host answers so, and its requests are counted from 0."""
        self.answers[host], self.asked[host] = answers, []

    def reply(self, seen: Seen) -> Answer:
        host = seen.headers["host"].partition(":")[0]
        self.asked.setdefault(host, []).append(seen)
        given = self.answers[host]
        chosen = given[min(len(self.asked[host]), len(given)) - 1]
        answer = chosen if isinstance(chosen, Answer) else chosen(seen)
        return Answer(**{**answer.__dict__, "headers": {"Madang-Origin": "replay", **answer.headers}})


@contextmanager
def wild_agency() -> Iterator[WildAgency]:
    """Served from a thread of its own while the block lasts."""
    agency, loop, ready = WildAgency(), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        served: Loopback
        async with loopback(agency.reply) as served:
            agency.url = served.url
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="wild agency", daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield agency
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
