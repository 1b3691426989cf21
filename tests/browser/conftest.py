"""One demo home, one `madang up`, one Chromium for all browser tests; the pictures that they save."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.serving import Served, served
from tests.requirements import ROOT

PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1440, 900
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
PATIENCE_MS = 90_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`madang up` over a copy of a home that the demo filled: MADANG_DEMO_HOME where it is given."""
    given = os.environ.get("MADANG_DEMO_HOME")
    source = Path(given) if given else request.getfixturevalue("demo_home").path
    folder = tmp_path_factory.mktemp("browser")
    home = folder / "home"
    shutil.copytree(source, home)
    with served(home, folder / "up.log") as running:
        yield running


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    # Not for the session: Playwright's loop counts as running until it is closed, and no other test could start one.
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(chromium), args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def strangers() -> list[str]:
    """What a page asked for elsewhere than on loopback, and what its own policy refused."""
    return []


@pytest.fixture
def page(browser: Browser, strangers: list[str]) -> Iterator[Page]:
    """A page in a fresh context; a request to anywhere but 127.0.0.1 fails the test."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    context.on("request", lambda r: strangers.append(r.url) if not _ours(r.url) else None)
    context.on("console", lambda m: strangers.append(m.text) if "Content Security Policy" in m.text else None)
    yield context.new_page()
    context.close()
    assert not strangers


def _ours(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:"))


@pytest.fixture
def picture(page: Page, tmp_path: Path) -> Callable[..., Path]:
    """Save what the page shows; to docs/pictures too where MADANG_SAVE_PICTURES=1."""

    def save(name: str, shown: Page | None = None) -> Path:
        path = tmp_path / f"{name}.png"
        (shown or page).screenshot(path=path, animations="disabled", caret="hide")
        if os.environ.get("MADANG_SAVE_PICTURES") == "1":
            PICTURES.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, PICTURES / path.name)
        return path

    return save
