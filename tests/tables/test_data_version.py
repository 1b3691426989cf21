"""What Dagster knows a table by: a changed contract is a new version and stirs what follows, a second look at it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.archive.assets import archive_asset, known_version
from assets.feeds.model import Feed
from assets.platform import Platform
from assets.tables.assets import build_feed_table, table_asset, table_key_of
from assets.tables.index import read_index
from orchestration.failures import guard
from orchestration.opening import open_platform
from orchestration.running import instance, run_job
from orchestration.settings import Settings
from tests.loopback import Answer
from tests.main_job.wild_agency import wild_agency
from tests.tables.making import make_feed

pytestmark = pytest.mark.dagster

BODY = "day,visitors\n" + "".join(f"2024-01-{day:02},{day}\n" for day in range(1, 31))
ARCHIVE, TABLE, AFTER = ("archive", "us", "test", "rows"), ("table", "us", "test", "rows"), ("after",)


def declared(**visitors: Any) -> Feed:
    columns = [{"name": "day", "type": "date", "nullable": False}, {"name": "visitors", "type": "integer", **visitors}]
    source = {"protocol": "http_file", "url": "http://versions.agency.test/rows.csv", "format": "csv"}
    return make_feed(columns, contract={"key": ["day"]}, source=source)


def run(settings: Settings, platform: Platform, feed: Feed) -> frozenset[tuple[str, ...]]:
    """The feed's assets and one that stands on its table, in one run. What was materialized."""

    @dg.asset(name="after", deps=[table_key_of(feed)])
    def after() -> None:
        """What follows the table."""

    definitions = dg.Definitions(
        assets=[archive_asset(feed, guard), table_asset(feed, guard), after],
        jobs=[dg.define_asset_job("all_three")],
        resources={"platform": dg.ResourceDefinition.hardcoded_resource(platform)},
        executor=dg.in_process_executor,
    )
    with instance(settings) as opened:
        result = run_job(definitions, "all_three", opened)
    assert result.success, result.error
    return result.changed


def version(settings: Settings, platform: Platform, feed: Feed) -> str:
    """The version that Dagster recorded last, which must be that of the live table."""
    index = read_index(platform.store, feed.id)
    with instance(settings) as opened:
        known = known_version(opened, table_key_of(feed))
    assert index is not None and known == index.data_version
    return known


@pytest.mark.parametrize("killed", [False, True], ids=["in one run", "after a run that was killed behind the swap"])
@pytest.mark.parametrize("change", [{"min": 0}, {"type": "number"}], ids=["the same rows", "other rows"])
def test_a_changed_contract_stirs_what_follows_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool, change: dict[str, Any]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    before, now = declared(), declared(**change)
    with wild_agency() as agency:
        agency.give("versions.agency.test", Answer(BODY.encode()))
        settings = Settings.from_environment({"MADANG_HOME": str(tmp_path), "MADANG_CONNECT_TO": agency.url})
        platform = open_platform(settings, {before.id: before}, {})
        assert run(settings, platform, before) == {ARCHIVE, TABLE, AFTER}
        first = version(settings, platform, before)
        assert run(settings, platform, before) == frozenset()

        if killed:
            build_feed_table(platform, now)
        assert run(settings, platform, now) == {ARCHIVE, TABLE, AFTER}
        second = version(settings, platform, now)
        assert first.partition("+")[0] == second.partition("+")[0] and first != second
        assert run(settings, platform, now) == frozenset()
        platform.ledger.close()
