"""dcat_us: what a catalogue is, what makes news of it, and its data sets as rows, those of real catalogues too."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.load import FOLDER, load_feed
from assets.feeds.model import Feed
from assets.protocols.answers.dcat_us_answers import dated, every, look, same_standard
from assets.protocols.dcat_us import PROTOCOL
from assets.protocols.kernel import Body, Cursor, Ok, Step, Validators, outcome_name
from assets.tables.readers import decoding, json_reader
from deploy.agency.engines.dcat_us import AROUND, POD
from tests.protocols.json_scene import read, said
from tests.protocols.standin_scene import feed_for, parsed

SOURCE: dict[str, Any] = {"protocol": "dcat_us", "url": "https://agency.example/data.json"}
KEYS = ["identifier", "title", "modified", "modified_at", "modified_every", "distributions", "formats"]


def feed(columns: list[str] = KEYS, **source: Any) -> Feed:
    return feed_for(SOURCE | source, columns)


def catalogue(*datasets: Any, **around: Any) -> dict[str, Any]:
    return {"@type": "dcat:Catalog", "conformsTo": POD} | around | {"dataset": list(datasets)}


def one(identifier: Any = "a-1", **fields: Any) -> dict[str, Any]:
    return {"identifier": identifier, "title": "Wells", "modified": "2026-01-02", "keyword": ["water", "wells"]} | fields


def digest(folder: Path, value: Any, **source: Any) -> str | None:
    path = folder / "catalogue"
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return PROTOCOL.canonical_sha256(feed(**source).source, Body(path, {}, ""))


# --- requests and declarations --------------------------------------------------------------------------------------------


def test_the_catalogue_is_asked_for_with_the_validators_of_the_last_answer() -> None:
    made = PROTOCOL.request(feed(), feed().source, Step(), Cursor(), Validators(etag='"e"', last_modified="yesterday"))
    assert (made.url, made.headers) == (SOURCE["url"], {"Accept": "application/json", "If-None-Match": '"e"'})


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://www.nasa.example/data.json", "https://www.nasa.example/data.json"),
        ("https://me:secret@agency.example/open/Data.json?key=k#top", "https://agency.example/open/Data.json"),
        ("https://agency.example/metadata.json", None), ("https://agency.example/data.json.gz", None), ("data.json", None),
        ("ftp://agency.example/data.json", None),
    ],
)  # fmt: skip
def test_an_address_that_is_pasted(url: str, found: str | None) -> None:
    assert PROTOCOL.recognise(url) == (None if found is None else SOURCE | {"url": found})


@pytest.mark.parametrize("wrong", [{"url": "data.json"}, {"rows": "resource"}, {"url": "https://a.example/{year}/data.json"}])
def test_declarations_that_cannot_work_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**wrong)


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, catalogue(one()), "Ok"), (200, catalogue(), "Empty"), (304, b"", "NotModified"),
        (200, b"", "Malformed"), (200, b"<!DOCTYPE html><html></html>", "Malformed"), (200, b"<catalog/>", "Malformed"),
        (200, b"identifier,title\n", "Malformed"), (200, [one()], "Malformed"), (200, {"error": "no such page"}, "Malformed"),
        (200, {"dataset": "none"}, "Malformed"), (200, {"dataset": None}, "Malformed"), (200, b'{"dataset": [tru]}', "Malformed"),
        (200, b'{"dataset": [{"identifier": "a"', "Transient"), (401, b"", "AuthFailed"), (403, b"", "AuthFailed"),
        (404, b"<html></html>", "Gone"), (410, b"", "Gone"), (400, b"", "BadRequest"), (301, b"", "BadRequest"),
        (429, b"", "RateLimited"), (500, b"", "Transient"), (503, b"<html></html>", "Transient"), (100, b"", "Malformed"),
    ],
)  # fmt: skip
def test_statuses_and_bodies(status: int, body: Any, outcome: str) -> None:
    assert outcome_name(said(feed(), body, status)) == outcome


def test_a_cut_connection_is_no_catalogue() -> None:
    assert outcome_name(said(feed(), catalogue(one()), complete=False)) == "Transient"


def test_a_catalogue_longer_than_what_is_looked_at_counts_by_its_start_and_end() -> None:
    whole = json.dumps(catalogue(*[one(str(n), description="long " * 40) for n in range(500)])).encode()
    assert len(whole) > 65536
    assert said(feed(), whole) == Ok()
    assert outcome_name(said(feed(), whole[:-40])) == "Transient"
    # An object may have its list after much else (services of 3.0): that is for the reader to find out.
    assert said(feed(), catalogue(one(), a="x" * 70_000)) == Ok()
    assert said(feed(), b"\xef\xbb\xbf" + whole) == Ok()
    assert said(feed(), json.dumps(catalogue(one())).encode("utf-16")) == Ok()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_place_where_a_catalogue_is_cut_looks_like_broken_json(data: st.DataObject) -> None:
    whole = json.dumps(
        catalogue(one(spatial={"box": [1.5, -2e3, True, None]}, title='Brünn 브르노 \\ " é')), ensure_ascii=False
    ).encode()
    seen = look(whole[: data.draw(st.integers(1, len(whole) - 1))], whole=True)
    assert seen.cut and not seen.broken


@pytest.mark.parametrize(
    ("conforms", "outcome"),
    [
        (POD, "Ok"), (f"{POD.replace('https', 'http')}/", "Ok"), (f"{POD}/catalog.json", "Ok"), (None, "Ok"),
        ({"@type": "Standard", "title": "DCAT-US 3.0"}, "Ok"), ([{"@id": "https://resources.data.gov/dcat-us/3.0.0"}], "Ok"),
        ("https://project-open-data.cio.gov/v1.0/schema", "Malformed"), ("https://data.europa.example/dcat-ap", "Malformed"),
        (f"{POD}x", "Malformed"), ({"title": "DCAT-AP 3"}, "Malformed"),
    ],
)  # fmt: skip
def test_a_catalogue_by_another_standard_is_no_surprise_in_the_rows(conforms: Any, outcome: str) -> None:
    found = said(feed(), catalogue(one(), conformsTo=conforms))
    assert outcome_name(found) == outcome
    assert outcome == "Ok" or "source.conforms_to" in found.reason  # type: ignore[union-attr]


def test_another_standard_can_be_declared_and_the_ones_that_data_sets_keep_do_not_count() -> None:
    assert (
        said(feed(conforms_to=["https://data.europa.example/"]), catalogue(one(), conformsTo="https://data.europa.example/x"))
        == Ok()
    )
    assert said(feed(), catalogue(one(conformsTo="https://a.example/standard"))) == Ok()
    assert said(feed(), catalogue(one(), service=[{"conformsTo": "https://openapi.example"}])) == Ok()
    assert same_standard("HTTPS://A.example/x/", "http://a.example/X") and not same_standard(
        "https://a.example/xy", "https://a.example/x"
    )


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200)
    | st.sampled_from([b'{"dataset":', b"[" * 5000, b'{"conformsTo":{"@id":3}}', b'{"dataset":[[]]}', b"\xff\xfe"]),
    st.booleans(),
)
def test_a_look_never_raises(head: bytes, whole: bool) -> None:
    assert look(head, whole) == look(head, whole)


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_modified_may_be_an_interval(tmp_path: Path) -> None:
    texts = [
        "R/P1W",
        "R/2012-01-01/P1M",
        "R5/PT1S",
        "P1D",
        "2011-06-30",
        "2013-05-09T04:12:34-05:00",
        "2013",
        "2013-05",
        "soon",
        "R/P",
        "",
    ]
    assert [(dated(text), every(text)) for text in texts] == [
        (None, "P1W"), (None, "P1M"), (None, "PT1S"), (None, "P1D"), ("2011-06-30", None), ("2013-05-09T04:12:34-05:00", None),
        (None, None), (None, None), (None, None), (None, None), (None, None),
    ]  # fmt: skip
    found = read(tmp_path, feed(), catalogue(one(modified="R/P1W"), one("b", modified=None)))
    assert [row[2:5] for row in found] == [("R/P1W", None, "P1W"), (None, None, None)]


def test_the_distributions_are_counted_and_their_formats_named(tmp_path: Path) -> None:
    files = [
        {"mediaType": "text/csv", "format": "CSV"},
        {"format": " Excel "},
        {"mediaType": "text/csv"},
        {"accessURL": "u"},
        "odd",
    ]
    found = read(tmp_path, feed(), catalogue(one(distribution=files), one("b", distribution={"format": "API"}), one("c")))
    assert [row[5:] for row in found] == [("5", '["Excel","text/csv"]'), ("1", '["API"]'), ("0", "[]")]


def test_one_row_a_distribution_where_that_is_asked_for(tmp_path: Path) -> None:
    columns = ["identifier", "distribution_number", "distribution_url", "distribution.mediaType"]
    files = [{"downloadURL": "d", "accessURL": "a", "mediaType": "text/csv"}, {"accessURL": "b"}]
    found = read(
        tmp_path, feed(columns, rows="distribution"), catalogue(one(distribution=files), one("none"), one("c", distribution=["x"]))
    )
    assert found == [("a-1", "1", "d", "text/csv"), ("a-1", "2", "b", None), (None, None, None, None)]


def test_version_3_has_its_own_shapes(tmp_path: Path) -> None:
    new = one(
        theme=[{"prefLabel": "Water"}, {"prefLabel": "Air"}], contactPoint=[{"fn": "Desk"}], publisher={"name": "Agency"},
        distribution=None, spatial=[{"@type": "Location", "prefLabel": "Ohio"}],
    )  # fmt: skip
    columns = ["identifier", "publisher.name", "theme", "spatial.0.prefLabel", "distributions"]
    whole = AROUND["3.0"] | {"dataset": [new]}
    assert said(feed(), whole) == Ok()
    assert read(tmp_path, feed(columns), whole) == [("a-1", "Agency", '[{"prefLabel":"Air"},{"prefLabel":"Water"}]', "Ohio", "0")]


def test_numbers_and_odd_identifiers_and_records_that_are_none(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_text(json.dumps(catalogue(one(7), one({"id": 1}), one(["a"]), "text", None, one("\u200b"), one(True))))
    batches = list(PROTOCOL.parse(feed(["identifier"]), feed(["identifier"]).source, [Body(body, {}, "")]).batches)
    (batch,) = batches
    assert batch.column("c0" if "c0" in batch.schema.names else 0).to_pylist() == ["7", None, None, None, None, None, None]
    odd, no_object = "the identifier is no text", "the record is no object"
    assert batch.column("_problem").to_pylist() == [None, odd, odd, no_object, no_object, None, odd]


@pytest.mark.parametrize("depth", [400, 900])
def test_a_record_nested_without_end_costs_no_other(tmp_path: Path, depth: int) -> None:
    nested = json.dumps(catalogue(one(), one("b", keyword=["DEEP"]), one("c"))).replace('"DEEP"', "[" * depth + "]" * depth)
    columns = ["identifier", "keyword", "content_sha256"]
    found = read(tmp_path, feed(columns), nested.encode())
    assert [row[0] for row in found] in (["a-1", "b", "c"], ["a-1", None, "c"])


@pytest.mark.parametrize("body", [b"<html></html>", b"", b"[]", b'{"dataset": 3}', b'{"a": 1}', b"{", b"\x00", b"[" * 9000])
def test_what_is_no_catalogue_cannot_be_read(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), body)


def test_large_and_small_catalogues_give_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader goes through a large file as a stream: nothing may depend on that."""
    whole = catalogue(
        *[
            one(
                str(n),
                size=1.50,
                keyword=["z", "a"],
                theme=[10, 9.5, "9", {"n": 2.5}, True, None],
                modified="R/P1W" if n % 2 else "2026-01-01",
            )
            for n in range(50)
        ]
    )
    columns = [*KEYS, "keyword", "size", "content_sha256", "theme"]
    small, small_digest = read(tmp_path, feed(columns), whole), digest(tmp_path, whole)
    monkeypatch.setattr(json_reader, "SMALL", 100)
    assert read(tmp_path, feed(columns), whole) == small and small[0][7:9] == ('["a","z"]', "1.5")
    assert digest(tmp_path, whole) == small_digest is not None


# --- news, or no news -----------------------------------------------------------------------------------------------------


def shuffled(whole: dict[str, Any]) -> dict[str, Any]:
    chance = random.Random(3)
    sets = [{name: d[name] for name in chance.sample(list(d), len(d))} for d in whole["dataset"]]
    for d in sets:
        chance.shuffle(d["keyword"])
    chance.shuffle(sets)
    return {**whole, "dataset": sets}


def edited(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda whole: {**whole, "dataset": [whole["dataset"][0] | fields, *whole["dataset"][1:]]}


@pytest.mark.parametrize(
    ("change", "news"),
    [
        (shuffled, False), (edited(modified="2026-07-07"), False), (edited(modified="2026"), False),
        (lambda whole: whole | {"modified": "2026-07-07", "title": "Catalogue of today"}, False),
        (edited(title="Deep wells"), True), (edited(keyword=["water"]), True), (edited(modified="R/P1W"), True),
        (edited(distribution=[{"format": "CSV"}]), True), (edited(size=1), True), (edited(identifier="a-9"), True),
        (lambda whole: {**whole, "dataset": whole["dataset"][1:]}, True),
        (lambda whole: {**whole, "dataset": whole["dataset"] + whole["dataset"][:1]}, True),
    ],
)  # fmt: skip
def test_orders_and_dates_alone_are_no_news(tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], news: bool) -> None:
    whole = catalogue(*[one(f"a-{n}", keyword=["x", "y", f"k{n}"], size="1") for n in range(5)])
    assert (digest(tmp_path, change(whole)) != digest(tmp_path, whole)) == news


def test_a_change_from_one_interval_to_another_is_news_and_a_feed_may_take_dates_for_news(tmp_path: Path) -> None:
    weekly, monthly = catalogue(one(modified="R/P1W")), catalogue(one(modified="R/P1M"))
    assert digest(tmp_path, weekly) != digest(tmp_path, monthly)
    older, newer = catalogue(one()), catalogue(one(modified="2026-02-02"))
    assert digest(tmp_path, older) == digest(tmp_path, newer)
    assert digest(tmp_path, older, volatile=[]) != digest(tmp_path, newer, volatile=[])
    ordered = catalogue(one(keyword=["wells", "water"]))
    assert digest(tmp_path, older, unordered=[]) != digest(tmp_path, ordered, unordered=[])


def test_what_is_no_catalogue_has_no_digest(tmp_path: Path) -> None:
    for body in (b"", b"<html>", b"{}", b'{"dataset": [', b"[" * 100_000, b'{"dataset": ' + b"[" * 5000 + b"]" * 5000 + b"}"):
        assert digest(tmp_path, body) is None


# --- real catalogues ------------------------------------------------------------------------------------------------------


def test_every_data_set_of_a_real_catalogue(shared_data: Path, tmp_path: Path) -> None:
    raw = (shared_data / "dcat-us-cftc.json").read_bytes()
    cftc = load_feed(FOLDER / "us.cftc.datasets")
    assert said(cftc, raw) == Ok()
    expected = json.loads(raw)["dataset"]
    columns = [*KEYS, "publisher.name", "keyword", "distribution.0.accessURL"]
    found = read(tmp_path, feed(columns), raw)
    assert len(found) == len(expected) == 7
    for row, given_ in zip(found, expected, strict=True):
        assert row[:3] == (given_["identifier"], given_["title"], given_["modified"]) and row[5:7] == ("1", "[]")
        assert row[7] == given_["publisher"]["name"] and json.loads(str(row[8])) == sorted(given_["keyword"])
        assert row[9] == given_["distribution"][0]["accessURL"]
    # Six say how often they are renewed, one says when it was.
    assert [row[4] for row in found] == ["P1W", "P1M", "P1W", "P1M", None, "P1W", "P1M"]
    assert [row[3] for row in found] == [None, None, None, None, "2011-06-30", None, None]
    assert len(parsed(cftc, [Body(tmp_path / "1", {}, "")])) == 7


def test_two_real_data_sets_with_the_same_title_stay_two(shared_data: Path, tmp_path: Path) -> None:
    found = read(tmp_path, feed(), (shared_data / "dcat-us-same-title.json").read_bytes())
    assert [row[:2] for row in found] == [("cftc-dc1", "Commitment of Traders"), ("cftc-dc2", "Commitment of Traders")]


# --- size -----------------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_catalogue(tmp_path: Path) -> None:
    """Rows and digest of a catalogue, and of one three times as large, both above what is read whole."""
    peaks, path = {}, tmp_path / "data.json"
    assert digest(tmp_path, catalogue(one())) and read(tmp_path, feed(), catalogue(one()))  # imports are none of it
    for count in (6_000, 18_000):
        with path.open("w") as file:
            file.write('{"conformsTo": "' + POD + '", "dataset": [')
            for n in range(count):
                file.write("," * (n > 0) + json.dumps(one(f"id-{n}", description=f"A description of {n}. " * 60)))
            file.write("]}")
        assert path.stat().st_size > json_reader.SMALL
        body = Body(path, {}, "")
        tracemalloc.start()
        assert sum(batch.num_rows for batch in PROTOCOL.parse(feed(["identifier"]), feed().source, [body]).batches) == count
        assert PROTOCOL.canonical_sha256(feed().source, body)
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Pieces that were read ahead are in a peak or not, as it happens; the larger catalogue is longer by more than them.
    ahead = 3 * decoding.CHUNK
    assert path.stat().st_size * 2 // 3 > ahead
    assert peaks[18_000] - peaks[6_000] < ahead, peaks
