"""What the code keeps without being asked: small modules and functions, documented names, locks without addresses."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from local_stack.stack import PRELOADED

ROOT = Path(__file__).resolve().parents[3]
SOURCES = sorted(
    path
    for folder in ("libs", "services", "agent", "wso2", "scripts")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
MEMBERS = [
    ROOT / name
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["workspace"][
        "members"
    ]
]
LONGEST_MODULE, LONGEST_FUNCTION = 500, 40


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_modules_and_functions_stay_within_their_budgets(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [node.name for node in functions if _body_lines(node) > LONGEST_FUNCTION]

    assert len(text.splitlines()) <= LONGEST_MODULE
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_every_public_name_is_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # Nobody imports a script's names; its own docstring is what --help shows.
    if path.name == "main.py" or path.parent.name == "scripts" or not tree.body:
        return

    assert ast.get_docstring(tree), "the module says what it is for"
    assert [name for name, node in _public(tree) if not ast.get_docstring(node)] == []


def test_no_name_is_a_junk_room() -> None:
    junk = {"utils", "helpers", "manager", "common", "misc", "data"}

    assert [str(path) for path in SOURCES if junk & {path.stem, *path.relative_to(ROOT).parts}] == []


def test_locks_hold_hashes_and_no_address() -> None:
    locks = [*ROOT.glob("*.lock"), *(member / "requirements.lock" for member in MEMBERS)]
    for lock in filter(Path.exists, locks):
        lines = lock.read_text(encoding="utf-8").splitlines()

        assert not [line for line in lines if "://" in line or line.startswith(("-", "file:")) or " @ " in line]
        assert sum("==" in line and not line.startswith(" ") for line in lines) > 5
        assert all(re.match(r"\S+==\S+.* \\$| {4}--hash=sha256:[0-9a-f]{64}( \\)?$", line) for line in lines)


def test_the_example_environment_is_what_the_settings_say() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "env_example.py", "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout


def test_the_set_up_script_can_be_read_by_an_old_python() -> None:
    text = (ROOT / "scripts" / "dev.py").read_text(encoding="utf-8")

    ast.parse(text, feature_version=(3, 6))
    imported = re.findall(r"(?m)^(?:import|from) (\w+)", text)
    assert set(imported) <= sys.stdlib_module_names


@pytest.mark.parametrize("module", sorted((ROOT / "scripts" / "docker_stack").glob("*.py")), ids=lambda path: path.name)
def test_what_runs_docker_needs_nothing_but_an_old_python(module: Path) -> None:
    text = module.read_text(encoding="utf-8")

    ast.parse(text, feature_version=(3, 8))
    imported = set(re.findall(r"(?m)^\s*(?:import|from) (\w+)", text))
    assert imported <= {*sys.stdlib_module_names, "dev", "docker_stack"}


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    # A docstring explains; it is not what makes a function long.
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node.name, node


@pytest.mark.parametrize("member", MEMBERS, ids=names(MEMBERS))
def test_a_member_declares_what_it_imports(member: Path) -> None:
    project = tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    declared = {_normal(re.split(r"[\[<>=; ]", text)[0]) for text in texts}
    own = project["name"].replace("-", "_")
    imported = {name for path in (member / "src").rglob("*.py") for name in _imports(path)} - sys.stdlib_module_names
    of_module = _distributions_of_modules()

    undeclared = {
        name for name in imported - {own} if not {_normal(dist) for dist in of_module.get(name, [name])} & declared
    }
    assert undeclared == set()


@cache
def _distributions_of_modules() -> Mapping[str, list[str]]:
    return packages_distributions()


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("module", PRELOADED)
def test_what_the_stack_imports_by_name_exists(module: str) -> None:
    assert find_spec(module) is not None
