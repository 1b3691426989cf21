"""What a page of RDF says by DCAT and Hydra: its data sets as records, how many there are, and where the next page is.

The same page gives the same records in the same order, in whatever order its statements stand. Bytes to statements is
`rdf_reader.py`; what a link may lead to is the protocol's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from rdflib import BNode, Graph, URIRef
from rdflib import Literal as Text
from rdflib.term import Node

from assets.tables.readers.rdf_reader import RdfFormat, graph_of

DCAT, DCT, FOAF = "http://www.w3.org/ns/dcat#", "http://purl.org/dc/terms/", "http://xmlns.com/foaf/0.1/"
RDF, RDFS = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://www.w3.org/2000/01/rdf-schema#"
SKOS = "http://www.w3.org/2004/02/skos/core#"
HYDRA, VCARD = "http://www.w3.org/ns/hydra/core#", "http://www.w3.org/2006/vcard/ns#"
_NAMES = (
    f"{FOAF}name",
    f"{VCARD}fn",
    f"{VCARD}organization-name",
    f"{SKOS}prefLabel",
    f"{RDFS}label",
    f"{DCT}title",
    f"{RDF}value",
)
_FORMATS, _ADDRESSES = (f"{DCT}format", f"{DCAT}mediaType"), (f"{DCAT}downloadURL", f"{DCAT}accessURL")
_CODE = re.compile(r"(?:/authority/[^/]+/|/media-?types/|/lang/|/iso639-\d/|/frequency/)([^\s#?]+)$", re.IGNORECASE)


@dataclass(frozen=True)
class DcatPage:
    """`catalogue`: whether it names one; `next`: the links to the next page as they stand there; `totals`: as Hydra has them."""

    records: tuple[dict[str, Any], ...] = ()
    catalogue: bool = False
    next: tuple[str, ...] = ()
    totals: tuple[int, ...] = ()


@lru_cache(maxsize=1)
def read_page(data: bytes, form: RdfFormat, base: str, languages: tuple[str, ...], contexts: str) -> DcatPage:
    """One document. `languages`: which to choose, the first one first; `contexts`: JSON. Raises NotRdf.

    The last page is kept, because its rows and its digest are asked for one after the other.
    """
    says = _Says(graph_of(data, form, base, json.loads(contexts)), languages)
    return DcatPage(
        tuple(says.record(dataset) for dataset in says.datasets()),
        bool(says.typed(f"{DCAT}Catalog")),
        tuple(sorted({str(o).strip() for name in ("next", "nextPage") for o in says.of(None, HYDRA + name)} - {""})),
        tuple(
            sorted({int(_clean(o)) for o in says.of(None, f"{HYDRA}totalItems") if re.fullmatch(r"\d{1,15}", _clean(o), re.ASCII)})
        ),
    )


@dataclass(frozen=True)
class _Says:
    """A graph, and in which language it is asked."""

    graph: Graph
    languages: tuple[str, ...] = field(default=())

    def of(self, subject: Node | None, *predicates: str) -> list[Node]:
        """The objects of the first predicate that has any, in order; those that have no name come last, in none."""
        for predicate in predicates:
            if found := list(self.graph.objects(subject, URIRef(predicate))):
                return sorted(found, key=lambda node: (isinstance(node, BNode), "" if isinstance(node, BNode) else str(node)))
        return []

    def typed(self, kind: str) -> set[Node]:
        return set(self.graph.subjects(URIRef(f"{RDF}type"), URIRef(kind)))

    def datasets(self) -> list[Node]:
        """Those that are called data sets, and those that a catalogue lists and the page describes; no catalogue on its own."""
        listed = {node for node in self.of(None, f"{DCAT}dataset") if (node, None, None) in self.graph}
        found = listed | (self.typed(f"{DCAT}Dataset") - self.typed(f"{DCAT}Catalog"))
        # A data set without a name of its own comes in the order of what it says.
        named = sorted(str(n) for n in found if not isinstance(n, BNode))
        nameless = sorted((n for n in found if isinstance(n, BNode)), key=lambda n: json.dumps(self.record(n), sort_keys=True))
        return [*map(URIRef, named), *nameless]

    def record(self, dataset: Node) -> dict[str, Any]:
        """One data set. Lists are sorted; what is not said is null."""
        distributions = self.of(dataset, f"{DCAT}distribution")
        title, language = self._chosen(self.of(dataset, f"{DCT}title"))
        licences = self._labels(self.of(dataset, f"{DCT}license"))
        inner = {label for one in distributions for label in self._labels(self.of(one, f"{DCT}license"))}
        publishers = self.of(dataset, f"{DCT}publisher")
        dates = {name: self._texts(self.of(dataset, f"{DCT}{name}")) for name in ("issued", "modified")}
        every = sorted({*licences, *inner})
        return {
            "uri": None if isinstance(dataset, BNode) else str(dataset),
            "identifier": _first(self._texts(self.of(dataset, f"{DCT}identifier"))),
            "title": _first(title),
            "title_language": language if title else None,
            "description": _first(self._chosen(self.of(dataset, f"{DCT}description"))[0]),
            "publisher": _first(self._labels(publishers)),
            "publisher_uri": _first(str(node) for node in publishers if isinstance(node, URIRef)),
            "issued": _first(dates["issued"]),
            "modified": _first(reversed(dates["modified"])),
            "licence": _first(licences) or (every[0] if len(every) == 1 else None),
            "licences": every,
            "access_rights": _first(self._labels(self.of(dataset, f"{DCT}accessRights"))),
            "themes": self._labels(self.of(dataset, f"{DCAT}theme"), addresses=True),
            "keywords": self._chosen(self.of(dataset, f"{DCAT}keyword"))[0],
            "languages": self._codes(self.of(dataset, f"{DCT}language")),
            "frequency": _first(self._codes(self.of(dataset, f"{DCT}accrualPeriodicity"))),
            "landing_page": _first(self._labels(self.of(dataset, f"{DCAT}landingPage"), addresses=True)),
            "distributions": len(distributions),
            "formats": sorted({code for one in distributions for code in self._codes(self.of(one, *_FORMATS))}),
            "urls": sorted({url for one in distributions for url in self._texts(self.of(one, *_ADDRESSES))}),
        }

    def _chosen(self, values: Iterable[Node]) -> tuple[list[str], str | None]:
        """The texts in the language that is wanted most, else in none, else in the first of the alphabet; and the language."""
        by: dict[str, set[str]] = {}
        for value in values:
            text = _clean(value)
            if text and not isinstance(value, BNode):
                by.setdefault(((value.language if isinstance(value, Text) else None) or "").lower(), set()).add(text)
        for wanted in (language.lower() for language in self.languages):
            for tag in (wanted, *sorted(tag for tag in by if tag.startswith(f"{wanted}-"))):
                if tag in by:
                    return sorted(by[tag]), tag
        tag = min(by, default="")
        return sorted(by.get(tag, ())), tag or None

    def _texts(self, values: Iterable[Node]) -> list[str]:
        return sorted({text for value in values if not isinstance(value, BNode) and (text := _clean(value))})

    def _label(self, node: Node) -> str | None:
        """A text as it is, of a thing its name, else its address."""
        if isinstance(node, Text):
            return _clean(node) or None
        for name in _NAMES:
            if texts := self._chosen(self.of(node, name))[0]:
                return texts[0]
        return None if isinstance(node, BNode) else str(node)

    def _labels(self, nodes: Iterable[Node], addresses: bool = False) -> list[str]:
        """The names, sorted. `addresses`: of a thing that has one its address, which stays when names change."""
        found = (str(node) if addresses and isinstance(node, URIRef) else self._label(node) for node in nodes)
        return sorted({label for label in found if label})

    def _codes(self, nodes: Iterable[Node]) -> list[str]:
        """Codes of authority tables (CSV, WEEKLY, DEU) and media types out of their addresses, other names as they are."""
        labels = self._labels(nodes, addresses=True)
        return sorted({unquote(match[1]) if (match := _CODE.search(label)) else label for label in labels})


def _clean(value: Node) -> str:
    return str(value).strip()


def _first(values: Iterable[str]) -> str | None:
    iterator: Iterator[str] = iter(values)
    return next(iterator, None)
