"""The workflow for GitHub: runs what it must when it must, trusts nobody's actions, and its commands exist."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
NIGHTLY = "github.event_name == 'schedule'"
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")

every_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=[path.name for path in WORKFLOWS])


def jobs_of(workflow: Path) -> dict[str, Any]:
    return yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]


def commands_of(job: dict[str, Any]) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


@every_workflow
def test_no_action_is_used_that_is_not_pinned_to_a_commit(workflow: Path) -> None:
    used = [step["uses"] for job in jobs_of(workflow).values() for step in job["steps"] if "uses" in step]

    assert [name for name in used if not name.startswith("./") and not PINNED.fullmatch(name)] == []


@every_workflow
def test_a_workflow_may_only_read_and_every_job_ends(workflow: Path) -> None:
    whole = yaml.safe_load(workflow.read_text(encoding="utf-8"))

    assert whole["permissions"] == {"contents": "read"}
    assert [name for name, job in whole["jobs"].items() if job.get("timeout-minutes", 360) > 60] == []


@every_workflow
def test_no_command_is_put_together_from_what_a_stranger_wrote(workflow: Path) -> None:
    # A branch or title could hold a command; variables of the runner cannot.
    assert [name for name, job in jobs_of(workflow).items() if "${{" in commands_of(job)] == []


@every_workflow
def test_every_command_is_one_that_a_shell_can_read(workflow: Path) -> None:
    whole = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    commands = [*map(commands_of, whole["jobs"].values()), *whole.get("env", {}).values()]

    for command in commands:
        done = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@every_workflow
def test_every_make_target_and_file_exists(workflow: Path) -> None:
    targets = re.search(r"(?m)^TARGETS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert targets is not None

    for job in jobs_of(workflow).values():
        called = set(re.findall(r"(?m)^\s*make ([a-z-]+)", commands_of(job)))
        files = re.findall(r"\b(?:tests|scripts)/[\w./-]+", commands_of(job))

        assert called <= set(targets.group(1).split())
        assert [name for name in files if not (ROOT / name).exists()] == []


def test_every_push_is_tested_with_the_local_gateway_and_every_night_wso2_itself() -> None:
    whole = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text(encoding="utf-8"))
    jobs = whole["jobs"]

    assert {"push", "pull_request", "schedule"} <= whole["on"].keys()
    assert "make test" in commands_of(jobs["test"])
    assert "make up GATEWAY=local" in commands_of(jobs["smoke"])
    assert NIGHTLY.replace("==", "!=") == jobs["test"]["if"] == jobs["smoke"]["if"]
    assert "-m wso2" in commands_of(jobs["wso2"])
    assert NIGHTLY in jobs["wso2"]["if"]


def test_the_checkout_fetches_one_commit_and_keeps_no_token(tmp_path: Path) -> None:
    checkout = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text(encoding="utf-8"))["env"]["CHECKOUT"]
    origin, clone = tmp_path / "server" / "owner" / "name", tmp_path / "clone"
    origin.mkdir(parents=True)
    clone.mkdir()
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    git(origin, "init", "--quiet")
    (origin / "README.md").write_text("first\n")
    git(origin, "add", ".")
    git(origin, *identity, "commit", "--quiet", "-m", "first")
    commit = git(origin, "rev-parse", "HEAD")

    runner = {"GITHUB_SERVER_URL": f"file://{tmp_path}/server", "GITHUB_REPOSITORY": "owner/name"}
    subprocess.run(
        ["bash", "-euc", checkout],
        cwd=clone,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "TOKEN": "not-a-token", "GITHUB_SHA": commit, **runner},
        check=True,
        capture_output=True,
    )

    assert (clone / "README.md").read_text() == "first\n"
    assert git(clone, "rev-parse", "HEAD") == commit
    assert "not-a-token" not in (clone / ".git" / "config").read_text()


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()
