"""The status page in a real browser."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="this machine has no Chromium: apt install chromium"),
]


def test_the_page_shows_the_last_decision_its_reason_and_its_readings(site: Any, tmp_path: Path) -> None:
    told = site.decide()

    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, which is who runs tests in a container.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        page = browser.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"{site.stack.plan.agent_url}/")
        text = page.inner_text("body")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        browser.close()

    assert f"{told['charging_power_kw']:g} kW" in text
    assert told["reason"] in text
    assert all(name in text for name in ("solar", "battery", "grid", "age_s"))
    # A favicon that is not there is the browser's own wish.
    assert [error for error in errors if "favicon" not in error and "404" not in error] == []
