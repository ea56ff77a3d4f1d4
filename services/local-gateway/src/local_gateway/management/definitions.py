"""Which interface descriptions may be imported.

Pure: looks at the document and never fetches what it refers to.
"""

from collections.abc import Iterator
from typing import Any, cast

from openapi_spec_validator import OpenAPIV30SpecValidator

from wso2_terms.api_project import Api

_VERBS = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})
# The security scheme under which WSO2 looks for scopes.
_SCHEME = "default"


def find_definition_error(definition: dict[str, Any]) -> str | None:
    """Say what is wrong with an OpenAPI definition, None when nothing is.

    Only 3.0 is taken: WSO2 stumbles over 3.1, and what is accepted here has to be accepted there.
    """
    version = str(definition.get("openapi", ""))
    if not version.startswith("3.0."):
        return f"openapi is {version or 'absent'}; WSO2 takes 3.0.x"
    if any(not reference.startswith("#/") for reference in _iterate_references(definition)):
        # Also because the validator would fetch it, which would let an importer make this process call anywhere.
        return "a $ref leads out of the document"
    fault = next(OpenAPIV30SpecValidator(cast("Any", definition)).iter_errors(), None)
    return None if fault is None else f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}"


def find_mismatch(api: Api, definition: dict[str, Any]) -> str | None:
    """Say where api.yaml and the definition differ in operations or scopes, None where they agree.

    WSO2's import takes operations and their scopes from the definition and passes over those of api.yaml without a
    word; a project whose two halves differ would be governed there in another way than it reads.
    """
    defined = _list_scopes(definition)
    listed = {(found.target, found.verb): frozenset(found.scopes) for found in api.operations}
    for target, verb in sorted(defined.keys() ^ listed.keys()):
        place = "api.yaml" if (target, verb) in listed else "the definition"
        return f"{verb} {target} stands in {place} alone"
    for target, verb in sorted(listed):
        if defined[target, verb] != listed[target, verb]:
            return f"{verb} {target} has other scopes in the definition than in api.yaml"
    return None


def _list_scopes(definition: dict[str, Any]) -> dict[tuple[str, str], frozenset[str]]:
    return {
        (target, verb.upper()): frozenset(
            scope for requirement in operation.get("security", []) for scope in requirement.get(_SCHEME, [])
        )
        for target, path in definition.get("paths", {}).items()
        for verb, operation in path.items()
        if verb in _VERBS
    }


def _iterate_references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in cast("dict[object, object]", value).items():
            if key == "$ref":
                yield str(entry)
            else:
                yield from _iterate_references(entry)
    elif isinstance(value, list):
        for entry in cast("list[object]", value):
            yield from _iterate_references(entry)
