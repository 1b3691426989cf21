"""A portal's catalogue in RDF over the rows of a JSON list, as ckanext-dcat serves it: pages, links, changes (protocols.md 3.16).

It writes its own Turtle, RDF/XML, JSON-LD and N-Triples, statements in another order and nodes under other names in each answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from xml.sax.saxutils import escape, quoteattr

from pydantic import Field

from deploy.agency.engine import Asked, Engine, Row, rows_of
from deploy.agency.replies import Reply, text
from quality.contract import Strict

if TYPE_CHECKING:
    from deploy.agency.routes import Route, Source

PREFIXES = {
    "dcat": "http://www.w3.org/ns/dcat#", "dct": "http://purl.org/dc/terms/", "foaf": "http://xmlns.com/foaf/0.1/",
    "hydra": "http://www.w3.org/ns/hydra/core#", "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}  # fmt: skip
TYPES = {
    "ttl": "text/turtle; charset=utf-8", "rdf": "application/rdf+xml; charset=utf-8", "xml": "application/rdf+xml; charset=utf-8",
    "jsonld": "application/ld+json; charset=utf-8", "nt": "application/n-triples",
}  # fmt: skip
BOMB = b'<?xml version="1.0"?>\n<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n<r>&b;</r>\n'
Node = str
"""An address in angle brackets, a nameless node (_:b1), or a text in quotes with its language or type behind it (N-Triples)."""
Triple = tuple[Node, str, Node]
"""Subject, predicate by its prefix, object."""


class PortalOptions(Strict):
    """`hydra`: which words lead to the next page; `site`: what the portal believes to be its own address."""

    hydra: Literal["old", "new", "both", "none"] = "old"
    size: int = Field(100, gt=0, description="Data sets of a page.")
    site: str | None = None


class Portal(Engine):
    """/catalog.FORMAT and /dataset/ID.FORMAT below the route's path."""

    name: ClassVar[str] = "dcat_rdf"
    Options: ClassVar[type[Strict]] = PortalOptions
    PREFIX: ClassVar[bool] = True
    FAULTS: ClassVar[frozenset[str]] = frozenset(
        {
            "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl", "no_data", "total_wrong", "no_total",
            "links_inside", "links_in_a_circle", "links_end", "link_with_a_secret", "remote_context", "entity_bomb",
        }
    )  # fmt: skip

    def answer(self, route: Route, source: Source, asked: Asked) -> Reply:
        options = route.settings
        assert isinstance(options, PortalOptions)
        name, _, form = asked.path.rpartition("/")[2].rpartition(".")
        if form not in TYPES:
            return text(404, "404 Not Found")
        if asked.fault("entity_bomb"):
            return Reply(200, {"content-type": TYPES["rdf"]}, BOMB)
        rows = [] if asked.fault("no_data") else list(rows_of(source))
        asked.memory["answers"] = count = asked.memory.get("answers", 0) + 1
        if "/dataset/" in asked.path:
            rows = [row for row in rows if row["uri"].rpartition("/")[2] == name]
            triples = _dataset(rows[0], "_:n") if rows else []
            return _reply(triples, form, count, asked) if triples else text(404, "404 Not Found")
        try:
            number = int(asked.params.get("page") or "1")
            since = date.fromisoformat((asked.params.get("modified_since") or "0001-01-01")[:10]).isoformat()
        except ValueError:
            number, since = 0, ""
        if number < 1:
            return text(409, "Page param must be a positive integer starting in 1")
        rows = [row for row in rows if (row.get("modified") or "") >= since]
        return _reply(_catalogue(route, options, rows, number, asked), form, count, asked)


def _catalogue(route: Route, options: PortalOptions, rows: list[Row], number: int, asked: Asked) -> list[Triple]:
    """One page: its data sets, the catalogue that lists them, and the links."""
    size, total = options.size, len(rows)
    if asked.fault("duplicate_rows_between_pages"):
        rows = [rows[i - 1] if i and i % size == 0 else row for i, row in enumerate(rows)]
    last = max(1, -(-total // size))
    at = 1 if asked.fault("offset_ignored") else number
    page = rows[(at - 1) * size : at * size]
    site = options.site or f"https://{route.host}"
    catalogue, triples = f"<{site}>", [(f"<{site}>", "rdf:type", "<dcat:Catalog>"), (f"<{site}>", "dct:title", '"Catalogue"')]
    for n, row in enumerate(page):
        described = _dataset(row, f"_:d{n}x")
        triples += [(catalogue, "dcat:dataset", described[0][0]), *described]
    if not total or options.hydra == "none":
        return triples  # ckanext-dcat has no links where nothing was found
    following = number + 1 if number < last else None
    if asked.fault("links_in_a_circle") and number == last and last > 1:
        following = max(1, last - 1)
    if (ends := asked.fault("links_end")) and number >= ends.number(1):
        following = None
    if (changes := asked.fault("total_changes_mid_crawl")) and number > 1 and changes.count <= changes.number(2):
        total += number
    if asked.fault("total_wrong"):
        total += 3
    counted = None if asked.fault("no_total") else total
    return triples + _links(options.hydra, _address(site, asked), catalogue, number, following, counted)


def _address(site: str, asked: Asked) -> str:
    """This page's address as the portal believes it to be, up to the page's number."""
    site = "http://ckan.internal:5000" if asked.fault("links_inside") else site
    kept = "".join(f"{n}={v}&" for n, v in asked.params.items() if n != "page")
    return f"{site}{asked.path}?{kept}" + ("x={secret:OTHER_KEY}&" if asked.fault("link_with_a_secret") else "") + "page="


def _links(hydra: str, address: str, catalogue: Node, number: int, following: int | None, total: int | None) -> list[Triple]:
    here, found = f"<{address}{number}>", list[Triple]()
    if hydra == "new":
        found += [(catalogue, "rdf:type", "<hydra:Collection>"), (catalogue, "hydra:view", here)]
        found += [(here, "rdf:type", "<hydra:PartialCollectionView>"), (here, "hydra:first", f"<{address}1>")]
    else:
        found += [(here, "rdf:type", "<hydra:PagedCollection>"), (here, "hydra:firstPage", f'"{address}1"')]
    if total is not None:
        found.append((catalogue if hydra == "new" else here, "hydra:totalItems", f'"{total}"^^<xsd:integer>'))
    if following is not None:
        # The old words stand before texts, the new ones before addresses.
        found += [(here, "hydra:next", f"<{address}{following}>")] if hydra == "new" else []
        found += [(here, "hydra:nextPage", f'"{address}{following}"')] if hydra != "new" else []
        found += [(here, "hydra:next", f'"{address}{following}"')] if hydra == "both" else []
    return found


def _dataset(row: Row, nameless: str) -> list[Triple]:
    """A data set's statements; the first has it as its subject."""
    it = f"<{row['uri']}>" if row.get("uri") else f"{nameless}s"
    found: list[Triple] = [(it, "rdf:type", "<dcat:Dataset>")]
    for name, predicate in (("title", "dct:title"), ("description", "dct:description"), ("keywords", "dcat:keyword")):
        found += [(it, predicate, literal) for literal in _texts(row.get(name))]
    for name in ("issued", "modified"):
        if row.get(name):
            found.append((it, f"dct:{name}", f"{_quoted(row[name])}^^<xsd:{'dateTime' if 'T' in row[name] else 'date'}>"))
    if row.get("identifier"):
        found.append((it, "dct:identifier", _quoted(row["identifier"])))
    if row.get("publisher"):
        agent = f"{nameless}p"
        found += [(it, "dct:publisher", agent), (agent, "rdf:type", "<foaf:Agent>")]
        found += [(agent, "foaf:name", literal) for literal in _texts(row["publisher"])]
    found += [(it, "dcat:theme", f"<{theme}>") for theme in row.get("themes", ())]
    found += [(it, "dct:license", f"<{row['licence']}>")] if row.get("licence") else []
    for n, file in enumerate(row.get("distributions", ())):
        one = f"<{row['uri']}/resource/{n}>" if row.get("uri") else f"{nameless}r{n}"
        found += [(it, "dcat:distribution", one), (one, "rdf:type", "<dcat:Distribution>")]
        found += [(one, "dcat:accessURL", f"<{file['url']}>")] if file.get("url") else []
        for name, predicate in (("format", "dct:format"), ("media", "dcat:mediaType"), ("licence", "dct:license")):
            if value := file.get(name):
                found.append((one, predicate, f"<{value}>" if value.startswith("http") else _quoted(value)))
    return found


def _texts(value: Any) -> list[Node]:
    """A text, a list of texts, or either by language."""
    if isinstance(value, dict):
        return [f"{literal}@{language}" for language, inner in value.items() for literal in _texts(inner)]
    return [_quoted(one) for one in (value if isinstance(value, list) else [value] if value else [])]


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- the four ways to write it ----------------------------------------------------------------------------------------------


def _reply(triples: Sequence[Triple], form: str, count: int, asked: Asked) -> Reply:
    chance = random.Random(count)  # noqa: S311
    order = chance.sample(list(triples), len(triples))
    renamed = [(_renamed(s, count), p, _renamed(o, count)) for s, p, o in order]
    body = written(renamed, form, remote=asked.fault("remote_context") is not None)
    return Reply(200, {"content-type": TYPES[form]}, body.encode())


def written(triples: Sequence[Triple], form: str, *, remote: bool = False) -> str:
    """The statements as a document. `remote`: JSON-LD whose context is elsewhere."""
    if form == "jsonld":
        return _json(triples, remote)
    return {"nt": _lines, "ttl": _turtle, "rdf": _xml, "xml": _xml}[form](triples)


def _renamed(node: Node, count: int) -> Node:
    return f"{node}q{count}" if node.startswith("_:") else node


def _whole(node: Node) -> Node:
    """The node with prefixes written out."""
    before, mark, address = node.rpartition("<")
    prefix, colon, name = address[:-1].partition(":")
    return f"{before}<{PREFIXES[prefix]}{name}>" if mark and colon and prefix in PREFIXES else node


def _lines(triples: Iterable[Triple]) -> str:
    return "".join(f"{_whole(s)} {_whole(f'<{p}>')} {_whole(o)} .\n" for s, p, o in triples)


def _turtle(triples: Iterable[Triple]) -> str:
    head = "".join(f"@prefix {prefix}: <{address}> .\n" for prefix, address in PREFIXES.items())
    return head + "".join(f"{_whole(s)} {p} {_whole(o)} .\n" for s, p, o in triples)


def _parts(node: Node) -> tuple[str, str, str]:
    """A literal's text, language and type."""
    end = node.rindex('"')
    mark = node[end + 1 :]
    return json.loads(node[: end + 1]), mark[1:] if mark.startswith("@") else "", mark[3:-1] if mark.startswith("^^") else ""


def _xml(triples: Iterable[Triple]) -> str:
    names = " ".join(f"xmlns:{prefix}={quoteattr(address)}" for prefix, address in PREFIXES.items())
    out = []
    for s, p, o in triples:
        about = f"rdf:nodeID={quoteattr(s[2:])}" if s.startswith("_:") else f"rdf:about={quoteattr(_whole(s)[1:-1])}"
        if o.startswith('"'):
            said, language, kind = _parts(_whole(o))
            mark = f" xml:lang={quoteattr(language)}" if language else f" rdf:datatype={quoteattr(kind)}" if kind else ""
            inner = f"<{p}{mark}>{escape(said)}</{p}>"
        else:
            place = f"rdf:nodeID={quoteattr(o[2:])}" if o.startswith("_:") else f"rdf:resource={quoteattr(_whole(o)[1:-1])}"
            inner = f"<{p} {place}/>"
        out.append(f"<rdf:Description {about}>{inner}</rdf:Description>\n")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<rdf:RDF {names}>\n{"".join(out)}</rdf:RDF>\n'


def _json(triples: Iterable[Triple], remote: bool) -> str:
    nodes: dict[str, dict[str, Any]] = {}
    for s, p, o in triples:
        node = nodes.setdefault(s, {"@id": s if s.startswith("_:") else _whole(s)[1:-1]})
        if o.startswith('"'):
            said, language, kind = _parts(o)
            value: dict[str, Any] = {"@value": said} | ({"@language": language} if language else {"@type": kind} if kind else {})
        else:
            value = {"@id": o if o.startswith("_:") else _whole(o)[1:-1]}
        node.setdefault(p, []).append(value)
    context = "https://elsewhere.example/dcat.jsonld" if remote else PREFIXES
    return json.dumps({"@context": context, "@graph": list(nodes.values())}, ensure_ascii=False)


ENGINE = Portal()
