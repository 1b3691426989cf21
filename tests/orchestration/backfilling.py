"""A backfill as the UI starts one, worked off in this process by Dagster's own daemon and runs. No test stands here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration

from orchestration.settings import ROOT

INSTANCE: dict[str, Any] = {
    "run_launcher": {"module": __name__, "class": "HereLauncher"},
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
}
"""Overrides of an instance whose runs execute here, one after the other, as soon as somebody launches them."""
ENDED = (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.FAILED)


class HereLauncher(SyncInMemoryRunLauncher):
    """Executes a run in a thread of its own, because the daemon's has an event loop that runs, and waits for it."""

    def launch_run(self, context: Any) -> None:
        thread = threading.Thread(target=super().launch_run, args=(context,))
        thread.start()
        thread.join()


def backfill(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], partitions: Sequence[str]) -> BulkActionStatus:
    """Start a backfill of these partitions over the definitions that the environment names, and see it through."""
    target = ModuleTarget("orchestration.definitions", attribute=None, working_directory=str(ROOT), location_name="madang")
    with create_test_daemon_workspace_context(target, instance=instance) as workspace:
        asked = PartitionBackfill.from_asset_partitions(
            asset_graph=workspace.create_request_context().asset_graph,
            backfill_id="backfill",
            tags={},
            backfill_timestamp=time.time(),
            asset_selection=list(keys),
            partition_names=list(partitions),
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(asked)
        for _ in range(20):
            list(execute_backfill_iteration(workspace, logging.getLogger("backfill")))
            now = instance.get_backfill("backfill")
            assert now is not None
            if now.status in ENDED:
                return now.status
    raise AssertionError("the backfill does not end")
