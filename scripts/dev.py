"""Sets up `.venv` and hands a target over to it: what `make` does, for systems with and without make.

Standard library only, and written so that an old Python can still read it and say what to install.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST = (3, 11)
WANTED = ">=3.11"
IS_NEW_ENOUGH = "import sys; sys.exit(sys.version_info[:2] < (3, 11))"
NEWEST_FIRST = ("python3.14", "python3.13", "python3.12", "python3.11", "python3", "python")

HELP = """usage: make TARGET [ARGS="..."]      (without make: python scripts/dev.py TARGET ...)

  demo       play one June day of cars charging, show the controls, write a picture   (ARGS="--help" for more)
  simulate   replay recorded charging sessions under several policies: energy, bill, peak   (ARGS="--help" for more)
  run        the same stack at real speed, staying up, at http://localhost:8004/
  up         the stack in Docker with WSO2 API Manager; GATEWAY=local puts the local gateway in its place
  down       remove it; VOLUMES=1 removes its state too
  devices    the simulated devices alone: sun, battery, building, cars and chargers   (ARGS="--help" for more)
  kill       stop the agent at the gateway, of whatever runs here: REASON="sensor fault"; SCOPE=control only keeps it
             from setting limits on chargers; STACK=run or STACK=compose where both run and one is meant
  revive     let it go on: REASON="sensor replaced"
  operate    see the chargers, and order above the agent: ARGS="chargers", ARGS="stop --minutes 30" REASON="fire alarm
             test"   (ARGS="--help" for more)
  prove      attack the running stack, or one of its own, and show that every control holds
  assistant  say how a person's own assistant is connected
  tools-approve  show how the MCP servers' tools differ from those approved, and approve them
  verify-wso2  check on the running stack what only the real WSO2 can show
  test       the tests that need no Docker, no broker, no browser and no minutes
  test-long  the others; what cannot run here is skipped with its reason
  test-all   both, and how much of the code the first ones cover
  check      format, lint, types, import rules, locks, definitions, secrets, spelling
  bench      measure speed as ratios side by side in one run
  install    .venv with every member and every tool, for work on the code
  lock       compile the locks anew
  clean      remove .venv, .state, out and caches

Each target sets up what it needs by itself. It uses uv where that is installed, else Python 3.11 or newer.
"""

PYTEST = ["-m", "pytest", "-q"]
SHORT = "not docker and not broker and not browser and not slow"
# A file's tests share what they start, so they stay in one process.
TEST = [*PYTEST, "-n", "auto", "--dist", "loadfile", "-m", SHORT]
# Files in the order of their names, so that the longest are not the last ones.
TEST_LONG = [*TEST[:-1], f"not docker and not ({SHORT})", "--no-loadscope-reorder", "--durations=25"]
# What starts many containers has the machine for itself.
TEST_CONTAINERS = [*PYTEST, "--durations=10", "-m", "docker"]
TARGETS: typing.Dict[str, typing.Tuple[str, typing.List[typing.List[str]]]] = {
    "install": ("requirements.lock", []),
    "demo": ("requirements-run.lock", [["-m", "local_stack", "demo"]]),
    "simulate": ("requirements-run.lock", [["-m", "charging_agent.simulation"]]),
    "run": ("requirements-run.lock", [["-m", "local_stack", "run"]]),
    "devices": ("requirements-run.lock", [["-m", "site_twin"]]),
    "prove": ("requirements-run.lock", [["-m", "tests.attacks"]]),
    "assistant": ("requirements-run.lock", [["scripts/assistant.py"]]),
    "tools-approve": ("requirements-run.lock", [["scripts/tools_approve.py"]]),
    "test": ("requirements.lock", [TEST]),
    "test-long": ("requirements.lock", [TEST_LONG, TEST_CONTAINERS]),
    "test-all": ("requirements.lock", [[*TEST, "--cov"], TEST_LONG, TEST_CONTAINERS]),
    "check": ("requirements.lock", [["scripts/check.py"]]),
    "bench": ("requirements.lock", [["tests/bench/run.py"]]),
    "lock": ("requirements.lock", [["scripts/lock.py"]]),
}


WITHOUT_VENV = ("up", "down", "verify-wso2", "kill", "revive", "operate")
"""Targets that install nothing: they need Docker, or act on a stack that runs."""


def main(arguments: typing.List[str]) -> int:
    target = arguments[0] if arguments else "help"
    if target in WITHOUT_VENV:
        hand_over([sys.executable, "scripts/docker_stack", *arguments], is_last=True)
        return 0
    if target == "clean":
        return clean()
    if target not in TARGETS:
        print(HELP)
        return 0 if target in ("help", "-h", "--help") else 2
    lock, commands = TARGETS[target]
    ensure(lock)
    if target == "install":
        print(f"{VENV} holds every member; the agent alone: cd agent && ../.venv/bin/uvicorn main:app --port 8004")
    for position, command in enumerate(commands):
        given = arguments[1:] if position == 0 else []
        hand_over([venv_python(), *command, *given], is_last=position == len(commands) - 1)
    return 0


def ensure(lock: str) -> None:
    """Make `.venv` hold what `lock` names, and the members; quick when it does already."""
    members = member_folders()
    if any(stamp_of(name, members) == read(stamp_path(name)) for name in {lock, "requirements.lock"}):
        return
    uv = shutil.which("uv")
    if not is_usable_venv():
        make_venv(uv)
    print(f"installing {count_packages(lock)} packages from {lock} ...", flush=True)
    install = (
        [uv, "pip", "install", "--python", venv_python(), "--quiet"]
        if uv
        else [venv_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    )
    run([*install, "--require-hashes", "-r", str(ROOT / lock)])
    editable = [part for member in members for part in ("-e", str(member))]
    run([*install, "--no-deps", "--no-build-isolation", "--no-index", *editable])
    stamp_path(lock).write_text(stamp_of(lock, members), encoding="utf-8")


def make_venv(uv: typing.Optional[str]) -> None:
    if uv:
        run([uv, "venv", "--quiet", "--clear", "--python", WANTED, str(VENV)])
        return
    python = new_enough_python()
    if python is None:
        stop(f"Python 3.11 or newer is needed and this is {sys.version.split()[0]}: {advice()}")
    if subprocess.call([python, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) != 0:
        stop("This Python lacks venv: install it with `sudo apt install python3-venv`, or install uv, then try again.")
    run([python, "-m", "venv", "--clear", str(VENV)])


def new_enough_python() -> typing.Optional[str]:
    if sys.version_info[:2] >= OLDEST:
        return sys.executable
    found = (shutil.which(name) for name in NEWEST_FIRST)
    return next((path for path in found if path and subprocess.call([path, "-c", IS_NEW_ENOUGH]) == 0), None)


def advice() -> str:
    if os.name == "nt":
        return "install it with `winget install Python.Python.3.13`, then try again."
    if sys.platform == "darwin":
        return "install it with `brew install python@3.13`, then try again."
    return "install it with `sudo apt install python3.11 python3.11-venv` or your system's like, or install uv."


def is_usable_venv() -> bool:
    return Path(venv_python()).exists() and subprocess.call([venv_python(), "-c", IS_NEW_ENOUGH]) == 0


def venv_python() -> str:
    return str(VENV / "Scripts" / "python.exe" if os.name == "nt" else VENV / "bin" / "python")


def member_folders() -> typing.List[Path]:
    """The workspace's members, as the root pyproject.toml lists them."""
    listed = re.search(r"members = \[(.*?)\]", read(ROOT / "pyproject.toml"), re.S)
    assert listed is not None
    return [ROOT / name for name in re.findall(r'"([^"]+)"', listed.group(1))]


def stamp_path(lock: str) -> Path:
    return VENV / ("installed-" + lock)


def stamp_of(lock: str, members: typing.List[Path]) -> str:
    files = [ROOT / lock, *(member / "pyproject.toml" for member in members)]
    # The folder belongs in it: a checkout that was moved has editable members that point nowhere.
    return hashlib.sha256("\0".join([str(ROOT), *map(read, files)]).encode()).hexdigest()


def count_packages(lock: str) -> int:
    return len(re.findall(r"^\S+==", read(ROOT / lock), re.M))


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def run(command: typing.List[str]) -> None:
    if subprocess.call(command, cwd=str(ROOT)) != 0:
        stop("Setting up failed at: " + " ".join(command[:4]) + " ...")


def hand_over(command: typing.List[str], is_last: bool) -> None:
    """Become the command, so that Ctrl-C and the exit code are its own."""
    if is_last and os.name != "nt":
        os.chdir(str(ROOT))
        os.execv(command[0], command)
    code = subprocess.call(command, cwd=str(ROOT))
    if code != 0:
        sys.exit(code)


def clean() -> int:
    for name in (".venv", ".state", "out", ".pytest_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache"):
        shutil.rmtree(str(ROOT / name), ignore_errors=True)
    return 0


def stop(sentence: str) -> typing.NoReturn:
    sys.exit(sentence)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
