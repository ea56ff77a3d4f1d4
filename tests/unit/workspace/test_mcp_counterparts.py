"""The official MCP clients for Node: a lock without addresses, and a reason for each scenario that may fail."""

import json
import re
from pathlib import Path
from typing import Any, cast

import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "integration" / "mcp" / "node"
EXPECTED_FAILURES = FOLDER / "expected-failures.yml"


def test_the_lock_holds_a_hash_of_every_package_and_no_address_of_any() -> None:
    lock = cast("dict[str, Any]", json.loads((FOLDER / "package-lock.json").read_text(encoding="utf-8")))
    packages = {name: entry for name, entry in lock["packages"].items() if name}

    assert len(packages) > 100
    assert [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []
    # Whom a package would like to be paid by is no place that it comes from.
    told = json.dumps([{key: value for key, value in entry.items() if key != "funding"} for entry in packages.values()])
    assert "://" not in told
    assert "resolved" not in told


def test_every_tool_is_asked_for_in_one_version() -> None:
    asked = cast("dict[str, Any]", json.loads((FOLDER / "package.json").read_text(encoding="utf-8")))["dependencies"]

    assert [version for version in asked.values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []


def test_every_scenario_that_may_fail_has_its_reason_and_stands_on_the_page() -> None:
    text = EXPECTED_FAILURES.read_text(encoding="utf-8")
    expected = cast("dict[str, list[str]]", yaml.safe_load(text))["server"]
    reasons = re.findall(r"(?m)^  - (\S+)  # \S.{10,}$", text)
    page = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    table = page[page.index("| why | scenarios |") :].split("\n\n")[0]

    assert reasons == expected
    assert sorted(re.findall(r"`([a-z0-9-]+)`", table)) == sorted(expected)
