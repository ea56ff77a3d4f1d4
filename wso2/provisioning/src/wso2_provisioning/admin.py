"""Throttling policies, by the Admin REST API v4."""

import yaml

from wso2_provisioning.wire import Identity, Wire, json_object, listed, needed
from wso2_terms.policies import Policy, PolicyKind

BASE_PATH = "/api/am/admin/v4"
SCOPES = frozenset({"apim:tier_view", "apim:tier_manage"})
"""Scopes that the calls of this module need."""


class Admin:
    """The Admin REST API of one WSO2."""

    def __init__(self, wire: Wire, management_url: str, identity: Identity) -> None:
        self._wire = wire
        self._base = management_url + BASE_PATH
        self._identity = identity

    def policies(self, kind: PolicyKind) -> dict[str, dict[str, object]]:
        """Return the policies of a kind, as WSO2 writes them, by name."""
        url = f"{self._base}/throttling/policies/{kind.path_segment}"
        answer = json_object(self._wire.call("GET", url, self._identity))
        return {needed(policy, "policyName"): policy for policy in listed(answer)}

    def import_policy(self, policy: Policy) -> None:
        """Add a policy, or replace the one of its name; replacing restarts its counters."""
        self._wire.call(
            "POST",
            f"{self._base}/throttling/policies/import",
            self._identity,
            accept=(200, 201),
            params={"overwrite": "true"},
            files=import_file(policy),
        )


def import_file(policy: Policy) -> dict[str, tuple[str, bytes, str]]:
    """Return a policy as the multipart part that WSO2's import takes."""
    document = {
        "type": "throttling policy",
        "subtype": policy.kind.value,
        "version": "v4.6.0",
        "data": policy.data.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }
    return {"file": (f"{policy.name}.yaml", yaml.safe_dump(document).encode(), "application/yaml")}
