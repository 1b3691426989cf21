"""Socrata's open data interface, editions 2.0 and 2.1: `https://{domain}/resource/{4x4}.json` (protocols.md 3.2).

Here are its parameters. What both editions ask alike is `socrata_questions.py`, what answers mean `socrata_answers.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import model_validator

from assets.protocols.answers.json_answers import asked
from assets.protocols.answers.socrata_answers import CHANGED, TokenAuth, counted, held_to, judge, rows_of, version_of
from assets.protocols.answers.socrata_questions import SocrataSource, condition, count_of, only_changes, partly, planned
from assets.protocols.kernel import (
    Body,
    Cursor,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.protocols.queries import fill, query_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

OWN = frozenset({"$select", "$where", "$order", "$limit", "$offset", "$$app_token"})
GROUPED = frozenset({"$group", "$having", "$query"})


class Socrata2Source(SocrataSource):
    """`source:` of one data set."""

    protocol: Literal["socrata2"]
    auth: TokenAuth = TokenAuth()

    @model_validator(mode="after")
    def _fields_not_params(self) -> Socrata2Source:
        if taken := sorted(OWN & self.params.keys()):
            raise ValueError(f"params: '{taken[0]}' has a field of its own: select, where, order, size or auth")
        if self.changes and GROUPED & self.params.keys():
            raise ValueError("changes: rows that are made by grouping have no :updated_at")
        if "$group" in self.params and self.order == ":id":
            raise ValueError("params: rows made by $group have no :id; give 'order', the columns that are grouped by")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/resource/{self.dataset}.json"


class Socrata2(Protocol[Socrata2Source]):
    """A count, then pages by offset in a stable order."""

    name: ClassVar[str] = "socrata2"
    Source: ClassVar[type[SourceBase]] = Socrata2Source
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: Socrata2Source, when: When) -> Iterable[Step]:
        return [Step(params=step.params, lead=not GROUPED & source.params.keys()) for step in planned(feed, source, when)]

    def follow(self, feed: Feed, source: Socrata2Source, step: Step, body: Body) -> Iterable[Step]:
        """The rows that were counted; only the changed ones where that is declared, and not all of them changed."""
        total, oldest = counted(feed, body)
        only = only_changes(feed, source, step, total, oldest)
        query = query_for(source, step)
        stamp = version_of(body.headers, query, None if only else total)
        if stamp is None and not only:
            stamp = held_to(None, step.params["asked_at"], query, total)
        return [Step(params={**step.params, "partly": only}, stamp=stamp)]

    def request(self, feed: Feed, source: Socrata2Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        query = query_for(source, step)
        if step.lead:
            query["$select"] = count_of(source)
            return asked(source.address, query, source.auth, step, cursor)
        if where := condition(source, step):
            query["$where"] = where
        order = ":updated_at,:id" if partly(step) else source.order
        query |= {"$order": order, "$limit": str(source.size), "$offset": str(cursor.offset)}
        sent = asked(source.address, query, source.auth, step, cursor)
        return Request(sent.url, headers=sent.headers, step=step.ordinal, page=cursor.page, stamp=step.stamp)

    def classify(self, source: Socrata2Source, request: Request, response: Response) -> Outcome:
        return judge(request, response)

    def parse(self, feed: Feed, source: Socrata2Source, bodies: Sequence[Body]) -> RowStream:
        return rows_of(feed, bodies)

    def provider_stamp(self, source: Socrata2Source, headers: Mapping[str, str], head: bytes) -> str | None:
        return headers.get(CHANGED) or None

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From the address of the rows; what is asked there becomes fields and parameters."""
        parts = urlsplit(url)
        found = re.fullmatch(r"/resource/([a-z0-9]{4}-[a-z0-9]{4})(?:\.(?:json|csv|geojson))?/?", parts.path)
        if found is None or not parts.hostname:
            return None
        query = dict(parse_qsl(parts.query))
        named = {field: query[f"${field}"] for field in ("select", "where", "order") if query.get(f"${field}")}
        if query.get("$group"):
            named.setdefault("order", query["$group"])
        given = {name: value for name, value in query.items() if name not in OWN}
        source: dict[str, Any] = {"protocol": self.name, "base_url": f"https://{parts.netloc}", "dataset": found[1], **named}
        return source | ({"params": given} if given else {})


def query_for(source: Socrata2Source, step: Step) -> dict[str, str]:
    """What the declaration asks for, without paging and without the increment."""
    query = query_of(source, step)
    if source.select:
        query["$select"] = source.select
    if where := fill(source.where, step):
        query["$where"] = where
    return query


PROTOCOL = Socrata2()
