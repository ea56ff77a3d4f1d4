"""Writes the OpenAPI definitions in wso2/apis/: what the services publish, with the scopes of api.yaml.

`--check` only says whether they agree. WSO2's import believes the definition before api.yaml, so a definition without
scopes would publish, by apictl too, an API that any token may call. The routes of an API are those whose tag is its
context, in the service that its endpoint names.
"""

import argparse
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from charging_agent.settings import GatewaySettings
from ev_service.openapi import build_published_definition
from wso2_provisioning.backends import BACKENDS, DEFAULT_BACKENDS
from wso2_terms.api_archive import build_governed_definition
from wso2_terms.api_project import API_FILE, DEFINITION_FILE, ApiProject, parse_api_project
from wso2_terms.documents import read_text

APIS_DIR = Path(__file__).resolve().parents[1] / "wso2" / "apis"
# The agent wants to know who it is before it starts; its definition does not depend on it.
_SETTINGS = {
    "charging_agent.app": {
        "gateway_settings": GatewaySettings(client_id=SecretStr("none"), client_secret=SecretStr("none"))
    }
}
_VARIABLE = re.compile(r"\$\{(\w+)\}")
HEADER = "# Written by scripts/definitions.py from the service and api.yaml; change it there.\n"


class _BlockDumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks and lists indented, as the rest of these files is written."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists like everything else."""
        super().increase_indent(flow, False)


def _text(_: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_BlockDumper.add_representer(str, _text)


def main() -> int:
    """Write or compare all definitions; return 1 when one differs and may not be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 on drift")
    is_check = parser.parse_args().check
    folders = sorted(file.parent for file in APIS_DIR.glob(f"*/{API_FILE}"))
    drifted = [folder.name for folder in folders if _keep(folder, is_check=is_check)]
    for project in drifted:
        print(f"{project}: {'differs from its service; run scripts/definitions.py' if is_check else 'written'}")
    return 1 if is_check and drifted else 0


def _keep(folder: Path, *, is_check: bool) -> bool:
    file = folder / "Definitions" / "swagger.yaml"
    governed = build_governed_definition(_project(folder))
    if file.exists() and yaml.safe_load(file.read_text(encoding="utf-8")) == governed:
        return False
    if not is_check:
        text = yaml.dump(governed, Dumper=_BlockDumper, sort_keys=False, allow_unicode=True, width=100)
        file.write_text(HEADER + text, encoding="utf-8", newline="\n")
    return True


def _project(folder: Path) -> ApiProject:
    """The project with the definition that its service writes now, whatever the committed one says."""
    text = read_text(folder / API_FILE)
    api = yaml.safe_load(text)["data"]
    variable = _VARIABLE.search(api["endpointConfig"]["production_endpoints"]["url"])
    if variable is None or variable[1] not in BACKENDS:
        raise SystemExit(f"{folder.name}: its endpoint names none of {', '.join(BACKENDS)}")
    module = BACKENDS[variable[1]].module
    app = import_module(module).create_app(**_SETTINGS.get(module, {}))
    published: dict[str, Any] = build_published_definition(app, api["context"].strip("/"))
    if published["paths"].keys() != build_published_definition(app)["paths"].keys():
        # The service's own title and description are about all of its APIs.
        published["info"] = {
            "title": api["name"],
            "description": api.get("description", ""),
            "version": api["version"],
        }
    files = {API_FILE: text, DEFINITION_FILE: json.dumps(published)}
    return parse_api_project(files, str(folder), DEFAULT_BACKENDS)


if __name__ == "__main__":
    sys.exit(main())
