"""gtfs: whole fetches from the stand-in over a real connection, each fault with its outcome, and the tables that come of them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assets.archive.fetches import FetchRecord
from assets.archive.ledger import Ledger
from assets.errors import FetchFailed
from assets.feeds.load import shipped
from assets.feeds.model import Feed
from assets.onboarding.columns import propose
from assets.onboarding.looking import look, source_of
from assets.protocols.fetching import FetchDeps, fetch
from assets.store import Store
from assets.tables.build import build_table
from assets.tables.index import live_paths, read_index
from assets.transport.http import TransportSettings
from deploy.agency.app import AgencyConfig
from deploy.agency.running import running_agency
from tests.protocols.standin_scene import Scene, feed_for, scene
from tests.tables.making import read

SOURCE: dict[str, Any] = {"protocol": "gtfs", "url": "https://transit.example/gtfs.zip", "table": "stops"}
ROUTE: dict[str, Any] = {"kind": "gtfs", "host": "transit.example", "path": "/gtfs.zip"}
FILES: dict[str, list[str]] = {
    "agency.txt": ["agency_id,agency_name", "1,Demo"],
    "stops.txt": ["stop_id,stop_name", "A,마당입구", "B,Fern St", "C,Reef Rd"],
    "routes.txt": ["route_id", "R"],
    "trips.txt": ["trip_id", "T"],
    "stop_times.txt": ["trip_id,arrival_time,departure_time,stop_sequence", "T,23:58:00,23:58:30,1", "T,24:00:00,24:00:30,2"],
    "calendar.txt": ["service_id", "W"],
    "calendar_dates.txt": ["service_id,date", "W,20261225"],
}
STOPS = [("A", "마당입구"), ("B", "Fern St"), ("C", "Reef Rd")]


def served(files: dict[str, list[str]] = FILES, **more: list[str]) -> bytes:
    return json.dumps(files | {f"{name}.txt": lines for name, lines in more.items()}).encode()


def gtfs(table: str = "stops", *columns: Any, **source: Any) -> Feed:
    return feed_for(SOURCE | {"table": table} | source, columns or ["stop_id", "stop_name"])


TIMES = feed_for(
    SOURCE | {"table": "stop_times"},
    [
        {"name": "trip_id", "nullable": False},
        {"name": "stop_sequence", "type": "integer", "nullable": False},
        {"name": "arrival", "source": "arrival_time", "type": "duration"},
        {"name": "departure", "source": "departure_time", "type": "duration"},
    ],
)


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("transit"), gtfs(), served(), **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(agency: Scene, tmp_path: Path) -> Scene:
    """The scene's agency, its faults off, and a store and ledger of the test's own."""
    agency.fault()
    agency.serve(served())
    agency.forget()
    fresh = Scene(agency.folder, agency.feed, agency.agency, agency.url)
    fresh.store, fresh.ledger = Store(f"file://{tmp_path}/store"), Ledger(f"sqlite:///{tmp_path}/ledger.db")
    return fresh


# --- faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("bad_crc_zip", "Malformed", 2), ("truncated_zip", "Malformed", 2), ("zip_slip", "Malformed", 2),
        ("zip_bomb", "Malformed", 2), ("html_200", "Malformed", 2), ("empty_body_200", "Malformed", 2),
        ("empty_file", "Malformed", 2), ("double_gzip", "Malformed", 2),
        ("zip_in_zip:2", "Malformed", 2), ("status_500", "Transient", 5),
        ("status_404", "Gone", 1), ("status_403", "AuthFailed", 1), ("redirect_other_host", "BadRequest", 1),
        ("redirect_private", "BadRequest", 1), ("truncated_gzip", "Transient", 5),
    ],
)  # fmt: skip
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize(
    "fault",
    ["status_500:2", "status_503:1", "status_429:1", "retry_after_0:2", "stream_cut", "reset_mid_body:1", "utf8_bom",
     "blank_lines", "unknown_column", "sub_directory", "zip_in_zip", "zip_name_no_flag", "zip_name_no_flag:949", "repacked",
     "25:10:00", "no_calendar", "required_missing"],
)  # fmt: skip
def test_what_passes_or_is_only_odd_loses_no_row(clean: Scene, fault: str) -> None:
    clean.fault(fault)
    assert clean.rows(clean.fetch()) == STOPS


def test_a_ragged_record_is_set_aside_with_its_place(clean: Scene) -> None:
    clean.fault("ragged_rows")
    assert clean.rows(clean.fetch()) == [*STOPS[:2], (None, None)]


def test_without_a_calendar_its_feed_is_empty_and_without_trips_malformed(clean: Scene) -> None:
    calendar = gtfs("calendar", "service_id")
    assert clean.rows(clean.fetch(calendar), calendar) == [("W",)]
    clean.fault("no_calendar")
    assert clean.fetch(calendar).outcome == "Empty"
    dates = gtfs("calendar_dates", "date")
    assert clean.rows(clean.fetch(dates), dates) == [("20261225",)]
    clean.fault("no_calendar", "required_missing")
    clean.fails("Malformed", calendar)


# --- versions -------------------------------------------------------------------------------------------------------------


def test_nothing_new_is_told_by_304_by_the_same_bytes_or_by_the_same_table(clean: Scene) -> None:
    first = clean.fetch()
    assert clean.fetch().outcome == "NotModified" and [r["status"] for r in clean.requests] == [200, 304]
    for fault in ("etag_flip_same_bytes", "repacked", "sub_directory"):
        clean.fault(fault)
        clean.forget()
        again = clean.fetch()
        assert (again.outcome, again.body_fetch_id, clean.requests[0]["status"]) == ("NotModified", first.body_fetch_id, 200), fault
    clean.fault()
    clean.serve(served(routes=["route_id", "R", "R2"]))  # another table is news of the archive, not of this one
    assert clean.fetch().outcome == "NotModified"
    clean.serve(served(stops=[*FILES["stops.txt"], "D,new"]))
    assert clean.rows(clean.fetch()) == [*STOPS, ("D", "new")]


def test_new_bytes_under_the_old_tag_are_news(clean: Scene) -> None:
    clean.fetch()
    clean.fault("same_etag_new_bytes")
    assert clean.rows(clean.fetch()) == [*STOPS, ("N0C", "Reef Rd")]
    assert len({r["headers"].get("if-none-match") for r in clean.requests} - {None}) == 1


def test_a_server_whose_not_modified_lies_is_asked_without_validators(clean: Scene) -> None:
    careful = gtfs(trust_validators=False)
    clean.fetch(careful)
    assert clean.fetch(careful).outcome == "NotModified"
    assert [(r["status"], r["headers"].get("if-none-match")) for r in clean.requests] == [(200, None)] * 2


def test_the_version_is_the_providers_or_the_content(clean: Scene) -> None:
    content = clean.fetch().provider_stamp
    assert content is not None and len(content) == 64
    clean.serve(served(feed_info=["feed_publisher_name,feed_version", "Demo,Autumn D"], stops=[*FILES["stops.txt"], "D,new"]))
    assert clean.fetch().provider_stamp == "Autumn D"


# --- tables ---------------------------------------------------------------------------------------------------------------


def built(clean: Scene, record: FetchRecord, feed: Feed) -> list[dict[str, Any]]:
    """The table's live rows after this fetch."""
    result = build_table(
        feed, record, store=clean.store, ledger=clean.ledger, workdir=clean.folder / "build", now=clean.clock.now()
    )
    assert result.blocked == ()
    return live(clean, feed)


def live(clean: Scene, feed: Feed) -> list[dict[str, Any]]:
    index = read_index(clean.store, feed.id)
    assert index is not None
    return read(live_paths(clean.store, index, clean.folder / "cache"), "_source_row")


def test_ten_past_one_in_the_night_is_ninety_thousand_six_hundred_seconds(clean: Scene) -> None:
    clean.fault("25:10:00")
    rows = built(clean, clean.fetch(TIMES), TIMES)
    assert [(row["stop_sequence"], row["arrival"], row["departure"]) for row in rows] == [(1, 86_280, 86_310), (2, 90_600, 90_600)]
    clean.fault()
    rows = built(clean, clean.fetch(TIMES), TIMES)
    assert [row["arrival"] for row in rows] == [86_280, 86_400]


@pytest.mark.parametrize("fault", ["bad_crc_zip", "truncated_zip", "zip_slip", "html_200"])
def test_after_a_damaged_archive_the_last_good_table_stays_and_the_next_good_one_counts(clean: Scene, fault: str) -> None:
    before = built(clean, clean.fetch(), clean.feed)
    clean.serve(served(stops=[*FILES["stops.txt"], "D,new"]))
    clean.fault(fault)
    clean.fails("Malformed")
    assert live(clean, clean.feed) == before
    good = clean.ledger.last_answered(clean.feed.id)
    assert good is not None and good.outcome == "Ok"
    clean.fault()
    assert len(built(clean, clean.fetch(), clean.feed)) == len(before) + 1


def test_a_pasted_address_is_looked_at_and_its_columns_are_proposed(clean: Scene, tmp_path: Path) -> None:
    clean.fault("25:10:00")
    source = source_of(SOURCE["url"]) | {"table": "stop_times"}
    sample = look(source, tmp_path, transport=TransportSettings(connect_to=clean.url), secrets={}, country="AU")
    types = {column.name: column.declared["type"] for column in propose(sample.sources, sample.rows).columns}
    assert types == {"trip_id": "string", "arrival_time": "duration", "departure_time": "duration", "stop_sequence": "integer"}


# --- a real archive -------------------------------------------------------------------------------------------------------


def test_the_real_archive_of_cairns_serves_both_its_feeds(shared_data: Path, tmp_path: Path) -> None:
    with running_agency(AgencyConfig(data=shared_data)) as url:
        for feed_id, rows in (("au.translink.cairns_stops", 416), ("au.translink.cairns_stop_times", 37_790)):
            feed = shipped()[feed_id]
            stage = Scene(tmp_path / feed_id, feed, None, url)  # type: ignore[arg-type]
            deps = FetchDeps(
                stage.store,
                stage.ledger,
                TransportSettings(connect_to=url),
                {},
                stage.folder / "work",
                stage.clock,
                random.Random(1),
            )
            record = asyncio.run(fetch(feed, deps=deps))
            assert (record.outcome, record.origin) == ("Ok", "replay")
            assert len(built(stage, record, feed)) == rows


def test_a_failed_fetch_says_what_to_do(clean: Scene) -> None:
    clean.fault("bad_crc_zip")
    with pytest.raises(FetchFailed) as caught:
        clean.fetch()
    assert "checksum" in str(caught.value) and caught.value.mend
