"""Rows on users and roles: statuses of the SOAP service that the bootstrap uses.

Source of the expectations: WSO2 API Manager 4.6.0 (identity-user-ws 5.7.7). Writing operations are declared in-only,
so 202 without a body is inferred there and verified here.
"""

import httpx
from pydantic import SecretStr

from wso2_provisioning.http_client import Identity
from wso2_provisioning.users import SERVICE_PATH, build_envelope
from wso2_provisioning.verification.context import OWNER, VerificationContext
from wso2_provisioning.verification.rows import Observation, Row

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
