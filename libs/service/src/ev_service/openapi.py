"""OpenAPI 3.0.3 for the gateway, because WSO2 does not support the 3.1 that FastAPI writes.

With `openapi_version="3.0.3"` FastAPI changes only the version number; the schemas stay those of 3.1. The differences
that our models can produce are converted here; a test validates every result against 3.0.3.
"""

import json
import re
from typing import Any, cast

from fastapi import FastAPI

OPERATIONS_TAG = "operations"
"""Tag of health, liveness and metrics: for the operator's network, never published through the gateway."""

Schema = dict[str, Any]
_SCHEMA_NAME = re.compile(r'"#/components/schemas/([^"]+)"')


def build_published_definition(app: FastAPI, tag: str | None = None) -> Schema:
    """Build the definition of the routes that the gateway publishes, and of the schemas that they use.

    Args:
        app: the service.
        tag: tag of the routes of one API, if several APIs publish the service; None selects all published routes.

    Returns:
        An OpenAPI 3.0.3 document, its own object on every call.
    """
    document = app.openapi()
    paths = {
        path: item
        for path, item in document["paths"].items()
        if all(_is_published(operation.get("tags", []), tag) for operation in item.values())
    }
    components = document.get("components", {})
    schemas = _collect_schemas(paths, components.get("schemas", {}))
    return {**document, "paths": paths, "components": {**components, "schemas": schemas}}


def _is_published(tags: list[str], wanted: str | None) -> bool:
    return OPERATIONS_TAG not in tags and (wanted is None or wanted in tags)


def _collect_schemas(paths: Schema, schemas: Schema) -> Schema:
    named: set[str] = set()
    to_read: list[object] = [paths]
    while to_read:
        found = set(_SCHEMA_NAME.findall(json.dumps(to_read.pop()))) - named
        named |= found
        to_read += [schemas[name] for name in found]
    return {name: schema for name, schema in schemas.items() if name in named}


def with_problems(document: Schema, problem: Schema) -> Schema:
    """Declare problem+json as the error response of every operation.

    FastAPI documents an error body of its own for invalid requests, which our services never send.

    Args:
        document: definition as FastAPI writes it.
        problem: JSON Schema of the problem's body.
    """
    answer = {
        "description": "What went wrong, as problem+json",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    paths: Schema = {}
    for path, item in document["paths"].items():
        paths[path] = {}
        for verb, operation in item.items():
            successes = {status: body for status, body in operation["responses"].items() if status.startswith("2")}
            paths[path][verb] = {**operation, "responses": {**successes, "default": answer}}
    schemas = dict(document.get("components", {}).get("schemas", {}))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return {**document, "paths": paths, "components": {"schemas": {**schemas, "Problem": problem}}}


def as_openapi_3_0(document: Schema) -> Schema:
    """Turn schemas of OpenAPI 3.1 into those of 3.0.3.

    Null unions become `nullable`, numeric exclusive bounds become flags, `const` a one-word `enum`, and of
    several `examples` of a schema the first one is kept.
    """
    return {**cast(Schema, _convert(document)), "openapi": "3.0.3"}


def _convert(node: object) -> object:
    if isinstance(node, list):
        return [_convert(item) for item in cast(list[object], node)]
    if not isinstance(node, dict):
        return node
    schema = {key: _convert(value) for key, value in cast(Schema, node).items()}
    for old, new in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(old), int | float) and not isinstance(schema[old], bool):
            schema[new], schema[old] = schema[old], True
    examples = schema.get("examples")
    # A list is JSON Schema's form; OpenAPI's own `examples` of a parameter or body is a mapping and stays.
    if isinstance(examples, list):
        schema["example"] = cast(list[object], examples)[0]
        del schema["examples"]
    # A mapping is a property that is named so: constants of our models are words and numbers.
    if not isinstance(schema.get("const", {}), dict):
        schema["enum"] = [schema.pop("const")]
    return _nullable(schema)


def _nullable(schema: Schema) -> Schema:
    options = schema.get("anyOf")
    if not isinstance(options, list) or {"type": "null"} not in options:
        return schema
    rest = [option for option in cast(list[Schema], options) if option != {"type": "null"}]
    others = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(rest) > 1:
        return {**others, "anyOf": rest, "nullable": True}
    # In 3.0 a `$ref` hides every sibling key, so the reference moves into `allOf`.
    base: Schema = {"allOf": rest} if "$ref" in rest[0] else rest[0]
    return {**base, **others, "nullable": True}
