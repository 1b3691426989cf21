"""kill -9 of the main job at random moments: what a reader finds after each, and whether the next run finishes the work.

Fifty kills, spread over the measured length of a run; every one is checked as the tests in tests/chaos check theirs.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.benchmarks.measuring import BenchmarkFailed, say
from tests.benchmarks.tables import Cell, Table
from tests.chaos.conftest import make_scene
from tests.chaos.scene import agency, write_declarations
from tests.chaos.test_kills import kill_and_finish, random_moments

NAME = "kills"
KILLS, QUICK = 50, 3


def run(quick: bool) -> list[Table]:
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_declarations(folder / "declared")
        with agency(folder / "declared", 0) as first, agency(folder / "declared", 1) as second:
            scene = make_scene(folder, first, second)
            for number, moment in enumerate(random_moments(QUICK if quick else KILLS, scene.seconds), start=1):
                home = scene.home.copy(folder / f"home-{number}")
                try:
                    killed, seen = kill_and_finish(scene, home, moment)
                except AssertionError as error:
                    raise BenchmarkFailed(f"kill {number} at {moment:.3f} s: {error}") from error
                found = {scene.old.table: "old", scene.new.table: "new"}[seen.table]
                released = {scene.old.release: "old", scene.new.release: "new"}[seen.release]
                ended = "killed" if killed.code else "had ended"
                rows.append((number, round(moment, 3), ended, killed.last_step, found, released, "yes"))
                say(f"kill {number}: {moment:.3f} s, {killed.last_step}, table {found}, release {released}, finished")
                shutil.rmtree(home.path)
    columns = ("kill", "at s", "run", "last commit step", "table seen", "release seen", "finished by the next run")
    notes = (
        f"{sum(row[2] == 'killed' for row in rows)} of {len(rows)} runs were still alive; a run lasts {scene.seconds:.2f} s.",
        "Seen by a reader that imports nothing of Madang and checks every SHA-256: never a part.",
        "Finished: rows of table and release are those of a run that nobody killed.",
    )
    return [Table("kill -9 of fetch, table and release at random moments", columns, tuple(rows), notes)]
