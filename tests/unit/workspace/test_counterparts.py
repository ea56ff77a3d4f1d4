"""What tests have from npm and Maven: one version of each, pinned by hashes, and no address of any."""

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest

ROOT = Path(__file__).resolve().parents[3]
# What tools and runs leave behind begins with a dot or lies in node_modules.
LOCKS = [
    path
    for path in sorted((ROOT / "tests").rglob("package-lock.json"))
    if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts)
]
JARS = ROOT / "tests" / "integration" / "chargers" / "counterparts" / "java"

every_lock = pytest.mark.parametrize("path", LOCKS, ids=[str(path.parent.relative_to(ROOT)) for path in LOCKS])


@every_lock
def test_the_lock_holds_a_hash_of_every_package_and_no_address_of_any(path: Path) -> None:
    lock = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    packages = {name: entry for name, entry in lock["packages"].items() if name}

    assert len(packages) > 10
    assert [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []
    # Whom a package would like to be paid by is no place that it comes from.
    told = json.dumps([{key: value for key, value in entry.items() if key != "funding"} for entry in packages.values()])
    assert "://" not in told
    assert "resolved" not in told


@every_lock
def test_every_tool_is_asked_for_in_one_version(path: Path) -> None:
    asked = cast("dict[str, Any]", json.loads(path.with_name("package.json").read_text(encoding="utf-8")))

    assert [version for version in asked["dependencies"].values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []


def test_every_archive_of_java_is_pinned_and_the_one_that_is_asked_for_among_them() -> None:
    lines = (JARS / "jars.sha256").read_text(encoding="utf-8").splitlines()
    pom = (JARS / "pom.xml").read_text(encoding="utf-8")
    asked = re.findall(r"<dependency>\s*.*\s*<artifactId>(.+)</artifactId>\s*<version>(.+)</version>", pom)

    assert [line for line in lines if not re.fullmatch(r"[0-9a-f]{64}  [\w.-]+\.jar", line)] == []
    assert {f"{name}-{version}.jar" for name, version in asked} < {line.split()[1] for line in lines}
    assert asked
