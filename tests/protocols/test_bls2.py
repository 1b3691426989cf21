"""bls2: what is sent, what every answer means, and fetches from the stand-in: everything that was asked for, or a failure."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.protocols.answers.bls_answers import Question
from assets.protocols.bls2 import PROTOCOL, BlsSource
from assets.protocols.kernel import (
    AuthFailed,
    BadRequest,
    Empty,
    Gone,
    Malformed,
    Ok,
    Outcome,
    QuotaExhausted,
    Request,
    Response,
    Transient,
)
from deploy.agency.engines.bls2 import THRESHOLD
from tests.protocols.json_scene import hostile, judged, read, requests
from tests.protocols.standin_scene import KEY, Scene, feed_for, fetch_on_paper, paper, scene

ROUTE: dict[str, Any] = {"kind": "bls2", "host": "api.bls.gov", "path": "/publicAPI/v2/timeseries/data/"}
COLUMNS = ("seriesID", "year", "period", "value", "footnote_codes")
KEYED = {"kind": "body_key"}


def feed(*series: str, years: int = 3, limits: dict[str, Any] | None = None, **source: Any) -> Feed:
    declared = {"protocol": "bls2", "series": series or ("S0",), "years": years, "limits": limits or {"per_day": 500}}
    return feed_for(declared | source, COLUMNS)


def rows(series: int, years: int = 3, months: int = 2) -> list[dict[str, Any]]:
    return [
        {
            "seriesID": f"S{n}", "year": str(2027 - years + y), "period": f"M{m + 1:02}", "periodName": "x", "value": f"{n}.{y}{m}",
            "footnotes": [{"code": "P", "text": "Preliminary."}] if m else [{}],
        }
        for n in range(series) for y in range(years) for m in range(months)
    ]  # fmt: skip


def values(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return sorted((r["seriesID"], r["year"], r["period"], r["value"], r["footnotes"][0].get("code", "")) for r in found)


def answer(*cells: tuple[str, int], status: str = "REQUEST_SUCCEEDED", message: Any = ()) -> dict[str, Any]:
    series = [{"seriesID": s, "data": [{"year": str(y), "period": "M01", "value": "-", "footnotes": [{}]}]} for s, y in cells]
    return {"status": status, "responseTime": 91, "message": list(message), "Results": {"series": series} if series else {}}


def said(asked: Question, body: Any, status: int = 200, complete: bool = True, **source: Any) -> Outcome:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    question = {"seriesid": list(asked.series), "startyear": str(asked.first), "endyear": str(asked.last)}
    request = Request("https://api.bls.gov/", "POST", {}, json.dumps(question).encode())
    one = feed(**source).source
    return PROTOCOL.classify(one, request, Response.of(raw, status, {}, complete))


ONE, TWO = Question(("S0",), 2026, 2026), Question(("S0", "S1"), 2025, 2026)
ALL = [("S0", 2025), ("S0", 2026), ("S1", 2025), ("S1", 2026)]

# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_a_question_as_sent() -> None:
    (sent,) = requests(feed("LNS14000000", "LNS14000001"))
    assert (sent.method, sent.url) == ("POST", "https://api.bls.gov/publicAPI/v2/timeseries/data/")
    assert sent.headers == {"Content-Type": "application/json"}
    assert sent.body == b'{"seriesid": ["LNS14000000", "LNS14000001"], "startyear": "2024", "endyear": "2026"}'


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 60), st.integers(1, 45), st.integers(1, 50), st.integers(1, 20))
def test_questions_cover_every_year_of_every_series_once_and_stay_small(count: int, years: int, most: int, longest: int) -> None:
    one = feed(*[f"S{n}" for n in range(count)], years=years, max_series=most, max_years=longest, auth=KEYED)
    asked = [json.loads(request.body or b"") for request in requests(one)]
    cells = [(s, y) for q in asked for s in q["seriesid"] for y in range(int(q["startyear"]), int(q["endyear"]) + 1)]
    assert sorted(cells) == sorted((f"S{n}", 2026 - y) for n in range(count) for y in range(years))
    for question in asked:
        span = int(question["endyear"]) - int(question["startyear"]) + 1
        assert len(question["seriesid"]) <= most and span <= longest and len(question["seriesid"]) * span <= 40


def test_halves_end_at_one_year_of_one_series() -> None:
    waiting, done = [Question(("a", "b", "c"), 2020, 2026)], list[Question]()
    while waiting:
        one = waiting.pop()
        waiting += one.halves()
        done += [] if one.halves() else [one]
    assert len(done) == 21 and {cell for one in done for cell in one.cells()} == Question(("a", "b", "c"), 2020, 2026).cells()


def test_with_a_key_a_question_holds_its_place_and_what_only_its_holders_get() -> None:
    one = feed(*[f"S{n}" for n in range(60)], years=1, auth=KEYED, calculations=True, annual_averages=True, catalog=True)
    first = json.loads(requests(one)[0].body or b"")
    assert {name: value for name, value in first.items() if name not in ("seriesid", "startyear", "endyear")} == {
        "annualaverage": True, "calculations": True, "catalog": True, "registrationkey": "{secret:BLS_API_KEY}",
    }  # fmt: skip
    assert len(first["seriesid"]) == 14  # what stands beside each value makes answers larger
    other = feed(auth={"kind": "body_key", "secret": "OTHER_KEY"}, limits={"concurrency": 2})
    assert b'"registrationkey": "{secret:OTHER_KEY}"' in (requests(other)[0].body or b"")
    assert (other.source.limits.per_day, other.source.max_series, other.source.max_years) == (500, 50, 20)
    written = "protocol: bls2\nseries: [S0, S1]\nmax_years: 5\nauth: {kind: body_key}\nlimits: {per_second: 1}\n"
    declared = BlsSource.model_validate_json(json.dumps(YAML(typ="safe").load(written)), strict=True)
    assert (declared.series, declared.limits.per_day, declared.max_series, declared.max_years) == (("S0", "S1"), 500, 50, 5)
    keyless = feed(limits={"concurrency": 1}).source
    assert (keyless.limits.per_day, keyless.max_series, keyless.max_years) == (25, 25, 10)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"series": ()}, "at least 1"),
        ({"max_years": 21}, "20"),
        ({"max_years": 20}, "without a key BLS gives"),
        ({"max_series": 26}, "without a key BLS gives"),
        ({"catalog": True}, "need a key"),
        ({"auth": {"kind": "query_key", "secret": "BLS_KEY"}}, "body_key"),
        ({"auth": {"kind": "body_key", "name": ""}}, "at least 1"),
        ({"auth": {"kind": "body_key"}, "limits": 7}, "limits"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        feed_for({"protocol": "bls2", "series": ["S0"], **wrong}, COLUMNS)


# --- what answers mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (answer(("S0", 2026)), 200, Ok),
        (answer(status="REQUEST_NOT_PROCESSED", message=[THRESHOLD]), 200, QuotaExhausted),
        (answer(status="REQUEST_NOT_PROCESSED", message=["The key:x provided by the User is invalid."]), 200, AuthFailed),
        (answer(status="REQUEST_NOT_PROCESSED", message=["Invalid Series"]), 200, BadRequest),
        (answer(status="REQUEST_NOT_PROCESSED"), 500, BadRequest),
        (answer(status="REQUEST_ODD"), 200, Malformed),
        (answer(message=["Series does not exist for Series S0"]), 200, Gone),
        (answer(message=["Invalid Series for Series  S0"]), 200, Gone),
        (answer(status="REQUEST_NOT_PROCESSED", message=["Series does not exist for Series S0"]), 200, Gone),
        (answer(message=["No Data Available for Series S0 Year: 2026"]), 200, Empty),
        (answer(), 200, Malformed),
        (answer(("S0", 2025)), 200, Malformed),
        (answer(("S0", 2026), ("S9", 2026)), 200, Malformed),
        ({"status": "REQUEST_SUCCEEDED", "Results": {"series": "x"}}, 200, Malformed),
        ("<!DOCTYPE html><html></html>", 200, Malformed),
        ("<a/>", 200, Malformed),
        ("", 200, Malformed),
        ("[1]", 200, Malformed),
        ("{}", 200, Malformed),
        ('{"responseTime": 1, "Results": {"series": [{"ser', 200, Transient),
        ("nothing", 403, AuthFailed),
        ("nothing", 404, Gone),
        ("nothing", 503, Transient),
        (answer(("S0", 2026)), 500, Transient),
    ],
)
def test_answers(body: Any, status: int, outcome: type) -> None:
    assert isinstance(found := said(ONE, body, status), outcome), found


def test_what_is_missing_without_a_word_is_asked_for_in_smaller_questions() -> None:
    assert isinstance(said(TWO, answer(*ALL)), Ok)
    for n in range(4):
        found = said(TWO, answer(*ALL[:n], *ALL[n + 1 :]))
        assert isinstance(found, BadRequest) and found.too_large and "1 of 4" in found.reason
    words = ["No Data Available for Series S1 Year: 2026"]
    assert isinstance(said(TWO, answer(*ALL[:3], message=words)), Ok)


def test_a_single_year_that_is_missing_fails_or_is_none_as_declared() -> None:
    assert isinstance(said(ONE, answer(), nodata="empty"), Empty)
    for words in ("Series does not exist for Series S0", "Invalid Series for Series S0."):
        assert isinstance(said(ONE, answer(message=[words]), nodata="empty"), Gone)  # that is no year without data
    assert isinstance(found := said(ONE, answer()), Malformed) and "nodata" in found.reason


def test_an_answer_too_large_to_be_proved_is_asked_for_in_parts() -> None:
    big = answer(*ALL)
    big["Results"]["series"][0]["data"] *= 2000
    assert isinstance(found := said(TWO, big), BadRequest) and found.too_large
    assert isinstance(said(TWO, big, complete=False), Transient)


@settings(max_examples=200, deadline=None)
@given(
    hostile(["status", "message", "Results", "series", "data", "year"]),
    st.integers(-1, 700),
    st.booleans(),
    st.none() | st.integers(0, 10**12),
)
def test_classify_is_total(body: bytes, status: int, complete: bool, length: int | None) -> None:
    # the request has no question, so that nothing can be proved
    assert not isinstance(judged(feed(), body, status, complete, length), Ok)
    assert isinstance(said(ONE, body.decode("utf-8", "replace"), status, complete), Outcome)


# --- rows -----------------------------------------------------------------------------------------------------------------


def test_rows_carry_their_series_and_the_codes_of_their_footnotes(tmp_path: Path) -> None:
    data = [
        {"year": "2025", "period": "M13", "value": "-", "footnotes": [{}]},
        {"year": "2025", "period": "M12", "value": "4.20", "footnotes": [{"code": "P"}, {"code": "R"}], "latest": "true"},
    ]
    body = {"Results": {"series": [{"seriesID": "S0", "data": data}, {"seriesID": "S1", "data": []}]}}
    assert read(tmp_path, feed(), body) == [("S0", "2025", "M13", "-", ""), ("S0", "2025", "M12", "4.20", "P,R")]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"Results":{}}', b'{"Results":{"series":[7]}}', b'{"Results":{"series":[{"data":7}]}}']
)
def test_hostile_answers_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed(), body)


# --- against the stand-in -------------------------------------------------------------------------------------------------

FAULTS = ["series_dropped:1", "series_dropped:2", "years_dropped:1", "years_dropped:2", "rows_padded", "html_200", "status_500:1"]
FAULTS += ["quota_after_n:2", "empty_body_200"]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 6),
    st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
)
def test_a_finished_fetch_has_the_servers_rows_or_there_is_none(
    series: int, years: int, most: int, longest: int, faults: list[str]
) -> None:
    served, asked = rows(series, years), feed(*[f"S{n}" for n in range(series)], years=years)
    route = ROUTE | {"options": {"max_series": most, "max_years": longest}}
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(asked, paper(Path(folder), asked, served, faults=faults, **route))
    assert done.outcome in ("Ok", "Malformed", "QuotaExhausted", "Transient"), done
    if done.outcome == "Ok":
        assert sorted((*map(str, row[:4]), row[4] or "") for row in done.rows) == values(served)
    assert done.outcome == "Ok" or {"html_200", "empty_body_200", "quota_after_n:2"} & {*faults}, done


@pytest.mark.parametrize(("nodata", "outcome"), [("refuse", "Malformed"), ("empty", "Ok")])
def test_a_year_that_is_missing_without_a_word_is_asked_for_alone(nodata: str, outcome: str, tmp_path: Path) -> None:
    late, asked = [row for row in rows(2) if (row["seriesID"], row["year"]) != ("S1", "2024")], feed("S0", "S1", nodata=nodata)
    done = fetch_on_paper(asked, paper(tmp_path, asked, late, **ROUTE, options={"bare": True}))
    assert done.outcome == outcome
    assert nodata == "refuse" or sorted((*map(str, row[:4]), row[4] or "") for row in done.rows) == values(late)


@pytest.fixture(scope="module")
def bls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("bls"), feed("S0", "S1"), rows(2), per_day=500, **ROUTE) as opened:
        yield opened


@pytest.fixture
def clean(bls: Scene) -> Scene:
    bls.serve(rows(2))
    bls.fault()
    bls.forget()
    return bls


def found_in(clean: Scene, one: Feed | None = None) -> list[tuple[str, ...]]:
    return sorted((*map(str, row[:4]), row[4] or "") for row in clean.rows(clean.fetch(one), one))


def test_one_question_and_another_response_time_is_no_news(clean: Scene) -> None:
    assert found_in(clean) == values(rows(2)) and [r["method"] for r in clean.requests] == ["POST"]
    assert clean.fetch().outcome == "NotModified"  # the stand-in's response time is the day's


@pytest.mark.parametrize(("fault", "asked"), [("series_dropped:1", 3), ("years_dropped:2", 7), ("years_dropped:1", 11)])
def test_silent_truncation_costs_questions_and_no_row(clean: Scene, fault: str, asked: int) -> None:
    clean.fault(fault)
    assert found_in(clean) == values(rows(2))
    assert len(clean.requests) == asked


def test_a_series_that_begins_later_is_told_of_in_words(clean: Scene) -> None:
    clean.serve(late := [row for row in rows(2) if (row["seriesID"], row["year"]) != ("S1", "2024")])
    assert found_in(clean) == values(late) and len(clean.requests) == 1


MORE = ("period", "value", "calculations.pct_changes.12", "catalog.series_title")


def test_the_holder_of_a_key_gets_more_at_once_and_what_stands_beside_the_values(clean: Scene) -> None:
    clean.serve(served := [*rows(26, 1), {**rows(1)[-1], "period": "M13", "value": "7.0"}])
    names = [f"S{n}" for n in range(26)]
    keyed = feed(*names, years=1, auth=KEYED)
    assert len(clean.rows(clean.fetch(keyed), keyed)) == len(served) - 1 and len(clean.requests) == 1
    clean.forget()
    whole = feed_for(keyed.source.model_dump() | {"annual_averages": True, "calculations": True, "catalog": True}, MORE)
    found = clean.rows(clean.fetch(whole), whole)
    assert len(found) == len(served) and ("M13", "7.0", "2.5", "Title of S0") in found


def test_a_key_that_bls_repeats_in_its_refusal_is_told_to_nobody(clean: Scene) -> None:
    clean.secret = "0123456789abcdef"
    said = clean.fails("AuthFailed", feed("S0", auth=KEYED))
    assert "BLS_API_KEY" in f"{said} {said.mend}" and len(clean.requests) == 1
    kept = [path.read_bytes() for path in clean.folder.rglob("*") if path.is_file()]
    assert all(clean.secret.encode() not in data + (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b"") for data in kept)
    clean.secret = KEY


def test_an_unknown_series_is_gone(clean: Scene) -> None:
    clean.fails("Gone", feed("S0", "NOSUCH"))
    assert len(clean.requests) == 1


@pytest.mark.parametrize(
    ("fault", "outcome", "asked"),
    [
        ("quota_after_n:0", "QuotaExhausted", 1),
        ("bls_refusal", "BadRequest", 1),
        ("html_200", "Malformed", 2),
        ("empty_body_200", "Malformed", 2),
        ("status_404", "Gone", 1),
        ("status_403", "AuthFailed", 1),
        ("status_500", "Transient", 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(clean: Scene, fault: str, outcome: str, asked: int) -> None:
    clean.fault(fault)
    clean.fails(outcome)
    assert len(clean.requests) == asked


@pytest.mark.parametrize("fault", ["status_500:2", "retry_after_0:2", "stream_cut:1", "reset_mid_body:1", "utf8_bom"])
def test_what_passes_leaves_no_gap_and_no_double(clean: Scene, fault: str) -> None:
    clean.serve(served := [*rows(2)[:-1], {**rows(2)[-1], "value": fault}])
    clean.fault(fault)
    assert found_in(clean) == values(served)
