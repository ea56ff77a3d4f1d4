"""Limits: how many calls pass, and by how much a burst overshoots.

Source of the edge: WSO2 API Manager 4.6.0 counts by clock minute, so two full quotas fit into 60 s across its edge.
"""

from collections.abc import Callable

import httpx
from tests.attacks import own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import describe_access, fault, format_status, table
from tests.attacks.rows import Group, Observation, Row, RowSkippedError

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
            _try_evasion,
        ),
        ("plan-edge", "burst over a minute's edge", "at most twice the limit in 60 s", _edge),
        (
            "application",
            "calls over the application's limit",
            f"{fault(APPLICATION_THROTTLED)} at the limit",
            _application,
        ),
    )


def _plan(run: AttackRun) -> Observation:
    token, limit = _spender(run, "Quota"), plan_limit(run)
    run.minutes.roomy()
    return burst(run, lambda: run.call(token), limit, SUBSCRIPTION_THROTTLED)


def _try_evasion(run: AttackRun) -> Observation:
    application = run.resources.application("Evasion", "SolarAPI")
    token, limit = run.request_accepted_token(application, run.scope, path=run.path), plan_limit(run)
    run.minutes.roomy()
    burst(run, lambda: run.call(token), limit, SUBSCRIPTION_THROTTLED)
    other = run.token(application, run.scope, "device_evasion")
    tries = (
        run.call(other),
        run.call(token, headers={"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.2"}),
        run.call(token, headers={"User-Agent": "another", "activityid": "attack-0001", "Cache-Control": "no-cache"}),
        run.call(token, f"{run.path}?again=1"),
        run.call(token, run.path.replace("solar-status", "%73olar-status")),
    )
    told = {format_status(answer) for answer in tries}
    return Observation(f"{told.pop()} each" if len(told) == 1 else "; ".join(format_status(answer) for answer in tries))


def _edge(run: AttackRun) -> Observation:
    token, limit = _spender(run, "Edge"), plan_limit(run)
    run.minutes.to_the_edge()
    before = _count_passed(run, token, limit)
    run.minutes.over_the_edge()
    passed = before + _count_passed(run, token, limit)
    most = 2 * (limit + OVERSHOOT[run.stack.is_local])
    within = "at most twice the limit in 60 s" if passed <= most else f"{passed} calls in 60 s"
    return Observation(
        within, f"{passed} let through, {before} before the edge and {passed - before} after it; limit {limit}"
    )


def _application(run: AttackRun) -> Observation:
    application = run.resources.application("Bounded", own_api.NAME, policy=APPLICATION_POLICY)
    token = run.request_accepted_token(application, own_api.SCOPE)
    run.minutes.roomy()
    return burst(run, lambda: run.call(token, own_api.OPEN_PATH), APPLICATION_LIMIT, APPLICATION_THROTTLED)


def burst(run: AttackRun, call: Callable[[], httpx.Response], limit: int, wanted: Fault) -> Observation:
    """Call until refused, and tell with what and after how many.

    Args:
        run: the run of the attacks.
        call: one call.
        limit: how many may pass.
        wanted: the refusal of this limit.
    """
    most = limit + OVERSHOOT[run.stack.is_local]
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
        if not run.stack.is_local:
            run.http.sleep(_PAUSE_S)
    return Observation(f"no refusal in {most + 1} calls")


def plan_limit(run: AttackRun) -> int:
    """Calls a minute that the plan of the readings allows, as the artifacts say."""
    plan = run.stack.artifacts.find_api("SolarAPI").api.policies[0]
    return run.stack.artifacts.list_plans()[plan].default_limit.request_count.request_count


def shared_limit(run: AttackRun, policy_name: str | None) -> int:
    """Calls a minute that an advanced policy allows all applications together, as the artifacts say.

    Raises:
        RowSkippedError: they do not hold it.
    """
    for policy in run.stack.artifacts.policies:
        if policy.kind is PolicyKind.ADVANCED and policy.name == policy_name:
            return policy.data.default_limit.request_count.request_count
    raise RowSkippedError("needs an advanced policy among the artifacts")


def _spender(run: AttackRun, name: str) -> str:
    application = run.resources.application(name, "SolarAPI")
    return run.request_accepted_token(application, run.scope, path=run.path)


def _count_passed(run: AttackRun, token: str, limit: int) -> int:
    tries = limit + OVERSHOOT[run.stack.is_local] + 1
    return sum(run.call(token).is_success for _ in range(tries))
