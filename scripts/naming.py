"""Checks the rules for names and the size of modules and functions, and prints the figures of each member.

A function, method or class is not named by a bare participle (`told`, `parsed`) and not by a word of its own language
where the field has a term; an exception ends in `Error`; a public class name exists once in a member. Modules and
functions are neither crumbs nor walls: medians and upper bounds hold for the tree as a whole.
"""

import argparse
import ast
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("libs", "services", "agent", "wso2", "scripts")

MODULE_MEDIAN_LINES = (130, 180)
MODULE_MAX_LINES = 500
FUNCTION_MEDIAN_LINES = (7, 14)
FUNCTION_P90_LINES = 35

_IRREGULAR_PARTICIPLES = """
begun bought bound broken brought built caught chosen done drawn driven fallen felt forgotten
found given gone heard held hidden kept known laid led left lent lost made meant met paid said
seen sent shown spent spoken stolen stood stuck taken thought thrown told understood won written
"""
IRREGULAR_PARTICIPLES = frozenset(_IRREGULAR_PARTICIPLES.split())
_NOT_PARTICIPLES = """
bed embed exceed feed need proceed red seed shed speed
"""
NOT_PARTICIPLES = frozenset(_NOT_PARTICIPLES.split())
"""Words that end in `ed` and are verbs or nouns of their own."""

_PRIVATE_WORDS = """
door doorman doors heard look looked obstacle said saw says seen told trouble
"""
PRIVATE_WORDS = frozenset(_PRIVATE_WORDS.split())
"""Words for which the field has terms: request, subscription, message, poll, error."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Figures:
    """What one member, or the whole tree, measures."""

    module_lines: list[int] = field(default_factory=list[int])
    """Lines of each module that has any code."""

    function_lines: list[int] = field(default_factory=list[int])
    """Lines of each function and method that does something, decorators and docstring included."""

    def extend(self, other: "Figures") -> None:
        """Add the measurements of another part of the tree."""
        self.module_lines += other.module_lines
        self.function_lines += other.function_lines

    def format(self) -> str:
        """Format the figures as one line."""
        lines, functions = self.module_lines or [0], self.function_lines or [0]
        return (
            f"{len(lines):4} modules, median {statistics.median(lines):5.0f} lines, longest {max(lines):4};"
            f" {len(functions):5} functions, median {statistics.median(functions):4.0f},"
            f" p90 {percentile(functions, 0.9):3}, longest {max(functions):3}"
        )


def percentile(values: list[int], share: float) -> int:
    """Return the smallest value that at least this share of the values does not exceed.

    >>> percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.9)
    9
    """
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)]


def is_bare_participle(name: str) -> bool:
    """Return whether a name consists of one past participle.

    >>> [name for name in ("told", "_parsed", "feed", "parsed_line", "parse", "Judged") if is_bare_participle(name)]
    ['told', '_parsed', 'Judged']
    """
    word = name.strip("_").lower()
    if "_" in word or not word or re.search("[a-z][A-Z]", name):
        return False
    return word in IRREGULAR_PARTICIPLES or (word.endswith("ed") and len(word) > 3 and word not in NOT_PARTICIPLES)


def find_name_problems(tree: ast.Module) -> Iterator[str]:
    """Yield what is wrong with the names that a module defines, one sentence each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            if any(re.search(r"(Error|Exception)(\[.*\])?$", base) for base in bases) and not node.name.endswith(
                "Error"
            ):
                yield f"line {node.lineno}: the exception {node.name} does not end in Error"
            elif is_bare_participle(node.name):
                yield f"line {node.lineno}: the class {node.name} is named by a bare participle; name it by a noun"
        elif isinstance(node, _Function) and not _is_property(node):
            if is_bare_participle(node.name):
                yield f"line {node.lineno}: the function {node.name} is named by a bare participle; name it by a verb"
            elif node.name.strip("_") in PRIVATE_WORDS:
                yield f"line {node.lineno}: the function {node.name} has a name for which the field has a term"


def find_repeated_classes(modules: dict[Path, ast.Module]) -> Iterator[str]:
    """Yield the public class names that more than one module of a member defines."""
    places: defaultdict[str, list[Path]] = defaultdict(list)
    for path, tree in modules.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path)
    for name, paths in sorted(places.items()):
        if len(paths) > 1:
            yield f"the class {name} is defined in {' and in '.join(str(path.relative_to(ROOT)) for path in paths)}"


def measure(modules: dict[Path, ast.Module]) -> Figures:
    """Measure the modules of one member; a module without any code but its docstring does not count."""
    figures = Figures()
    for path, tree in modules.items():
        if (len(tree.body) < 2 and ast.get_docstring(tree)) or not tree.body:
            continue
        figures.module_lines.append(len(path.read_text(encoding="utf-8").splitlines()))
        functions = [node for node in ast.walk(tree) if isinstance(node, _Function) and not is_stub(node)]
        figures.function_lines += [count_lines(function) for function in functions]
    return figures


def count_lines(function: _Function) -> int:
    """Count the lines of a function, its decorators and its docstring included."""
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return (function.end_lineno or function.lineno) - first + 1


def is_stub(function: _Function) -> bool:
    """Return whether a function declares a method of a protocol and does nothing."""
    last = function.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...


def find_size_problems(figures: Figures) -> Iterator[str]:
    """Yield the bounds that the tree as a whole does not keep."""
    checks = (
        ("median module", statistics.median(figures.module_lines), *MODULE_MEDIAN_LINES),
        ("longest module", max(figures.module_lines), 0, MODULE_MAX_LINES),
        ("median function", statistics.median(figures.function_lines), *FUNCTION_MEDIAN_LINES),
        ("function at the 90th percentile", percentile(figures.function_lines, 0.9), 0, FUNCTION_P90_LINES),
    )
    for what, value, least, most in checks:
        if not least <= value <= most:
            yield f"the {what} has {value:g} lines; the bounds are {least} to {most}"


def find_members() -> list[Path]:
    """Return the source folder of each member, and that of the scripts."""
    packages = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("src/*") if path.is_dir())
    return [path for path in packages if (path / "__init__.py").exists()] + [ROOT / "scripts"]


def read_modules(member: Path) -> dict[Path, ast.Module]:
    """Parse every module of a member."""
    paths = sorted(path for path in member.rglob("*.py") if "__pycache__" not in path.parts)
    if member.name == "scripts":
        paths = [path for path in paths if "src" not in path.parts]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def _is_property(function: _Function) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in function.decorator_list)


def main() -> int:
    """Check every member; the exit code is 1 when a rule is broken."""
    parser = argparse.ArgumentParser(prog="naming.py", description=__doc__)
    parser.add_argument("members", nargs="*", help="the members to check, such as charging_agent; all by default")
    chosen = parser.parse_args().members
    problems: list[str] = []
    whole = Figures()
    for member in find_members():
        if chosen and member.name not in chosen:
            continue
        modules = read_modules(member)
        for path, tree in modules.items():
            problems += [f"{path.relative_to(ROOT)}: {problem}" for problem in find_name_problems(tree)]
        problems += find_repeated_classes(modules)
        figures = measure(modules)
        whole.extend(figures)
        print(f"{member.name:20} {figures.format()}")
    print(f"{'all':20} {whole.format()}")
    problems += [] if chosen else find_size_problems(whole)
    print(*problems, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
