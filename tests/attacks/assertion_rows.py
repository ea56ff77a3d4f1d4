"""The services' own door: whoever goes past the gateway, or brings an assertion of their own, is not answered."""

from collections.abc import Callable, Mapping
from typing import Any

import httpx
from joserfc.jwk import RSAKey
from tests.attacks import forging, own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import fault, format_status, summarize, table
from tests.attacks.rows import Group, Observation, Row, RowSkippedError

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
        ("direct-forged", "the same, signed by another key", direct, _try_own_key),
        ("direct-unsigned", "alg none, HS256 with the public key", direct, _try_without_signature),
        ("direct-expired", "expired assertion", direct, _try_expired),
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


def _none(run: AttackRun) -> Observation:
    return _direct(run, lambda _: None)


def _try_own_key(run: AttackRun) -> Observation:
    now = run.minutes.now()
    return _direct(run, lambda context: forging.assertion(context, now))


def _try_without_signature(run: AttackRun) -> Observation:
    now = run.minutes.now()
    keys = forging.public_keys(run.access.management.get("/oauth2/jwks").raise_for_status().json())

    def forgeries(context: str) -> list[str]:
        form = forging.assertion(context, now)
        return [
            *forging.remove_signature(form),
            *(token for key in keys for token in forging.sign_with_public_key(form, key)),
        ]

    tries = len(forgeries(_OTHER_CONTEXT))
    seen = [_direct(run, lambda context, n=number: forgeries(context)[n]) for number in range(tries)]
    texts = {one.text for one in seen}
    return Observation(texts.pop() if len(texts) == 1 else "; ".join(sorted(texts)), f"{tries} tries at each service")


def _try_expired(run: AttackRun) -> Observation:
    key, now = gateway_key(run), run.minutes.now()
    return _direct(run, lambda context: forging.assertion(context, now, key, age_s=forging.ASSERTION_LIFE_S + 1))


def _another_api(run: AttackRun) -> Observation:
    key, now = gateway_key(run), run.minutes.now()
    return _direct(run, lambda _: forging.assertion(_OTHER_CONTEXT, now, key))


def _access_token(run: AttackRun) -> Observation:
    token = run.good_token
    return _direct(run, lambda _: token)


def _through(run: AttackRun) -> Observation:
    # A service refuses this assertion: that it answers shows that the gateway put its own in its place.
    forged, token = forging.assertion(_OTHER_CONTEXT, run.minutes.now()), run.good_token
    answers = [run.call(token, headers={name: forged}) for name in (HEADER, HEADER.lower())]
    is_replaced = all(answer.status_code == 200 for answer in answers)
    # At the other API the gateway's own is refused; the attacker's, which names the service's API, must not help.
    helped = run.call(
        token, own_api.GUARDED_PATH, headers={HEADER: forging.assertion("/solar/1.0.0", run.minutes.now())}
    )
    is_replaced = is_replaced and helped.status_code == 401
    return Observation("200, the gateway's own" if is_replaced else summarize(map(format_status, [*answers, helped])))


def _instead(run: AttackRun) -> Observation:
    forged = forging.assertion("/solar/1.0.0", run.minutes.now())
    return Observation(format_status(run.call(headers={HEADER: forged})))


def _other_api(run: AttackRun) -> Observation:
    return Observation(format_status(run.call(run.good_token, own_api.GUARDED_PATH)))


def gateway_key(run: AttackRun) -> RSAKey:
    """The gateway's signing key.

    Raises:
        RowSkippedError: it cannot be read.
    """
    if run.gateway_key is None:
        raise RowSkippedError("needs the gateway's signing key, which this stack keeps to itself")
    return run.gateway_key


def _direct(run: AttackRun, forge: Forge) -> Observation:
    services = run.access.addresses.services
    if not services:
        raise RowSkippedError("needs the addresses of the services")
    told: list[str] = []
    for api_name, service in SERVED_BY.items():
        if service in services:
            project = run.stack.artifacts.find_api(api_name)
            url = services[service] + find_probe_path(project).removeprefix(project.api.versioned_context)
            assertion = forge(project.api.versioned_context)
            told.append(format_direct_response(run, url, {HEADER: assertion} if assertion else {}))
    if "unreachable" in told and not run.stack.is_walled:
        return Observation(f"a service is down: {'; '.join(told)}")
    return Observation(summarize(told), f"{len(told)} services")


def format_direct_response(run: AttackRun, url: str, headers: dict[str, str] | None = None, **request: Any) -> str:
    """Tell what a service answers past the gateway."""
    try:
        return format_status(run.access.direct(url, headers, **request))
    except httpx.TransportError:
        return "unreachable"
