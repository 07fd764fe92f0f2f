"""A Chromium for the tests that need one. Without it they are skipped; in CI they fail."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# Quiet: a browser of the tests calls nobody but the page that it was sent to.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 10_000  # milliseconds


def _missing(what: str) -> None:
    """A machine of a newcomer may lack it; ours may not."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and in CI the browser tests must run", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    if find_spec("playwright") is None:
        _missing("playwright is not installed: pip install playwright, without its browsers")
    from playwright.sync_api import sync_playwright

    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        _missing("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def context(browser: "Browser") -> Iterator["BrowserContext"]:
    """A visitor who was never here before."""
    found = browser.new_context(viewport={"width": 1100, "height": 760})
    found.set_default_timeout(PATIENCE)
    yield found
    found.close()


@pytest.fixture
def page(context: "BrowserContext") -> Iterator["Page"]:
    """A page of that visitor's. An error that no script of it caught fails the test."""
    found = context.new_page()
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    yield found
    assert errors == []
