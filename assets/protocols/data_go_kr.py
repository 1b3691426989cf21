"""The open API gateway of data.go.kr, `apis.data.go.kr`, and the agencies' own hosts with the same envelope (protocols.md 2.1).

Here are its parameters, its four forms of error, its code table and the shapes of its `items`. Paging discipline, quotas and
the key's encoding are the kernel's and the transport's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.protocols.answers.gateway_envelope import Envelope, by_code, by_plain_text, envelope_of, is_success, items_of
from assets.protocols.answers.http_answers import by_status, keyed, query_string
from assets.protocols.kernel import (
    Auth,
    Body,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Protocol,
    Request,
    Response,
    SeoulDay,
    SourceBase,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.queries import QuerySource, query_of, steps_of
from assets.tables.readers.magic import kind_of
from quality.contract import Strict

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream


class GatewayAuth(Auth):
    """With the gateway's values for what a feed leaves out; `kind: none` is a service that takes no key."""

    kind: str = Field("query_key", pattern="^(none|query_key|header_key|path_key)$", description="How the key is sent.")
    name: str | None = Field("serviceKey", description="Name of the query parameter or header.")
    secret: str | None = Field(
        "DATA_GO_KR_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that holds the key."
    )
    percent_encoded: bool = Field(True, description="Undo one percent-encoding of the key: the portal hands out both forms.")

    @model_validator(mode="after")
    def _no_key(self) -> GatewayAuth:
        return self.model_copy(update={"name": None, "secret": None}) if self.kind == "none" and self.secret else self


class FormatSwitch(Strict):
    """The parameter that chooses JSON or XML; its name differs from agency to agency (_type, dataType, returnType, …)."""

    param: str = Field(min_length=1)
    value: str = "json"


class PageNumber(Strict):
    """Paging by number, from 1."""

    kind: Literal["page_number"] = "page_number"
    page_param: str = "pageNo"
    size_param: str = "numOfRows"
    size: int = Field(100, gt=0, le=100_000, description="Rows asked for; above its cap an agency may answer with an empty body.")
    total: str = Field("response.body.totalCount", description="Where the answer says how many rows there are in all.")


class Records(Strict):
    """Where the rows are; the same path serves JSON and XML."""

    path: str = "response.body.items"
    item_key: str = "item"


class GatewaySource(QuerySource):
    """What the `source:` of every service in the gateway's envelope may say."""

    base_url: str = Field(pattern=r"^https?://[^\s?#]+$", description="https://apis.data.go.kr/{organisation}/{service}")
    operation: str = Field("", pattern=r"^[A-Za-z0-9_./\-]*$", description="Last part of the address; empty when base_url has it.")
    format: FormatSwitch | None = Field(
        None, description="Parameter that asks for JSON; without it the service answers its default."
    )
    paging: PageNumber = PageNumber()
    records: Records = Records()
    success_codes: tuple[str, ...] | None = Field(None, description="Default: any code of zeros alone (0, 00, 000, 0000).")
    nodata: Literal["empty", "retry"] = Field("empty", description="Code 03: no rows, or an outage to be asked again (AirKorea).")
    literal_brackets: bool = Field(False, description="Leave [ ] in parameter names as they are, for services that refuse %5B.")
    auth: GatewayAuth = GatewayAuth()
    limits: SeoulDay = SeoulDay()

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/{self.operation}".rstrip("/")


class DataGoKrSource(GatewaySource):
    """`source:` of one operation of the gateway."""

    protocol: Literal["data_go_kr"]


class DataGoKr(Protocol[GatewaySource]):
    """Pages of `items` in an envelope that says, with status 200, whether it went well."""

    name: ClassVar[str] = "data_go_kr"
    Source: ClassVar[type[SourceBase]] = DataGoKrSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: GatewaySource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: GatewaySource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        query = query_of(source, step)  # without empty ones: they can bring error 04
        if source.format is not None:
            query[source.format.param] = source.format.value
        query[source.paging.page_param] = str(cursor.page)
        query[source.paging.size_param] = str(source.paging.size)
        safe = "[]" if source.literal_brackets else ""
        pairs = query_string(query, safe_in_names=safe)
        url, headers = keyed(f"{source.address}?{pairs}", {}, source.auth)
        return Request(url, headers=headers, step=step.ordinal, page=cursor.page)

    def classify(self, source: GatewaySource, request: Request, response: Response) -> Outcome:
        plain = by_plain_text(response.head, response.length)
        if plain is not None:
            return plain
        envelope = envelope_of(response, source.records.path, source.paging.total)
        by = by_status(response.status, response.headers)
        if envelope is not None and envelope.code is not None and not is_success(envelope.code, source.success_codes):
            said = by_code(envelope.code, envelope.message, source.nodata)
            # a code that only says "unknown" tells less than a status that refuses
            return by if by is not None and isinstance(said, Malformed) else said
        if by is not None:
            return by
        if response.length == 0:
            return Malformed("an empty body with status 200: paging.size may be above the service's cap")
        if not response.complete:
            return Transient("the connection ended before the end of the page")
        if kind_of(response.head) == "html":
            return Malformed("an HTML page in place of the envelope")
        if envelope is None:
            return Malformed("no envelope of the gateway: neither JSON nor XML with a result code")
        return self._page(source, request, envelope)

    def _page(self, source: GatewaySource, request: Request, envelope: Envelope) -> Outcome:
        if not envelope.ended:
            return Transient("the page is cut off: its envelope does not end")
        if envelope.code is None:
            return Malformed("an envelope without a result code")
        if envelope.total is None and not envelope.has_items:
            return Malformed("a success without items and total")
        if envelope.total == 0 and request.page == 1:
            return Empty("totalCount 0")
        return Ok(PageInfo(total=envelope.total, page_size=envelope.page_size, page_number=envelope.page_number))

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        if parts.hostname != "apis.data.go.kr":
            return None
        base, _, operation = parts.path.rstrip("/").rpartition("/")
        query = dict(parse_qsl(parts.query))
        paging = {"pageNo", "numOfRows", "serviceKey", "ServiceKey"}
        given = {name: value for name, value in query.items() if name not in paging}
        switch = next((name for name, value in given.items() if value.lower() == "json"), None)
        source: dict[str, Any] = {"protocol": self.name, "base_url": f"https://{parts.hostname}{base}", "operation": operation}
        if switch is not None:
            source["format"] = {"param": switch, "value": given.pop(switch)}
        return source | ({"params": given} if given else {})

    def parse(self, feed: Feed, source: GatewaySource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.json_reader import stream_of  # loads Arrow: not at definition load
        from assets.tables.readers.open import order_of

        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in bodies:
                yield from items_of(body.payload, source.records.path, source.records.item_key, order)

        return stream_of(records(), order, "utf-8")


PROTOCOL = DataGoKr()
