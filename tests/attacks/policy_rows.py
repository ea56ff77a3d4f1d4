"""What the artifacts allow and deny, for each application and each operation and tool, held against the gateway."""

from tests.attacks.belongings import Application
from tests.attacks.ground import SETTLES_S, Ground
from tests.attacks.rows import Group, Observation, Row, RowState
from tests.attacks.told import table

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


def _cases(ground: Ground) -> Observation:
    # Likes of the published applications, so that none of their own calls is spent; limits have rows of their own.
    wanted = [one for one in generate_cases(ground.stack.artifacts) if one.situation is not Situation.PLAN_SPENT]
    likes: dict[str, Application] = {
        spec.name: ground.belongings.application(f"Like{spec.name}", *spec.products) for spec in APPLICATIONS
    }
    ground.minutes.roomy()

    def call(door: PolicyEndpoint, token: str) -> CaseAnswer:
        answer = ground.call(token, door.path, method=door.verb, json=door.message)
        return parse_case_answer(answer.status_code, parse_body(answer) or None)

    def token_of(name: str, scopes: frozenset[str]) -> str:
        return ground.token(likes[name], *sorted(scopes))

    for spec in APPLICATIONS:
        token = token_of(spec.name, frozenset({"device_settling"}))
        door = next(one.endpoint for one in wanted if one.endpoint.product == spec.products[-1])
        # Known is who is refused for the scope and no more for the subscription.
        ground.told_within(lambda door=door, token=token: _known(call(door, token)), "known", SETTLES_S)
    tried = run_cases(wanted, token_of, call)
    wrong = [one for one in tried if one.state is not RowState.HOLDS]
    return Observation("; ".join(map(_told, wrong[:_MOST_TOLD])) if wrong else _AS_SAID, f"{len(tried)} cases")


def _known(told: CaseAnswer) -> str:
    return "unknown" if told.code == NOT_SUBSCRIBED.code else "known"


def _told(result: RowResult) -> str:
    return f"{result.name}, but {result.observed}"
