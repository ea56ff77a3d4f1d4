"""The examples in docstrings give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(
    ".".join(path.relative_to(source).with_suffix("").parts)
    for source in (
        *ROOT.glob("libs/*/src"),
        *ROOT.glob("services/*/src"),
        ROOT / "agent" / "src",
        ROOT / "wso2" / "provisioning" / "src",
        ROOT / "scripts" / "local-stack" / "src",
    )
    for path in source.rglob("*.py")
    if "\n    >>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))

    assert results.attempted
    assert not results.failed
