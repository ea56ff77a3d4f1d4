"""Reads and clicks with the operator's key do not throttle a stop, with SiteAPI as published."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from local_gateway.gateway.routing import RouteMatch, Router
from local_gateway.gateway.snapshot import take_snapshot
from local_gateway.gateway.throttling import LimitExceeded, Throttle
from local_gateway.state import GatewayState, PolicyRecord, Subscription

WSO2_DIR = Path(__file__).resolve().parents[3] / "wso2"
NOW_S = 1_782_043_230.0


class Operator:
    """EVApp's application of the state, subscribed to SiteAPI as the bootstrap subscribes Operator."""

    def __init__(self, state: GatewayState, plan: str | None = None) -> None:
        file = yaml.safe_load((WSO2_DIR / "apis" / "SiteAPI-1.0.0" / "api.yaml").read_text())
        api = state.apis["api-1"]
        data: dict[str, Any] = file["data"] | {"endpointConfig": api.revisions[0].data["endpointConfig"]}
        api.data = api.revisions[0].data = data
        for policy in (WSO2_DIR / "policies").glob("*.yaml"):
            held = yaml.safe_load(policy.read_text())
            record = PolicyRecord(policy_id=policy.stem, kind=held["subtype"], data=held["data"])
            state.policies[policy.stem] = record
        state.subscriptions["sub-1"] = Subscription(
            subscription_id="sub-1",
            application_id="EVApp",
            api_id="api-1",
            throttling_policy=plan or data["policies"][0],
        )
        snapshot = take_snapshot(state)
        self._levels = snapshot.subscribers["key-EVApp", "api-1"].levels
        self._router = Router(snapshot.apis)
        self._throttle = Throttle()

    def passes(self, verb: str, target: str) -> bool:
        found = self._router.find(verb, f"/site/1.0.0{target}")
        assert isinstance(found, RouteMatch)
        return not isinstance(self._throttle.admit((*found.resource.levels, *self._levels), NOW_S), LimitExceeded)


@pytest.mark.parametrize(
    ("verb", "target"),
    [
        ("GET", "/override"),
        ("GET", "/orders"),
        ("GET", "/kills"),
        ("PUT", "/sessions/s-1/departure"),
        ("PUT", "/override"),
    ],
)
def test_a_flood_of_another_operation_does_not_throttle_a_stop(state: GatewayState, verb: str, target: str) -> None:
    operator = Operator(state)
    flood = [operator.passes(verb, target) for _ in range(500)]

    assert all(operator.passes("PUT", "/override") for _ in range(100))
    assert operator.passes("PUT", "/site/limit")
    assert operator.passes("POST", "/kills")
    assert all(flood) == (target == "/override" and verb == "PUT")


def test_the_former_plan_throttled_it(state: GatewayState) -> None:
    operator = Operator(state, plan="Energy10PerMin")
    for _ in range(10):
        operator.passes("GET", "/orders")

    assert not operator.passes("PUT", "/override")
