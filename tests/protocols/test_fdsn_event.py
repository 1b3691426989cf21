"""fdsn_event: searches, spans that are halved, answers and errors of FDSN services, the text format, hostile bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.fdsn_event import PROTOCOL
from assets.protocols.kernel import (
    BadRequest,
    Body,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    PageInfo,
    Request,
    Response,
    Step,
    Transient,
    Validators,
    When,
    outcome_name,
)
from tests.protocols.fdsn_scene import BASE, TEXT, changes, event, text, usgs
from tests.protocols.json_scene import read
from tests.protocols.standin_scene import NOW, feed_for

NO_COUNT = {"count": False}
FDSN_ERROR = (
    b"Error 400: Bad Request\n\n%s\n\nUsage details are available from https://quakes.example/fdsnws/event/1\n\n"
    b"Request:\n/fdsnws/event/1/query?format=geojson\n\nRequest Submitted:\n2026-11-25T03:00:00+00:00\n\nService version:\n1.14.1\n"
)
TOO_MANY = FDSN_ERROR % b"101002 matching events exceeds search limit of 20000. Modify the search to match fewer events."


def plan(feed: Feed, since: datetime | None = None) -> list[Step]:
    return list(PROTOCOL.plan(feed, feed.source, When(NOW, since=since)))


def sent(feed: Feed, step: Step | None = None, offset: int = 0) -> Request:
    return PROTOCOL.request(feed, feed.source, step or plan(feed)[0], Cursor(offset=offset), Validators())


def query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


def said(feed: Feed, body: bytes, status: int = 200, stamp: str | None = None, page: int = 1, complete: bool = True) -> Outcome:
    request = Request(sent(feed).url, page=page, stamp=stamp)
    return PROTOCOL.classify(feed.source, request, Response.of(body, status, {}, complete))


def followed(feed: Feed, folder: Path, body: bytes, step: Step | None = None) -> list[Step]:
    (folder / "count").write_bytes(body)
    one = Body(folder / "count", {"date": "Wed, 25 Nov 2026 03:00:00 GMT"}, f"{BASE}/count")
    return list(PROTOCOL.follow(feed, feed.source, step or plan(feed)[0], one))


def collection(features: Sequence[Any] = (), **metadata: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", "metadata": metadata, "features": list(features)}).encode()


# --- searches -------------------------------------------------------------------------------------------------------------


def test_a_search_is_counted_first_and_then_paged_by_an_offset_that_begins_with_one(tmp_path: Path) -> None:
    feed = usgs(params={"minmagnitude": 2, "maxlatitude": 44})
    count = sent(feed)
    assert count.url.startswith(f"{BASE}/count?format=geojson&")
    assert query(count) == {
        "format": "geojson", "minmagnitude": "2", "maxlatitude": "44",
        "starttime": "2026-01-01T00:00:00.000000", "endtime": "2026-11-25T03:00:00.000000",
    }  # fmt: skip
    (step,) = followed(feed, tmp_path, b'{"count":123,"maxAllowed":20000}')
    page = query(sent(feed, step, offset=40))
    assert sent(feed, step).url.startswith(f"{BASE}/query?format=geojson&")
    assert page == query(count) | {"orderby": "time-asc", "limit": "20000", "offset": "41"}
    assert query(sent(text(nodata=404)))["nodata"] == "404" and urlsplit(sent(text()).url).path.endswith("/query")


def test_what_changed_is_asked_for_from_the_last_fetch_on_with_the_deleted() -> None:
    feed = changes()
    since = datetime(2026, 11, 23, 1, 2, 3, 450_000, tzinfo=UTC)
    assert query(sent(feed, plan(feed, since)[0])) | {"format": ""} == {
        "format": "", "starttime": "2026-01-01T00:00:00.000000", "endtime": "2026-11-25T03:00:00.000000",
        "updatedafter": "2026-11-23T01:02:03.450000", "includedeleted": "true",
    }  # fmt: skip
    assert "updatedafter" not in query(sent(feed)), "without an earlier fetch everything is asked for"


def test_a_window_ends_an_instant_before_its_end_and_is_always_sent() -> None:
    """A service that is told no time gives the last 30 days and says nothing."""
    window = {"every": "day", "count": 2, "requests": "each", "timezone": "Asia/Seoul"}
    feed = feed_for({**TEXT, "start": None, "window": window}, ["EventID"])
    spans = [(query(sent(feed, step))["starttime"], query(sent(feed, step))["endtime"]) for step in plan(feed)]
    assert spans == [
        ("2026-11-22T15:00:00.000000", "2026-11-23T14:59:59.999999"),
        ("2026-11-23T15:00:00.000000", "2026-11-24T14:59:59.999999"),
    ]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"start": None}, "from when on"), ({"window": {"every": "day"}}, "from when on"),
        ({"params": {"limit": 5}}, "field of its own"), ({"params": {"starttime": "yesterday"}}, "field of its own"),
        ({"format": "text", "deleted": True}, "text format"), ({"format": "xml"}, "text"), ({"size": 20_001}, "20000"),
        ({"base_url": "https://quakes.example/fdsnws/dataselect/1"}, "pattern"), ({"nodata": 200}, "404"),
    ],
)  # fmt: skip
def test_declarations_that_cannot_work_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        usgs(**wrong)


def test_changes_need_an_upsert_and_deleted_events_a_tombstone() -> None:
    with pytest.raises(ValueError, match="upsert"):
        plan(usgs(changes=True))
    with pytest.raises(ValueError, match="tombstone"):
        plan(usgs(deleted=True))


def test_addresses_are_recognised() -> None:
    usual = "https://earthquake.usgs.gov/fdsnws/event/1/query?format=geojson&starttime=2020-01-01T00:00:00&minmagnitude=5&limit=10"
    assert PROTOCOL.recognise(usual) == {
        "protocol": "fdsn_event", "base_url": "https://earthquake.usgs.gov/fdsnws/event/1", "format": "geojson",
        "start": "2020-01-01", "count": True, "params": {"minmagnitude": "5"},
    }  # fmt: skip
    found = PROTOCOL.recognise("https://www.seismicportal.eu/fdsnws/event/1/query?minmag=3&start=soon")
    assert found is not None and found["format"] == "json" and found["window"]["count"] == 30 and "count" not in found
    for one in (usual, "https://webservices.ingv.it/fdsnws/event/1/query?format=xml"):
        assert feed_for(PROTOCOL.recognise(one) or {}, ["id"])
    assert PROTOCOL.recognise("https://webservices.ingv.it/fdsnws/station/1/query") is None


# --- counts and halves ----------------------------------------------------------------------------------------------------


def test_too_many_events_are_asked_for_in_halves_that_meet_and_do_not_overlap(tmp_path: Path) -> None:
    feed = usgs()
    first, second = followed(feed, tmp_path, b'{"count":101002,"maxAllowed":20000,"error":"101002 matching events exceeds"}')
    assert first.lead and second.lead
    assert query(sent(feed, first))["endtime"] == "2026-06-14T01:29:59.999999"
    assert query(sent(feed, second))["starttime"] == "2026-06-14T01:30:00.000000"
    whole = plan(feed)[0]
    assert (first.params["from"], second.params["until"]) == (whole.params["from"], whole.params["until"])


def test_the_services_own_cap_counts_where_it_is_lower(tmp_path: Path) -> None:
    assert len(followed(usgs(), tmp_path, b'{"count":600,"maxAllowed":500}')) == 2
    assert len(followed(usgs(most=100), tmp_path, b'{"count":101,"maxAllowed":500}')) == 2
    assert len(followed(usgs(), tmp_path, b"600")) == 1, "a count as plain text"
    assert followed(usgs(), tmp_path, b'{"count":0,"maxAllowed":500}') == []
    (step,) = followed(usgs(), tmp_path, b'{"count":400,"maxAllowed":500}')
    assert query(sent(usgs(), step))["limit"] == "500", "a greater one would be refused"


def test_more_events_than_may_be_in_an_instant_end_the_fetch(tmp_path: Path) -> None:
    """A service that ignores the time would have us halve for ever."""
    feed, steps = usgs(), plan(usgs())
    with pytest.raises(UnreadableSource, match="30,000 events within 2 seconds"):
        for _ in range(60):
            steps = followed(feed, tmp_path, b'{"count":30000}', steps[0])


def test_as_many_events_as_last_time_are_not_the_same_events(tmp_path: Path) -> None:
    feed = usgs()
    one, other = plan(feed)[0], next(iter(PROTOCOL.plan(feed, feed.source, When(NOW + timedelta(seconds=1)))))
    (tmp_path / "count").write_bytes(b'{"count":5}')  # out of a cache, with the same Date
    stamps = {
        next(iter(PROTOCOL.follow(feed, feed.source, s, Body(tmp_path / "count", {}, ""))), Step()).stamp for s in (one, other)
    }
    assert len(stamps) == 2 and all(stamp and stamp.startswith("5 events counted ") for stamp in stamps)


@pytest.mark.parametrize("body", [b"", b"{", b'{"count":"many"}', b"[]", b"<html></html>", b'{"count":-1}'])
def test_a_count_that_is_none_is_refused(body: bytes, tmp_path: Path) -> None:
    assert isinstance(said(usgs(), body), Malformed | Transient)
    with pytest.raises(UnreadableSource):
        followed(usgs(), tmp_path, body)


def test_a_count_is_plain_or_json_and_never_no_events() -> None:
    for body in (b"25", b" 25\n", b'{"count":25,"maxAllowed":20000}'):
        assert said(usgs(), body) == Ok(PageInfo(total=25))
    for body in (b"0", b'{"count":0,"maxAllowed":20000}'):
        assert isinstance(said(usgs(), body), Empty)
    assert isinstance(said(usgs(), b"", 204), Malformed)
    assert outcome_name(said(usgs(nodata=404), b"Error 404: Not Found\n\nNo data", 404)) == "Gone"


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (204, b"", "Empty"), (400, FDSN_ERROR % b"Bad minmagnitude value.", "BadRequest"),
        (401, b"Error 401: Unauthorized", "AuthFailed"), (403, b"Error 403: Forbidden", "AuthFailed"),
        (404, b"Error 404: Not Found", "Gone"), (414, b"", "BadRequest"), (429, b"slow down", "RateLimited"),
        (500, b"<html>oops</html>", "Transient"), (503, b"Error 503: Service Unavailable\n\nMaintenance", "Transient"),
        (504, b"<html>Gateway Time-out</html>", "Transient"), (200, b"", "Malformed"), (200, b"<html></html>", "Malformed"),
        (200, b'{"type":"FeatureCollection","features":[', "Malformed"), (200, b'{"error":"x"}', "Malformed"),
        (200, collection(count=0), "Empty"), (200, collection(limit=10), "Empty"), (200, b"<?xml version='1.0'?><q/>", "Malformed"),
    ],
)  # fmt: skip
def test_statuses_and_bodies_of_a_search(status: int, body: bytes, outcome: str) -> None:
    assert outcome_name(said(usgs(**NO_COUNT), body, status)) == outcome


@pytest.mark.parametrize(("status", "body"), [(400, TOO_MANY), (413, b"Error 413: Request Entity Too Large"), (413, b"")])
def test_a_search_for_too_much_is_halved(status: int, body: bytes) -> None:
    feed = usgs(**NO_COUNT)
    outcome = said(feed, body, status)
    assert isinstance(outcome, BadRequest) and outcome.too_large
    first, second = PROTOCOL.split(feed, feed.source, plan(feed)[0])
    assert not first.lead and not second.lead
    bad_limit = said(feed, FDSN_ERROR % b"Bad limit value. Valid values are 0 <= limit <= 20000", 400)
    assert isinstance(bad_limit, BadRequest) and not bad_limit.too_large


def test_an_error_keeps_the_services_words_and_not_its_usage_notes() -> None:
    outcome = said(usgs(**NO_COUNT), FDSN_ERROR % b"Bad minmagnitude value.", 400)
    assert outcome == BadRequest("HTTP 400: Error 400: Bad Request Bad minmagnitude value.")


def test_404_means_no_events_only_where_it_was_asked_for() -> None:
    body = b"Error 404: Not Found\n\nNo data"
    assert isinstance(said(text(nodata=404), body, 404), Empty)
    assert outcome_name(said(text(), body, 404)) == "Gone"
    assert outcome_name(said(text(nodata=404), b"<html>404 page not found</html>", 404)) == "Gone", "the page of a proxy"


def test_a_search_that_only_meets_deleted_events_is_answered_with_409_and_is_empty() -> None:
    body = b'Error 409: Conflict\n\nThe requested event has been deleted. perform a search and use the "includedeleted" option.'
    assert isinstance(said(usgs(**NO_COUNT), body, 409), Empty)


def test_an_error_within_json_counts_by_its_own_status() -> None:
    bad = collection(status=400, title="Search Error", error="Bad minmagnitude value")
    assert outcome_name(said(usgs(**NO_COUNT), bad)) == "BadRequest" == outcome_name(said(usgs(**NO_COUNT), bad, 400))
    large = said(usgs(**NO_COUNT), collection(status=400, error="30000 matching events exceeds search limit of 20000."))
    assert isinstance(large, BadRequest) and large.too_large


def test_a_page_has_the_total_that_was_counted_and_the_limit_that_was_kept() -> None:
    page, stamp = collection([event(1)], limit=10, offset=1), "25 events counted now"
    assert said(usgs(**NO_COUNT), page, stamp=stamp) == Ok(PageInfo(total=25, page_size=10))
    assert said(usgs(**NO_COUNT), page) == Ok(PageInfo(page_size=10))
    assert said(usgs(**NO_COUNT), collection([event(1)] * 999, count=999)) == Ok(PageInfo()), "longer than what is looked at"
    assert isinstance(said(usgs(**NO_COUNT), collection(limit=10), stamp=stamp), Malformed), "25 were counted"
    assert isinstance(said(usgs(**NO_COUNT), b"", 204, stamp=stamp), Malformed)
    assert isinstance(said(usgs(**NO_COUNT), collection(limit=10), stamp=stamp, page=3), Empty), "the kernel counts the rest"
    assert isinstance(said(usgs(**NO_COUNT), page, complete=False), Transient)


def test_a_page_that_says_its_count_must_carry_as_many(tmp_path: Path) -> None:
    assert read(tmp_path, usgs(), {"type": "FeatureCollection", "metadata": {}, "features": [event(1)]}) == [("ev1", "2.2")]
    with pytest.raises(UnreadableSource, match="2 features and carries 1"):
        read(tmp_path, usgs(), {"type": "FeatureCollection", "metadata": {"count": 2}, "features": [event(1)]})


def test_another_moment_of_the_same_answer_is_no_news(tmp_path: Path) -> None:
    digests = set()
    for at, mag in ((1, 2.0), (2, 2.0), (2, 2.1)):
        page = collection([event(1, mag=mag)], generated=at, url=f"https://quakes.example/?endtime={at}", count=1)
        (tmp_path / "body").write_bytes(page)
        digests.add(PROTOCOL.canonical_sha256(usgs().source, Body(tmp_path / "body", {}, "")))
    assert len(digests) == 2 and None not in digests


# --- the text format ------------------------------------------------------------------------------------------------------

HEADER = (
    "#EventID|Time|Latitude|Longitude|Depth/km|Author|Catalog|Contributor|ContributorID|MagType|Magnitude|MagAuthor"
    "|EventLocationName"
)
ISC = (
    f"{HEADER}|EventType\n644495071|2024-01-01T05:01:18.000|37.4820|43.9910|7.0|AFAD|AFAD|AFAD|638696811|ML|1.90|AFAD|Turkey|earthquake\n"
    "# Agencies whose data contributed towards the results of this search:\n# AFAD      Disaster Management\n"
)


@pytest.mark.parametrize(
    ("page", "rows"),
    [
        (f"{HEADER}\n1|2026-01-01T00:00:00|1|2|3|a|b|c|d|ML|2.5|e|Sea\n", [("1", "2.5")]),
        (f"{HEADER}\r\n1|2026-01-01T00:00:00|1|2|3|||||ML|||Sea\r\n", [("1", "")]),
        (f"{HEADER.replace('|', ' | ')}\n 1 | 2026-01-01 | 1 | 2 | 3 | | | | | ML | 2.5 | e | Forlì \n", [("1", "2.5")]),
        (f"{HEADER.lstrip('#')}\n1|t|1|2|3|a|b|c|d|ML|2.5|e|Sea", [("1", "2.5")]),
        (ISC, [("644495071", "1.90")]),
    ],
    ids=["plain", "CRLF and blanks", "padded", "no hash, no last line's end", "ISC's lines behind the table"],
)
def test_centres_write_the_text_format_in_their_own_ways(page: str, rows: list[Any], tmp_path: Path) -> None:
    assert read(tmp_path, text(), page.encode()) == rows
    assert said(text(), page.encode()) == Ok(PageInfo())


def test_a_line_with_another_number_of_fields_is_set_aside_and_not_lost(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(f"{HEADER}\n1|2\n2|t|1|2|3|a|b|c|d|ML|2.5|e|Sea\n".encode())
    stream = PROTOCOL.parse(text(), text().source, [Body(tmp_path / "body", {}, "")])
    assert sum(batch.num_rows for batch in stream.batches) == stream.records_read == 2


def test_text_that_is_no_table_of_events() -> None:
    assert isinstance(said(text(), f"{HEADER}\n".encode()), Empty)
    for body in (b"", b"No events were found.\n", b"<html>#EventID|</html>", b"Error 500: something\n"):
        assert isinstance(said(text(), body), Malformed)
