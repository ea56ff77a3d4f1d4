"""What the artifacts allow and deny, for each application and each operation and tool, held against the gateway."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.attacks.attack_run import SETTLES_S, AttackRun
from tests.attacks.attacker_resources import Application
from tests.attacks.formatting import table
from tests.attacks.rows import Group, Observation, Row, RowState

from wso2_provisioning.applications import APPLICATIONS
from wso2_provisioning.policy_cases import (
    CaseAnswer,
    PolicyEndpoint,
    Situation,
    generate_cases,
    parse_case_answer,
    run_cases,
)
from wso2_provisioning.verification.formatting import parse_body
from wso2_provisioning.verification.rows import RowResult
from wso2_terms.codes import NOT_SUBSCRIBED

_AS_SAID = "every case as the artifacts say"
_MOST_TOLD = 3


def rows() -> tuple[Row, ...]:
    """The one row."""
    return table(Group.POLICY, ("cases", "each application's equal at each operation and tool", _AS_SAID, _cases))


@dataclass(frozen=True)
class _Gateway:
    """The gateway of the stack, called with applications like the published ones."""

    run: AttackRun
    likes: Mapping[str, Application]

    def request_token(self, application: str, scopes: frozenset[str]) -> str:
        return self.run.token(self.likes[application], *sorted(scopes))

    def call(self, endpoint: PolicyEndpoint, token: str) -> CaseAnswer:
        answer = self.run.call(token, endpoint.path, method=endpoint.verb, json=endpoint.message)
        return parse_case_answer(answer.status_code, parse_body(answer) or None)


def _cases(run: AttackRun) -> Observation:
    # Likes of the published applications, so that none of their own calls is spent; limits have rows of their own.
    wanted = [one for one in generate_cases(run.stack.artifacts) if one.situation is not Situation.PLAN_SPENT]
    likes: dict[str, Application] = {
        spec.name: run.resources.application(f"Like{spec.name}", *spec.products) for spec in APPLICATIONS
    }
    run.minutes.roomy()

    gateway = _Gateway(run, likes)
    for spec in APPLICATIONS:
        token = gateway.request_token(spec.name, frozenset({"device_settling"}))
        door = next(one.endpoint for one in wanted if one.endpoint.product == spec.products[-1])
        # Known is who is refused for the scope and no more for the subscription.
        run.wait_for_response(
            lambda door=door, token=token: _format_subscription(gateway.call(door, token)), "known", SETTLES_S
        )
    tried = run_cases(wanted, gateway)
    wrong = [one for one in tried if one.state is not RowState.HOLDS]
    return Observation("; ".join(map(_format_row, wrong[:_MOST_TOLD])) if wrong else _AS_SAID, f"{len(tried)} cases")


def _format_subscription(told: CaseAnswer) -> str:
    return "unknown" if told.code == NOT_SUBSCRIBED.code else "known"


def _format_row(result: RowResult) -> str:
    return f"{result.name}, but {result.observed}"
