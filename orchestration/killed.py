"""Runs whose process was killed: Dagster hears nothing of that, so the next run says it, and gives their places in pools back.

Without this a killed run is shown as running for ever, and what it held in a pool is waited for as long. Only for runs that
execute in one process; where every step has its own, Dagster's own monitoring sees the worker.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from assets.processes import is_alive, started_at

if TYPE_CHECKING:
    import dagster as dg

HOST, PID, STARTED = "madang/host", "madang/pid", "madang/started"


def sign(instance: dg.DagsterInstance, run_id: str) -> None:
    """Note on the run which process executes it."""
    pid = os.getpid()
    instance.add_run_tags(run_id, {HOST: socket.gethostname(), PID: str(pid), STARTED: started_at(pid)})


def bury(instance: dg.DagsterInstance) -> list[str]:
    """End, as failed, every run of this machine whose process is gone. Returns their ids."""
    import dagster as dg

    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    ours = dg.RunsFilter(statuses=unfinished, tags={HOST: socket.gethostname()})
    dead = [run for run in instance.get_runs(ours) if not is_alive(int(run.tags[PID]), run.tags[STARTED])]
    for run in dead:
        instance.report_run_failed(run, "The process of this run was killed. What it had not committed is done by the next run.")
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]
