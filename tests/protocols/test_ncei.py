"""ncei: the three services' requests, their errors, rows that leave elements out, and whole fetches from the stand-in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.answers.json_pages import NO_MORE_PAGES
from assets.protocols.kernel import Body, Cursor, Ok, Outcome, PageInfo, Request, Response, When, outcome_name
from assets.protocols.ncei import PROTOCOL
from tests.protocols.json_scene import read, requests
from tests.protocols.ncei_scene import (
    CDO,
    DATA,
    ROUTES,
    SEARCH,
    cdo,
    data,
    days,
    read_days,
    read_stations,
    read_values,
    search,
    stations,
    values,
)
from tests.protocols.standin_scene import NOW, Scene, feed_for, fetch_on_paper, paper, scene

MADE = {"data": data, "search": search, "cdo": cdo}
SERVED = {"data": days, "search": stations, "cdo": values}
READ = {"data": read_days, "search": read_stations, "cdo": read_values}
SERVICES = sorted(MADE)


def query(request: Request) -> dict[str, str]:
    return {name: found[0] for name, found in parse_qs(urlsplit(request.url).query).items()}


def meant(feed: Feed, body: Any, status: int = 200, page: int = 1, complete: bool = True) -> Outcome:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(feed.source.address, page=page)
    return PROTOCOL.classify(feed.source, request, Response.of(raw, status, {}, complete))


# --- requests -------------------------------------------------------------------------------------------------------------


def test_records_are_asked_for_by_station_element_and_day_both_ends_meant() -> None:
    (request,) = requests(data(params={"includeStationName": "true"}))
    assert urlsplit(request.url).path == "/access/services/data/v1" and "stations=A1&dataTypes=TMAX,PRCP" in request.url
    assert query(request) == {
        "dataset": "daily-summaries", "stations": "A1", "dataTypes": "TMAX,PRCP",
        "startDate": "2026-01-29", "endDate": "2026-11-24",
        "includeStationName": "true", "units": "metric", "format": "json",
    }  # fmt: skip
    (flagged,) = requests(
        data(attributes=True, format="csv", units="standard", stations=[], box={"north": 2, "west": 1, "south": 0, "east": 3})
    )
    sent = query(flagged)
    assert (sent["includeAttributes"], sent["format"], sent["units"]) == ("true", "csv", "standard")
    assert sent["boundingBox"] == "2,1,0,3" and "stations" not in sent


def test_a_box_is_sent_in_the_order_of_each_service() -> None:
    """In another order the search answers with 500, and CDO with other stations."""
    (request,) = requests(search(), Cursor(page=2, offset=10))
    assert query(request) == {"dataset": "daily-summaries", "bbox": "39,124,33,132", "limit": "10", "offset": "10"}
    (old,) = requests(cdo(stations=[], box=SEARCH["box"]))
    assert query(old)["extent"] == "33,124,39,132"


def test_the_old_service_has_its_names_its_token_and_counts_from_one() -> None:
    feed = cdo(data_types=["TMAX", "TMIN"])
    (request,) = requests(feed, Cursor(page=2, offset=10))
    assert query(request) == {
        "datasetid": "GHCND", "stationid": "GHCND:A1", "datatypeid": "TMAX,TMIN", "startdate": "2026-01-29",
        "enddate": "2026-11-24", "units": "metric", "limit": "10", "offset": "11",
    }  # fmt: skip
    assert request.headers["token"] == "{secret:NOAA_CDO_TOKEN}"
    limits = feed.source.limits
    assert (limits.per_second, limits.per_day, limits.concurrency) == (4, 10_000, 1)
    own = cdo(auth={"kind": "header_key", "secret": "MY_TOKEN"}, limits={"per_day": 500})
    assert own.source.limits.per_day == 500 and own.source.limits.per_second == 4
    assert requests(own)[0].headers["token"] == "{secret:MY_TOKEN}"
    assert data().source.auth.kind == "none"


@pytest.mark.parametrize(
    ("source", "wrong", "why"),
    [
        (DATA, {"stations": []}, "of which place"), (DATA, {"window": None}, "of which days"),
        (DATA, {"params": {"dataTypes": "TMAX"}}, "field of its own"), (DATA, {"dataset": "a b"}, "pattern"),
        (DATA, {"failed_checks": "status"}, "attributes"), (CDO, {"format": "csv"}, "belong to the service data"),
        (SEARCH, {"attributes": True}, "belong to the service data"), (SEARCH, {"size": 1001}, "1000"),
        (SEARCH, {"box": {"north": 33, "west": 124, "south": 39, "east": 132}}, "north"),
        (SEARCH, {"box": [39, 124, 33, 132]}, "Box"),
    ],
)  # fmt: skip
def test_declarations_that_cannot_work_are_refused(source: dict[str, Any], wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        feed_for(source | wrong, ["DATE"])


def test_the_old_service_gives_a_year_at_most() -> None:
    years = cdo(window={"every": "year", "count": 3, "requests": "each"})
    assert [query(r)["startdate"] for r in requests(years)] == ["2023-01-01", "2024-01-01", "2025-01-01"]
    assert query(requests(years)[1])["enddate"] == "2024-12-31"
    long = cdo(window={"every": "year", "count": 3, "requests": "one"})
    with pytest.raises(ValueError, match="at most a year"):
        list(PROTOCOL.plan(long, long.source, When(NOW)))


def test_addresses_are_recognised() -> None:
    site = "https://www.ncei.noaa.gov"
    asked = "dataset=daily-summaries&stations=USW00094728,A2&startDate=2026-01-01&endDate=2026-01-31&dataTypes=TMAX"
    url = f"{site}/access/services/data/v1?{asked}&format=json&includeStationName=true"
    window = {"every": "day", "count": 30, "requests": "one"}
    assert PROTOCOL.recognise(url) == {
        "protocol": "ncei", "service": "data", "dataset": "daily-summaries", "stations": ["USW00094728", "A2"],
        "data_types": ["TMAX"], "window": window, "params": {"includeStationName": "true"},
    }  # fmt: skip
    found = PROTOCOL.recognise(f"{site}/access/services/search/v1/data?dataset=global-hourly&bbox=39,124,33,132&limit=5")
    assert found == {"protocol": "ncei", "service": "search", "dataset": "global-hourly", "box": SEARCH["box"]}
    old = PROTOCOL.recognise(
        "https://www.ncdc.noaa.gov/cdo-web/api/v2/data?datasetid=GHCND&locationid=ZIP:28801&extent=33,124,39,132&limit=1000"
    )
    assert old is not None and old["params"] == {"locationid": "ZIP:28801"} and old["box"] == SEARCH["box"]
    for one in (PROTOCOL.recognise(url), found, old):
        assert requests(feed_for(one or {}, ["DATE"]))
    assert PROTOCOL.recognise(f"{site}/data/seattle-weather.csv") is None
    assert PROTOCOL.recognise("https://other.example/access/services/data/v1?dataset=daily-summaries") is None


# --- what answers mean ----------------------------------------------------------------------------------------------------

ACCESS = {"errorMessage": "Bad Request", "errorCode": 400, "errors": [
    {"field": "startDate", "message": "A start date is required.", "value": None},
    {"field": "endDate", "message": "An end date is required.", "value": None},
]}  # fmt: skip
BROKEN = {"errorMessage": "Internal Server Error", "errorCode": 500}
TABLE = b'"STATION","DATE","TMAX"\n"A1","2026-11-01","  12.3"\n'
NO_TOKEN = {"status": "400", "message": "Token parameter is required."}
BAD_TOKEN = {"status": "400", "message": "The token parameter provided is not valid."}
FAST = {"status": "429", "message": "This token has reached its temporary request limit of 5 per second."}
USED_UP = {"status": "429", "message": "This token has reached its temporary request limit of 10000 per day."}
LONG = {"statusCode": "400", "userMessage": "There was an error", "developerMessage": "The date range must be less than 1 year."}
ODD = {"statusCode": "500", "userMessage": "An error occured", "developerMessage": "x"}
CSV = data(format="csv")


@pytest.mark.parametrize(
    ("feed", "status", "body", "outcome"),
    [
        (data(), 400, ACCESS, "BadRequest"), (data(), 200, ACCESS, "BadRequest"), (data(), 500, BROKEN, "Transient"),
        (data(), 200, [], "Empty"), (data(), 200, {}, "Malformed"), (data(), 200, b"", "Malformed"),
        (data(), 200, b"<html></html>", "Malformed"), (data(), 200, b'[{"DATE":"2026-01-01"}', "Transient"),
        (data(), 503, b"<html></html>", "Transient"), (data(), 404, b"", "Gone"), (data(), 429, b"slow down", "RateLimited"),
        (CSV, 200, b"", "Malformed"), (CSV, 200, TABLE, "Ok"), (CSV, 200, ACCESS, "BadRequest"),
        (CSV, 200, TABLE[:-1], "Transient"), (CSV, 200, TABLE + b'"A1","2026-11-02","   1', "Transient"),
        (CSV, 200, b'"STATION","DATE"\n', "Empty"), (CSV, 200, b"Service unavailable", "Malformed"),
        (CSV, 200, b"<html></html>", "Malformed"), (CSV, 200, [{"STATION": "A1"}], "Malformed"),
        (search(), 200, {"count": 0, "totalCount": 0, "results": []}, "Empty"), (search(), 200, {"results": []}, "Empty"),
        (search(), 500, BROKEN, "Transient"), (search(), 200, {"count": 3}, "Malformed"), (search(), 200, [], "Malformed"),
        (search(), 400, ACCESS, "BadRequest"), (cdo(), 200, {}, "Empty"), (cdo(), 200, {"results": [{}]}, "Malformed"),
        (cdo(), 200, {"metadata": {}}, "Malformed"), (cdo(), 400, NO_TOKEN, "AuthFailed"), (cdo(), 400, BAD_TOKEN, "AuthFailed"),
        (cdo(), 429, FAST, "RateLimited"), (cdo(), 429, USED_UP, "QuotaExhausted"), (cdo(), 400, LONG, "BadRequest"),
        (cdo(), 500, ODD, "Transient"),
    ],
)  # fmt: skip
def test_statuses_and_bodies(feed: Feed, status: int, body: Any, outcome: str) -> None:
    assert outcome_name(meant(feed, body, status)) == outcome


def test_every_field_that_is_wrong_is_told() -> None:
    told = meant(data(), ACCESS, 400)
    assert "startDate: A start date is required.; endDate: An end date is required." in str(told)
    assert "less than 1 year" in str(meant(cdo(), LONG, 400))


def test_pages_say_how_many_there_are() -> None:
    assert meant(data(), [{"DATE": "x"}] * 9_000) == Ok(PageInfo(page_size=NO_MORE_PAGES))
    found = {"count": 10, "totalCount": 25, "stations": {"buckets": [{"key": "a", "docCount": 99}]}, "results": stations(10)}
    assert meant(search(), found) == Ok(PageInfo(total=25))
    assert meant(search(), found | {"results": stations(2_000)}) == Ok(PageInfo(total=25)), "only head and tail are seen"
    assert meant(search(total="count"), found) == Ok(PageInfo(total=10))
    del found["totalCount"]
    assert meant(search(), found) == Ok(PageInfo()), "the count of a page is no total: only an empty page is the end"
    page = {"metadata": {"resultset": {"offset": 1, "count": 25, "limit": 10}}, "results": values(10)}
    assert meant(cdo(), page) == Ok(PageInfo(total=25))
    assert outcome_name(meant(cdo(), page, complete=False)) == "Transient"


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_an_element_that_is_left_out_is_null_in_its_row_and_not_gone(tmp_path: Path) -> None:
    rows = [{"DATE": "d1", "TMAX": "   12.3"}, {"DATE": "d2", "PRCP": "    0.0"}]
    assert read(tmp_path, data(), rows) == [("d1", "   12.3", None), ("d2", None, "    0.0")]
    frozen = feed_for(
        DATA, ["DATE", "TMAX", "PRCP"], contract={"columns": [{"name": "rain", "source": "PRCP"}], "missing_columns": "freeze"}
    )
    assert read(tmp_path, frozen, [{"DATE": "d1", "TMAX": "1"}]) == [(None,)], "no row of these days has it"
    (tmp_path / "table").write_bytes(b'"STATION","DATE","TMAX"\n"A1","d1","   12.3"\n')
    stream = PROTOCOL.parse(frozen, data(format="csv").source, [Body(tmp_path / "table", {}, "")])
    assert [batch.column(0).to_pylist() for batch in stream.batches] == [[None]]


def test_a_value_that_failed_a_check_gives_way_to_its_flag_where_that_is_declared(tmp_path: Path) -> None:
    rows = [
        {"DATE": "d1", "TMAX": "   48.1", "TMAX_ATTRIBUTES": ",X,S"}, {"DATE": "d2", "TMAX": "   12.0", "TMAX_ATTRIBUTES": "H,,S"},
        {"DATE": "d3", "TMAX": "   13.0", "TMAX_ATTRIBUTES": "H, ,S,2400"}, {"DATE": "d4", "PRCP": "    0.0"},
    ]  # fmt: skip
    columns = ("DATE", "TMAX", "TMAX_ATTRIBUTES")
    assert read(tmp_path, data(columns, attributes=True), rows)[0] == ("d1", "   48.1", ",X,S")
    found = read(tmp_path, data(columns, attributes=True, failed_checks="status"), rows)
    assert [row[1] for row in found] == ["QFLAG X", "   12.0", "   13.0", None] and found[0][2] == ",X,S"


def test_a_table_that_breaks_off_within_a_line_sets_that_line_aside(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(TABLE + b'"A1","2026-1')
    feed = data(format="csv")
    stream = PROTOCOL.parse(feed, feed.source, [Body(tmp_path / "table", {}, "")])
    assert sum(batch.num_rows for batch in stream.batches) == stream.records_read == 2
    (tmp_path / "table").write_bytes(b"<html>no table</html>")
    with pytest.raises(UnreadableSource, match="STATION"):
        list(PROTOCOL.parse(feed, feed.source, [Body(tmp_path / "table", {}, "")]).batches)


# --- the stand-in ---------------------------------------------------------------------------------------------------------

FAULTS = [
    "page_size_capped:3", "offset_ignored", "total_changes_mid_crawl:2", "no_data", "access_error:400", "access_error:500",
    "html_200", "empty_body_200", "status_500:1", "status_404", "no_total",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SERVICES), st.integers(0, 25), st.integers(1, 12), st.lists(st.sampled_from(FAULTS), max_size=2, unique=True)
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(service: str, total: int, size: int, faults: list[str]) -> None:
    one = data() if service == "data" else MADE[service](size)
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, SERVED[service](total), faults=faults, **ROUTES[service]))
    assert done.outcome in ("Ok", "Empty", "Malformed", "Transient", "BadRequest", "Gone"), done
    if done.outcome == "Ok":
        assert done.rows == READ[service](total)
    if done.outcome == "Empty":
        assert total == 0 or "no_data" in faults
    if set(faults) <= {"page_size_capped:3", "status_500:1", "no_total"}:
        assert done.outcome == ("Ok" if total else "Empty"), done.reason


@pytest.fixture(scope="module")
def agencies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Scene]]:
    with (
        scene(tmp_path_factory.mktemp("data"), data(), days(25), **ROUTES["data"]) as records,
        scene(tmp_path_factory.mktemp("search"), search(), stations(25), **ROUTES["search"]) as found,
        scene(tmp_path_factory.mktemp("cdo"), cdo(), values(25), **ROUTES["cdo"]) as old,
    ):
        yield {"data": records, "search": found, "cdo": old}


@pytest.fixture
def clean(agencies: dict[str, Scene]) -> dict[str, Scene]:
    for service, one in agencies.items():
        one.serve(SERVED[service](25))
        one.fault()
        one.forget()
    return agencies


@pytest.mark.parametrize(("service", "offsets"), [("data", [""]), ("search", ["0", "10", "20"]), ("cdo", ["1", "11", "21"])])
def test_all_rows_once(clean: dict[str, Scene], service: str, offsets: list[str]) -> None:
    assert clean[service].rows(clean[service].fetch()) == READ[service](25)
    assert [one["query"].partition("offset=")[2] for one in clean[service].requests] == offsets


def test_records_as_a_table_are_the_same_records(clean: dict[str, Scene]) -> None:
    table = data(format="csv")
    found = clean["data"].rows(clean["data"].fetch(table), table)
    assert found == [(day, tmax, rain or "") for day, tmax, rain in read_days(25)]
    flagged = data(("DATE", "PRCP_ATTRIBUTES"), attributes=True)
    assert clean["data"].rows(clean["data"].fetch(flagged), flagged)[:2] == [("2026-10-28", None), ("2026-10-29", ",,S")]


def test_a_search_that_does_not_count_goes_on_until_a_page_is_empty(clean: dict[str, Scene]) -> None:
    clean["search"].fault("no_total")
    assert clean["search"].rows(clean["search"].fetch()) == read_stations(25)
    assert len(clean["search"].requests) == 4


def test_an_element_that_the_station_stopped_measuring_is_null(clean: dict[str, Scene]) -> None:
    clean["data"].fault("element_missing")
    assert {row[1] for row in clean["data"].rows(clean["data"].fetch())} == {None}


@pytest.mark.parametrize(
    ("service", "fault", "outcome", "asked"),
    [
        ("data", "access_error:400", "BadRequest", 1), ("data", "access_error:500", "Transient", 5),
        ("data", "status_404", "Gone", 1),
        ("data", "html_200", "Malformed", 2), ("data", "empty_body_200", "Malformed", 2), ("data", "stream_cut", "Transient", 5),
        ("data", "truncated_gzip", "Transient", 5), ("data", "status_403", "AuthFailed", 1), ("data", "status_503", "Transient", 5),
        ("search", "offset_ignored", "Malformed", 2), ("search", "total_changes_mid_crawl:99", "Malformed", 6),
        ("search", "access_error:400", "BadRequest", 1), ("search", "html_200", "Malformed", 2),
        ("cdo", "offset_ignored", "Malformed", 2), ("cdo", "total_changes_mid_crawl:99", "Malformed", 6),
        ("cdo", "per_second_429", "RateLimited", 5), ("cdo", "quota_after_n:0", "QuotaExhausted", 1),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(
    clean: dict[str, Scene], service: str, fault: str, outcome: str, asked: int
) -> None:
    clean[service].fault(fault)
    clean[service].fails(outcome)
    assert len(clean[service].requests) == asked


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("fault", ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1"])
def test_what_passes_leaves_no_gap_and_no_double(clean: dict[str, Scene], service: str, fault: str) -> None:
    clean[service].fault(fault)
    assert clean[service].rows(clean[service].fetch()) == READ[service](25)


@pytest.mark.parametrize("service", ["search", "cdo"])
def test_a_row_that_stands_on_two_pages_costs_another_and_the_key_tells(clean: dict[str, Scene], service: str) -> None:
    clean[service].fault("duplicate_rows_between_pages")
    found = clean[service].rows(clean[service].fetch())
    assert len(found) == 25 and len(set(found)) == 23


@pytest.mark.parametrize("fault", ["page_size_capped:7", "total_changes_mid_crawl:2"])
def test_a_cap_and_a_moving_total_lose_nothing(clean: dict[str, Scene], fault: str) -> None:
    clean["cdo"].fault(fault)
    assert clean["cdo"].rows(clean["cdo"].fetch()) == read_values(25)


def test_when_the_days_quota_is_used_up_nothing_more_is_sent_until_the_next(clean: dict[str, Scene], tmp_path: Path) -> None:
    with scene(tmp_path, cdo(), values(25), **ROUTES["cdo"]) as old:
        assert old.rows(old.fetch()) == read_values(25)
        old.fault("quota_after_n:0")
        old.forget()
        old.fails("QuotaExhausted")
        old.fault()
        assert len(old.requests) == 1
        old.clock.time -= timedelta(hours=23)  # an hour later, on the same day
        old.fails("QuotaExhausted")
        assert len(old.requests) == 1, "the ledger knows; nothing was sent"
        assert old.rows(old.fetch()) == read_values(25), "the next day"


def test_without_a_token_or_with_a_wrong_one_the_old_service_is_not_asked_twice(clean: dict[str, Scene], tmp_path: Path) -> None:
    with scene(tmp_path, cdo(), values(3), **ROUTES["cdo"]) as old:
        old.secret = "SOMEBODYSTOKEN01"
        assert "SOMEBODYSTOKEN01" not in str(old.fails("AuthFailed")) and len(old.requests) == 1


def test_a_question_that_the_service_refuses_is_told_with_its_fields(clean: dict[str, Scene]) -> None:
    wide = search(1_000)
    with scene(
        clean["search"].folder / "small", wide, stations(5), **ROUTES["search"] | {"options": {"service": "search", "largest": 100}}
    ) as small:
        assert "limit: The limit must be between 1 and 100." in str(small.fails("BadRequest"))
    nowhere = data(stations=["NONE"])
    assert clean["data"].fetch(nowhere).outcome == "Empty"
