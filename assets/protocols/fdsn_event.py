"""Event services of seismologists: `{centre}/fdsnws/event/1/query`, by the FDSN's specification (protocols.md 3.13).

Here are the questions: a count first, where the centre gives one, spans of time that are halved until each is small enough, and
increments by `updatedafter`. What answers mean, and the rows of the text format, is `fdsn_answers.py`; the USGS's summary feeds
are `usgs_feed.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.canonical import canonical_json_sha256
from assets.protocols.answers.fdsn_answers import LARGEST, counted, meaning, rows_of_text
from assets.protocols.answers.features import rows_of_features
from assets.protocols.answers.json_answers import asked
from assets.protocols.kernel import Body, Cursor, Outcome, Protocol, Request, Response, SourceBase, Step, Validators, When
from assets.protocols.queries import QuerySource, query_of, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

OWN = frozenset(
    ("starttime", "start", "endtime", "end", "updatedafter", "orderby", "limit", "offset", "format", "nodata", "includedeleted")
)
"""Parameters that the fields of the source say, with the short forms that the specification gives them."""
_HOSTS = {"earthquake.usgs.gov": "geojson", "www.seismicportal.eu": "json", "seismicportal.eu": "json"}
_INSTANT = timedelta(microseconds=1)
_SHORTEST = timedelta(seconds=2)


class FdsnEventSource(QuerySource):
    """`source:` of one search of an event service."""

    sends_span: ClassVar[bool] = True
    protocol: Literal["fdsn_event"]
    base_url: str = Field(
        pattern=r"^https?://[^\s?#]+/fdsnws/event/1/?$", description="Address of the service, up to its version 1."
    )
    format: Literal["geojson", "json", "text"] = Field(
        description="geojson: the USGS's; json: GeoJSON under EMSC's name for it; text: the FDSN's table, which every centre has."
    )
    start: date | None = Field(
        None, description="First day of events, UTC; a window takes its place. A service's own default is 30 days."
    )
    changes: bool = Field(
        False, description="Ask only for events that changed since the last fetch (updatedafter); for incremental.kind: upsert."
    )
    deleted: bool = Field(
        False, description="Ask for deleted events too (includedeleted, USGS only); for deletes.mode: tombstone on the status."
    )
    count: bool = Field(False, description="Ask /count first. USGS only: it is no part of the FDSN's specification.")
    most: int = Field(LARGEST, gt=0, le=LARGEST, description="Events of one span of time; where there are more, it is halved.")
    size: int = Field(LARGEST, gt=0, le=LARGEST, description="Events of a page (limit).")
    nodata: Literal[204, 404] = Field(204, description="Status that the service is asked to say 'no events' with.")
    volatile: tuple[str, ...] = Field(
        ("metadata.generated", "metadata.url"), description="JSON paths that change without a change of the data."
    )

    @model_validator(mode="after")
    def _consistent(self) -> FdsnEventSource:
        if taken := sorted(OWN & self.params.keys()):
            raise ValueError(
                f"params: '{taken[0]}' has a field of its own: start or window, changes, deleted, size, format, nodata"
            )
        if (self.start is None) == (self.window is None):
            raise ValueError("say from when on events are asked for: either 'start', a day, or a 'window'")
        if self.deleted and self.format == "text":
            raise ValueError("deleted: the text format does not say which events are deleted; take format: geojson")
        return self

    @property
    def service(self) -> str:
        return self.base_url.rstrip("/")

    @property
    def address(self) -> str:
        return f"{self.service}/query"


class FdsnEvent(Protocol[FdsnEventSource]):
    """Spans of time, oldest first; each is counted where that can be, and paged by offset."""

    name: ClassVar[str] = "fdsn_event"
    Source: ClassVar[type[SourceBase]] = FdsnEventSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: FdsnEventSource, when: When) -> Iterable[Step]:
        if source.changes and feed.incremental.kind != "upsert":
            raise ValueError("source.changes: a fetch of changes alone needs incremental.kind: upsert")
        if source.deleted and feed.deletes_mode != "tombstone":
            raise ValueError("source.deleted: deleted events look like events; declare deletes.mode: tombstone on their status")
        return [_span(source, step, when.now) for step in steps_of(feed, source, when)]

    def follow(self, feed: Feed, source: FdsnEventSource, step: Step, body: Body) -> Iterable[Step]:
        """The events that were counted; two halves of the time, counted again, where there are too many of them."""
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        total, most = counted(feed, body)
        if total == 0:
            return []
        most = min(most or source.most, source.most)
        if total > most:
            halves = list(self.split(feed, source, step))
            if not halves:
                mend = "raise source.most, or ask for fewer with source.params (minmagnitude)"
                raise order_of(feed).refuse(f"{total:,} events within {_SHORTEST.seconds} seconds", mend)
            return halves
        # the moments keep the stamp from being that of an earlier fetch: as many events are not the same events
        counted_at = f"{_moment(step.params['now'])} {body.headers.get('date', '')}".strip()
        return [Step(params={**step.params, "most": most}, stamp=f"{total} events counted {counted_at}")]

    def split(self, feed: Feed, source: FdsnEventSource, step: Step) -> Iterable[Step]:
        """Halves of the span. Both ends of a span are meant, so the first half ends an instant before the second begins."""
        begin, until = step.params["from"], step.params["until"]
        if until - begin < _SHORTEST:
            return []
        middle = (begin + (until - begin) / 2).replace(microsecond=0)
        spans = ((begin, middle - _INSTANT), (middle, until))
        return [Step(params={**step.params, "from": a, "until": b}, lead=source.count) for a, b in spans]

    def request(self, feed: Feed, source: FdsnEventSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        query = query_of(source, step)
        query |= {"starttime": _moment(step.params["from"]), "endtime": _moment(step.params["until"])}
        if source.changes and step.params.get("since") is not None:
            query["updatedafter"] = _moment(step.params["since"].astimezone(UTC))
        if source.deleted:
            query["includedeleted"] = "true"
        if step.lead:
            return asked(f"{source.service}/count", {"format": "geojson"} | query, source.auth, step, cursor)
        size = min(source.size, step.params.get("most", source.most))
        query |= {"orderby": "time-asc", "limit": str(size), "offset": str(cursor.offset + 1)}
        if source.nodata == 404:
            query["nodata"] = "404"
        sent = asked(source.address, {"format": source.format} | query, source.auth, step, cursor)
        return replace(sent, stamp=step.stamp)

    def classify(self, source: FdsnEventSource, request: Request, response: Response) -> Outcome:
        return meaning(
            source.format,
            request,
            response,
        )

    def canonical_sha256(self, source: FdsnEventSource, body: Body) -> str | None:
        return canonical_json_sha256(body.payload, source.volatile) if source.format != "text" else None

    def parse(self, feed: Feed, source: FdsnEventSource, bodies: Sequence[Body]) -> RowStream:
        if source.format == "text":
            return rows_of_text(feed, bodies)
        return rows_of_features(feed, bodies, source.address, must_count=False)

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From the address of a search. Where it names no first day, the last 30 are asked for, as services do by themselves."""
        parts = urlsplit(url)
        found = re.fullmatch(r"(.*/fdsnws/event/1)/(?:query|count)/?", parts.path)
        if found is None or parts.scheme not in ("http", "https") or not parts.hostname:
            return None
        query = {name.lower(): value for name, value in parse_qsl(parts.query)}
        form = query.get("format") if query.get("format") in ("geojson", "json", "text") else _HOSTS.get(parts.hostname, "text")
        source: dict[str, Any] = {"protocol": self.name, "base_url": f"{parts.scheme}://{parts.netloc}{found[1]}", "format": form}
        try:
            source["start"] = date.fromisoformat(query.get("starttime", query.get("start", ""))[:10]).isoformat()
        except ValueError:
            source["window"] = {"every": "day", "count": 30, "running": True, "requests": "one", "timezone": "UTC"}
        source |= {"count": True} if parts.hostname == "earthquake.usgs.gov" else {}
        given = {name: value for name, value in query.items() if name not in OWN}
        return source | ({"params": given} if given else {})


def _span(source: FdsnEventSource, step: Step, now: datetime) -> Step:
    """The step with its time, from its first instant to its last."""
    if source.start is not None:
        begin, until = datetime.combine(source.start, time(), UTC), now.astimezone(UTC)
    else:
        begin, until = step.params["start"].astimezone(UTC), step.params["end"].astimezone(UTC) - _INSTANT
    return replace(step, params={**step.params, "now": now.astimezone(UTC), "from": begin, "until": until}, lead=source.count)


def _moment(moment: datetime) -> str:
    """UTC, as the specification writes it: microseconds, and no zone, which some services refuse."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


PROTOCOL = FdsnEvent()
