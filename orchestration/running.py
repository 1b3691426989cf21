"""Running Dagster from our own commands: its home, its instance, and jobs executed in this process.

A run started here is a run like any other: `madang up` shows it, with its checks and its metadata.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.errors import MadangError, did_you_mean
from assets.yaml_document import InvalidDeclaration, Problem
from orchestration.settings import ROOT, Settings

if TYPE_CHECKING:
    import dagster as dg

    from assets.feeds.model import Feed

INSTANCE_FILE = ROOT / "deploy" / "dagster.yaml"


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's own state below Madang's home, with its configuration in place."""
    settings.make_home()
    home = settings.home / "dagster"
    home.mkdir(exist_ok=True)
    target = home / "dagster.yaml"
    text = INSTANCE_FILE.read_text(encoding="utf-8")
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
    return home


@contextmanager
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of this home: DAGSTER_HOME where it is set, else the home's own."""
    import dagster as dg

    folder = os.environ.get("DAGSTER_HOME") or str(dagster_home(settings))
    with dg.DagsterInstance.from_config(folder) as opened:
        yield opened


@dataclass(frozen=True)
class RunResult:
    """What became of one run. `error`: the sentence of the first failure. `changed`: asset keys that were materialized."""

    run_id: str
    success: bool
    error: str = ""
    changed: frozenset[tuple[str, ...]] = frozenset()
    metadata: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    failure: dict[str, Any] = field(default_factory=dict)


def run_job(
    definitions: dg.Definitions,
    name: str,
    opened: dg.DagsterInstance,
    *,
    selection: Iterable[Any] | None = None,
    partition: str | None = None,
) -> RunResult:
    """Execute a job (for one partition) in this process and wait. Failures are returned, not raised.

    Where it failed, `failure` is what the failed step says of that: class, outcome, failed checks.
    """
    job = definitions.resolve_job_def(name)
    # The run's own log keeps everything; the terminal is for what the command says, and dbt would print on it.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed, contextlib.redirect_stdout(printed):
        result = job.execute_in_process(
            instance=opened,
            raise_on_error=False,
            asset_selection=list(selection) if selection else None,
            partition_key=partition,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    metadata: dict[tuple[str, ...], dict[str, Any]] = {}
    changed = set()
    for event in result.all_events:
        if event.is_asset_observation or event.event_type_value == "ASSET_MATERIALIZATION":
            data: Any = event.event_specific_data
            body = data.asset_observation if event.is_asset_observation else data.materialization
            key = tuple(body.asset_key.path)
            metadata[key] = {label: getattr(value, "value", value) for label, value in body.metadata.items()}
            if not event.is_asset_observation:
                changed.add(key)
    error, said = _first_error(result)
    return RunResult(result.run_id, result.success, error, frozenset(changed), metadata, said)


def _first_error(result: Any) -> tuple[str, dict[str, Any]]:
    """The sentence of the first failure, and its metadata."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data is not None and failure.user_failure_data.description:
                said = {label: value.value for label, value in failure.user_failure_data.metadata.items()}
                return str(failure.user_failure_data.description), said
            return str(failure.error.cause.message if failure.error.cause else failure.error.message).strip(), {}
    return "" if result.success else _before_the_first_step(result.all_events), {}


def _before_the_first_step(events: Iterable[Any]) -> str:
    """Why no step began: what the run is made of (settings, store, ledger) could not be opened."""
    for event in events:
        if event.event_type_value == "RESOURCE_INIT_FAILURE":
            said = str(event.event_specific_data.error.message).strip()
            # Dagster keeps an error as text, with its class in front of it; the sentence is what a person needs.
            return re.sub(r"^assets\.errors\.\w+: ", "", said)
    return "the run failed; its log in the Dagster UI says why"


def find_feed(feeds: Mapping[str, Feed], id_: str, problems: Sequence[Problem] = ()) -> Feed:
    """The feed of that id; else an error with what is wrong in its own declaration, or with the nearest id.

    `problems`: what kept feeds from loading. A feed's folder has its id for a name.
    """
    if id_ in feeds:
        return feeds[id_]
    own = [problem for problem in problems if Path(problem.file).parent.name == id_]
    if own:
        raise InvalidDeclaration(own)
    raise MadangError(f"there is no feed {id_}", mend=did_you_mean(id_, feeds, "madang feed list shows all"))
