# SPDX-License-Identifier: Apache-2.0
"""Open pages in the system's Chromium without a window, and collect what it complains about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
REASON = "needs Chromium and Playwright: make browser"
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


class Opened:
    """A page, and everything that was written to its console."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.messages: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(60_000)
        page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())

    @property
    def outside(self) -> list[str]:
        """Addresses asked for, apart from the page itself and what it holds."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]


def chromium() -> Iterator[Any]:
    """The browser; skips the test where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    playwright = pytest.importorskip("playwright.sync_api", reason=REASON)
    if program is None:
        pytest.skip(REASON)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()
