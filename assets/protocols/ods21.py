"""OpenDataSoft's Explore API v2.1: a data set's records in pages, or its export in one stream (protocols.md 3.6).

Here are its three questions: what the data set says of itself (for its version), how many rows there are, and the rows. What
answers mean is `ods_answers.py`; reading the files of exports is `tables/readers/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from assets.protocols.answers.http_answers import retry_after
from assets.protocols.answers.json_pages import records_of, rows_of_pages
from assets.protocols.answers.numbers import whole_number
from assets.protocols.answers.ods_answers import MOST, described, export_of, page_of, refused, version_in, without_records
from assets.protocols.answers.ods_questions import DATASET, OWN, Ods21Source, query_for, sent_to
from assets.protocols.answers.stamps import stamp_of, total_in
from assets.protocols.kernel import (
    Body,
    Cursor,
    Malformed,
    Ok,
    Outcome,
    Pending,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.protocols.queries import steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

WAIT_S = 10.0


class Ods21(Protocol[Ods21Source]):
    """The data set's version; then pages that add up to their total, or a count and an export of as many rows."""

    name: ClassVar[str] = "ods21"
    Source: ClassVar[type[SourceBase]] = Ods21Source
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: Ods21Source, when: When) -> Iterable[Step]:
        queries = [step.params for step in steps_of(feed, source, when)]
        about = Step(params={"ask": "about", "queries": queries, "at": when.now.isoformat()}, lead=True)
        # a catalogue says nothing of itself
        return [about] if source.dataset else _asked_about(source, about, None)

    def follow(self, feed: Feed, source: Ods21Source, step: Step, body: Body) -> Iterable[Step]:
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        order = order_of(feed)
        told = next(iter(records_of(body.payload, (), order)), None)
        queries: list[dict[str, Any]] = step.params["queries"]
        if step.params["ask"] == "about":
            if without_records(told):
                raise order.refuse("the data set has no records, only attachments", "declare a feed of the attachment: http_file")
            return _asked_about(source, step, version_in(told))
        totals = [*step.params["totals"], _count(told)]
        if None in totals:
            raise order.refuse("no total_count", "look at the archived body")
        if len(totals) < len(queries):
            return [replace(step, params={**step.params, "totals": totals})]
        # one after another, so that all versions are known before the first row is asked for
        found = [(query, rows) for query, rows in zip(queries, totals, strict=True) if rows]
        known = {name: step.params[name] for name in ("version", "at")}
        version = known["version"] or f"of no known version, asked for at {known['at']}"
        exports = [
            Step(params={"ask": "export", "query": query}, stamp=stamp_of(version, _question(source, query, source.format), rows))
            for query, rows in found
        ]
        return exports or [_records(source, queries[0], {**known, "counted": 0})]

    def split(self, feed: Feed, source: Ods21Source, step: Step) -> Iterable[Step]:
        """An export in place of more records than pages reach; never twice, whatever the portal says."""
        known = step.params.get("known", {"counted": None})
        return [] if "counted" in known else [_counts([step.params["query"]], known)]

    def request(self, feed: Feed, source: Ods21Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        ask = step.params["ask"]
        if ask == "about":
            return sent_to(source, source.address, {}, step, cursor)
        if ask == "count":
            query = query_for(source, step.params["queries"][len(step.params["totals"])])
            return sent_to(source, source.records, {**query, "limit": "0"}, step, cursor)
        query = query_for(source, step.params["query"])
        if ask == "export" and cursor.page > 1:
            return sent_to(source, source.records, {**query, "limit": "0"}, step, cursor)
        if source.order_by:
            query["order_by"] = source.order_by
        if ask == "export":
            if source.format == "csv":
                # portals and versions differ in what they take for granted
                query |= {"delimiter": source.delimiter, "with_bom": "false", "use_labels": "false"}
            return sent_to(source, source.export, query, step, cursor)
        size = max(1, min(source.size, MOST - cursor.offset))
        return sent_to(source, source.records, {**query, "limit": str(size), "offset": str(cursor.offset)}, step, cursor)

    def classify(self, source: Ods21Source, request: Request, response: Response) -> Outcome:
        no = refused(response)
        if no is not None:
            return no
        if response.status == 202:
            return Pending(request.url, retry_after(response.headers) or WAIT_S)
        if (asked := _address(request.url)) == _address(source.export):
            return export_of(request, source.shape, response)
        if source.dataset and asked == _address(source.address):
            return described(response)
        counting = parse_qs(urlsplit(request.url).query).get("limit") == ["0"]
        found = page_of(request, counting, response)
        if counting and request.page > 1 and isinstance(found, Ok):
            return Malformed(f"the export ended before all {total_in(request.stamp)} rows: {found.page.total} are counted now")
        return found

    def parse(self, feed: Feed, source: Ods21Source, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import concatenated, open_rows, order_of  # loads Arrow: not at definition load

        order = order_of(feed)
        if not bodies:
            raise order.refuse("no rows were fetched", "run the feed again")

        def opener(body: Body) -> Callable[[], RowStream]:
            if _address(body.url) == _address(source.export):
                return partial(open_rows, body.path, source.shape, order)
            return partial(rows_of_pages, feed, [body], ("results",))

        return concatenated([opener(body) for body in bodies], order)

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From the page of a data set on a portal, or from an address of its API."""
        parts = urlsplit(url)
        below = rf"(?:/datasets(?:/({DATASET})(?:/(?:records|exports))?)?|/exports)(?:/(\w+))?/?"
        api = re.fullmatch(r"/api/(?:explore/)?v2(?:\.[01])?/catalog" + below, parts.path)
        page = re.fullmatch(rf"(?:/[a-z]{{2}})?/explore/dataset/({DATASET})(?:/[a-z]*)?/?", unquote(parts.path))
        found = api or page
        if found is None or not parts.hostname or parts.scheme not in ("http", "https"):
            return None
        source: dict[str, Any] = {"protocol": self.name, "base_url": f"https://{parts.netloc}"}
        source |= {"dataset": found[1]} if found[1] else {}
        if api is None:
            return source
        query = dict(parse_qsl(parts.query))
        if api[2] in ("jsonl", "geojson", "csv", "parquet", "xlsx"):
            source["format"] = api[2]
        source |= {name: query[name] for name in ("select", "where", "order_by") if query.get(name)}
        given = {name: value for name, value in query.items() if name not in OWN}
        return source | ({"params": given} if given else {})


def _address(url: str) -> str:
    """The path alone: redirects may change the rest."""
    return urlsplit(url).path


def _asked_about(source: Ods21Source, step: Step, version: str | None) -> list[Step]:
    """What is asked once the version is known, or known to be none."""
    queries, known = step.params["queries"], {"version": version, "at": step.params["at"]}
    return [_counts(queries, known)] if source.mode == "export" else [_records(source, query, known) for query in queries]


def _counts(queries: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> Step:
    """One count after another."""
    return Step(params={"ask": "count", "queries": queries, "totals": [], **known}, lead=True)


def _records(source: Ods21Source, query: Mapping[str, Any], known: Mapping[str, Any]) -> Step:
    """Pages of records; their total is on each of them."""
    version = known["version"]
    stamp = stamp_of(version, _question(source, query, "records"), None) if version else None
    return Step(params={"ask": "records", "query": query, "known": known}, stamp=stamp)


def _question(source: Ods21Source, query: Mapping[str, Any], form: str) -> dict[str, str]:
    return {**query_for(source, query), "form": form}


def _count(told: Any) -> int | None:
    return whole_number(told.get("total_count")) if isinstance(told, dict) else None


PROTOCOL = Ods21()
