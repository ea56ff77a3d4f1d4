"""Limits: how many calls pass, and by how much a burst overshoots.

Source of the edge: WSO2 API Manager 4.6.0 counts by clock minute, so two full quotas fit into 60 s across its edge.
"""

from collections.abc import Callable

import httpx
from tests.attacks import own_api
from tests.attacks.ground import Ground
from tests.attacks.rows import Group, Observation, Row, RowSkippedError
from tests.attacks.told import describe_access, fault, format_status, table

from wso2_terms.codes import APPLICATION_THROTTLED, SUBSCRIPTION_THROTTLED, Fault
from wso2_terms.policies import PolicyKind

OVERSHOOT = {True: 0, False: 10}
"""Calls over a limit that may pass: none at the local gateway; WSO2's verdict comes back a moment later, and its own
tests allow about ten."""
APPLICATION_POLICY, APPLICATION_LIMIT = "10PerMin", 10
"""An application policy that WSO2 ships."""
_PAUSE_S = 0.1


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    plan = fault(SUBSCRIPTION_THROTTLED)
    return table(
        Group.LIMITS,
        ("plan", "calls over the plan", f"{plan} at the limit", _plan),
        (
            "plan-evaded",
            "the same with new token, address, headers, plain HTTP",
            f"{plan} each",
            _evaded,
        ),
        ("plan-edge", "burst over a minute's edge", "at most twice the limit in 60 s", _edge),
        (
            "application",
            "calls over the application's limit",
            f"{fault(APPLICATION_THROTTLED)} at the limit",
            _application,
        ),
    )


def _plan(ground: Ground) -> Observation:
    token, limit = _spender(ground, "Quota"), plan_limit(ground)
    ground.minutes.roomy()
    return burst(ground, lambda: ground.call(token), limit, SUBSCRIPTION_THROTTLED)


def _evaded(ground: Ground) -> Observation:
    application = ground.belongings.application("Evasion", "SolarAPI")
    token, limit = ground.settled(application, ground.scope, path=ground.path), plan_limit(ground)
    ground.minutes.roomy()
    burst(ground, lambda: ground.call(token), limit, SUBSCRIPTION_THROTTLED)
    other = ground.token(application, ground.scope, "device_evasion")
    tries = (
        ground.call(other),
        ground.call(token, headers={"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.2"}),
        ground.call(token, headers={"User-Agent": "another", "activityid": "attack-0001", "Cache-Control": "no-cache"}),
        ground.call(token, f"{ground.path}?again=1"),
        ground.call(token, ground.path.replace("solar-status", "%73olar-status")),
    )
    told = {format_status(answer) for answer in tries}
    return Observation(f"{told.pop()} each" if len(told) == 1 else "; ".join(format_status(answer) for answer in tries))


def _edge(ground: Ground) -> Observation:
    token, limit = _spender(ground, "Edge"), plan_limit(ground)
    ground.minutes.to_the_edge()
    before = _passed(ground, token, limit)
    ground.minutes.over_the_edge()
    passed = before + _passed(ground, token, limit)
    most = 2 * (limit + OVERSHOOT[ground.stack.is_local])
    within = "at most twice the limit in 60 s" if passed <= most else f"{passed} calls in 60 s"
    return Observation(
        within, f"{passed} let through, {before} before the edge and {passed - before} after it; limit {limit}"
    )


def _application(ground: Ground) -> Observation:
    application = ground.belongings.application("Bounded", own_api.NAME, policy=APPLICATION_POLICY)
    token = ground.settled(application, own_api.SCOPE)
    ground.minutes.roomy()
    return burst(ground, lambda: ground.call(token, own_api.OPEN_PATH), APPLICATION_LIMIT, APPLICATION_THROTTLED)


def burst(ground: Ground, call: Callable[[], httpx.Response], limit: int, wanted: Fault) -> Observation:
    """Call until refused, and tell with what and after how many.

    Args:
        ground: the run's.
        call: one call.
        limit: how many may pass.
        wanted: the refusal of this limit.
    """
    most = limit + OVERSHOOT[ground.stack.is_local]
    passed = 0
    for _ in range(most + 1):
        answer = call()
        if answer.status_code == wanted.http_status:
            # The call by which an application was seen to be known may have been of this minute, too.
            at = "at the limit" if limit - 1 <= passed <= most else f"after {passed}"
            return Observation(
                f"{format_status(answer)} {at}", f"{passed} of {limit} passed, overshoot {max(0, passed - limit)}"
            )
        # A service may not like what it is asked: what passes the gateway counts.
        passed += describe_access(answer) == "let through"
        if not ground.stack.is_local:
            ground.http.sleep(_PAUSE_S)
    return Observation(f"no refusal in {most + 1} calls")


def plan_limit(ground: Ground) -> int:
    """Calls a minute that the plan of the readings allows, as the artifacts say."""
    plan = ground.stack.artifacts.find_api("SolarAPI").api.policies[0]
    return ground.stack.artifacts.list_plans()[plan].default_limit.request_count.request_count


def shared_limit(ground: Ground, policy_name: str | None) -> int:
    """Calls a minute that an advanced policy allows all applications together, as the artifacts say.

    Raises:
        RowSkippedError: they do not hold it.
    """
    for policy in ground.stack.artifacts.policies:
        if policy.kind is PolicyKind.ADVANCED and policy.name == policy_name:
            return policy.data.default_limit.request_count.request_count
    raise RowSkippedError("needs an advanced policy among the artifacts")


def _spender(ground: Ground, name: str) -> str:
    application = ground.belongings.application(name, "SolarAPI")
    return ground.settled(application, ground.scope, path=ground.path)


def _passed(ground: Ground, token: str, limit: int) -> int:
    tries = limit + OVERSHOOT[ground.stack.is_local] + 1
    return sum(ground.call(token).is_success for _ in range(tries))
