"""dcat_rdf: whole fetches from the stand-in, in every form and by both of Hydra's, and the faults of pages, links and totals."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.feeds.model import Feed
from assets.tables.build import TableResult, build_table
from tests.protocols.dcat_scene import FORMS, KEYS, ROUTE, rdf_feed, read_rows, rows
from tests.protocols.standin_scene import Scene, fetch_on_paper, paper, scene

SIZE = 10
OPTIONS: dict[str, Any] = {"size": SIZE}


def route(**options: Any) -> dict[str, Any]:
    return ROUTE | {"options": OPTIONS | options}


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("portal"), rdf_feed(), rows(25), **route()) as opened:
        yield opened


@pytest.fixture
def clean(portal: Scene, tmp_path: Path) -> Scene:
    """The portal without faults, and nothing archived yet."""
    portal.serve(rows(25))
    portal.fault()
    portal.forget()
    return Scene(tmp_path, portal.feed, portal.agency, portal.url)


# --- on paper -------------------------------------------------------------------------------------------------------------

HARMLESS = ["links_inside", "total_changes_mid_crawl:2", "no_total", "status_500:1"]
HARMFUL = [
    "offset_ignored", "total_changes_mid_crawl:90", "total_wrong", "links_end:2", "links_in_a_circle", "html_200", "empty_body_200",
    "entity_bomb", "remote_context", "no_data",
]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 17), st.integers(2, 9), st.sampled_from(FORMS), st.sampled_from(["old", "new", "both"]),
    st.lists(st.sampled_from(HARMLESS + HARMFUL), max_size=2, unique=True),
)  # fmt: skip
def test_a_finished_fetch_has_every_data_set_once_or_there_is_none(
    total: int, size: int, form: str, hydra: str, faults: list[str]
) -> None:
    feed = rdf_feed(form)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(feed, paper(Path(folder), feed, rows(total), faults=faults, **route(size=size, hydra=hydra)))
    assert done.outcome in ("Ok", "Empty", "Malformed"), done
    # Without a total nobody can know that links end too early, or that pages repeat.
    known = "no_total" not in faults
    if done.outcome == "Ok" and (known or not {"links_end:2", "offset_ignored"} & set(faults)):
        assert done.rows == read_rows(total)
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults
    if set(faults) <= set(HARMLESS):
        assert done.outcome == ("Ok" if total else "Empty"), done


# --- over a real connection -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*FORMS, "xml"])
def test_all_pages_once_in_every_form(clean: Scene, form: str) -> None:
    feed = rdf_feed(form)
    assert clean.rows(clean.fetch(feed), feed) == read_rows(25)
    assert [(r["path"], r["query"]) for r in clean.requests] == [(f"/catalog.{form}", q) for q in ("", "page=2", "page=3")]


@pytest.mark.parametrize("hydra", ["old", "new", "both"])
def test_both_forms_of_hydra(clean: Scene, hydra: str) -> None:
    with scene(clean.folder / hydra, rdf_feed("rdf"), rows(25), **route(hydra=hydra)) as site:
        assert site.rows(site.fetch()) == read_rows(25) and len(site.requests) == 3


def test_a_catalogue_without_pages_is_one_request(clean: Scene) -> None:
    with scene(clean.folder / "whole", rdf_feed(), rows(25), **route(hydra="none", size=1000)) as site:
        assert site.rows(site.fetch()) == read_rows(25) and len(site.requests) == 1


def test_data_sets_by_their_own_addresses(clean: Scene) -> None:
    one = rdf_feed(source={"url": "https://open.example/dataset/{id}.jsonld", "each": {"id": ["d003", "d001"]}})
    assert clean.rows(clean.fetch(one), one) == [read_rows(3)[2], read_rows(3)[0]]
    assert "404" in str(clean.fails("Gone", rdf_feed(source={"url": "https://open.example/dataset/none.ttl"})))


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("html_200", "Malformed", 2), ("empty_body_200", "Malformed", 2), ("entity_bomb", "Malformed", 2), ("xxe", "Malformed", 2),
        ("status_404", "Gone", 1), ("status_403", "AuthFailed", 1), ("status_500", "Transient", 5), ("stream_cut", "Transient", 5),
        ("reset_mid_body", "Transient", 5), ("truncated_gzip", "Transient", 5), ("redirect_other_host", "BadRequest", 1),
        ("offset_ignored", "Malformed", 2), ("total_changes_mid_crawl:99", "Malformed", 6), ("total_wrong", "Malformed", 3),
        ("links_end:1", "Malformed", 2), ("links_end:2", "Malformed", 2),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    feed = rdf_feed("rdf")
    clean.fails(outcome, feed)
    assert len(clean.requests) == asked, clean.requests


@pytest.mark.parametrize(
    "fault",
    ["links_inside", "no_total", "total_changes_mid_crawl:2", "status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1",
     "reset_mid_body:1", "utf8_bom", "links_in_a_circle"],
)  # fmt: skip
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    """A circle behind the last page is harmless where the total tells that it is the last."""
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read_rows(25)
    assert {r["host"] for r in clean.requests} == {"open.example"}


@pytest.mark.parametrize("total", [15, 25, 45, 95])
def test_links_in_a_circle_end_the_fetch_where_no_total_does(clean: Scene, portal: Scene, total: int) -> None:
    portal.serve(rows(total))
    clean.fault("links_in_a_circle", "no_total")
    error = clean.fails("Malformed")
    assert "circle" in str(error) or "itself" in str(error) or "same record" in str(error)
    assert len(clean.requests) <= 3 * (total // SIZE + 1)


def test_the_reason_tells_where_the_links_ended(clean: Scene) -> None:
    clean.fault("links_end:2")
    assert "the pages end after 20 of 25 rows" in str(clean.fails("Malformed"))
    clean.fault("links_end:1")
    failed = clean.fails("Malformed")
    assert "10 of the 25 data sets of hydra:totalItems" in str(failed)


def test_no_secret_of_another_feed_is_filled_into_a_link(clean: Scene) -> None:
    clean.fault("link_with_a_secret")
    assert clean.rows(clean.fetch()) == read_rows(25)
    assert [r["query"].split("&")[0] for r in clean.requests] == ["", "x=%7Bsecret:OTHER_KEY%7D", "x=%7Bsecret:OTHER_KEY%7D"]


def test_a_context_that_is_elsewhere_ends_the_fetch_with_its_address(clean: Scene) -> None:
    clean.fault("remote_context")
    assert "elsewhere.example/dcat.jsonld" in str(clean.fails("Malformed", rdf_feed("jsonld")))
    assert {r["host"] for r in clean.requests} == {"open.example"} and len(clean.requests) == 2


def test_a_key_goes_along_on_every_page_and_is_not_archived(clean: Scene) -> None:
    keyed = rdf_feed(source={"auth": {"kind": "query_key", "name": "api_key", "secret": "PORTAL_KEY"}})
    clean.secret = "SECRETOFPORTAL1"
    record = clean.fetch(keyed)
    assert clean.rows(record, keyed) == read_rows(25)
    assert [r["query"].count("api_key=") for r in clean.requests] == [1, 1, 1]
    assert b"SECRETOFPORTAL1" not in clean.store.local_path(record.warc_key, clean.folder / "warc").read_bytes()


def test_the_same_data_sets_in_other_bytes_are_no_news(clean: Scene, portal: Scene) -> None:
    """Each answer of the portal has its statements in another order, and other names for nameless nodes."""
    first = clean.fetch()
    again = clean.fetch()
    assert (again.outcome, again.body_fetch_id, again.payload_sha256 == first.payload_sha256) == (
        "NotModified",
        first.fetch_id,
        False,
    )
    portal.serve([rows(1)[0] | {"publisher": "Amt"}, *rows(24, 2)])
    assert clean.fetch().outcome == "Ok"


def test_changes_alone_are_asked_for_and_none_is_no_error(clean: Scene, portal: Scene) -> None:
    changes = rdf_feed(source={"params": {"modified_since": "{since:%Y-%m-%dT%H:%M:%SZ}"}})
    assert len(clean.rows(clean.fetch(changes), changes)) == 25
    clean.forget()
    assert clean.fetch(changes).outcome == "Empty"
    assert clean.requests[0]["query"].startswith("modified_since=2026-11-2")
    portal.serve([*rows(25)[1:], rows(1)[0] | {"modified": "2027-01-01T00:00:00+00:00"}])
    assert [row[0] for row in clean.rows(clean.fetch(changes), changes)] == ["https://open.example/dataset/d001"]
    assert "409" in str(clean.fails("BadRequest", rdf_feed(source={"params": {"modified_since": "soon"}})))


# --- the table ------------------------------------------------------------------------------------------------------------


def named(**parts: Any) -> Feed:
    columns = [{"name": key, "nullable": key != "uri"} for key in KEYS]
    return rdf_feed(contract={"columns": columns, "key": ["uri"], "max_quarantine": 0.5}, **parts)


def build(clean: Scene, feed: Feed) -> TableResult:
    record = clean.fetch(feed)
    return build_table(feed, record, store=clean.store, ledger=clean.ledger, workdir=clean.folder / "build", now=clean.clock.now())


def test_data_sets_without_an_address_are_set_aside_and_told(clean: Scene, portal: Scene) -> None:
    portal.serve([row | {"uri": None} if n in (3, 13) else row for n, row in enumerate(rows(25))])
    done = build(clean, named())
    assert (done.rows_read, done.accepted, done.quarantined) == (25, 23, 2)


def test_a_data_set_that_stands_on_two_pages_has_pushed_another_out(clean: Scene) -> None:
    clean.fault("duplicate_rows_between_pages")
    assert "begins with a record of the page before" in str(clean.fails("Malformed", named()))


def test_data_sets_come_and_go_by_set_difference_and_a_catalogue_that_shrank_takes_none(clean: Scene, portal: Scene) -> None:
    build(clean, named())
    portal.serve(rows(24, 3))
    done = build(clean, named())
    assert (done.changes.added, done.changes.withdrawn, done.changes.unchanged) == (1, 2, 23)
    portal.serve(rows(2))
    assert [check.name for check in build(clean, named()).blocked] == ["shrink_guard"]


def test_a_page_larger_than_allowed_is_refused(clean: Scene) -> None:
    assert "max_page_bytes" in str(clean.fails("Malformed", rdf_feed(source={"max_page_bytes": 1000})))
