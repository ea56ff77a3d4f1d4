"""Reads a YAML or TOML document into a strict model and says exactly what is wrong with it.

The only place of this room that opens files. Knows nothing of what the documents mean.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel


class ArtifactError(ValueError):
    """A file given to WSO2 is missing, not understood, or needs a variable that is not set."""


class StrictModel(BaseModel):
    """Base of what stands in WSO2's files: names as WSO2 writes them, nothing unknown, nothing coerced."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True, validate_by_name=True)


Model = TypeVar("Model", bound=BaseModel)

_APICTL_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeDumper, SafeLoader
else:
    # libyaml reads the same and writes the same text, several times as fast.
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader


class _UniqueKeyLoader(SafeLoader):
    """Safe loader that refuses a key written twice: the first would vanish without a word."""


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
        ArtifactError: it is not there, not readable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({type(error).__name__})") from error


def parse_yaml(text: str, source: str) -> object:
    """Parse YAML (or JSON, which is YAML).

    Raises:
        ArtifactError: it is not YAML, or writes a key twice.
    """
    try:
        return cast("object", yaml.load(text, Loader=_UniqueKeyLoader))  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ArtifactError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def write_yaml(value: object) -> str:
    """Write plain values as YAML, keys in their order."""
    return yaml.dump(value, Dumper=SafeDumper, sort_keys=False, allow_unicode=True, width=100)


def validate(value: object, model: type[Model], source: str) -> Model:
    """Turn a parsed document into its model.

    Raises:
        ArtifactError: names the document, the field and what is wrong with it.
    """
    # By way of JSON: there strict means that nothing is coerced, and arrays still become tuples.
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
    """Put variables into every text of a parsed document, as apictl does with `${NAME}` at import.

    Works on parsed values, so that no value of a variable can change the document's shape.

    Args:
        value: the parsed document or a part of it.
        environment: the variables; an empty one counts as unset.
        source: named in errors.
        pattern: one group, the variable's name.

    Raises:
        ArtifactError: a variable is not set.
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
