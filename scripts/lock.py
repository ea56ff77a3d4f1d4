"""Compile the locks: every version with its hashes, and no address of any index.

`requirements.lock` holds everything; the others hold what one purpose needs, at the same versions: running the stack as
processes, building our packages, and each container image what its member needs and nothing else.
`--check` changes nothing and exits 1 when a lock is not current or holds an address.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
EVERYTHING = "requirements.lock"
RUN = "requirements-run.lock"
BUILD = "requirements-build.lock"
IMAGES = (
    "services/solar",
    "services/battery",
    "services/grid",
    "services/chargers",
    "services/site-twin",
    "services/local-gateway",
    "agent",
    "wso2/provisioning",
)
"""Members that have a container image."""


def main() -> int:
    """Compile or check every lock."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="change nothing; exit 1 when a lock is not current")
    is_check = arguments.parse_args().check
    stale = [name for name, sources in _sources().items() if not _lock(name, sources, is_check)]
    for name in stale:
        print(f"{name} is not current: run `make lock` and commit what it writes")
    return 1 if stale else 0


def _sources() -> dict[str, list[str]]:
    members = [f"{member}/pyproject.toml" for member in _workspace()["members"]]
    return {
        EVERYTHING: [*members, "--all-extras", "--group", "dev"],
        RUN: [*members, "--all-extras", "--group", "build", "--constraint", EVERYTHING],
        BUILD: ["--group", "build", "--constraint", EVERYTHING],
        **{
            f"{member}/requirements.lock": [f"{member}/pyproject.toml", "--constraint", EVERYTHING] for member in IMAGES
        },
    }


def _lock(name: str, sources: list[str], is_check: bool) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / Path(name).name
        present = ROOT / name
        # uv keeps the versions it finds in its output file, so a lock changes only where it must.
        if present.exists():
            draft.write_bytes(present.read_bytes())
        _compile(sources, draft)
        text = draft.read_text(encoding="utf-8")
    if address := re.search(r"(?m)^(-|.*(://|file:|@ )).*$", text):
        sys.exit(f"{name} would hold an address or option: {address.group(0)}")
    if is_check:
        return present.exists() and present.read_text(encoding="utf-8") == text
    present.write_text(text, encoding="utf-8", newline="\n")
    return True


def _compile(sources: list[str], output: Path) -> None:
    ours = [part for name in _member_names() for part in ("--no-emit-package", name)]
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    # pip holds a package by hash only under the very extras with which another one asks for it.
    extras = ["--no-strip-extras"]
    shape = ["--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    subprocess.run([*command, *extras, *shape, *ours, *sources, "--output-file", str(output)], cwd=ROOT, check=True)


def _workspace() -> dict[str, Any]:
    return cast(dict[str, Any], _toml(ROOT / "pyproject.toml")["tool"]["uv"]["workspace"])


def _member_names() -> list[str]:
    return [_toml(ROOT / member / "pyproject.toml")["project"]["name"] for member in _workspace()["members"]]


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
