"""Admin REST API v4: throttling policies, deny policies and the applications of all owners."""

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
"""Scopes for throttling policies, for reading deny policies, and for the applications of all owners."""
DENY_SCOPES = frozenset({"apim:bl_manage"})
"""Scopes for changing deny policies; the bootstrap does not need them."""
_TENANT = "@carbon.super"


@dataclass(frozen=True, slots=True)
class DenyPolicy:
    """A condition under which the gateway refuses every call (900805)."""

    condition_id: str
    condition_type: str
    """`USER`, `APPLICATION`, `API`, or a type of address."""
    value: object
    """`owner:name` of an application, context with version of an API, name with tenant of a user; else an object."""
    is_enabled: bool

    def matches(self, denied: "DenyTarget") -> bool:
        """Return whether this policy refuses these calls, enabled or not."""
        value = str(self.value).removesuffix(_TENANT) if self.condition_type == "USER" else self.value
        return (self.condition_type, value) == (denied.condition_type, denied.value)


@dataclass(frozen=True, slots=True)
class DenyTarget:
    """Calls that a deny policy refuses, as WSO2 accepts them."""

    condition_type: Literal["USER", "APPLICATION", "API"]
    value: str

    @classmethod
    def for_owner(cls, user: str) -> "DenyTarget":
        """Every call with a token of any application of this user, whatever its keys, names and subscriptions.

        WSO2 appends the tenant to the name, and compares it with the token's subject: with client credentials the
        application's owner.
        """
        return cls("USER", user)

    @classmethod
    def for_application(cls, owner: str, name: str) -> "DenyTarget":
        """Every call of the application that has this name now."""
        return cls("APPLICATION", format_application_condition(owner, name))

    @classmethod
    def for_api(cls, versioned_context: str) -> "DenyTarget":
        """Every call of an API, by any caller."""
        return cls("API", versioned_context)


@dataclass(frozen=True, slots=True)
class OwnerApplication:
    """An application of any owner."""

    application_id: str
    name: str


class Admin:
    """The Admin REST API of one WSO2."""

    def __init__(self, http: HttpClient, management_url: str, identity: Identity) -> None:
        self._http = http
        self._base = management_url + BASE_PATH
        self._identity = identity

    def list_policies(self, kind: PolicyKind) -> dict[str, dict[str, object]]:
        """Return the policies of a kind by name, as WSO2 represents them."""
        url = f"{self._base}/throttling/policies/{kind.path_segment}"
        answer = parse_json_object(self._http.call("GET", url, self._identity))
        return {require_field(policy, "policyName"): policy for policy in list_entries(answer)}

    def import_policy(self, policy: Policy) -> None:
        """Add a policy, or replace the one with its name; replacing resets its counters."""
        self._http.call(
            "POST",
            f"{self._base}/throttling/policies/import",
            self._identity,
            accept=(200, 201),
            params={"overwrite": "true"},
            files=build_import_file(policy),
        )

    def list_deny_policies(self) -> list[DenyPolicy]:
        """Return every deny policy, disabled ones included."""
        answer = parse_json_object(self._http.call("GET", f"{self._base}/throttling/deny-policies", self._identity))
        return [_parse_deny_policy(found) for found in list_entries(answer)]

    def deny(self, target: DenyTarget) -> DenyPolicy:
        """Refuse these calls from now on; an existing policy for them is enabled.

        Raises:
            RequestRefusedError: WSO2 rejects it, e.g. because the application is unknown.
        """
        body = {"conditionType": target.condition_type, "conditionValue": target.value, "conditionStatus": True}
        url = f"{self._base}/throttling/deny-policies"
        answer = self._http.send("POST", url, self._identity, json=body)
        if answer.status_code == 201:
            return _parse_deny_policy(parse_json_object(answer))
        for known in self.list_deny_policies():
            if known.matches(target):
                if known.is_enabled:
                    return known
                url = f"{self._base}/throttling/deny-policy/{known.condition_id}"
                enabled = self._http.call("PATCH", url, self._identity, json={"conditionStatus": True})
                return _parse_deny_policy(parse_json_object(enabled))
        raise build_refused_error("POST", url, answer)

    def find_active_deny_policy(self, denied: DenyTarget) -> DenyPolicy | None:
        """Return the deny policy that refuses these calls now, None without one."""
        return next(
            (policy for policy in self.list_deny_policies() if policy.is_enabled and policy.matches(denied)), None
        )

    def remove_deny_policy(self, condition_id: str) -> None:
        """Remove a deny policy; it is no error if it does not exist."""
        url = f"{self._base}/throttling/deny-policy/{condition_id}"
        self._http.call("DELETE", url, self._identity, accept=(200, 204, 404))

    def list_applications(self, owner: str) -> list[OwnerApplication]:
        """Return every application of a user."""
        query = {"user": owner, "limit": "1000"}
        answer = parse_json_object(self._http.call("GET", f"{self._base}/applications", self._identity, params=query))
        # For an unknown user WSO2 lists the applications of all.
        found = [application for application in list_entries(answer) if application.get("owner") == owner]
        return [OwnerApplication(require_field(one, "applicationId"), require_field(one, "name")) for one in found]

    def delete_application(self, application_id: str) -> None:
        """Remove an application of any owner with its keys and subscriptions; it is no error if it does not exist."""
        url = f"{self._base}/applications/{application_id}"
        self._http.call("DELETE", url, self._identity, accept=(200, 202, 404))


def format_application_condition(owner: str, name: str) -> str:
    """Return the value with which a deny policy identifies an application."""
    return f"{owner}:{name}"


def build_import_file(policy: Policy) -> dict[str, tuple[str, bytes, str]]:
    """Return a policy as the multipart file of WSO2's import."""
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
        # WSO2 omits the status in some answers; new policies are enabled.
        is_enabled=bool(found.get("conditionStatus", True)),
    )
