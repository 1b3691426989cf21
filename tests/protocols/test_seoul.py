"""seoul: what is sent, what every form of answer means, and the rows of its pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
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
    Request,
    Response,
    Step,
    Transient,
    Validators,
    When,
)
from assets.protocols.seoul import CODES, PROTOCOL, SeoulSource
from deploy.agency.engines.indexed import xml_page
from tests.protocols.standin_scene import feed_for, parsed

SUBWAY = {"protocol": "seoul", "service": "CardSubwayStatsNew"}
KEYED = "http://openapi.seoul.go.kr:8088/{secret:SEOUL_OPENDATA_KEY}"
FIRST = Cursor()
TODAY = ["USE_YMD", "SBWY_ROUT_LN_NM", "SBWY_STNS_NM", "GTON_TNOPE", "GTOFF_TNOPE", "REG_YMD"]
ROW = {
    "USE_YMD": "20260327", "SBWY_ROUT_LN_NM": "9호선", "SBWY_STNS_NM": "가나역", "GTON_TNOPE": 1200.0, "GTOFF_TNOPE": "1100",
    "REG_YMD": "20260330",
}  # fmt: skip


def feed(columns: list[str] = TODAY, **source: Any) -> Feed:
    return feed_for(SUBWAY | source, columns, contract={"columns": [{"name": c.lower(), "source": c} for c in columns]})


def page(rows: Any, total: Any = 1, root: str = "CardSubwayStatsNew", code: str = "INFO-000") -> str:
    said = {"CODE": code, "MESSAGE": "정상 처리되었습니다"}
    return json.dumps({root: {"list_total_count": total, "RESULT": said, "row": rows}}, ensure_ascii=False)


def error(code: str) -> str:
    return json.dumps({"RESULT": {"CODE": code, "MESSAGE": "해당하는 데이터가 없습니다."}}, ensure_ascii=False)


def classify(body: str | bytes, status: int = 200, complete: bool = True, **source: Any) -> Outcome:
    raw = body.encode() if isinstance(body, str) else body
    said = feed(**source).source
    return PROTOCOL.classify(said, Request(KEYED), Response.of(raw, status, {}, complete))


# --- the request ---------------------------------------------------------------------------------------------------------


def urls(one: Feed, now: datetime = datetime(2026, 11, 25, 3, tzinfo=UTC), cursor: Cursor = FIRST) -> list[str]:
    steps = PROTOCOL.plan(one, one.source, When(now))
    return [PROTOCOL.request(one, one.source, step, cursor, Validators()).url for step in steps]


def test_key_type_service_and_indexes_stand_in_the_path() -> None:
    assert urls(feed()) == [f"{KEYED}/json/CardSubwayStatsNew/1/1000"]
    later = Cursor(page=3, offset=1700)
    assert urls(feed(type="xml", size=850), cursor=later) == [f"{KEYED}/xml/CardSubwayStatsNew/1701/2550"]


def test_options_stand_by_position_a_skipped_one_is_a_space_and_none_trails() -> None:
    options = {"day": "20260327", "line": None, "station": "가나역/2", "more": "", "last": " "}
    assert urls(feed(params=options)) == [
        f"{KEYED}/json/CardSubwayStatsNew/1/1000/20260327/%20/%EA%B0%80%EB%82%98%EC%97%AD%2F2",
    ]
    assert urls(feed(params={"day": ""})) == [f"{KEYED}/json/CardSubwayStatsNew/1/1000"]


def test_a_window_with_its_lag_asks_for_the_days_that_are_there() -> None:
    daily = feed(params={"day": "{start:%Y%m%d}"}, window={"every": "day", "count": 2, "lag": "P3D"})
    assert [url.rpartition("/")[2] for url in urls(daily)] == ["20261120", "20261121"]


def test_each_value_is_a_query_and_must_be_used() -> None:
    lines = feed(params={"day": "20260327", "line": "{line}"}, each={"line": ["1호선", "2호선"]})
    assert [url.rpartition("/")[2] for url in urls(lines)] == ["1%ED%98%B8%EC%84%A0", "2%ED%98%B8%EC%84%A0"]
    with pytest.raises(ValidationError, match=r"nothing holds \{line\}"):
        feed(each={"line": ["1호선"]})


def test_hours_of_ten_digits_are_refused_before_they_are_sent() -> None:
    hourly = {"window": {"every": "hour"}}
    with pytest.raises(ValidationError, match="12"):
        feed(params={"hour": "{start:%Y%m%d%H}"}, **hourly)
    now = datetime(2026, 11, 25, 3, 5, tzinfo=UTC)
    for form in ("{start:%Y%m%d%H00}", "{start:%Y%m%d%H%M}"):
        assert urls(feed(params={"hour": form}, **hourly), now)[0].endswith("/202611251100")


@pytest.mark.parametrize(
    "wrong", [{"auth": {"kind": "none"}}, {"size": 1001}, {"service": "a/b"}, {"base_url": "http://a/{b}"}, {"type": "xls"}]
)
def test_a_declaration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**wrong)


def test_a_block_given_in_part_keeps_the_rest() -> None:
    source = feed(auth={"secret": "DISTRICT_KEY"}, limits={"per_day": 1000}).source
    assert (source.auth.kind, source.auth.secret) == ("path_key", "DISTRICT_KEY")
    assert (source.limits.per_day, source.limits.reset) == (1000, "00:00 Asia/Seoul")


def test_a_pasted_address_becomes_a_source_without_its_key() -> None:
    options = {"option_1": "20260327", "option_2": "", "option_3": "가나역"}
    for one in (
        feed(params=options),
        feed(),
        feed(base_url="http://swopenapi.seoul.go.kr/api/subway", service="realtimeStationArrival", params={"option_1": "강남"}),
    ):
        for end in ("", "/"):
            found = PROTOCOL.recognise(urls(one)[0].replace("{secret:SEOUL_OPENDATA_KEY}", "SOMEBODYSKEY") + end)
            assert found is not None and "SOMEBODYSKEY" not in str(found)
            assert SeoulSource.model_validate_json(json.dumps(found), strict=True) == one.source


@pytest.mark.parametrize("path", ["", "/json/Service/1/5", "/KEY/json/Service", "/KEY/json/Service/a/5", "/KEY/csv/Service/1/5"])
def test_other_addresses_are_not_its_own(path: str) -> None:
    assert PROTOCOL.recognise(f"http://openapi.seoul.go.kr:8088{path}") is None
    assert PROTOCOL.recognise("http://data.example/KEY/json/Service/1/5") is None


# --- errors: every code in every form --------------------------------------------------------------------------------------

MEANT = {
    "INFO-100": AuthFailed, "INFO-200": Empty, "ERROR-300": BadRequest, "ERROR-301": BadRequest, "ERROR-310": Gone,
    "ERROR-331": BadRequest, "ERROR-332": BadRequest, "ERROR-333": BadRequest, "ERROR-334": BadRequest, "ERROR-335": AuthFailed,
    "ERROR-336": BadRequest, "ERROR-500": Transient, "ERROR-600": Transient, "ERROR-601": Transient, "ERROR-999": Malformed,
}  # fmt: skip


def test_the_table_is_whole() -> None:
    assert set(CODES) == set(MEANT) - {"ERROR-999"}


@pytest.mark.parametrize(("code", "outcome"), MEANT.items())
@pytest.mark.parametrize(
    "form",
    [
        error,
        lambda c: f"<RESULT><CODE>{c}</CODE><MESSAGE>x</MESSAGE></RESULT>",
        lambda c: f'<?xml version="1.0"?>\n<RESULT>\n<CODE>{c}</CODE>\n<MESSAGE><![CDATA[x]]></MESSAGE>\n</RESULT>',
        lambda c: json.dumps(
            {"errorMessage": {"status": 500, "code": c, "message": "x", "link": "", "developerMessage": "", "total": 0}}
        ),
        lambda c: json.dumps({"CardSubwayStatsNew": {"RESULT": {"CODE": c, "MESSAGE": "x"}}}),
        lambda c: "\ufeff" + error(c),
    ],
    ids=["root", "xml", "xml-cdata", "subway", "service", "bom"],
)
def test_every_code_in_every_form(form: Any, code: str, outcome: type) -> None:
    said = classify(form(code))
    assert isinstance(said, outcome), said
    assert code in said.reason
    assert isinstance(classify(form(code), type="xml"), outcome)


def test_the_sample_key_is_told_what_is_the_matter() -> None:
    said = classify(error("ERROR-335"))
    assert isinstance(said, AuthFailed) and "sample" in said.reason


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (error("INFO-100"), 500, AuthFailed),
        (error("ERROR-500"), 404, Transient),
        (error("ERROR-999"), 403, AuthFailed),
        ("Service Unavailable", 503, Transient),
        (page([ROW]), 500, Transient),
        ("", 200, Malformed),
        ("<!DOCTYPE html><html><body>점검 중</body></html>", 200, Malformed),
        ("hello", 200, Malformed),
        ("[1]", 200, Malformed),
        ("{}", 200, Malformed),
        (page([ROW])[:-30], 200, Transient),
        (page([ROW], total=None), 200, Malformed),
        (page([ROW], root="rentBikeStatus"), 200, Ok),
        (page([ROW | {"CODE": "INFO-200", "list_total_count": 9}]), 200, Ok),
        ('{"CardSubwayStatsNew":{"list_total_count":0,"RESULT":{"CODE":"INFO-000","MESSAGE":""}}}', 200, Empty),
        ('{"CardSubwayStatsNew":{"list_total_count":7,"RESULT":{"CODE":"INFO-000","MESSAGE":""}}}', 200, Malformed),
    ],
)
def test_other_answers(body: str, status: int, outcome: type) -> None:
    assert isinstance(said := classify(body, status), outcome), said


def test_a_cut_connection_and_the_wrong_type() -> None:
    assert isinstance(classify(page([ROW]), complete=False), Transient)
    as_xml = xml_page("CardSubwayStatsNew", 1, [ROW], "INFO-000").body
    assert isinstance(classify(as_xml), Malformed) and isinstance(classify(page([ROW]), type="xml"), Malformed)
    assert isinstance(said := classify(as_xml, type="xml"), Ok) and said.page.total == 1
    assert isinstance(classify(as_xml[:-9], type="xml"), Transient)


def test_columns_of_a_row_are_no_words_of_the_page_and_errors_come_in_both_spellings_of_xml() -> None:
    in_xml = xml_page("CardSubwayStatsNew", 1, [ROW | {"MESSAGE": "x", "list_total_count": "9"}], "INFO-000").body
    without = in_xml.replace(b"<list_total_count>1</list_total_count>", b"")
    assert isinstance(said := classify(in_xml, type="xml"), Ok) and said.page.total == 1
    assert isinstance(said := classify(without, type="xml"), Malformed) and "total" in said.reason
    wrapped = "<errorMessage><status>500</status><code>INFO-200</code><message>해당하는 데이터가 없습니다.</message></errorMessage>"
    for kind in ("json", "xml"):
        assert isinstance(said := classify(wrapped, type=kind), Empty) and "해당하는" in said.reason


def test_a_page_larger_than_what_is_seen_of_it() -> None:
    big = [ROW | {"SBWY_STNS_NM": f"역 {n}"} for n in range(1000)]
    text = page(big, total="1,613")
    assert len(text.encode()) > 2 * 64 * 1024
    assert isinstance(said := classify(text), Ok) and said.page.total == 1613
    assert isinstance(classify(text[:-2]), Transient)
    in_xml = xml_page("CardSubwayStatsNew", 1613, big, "INFO-000").body
    assert isinstance(said := classify(in_xml, type="xml"), Ok) and said.page.total == 1613


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.text("<>/RESULTCODEMSAG[]!&;-019 ", max_size=200).map(lambda text: b"<RESULT>" + text.encode()),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["RESULT", "CODE", "MESSAGE", "row", "list_total_count", "errorMessage", "code"]), inner
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.integers(-1, 700),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 10**12)),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None) -> None:
    source = SeoulSource(protocol="seoul", service="x")
    size = len(body) if length is None else length
    said = PROTOCOL.classify(source, Request(KEYED), Response(status, {}, body, body, size, complete))
    assert isinstance(said, Outcome)
    if not 200 <= status < 300 or not complete:
        assert not isinstance(said, Ok)


# --- rows ------------------------------------------------------------------------------------------------------------------


def rows_of(folder: Path, one: Feed, *pages: str | bytes) -> list[tuple[str | None, ...]]:
    bodies = []
    for n, text in enumerate(pages, 1):
        (folder / f"{n}").write_bytes(text.encode() if isinstance(text, str) else text)
        bodies.append(Body(folder / f"{n}", {}, KEYED, page=n))
    return parsed(one, bodies)


def test_rows_of_json_and_xml_are_the_same_and_numbers_lose_their_point(tmp_path: Path) -> None:
    read = [("20260327", "9호선", "가나역", "1200", "1100", "20260330")]
    assert rows_of(tmp_path, feed(), page([ROW]), page([ROW])) == read * 2
    assert rows_of(tmp_path, feed(type="xml"), xml_page("CardSubwayStatsNew", 1, [ROW | {"GTON_TNOPE": "1200"}], None).body) == read


def test_rows_may_stand_under_another_name_than_the_service(tmp_path: Path) -> None:
    bikes = feed(["stationId"], service="bikeList", records="rentBikeStatus.row")
    assert rows_of(tmp_path, bikes, page([{"stationId": "ST-4"}], root="rentBikeStatus")) == [("ST-4",)]
    trains = feed(["statnNm"], service="realtimeStationArrival", records="realtimeArrivalList")
    said = {"status": 200, "code": "INFO-000", "message": "정상", "total": 1}
    arrivals = json.dumps({"errorMessage": said, "realtimeArrivalList": [{"statnNm": "가나"}]})
    assert rows_of(tmp_path, trains, arrivals) == [("가나",)]
    raw = arrivals.encode()
    assert PROTOCOL.classify(trains.source, Request(KEYED), Response(200, {}, raw, raw, len(raw), True)) == classify(page([]))


def test_columns_renamed_in_place_are_told_by_both_names(tmp_path: Path) -> None:
    former = {"USE_DT": "20260327", "LINE_NUM": "9호선", "SUB_STA_NM": "가나역", "RIDE_PASGR_NUM": 1200.0}
    with pytest.raises(UnreadableSource, match=r"'USE_YMD'.* missing; the source has 'USE_DT'"):
        rows_of(tmp_path, feed(), page([former]))


@pytest.mark.parametrize("body", ["", "{", "[1]", '{"x":1}', '{"CardSubwayStatsNew":{"row":"x"}}', b"\xff\xfe\x00", "[" * 99_999])
def test_hostile_pages_raise_unreadable_source_only(body: str | bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        rows_of(tmp_path, feed(), body)


@pytest.mark.parametrize(
    "body", ["", "<a", "<a/>", "<!DOCTYPE r [<!ENTITY a 'b'>]><CardSubwayStatsNew><row>&a;</row></CardSubwayStatsNew>"]
)
def test_hostile_xml_raises_unreadable_source_only(body: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        rows_of(tmp_path, feed(type="xml"), body)


def test_a_step_is_pure() -> None:
    one = feed(params={"day": "20260327"})
    assert PROTOCOL.request(one, one.source, Step(), Cursor(), Validators()) == PROTOCOL.request(
        one, one.source, Step(), Cursor(), Validators()
    )
