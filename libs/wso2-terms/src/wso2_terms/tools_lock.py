"""The tools that somebody has looked at and approved, in the file `tools.lock`.

Knows the file's form; knows nothing of who may approve, nor of gateways.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel

from wso2_terms.documents import ArtifactError, parse_yaml, read_text, validate
from wso2_terms.tools import Tool, compute_digest

ToolsLock = Mapping[str, Mapping[str, Tool]]
"""Approved tools by name, under `<server>-<version>`."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    description: str
    input_schema: Annotated[dict[str, JsonValue], Field(alias="inputSchema")]


class _Lock(RootModel[dict[str, dict[str, _Entry]]]):
    pass


def read_tools_lock(path: Path) -> ToolsLock:
    """Read approved tools.

    Raises:
        ArtifactError: the file cannot be read or understood, or a digest is not that of the tool beside it.
    """
    content = validate(parse_yaml(read_text(path), str(path)), _Lock, str(path)).root
    return {
        server: {name: _read_tool(name, entry, f"{path}: {server}") for name, entry in tools.items()}
        for server, tools in content.items()
    }


def format_tools_lock(approved: ToolsLock) -> str:
    """The file's text: sorted, so that a comparison of two versions shows what was approved in between."""
    content = {
        server: {
            name: {"sha256": compute_digest(tool), "description": tool.description, "inputSchema": tool.input_schema}
            for name, tool in sorted(tools.items())
        }
        for server, tools in sorted(approved.items())
    }
    return json.dumps(content, indent=2, sort_keys=False, ensure_ascii=False) + "\n"


def write_tools_lock(path: Path, approved: ToolsLock) -> None:
    """Write approved tools, whole."""
    draft = path.with_name(path.name + ".draft")
    draft.write_text(format_tools_lock(approved), encoding="utf-8", newline="\n")
    draft.replace(path)


def _read_tool(name: str, entry: _Entry, source: str) -> Tool:
    tool = Tool(name, entry.description, entry.input_schema)
    if compute_digest(tool) != entry.sha256:
        # Somebody changed the text without approving it, or the other way round.
        raise ArtifactError(f"{source}: the digest of {name} is not that of the description and schema beside it")
    return tool
