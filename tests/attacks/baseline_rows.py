"""What must pass: a refusal only means something beside a call that is let through."""

from tests.attacks import own_api
from tests.attacks.attack_run import ENERGY, AttackRun
from tests.attacks.formatting import describe_access, summarize, table
from tests.attacks.rows import Group, Observation, Row

from wso2_provisioning.smoke_test import find_probe_path


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.BASELINE,
        ("readings", "subscribed, with the scopes: sun, battery, grid", "200 each", _readings),
        ("own-api", "the same at the attacker's API", "let through", _own_api),
    )


def _readings(run: AttackRun) -> Observation:
    paths = [find_probe_path(run.stack.artifacts.find_api(name)) for name in ENERGY]
    token = run.good_token
    answers = [run.until(lambda path=path: run.call(token, path), lambda it: it.is_success) for path in paths]
    return Observation(summarize(str(answer.status_code) for answer in answers))


def _own_api(run: AttackRun) -> Observation:
    return Observation(describe_access(run.call(run.good_token, own_api.OPEN_PATH)))
