"""The chargers behind the gateway: who may read them, who may limit them, and what the service takes.

Nothing that is sent commands: the gateway refuses it, or it is no list of limits that the service would look at, so
that not even the lease is touched. Rows of `own_charger_rows` command; they do it on a charger service of their own.
"""

import json

import httpx
from tests.attacks import forging
from tests.attacks.assertion_rows import format_direct_response, gateway_key
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import fault, format_status, summarize, table
from tests.attacks.limit_rows import burst, plan_limit
from tests.attacks.own_chargers import limit
from tests.attacks.rows import Group, Observation, Row, RowSkippedError

from ev_service.assertion import HEADER
from wso2_provisioning.applications import ASSISTANT, CHARGERS_API, CONTROL_API, OPERATOR, ApplicationSpec
from wso2_provisioning.verification.formatting import parse_body
from wso2_terms.codes import NOT_SUBSCRIBED, SCOPE_MISSING, SUBSCRIPTION_THROTTLED

READ, CONTROL = "chargers:read", "chargers:control"
MOST_LIMITS = 1000
LIMITS = "/charger-control/1.0.0/limits"
READINGS = ("/chargers/1.0.0/chargers", "/chargers/1.0.0/chargers/none", "/chargers/1.0.0/sessions")
NO_LIMITS: dict[str, object] = {}
"""What the service refuses before it looks at chargers or at who commands."""
_DEVICE, _JSON = "device_attack", {"Content-Type": "application/json"}
_NOT_SUBSCRIBED, _NO_SCOPE = fault(NOT_SUBSCRIBED), fault(SCOPE_MISSING)
_REFUSED = "401 assertion_refused"


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    direct = (f"{_REFUSED} each", "unreachable each")
    return table(
        Group.CHARGERS,
        (
            "no-scope",
            "subscribed, without the scopes: readings, limit",
            f"{_NO_SCOPE} each",
            _no_scope,
        ),
        (
            "scope-of-reading",
            "limit with the reading scope, and reversed",
            f"{_NO_SCOPE} each",
            _other_scope,
        ),
        (
            "plan",
            "limits over the plan",
            f"{fault(SUBSCRIPTION_THROTTLED)} at the limit",
            _plan,
        ),
        (
            "out-of-range",
            "below 0, above 500 A, no number, no EVSE, none, too many",
            "422 invalid_request each",
            _out_of_range,
        ),
        ("by-assistant", "Assistant's token at ChargerControlAPI", f"not granted, {_NOT_SUBSCRIBED}", _assistant),
        ("by-operator", "Operator's token at ChargerControlAPI", f"not granted, {_NOT_SUBSCRIBED}", _operator),
        ("override-by-evapp", "EVApp at SiteAPI's override", _NOT_SUBSCRIBED, _override),
        ("site-limit-by-evapp", "EVApp at SiteAPI's site limit", _NOT_SUBSCRIBED, _site_limit),
        ("departure-by-evapp", "EVApp at SiteAPI's departures", _NOT_SUBSCRIBED, _departure),
        ("past-gateway", "past the gateway, no assertion", direct, _past_gateway),
        (
            "assertion-of-reading",
            "past the gateway, limit with ChargerAPI's assertion",
            (_REFUSED, "unreachable"),
            _assertion_of_reading,
        ),
    )


def _no_scope(run: AttackRun) -> Observation:
    token = _token(run, "device_without")
    told = [format_status(_put(run, token)), *(format_status(run.call(token, path)) for path in READINGS)]
    return Observation(summarize(told), f"{len(told)} operations")


def _other_scope(run: AttackRun) -> Observation:
    limit_read, reading_controlled = _put(run, _token(run, READ)), _token(run, CONTROL)
    return Observation(
        summarize(
            [format_status(limit_read), *(format_status(run.call(reading_controlled, path)) for path in READINGS)]
        )
    )


def _plan(run: AttackRun) -> Observation:
    token = _own_token(run, "Limits")
    run.minutes.roomy()
    return burst(run, lambda: _put(run, token), plan_limit(run), SUBSCRIPTION_THROTTLED)


def _out_of_range(run: AttackRun) -> Observation:
    token, now = _own_token(run, "Ranges"), run.minutes.now()
    good = limit("attack-nobodys", 16.0, now)
    numbers = [json.dumps([good]).replace("16.0", number) for number in ("-0.1", "500.1", "NaN", "1e999", "null")]
    others = [[good | {"evse_id": 0}], [good | {"charger_id": "a\nb"}], [], [good] * (MOST_LIMITS + 1)]
    tries = [*numbers, *map(json.dumps, others)]
    run.minutes.roomy()
    answers = [run.call(token, LIMITS, method="PUT", headers=_JSON, content=body.encode()) for body in tries]
    return Observation(summarize(map(format_status, answers)), f"{len(tries)} bodies")


def _assistant(run: AttackRun) -> Observation:
    return _by(run, ASSISTANT)


def _operator(run: AttackRun) -> Observation:
    return _by(run, OPERATOR)


def _by(run: AttackRun, spec: ApplicationSpec) -> Observation:
    answer = run.ask_token(run.client_of(spec), CONTROL, *sorted(spec.collect_scopes(run.stack.artifacts)), _DEVICE)
    body = parse_body(answer.raise_for_status())
    granted = "granted" if CONTROL in str(body.get("scope", "")).split() else "not granted"
    return Observation(f"{granted}, {format_status(_put(run, str(body['access_token'])))}")


def _override(run: AttackRun) -> Observation:
    return _evapp_orders(run, "/override")


def _site_limit(run: AttackRun) -> Observation:
    return _evapp_orders(run, "/site/limit")


def _departure(run: AttackRun) -> Observation:
    return _evapp_orders(run, "/sessions/none/departure")


def _evapp_orders(run: AttackRun, target: str) -> Observation:
    site = run.stack.artifacts.find_api("SiteAPI").api
    answer = run.ask_token(run.evapp, site.scopes[0].scope.name, CONTROL, _DEVICE).raise_for_status()
    # Nothing is in it, so that it does nothing where it gets through.
    path = site.versioned_context + target
    return Observation(format_status(run.call(str(answer.json()["access_token"]), path, method="PUT", json={})))


def _past_gateway(run: AttackRun) -> Observation:
    readings = (path.removeprefix(_context(CHARGERS_API)) for path in READINGS)
    told = [*(format_direct_response(run, _base(run) + path) for path in readings), _put_past_gateway(run, {})]
    return Observation(summarize(told), f"{len(told)} operations")


def _assertion_of_reading(run: AttackRun) -> Observation:
    forged = forging.assertion(_context(CHARGERS_API), run.minutes.now(), gateway_key(run))
    return Observation(_put_past_gateway(run, {HEADER: forged}))


def _put_past_gateway(run: AttackRun, headers: dict[str, str]) -> str:
    url = _base(run) + LIMITS.removeprefix(_context(CONTROL_API))
    return format_direct_response(run, url, headers, method="PUT", json=NO_LIMITS)


def _base(run: AttackRun) -> str:
    services = run.access.addresses.services
    if "chargers" not in services:
        raise RowSkippedError("needs the address of the charger service")
    return services["chargers"]


def _context(name: str) -> str:
    return LIMITS.removesuffix("/limits") if name == CONTROL_API else READINGS[0].removesuffix("/chargers")


def _put(run: AttackRun, token: str) -> httpx.Response:
    return run.call(token, LIMITS, method="PUT", json=NO_LIMITS)


def _token(run: AttackRun, *scopes: str) -> str:
    """A token of an application that is known at the gateway and may both read and limit."""
    run.request_accepted_token(run.controller, READ, CONTROL, path=READINGS[0])
    return run.token(run.controller, *scopes)


def _own_token(run: AttackRun, name: str) -> str:
    """A token that reads and limits, of an application that has called nothing yet."""
    return run.request_accepted_token(
        run.resources.application(name, CHARGERS_API, CONTROL_API), READ, CONTROL, path=READINGS[0]
    )
