"""What the documents say holds: links lead somewhere, and what they name is there."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    # What tools and runs leave behind begins with a dot or lies in out.
    if not any(part.startswith(".") or part == "out" for part in path.relative_to(ROOT).parts)
)

PREFIXES = ("SOLAR", "BATTERY", "GRID", "AGENT", "SITE", "SIM", "WSO2", "LOCAL_GATEWAY", "GATEWAY", "EVAPP")
ROOMS = ("libs", "services", "agent", "wso2", "scripts", "tests", "docs", ".ci")
DIAGRAMS = ("flowchart", "sequenceDiagram", "stateDiagram-v2", "classDiagram", "erDiagram", "timeline", "xychart-beta")

FENCE = re.compile(r"^ *(`{3,}|~{3,})[ \t]*(\w*)[^\n]*\n(.*?)^ *\1[ \t]*$", re.M | re.S)
SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.M)
VARIABLE = re.compile(rf"\b(?:{'|'.join(PREFIXES)})_[A-Z0-9_]*[A-Z0-9]\b(?!_)")
# An image of WSO2 is named like a folder of ours.
PATH = re.compile(rf"(?<![\w./-])(?!wso2/wso2am)(?:{'|'.join(map(re.escape, ROOMS))})/[\w./*-]*")
MAKE = re.compile(r"^(?:[A-Z_]+=\S+ )*make ([a-z][a-z0-9-]*)", re.M)
MACHINE_PATH = re.compile(r"(?<![\w.}:/-])/(?:home|Users|root|tmp|opt|mnt|work|srv)/|\b[A-Z]:\\|file://")

every_page = pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])


@every_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    astray = [link for link in _links(page) if not _leads_somewhere(page, link)]

    assert astray == []


@every_page
def test_every_path_in_code_exists(page: Path) -> None:
    named = {path.rstrip(".") for code in _codes(page) for path in PATH.findall(code)}

    assert [path for path in sorted(named) if not list(ROOT.glob(path.rstrip("/")))] == []


@every_page
def test_every_make_target_exists(page: Path) -> None:
    named = {target for code in _codes(page) for target in MAKE.findall(code)}

    assert named - _make_targets() == set()


@every_page
def test_every_variable_stands_in_the_example_environment(page: Path) -> None:
    named = {name for code in _codes(page) for name in VARIABLE.findall(code)}

    assert named - _variables() == set()


@every_page
def test_every_diagram_is_one(page: Path) -> None:
    diagrams = [body.split() for language, body in _fences(page) if language == "mermaid"]

    assert [words[:1] for words in diagrams if not words or words[0] not in DIAGRAMS or len(words) < 4] == []


@every_page
def test_no_page_names_a_path_of_one_machine(page: Path) -> None:
    assert [line for line in _text(page).splitlines() if MACHINE_PATH.search(line)] == []


def test_every_page_is_reached_from_another() -> None:
    reached = {_target(page, link) for page in PAGES for link in _links(page) if page != _target(page, link)}

    assert [str(page) for page in PAGES if page.is_relative_to(DOCS) and page not in reached] == []


def test_decisions_are_numbered_without_a_gap_and_say_context_choice_and_price() -> None:
    for number, path in enumerate(DECISIONS, start=1):
        text = _text(path)

        assert path.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number:04} ")
        assert re.findall(r"(?m)^## (.+)$", text) == ["Context", "Choice", "Price"]


def test_every_direct_dependency_has_its_reason_and_no_other_package_has() -> None:
    told = Counter(
        _normal(name)
        for row in re.findall(r"(?m)^\| (`[^|]+) \|", _text(DOCS / "dependencies.md"))
        for name in re.findall(r"`([^`]+)`", row)
        if not name.endswith(".lock")
    )

    assert set(told) == _direct_dependencies()
    assert [name for name, count in told.items() if count > 1] == []


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _fences(page: Path) -> list[tuple[str, str]]:
    return [(language, body) for _, language, body in FENCE.findall(_text(page))]


def _codes(page: Path) -> Iterator[str]:
    """All that stands in a fence or between backticks."""
    yield from (body for _, body in _fences(page))
    yield from (span for _, span in SPAN.findall(FENCE.sub("", _text(page))))


def _links(page: Path) -> list[str]:
    prose = SPAN.sub("", FENCE.sub("", _text(page)))
    found = LINK.findall(prose) + re.findall(r"(?m)^\[[^\]]+\]:\s*(\S+)", prose) + re.findall(r'src="([^"]+)"', prose)
    return [link for link in found if not re.match(r"[a-z][a-z0-9+.-]*:", link)]


def _target(page: Path, link: str) -> Path:
    path = link.partition("#")[0]
    return (page.parent / path).resolve() if path else page


def _leads_somewhere(page: Path, link: str) -> bool:
    target, anchor = _target(page, link), link.partition("#")[2]
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or (target.suffix == ".md" and anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """Anchors of the headings as they are made for files shown on GitHub: words joined by hyphens, repeats numbered."""
    anchors: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in HEADING.findall(FENCE.sub("", _text(page))):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


def _make_targets() -> set[str]:
    listed = re.search(r"(?m)^TARGETS := (.+)$", _text(ROOT / "Makefile"))
    assert listed is not None
    return set(listed.group(1).split())


def _variables() -> set[str]:
    ours = re.findall(r"(?m)^#?([A-Z0-9_]+)=", _text(ROOT / ".env.example"))
    of_wso2 = re.findall(r"\$env\{(\w+)\}", _text(ROOT / "wso2" / "conf" / "deployment.toml"))
    return {*ours, *of_wso2}


def _direct_dependencies() -> set[str]:
    """Every package that some pyproject.toml asks for by name, but for our own members."""
    root = _toml(ROOT / "pyproject.toml")
    folders = root["tool"]["uv"]["workspace"]["members"]
    members = [_toml(ROOT / folder / "pyproject.toml")["project"] for folder in folders]
    asked: list[object] = [entry for group in root["dependency-groups"].values() for entry in group]
    for member in members:
        asked += member.get("dependencies", [])
        asked += [entry for extra in member.get("optional-dependencies", {}).values() for entry in extra]
    names = {_normal(re.split(r"[\s\[<>=!~;]", entry)[0]) for entry in asked if isinstance(entry, str)}
    return names - {_normal(member["name"]) for member in members}


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(_text(path))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
