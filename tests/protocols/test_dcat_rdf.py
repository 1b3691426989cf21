"""dcat_rdf: requests, what answers and links mean, and data sets out of RDF. RDF of strangers is `test_dcat_rdf_hostile.py`."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.dcat_rdf import PROTOCOL
from assets.protocols.kernel import Cursor, PageInfo, Request, Validators, When, outcome_name
from deploy.agency.engines.dcat_rdf import _dataset, written
from tests.protocols.dcat_scene import CATALOGUE, FORMS, TURTLE, info, page, rdf_feed, rows, turtle
from tests.protocols.json_scene import said, urls
from tests.protocols.standin_scene import NOW, parsed

LIST = f"<{CATALOGUE}> a dcat:Catalog ."
D = "<https://open.example/dataset/a> a dcat:Dataset"


def request(feed: Feed, cursor: Cursor | None = None, when: When | None = None) -> Request:
    (step,) = PROTOCOL.plan(feed, feed.source, when or When(NOW))
    return PROTOCOL.request(feed, feed.source, step, cursor or Cursor(), Validators())


# --- requests and declarations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "accept"),
    [("ttl", "text/turtle"), ("rdf", "application/rdf+xml"), ("xml", "application/rdf+xml"), ("jsonld", "application/ld+json"),
     ("json", "application/ld+json"), ("nt", "application/n-triples")],
)  # fmt: skip
def test_the_first_page_is_the_catalogue_in_the_form_of_its_address(form: str, accept: str) -> None:
    sent = request(rdf_feed(form))
    assert (sent.url, sent.headers) == (f"{CATALOGUE}.{form}", {"Accept": accept})


def test_changes_are_asked_for_since_the_last_fetch_and_everything_the_first_time() -> None:
    feed = rdf_feed(source={"params": {"modified_since": "{since:%Y-%m-%dT%H:%M:%SZ}", "fq": "tags:water & air"}})
    assert request(feed).url == f"{CATALOGUE}.ttl?fq=tags:water%20%26%20air"
    assert (
        request(feed, when=When(NOW, since=NOW)).url
        == f"{CATALOGUE}.ttl?modified_since=2026-11-25T03:00:00Z&fq=tags:water%20%26%20air"
    )


def test_data_sets_can_be_asked_for_by_their_own_addresses() -> None:
    feed = rdf_feed(source={"url": "https://open.example/dataset/{id}.ttl?raw=1", "each": {"id": ["a-1", "b"]}})
    assert urls(feed) == ["https://open.example/dataset/a-1.ttl?raw=1", "https://open.example/dataset/b.ttl?raw=1"]


def test_the_next_page_is_asked_for_as_its_link_says_with_the_key_of_the_feed() -> None:
    feed = rdf_feed(source={"auth": {"kind": "query_key", "name": "api_key", "secret": "PORTAL_KEY"}})
    sent = request(feed, Cursor(page=2, offset=10, token=f"{CATALOGUE}.ttl?page=2"))
    assert sent.url == f"{CATALOGUE}.ttl?page=2&api_key={{secret:PORTAL_KEY}}" and sent.page == 2


@pytest.mark.parametrize(
    "source",
    [{"url": "https://open.example/catalog"}, {"url": "https://open.example/catalog.n3"}, {"format": "n3"}, {"url": "catalog.ttl"},
     {"languages": ["en_US"]}, {"languages": [""]}, {"max_page_bytes": 0}],
)  # fmt: skip
def test_declarations_that_cannot_work_are_told(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rdf_feed(source=source)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://u:p@open.example/catalog.ttl?page=3&api_key=k", {"url": "https://open.example/catalog.ttl"}),
        ("https://open.example/catalog.jsonld?q=water", {"url": "https://open.example/catalog.jsonld", "params": {"q": "water"}}),
        ("http://open.example/x/dataset/wells-1.rdf", {"url": "http://open.example/x/dataset/wells-1.rdf"}),
        ("https://open.example/catalog.html", None), ("https://open.example/ontology.ttl", None), ("catalog.ttl", None),
    ],
)  # fmt: skip
def test_an_address_that_is_pasted(url: str, found: dict[str, Any] | None) -> None:
    assert PROTOCOL.recognise(url) == (None if found is None else {"protocol": "dcat_rdf"} | found)


# --- what answers mean ----------------------------------------------------------------------------------------------------

XML = b'<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>'


@pytest.mark.parametrize(
    ("form", "status", "body", "outcome"),
    [
        ("ttl", 200, LIST.encode(), "Ok"), ("ttl", 200, b"[] a <x> .", "Ok"), ("ttl", 200, b"\xef\xbb\xbf<#c> a <x> .", "Ok"),
        ("nt", 200, b"<http://a.example/> <http://b.example/> _:c .", "Ok"), ("rdf", 200, XML, "Ok"),
        ("jsonld", 200, b'{"@graph": []}', "Ok"),
        ("jsonld", 200, b"[]", "Ok"), ("ttl", 200, XML, "Malformed"), ("ttl", 200, b'{"success": false}', "Malformed"),
        ("rdf", 200, LIST.encode(), "Ok"), ("rdf", 200, b"@prefix a: <b> .", "Malformed"), ("jsonld", 200, XML, "Malformed"),
        ("rdf", 200, XML[:-1], "Transient"), ("jsonld", 200, b'{"@graph": [', "Transient"), ("nt", 200, b"", "Malformed"),
        ("ttl", 200, b"<!DOCTYPE html><html></html>", "Malformed"), ("rdf", 200, b"<html></html>", "Malformed"),
        ("jsonld", 200, b"<html></html>", "Malformed"), ("ttl", 401, b"", "AuthFailed"), ("ttl", 403, b"", "AuthFailed"),
        ("ttl", 404, b"<html></html>", "Gone"), ("ttl", 410, b"", "Gone"),
        ("ttl", 409, b"Page param must be positive", "BadRequest"),
        ("ttl", 406, b"", "BadRequest"), ("ttl", 429, b"", "RateLimited"), ("ttl", 500, b"", "Transient"),
        ("ttl", 503, b"", "Transient"),
        ("ttl", 304, b"", "NotModified"),
    ],
)  # fmt: skip
def test_statuses_and_bodies(form: str, status: int, body: bytes, outcome: str) -> None:
    if (form, body) == ("rdf", LIST.encode()):
        outcome = "Transient"  # it begins as XML does, and does not end so
    assert outcome_name(said(rdf_feed(form), body, status)) == outcome


def test_a_cut_connection_and_a_page_that_is_too_large() -> None:
    assert outcome_name(said(rdf_feed(), LIST, complete=False)) == "Transient"
    assert "max_page_bytes" in said(rdf_feed(source={"max_page_bytes": 20}), LIST).reason  # type: ignore[union-attr]


# --- links and totals -----------------------------------------------------------------------------------------------------


def hydra(words: str) -> str:
    return f"{LIST} {D} . <{CATALOGUE}.ttl?page=1> {words} ."


@pytest.mark.parametrize(
    ("words", "following"),
    [
        (f'a hydra:PagedCollection ; hydra:nextPage "{CATALOGUE}.ttl?page=2" ; hydra:totalItems 5', "?page=2"),
        (f"a hydra:PartialCollectionView ; hydra:next <{CATALOGUE}.ttl?page=2>", "?page=2"),
        (f'hydra:nextPage "{CATALOGUE}.ttl?page=2" ; hydra:next <{CATALOGUE}.ttl?page=2>', "?page=2"),
        # Behind a proxy: http in place of https, a machine's own name and port.
        ('hydra:nextPage "http://open.example/catalog.ttl?page=2"', "?page=2"),
        ('hydra:next <http://ckan.internal:5000/catalog.ttl?page=2>', "?page=2"),
        ('hydra:next <http://user:pw@169.254.169.254/catalog.ttl?page=2#view>', "?page=2"),
        ('hydra:next <https://elsewhere.example/catalog.ttl?page=2>', "?page=2"),
        ('hydra:nextPage "?page=2"', "?page=2"), ("hydra:next </catalog.ttl?page=2>", "?page=2"),
        ('hydra:nextPage "/catalog.ttl?page=2&q={secret:OTHER_KEY}"', "?page=2&q=%7Bsecret:OTHER_KEY%7D"),
        ('hydra:nextPage "/catalog.ttl?page=2&q=a b&q=%C3%A9é"', "?page=2&q=a%20b&q=%C3%A9%C3%A9"),
    ],
)  # fmt: skip
def test_the_next_page_is_at_the_feeds_host_whatever_its_link_says(tmp_path: Path, words: str, following: str) -> None:
    said_of_it = info(tmp_path, hydra(words))
    assert said_of_it is not None and said_of_it.next_cursor == f"{CATALOGUE}.ttl{following}"


def test_a_key_in_a_link_is_left_out_because_the_feed_puts_its_own(tmp_path: Path) -> None:
    auth = {"kind": "query_key", "name": "api_key", "secret": "PORTAL_KEY"}
    found = info(tmp_path, hydra('hydra:nextPage "/catalog.ttl?api_key=***&page=2"'), auth=auth)
    assert found == PageInfo(next_cursor=f"{CATALOGUE}.ttl?page=2")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ('hydra:next <javascript:alert(1)>', "no address"), ('hydra:next <file:///etc/passwd>', "no address"),
        ('hydra:nextPage "http://[bad/?page=2"', "no address"),
        ('hydra:next </catalog.ttl?page=2>, <?page=3>', "two next pages"),
        ("hydra:totalItems 5, 6 ; hydra:next </catalog.ttl?page=2>", "two totals"),
        ("hydra:totalItems 5", "1 of the 5 data sets"),
        ("hydra:totalItems 1 ; hydra:next </catalog.ttl?page=2>", "leads to more"),
    ],
)  # fmt: skip
def test_links_and_totals_that_cannot_be_true_are_refused(tmp_path: Path, words: str, why: str) -> None:
    with pytest.raises(UnreadableSource, match=why):
        info(tmp_path, hydra(words))


def test_totals_that_count_something_else_can_be_left_out(tmp_path: Path) -> None:
    assert info(tmp_path, hydra("hydra:totalItems 1 ; hydra:next </catalog.ttl?page=2>"), check_total=False) == PageInfo(
        next_cursor=f"{CATALOGUE}.ttl?page=2"
    )
    assert info(tmp_path, hydra("hydra:totalItems 5"), check_total=False) == PageInfo(total=1)


def test_a_page_without_links_is_the_whole_and_a_later_one_the_last(tmp_path: Path) -> None:
    assert info(tmp_path, f"{LIST} {D} .") == PageInfo(total=1)
    assert info(tmp_path, f"{LIST} {D} .", number=2) == PageInfo()
    assert info(tmp_path, hydra("hydra:totalItems 101"), number=2) == PageInfo(total=101)
    assert info(tmp_path, hydra('hydra:totalItems "many"')) == PageInfo(total=1)


# --- data sets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("titles", "languages", "chosen"),
    [
        ('"A"@en, "B"@de, "C"', ["de", "en"], ("B", "de")), ('"A"@en, "B"@de, "C"', ["fr"], ("C", None)),
        ('"A"@it, "B"@de', ["fr"], ("B", "de")),
        ('"A"@en-GB, "B"@EN-us', ["en"], ("A", "en-gb")), ('"A"@en-GB, "B"@en', ["en"], ("B", "en")),
        ('"Z"@en, "A"@en', ["en"], ("A", "en")),
        # An empty text is none, as portals with four languages have them.
        ('""@en, "  "@fr, " B "@de', ["en", "fr", "de"], ("B", "de")), ('"enx"@enx', ["en"], ("enx", "enx")),
        ('""', ["en"], (None, None)),
        ("[]", ["en"], (None, None)), ('"서울"@ko', [], ("서울", "ko")),
    ],
)  # fmt: skip
def test_a_title_in_the_language_that_is_wanted_most(
    tmp_path: Path, titles: str, languages: list[str], chosen: tuple[Any, ...]
) -> None:
    assert turtle(tmp_path, f"{D} ; dct:title {titles} .", ["title", "title_language"], languages=languages) == [chosen]


def test_keywords_are_those_of_one_language_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    text = f'{D} ; dcat:keyword "water"@en, "air"@en, "Luft"@de, "x" .'
    assert turtle(tmp_path, text, ["keywords"]) == [('["air","water"]',)]
    assert turtle(tmp_path, text, ["keywords"], languages=["fr"]) == [('["x"]',)]
    assert turtle(tmp_path, f"{D} .", ["keywords"]) == [("[]",)]


@pytest.mark.parametrize(
    ("said_of_it", "name", "address"),
    [
        ('[ a foaf:Agent ; foaf:name "Amt"@de, "Office"@en ]', "Office", None), ('"Amt"', "Amt", None),
        ('<https://a.example/amt> . <https://a.example/amt> foaf:name "Amt"', "Amt", "https://a.example/amt"),
        ("<https://a.example/amt>", "https://a.example/amt", "https://a.example/amt"), ("[ a foaf:Agent ]", None, None),
        ('[ <http://www.w3.org/2006/vcard/ns#fn> "Amt" ]', "Amt", None),
    ],
)  # fmt: skip
def test_publishers_are_named_in_many_ways(tmp_path: Path, said_of_it: str, name: str | None, address: str | None) -> None:
    assert turtle(tmp_path, f"{D} ; dct:publisher {said_of_it} .", ["publisher", "publisher_uri"]) == [(name, address)]


def test_licences_of_data_sets_and_of_their_distributions(tmp_path: Path) -> None:
    def found(own: str, *files: str) -> tuple[Any, ...]:
        inner = " ; ".join(f"dcat:distribution [ dct:license {one} ]" for one in files)
        (row,) = turtle(
            tmp_path, f"{D} {'; dct:license ' + own if own else ''} {'; ' + inner if inner else ''} .", ["licence", "licences"]
        )
        return row

    assert found("<https://l.example/by>") == ("https://l.example/by", '["https://l.example/by"]')
    assert found("", "<l:a>", "<l:a>") == ("l:a", '["l:a"]')
    assert found("", "<l:a>", "<l:b>") == (None, '["l:a","l:b"]')
    assert found("<l:c>", "<l:a>") == ("l:c", '["l:a","l:c"]')
    assert found('[ a dct:LicenseDocument ; rdfs:label "Open" ]') == ("Open", '["Open"]')
    assert found('"CC BY"') == ("CC BY", '["CC BY"]') and found("") == (None, "[]")


def test_formats_are_codes_media_types_or_words(tmp_path: Path) -> None:
    files = [
        "dct:format <http://publications.europa.eu/resource/authority/file-type/CSV>",
        "dcat:mediaType <https://www.iana.org/assignments/media-types/application/ld%2Bjson>",
        'dct:format [ rdfs:label "XLSX" ]', 'dct:format "PDF" ; dcat:mediaType "application/pdf"', "dct:format <https://f.example/odd>",
        "a dcat:Distribution",
    ]  # fmt: skip
    text = f"{D} ; " + " ; ".join(f"dcat:distribution [ {file} ]" for file in files) + " ."
    assert turtle(tmp_path, text, ["distributions", "formats"]) == [
        ("6", '["CSV","PDF","XLSX","application/ld+json","https://f.example/odd"]')
    ]


def test_the_other_columns(tmp_path: Path) -> None:
    text = f"""{D} ; dct:identifier "a@office" ; dct:issued "2020-01-01"^^<http://www.w3.org/2001/XMLSchema#date> ;
        dct:modified "2026-02-30", "2025-01-01T00:00:00Z" ; dcat:theme <http://t.example/B>, [ skos:prefLabel "Air"@en ] ;
        dct:language <http://publications.europa.eu/resource/authority/language/DEU>, "fr" ;
        dct:accrualPeriodicity <http://publications.europa.eu/resource/authority/frequency/WEEKLY> ;
        dct:accessRights <http://publications.europa.eu/resource/authority/access-right/PUBLIC> ;
        dcat:landingPage <https://open.example/a> ; dct:description " long\\ntext " ;
        dcat:distribution [ dcat:downloadURL <https://f.example/d> ; dcat:accessURL <https://f.example/x> ],
          [ dcat:accessURL <https://f.example/a> ] ."""
    columns = ["identifier", "issued", "modified", "themes", "languages", "frequency", "landing_page", "description", "urls"]
    assert turtle(tmp_path, text, columns) == [
        (
            "a@office", "2020-01-01", "2026-02-30", '["Air","http://t.example/B"]', '["DEU","fr"]', "WEEKLY",
            "https://open.example/a",
            "long\ntext", '["https://f.example/a","https://f.example/d"]',
        )
    ]  # fmt: skip


def test_what_counts_as_a_data_set(tmp_path: Path) -> None:
    """Listed and described, or called one; no catalogue that is called one too, and none that the page only mentions."""
    text = f"""<{CATALOGUE}> a dcat:Catalog, dcat:Dataset ; dcat:dataset <l:listed>, <l:only_mentioned> . <l:listed> dct:title "A" .
        <l:called> a dcat:Dataset ; dct:isVersionOf <l:older> . <l:service> a dcat:DataService .
        [] a dcat:Dataset ; dct:title "N" ."""
    assert turtle(tmp_path, text, ["uri", "title"]) == [("l:called", None), ("l:listed", "A"), (None, "N")]


def test_a_page_that_is_no_catalogue_is_no_empty_one(tmp_path: Path) -> None:
    assert turtle(tmp_path, LIST, ["uri"]) == []
    for other in ("", "<l:x> a foaf:Agent .", "<l:x> a dcat:DataService ."):
        with pytest.raises(UnreadableSource, match="without a catalogue"):
            turtle(tmp_path, other, ["uri"])


def test_the_page_of_a_portals_handbook(tmp_path: Path) -> None:
    """Links as texts by http below a catalogue by https, numbers with their type: the last page of four."""
    text = """<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dcat="http://www.w3.org/ns/dcat#"
      xmlns:hydra="http://www.w3.org/ns/hydra/core#" xmlns:dct="http://purl.org/dc/terms/"><dcat:Catalog rdf:about="https://open.example">
      <dcat:dataset><dcat:Dataset rdf:about="https://open.example/a"><dct:title xml:lang="de">
         Wege </dct:title><dct:title xml:lang="en_US">Ways</dct:title></dcat:Dataset></dcat:dataset></dcat:Catalog>
      <hydra:PagedCollection rdf:about="http://open.example/catalog.xml?page=3">
        <hydra:nextPage>http://open.example/catalog.xml?page=4</hydra:nextPage>
        <hydra:itemsPerPage rdf:datatype="http://www.w3.org/2001/XMLSchema#integer">1000</hydra:itemsPerPage>
        <hydra:totalItems rdf:datatype="http://www.w3.org/2001/XMLSchema#integer">3479</hydra:totalItems>
      </hydra:PagedCollection></rdf:RDF>"""
    feed = rdf_feed("xml", ["uri", "title"])
    body = page(tmp_path, feed, text, number=3, url=f"{CATALOGUE}.xml?page=3")
    assert parsed(feed, [body]) == [("https://open.example/a", "Ways")]
    stream = PROTOCOL.parse(feed, feed.source, [body])
    assert len(list(stream.batches)) == 1 and stream.page == PageInfo(total=3479, next_cursor=f"{CATALOGUE}.xml?page=4")


def test_named_graphs_and_nested_nodes_of_json_ld(tmp_path: Path) -> None:
    document = {
        "@context": {"dcat": "http://www.w3.org/ns/dcat#", "dct": "http://purl.org/dc/terms/", "Dataset": "dcat:Dataset",
                     "title": {"@id": "dct:title", "@container": "@language"}, "when": {"@id": "dct:modified",
                     "@type": "xsd:date"}},
        "@graph": [{"@id": "l:g", "@graph": [{"@id": "l:a", "@type": "Dataset", "title": {"en": "A", "de": ["B"]},
        "when": "2026-01-02"}]},
                   {"@id": "l:c", "@type": "dcat:Catalog",
                    "dcat:dataset": {"@id": "l:b", "@type": "Dataset", "dct:identifier": 7.25}}],
    }  # fmt: skip
    feed = rdf_feed("jsonld", ["uri", "title", "modified", "identifier"])
    assert parsed(feed, [page(tmp_path, feed, json.dumps(document))]) == [
        ("l:a", "A", "2026-01-02", None),
        ("l:b", None, None, "7.25"),
    ]


@pytest.mark.parametrize("form", FORMS)
def test_pages_are_read_one_at_a_time_and_never_as_one_graph(tmp_path: Path, form: str) -> None:
    """Without a garbage collection: no graph outlives its page. Against as many data sets on one page."""
    feed, peaks = rdf_feed(form, ["uri"]), {}
    for name, numbers in {"warm": [1], "pages": range(1, 9), "one": [9]}.items():
        bodies = []
        for number in numbers:
            described = rows(160 if number == 9 else 20, 20 * number)
            triples = [t for row in described for t in _dataset(row, f"_:r{row['uri'][-3:]}")]
            bodies.append(page(tmp_path, feed, written(triples, form), number=number, url=f"{CATALOGUE}.{form}?page={number}"))
        gc.disable()
        tracemalloc.start()
        try:
            assert len(parsed(feed, bodies)) == (20 if name == "warm" else 160)
            peaks[name] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            gc.enable()
    assert peaks["pages"] < peaks["one"] / 2, peaks


# --- the digest -----------------------------------------------------------------------------------------------------------


def digest(folder: Path, text: str, **source: Any) -> str | None:
    feed = rdf_feed(source=source)
    return PROTOCOL.canonical_sha256(feed.source, page(folder, feed, TURTLE + text))


def test_another_order_and_other_names_of_nameless_nodes_are_no_news_and_a_change_is(tmp_path: Path) -> None:
    one = f'{LIST} {D} ; dct:title "A"@en, "B"@de ; dct:publisher _:p ; dcat:keyword "x", "y" . _:p foaf:name "Amt" .'
    two = f'_:q foaf:name "Amt" . {D} ; dcat:keyword "y", "x" ; dct:publisher _:q ; dct:title "B"@de, "A"@en . {LIST}'
    assert digest(tmp_path, one) == digest(tmp_path, two) is not None
    assert digest(tmp_path, one) != digest(tmp_path, one.replace("Amt", "Dienst"))
    assert digest(tmp_path, "<a") is None and digest(tmp_path, "") is None


def test_a_date_of_today_on_every_data_set_is_no_news_where_the_feed_says_so(tmp_path: Path) -> None:
    one = f'{LIST} {D} ; dct:title "A"@en ; dct:modified "2026-11-24" .'
    two = one.replace("2026-11-24", "2026-11-25")
    assert digest(tmp_path, one) != digest(tmp_path, two)
    assert digest(tmp_path, one, volatile=["modified"]) == digest(tmp_path, two, volatile=["modified"]) is not None
    assert digest(tmp_path, one, volatile=["modified"]) != digest(tmp_path, two.replace('"A"', '"B"'), volatile=["modified"])
