"""The token endpoint and the REST APIs: what credentials of agents must not buy."""

import httpx
from pydantic import SecretStr
from tests.attacks import own_api
from tests.attacks.ground import Ground
from tests.attacks.rows import Group, Observation, Row, RowSkippedError
from tests.attacks.told import describe_access, fault, format_status, table

from wso2_provisioning import admin, devportal, publisher
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.http_client import list_entries, parse_json_object, require_field
from wso2_provisioning.tokens import ClientCredentials
from wso2_provisioning.verification.formatting import parse_body
from wso2_terms.codes import INVALID_CREDENTIALS, NOT_SUBSCRIBED

_WIDE = ("site:operate", "apim:admin", "apim:api_publish")
_REFUSED_GRANT = ("400 unsupported_grant_type", "400 unauthorized_client", "400 invalid_grant")


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    rest = ("401 each", "403 each")
    refused = tuple(f"{one}; {other}" for one in _REFUSED_GRANT for other in _REFUSED_GRANT)
    return table(
        Group.TOKEN_ENDPOINT,
        ("wrong-secret", "wrong secret", "401 invalid_client", _wrong_secret),
        ("unknown-client", "unknown client", ("401 invalid_client", "400 invalid_client"), _unknown_client),
        ("no-client", "no client", ("401 invalid_client", "400 invalid_request"), _no_client),
        ("unknown-grant", "unknown and disallowed grants", refused, _grants),
        ("in-the-address", "client and secret in the address", ("405", "400", "401"), _in_address),
        ("widened-by-evapp", "EVApp asks for site:operate, apim scopes", "none granted", _widened),
        ("roleless", "owner without roles asks for every scope", "none granted", _roleless),
        ("unregistered", "unregistered scope", "none granted", _unregistered),
        ("rest-apis", "EVApp's token at Publisher, Developer Portal, Admin", rest, _rest_apis),
        (
            "administrators-token",
            "administrator's token at the gateway",
            (fault(NOT_SUBSCRIBED), fault(INVALID_CREDENTIALS)),
            _administrator,
        ),
        ("revoke-anothers", "revoking another application's token", "let through", _revoke_anothers),
        ("keys-of-evapp", "another user reads EVApp's keys", ("403", "404"), _keys_of_evapp),
    )


def _wrong_secret(ground: Ground) -> Observation:
    client = ground.reader.client
    return _said(ground.ask_token(ClientCredentials(client.client_id, SecretStr("not-the-secret")), ground.scope))


def _unknown_client(ground: Ground) -> Observation:
    return _said(ground.ask_token(ClientCredentials("attacker", SecretStr("not-a-secret")), ground.scope))


def _no_client(ground: Ground) -> Observation:
    form = {"grant_type": "client_credentials", "scope": ground.scope}
    return _said(ground.door.management.post(ground.door.addresses.token_url, data=form))


def _grants(ground: Ground) -> Observation:
    client = ground.reader.client
    unknown = ground.ask_token(client, ground.scope, grant_type="urn:attacker:grant")
    # Its keys are for client credentials alone; the user and the password are those of its owner.
    password = ground.ask_token(client, ground.scope, grant_type="password", username=own_api.OWNER, password="guessed")
    return Observation(f"{_said(unknown).text}; {_said(password).text}")


def _in_address(ground: Ground) -> Observation:
    client = ground.reader.client
    query = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret.get_secret_value(),
    }
    return Observation(str(ground.door.management.get(ground.door.addresses.token_url, params=query).status_code))


def _widened(ground: Ground) -> Observation:
    # Scopes that differ from the agent's: asking with the same ones would revoke the token that it holds.
    return _granted(ground.ask_token(ground.evapp, *ground.energy_scopes, *_WIDE, "device_attack"), *_WIDE)


def _roleless(ground: Ground) -> Observation:
    every = [scope.name for scope in ground.stack.artifacts.list_scopes()]
    return _granted(ground.ask_token(ground.roleless, *every, "device_attack"), *every)


def _unregistered(ground: Ground) -> Observation:
    return _granted(ground.ask_token(ground.reader.client, "attack:everything", "device_attack"), "attack:everything")


def _rest_apis(ground: Ground) -> Observation:
    token = parse_body(ground.ask_token(ground.evapp, *ground.energy_scopes, "device_attack")).get("access_token", "")
    bearer = {"Authorization": f"Bearer {token}"}
    tries = (
        ground.door.management.get(f"{publisher.BASE_PATH}/apis", headers=bearer),
        ground.door.management.get(f"{devportal.BASE_PATH}/applications", headers=bearer),
        ground.door.management.get(f"{admin.BASE_PATH}/throttling/deny-policies", headers=bearer),
        ground.door.management.post(f"{admin.BASE_PATH}/throttling/deny-policies", headers=bearer, json={}),
    )
    told = {answer.status_code for answer in tries}
    return Observation(
        f"{told.pop()} each" if len(told) == 1 else "; ".join(str(answer.status_code) for answer in tries)
    )


def _administrator(ground: Ground) -> Observation:
    token = ground.belongings.administrators_token()
    return Observation(format_status(ground.call(token)))


def _revoke_anothers(ground: Ground) -> Observation:
    token, thief = ground.good_token, ground.stranger.client
    url = f"{ground.door.addresses.token_url.removesuffix('/token')}/revoke"
    auth = (thief.client_id, thief.client_secret.get_secret_value())
    answer = ground.door.management.post(url, data={"token": token}, auth=auth)
    return Observation(describe_access(ground.call(token, own_api.OPEN_PATH)), f"told {answer.status_code}")


def _keys_of_evapp(ground: Ground) -> Observation:
    query = {"user": EVAPP.owner, "name": EVAPP.name}
    found = list_entries(
        parse_json_object(ground.belongings.rest("GET", f"{admin.BASE_PATH}/applications", params=query))
    )
    ids = [require_field(one, "applicationId") for one in found if one.get("name") == EVAPP.name]
    if not ids:
        raise RowSkippedError(f"needs {EVAPP.name}, which the bootstrap makes")
    path = f"{devportal.BASE_PATH}/applications/{ids[0]}/oauth-keys"
    return Observation(str(ground.door.management.get(path, auth=ground.belongings.login).status_code))


def _said(answer: httpx.Response) -> Observation:
    return Observation(f"{answer.status_code} {parse_body(answer).get('error', 'no error')}")


def _granted(answer: httpx.Response, *unwanted: str) -> Observation:
    if answer.status_code != 200:
        return Observation(format_status(answer))
    granted = set(str(parse_body(answer).get("scope", "")).split()) & set(unwanted)
    return Observation(f"granted {' '.join(sorted(granted))}" if granted else "none granted")
