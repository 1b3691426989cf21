"""`api.odcloud.kr`: uploaded files turned into APIs, and some agencies' own services (protocols.md 2.3).

Here are its parameters, its negative codes, the choice of the newest edition, and services that are asked by POST. Its gateway's
own errors, in XML, JSON or one line of text, are `gateway_envelope.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from assets.protocols.answers.gateway_envelope import by_code, by_plain_text, envelope_of, is_success
from assets.protocols.answers.http_answers import by_status, keyed, query_string
from assets.protocols.answers.json_answers import in_words, odd_body
from assets.protocols.answers.json_pages import Around, around, rows_of_pages
from assets.protocols.answers.odcloud_editions import newest
from assets.protocols.data_go_kr import GatewayAuth
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
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
    Validators,
    When,
)
from assets.protocols.queries import QuerySource, places_of, query_of, steps_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.rows import RowStream

_CODES: dict[int, tuple[type[AuthFailed] | type[Gone], str]] = {
    -4: (AuthFailed, "code -4: the key is unknown, or this service was not applied for"),
    -401: (AuthFailed, "code -401: the key is not valid"),
    -3: (Gone, "code -3: no such service; the path is retired, or the data set is only to be had as a file"),
}
_CONDITION = re.compile(r"cond\[[^\[\]]+::(EQ|LIKE|LT|LTE|GT|GTE)\]")
_SWAGGER_BYTES = 16 * 1024 * 1024


class OdcloudAuth(GatewayAuth):
    """The portal's key, in the address or in a header, which has a name of its own."""

    @model_validator(mode="after")
    def _in_a_header(self) -> OdcloudAuth:
        wanted = self.kind == "header_key" and "name" not in self.model_fields_set
        return self.model_copy(update={"name": "Authorization"}) if wanted else self


class OdcloudSource(QuerySource):
    """`source:` of one file turned API, or of one operation of an agency's service."""

    protocol: Literal["odcloud"]
    base_url: str = Field("https://api.odcloud.kr/api", pattern=r"^https?://[^\s?#]+$", description="Where all of them are.")
    path: str = Field(
        pattern=r"^[A-Za-z0-9_.:\-]+(/[A-Za-z0-9_.:\-]+)+$",
        description="15012890/v1/uddi:… or {service}/v1/{operation}; with edition: newest the namespace alone, 15012890/v1.",
    )
    edition: Literal["pinned", "newest"] = Field(
        "pinned", description="newest: ask the Swagger document for the uddi whose title has the latest date."
    )
    swagger: str = Field(
        "https://infuser.odcloud.kr/oas/docs",
        pattern=r"^https?://[^\s?#]+$",
        description="Where the Swagger documents are.",
    )
    size: int = Field(100, gt=0, le=10_000, description="Rows of a page (perPage).")
    literal_brackets: bool = Field(False, description="Send [ ] of cond[column::OP] as they are, for services that refuse %5B.")
    body: dict[str, tuple[str, ...]] | None = Field(
        None, description="A service that is asked by POST: one name with the list of what is asked, like b_no."
    )
    batch: int = Field(100, gt=0, le=100, description="Values of `body` in one call.")
    auth: OdcloudAuth = OdcloudAuth()
    limits: SeoulDay = SeoulDay()

    @field_validator("params")
    @classmethod
    def _conditions(cls, params: dict[str, Any]) -> dict[str, Any]:
        for name in params:
            if name.startswith("cond") and not _CONDITION.fullmatch(name):
                raise ValueError(f"'{name}' is no condition: write cond[column::OP], OP one of EQ, LIKE, LT, LTE, GT, GTE")
        return params

    @model_validator(mode="after")
    def _consistent(self) -> OdcloudSource:
        if self.body is not None and (len(self.body) != 1 or not all(self.body.values())):
            raise ValueError("body has one name with a list of values that is not empty, like {b_no: ['0000000000']}")
        if self.body is not None and self.edition == "newest":
            raise ValueError("edition: newest belongs to files, which are not asked by POST")
        if self.edition == "newest" and "uddi:" in self.path:
            raise ValueError("edition: newest takes the namespace alone (15012890/v1) as path: the uddi is what it looks for")
        return self

    @property
    def address(self) -> str:
        return f"{self.base_url.rstrip('/')}/{self.path}"


class Odcloud(Protocol[OdcloudSource]):
    """Pages of `data` that count what matched."""

    name: ClassVar[str] = "odcloud"
    Source: ClassVar[type[SourceBase]] = OdcloudSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: OdcloudSource, when: When) -> Iterable[Step]:
        steps = steps_of(feed, source, when)
        if source.edition == "newest":
            return [Step(params={"steps": steps}, lead=True)]
        if source.body is None:
            return steps
        ((name, values),) = source.body.items()
        cuts = [values[n : n + source.batch] for n in range(0, len(values), source.batch)]
        return [replace(step, params={**step.params, "body": {name: cut}}) for step in steps for cut in cuts]

    def follow(self, feed: Feed, source: OdcloudSource, step: Step, body: Body) -> Iterable[Step]:
        with body.payload.open() as file:
            uddi = newest(file.read(_SWAGGER_BYTES), feed.id)
        # queries that move with time bring other rows of the same edition
        moving = source.window is not None or "since" in places_of(dict(source.params))
        return [
            replace(one, params={**one.params, "uddi": uddi}, stamp=None if moving else _stamp(uddi, query_of(source, one)))
            for one in step.params["steps"]
        ]

    def request(self, feed: Feed, source: OdcloudSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        if step.lead:
            return Request(f"{source.swagger}?namespace={quote(source.path, safe='')}", step=step.ordinal)
        query, sent, body = query_of(source, step), dict[str, str](), None
        if "body" in step.params:
            body, sent = json.dumps(step.params["body"], ensure_ascii=False).encode(), {"Content-Type": "application/json"}
        else:
            query |= {"page": str(cursor.page), "perPage": str(source.size)}
        query["returnType"] = "JSON"
        safe = "[]" if source.literal_brackets else ""
        pairs = query_string(query, safe_in_names=safe)
        where = source.address + (f"/{step.params['uddi']}" if "uddi" in step.params else "")
        url, headers = keyed(f"{where}?{pairs}", sent, source.auth)
        if source.auth.kind == "header_key" and (name := source.auth.name or "Authorization") in headers:
            headers[name] = f"Infuser {headers[name]}"
        return Request(url, "POST" if body else "GET", headers, body, step=step.ordinal, page=cursor.page)

    def classify(self, source: OdcloudSource, request: Request, response: Response) -> Outcome:
        plain = by_plain_text(response.head, response.length)
        if plain is not None:
            return plain
        by, seen = by_status(response.status, response.headers), around(response, "data")
        said = _said(response, seen)
        if said is not None:
            # what nobody has listed tells less than a status that refuses
            return by if by is not None and isinstance(said, Malformed) else said
        if by is not None:
            return by
        odd = odd_body(response, seen)
        if odd is not None:
            return odd
        assert seen is not None
        if request.url.startswith(f"{source.swagger}?"):
            return Ok() if seen.root == "{" else Malformed("no Swagger document in place of one")
        if not seen.records:
            return Malformed("neither rows (data) nor an error that is known")
        return _page(source, request, seen)

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        path = unquote(parts.path).removeprefix("/api/").strip("/")
        if parts.hostname != "api.odcloud.kr" or not parts.path.startswith("/api/") or "/" not in path:
            return None
        own = {"page", "perPage", "serviceKey", "returnType"}
        params = {name: value for name, value in parse_qsl(parts.query) if name not in own}
        return {"protocol": self.name, "path": path} | ({"params": params} if params else {})

    def parse(self, feed: Feed, source: OdcloudSource, bodies: Sequence[Body]) -> RowStream:
        return rows_of_pages(feed, bodies, ["data"])


def _stamp(uddi: str, query: Mapping[str, str]) -> str:
    """The edition and what is asked of it: with another condition, other rows of the same edition are wanted."""
    return f"{uddi}?{query_string(query)}" if query else uddi


def _said(response: Response, seen: Around | None) -> Outcome | None:
    """An error in the body, whatever stands beside it; None where it says none."""
    if seen is not None and (seen.text("swagger") or seen.text("openapi")):
        return None  # it may quote errors as examples
    if seen is not None:
        code = (seen.text("code") or "").strip()
        if re.fullmatch(r"-\d{1,9}", code):
            kind, why = _CODES.get(int(code), (None, ""))
            return kind(why) if kind else Malformed(f"code {code}: {in_words(seen.text('msg'))}")
        word = in_words(seen.text("status_code"), 60)
        if word and word != "OK":
            return (
                BadRequest(f"{word}: correct source.body") if word == "REQUEST_DATA_MALFORMED" else Malformed(f"status_code {word}")
            )
        if seen.records:
            return None
    envelope = envelope_of(response, "response.body.items", "response.body.totalCount")
    if envelope is None or envelope.code is None or is_success(envelope.code, None):
        return None
    return by_code(envelope.code, envelope.message)


def _page(source: OdcloudSource, request: Request, seen: Around) -> Outcome:
    if request.method == "POST":
        # each value asked for is answered
        return Ok(PageInfo(total=seen.number("request_cnt"), page_size=source.batch + 1))
    total = seen.number("matchCount")  # totalCount is of all rows, whatever the conditions
    if total is None and "cond%5B" not in request.url and "cond[" not in request.url:
        total = seen.number("totalCount")
    if total is None:
        return Malformed("no matchCount: how many rows there are is not known")
    if total == 0 and request.page == 1:
        return Empty("matchCount 0")
    return Ok(PageInfo(total=total, page_size=seen.number("perPage"), page_number=seen.number("page")))


PROTOCOL = Odcloud()
