"""A sample of the replay through real Dagster: feeds of three kinds, two days of their own schedule, one of them with a fault.

What Dagster's instance has afterwards (runs, materializations, observations, failures) is what the ledger says, and the tables are
those of a collector that no Dagster runs. The days themselves are `tests/protocols/replaying.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from assets.archive.assets import archive_asset, archive_key_of
from assets.archive.fetches import FetchRecord
from assets.feeds.load import shipped
from assets.feeds.model import Feed
from assets.platform import Platform
from assets.store import Store
from assets.tables.assets import table_asset, table_key_of
from assets.tables.expectations import judge_expectations
from assets.tables.index import read_index
from assets.transport.http import TransportSettings
from deploy.agency import DEMO_KEY
from orchestration.assembly import FeedJob, feed_job, job_name
from orchestration.failures import OUTCOME_CLASSES, guard
from orchestration.freshness import confirmed_on_time
from tests.protocols.fetching_scene import Clock
from tests.protocols.living import Life
from tests.protocols.replay_scene import Agencies, Collector, live_rows, running_agencies
from tests.protocols.replaying import BEFORE, slots
from tests.protocols.standin_scene import NOW

FEEDS = {
    "us.noaa.seattle_weather": ("status_500", "Transient"),
    "kr.gov24.services": ("status_403", "AuthFailed"),
    "us.noaa.ghcn_central_park": ("html_200", "Malformed"),
}
"""A file, pages behind a key, and a bucket; the fault of one of each feed's days, and the outcome that names it."""
DAYS = 2
ATTEMPTS = {"Transient": 5, "AuthFailed": 1}
"""Requests until a fetch of one request ends in this: what time may mend is asked for again by the kernel, and by nobody else."""


def _retried(job: FeedJob) -> FeedJob:
    """The feed's own job under a policy of somebody who would retry everything."""
    policy = dg.RetryPolicy(max_retries=2)
    return FeedJob(job.name, selection=job.selection, description=job.description, tags=job.tags, op_retry_policy=policy)


@dataclass
class Scene:
    """A platform under the replay's clock, with the real assets and jobs of the three feeds, in an instance of its own."""

    folder: Path
    agencies: Agencies
    instance: dg.DagsterInstance
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        feeds = {id_: shipped()[id_] for id_ in FEEDS}
        self.platform = Platform(
            home=self.folder / "home",
            store=Store(f"file://{self.folder}/store"),
            ledger_url=f"sqlite:///{self.folder}/ledger.db",
            warehouse="",
            feeds=feeds,
            sets={},
            transport=TransportSettings(connect_to=self.agencies.rough_url),
            secrets={feed.source.auth.secret: DEMO_KEY for feed in feeds.values() if feed.source.auth.secret},
            public_url=None,
            reports_url="http://127.0.0.1:3001",
            clock=self.clock,
        )
        self.platform.home.mkdir()
        self.definitions = dg.Definitions(
            assets=[make(feed, guard) for feed in feeds.values() for make in (archive_asset, table_asset)],
            asset_checks=[confirmed_on_time(feed) for feed in feeds.values()],
            jobs=[_retried(feed_job(feed)) for feed in feeds.values()],
            resources={"platform": dg.ResourceDefinition.hardcoded_resource(self.platform)},
            executor=dg.in_process_executor,
        )

    def run(self, feed: Feed, fault: str | None) -> tuple[dg.ExecuteInProcessResult, int]:
        """A run of the feed's job, and how many requests it made."""
        self.agencies.set(self.clock.time)
        if fault is not None:
            self.agencies.rough.switch(feed.id, fault)
        job = self.definitions.resolve_job_def(job_name(feed))
        result = job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        return result, len(self.agencies.rough.requests)

    def last(self, feed: Feed) -> FetchRecord:
        record = self.platform.ledger.last(feed.id)
        assert record is not None
        return record

    def told(self, key: dg.AssetKey) -> tuple[int, int]:
        """How often the instance has the asset materialized, and observed."""
        materialized = self.instance.fetch_materializations(key, limit=100).records
        return len(materialized), len(self.instance.fetch_observations(key, limit=100).records)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("replay")
    with running_agencies(folder) as agencies, dg.DagsterInstance.ephemeral() as instance:
        opened = Scene(folder, agencies, instance)
        yield opened
        opened.platform.ledger.close()


@pytest.mark.parametrize("feed_id", sorted(FEEDS))
def test_what_dagster_remembers_is_what_the_ledger_says(feed_id: str, scene: Scene) -> None:
    feed, (fault, outcome), dice = shipped()[feed_id], FEEDS[feed_id], random.Random(feed_id)
    route = next(route for route in scene.agencies.rough.routes if route.id == feed_id)
    life = Life(feed, route, scene.agencies.folder, feed_id, NOW)
    plain = Collector(scene.folder / feed_id, scene.agencies.calm_url, judge_expectations)
    archive, table = archive_key_of(feed), table_key_of(feed)
    bad_day = dice.randrange(DAYS)
    successes = 0
    for day, (now, *_) in enumerate(slots(feed, days=DAYS, a_day=1, least=DAYS, dice=dice)[:DAYS]):
        life.begin(now - BEFORE) if day == 0 else life.go_on(now - BEFORE)
        plain.clock.time = scene.clock.time = now
        before = scene.told(archive), scene.told(table)
        if day == bad_day:
            result, requests = scene.run(feed, fault)
            assert not result.success
            _assert_failed(scene, feed, result, outcome)
            assert requests == ATTEMPTS.get(outcome, requests)
            # Nothing was told of either asset, and the table is the one of the day before.
            assert (scene.told(archive), scene.told(table)) == before
            assert (read_index(scene.platform.store, feed.id) is not None) == (day > 0)
            scene.clock.time += BEFORE
        result, _ = scene.run(feed, None)
        assert result.success
        successes += 1
        assert scene.last(feed).outcome == "Ok"
        for key in (archive, table):
            event = scene.instance.get_latest_materialization_event(key)
            assert event is not None and event.asset_materialization is not None and event.run_id == result.run_id
            assert event.asset_materialization.metadata["fetch"].value == scene.last(feed).fetch_id
            assert scene.told(key) == (successes, 0)
        plain.run(feed)
        assert live_rows(feed, scene.platform.store, scene.folder / "cache") == plain.rows(feed) and plain.rows(feed)
    # Asked once more, the agency has nothing new: the instance gets observations, and the table no new version.
    scene.clock.time += BEFORE
    result, _ = scene.run(feed, None)
    assert result.success and scene.last(feed).outcome == "NotModified"
    assert (scene.told(archive), scene.told(table)) == ((successes, 1), (successes, 0))
    outcomes = [record.outcome for record in scene.platform.ledger.history(feed.id)]
    assert sorted(outcomes) == sorted(["Ok"] * successes + [outcome, "NotModified"])
    plain.close()


def _assert_failed(scene: Scene, feed: Feed, result: dg.ExecuteInProcessResult, outcome: str) -> None:
    """One step failed, once though a policy would have it retried, in the class of its outcome, as the ledger has it."""
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data
    assert said is not None
    assert said.metadata["outcome"].value == outcome == scene.last(feed).outcome
    assert said.metadata["failure class"].value == OUTCOME_CLASSES[outcome].value
    kinds = [event.event_type_value for event in result.all_events]
    assert "STEP_UP_FOR_RETRY" not in kinds and kinds.count("STEP_START") == 1
    run = scene.instance.get_run_by_id(result.run_id)
    assert run is not None and run.status is dg.DagsterRunStatus.FAILURE
