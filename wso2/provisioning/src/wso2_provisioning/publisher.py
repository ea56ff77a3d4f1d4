"""APIs, by the Publisher REST API v4."""

from dataclasses import dataclass

from wso2_provisioning.wire import Identity, Wire, json_object, listed, needed
from wso2_terms.api_archive import write_api_archive
from wso2_terms.api_project import ApiProject

BASE_PATH = "/api/am/publisher/v4"
SCOPES = frozenset({"apim:api_view", "apim:api_import_export"})
"""Scopes that the calls of this module need."""


@dataclass(frozen=True, slots=True)
class LiveApi:
    """An API as WSO2 has it.

    environments: names of the gateways to which a revision is deployed.
    """

    api_id: str
    body: dict[str, object]
    environments: frozenset[str]

    @property
    def life_cycle_status(self) -> str:
        """State in capitals, e.g. `PUBLISHED`."""
        return str(self.body.get("lifeCycleStatus", "")).upper()


class Publisher:
    """The Publisher REST API of one WSO2."""

    def __init__(self, wire: Wire, management_url: str, identity: Identity) -> None:
        self._wire = wire
        self._base = management_url + BASE_PATH
        self._identity = identity

    def find(self, name: str, version: str) -> LiveApi | None:
        """Return the API of that name and version.

        WSO2 answers this from an index that lags: an API imported seconds ago may be missing.
        """
        answer = self._wire.call(
            "GET",
            f"{self._base}/apis",
            self._identity,
            params={"query": f"name:{name} version:{version}", "limit": "100"},
        )
        # The search matches parts of names, too.
        found = [api for api in listed(json_object(answer)) if (api.get("name"), api.get("version")) == (name, version)]
        return self.get(needed(found[0], "id")) if found else None

    def get(self, api_id: str) -> LiveApi | None:
        """Return an API, None when it is gone."""
        url = f"{self._base}/apis/{api_id}"
        answer = self._wire.call("GET", url, self._identity, accept=(200, 404))
        if answer.status_code == 404:
            return None
        deployments = listed(json_object(self._wire.call("GET", f"{url}/deployments", self._identity)))
        return LiveApi(api_id, json_object(answer), frozenset(needed(found, "name") for found in deployments))

    def import_project(self, project: ApiProject) -> str:
        """Make or update an API, publish it as its project says, deploy a new revision; return its id.

        Raises:
            Refused: WSO2 does not take it, e.g. because a policy or role that it names is unknown.
        """
        answer = self._wire.call(
            "POST",
            f"{self._base}/apis/import",
            self._identity,
            params={
                "overwrite": "true",
                # At most five revisions are kept; without this the sixth import fails.
                "rotateRevision": "true",
                "preserveProvider": "false",
                "preservePortalConfigurations": "false",
                "dryRun": "false",
            },
            headers={"Accept": "application/json"},
            files={"file": (f"{project.root}.zip", write_api_archive(project), "application/zip")},
        )
        return needed(json_object(answer), "id")
