"""Fixtures: a small API project as files, for tests that change one thing in it."""

from collections.abc import Callable

import pytest

API = """\
type: api
version: v4.6.0
data:
  name: SolarAPI
  context: /solar
  version: 1.0.0
  lifeCycleStatus: PUBLISHED
  policies: [Energy10PerMin]
  securityScheme: [oauth2]
  endpointConfig:
    endpoint_type: http
    production_endpoints: {url: "${SOLAR_BACKEND_URL}"}
  scopes:
    - scope: {name: "solar:read", bindings: [Internal/solar_reader]}
  operations:
    - {target: /solar-status, verb: GET, scopes: ["solar:read"]}
"""
DEFINITION = """\
openapi: 3.0.3
info: {title: SolarAPI, version: 1.0.0, description: "costs ${NOTHING}"}
paths:
  /solar-status:
    parameters: []
    get: {operationId: getSolarStatus, responses: {"200": {description: OK}}}
"""
DEPLOYMENTS = """\
type: deployment_environments
version: v4.6.0
data: [{displayOnDevportal: true, deploymentEnvironment: Default}]
"""

Files = dict[str, str]


@pytest.fixture
def files() -> Files:
    return {"api.yaml": API, "Definitions/swagger.yaml": DEFINITION, "deployment_environments.yaml": DEPLOYMENTS}


@pytest.fixture
def change_files(files: Files) -> Callable[[str, str, str], Files]:
    def change(name: str, old: str, new: str) -> Files:
        assert old in files[name]
        return files | {name: files[name].replace(old, new)}

    return change
