"""Real tables for dbt: the agencies' files as the feeds' contracts type them, and one dbt build of the whole project over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dbt.project import FILES, Build, make_tables, run_dbt


@pytest.fixture(scope="session")
def live_tables(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Relation → its live file. The folder's name holds what paths hold in the field: Korean, blanks, quotes, braces."""
    folder = tmp_path_factory.mktemp("tables") / "기관 {표} it's"
    return make_tables({feed: shared_data / name for feed, name in FILES.items()}, folder)


@pytest.fixture(scope="session")
def built(live_tables: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The whole project, built and tested once over the real tables."""
    home = tmp_path_factory.mktemp("dbt")
    return run_dbt(["build"], home=home, live=live_tables, models_dir=home / "모형's {landed}")
