"""Tokens that must open nothing: absent, forged in every known way, expired, revoked, of somebody else."""

import httpx
from pydantic import SecretStr
from tests.attacks import forging, own_api
from tests.attacks.ground import Ground
from tests.attacks.impostor import Impostor
from tests.attacks.rows import Group, Observation, Row
from tests.attacks.told import fault, format_status, summed_up, table

from wso2_provisioning.verification.refusal_rows import forge_signature
from wso2_terms.codes import INVALID_CREDENTIALS, MISSING_CREDENTIALS

NOBODY, INVALID = fault(MISSING_CREDENTIALS), fault(INVALID_CREDENTIALS)
_SHORT_LIFE_S = 5


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    either = (f"{NOBODY} each", f"{INVALID} each")
    return table(
        Group.TOKENS,
        ("none", "no token", NOBODY, _none),
        ("garbage", "a malformed token, an empty one", f"{INVALID}; {NOBODY}", _garbage),
        ("elsewhere", "token in query, cookie, X-Authorization, apikey, Basic", either, _elsewhere),
        ("expired", "an expired token", INVALID, _expired),
        ("foreign-key", "signed by another key", INVALID, _foreign_key),
        ("broken-signature", "one bit of the signature changed", INVALID, _broken),
        ("rewritten", "more scopes and a longer life", INVALID, _rewritten),
        ("alg-none", "unsigned, ten spellings of alg none", f"{INVALID} each", _unsigned),
        ("key-confusion", "HS256 with the public key as secret", f"{INVALID} each", _confused),
        ("foreign-issuer", "another issuer", INVALID, _foreign_issuer),
        ("own-keys", "key in the header: jwk, jku, x5u", f"{INVALID} each, nothing fetched", _own_keys),
        ("kid", "kid that names a known file or row", f"{INVALID} each", _kid),
        ("revoked", "a revoked token", f"let through, then {INVALID}", _revoked),
        ("replaced", "token after a newer one of its scopes", INVALID, _replaced),
        ("assertion", "assertion as access token", INVALID, _assertion),
    )


def _none(ground: Ground) -> Observation:
    return Observation(format_status(ground.call()))


def _garbage(ground: Ground) -> Observation:
    malformed = ground.call("not.a.token")
    return Observation(f"{format_status(malformed)}; {format_status(ground.call(headers={'Authorization': 'Bearer'}))}")


def _elsewhere(ground: Ground) -> Observation:
    token, client = ground.good_token, ground.reader.client
    basic = httpx.BasicAuth(client.client_id, client.client_secret.get_secret_value())
    password = next(basic.auth_flow(httpx.Request("GET", "https://localhost"))).headers["Authorization"]
    tries = (
        ground.call(path=f"{ground.path}?access_token={token}"),
        ground.call(headers={"Cookie": f"access_token={token}; Authorization=Bearer {token}"}),
        ground.call(headers={"X-Authorization": f"Bearer {token}", "Proxy-Authorization": f"Bearer {token}"}),
        ground.call(headers={"apikey": token, "Internal-Key": token}),
        ground.call(headers={"Authorization": password}),
    )
    return Observation(summed_up(map(format_status, tries)))


def _expired(ground: Ground) -> Observation:
    application = ground.belongings.application("Brief", "SolarAPI", validity_s=_SHORT_LIFE_S)
    token = ground.settled(application, ground.scope, path=ground.path)
    ground.minutes.wait(_SHORT_LIFE_S + 1)
    return Observation(format_status(ground.until(lambda: ground.call(token), _is_refused)))


def _foreign_key(ground: Ground) -> Observation:
    return Observation(format_status(ground.call(forging.resigned(ground.good_token))))


def _broken(ground: Ground) -> Observation:
    return Observation(format_status(ground.call(forge_signature(SecretStr(ground.good_token)).get_secret_value())))


def _rewritten(ground: Ground) -> Observation:
    token = ground.token(ground.reader, "device_poor")
    return Observation(format_status(ground.call(forging.rewritten(token, scope=ground.scope, exp=4_000_000_000))))


def _unsigned(ground: Ground) -> Observation:
    tries = [ground.call(token) for token in forging.unsigned(ground.good_token)]
    return Observation(summed_up(map(format_status, tries)), f"{len(tries)} tries")


def _confused(ground: Ground) -> Observation:
    keys = forging.public_keys(ground.door.management.get("/oauth2/jwks").raise_for_status().json())
    tries = [ground.call(token) for key in keys for token in forging.confused(ground.good_token, key)]
    return Observation(summed_up(map(format_status, tries)), f"{len(tries)} tries")


def _foreign_issuer(ground: Ground) -> Observation:
    with Impostor() as impostor:
        token = forging.resigned(ground.good_token, {"kid": "attacker"}, iss=f"{impostor.url}/oauth2/token")
        return Observation(format_status(ground.call(token)))


def _own_keys(ground: Ground) -> Observation:
    key = forging.own_key().as_dict(private=False) | {"kid": "attacker"}
    with Impostor(lambda: {"keys": [key]}) as impostor:
        headers = ({"jwk": key}, {"jku": f"{impostor.url}/jwks"}, {"x5u": f"{impostor.url}/certificate.pem"})
        tries = [ground.call(forging.resigned(ground.good_token, {"kid": "attacker", **one})) for one in headers]
        fetched = "nothing" if not impostor.requests else f"{len(impostor.requests)} times something"
    return Observation(f"{summed_up(map(format_status, tries))}, {fetched} fetched")


def _kid(ground: Ground) -> Observation:
    token = ground.good_token
    tricks = (
        forging.keyed(token, "../../../../../../dev/null"),
        forging.keyed(token, "file:///dev/null"),
        forging.keyed(token, "x' UNION SELECT 'attacker' --", b"attacker"),
        forging.resigned(token, {"kid": "' OR '1'='1"}),
    )
    return Observation(summed_up(format_status(ground.call(trick)) for trick in tricks))


def _revoked(ground: Ground) -> Observation:
    token = ground.settled(ground.reader, own_api.SCOPE, "device_revoked")
    client = ground.reader.client
    ground.door.management.post(
        f"{ground.door.addresses.token_url.removesuffix('/token')}/revoke",
        data={"token": token},
        auth=(client.client_id, client.client_secret.get_secret_value()),
    ).raise_for_status()
    answer = ground.until(lambda: ground.call(token, own_api.OPEN_PATH), _is_refused)
    return Observation(f"let through, then {format_status(answer)}")


def _replaced(ground: Ground) -> Observation:
    former = ground.settled(ground.reader, own_api.SCOPE, "device_replaced")
    ground.ask_token(ground.reader.client, own_api.SCOPE, "device_replaced").raise_for_status()
    return Observation(format_status(ground.until(lambda: ground.call(former, own_api.OPEN_PATH), _is_refused)))


def _assertion(ground: Ground) -> Observation:
    forged = forging.assertion("/solar/1.0.0", ground.minutes.now(), ground.gateway_key)
    return Observation(
        format_status(ground.call(forged)), "signed by the gateway's own key" if ground.stack.signing_key else ""
    )


def _is_refused(answer: httpx.Response) -> bool:
    return answer.status_code == INVALID_CREDENTIALS.http_status
