"""What a data engineer sees and clicks in the Dagster UI that `madang up` serves, in a real Chromium; nothing leaves loopback.

The tests save the pictures that the README shows (MADANG_SAVE_PICTURES=1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Served, _direct

pytestmark = [pytest.mark.xdist_group("demo_home"), pytest.mark.timeout(900)]

RUNNING = """{ repositoryOrError(repositorySelector: {repositoryLocationName: "madang", repositoryName: "__repository__"}) {
  ... on Repository { schedules { name executionTimezone scheduleState { status } } sensors { name sensorState { status } } } } }"""
SPLITS = ("train", "validation", "test")


def settled(page: Page) -> None:
    """Wait until the page has what it asked for; Dagster's UI keeps polling, so the network never falls silent."""
    page.wait_for_load_state("load")
    page.wait_for_timeout(1500)


def test_asset_graph_shows_agencies_and_sets(up: Served, page: Page, picture: Callable[..., Path]) -> None:
    page.goto(f"{up.ui}/asset-groups")
    graph = page.locator("svg")
    for group in ("kr_airkorea", "kr_incheon", "kr_mois", "kr_seoul", "us_eia", "us_faa", "us_noaa", "us_usgs", "training_sets"):
        expect(graph.get_by_text(group, exact=True)).to_be_visible()
    page.get_by_text("Hide navigation").click()
    graph.get_by_text("training_sets", exact=True).click()
    for name in ("birdstrike_damage", "earthquake_felt", "seoul_bike_demand"):
        expect(graph.get_by_text(name, exact=True).first).to_be_visible()
    opened = (f"global@global:{group}" for group in ("kr_seoul", "us_usgs", "dbt_training", "training_sets"))
    page.goto(f"{up.ui}/asset-groups?expanded={','.join(opened)}")
    expect(graph.get_by_text("seoul_bike_demand", exact=True).first).to_be_visible()
    settled(page)
    picture("ui-asset-graph")


def test_checks_of_a_feed(up: Served, page: Page, picture: Callable[..., Path]) -> None:
    page.goto(f"{up.ui}/assets/table/kr/seoul/bike_hourly?view=checks&checkDetail=quality")
    for name in ("accounted_for", "columns_as_promised", "quarantine_within_bound", "row_count_at_least", "shrink_guard"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    expect(page.get_by_text("table_columns_to_match_set", exact=True).first).to_be_visible()
    expect(page.get_by_text(re.compile("This is a non-blocking asset check"))).to_be_visible()
    page.get_by_text("[Show Markdown]").click()
    table = page.get_by_role("dialog").get_by_role("table")
    expect(table.get_by_text("values_parse_as_declared")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_text("quarantine_within_bound", exact=True).first.click()
    expect(page.get_by_text("Not more rows were refused than the contract allows.")).to_be_visible()
    expect(page.get_by_text(re.compile("This is a blocking asset check"))).to_be_visible()
    settled(page)
    picture("ui-feed-checks")


def test_metadata_of_a_set_leads_to_its_card(up: Served, page: Page, picture: Callable[..., Path]) -> None:
    index = json.loads(_direct.open(f"{up.files}/sets/seoul_bike_demand/index.json").read())
    release = index["versions"][-1]
    page.goto(f"{up.ui}/assets/set/seoul_bike_demand")
    expect(page.get_by_text(release["version"], exact=True).first).to_be_visible()
    for split in SPLITS:
        expect(page.get_by_text(f"rows in {split}", exact=True)).to_be_visible()
        expect(page.get_by_text(str(release["rows_per_split"][split]), exact=True).first).to_be_visible()
    page.get_by_text("Hide navigation").click()
    settled(page)
    picture("ui-set-metadata")
    link = page.locator('a[href*="/sets/seoul_bike_demand/v"]').first
    address = link.get_attribute("href")
    assert address is not None
    # The demo wrote the address for the port that `make up` takes; this one serves the same store on another.
    page.goto(f"{up.files}{urlsplit(address).path}")
    expect(page.get_by_text("Origin: synthetic.").first).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_contain_text("서울 공공자전거")
    expect(page.get_by_role("link", name="croissant.json")).to_be_visible()
    picture("release-card")


def test_programs_get_the_bytes_of_a_card(up: Served) -> None:
    address = f"{up.files}/sets/seoul_bike_demand/v1.0.0/README.md"
    raw = _direct.open(address).read()
    assert raw.startswith(b"---\n")
    page = _direct.open(Request(address, headers={"Accept": "text/html"})).read()
    assert page.startswith(b"<!doctype html>")
    part = _direct.open(Request(address, headers={"Range": "bytes=0-3"}))
    assert (part.status, part.read()) == (206, b"---\n")


def test_materialize_an_unchanged_feed_by_clicking(up: Served, page: Page) -> None:
    page.goto(f"{up.ui}/locations/madang/jobs/feed__kr_incheon__airport_monthly")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="View", exact=True).or_(page.get_by_role("link", name="View", exact=True)).click()
    page.wait_for_url("**/runs/**")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    page.get_by_placeholder("Filter").fill("observation")
    expect(page.get_by_text("ASSET_OBSERVATION").or_(page.get_by_text("ASSET_OBSERV")).first).to_be_visible()
    expect(page.get_by_text("NotModified").first).to_be_visible()
    page.goto(f"{up.ui}/assets/archive/kr/incheon/airport_monthly?view=events")
    expect(page.get_by_text("Observed", exact=False).first).to_be_visible()


def test_judge_again_from_the_launchpad_and_open_its_data_docs(up: Served, page: Page, picture: Callable[..., Path]) -> None:
    page.goto(f"{up.ui}/locations/madang/jobs/rerun_from_archive/playground")
    editor = page.locator(".CodeMirror").last
    expect(editor.get_by_text("feed", exact=True)).to_be_visible()
    expect(page.get_by_text("No errors")).to_be_visible()
    editor.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text("ops:\n  judge_all_again:\n    config:\n      feed: kr.seoul.bike_hourly\n")
    expect(page.get_by_text("No errors")).to_be_visible()
    page.get_by_role("button", name="Launch Run").click()
    page.wait_for_url("**/runs/**")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    docs = page.locator(f'a[href^="{up.files}/reports/kr.seoul.bike_hourly/"]').first
    expect(docs).to_be_attached()
    settled(page)
    picture("ui-run")
    address = docs.get_attribute("href")
    assert address is not None
    page.goto(address)
    expect(page.get_by_text("kr.seoul.bike_hourly").first).to_be_visible()
    expect(page.get_by_text("values_parse_as_declared")).to_be_visible()
    picture("data-docs")
    page.get_by_role("link", name="Great Expectations").click()
    expect(page.get_by_text("Expectation", exact=False).first).to_be_visible()


def test_schedules_run_in_the_agencies_time(up: Served, page: Page, picture: Callable[..., Path]) -> None:
    page.goto(f"{up.ui}/automation")
    expect(page.get_by_text("Scheduled At 04:20 AM GMT+9")).to_be_visible()
    expect(page.get_by_text("automation", exact=True).first).to_be_visible()
    asked = Request(f"{up.ui}/graphql", data=json.dumps({"query": RUNNING}).encode(), headers={"Content-Type": "application/json"})
    found = json.loads(_direct.open(asked).read())["data"]["repositoryOrError"]
    schedules = {one["name"]: one for one in found["schedules"]}
    assert {one["scheduleState"]["status"] for one in schedules.values()} == {"RUNNING"}
    assert schedules["feed__kr_seoul__bike_hourly"]["executionTimezone"] == "Asia/Seoul"
    assert schedules["feed__us_faa__airports"]["executionTimezone"] == "America/New_York"
    assert [(one["name"], one["sensorState"]["status"]) for one in found["sensors"]] == [("automation", "RUNNING")]
    settled(page)
    picture("ui-automation")
