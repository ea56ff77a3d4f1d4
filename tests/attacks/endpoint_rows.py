"""The token endpoint and the REST APIs: what credentials of agents must not buy."""

import httpx
from pydantic import SecretStr
from tests.attacks import own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import describe_access, fault, format_status, table
from tests.attacks.rows import Group, Observation, Row, RowSkippedError

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
        ("widened-by-evapp", "EVApp asks for site:operate, apim scopes", "none granted", _try_wider_scopes),
        ("roleless", "owner without roles asks for every scope", "none granted", _roleless),
        ("unregistered", "unregistered scope", "none granted", _try_unregistered_scope),
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


def _wrong_secret(run: AttackRun) -> Observation:
    client = run.reader.client
    return _format_error(run.ask_token(ClientCredentials(client.client_id, SecretStr("not-the-secret")), run.scope))


def _unknown_client(run: AttackRun) -> Observation:
    return _format_error(run.ask_token(ClientCredentials("attacker", SecretStr("not-a-secret")), run.scope))


def _no_client(run: AttackRun) -> Observation:
    form = {"grant_type": "client_credentials", "scope": run.scope}
    return _format_error(run.access.management.post(run.access.addresses.token_url, data=form))


def _grants(run: AttackRun) -> Observation:
    client = run.reader.client
    unknown = run.ask_token(client, run.scope, grant_type="urn:attacker:grant")
    # Its keys are for client credentials alone; the user and the password are those of its owner.
    password = run.ask_token(client, run.scope, grant_type="password", username=own_api.OWNER, password="guessed")
    return Observation(f"{_format_error(unknown).text}; {_format_error(password).text}")


def _in_address(run: AttackRun) -> Observation:
    client = run.reader.client
    query = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret.get_secret_value(),
    }
    return Observation(str(run.access.management.get(run.access.addresses.token_url, params=query).status_code))


def _try_wider_scopes(run: AttackRun) -> Observation:
    # Scopes that differ from the agent's: asking with the same ones would revoke the token that it holds.
    return _format_granted_scopes(run.ask_token(run.evapp, *run.energy_scopes, *_WIDE, "device_attack"), *_WIDE)


def _roleless(run: AttackRun) -> Observation:
    every = [scope.name for scope in run.stack.artifacts.list_scopes()]
    return _format_granted_scopes(run.ask_token(run.roleless, *every, "device_attack"), *every)


def _try_unregistered_scope(run: AttackRun) -> Observation:
    return _format_granted_scopes(
        run.ask_token(run.reader.client, "attack:everything", "device_attack"), "attack:everything"
    )


def _rest_apis(run: AttackRun) -> Observation:
    token = parse_body(run.ask_token(run.evapp, *run.energy_scopes, "device_attack")).get("access_token", "")
    bearer = {"Authorization": f"Bearer {token}"}
    tries = (
        run.access.management.get(f"{publisher.BASE_PATH}/apis", headers=bearer),
        run.access.management.get(f"{devportal.BASE_PATH}/applications", headers=bearer),
        run.access.management.get(f"{admin.BASE_PATH}/throttling/deny-policies", headers=bearer),
        run.access.management.post(f"{admin.BASE_PATH}/throttling/deny-policies", headers=bearer, json={}),
    )
    told = {answer.status_code for answer in tries}
    return Observation(
        f"{told.pop()} each" if len(told) == 1 else "; ".join(str(answer.status_code) for answer in tries)
    )


def _administrator(run: AttackRun) -> Observation:
    token = run.resources.administrators_token()
    return Observation(format_status(run.call(token)))


def _revoke_anothers(run: AttackRun) -> Observation:
    token, thief = run.good_token, run.stranger.client
    url = f"{run.access.addresses.token_url.removesuffix('/token')}/revoke"
    auth = (thief.client_id, thief.client_secret.get_secret_value())
    answer = run.access.management.post(url, data={"token": token}, auth=auth)
    return Observation(describe_access(run.call(token, own_api.OPEN_PATH)), f"told {answer.status_code}")


def _keys_of_evapp(run: AttackRun) -> Observation:
    query = {"user": EVAPP.owner, "name": EVAPP.name}
    found = list_entries(parse_json_object(run.resources.rest("GET", f"{admin.BASE_PATH}/applications", params=query)))
    ids = [require_field(one, "applicationId") for one in found if one.get("name") == EVAPP.name]
    if not ids:
        raise RowSkippedError(f"needs {EVAPP.name}, which the bootstrap makes")
    path = f"{devportal.BASE_PATH}/applications/{ids[0]}/oauth-keys"
    return Observation(str(run.access.management.get(path, auth=run.resources.login).status_code))


def _format_error(answer: httpx.Response) -> Observation:
    return Observation(f"{answer.status_code} {parse_body(answer).get('error', 'no error')}")


def _format_granted_scopes(answer: httpx.Response, *unwanted: str) -> Observation:
    if answer.status_code != 200:
        return Observation(format_status(answer))
    granted = set(str(parse_body(answer).get("scope", "")).split()) & set(unwanted)
    return Observation(f"granted {' '.join(sorted(granted))}" if granted else "none granted")
