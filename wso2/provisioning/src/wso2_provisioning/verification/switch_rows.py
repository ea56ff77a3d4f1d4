"""Rows on kill switches: their effect at the gateway, their reversal, and how long both take.

Each is reverted whatever happens in between, and `cleanup` checks again.
Source of the expectations: WSO2 API Manager 4.6.0 (carbon-apimgt 9.33.90): all of them propagate by events.
"""

from functools import cached_property

import httpx
from pydantic import SecretStr

from wso2_provisioning import admin
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.verification.context import OWNER, PREFIX, VerificationContext
from wso2_provisioning.verification.formatting import describe_access, format_status
from wso2_provisioning.verification.rows import Observation, Row
from wso2_terms.codes import DENIED as DENIED_FAULT
from wso2_terms.codes import SUBSCRIPTION_BLOCKED, Fault

APPLICATION = "Switches"
DENY_PATH = f"{admin.BASE_PATH}/throttling/deny-polic"
DENIED = admin.DenyTarget.for_application(OWNER, PREFIX + APPLICATION)
DENIED_OWNER = admin.DenyTarget.for_owner(OWNER)
REACHES_S = 10.0


class SwitchRows:
    """Rows with one application that is stopped and allowed again."""

    def __init__(self, context: VerificationContext) -> None:
        self._context = context

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        needs = "an application of a user made for it"
        return [
            Row("subscription blocked", needs, f"200, then {_format_fault(SUBSCRIPTION_BLOCKED)}", self._observe_block),
            Row("subscription unblocked", needs, f"200, then {_format_access()}", self._observe_unblock),
            Row(
                "deny policy on the application", needs, f"201, then {_format_fault(DENIED_FAULT)}", self._observe_deny
            ),
            Row("the same deny policy again", needs, "409", self._observe_repeated_deny),
            Row("deny policy deleted", needs, f"200, then {_format_access()}", self._observe_allow),
            Row(
                "deny policy on the owner", needs, f"201, then {_format_fault(DENIED_FAULT)}", self._observe_owner_deny
            ),
            Row("that deny policy deleted", needs, f"200, then {_format_access()}", self._observe_owner_allow),
            Row("exported with its key", needs, "the key that the portal gave", self._observe_export),
        ]

    @cached_property
    def _token(self) -> SecretStr:
        token = self._context.request_token(self._context.ensure_application(APPLICATION), self._context.scope)
        self._context.wait_for_access(token)
        return token

    def _observe_block(self) -> Observation:
        token = self._token
        query = {
            "subscriptionId": self._context.find_subscription(APPLICATION).subscription_id,
            "blockState": "BLOCKED",
        }
        answer = self._context.call_publisher("/subscriptions/block-subscription", query)
        return self._observe_change(answer, token, SUBSCRIPTION_BLOCKED)

    def _observe_unblock(self) -> Observation:
        token = self._token
        query = {"subscriptionId": self._context.find_subscription(APPLICATION).subscription_id}
        answer = self._context.call_publisher("/subscriptions/unblock-subscription", query)
        return self._observe_change(answer, token, None)

    def _observe_deny(self) -> Observation:
        token = self._token
        return self._observe_change(self._deny(DENIED), token, DENIED_FAULT)

    def _observe_repeated_deny(self) -> Observation:
        return Observation(str(self._deny(DENIED).status_code))

    def _observe_allow(self) -> Observation:
        return self._allow(DENIED)

    def _observe_owner_deny(self) -> Observation:
        token = self._token
        return self._observe_change(self._deny(DENIED_OWNER), token, DENIED_FAULT)

    def _observe_owner_allow(self) -> Observation:
        return self._allow(DENIED_OWNER)

    def _observe_export(self) -> Observation:
        _ = self._token
        application_id = self._context.application_id_of(APPLICATION)
        exported = self._context.wso2.admin_portal.export_application(OWNER, PREFIX + APPLICATION)
        keys = self._context.portal.find_keys(application_id)
        is_same = exported.keys is not None and keys is not None and exported.keys.credentials == keys.credentials
        return Observation("the key that the portal gave" if is_same else "another key, or none")

    def _allow(self, denied: admin.DenyTarget) -> Observation:
        token = self._token
        policy = self._context.admin.find_active_deny_policy(denied)
        if policy is None:
            raise ProvisioningError(f"no deny policy names {denied.value}")
        return self._observe_change(
            self._context.call_admin("DELETE", f"{DENY_PATH}y/{policy.condition_id}"), token, None
        )

    def _deny(self, denied: admin.DenyTarget) -> httpx.Response:
        body = {"conditionType": denied.condition_type, "conditionValue": denied.value, "conditionStatus": True}
        return self._context.call_admin("POST", f"{DENY_PATH}ies", json=body)

    def _observe_change(self, answer: httpx.Response, token: SecretStr, fault: Fault | None) -> Observation:
        wanted = f"{fault.http_status} {fault.code}" if fault else "let through"
        format_answer = format_status if fault else describe_access
        found, took_s = self._context.poll(
            lambda: self._context.call(token), lambda it: format_answer(it) == wanted, REACHES_S
        )
        if found is None:
            last = describe_access(self._context.call(token))
            return Observation(f"{answer.status_code}, then still {last} after {took_s:.0f} s")
        met = _format_fault(fault) if fault else _format_access()
        return Observation(f"{answer.status_code}, then {met}", f"{took_s:.2f} s")


def list_leftover_deny_policies(context: VerificationContext) -> list[str]:
    """Return the ids of the deny policies on the verification's owner or an application of that user."""
    prefix = admin.format_application_condition(OWNER, PREFIX)
    return [
        found.condition_id
        for found in context.admin.list_deny_policies()
        if found.matches(DENIED_OWNER) or str(found.value).startswith(prefix)
    ]


def _format_fault(fault: Fault) -> str:
    return f"{fault.http_status} {fault.code} within {REACHES_S:.0f} s"


def _format_access() -> str:
    return f"let through within {REACHES_S:.0f} s"
