"""The main job on the bundled rows: `madang demo` as a person types it, twice. The second run finds nothing new."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from assets.feeds.load import FOLDER, load_feed
from assets.tables.assets import GATES, QUALITY
from deploy.agency.make_samples import REFUSED
from tests.main_job.homes import FEEDS, MadangHome

SETS = ["birdstrike_damage", "earthquake_felt", "seoul_bike_demand"]


def sample_rows(feed: str) -> int:
    """Rows of the bundled file that the stand-in serves today, counted without any of Madang's code."""
    folder = FOLDER / feed
    files = sorted(folder.glob("sample.*"))
    path = next((f for f in files if f.name.count(".") == 1), files[-1])
    if any(f.name.count(".") == 2 for f in files):
        path = max(f for f in files if f.name.count(".") == 2)
    if path.suffix in (".json", ".geojson"):
        whole = json.loads(path.read_text(encoding="utf-8"))
        return len(whole["features"] if isinstance(whole, dict) else whole)
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp949")
    return len([row for row in csv.reader(text.splitlines()) if row]) - 1


def test_it_ends_with_one_json_line_of_exactly_this_shape(demo_home: MadangHome) -> None:
    assert len(demo_home.runs[0].stdout.splitlines()) == 1
    report = demo_home.report(0)
    assert list(report) == ["feeds", "sets", "seconds"]
    assert isinstance(report["seconds"], float) and report["seconds"] > 0
    for line in report["feeds"]:
        assert list(line) == ["id", "protocol", "outcome", "read", "accepted", "quarantined"]
    for line in report["sets"]:
        assert list(line) == ["name", "version", "rows", "path"]
    assert [line["id"] for line in report["feeds"]] == FEEDS
    assert [line["name"] for line in report["sets"]] == SETS


@pytest.mark.parametrize("feed", FEEDS)
def test_every_row_of_the_file_is_accounted_for(feed: str, demo_home: MadangHome) -> None:
    line = next(line for line in demo_home.report(0)["feeds"] if line["id"] == feed)
    assert line["outcome"] == "Ok"
    assert line["protocol"] == load_feed(FOLDER / feed).source.protocol
    assert line["read"] == line["accepted"] + line["quarantined"] == sample_rows(feed)
    assert line["quarantined"] == REFUSED[feed]
    # What the report says is what lies in the store.
    assert len(demo_home.rows(feed, "_row_hash")) == line["accepted"] == demo_home.index(feed).rows
    assert len(demo_home.quarantine(feed, "_rule")) == line["quarantined"]


def test_no_row_is_both_accepted_and_refused(demo_home: MadangHome) -> None:
    for feed in FEEDS:
        accepted = {row for (row,) in demo_home.rows(feed, "_source_row")}
        refused = {row for (row,) in demo_home.quarantine(feed, "_source_row")}
        assert not accepted & refused
        assert accepted | refused == set(range(1, sample_rows(feed) + 1))


def test_three_sets_are_released_and_committed(demo_home: MadangHome) -> None:
    for line in demo_home.report(0)["sets"]:
        release = Path(line["path"])
        assert line["version"] == "1.0.0" and release.name == "v1.0.0"
        assert (release / "_COMMITTED").is_file()
        for split, rows in line["rows"].items():
            files = sorted(str(path) for path in (release / "data" / "default" / split).glob("*.parquet"))
            with duckdb.connect() as connection:
                assert connection.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchone() == (rows,)
        assert set(line["rows"]) == {"train", "validation", "test"} and all(line["rows"].values())


def test_synthetic_rows_say_so_everywhere(demo_home: MadangHome) -> None:
    for name in SETS:
        index = demo_home.store.get_json(f"sets/{name}/index.json")
        assert [version["origin"] for version in index["versions"]] == ["synthetic"]
        card = demo_home.store.get_bytes(f"sets/{name}/v1.0.0/README.md").decode()
        assert card.split("---\n", 2)[2].lstrip().startswith("Origin: synthetic")
        # Nobody's name stands under rows that are nobody's.
        attribution = demo_home.store.get_bytes(f"sets/{name}/v1.0.0/legal/ATTRIBUTION.md").decode()
        for feed in FEEDS:
            assert load_feed(FOLDER / feed).licence.attribution not in attribution


def test_the_second_run_finds_every_feed_unchanged(demo_home: MadangHome) -> None:
    first, second = demo_home.report(0), demo_home.report(1)
    assert [line["outcome"] for line in second["feeds"]] == ["NotModified"] * len(FEEDS)
    assert second["sets"] == first["sets"]
    assert [{**line, "outcome": ""} for line in second["feeds"]] == [{**line, "outcome": ""} for line in first["feeds"]]


def test_the_second_run_makes_no_table_no_model_and_no_release(demo_home: MadangHome) -> None:
    before, after = demo_home.snapshots[:2]
    assert after.objects == before.objects and len(before.objects) > 50
    assert after.versions == before.versions


def test_the_second_run_materializes_nothing_and_observes_every_feed(demo_home: MadangHome) -> None:
    before, after = demo_home.snapshots[:2]
    tables = {("table", *feed.split(".")) for feed in FEEDS}
    sets = {("set", name) for name in SETS}
    assert tables | sets <= {key for key, events in before.events.items() if events.materialized == 1}
    assert {key: e.materialized for key, e in after.events.items()} == {key: e.materialized for key, e in before.events.items()}
    for feed in FEEDS:
        key = ("archive", *feed.split("."))
        assert after.events[key].observed == before.events[key].observed + 1


def test_the_second_run_repeats_what_was_said_of_each_table(demo_home: MadangHome) -> None:
    """Dagster would show the checks of a table that a quiet run leaves alone as "Skipped", and what was found as forgotten."""
    with demo_home.instance() as instance:
        for feed in FEEDS:
            table = dg.AssetKey(["table", *feed.split(".")])
            [target] = instance.fetch_materializations(table, limit=1).records
            for name in (*GATES, QUALITY):
                history = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(table, name), limit=10)
                assert [record.status.value for record in history[1:]] == ["PLANNED", history[0].status.value]
                latest, first = history[0].evaluation, history[2].evaluation
                assert latest is not None and first is not None and latest.passed == first.passed
                assert latest.target_materialization_data is not None
                assert latest.target_materialization_data.storage_id == target.storage_id
                assert {k: v for k, v in latest.metadata.items() if k != "judged"} == first.metadata


def test_the_second_run_counts_as_a_confirmed_check(demo_home: MadangHome) -> None:
    before, after = demo_home.snapshots[:2]
    assert set(before.confirmed) == set(FEEDS)
    for feed in FEEDS:
        assert after.confirmed[feed] > before.confirmed[feed]
        index, confirmed = demo_home.index(feed), after.confirmed[feed]
        assert index.updated_at < confirmed
        with demo_home.instance() as instance:
            key = dg.AssetCheckKey(dg.AssetKey(["archive", *feed.split(".")]), "confirmed")
            history = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        assert [record.status.value for record in history] == ["SUCCEEDED", "SUCCEEDED"]


def test_a_skipped_table_runs_no_step(demo_home: MadangHome) -> None:
    with demo_home.instance() as instance:
        runs = instance.get_run_records(dg.RunsFilter(job_name="feed__kr_seoul__bike_hourly"))
        assert [record.dagster_run.status.value for record in runs] == ["SUCCESS", "SUCCESS"]
        steps = {s.step_key: s.status.value if s.status else "" for s in instance.get_run_step_stats(runs[0].dagster_run.run_id)}
    assert steps["table__kr__seoul__bike_hourly"] == "SKIPPED"


def test_rows_in_quarantine_warn_and_stop_nothing(demo_home: MadangHome) -> None:
    key = dg.AssetKey(["table", "kr", "seoul", "bike_hourly"])
    found = {}
    with demo_home.instance() as instance:
        (record,) = instance.get_run_records(dg.RunsFilter(job_name="feed__kr_seoul__bike_hourly"), limit=1, ascending=True)
        for entry in instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
            assert entry.dagster_event is not None
            evaluation = entry.dagster_event.asset_check_evaluation_data
            found[evaluation.asset_key, evaluation.check_name] = (evaluation.passed, evaluation.severity)
    assert found[key, "quality"] == (False, dg.AssetCheckSeverity.WARN)
    assert found[key, "quarantine_within_bound"] == (True, dg.AssetCheckSeverity.ERROR)
    assert [severity for passed, severity in found.values() if not passed] == [dg.AssetCheckSeverity.WARN]
