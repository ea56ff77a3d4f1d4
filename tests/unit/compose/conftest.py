"""A `docker` on the PATH that says what a test wants, beside a copy of what `make up` runs."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local_stack.environment import find_free_ports

PORTS = (
    *("AGENT_PORT", "GATEWAY_MANAGEMENT_PORT", "GATEWAY_HTTPS_PORT", "GATEWAY_HTTP_PORT"),
    *("MQTT_TLS_PORT", "OCPP_TLS_PORT"),
)
ROOT = Path(__file__).resolve().parents[3]

FAKE = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path({folder!r})
said = " ".join(sys.argv[1:])
with (here / "calls").open("a") as calls:
    calls.write(said + "\\n")
(here / "profiles").write_text(os.environ.get("COMPOSE_PROFILES", ""))
for known in json.loads((here / "answers.json").read_text()):
    if known["to"] in said:
        sys.stdout.write(known["out"])
        sys.stderr.write(known["err"])
        sys.exit(known["code"])
"""


@dataclass
class Workplace:
    """A folder with the scripts, a PATH with nothing but the fake, and what it answers; the first that fits."""

    root: Path
    bin: Path
    environment: dict[str, str]
    answers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def says(self, to: str, out: str = "", *, err: str = "", code: int = 0) -> None:
        self.answers.insert(0, {"to": to, "out": out, "err": err, "code": code})

    def has_no_docker(self) -> None:
        (self.bin / "docker").unlink()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.bin / "answers.json").write_text(json.dumps(self.answers), encoding="utf-8")
        return subprocess.run(
            [sys.executable, self.root / "scripts" / "docker_stack", *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def profiles(self) -> str:
        """With which profiles docker was called last."""
        return (self.bin / "profiles").read_text(encoding="utf-8")

    @property
    def calls(self) -> list[str]:
        path = self.bin / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    @property
    def env(self) -> dict[str, str]:
        lines = (self.root / ".env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    folder, root = tmp_path / "bin", tmp_path / "checkout"
    folder.mkdir()
    shutil.copytree(ROOT / "scripts" / "docker_stack", root / "scripts" / "docker_stack")
    shutil.copy(ROOT / "scripts" / "dev.py", root / "scripts")
    shutil.copy(ROOT / ".env.example", root)
    fake = folder / "docker"
    fake.write_text(FAKE.format(python=sys.executable, folder=str(folder)), encoding="utf-8")
    fake.chmod(0o755)
    system = {name: os.environ[name] for name in ("LANG", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    made = Workplace(
        root, folder, {**system, "PATH": str(folder), **dict(zip(PORTS, map(str, find_free_ports()), strict=False))}
    )
    made.says("info", f"{8 << 30}\n")
    made.says("compose version", "2.40.3\n")
    # Unless a test wants more, nothing comes up, so that nobody waits.
    made.says("up --detach", err="not today", code=1)
    return made
