"""kosis: what is sent, how a large question is asked in parts, what every form of answer means, and lists that are no JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.answers.kosis_answers import document_of, repaired
from assets.protocols.answers.kosis_cells import Question, cells, fitting, halves, period_of, period_text
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
from assets.protocols.kosis import PROTOCOL, KosisSource
from tests.protocols.kosis_scene import kosis
from tests.protocols.standin_scene import NOW, parsed

DATA = "https://kosis.kr/openapi/Param/statisticsParameterData.do?method=getList&orgId=101&tblId=DT_1X"
NCD = "https://kosis.kr/openapi/statisticsData.do?method=getMeta&type=NCD&orgId=101&tblId=DT_1X&format=json&jsonVD=Y"
KEY = "&apiKey={secret:KOSIS_KEY}"


def planned(feed: Feed, now: datetime = NOW) -> list[Step]:
    return list(PROTOCOL.plan(feed, feed.source, When(now)))


def urls(now: datetime = NOW, **source: Any) -> list[str]:
    """The addresses of the data, without what they all share."""
    feed = kosis(updates=False, **source)
    sent = [PROTOCOL.request(feed, feed.source, step, Cursor(), Validators()) for step in planned(feed, now)]
    assert all(r.url.startswith(DATA) and r.url.endswith(KEY) and r.method == "GET" for r in sent)
    return [r.url.removeprefix(DATA).removesuffix(KEY) for r in sent]


# --- what is sent ----------------------------------------------------------------------------------------------------------


def test_the_table_is_asked_first_when_it_was_updated() -> None:
    feed = kosis()
    [lead] = planned(feed)
    assert lead.lead
    assert PROTOCOL.request(feed, feed.source, lead, Cursor(), Validators()).url == NCD + KEY


def test_codes_are_joined_by_bare_pluses_and_both_ends_of_a_window_are_meant() -> None:
    source = {"items": ["T20", "T21"], "classes": [["00", "11"], ["ALL"], ["가/나"]]}
    assert urls(**source) == [
        "&objL1=00+11+&objL2=ALL&objL3=%EA%B0%80%2F%EB%82%98&itmId=T20+T21+&prdSe=M&startPrdDe=202607&endPrdDe=202610&format=json&jsonVD=Y"
    ]


def test_the_newest_periods_and_periods_that_the_feed_names_itself() -> None:
    head, tail = "&objL1=ALL&itmId=ALL&prdSe=", "&format=json&jsonVD=Y"
    assert urls(newest=3, params={"prdInterval": "2", "outputFields": ""}) == [f"{head}M&newEstPrdCnt=3{tail}&prdInterval=2"]
    named = {"startPrdDe": "2015", "endPrdDe": "{partition}"}
    feed = kosis(period="F", params=named, updates=False)
    [step] = PROTOCOL.plan(feed, feed.source, When(NOW, partition="2025"))
    url = PROTOCOL.request(feed, feed.source, step, Cursor(), Validators()).url
    assert url == f"{DATA}{head}F{tail}&startPrdDe=2015&endPrdDe=2025{KEY}"


@pytest.mark.parametrize(
    ("period", "window", "ranges"),
    [
        ("D", {"every": "day", "count": 2}, ["20261123..20261123", "20261124..20261124"]),
        ("M", {"every": "month", "count": 1, "running": True}, ["202611..202611"]),
        ("M", {"every": "year", "count": 1}, ["202501..202512"]),
        ("Q", {"every": "quarter", "count": 2, "requests": "one"}, ["202602..202603"]),
        ("H", {"every": "year", "count": 1}, ["202501..202502"]),
        ("H", {"every": "quarter", "count": 2}, ["202601..202601", "202602..202602"]),
        ("Y", {"every": "year", "count": 2, "requests": "one"}, ["2024..2025"]),
        # two days of one month are one question
        ("M", {"every": "day", "count": 2}, ["202611..202611"]),
    ],
)
def test_periods_as_kosis_writes_them(period: str, window: dict[str, Any], ranges: list[str]) -> None:
    sent = [dict(part.partition("=")[::2] for part in url.split("&")) for url in urls(period=period, window=window)]
    assert [f"{s['startPrdDe']}..{s['endPrdDe']}" for s in sent] == ranges
    assert {s["prdSe"] for s in sent} == {period}


def test_one_question_for_each_value_stands_in_place_of_the_listed_codes() -> None:
    sent = urls(classes=[["00", "11"], ["ALL"]], each={"objL1": ["00", "11"]})
    assert [url.split("&itmId")[0] for url in sent] == ["&objL1=00&objL2=ALL", "&objL1=11&objL2=ALL"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"newest": 1, "window": {"every": "month"}}, "say once"),
        ({"params": {}}, "say once"),
        ({"period": "IR", "window": {"every": "month"}}, "no window"),
        ({"classes": [["ALL"]] * 9, "newest": 1}, "at most 8"),
        ({"classes": [], "newest": 1}, "at least 1"),
    ],
)
def test_contradictions_are_refused(source: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        kosis(**source)


@pytest.mark.parametrize(
    "declared",
    [
        {"items": ["T20", "T21"], "classes": [["00", "11"], ["ALL"]], "newest": 3},
        {"params": {"startPrdDe": "202401", "endPrdDe": "202412", "prdInterval": "2"}},
    ],
)
def test_an_address_that_kosis_generates_becomes_a_source_without_its_key(declared: dict[str, Any]) -> None:
    feed = kosis(updates=False, **declared)
    [step] = planned(feed)
    url = PROTOCOL.request(feed, feed.source, step, Cursor(), Validators()).url.replace("{secret:KOSIS_KEY}", "SOMEBODYSKEY")
    found = PROTOCOL.recognise(f"{url}&loadGubun=2&objL8=")
    assert found is not None and "SOMEBODYSKEY" not in str(found)
    assert KosisSource.model_validate(found | {"updates": False}) == feed.source


@pytest.mark.parametrize(
    "url", ["https://kosis.kr/statHtml/statHtml.do?orgId=101&tblId=DT_1", DATA, DATA.replace("kosis.kr", "x.kr") + "&prdSe=M"]
)
def test_other_addresses_are_not_its_own(url: str) -> None:
    assert PROTOCOL.recognise(url) is None


def test_a_partly_given_block_keeps_the_rest() -> None:
    source = kosis(auth={"secret": "OTHER_KEY"}, limits={"concurrency": 1}).source
    assert (source.auth.kind, source.auth.name, source.auth.secret) == ("query_key", "apiKey", "OTHER_KEY")
    assert (source.limits.per_second, source.limits.concurrency) == (3, 1)


# --- in parts --------------------------------------------------------------------------------------------------------------


def test_a_question_that_is_known_to_be_too_large_is_asked_by_periods_then_by_the_first_class() -> None:
    source = {"items": ["T1", "T2"], "classes": [["11", "26", "27"], ["0"]]}
    assert len(urls(**source, max_cells=24)) == 1  # 2 items x 3 x 1 codes x 4 months
    by_period = urls(**source, max_cells=12)
    assert [u.partition("startPrdDe=")[2][:22] for u in by_period] == ["202607&endPrdDe=202608", "202609&endPrdDe=202610"]
    by_class = urls(**source, max_cells=4)
    assert [u.split("&")[1] for u in by_class] == ["objL1=11", "objL1=26+27+"] * 4
    assert all("itmId=T1+T2+" in u and "objL2=0&" in u for u in by_class)
    # what is not listed cannot be counted, so it is asked as it is
    assert len(urls(items=["T1"], max_cells=1)) == 1
    # newest periods cannot be halved, so the classes are
    assert len(urls(**source, newest=5, max_cells=15)) == 3


codes = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True).map(tuple)


@given(st.dictionaries(st.sampled_from(["objL1", "objL2", "itmId"]), codes, min_size=1), st.integers(0, 9), st.integers(0, 9))
def test_parts_hold_every_cell_once(listed: dict[str, tuple[str, ...]], first: int, more: int) -> None:
    whole = Question(listed, "M", first, first + more)
    parts = list(fitting(whole, 3, None))
    assert sum(cells(part, None) or 0 for part in parts) == cells(whole, None)
    assert all((cells(part, None) or 0) <= 3 for part in parts)
    pieces = halves(whole)
    assert (pieces == []) == (cells(whole, None) == 1)
    if more:  # periods first
        assert [p.codes for p in pieces] == [listed, listed]
        middle = (2 * first + more) // 2
        assert [(p.first, p.last) for p in pieces] == [(first, middle), (middle + 1, first + more)]


@given(st.sampled_from("DMQHY"), st.dates(date(1960, 1, 1), date(2100, 1, 1)))
def test_periods_count_up_by_one(kind: str, day: date) -> None:
    n = period_of(kind, day)
    texts = [period_text(kind, n + i) for i in range(30)]
    assert all(a < b for a, b in pairwise(texts)) and len({len(t) for t in texts}) == 1
    assert texts[0].startswith(f"{day.year}")


# --- when it was updated ---------------------------------------------------------------------------------------------------


def led(tmp_path: Path, answer: str, now: datetime = NOW, **source: Any) -> list[Step]:
    feed = kosis(**source)
    (tmp_path / "ncd").write_text(answer, encoding="utf-8")
    [lead] = planned(feed, now)
    return list(PROTOCOL.follow(feed, feed.source, lead, Body(tmp_path / "ncd", {}, NCD)))


def ncd(*dates: str) -> str:
    return json.dumps(
        [{"PRD_SE": "월", "PRD_DE": f"2026{n:02d}", "SEND_DE": d} for n, d in enumerate(dates, 7)], ensure_ascii=False
    )


def test_the_stamp_moves_with_an_update_a_new_period_and_another_question(tmp_path: Path) -> None:
    [first] = led(tmp_path, ncd("2026-10-02", "2026-11-03"))
    assert first.stamp is not None and first.stamp.startswith("20261103 ")
    assert led(tmp_path, ncd("2026-10-02", "2026-11-03"))[0].stamp == first.stamp
    others = [
        led(tmp_path, ncd("2026-10-02", "2026-11-04"))[0].stamp,
        led(tmp_path, ncd("2026-10-03", "2026-11-03"))[0].stamp,
        led(tmp_path, ncd("2026-10-02", "2026-11-03", "2026-11-03"))[0].stamp,
        led(tmp_path, ncd("2026-10-02", "2026-11-03"), items=["T1"])[0].stamp,
        # a month later the window asks for another month, whatever the table says of itself
        led(tmp_path, ncd("2026-10-02", "2026-11-03"), now=datetime(2026, 12, 25, tzinfo=UTC))[0].stamp,
    ]
    assert len({first.stamp, *others}) == 6


def test_parts_have_stamps_of_their_own(tmp_path: Path) -> None:
    stamps = [s.stamp for s in led(tmp_path, ncd("2026-11-03"), items=["T1"], classes=[["11"]], max_cells=1)]
    assert len(set(stamps)) == 4 and None not in stamps


@pytest.mark.parametrize("answer", [ncd("2026-11-25"), ncd("2026-11-26"), ncd(""), '[{"PRD_DE":"202610"}]', "[7]"])
def test_a_day_that_is_not_over_or_no_date_is_no_version(tmp_path: Path, answer: str) -> None:
    assert [step.stamp for step in led(tmp_path, answer)] == [None]


@pytest.mark.parametrize("answer", ["", "{", '{"a":1}', "<html>", "7"])
def test_an_answer_about_updates_that_is_no_list_is_unreadable(tmp_path: Path, answer: str) -> None:
    with pytest.raises(UnreadableSource):
        led(tmp_path, answer)


# --- what answers mean -----------------------------------------------------------------------------------------------------


def classify(
    body: bytes | str, status: int = 200, url: str = DATA, complete: bool = True, headers: dict[str, str] | None = None
) -> Outcome:
    raw = body.encode() if isinstance(body, str) else body
    source = kosis().source
    return PROTOCOL.classify(source, Request(url), Response.of(raw, status, headers or {}, complete))


CODES = {
    "10": AuthFailed, "11": AuthFailed, "20": BadRequest, "21": BadRequest, "30": Empty, "31": BadRequest, "40": RateLimited,
    "41": BadRequest, "42": AuthFailed, "50": Transient, "77": Malformed,
}  # fmt: skip


@pytest.mark.parametrize(("code", "outcome"), CODES.items())
@pytest.mark.parametrize(
    "form",
    [
        lambda c: json.dumps({"err": c, "errMsg": "필수요청변수값이 누락되었습니다."}),
        lambda c: json.dumps({"errCode": c, "errMsg": "x"}),
        lambda c: json.dumps({"err": int(c)}),
        lambda c: f'{{err:"{c}",errMsg:"x: {{y:1}}"}}',
        lambda c: f"\ufeff <error><err>{c}</err><errMsg>서버오류</errMsg></error>",
        lambda c: f"<?xml version='1.0'?>\n<error><err><![CDATA[{c}]]></err><errMsg><![CDATA[x]]></errMsg></error>",
    ],
    ids=["object", "errCode", "number", "bare-keys", "xml", "cdata"],
)
def test_every_code_in_every_form(form: Any, code: str, outcome: type) -> None:
    said = classify(form(code))
    assert isinstance(said, outcome), said
    assert getattr(said, "too_large", False) == (code in ("31", "41"))
    assert f"error {code}" in said.reason  # type: ignore[union-attr]
    # the same with a status that refuses: a code that is known tells more
    assert isinstance(classify(form(code), 500), Transient if code == "77" else outcome)


def test_waits_a_minute_after_40_or_as_long_as_it_says() -> None:
    assert classify('{"err":"40"}') == RateLimited(60.0, "error 40: ")
    said = classify('{"err":"40"}', headers={"retry-after": "7"})
    assert isinstance(said, RateLimited) and said.retry_after_s == 7


def test_no_result_of_the_question_about_updates_is_a_wrong_table_and_not_an_empty_one() -> None:
    for body in ('{"err":"30","errMsg":"데이터가 존재하지 않습니다."}', "[]"):
        assert isinstance(classify(body), Empty)
    assert isinstance(said := classify('{"err":"30"}', url=NCD), BadRequest) and "updates: false" in said.reason
    assert isinstance(classify("[]", url=NCD), Malformed)


def test_other_bodies() -> None:
    assert classify('[{"DT":"1"}]') == Ok() == classify('\ufeff\n[{DT:"1"}]\n')
    assert isinstance(classify(""), Malformed)
    assert isinstance(classify("<!DOCTYPE html><html></html>"), Malformed)
    assert isinstance(classify('{"rows":[]}'), Malformed)
    assert isinstance(classify('{"err":{"a":1}}'), Malformed)
    assert isinstance(classify("hello"), Malformed)
    assert isinstance(classify('[{"DT":}]'), Malformed)
    assert isinstance(classify('[{"DT":"1"},{"DT"'), Transient)
    assert isinstance(classify('[{"DT":"1"}]', complete=False), Transient)
    assert isinstance(classify("busy", 503), Transient)
    assert isinstance(classify("no", 403), AuthFailed)


@pytest.mark.parametrize("bare", [False, True])
def test_a_list_larger_than_the_head_is_judged_by_its_two_ends(bare: bool) -> None:
    row = '{C1_NM:"서울",DT:"1"}' if bare else '{"C1_NM":"서울","DT":"1","err":"30"}'
    body = f"[{','.join([row] * 9000)}]"
    assert len(body.encode()) > 3 * 64 * 1024
    assert classify(body) == Ok()
    assert isinstance(classify(body[:-2]), Transient)


@settings(max_examples=300, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.text(alphabet='[]{}",:\t\\errMsg30<>/ a', max_size=120).map(str.encode),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["err", "errMsg", "errCode", "DT"]), inner),
        ).map(lambda v: json.dumps(v).encode()),
    ),
    status=st.integers(-1, 700),
    complete=st.booleans(),
    length=st.one_of(st.none(), st.integers(0, 10**9)),
    lead=st.booleans(),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None, lead: bool) -> None:
    source, size = kosis().source, len(body) if length is None else length
    said = PROTOCOL.classify(source, Request(NCD if lead else DATA), Response(status, {}, body, body, size, complete))
    assert isinstance(said, Outcome)
    if isinstance(said, Ok):
        assert 200 <= status < 300 and complete


# --- lists that are no JSON ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('[{ORG_ID:"101",TBL_NM:"가: {나:1}, 다:2"}]', [{"ORG_ID": "101", "TBL_NM": "가: {나:1}, 다:2"}]),
        ('[{ A1 : "x\\", B:1" ,\n _b:"y"}]', [{"A1": 'x", B:1', "_b": "y"}]),
        ('[{PRD_DE:"2024",\t:"2024-11-20"}]', [{"PRD_DE": "2024", "SEND_DE": "2024-11-20"}]),
        ('[{"PRD_DE":"2024", "\t":"2024-11-20"}]', [{"PRD_DE": "2024", "SEND_DE": "2024-11-20"}]),
        ('[{\t:"2024-11-20"}]', [{"SEND_DE": "2024-11-20"}]),
        ('[{"a":"1",\t"b":"2"}]', [{"a": "1", "b": "2"}]),
        ('[{a:"1",\tb:"2"}]', [{"a": "1", "b": "2"}]),
    ],
)
def test_keys_are_mended_outside_strings_only(text: str, value: Any) -> None:
    assert document_of(text) == value


@given(
    st.lists(
        st.dictionaries(st.from_regex(r"\A[A-Z][A-Z0-9_]{0,8}\Z"), st.text(max_size=20), max_size=4),
        max_size=4,
    )
)
def test_bare_keys_are_read_as_quoted_ones(rows: list[dict[str, str]]) -> None:
    bare = "[" + ",".join("{" + ",".join(f"{k}:{json.dumps(v)}" for k, v in row.items()) + "}" for row in rows) + "]"
    assert document_of(bare) == rows
    assert repaired(json.dumps(rows)) == json.dumps(rows)


def test_rows_of_several_answers_and_symbols_in_place_of_numbers(tmp_path: Path) -> None:
    feed = kosis(columns=["C1_NM", "DT"])
    texts = ['[{"C1_NM":"서울","DT":"-"},{"C1_NM":"부산","DT":"X"}]', '[{C1_NM:"대구",DT:"..."},{C1_NM:"인천",DT:1.50}]', "[]"]
    bodies = []
    for n, text in enumerate(texts):
        (tmp_path / f"{n}").write_text(text, encoding="utf-8")
        bodies.append(Body(tmp_path / f"{n}", {}, DATA, step=n))
    assert parsed(feed, bodies) == [("서울", "-"), ("부산", "X"), ("대구", "..."), ("인천", "1.5")]


@pytest.mark.parametrize("page", [b"", b"[", b"<a>", b'{"err":"30"}', b"\xff\xfe\x00", b"[" * 100_000, b'[{"a":NaN}]'])
def test_hostile_answers_raise_unreadable_source_only(page: bytes, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(page)
    with pytest.raises(UnreadableSource):
        parsed(kosis(), [Body(tmp_path / "page", {}, DATA)])


def test_a_step_that_cannot_be_smaller_is_not_split() -> None:
    feed = kosis(newest=1, updates=False, items=["T1"], classes=[["11"]])
    [step] = planned(feed)
    assert list(PROTOCOL.split(feed, feed.source, step)) == []
    assert list(PROTOCOL.split(feed, feed.source, replace(step, params={}))) == []


def itm(*codes: tuple[str, str | None, str]) -> str:
    return json.dumps([{"OBJ_ID": kind, "OBJ_ID_SN": place, "ITM_ID": code, "ITM_NM": "x"} for kind, place, code in codes])


def test_behind_all_are_the_codes_that_kosis_lists(tmp_path: Path) -> None:
    """Halved by the first class that can be, and no longer than an address may be; the others are still asked for as ALL."""
    feed = kosis(newest=1, updates=False, items=["T1"], classes=[["0"], ["ALL"], ["ALL"]])
    [step] = planned(feed)
    [lead] = PROTOCOL.split(feed, feed.source, step)
    assert lead.lead
    assert PROTOCOL.request(feed, feed.source, lead, Cursor(), Validators()).url == NCD.replace("NCD", "ITM") + KEY
    many = [("B", "2", f"{n:010}") for n in range(1000)]
    (tmp_path / "itm").write_text(itm(("ITEM", None, "T1"), ("A", "1", "0"), *many, ("C", "3", "x"), ("C", "3", "y")))
    parts = list(PROTOCOL.follow(feed, feed.source, lead, Body(tmp_path / "itm", {}, NCD)))
    asked_for = [part.params["question"].codes for part in parts]
    assert [code for codes in asked_for for code in codes["objL2"]] == [code for _, _, code in many]
    assert {(codes["objL1"], codes["objL3"], codes["itmId"]) for codes in asked_for} == {(("0",), ("ALL",), ("T1",))}
    sent = [PROTOCOL.request(feed, feed.source, part, Cursor(), Validators()).url for part in parts]
    assert max(map(len, sent)) < 3500 and len(sent) == 4 and not any(part.lead for part in parts)
    [one, other] = PROTOCOL.split(feed, feed.source, replace(parts[0], params={**parts[0].params}))
    assert len(one.params["question"].codes["objL2"]) == len(other.params["question"].codes["objL2"]) == 125


@pytest.mark.parametrize(
    "answer", ["[]", "[7]", '[{"ITM_ID": null}]', "{}", "", itm(("A", "1", "0")), '[{"OBJ_ID": [], "ITM_ID": {}}]']
)
def test_codes_that_cannot_be_halved_are_unreadable(answer: str, tmp_path: Path) -> None:
    feed = kosis(newest=1, updates=False)
    [lead] = PROTOCOL.split(feed, feed.source, planned(feed)[0])
    (tmp_path / "itm").write_text(answer)
    with pytest.raises(UnreadableSource):
        PROTOCOL.follow(feed, feed.source, lead, Body(tmp_path / "itm", {}, NCD))
