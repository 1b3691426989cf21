"""RDF of strangers as a graph: Turtle, RDF/XML, JSON-LD and N-Triples, by rdflib's own grammars, without what they do beyond that.

Nothing is fetched: remote JSON-LD contexts are refused, and so is every DOCTYPE, before an entity is read. Literals are their text
and their language: rdflib would turn `"1E999999999"^^xsd:decimal` into a gigabyte. What the graph says of data sets is
`dcat_reader.py`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Literal, NoReturn
from xml.sax import SAXParseException, make_parser
from xml.sax.handler import ErrorHandler, LexicalHandler, feature_external_ges, feature_namespaces, property_lexical_handler
from xml.sax.xmlreader import InputSource

from rdflib import Graph, URIRef
from rdflib import Literal as Text
from rdflib.plugins.parsers import jsonld, notation3, ntriples, rdfxml
from rdflib.plugins.shared.jsonld.context import Context

from assets.tables.readers.json_text import NotJson, loads

RdfFormat = Literal["ttl", "rdf", "jsonld", "nt"]
NAMES: Mapping[str, str] = {"ttl": "Turtle", "rdf": "RDF/XML", "jsonld": "JSON-LD", "nt": "N-Triples"}

# It writes addresses of the agency's data into the log.
logging.getLogger("rdflib.term").setLevel(logging.ERROR)


class NotRdf(ValueError):
    """Bytes that are no RDF of the format, or that ask for what is never done. Of them the message names a context at most."""


def graph_of(data: bytes, form: RdfFormat, base: str, contexts: Mapping[str, Any] | None = None) -> Graph:
    """The statements of one document; all but RDF/XML is UTF-8. `contexts`: of JSON-LD, by address. Raises NotRdf."""
    graph = Graph(store="SimpleMemory", bind_namespaces="none")
    read: dict[str, Callable[[], None]] = {
        "ttl": lambda: _turtle(graph, data, base),
        "rdf": lambda: _xml(graph, data, base),
        "jsonld": lambda: _json(graph, data, base, contexts or {}),
        "nt": lambda: _ntriples(graph, data),
    }
    try:
        read[form]()
    except NotRdf:
        raise
    except SAXParseException as error:
        raise NotRdf(f"no well-formed XML at line {error.getLineNumber()}") from None
    except notation3.BadSyntax as error:
        raise NotRdf(f"no Turtle at line {error.lines + 1}") from None
    except NotJson as error:
        raise NotRdf(str(error)) from None
    except RecursionError:
        raise NotRdf("values nested too deeply") from None
    except Exception as error:  # noqa: BLE001  rdflib raises whatever its code meets in hostile bytes
        raise NotRdf(f"no {NAMES[form]} that can be read ({type(error).__name__})") from None
    # Its prefixes hold on to the graph, which would outlive its page until a garbage collection.
    graph.namespace_manager = None  # type: ignore[assignment]
    return graph


_TAG = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")


def _tag(language: str | None) -> str | None:
    """A language tag as RDF has it: en_US is en-US; what is none counts for nothing."""
    tag = (language or "").strip().replace("_", "-")
    return tag if _TAG.fullmatch(tag) else None


def _text(value: Any, language: str | None = None) -> Text:
    return Text(str(value), lang=_tag(language))


# --- Turtle, N-Triples ------------------------------------------------------------------------------------------------------


class _Sink(notation3.RDFSink):
    def newLiteral(self, s: str, dt: Any = None, lang: str | None = None) -> Text:  # noqa: N802  rdflib's name
        return _text(s, lang)


def _turtle(graph: Graph, data: bytes, base: str) -> None:
    notation3.SinkParser(_Sink(graph), baseURI=base, turtle=True).loadBuf(data.decode("utf-8-sig"))


class _Lines(ntriples.W3CNTriplesParser):
    def literal(self) -> Any:
        if not self.peek('"'):
            return False
        text, language, _ = self.eat(ntriples.r_literal).groups()
        return _text(ntriples.unquote(text), language)


def _ntriples(graph: Graph, data: bytes) -> None:
    parser = _Lines(ntriples.NTGraphSink(graph))
    # Line by line: its own search for ends of lines is quadratic in the length of one.
    for line in re.split(r"[\r\n]+", data.decode("utf-8-sig")):
        parser.line = line
        parser.parseline()


# --- RDF/XML ----------------------------------------------------------------------------------------------------------------


class _NoDoctype(LexicalHandler):
    def startDTD(self, name: str, public_id: str | None, system_id: str | None) -> NoReturn:  # noqa: N802  SAX's name
        raise NotRdf("the XML has a DOCTYPE: entities are never expanded, and nothing is fetched")


class _Statements(rdfxml.RDFXMLHandler):
    """rdflib's, with literals as text, and one address or language that is none costing no page."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._inside: list[str] | None = None

    def startElementNS(self, name: Any, qname: Any, attrs: Any) -> None:  # noqa: N802  SAX's name
        if rdfxml.LANG in attrs:
            attrs = dict(attrs.items()) | {rdfxml.LANG: _tag(attrs[rdfxml.LANG])}
        super().startElementNS(name, qname, attrs)

    def absolutize(self, uri: str) -> Any:
        try:
            return super().absolutize(uri)
        except ValueError:  # http://[…
            return URIRef(uri)

    def property_element_start(self, name: Any, qname: Any, attrs: Any) -> None:
        super().property_element_start(name, qname, attrs)
        if isinstance(self.current.object, Text):
            self._inside = []

    def literal_element_start(self, name: Any, qname: Any, attrs: Any) -> None:
        after: Any = self.next
        after.start, after.char, after.end = self.literal_element_start, self.literal_element_char, self.literal_element_end

    def literal_element_char(self, data: str) -> None:
        if self._inside is not None:
            self._inside.append(data)

    def literal_element_end(self, name: Any, qname: Any) -> None:
        pass

    def property_element_end(self, name: Any, qname: Any) -> None:
        current: Any = self.current
        current.datatype = None
        if self._inside is not None and isinstance(current.object, Text):
            current.object, self._inside = _text("".join(self._inside)), None
        super().property_element_end(name, qname)


def _xml(graph: Graph, data: bytes, base: str) -> None:
    source = InputSource()
    source.setPublicId(base)
    source.setByteStream(BytesIO(data))
    parser = make_parser()  # noqa: S317  a DOCTYPE ends it, and external entities are off
    parser.setFeature(feature_namespaces, True)
    parser.setFeature(feature_external_ges, False)
    parser.setProperty(property_lexical_handler, _NoDoctype())
    statements = _Statements(graph)
    parser.setContentHandler(statements)
    parser.setErrorHandler(ErrorHandler())
    parser.parse(source)
    statements.stack.clear()  # it holds on to its owner, and that to the graph


# --- JSON-LD ----------------------------------------------------------------------------------------------------------------


class _Nodes(jsonld.Parser):
    """rdflib's, with values as text."""

    def _to_object(self, dataset: Any, graph: Any, context: Any, term: Any, node: Any, inlist: bool = False) -> Any:
        if isinstance(node, tuple):
            value, language = node
            return None if value is None else _text(value, language)
        if isinstance(node, dict):
            value = context.get_value(node)
            if value is None or context.get_list(node) is not None:
                return super()._to_object(dataset, graph, context, term, node, inlist)
            return _text(_said(value), context.get_language(node))
        if node is None or (term and term.type in ("@id", "@vocab")):
            return super()._to_object(dataset, graph, context, term, node, inlist)
        plain = not term or not term.type
        language = term.language if term and isinstance(term.language, (str, type(None))) else context.language
        return _text(_said(node), language if plain else None)


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json(graph: Graph, data: bytes, base: str, contexts: Mapping[str, Any]) -> None:
    document = _local(loads(data.decode("utf-8-sig")), contexts)
    if not isinstance(document, (dict, list)):
        raise NotRdf("JSON that is no JSON-LD")
    _Nodes().parse(document, Context(base=base), graph)


def _local(value: Any, contexts: Mapping[str, Any]) -> Any:
    """The document with every context that it refers to in its place. rdflib fetches those that are addresses, and @import."""
    if isinstance(value, list):
        return [_local(member, contexts) for member in value]
    if not isinstance(value, dict):
        return value
    if "@import" in value:
        raise NotRdf("a JSON-LD context is imported from elsewhere: nothing is fetched")
    return {name: _context(inner, contexts) if name == "@context" else _local(inner, contexts) for name, inner in value.items()}


def _context(value: Any, contexts: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_context(member, contexts) for member in value]
    if not isinstance(value, str):
        return _local(value, contexts)
    if value not in contexts:
        raise NotRdf(f"the JSON-LD context '{value[:200]}' is elsewhere: nothing is fetched, write its terms in source.contexts")
    known = contexts[value]
    return _local(known.get("@context", known) if isinstance(known, dict) else known, contexts)
