"""DCAT-AP catalogues in RDF: `catalog.ttl`, `.rdf`, `.jsonld`, page by page along Hydra's links (protocols.md 3.16).

Here are the request and what a page must be. What its links mean is `dcat_rdf_links.py`; reading RDF of strangers, and data sets
out of it, is `tables/readers/`; that the pages add up, and end, is the kernel's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, model_validator

from assets.errors import UnreadableSource
from assets.protocols.answers.canonical import value_sha256
from assets.protocols.answers.dcat_rdf_links import BadLinks, page_info
from assets.protocols.answers.http_answers import by_status, keyed
from assets.protocols.answers.json_answers import asked
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
from assets.protocols.queries import QuerySource, fill, query_of, steps_of
from assets.tables.readers.magic import NAMES, kind_of

if TYPE_CHECKING:
    from assets.feeds.model import Feed
    from assets.tables.readers.batches import Order
    from assets.tables.readers.dcat_reader import DcatPage
    from assets.tables.rows import RowStream

Form = Literal["ttl", "rdf", "jsonld", "nt"]
_FORMS: dict[str, Form] = {"ttl": "ttl", "rdf": "rdf", "xml": "rdf", "jsonld": "jsonld", "json": "jsonld", "nt": "nt"}
_ACCEPT = {"ttl": "text/turtle", "rdf": "application/rdf+xml", "jsonld": "application/ld+json", "nt": "application/n-triples"}
_KIND = {"ttl": "text", "rdf": "xml", "jsonld": "json", "nt": "text"}
_STATEMENT = re.compile(
    rb"\s*(?:<(?:[#/?][^<>\s]*|[a-z][a-z0-9+.\-]*://[^<>\s]*|urn:[^<>\s]*)?>\s|\[\s*(?:\]\s+\w|a\s|<|[A-Za-z][\w.\-]*:))"
)
_ENDS: dict[str, tuple[bytes, ...]] = {"rdf": (b">",), "jsonld": (b"}", b"]")}


class DcatRdfSource(QuerySource):
    """`source:` of one catalogue, or of data sets by their own addresses."""

    protocol: Literal["dcat_rdf"]
    url: str = Field(pattern=r"^https?://[^\s/?#{}]+[^\s]*$", description="Address of the catalogue's first page; may hold places.")
    format: Form | None = Field(
        None, description="ttl (Turtle), rdf (RDF/XML), jsonld or nt (N-Triples); default: by the end of the address."
    )
    languages: tuple[str, ...] = Field(
        ("en",),
        description="Which language to choose where texts come in several; else one without language, else the alphabet's first.",
    )
    check_total: bool = Field(True, description="Whether the rows must be as many as hydra:totalItems says.")
    volatile: tuple[str, ...] = Field(
        (), description="Columns that make no news alone: modified, where a portal writes today's date on every data set."
    )
    contexts: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="JSON-LD contexts that pages refer to, by address: term → IRI. None is ever fetched."
    )
    max_page_bytes: int = Field(
        32 * 1024**2, gt=0, le=512 * 1024**2, description="Largest page: the statements of one are held in memory."
    )

    @model_validator(mode="after")
    def _form_known(self) -> DcatRdfSource:
        if self.format is None and _form_of(self.url) is None:
            raise ValueError("'format' is needed: the address ends with none of .ttl, .rdf, .xml, .jsonld, .json, .nt")
        if any(not re.fullmatch(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*", language) for language in self.languages):
            raise ValueError("languages: write them as RDF does: en, de, pt-BR")
        return self

    @property
    def address(self) -> str:
        return self.url

    @property
    def form(self) -> Form:
        return self.format or _form_of(self.url) or "ttl"


class DcatRdf(Protocol[DcatRdfSource]):
    """Pages of a catalogue, each read on its own: never one great graph."""

    name: ClassVar[str] = "dcat_rdf"
    Source: ClassVar[type[SourceBase]] = DcatRdfSource
    paged: ClassVar[bool] = True

    def plan(self, feed: Feed, source: DcatRdfSource, when: When) -> Iterable[Step]:
        return steps_of(feed, source, when)

    def request(self, feed: Feed, source: DcatRdfSource, step: Step, cursor: Cursor, validators: Validators) -> Request:
        headers = {"Accept": _ACCEPT[source.form]}
        if cursor.token is not None:
            url, sent = keyed(cursor.token, headers, source.auth)
            return Request(url, headers=sent, step=step.ordinal, page=cursor.page)
        base, mark, rest = fill(source.url, step).partition("?")
        query = dict(parse_qsl(rest, keep_blank_values=True)) if mark else {}
        return asked(base, query | query_of(source, step), source.auth, step, cursor, safe=":,;*/", headers=headers)

    def classify(self, source: DcatRdfSource, request: Request, response: Response) -> Outcome:
        by = by_status(response.status, response.headers)
        if by is not None:
            return by
        if response.length == 0:
            return Malformed("an empty body in place of a catalogue")
        if not response.complete:
            return Transient("the connection ended before the end of the page")
        kind, form = kind_of(response.head), source.form
        if kind != _KIND[form] and not (_KIND[form] == "text" and kind in ("xml", "json") and _is_turtle(response.head)):
            return Malformed(f"{NAMES[kind]} in place of {_ACCEPT[form]}")
        if response.length > source.max_page_bytes:
            return Malformed(f"a page of {response.length:,} bytes; source.max_page_bytes allows {source.max_page_bytes:,}")
        if form in _ENDS and not response.tail.rstrip(b"\x00 \t\r\n").endswith(_ENDS[form]):
            return Transient("the page is cut off: it does not end")
        return Ok()  # how many, and what is next, may stand anywhere in it: `parse` tells

    def parse(self, feed: Feed, source: DcatRdfSource, bodies: Sequence[Body]) -> RowStream:
        from assets.tables.readers.json_reader import stream_of  # loads Arrow: not at definition load
        from assets.tables.readers.open import order_of

        order = order_of(feed)

        def records() -> Iterator[Any]:
            for body in bodies:
                page = _page(source, body, order)
                try:
                    stream.page = _info(source, body, page)
                except BadLinks as error:
                    raise order.refuse(str(error), error.mend) from None
                yield from page.records

        stream = stream_of(records(), order, "utf-8")
        return stream

    def canonical_sha256(self, source: DcatRdfSource, body: Body) -> str | None:
        """Of the data sets as they are read: the order of statements, and the names of nodes without one, are new each time."""
        from assets.tables.readers.batches import Order

        try:
            page = _page(source, body, Order(()))
        except UnreadableSource:
            return None
        return value_sha256([*page.records], source.volatile)

    def recognise(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        last = re.search(r"/(?:catalog|catalogue|dataset/[^/]+)\.(ttl|rdf|xml|jsonld|nt)$", parts.path)
        if last is None or parts.scheme not in ("http", "https") or not parts.hostname:
            return None
        query = {n: v for n, v in parse_qsl(parts.query) if n in ("modified_since", "q", "fq", "profiles")}
        source = {"protocol": self.name, "url": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"}
        return source | ({"params": query} if query else {})


def _form_of(url: str) -> Form | None:
    return _FORMS.get(urlsplit(url).path.rpartition(".")[2].lower())


def _is_turtle(head: bytes) -> bool:
    """Statements may begin with an address in angle brackets, or a node in square ones, as XML and JSON do."""
    return _STATEMENT.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def _page(source: DcatRdfSource, body: Body, order: Order) -> DcatPage:
    """What the page says. Raises UnreadableSource."""
    from assets.tables.readers.dcat_reader import read_page  # loads rdflib
    from assets.tables.readers.rdf_reader import NotRdf

    size = body.payload.size
    if not 0 < size <= source.max_page_bytes:
        raise order.refuse(f"a page of {size:,} bytes", "look at the archived body; source.max_page_bytes is the largest")
    try:
        page = read_page(body.payload.read_bytes(), source.form, body.url, source.languages, json.dumps(source.contexts))
    except NotRdf as error:
        raise order.refuse(f"a page is no catalogue: {error}", "look at the archived body") from None
    if not page.records and not page.catalogue:
        raise order.refuse("a page without a data set and without a catalogue", "look at the archived body; correct source.url")
    return page


def _info(source: DcatRdfSource, body: Body, page: DcatPage) -> PageInfo:
    key = source.auth.name if source.auth.kind == "query_key" else None
    return page_info(
        page=body.page, found=len(page.records), links=page.next, totals=page.totals,
        here=body.url, home=source.url, key=key, counted=source.check_total,
    )  # fmt: skip


PROTOCOL = DcatRdf()
