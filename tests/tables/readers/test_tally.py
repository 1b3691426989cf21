"""`RowStream.tally` counts what reading the batches would count, and refuses what that would refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.tables.readers.batches import Order
from assets.tables.readers.json_reader import Broken, read_json, read_jsonl, stream_of
from assets.tables.readers.spec import FileShape
from assets.tables.readers.xml_reader import read_xml
from assets.tables.rows import RowStream

Opener = Callable[[], RowStream]
NAMES = ("a", "b", "a.b", "b.0", "b.1.a")
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3) | st.sampled_from(["\0", "\ud800"]),
    lambda value: st.lists(value, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "a.b"]), value, max_size=3),
    max_leaves=8,
)
ORDERS = st.builds(
    Order, st.lists(st.sampled_from(NAMES), max_size=3, unique=True).map(tuple), missing=st.sampled_from(["freeze", "null"])
)
USUAL: dict[str, Any] = {"max_examples": 150, "deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def by_batches(opened: Opener) -> tuple[int, str]:
    """Rows, and why they were refused if they were."""
    rows = 0
    try:
        for batch in opened().batches:
            rows += batch.num_rows
    except UnreadableSource as error:
        return -1, error.what
    return rows, ""


def by_tally(opened: Opener) -> tuple[int, str]:
    try:
        tally = opened().tally
        assert tally is not None
        found = tally()
    except UnreadableSource as error:
        return -1, error.what
    assert len(found.records) == found.rows and (found.first is not None) == (found.rows > 0)
    hash(found.first)
    return found.rows, ""


@settings(**USUAL)
@given(st.lists(VALUES | st.just("broken"), max_size=6), ORDERS)
def test_records(records: list[Any], order: Order) -> None:
    def opened() -> RowStream:
        return stream_of([Broken("bad", "text") if r == "broken" else r for r in records], order, None)

    assert by_tally(opened) == by_batches(opened)


@pytest.mark.parametrize("before", [0, 1])
def test_a_value_nested_too_deeply_hides_no_column_after_it(before: int) -> None:
    """It breaks its record; but that the source carries column b is true all the same."""
    records = [{"a": "x"}] * before + [{"a": nested(2000), "b": "here alone"}]

    def opened() -> RowStream:
        return stream_of(records, Order(("a", "b")), None)

    found = by_tally(opened), by_batches(opened)
    assert found == ((before + 1, ""),) * 2


@settings(**USUAL)
@given(st.lists(VALUES, max_size=4) | VALUES, ORDERS, st.sampled_from(["", "a", "b.a"]), st.booleans(), st.integers(0, 3))
def test_json_files(tmp_path: Path, value: Any, order: Order, where: str, lines: bool, cut: int) -> None:
    path = tmp_path / "rows"
    texts = [json.dumps(v) for v in value] if lines and isinstance(value, list) else [json.dumps(value)]
    data = "\n".join(texts).encode()
    path.write_bytes(data[: len(data) - cut])
    shape = FileShape(format="jsonl" if lines else "json", **({} if lines else {"records_path": where}))

    def opened() -> RowStream:
        return read_jsonl(path, shape, order) if lines else read_json(path, shape, order)

    assert by_tally(opened) == by_batches(opened)


@settings(**USUAL)
@given(
    st.lists(st.sampled_from(["<r>", "</r>", "<a>", "</a>", "<b x='1'/>", "t", "<rows>", "</rows>", "<r/>", "<r><a>1</a></r>"])),
    ORDERS,
)
def test_xml_files(tmp_path: Path, parts: list[str], order: Order) -> None:
    path = tmp_path / "rows"
    path.write_text(f"<rows>{''.join(parts)}</rows>")
    shape = FileShape(format="xml", records_path="rows/r")

    def opened() -> RowStream:
        return read_xml(path, shape, order)

    assert by_tally(opened) == by_batches(opened)


@pytest.mark.parametrize("missing", ["freeze", "null"])
def test_thousands_of_records_and_one_that_alone_has_a_column(missing: Any) -> None:
    records = [{"a": str(n)} for n in range(25_000)]
    records[24_321]["b"] = "x"
    order = Order(("a", "b"), missing=missing)
    assert by_tally(lambda: stream_of(records, order, None)) == by_batches(lambda: stream_of(records, order, None)) == (25_000, "")
    gone = Order(("a", "c"), missing=missing)
    assert by_tally(lambda: stream_of(records, gone, None)) == by_batches(lambda: stream_of(records, gone, None))
