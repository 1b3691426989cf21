"""ecos: what is sent for every cycle, what every form of answer means, periods in halves, and the rows of its pages."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.answers.ecos_periods import begin_of, first_day_of, halves, period_of
from assets.protocols.ecos import CODES, COOL_DOWN_S, PROTOCOL, EcosSource
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Body,
    Cursor,
    Empty,
    Malformed,
    Ok,
    Outcome,
    RateLimited,
    Request,
    Response,
    Step,
    Transient,
    Validators,
    When,
)
from deploy.agency.engines.indexed import xml_page
from tests.protocols.standin_scene import feed_for, parsed

KEYED = "https://ecos.bok.or.kr/api/StatisticSearch/{secret:ECOS_KEY}/json/kr"
RATE: dict[str, Any] = {"protocol": "ecos", "table": "722Y001", "cycle": "D", "items": ["0101000"], "first_day": date(2026, 1, 2)}
WINDOW: dict[str, Any] = {"every": "day", "count": 30, "requests": "one"}
ROW = {
    "STAT_CODE": "722Y001", "STAT_NAME": "1.3.1. 한국은행 기준금리", "ITEM_CODE1": "0101000", "ITEM_NAME1": "한국은행 기준금리",
    "ITEM_CODE2": None, "ITEM_NAME2": None, "UNIT_NAME": "연%", "WGT": None, "TIME": "20260102", "DATA_VALUE": "2.5",
}  # fmt: skip
NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)
FIRST = Cursor()
CYCLES = ["A", "S", "Q", "M", "SM", "D"]


def feed(columns: tuple[str, ...] = ("ITEM_NAME1", "TIME", "DATA_VALUE"), **source: Any) -> Feed:
    declared = RATE | source
    if "window" in source:
        del declared["first_day"]
    return feed_for(declared, columns, contract={"columns": [{"name": c.lower(), "source": c} for c in columns]})


def page(rows: Any, total: Any = 1) -> str:
    return json.dumps({"StatisticSearch": {"list_total_count": total, "row": rows}}, ensure_ascii=False)


def error(code: str) -> str:
    return json.dumps({"RESULT": {"CODE": code, "MESSAGE": "해당하는 데이터가 없습니다."}}, ensure_ascii=False)


def classify(body: str | bytes, status: int = 200, complete: bool = True, **source: Any) -> Outcome:
    raw = body.encode() if isinstance(body, str) else body
    said = feed(**source).source
    return PROTOCOL.classify(said, Request(KEYED), Response.of(raw, status, {}, complete))


def urls(one: Feed, cursor: Cursor = FIRST, now: datetime = NOW) -> list[str]:
    steps = PROTOCOL.plan(one, one.source, When(now))
    return [PROTOCOL.request(one, one.source, step, cursor, Validators()).url for step in steps]


# --- the request ---------------------------------------------------------------------------------------------------------


def test_everything_stands_in_the_path_and_nothing_in_a_query() -> None:
    assert urls(feed()) == [f"{KEYED}/1/10000/722Y001/D/20260102/20261125/0101000"]
    later = Cursor(page=2, offset=700)
    several = feed(size=1000, items=["가/나", "B", "C", "D"], type="xml", language="en")
    assert urls(several, later) == [
        "https://ecos.bok.or.kr/api/StatisticSearch/{secret:ECOS_KEY}/xml/en/701/1700/722Y001/D/20260102/20261125/%EA%B0%80%2F%EB%82%98/B/C/D"
    ]
    assert "?" not in urls(feed())[0]


@pytest.mark.parametrize(
    ("cycle", "every", "count", "periods"),
    [
        ("A", "year", 3, "2023/2025"),
        ("S", "year", 2, "2024S1/2025S2"),
        ("Q", "quarter", 3, "2026Q1/2026Q3"),
        ("M", "month", 12, "202511/202610"),
        ("SM", "month", 2, "202609S1/202610S2"),
        ("D", "day", 31, "20261025/20261124"),
        ("D", "month", 1, "20261001/20261031"),
        ("Q", "year", 1, "2025Q1/2025Q4"),
        ("M", "week", 3, "202611/202611"),
    ],
)
def test_periods_are_written_as_the_cycle_has_them(cycle: str, every: str, count: int, periods: str) -> None:
    one = feed(cycle=cycle, window={"every": every, "count": count, "requests": "one"})
    assert urls(one) == [f"{KEYED}/1/10000/722Y001/{cycle}/{periods}/0101000"]


def test_a_running_period_and_one_request_for_each() -> None:
    each = feed(cycle="Q", window={"every": "quarter", "count": 2, "running": True})
    assert [url.split("/Q/")[1] for url in urls(each)] == ["2026Q3/2026Q3/0101000", "2026Q4/2026Q4/0101000"]
    # at 00:30 in Seoul it is still yesterday in UTC
    early = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
    assert urls(feed(), now=early)[0].split("/D/")[1] == "20260102/20261125/0101000"


def test_items_from_each_and_the_lists() -> None:
    assert [url.rpartition("/")[2] for url in urls(feed(items=["{item}"], each={"item": ["A", "B"]}))] == ["A", "B"]
    plain = {"cycle": None, "items": [], "first_day": None}
    base = "https://ecos.bok.or.kr/api"
    assert urls(feed(service="StatisticItemList", **plain)) == [
        f"{base}/StatisticItemList/{{secret:ECOS_KEY}}/json/kr/1/10000/722Y001"
    ]
    key_statistics = feed(service="KeyStatisticList", table=None, **plain)
    assert urls(key_statistics) == [f"{base}/KeyStatisticList/{{secret:ECOS_KEY}}/json/kr/1/10000"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"table": None}, {"cycle": None}, {"first_day": None}, {"cycle": "W"}, {"params": {"a": "b"}}, {"items": ["1"] * 5},
        {"items": ["", "2"]}, {"window": {"every": "hour"}}, {"window": {"at": ["02:00"]}}, {"size": 100_001},
        {"cycle": "M", "window": {"every": "day", "count": 30}}, {"cycle": "A", "window": {"every": "month"}},
        {"service": "StatisticItemList"}, {"items": [], "look_first": True}, {"type": "xml", "look_first": True},
        {"each": {"item": ["A"]}}, {"auth": {"kind": "query_key"}},
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**wrong)


def test_a_window_and_a_first_day_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="either a window or first_day"):
        EcosSource.model_validate(RATE | {"window": WINDOW})


def test_the_pace_is_kept_where_a_feed_gives_part_of_the_limits() -> None:
    source = feed(limits={"per_day": 100}).source
    assert (source.limits.per_second, source.limits.concurrency, source.limits.per_day) == (1.6, 1, 100)
    assert 180 * source.limits.per_second < 300


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"cycle": "Q", "first_day": date(2015, 4, 1), "items": ["가나", "B"], "language": "en"},
        {"service": "StatisticItemList", "cycle": None, "items": [], "first_day": None},
        {"service": "KeyStatisticList", "table": None, "cycle": None, "items": [], "first_day": None},
    ],
)
def test_a_pasted_address_becomes_a_source_without_its_key(declared: dict[str, Any]) -> None:
    one = feed(**declared)
    found = PROTOCOL.recognise(urls(one)[0].replace("{secret:ECOS_KEY}", "SOMEBODYSKEY"))
    assert found is not None and "SOMEBODYSKEY" not in str(found)
    assert EcosSource.model_validate_json(json.dumps(found), strict=True) == one.source


@pytest.mark.parametrize(
    "path",
    [
        "", "StatisticSearch", "StatisticSearch/K/json/kr/1/10", "StatisticSearch/K/json/kr/1/10/722Y001/M/20260101/20260131",
        "StatisticSearch/K/json/kr/1/10/722Y001/D/20261340/20261341", "StatisticSearch/K/json/kr/1/10/722Y001/W/2026/2027",
        "Else/K/json/kr/1/10",
    ],
)  # fmt: skip
def test_other_addresses_are_not_its_own(path: str) -> None:
    assert PROTOCOL.recognise(f"https://ecos.bok.or.kr/api/{path}") is None
    assert PROTOCOL.recognise("https://ecos.example/api/KeyStatisticList/K/json/kr/1/10") is None


# --- errors --------------------------------------------------------------------------------------------------------------

MEANT = {
    "INFO-100": AuthFailed, "INFO-200": Empty, "ERROR-100": BadRequest, "ERROR-101": BadRequest, "ERROR-200": BadRequest,
    "ERROR-300": BadRequest, "ERROR-301": BadRequest, "ERROR-400": BadRequest, "ERROR-500": Transient, "ERROR-600": Transient,
    "ERROR-601": Transient, "ERROR-602": RateLimited, "ERROR-999": Malformed,
}  # fmt: skip


def test_the_table_is_whole() -> None:
    assert set(CODES) == set(MEANT) - {"ERROR-999"}


@pytest.mark.parametrize(("code", "outcome"), MEANT.items())
@pytest.mark.parametrize(
    "form",
    [
        error,
        lambda c: f"<RESULT><CODE>{c}</CODE><MESSAGE>x</MESSAGE></RESULT>",
        lambda c: (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<RESULT>\n <CODE>{c}</CODE>\n <MESSAGE><![CDATA[x]]></MESSAGE>\n</RESULT>\n'
        ),
    ],
    ids=["json", "xml", "xml-cdata"],
)
def test_every_code_in_every_form(form: Any, code: str, outcome: type) -> None:
    said = classify(form(code))
    assert isinstance(said, outcome) and code in said.reason
    assert getattr(said, "too_large", False) == (code == "ERROR-400")
    assert isinstance(classify(form(code), type="xml"), outcome)


def test_too_many_calls_bring_half_an_hour_of_rest_even_as_xml() -> None:
    said = classify("<RESULT><CODE>ERROR-602</CODE><MESSAGE>과도한 호출</MESSAGE></RESULT>")
    assert isinstance(said, RateLimited) and said.retry_after_s == COOL_DOWN_S == 1800


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (page([ROW]), 200, Ok),
        (page([ROW]), 503, Transient),
        (error("ERROR-602"), 503, RateLimited),
        (error("ERROR-999"), 403, AuthFailed),
        ("", 200, Malformed),
        ("<html><body>점검</body></html>", 200, Malformed),
        ("{}", 200, Malformed),
        (page([ROW])[:-20], 200, Transient),
        (page([ROW], total=None), 200, Malformed),
        ('{"StatisticSearch":{"list_total_count":0}}', 200, Empty),
        (xml_page("StatisticSearch", 1, [ROW], None).body.decode(), 200, Malformed),
    ],
)
def test_other_answers(body: str, status: int, outcome: type) -> None:
    assert isinstance(said := classify(body, status), outcome), said


def test_a_page_larger_than_what_is_seen_of_it() -> None:
    text = page([ROW | {"TIME": f"{n}"} for n in range(2000)], total=99_999)
    assert len(text.encode()) > 3 * 64 * 1024
    assert isinstance(said := classify(text), Ok) and said.page.total == 99_999
    assert isinstance(classify(text[:-4]), Transient)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text('{}[]<>/"RESULTCODE:-602,', max_size=80).map(str.encode)), st.integers(-1, 700))
def test_classify_is_total(body: bytes, status: int) -> None:
    source = EcosSource.model_validate(RATE)
    said = PROTOCOL.classify(source, Request(KEYED), Response(status, {}, body, body, len(body), True))
    assert isinstance(said, Outcome)
    if not 200 <= status < 300:
        assert not isinstance(said, Ok)


# --- periods ---------------------------------------------------------------------------------------------------------------

DAYS = st.dates(date(1990, 1, 1), date(2030, 12, 31))


@settings(max_examples=300, deadline=None)
@given(DAYS, st.integers(0, 5000), st.sampled_from(CYCLES))
def test_halves_share_no_period_and_leave_none_out(start: date, days: int, cycle: str) -> None:
    end = start + timedelta(days=days)
    parts = halves({"from": start, "to": end}, cycle)
    if not parts:
        assert period_of(start, cycle) == period_of(end, cycle)
        return
    (a, b), (c, d) = parts
    assert (a, d) == (start, end) and b + timedelta(days=1) == c and a <= b and c <= d
    assert period_of(b, cycle) != period_of(c, cycle) and begin_of(c, cycle) == c


@settings(max_examples=200, deadline=None)
@given(DAYS, st.sampled_from(CYCLES))
def test_a_period_has_one_name_from_its_first_day_on(day: date, cycle: str) -> None:
    first = begin_of(day, cycle)
    assert first <= day and period_of(first, cycle) == period_of(day, cycle)
    assert first_day_of(period_of(day, cycle), cycle) == first
    assert period_of(first - timedelta(days=1), cycle) < period_of(first, cycle)


def test_a_list_cannot_be_halved() -> None:
    one = feed(service="KeyStatisticList", table=None, cycle=None, items=[], first_day=None)
    assert list(PROTOCOL.split(one, one.source, Step())) == []


# --- rows and the look first --------------------------------------------------------------------------------------------------


def body_of(folder: Path, text: str | bytes) -> Body:
    (folder / "page").write_bytes(text.encode() if isinstance(text, str) else text)
    return Body(folder / "page", {}, KEYED)


def test_rows_of_json_and_xml_are_the_same(tmp_path: Path) -> None:
    read = [("한국은행 기준금리", "20260102", "2.5")]
    assert parsed(feed(), [body_of(tmp_path, page([ROW]))]) == read
    assert parsed(feed(type="xml"), [body_of(tmp_path, xml_page("StatisticSearch", 1, [ROW], None).body)]) == read


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"x":1}', '{"StatisticSearch":{"row":7}}', b"\xff\x00", "[" * 99_999])
def test_hostile_bodies_raise_unreadable_source_only(text: str | bytes, tmp_path: Path) -> None:
    one, body = feed(look_first=True), body_of(tmp_path, text)
    with pytest.raises(UnreadableSource):
        parsed(one, [body])
    with pytest.raises(UnreadableSource):
        PROTOCOL.follow(one, one.source, Step(), body)


def test_the_look_first_stamps_what_the_item_covers(tmp_path: Path) -> None:
    one = feed(look_first=True)
    (lead,) = PROTOCOL.plan(one, one.source, When(NOW))
    assert (
        lead.lead
        and PROTOCOL.request(one, one.source, lead, FIRST, Validators()).url
        == KEYED.replace("StatisticSearch", "StatisticItemList") + "/1/10000/722Y001"
    )
    covered = {"ITEM_CODE": "0101000", "CYCLE": "D", "START_TIME": "19990506", "END_TIME": "20261124", "DATA_CNT": 9999}
    rows = [covered | {"CYCLE": "M", "END_TIME": "202610"}, covered]
    text = json.dumps({"StatisticItemList": {"list_total_count": 2, "row": rows}})
    (step,) = PROTOCOL.follow(one, one.source, lead, body_of(tmp_path, text))
    assert (step.lead, step.stamp, step.params) == (False, "19990506/20261124/9999 722Y001/D/0101000/2026-01-02", lead.params)
    other = feed(look_first=True, items=["0102000"])
    with pytest.raises(UnreadableSource, match="no item 0102000"):
        PROTOCOL.follow(other, other.source, lead, body_of(tmp_path, text))
