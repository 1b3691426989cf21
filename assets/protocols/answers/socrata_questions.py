"""What both editions of Socrata's interface ask alike: a data set's fields, its condition, and increments by `:updated_at`.

How a question is sent is `socrata2.py` and `socrata3.py`; what an answer means is `socrata_answers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import Field

from assets.protocols.kernel import OneAtATime, Step, When
from assets.protocols.queries import QuerySource, fill, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed

DATASET = r"^[a-z0-9]{4}-[a-z0-9]{4}$"


class SocrataSource(QuerySource):
    """What the `source:` of a data set says in both editions."""

    base_url: str = Field(pattern=r"^https?://[^\s?#]+$", description="The agency's domain, like https://data.agency.example.")
    dataset: str = Field(pattern=DATASET, description="The data set's name of two times four characters, like erm2-nwe9.")
    select: str = Field("", description="Columns to ask for ($select); `:*,*` for the system's columns too; default: all.")
    where: str = Field("", description="Condition in SoQL ($where), unencoded; may hold the places that params may hold.")
    order: str = Field(":id", min_length=1, description="Order of the rows; it must tell all of them apart, or pages overlap.")
    changes: bool = Field(
        False, description="Ask only for rows that changed since the last fetch (:updated_at); for incremental.kind: upsert."
    )
    size: int = Field(10_000, gt=0, le=50_000, description="Rows of a page.")
    limits: OneAtATime = OneAtATime()


def planned(feed: Feed, source: SocrataSource, when: When) -> Sequence[Step]:
    """One step a query, with the moment of asking. Raises ValueError where changes alone would make the table lose what did not
    change.
    """
    if source.changes and feed.incremental.kind != "upsert":
        raise ValueError("source.changes: a fetch of changes alone needs incremental.kind: upsert")
    return [replace(step, params={**step.params, "asked_at": when.now.isoformat()}) for step in steps_of(feed, source, when)]


def count_of(source: SocrataSource) -> str:
    """What is selected to count the rows, and to see how old the oldest of their changes is."""
    return "count(*) AS rows_in_all" + (",min(:updated_at) AS oldest_change" if source.changes else "")


def only_changes(feed: Feed, source: SocrataSource, step: Step, total: int, oldest: datetime | None) -> bool:
    """Whether only what changed since the last fetch is asked for.

    A publisher's full replacement changes every row: then all are asked for. Raises UnreadableSource where it also gave every
    row another key.
    """
    since = step.params.get("since") if source.changes else None
    if since is None:
        return False
    replaced = oldest is not None and oldest > since
    if replaced and total and any(feed.contract.column(name).source_name == ":id" for name in feed.contract.key):
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        raise order_of(feed).refuse(
            "the publisher replaced the data set: every row changed, and the key of the table, :id, is new in each",
            "let the key be the agency's own columns, or declare incremental.kind: full",
        )
    return not replaced


def condition(source: SocrataSource, step: Step) -> str:
    """The condition on the rows of a step, that of an increment (`partly`) included; '' where there is none."""
    where = fill(source.where, step)
    return joined(where, f":updated_at > '{step.params['since'].astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000'") if partly(step) else where


def joined(where: str, further: str) -> str:
    return f"({where}) AND {further}" if where else further


def partly(step: Step) -> bool:
    """Whether the step asks only for what changed since the last fetch."""
    return bool(step.params.get("partly"))
