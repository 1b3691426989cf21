"""JSON, JSONL, GeoJSON: paths, numbers, nesting; the whole and the streaming parser agree."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.tables.readers import json_reader, json_text
from assets.tables.readers.batches import nested_text

from .reading import opened, order, problems_of, rows_of


def at(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.fixture(params=["whole", "streamed"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "streamed":
        monkeypatch.setattr(json_reader, "SMALL", 0)
    return str(request.param)


@pytest.mark.usefixtures("parser")
def test_values_as_text(tmp_path: Path) -> None:
    path = at(
        tmp_path / "f",
        '\ufeff[{"a":1,"b":{"c":[1.50,{"d":"가\\n"}]},"e":true},'
        '{"a":12345678901234567890123.4567890123456789,"b":null,"e":false},{"a":2.0,"b":"x","e":null},{"a":1e3},{"a":-0.0,"a.b":7}]',
    )
    asked = order("a", "b", "b.c.0", "b.c.1.d", "e", "a.b")
    assert rows_of(opened(path, asked, format="json")) == [
        ("1", '{"c":[1.5,{"d":"가\\n"}]}', "1.5", "가\n", "true", None),
        ("12345678901234567890123.4567890123456789", None, None, None, "false", None),
        ("2", "x", None, None, None, None),
        ("1000", None, None, None, None, None),
        ("-0", None, None, None, None, "7"),
    ]


@pytest.mark.usefixtures("parser")
def test_paths_to_the_records(tmp_path: Path) -> None:
    path = at(tmp_path / "f", '{"m":{"n":1},"r":{"list":[{"a":"1"},5,[9]],"one":{"a":"2"},"none":null,"text":"x"}}')
    stream = opened(path, order("a", missing="null"), format="json", records_path="r.list")
    assert rows_of(stream) == [("1",), (None,), (None,)]
    assert problems_of(opened(path, order("a", missing="null"), format="json", records_path="r.list")) == {
        2: ("the record is no object", "5")
    }
    assert rows_of(opened(path, order("a"), format="json", records_path="r.one")) == [("2",)]
    assert rows_of(opened(path, order("a"), format="json", records_path="r.none")) == []
    for wrong in ("r.text", "r.nowhere", "x"):
        with pytest.raises(UnreadableSource, match=r"records_path"):
            rows_of(opened(path, order("a"), format="json", records_path=wrong))


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "data",
    [
        '[{"a":NaN}]',
        '[{"a":Infinity}]',
        '[{"a":1},',
        "{",
        '{"a":1}}',
        "[" * 200_000,
        '[{"a":' * 100_000,
        '{"a":"\x01"}',
        "[1e99999999999999999999]",
    ],
)
def test_hostile_documents(tmp_path: Path, data: str) -> None:
    path = at(tmp_path / "f", data)
    try:
        rows = rows_of(opened(path, order("a", missing="null"), format="json"))
    except UnreadableSource:
        return
    assert data == "[1e99999999999999999999]" and rows == [(None,)]


@pytest.mark.usefixtures("parser")
def test_half_a_surrogate_pair_and_nul_are_broken_records(tmp_path: Path) -> None:
    path = at(tmp_path / "f", '[{"a":"\\ud83d"},{"a":"\\u0000x"},{"a":"\\ud83d\\ude00"}]')
    found = problems_of(opened(path, order("a"), format="json"))
    assert found.keys() >= {2}
    rows = rows_of(opened(path, order("a"), format="json"))
    assert rows[1:] == [(None,), ("😀",)]
    assert rows[0][0] is None or "\ud83d" not in rows[0][0]


@pytest.mark.usefixtures("parser")
def test_missing_paths(tmp_path: Path) -> None:
    path = at(tmp_path / "f", '[{"a":1,"g":null},{"a":2,"b":{"c":1,"d":2}}]')
    stream = opened(path, order("a", "b.c", "g.x.0"), format="json")
    assert rows_of(stream) == [("1", None, None), ("2", "1", None)]
    assert stream.seen_columns == ["a", "g", "b.c", "b.d"]
    with pytest.raises(UnreadableSource, match=r"'z' missing; the source has 'a'"):
        rows_of(opened(path, order("a", "z"), format="json"))
    assert rows_of(opened(at(path, "[]"), order("z"), format="json")) == []


def test_lines(tmp_path: Path) -> None:
    path = at(tmp_path / "f", b'{"a":1}\r\n\n{"a":\n[3]\n{"a":"x\\ny","b":0.10}')
    assert rows_of(opened(path, order("a", "b"), format="jsonl")) == [("1", None), (None, None), (None, None), ("x\ny", "0.1")]
    found = problems_of(opened(path, order("a", "b"), format="jsonl"))
    assert found[2][1] == '{"a":' and found.keys() == {2}


def test_korean_encodings(tmp_path: Path) -> None:
    path = at(tmp_path / "f", '[{"이름":"똠방"}]'.encode("cp949"))
    stream = opened(path, order("이름", korean=True), format="json")
    assert rows_of(stream) == [("똠방",)] and stream.encoding == "cp949"


VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False, places=6).map(float)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcxyz"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3), max_size=20))
def test_both_parsers_agree_and_keep_every_value(records: list[dict[str, Any]]) -> None:
    asked = order("a", "b", "c", missing="null")
    with tempfile.TemporaryDirectory() as folder:
        path = at(Path(folder) / "f", json.dumps({"deep": {"rows": records}}, ensure_ascii=False))
        whole = rows_of(opened(path, asked, format="json", records_path="deep.rows"))
        before, json_reader.SMALL = json_reader.SMALL, 0
        try:
            streamed = rows_of(opened(path, asked, format="json", records_path="deep.rows"))
        finally:
            json_reader.SMALL = before
    assert whole == streamed
    for row, record in zip(whole, records, strict=True):
        for text, name in zip(row, "abc", strict=True):
            value = record.get(name)
            if value is None or isinstance(value, str):
                assert text == value
            elif isinstance(value, bool):
                assert text == ("true" if value else "false")
            elif isinstance(value, (int, float)):
                assert text is not None and Decimal(text) == Decimal(repr(value))
            else:
                exact = {"parse_int": Decimal, "parse_float": Decimal}
                assert text is not None and json.loads(text, **exact) == json.loads(json.dumps(value), **exact)


def test_a_large_file_streams_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "f"
    with path.open("w") as file:
        file.write('{"features":[')
        for i in range(300_000):
            file.write(("," if i else "") + json.dumps({"id": i, "properties": {"t": 'x[{"\\\\' * 10}}))
        file.write("]}")
    assert path.stat().st_size > 2 * json_reader.SMALL
    tracemalloc.start()
    count = sum(b.num_rows for b in opened(path, order("id", "properties.t"), format="geojson").batches)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 300_000
    assert peak < path.stat().st_size * 1.5


NUMBERS = ["0", "7", "-1", "1.50", "1e3", "6.02E23", "-0.0", "1e400", "9" * 30, "9" * 5_000, "0.1234567890123456789012345678901"]
JSON_TEXTS = st.recursive(
    st.sampled_from([*NUMBERS, "null", "true", "false"]) | st.text(alphabet=st.characters(), max_size=5).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(st.tuples(st.sampled_from(['"a"', '"b"', '"가"', '"\\ud800"']), inner), max_size=4).map(
            lambda parts: "{" + ",".join(f"{name}:{value}" for name, value in parts) + "}"
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(text=JSON_TEXTS)
def test_the_quick_parser_reads_what_the_slow_one_reads(text: str) -> None:
    quick, slow = json_text.loads(text), json_text._slowly(text)
    assert nested_text(quick) == nested_text(slow)
    assert nested_text(json_text.loads(text.encode())) == nested_text(slow)
    assert nested_text(json_text.short_document(text.encode())) == nested_text(slow)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet='[]{}",:0123456789.eE-+ntrufalsN\\\u0000\ud800가', max_size=12))
def test_what_is_no_json_to_one_parser_is_none_to_the_other(text: str) -> None:
    try:
        slow = json_text._slowly(text)
    except json_text.NotJson as error:
        with pytest.raises(json_text.NotJson) as caught:
            json_text.loads(text)
        assert str(caught.value) == str(error)
    else:
        assert nested_text(json_text.loads(text)).replace("-0", "0") == nested_text(slow).replace("-0", "0")
