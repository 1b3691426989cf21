"""dcat_rdf: RDF that wants more than to be read: contexts elsewhere, entities, literals without end, bytes of any kind."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.protocols.dcat_rdf import PROTOCOL
from assets.protocols.kernel import Ok, outcome_name
from deploy.agency.engines.dcat_rdf import written
from tests.protocols.dcat_scene import FORMS, listening, page, rdf_feed
from tests.protocols.json_scene import said
from tests.protocols.standin_scene import parsed

MIB = 1024**2


REMOTE: list[Any] = [
    "URL", ["URL"], [{"a": "b:c"}, "URL"], {"@import": "URL"}, {"t": {"@id": "b:c", "@context": "URL"}},
    {"t": {"@id": "b:c", "@context": ["URL"]}}, {"t": {"@id": "b:c", "@context": {"@import": "URL"}}}, "/relative.jsonld",
]  # fmt: skip


@pytest.mark.parametrize("context", REMOTE)
@pytest.mark.parametrize("deep", [False, True])
def test_nothing_is_asked_for_a_context_that_is_elsewhere(tmp_path: Path, context: Any, deep: bool) -> None:
    with listening() as (url, asked):
        node = {
            "@context": json.loads(json.dumps(context).replace("URL", f"{url}/c.jsonld")),
            "@id": "l:a",
            "@type": "t",
            "t": {"t": 1},
        }
        document = {"@graph": [{"@context": {}, "l:x": node}]} if deep else node
        feed = rdf_feed("jsonld", ["uri"])
        body = page(tmp_path, feed, json.dumps(document), url=f"{url}/catalog.jsonld")
        with pytest.raises(UnreadableSource, match="nothing is fetched"):
            parsed(feed, [body])
        assert PROTOCOL.canonical_sha256(feed.source, body) is None
        assert asked == []


def test_the_listener_of_these_tests_hears_what_is_asked() -> None:
    from urllib.request import urlopen

    with listening() as (url, asked):
        urlopen(url).read()
        assert len(asked) == 1


def test_a_context_that_the_feed_declares_stands_for_the_one_elsewhere(tmp_path: Path) -> None:
    terms = {"Dataset": "http://www.w3.org/ns/dcat#Dataset", "title": "http://purl.org/dc/terms/title"}
    document = json.dumps({"@context": "https://elsewhere.example/dcat.jsonld", "@id": "l:a", "@type": "Dataset", "title": "A"})
    for declared in (terms, {"@context": terms}):
        feed = rdf_feed("jsonld", ["uri", "title"], source={"contexts": {"https://elsewhere.example/dcat.jsonld": declared}})
        assert parsed(feed, [page(tmp_path, feed, document)]) == [("l:a", "A")]
    circle = rdf_feed(
        "jsonld",
        ["uri"],
        source={"contexts": {"https://elsewhere.example/dcat.jsonld": {"@context": "https://elsewhere.example/dcat.jsonld"}}},
    )
    with pytest.raises(UnreadableSource):
        parsed(circle, [page(tmp_path, circle, document)])


LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(12))
BOMBS = {
    "laughs": f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY l0 "ha">{LAUGHS}]><r>&l12;</r>',
    "file": '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]><r>&x;</r>',
    "elsewhere": '<?xml version="1.0"?><!DOCTYPE r SYSTEM "URL/x.dtd"><r/>',
    "public": '<?xml version="1.0"?><!DOCTYPE r PUBLIC "-//x" "URL/x.dtd"><r/>',
    "parameter": '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY % p SYSTEM "URL/p.dtd"> %p;]><r/>',
    "harmless": '<?xml version="1.0"?><!-- a --><!DOCTYPE r [<!ENTITY x "y">]><r>&x;</r>',
}


@pytest.mark.parametrize("bomb", sorted(BOMBS))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_no_entity_is_read_and_nothing_is_fetched(tmp_path: Path, bomb: str, encoding: str) -> None:
    with listening() as (url, asked):
        feed = rdf_feed("rdf", ["uri"])
        started = time.process_time()
        with pytest.raises(UnreadableSource, match="DOCTYPE"):
            parsed(feed, [page(tmp_path, feed, BOMBS[bomb].replace("URL", url).encode(encoding))])
        assert asked == [] and time.process_time() - started < 5


@pytest.mark.parametrize("form", FORMS)
def test_a_literal_stays_the_text_that_it_is(tmp_path: Path, form: str) -> None:
    """A number of ten characters is no number of a billion digits; markup in a text is text; leading zeros stay."""
    bomb = "<!DOCTYPE r [<!ENTITY x 'y'>]><r>&x;</r>"
    values = [("1E999999999", "http://www.w3.org/2001/XMLSchema#decimal"), ("007", "http://www.w3.org/2001/XMLSchema#integer"),
              (bomb, "http://www.w3.org/1999/02/22-rdf-syntax-ns#XMLLiteral"),
              (bomb, "http://www.w3.org/1999/02/22-rdf-syntax-ns#HTML"),
              ("2026-02-31", "http://www.w3.org/2001/XMLSchema#date"), ("9" * 6000,
              "http://www.w3.org/2001/XMLSchema#integer")]  # fmt: skip
    it = "<https://open.example/a>"
    for value, kind in values:
        triples = [(it, "rdf:type", "<dcat:Dataset>"), (it, "dct:identifier", f"{json.dumps(value)}^^<{kind}>")]
        text = written(triples, form)
        feed = rdf_feed(form, ["identifier"])
        assert parsed(feed, [page(tmp_path, feed, text)]) == [(value,)]


def test_one_bad_address_or_language_costs_no_page(tmp_path: Path) -> None:
    head = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dcat="http://www.w3.org/ns/dcat#" xmlns:dct="http://purl.org/dc/terms/">'
    inner = '<dct:title xml:lang="not a language!">A</dct:title><dcat:landingPage rdf:resource="http://[bad"/>'
    inner += '<dct:description rdf:parseType="Literal">some <b>bold</b> text</dct:description>'
    feed = rdf_feed("rdf", ["uri", "title", "landing_page", "description"])
    text = f'{head}<dcat:Dataset rdf:about="l:a">{inner}</dcat:Dataset></rdf:RDF>'
    assert parsed(feed, [page(tmp_path, feed, text)]) == [("l:a", "A", "http://[bad", "some bold text")]


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("ttl", b"[" * 100_000), ("ttl", b"@prefix a: <b"), ("ttl", b"\xff\xfe\x00"), ("ttl", b"<a> <b> ( " * 50_000),
        ("ttl", b"<a> <b> {<c> <d> <e>} ."),
        ("jsonld", b"[" * 100_000), ("jsonld", b'{"@id": NaN}'), ("jsonld", b"3"),
        ("jsonld", b'{"@context": {"a": {"@id": 3}}, "a": 1}'),
        ("jsonld", b'{"@reverse": 3}'), ("rdf", b"<a>" * 1000), ("rdf", b"<r><x></r>"), ("rdf", b"no xml"),
        ("nt", b"no triple"),
        ("nt", b"<a> <b> \"" + b"x" * 3 * MIB), ("nt", b"\xff"), ("ttl", b""), ("rdf", b"\x00" * 50),
    ],
)  # fmt: skip
def test_what_is_no_rdf_cannot_be_read_and_says_nothing_of_its_values(tmp_path: Path, form: str, body: bytes) -> None:
    feed = rdf_feed(form, ["uri"])
    started = time.process_time()
    with pytest.raises(UnreadableSource) as caught:
        parsed(feed, [page(tmp_path, feed, body)])
    assert len(caught.value.what) < 200 and time.process_time() - started < 20


PIECES: Sequence[bytes] = (
    b"@prefix dcat: <http://www.w3.org/ns/dcat#> .", b"<l:a> a dcat:Dataset .", b"_:b", b"[ ]", b'"x"@de', b"^^<d:t>",
    b"<rdf:RDF", b"</rdf:RDF>",
    b'{"@graph":[', b'"@id":"l:a"', b'"@type":"@id"', b'"@context":{', b"]}", b"{", b"}", b" .\n", b";", b"'''",
    b"\\u12", b"<![CDATA[", b"&lt;", b"\x00",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_any_bytes_are_read_or_refused(form: str, tmp_path: Path) -> None:
    feed = rdf_feed(form, ["uri", "title"])

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=100) | st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join))
    def reads(body: bytes) -> None:
        found = said(feed, body)
        assert outcome_name(found) in ("Ok", "Malformed", "Transient") and (not isinstance(found, Ok) or body)
        try:
            parsed(feed, [page(tmp_path, feed, body)])
        except UnreadableSource:
            return

    reads()
