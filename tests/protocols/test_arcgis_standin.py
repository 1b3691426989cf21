"""arcgis against the stand-in: whole or failed, whatever the page size, the way of paging and the faults."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.standin_scene import KEY, Scene, fetch_on_paper, paper, scene
from tests.protocols.test_arcgis import EDITED, feed, options, read_back, rows

FAULTS = [
    "short_page_more_true", "empty_page_more_true", "empty_page_more_true:3", "offset_ignored", "duplicate_rows_between_pages",
    "page_size_capped:3", "total_changes_mid_crawl", "html_200", "empty_body_200", "status_500:1", "arcgis_error:498",
]  # fmt: skip
LONG = " AND ".join(["OBJECTID > 0"] * 200)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from(["json", "geojson"]),
    st.sampled_from(["1=1", LONG]),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(
    total: int, most: int, offsets: bool, form: str, where: str, faults: list[str]
) -> None:
    one = feed(("OBJECTID", "name"), format=form, where=where)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, rows(total), faults=faults, **options(most=most, pagination=offsets)))
    assert done.outcome in ("Ok", "Empty", "Malformed", "Transient", "AuthFailed"), done
    if done.outcome == "Ok":
        # a row that came twice, where the count was one too many, is one row of the table
        assert list(dict.fromkeys(done.rows)) == [row[:2] for row in read_back(rows(total))]
        assert len(done.rows) == total or len(faults) == 2
    if done.outcome == "Empty":
        assert total == 0
    if not faults:
        assert done.outcome == ("Ok" if total else "Empty")


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("arcgis"), feed(), rows(25), **options()) as opened:
        yield opened


@pytest.fixture
def clean(layer: Scene) -> Scene:
    layer.serve(rows(25))
    layer.fault()
    layer.forget()
    return layer


def test_all_pages_once_then_the_count(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read_back(rows(25))
    asked_for = [parse_qs(one["query"]) for one in clean.requests]
    assert [query.get("resultOffset", ["-"])[0] for query in asked_for] == ["-", "0", "10", "20", "-"]
    assert "returnCountOnly" in asked_for[-1] and len(asked_for) == 5
    assert clean.fetch().outcome == "NotModified"


def test_geojson_and_a_page_that_is_exactly_full(clean: Scene) -> None:
    clean.serve(rows(20))
    one = feed(("OBJECTID", "name", "geometry.coordinates.0", "geometry.coordinates.1"), format="geojson")
    assert clean.rows(clean.fetch(one), one) == read_back(rows(20))
    assert len(clean.requests) == 4


def test_a_condition_goes_to_every_page_and_to_the_count(clean: Scene) -> None:
    one = feed(where="OBJECTID > 5", size=4)
    assert clean.rows(clean.fetch(one), one) == read_back(rows(25)[3:])
    clean.fails("BadRequest", feed(where="nothing LIKE 'x'"))


@pytest.mark.parametrize("paging", ["offset", "keyset"])
@pytest.mark.parametrize(
    "fault",
    [
        "short_page_more_true",
        "empty_page_more_true:2",
        "status_500:2",
        "retry_after_0:2",
        "stream_cut:1",
        "reset_mid_body:1",
        "utf8_bom",
    ],
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str, paging: str) -> None:
    served = rows(25, f"{fault} {paging}")
    clean.serve(served)
    clean.fault(fault)
    one = feed(paging=paging)
    assert clean.rows(clean.fetch(one), one) == read_back(served)


def test_object_ids_where_offsets_are_not_supported(tmp_path: Path) -> None:
    with scene(tmp_path, feed(), rows(25), **options(pagination=False)) as opened:
        assert opened.rows(opened.fetch()) == read_back(rows(25))
        assert "OBJECTID%20%3E%2039" in opened.requests[3]["query"] and len(opened.requests) == 5


def test_a_long_question_comes_through_as_a_form(clean: Scene) -> None:
    one = feed(where=LONG)
    assert clean.rows(clean.fetch(one), one) == read_back(rows(25))
    assert [request["method"] for request in clean.requests] == ["GET", *["POST"] * 4]
    clean.fault("empty_page_more_true:2")
    assert clean.rows(clean.fetch(one), one) == read_back(rows(25))
    clean.fault("page_size_capped:3")
    assert "after 9 of 25 rows" in str(clean.fails("Malformed", one))


def test_a_layer_whose_last_edit_is_the_same_is_not_asked_again(tmp_path: Path) -> None:
    with scene(tmp_path, feed(), rows(25), **options(edited=EDITED)) as opened:
        first = opened.fetch()
        opened.forget()
        assert opened.fetch().outcome == "NotModified" and len(opened.requests) == 1
        assert opened.fetch(feed(fields=["OBJECTID", "name"])).outcome == "Ok"  # another question
        opened.serve(rows(26))
        opened.fault("rows_revised")
        assert opened.rows(opened.fetch()) == read_back(rows(26)) and first.outcome == "Ok"


CODES = {"status": {"1": "열림", "2": "닫힘"}, "kind": {"a": "길"}}
TYPES = {
    "typeIdField": "kind",
    "types": [
        {
            "id": "b",
            "name": "다리",
            "domains": {
                "status": {"type": "codedValue", "codedValues": [{"name": "통제", "code": 2}]},
                "grade": {"type": "inherited"},
            },
        }
    ],
}
CODED = ("OBJECTID", "status", "status.name", "kind.name", "grade.name")


@pytest.mark.parametrize("form", ["json", "geojson"])
def test_coded_values_have_their_names_beside_them(form: str, tmp_path: Path) -> None:
    """Of the field's domain; of the row's type where that has another; null where a code has no name."""
    told = [(1, "a"), (2, "a"), (2, "b"), (9, "a"), (None, "a")]
    served = [{"attributes": {"OBJECTID": n, "status": status, "kind": kind, "grade": 1}} for n, (status, kind) in enumerate(told)]
    names = [("열림", "길"), ("닫힘", "길"), ("통제", None), (None, "길"), (None, "길")]
    one = feed(CODED, domains=True, format=form)
    whole = [
        (str(n), None if s is None else str(s), status, kind, None)
        for n, ((s, _), (status, kind)) in enumerate(zip(told, names, strict=True))
    ]
    with scene(tmp_path, one, served, **options(most=2, edited=EDITED, codes=CODES, types=TYPES)) as opened:
        assert opened.rows(opened.fetch()) == whole
        assert opened.fetch().outcome == "NotModified"
        opened.route.settings.codes["status"]["1"] = "개방"
        assert ("0", "1", "개방", "길", None) in opened.rows(opened.fetch())
        bare = feed(CODED)
        assert opened.rows(opened.fetch(bare), bare) == [(*row[:2], None, None, None) for row in whole]


def test_a_layer_that_wants_a_token(tmp_path: Path) -> None:
    with scene(tmp_path, feed(), rows(25), **options(token=True)) as opened:
        assert "wants a token" in str(opened.fails("AuthFailed").mend) and len(opened.requests) == 1
        keyed = feed(auth={"kind": "query_key", "secret": "GIS_TOKEN"})
        assert opened.rows(opened.fetch(keyed), keyed) == read_back(rows(25))
        assert all(KEY not in request["query"] for request in opened.requests)
        opened.secret = "expired-0123456789"
        opened.forget()
        error = opened.fails("AuthFailed", keyed)
        assert "498" in str(error) and "expired-0123456789" not in str(error) and len(opened.requests) == 1


def test_an_empty_layer_and_one_that_promises_for_ever(clean: Scene) -> None:
    clean.serve([])
    assert clean.fetch().outcome == "Empty"
    clean.serve(rows(25))
    clean.fault("arcgis_endless")
    assert "51 pages in a row are empty" in str(clean.fails("Malformed", feed(paging="offset")))
    assert len(clean.requests) < 60


@pytest.mark.parametrize(
    ("fault", "outcome", "times"),
    [
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 3),
        ("page_size_capped:3", "Malformed", 6),
        ("total_changes_mid_crawl", "Malformed", 5),
        ("duplicate_rows_between_pages", "Malformed", 5),
        ("arcgis_error:400", "BadRequest", 1),
        ("arcgis_error:499", "AuthFailed", 1),
        ("arcgis_error:500", "Transient", 5),
        ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1),
        ("status_429", "RateLimited", 5),
        ("status_503", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, times: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == times
