"""Throttling policies, deny policies and the applications of all owners, by the Admin REST API v4."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import yaml

from wso2_provisioning.wire import Identity, Wire, json_object, listed, needed, refusal
from wso2_terms.policies import Policy, PolicyKind

BASE_PATH = "/api/am/admin/v4"
SCOPES = frozenset({"apim:tier_view", "apim:tier_manage", "apim:bl_view", "apim:app_import_export"})
"""Scopes for throttling policies, for looking at deny policies, and for the applications of all owners."""
DENY_SCOPES = frozenset({"apim:bl_manage"})
"""Scopes that changing deny policies needs; the bootstrap has no use for them."""
_TENANT = "@carbon.super"


@dataclass(frozen=True, slots=True)
class DenyPolicy:
    """A condition under which the gateway refuses every call (900805).

    value: `owner:name` for condition_type `APPLICATION`, the context with its version for `API`, a name with its
    tenant for `USER`; an object for addresses.
    """

    condition_id: str
    condition_type: str
    value: object
    is_enabled: bool

    def is_of(self, denied: "Denied") -> bool:
        """Tell whether this is the policy that refuses these calls, switched on or not."""
        value = str(self.value).removesuffix(_TENANT) if self.condition_type == "USER" else self.value
        return (self.condition_type, value) == (denied.condition_type, denied.value)


@dataclass(frozen=True, slots=True)
class Denied:
    """Whose calls a deny policy refuses, as it is given to WSO2."""

    condition_type: Literal["USER", "APPLICATION", "API"]
    value: str

    @classmethod
    def owner(cls, user: str) -> "Denied":
        """Every call with a token of any application of this user: its keys, names and subscriptions do not count.

        WSO2 appends the tenant to the name, and compares it with whom the token was given to: with client
        credentials the application's owner.
        """
        return cls("USER", user)

    @classmethod
    def application(cls, owner: str, name: str) -> "Denied":
        """Every call of the application that bears this name now."""
        return cls("APPLICATION", denied_application(owner, name))

    @classmethod
    def api(cls, versioned_context: str) -> "Denied":
        """Every call of an API, whoever calls."""
        return cls("API", versioned_context)


@dataclass(frozen=True, slots=True)
class OwnedApplication:
    """An application of whatever owner."""

    application_id: str
    name: str


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

    def deny_policies(self) -> list[DenyPolicy]:
        """Return every deny policy, also those that are switched off."""
        answer = json_object(self._wire.call("GET", f"{self._base}/throttling/deny-policies", self._identity))
        return [_deny_policy(found) for found in listed(answer)]

    def deny(self, denied: Denied) -> DenyPolicy:
        """Refuse these calls from now on; a policy that does so already is switched on.

        Raises:
            Refused: WSO2 does not take it, e.g. because the application is unknown.
        """
        body = {"conditionType": denied.condition_type, "conditionValue": denied.value, "conditionStatus": True}
        url = f"{self._base}/throttling/deny-policies"
        answer = self._wire.send("POST", url, self._identity, json=body)
        if answer.status_code == 201:
            return _deny_policy(json_object(answer))
        for known in self.deny_policies():
            if known.is_of(denied):
                return known if known.is_enabled else self._switch_on(known)
        raise refusal("POST", url, answer)

    def denial(self, denied: Denied) -> DenyPolicy | None:
        """Return the deny policy that refuses these calls now, None without one."""
        return next((policy for policy in self.deny_policies() if policy.is_enabled and policy.is_of(denied)), None)

    def remove_deny_policy(self, condition_id: str) -> None:
        """Remove a deny policy; one that is gone already stays gone."""
        url = f"{self._base}/throttling/deny-policy/{condition_id}"
        self._wire.call("DELETE", url, self._identity, accept=(200, 204, 404))

    def applications(self, owner: str) -> list[OwnedApplication]:
        """Return every application of a user."""
        query = {"user": owner, "limit": "1000"}
        answer = json_object(self._wire.call("GET", f"{self._base}/applications", self._identity, params=query))
        # WSO2 takes a user whom it does not know for nobody in particular.
        found = [application for application in listed(answer) if application.get("owner") == owner]
        return [OwnedApplication(needed(one, "applicationId"), needed(one, "name")) for one in found]

    def delete_application(self, application_id: str) -> None:
        """Remove an application of whatever owner, with its keys and subscriptions; one that is gone stays gone."""
        url = f"{self._base}/applications/{application_id}"
        self._wire.call("DELETE", url, self._identity, accept=(200, 202, 404))

    def _switch_on(self, policy: DenyPolicy) -> DenyPolicy:
        url = f"{self._base}/throttling/deny-policy/{policy.condition_id}"
        answer = self._wire.call("PATCH", url, self._identity, json={"conditionStatus": True})
        return _deny_policy(json_object(answer))


def denied_application(owner: str, name: str) -> str:
    """How a deny policy names an application."""
    return f"{owner}:{name}"


def import_file(policy: Policy) -> dict[str, tuple[str, bytes, str]]:
    """Return a policy as the multipart part that WSO2's import takes."""
    document = {
        "type": "throttling policy",
        "subtype": policy.kind.value,
        "version": "v4.6.0",
        "data": policy.data.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }
    return {"file": (f"{policy.name}.yaml", yaml.safe_dump(document).encode(), "application/yaml")}


def _deny_policy(found: Mapping[str, object]) -> DenyPolicy:
    return DenyPolicy(
        condition_id=needed(found, "conditionId"),
        condition_type=needed(found, "conditionType"),
        value=found.get("conditionValue"),
        # WSO2 leaves the status out of some answers; a policy is made switched on.
        is_enabled=bool(found.get("conditionStatus", True)),
    )
