"""ogc_features against the stand-in: whole or failed, whatever the page size, the kind of links and the faults."""

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

BASE = "https://open.example/ogc"
SOURCE: dict[str, Any] = {"protocol": "ogc_features", "base_url": BASE, "collection": "stations", "size": 10}
ROUTE: dict[str, Any] = {"kind": "ogc_features", "host": "open.example", "path": "/ogc/collections/stations"}
COLUMNS = ["id", "properties.name", "geometry.coordinates.0"]


def feed(**source: Any) -> Feed:
    return feed_for(SOURCE | source, COLUMNS)


def route(**options: Any) -> dict[str, Any]:
    return ROUTE | {"options": options}


def rows(count: int, name: str = "이름") -> list[dict[str, Any]]:
    return [
        {
            "type": "Feature",
            "id": f"s{n:03d}",
            "geometry": {"type": "Point", "coordinates": [126 + n / 8, 37.5]},
            "properties": {
                "name": f"{name} {n}",
                "updated": f"2026-01-{n % 28 + 1:02d}T00:00:00+00:00",
                "links": [{"rel": "next"}],
            },
        }
        for n in range(count)
    ]


def read_back(features: list[dict[str, Any]]) -> list[tuple[str | None, ...]]:
    return [(f["id"], f["properties"]["name"], f"{f['geometry']['coordinates'][0]:g}") for f in features]


def queries(opened: Scene) -> list[dict[str, str]]:
    return [{name: values[0] for name, values in parse_qs(one["query"]).items()} for one in opened.requests]


# --- on paper -------------------------------------------------------------------------------------------------------------

FAULTS = [
    "page_size_capped:3", "offset_ignored", "duplicate_rows_between_pages", "total_changes_mid_crawl:2",
    "total_changes_mid_crawl:50", "empty_page_more_true", "ogc_error:404", "ogc_error_200:400", "ogc_error:500", "ogc_no_next",
    "ogc_no_next:2", "ogc_next_elsewhere", "ogc_next_again", "ogc_number_returned",
    "ogc_search_window", "html_200", "empty_body_200", "status_500:1", "no_data",
]  # fmt: skip
LOSING = {"duplicate_rows_between_pages", "no_data"}
"""Under these the server itself says what is not so; the contract's key, or the shrink guard, tells."""


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 30),
    st.integers(2, 12),
    st.sampled_from(["exact", "absent", "unknown"]),
    st.sampled_from(["offset", "after", "none"]),
    st.sampled_from(["absolute", "relative", "inside"]),
    st.booleans(),
    st.sampled_from(["next", "offset"]),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(
    total: int, size: int, matched: str, pages: str, href: str, last: bool, paging: str, faults: list[str]
) -> None:
    one, options = feed(size=size, paging=paging), route(matched=matched, pages=pages, href=href, features_last=last)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, rows(total), faults=faults, **options))
    assert done.outcome in ("Ok", "Empty", "Malformed", "Transient", "BadRequest", "Gone"), done
    silent = matched != "exact" or "ogc_search_window" in faults
    unlinked = pages == "none" or {"ogc_no_next", "ogc_no_next:2"} & set(faults)
    # then nothing in the answers tells of more: links that end too soon, pages that are short and lead nowhere
    short = {"page_size_capped:3", "empty_page_more_true", "ogc_no_next:2"} & set(faults)
    mute = silent and unlinked and (short if paging == "next" else "empty_page_more_true" in faults)
    if done.outcome == "Ok" and not mute and not LOSING & set(faults):
        assert done.rows == read_back(rows(total))
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults
    if set(faults) <= {"page_size_capped:3", "status_500:1"} and not (pages == "none" and paging == "next"):
        assert done.outcome == ("Ok" if total else "Empty"), done


# --- over a connection ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("ogc"), feed(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(collection: Scene) -> Scene:
    collection.serve(rows(25))
    collection.fault()
    collection.forget()
    return collection


def test_all_pages_once_by_their_links(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read_back(rows(25))
    assert queries(clean) == [{"limit": "10"}, {"limit": "10", "offset": "10"}, {"limit": "10", "offset": "20"}]
    assert clean.fetch().outcome == "NotModified"


@pytest.mark.parametrize("pages", ["offset", "after"])
@pytest.mark.parametrize("href", ["absolute", "relative", "inside"])
@pytest.mark.parametrize("matched", ["exact", "absent", "unknown"])
def test_links_of_every_kind_with_totals_of_every_kind(tmp_path: Path, pages: str, href: str, matched: str) -> None:
    with scene(tmp_path, feed(), rows(25), **route(pages=pages, href=href, matched=matched, most=7)) as opened:
        assert opened.rows(opened.fetch()) == read_back(rows(25))
        assert len(opened.requests) == 4
        assert {one["host"] for one in opened.requests} == {"open.example"}


def test_without_links_the_rows_come_by_offset_or_not_at_all(tmp_path: Path) -> None:
    for matched, by_links, by_offset in (("exact", 2, 3), ("absent", 3, 4)):
        with scene(tmp_path / matched, feed(), rows(25), **route(pages="none", matched=matched)) as opened:
            if matched == "exact":
                assert "10 of 25 features came" in str(opened.fails("Malformed"))
            else:
                assert opened.rows(opened.fetch()) == read_back(rows(25))
            assert len(opened.requests) == by_links
            opened.forget()
            one = feed(paging="offset")
            assert opened.rows(opened.fetch(one), one) == read_back(rows(25))
            assert len(opened.requests) == by_offset


@pytest.mark.parametrize("count", [9, 10, 11, 20])
def test_a_full_page_without_link_and_total_is_no_end(tmp_path: Path, count: int) -> None:
    """CrunchyData/pg_featureserv#192: no link leads to the next page, and nothing says how many there are."""
    with scene(tmp_path, feed(), rows(count), **route(pages="none", matched="absent")) as opened:
        assert opened.rows(opened.fetch()) == read_back(rows(count))
        assert [query.get("offset") for query in queries(opened)] == [None, "10", "20"][: count // 10 + 1]
        opened.fault("offset_ignored")
        if count >= 10:
            assert "ignored the offset" in str(opened.fails("Malformed"))


def test_a_later_link_that_is_missing_fails_after_one_more_look(clean: Scene) -> None:
    clean.fault("ogc_no_next:2")
    assert "after 20 of 25 rows" in str(clean.fails("Malformed"))
    assert [query["limit"] for query in queries(clean)] == ["10", "10", "1"]


@pytest.mark.parametrize(
    ("fault", "outcome", "times"),
    [
        ("html_200", "Malformed", 2), ("empty_body_200", "Malformed", 2), ("offset_ignored", "Malformed", 2),
        ("total_changes_mid_crawl:99", "Malformed", 6), ("empty_page_more_true", "Malformed", 3),
        ("ogc_error:400", "BadRequest", 1), ("ogc_error:404", "Gone", 1), ("ogc_error:500", "Transient", 5),
        ("ogc_error:1404", "Gone", 1), ("ogc_error:1503", "Transient", 5), ("ogc_error_200:400", "BadRequest", 1),
        ("ogc_error_200:1429", "RateLimited", 5), ("ogc_error_200:404", "Gone", 1), ("ogc_next_elsewhere", "BadRequest", 1),
        ("ogc_next_again", "Malformed", 2), ("ogc_no_next", "Malformed", 2), ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1),
        ("status_429", "RateLimited", 5), ("stream_cut", "Transient", 5), ("truncated_gzip", "Transient", 5),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, times: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == times


@pytest.mark.parametrize(
    "fault",
    ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7", "utf8_bom",
     "total_changes_mid_crawl:2", "ogc_search_window", "ogc_number_returned"],
)  # fmt: skip
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    served = rows(25, fault)
    clean.serve(served)
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read_back(served)


def test_a_wrong_number_of_features_fails_where_there_is_no_total(tmp_path: Path) -> None:
    with scene(tmp_path, feed(), rows(25), **route(matched="absent")) as opened:
        opened.fault("ogc_number_returned")
        assert "says that it has 11 features, and has 10" in str(opened.fails("Malformed"))


def test_a_row_that_stands_on_two_pages_costs_another_and_the_key_tells(clean: Scene) -> None:
    """The count is right all the same: only the contract's key sees it."""
    clean.fault("duplicate_rows_between_pages")
    found = clean.rows(clean.fetch())
    assert len(found) == 25 and len(set(found)) == 24


def test_what_is_asked_goes_to_every_page(clean: Scene) -> None:
    one = feed(bbox=(126.25, 37, 128.25, 38), datetime="2026-01-04T00:00:00+00:00/..", sort_by="-name", size=4)
    found = clean.rows(clean.fetch(one), one)
    assert found == sorted(read_back(rows(19)[3:]), key=lambda row: str(row[1]), reverse=True)
    assert all(query["bbox"] == "126.25,37,128.25,38" for query in queries(clean))
    clean.forget()
    assert clean.fetch(feed(bbox=(0, 0, 1, 1))).outcome == "Empty" and len(clean.requests) == 1
    assert "unknown query parameter: nonsense" in str(clean.fails("BadRequest", feed(params={"nonsense": "1"})))
    assert "Collection not found" in str(clean.fails("Gone", feed(collection="stations", base_url=f"{BASE}/collections/stations")))


def test_coordinates_in_another_system_are_refused(clean: Scene) -> None:
    one = feed(crs=5186)
    assert clean.fetch(one).outcome == "Ok"
    clean.fault("ogc_other_crs")
    assert "EPSG/0/3857 in place of" in str(clean.fails("Malformed", one))


@pytest.mark.parametrize("kind", ["query_key", "header_key"])
def test_a_key_goes_to_every_page_and_stands_nowhere(tmp_path: Path, kind: str) -> None:
    name = {"query_key": "api_key", "header_key": "X-Api-Key"}[kind]
    one = feed(auth={"kind": kind, "name": name, "secret": "OGC_KEY"})
    with scene(tmp_path, one, rows(25), **route(token=True, href="inside")) as opened:
        opened.fault("ogc_key_in_links")
        record = opened.fetch()
        assert opened.rows(record) == read_back(rows(25))
        assert [one["query"].count("api_key=") for one in opened.requests] == [1 if kind == "query_key" else 0] * 3
        assert KEY not in repr(opened.requests) and KEY.encode() not in gzip.decompress(opened.store.get_bytes(record.warc_key))
        opened.secret = "expired-0123456789"
        opened.forget()
        error = opened.fails("AuthFailed")
        assert "API_KEY_INVALID" in str(error) and "0123456789" not in str(error) and len(opened.requests) == 1


def test_rows_that_were_withdrawn_and_an_empty_collection(clean: Scene) -> None:
    clean.fetch()
    clean.serve(rows(24))
    assert clean.rows(clean.fetch()) == read_back(rows(24))
    clean.serve([])
    assert clean.fetch().outcome == "Empty"
