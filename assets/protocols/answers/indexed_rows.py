"""Rows asked for by their indexes, both ends meant, with the key in the path (protocols.md 2.5, 2.7).

What Seoul's plaza and the Bank of Korea's ECOS share: the address of a page, the answer's own word on itself (`RESULT`, in JSON or
XML, beside the rows or in their place) and the rows. Pure. The tables of codes, and what else stands in the path, are the
protocols' own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from assets.protocols.answers.http_answers import by_status, keyed
from assets.protocols.answers.json_pages import around, rows_of_pages
from assets.protocols.answers.numbers import whole_number
from assets.protocols.kernel import Body, Cursor, Empty, Malformed, Ok, Outcome, PageInfo, Request, Response, Step, Transient
from assets.protocols.queries import QuerySource
from assets.tables.readers.magic import kind_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream


class IndexedSource(QuerySource):
    """What both may say."""

    base_url: str = Field(pattern=r"^https?://[^\s?#{}]+$", description="Address before the key.")
    type: Literal["json", "xml"] = Field("json", description="What is asked for. Errors may come as XML all the same.")
    size: int = Field(1000, gt=0, le=1000, description="Rows of a page.")
    service: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="Name of the service.")
    records: str | None = Field(None, pattern=r"^[^.\s]+(\.[^.\s]+)?$", description="Where the rows are; default: {service}.row.")

    @model_validator(mode="after")
    def _key_in_the_path(self) -> IndexedSource:
        if self.auth.kind != "path_key" or self.auth.secret is None:
            raise ValueError("auth: the key stands in the path, so kind is path_key, and secret names its environment variable")
        names = {name for entry in self.each_values() for name in entry}
        if unused := sorted(names - self.placed):
            raise ValueError(f"each: nothing holds {{{unused[0]}}}, so every query would be the same")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/{{key}}/{self.type}/{self.service}"

    @property
    def where(self) -> tuple[str, ...]:
        """The path of keys to the rows."""
        return tuple((self.records or f"{self.service}.row").split("."))


def page_request(source: IndexedSource, before: Sequence[str], after: Sequence[str], step: Step, cursor: Cursor) -> Request:
    """The page that begins after the rows so far. `before`, `after`: parts of the path around the indexes; '{key}' is the key."""
    first = cursor.offset + 1  # what the server sent counts, not what was asked of it: it may cap a page silently
    parts = [*before, str(first), str(first + source.size - 1), *after]
    path = "/".join(part if part == "{key}" else quote(part, safe="") for part in parts)
    url, headers = keyed(f"{source.base_url.rstrip('/')}/{path}", {}, source.auth)
    return Request(url, headers=headers, step=step.ordinal, page=cursor.page)


# --- what an answer says of itself ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heard:
    """`code`: None where there is none, as in a page of ECOS; `rows`: whether they stand there; `ended`: whether it is whole."""

    code: str | None
    message: str = ""
    total: int | None = None
    rows: bool = False
    xml: bool = False
    ended: bool = True


def hear(response: Response, rows: str) -> Heard | None:
    """The answer's word on itself, from its head and tail. `rows`: name of the list, or element. None: neither JSON nor XML."""
    if response.head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return _hear_xml(response.head.decode("utf-8", "replace"), response.tail.decode("utf-8", "replace"), rows)
    found = around(response, rows)
    if found is None:
        return None
    code = found.text("CODE")
    if code is None and (wrapped := found.text("code")) is not None:
        # the subway's host wraps the same in errorMessage, in small letters
        return Heard(wrapped.strip(), found.text("message") or "", found.number("total"), found.records, ended=found.ended)
    code = code.strip() if code is not None else None
    return Heard(code, found.text("MESSAGE") or "", found.number("list_total_count"), found.records, ended=found.ended)


def _hear_xml(start: str, end: str, rows: str) -> Heard:
    opening = re.search(rf"<{re.escape(rows)}[\s/>]", start)
    before = start[: opening.start()] if opening else start

    def field(name: str) -> str | None:
        found = re.search(rf"<{name}>\s*(?:<!\[CDATA\[)?([^<\]]{{0,2000}})", before)
        return found.group(1).strip() if found else None

    root = re.search(r"<([A-Za-z_][\w.\-]*)[\s>]", start)
    return Heard(
        field("CODE") or field("code"),
        field("MESSAGE") or field("message") or "",
        whole_number(field("list_total_count") or field("total")),
        opening is not None,
        xml=True,
        ended=root is not None and end.rstrip().endswith(f"</{root.group(1)}>"),
    )


def judged(source: IndexedSource, by_code: Callable[[str, str], Outcome | None], response: Response) -> Outcome:
    """What a response means. `by_code`: the outcome of a code and its message, None for success."""
    heard = hear(response, source.where[-1])
    by = by_status(response.status, response.headers)
    if heard is not None and heard.code is not None and (said := by_code(heard.code, heard.message)) is not None:
        # a code that nobody knows tells less than a status that refuses
        return by if by is not None and isinstance(said, Malformed) else said
    if by is not None:
        return by
    if response.length == 0:
        return Malformed("an empty body with status 200")
    if not response.complete:
        return Transient("the connection ended before the end of the page")
    if kind_of(response.head) == "html":
        return Malformed("an HTML page in place of rows")
    if heard is None:
        return Malformed("neither JSON nor XML")
    if not heard.ended:
        return Transient("the page is cut off: it does not end")
    if heard.xml != (source.type == "xml"):
        return Malformed(f"{'XML' if heard.xml else 'JSON'} where {source.type} was asked for")
    return _page(source, heard)


def _page(source: IndexedSource, heard: Heard) -> Outcome:
    if not heard.rows:
        return Empty("0 rows") if heard.total == 0 else Malformed(f"neither rows at '{'.'.join(source.where)}' nor a known code")
    if heard.total is None:
        return Malformed("rows without a total: how many are missing cannot be told")
    return Ok(PageInfo(total=heard.total))


def rows_of(feed: Feed, source: IndexedSource, bodies: Sequence[Body]) -> RowStream:
    """The rows of all pages, in order."""
    if source.type == "json":
        return rows_of_pages(feed, bodies, source.where)
    from assets.tables.readers.open import open_feed_rows  # loads Arrow: not at definition load
    from assets.tables.readers.spec import FileShape

    shape = FileShape(format="xml", records_path="/".join(source.where))
    return open_feed_rows(feed, shape, [(body.path, source.address) for body in bodies])
