"""The chargers behind the gateway: who may read them, who may limit them, and what the service takes.

Nothing that is sent commands: the gateway refuses it, or it is no list of limits that the service would look at, so
that not even the lease is touched. Rows of `own_charger_rows` command; they do it on a charger service of their own.
"""

import json

import httpx
from tests.attacks import forging
from tests.attacks.assertion_rows import answered, gateway_key
from tests.attacks.ground import Ground
from tests.attacks.limit_rows import burst, plan_limit
from tests.attacks.own_chargers import limit
from tests.attacks.rows import Group, Observation, Row, RowSkippedError
from tests.attacks.told import fault, format_status, summed_up, table

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


def _no_scope(ground: Ground) -> Observation:
    token = _token(ground, "device_without")
    told = [format_status(_put(ground, token)), *(format_status(ground.call(token, path)) for path in READINGS)]
    return Observation(summed_up(told), f"{len(told)} operations")


def _other_scope(ground: Ground) -> Observation:
    limit_read, reading_controlled = _put(ground, _token(ground, READ)), _token(ground, CONTROL)
    return Observation(
        summed_up(
            [format_status(limit_read), *(format_status(ground.call(reading_controlled, path)) for path in READINGS)]
        )
    )


def _plan(ground: Ground) -> Observation:
    token = _own_token(ground, "Limits")
    ground.minutes.roomy()
    return burst(ground, lambda: _put(ground, token), plan_limit(ground), SUBSCRIPTION_THROTTLED)


def _out_of_range(ground: Ground) -> Observation:
    token, now = _own_token(ground, "Ranges"), ground.minutes.now()
    good = limit("attack-nobodys", 16.0, now)
    numbers = [json.dumps([good]).replace("16.0", number) for number in ("-0.1", "500.1", "NaN", "1e999", "null")]
    others = [[good | {"evse_id": 0}], [good | {"charger_id": "a\nb"}], [], [good] * (MOST_LIMITS + 1)]
    tries = [*numbers, *map(json.dumps, others)]
    ground.minutes.roomy()
    answers = [ground.call(token, LIMITS, method="PUT", headers=_JSON, content=body.encode()) for body in tries]
    return Observation(summed_up(map(format_status, answers)), f"{len(tries)} bodies")


def _assistant(ground: Ground) -> Observation:
    return _by(ground, ASSISTANT)


def _operator(ground: Ground) -> Observation:
    return _by(ground, OPERATOR)


def _by(ground: Ground, spec: ApplicationSpec) -> Observation:
    answer = ground.ask_token(
        ground.client_of(spec), CONTROL, *sorted(spec.collect_scopes(ground.stack.artifacts)), _DEVICE
    )
    body = parse_body(answer.raise_for_status())
    granted = "granted" if CONTROL in str(body.get("scope", "")).split() else "not granted"
    return Observation(f"{granted}, {format_status(_put(ground, str(body['access_token'])))}")


def _override(ground: Ground) -> Observation:
    return _evapp_orders(ground, "/override")


def _site_limit(ground: Ground) -> Observation:
    return _evapp_orders(ground, "/site/limit")


def _departure(ground: Ground) -> Observation:
    return _evapp_orders(ground, "/sessions/none/departure")


def _evapp_orders(ground: Ground, target: str) -> Observation:
    site = ground.stack.artifacts.find_api("SiteAPI").api
    answer = ground.ask_token(ground.evapp, site.scopes[0].scope.name, CONTROL, _DEVICE).raise_for_status()
    # Nothing is in it, so that it does nothing where it gets through.
    path = site.versioned_context + target
    return Observation(format_status(ground.call(str(answer.json()["access_token"]), path, method="PUT", json={})))


def _past_gateway(ground: Ground) -> Observation:
    readings = (path.removeprefix(_context(CHARGERS_API)) for path in READINGS)
    told = [*(answered(ground, _base(ground) + path) for path in readings), _put_past_gateway(ground, {})]
    return Observation(summed_up(told), f"{len(told)} operations")


def _assertion_of_reading(ground: Ground) -> Observation:
    forged = forging.assertion(_context(CHARGERS_API), ground.minutes.now(), gateway_key(ground))
    return Observation(_put_past_gateway(ground, {HEADER: forged}))


def _put_past_gateway(ground: Ground, headers: dict[str, str]) -> str:
    url = _base(ground) + LIMITS.removeprefix(_context(CONTROL_API))
    return answered(ground, url, headers, method="PUT", json=NO_LIMITS)


def _base(ground: Ground) -> str:
    services = ground.door.addresses.services
    if "chargers" not in services:
        raise RowSkippedError("needs the address of the charger service")
    return services["chargers"]


def _context(name: str) -> str:
    return LIMITS.removesuffix("/limits") if name == CONTROL_API else READINGS[0].removesuffix("/chargers")


def _put(ground: Ground, token: str) -> httpx.Response:
    return ground.call(token, LIMITS, method="PUT", json=NO_LIMITS)


def _token(ground: Ground, *scopes: str) -> str:
    """A token of an application that is known at the gateway and may both read and limit."""
    ground.settled(ground.controller, READ, CONTROL, path=READINGS[0])
    return ground.token(ground.controller, *scopes)


def _own_token(ground: Ground, name: str) -> str:
    """A token that reads and limits, of an application that has called nothing yet."""
    return ground.settled(
        ground.belongings.application(name, CHARGERS_API, CONTROL_API), READ, CONTROL, path=READINGS[0]
    )
