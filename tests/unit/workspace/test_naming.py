"""The rules for names and sizes find what they are to find; `make check` holds the tree to them."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("naming", ROOT / "scripts" / "naming.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["naming"] = module
    spec.loader.exec_module(module)
    return module


naming = load()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("def told() -> None: ...", "the function told is named by a bare participle"),
        ("class A:\n    async def _parsed(self) -> None: ...", "the function _parsed is named by a bare participle"),
        ("class Judged: ...", "the class Judged is named by a bare participle"),
        ("class Refused(Exception): ...", "the exception Refused does not end in Error"),
        ("class Lost(ValueError): ...", "the exception Lost does not end in Error"),
        ("def trouble() -> None: ...", "the function trouble has a name for which the field has a term"),
    ],
)
def test_a_name_that_breaks_a_rule_is_found(code: str, problem: str) -> None:
    (found,) = naming.find_name_problems(ast.parse(code))

    assert problem in found


@pytest.mark.parametrize(
    "code",
    [
        "def feed() -> None: ...",
        "def parse_line() -> None: ...",
        "class StoredTool: ...",
        "class LostError(Exception): ...",
        "class A:\n    @property\n    def bounded(self) -> bool: ...",
    ],
)
def test_a_name_that_keeps_the_rules_is_not(code: str) -> None:
    assert list(naming.find_name_problems(ast.parse(code))) == []


def test_a_public_class_is_defined_once_in_a_member() -> None:
    modules = {ROOT / name: ast.parse("class Outcome: ...\nclass _Private: ...") for name in ("a.py", "b.py")}

    assert list(naming.find_repeated_classes(modules)) == ["the class Outcome is defined in a.py and in b.py"]


def test_sizes_count_what_a_function_does_and_leave_out_what_a_protocol_declares(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    lines = [
        '"""A module."""',
        "@staticmethod",
        "def count() -> int:",
        '    """Count."""',
        "    return 1",
        "def declare() -> int: ...",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")

    figures = naming.measure({path: ast.parse(path.read_text(encoding="utf-8"))})

    assert figures.module_lines == [6]
    assert figures.function_lines == [4]
    assert "1 modules, median     6 lines" in figures.format()


def test_bounds_that_are_not_kept_are_said() -> None:
    figures = naming.Figures(module_lines=[20, 600], function_lines=[3] * 9 + [50])

    assert [problem.split(" has ")[0] for problem in naming.find_size_problems(figures)] == [
        "the median module",
        "the longest module",
        "the median function",
    ]
