"""datagov_search: requests, the opaque cursor, errors of the catalogue and its gateway, whole fetches from the stand-in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.feeds.model import Feed
from assets.onboarding.looking import source_of
from assets.protocols.answers.json_pages import NO_MORE_PAGES
from assets.protocols.ckan import PROTOCOL as CKAN
from assets.protocols.datagov_search import PROTOCOL
from assets.protocols.kernel import Body, Cursor, Gone, Malformed, Ok, Outcome, PageInfo, Request, Response, Transient, outcome_name
from tests.protocols.json_scene import requests, urls
from tests.protocols.standin_scene import Scene, feed_for, fetch_on_paper, paper, scene

BASE = "https://catalogue.example/technology/datagov/v4"
SEARCH: dict[str, Any] = {"protocol": "datagov_search", "base_url": BASE}
OPEN: dict[str, Any] = {"auth": {"kind": "none"}}
ROUTE: dict[str, Any] = {"kind": "datagov_search", "host": "catalogue.example", "path": "/technology/datagov/v4"}
KEYLESS = ROUTE | {"options": {"key": False}}


def search(size: int = 10, **source: Any) -> Feed:
    return feed_for(SEARCH | {"size": size} | source, ["slug", "dcat.title"])


def sets(count: int) -> list[dict[str, Any]]:
    """Data sets as the catalogue sorts them by relevance: all alike, so by popularity and name."""
    return [
        {"slug": f"set-{n:03d}", "dcat": {"title": f"Título {n}", "after": "no cursor"}, "popularity": 100 - n,
         "last_harvested_date": f"2026-10-{n + 1:02d}T00:00:00", "organization": {"slug": "nasa" if n % 2 else "usgs"}}
        for n in range(count)
    ]  # fmt: skip


def read(count: int) -> list[tuple[str, str]]:
    return [(one["slug"], one["dcat"]["title"]) for one in sets(count)]


def query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


def meant(body: Any, status: int = 200, url: str = f"{BASE}/search", page: int = 1, complete: bool = True) -> Outcome:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    source, request = search().source, Request(url, page=page)
    return PROTOCOL.classify(source, request, Response.of(data, status, {}, complete))


# --- requests -------------------------------------------------------------------------------------------------------------


def test_a_search_has_an_order_a_size_and_the_key_in_a_header() -> None:
    (request,) = requests(search(params={"q": "sea ice", "org_slug": "nasa"}))
    assert request.url.startswith(f"{BASE}/search?")
    assert query(request) == {"q": "sea ice", "org_slug": "nasa", "sort": "relevance", "per_page": "10"}
    assert request.headers["X-Api-Key"] == "{secret:DATA_GOV_API_KEY}"
    assert "X-Api-Key" not in requests(search(**OPEN))[0].headers


@pytest.mark.parametrize("cursor", ["WzEuMCwxMDAsInNldC0wMDkiXQ==", "a-b_c==", 'odd "%2B" +&?'])
def test_the_cursor_goes_back_as_it_came(cursor: str) -> None:
    """A cursor that lost a character is answered with 500 and a page of HTML."""
    (request,) = requests(search(), Cursor(page=2, offset=10, token=cursor))
    assert query(request)["after"] == cursor


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"size": 1001}, "1000"), ({"sort": "newest"}, "relevance"), ({"params": {"after": "x"}}, "field of its own"),
        ({"params": {"api_key": "x"}}, "field of its own"), ({"sort": "distance"}, "spatial_geometry"),
        ({"auth": {"kind": "query_key"}}, "pattern"),
    ],
)  # fmt: skip
def test_declarations_that_cannot_work_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        search(**wrong)


def test_addresses_are_recognised_those_of_the_ckan_that_is_gone_too() -> None:
    found = PROTOCOL.recognise("https://catalog.data.gov/search?q=ozone&after=abc&per_page=5&sort=popularity")
    here = {"protocol": "datagov_search", "base_url": "https://catalog.data.gov", "auth": {"kind": "none"}}
    assert found == here | {"params": {"q": "ozone"}}
    old = "https://catalog.data.gov/api/3/action/package_search?q=ozone&rows=5"
    assert PROTOCOL.recognise(old) == here | {"params": {"q": "ozone"}} == source_of(old)
    assert PROTOCOL.recognise("https://catalog-old.data.gov/api/3/action/package_search?q=*:*") == here
    gateway = PROTOCOL.recognise("https://api.gsa.gov/technology/datagov/v4/search?api_key=SOMEBODYSKEY&org_slug=nasa")
    assert gateway == {"protocol": "datagov_search", "params": {"org_slug": "nasa"}}
    for one in (found, gateway):
        assert urls(feed_for(one or {}, ["slug"]))
    assert PROTOCOL.recognise("https://data.gov.uk/search?q=x") is None
    assert PROTOCOL.recognise("https://catalog.data.gov/dataset/some-set") is None
    assert CKAN.recognise(old) is None


# --- answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (403, {"error": {"code": "API_KEY_MISSING", "message": "No api_key was supplied."}}, "AuthFailed"),
        (403, {"error": {"code": "API_KEY_INVALID", "message": "An invalid api_key"}}, "AuthFailed"),
        (429, {"error": {"code": "OVER_RATE_LIMIT", "message": "exceeded"}}, "RateLimited"), (429, b"slow down", "RateLimited"),
        (400, {"error": "Search failed", "message": "spatial_geometry parameter is malformed"}, "BadRequest"),
        (422, {"message": "Validation error", "detail": {"query": {"per_page": ["Must be less"]}}}, "BadRequest"),
        (404, {"error": "Not Found"}, "Gone"), (404, b"<html>404</html>", "Gone"),
        (500, b"<html>Site unavailable</html>", "Transient"),
        (503, b"", "Transient"), (200, b"", "Malformed"), (200, b"<html></html>", "Malformed"), (200, [], "Malformed"),
        (200, {"error": "Search failed"}, "Malformed"), (200, {"success": True, "result": {"results": []}}, "Empty"),
        (200, b'{"results": [{"slug": "a"}', "Transient"), (200, {"results": [], "sort": "relevance"}, "Empty"),
        (200, {"results": [], "sort": "relevance", "after": "WzFd"}, "Malformed"),
        (200, {"results": [{}], "sort": "popularity"}, "Malformed"),
    ],
)  # fmt: skip
def test_statuses_and_bodies(status: int, body: Any, outcome: str) -> None:
    assert outcome_name(meant(body, status)) == outcome


def test_a_page_leads_on_by_its_cursor_and_the_last_one_has_none() -> None:
    one = {"results": [{"after": "a field of a record", "sort": "x"}], "sort": "relevance", "after": "WzFd"}
    assert meant(one) == Ok(PageInfo(next_cursor="WzFd"))
    assert meant({**one, "results": one["results"] * 9_000}) == Ok(PageInfo(next_cursor="WzFd")), "only head and tail are seen"
    assert meant({"results": [{}], "sort": "relevance"}) == Ok(PageInfo(page_size=NO_MORE_PAGES))
    assert isinstance(meant({"results": [], "sort": "relevance"}, page=2), Malformed), "a cursor is given where there are more"
    assert outcome_name(meant(one, complete=False)) == "Transient"


def test_what_went_wrong_is_told_to_those_who_must_act() -> None:
    gone = meant({"error": "Not Found"}, 404)
    assert isinstance(gone, Gone) and "no CKAN any more" in gone.reason
    cut = meant(b"<html>Site unavailable</html>", 500, f"{BASE}/search?after=NOTAVALIDCURSOR")
    assert isinstance(cut, Transient) and "cursor" in cut.reason
    plain = meant(b"<html>Site unavailable</html>", 500)
    assert isinstance(plain, Transient) and "cursor" not in plain.reason
    assert isinstance(meant({"results": [{}], "sort": "relevance"} | {"sort": "popularity"}), Malformed)


def test_clicks_and_cursors_are_no_news(tmp_path: Path) -> None:
    digests = set()
    for popularity, title in ((1, "a"), (2, "a"), (2, "b")):
        one = {"slug": "x", "popularity": popularity, "_score": popularity, "_sort": [popularity], "dcat": {"title": title}}
        (tmp_path / "body").write_text(json.dumps({"results": [one], "after": str(popularity), "sort": "relevance"}))
        digests.add(PROTOCOL.canonical_sha256(search().source, Body(tmp_path / "body", {}, "")))
    assert len(digests) == 2


# --- the stand-in ---------------------------------------------------------------------------------------------------------

FAULTS = [
    "cursor_ignored", "cursor_loops", "cursor_rejected", "empty_page_more_true", "page_size_capped:3", "no_data", "sort_ignored",
    "over_rate_limit", "html_200", "empty_body_200", "status_500:1", "status_404",
]  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 25),
    st.integers(1, 12),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
    st.sampled_from(["relevance", "popularity"]),
)
def test_a_finished_fetch_has_the_catalogues_sets_or_there_is_none(total: int, size: int, faults: list[str], sort: str) -> None:
    one = search(size, sort=sort)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, sets(total), faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "Empty", "Malformed", "Transient", "RateLimited", "Gone"), done
    if done.outcome == "Ok":
        assert done.rows == read(total)
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults
    if set(faults) <= {"page_size_capped:3", "status_500:1"}:
        assert done.outcome == ("Ok" if total else "Empty")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("catalogue"), search(), sets(25), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(catalogue: Scene) -> Scene:
    catalogue.serve(sets(25))
    catalogue.fault()
    catalogue.forget()
    return catalogue


def test_all_pages_once_until_one_leads_nowhere(clean: Scene) -> None:
    assert clean.rows(clean.fetch()) == read(25)
    assert len(clean.requests) == 3 and ["after=" in one["query"] for one in clean.requests] == [False, True, True]
    clean.forget()
    assert clean.rows(clean.fetch(search(params={"org_slug": "nasa"}))) == [row for n, row in enumerate(read(25)) if n % 2]
    assert len(clean.requests) == 2
    clean.serve(sets(10))
    clean.forget()
    assert clean.rows(clean.fetch()) == read(10) and len(clean.requests) == 1, "a full page without a cursor is the last"


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("cursor_ignored", "Malformed", 2), ("cursor_loops", "Malformed", 2), ("cursor_rejected", "Transient", 6),
        ("empty_page_more_true", "Malformed", 3), ("over_rate_limit", "RateLimited", 5), ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1), ("html_200", "Malformed", 2), ("empty_body_200", "Malformed", 2),
        ("stream_cut", "Transient", 5), ("truncated_gzip", "Transient", 5),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault",
    [
        "status_500:2",
        "status_503:1",
        "over_rate_limit:2",
        "retry_after_0:2",
        "stream_cut:1",
        "reset_mid_body:1",
        "page_size_capped:7",
    ],
)
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == read(25)


def test_an_order_that_is_not_kept_is_seen(clean: Scene) -> None:
    clean.fault("sort_ignored")
    clean.fails("Malformed", search(sort="last_harvested_date"))


def test_a_set_that_moved_between_pages_comes_twice_and_the_key_tells(clean: Scene) -> None:
    clean.fault("duplicate_rows_between_pages")
    found = clean.rows(clean.fetch())
    assert len(found) == 25 and len(set(found)) == 23


def test_without_the_key_nothing_comes_and_the_key_is_not_told(clean: Scene) -> None:
    clean.fails("AuthFailed", search(**OPEN))
    with scene(clean.folder / "keyed", search(), sets(5), **ROUTE) as keyed:
        keyed.secret = "SOMEBODYSKEY01"
        assert "SOMEBODYSKEY01" not in str(keyed.fails("AuthFailed"))
    with scene(clean.folder / "open", search(**OPEN), sets(5), **KEYLESS) as free:
        assert free.rows(free.fetch()) == read(5)


def test_the_page_size_of_the_catalogue_is_kept_and_the_old_address_is_gone(clean: Scene) -> None:
    with scene(clean.folder / "small", search(20), sets(5), **ROUTE | {"options": {"largest": 10}}) as small:
        small.fails("BadRequest")
    clean.fails("Gone", search(base_url=f"{BASE}/api/3/action"))
