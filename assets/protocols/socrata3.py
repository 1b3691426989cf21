"""Socrata's open data interface, edition 3 (SODA3): questions in bodies, `/api/v3/views/{4x4}/query.json` (protocols.md 3.2).

Here are its SoQL, its pages by number or above the last `:id`, its exports without pages, and what is asked where no header tells
of the data's version. What both editions ask alike is `socrata_questions.py`, what answers mean `socrata_answers.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.file_answers import cut_in_a_line, not_the_file
from assets.protocols.answers.http_answers import keyed
from assets.protocols.answers.json_answers import is_empty_list
from assets.protocols.answers.socrata_answers import (
    CHANGED,
    NeededToken,
    about,
    counted,
    counting,
    held_to,
    judge,
    judge_about,
    last_id,
    not_yet,
    refused,
    rows_of,
    version_of,
)
from assets.protocols.answers.socrata_questions import SocrataSource, condition, count_of, joined, only_changes, partly, planned
from assets.protocols.answers.socrata_soql import columns_in, said_in, text_of, written
from assets.protocols.answers.stamps import total_in
from assets.protocols.kernel import (
    Body,
    Cursor,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.queries import query_of
from assets.tables.readers.spec import FileShape

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream


_PLAIN = {"includeSystem": False, "includeSynthetic": False}


class Socrata3Source(SocrataSource):
    """`source:` of one data set or view."""

    protocol: Literal["socrata3"]
    select: str = Field("", description="Columns to ask for (SELECT); default: all. Name them: a column of nulls is not sent.")
    where: str = Field("", description="Condition in SoQL (WHERE); may hold the places that params may hold.")
    group: str = Field("", description="Columns to group by (GROUP BY); such rows are not counted beforehand.")
    system: bool = Field(False, description="The system's columns too: :id, :created_at, :updated_at, :version.")
    mode: Literal["query", "export"] = Field("query", description="Rows in pages, or the whole answer as one file.")
    paging: Literal["number", "keyset"] = Field(
        "number", description="Pages by number, or rows above the last :id, for large data sets; keyset takes system: true."
    )
    format: Literal["csv", "geojson"] = Field("csv", description="Format of an export.")
    auth: NeededToken = NeededToken()

    @model_validator(mode="after")
    def _consistent(self) -> Socrata3Source:
        if self.group and (self.changes or self.mode == "export" or self.paging == "keyset"):
            raise ValueError("group: rows made by grouping have no :id and no :updated_at, and are not counted: query, by number")
        if self.changes and self.mode == "export":
            raise ValueError("changes: an export of changes cannot be counted beforehand; declare mode: query")
        if self.group and self.order == ":id":
            raise ValueError("group: such rows have no :id; give 'order', the columns that are grouped by")
        if self.paging == "keyset" and not (self.system and self.order == ":id" and self.mode == "query"):
            raise ValueError("paging: keyset needs system: true, mode: query, and the order :id")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/api/v3/views/{self.dataset}"


class Socrata3(Protocol[Socrata3Source]):
    """A count; where no header tells of the data's version, a look at the data set; then pages, or one export."""

    name: ClassVar[str] = "socrata3"
    Source: ClassVar[type[SourceBase]] = Socrata3Source
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: Socrata3Source, when: When) -> Iterable[Step]:
        return [Step(params=step.params, lead=not source.group) for step in planned(feed, source, when)]

    def follow(self, feed: Feed, source: Socrata3Source, step: Step, body: Body) -> Iterable[Step]:
        """The rows that were counted; only the changed ones where that is declared, and not all of them changed."""
        question = {**query_of(source, step), "soql": _soql(source, replace(step, params={**step.params, "partly": False}))}
        if "counted" in step.params:
            held = held_to(about(feed, body), step.params["asked_at"], question, step.params["counted"])
            return [replace(step, lead=False, stamp=held)]
        total, oldest = counted(feed, body)
        only = only_changes(feed, source, step, total, oldest)
        stamp = version_of(body.headers, question, None if only else total)
        params = {**step.params, "partly": only}
        if stamp is None and not only:
            return [Step(params={**params, "counted": total}, lead=True)]
        return [Step(params=params, stamp=stamp)]

    def request(self, feed: Feed, source: Socrata3Source, step: Step, cursor: Cursor, validators: Validators) -> Request:
        if step.lead and "counted" in step.params:
            url, headers = keyed(f"{source.base_url.rstrip('/')}/api/views/{source.dataset}.json", {}, source.auth)
            return Request(url, headers=headers, step=step.ordinal, page=cursor.page)
        if step.lead or (source.mode == "export" and cursor.page > 1):
            return _sent(source, step, cursor, "query.json", written(count_of(source), condition(source, step)), _PLAIN)
        if source.mode == "export":
            # the separator and the mark are asked for, never left to the portal
            options = {"serializationOptions": {"separator": ",", "bom": False}} if source.format == "csv" else {}
            return _sent(source, step, cursor, f"export.{source.format}", _soql(source, step), options)
        keyset = source.paging == "keyset"
        above = f":id > {text_of(cursor.token)}" if keyset and cursor.token else ""
        number, size = (1, source.size) if keyset else page_at(cursor.offset, source.size)
        more = {**_PLAIN, "includeSystem": source.system, "page": {"pageNumber": number, "pageSize": size}}
        return _sent(source, step, cursor, "query.json", _soql(source, step, above), more)

    def classify(self, source: Socrata3Source, request: Request, response: Response) -> Outcome:
        if request.method == "GET":
            return judge_about(response)
        if "/export." in request.url:
            told = refused(response) or not_yet(request, response.status, response.headers)
            return told or _file(source, request, response)
        found = judge(request, response)
        if not isinstance(found, Ok):
            return found
        if source.mode == "export" and request.page > 1:
            return Malformed(f"the export ended before all {total_in(request.stamp)} rows that were counted")
        if source.paging == "keyset" and not counting(request) and not is_empty_list(response.head):
            above = last_id(response.tail)
            if above is None:
                return Malformed("the end of a page has no row with an :id to go on from; declare paging: number")
            return Ok(replace(found.page, next_cursor=above))
        return found

    def parse(self, feed: Feed, source: Socrata3Source, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.open import concatenated, open_rows, order_of  # loads Arrow: not at definition load

        if not any("/export." in body.url for body in bodies):
            return rows_of(feed, bodies, columns_in(source.select))
        shape, order = FileShape(format=source.format), order_of(feed)
        return concatenated([partial(open_rows, body.path, shape, order, container="none") for body in bodies], order)

    def provider_stamp(self, source: Socrata3Source, headers: Mapping[str, str], head: bytes) -> str | None:
        return headers.get(CHANGED) or None

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From the address of a query or an export; a SoQL that these fields cannot say is no answer to guess at."""
        parts = urlsplit(url)
        found = re.fullmatch(r"/api/v3/views/([a-z0-9]{4}-[a-z0-9]{4})/(query|export)(?:\.(json|csv|geojson))?/?", parts.path)
        if found is None or not parts.hostname:
            return None
        source: dict[str, Any] = {"protocol": self.name, "base_url": f"https://{parts.netloc}", "dataset": found[1]}
        if found[2] == "export":
            source |= {"mode": "export", "format": "geojson" if found[3] == "geojson" else "csv"}
        said = said_in(dict(parse_qsl(parts.query)).get("query") or "SELECT *")
        return None if said is None else source | said


def page_at(offset: int, size: int) -> tuple[int, int]:
    """The number and the size, at most `size`, of a page that begins after `offset` rows.

    A portal may give smaller pages than it was asked for, without a word; the next page then begins where the rows end.
    """
    if offset % size:
        size = next(part for part in range(min(size, offset), 0, -1) if offset % part == 0)
    return offset // size + 1, size


def _soql(source: Socrata3Source, step: Step, further: str = "") -> str:
    """The rows of a step. `further`: one more condition."""
    where = condition(source, step)
    order = ":updated_at,:id" if partly(step) and source.paging != "keyset" else source.order
    return written(source.select or "*", joined(where, further) if further else where, source.group, order)


def _sent(source: Socrata3Source, step: Step, cursor: Cursor, where: str, query: str, more: Mapping[str, Any]) -> Request:
    """A question in a body."""
    given = query_of(source, step)
    asked = {"query": query, **({"parameters": given} if given else {}), **more}
    url, headers = keyed(f"{source.address}/{where}", {"Content-Type": "application/json"}, source.auth)
    body = json.dumps(asked, ensure_ascii=False).encode()
    return Request(url, "POST", headers, body, step=step.ordinal, page=cursor.page, stamp=step.stamp)


def _file(source: Socrata3Source, request: Request, response: Response) -> Outcome:
    """What the body of an export means: it is the whole file, as far as its ends tell, and has the rows that were counted."""
    if not response.complete:
        return Transient("the connection ended before the end of the export")
    wrong = not_the_file(FileShape(format=source.format), "none", response)
    if wrong is not None:
        return Malformed(wrong)
    if cut_in_a_line(source.format, response.tail):
        return Transient("the export is cut off within a line")
    return Ok(PageInfo(total=total_in(request.stamp)))


PROTOCOL = Socrata3()
