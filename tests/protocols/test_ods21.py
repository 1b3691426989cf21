"""ods21: what is sent, and how records and exports are read. What answers mean is `test_ods21_answers.py`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import PROTOCOLS, Feed
from assets.protocols.answers.ods_answers import version_in
from assets.protocols.kernel import (
    Body,
    Cursor,
    Request,
    Step,
    Validators,
    When,
)
from tests.protocols.json_scene import parsed
from tests.protocols.ods_scene import ABOUT, BASE, RECORDS, feed
from tests.protocols.standin_scene import NOW


def request_of(asked: Feed, step: Step, cursor: Cursor | None = None) -> Request:
    return asked.protocol.request(asked, asked.source, step, cursor or Cursor(), Validators())


def first(asked: Feed) -> Step:
    (step,) = asked.protocol.plan(asked, asked.source, When(NOW))
    return step


def led(asked: Feed, folder: Path, step: Step, body: Any) -> list[Step]:
    (folder / "lead").write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    return list(asked.protocol.follow(asked, asked.source, step, Body(folder / "lead", {}, BASE)))


def export_steps(asked: Feed, folder: Path, *totals: int, about: Any = ABOUT) -> list[Step]:
    """The steps after the description and one count for each query."""
    steps = led(asked, folder, first(asked), about)
    for total in totals:
        (step,) = steps
        assert step.lead and step.stamp is None
        steps = led(asked, folder, step, {"total_count": total, "results": []})
    return steps


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_the_version_then_a_count_then_one_export(tmp_path: Path) -> None:
    asked = feed(where="a = 'b'", order_by="number")
    assert request_of(asked, first(asked)).url == BASE
    (count,) = led(asked, tmp_path, first(asked), ABOUT)
    assert request_of(asked, count).url == f"{BASE}/records?where=a%20%3D%20%27b%27&limit=0"
    (step,) = led(asked, tmp_path, count, {"total_count": 20_000, "results": []})
    assert request_of(asked, step).url == f"{BASE}/exports/json?where=a%20%3D%20%27b%27&order_by=number"
    assert step.stamp is not None and step.stamp.startswith("2026-11-24T10") and step.stamp.endswith("; 20000 rows")
    # rows are missing: a count again, never the export from an offset, where the cap of 10,000 bites in mid-stream
    assert request_of(asked, step, Cursor(page=2, offset=19_000)).url == request_of(asked, count).url


def test_csv_is_asked_for_with_separator_mark_and_names(tmp_path: Path) -> None:
    asked = feed(format="csv", delimiter=",")
    (step,) = export_steps(asked, tmp_path, 5)
    assert request_of(asked, step).url == f"{BASE}/exports/csv?delimiter=,&with_bom=false&use_labels=false"
    semicolon = feed(format="csv")
    assert "delimiter=%3B" in request_of(semicolon, export_steps(semicolon, tmp_path, 5)[0]).url
    for other in ("jsonl", "geojson", "parquet", "xlsx"):
        asked = feed(format=other)
        assert request_of(asked, export_steps(asked, tmp_path, 5)[0]).url == f"{BASE}/exports/{other}"


def test_records_in_pages_that_never_reach_beyond_the_cap(tmp_path: Path) -> None:
    asked = feed(mode="records", order_by="number", size=70)
    (step,) = export_steps(asked, tmp_path)
    assert not step.lead and step.stamp is not None
    assert request_of(asked, step).url == f"{BASE}/records?order_by=number&limit=70&offset=0"
    assert request_of(asked, step, Cursor(page=143, offset=9940)).url == f"{BASE}/records?order_by=number&limit=60&offset=9940"


def test_more_records_than_pages_reach_are_exported(tmp_path: Path) -> None:
    asked = feed(**RECORDS, where="day >= '{start:%Y-%m-%d}'", window={"every": "day", "timezone": "UTC"})
    (step,) = export_steps(asked, tmp_path)
    (count,) = asked.protocol.split(asked, asked.source, replace(step, ordinal=1))
    assert count.lead and "limit=0" in request_of(asked, count).url and "2026-11-24" in request_of(asked, count).url
    (export,) = led(asked, tmp_path, count, {"total_count": 10_001, "results": []})
    assert request_of(asked, export).url.startswith(f"{BASE}/exports/json?where=day") and export.stamp is not None
    assert list(asked.protocol.split(asked, asked.source, export)) == []  # an export cannot be smaller
    # a portal that refuses the first page, too, is not asked for ever
    (none,) = led(asked, tmp_path, count, {"total_count": 0, "results": []})
    assert "/records?" in request_of(asked, none).url and list(asked.protocol.split(asked, asked.source, none)) == []


def test_several_queries_are_all_counted_before_the_first_is_exported(tmp_path: Path) -> None:
    asked = feed(where="town = '{town}'", each={"town": ["A", "B", "C"]})
    steps = export_steps(asked, tmp_path, 3, 0, 4)
    assert ["town%20%3D%20%27A" in request_of(asked, steps[0]).url, "%27C" in request_of(asked, steps[1]).url] == [True, True]
    assert len(steps) == 2 and steps[0].stamp != steps[1].stamp
    # nothing anywhere: one page says so
    (none,) = export_steps(asked, tmp_path, 0, 0, 0)
    assert "/records?" in request_of(asked, none).url and none.stamp is not None


def test_without_a_version_rows_are_counted_and_are_never_taken_for_those_of_last_time(tmp_path: Path) -> None:
    asked = feed()
    (one,) = export_steps(asked, tmp_path, 7, about={"dataset_id": "some-rows"})
    assert one.stamp is not None and one.stamp.endswith("; 7 rows")
    (count,) = led(
        asked, tmp_path, next(iter(asked.protocol.plan(asked, asked.source, When(datetime(2027, 1, 1, tzinfo=UTC))))), {}
    )
    (other,) = led(asked, tmp_path, count, {"total_count": 7, "results": []})
    assert other.stamp != one.stamp
    records = feed(**RECORDS)
    assert export_steps(records, tmp_path, about={})[0].stamp is None


def test_a_stamp_is_of_version_question_and_form(tmp_path: Path) -> None:
    stamps = {
        export_steps(asked, tmp_path, 7)[0].stamp
        for asked in (feed(), feed(where="a = 'b'"), feed(select="a"), feed(format="csv"), feed(params={"refine": "a:b"}))
    }
    assert len(stamps) == 5


def test_the_catalogue_is_asked_where_no_data_set_is_named(tmp_path: Path) -> None:
    catalogue = BASE.partition("/datasets")[0]
    paged = feed(dataset=None, **RECORDS)
    assert request_of(paged, first(paged)).url == f"{catalogue}/datasets?order_by=number&limit=10&offset=0"
    asked = feed(dataset=None, format="csv")
    assert request_of(asked, first(asked)).url == f"{catalogue}/datasets?limit=0" and first(asked).lead
    (step,) = led(asked, tmp_path, first(asked), {"total_count": 7, "results": []})
    assert request_of(asked, step).url.startswith(f"{catalogue}/exports/csv?") and (step.stamp or "").endswith("; 7 rows")


@pytest.mark.parametrize(
    ("metas", "version"),
    [
        ({"data_processed": "2026-11-24T10:00:00+00:00", "modified": "2026-11-25T10:00:00+00:00"}, "2026-11-24T10:00:00+00:00"),
        ({"modified": "2026-11-25T10:00:00+00:00"}, "2026-11-25T10:00:00+00:00"),
        ({"data_processed": "", "modified": 5}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_version_is_when_the_data_was_processed(metas: Any, version: str | None) -> None:
    assert version_in({"metas": {"default": metas}}) == version
    assert version_in({"dataset": {"metas": {"default": metas}}}) == version  # as older editions have it
    for odd in (None, [], {"metas": 1}, {"metas": {"default": None}}, {"dataset": {}}):
        assert version_in(odd) is None


def test_keys_go_into_the_header_or_the_query() -> None:
    header, query = feed(auth={"kind": "header_key", "secret": "ODS_KEY"}), feed(auth={"kind": "query_key", "secret": "ODS_KEY"})
    assert request_of(header, first(header)).headers == {"Authorization": "Apikey {secret:ODS_KEY}"}
    assert request_of(query, first(query)).url == f"{BASE}?apikey={{secret:ODS_KEY}}"
    named = feed(auth={"kind": "header_key", "secret": "ODS_KEY", "name": "X-Key"})
    assert request_of(named, first(named)).headers == {"X-Key": "{secret:ODS_KEY}"}
    assert request_of(feed(), first(feed())).headers == {}


@pytest.mark.parametrize(
    "source",
    [
        {"size": 101},
        {"mode": "records"},
        {"mode": "records", "order_by": "a", "format": "csv"},
        {"params": {"offset": 0}},
        {"params": {"limit": 10}},
        {"params": {"where": "a"}},
        {"params": {"apikey": "x"}},
        {"params": {"delimiter": ","}},
        {"params": {"group_by": "a"}},
        {"format": "rdfxml"},
        {"dataset": "a b"},
        {"dataset": "a/records"},
        {"delimiter": ""},
        {"sise": 1},
    ],
)
def test_mistakes_are_found_when_a_feed_is_read(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed(**source)


def test_an_address_that_somebody_pasted() -> None:
    known = PROTOCOLS["ods21"].recognise
    base = {"protocol": "ods21", "base_url": "https://data.agency.example", "dataset": "some-rows"}
    assert known("https://data.agency.example/explore/dataset/some-rows/table/?sort=a") == base
    assert known("https://data.agency.example/fr/explore/dataset/some-rows/") == base
    assert known(BASE) == known(f"{BASE}/records?limit=20&offset=5&apikey=abc") == base
    found = known(f"{BASE}/exports/csv?where=a%3D'b'&delimiter=%2C&with_bom=true&timezone=Europe/Paris&refine=c:d")
    assert found == base | {"format": "csv", "where": "a='b'", "params": {"timezone": "Europe/Paris", "refine": "c:d"}}
    assert known("https://data.agency.example/api/v2/catalog/datasets/some-rows/records") == base
    catalogue, whole = BASE.partition("/datasets")[0], {"protocol": "ods21", "base_url": "https://data.agency.example"}
    assert known(f"{catalogue}/datasets?limit=20") == whole
    assert known(f"{catalogue}/exports/csv") == whole | {"format": "csv"}
    for other in (
        f"{catalogue}/facets",
        "https://data.agency.example/datasets/some-rows",
        "ftp://data.agency.example/explore/dataset/a/",
        "x",
    ):
        assert known(other) is None


# --- rows -----------------------------------------------------------------------------------------------------------------


def read(folder: Path, asked: Feed, body: bytes, below: str) -> list[tuple[str | None, ...]]:
    (folder / "body").write_bytes(body)
    return parsed(asked, [Body(folder / "body", {}, f"{BASE}{below}")])


def test_records_and_exports_of_one_fetch_are_read_in_their_order(tmp_path: Path) -> None:
    asked = feed(("a",), **RECORDS)
    (tmp_path / "1").write_bytes(b'[{"a":"1"}]')
    (tmp_path / "2").write_bytes(b'{"total_count":2,"results":[{"a":"2"},{"a":null}]}')
    bodies = [Body(tmp_path / "1", {}, f"{BASE}/exports/json?x=1"), Body(tmp_path / "2", {}, f"{BASE}/records?limit=10")]
    assert parsed(asked, bodies) == [("1",), ("2",), (None,)]


def test_csv_with_the_portals_habits_is_read_or_refused(tmp_path: Path) -> None:
    asked = feed(("a", "b"), format="csv")
    assert read(tmp_path, asked, b'a;b\r\n"1;x";2\r\n', "/exports/csv") == [("1;x", "2")]
    assert read(tmp_path, asked, b"\xef\xbb\xbfa;b\r\n1;2\r\n", "/exports/csv") == [("1", "2")]  # a mark that nobody asked for
    with pytest.raises(UnreadableSource, match="a comma is likely"):  # another separator than was asked for
        read(tmp_path, asked, b"a,b\r\n1,2\r\n", "/exports/csv")
    with pytest.raises(UnreadableSource, match="missing"):  # labels in place of names
        read(tmp_path, asked, b"Label of a;Label of b\r\n1;2\r\n", "/exports/csv")


def test_a_workbook_is_read(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "book.xlsx")) as book:
        for at, line in enumerate((["a", "b"], ["1", "x"], ["2", "y"])):
            book.worksheets()[0].write_row(at, 0, line) if book.worksheets() else book.add_worksheet().write_row(at, 0, line)
    assert read(tmp_path, feed(("a", "b"), format="xlsx"), (tmp_path / "book.xlsx").read_bytes(), "/exports/xlsx") == [
        ("1", "x"),
        ("2", "y"),
    ]


def test_nested_fields_are_read_by_their_path(tmp_path: Path) -> None:
    asked = feed(("geo.lon", "name"))
    assert read(tmp_path, asked, b'[{"geo":{"lon":2.35,"lat":48},"name":"x"}]', "/exports/json") == [("2.35", "x")]


@pytest.mark.parametrize("body", [b"", b"{", b'"x"', b"\xff\xfe\x00", b"[" * 99_999, b"[1]"])
@pytest.mark.parametrize("below", ["/records?limit=10", "/exports/json"])
def test_hostile_bodies_raise_unreadable_source_or_give_broken_rows(body: bytes, below: str, tmp_path: Path) -> None:
    if body == b"[1]" and below == "/exports/json":
        assert read(tmp_path, feed(), body, below) == [(None, None, None)]
    else:
        with pytest.raises(UnreadableSource):
            read(tmp_path, feed(), body, below)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 99_999, b"<html>", b'{"total_count":true}', b'{"total_count":-1}'])
def test_a_count_that_is_none_is_unreadable(body: bytes, tmp_path: Path) -> None:
    (count,) = led(feed(), tmp_path, first(feed()), ABOUT)
    with pytest.raises(UnreadableSource):
        led(feed(), tmp_path, count, body)


def test_a_data_set_of_attachments_alone_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no records, only attachments"):
        led(feed(), tmp_path, first(feed()), {**ABOUT, "has_records": False})
