"""wfs against the stand-in: whole or failed, in both versions and forms, whatever pages and counts say."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from tests.protocols.standin_scene import KEY, Scene, feed_for, fetch_on_paper, paper, scene

SOURCE: dict[str, Any] = {
    "protocol": "wfs", "base_url": "https://open.example/ows", "type_name": "open:stations", "sort_by": "name", "size": 10
}  # fmt: skip
ROUTE: dict[str, Any] = {"kind": "wfs", "host": "open.example", "path": "/ows"}
BOX = {"bbox": "126,37,127.01,38,EPSG:4326"}


def feed(**source: Any) -> Feed:
    columns = (
        ["name", "level", "geom.Point.pos"]
        if source.get("format") == "gml"
        else ["properties.name", "properties.level", "geometry.coordinates.0"]
    )
    return feed_for(SOURCE | source, columns)


def route(**options: Any) -> dict[str, Any]:
    return ROUTE | {"options": {"type_name": "open:stations", **options}}


def rows(count: int, name: str = "이름") -> list[dict[str, Any]]:
    """Every other one lies within the box."""
    return [
        {
            "id": f"s.{n}",
            "geometry": {"type": "Point", "coordinates": [126 + n / 100 if n % 2 == 0 else 129, 37.5]},
            "properties": {"name": f"{name} {n:03d}", "level": None if n % 3 == 0 else n},
        }
        for n in range(count)
    ]


def read_back(features: list[dict[str, Any]], form: str = "json") -> list[tuple[str | None, ...]]:
    def row(feature: dict[str, Any]) -> tuple[str | None, ...]:
        level, x = feature["properties"]["level"], feature["geometry"]["coordinates"][0]
        return feature["properties"]["name"], None if level is None else str(level), f"{x:g}" if form == "json" else f"37.5 {x}"

    return [row(feature) for feature in features]


def within(features: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [f for f in features if f["geometry"]["coordinates"][0] < 128]


def starts(opened: Scene) -> list[str]:
    """Of every page where it began; 'hits' of a count."""
    asked = [parse_qs(one["query"]) for one in opened.requests]
    return ["hits" if "resultType" in query else query.get("startIndex", ["0"])[0] for query in asked]


# --- on paper -------------------------------------------------------------------------------------------------------------

FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50", "short_page_more_true", "empty_page_more_true:1", "wfs_exception:3", "wfs_exception:1",
    "wfs_exception_json:2", "html_200", "empty_body_200", "status_500:1", "no_data",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 30),
    st.integers(1, 12),
    st.sampled_from(["json", "gml"]),
    st.sampled_from(["2.0.0", "1.1.0"]),
    st.sampled_from(["exact", "unknown", "absent"]),
    st.booleans(),
    st.sampled_from(["name", ""]),
    st.booleans(),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(
    total: int, size: int, form: str, version: str, matched: str, links: bool, order: str, boxed: bool, faults: list[str]
) -> None:
    one = feed(size=size, format=form, version=version, sort_by=order, params=BOX if boxed else {})
    served = within(rows(total)) if boxed else rows(total)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, rows(total), faults=faults, **route(matched=matched, links=links)))
    assert done.outcome in ("Ok", "Empty", "Malformed", "Transient", "BadRequest", "Gone", "Pending"), done
    if done.outcome == "Ok" and "duplicate_rows_between_pages" not in faults:
        assert done.rows == read_back(served, form)
    if done.outcome == "Empty":
        assert not served or "no_data" in faults
    if set(faults) <= {"status_500:1"} and order:
        assert done.outcome == ("Ok" if served else "Empty"), done
    if set(faults) <= {"status_500:1", "page_size_capped:3"} and order and not boxed:
        assert done.outcome == ("Ok" if served else "Empty"), done


# --- over a connection ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("wfs"), feed(), rows(25), **route()) as opened:
        yield opened


@pytest.fixture
def clean(service: Scene) -> Scene:
    service.serve(rows(25))
    service.fault()
    service.forget()
    return service


def test_all_pages_once_and_no_count_where_the_pages_tell(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read_back(rows(25))
    assert starts(clean) == ["0", "10", "20"]
    assert all("sortBy=name" in one["query"] for one in clean.requests)
    assert clean.fetch().outcome == "NotModified"


@pytest.mark.parametrize("form", ["json", "gml"])
@pytest.mark.parametrize("version", ["2.0.0", "1.1.0"])
@pytest.mark.parametrize("matched", ["exact", "unknown", "absent"])
def test_every_form_and_version_whatever_a_page_says_of_the_whole(tmp_path: Path, form: str, version: str, matched: str) -> None:
    one = feed(format=form, version=version)
    with scene(tmp_path, one, rows(25), **route(matched=matched)) as opened:
        assert opened.rows(opened.fetch(one), one) == read_back(rows(25), form)
        told = matched == "exact" and not (form == "gml" and version == "1.1.0")
        assert starts(opened) == (["0", "10", "20"] if told else ["0", "10", "20", "25", "hits"][: 4 if told else 5])
        assert opened.fetch(one).outcome == "NotModified"


def test_a_service_that_counts_nowhere_ends_at_an_empty_page(tmp_path: Path) -> None:
    with scene(tmp_path, feed(), rows(25), **route(matched="unknown", hits="unknown")) as opened:
        assert opened.rows(opened.fetch()) == read_back(rows(25))
        assert starts(opened) == ["0", "10", "20", "25", "hits"]
        assert "ask without a bbox" in str(opened.fails("Malformed", feed(params=BOX)))
        assert "declare source.sort_by" in str(opened.fails("Malformed", feed(sort_by="", size=100)))
    with scene(tmp_path / "refused", feed(), rows(25), **route(matched="unknown", hits="refused")) as opened:
        opened.fails("BadRequest")
        one = feed(hits=False)
        opened.forget()
        assert opened.rows(opened.fetch(one), one) == read_back(rows(25)) and starts(opened) == ["0", "10", "20", "25"]


@pytest.mark.parametrize("matched", ["exact", "unknown"])
def test_fewer_features_than_asked_for_are_no_end_where_a_box_is_applied_after_the_page_was_cut(
    tmp_path: Path, matched: str
) -> None:
    """MapServer/MapServer#7328, with and without the next link that its mend brings."""
    for links in (True, False):
        one = feed(params=BOX)
        with scene(tmp_path / f"{links}", one, rows(25), **route(matched=matched, links=links)) as opened:
            opened.fault("short_page_more_true")
            assert opened.rows(opened.fetch(one), one) == read_back(within(rows(25)))
            assert starts(opened)[:3] == ["0", "10", "20"]


def test_pages_without_any_feature_are_passed_over_where_links_lead_on_and_else_fail(tmp_path: Path) -> None:
    for form in ("json", "gml"):
        one = feed(format=form)
        with scene(tmp_path / form, one, rows(25), **route(links=True, matched="unknown")) as opened:
            opened.fault("empty_page_more_true:3")
            assert opened.rows(opened.fetch(one), one) == read_back(rows(25), form)
        with scene(tmp_path / f"{form}-", one, rows(25), **route(matched="unknown")) as opened:
            opened.fault("empty_page_more_true")
            assert "after 10 of 25 rows" in str(opened.fails("Malformed", one))


def test_a_cap_of_the_service_leaves_no_row_out(tmp_path: Path) -> None:
    with scene(tmp_path, feed(), rows(25), **route(most=4)) as opened:
        assert opened.rows(opened.fetch()) == read_back(rows(25)) and len(opened.requests) == 7
        # with a box a short page may mean two things: so it fails, and says how many came
        assert "of 13 rows" in str(opened.fails("Malformed", feed(params=BOX)))
        assert opened.fetch(feed(params=BOX, size=4)).rows == 13


def test_without_an_order_one_page_comes_or_none(tmp_path: Path) -> None:
    one = feed(sort_by="", size=100)
    for matched, asked in (("exact", ["0"]), ("absent", ["0", "hits"])):
        with scene(tmp_path / matched, one, rows(25), **route(matched=matched)) as opened:
            assert opened.rows(opened.fetch()) == read_back(rows(25)) and starts(opened) == asked
            opened.forget()
            outcome = "BadRequest" if matched == "exact" else "Malformed"
            assert "10 of 25" in str(opened.fails(outcome, feed(sort_by="")))
            assert len(opened.requests) == (1 if matched == "exact" else 2)


@pytest.mark.parametrize(
    ("fault", "outcome", "times"),
    [
        ("wfs_exception:1", "BadRequest", 1), ("wfs_exception:2", "Gone", 1), ("wfs_exception:3", "Transient", 5),
        ("wfs_exception:4", "BadRequest", 1), ("wfs_exception:5", "BadRequest", 1), ("wfs_exception:6", "BadRequest", 1),
        ("quota_after_n:2", "QuotaExhausted", 3),
        ("wfs_exception:7", "AuthFailed", 1), ("wfs_exception:8", "QuotaExhausted", 1), ("wfs_exception:9", "Malformed", 2),
        ("wfs_exception_json:1", "BadRequest", 1), ("wfs_exception_json:3", "Transient", 5), ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2), ("offset_ignored", "Malformed", 2), ("total_changes_mid_crawl:99", "Malformed", 6),
        ("empty_page_more_true", "Malformed", 2), ("status_404", "Gone", 1), ("status_403", "AuthFailed", 1),
        ("status_429", "RateLimited", 5), ("stream_cut", "Transient", 5), ("truncated_gzip", "Transient", 5),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, times: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == times


@pytest.mark.parametrize("form", ["json", "gml"])
@pytest.mark.parametrize(
    "fault",
    ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7", "utf8_bom",
     "total_changes_mid_crawl:2"],
)  # fmt: skip
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str, form: str) -> None:
    served = rows(25, f"{fault} {form}")
    clean.serve(served)
    clean.fault(fault)
    one = feed(format=form)
    assert clean.rows(clean.fetch(one), one) == read_back(served, form)


def test_entities_are_never_expanded(clean: Scene) -> None:
    clean.fault("xxe")
    clean.fails("Malformed", feed(format="gml"))


def test_a_row_that_stands_on_two_pages_costs_another_and_the_key_tells(clean: Scene) -> None:
    """The count is right all the same: only the contract's key sees it."""
    clean.fault("duplicate_rows_between_pages")
    found = clean.rows(clean.fetch())
    assert len(found) == 25 and len(set(found)) == 23


def test_a_type_a_form_and_an_order_that_are_not_there(tmp_path: Path) -> None:
    with scene(tmp_path, feed(), rows(25), **route(forms="gml")) as opened:
        assert "outputFormat" in str(opened.fails("BadRequest"))
        opened.fails("Gone", feed(type_name="open:other"))
        one = feed(format="gml")
        assert opened.rows(opened.fetch(one), one) == read_back(rows(25), "gml")


def test_ids_that_are_made_up_for_each_answer_are_no_news_where_that_is_declared(clean: Scene) -> None:
    clean.fault("wfs_new_ids")
    one = feed(volatile=["timeStamp", "features.id"])
    assert [clean.fetch(one).outcome for _ in range(2)] == ["Ok", "NotModified"]
    assert clean.fetch(feed()).outcome == "Ok"


def test_a_key_goes_to_every_page_and_to_the_count_and_stands_nowhere(tmp_path: Path) -> None:
    one = feed(auth={"kind": "query_key", "name": "key", "secret": "MAP_KEY"})
    with scene(tmp_path, one, rows(25), **route(token=True, matched="unknown", links=True)) as opened:
        record = opened.fetch()
        assert opened.rows(record) == read_back(rows(25))
        assert [request["query"].count("key=") for request in opened.requests] == [1] * 5
        assert KEY not in repr(opened.requests) and KEY.encode() not in gzip.decompress(opened.store.get_bytes(record.warc_key))
        opened.secret = "outdated-0123456789"
        opened.forget()
        error = opened.fails("AuthFailed")
        assert "INVALID_KEY" in str(error) and "0123456789" not in str(error) and len(opened.requests) == 1


def test_an_empty_type_and_rows_that_were_withdrawn(clean: Scene) -> None:
    clean.fetch()
    clean.serve(rows(24))
    assert clean.rows(clean.fetch()) == read_back(rows(24))
    clean.serve([])
    assert clean.fetch().outcome == "Empty"
