"""What must pass: a refusal only means something beside a call that is let through."""

from tests.attacks import own_api
from tests.attacks.ground import ENERGY, Ground
from tests.attacks.rows import Group, Observation, Row
from tests.attacks.told import describe_access, summed_up, table

from wso2_provisioning.smoke_test import find_probe_path


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.BASELINE,
        ("readings", "subscribed, with the scopes: sun, battery, grid", "200 each", _readings),
        ("own-api", "the same at the attacker's API", "let through", _own_api),
    )


def _readings(ground: Ground) -> Observation:
    paths = [find_probe_path(ground.stack.artifacts.find_api(name)) for name in ENERGY]
    token = ground.good_token
    answers = [ground.until(lambda path=path: ground.call(token, path), lambda it: it.is_success) for path in paths]
    return Observation(summed_up(str(answer.status_code) for answer in answers))


def _own_api(ground: Ground) -> Observation:
    return Observation(describe_access(ground.call(ground.good_token, own_api.OPEN_PATH)))
