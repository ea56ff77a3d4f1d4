"""Tokens that must open nothing: absent, forged in every known way, expired, revoked, of somebody else."""

import httpx
from pydantic import SecretStr
from tests.attacks import forging, own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import fault, format_status, summarize, table
from tests.attacks.impostor import Impostor
from tests.attacks.rows import Group, Observation, Row

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
        ("expired", "an expired token", INVALID, _try_expired),
        ("foreign-key", "signed by another key", INVALID, _foreign_key),
        ("broken-signature", "one bit of the signature changed", INVALID, _try_broken_signature),
        ("rewritten", "more scopes and a longer life", INVALID, _rewritten),
        ("alg-none", "unsigned, ten spellings of alg none", f"{INVALID} each", _try_without_signature),
        ("key-confusion", "HS256 with the public key as secret", f"{INVALID} each", _try_algorithm_confusion),
        ("foreign-issuer", "another issuer", INVALID, _foreign_issuer),
        ("own-keys", "key in the header: jwk, jku, x5u", f"{INVALID} each, nothing fetched", _own_keys),
        ("kid", "kid that names a known file or row", f"{INVALID} each", _kid),
        ("revoked", "a revoked token", f"let through, then {INVALID}", _try_revoked),
        ("replaced", "token after a newer one of its scopes", INVALID, _try_replaced),
        ("assertion", "assertion as access token", INVALID, _assertion),
    )


def _none(run: AttackRun) -> Observation:
    return Observation(format_status(run.call()))


def _garbage(run: AttackRun) -> Observation:
    malformed = run.call("not.a.token")
    return Observation(f"{format_status(malformed)}; {format_status(run.call(headers={'Authorization': 'Bearer'}))}")


def _elsewhere(run: AttackRun) -> Observation:
    token, client = run.good_token, run.reader.client
    basic = httpx.BasicAuth(client.client_id, client.client_secret.get_secret_value())
    password = next(basic.auth_flow(httpx.Request("GET", "https://localhost"))).headers["Authorization"]
    tries = (
        run.call(path=f"{run.path}?access_token={token}"),
        run.call(headers={"Cookie": f"access_token={token}; Authorization=Bearer {token}"}),
        run.call(headers={"X-Authorization": f"Bearer {token}", "Proxy-Authorization": f"Bearer {token}"}),
        run.call(headers={"apikey": token, "Internal-Key": token}),
        run.call(headers={"Authorization": password}),
    )
    return Observation(summarize(map(format_status, tries)))


def _try_expired(run: AttackRun) -> Observation:
    application = run.resources.application("Brief", "SolarAPI", validity_s=_SHORT_LIFE_S)
    token = run.request_accepted_token(application, run.scope, path=run.path)
    run.minutes.wait(_SHORT_LIFE_S + 1)
    return Observation(format_status(run.until(lambda: run.call(token), _is_refused)))


def _foreign_key(run: AttackRun) -> Observation:
    return Observation(format_status(run.call(forging.replace_signature(run.good_token))))


def _try_broken_signature(run: AttackRun) -> Observation:
    return Observation(format_status(run.call(forge_signature(SecretStr(run.good_token)).get_secret_value())))


def _rewritten(run: AttackRun) -> Observation:
    token = run.token(run.reader, "device_poor")
    return Observation(format_status(run.call(forging.rewritten(token, scope=run.scope, exp=4_000_000_000))))


def _try_without_signature(run: AttackRun) -> Observation:
    tries = [run.call(token) for token in forging.remove_signature(run.good_token)]
    return Observation(summarize(map(format_status, tries)), f"{len(tries)} tries")


def _try_algorithm_confusion(run: AttackRun) -> Observation:
    keys = forging.public_keys(run.access.management.get("/oauth2/jwks").raise_for_status().json())
    tries = [run.call(token) for key in keys for token in forging.sign_with_public_key(run.good_token, key)]
    return Observation(summarize(map(format_status, tries)), f"{len(tries)} tries")


def _foreign_issuer(run: AttackRun) -> Observation:
    with Impostor() as impostor:
        token = forging.replace_signature(run.good_token, {"kid": "attacker"}, iss=f"{impostor.url}/oauth2/token")
        return Observation(format_status(run.call(token)))


def _own_keys(run: AttackRun) -> Observation:
    key = forging.own_key().as_dict(private=False) | {"kid": "attacker"}
    with Impostor(lambda: {"keys": [key]}) as impostor:
        headers = ({"jwk": key}, {"jku": f"{impostor.url}/jwks"}, {"x5u": f"{impostor.url}/certificate.pem"})
        tries = [run.call(forging.replace_signature(run.good_token, {"kid": "attacker", **one})) for one in headers]
        fetched = "nothing" if not impostor.requests else f"{len(impostor.requests)} times something"
    return Observation(f"{summarize(map(format_status, tries))}, {fetched} fetched")


def _kid(run: AttackRun) -> Observation:
    token = run.good_token
    tricks = (
        forging.sign_with_key_id(token, "../../../../../../dev/null"),
        forging.sign_with_key_id(token, "file:///dev/null"),
        forging.sign_with_key_id(token, "x' UNION SELECT 'attacker' --", b"attacker"),
        forging.replace_signature(token, {"kid": "' OR '1'='1"}),
    )
    return Observation(summarize(format_status(run.call(trick)) for trick in tricks))


def _try_revoked(run: AttackRun) -> Observation:
    token = run.request_accepted_token(run.reader, own_api.SCOPE, "device_revoked")
    client = run.reader.client
    run.access.management.post(
        f"{run.access.addresses.token_url.removesuffix('/token')}/revoke",
        data={"token": token},
        auth=(client.client_id, client.client_secret.get_secret_value()),
    ).raise_for_status()
    answer = run.until(lambda: run.call(token, own_api.OPEN_PATH), _is_refused)
    return Observation(f"let through, then {format_status(answer)}")


def _try_replaced(run: AttackRun) -> Observation:
    former = run.request_accepted_token(run.reader, own_api.SCOPE, "device_replaced")
    run.ask_token(run.reader.client, own_api.SCOPE, "device_replaced").raise_for_status()
    return Observation(format_status(run.until(lambda: run.call(former, own_api.OPEN_PATH), _is_refused)))


def _assertion(run: AttackRun) -> Observation:
    forged = forging.assertion("/solar/1.0.0", run.minutes.now(), run.gateway_key)
    return Observation(
        format_status(run.call(forged)), "signed by the gateway's own key" if run.stack.signing_key else ""
    )


def _is_refused(answer: httpx.Response) -> bool:
    return answer.status_code == INVALID_CREDENTIALS.http_status
