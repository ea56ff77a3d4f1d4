"""The differences that docs/compatibility.md lists."""

from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"
HEADING = "| difference | product's classes, 9.33.90 | here | why |\n"


def list_documented_differences() -> set[str]:
    """Return the first column of the table of differences."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition(HEADING)
    rows = table.partition("\n\n")[0].splitlines()[1:]
    return {row.split(" | ")[0].removeprefix("| ") for row in rows}
