"""Rows on clients, scopes and tokens (what is granted to whom, for how long), and on users and roles.

Source of the expectations: WSO2 API Manager 4.6.0, client registration, resident key manager (RoleBasedScopesIssuer)
and its documentation of access tokens per device; SOAP service of users (identity-user-ws 5.7.7), whose writing
operations are declared in-only, so 202 without a body is inferred there and verified here.
"""

import secrets
from functools import cached_property

import httpx
from pydantic import SecretStr

from wso2_provisioning.applications import EVAPP
from wso2_provisioning.http_client import Identity
from wso2_provisioning.smoke_test import HEALTH_PATH
from wso2_provisioning.tokens import ClientCredentials, register_client
from wso2_provisioning.users import SERVICE_PATH, build_envelope
from wso2_provisioning.verification.context import OWNER, VerificationContext
from wso2_provisioning.verification.formatting import decode_jwt, describe_access, format_status, parse_body
from wso2_provisioning.verification.rows import Observation, Row
from wso2_terms.codes import INVALID_CREDENTIALS

REACHES_S = 10.0
"""How long a revocation may take to reach the gateway [s]; nothing in WSO2's documents says more than "by event"."""
_REFUSED = f"{INVALID_CREDENTIALS.http_status} {INVALID_CREDENTIALS.code} within {REACHES_S:.0f} s"
_UNREGISTERED = "verify:unregistered"


class TokenRows:
    """Rows with one application of their own."""

    def __init__(self, context: VerificationContext) -> None:
        self._context = context

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        every = sorted(EVAPP.collect_scopes(self._context.artifacts))
        none = "default"
        keys, gateway = "an application of EVApp's owner", "the same, and the gateway"
        return [
            Row("WSO2 says that it is ready", "management address", "200, empty", self._observe_readiness),
            Row(
                "client registered twice is one client",
                "administrator",
                "200 twice, one client",
                self._observe_registration,
            ),
            Row(
                "apim scopes that roles do not allow",
                "EVApp's owner",
                "200, left out silently",
                self._observe_rest_scopes,
            ),
            Row("scopes that the owner's roles allow", keys, " ".join(every), lambda: self._observe_scopes(*every)),
            Row(
                "scopes that no role of the owner allows", "an application of admin", none, self._observe_foreign_scopes
            ),
            Row("scope that no API registers", keys, none, lambda: self._observe_scopes(_UNREGISTERED)),
            Row("scope device_verify", keys, "device_verify", lambda: self._observe_scopes("device_verify")),
            Row(
                "form of a token",
                keys,
                "at+jwt RS256 APPLICATION, 3600 s, nothing to refresh",
                self._observe_token_form,
            ),
            Row("token asked for again, same scopes", gateway, f"former {_REFUSED}", self._observe_repeated_request),
            Row("token of another device_ scope", gateway, "let through", self._observe_device_token),
            Row("revoked token", gateway, f"200, then {_REFUSED}", self._observe_revocation),
        ]

    @cached_property
    def _keys(self) -> ClientCredentials:
        return self._context.ensure_application("Tokens")

    def _observe_readiness(self) -> Observation:
        answer = self._context.http.send(
            "GET", self._context.settings.wso2_management_url + HEALTH_PATH, self._context.password_identity
        )
        return Observation(f"{answer.status_code}, {'not ' if answer.content else ''}empty")

    def _observe_registration(self) -> Observation:
        context = self._context
        again = register_client(context.http, context.settings.wso2_management_url, context.password_identity)
        return Observation(f"200 twice, {'one client' if again == context.client else 'two clients'}")

    def _observe_rest_scopes(self) -> Observation:
        context = self._context
        answer = context.http.send(
            "POST",
            context.settings.token_url,
            Identity.from_client(context.client.client_id, context.client.client_secret),
            data={
                "grant_type": "password",
                "username": OWNER,
                "password": context.owner_password.get_secret_value(),
                "scope": f"apim:admin apim:subscribe device_{secrets.token_hex(4)}",
            },
        )
        granted = str(parse_body(answer).get("scope", "")).split()
        silently = "left out silently" if "apim:admin" not in granted and "apim:subscribe" in granted else str(granted)
        return Observation(f"{answer.status_code}, {silently}")

    def _observe_scopes(self, *scopes: str) -> Observation:
        return _format_scopes(self._context.send_token_request(self._keys, *scopes))

    def _observe_foreign_scopes(self) -> Observation:
        every = [scope.name for scope in self._context.artifacts.list_scopes()]
        return _format_scopes(self._context.send_token_request(self._context.read_scope_probe(), *every))

    def _observe_token_form(self) -> Observation:
        answer = parse_body(self._context.send_token_request(self._keys, "device_form"))
        header, claims = decode_jwt(str(answer["access_token"]))
        refresh = "something" if "refresh_token" in answer else "nothing"
        life = f"{answer['expires_in']} s, {refresh} to refresh"
        return Observation(f"{header.get('typ')} {header.get('alg')} {claims.get('aut')}, {life}")

    def _observe_repeated_request(self) -> Observation:
        former = self._context.request_token(self._keys, self._context.scope)
        self._context.wait_for_access(former)
        self._context.request_token(self._keys, self._context.scope)
        return self._observe_refusal("former ", former)

    def _observe_device_token(self) -> Observation:
        former = self._context.request_token(self._keys, self._context.scope, "device_one")
        self._context.request_token(self._keys, self._context.scope, "device_two")
        return Observation(describe_access(self._context.call(former)))

    def _observe_revocation(self) -> Observation:
        token = self._context.request_token(self._keys, self._context.scope, "device_revoked")
        self._context.wait_for_access(token)
        answer = self._context.revoke_token(self._keys, token)
        return self._observe_refusal(f"{answer.status_code}, then ", token)

    def _observe_refusal(self, before: str, token: SecretStr) -> Observation:
        wanted = f"{INVALID_CREDENTIALS.http_status} {INVALID_CREDENTIALS.code}"
        answer, took_s = self._context.poll(
            lambda: self._context.call(token), lambda found: format_status(found) == wanted, REACHES_S
        )
        if answer is None:
            return Observation(f"{before}still let through after {took_s:.0f} s")
        return Observation(f"{before}{_REFUSED}", f"{took_s:.2f} s")


def _format_scopes(answer: httpx.Response) -> Observation:
    if answer.status_code != 200:
        return Observation(format_status(answer))
    return Observation(" ".join(sorted(str(parse_body(answer).get("scope", "")).split())))


ROLE = "Internal/verify"


class UserRows:
    """Rows with one role of their own."""

    def __init__(self, context: VerificationContext) -> None:
        self._context = context

    def build_rows(self) -> list[Row]:
        """Return the rows in their order."""
        needs = "administrator"
        return [
            Row("SOAP: question", needs, "200, false", lambda: self._observe_query("isExistingRole")),
            Row("SOAP: role added", needs, "202, empty", lambda: self._observe_update("addRole")),
            Row("SOAP: it is there", needs, "200, true", lambda: self._observe_query("isExistingRole")),
            Row("SOAP: role added again", needs, "500, a fault that says so", self._observe_repeated_add),
            Row("SOAP: role deleted", needs, "202, empty", lambda: self._observe_update("deleteRole")),
            Row("SOAP: wrong password", needs, "401", self._observe_wrong_password),
            Row(
                "SOAP: whose password it is",
                needs,
                "true for the right one, false for another",
                self._observe_authentication,
            ),
        ]

    def remove(self) -> None:
        """Delete the role if it still exists."""
        if self._context.wso2.users.role_exists(ROLE):
            self._post("deleteRole")

    def _post(self, operation: str, identity: Identity | None = None) -> httpx.Response:
        return self._context.http.send(
            "POST",
            self._context.settings.wso2_management_url + SERVICE_PATH,
            identity or self._context.password_identity,
            content=build_envelope(operation, [("roleName", ROLE)]),
            headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": f'"urn:{operation}"'},
        )

    def _observe_query(self, operation: str) -> Observation:
        answer = self._post(operation)
        result = next((word for word in ("true", "false") if f">{word}<" in answer.text), "neither")
        return Observation(f"{answer.status_code}, {result}")

    def _observe_update(self, operation: str) -> Observation:
        answer = self._post(operation)
        return Observation(f"{answer.status_code}, {'not ' if answer.content else ''}empty")

    def _observe_repeated_add(self) -> Observation:
        answer = self._post("addRole")
        says_so = "another role name" in answer.text
        return Observation(f"{answer.status_code}, a fault that {'says so' if says_so else 'says something else'}")

    def _observe_authentication(self) -> Observation:
        context = self._context
        tried = (context.owner_password, SecretStr("not-it"))
        right, wrong = (str(context.wso2.users.authenticates(OWNER, password)).lower() for password in tried)
        return Observation(f"{right} for the right one, {wrong} for another")

    def _observe_wrong_password(self) -> Observation:
        name = self._context.settings.wso2_admin_username
        return Observation(
            str(self._post("isExistingRole", Identity.from_password(name, SecretStr("not-it"))).status_code)
        )
