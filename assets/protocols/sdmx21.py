"""SDMX REST 2.1: statistics of Eurostat, OECD, ECB, IMF and others, as SDMX-CSV or TSV (protocols.md 3.7).

Here are the addresses of 2.1, the data structure that is asked for first, and queries made smaller by period. What answers mean
is `sdmx_answers.py`. There is no branch for a provider: what one does its own way is declared in its feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import Field

from assets.protocols.answers.http_answers import conditional_get, keyed, query_string
from assets.protocols.answers.sdmx_answers import SdmxSource, damage, flow_of, meaning, rows_of
from assets.protocols.kernel import (
    Body,
    Cursor,
    Examined,
    Ok,
    Outcome,
    Protocol,
    Request,
    Response,
    SourceBase,
    Step,
    Validators,
    When,
)
from assets.protocols.queries import fill, query_of, spans_of, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

S = TypeVar("S", bound=SdmxSource)
_STRUCTURE_XML = "application/vnd.sdmx.structure+xml;version=2.1"


class Sdmx21Source(SdmxSource):
    """`source:` of one dataflow of an SDMX 2.1 service."""

    protocol: Literal["sdmx21"]
    flow: str = Field(
        pattern=r"^[^/\s?#]+$", description="Dataflow: UNE_RT_M, EXR, or with agency and version: OECD.SDD.STES,DSD_STES@DF_CLI,4.1"
    )
    key: str = Field("all", pattern=r"^[^/\s?#]*$", description="Codes by dimension: D.USD+JPY.EUR.SP00.A; empty ones mean all.")
    accept: str = Field("application/vnd.sdmx.data+csv;version=1.0.0", description="Accept header of the data; empty: none.")

    @property
    def address(self) -> str:
        return f"{self.base}/data/{self.flow}"


class SdmxProtocol(Protocol[S], Generic[S]):
    """What the two versions share: the structure first, whole answers, halves of what is too large."""

    structure_xml: ClassVar[str] = _STRUCTURE_XML

    def plan(self, feed: Feed, source: S, when: When) -> Iterable[Step]:
        steps = steps_of(feed, source, when)
        if source.window is not None and source.window.requests == "one":
            spans = spans_of(feed, source.window.model_copy(update={"requests": "each"}), when)
            steps = [replace(step, params={**step.params, "spans": spans}) for step in steps]
        if source.structure is None:
            return steps
        return [Step(params={"steps": steps}, lead=True)]

    def follow(self, feed: Feed, source: S, step: Step, body: Body) -> Iterable[Step]:
        steps: list[Step] = step.params["steps"]
        return steps

    def split(self, feed: Feed, source: S, step: Step) -> Iterable[Step]:
        """Halves of the window's periods; a single one cannot be smaller."""
        spans = step.params.get("spans", [])
        middle = len(spans) // 2
        halves = [part for part in (spans[:middle], spans[middle:]) if part] if middle else []
        return [
            replace(step, params={**step.params, "spans": h, "start": h[0][0], "end": h[-1][1], "last": h[-1][2]}) for h in halves
        ]

    def data_url(self, source: S, step: Step) -> str:
        raise NotImplementedError

    def accepted(self, source: S) -> str:
        raise NotImplementedError

    def request(self, feed: Feed, source: S, step: Step, cursor: Cursor, validators: Validators) -> Request:
        if step.lead:
            url, headers = keyed(f"{source.base}/{source.structure}", {"Accept": self.structure_xml}, source.auth)
            return Request(url, headers=headers, step=step.ordinal, page=cursor.page)
        accept = self.accepted(source)
        headers = {"Accept": accept} if accept else {}
        return conditional_get(self.data_url(source, step), headers, source.auth, step, cursor, validators)

    def classify(self, source: S, request: Request, response: Response) -> Outcome:
        return meaning(source, request.url, response)

    def examine(self, source: S, body: Body) -> Examined:
        return Examined(damage(body) or Ok())

    def provider_stamp(self, source: S, headers: Mapping[str, str], head: bytes) -> str | None:
        return flow_of(head) if source.format == "csv" else None

    def parse(self, feed: Feed, source: S, bodies: Sequence[Body]) -> RowStream:
        return rows_of(feed, source, bodies)


def query_text(query: Mapping[str, str]) -> str:
    """The query with its question mark; '' where it is empty."""
    pairs = query_string(query)
    return f"?{pairs}" if pairs else ""


class Sdmx21(SdmxProtocol[Sdmx21Source]):
    """Whole answers of one dataflow, by key and period."""

    name: ClassVar[str] = "sdmx21"
    Source: ClassVar[type[SourceBase]] = Sdmx21Source

    def data_url(self, source: Sdmx21Source, step: Step) -> str:
        key = quote(fill(source.key, step), safe=".+:*@,")
        path = f"{source.base}/data/{quote(fill(source.flow, step), safe=',@:.+*')}"
        query = query_text(query_of(source, step))
        return f"{path}/{key}{query}" if key else f"{path}{query}"

    def accepted(self, source: Sdmx21Source) -> str:
        return source.accept

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        before, data, after = parts.path.partition("/data/")
        flow, _, key = after.strip("/").partition("/")
        known = "sdmx" in f"{parts.hostname}{before}" or (parts.hostname or "").startswith("data-api.ecb.")
        if not (data and flow and known) or "/3.0" in before or flow == "dataflow":
            return None
        params = {name: value for name, value in parse_qsl(parts.query) if "key" not in name.lower()}
        if "csv" not in params.get("format", "csv").lower():
            del params["format"]  # the address of another format; here rows are read from CSV, which `accept` asks for
        base = f"{parts.scheme}://{parts.hostname}{before}"
        ecb: dict[str, Any] = {}
        if (parts.hostname or "").startswith("data-api.ecb."):  # its own CSV begins with the key of the series
            ecb, params = {"accept": "", "first_column": ["KEY"]}, params | {"format": "csvdata"}
        found: dict[str, Any] = {"protocol": self.name, "base_url": base, "flow": flow}
        return found | ecb | ({"key": key} if key else {}) | ({"params": params} if params else {})


PROTOCOL = Sdmx21()
