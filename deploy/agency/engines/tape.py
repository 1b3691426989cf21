"""A host that answers from the tape: what was recorded, as it was recorded (`deploy/agency/tape.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from deploy.agency.engine import Asked, Engine
from deploy.agency.replies import Reply

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source


class Recorded(Engine):
    """Every path of one host, out of the tape that the route's source is."""

    name: ClassVar[str] = "tape"
    METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    PREFIX: ClassVar[bool] = True

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        assert source.tape is not None
        return source.tape.answer(asked)


ENGINE = Recorded()
