"""KOSIS, the statistics of Korea, `kosis.kr/openapi` (protocols.md 2.6).

Here are its parameters, its error codes, and the look at a table's update date before its data is asked for. There are no pages:
how a large question is asked in parts is `kosis_cells.py`; errors, and the mending of what it calls JSON, are `kosis_answers.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from assets.protocols.answers.http_answers import by_status, keyed, query_string
from assets.protocols.answers.kosis_answers import NO_CODES, NO_UPDATES, by_code, error_of, records_of, whole
from assets.protocols.answers.kosis_cells import ALL, Question, before, codes_of, fitting, halves, period_of
from assets.protocols.kernel import (
    Auth,
    Body,
    Cursor,
    Empty,
    Limits,
    Malformed,
    Ok,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.queries import QuerySource, query_of, steps_of
from assets.tables.readers.magic import kind_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

_UPDATES, _CODES = "method=getMeta&type=NCD", "method=getMeta&type=ITM"
_META = {_UPDATES: NO_UPDATES, _CODES: NO_CODES}
"""The questions about a table, and what it means that one has no result."""
SEOUL = ZoneInfo("Asia/Seoul")
Codes = tuple[str, ...]


class KosisAuth(Auth):
    """A feed that gives part of this keeps KOSIS's values for the rest."""

    kind: str = Field("query_key", pattern="^query_key$")
    name: str | None = "apiKey"
    secret: str | None = Field("KOSIS_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")


class KosisLimits(Limits):
    """Far below the thousand calls a minute after which KOSIS says 40; another client was told so after 200."""

    per_second: float | None = Field(3, gt=0)


class KosisSource(QuerySource):
    """`source:` of one table of KOSIS."""

    sends_span: ClassVar[bool] = True
    protocol: Literal["kosis"]
    base_url: str = Field("https://kosis.kr/openapi", pattern=r"^https?://[^\s?#]+$", description="Where the service is.")
    org: str = Field(pattern=r"^\w+$", description="orgId of the publisher; 101 is Statistics Korea.")
    table: str = Field(pattern=r"^\w+$", description="tblId of the table, like DT_1B040A3.")
    items: Codes = Field(ALL, min_length=1, description="Codes of the items (itmId), or [ALL].")
    classes: tuple[Codes, ...] = Field(
        (ALL,),
        min_length=1,
        max_length=8,
        description="For each class of the table, in its order (objL1 to objL8), the codes asked for, or [ALL].",
    )
    period: Literal["D", "M", "Q", "H", "Y", "F", "IR"] = Field(
        description="prdSe: day, month, quarter, half-year, year, several years, irregular."
    )
    newest: int | None = Field(None, gt=0, description="How many of the newest periods (newEstPrdCnt), in place of `window`.")
    max_cells: int = Field(40_000, gt=0, description="Most cells of one answer; a larger question is asked in parts.")
    updates: bool = Field(
        True, description="Look first when the table was last updated; where that has not moved, its data is not asked for."
    )
    auth: KosisAuth = KosisAuth()
    limits: KosisLimits = KosisLimits()

    @model_validator(mode="after")
    def _periods_once(self) -> KosisSource:
        ways = [self.window is not None, self.newest is not None, bool({"startPrdDe", "newEstPrdCnt"} & self.params.keys())]
        if sum(ways) != 1:
            raise ValueError("say once which periods: 'window', 'newest', or startPrdDe and endPrdDe in 'params'")
        if self.window is not None and self.period in ("F", "IR"):
            raise ValueError(f"period {self.period} has no window: give 'newest', or startPrdDe and endPrdDe in 'params'")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/Param/statisticsParameterData.do"


class Kosis(Protocol[KosisSource]):
    """A list of cells; anything but a list is an error, with status 200."""

    name: ClassVar[str] = "kosis"
    Source: ClassVar[type[SourceBase]] = KosisSource

    def plan(self, feed: Feed, source: KosisSource, when: When) -> Iterable[Step]:
        asked: dict[str, Step] = {}
        for step in steps_of(feed, source, when):
            for question in fitting(_question(source, step), source.max_cells, source.newest):
                part = Step(params={**step.params, "question": question})
                asked.setdefault(_query(source, part), part)  # windows shorter than a period ask for it once
        if not source.updates:
            return list(asked.values())
        today = when.now.astimezone(SEOUL).strftime("%Y%m%d")
        return [Step(params={"parts": list(asked.items()), "today": today}, lead=True)]

    def follow(self, feed: Feed, source: KosisSource, step: Step, body: Body) -> Iterable[Step]:
        """The data, each part stamped with the table's update dates and with what it asks for; or the halves of a question."""
        if (question := step.params.get("question")) is not None:
            return self._listed(feed, source, step, replace(question, known=codes_of(records_of(feed, body))))
        dates = [{str(k): str(v) for k, v in row.items()} for row in records_of(feed, body) if isinstance(row, dict)]
        latest = max((re.sub(r"\D", "", row.get("SEND_DE", ""))[:8] for row in dates), default="")
        parts = [(query, part) for query, part in step.params["parts"]]
        if len(latest) < 8 or latest >= step.params["today"]:
            # A date has no hour: what was sent today may be sent again today, so only a day that is over is a version.
            return [part for _, part in parts]
        told = sorted("|".join(row.get(name, "") for name in ("PRD_SE", "PRD_DE", "SEND_DE")) for row in dates)
        return [replace(part, stamp=f"{latest} {_digest([query, *told])}") for query, part in parts]

    def split(self, feed: Feed, source: KosisSource, step: Step) -> Iterable[Step]:
        question = step.params.get("question")
        if not isinstance(question, Question):
            return []
        parts = halves(question)
        if not parts and ALL in question.codes.values() and not question.known:
            return [replace(step, lead=True)]  # which codes the table has
        return [_part(step, part) for part in parts]

    def _listed(self, feed: Feed, source: KosisSource, step: Step, question: Question) -> list[Step]:
        """The halves of a question that was too large, now that the codes behind ALL are known."""
        from assets.tables.readers.open import order_of  # loads Arrow: not at definition load

        parts = [part for half in halves(question) for part in fitting(half, source.max_cells, source.newest)]
        if not parts:
            what = "a question too large, in which KOSIS lists no codes to halve: give a window in place of newest"
            raise order_of(feed).refuse(what, "look at the archived answer of getMeta, type=ITM")
        return [replace(_part(step, part), lead=False) for part in parts]

    def request(self, feed: Feed, source: KosisSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        if step.lead:
            base, meta = source.base_url.rstrip("/"), _CODES if "question" in step.params else _UPDATES
            url = f"{base}/statisticsData.do?{meta}&orgId={source.org}&tblId={source.table}&format=json&jsonVD=Y"
        else:
            url = f"{source.address}?{_query(source, step)}"
        url, headers = keyed(url, {}, source.auth)
        return Request(url, headers=headers, step=step.ordinal, page=cursor.page)

    def classify(self, source: KosisSource, request: Request, response: Response) -> Outcome:
        by = by_status(response.status, response.headers)
        without = next((meaning for meta, meaning in _META.items() if meta in request.url), "")
        said = error_of(response.head, response.length)
        if said is not None:
            meant = by_code(*said, response.headers, without)
            # a code that nobody knows tells less than a status that refuses
            return by if by is not None and isinstance(meant, Malformed) else meant
        if by is not None:
            return by
        if response.length == 0:
            return Malformed("an empty body")
        if not response.complete:
            return Transient("the connection ended before the end of the list")
        if kind_of(response.head) != "json":
            return Malformed("an HTML page in place of the list" if kind_of(response.head) == "html" else "no list of KOSIS")
        if response.head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"[":
            return Malformed("an object without an error code in place of the list")
        if response.tail.rstrip()[-1:] != b"]":
            return Transient("the list is cut off: it does not end")
        if response.length <= len(response.head) and (odd := whole(response.head)) is not None:
            return Malformed(without) if without and isinstance(odd, Empty) else odd
        return Ok()

    def recognise(self, url: str) -> dict[str, Any] | None:
        """From an address as KOSIS itself generates it for a table, with all codes in it."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        wanted = [query.pop(name, "") for name in ("orgId", "tblId", "prdSe")]
        if parts.hostname != "kosis.kr" or not parts.path.endswith("/statisticsParameterData.do") or not all(wanted):
            return None
        codes = [query.pop(name, "").replace("+", " ").split() for name in ("itmId", *(f"objL{n}" for n in range(1, 9)))]
        source: dict[str, Any] = {"protocol": self.name, "org": wanted[0], "table": wanted[1], "items": codes[0] or list(ALL)}
        source |= {"classes": [c for c in codes[1:] if c] or [list(ALL)], "period": wanted[2]}
        named = {name: query[name] for name in ("startPrdDe", "endPrdDe", "prdInterval", "outputFields") if name in query}
        if "startPrdDe" not in named:
            source["newest"] = max(1, int(count[:6])) if (count := query.get("newEstPrdCnt", "1")).isdecimal() else 1
        return source | ({"params": named} if named else {})

    def parse(self, feed: Feed, source: KosisSource, bodies: Sequence[Body]) -> RowStream:
        from assets.protocols.answers.json_pages import rows_of_records

        def records() -> Iterator[Any]:
            for body in bodies:
                yield from records_of(feed, body)

        return rows_of_records(feed, records())


def _part(step: Step, question: Question) -> Step:
    return replace(step, params={**step.params, "question": question})


def _question(source: KosisSource, step: Step) -> Question:
    """What one query of the feed asks for; a name of `each` stands in place of the listed codes."""
    codes = {f"objL{n}": given for n, given in enumerate(source.classes, 1)} | {"itmId": source.items}
    codes = {name: (str(step.params[name]),) if name in step.params else given for name, given in codes.items()}
    start, end = step.params.get("start"), step.params.get("end")
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return Question(codes, source.period)
    last = max(start.date(), before(end.date()))
    return Question(codes, source.period, period_of(source.period, start.date()), period_of(source.period, last))


def _query(source: KosisSource, step: Step) -> str:
    """The query without the key. Several codes are joined by a bare plus, as in the addresses that KOSIS itself generates."""
    question: Question = step.params["question"]
    query = {"method": "getList", "orgId": source.org, "tblId": source.table}
    query |= {name: "".join(f"{c}+" for c in codes) if len(codes) > 1 else codes[0] for name, codes in question.codes.items()}
    query |= {"prdSe": source.period}
    if (ends := question.range()) is not None:
        query |= {"startPrdDe": ends[0], "endPrdDe": ends[1]}
    elif source.newest is not None:
        query |= {"newEstPrdCnt": str(source.newest)}
    query |= {"format": "json", "jsonVD": "Y"}
    query |= {name: value for name, value in query_of(source, step).items() if name not in question.codes}
    return query_string(query, safe="+")


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


PROTOCOL = Kosis()
