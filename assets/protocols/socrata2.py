"""Socrata's open data interface, editions 2.0 and 2.1: `https://{domain}/resource/{4x4}.json` (protocols.md 3.2).

Here are its parameters, the count that is asked for before the rows, and increments by `:updated_at`. What answers mean is
`socrata_answers.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.protocols.http_answers import retry_after
from assets.protocols.json_answers import asked
from assets.protocols.kernel import (
    Body,
    Cursor,
    Limits,
    Ok,
    Outcome,
    Pending,
    Protocol,
    Request,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.protocols.queries import QuerySource, fill, query_of, steps_of
from assets.protocols.socrata_answers import CHANGED, TokenAuth, counted, judge, new_ids, rows_of, stamp_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

DATASET = r"^[a-z0-9]{4}-[a-z0-9]{4}$"
OWN = frozenset({"$select", "$where", "$order", "$limit", "$offset", "$$app_token"})
GROUPED = frozenset({"$group", "$having", "$query"})
WAIT_S, OUT_OF_DATE_WAIT_S = 5.0, 60.0


class SocrataLimits(Limits):
    """One request at a time: those without a token are throttled together."""

    concurrency: int = Field(1, gt=0, le=64)


class Socrata2Source(QuerySource):
    """`source:` of one data set."""

    protocol: Literal["socrata2"]
    base_url: str = Field(pattern=r"^https?://[^\s?#]+$", description="The agency's domain, like https://data.agency.example.")
    dataset: str = Field(pattern=DATASET, description="The data set's name of two times four characters, like erm2-nwe9.")
    select: str = Field("", description="Columns to ask for ($select); `:*,*` for the system's columns too; default: all.")
    where: str = Field("", description="Condition in SoQL ($where), unencoded; may hold the places that params may hold.")
    order: str = Field(":id", min_length=1, description="Order of the rows; it must tell all of them apart, or pages overlap.")
    changes: bool = Field(
        False, description="Ask only for rows that changed since the last fetch (:updated_at); for incremental.kind: upsert."
    )
    size: int = Field(10_000, gt=0, le=50_000, description="Rows of a page.")
    auth: TokenAuth = TokenAuth()
    limits: SocrataLimits = SocrataLimits()

    @model_validator(mode="after")
    def _fields_not_params(self) -> Socrata2Source:
        if taken := sorted(OWN & self.params.keys()):
            raise ValueError(f"params: '{taken[0]}' has a field of its own: select, where, order, size or auth")
        if self.changes and GROUPED & self.params.keys():
            raise ValueError("changes: rows that are made by grouping have no :updated_at")
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
        if source.changes and feed.incremental.kind != "upsert":
            raise ValueError("source.changes: a fetch of changes alone needs incremental.kind: upsert")
        return [Step(params=step.params, lead=not GROUPED & source.params.keys()) for step in steps_of(feed, source, when)]

    def follow(self, feed: Feed, source: Socrata2Source, step: Step, body: Body) -> Iterable[Step]:
        """The rows that were counted; only the changed ones where that is declared, and not all of them changed."""
        total, oldest = counted(feed, body)
        since = step.params.get("since") if source.changes else None
        if since is not None and oldest is not None and oldest > since and total and new_ids(feed):
            raise _replaced(feed)
        partly = since is not None and not (oldest is not None and oldest > since)
        stamp = stamp_of(body.headers, query_for(source, step), None if partly else total)
        return [Step(params={**step.params, "partly": partly}, stamp=stamp)]

    def request(self, feed: Feed, source: Socrata2Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        query = query_for(source, step)
        if step.lead:
            query["$select"] = "count(*) AS rows_in_all" + (",min(:updated_at) AS oldest_change" if source.changes else "")
            return asked(source.address, query, source.auth, step, cursor)
        order = source.order
        if step.params.get("partly"):
            since = step.params["since"].astimezone(UTC)
            changed = f":updated_at > '{since:%Y-%m-%dT%H:%M:%S}.000'"
            query["$where"] = f"({query['$where']}) AND {changed}" if "$where" in query else changed
            order = ":updated_at,:id"
        query |= {"$order": order, "$limit": str(source.size), "$offset": str(cursor.offset)}
        sent = asked(source.address, query, source.auth, step, cursor)
        return Request(sent.url, headers=sent.headers, step=step.ordinal, page=cursor.page, stamp=step.stamp)

    def classify(
        self,
        source: Socrata2Source,
        request: Request,
        status: int,
        headers: Mapping[str, str],
        head: bytes,
        tail: bytes,
        length: int,
        complete: bool,
    ) -> Outcome:
        if status == 202:
            return Pending(request.url, retry_after(headers) or WAIT_S)
        found = judge(request, status, headers, head, tail, length, complete)
        # the copy that answers questions lags behind the one that was changed
        if isinstance(found, Ok) and headers.get("x-soda2-data-out-of-date", "").strip().lower() == "true":
            return Pending(request.url, retry_after(headers) or OUT_OF_DATE_WAIT_S)
        return found

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


def _replaced(feed: Feed) -> Exception:
    from assets.tables.readers.open import order_of

    return order_of(feed).refuse(
        "the publisher replaced the data set: every row changed, and the key of the table, :id, is new in each",
        "let the key be the agency's own columns, or declare incremental.kind: full",
    )


PROTOCOL = Socrata2()
