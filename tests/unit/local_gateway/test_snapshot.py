"""Routing model built from policies, endpoints and revisions."""

from collections.abc import Callable
from typing import Any

from local_gateway.gateway.snapshot import DEFAULT_SUSPENSION_S, DEFAULT_TIMEOUT_S, take_snapshot
from local_gateway.state import GatewayState

Describe = Callable[..., dict[str, Any]]


def list_plan_limits(state: GatewayState) -> list[tuple[str, int, int]]:
    subscriber = take_snapshot(state).subscribers["key-EVApp", "api-1"]
    return [(level.fault.code, level.count, level.window_s) for level in subscriber.levels]


def list_shared_limits(state: GatewayState) -> list[tuple[str, int]]:
    return [(level.fault.code, level.count) for level in take_snapshot(state).apis[0].resources[0].levels]


def test_a_plan_limits_an_application_at_an_api(state: GatewayState) -> None:
    assert list_plan_limits(state) == [("900804", 10, 60)]


def test_a_plan_that_does_not_stop_limits_nothing(state: GatewayState) -> None:
    state.policies["Ten"].data["stopOnQuotaReach"] = False

    assert list_plan_limits(state) == []


def test_a_burst_limit_stands_behind_the_quota_and_before_the_application(state: GatewayState) -> None:
    state.policies["Ten"].data |= {"rateLimitCount": 2, "rateLimitTimeUnit": "sec"}
    state.applications["EVApp"].throttling_policy = "20PerMin"

    assert list_plan_limits(state) == [("900804", 10, 60), ("900807", 2, 1), ("900803", 20, 60)]


def test_a_policy_of_the_api_takes_the_place_of_policies_of_its_resources(
    state: GatewayState, describe: Describe
) -> None:
    operation = {"target": "/solar-status", "verb": "GET", "throttlingPolicy": "10KPerMin"}
    revision = state.apis["api-1"].revisions[0]

    revision.data = describe(operations=[operation])
    assert list_shared_limits(state) == [("900802", 10_000)]
    revision.data = describe(operations=[operation], apiThrottlingPolicy="20KPerMin")
    assert list_shared_limits(state) == [("900800", 20_000)]


def test_a_changed_limit_starts_counting_anew(state: GatewayState) -> None:
    before = take_snapshot(state).subscribers["key-EVApp", "api-1"].levels[0].key
    state.policies["Ten"].data["defaultLimit"]["requestCount"]["requestCount"] = 20

    assert take_snapshot(state).subscribers["key-EVApp", "api-1"].levels[0].key != before


def test_an_endpoint_that_sets_nothing_gets_the_defaults_of_synapse(state: GatewayState) -> None:
    backend = take_snapshot(state).apis[0].production

    assert (backend.timeout_s, backend.suspension_s) == (DEFAULT_TIMEOUT_S, DEFAULT_SUSPENSION_S)


def test_an_endpoint_may_shorten_its_timeout_and_switch_suspension_off(state: GatewayState, describe: Describe) -> None:
    config = {"actionSelect": "fault", "actionDuration": 3000, "suspendDuration": 0}
    endpoints = {"endpoint_type": "http", "production_endpoints": {"url": "http://solar:8001/", "config": config}}
    state.apis["api-1"].revisions[0].data = describe(endpointConfig=endpoints)

    backend = take_snapshot(state).apis[0].production

    assert (backend.url, backend.timeout_s, backend.suspension_s) == ("http://solar:8001", 3.0, 0.0)


def test_what_is_served_is_the_deployed_revision_and_not_the_working_copy(
    state: GatewayState, describe: Describe
) -> None:
    state.apis["api-1"].data = describe(context="/moved")

    assert take_snapshot(state).apis[0].context == "/solar/1.0.0"


def test_an_api_without_deployment_is_not_served(state: GatewayState) -> None:
    state.apis["api-1"].revisions[0].environments = []

    assert take_snapshot(state).apis == ()
