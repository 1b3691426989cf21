"""What holds of every protocol, whoever wrote it: classify and parse never raise on any bytes, and every one has what it needs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.feeds.load import shipped
from assets.feeds.model import PROTOCOLS, Feed
from assets.payload import Payload
from assets.protocols.kernel import HEAD_BYTES, Body, Cursor, Outcome, Request, Response, Step, Validators, When
from assets.protocols.queries import QuerySource
from deploy.agency.routes import ENGINES, load_routes
from tests.docs.fields import WORDS
from tests.protocols import table
from tests.protocols.standin_scene import NOW
from tests.protocols.table import PAGE, facts, with_table

CASES = int(os.environ.get("MADANG_PROTOCOL_CASES", "500"))
"""Arbitrary bodies for each protocol and function; `make bench` tries 10,000."""
ROOT = Path(__file__).resolve().parents[2]
FEED_OF: dict[str, Feed] = {}
for _feed in shipped().values():
    FEED_OF.setdefault(_feed.source.protocol, _feed)
SHIPPED = sorted(PROTOCOLS)

FRAGMENTS = (
    *(
        text.encode()
        for text in ("<", ">", "{", "}", "[", "]", '"', ":", ",", "\n", "00", "INFO-200", "null", "<html>", "\ufeff", "\0")
    ),
    b'{"response":{"header":{"resultCode":"00"},"body":{"items":{"item":[',
    b"<response><header><resultCode>00</resultCode></header>",
    b'{"err":"30","errMsg":"x"}',
    b'{"RESULT":{"CODE":"INFO-000","MESSAGE":""}}',
    b'"list_total_count":',
    b'"totalCount":3',
    b'{"success":true,"result":{"records":[',
    b'[{"page":1,"pages":1,"total":1},[',
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"PK\x03\x04",
    b'"data":[',
    b'"observations":[',
    b"DATAFLOW,TIME_PERIOD,OBS_VALUE\n",
    b'<mes:ErrorMessage code="100">',
    "가나".encode("cp949"),
)
"""Pieces of real answers, so that the generator gets past the first look."""
NAMES = ("response", "body", "items", "item", "result", "records", "row", "RESULT", "data", "CODE", "err", "x")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda value: st.lists(value, max_size=3) | st.dictionaries(st.sampled_from(NAMES), value, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=600),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=12)), max_size=30).map(b"".join),
    JSON.map(lambda value: json.dumps(value).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "retry-after", "content-length", "etag", "location", "x-soda2-fields", "content-disposition"]),
    st.one_of(st.sampled_from(["text/html", "application/json", "text/csv", "0", "10", "-1", "soon", "[]"]), st.text(max_size=20)),
    max_size=4,
)
USUAL = (200, 200, 200, 202, 204, 302, 304, 400, 401, 403, 404, 413, 429, 500, 502, 503)
STATUSES = st.one_of(st.sampled_from(USUAL), st.integers(100, 999))
SETTINGS: dict[str, Any] = {"max_examples": CASES, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def leads_of(feed: Feed) -> list[Step]:
    return [step for step in feed.protocol.plan(feed, feed.source, When(NOW)) if step.lead]


def request_of(feed: Feed) -> Request:
    step = next(iter(feed.protocol.plan(feed, feed.source, When(NOW))), Step())
    return feed.protocol.request(feed, feed.source, step, Cursor(), Validators())


@pytest.mark.parametrize("name", SHIPPED)
def test_classify_means_something_of_any_bytes(name: str) -> None:
    feed = FEED_OF[name]
    request = request_of(feed)

    @settings(**SETTINGS)
    @given(BODIES, STATUSES, HEADERS, st.booleans(), st.integers(0, 3))
    def means(body: bytes, status: int, headers: dict[str, str], complete: bool, padding: int) -> None:
        # A body may be larger than what classify sees of it.
        whole = body + b" " * (padding * HEAD_BYTES) + body
        found = feed.protocol.classify(feed.source, request, Response.of(whole, status, headers, complete))
        assert isinstance(found, Outcome)

    means()


@pytest.mark.parametrize("name", SHIPPED)
def test_parse_reads_any_bytes_or_says_unreadable(name: str, tmp_path: Path) -> None:
    feed, path = FEED_OF[name], tmp_path / "body"

    @settings(**SETTINGS)
    @given(BODIES)
    def reads(body: bytes) -> None:
        try:
            stream = feed.protocol.parse(feed, feed.source, [Body(Payload(path, body), {}, "https://agency.example/")])
            rows = sum(batch.num_rows for batch in stream.batches)
        except UnreadableSource:
            return
        assert rows == stream.records_read

    reads()


@pytest.mark.parametrize("name", [name for name in SHIPPED if PROTOCOLS[name].paged])
def test_a_page_is_counted_as_its_rows_would_be(name: str, tmp_path: Path) -> None:
    feed, path = FEED_OF[name], tmp_path / "body"

    def counted(body: Body, tallied: bool) -> tuple[int, str]:
        try:
            stream = feed.protocol.parse(feed, feed.source, [body])
            if tallied and stream.tally is not None:
                return stream.tally().rows, ""
            return sum(batch.num_rows for batch in stream.batches), ""
        except UnreadableSource as error:
            return -1, error.what

    @settings(**SETTINGS)
    @given(BODIES)
    def agrees(raw: bytes) -> None:
        path.write_bytes(raw)
        body = Body(path, {}, "https://agency.example/")
        assert counted(body, True) == counted(body, False)

    agrees()


@pytest.mark.parametrize("name", [name for name in SHIPPED if leads_of(FEED_OF[name])])
def test_follow_reads_any_bytes_or_says_unreadable(name: str, tmp_path: Path) -> None:
    feed, path = FEED_OF[name], tmp_path / "body"
    leads = leads_of(feed)

    @settings(**SETTINGS)
    @given(BODIES)
    def follows(body: bytes) -> None:
        for step in leads:
            try:
                list(feed.protocol.follow(feed, feed.source, step, Body(Payload(path, body), {}, "https://agency.example/")))
            except UnreadableSource:
                return

    follows()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_request_holds_no_key_and_is_the_same_each_time(name: str) -> None:
    for feed in (feed for feed in shipped().values() if feed.source.protocol == name):
        first, second = request_of(feed), request_of(feed)
        assert first == second
        if feed.source.auth.secret:
            told = f"{first.url} {dict(first.headers)} {first.body!r}"
            leads = [s for s in feed.protocol.plan(feed, feed.source, When(NOW)) if s.lead]
            assert f"{{secret:{feed.source.auth.secret}}}" in told or leads, feed.id


@pytest.mark.parametrize("name", SHIPPED)
def test_every_protocol_has_a_feed_a_stand_in_a_test_and_a_page(name: str) -> None:
    assert name in FEED_OF, "no feed ships for it"
    routes = {route.id for route in load_routes()}
    assert FEED_OF[name].id in routes
    assert name in ENGINES or name in ("http_file", "usgs_feed"), "no engine of the stand-in speaks it"
    assert list((ROOT / "tests" / "protocols").glob(f"test_{name}*.py"))
    assert (ROOT / "docs" / "protocols" / f"{name}.md").exists()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_field_of_its_own_is_described(name: str) -> None:
    source = PROTOCOLS[name].Source
    shared = QuerySource.model_fields.keys()
    for field, info in source.model_fields.items():
        described = info.description or field in WORDS or any(key.startswith(f"{field}.") for key in WORDS)
        nested = not isinstance(info.annotation, type) or hasattr(info.annotation, "model_fields")
        assert field in shared or described or nested, f"{name}: {field} has no description"


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if "QuotaExhausted" in table.tests_of(name)])
def test_a_days_quota_that_a_protocol_knows_is_used_up_by_the_one_fault_of_that_name(name: str) -> None:
    assert '"quota_after_n' in table.tests_of(name)


def test_the_table_of_protocols_is_made_from_them_and_their_tests() -> None:
    assert set(PROTOCOLS) <= set(facts())
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text, "type: python -m tests.protocols.table"
