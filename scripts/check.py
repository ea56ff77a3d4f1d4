"""Runs every check that is not a test, one after the other. The exit code is 1 when one failed."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

CHECKS: dict[str, list[str]] = {
    "format": [f"{BIN}/ruff", "format", "--check", "."],
    "lint": [f"{BIN}/ruff", "check", "."],
    "types": [f"{BIN}/pyright", "--warnings"],
    "import rules": [f"{BIN}/lint-imports", "--no-cache"],
    "names and sizes": [sys.executable, "scripts/naming.py"],
    "locks": [sys.executable, "scripts/lock.py", "--check"],
    "definitions": [sys.executable, "scripts/definitions.py", "--check"],
    "tool pins": [sys.executable, "scripts/tools_approve.py", "--check"],
    "spelling": [f"{BIN}/codespell"],
    "yaml": [f"{BIN}/yamllint", "--strict", "wso2", "compose.yaml", ".github", ".pre-commit-config.yaml"],
    "compose file": [f"{BIN}/check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    "workflow": [f"{BIN}/check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yaml"],
    "images": [f"{BIN}/hadolint", "Dockerfile"],
    "secrets": [f"{BIN}/gitleaks", "git", "--no-banner", "--log-level", "error", "."],
}


def main() -> int:
    """Run the checks; print one line each and the output of those that failed."""
    parser = argparse.ArgumentParser(prog="make check", description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"all by default; one of: {', '.join(CHECKS)}")
    chosen = parser.parse_args().checks or list(CHECKS)
    if unknown := sorted(set(chosen) - set(CHECKS)):
        parser.error(f"no such check: {', '.join(unknown)}; there are: {', '.join(CHECKS)}")
    failed = 0
    for name in chosen:
        command = CHECKS[name]
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        verdict = "ok    " if done.returncode == 0 else "FAILED"
        print(f"{verdict} {name} ({time.monotonic() - started:.1f} s)", flush=True)
        if done.returncode != 0:
            failed += 1
            print(done.stdout + done.stderr)
    print(f"{len(chosen) - failed} of {len(chosen)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
