"""usgs_feed: addresses, answers, and every feature of a real week."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.kernel import (
    Body,
    Cursor,
    Empty,
    Gone,
    Malformed,
    NotModified,
    Ok,
    Outcome,
    Request,
    Response,
    Step,
    Transient,
    Validators,
)
from assets.protocols.usgs_feed import PROTOCOL, UsgsFeedSource

PATHS = (
    "id",
    "properties.mag",
    "properties.place",
    "properties.time",
    "properties.felt",
    "properties.ids",
    "geometry.coordinates.2",
)


def feed_of(paths: tuple[str, ...] = PATHS) -> Feed:
    return Feed.model_validate(
        {
            "id": "us.test.quakes",
            "title": "t",
            "agency": {"name": "USGS", "country": "US"},
            "licence": {"id": "US-PD", "url": "https://www.usgs.gov"},
            "schedule": {"cron": "5 * * * *", "timezone": "UTC"},
            "source": {"protocol": "usgs_feed", "feed": "all_week"},
            "contract": {"columns": [{"name": f"c{i}", "source": p} for i, p in enumerate(paths)]},
        }
    )


def classify(body: bytes, status: int = 200, complete: bool = True) -> Outcome:
    source = feed_of().source
    return PROTOCOL.classify(source, Request(source.address), Response.of(body, status, {}, complete))


def rows_of(path: Path, paths: tuple[str, ...] = PATHS) -> list[tuple[Any, ...]]:
    feed = feed_of(paths)
    rows: list[tuple[Any, ...]] = []
    for batch in PROTOCOL.parse(feed, feed.source, [Body(path, {}, feed.source.address)]).batches:
        rows += zip(*[c.to_pylist() for c in batch.columns[: len(paths)]], strict=True)
    return rows


def test_address_and_conditional_request() -> None:
    feed = feed_of()
    made = PROTOCOL.request(feed, feed.source, Step(), Cursor(), Validators(last_modified="Mon, 01 Jan 2026 00:00:00 GMT"))
    assert made.url == "https://earthquake.usgs.gov/earthquakes/feed/v1.0/summary/all_week.geojson"
    assert made.headers["If-Modified-Since"] == "Mon, 01 Jan 2026 00:00:00 GMT"
    with pytest.raises(ValidationError):
        UsgsFeedSource(protocol="usgs_feed", feed="every_week")


def test_what_answers_mean(shared_data: Path) -> None:
    real = (shared_data / "usgs-earthquakes-week.geojson").read_bytes()
    said = classify(real)
    assert isinstance(said, Ok) and said.page.total == 1707
    assert isinstance(classify(real[:-5]), Malformed)
    assert isinstance(classify(real, complete=False), Transient)
    assert isinstance(classify(b"", 304), NotModified)
    assert isinstance(classify(b"", 404), Gone)
    assert isinstance(classify(b""), Malformed)
    assert isinstance(classify(b"<html></html>"), Malformed)
    assert isinstance(classify(b'{"error": 1}'), Malformed)
    quiet = b'{"type":"FeatureCollection","metadata":{"generated":1,"count":0},"features":[]}'
    assert isinstance(classify(quiet), Empty)


@settings(max_examples=500, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.builds(lambda a, b: b'{"type":"FeatureCollection","metadata":{' + a + b'"count":' + b + b"}}", st.binary(), st.binary()),
    ),
    status=st.integers(-1, 700),
    complete=st.booleans(),
)
def test_classify_is_total(body: bytes, status: int, complete: bool) -> None:
    said = classify(body, status, complete)
    assert isinstance(said, Outcome)
    assert not isinstance(said, Ok) or (200 <= status < 300 and complete)


def test_every_feature_of_a_real_week(shared_data: Path) -> None:
    path = shared_data / "usgs-earthquakes-week.geojson"
    features = json.loads(path.read_bytes(), parse_float=Decimal)["features"]
    rows = rows_of(path)
    assert len(rows) == len(features) == 1707
    for row, feature in zip(rows, features, strict=True):
        p = feature["properties"]
        assert (row[0], row[2], row[5]) == (feature["id"], p["place"], p["ids"])
        assert row[3] == str(p["time"])
        assert row[4] == (None if p["felt"] is None else str(p["felt"]))
        assert (row[1] is None) == (p["mag"] is None)
        assert row[1] is None or Decimal(row[1]) == p["mag"]
        assert Decimal(row[6]) == feature["geometry"]["coordinates"][2]


def test_a_count_that_is_not_kept_is_refused(shared_data: Path, tmp_path: Path) -> None:
    body = json.loads((shared_data / "usgs-earthquakes-week.geojson").read_bytes())
    body["features"].pop()
    path = tmp_path / "body"
    path.write_text(json.dumps(body))
    with pytest.raises(UnreadableSource, match=r"1,707 features and carries 1,706"):
        rows_of(path)
    del body["metadata"]["count"]
    path.write_text(json.dumps(body))
    with pytest.raises(UnreadableSource, match="no count"):
        rows_of(path)


def test_a_new_generated_stamp_around_the_same_events_is_nothing_new(shared_data: Path, tmp_path: Path) -> None:
    """The feed is written anew every minute; one event's change is news all the same."""
    week = (shared_data / "usgs-earthquakes-week.geojson").read_text("utf-8")
    texts = {
        "week": week,
        "stamped": week.replace("1517968154000", "1517968214000", 1),
        "felt": week.replace('"felt":null', '"felt":3', 1),
    }
    digests = {}
    for name, text in texts.items():
        path = tmp_path / name
        path.write_text(text, "utf-8")
        digests[name] = PROTOCOL.canonical_sha256(UsgsFeedSource(protocol="usgs_feed", feed="all_week"), Body(path, {}, "", 0, 1))
    assert digests["week"] == digests["stamped"] != digests["felt"]
    assert digests["week"] is not None
