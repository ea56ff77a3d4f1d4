"""Developer Portal REST API v3: applications, subscriptions and keys of one owner."""

import binascii
import io
import json
import zipfile
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, cast

from pydantic import SecretStr

from wso2_provisioning.errors import RequestRefusedError
from wso2_provisioning.http_client import HttpClient, Identity, list_entries, parse_json_object, require_field
from wso2_provisioning.tokens import ClientCredentials

BASE_PATH = "/api/am/devportal/v3"
SCOPES = frozenset({"apim:subscribe"})
"""Scopes of an owner's calls."""
EXPORT_SCOPES = frozenset({"apim:app_import_export"})
"""Scopes for reading an application of another owner, as an administrator."""
KEY_MANAGER = "Resident Key Manager"
KEY_TYPE = "PRODUCTION"
UNLIMITED = "Unlimited"
"""Application policy that limits nothing."""
_KEYS_EXIST = (901408, 901409)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Subscription of one application to one API or MCP server."""

    subscription_id: str
    api_id: str
    plan: str
    status: str
    """`UNBLOCKED` unless somebody blocked it."""


@dataclass(frozen=True, slots=True)
class ApplicationKeys:
    """OAuth client of an application."""

    key_mapping_id: str
    """Id of the keys in the Developer Portal."""
    credentials: ClientCredentials


@dataclass(frozen=True, slots=True)
class ApplicationExport:
    """An application as an administrator exports it."""

    policy: str
    """Policy that limits it at all APIs together."""
    keys: ApplicationKeys | None
    """Its production keys, None before they are generated."""
    other_client_ids: tuple[str, ...]
    """Its further consumer keys."""


class DevPortal:
    """The Developer Portal of one user."""

    def __init__(self, http: HttpClient, management_url: str, identity: Identity) -> None:
        self._http = http
        self._base = management_url + BASE_PATH
        self._identity = identity

    def find_application(self, name: str) -> str | None:
        """Return the id of the user's application of that name."""
        # The search also matches parts of names, and returns 25 by default.
        answer = parse_json_object(self._get("/applications", query=name, limit="1000"))
        for application in list_entries(answer):
            if application.get("name") == name:
                return require_field(application, "applicationId")
        return None

    def get_application_policy(self, application_id: str) -> str:
        """Return the name of the policy that limits an application at all APIs together."""
        return require_field(parse_json_object(self._get(f"/applications/{application_id}")), "throttlingPolicy")

    def export_application(self, owner: str, name: str) -> ApplicationExport:
        """Export an application of any owner with its keys; requires an administrator.

        Raises:
            RequestRefusedError: there is no such application, or its format is unknown.
        """
        query = {"appOwner": owner, "appName": name, "withKeys": "true", "format": "JSON"}
        answer = self._http.call("GET", f"{self._base}/applications/export", self._identity, params=query)
        return parse_export(answer.content)

    def create_application(self, name: str, description: str) -> str:
        """Create an application and return its id; if it exists, return the existing one's."""
        body = {"name": name, "throttlingPolicy": UNLIMITED, "description": description}
        answer = self._post("/applications", body, accept=(201, 409))
        if answer.status_code == 201:
            return require_field(parse_json_object(answer), "applicationId")
        known = self.find_application(name)
        if known is None:
            raise RequestRefusedError(f"application {name} exists, but belongs to another user", status=409)
        return known

    def delete_application(self, application_id: str) -> None:
        """Remove an application with its keys and subscriptions."""
        url = f"{self._base}/applications/{application_id}"
        self._http.call("DELETE", url, self._identity, accept=(200, 202, 404))

    def list_subscriptions(self, application_id: str) -> list[Subscription]:
        """Return the application's subscriptions."""
        answer = parse_json_object(self._get("/subscriptions", applicationId=application_id, limit="1000"))
        return [_parse_subscription(found) for found in list_entries(answer)]

    def subscribe(self, application_id: str, api_id: str, plan: str) -> None:
        """Subscribe an application to an API; an existing subscription stays as it is."""
        body = {"applicationId": application_id, "apiId": api_id, "throttlingPolicy": plan}
        self._post("/subscriptions", body, accept=(201, 409))

    def change_plan(self, application_id: str, subscription: Subscription, plan: str) -> None:
        """Change the plan of a subscription."""
        self._http.call(
            "PUT",
            f"{self._base}/subscriptions/{subscription.subscription_id}",
            self._identity,
            json={
                "applicationId": application_id,
                "apiId": subscription.api_id,
                "throttlingPolicy": subscription.plan,
                "requestedThrottlingPolicy": plan,
                "status": subscription.status,
            },
        )

    def find_keys(self, application_id: str) -> ApplicationKeys | None:
        """Return the application's keys, secret included, None before they are generated."""
        answer = parse_json_object(self._get(f"/applications/{application_id}/oauth-keys"))
        for found in list_entries(answer):
            if found.get("keyType") == KEY_TYPE and found.get("keyManager") == KEY_MANAGER:
                return _parse_keys(found)
        return None

    def generate_keys(self, application_id: str) -> ApplicationKeys:
        """Generate the application's keys; existing keys stay as they are."""
        body: dict[str, Any] = {
            "keyType": KEY_TYPE,
            "keyManager": KEY_MANAGER,
            "grantTypesToBeSupported": ["client_credentials"],
            "callbackUrl": "",
            "scopes": ["default"],
            "validityTime": "3600",
            "additionalProperties": {},
        }
        path = f"/applications/{application_id}/generate-keys"
        answer = self._post(path, body, accept=(200, 409))
        if answer.status_code == 200:
            return _parse_keys(parse_json_object(answer))
        known = self.find_keys(application_id)
        if known is None or parse_json_object(answer).get("code") not in _KEYS_EXIST:
            raise RequestRefusedError(
                f"keys of application {application_id} can be neither generated nor read", status=409
            )
        return known

    def rotate_secret(self, application_id: str, keys: ApplicationKeys) -> ApplicationKeys:
        """Replace the application's secret; the old one becomes invalid at once."""
        path = f"/applications/{application_id}/oauth-keys/{keys.key_mapping_id}/regenerate-secret"
        return ApplicationKeys(
            keys.key_mapping_id, _parse_credentials(parse_json_object(self._post(path, {}, accept=(200,))))
        )

    def _get(self, path: str, **query: str) -> Any:
        return self._http.call("GET", self._base + path, self._identity, params=query)

    def _post(self, path: str, body: dict[str, Any], accept: tuple[int, ...]) -> Any:
        return self._http.call("POST", self._base + path, self._identity, accept=accept, json=body)


def parse_export(archive: bytes) -> ApplicationExport:
    """Parse WSO2's export of an application: a zip with one document, in which secrets are in base64.

    Raises:
        RequestRefusedError: it has another format; the message does not contain it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            (name,) = [one for one in files.namelist() if one.endswith("/application.json")]
            document = cast("dict[str, Any]", json.loads(files.read(name)))
        described: dict[str, Any] = document["data"]["applicationInfo"]
        listed_keys: list[dict[str, Any]] = described.get("keys") or []
        found = [key for key in listed_keys if key.get("consumerKey")]
        own = next((key for key in found if key.get("keyType") == KEY_TYPE), None)
        others = tuple(str(key["consumerKey"]) for key in found if key is not own)
        keys = None if own is None else _parse_exported_keys(own)
        return ApplicationExport(require_field(described, "throttlingPolicy"), keys, others)
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestRefusedError("the format of an exported application is unknown", status=200) from error


def _parse_exported_keys(found: dict[str, Any]) -> ApplicationKeys:
    try:
        secret = b64decode(require_field(found, "consumerSecret"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RequestRefusedError("an exported application's secret is not in base64", status=200) from error
    credentials = ClientCredentials(require_field(found, "consumerKey"), SecretStr(secret))
    return ApplicationKeys(str(found.get("keyMappingId") or ""), credentials)


def _parse_subscription(found: dict[str, Any]) -> Subscription:
    return Subscription(
        require_field(found, "subscriptionId"),
        require_field(found, "apiId"),
        require_field(found, "throttlingPolicy"),
        require_field(found, "status"),
    )


def _parse_keys(found: dict[str, Any]) -> ApplicationKeys:
    return ApplicationKeys(require_field(found, "keyMappingId"), _parse_credentials(found))


def _parse_credentials(found: dict[str, Any]) -> ClientCredentials:
    return ClientCredentials(require_field(found, "consumerKey"), SecretStr(require_field(found, "consumerSecret")))
