"""data_go_kr_file against the stand-in: one download an edition, whatever its encoding; nothing asked again that must not be."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.errors import UnreadableSource
from assets.feeds.model import Feed
from assets.onboarding.looking import look, source_of
from assets.transport.http import TransportSettings
from deploy.agency.engines.data_go_kr_file import EDITION, FILE, uddi
from tests.protocols.standin_scene import NOW, OnPaper, Paper, Scene, feed_for, fetch_on_paper, paper, scene

PAGE = "/data/15099999/fileData.do"
OPTIONS = {"dataset": "15099999", "title": "가나시_도서관 현황", "others": ["uddi:older"]}
ROUTE: dict[str, Any] = {"kind": "data_go_kr_file", "host": "www.data.go.kr", "path": "/", "options": OPTIONS}
HEADER = ("번호", "도서관명")


def feed(columns: tuple[str, ...] = HEADER, **source: Any) -> Feed:
    contract = {"columns": [{"name": f"c{n}", "source": c} for n, c in enumerate(columns)], "missing_columns": "freeze"}
    return feed_for({"protocol": "data_go_kr_file", "dataset": "15099999", "format": "csv"} | source, columns, contract=contract)


def rows(count: int, word: str = "도서관") -> list[tuple[str, str]]:
    return [(str(n), f'{word} "{n}", 분관') for n in range(count)]


def written(lines: list[tuple[str, str]], encoding: str = "cp949") -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([HEADER, *lines])
    return out.getvalue().encode(encoding)


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("현황.csv", (2026, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


FAULTS = [
    "needs_login",
    "login_at_download",
    "json_envelope",
    "status_false",
    "no_button",
    "html_200",
    "empty_body_200",
    "status_500:1",
    "status_500",
    "utf8_bom",
    "cp949_body",
    "bad_crc_zip",
]


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(0, 30),
    encoding=st.sampled_from(["cp949", "utf-8", "utf-8-sig", "utf-16"]),
    packed=st.sampled_from([bytes, zipped, gzip.compress]),
    faults=st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
)
def test_a_finished_fetch_has_the_files_rows_or_there_is_none(count: int, encoding: str, packed: Any, faults: list[str]) -> None:
    data = packed(written(rows(count), encoding))
    with tempfile.TemporaryDirectory() as folder:
        done = tried(paper(Path(folder), feed(), data, suffix="bin", faults=faults, **ROUTE))
    assert done.outcome in ("Ok", "AuthFailed", "Malformed", "Transient"), done
    if done.outcome == "Ok":
        assert done.rows == rows(count)
    # a mark that is itself turned into CP949 spoils the first column's name
    if not set(faults) - {"status_500:1"} or (faults == ["cp949_body"] and encoding != "utf-8-sig"):
        assert done.outcome == "Ok"


def tried(agency: Paper) -> OnPaper:
    """A fetch on paper; an answer that cannot be read is Malformed, as it is in a run."""
    try:
        return fetch_on_paper(feed(), agency)
    except UnreadableSource as error:
        return OnPaper("Malformed", reason=error.what)


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("portal"), feed(), written(rows(5)), suffix="csv", **ROUTE) as opened:
        yield opened


@pytest.fixture
def world(agency: Scene, tmp_path: Path) -> Scene:
    """The portal as at first, asked for the first time."""
    agency.serve(written(rows(5)), "csv")
    agency.fault()
    agency.forget()
    agency.clock.time = NOW
    return Scene(tmp_path, agency.feed, agency.agency, agency.url)


def asked(world: Scene) -> list[str]:
    return [f"{r['method']} {r['path']}" for r in world.requests]


def serve(world: Scene, agency: Scene, data: bytes, suffix: str = "csv") -> None:
    agency.serve(data, suffix)
    world.forget()


THREE = [f"GET {PAGE}", f"POST {EDITION}", f"GET {FILE}"]


def test_an_edition_is_downloaded_once_and_the_next_one_again(world: Scene, agency: Scene) -> None:
    first = world.fetch()
    assert world.rows(first) == rows(5)
    assert asked(world) == THREE
    assert first.provider_stamp is not None and first.provider_stamp.startswith("FILE_")
    world.forget()
    assert world.fetch().outcome == "NotModified"
    assert asked(world) == THREE[:2]
    serve(world, agency, written(rows(6)))
    second = world.fetch()
    assert world.rows(second) == rows(6) and second.provider_stamp != first.provider_stamp
    assert asked(world) == THREE


def test_editions_change_their_encoding_and_their_packing(world: Scene, agency: Scene) -> None:
    for n, make in enumerate([bytes, zipped, gzip.compress, bytes]):
        for encoding in ("cp949", "utf-8-sig", "utf-8"):
            lines = rows(3, f"도서관 {n} {encoding}")
            # the name says CSV whatever the bytes are
            serve(world, agency, make(written(lines, encoding)))
            assert world.rows(world.fetch()) == lines


def test_the_old_number_over_the_same_rows_in_new_bytes_is_a_new_edition(world: Scene, agency: Scene) -> None:
    assert world.fetch().outcome == "Ok"
    serve(world, agency, written(rows(5), "utf-8"))
    assert world.fetch().outcome == "Ok" and asked(world) == THREE


def test_another_file_of_the_page(world: Scene) -> None:
    assert world.rows(world.fetch(feed(detail="uddi:older")), feed()) == rows(5)
    assert world.rows(world.fetch(feed(detail=uddi("15099999"))), feed()) == rows(5)
    world.forget()
    error = world.fails("Malformed", feed(detail="uddi:nowhere"))
    assert "offers 2 files" in str(error) and asked(world) == THREE[:1] * 2


@pytest.mark.parametrize(
    ("fault", "outcome", "requests"),
    [
        ("needs_login", "AuthFailed", THREE[:2]),
        ("status_false", "AuthFailed", THREE[:2]),
        ("login_at_download", "AuthFailed", THREE),
        ("json_envelope", "AuthFailed", THREE),
        ("no_button", "Malformed", THREE[:1] * 2),
        ("html_200", "Malformed", THREE[:1] * 2),
        ("empty_body_200", "Malformed", THREE[:1] * 2),
        ("status_403", "AuthFailed", THREE[:1]),
        ("status_404", "Gone", THREE[:1]),
        ("status_500", "Transient", THREE[:1] * 5),
        ("redirect_private", "BadRequest", THREE[:1]),
        ("redirect_other_host", "BadRequest", THREE[:1]),
        ("truncated_gzip", "Transient", THREE[:1] * 5),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(
    world: Scene, fault: str, outcome: str, requests: list[str]
) -> None:
    world.fault(fault)
    error = world.fails(outcome)
    assert asked(world) == requests
    if outcome == "AuthFailed" and fault != "status_403":
        assert "by hand" in str(error)


@pytest.mark.parametrize(
    "fault", ["status_500:2", "status_429:1", "retry_after_0:2", "stream_cut:2", "reset_mid_body:2", "cp949_body", "utf8_bom"]
)
def test_what_passes_leaves_no_gap_and_no_double(world: Scene, agency: Scene, fault: str) -> None:
    serve(world, agency, written(rows(5), "utf-8"))
    world.fault(fault)
    assert world.rows(world.fetch()) == rows(5)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500 + b"HWP Document File" + b"\0" * 300, "an HWP document"),
        (b"%PDF-1.7\n%" + b"x" * 300, "a PDF"),
    ],
    ids=["hwp", "pdf"],
)
def test_documents_are_refused_with_a_reason_and_not_downloaded_twice(world: Scene, agency: Scene, data: bytes, words: str) -> None:
    serve(world, agency, data)
    assert words in str(world.fails("BadRequest"))
    assert asked(world) == THREE


def test_a_table_of_another_kind_is_told_by_its_bytes(world: Scene, agency: Scene) -> None:
    serve(world, agency, written(rows(5)), "xlsx")
    error = world.fails("Malformed", feed(format="xlsx"))
    assert "text in place of xlsx" in str(error)
    # once more, then no longer
    assert asked(world) == [*THREE, THREE[2]]


def test_a_data_set_that_is_gone(world: Scene) -> None:
    world.fails("Gone", feed(dataset="15000009"))
    assert asked(world) == ["GET /data/15000009/fileData.do"]


def test_a_pasted_page_leads_to_the_files_columns(world: Scene, tmp_path: Path) -> None:
    pasted = source_of(f"https://www.data.go.kr{PAGE}")
    found = look(pasted, tmp_path, transport=TransportSettings(connect_to=world.url), secrets={}, country="KR")
    assert (found.outcome, found.sources, found.rows) == ("Ok", HEADER, tuple(rows(5)))
    assert asked(world) == THREE
