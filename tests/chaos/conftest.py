"""One agency and one home after its first day, from which every test of this folder starts with a copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.reader import State, see
from tests.chaos.scene import FEED, SET, Home, agency, write_declarations


@dataclass(frozen=True)
class Scene:
    """`first`, `second`: the agency's address on either day. `home`: day one done. `old`, `new`: what is seen after day one, and
    after a day two that nobody killed.
    """

    first: str
    second: str
    home: Home
    old: State
    new: State
    seconds: float

    def fresh(self, tmp_path: Path) -> Home:
        return self.home.copy(tmp_path / "home")


def make_scene(folder: Path, first: str, second: str) -> Scene:
    """Run day one, and in a copy day two."""
    home = Home(folder / "one", folder / "declared")
    home.finish(first)
    old = see(home.store, FEED, SET)
    control = home.copy(folder / "two")
    ended = control.finish(second)
    new = see(control.store, FEED, SET)
    assert old.table and old.release and old.table != new.table and old.release != new.release
    assert list(new.versions) == ["1.0.0", "2.0.0"]
    return Scene(first, second, home, old, new, ended.seconds)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("chaos")
    write_declarations(folder / "declared")
    with agency(folder / "declared", 0) as first, agency(folder / "declared", 1) as second:
        yield make_scene(folder, first, second)
