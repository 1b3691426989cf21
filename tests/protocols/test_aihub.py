"""aihub: its requests, its lists and trees as the real ones are written, and what every answer means (protocols.md 2.8)."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assets.errors import Blocked, UnreadableSource
from assets.feeds.load import shipped
from assets.feeds.model import Feed
from assets.onboarding.looking import source_of
from assets.protocols.answers.aihub_texts import Leaf, bounds, data_sets, decoded, files_of, looked, sentence
from assets.protocols.kernel import (
    HEAD_BYTES,
    AuthFailed,
    Body,
    Cursor,
    Gone,
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
from assets.store import Store
from assets.training_sets.release import build_set
from deploy.agency.engines.aihub import KEY_FINE, KEY_REFUSED, NOT_ACCEPTED
from quality.rights import Input, combine
from tests.protocols.standin_scene import NOW, feed_for, parsed
from tests.training_sets import making

AUTH = {"kind": "header_key", "name": "apikey", "secret": "AIHUB_KEY"}
BANNER = (
    "The contents are encoded in UTF-8 including Korean characters. \n"
    "If the following contents are not output normally, \n"
    "Please modify the character information of the OS. \n"
    "=================공지사항=================== \n"
    "1, 점검 안내\n"
    "========================================== \n\n"
)
LIST = f"{BANNER}=================DataSet 목록=================\n576, 경구약제 이미지, 2차\n71631, 자유대화 (성인)\n{'=' * 40}\n"
TREE = f"""{BANNER}    └─134-1.감정이 태깅된 자유대화 (성인)
        └─01-1.정식개방데이터
            ├─Training
            │  ├─01.원천데이터
            │  │  ├─TS_01.실내_1.zip | 47 GB | 507715
            │  │  └─TS_02.실외.zip | 37 GB | 507720
            │  └─02.라벨링데이터
            │      ├─TL_01.실내.zip | 97 MB | 507721
            │      └─TL_02.실외.zip | 985 KB | 507722
            ├─Other
            │  └─Other | v2.zip | 3 MB | 507700
            └─Validation
                └─02.라벨링데이터
                    └─VL_02..실외.zip | 3 MB | 507726


"""
ROOT = "134-1.감정이 태깅된 자유대화 (성인)/01-1.정식개방데이터"
GATEWAY = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>502</body></html>"


def feed(columns: tuple[str, ...] = ("a",), **source: Any) -> Feed:
    return feed_for({"protocol": "aihub", "dataset": "576", "auth": AUTH} | source, columns)


CATALOGUE = feed_for({"protocol": "aihub"}, ("datasetkey", "name"))
DATA_SET = feed()


def tar(data: bytes = b"x" * 700, name: str = "a/TL.zip.part0") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def request(one: Feed, **params: str) -> Request:
    stamp = params.pop("stamp", None)
    return one.protocol.request(one, one.source, Step(3, params, stamp=stamp), Cursor(), Validators())


ASKED = {
    "list": request(CATALOGUE, ask="list"),
    "key": request(DATA_SET, ask="key"),
    "tree": request(DATA_SET, ask="tree"),
    "file": request(DATA_SET, ask="file", key="66065", stamp="576|66065|TL.zip|1 KB"),
}


def judged(asked: str, status: int, body: bytes | str, complete: bool = True, **headers: str) -> Outcome:
    data = body if isinstance(body, bytes) else body.encode()
    source = (CATALOGUE if asked == "list" else DATA_SET).source
    head, tail = data[:HEAD_BYTES], data[-HEAD_BYTES:]
    return DATA_SET.protocol.classify(source, ASKED[asked], Response(status, headers, head, tail, len(data), complete))


# --- what is asked --------------------------------------------------------------------------------------------------------------


def test_each_request_is_the_shells_and_the_key_goes_along_only_where_it_must() -> None:
    key = {"apikey": "{secret:AIHUB_KEY}"}
    assert [(one.url, dict(one.headers)) for one in ASKED.values()] == [
        ("https://api.aihub.or.kr/info/dataset.do", {}),
        ("https://api.aihub.or.kr/down/0.6/-1.do", key),
        ("https://api.aihub.or.kr/info/576.do", {}),
        ("https://api.aihub.or.kr/down/0.6/576.do?fileSn=66065", key),
    ]
    older = feed(version="0.5", auth={"kind": "header_key", "secret": "AIHUB_KEY"})
    assert request(older, ask="file", key="1") == Request("https://api.aihub.or.kr/down/0.5/576.do?fileSn=1", headers=key, step=3)


def test_the_catalogue_is_one_request_and_a_data_set_two_leads_first() -> None:
    plan = lambda one: list(one.protocol.plan(one, one.source, When(NOW)))  # noqa: E731
    assert [(s.params["ask"], s.lead) for s in plan(CATALOGUE)] == [("list", False)]
    assert [(s.params["ask"], s.lead) for s in plan(DATA_SET)] == [("key", True)]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"auth": {}}, "need a key"),
        ({"auth": {"kind": "query_key", "name": "k", "secret": "AIHUB_KEY"}}, "need a key"),
        ({"dataset": None, "files": "*.zip"}, "belongs to a data set"),
        ({"dataset": "-1"}, "dataset"),
        ({"version": "../x"}, "version"),
    ],
)
def test_declarations_that_cannot_be_meant(source: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        feed(**source)


@pytest.mark.parametrize(
    ("url", "dataset"),
    [
        ("https://www.aihub.or.kr/aihubdata/data/view.do?currMenu=115&topMenu=100&aihubDataSe=realm&dataSetSn=576", "576"),
        ("https://aihub.or.kr/aihubdata/data/dwld.do?dataSetSn=576", "576"),
        ("https://api.aihub.or.kr/info/576.do", "576"),
        ("https://api.aihub.or.kr/down/0.6/576.do?fileSn=66065", "576"),
        ("https://api.aihub.or.kr/info/dataset.do", None),
    ],
)
def test_a_pasted_address_is_recognised(url: str, dataset: str | None) -> None:
    block = source_of(url)
    assert block["protocol"] == "aihub" and block.get("dataset") == dataset
    assert feed_for(block, ("a",)).source.dataset == dataset


@pytest.mark.parametrize(
    "url", ["https://aihub.or.kr/", "https://aihub.example/x?dataSetSn=1", "https://api.aihub.or.kr/down/0.6/-1.do"]
)
def test_other_addresses_are_not(url: str) -> None:
    assert source_of(url)["protocol"] == "http_file"


# --- its texts -----------------------------------------------------------------------------------------------------------------


def test_the_list_is_what_stands_after_the_notice() -> None:
    found = [("576", "경구약제 이미지, 2차"), ("71631", "자유대화 (성인)")]
    assert data_sets(LIST) == found
    assert data_sets(LIST.replace("\n", "\r\n")) == found
    assert data_sets(LIST.removeprefix(BANNER)) == found
    assert data_sets(decoded(b"\xef\xbb\xbf" + LIST.encode())) == data_sets(decoded(LIST.encode("cp949"))) == found


@pytest.mark.parametrize("cut", [LIST[:-60], LIST[: -len("=" * 40) - 1], BANNER, "", KEY_FINE, TREE])
def test_a_list_that_does_not_end_is_none(cut: str) -> None:
    assert data_sets(cut) is None


def test_the_tree_is_read_by_where_its_branches_stand() -> None:
    assert files_of(TREE) == [
        Leaf(f"{ROOT}/Training/01.원천데이터/TS_01.실내_1.zip", "47 GB", "507715"),
        Leaf(f"{ROOT}/Training/01.원천데이터/TS_02.실외.zip", "37 GB", "507720"),
        Leaf(f"{ROOT}/Training/02.라벨링데이터/TL_01.실내.zip", "97 MB", "507721"),
        Leaf(f"{ROOT}/Training/02.라벨링데이터/TL_02.실외.zip", "985 KB", "507722"),
        Leaf(f"{ROOT}/Other/Other | v2.zip", "3 MB", "507700"),
        Leaf(f"{ROOT}/Validation/02.라벨링데이터/VL_02..실외.zip", "3 MB", "507726"),
    ]


def test_a_tree_of_other_widths_reads_the_same() -> None:
    wide = "└── d\n    ├── a/\n    │   └── x.zip | 1.5MB | 1\n    └── b\n        └── y.zip|2 KB|2\n"
    assert files_of(wide) == [Leaf("d/a/x.zip", "1.5 MB", "1"), Leaf("d/b/y.zip", "2 KB", "2")]


def test_a_tree_that_is_cut_anywhere_is_none() -> None:
    lines = TREE.rstrip().split("\n")
    first = next(n for n, line in enumerate(lines) if "└─" in line)
    assert files_of("\n".join(lines)) is not None
    for end in range(first, len(lines) - 1):
        assert files_of("\n".join(lines[: end + 1])) is None, lines[end]


def test_a_file_that_hangs_nowhere_makes_a_tree_none() -> None:
    assert files_of("└─d\n    └─a\nb.zip | 1 MB | 2\n    └─c.zip | 1 MB | 3\n") is None


def test_decomposed_names_are_composed() -> None:
    import unicodedata

    [leaf] = files_of(decoded(unicodedata.normalize("NFD", "└─라벨\n    └─가나.zip | 1 KB | 7\n").encode())) or []
    assert leaf.path == "라벨/가나.zip"


@pytest.mark.parametrize(
    ("size", "real"),
    [
        ("11 MB", 11 * 10**6),
        ("11 MB", 11 * 2**20 + 2**19),
        ("11 MB", 11 * 2**20 - 2**19),
        ("1 KB", 1),
        ("47 GB", 47 * 2**30),
        ("3 B", 3),
    ],
)
def test_a_rounded_size_is_a_range(size: str, real: float) -> None:
    low, high = bounds(size)
    assert low <= real <= high


def test_a_long_text_is_seen_by_its_first_and_last_lines() -> None:
    many = BANNER + "=" * 20 + "\n" + "".join(f"{n}, 데이터 이름 {n}\n" for n in range(1, 9000)) + "=" * 20 + "\n"
    assert isinstance(judged("list", 200, many), Ok)
    assert isinstance(judged("list", 200, many[:-25]), Transient)
    data = many.encode()
    assert "�" not in looked(Response.of(data))
    assert len(data_sets(many) or []) == 8999


# --- what answers mean ---------------------------------------------------------------------------------------------------------

CASES: list[tuple[str, int, bytes | str, type, str]] = [
    # 502 is how AI Hub speaks: the body decides
    ("list", 200, LIST, Ok, ""),
    ("list", 502, LIST, Ok, ""),
    ("tree", 200, TREE, Ok, ""),
    ("tree", 502, TREE, Ok, ""),
    ("key", 502, KEY_FINE, Ok, ""),
    ("key", 200, KEY_FINE, Ok, ""),
    ("key", 502, "요청하신 파일을 다운로드할 수 있습니다.", Ok, ""),
    ("key", 502, KEY_REFUSED, AuthFailed, "refuses the key"),
    ("key", 200, KEY_REFUSED, AuthFailed, "refuses the key"),
    ("file", 502, NOT_ACCEPTED, AuthFailed, "terms of data set 576 are not accepted"),
    ("file", 200, NOT_ACCEPTED, AuthFailed, "terms of data set 576 are not accepted"),
    ("file", 502, BANNER + NOT_ACCEPTED, AuthFailed, f"are not accepted: {NOT_ACCEPTED}"),
    ("file", 502, NOT_ACCEPTED.encode("cp949"), AuthFailed, NOT_ACCEPTED),
    ("file", 502, KEY_REFUSED, AuthFailed, "refuses the key"),
    ("file", 502, KEY_FINE, Gone, "the key is fine, but the file is not there"),
    ("file", 200, tar(), Ok, ""),
    ("file", 502, tar(), Ok, ""),
    ("tree", 200, "페이지가 존재하지 않습니다.", Gone, "페이지가"),
    ("tree", 403, "Forbidden", Gone, "closed data set 576"),
    # a gateway's 502 is nothing of AI Hub's
    *[(asked, 502, body, Transient, "gateway") for asked in ASKED for body in (GATEWAY, b"", "Bad Gateway")],
    # the usual statuses
    ("list", 403, "", AuthFailed, ""),
    ("file", 401, "", AuthFailed, ""),
    ("file", 404, "", Gone, ""),
    ("file", 429, "", RateLimited, ""),
    ("tree", 500, TREE, Transient, ""),
    ("tree", 504, "", Transient, ""),
    ("file", 206, tar(), Malformed, ""),
    # cut off
    ("list", 200, LIST[:-50], Transient, "cut off"),
    ("tree", 502, TREE[: len(TREE) // 2], Transient, "cut off"),
    ("file", 200, tar()[:-9000], Transient, "does not end"),
    ("file", 200, tar() + b"\0", Transient, "does not end"),
    ("file", 200, tar(b"", "TL.zip.part0")[:1024] + bytes(1024), Ok, ""),
    # something else
    *[(asked, 200, GATEWAY, Malformed, "HTML") for asked in ASKED],
    *[(asked, 200, b"", Malformed, "empty") for asked in ASKED],
    *[(asked, 200, b'{"a": 1}', Malformed, "JSON") for asked in ASKED],
    *[(asked, 200, "hello", Malformed, "hello") for asked in ASKED],
    ("file", 200, b"PK\x03\x04" + b"\0" * 900, Malformed, "ZIP"),
    ("file", 200, b"\0" * 10240, Malformed, "bytes"),
    ("key", 200, tar(), Malformed, "bytes"),
    ("list", 200, TREE, Transient, ""),
    ("list", 200, "점검 중입니다.", Malformed, "점검"),
]


@pytest.mark.parametrize(("asked", "status", "body", "kind", "words"), CASES)
def test_the_body_decides(asked: str, status: int, body: bytes | str, kind: type, words: str) -> None:
    found = judged(asked, status, body)
    assert type(found) is kind, found
    assert words in getattr(found, "reason", "")


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("status", [200, 502])
def test_a_connection_that_ended_early_is_asked_again(asked: str, status: int) -> None:
    whole = {"list": LIST, "tree": TREE, "key": KEY_FINE, "file": tar()}[asked]
    assert isinstance(judged(asked, status, whole, complete=False), Transient)


def test_terms_that_are_not_accepted_say_which_form_to_open() -> None:
    found = judged("file", 502, NOT_ACCEPTED)
    assert isinstance(found, AuthFailed)
    assert "https://aihub.or.kr/aihubdata/data/dwld.do?dataSetSn=576" in found.mend and "AIHUB_KEY" in found.mend
    refused = judged("file", 502, KEY_REFUSED)
    assert isinstance(refused, AuthFailed) and refused.mend == ""  # the usual mend: look at the key


def test_a_tar_that_is_smaller_than_the_tree_can_mean_is_no_such_file() -> None:
    small = ASKED["file"].__class__(ASKED["file"].url, stamp="576|66065|TL.zip|11 MB")
    found = DATA_SET.protocol.classify(
        DATA_SET.source, small, Response(200, {}, tar()[:HEAD_BYTES], tar()[-HEAD_BYTES:], len(tar()), True)
    )
    assert isinstance(found, Malformed) and "11 MB" in found.reason


def test_a_sentence_is_one_short_line_without_the_banner() -> None:
    assert sentence(f"{BANNER}\n 하나\r\n\r\n둘  셋 \n") == "하나 둘 셋"
    assert len(sentence("가 " * 9000)) <= 200


# --- the files that are taken ----------------------------------------------------------------------------------------------------


def led(folder: Path, text: str, **source: Any) -> list[Step]:
    one = feed(**source)
    path = folder / "tree"
    path.write_text(text, encoding="utf-8")
    return list(one.protocol.follow(one, one.source, Step(1, {"ask": "tree"}, lead=True), Body(path, {}, "")))


@pytest.mark.parametrize(
    ("glob", "keys"),
    [
        ("*/Training/*라벨링데이터/*", ["507721", "507722"]),
        ("TL_*.zip", ["507721", "507722"]),
        ("*라벨링데이터*", ["507721", "507722", "507726"]),
        ("*/TL_01.실내.zip", ["507721"]),
    ],
)
def test_a_glob_takes_files_by_path_or_name_one_step_each(tmp_path: Path, glob: str, keys: list[str]) -> None:
    steps = led(tmp_path, TREE, files=glob)
    assert [s.params["key"] for s in steps] == keys and not any(s.lead for s in steps)
    assert len({s.stamp for s in steps}) == len(steps) and None not in {s.stamp for s in steps}


def test_a_stamp_changes_with_key_name_and_size_and_not_with_the_folder(tmp_path: Path) -> None:
    stamp = lambda text: led(tmp_path, text, files="TL_01*")[0].stamp  # noqa: E731
    first = stamp(TREE)
    assert stamp(TREE.replace("02.라벨링데이터", "02.라벨링데이터_241008_add")) == first
    assert len({first, stamp(TREE.replace("97 MB", "98 MB")), stamp(TREE.replace("507721", "507799"))}) == 3


@pytest.mark.parametrize(
    ("text", "source", "words"),
    [
        (TREE, {"files": "*.tar"}, "none of 6 files fits source.files; there are '134-1"),
        (TREE, {"files": "*라벨링*", "max_files": 2}, "3 files fit source.files: more than source.max_files"),
        (KEY_FINE, {}, "no tree of files"),
        (TREE.replace("47 GB", "999999 PB"), {}, "of room"),
    ],
)
def test_what_cannot_be_fetched_is_said_before_anything_is(tmp_path: Path, text: str, source: dict[str, Any], words: str) -> None:
    with pytest.raises(UnreadableSource, match=words.replace("(", r"\(")):
        led(tmp_path, text, **source)


def test_room_is_asked_for_three_times_over(tmp_path: Path) -> None:
    import shutil

    free = shutil.disk_usage(tmp_path).free // 1024**3
    tree = "└─d\n    └─a.zip | {} GB | 1\n"
    assert led(tmp_path, tree.format(free // 4))
    with pytest.raises(UnreadableSource, match="of room"):
        led(tmp_path, tree.format(free // 2))


# --- rights ---------------------------------------------------------------------------------------------------------------------


def test_the_rights_of_its_rows_let_no_set_with_them_be_published() -> None:
    feeds = shipped()
    labels = feeds["kr.aihub.pill_labels"]
    assert labels.licence.redistribution is False and labels.licence.ai_training is True

    def of(one: Feed) -> Input:
        terms = one.licence
        return Input(one.id, terms.id, one.agency.name, redistribution=terms.redistribution, ai_training=terms.ai_training)

    for mode in ("adapted", "collection"):
        alone = combine([of(labels)], mode)  # type: ignore[arg-type]
        beside = combine([of(labels), of(feeds["kr.seoul.bike_hourly"])], mode)  # type: ignore[arg-type]
        for rights in (alone, beside):
            assert not rights.redistribution and rights.outbound is None
            assert any("may not be redistributed" in conflict.reason for conflict in rights.conflicts)
        assert not combine([of(feeds["kr.aihub.datasets"])], mode).redistribution  # type: ignore[arg-type]


def test_a_set_of_its_rows_is_built_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    making.rows(range(400)).write_parquet(path)
    with pytest.raises(Blocked, match="may not be redistributed") as caught:
        build_set(
            making.spec(),
            [path],
            feeds={making.FEED_ID: making.feed().model_copy(update={"licence": shipped()["kr.aihub.pill_labels"].licence})},
            origins={making.FEED_ID: "agency"},
            fetches=[making.fetch("agency")],
            store=(store := Store((tmp_path / "store").as_uri())),
            workdir=tmp_path / "work",
            now=NOW,
            loader_names=making.CHEAP,
        )
    assert caught.value.checks == ("rights_conflicts",)
    assert list(store.list("sets")) == []


# --- the catalogue's rows ---------------------------------------------------------------------------------------------------------


def test_the_catalogue_is_key_and_name(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(LIST, encoding="utf-8")
    assert parsed(CATALOGUE, [Body(path, {}, "")]) == [("576", "경구약제 이미지, 2차"), ("71631", "자유대화 (성인)")]
    path.write_text(LIST[:-60], encoding="utf-8")
    with pytest.raises(UnreadableSource, match="no list of data sets"):
        parsed(CATALOGUE, [Body(path, {}, "")])
