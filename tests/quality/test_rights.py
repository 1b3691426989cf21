"""Licence arithmetic: the rules of combination as properties, and the fixed attribution text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.rights import TRAINING_ORDER, Input, attribution_en, attribution_ko, combine, table, terms

inputs = st.builds(
    Input,
    source_id=st.sampled_from(["a", "b", "c", "d", "e"]),
    licence=st.sampled_from([*table(), "LicenseRef-portal-terms"]),
    holder=st.just("기관"),
    redistribution=st.sampled_from([None, True, False]),
    ai_training=st.sampled_from([None, True, False]),
)
modes = st.sampled_from(["adapted", "collection"])


def source(licence: str, name: str = "", **more: object) -> Input:
    return Input(source_id=name or licence.lower(), licence=licence, holder="서울특별시", **more)  # type: ignore[arg-type]


@given(st.lists(inputs, min_size=1, max_size=6), modes, st.randoms())
def test_the_order_of_inputs_changes_nothing(parts: list[Input], mode: str, random: object) -> None:
    shuffled = parts.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = combine(parts, mode), combine(shuffled, mode)  # type: ignore[arg-type]
    strip = lambda r: (r.outbound, r.training_use, r.commercial_use, r.redistribution, r.attribution_required, len(r.conflicts))  # noqa: E731
    assert strip(one) == strip(other)


@given(st.lists(inputs, min_size=1, max_size=5), inputs, modes)
def test_another_input_never_widens_rights(parts: list[Input], more: Input, mode: str) -> None:
    before, after = combine(parts, mode), combine([*parts, more], mode)  # type: ignore[arg-type]
    assert TRAINING_ORDER.index(after.training_use) >= TRAINING_ORDER.index(before.training_use)
    assert before.commercial_use or not after.commercial_use
    assert before.redistribution or not after.redistribution
    assert after.attribution_required or not before.attribution_required


@given(st.lists(inputs, min_size=1, max_size=6), st.sampled_from([i for i, t in table().items() if t.derivatives is False]))
def test_no_derivatives_blocks_every_adaptation(parts: list[Input], licence: str) -> None:
    rights = combine([*parts, source(licence)], "adapted")
    assert not rights.redistribution and rights.outbound is None
    assert any(licence in c.licences for c in rights.conflicts)


@given(st.lists(inputs, min_size=1, max_size=6), modes)
def test_outbound_exactly_where_nothing_conflicts(parts: list[Input], mode: str) -> None:
    rights = combine(parts, mode)  # type: ignore[arg-type]
    assert (rights.outbound is None) == bool(rights.conflicts) == (not rights.redistribution)
    json.dumps(rights.as_json(), ensure_ascii=False)


@pytest.mark.parametrize(
    ("licences", "outbound"),
    [
        (["US-PD"], "US-PD"),
        (["US-PD", "CC0-1.0"], "CC0-1.0"),
        (["US-PD", "KOGL-1"], "CC-BY-4.0"),
        (["KOGL-1", "CC-BY-4.0"], "CC-BY-4.0"),
        (["KOGL-1", "CC-BY-SA-4.0"], "CC-BY-SA-4.0"),
        (["KOGL-2", "CC-BY-4.0"], "CC-BY-NC-4.0"),
        (["CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"], "CC-BY-NC-SA-4.0"),
        (["US-PD", "ODbL-1.0"], "ODbL-1.0"),
        (["CC-BY-SA-4.0", "CC-BY-NC-SA-4.0"], None),
        (["CC-BY-SA-4.0", "KOGL-2"], None),
        (["KOGL-1", "ODbL-1.0"], None),
        (["KOGL-1", "KOGL-4"], None),
    ],
)
def test_adaptations_follow_the_chart(licences: list[str], outbound: str | None) -> None:
    assert combine([source(x) for x in licences], "adapted").outbound == outbound


def test_the_smallest_conflict_is_named() -> None:
    rights = combine([source("CC-BY-SA-4.0", "a"), source("CC-BY-4.0", "b"), source("CC-BY-NC-SA-4.0", "c")])
    assert [c.sources for c in rights.conflicts] == [("a", "c")]
    assert "CC-BY-SA-4.0 of a and CC-BY-NC-SA-4.0 of c" in rights.conflicts[0].reason
    alone = combine([source("KOGL-1", "a"), source("KOGL-3", "b")])
    assert [c.sources for c in alone.conflicts] == [("b",)]


def test_a_collection_keeps_records_apart() -> None:
    rights = combine([source("KOGL-1"), source("KOGL-4"), source("CC-BY-SA-4.0")], "collection")
    assert rights.redistribution and rights.outbound == "LicenseRef-per-record"
    assert not rights.commercial_use and rights.training_use == "forbidden"


def test_the_ai_type_permits_training_and_nothing_else() -> None:
    plain, ai = combine([source("KOGL-4")]), combine([source("KOGL-4-AI")])
    assert plain.training_use == "forbidden" and ai.training_use == "allowed"
    assert not ai.redistribution and not ai.commercial_use


def test_an_unknown_licence_blocks_until_redistribution_is_declared() -> None:
    silent = combine([source("portal-terms", "x")])
    assert silent.training_use == "unknown" and not silent.redistribution
    assert "no licence that Madang knows" in silent.conflicts[0].reason
    declared = combine([source("portal-terms", "x", redistribution=True), source("US-PD")])
    assert declared.redistribution and declared.outbound == "portal-terms" and not declared.commercial_use
    assert not combine([source("US-PD", redistribution=False)]).redistribution


def test_korean_attribution_has_the_fixed_form() -> None:
    part = source("KOGL-1", "kr.seoul.bike", title="공공자전거 이용정보", year=2024, url="https://data.seoul.go.kr/x")
    assert attribution_ko([part]) == (
        "본 저작물은 '서울특별시'에서 '2024년' 작성하여 공공누리 제1유형으로 개방한 '공공자전거 이용정보(작성자:서울특별시)'을 "
        "이용하였으며, 해당 저작물은 '서울특별시, https://data.seoul.go.kr/x'에서 무료로 내려받으실 수 있습니다."
    )
    assert "KOGL Type 1" in attribution_en([part]) and "2024" in attribution_en([part])
    assert attribution_ko([source("US-PD")]) == ""  # nobody must be named


def test_the_table_is_consistent() -> None:
    for row in table().values():
        assert (row.derivatives is False) == row.family.endswith("-nd"), row.id
        assert (row.commercial is False) == ("-nc" in row.family), row.id
        assert row.training_use in TRAINING_ORDER and row.url.startswith("https://")
    assert terms("kogl-1").id == "KOGL-1"
