"""Kill switches: that they reach the gateway, that they are taken back, and how long both take.

Each is taken back whatever happens in between, and `leftovers` looks once more.
Source of what is expected: WSO2 API Manager 4.6.0 (carbon-apimgt 9.33.90): all of them travel by events.
"""

from functools import cached_property

import httpx
from pydantic import SecretStr

from wso2_provisioning import admin
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.verification.rows import Row, Seen
from wso2_provisioning.verification.site import OWNER, PREFIX, Site
from wso2_provisioning.verification.told import coded, passage
from wso2_terms.codes import DENIED as DENIED_FAULT
from wso2_terms.codes import SUBSCRIPTION_BLOCKED, Fault

APPLICATION = "Switches"
DENY_PATH = f"{admin.BASE_PATH}/throttling/deny-polic"
DENIED = admin.Denied.application(OWNER, PREFIX + APPLICATION)
DENIED_OWNER = admin.Denied.owner(OWNER)
REACHES_S = 10.0


class SwitchRows:
    """The rows, over one application that is stopped and let go again."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def rows(self) -> list[Row]:
        """Every row, in the order in which they are looked at."""
        needs = "an application of a user made for it"
        return [
            Row("subscription blocked", needs, f"200, then {_met(SUBSCRIPTION_BLOCKED)}", self._blocked),
            Row("subscription unblocked", needs, f"200, then {_let_through()}", self._unblocked),
            Row("deny policy on the application", needs, f"201, then {_met(DENIED_FAULT)}", self._denied),
            Row("the same deny policy again", needs, "409", self._denied_again),
            Row("deny policy deleted", needs, f"200, then {_let_through()}", self._allowed),
            Row("deny policy on the owner", needs, f"201, then {_met(DENIED_FAULT)}", self._owner_denied),
            Row("that deny policy deleted", needs, f"200, then {_let_through()}", self._owner_allowed),
            Row("exported with its key", needs, "the key that the portal gave", self._exported),
        ]

    @cached_property
    def _token(self) -> SecretStr:
        token = self._site.token(self._site.application(APPLICATION), self._site.scope)
        self._site.settle(token)
        return token

    def _blocked(self) -> Seen:
        token = self._token
        query = {"subscriptionId": self._site.subscription(APPLICATION).subscription_id, "blockState": "BLOCKED"}
        answer = self._site.publish("/subscriptions/block-subscription", query)
        return self._after(answer, token, SUBSCRIPTION_BLOCKED)

    def _unblocked(self) -> Seen:
        token = self._token
        query = {"subscriptionId": self._site.subscription(APPLICATION).subscription_id}
        answer = self._site.publish("/subscriptions/unblock-subscription", query)
        return self._after(answer, token, None)

    def _denied(self) -> Seen:
        token = self._token
        return self._after(self._deny(DENIED), token, DENIED_FAULT)

    def _denied_again(self) -> Seen:
        return Seen(str(self._deny(DENIED).status_code))

    def _allowed(self) -> Seen:
        return self._allow(DENIED)

    def _owner_denied(self) -> Seen:
        token = self._token
        return self._after(self._deny(DENIED_OWNER), token, DENIED_FAULT)

    def _owner_allowed(self) -> Seen:
        return self._allow(DENIED_OWNER)

    def _exported(self) -> Seen:
        _ = self._token
        application_id = self._site.application_id(APPLICATION)
        exported = self._site.wso2.admin_portal.export(OWNER, PREFIX + APPLICATION)
        is_same = exported.keys is not None and exported.keys.credentials == self._key(application_id)
        return Seen("the key that the portal gave" if is_same else "another key, or none")

    def _key(self, application_id: str) -> ClientCredentials | None:
        keys = self._site.portal.keys(application_id)
        return None if keys is None else keys.credentials

    def _allow(self, denied: admin.Denied) -> Seen:
        token = self._token
        policy = self._site.admin.denial(denied)
        if policy is None:
            raise ProvisioningError(f"no deny policy names {denied.value}")
        return self._after(self._site.manage("DELETE", f"{DENY_PATH}y/{policy.condition_id}"), token, None)

    def _deny(self, denied: admin.Denied) -> httpx.Response:
        body = {"conditionType": denied.condition_type, "conditionValue": denied.value, "conditionStatus": True}
        return self._site.manage("POST", f"{DENY_PATH}ies", json=body)

    def _after(self, answer: httpx.Response, token: SecretStr, fault: Fault | None) -> Seen:
        wanted = f"{fault.http_status} {fault.code}" if fault else "let through"
        told = coded if fault else passage
        found, took_s = self._site.watch(lambda: self._site.call(token), lambda it: told(it) == wanted, REACHES_S)
        if found is None:
            last = passage(self._site.call(token))
            return Seen(f"{answer.status_code}, then still {last} after {took_s:.0f} s")
        met = _met(fault) if fault else _let_through()
        return Seen(f"{answer.status_code}, then {met}", f"{took_s:.2f} s")


def denials(site: Site) -> list[str]:
    """Ids of the deny policies that name the owner of what is made here, or an application of theirs."""
    made = admin.denied_application(OWNER, PREFIX)
    return [
        found.condition_id
        for found in site.admin.deny_policies()
        if found.is_of(DENIED_OWNER) or str(found.value).startswith(made)
    ]


def _met(fault: Fault) -> str:
    return f"{fault.http_status} {fault.code} within {REACHES_S:.0f} s"


def _let_through() -> str:
    return f"let through within {REACHES_S:.0f} s"
