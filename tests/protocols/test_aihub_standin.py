"""aihub against the stand-in: every label once, every file once, and nothing asked again that must not be."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.archive.fetches import open_bodies
from assets.errors import SettingsError, UnreadableSource
from assets.feeds.model import Feed
from assets.onboarding.looking import look, source_of
from assets.transport.http import TransportSettings
from tests.protocols.standin_scene import KEY, NOW, OnPaper, Scene, feed_for, fetch_on_paper, paper, parsed, scene

AUTH = {"kind": "header_key", "name": "apikey", "secret": "AIHUB_KEY"}
LABELS = "01.데이터/1.Training/라벨링데이터/"
OPTIONS = {"dataset": "576", "title": "166.약품식별 데이터 (경구)", "first_key": 100, "part_bytes": 90}
ROUTE: dict[str, Any] = {"kind": "aihub", "host": "api.aihub.or.kr", "path": "/", "options": OPTIONS}
LIST: dict[str, Any] = {"kind": "aihub", "host": "api.aihub.or.kr", "path": "/info/dataset.do", "options": {"notice": "1, 공지"}}
KEYED, TREE = "/down/0.6/-1.do", "/info/576.do"


def feed(**source: Any) -> Feed:
    block = {"protocol": "aihub", "dataset": "576", "files": "*라벨링데이터*", "auth": AUTH, "limits": {"max_attempts": 3}} | source
    return feed_for(block, ("images.0.file_name", "annotations.0.bbox.1"))


def label(number: int) -> dict[str, Any]:
    return {"images": [{"file_name": f"그림 {number}.png"}], "annotations": [{"bbox": [number, number + 0.5, 1, 1]}]}


def rows(files: dict[str, range]) -> list[dict[str, Any]]:
    """The stand-in's rows: labels of each file, and an original that is never asked for."""
    found = [
        {"file": f"{LABELS}{name}", "member": f"K-{n:04d}_json/{n}.json", "content": label(n)}
        for name, ns in files.items()
        for n in ns
    ]
    return [*found, {"file": "01.데이터/1.Training/원천데이터/TS_1.zip", "size": "47 GB"}]


def expected(*numbers: int) -> list[tuple[str, str]]:
    return [(f"그림 {n}.png", f"{n}.5") for n in numbers]


THREE = {"TL_1.zip": range(4), "TL_2.zip": range(4, 6), "TL_3.zip": range(6, 9)}


def file(number: int) -> str:
    return f"/down/0.6/576.do?fileSn={100 + number}"


# --- on paper -------------------------------------------------------------------------------------------------------------------

FAULTS = [
    "http_502_with_body", "gateway_502", "key_refused", "terms_not_accepted", "dataset_closed", "dataset_gone", "file_gone",
    "cut_text", "tar_without_end", "part_missing", "short_tar", "tar_slip", "tar_link", "html_200", "empty_body_200",
    "status_500:1", "status_500", "cp949_body", "utf8_bom",
]  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    part_bytes=st.integers(40, 2000),
    faults=st.lists(st.sampled_from(FAULTS), max_size=2, unique=True),
)
def test_a_finished_fetch_has_every_label_or_there_is_none(counts: list[int], part_bytes: int, faults: list[str]) -> None:
    starts = [sum(counts[:n]) for n in range(len(counts))]
    files = {f"TL_{n}.zip": range(start, start + count) for n, (start, count) in enumerate(zip(starts, counts, strict=True))}
    route = ROUTE | {"options": OPTIONS | {"part_bytes": part_bytes}}
    with tempfile.TemporaryDirectory() as folder:
        done = tried(paper(Path(folder), feed(), rows(files), faults=faults, **route))
    assert done.outcome in ("Ok", "AuthFailed", "Gone", "Malformed", "Transient"), done
    if done.outcome == "Ok":
        assert done.rows == expected(*range(sum(counts)))
    if not set(faults) - {"status_500:1", "cp949_body", "utf8_bom"} and len(faults) < 2:
        assert done.outcome == "Ok" or faults == ["utf8_bom"]  # a mark before a tar spoils it


def tried(agency: Any) -> OnPaper:
    try:
        return fetch_on_paper(feed(), agency)
    except UnreadableSource as error:
        return OnPaper("Malformed", reason=error.what)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.text(st.sampled_from("가나다 ,()-_.=0ａ"), min_size=1, max_size=12), min_size=1, max_size=30),
    faults=st.lists(st.sampled_from(["http_502_with_body", "cut_text", "html_200", "status_500:1", "cp949_body"]), max_size=1),
)
def test_a_finished_list_has_every_data_set_or_there_is_none(names: list[str], faults: list[str]) -> None:
    listed = [{"datasetkey": str(n), "name": f"가{name.strip()}나"} for n, name in enumerate(names, 1)]
    one = feed_for({"protocol": "aihub"}, ("datasetkey", "name"))
    with tempfile.TemporaryDirectory() as folder:
        done = fetch_on_paper(one, paper(Path(folder), one, listed, faults=faults, **LIST))
    if done.outcome == "Ok":
        assert done.rows == [(row["datasetkey"], row["name"]) for row in listed]
    assert done.outcome == "Ok" or faults[0] in ("cut_text", "html_200")


# --- over a connection ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("hub"), feed(), rows(THREE), **ROUTE) as opened:
        yield opened


@pytest.fixture
def world(agency: Scene, tmp_path: Path) -> Scene:
    """The hub as at first, asked for the first time."""
    serve(agency, THREE)
    agency.fault()
    agency.forget()
    agency.clock.time = NOW
    return Scene(tmp_path, agency.feed, agency.agency, agency.url)


def serve(agency: Scene, files: dict[str, range]) -> None:
    agency.serve(rows(files))


def asked(world: Scene) -> list[str]:
    return [r["path"] + (f"?{r['query']}" if r["query"] else "") for r in world.requests]


def test_every_label_comes_once_and_originals_are_left_alone(world: Scene) -> None:
    record = world.fetch()
    assert world.rows(record) == expected(*range(9))
    assert asked(world) == [KEYED, TREE, file(0), file(1), file(2)]


def test_what_has_not_changed_is_not_downloaded_again(world: Scene, agency: Scene) -> None:
    world.fetch()
    world.forget()
    assert world.fetch().outcome == "NotModified"
    assert asked(world) == [KEYED, TREE]
    serve(agency, THREE | {"TL_2.zip": range(40, 60)})
    world.forget()
    record = world.fetch()
    assert asked(world) == [KEYED, TREE, file(1)]
    assert world.rows(record) == expected(*range(4), *range(40, 60), *range(6, 9))


def test_a_fetch_that_failed_after_some_files_does_not_download_those_again(world: Scene) -> None:
    world.fault("fails_at_file:2")
    world.fails("Transient")
    assert asked(world) == [KEYED, TREE, file(0), file(1), *[file(2)] * 3]
    world.fault()
    world.forget()
    record = world.fetch()
    assert asked(world) == [KEYED, TREE, file(2)]
    assert world.rows(record) == expected(*range(9))
    world.forget()
    assert world.fetch().outcome == "NotModified" and asked(world) == [KEYED, TREE]


@pytest.mark.parametrize(
    ("fault", "outcome", "requests", "words"),
    [
        ("terms_not_accepted", "AuthFailed", [KEYED, TREE, file(0)], "dwld.do?dataSetSn=576"),
        ("http_502_with_body", "AuthFailed", [KEYED, TREE, file(0)], "dwld.do?dataSetSn=576"),
        ("key_refused", "AuthFailed", [KEYED], "AIHUB_KEY"),
        ("dataset_closed", "Gone", [KEYED, TREE], "closed"),
        ("dataset_gone", "Gone", [KEYED, TREE], "페이지가"),
        ("file_gone", "Gone", [KEYED, TREE, file(0)], "the key is fine"),
        ("gateway_502", "Transient", [KEYED] * 3, "gateway"),
        ("status_500", "Transient", [KEYED] * 3, "500"),
        ("status_404", "Gone", [KEYED], "404"),
        ("status_403", "AuthFailed", [KEYED], "403"),
        ("cut_text", "Transient", [KEYED, *[TREE] * 3], "cut off"),
        ("tar_without_end", "Transient", [KEYED, TREE, *[file(0)] * 3], "does not end"),
        ("html_200", "Malformed", [KEYED] * 2, "HTML"),
        ("empty_body_200", "Transient", [KEYED] * 3, "gateway"),  # its usual status, 502, with nothing
        ("part_missing", "Malformed", [KEYED, TREE, *[file(0)] * 2], "do not join"),
        ("tar_slip", "Malformed", [KEYED, TREE, *[file(0)] * 2], "leads outside"),
        ("tar_link", "Malformed", [KEYED, TREE, *[file(0)] * 2], "a link"),
        ("short_tar", "Malformed", [KEYED, TREE, *[file(0)] * 2], "a part of it is missing"),
        ("redirect_private", "BadRequest", [KEYED], "redirected"),
        ("redirect_other_host", "BadRequest", [KEYED], ""),
        ("truncated_gzip", "Transient", [KEYED] * 3, ""),
    ],
)
def test_each_fault_has_its_outcome_and_is_asked_as_often_as_it_may(
    world: Scene, fault: str, outcome: str, requests: list[str], words: str
) -> None:
    world.fault(fault)
    error = world.fails(outcome)
    assert asked(world) == requests
    assert words in str(error)
    assert KEY not in str(error)


@pytest.mark.parametrize(
    "fault", ["status_500:2", "status_503:1", "status_429:1", "retry_after_0:2", "stream_cut:2", "reset_mid_body:2", "cp949_body"]
)
def test_what_passes_leaves_no_gap_and_no_double(world: Scene, fault: str) -> None:
    world.fault(fault)
    assert world.rows(world.fetch()) == expected(*range(9))


def test_a_wrong_key_and_no_key(world: Scene) -> None:
    world.secret = "wrong-key-of-nobody"
    assert "check that the key in AIHUB_KEY" in str(world.fails("AuthFailed"))
    assert asked(world) == [KEYED]
    world.forget()
    world.secret = ""
    with pytest.raises(SettingsError, match="AIHUB_KEY"):
        world.fetch()
    assert asked(world) == []


def test_the_key_is_in_no_archive(world: Scene) -> None:
    import gzip

    warc = gzip.decompress(world.store.get_bytes(world.fetch().warc_key))
    assert KEY.encode() not in warc and b"apikey: ***" in warc.replace(b"*" * len(KEY), b"***")


def test_an_older_version_of_the_download(world: Scene) -> None:
    error = world.fails("Gone", feed(version="0.5"))
    assert "404" in str(error) and asked(world) == ["/down/0.5/-1.do"]


# --- what the files hold --------------------------------------------------------------------------------------------------------


def read(world: Scene, agency: Scene, members: list[dict[str, Any]], one: Feed) -> list[tuple[str | None, ...]]:
    agency.serve(members)
    return world.rows(world.fetch(one), one)


def test_coco_documents_by_records_path_and_a_glob_of_members(world: Scene, agency: Scene) -> None:
    document = {"info": {}, "images": [{"id": 1}], "annotations": [{"id": n, "image_id": 1} for n in range(3)], "categories": []}
    members = [{"file": f"{LABELS}TL.zip", "member": name, "content": document} for name in ("train/a.json", "val/b.json")]
    members.append({"file": f"{LABELS}TL.zip", "member": "readme.txt", "content": "읽어 주세요"})
    source = {"protocol": "aihub", "dataset": "576", "member": "train/*.json", "records_path": "annotations", "auth": AUTH}
    assert read(world, agency, members, feed_for(source, ("id", "image_id"))) == [("0", "1"), ("1", "1"), ("2", "1")]


def test_csv_within_a_zip_and_csv_alone(world: Scene, agency: Scene) -> None:
    members = [
        {"file": f"{LABELS}TL.zip", "member": "가.csv", "content": "지점,값\n한빛,1\n"},
        {"file": f"{LABELS}TL_b.csv", "content": "지점,값\n나래,2\n"},
    ]
    source = {"protocol": "aihub", "dataset": "576", "files": "TL*", "format": "csv", "auth": AUTH}
    assert read(world, agency, members, feed_for(source, ("지점", "값"))) == [("한빛", "1"), ("나래", "2")]


def test_limits_of_unpacking_hold_for_what_was_joined(world: Scene, agency: Scene) -> None:
    members = [{"file": f"{LABELS}TL.zip", "member": "a.json", "content": json.dumps([{"a": "0" * 3_000_000}])}]
    for limits, words in (({"max_ratio": 50}, "times its size"), ({"max_member_bytes": 100_000}, "more than 100,000 bytes")):
        one = feed_for(
            {"protocol": "aihub", "dataset": "576", "auth": AUTH, "unpacking": limits}, ("a",), id=f"kr.test.{next(iter(limits))}"
        )
        agency.serve(members)
        record = world.fetch(one)
        with pytest.raises(UnreadableSource, match=words):
            world.rows(record, one)


def test_nothing_stays_unpacked_after_reading(world: Scene) -> None:
    record = world.fetch()
    out = world.folder / "bodies"
    bodies = open_bodies(world.store, world.ledger, record, out)
    assert len(parsed(world.feed, bodies)) == 9
    assert {p.suffix for p in out.iterdir() if p.is_file()} <= {".body", ".bodies"}
    assert not [p for p in out.iterdir() if p.is_dir() and p.name.startswith(("joined-", "unpacked-"))]


def test_a_pasted_page_of_a_data_set_leads_to_its_labels(world: Scene, tmp_path: Path) -> None:
    pasted = source_of("https://www.aihub.or.kr/aihubdata/data/view.do?dataSetSn=576")
    secrets = {"AIHUB_KEY": KEY}
    found = look(pasted, tmp_path, transport=TransportSettings(connect_to=world.url), secrets=secrets, country="KR")
    assert found.outcome == "Ok" and "images" in found.sources[0]
    assert asked(world)[:3] == [KEYED, TREE, file(0)]


def test_the_catalogue_over_a_connection(tmp_path: Path) -> None:
    listed = [{"datasetkey": "576", "name": "경구약제, 이미지"}, {"datasetkey": "71631", "name": "자유대화 (성인)"}]
    one = feed_for({"protocol": "aihub"}, ("datasetkey", "name"))
    with scene(tmp_path, one, listed, **LIST) as hub:
        assert hub.rows(hub.fetch()) == [("576", "경구약제, 이미지"), ("71631", "자유대화 (성인)")]
        assert hub.fetch().outcome == "NotModified"
        hub.serve(listed[:1])
        hub.fault("http_502_with_body")
        assert hub.rows(hub.fetch()) == [("576", "경구약제, 이미지")]
        hub.fault("cut_text")
        hub.fails("Transient")
        assert [r["path"] for r in hub.requests] == ["/info/dataset.do"] * 8
