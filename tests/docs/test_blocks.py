"""Every command and program that the documentation shows is typed, in order, and prints what the page says it prints."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks
from tests.docs.running import differs, is_run, type_page
from tests.main_job.homes import MadangHome, environment
from tests.requirements import require

TYPED = [page for page in PAGES if any(is_run(block) for block in blocks(page))]


@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_reader_can_type_the_page(page: Path, demo_home: MadangHome, tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    demo_home.copy(folder / ".madang")
    env = environment(MADANG_HOME=str(folder / ".madang"), HF_HOME=str(folder / ".hf"), HF_HUB_OFFLINE="1")
    env |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
    needs = {block.argument for block in blocks(page) if block.directive == "needs"}
    missing = frozenset(key for key in needs if importlib.util.find_spec(key) is None)
    printed = type_page(blocks(page), folder, env, missing)
    last: int | None = None
    for block in blocks(page):
        if block.language == "text" and last is not None and not block.directive:
            assert not (why := differs(block.text, printed[last], folder)), f"{block.name}: {why}"
        last = block.line if block.line in printed else None
    # All other blocks have run by now; what the machine lacks is named, or fails where everything must run.
    for key in missing:
        require(key)


def test_the_readme_shows_what_the_demo_prints(demo_home: MadangHome) -> None:
    (block,) = (b for b in blocks(ROOT / "README.md") if b.directive == "output of")
    shown = [line.split() for line in block.text.splitlines()]
    report = demo_home.report(0)
    feeds = [
        [line["id"], line["protocol"], line["outcome"], *(f"{line[what]:,}" for what in ("read", "accepted", "quarantined"))]
        for line in report["feeds"]
    ]
    sets = [
        [name, version, *(f"{rows[split]:,}" for split in ("train", "validation", "test")), f".madang/store/sets/{name}/v{version}"]
        for name, version, rows, _ in (line.values() for line in report["sets"])
    ]
    assert shown[1 : 1 + len(feeds)] == feeds
    assert shown[3 + len(feeds) : 3 + len(feeds) + len(sets)] == sets
