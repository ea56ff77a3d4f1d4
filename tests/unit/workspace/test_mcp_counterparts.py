"""The official MCP clients for Node: a reason for each scenario that may fail."""

import re
from pathlib import Path
from typing import cast

import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "integration" / "mcp_clients" / "node"
EXPECTED_FAILURES = FOLDER / "expected-failures.yml"


def test_every_scenario_that_may_fail_has_its_reason_and_the_page_says_how_many() -> None:
    text = EXPECTED_FAILURES.read_text(encoding="utf-8")
    expected = cast("dict[str, list[str]]", yaml.safe_load(text))["server"]
    reasons = re.findall(r"(?m)^  - (\S+)  # \S.{10,}$", text)

    assert reasons == expected
    assert f"each of the {len(expected)};" in (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
