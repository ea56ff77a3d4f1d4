"""The status page in a real browser."""

import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="this machine has no Chromium: apt install chromium"),
]


def list_decisions_since(site: Any, decision_id: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{site.stack.plan.agent_url}/decisions", timeout=8, trust_env=False)
    decisions: list[dict[str, Any]] = answer.json()["decisions"]
    identifiers = [decision["decision_id"] for decision in decisions]
    return decisions[: identifiers.index(decision_id) + 1]


def test_the_page_shows_the_last_decision_its_reason_and_its_readings(site: Any, tmp_path: Path) -> None:
    decided = site.decide()

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

    # The agent decides by itself too, so that the page may show a newer decision than the one asked for.
    assert any(
        decision["reason"] in text and f"{decision['charging_power_kw']:g} kW" in text
        for decision in list_decisions_since(site, decided["decision_id"])
    )
    assert all(name in text for name in ("solar", "battery", "grid", "age_s"))
    # A favicon that is not there is the browser's own wish.
    assert [error for error in errors if "favicon" not in error and "404" not in error] == []
