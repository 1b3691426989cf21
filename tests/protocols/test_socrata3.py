"""socrata3: its questions, and how its pages and exports are read. What answers mean is `test_socrata3_answers.py`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from assets.errors import UnreadableSource
from assets.feeds.model import PROTOCOLS, Feed
from assets.protocols.answers.socrata_soql import columns_in
from assets.protocols.kernel import (
    Body,
    Cursor,
    Request,
    Step,
    Validators,
    When,
)
from assets.protocols.socrata3 import page_at
from tests.protocols.json_scene import parsed
from tests.protocols.socrata_scene import BASE3, KEYED, feed3
from tests.protocols.standin_scene import NOW

CHANGED = "Tue, 24 Nov 2026 10:00:00 GMT"
COUNT = "SELECT count(*) AS rows_in_all"
ROWS = "SELECT number,street,note"


def request_of(asked: Feed, step: Step, cursor: Cursor | None = None) -> Request:
    return asked.protocol.request(asked, asked.source, step, cursor or Cursor(), Validators())


def body_of(asked: Feed, step: Step, cursor: Cursor | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request_of(asked, step, cursor).body or b"")
    return found


def first(asked: Feed, since: datetime | None = None) -> Step:
    (step,) = asked.protocol.plan(asked, asked.source, When(NOW, since=since))
    return step


def led(asked: Feed, folder: Path, body: bytes, since: datetime | None = None, step: Step | None = None, **headers: str) -> Step:
    (folder / "lead").write_bytes(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = Body(folder / "lead", named, f"{BASE3}/query.json")
    (found,) = asked.protocol.follow(asked, asked.source, step or first(asked, since), told)
    return found


def rows_step(asked: Feed, folder: Path, since: datetime | None = None, count: bytes = b'[{"rows_in_all":"25"}]') -> Step:
    return led(asked, folder, count, since, x_soda2_truth_last_modified=CHANGED)


# --- what is sent ---------------------------------------------------------------------------------------------------------


def test_a_count_is_posted_first_with_the_token_in_a_header() -> None:
    sent = request_of(feed3(), first(feed3()))
    assert (sent.method, sent.url) == ("POST", f"{BASE3}/query.json")
    assert sent.headers == {"Content-Type": "application/json", "X-App-Token": "{secret:SOCRATA_APP_TOKEN}"}
    assert json.loads(sent.body or b"") == {"query": COUNT, "includeSystem": False, "includeSynthetic": False}


def test_pages_by_number_in_a_stable_order(tmp_path: Path) -> None:
    step = rows_step(feed3(), tmp_path)
    assert body_of(feed3(), step, Cursor(page=3, offset=20)) == {
        "query": f"{ROWS} ORDER BY :id",
        "page": {"pageNumber": 3, "pageSize": 10},
        "includeSystem": False,
        "includeSynthetic": False,
    }
    assert step.stamp is not None and step.stamp.startswith(CHANGED) and step.stamp.endswith("; 25 rows")


@given(st.integers(0, 3_000), st.integers(1, 400))
def test_a_page_by_number_begins_where_the_rows_so_far_end(offset: int, size: int) -> None:
    number, asked = page_at(offset, size)
    assert (number - 1) * asked == offset and 1 <= asked <= size
    assert (number, asked) == (offset // size + 1, size) or offset % size


def test_keyset_pages_start_above_the_last_id_and_are_never_deep(tmp_path: Path) -> None:
    asked = feed3(where="a = 'b' OR a = 'c'", **KEYED)
    step = rows_step(asked, tmp_path)
    assert body_of(asked, step)["query"] == f"{ROWS} WHERE a = 'b' OR a = 'c' ORDER BY :id"
    third = body_of(asked, step, Cursor(page=3, offset=20, token="row-a'b"))
    assert third["query"] == f"{ROWS} WHERE (a = 'b' OR a = 'c') AND :id > 'row-a''b' ORDER BY :id"
    assert third["page"] == {"pageNumber": 1, "pageSize": 10} and third["includeSystem"] is True


def test_an_export_is_asked_for_with_separator_and_mark_and_once(tmp_path: Path) -> None:
    asked = feed3(mode="export")
    step = rows_step(asked, tmp_path)
    assert request_of(asked, step).url == f"{BASE3}/export.csv"
    assert body_of(asked, step) == {
        "query": f"{ROWS} ORDER BY :id",
        "serializationOptions": {"separator": ",", "bom": False},
    }
    # rows are missing: the count again, never the whole export
    again = request_of(asked, step, Cursor(page=2, offset=20))
    assert again.url == f"{BASE3}/query.json" and json.loads(again.body or b"")["query"] == COUNT
    geojson = feed3(mode="export", format="geojson")
    assert request_of(geojson, rows_step(geojson, tmp_path)).url == f"{BASE3}/export.geojson"
    assert "serializationOptions" not in body_of(geojson, rows_step(geojson, tmp_path))


def test_windows_lists_and_a_views_own_parameters(tmp_path: Path) -> None:
    window = {"every": "day", "count": 2, "requests": "one", "timezone": "UTC"}
    asked = feed3(where="day >= '{start:%Y-%m-%d}' AND town = '{town}'", window=window, each={"town": ["A", "B"]})
    steps = list(asked.protocol.plan(asked, asked.source, When(NOW)))
    assert [body_of(asked, step)["query"] for step in steps] == [
        f"{COUNT} WHERE day >= '2026-11-23' AND town = '{town}'" for town in "AB"
    ]
    assert body_of(feed3(params={"year": 2026}), first(feed3(params={"year": 2026})))["parameters"] == {"year": "2026"}
    grouped = feed3(("town",), select="town,count(*) AS n", group="town", order="town")
    step = first(grouped)
    assert not step.lead and body_of(grouped, step)["query"] == "SELECT town,count(*) AS n GROUP BY town ORDER BY town"


def test_without_a_header_the_description_tells_the_version(tmp_path: Path) -> None:
    look = led(feed3(), tmp_path, b'[{"rows_in_all":"25"}]')
    sent = request_of(feed3(), look)
    assert look.lead and (sent.method, sent.url) == ("GET", "https://data.agency.example/api/views/abcd-1234.json")
    assert sent.headers == {"X-App-Token": "{secret:SOCRATA_APP_TOKEN}"}
    known = led(feed3(), tmp_path, b'{"rowsUpdatedAt":1700000000,"columns":[]}', step=look)
    assert not known.lead and (known.stamp or "").startswith("rows of 1700000000; query ")
    assert known.stamp == led(feed3(), tmp_path, b'{"rowsUpdatedAt":1700000000}', step=look).stamp
    # no version at all: the rows are counted all the same, and are never taken for those of the last fetch
    nothing = led(feed3(), tmp_path, b"{}", step=look)
    later = replace(look, params={**look.params, "asked_at": "2026-11-26T03:00:00+00:00"})
    assert (nothing.stamp or "").endswith("; 25 rows") and led(feed3(), tmp_path, b"{}", step=later).stamp != nothing.stamp


def test_only_what_changed_and_the_full_replacement(tmp_path: Path) -> None:
    since, asked = datetime(2026, 11, 23, 12, tzinfo=UTC), feed3(("number",), key="number", changes=True)
    old, new = (f'[{{"rows_in_all":"9","oldest_change":"{day}T00:00:00.000Z"}}]'.encode() for day in ("2020-01-01", "2026-11-24"))
    step = rows_step(asked, tmp_path, since, old)
    changed = "SELECT number WHERE :updated_at > '2026-11-23T12:00:00.000' ORDER BY :updated_at,:id"
    assert body_of(asked, step)["query"] == changed and "rows" not in (step.stamp or "")
    assert led(asked, tmp_path, old, since).stamp is None  # no header, and no look at the description: they are news anyway
    everything = rows_step(asked, tmp_path, since, new)
    assert body_of(asked, everything)["query"] == "SELECT number ORDER BY :id" and (everything.stamp or "").endswith("; 9 rows")
    with pytest.raises(UnreadableSource, match="replaced the data set"):
        rows_step(feed3((":id",), key=":id", changes=True), tmp_path, since, new)
    keyset = feed3(("number",), key="number", changes=True, **KEYED)
    above = body_of(keyset, rows_step(keyset, tmp_path, since, old), Cursor(page=2, token="x"))["query"]
    assert above == "SELECT number WHERE (:updated_at > '2026-11-23T12:00:00.000') AND :id > 'x' ORDER BY :id"


@pytest.mark.parametrize(
    "source",
    [
        {"auth": {"kind": "none"}},
        {"auth": {"kind": "query_key"}},
        {"paging": "keyset"},
        {"paging": "keyset", "system": True, "order": "number"},
        {"paging": "keyset", "system": True, "mode": "export"},
        {"group": "town"},
        {"group": "town", "order": "town", "mode": "export"},
        {"changes": True, "mode": "export"},
        {"dataset": "abcd"},
        {"size": 50_001},
        {"sise": 1},
    ],
)
def test_mistakes_are_found_when_a_feed_is_read(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feed3(**source)


def test_changes_alone_would_delete_what_did_not_change() -> None:
    with pytest.raises(ValueError, match="upsert"):
        first(feed3(changes=True))


def test_an_address_that_somebody_pasted() -> None:
    known = PROTOCOLS["socrata3"].recognise
    base = {"protocol": "socrata3", "base_url": "https://data.agency.example", "dataset": "abcd-1234"}
    asked = "select a, b WHERE c = 'd' order by a"
    assert known(f"{BASE3}/query.json?query={asked}&app_token=abc&pageNumber=2") == base | {
        "select": "a, b",
        "where": "c = 'd'",
        "order": "a",
    }
    assert known(f"{BASE3}/query.json?query=SELECT *") == base
    assert known(f"{BASE3}/export.csv") == base | {"mode": "export", "format": "csv"}
    assert known(f"{BASE3}/query.json?query=SELECT a GROUP BY a") is None  # these fields cannot say it
    assert known("https://data.agency.example/resource/abcd-1234.json") is None


# --- rows -----------------------------------------------------------------------------------------------------------------


def read(folder: Path, asked: Feed, body: bytes, url: str = f"{BASE3}/query.json", **headers: str) -> list[tuple[str | None, ...]]:
    (folder / "page").write_bytes(body)
    return parsed(asked, [Body(folder / "page", {n.replace("_", "-"): v for n, v in headers.items()}, url)])


def test_a_column_of_nulls_is_left_out_of_rows_and_is_there_all_the_same(tmp_path: Path) -> None:
    body = b'[{"number":"1","street":"a"}\n,{"number":"2"}]\n'
    assert read(tmp_path, feed3(), body) == [("1", "a", None), ("2", None, None)]
    with pytest.raises(UnreadableSource, match="note"):
        read(tmp_path, feed3(select=""), body)
    fields = '["number","street","note"]'
    assert read(tmp_path, feed3(select=""), body, x_soda2_fields=fields) == [("1", "a", None), ("2", None, None)]


def test_the_names_in_a_selection() -> None:
    found = columns_in("a, `b`, :id, count(*), coalesce(c, d) AS e, max(f), sum(g) as `h`, *")
    assert found == ["a", "b", ":id", "e", "h"]


def test_an_export_is_read_as_the_file_that_it_is(tmp_path: Path) -> None:
    asked = feed3(("number", "street"), mode="export")
    assert read(tmp_path, asked, b'number,street\n"1","a, b"\n"2",""\n', f"{BASE3}/export.csv") == [("1", "a, b"), ("2", "")]
    # a mark that came although none was asked for
    assert read(tmp_path, asked, b"\xef\xbb\xbfnumber,street\n1,a\n", f"{BASE3}/export.csv") == [("1", "a")]
    with pytest.raises(UnreadableSource):  # another separator than was asked for
        read(tmp_path, asked, b"number;street\n1;a\n", f"{BASE3}/export.csv")


@pytest.mark.parametrize("body", [b"", b"{", b'"x"', b"\xff\xfe\x00", b"[" * 99_999])
def test_hostile_pages_raise_unreadable_source_only(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        read(tmp_path, feed3(), body)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 99_999, b"<html>"])
def test_a_description_that_is_none_is_unreadable(body: bytes, tmp_path: Path) -> None:
    look = led(feed3(), tmp_path, b'[{"rows_in_all":"25"}]')
    with pytest.raises(UnreadableSource):
        led(feed3(), tmp_path, body, step=look)
