"""Tools: how WSO2 derives them from operations and lists them, how two are compared, and the file of approved tools.

Source: WSO2 API Manager 4.6.0 (carbon-apimgt: OAS3Parser creates a tool from an operation, MCPPayloadGenerator lists
it): an argument's name starts with its location (`path_`, `query_`, `header_`) in the stored tool and has no prefix in
the list.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel

from wso2_terms.documents import ArtifactError, parse_yaml, read_text, validate
from wso2_terms.mcp_project import BackendOperation, McpServer, ToolOperation

ParameterLocation = Literal["path", "query", "header"]
PARAMETER_LOCATIONS: tuple[ParameterLocation, ...] = ("path", "query", "header")
"""Locations of an argument, which are the prefixes of stored argument names."""
BODY = "requestBody"
"""Name of the argument that becomes the request's body; it has no prefix."""

_ARGUMENT_KEYWORDS = ("type", "format", "enum", "default")
_MAX_REFERENCES = 32


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as `tools/list` returns it, which is everything that a model reads of it."""

    name: str
    """Name of the tool."""

    description: str
    """Description of the tool."""

    input_schema: Mapping[str, Any]
    """JSON Schema of the arguments."""


@dataclass(frozen=True, slots=True)
class StoredTool:
    """A tool as WSO2 stores it."""

    target: str
    """Name of the tool."""

    description: str
    schema_definition: str
    """JSON Schema as text; argument names start with their location."""


@dataclass(frozen=True, slots=True)
class ToolDifference:
    """Difference between an approved and a listed tool."""

    kind: Literal["added", "missing", "changed"]
    name: str
    """Name of the tool."""

    changed_parts: tuple[str, ...] = ()
    """For `changed`, which of `description` and `inputSchema` differ; empty otherwise."""

    def __str__(self) -> str:
        """Format the difference for messages.

        >>> str(ToolDifference("changed", "getGridLoad", ("description",)))
        'getGridLoad: changed (description)'
        """
        return f"{self.name}: {self.kind}" + (f" ({', '.join(self.changed_parts)})" if self.changed_parts else "")


def to_stored_tool(operation: ToolOperation, definition: Mapping[str, Any]) -> StoredTool | None:
    """Return the tool that WSO2 stores for an operation.

    Args:
        operation: The tool in its project; its name and description take precedence.
        definition: OpenAPI document of the API.

    Returns:
        The tool, None if the definition has no such operation: WSO2 silently leaves it out of the list.
    """
    behind = operation.api_operation_mapping.backend_operation
    item = _to_mapping(_to_mapping(definition.get("paths")).get(behind.target))
    defined = _to_mapping(item.get(behind.verb.lower()))
    if not defined:
        return None
    return StoredTool(
        target=operation.target or str(defined.get("operationId") or _build_tool_name(behind)),
        description=operation.description or str(defined.get("description") or defined.get("summary") or ""),
        schema_definition=operation.schema_definition or json.dumps(_to_stored_schema(item, defined, definition)),
    )


def to_listed_tool(target: str, description: str | None, schema_definition: str) -> Tool:
    """Return a stored tool as `tools/list` does, without the locations of its arguments.

    Raises:
        ValueError: The schema is not a JSON object.
    """
    schema = json.loads(schema_definition)
    if not isinstance(schema, dict):
        raise ValueError(f"the stored schema of {target} is no JSON object")
    listed: dict[str, Any] = {"type": "object", **cast("dict[str, Any]", schema)}
    listed["properties"] = {remove_prefix(name): value for name, value in _to_mapping(listed.get("properties")).items()}
    if required := [remove_prefix(str(name)) for name in listed.pop("required", None) or ()]:
        listed["required"] = required
    return Tool(target, description or "", listed)


def list_tools(server: McpServer, definition: Mapping[str, Any]) -> tuple[Tool, ...]:
    """Return every tool that a server lists according to its files.

    Args:
        server: Project of the server.
        definition: OpenAPI document of the underlying API.
    """
    stored = (to_stored_tool(operation, definition) for operation in server.operations)
    return tuple(to_listed_tool(tool.target, tool.description, tool.schema_definition) for tool in stored if tool)


def remove_prefix(name: str) -> str:
    """Remove the location from an argument's name.

    >>> remove_prefix("query_page_size"), remove_prefix("requestBody")
    ('page_size', 'requestBody')
    """
    place, _, rest = name.partition("_")
    return rest if place in PARAMETER_LOCATIONS and rest else name


def to_canonical_json(tool: Tool) -> str:
    """Return a tool as canonical JSON (sorted keys, no blanks) with `name`, `description` and `inputSchema`.

    An empty or null `required` is omitted: gateways write "nothing is required" in three ways.
    """
    schema = {key: value for key, value in tool.input_schema.items() if key != "required" or value}
    listed = {"name": tool.name, "description": tool.description, "inputSchema": schema}
    return _dump_canonical(listed)


def compute_digest(tool: Tool) -> str:
    """Return the SHA-256 of a tool's canonical JSON in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(to_canonical_json(tool).encode()).hexdigest()


def compare_tools(approved: Mapping[str, Tool], listed: Iterable[Tool]) -> tuple[ToolDifference, ...]:
    """Compare the tools that a server lists with the approved ones, sorted by name.

    Args:
        approved: Approved tools by name.
        listed: Listed tools in any order, which WSO2 does not define.
    """
    now = {tool.name: tool for tool in listed}
    found: list[ToolDifference] = []
    for name in sorted(approved.keys() | now.keys()):
        if name not in now:
            found.append(ToolDifference("missing", name))
        elif name not in approved:
            found.append(ToolDifference("added", name))
        elif compute_digest(approved[name]) != compute_digest(now[name]):
            found.append(ToolDifference("changed", name, _list_changed_parts(approved[name], now[name])))
    return tuple(found)


def _list_changed_parts(before: Tool, after: Tool) -> tuple[str, ...]:
    old, new = json.loads(to_canonical_json(before)), json.loads(to_canonical_json(after))
    return tuple(
        part for part in ("description", "inputSchema") if _dump_canonical(old[part]) != _dump_canonical(new[part])
    )


def _dump_canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _to_stored_schema(
    item: Mapping[str, Any], operation: Mapping[str, Any], definition: Mapping[str, Any]
) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for entry in [*(item.get("parameters") or ()), *(operation.get("parameters") or ())]:
        parameter = _resolve_reference(entry, definition)
        name = f"{parameter['in']}_{parameter['name']}"
        properties[name] = _build_argument(parameter, definition)
        if parameter.get("required") and name not in required:
            required.append(name)
    body = _build_body_argument(operation, definition)
    if body is not None:
        properties[BODY] = body
        required.append(BODY)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _build_argument(parameter: Mapping[str, Any], definition: Mapping[str, Any]) -> dict[str, Any]:
    schema = _resolve_reference(parameter.get("schema"), definition)
    argument = {key: schema[key] for key in _ARGUMENT_KEYWORDS if schema.get(key) is not None}
    description = parameter.get("description")
    return argument if description is None else {**argument, "description": description}


def _build_body_argument(operation: Mapping[str, Any], definition: Mapping[str, Any]) -> dict[str, Any] | None:
    content = _to_mapping(_resolve_reference(operation.get("requestBody"), definition).get("content"))
    if "application/json" not in content:
        return None
    schema = _resolve_reference(_to_mapping(content["application/json"]).get("schema"), definition)
    body: dict[str, Any] = {"type": "object", "contentType": "application/json"}
    return body | {key: schema[key] for key in ("properties", "required") if key in schema}


def _resolve_reference(value: object, definition: Mapping[str, Any]) -> Mapping[str, Any]:
    found = _to_mapping(value)
    for _ in range(_MAX_REFERENCES):
        reference = found.get("$ref")
        if reference is None:
            break
        target: object = definition
        for part in str(reference).removeprefix("#/").split("/"):
            target = _to_mapping(target).get(part)
        found = _to_mapping(target)
    return found


def _to_mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _build_tool_name(operation: BackendOperation) -> str:
    """Return the name that WSO2 gives a tool without an operationId: `get_pets_by_petId`."""
    words = operation.target.rstrip("/").replace("{", "by_").replace("}", "").replace("/", "_")
    return operation.verb.lower() + words


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
