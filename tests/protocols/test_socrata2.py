"""socrata2: what is sent, what every answer means, and how its pages are read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import PROTOCOLS, Feed
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    Pending,
    RateLimited,
    Request,
    Response,
    Step,
    Transient,
    Validators,
    When,
)
from tests.protocols.json_scene import hostile, judged, parsed, said, urls
from tests.protocols.socrata_scene import BASE, TOKEN, changing, feed
from tests.protocols.standin_scene import NOW

COUNT = "%24select=count(*) AS rows_in_all".replace("(", "%28").replace(")", "%29").replace(" ", "%20")
CHANGED = "Tue, 24 Nov 2026 10:00:00 GMT"


def request_of(asked: Feed, step: Step, cursor: Cursor | None = None) -> Request:
    return asked.protocol.request(asked, asked.source, step, cursor or Cursor(), Validators())


def led(asked: Feed, folder: Path, body: bytes, since: datetime | None = None, **headers: str) -> list[Step]:
    (folder / "lead").write_bytes(body)
    (step,) = asked.protocol.plan(asked, asked.source, When(NOW, since=since))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return list(asked.protocol.follow(asked, asked.source, step, Body(folder / "lead", named, BASE)))


def meant(stamp: str | None, body: bytes, page: int = 1, **headers: str) -> Outcome:
    request = Request(BASE, page=page, stamp=stamp)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return feed().protocol.classify(feed().source, request, Response(200, named, body, body, len(body), True))


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_a_count_first_and_then_pages_in_a_stable_order(tmp_path: Path) -> None:
    assert urls(feed()) == [f"{BASE}?{COUNT}"]
    (step,) = led(feed(), tmp_path, b'[{"rows_in_all":"25"}]\n', x_soda2_truth_last_modified=CHANGED)
    assert request_of(feed(), step).url == f"{BASE}?%24order=:id&%24limit=10&%24offset=0"
    assert request_of(feed(), step, Cursor(3, 20)).url == f"{BASE}?%24order=:id&%24limit=10&%24offset=20"
    assert step.stamp is not None and step.stamp.startswith(CHANGED) and step.stamp.endswith("; 25 rows")
    assert request_of(feed(), step).stamp == step.stamp


def test_conditions_columns_windows_and_lists(tmp_path: Path) -> None:
    window = {"every": "day", "count": 2, "requests": "one", "timezone": "UTC"}
    asked = feed(
        select=":*,*", where="day >= '{start:%Y-%m-%dT00:00:00}' AND town = '{town}'", window=window, each={"town": ["A", "B"]}
    )
    steps = list(asked.protocol.plan(asked, asked.source, When(NOW)))
    told = request_of(asked, replace(steps[1], lead=False)).url
    sent = "%24where=day%20%3E%3D%20%272026-11-23T00:00:00%27%20AND%20town%20%3D%20%27B%27"
    assert told == f"{BASE}?%24select=:*,*&{sent}&%24order=:id&%24limit=10&%24offset=0"
    assert sent in request_of(asked, steps[1]).url and len(steps) == 2
    assert urls(feed(each={"town": ["A"]})) == [f"{BASE}?town=A&{COUNT}"]  # an equality filter
    grouped = feed(select="town,count(*)", params={"$group": "town"}, order="town")
    (only,) = grouped.protocol.plan(grouped, grouped.source, When(NOW))
    assert not only.lead and "%24group=town" in request_of(grouped, only).url


def test_only_what_changed_since_the_last_fetch_oldest_first(tmp_path: Path) -> None:
    since = datetime(2026, 11, 23, 12, tzinfo=UTC)
    asked = changing(where="a = 'b' OR a = 'c'")
    assert led(asked, tmp_path, b'[{"rows_in_all":"9","oldest_change":"2020-01-01T00:00:00.000Z"}]')[0].params["partly"] is False
    (step,) = led(asked, tmp_path, b'[{"rows_in_all":"9","oldest_change":"2020-01-01T00:00:00.000Z"}]', since)
    url = request_of(asked, step).url
    where = "%28a%20%3D%20%27b%27%20OR%20a%20%3D%20%27c%27%29%20AND%20:updated_at%20%3E%20%272026-11-23T12:00:00.000%27"
    assert url == f"{BASE}?%24where={where}&%24order=:updated_at,:id&%24limit=10&%24offset=0"


def test_after_a_full_replacement_all_rows_are_asked_for(tmp_path: Path) -> None:
    since, body = datetime(2026, 11, 23, tzinfo=UTC), b'[{"rows_in_all":"9","oldest_change":"2026-11-24T00:00:00.000"}]'
    (step,) = led(changing(), tmp_path, body, since, x_soda2_truth_last_modified=CHANGED)
    assert "updated_at" not in request_of(changing(), step).url and (step.stamp or "").endswith("; 9 rows")
    with pytest.raises(UnreadableSource, match="replaced the data set"):
        led(feed((":id", "street"), key=":id", changes=True, select=":*,*"), tmp_path, body, since)


def test_the_version_is_that_of_this_query(tmp_path: Path) -> None:
    body = b'[{"rows_in_all":"9"}]'
    one, two = (led(feed(where=where), tmp_path, body, x_soda2_truth_last_modified=CHANGED)[0].stamp for where in ("", "a = 'b'"))
    assert one != two
    untold = led(feed(), tmp_path, body)[0].stamp
    assert untold is not None and untold.startswith(f"of no known version, asked for at {NOW.isoformat()}") and "; 9 rows" in untold
    since = datetime(2026, 11, 23, tzinfo=UTC)
    assert (
        led(changing(), tmp_path, b'[{"rows_in_all":"9","oldest_change":"2020-01-01"}]', since)[0].stamp is None
    )  # changes: uncounted


def test_a_token_goes_into_a_header_and_none_is_needed() -> None:
    asked = feed(auth=TOKEN)
    (step,) = asked.protocol.plan(asked, asked.source, When(NOW))
    assert request_of(asked, step).headers == {"X-App-Token": "{secret:SOCRATA_APP_TOKEN}"}
    assert feed().source.auth.secret is None and feed(limits={"per_day": 5}).source.limits.concurrency == 1


@pytest.mark.parametrize(
    "source",
    [{"params": {"$limit": 5}}, {"params": {"$where": "x"}}, {"dataset": "abcd"}, {"size": 50_001}, {"sise": 1},
     {"select": "town,count(*)", "params": {"$group": "town"}},
     {"select": "town,count(*)", "params": {"$group": "town"}, "order": "town", "changes": True}],
)  # fmt: skip
def test_mistakes_are_found_when_a_feed_is_read(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**source)


def test_changes_alone_would_delete_what_did_not_change() -> None:
    asked = feed(changes=True)
    with pytest.raises(ValueError, match="upsert"):
        list(asked.protocol.plan(asked, asked.source, When(NOW)))
    with pytest.raises(ValidationError, match="no :updated_at"):
        feed(changes=True, params={"$group": "town"})


def test_an_address_that_somebody_pasted() -> None:
    grouped = PROTOCOLS["socrata2"].recognise(f"{BASE}?$select=town,count(*)&$group=town") or {}
    assert grouped["order"] == "town" and grouped["params"] == {"$group": "town"}
    found = PROTOCOLS["socrata2"].recognise(f"{BASE}?$where=a='b'&town=A&$limit=5&$$app_token=abc")
    assert found == {
        "protocol": "socrata2",
        "base_url": "https://data.agency.example",
        "dataset": "abcd-1234",
        "where": "a='b'",
        "params": {"town": "A"},
    }
    assert PROTOCOLS["socrata2"].recognise("https://data.agency.example/resource/other") is None


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ('[{"a":"1"}\n,{"a":"2"}]\n', 200, Ok),
        ("[]\n", 200, Empty),
        ("\ufeff[]\n", 200, Empty),
        ('{"message":"processing"}', 202, Pending),
        ("", 202, Pending),
        ({"message": "m", "errorCode": "query.soql.no-such-column", "data": {}}, 400, BadRequest),
        ({"message": "m", "errorCode": "query.soql.no-such-column", "data": {}}, 200, BadRequest),
        ({"code": "permission_denied", "error": True, "message": "m"}, 403, AuthFailed),
        ({"code": "permission_denied", "error": True, "message": "m"}, 200, AuthFailed),
        ({"code": "authentication_required", "error": True, "message": "m"}, 401, AuthFailed),
        ({"code": "x", "error": True, "message": "Invalid app_token specified"}, 400, AuthFailed),
        ({"code": "not_found", "error": True, "message": "m"}, 404, Gone),
        ({"errorCode": "dataset.missing", "message": "m"}, 400, Gone),
        ({"errorCode": "too_many_requests", "message": "throttled"}, 403, RateLimited),
        ({"errorCode": "strange", "message": "m"}, 429, RateLimited),
        ({"errorCode": "strange", "message": "m"}, 409, BadRequest),
        ({"errorCode": "query.execution", "message": "m"}, 500, Transient),
        ({"code": "internal_error", "error": True, "message": "m"}, 200, Malformed),
        ("no JSON", 400, BadRequest),
        ("no JSON", 401, AuthFailed),
        ("no JSON", 404, Gone),
        ("no JSON", 429, RateLimited),
        ("no JSON", 503, Transient),
        ("<!DOCTYPE html><html></html>", 200, Malformed),
        ("", 200, Malformed),
        ({"a": 1}, 200, Malformed),
        ("[1]", 200, Malformed),
        ('[{"a":"1"}\n,{"a"', 200, Transient),
    ],
)
def test_answers(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(feed(), body, status), outcome), found


def test_rows_that_look_like_errors_are_rows() -> None:
    assert isinstance(said(feed(), [{"code": "x", "error": True, "message": "throttled", "errorCode": "query.x"}]), Ok)


def test_waits_that_are_asked_for_are_kept() -> None:
    busy = said(feed(), {"errorCode": "too_many_requests", "message": "m"}, 429, retry_after="20")
    assert isinstance(busy, RateLimited) and busy.retry_after_s == 20
    assert said(feed(), "", 202, retry_after="20") == Pending("https://agency.example/rows", 20)
    late = said(feed(), [{"a": 1}], x_soda2_data_out_of_date="true")
    assert isinstance(late, Pending) and late.after_s == 60


def test_pages_must_be_of_the_version_and_the_number_that_were_counted() -> None:
    stamp, one = f"{CHANGED}; query 01234567; 3 rows", b'[{"a":"1"}]\n'
    for headers in ({}, {"x_soda2_truth_last_modified": CHANGED}):
        found = meant(stamp, one, **headers)
        assert isinstance(found, Ok) and found.page.total == 3
    assert isinstance(meant(stamp, one, x_soda2_truth_last_modified="Wed, 25 Nov 2026 10:00:00 GMT"), Malformed)
    assert isinstance(meant(stamp, b"[]\n"), Malformed) and isinstance(meant(stamp, b"[]\n", page=2), Ok)
    assert isinstance(meant(f"{CHANGED}; query 01234567; 0 rows", b"[]\n"), Empty)
    for other in ("of no known version, asked for at 2026-11-25T03:00:00+00:00", "rows of 1764000000"):
        # a header on the pages alone does not contradict a count that came without one
        found = meant(f"{other}; query 01234567; 3 rows", one, x_soda2_truth_last_modified=CHANGED)
        assert isinstance(found, Ok) and found.page.total == 3


def test_a_cut_connection_and_a_page_larger_than_what_is_seen_of_it() -> None:
    assert isinstance(said(feed(), [{"a": "1"}], complete=False), Transient)
    assert isinstance(said(feed(), [{"a": "errorCode"}] * 9000), Ok)
    assert isinstance(said(feed(), "[" + '{"a":"b"},' * 9000), Transient)


@settings(max_examples=200, deadline=None)
@given(
    hostile(["errorCode", "error", "code", "message", "rows_in_all"]),
    st.integers(-1, 700),
    st.booleans(),
    st.none() | st.integers(0, 10**12),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None) -> None:
    found = judged(feed(), body, status, complete, length)
    if not 200 <= status < 300 or not complete:
        assert not isinstance(found, Ok)


# --- rows -----------------------------------------------------------------------------------------------------------------


def pages(folder: Path, asked: Feed, body: bytes, **headers: str) -> list[tuple[str | None, ...]]:
    (folder / "page").write_bytes(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return parsed(asked, [Body(folder / "page", named, BASE)])


def test_a_column_of_nulls_is_there_and_one_that_is_gone_is_missed(tmp_path: Path) -> None:
    body = b'[{"number":"1","street":"a"}\n,{"number":"2"}]\n'
    fields = '["number","street","note"]'
    assert pages(tmp_path, feed(), body, x_soda2_fields=fields, x_soda2_types='["number","text","text"]') == [
        ("1", "a", None),
        ("2", None, None),
    ]
    with pytest.raises(UnreadableSource, match="note"):
        pages(tmp_path, feed(), body, x_soda2_fields='["number","street"]')
    for nonsense in ("[", "{}", "[1]", "[" * 5000, ""):
        with pytest.raises(UnreadableSource, match="note"):
            pages(tmp_path, feed(), body, x_soda2_fields=nonsense)


@pytest.mark.parametrize("body", [b"", b"{", b'"x"', b"\xff\xfe\x00", b"[" * 99_999])
def test_hostile_pages_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        pages(tmp_path, feed(), body)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"[1]", b'[{"rows_in_all":"-1"}]', b'[{"rows_in_all":null}]', b"\xff", b"[" * 99_999]
)
def test_a_count_that_is_none_is_unreadable(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        led(feed(), tmp_path, body)
