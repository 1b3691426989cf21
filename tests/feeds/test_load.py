"""Feeds as a set: names, duplicates, a broken one among sound ones, schedules, and the schema that is kept beside them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from assets.errors import DeclarationError
from assets.feeds import load
from assets.feeds.model import Feed
from assets.yaml_document import read

IDS = sorted(p.parent.name for p in load.FOLDER.glob("*/feed.yaml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of the shipped feeds, to be changed."""
    for feed in IDS:
        (tmp_path / "feeds" / feed).mkdir(parents=True)
        shutil.copy(load.FOLDER / feed / "feed.yaml", tmp_path / "feeds" / feed / "feed.yaml")
    return tmp_path / "feeds"


def test_every_shipped_feed_loads() -> None:
    feeds, problems = load.load_feeds()
    assert [str(p) for p in problems] == []
    assert sorted(feeds) == IDS


@pytest.mark.parametrize("feed", IDS)
def test_a_feed_folder_holds_its_declaration_and_samples_alone(feed: str) -> None:
    names = {p.name for p in (load.FOLDER / feed).iterdir()}
    assert "feed.yaml" in names
    assert any(n.startswith("sample.") for n in names)
    assert all(n in ("feed.yaml", "parse.py") or n.startswith("sample.") for n in names)
    assert (
        (load.FOLDER / feed / "feed.yaml")
        .read_text(encoding="utf-8")
        .startswith("# yaml-language-server: $schema=../feed.schema.json\n")
    )


@pytest.mark.parametrize("feed", IDS)
def test_a_shipped_feed_says_who_what_and_by_which_right(feed: str) -> None:
    one = load.load_feed(load.FOLDER / feed)
    assert one.notes and one.description and one.documentation and one.title_en
    assert one.verified.live is None and one.verified.licence_page is None
    assert one.licence.attribution
    korean = one.agency.country == "KR"
    assert all(c.title_en and c.description for c in one.contract.columns)
    assert not korean or all(c.title_ko for c in one.contract.columns)


def test_a_broken_feed_does_not_stop_the_others(folder: Path) -> None:
    broken = folder / IDS[0] / "feed.yaml"
    broken.write_text(broken.read_text(encoding="utf-8").replace("title:", "titel:", 1), encoding="utf-8")
    (folder / IDS[1] / "feed.yaml").write_text("id: [", encoding="utf-8")
    (folder / "no.feed").mkdir()
    (folder / "__pycache__").mkdir()
    feeds, problems = load.load_feeds([folder])
    assert sorted(feeds) == IDS[2:]
    assert {Path(p.file).parent.name for p in problems} == {IDS[0], IDS[1], "no.feed"}


def test_an_id_in_two_folders_names_both(folder: Path) -> None:
    feeds, problems = load.load_feeds([load.FOLDER, folder])
    assert sorted(feeds) == IDS
    assert len(problems) == len(IDS)
    assert str(load.FOLDER / IDS[0] / "feed.yaml") in problems[0].what
    assert problems[0].file == str(folder / IDS[0] / "feed.yaml")


def test_two_ids_of_one_sql_name_are_a_problem(folder: Path) -> None:
    text = (folder / "kr.seoul.bike_hourly" / "feed.yaml").read_text(encoding="utf-8")
    for name in ("kr.seoul_city.bikes", "kr.seoul.city.bikes"):
        (folder / name).mkdir()
        (folder / name / "feed.yaml").write_text(text.replace("kr.seoul.bike_hourly", name), encoding="utf-8")
    for feeds, problems in [load.load_feeds([folder]), (load.check([folder]).feeds, load.check([folder]).problems)]:
        assert "kr.seoul.city.bikes" in feeds
        assert [(p.field, Path(p.file).parent.name) for p in problems] == [("id", "kr.seoul_city.bikes")]
        assert "kr_seoul_city__bikes" in problems[0].what


def test_the_folder_is_named_by_the_id(folder: Path) -> None:
    (folder / IDS[0]).rename(folder / "kr.other.name")
    with pytest.raises(DeclarationError, match=r"folder is named 'kr\.other\.name'"):
        load.load_feed(folder / "kr.other.name")
    with pytest.raises(DeclarationError):
        load.load_feed(folder / "absent")


def test_check_tells_expectations_secrets_and_next_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_GO_KR_KEY", raising=False)
    feed = folder / "us.eia.wti_daily" / "feed.yaml"
    text = feed.read_text(encoding="utf-8")
    feed.write_text(text.replace("expect_column_median_to_be_between", "expect_column_medial_to_be_between"), encoding="utf-8")
    found = load.check([folder], now=datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert [(Path(p.file).parent.name, p.field.split("[")[0]) for p in found.problems] == [("us.eia.wti_daily", "expectations")]
    line = next(i for i, t in enumerate(text.splitlines(), 1) if "median" in t)
    assert found.problems[0].line == line
    assert {n.field for n in found.notes} == {"source.auth.secret"}
    assert [Path(n.file).parent.name for n in found.notes].count("kr.airkorea.sido_hourly") == 1
    # A Friday noon in UTC: Friday evening in New York, then Monday and Tuesday.
    assert [t.isoformat() for t in found.next_runs["us.eia.wti_daily"]] == [
        "2026-11-20T22:30:00-05:00",
        "2026-11-23T22:30:00-05:00",
        "2026-11-24T22:30:00-05:00",
    ]
    monkeypatch.setenv("DATA_GO_KR_KEY", "present")
    assert load.check([load.FOLDER / "kr.airkorea.sido_hourly"]).notes == []


@pytest.mark.parametrize(
    ("cron", "zone", "expected"),
    [
        ("20,50 * * * *", "Asia/Seoul", ["2026-03-07T21:20", "2026-03-07T21:50", "2026-03-07T22:20"]),
        ("0 0 29 2 *", "UTC", ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"]),
        ("0 12 13 * fri", "UTC", ["2026-03-13T12:00", "2026-03-20T12:00", "2026-03-27T12:00"]),
        ("30 2 * * *", "America/New_York", ["2026-03-09T02:30", "2026-03-10T02:30", "2026-03-11T02:30"]),
        ("*/25 8-9 * * 7", "UTC", ["2026-03-08T08:00", "2026-03-08T08:25", "2026-03-08T08:50"]),
        ("0 0 30 feb *", "UTC", []),
    ],
)
def test_next_runs_by_cron_rules(cron: str, zone: str, expected: list[str]) -> None:
    """New York's clocks skip 02:30 on 8 March 2026; day of month and weekday together mean either."""
    feed = load.load_feed(load.FOLDER / "us.eia.wti_daily")
    feed = feed.model_copy(update={"schedule": feed.schedule.model_copy(update={"cron": cron, "timezone": zone})})
    start = datetime(2026, 3, 7, 12, tzinfo=UTC)
    assert [t.strftime("%Y-%m-%dT%H:%M") for t in load.next_runs(feed, start)] == expected


def test_rows_for_the_list() -> None:
    feeds, _ = load.load_feeds()
    rows = load.rows(feeds.values(), {})
    assert [r["id"] for r in rows] == IDS
    assert set(rows[0]) == {"id", "agency", "protocol", "enabled", "schedule", "licence", "verified"}


def test_the_kept_schema_is_the_models() -> None:
    assert load.SCHEMA_FILE.read_text(encoding="utf-8") == load.schema_text(), "run: python -m assets.feeds.load"


@pytest.mark.parametrize("feed", IDS)
def test_the_schema_accepts_what_the_model_accepts(feed: str) -> None:
    schema = json.loads(load.SCHEMA_FILE.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    data = read(load.FOLDER / feed / "feed.yaml").data
    Draft202012Validator(schema).validate(data)
    for broken in ({**data, "titel": "x"}, {k: v for k, v in data.items() if k != "licence"}, {**data, "enabled": "yes"}):
        assert list(Draft202012Validator(schema).iter_errors(broken))


def test_contract_survives_its_own_json() -> None:
    for feed in load.shipped().values():
        assert Feed.model_validate_json(feed.model_dump_json()) == feed
