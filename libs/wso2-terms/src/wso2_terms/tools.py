"""Tools: how WSO2 makes them of an API's operations, how it lists them, and what tells one from another.

Pure. Source: WSO2 API Manager 4.6.0 (carbon-apimgt: OAS3Parser makes a tool of an operation, MCPPayloadGenerator lists
it): each argument's name begins with its place (`path_`, `query_`, `header_`) where the tool is stored, and
without it where it is listed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from wso2_terms.mcp_project import BackendOperation, McpServer, ToolOperation

ParameterLocation = Literal["path", "query", "header"]
PARAMETER_LOCATIONS: tuple[ParameterLocation, ...] = ("path", "query", "header")
"""Where an argument goes; what the names of stored arguments begin with."""
BODY = "requestBody"
"""Name of the argument that becomes the request's body; it has no prefix."""

_ARGUMENT_KEYWORDS = ("type", "format", "enum", "default")
_MAX_REFERENCES = 32


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as `tools/list` tells it: all that a model reads of it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredTool:
    """A tool as WSO2 keeps it. schema_definition: JSON, its arguments' names beginning with their place."""

    target: str
    description: str
    schema_definition: str


@dataclass(frozen=True, slots=True)
class ToolDifference:
    """How a tool differs from the one that was approved.

    what: for `changed`, which of `description` and `inputSchema` differ; for the others the name alone says it.
    """

    kind: Literal["added", "missing", "changed"]
    name: str
    changed_parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in words.

        >>> str(ToolDifference("changed", "getGridLoad", ("description",)))
        'getGridLoad: changed (description)'
        """
        return f"{self.name}: {self.kind}" + (f" ({', '.join(self.changed_parts)})" if self.changed_parts else "")


def to_stored_tool(operation: ToolOperation, definition: Mapping[str, Any]) -> StoredTool | None:
    """Make of an operation what WSO2 stores as a tool.

    Args:
        operation: the tool as its project has it; name and description that it gives take precedence.
        definition: the API's OpenAPI document.

    Returns:
        The tool, None where the definition has no such operation: WSO2 leaves it out of the list without a word.
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
    """Say a stored tool as `tools/list` does: without the places of its arguments.

    Raises:
        ValueError: the schema is no JSON object.
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
    """Every tool that a server lists, as far as its files tell.

    Args:
        server: the server's project.
        definition: the OpenAPI document of the API behind it.
    """
    stored = (to_stored_tool(operation, definition) for operation in server.operations)
    return tuple(to_listed_tool(tool.target, tool.description, tool.schema_definition) for tool in stored if tool)


def remove_prefix(name: str) -> str:
    """Take the place off an argument's name.

    >>> remove_prefix("query_page_size"), remove_prefix("requestBody")
    ('page_size', 'requestBody')
    """
    place, _, rest = name.partition("_")
    return rest if place in PARAMETER_LOCATIONS and rest else name


def to_canonical_json(tool: Tool) -> str:
    """A tool as canonical JSON (keys sorted, no blanks): `name`, `description`, `inputSchema`, as listed.

    An empty or null `required` is left out: gateways write "nothing is required" in three ways.
    """
    schema = {key: value for key, value in tool.input_schema.items() if key != "required" or value}
    listed = {"name": tool.name, "description": tool.description, "inputSchema": schema}
    return _dump_canonical(listed)


def compute_digest(tool: Tool) -> str:
    """SHA-256 of a tool's canonical JSON in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(to_canonical_json(tool).encode()).hexdigest()


def compare_tools(approved: Mapping[str, Tool], listed: Iterable[Tool]) -> tuple[ToolDifference, ...]:
    """Compare what a server lists with what was approved, in the order of the names.

    Args:
        approved: by name.
        listed: in any order, which is not fixed in WSO2.
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
    told = json.loads(to_canonical_json(before)), json.loads(to_canonical_json(after))
    return tuple(
        part
        for part in ("description", "inputSchema")
        if _dump_canonical(told[0][part]) != _dump_canonical(told[1][part])
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
    """The name WSO2 makes where there is no operationId: `get_pets_by_petId`."""
    words = operation.target.rstrip("/").replace("{", "by_").replace("}", "").replace("/", "_")
    return operation.verb.lower() + words
