"""The services' own door: whoever goes past the gateway, or brings an assertion of their own, is not answered."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
from joserfc.jwk import RSAKey
from tests.attacks import forging, own_api
from tests.attacks.ground import Ground
from tests.attacks.rows import Group, Observation, Row, RowSkippedError
from tests.attacks.told import fault, format_status, summed_up, table

from ev_service.assertion import HEADER
from wso2_provisioning.smoke_test import find_probe_path
from wso2_terms.codes import MISSING_CREDENTIALS

SERVED_BY: Mapping[str, str] = {"SolarAPI": "solar", "BatteryAPI": "battery", "GridAPI": "grid", "SiteAPI": "chargers"}
"""Which service answers for which API."""
_REFUSED = "401 assertion_refused each"
_OTHER_CONTEXT = "/other/1.0.0"
Forge = Callable[[str], str | None]


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    direct = (_REFUSED, "unreachable each")
    return table(
        Group.ASSERTIONS,
        ("direct-none", "services past the gateway, no assertion", direct, _none),
        ("direct-forged", "the same, signed by another key", direct, _forged),
        ("direct-unsigned", "alg none, HS256 with the public key", direct, _unsigned),
        ("direct-expired", "expired assertion", direct, _expired),
        ("direct-another-api", "another API's assertion", direct, _another_api),
        ("direct-token", "access token instead", direct, _access_token),
        (
            "through-gateway",
            "own assertion with a good token",
            "200, the gateway's own",
            _through,
        ),
        (
            "instead-of-token",
            "own assertion instead of a token",
            fault(MISSING_CREDENTIALS),
            _instead,
        ),
        (
            "another-api",
            "another API of the same service",
            "401 assertion_refused",
            _other_api,
        ),
    )


def _none(ground: Ground) -> Observation:
    return _direct(ground, lambda _: None)


def _forged(ground: Ground) -> Observation:
    now = ground.minutes.now()
    return _direct(ground, lambda context: forging.assertion(context, now))


def _unsigned(ground: Ground) -> Observation:
    now = ground.minutes.now()
    keys = forging.public_keys(ground.door.management.get("/oauth2/jwks").raise_for_status().json())

    def forgeries(context: str) -> list[str]:
        form = forging.assertion(context, now)
        return [*forging.unsigned(form), *(token for key in keys for token in forging.confused(form, key))]

    tries = len(forgeries(_OTHER_CONTEXT))
    seen = [_direct(ground, lambda context, n=number: forgeries(context)[n]) for number in range(tries)]
    texts = {one.text for one in seen}
    return Observation(texts.pop() if len(texts) == 1 else "; ".join(sorted(texts)), f"{tries} tries at each service")


def _expired(ground: Ground) -> Observation:
    key, now = gateway_key(ground), ground.minutes.now()
    return _direct(ground, lambda context: forging.assertion(context, now, key, age_s=forging.ASSERTION_LIFE_S + 1))


def _another_api(ground: Ground) -> Observation:
    key, now = gateway_key(ground), ground.minutes.now()
    return _direct(ground, lambda _: forging.assertion(_OTHER_CONTEXT, now, key))


def _access_token(ground: Ground) -> Observation:
    token = ground.good_token
    return _direct(ground, lambda _: token)


def _through(ground: Ground) -> Observation:
    # A service refuses this assertion: that it answers shows that the gateway put its own in its place.
    forged, token = forging.assertion(_OTHER_CONTEXT, ground.minutes.now()), ground.good_token
    answers = [ground.call(token, headers={name: forged}) for name in (HEADER, HEADER.lower())]
    is_replaced = all(answer.status_code == 200 for answer in answers)
    # At the other API the gateway's own is refused; the attacker's, which names the service's API, must not help.
    helped = ground.call(
        token, own_api.GUARDED_PATH, headers={HEADER: forging.assertion("/solar/1.0.0", ground.minutes.now())}
    )
    is_replaced = is_replaced and helped.status_code == 401
    return Observation("200, the gateway's own" if is_replaced else summed_up(map(format_status, [*answers, helped])))


def _instead(ground: Ground) -> Observation:
    forged = forging.assertion("/solar/1.0.0", ground.minutes.now())
    return Observation(format_status(ground.call(headers={HEADER: forged})))


def _other_api(ground: Ground) -> Observation:
    return Observation(format_status(ground.call(ground.good_token, own_api.GUARDED_PATH)))


def gateway_key(ground: Ground) -> RSAKey:
    """The gateway's signing key.

    Raises:
        RowSkippedError: it can not be read.
    """
    if ground.gateway_key is None:
        raise RowSkippedError("needs the gateway's signing key, which this stack keeps to itself")
    return ground.gateway_key


def _direct(ground: Ground, forge: Forge) -> Observation:
    services = ground.door.addresses.services
    if not services:
        raise RowSkippedError("needs the addresses of the services")
    told: list[str] = []
    for api_name, service in SERVED_BY.items():
        if service in services:
            project = ground.stack.artifacts.find_api(api_name)
            url = services[service] + find_probe_path(project).removeprefix(project.api.versioned_context)
            assertion = forge(project.api.versioned_context)
            told.append(answered(ground, url, {HEADER: assertion} if assertion else {}))
    if "unreachable" in told and not ground.stack.is_walled:
        return Observation(f"a service is down: {'; '.join(told)}")
    return Observation(summed_up(told), f"{len(told)} services")


def answered(ground: Ground, url: str, headers: dict[str, str] | None = None, **request: Any) -> str:
    """Tell what a service answers past the gateway."""
    try:
        return format_status(ground.door.direct(url, headers, **request))
    except httpx.TransportError:
        return "unreachable"
