"""Throttling policies, deny policies and the applications of all owners, by the Admin REST API v4."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import yaml

from wso2_provisioning.http_client import (
    HttpClient,
    Identity,
    build_refused_error,
    list_entries,
    parse_json_object,
    require_field,
)
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

    def matches(self, denied: "DenyTarget") -> bool:
        """Tell whether this is the policy that refuses these calls, switched on or not."""
        value = str(self.value).removesuffix(_TENANT) if self.condition_type == "USER" else self.value
        return (self.condition_type, value) == (denied.condition_type, denied.value)


@dataclass(frozen=True, slots=True)
class DenyTarget:
    """Whose calls a deny policy refuses, as it is given to WSO2."""

    condition_type: Literal["USER", "APPLICATION", "API"]
    value: str

    @classmethod
    def for_owner(cls, user: str) -> "DenyTarget":
        """Every call with a token of any application of this user: its keys, names and subscriptions do not count.

        WSO2 appends the tenant to the name, and compares it with whom the token was given to: with client
        credentials the application's owner.
        """
        return cls("USER", user)

    @classmethod
    def for_application(cls, owner: str, name: str) -> "DenyTarget":
        """Every call of the application that bears this name now."""
        return cls("APPLICATION", format_application_condition(owner, name))

    @classmethod
    def for_api(cls, versioned_context: str) -> "DenyTarget":
        """Every call of an API, whoever calls."""
        return cls("API", versioned_context)


@dataclass(frozen=True, slots=True)
class OwnerApplication:
    """An application of whatever owner."""

    application_id: str
    name: str


class Admin:
    """The Admin REST API of one WSO2."""

    def __init__(self, http: HttpClient, management_url: str, identity: Identity) -> None:
        self._http = http
        self._base = management_url + BASE_PATH
        self._identity = identity

    def list_policies(self, kind: PolicyKind) -> dict[str, dict[str, object]]:
        """Return the policies of a kind, as WSO2 writes them, by name."""
        url = f"{self._base}/throttling/policies/{kind.path_segment}"
        answer = parse_json_object(self._http.call("GET", url, self._identity))
        return {require_field(policy, "policyName"): policy for policy in list_entries(answer)}

    def import_policy(self, policy: Policy) -> None:
        """Add a policy, or replace the one of its name; replacing restarts its counters."""
        self._http.call(
            "POST",
            f"{self._base}/throttling/policies/import",
            self._identity,
            accept=(200, 201),
            params={"overwrite": "true"},
            files=build_import_file(policy),
        )

    def list_deny_policies(self) -> list[DenyPolicy]:
        """Return every deny policy, also those that are switched off."""
        answer = parse_json_object(self._http.call("GET", f"{self._base}/throttling/deny-policies", self._identity))
        return [_parse_deny_policy(found) for found in list_entries(answer)]

    def deny(self, target: DenyTarget) -> DenyPolicy:
        """Refuse these calls from now on; a policy that does so already is switched on.

        Raises:
            RequestRefusedError: WSO2 does not take it, e.g. because the application is unknown.
        """
        body = {"conditionType": target.condition_type, "conditionValue": target.value, "conditionStatus": True}
        url = f"{self._base}/throttling/deny-policies"
        answer = self._http.send("POST", url, self._identity, json=body)
        if answer.status_code == 201:
            return _parse_deny_policy(parse_json_object(answer))
        for known in self.list_deny_policies():
            if known.matches(target):
                return known if known.is_enabled else self._enable(known)
        raise build_refused_error("POST", url, answer)

    def find_active_deny_policy(self, denied: DenyTarget) -> DenyPolicy | None:
        """Return the deny policy that refuses these calls now, None without one."""
        return next(
            (policy for policy in self.list_deny_policies() if policy.is_enabled and policy.matches(denied)), None
        )

    def remove_deny_policy(self, condition_id: str) -> None:
        """Remove a deny policy; one that is gone already stays gone."""
        url = f"{self._base}/throttling/deny-policy/{condition_id}"
        self._http.call("DELETE", url, self._identity, accept=(200, 204, 404))

    def list_applications(self, owner: str) -> list[OwnerApplication]:
        """Return every application of a user."""
        query = {"user": owner, "limit": "1000"}
        answer = parse_json_object(self._http.call("GET", f"{self._base}/applications", self._identity, params=query))
        # WSO2 takes a user whom it does not know for nobody in particular.
        found = [application for application in list_entries(answer) if application.get("owner") == owner]
        return [OwnerApplication(require_field(one, "applicationId"), require_field(one, "name")) for one in found]

    def delete_application(self, application_id: str) -> None:
        """Remove an application of whatever owner, with its keys and subscriptions; one that is gone stays gone."""
        url = f"{self._base}/applications/{application_id}"
        self._http.call("DELETE", url, self._identity, accept=(200, 202, 404))

    def _enable(self, policy: DenyPolicy) -> DenyPolicy:
        url = f"{self._base}/throttling/deny-policy/{policy.condition_id}"
        answer = self._http.call("PATCH", url, self._identity, json={"conditionStatus": True})
        return _parse_deny_policy(parse_json_object(answer))


def format_application_condition(owner: str, name: str) -> str:
    """How a deny policy names an application."""
    return f"{owner}:{name}"


def build_import_file(policy: Policy) -> dict[str, tuple[str, bytes, str]]:
    """Return a policy as the multipart part that WSO2's import takes."""
    document = {
        "type": "throttling policy",
        "subtype": policy.kind.value,
        "version": "v4.6.0",
        "data": policy.data.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }
    return {"file": (f"{policy.name}.yaml", yaml.safe_dump(document).encode(), "application/yaml")}


def _parse_deny_policy(found: Mapping[str, object]) -> DenyPolicy:
    return DenyPolicy(
        condition_id=require_field(found, "conditionId"),
        condition_type=require_field(found, "conditionType"),
        value=found.get("conditionValue"),
        # WSO2 leaves the status out of some answers; a policy is made switched on.
        is_enabled=bool(found.get("conditionStatus", True)),
    )
