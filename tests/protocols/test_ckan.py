"""ckan: requests, errors by type, caps that are not told, and whole fetches of tables and catalogues from the stand-in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.feeds.model import Feed
from assets.protocols.ckan import PROTOCOL
from assets.protocols.kernel import Cursor, Ok, Outcome, PageInfo, Request, Response, Validators, When, outcome_name
from tests.protocols.standin_scene import NOW, Scene, feed_for, fetch_on_paper, paper, scene

SITE = "https://open.example"
TABLE: dict[str, Any] = {"protocol": "ckan", "base_url": SITE, "action": "datastore_search", "resource_id": "abc-1"}
CATALOGUE: dict[str, Any] = {"protocol": "ckan", "base_url": SITE, "action": "package_search"}
ROUTE: dict[str, Any] = {"kind": "ckan", "host": "open.example", "path": "/api/3/action", "options": {"resource_id": "abc-1"}}
SETS: dict[str, Any] = ROUTE | {"options": {}}


def table(size: int = 10, **source: Any) -> Feed:
    return feed_for(TABLE | {"size": size} | source, ["_id", "city"])


def catalogue(size: int = 10, **source: Any) -> Feed:
    return feed_for(CATALOGUE | {"size": size} | source, ["id", "organization.title"])


def rows(count: int) -> list[dict[str, Any]]:
    return [{"_id": n, "city": "Québec" if n % 5 else "서울"} for n in range(1, count + 1)]


def read(count: int) -> list[tuple[str, str]]:
    return [(str(row["_id"]), row["city"]) for row in rows(count)]


def sets(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"s{n:03d}", "organization": {"title": "관청"}, "metadata_modified": f"2026-01-{n:02d}T00:00:00.000000"}
        for n in range(1, count + 1)
    ]


def request(feed: Feed, offset: int = 0, when: When | None = None) -> Request:
    (step,) = PROTOCOL.plan(feed, feed.source, when or When(NOW))
    return PROTOCOL.request(feed, feed.source, step, Cursor(page=1 + (offset > 0), offset=offset), Validators())


def query(sent: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(sent.url).query).items()}


def meant(body: Any, status: int = 200, feed: Feed | None = None, complete: bool = True) -> Outcome:
    one, data = feed or table(), body if isinstance(body, bytes) else json.dumps(body).encode()
    return PROTOCOL.classify(one.source, request(one), Response.of(data, status, {}, complete))


def page(result: dict[str, Any]) -> dict[str, Any]:
    return {"help": "?", "success": True, "result": result}


# --- requests -------------------------------------------------------------------------------------------------------------


def test_a_table_is_asked_in_the_order_of_its_ids_with_filters_as_json() -> None:
    sent = request(table(filters={"city": ("서울", "Québec"), "year": 2026, "day": "{partition}"}), 20, When(NOW, partition="d1"))
    assert sent.url.startswith(f"{SITE}/api/3/action/datastore_search?") and "_id%20asc" in sent.url
    assert query(sent) == {
        "resource_id": "abc-1", "include_total": "true", "sort": "_id asc", "limit": "10", "offset": "20",
        "filters": '{"city": ["서울", "Québec"], "year": 2026, "day": "d1"}',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("q", "sent"),
    [
        ("서울 강", '"서울 강"'),
        ("2026", '"2026"'),
        ('"서울"', '"서울"'),
        ('{"city": "서울"}', '{"city": "서울"}'),
        ("{city", '"{city"'),
    ],
)
def test_words_that_a_table_is_searched_for_are_sent_as_json(q: str, sent: str) -> None:
    """ckan/ckan#4327: in a GET q must itself be JSON; of a catalogue it is a query of the search engine."""
    assert query(request(table(params={"q": q})))["q"] == sent
    assert query(request(catalogue(params={"q": q})))["q"] == q


def test_a_catalogue_is_asked_for_what_changed_since_the_last_fetch() -> None:
    feed = catalogue(params={"fq": "metadata_modified:[{since:%Y-%m-%dT%H:%M:%SZ} TO *]"})
    order = {"q": "*:*", "sort": "metadata_modified asc, id asc", "rows": "10", "start": "0"}
    assert query(request(feed)) == order
    since = request(feed, when=When(NOW, since=datetime(2026, 11, 24, 1, tzinfo=UTC)))
    assert query(since) == order | {"fq": "metadata_modified:[2026-11-24T01:00:00Z TO *]"}


def test_a_value_of_each_that_a_filter_takes_is_no_parameter_too() -> None:
    one = table(filters={"city": "{place}"}, each={"place": ["서울", "부산"]})
    sent = [query(PROTOCOL.request(one, one.source, s, Cursor(), Validators())) for s in PROTOCOL.plan(one, one.source, When(NOW))]
    assert [s["filters"] for s in sent] == ['{"city": "서울"}', '{"city": "부산"}'] and "place" not in sent[0]


def test_the_token_is_only_a_placeholder() -> None:
    sent = request(table(auth={"kind": "header_key", "name": "Authorization", "secret": "CKAN_TOKEN"}))
    assert sent.headers["Authorization"] == "{secret:CKAN_TOKEN}"


@pytest.mark.parametrize(
    "source",
    [TABLE | {"resource_id": None}, CATALOGUE | {"resource_id": "a"}, TABLE | {"size": 32_001}, CATALOGUE | {"size": 1001},
     CATALOGUE | {"filters": {"a": 1}}],
)  # fmt: skip
def test_declarations_that_cannot_work_are_told(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed_for(source, ["id"])


def test_addresses_are_recognised() -> None:
    found = PROTOCOL.recognise(f"{SITE}/data/api/3/action/datastore_search?resource_id=abc-1&limit=5&q=x")
    assert found == TABLE | {"base_url": f"{SITE}/data", "params": {"q": "x"}}
    assert PROTOCOL.recognise(f"{SITE}/api/3/action/package_show?id=a") is None


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 0])
@pytest.mark.parametrize(
    ("kind", "own", "outcome"),
    [
        ("Authorization Error", 403, "AuthFailed"), ("Access denied", 403, "AuthFailed"), ("Not Found Error", 404, "Gone"),
        ("Validation Error", 409, "BadRequest"), ("Search Query Error", 409, "BadRequest"),
        ("Internal Server Error", 500, "Transient"),
    ],
)  # fmt: skip
def test_an_error_means_its_type_whatever_the_status(kind: str, own: int, outcome: str, status: int) -> None:
    assert outcome_name(meant({"success": False, "error": {"__type": kind, "message": "m"}}, status or own)) == outcome


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (404, b"<!DOCTYPE html><html></html>", "Gone"), (410, b"", "Gone"), (403, b"", "AuthFailed"),
        (400, b'"Bad request"', "BadRequest"),
        (409, b"", "BadRequest"), (500, b"<html></html>", "Transient"), (429, b"", "RateLimited"), (200, b"", "Malformed"),
        (200, b"<html></html>", "Malformed"), (200, b'{"success": true, "result": {"records": [{"a"', "Transient"),
        (200, b'{"success": true, "result": {}}', "Malformed"), (200, b'{"result": {"records": [], "total": 0}}', "Malformed"),
        (200, b'{"success": true, "result": {"records": []}}', "Malformed"),
        (200, b'{"success": false, "error": "odd"}', "Malformed"),
    ],
)  # fmt: skip
def test_statuses_and_bodies(status: int, body: bytes, outcome: str) -> None:
    assert outcome_name(meant(body, status)) == outcome


def test_a_page_says_its_total_and_the_cap_that_was_kept() -> None:
    whole = page(
        {"limit": 3, "records": [{"total": 7, "limit": 9}], "fields": [{"id": "a"}], "total": 50, "records_truncated": True}
    )
    assert meant(whole) == ok(total=50, page_size=3)
    whole["result"]["records"] *= 20_000  # only its head and tail are seen, and a column may be named like CKAN's own fields
    assert meant(whole) == ok(total=50, page_size=3)
    assert outcome_name(meant(whole, complete=False)) == "Transient"
    assert outcome_name(meant(page({"records": [], "total": 0}))) == "Empty"
    assert meant(page({"count": 2, "results": [{}]}), feed=catalogue()) == ok(total=2)
    assert meant(page({"records": [{}], "total": 99, "total_was_estimated": True})) == ok()


def ok(**info: Any) -> Outcome:
    return Ok(PageInfo(**info))


# --- the stand-in ---------------------------------------------------------------------------------------------------------

FAULTS = [
    "page_size_capped:3", "offset_ignored", "total_changes_mid_crawl:2", "total_changes_mid_crawl:50", "estimated_total",
    "ckan_error:409", "ckan_error_200:404", "ckan_error:500", "html_200", "empty_body_200", "status_500:1", "no_data",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 25), st.integers(1, 12), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True), st.booleans())
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(total: int, size: int, faults: list[str], as_table: bool) -> None:
    one = table(size) if as_table else catalogue(size)
    served = rows(total) if as_table else sets(total)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, served, faults=faults, **(ROUTE if as_table else SETS)))
    assert done.outcome in ("Ok", "Empty", "Malformed", "Transient", "BadRequest", "Gone"), done
    if done.outcome == "Ok":
        assert done.rows == (read(total) if as_table else [(s["id"], "관청") for s in served])
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults
    if set(faults) <= {"page_size_capped:3", "estimated_total", "status_500:1"}:
        assert done.outcome == ("Ok" if total else "Empty")


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("site"), table(), rows(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene) -> Scene:
    agency.serve(rows(25))
    agency.fault()
    agency.forget()
    return agency


def test_all_pages_once(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read(25)
    assert [r["query"].partition("offset=")[2] for r in clean.requests] == ["0", "10", "20"]
    clean.forget()
    assert clean.rows(clean.fetch(table(filters={"city": "서울"}))) == [row for row in read(25) if row[1] == "서울"]


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("ckan_error:403", "AuthFailed", 1), ("ckan_error:404", "Gone", 1), ("ckan_error:409", "BadRequest", 1),
        ("ckan_error:500", "Transient", 5), ("ckan_error_200:403", "AuthFailed", 1), ("ckan_error_200:409", "BadRequest", 1),
        ("status_404", "Gone", 1), ("html_200", "Malformed", 2), ("empty_body_200", "Malformed", 2),
        ("offset_ignored", "Malformed", 2),
        ("total_changes_mid_crawl:99", "Malformed", 6), ("stream_cut", "Transient", 5), ("truncated_gzip", "Transient", 5),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault",
    ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "page_size_capped:7", "utf8_bom",
     "total_changes_mid_crawl:2", "estimated_total"],
)  # fmt: skip
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read(25)


def test_a_row_that_stands_on_two_pages_costs_another_and_the_key_tells(clean: Scene) -> None:
    """The count is right all the same: only the contract's key sees it."""
    clean.fault("duplicate_rows_between_pages")
    found = clean.rows(clean.fetch())
    assert len(found) == 25 and len(set(found)) == 23


def test_a_cap_of_the_server_leaves_no_row_out(clean: Scene) -> None:
    with scene(clean.folder / "capped", table(), rows(25), **ROUTE | {"options": {"resource_id": "abc-1", "largest": 4}}) as capped:
        assert capped.rows(capped.fetch()) == read(25) and len(capped.requests) == 7


def test_without_the_token_nothing_comes_and_with_it_everything(clean: Scene) -> None:
    keyed = table(auth={"kind": "header_key", "name": "Authorization", "secret": "CKAN_TOKEN"})
    with scene(clean.folder / "keyed", keyed, rows(5), **ROUTE | {"options": {"resource_id": "abc-1", "token": True}}) as closed:
        assert closed.rows(closed.fetch()) == read(5)
        closed.secret = "NOBODYSTOKEN01"
        assert "NOBODY" not in str(closed.fails("AuthFailed"))


def test_a_catalogue_brings_changes_alone_and_a_table_that_is_gone_is_told(clean: Scene) -> None:
    clean.fails("Gone", table(resource_id="other"))
    clean.fails("Gone", catalogue())  # the action is not served there: as data.gov answers since it is no CKAN
    changes = catalogue(params={"fq": "metadata_modified:[{since:%Y-%m-%dT%H:%M:%SZ} TO *]"})
    with scene(clean.folder / "sets", changes, sets(12), **SETS) as site:
        assert len(site.rows(site.fetch())) == 12
        assert site.fetch().outcome == "Empty"
        site.serve([*sets(12)[1:], sets(1)[0] | {"metadata_modified": "2027-01-01T00:00:00"}])
        assert site.rows(site.fetch()) == [("s001", "관청")]
        everything = catalogue()
        assert len(site.rows(site.fetch(everything), everything)) == 12
