"""Reads YAML and TOML documents into strict models, with precise error messages."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel


class ArtifactError(ValueError):
    """A WSO2 artifact is missing or invalid, or needs a variable that is not set."""


class StrictModel(BaseModel):
    """Base of the models of WSO2's files: field names as in the files, no unknown fields, no coercion."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True, validate_by_name=True)


Model = TypeVar("Model", bound=BaseModel)

_APICTL_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeDumper, SafeLoader
else:
    # libyaml gives the same results several times faster.
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader


class _UniqueKeyLoader(SafeLoader):
    """Safe loader that rejects duplicate keys, of which YAML would silently drop the first."""


def _construct_unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[object, object]:
    keys: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in keys:
            raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is written twice", key.start_mark)
        keys.add(key.value)
    return cast("dict[object, object]", loader.construct_mapping(node, deep=True))


_UniqueKeyLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
    cast("Callable[[SafeLoader, yaml.MappingNode], object]", _construct_unique_mapping),
)


def read_text(path: Path) -> str:
    """Read a file as UTF-8.

    Raises:
        ArtifactError: The file does not exist, cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({type(error).__name__})") from error


def parse_yaml(text: str, source: str) -> object:
    """Parse YAML or JSON, which is a subset of YAML.

    Raises:
        ArtifactError: Not valid YAML, or a key is duplicate.
    """
    try:
        return cast("object", yaml.load(text, Loader=_UniqueKeyLoader))  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ArtifactError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def write_yaml(value: object) -> str:
    """Write plain values as YAML and keep the order of keys."""
    return yaml.dump(value, Dumper=SafeDumper, sort_keys=False, allow_unicode=True, width=100)


def validate(value: object, model: type[Model], source: str) -> Model:
    """Parse a document into its model.

    Raises:
        ArtifactError: The document is invalid; names the document, the field and the error.
    """
    # Validated from JSON text, because a strict model accepts a list for a tuple only there.
    text = json.dumps(value, default=_reject_unserializable(source))
    try:
        return model.model_validate_json(text, by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "(document)"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ArtifactError(f"{source}: {field}: {first['msg']}{more}") from error


def _reject_unserializable(source: str) -> Callable[[object], object]:
    def reject(value: object) -> object:
        raise ArtifactError(f"{source}: {value} is no text or number to JSON; put it in quotes")

    return reject


def substitute(
    value: object,
    environment: Mapping[str, str],
    source: str,
    pattern: re.Pattern[str] = _APICTL_VARIABLE,
) -> object:
    """Substitute variables in every text of a parsed document, as apictl does with `${NAME}` at import.

    Parsed values are substituted, so that the value of a variable cannot change the structure of the document.

    Args:
        value: The parsed document or a part of it.
        environment: The variables; an empty value counts as unset.
        source: Name of the document in error messages.
        pattern: Pattern of a variable, with its name as the only group.

    Raises:
        ArtifactError: A variable is not set.
    """

    def resolve(found: re.Match[str]) -> str:
        name = found.group(1)
        if not environment.get(name):
            raise ArtifactError(f"{source}: needs the variable {name}, which is not set")
        return environment[name]

    if isinstance(value, str):
        return pattern.sub(resolve, value)
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value)
        return {key: substitute(entry, environment, source, pattern) for key, entry in entries.items()}
    if isinstance(value, list):
        return [substitute(entry, environment, source, pattern) for entry in cast("list[object]", value)]
    return value
