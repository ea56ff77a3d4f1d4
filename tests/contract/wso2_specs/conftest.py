"""WSO2's own specifications of its REST APIs, fetched, and what crosses the wire, held against them.

The specifications are WSO2's and stay outside this repository: Maven brings the published web archives that hold them
into pytest's cache, and nothing is used whose sum is not the one that stands here.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import yaml
from jsonschema.exceptions import ValidationError
from jsonschema_path import SchemaPath
from openapi_core import V30RequestValidator, V30ResponseValidator
from openapi_core.datatypes import RequestParameters
from openapi_core.templating.paths.exceptions import PathError
from openapi_core.templating.paths.finders import APICallPathFinder
from openapi_core.validation.schemas.exceptions import InvalidSchemaValue
from openapi_schema_validator import OAS30WriteValidator  # pyright: ignore[reportUnknownVariableType]
from tests.fetching import run_maven, sha256
from werkzeug.datastructures import Headers, ImmutableMultiDict

GROUP, VERSION = "org.wso2.carbon.apimgt.rest.api", "9.33.90"
REQUIRED = "EV_SPECIFICATIONS_REQUIRED"
"""Variable that makes a failure of what would be a skip: for a machine that is known to have Maven."""
HOST = "https://apis.wso2.com"
"""The server that the specifications name; only the path behind it is that of a running product."""


@dataclass(frozen=True)
class Archive:
    """One published web archive and the specification in it.

    sha256: of the archive as published.
    """

    module: str
    sha256: str
    entry: str

    @property
    def file_name(self) -> str:
        return f"{GROUP}.{self.module}-{VERSION}.war"


ARCHIVES = {
    "publisher": Archive(
        "publisher.v1", "ea2c7e0ee0810a439b0fabfcd354185d7bccd6d21ebaa4a93e14c926dec8c9b1", "publisher-api.yaml"
    ),
    "devportal": Archive(
        "store.v1", "b935c82491000355eef0e1f1536e413e60de746358953d172f08860ef2ba7938", "devportal-api.yaml"
    ),
    "admin": Archive("admin.v1", "1139f297a55a2477aeab2a0b92cc96450f4e474c2b97806288da0cbf93f66a93", "admin-api.yaml"),
    "registration": Archive("dcr", "e102ac765c6d8fbd8cf1e032d4305c1dc8a36f1c04a27c03549c03234dd4f0ff", "dcr.yaml"),
}


@dataclass(frozen=True, order=True)
class Complaint:
    """One thing that a specification does not allow; `place` is an operation, `what` says it without values."""

    surface: str
    place: str
    what: str


class _Loader(yaml.CSafeLoader):
    """Leaves dates as text: an example in publisher-api.yaml is a day that no calendar has."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class Specification:
    """One surface's OpenAPI document, in which an object holds nothing but the properties it names."""

    def __init__(self, surface: str, document: dict[str, Any]) -> None:
        self.surface = surface
        self.document = cast("dict[str, Any]", _strict(document, document))
        self.base_path = str(document["servers"][0]["url"]).removeprefix(HOST)
        self._scopes = _extract_scopes(self.document)
        path = SchemaPath.from_dict(self.document)
        self._finder = APICallPathFinder(path)
        self._requests = V30RequestValidator(path)
        self._answers = V30ResponseValidator(path)

    def operation(self, request: httpx.Request) -> str:
        """Verb and path template, or the path itself where the specification has no such operation."""
        try:
            found = cast("Any", self._finder.find(request.method.lower(), HOST + request.url.path))
        except PathError:
            return f"{request.method} {request.url.path.removeprefix(self.base_path)}"
        return f"{request.method} {found.path_result.pattern}"

    def scopes(self, request: httpx.Request) -> frozenset[str]:
        """The scopes of which the bearer of a token needs one for this operation."""
        return self._scopes.get(self.operation(request), frozenset())

    def of_request(self, request: httpx.Request) -> set[Complaint]:
        """What is wrong with a request."""
        place = self.operation(request)
        return {
            Complaint(self.surface, place, what)
            for error in self._requests.iter_errors(_RequestAdapter(request))
            for what in _list_schema_errors(error)
        }

    def of_answer(self, request: httpx.Request, answer: httpx.Response) -> set[Complaint]:
        """What is wrong with the answer to a request."""
        place = f"{self.operation(request)} -> {answer.status_code}"
        errors = self._answers.iter_errors(_RequestAdapter(request), _ResponseAdapter(answer))
        return {Complaint(self.surface, place, what) for error in errors for what in _list_schema_errors(error)}

    def of_value(self, schema: str, value: object) -> list[str]:
        """What is wrong with a value that is to be sent as one of the named schemas."""
        root = {"$ref": f"#/components/schemas/{schema}", "components": self.document["components"]}
        errors = cast("Any", OAS30WriteValidator)(root).iter_errors(value)
        return [_words(error) for error in cast("list[ValidationError]", errors)]


def _extract_scopes(document: dict[str, Any]) -> dict[str, frozenset[str]]:
    """Remove the security, because openapi-core does not support OAuth 2.0, and return each operation's scopes."""
    found: dict[str, frozenset[str]] = {}
    document.pop("security", None)
    for path, item in cast("dict[str, dict[str, Any]]", document["paths"]).items():
        for verb, operation in item.items():
            if verb == "parameters":
                continue
            listed = cast("list[dict[str, list[str]]]", operation.pop("security", []))
            scopes = [scope for requirement in listed for scope in requirement.get("OAuth2Security", [])]
            found[f"{verb.upper()} {path}"] = frozenset(scopes)
    return found


class _RequestAdapter:
    """An httpx request as openapi-core takes it."""

    def __init__(self, request: httpx.Request) -> None:
        self.host_url, self.path = HOST, request.url.path
        self.method = request.method.lower()
        self.content_type = request.headers.get("Content-Type", "")
        self.body = request.content or None
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(request.url.params.multi_items()), header=Headers(request.headers.multi_items())
        )


class _ResponseAdapter:
    """An httpx answer as openapi-core takes it."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status_code, self.data = answer.status_code, answer.content
        self.content_type = answer.headers.get("Content-Type", "")
        self.headers = Headers(answer.headers.multi_items())


def _list_schema_errors(error: BaseException) -> list[str]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InvalidSchemaValue):
            return [_words(cast("ValidationError", one)) for one in cause.schema_errors]
        cause = cause.__cause__ or cause.__context__
    return [f"{type(error).__name__}: {error}"]


def _words(error: ValidationError) -> str:
    """Where and which rule; positions in lists and values are left out, so that equal faults are one."""
    path = ".".join("[]" if isinstance(part, int) else part for part in error.absolute_path)
    if error.validator in ("additionalProperties", "required"):
        return f"{path or 'body'}: {error.message}"
    return f"{path or 'body'}: breaks {error.validator} {error.validator_value}"


def _strict(part: object, document: Mapping[str, Any]) -> object:
    """Text as keys, inheritance written out, unknown properties forbidden.

    A schema made of several (`allOf`) is merged first: each part alone would refuse the properties of the others.
    """
    if isinstance(part, list):
        return [_strict(entry, document) for entry in cast("list[object]", part)]
    if not isinstance(part, dict):
        return part
    mapping = _merge(cast("dict[object, Any]", part), document)
    strict = {str(key): _strict(value, document) for key, value in mapping.items()}
    if strict.get("type") == "object" and strict.get("properties"):
        strict.setdefault("additionalProperties", False)
    if strict.get("content") == {}:
        # "content: {}" says that there is no body; openapi-core would insist on one.
        del strict["content"]
    if strict.get("type") == "object" and strict.get("properties") == {}:
        # WSO2's generator makes an Object of it: anything goes, lists and texts as well.
        del strict["type"]
    return strict


def _merge(schema: dict[object, Any], document: Mapping[str, Any]) -> dict[object, Any]:
    if "allOf" not in schema:
        return schema
    merged: dict[object, Any] = {"type": "object", "properties": {}, "required": []}
    for given in (*cast("list[dict[object, Any]]", schema["allOf"]), {k: v for k, v in schema.items() if k != "allOf"}):
        part = _merge(_resolve(given, document), document)
        merged["properties"] |= part.get("properties", {})
        merged["required"] = sorted({*merged["required"], *part.get("required", [])})
    return {key: value for key, value in merged.items() if value}


def _resolve(schema: dict[object, Any], document: Mapping[str, Any]) -> dict[object, Any]:
    if "$ref" not in schema:
        return schema
    found: Any = document
    for part in str(schema["$ref"]).removeprefix("#/").split("/"):
        found = found[part]
    return cast("dict[object, Any]", found)


@pytest.fixture(scope="session")
def specifications(request: pytest.FixtureRequest) -> dict[str, Specification]:
    """The specifications by surface; skips where they cannot be had."""
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir(f"wso2-specifications-{VERSION}")
    missing = [
        archive.file_name for archive in ARCHIVES.values() if sha256(folder / archive.file_name) != archive.sha256
    ]
    if missing:
        for name in missing:
            # What an earlier run left half-written, Maven would leave alone.
            (folder / name).unlink(missing_ok=True)
        run_maven(Path(__file__).with_name("pom.xml"), "dependency:copy", folder, REQUIRED)
    return {surface: Specification(surface, _read(folder, archive)) for surface, archive in ARCHIVES.items()}


def _read(folder: Path, archive: Archive) -> dict[str, Any]:
    path = folder / archive.file_name
    if (found := sha256(path)) != archive.sha256:
        pytest.fail(f"{archive.file_name} is not the one that was pinned: sha256 {found}")
    with zipfile.ZipFile(path) as war:
        text = war.read(f"WEB-INF/classes/{archive.entry}")
    return cast("dict[str, Any]", yaml.load(text, Loader=_Loader))
