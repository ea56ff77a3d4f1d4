"""The file `tools.lock` with the approved tools."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel

from wso2_terms.documents import ArtifactError, parse_yaml, read_text, validate
from wso2_terms.tools import Tool, compute_digest

ToolsLock = Mapping[str, Mapping[str, Tool]]
"""Approved tools by name, by `<server>-<version>`."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    description: str
    input_schema: Annotated[dict[str, JsonValue], Field(alias="inputSchema")]


class _Lock(RootModel[dict[str, dict[str, _Entry]]]):
    pass


def read_tools_lock(path: Path) -> ToolsLock:
    """Read the approved tools.

    Raises:
        ArtifactError: The file cannot be read or is invalid, or a digest does not match its tool.
    """
    content = validate(parse_yaml(read_text(path), str(path)), _Lock, str(path)).root
    return {
        server: {name: _read_tool(name, entry, f"{path}: {server}") for name, entry in tools.items()}
        for server, tools in content.items()
    }


def format_tools_lock(approved: ToolsLock) -> str:
    """Return the text of the file, sorted so that a diff of two versions shows what was approved in between."""
    content = {
        server: {
            name: {"sha256": compute_digest(tool), "description": tool.description, "inputSchema": tool.input_schema}
            for name, tool in sorted(tools.items())
        }
        for server, tools in sorted(approved.items())
    }
    return json.dumps(content, indent=2, sort_keys=False, ensure_ascii=False) + "\n"


def write_tools_lock(path: Path, approved: ToolsLock) -> None:
    """Write the approved tools atomically."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(format_tools_lock(approved), encoding="utf-8", newline="\n")
    draft.replace(path)


def _read_tool(name: str, entry: _Entry, source: str) -> Tool:
    tool = Tool(name, entry.description, entry.input_schema)
    if compute_digest(tool) != entry.sha256:
        # The tool was changed without approval, or the digest without the tool.
        raise ArtifactError(f"{source}: the digest of {name} is not that of the description and schema next to it")
    return tool
