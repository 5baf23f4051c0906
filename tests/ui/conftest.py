"""Fixtures of the tests in a browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, async_playwright

from tests.ui.ui_platform import ARGS, CHROMIUM, Platform, Visit


@pytest.fixture
def platform(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """Parametrize indirectly with a token."""
    running = Platform(tmp_path / "data", getattr(request, "param", None))
    yield running
    running.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    assert shutil.which(CHROMIUM), "the tests of the page need Debian's chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, platform: Platform, request: pytest.FixtureRequest) -> AsyncIterator[Visit]:
    """A visitor; parametrize indirectly with options of the browser context. Nothing may leave the platform."""
    options = getattr(request, "param", {"viewport": {"width": 1280, "height": 900}})
    context = await browser.new_context(**options)
    context.set_default_timeout(10_000)
    visitor = Visit(await context.new_page(), platform)

    async def only_here(route: Route) -> None:
        await (
            route.continue_() if urlsplit(route.request.url).netloc == urlsplit(platform.url).netloc else route.abort()
        )

    await context.route("**/*", only_here)
    yield visitor
    await context.close()
    assert visitor.hosts == {urlsplit(platform.url).netloc}
    assert visitor.complaints == []
