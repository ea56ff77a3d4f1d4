"""Routing: the resource that a path addresses, and rejected ambiguous paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_gateway.gateway.path_normalization import decode_path
from local_gateway.gateway.routing import RouteMatch, RouteNotFound, Router
from local_gateway.gateway.routing_model import Backend, GatewayApi, Resource
from wso2_terms.codes import METHOD_NOT_ALLOWED, NO_RESOURCE, NOT_FOUND, Fault

BACKEND = Backend("backend", "http://backend", 1.0, 0.0)


def api(context: str, *targets: str, is_default: bool = False) -> GatewayApi:
    return GatewayApi(
        api_id=context,
        name=context,
        version="1.0.0",
        context=f"{context}/1.0.0",
        provider="admin",
        is_blocked=False,
        is_default_version=is_default,
        transports=frozenset({"http", "https"}),
        authorization_header="Authorization",
        resources=tuple(
            Resource(target.split(" ")[1], target.split(" ")[0], True, frozenset(), ()) for target in targets
        ),
        production=BACKEND,
        sandbox=None,
    )


ROUTER = Router(
    [
        api("/solar", "GET /solar-status", "POST /solar-status", "GET /days/{day}", "GET /days/today", is_default=True),
        api("/solar/1.0.0/inner", "GET /*"),
        api("/files", "GET /*"),
    ]
)


def find(path: str, verb: str = "GET") -> tuple[str, str] | None:
    match = ROUTER.find(verb, path)
    return (match.resource.target, match.path) if isinstance(match, RouteMatch) else None


def find_fault(path: str, verb: str = "GET") -> Fault:
    miss = ROUTER.find(verb, path)
    assert isinstance(miss, RouteNotFound)
    return miss.fault


def test_context_and_version_stay_at_the_gateway() -> None:
    assert find("/solar/1.0.0/solar-status") == ("/solar-status", "/solar-status")


def test_the_default_version_may_be_left_out() -> None:
    assert find("/solar/solar-status") == ("/solar-status", "/solar-status")


def test_a_plain_resource_goes_before_a_template_and_that_before_a_wildcard() -> None:
    assert find("/solar/1.0.0/days/today") == ("/days/today", "/days/today")
    assert find("/solar/1.0.0/days/monday") == ("/days/{day}", "/days/monday")


def test_the_longest_context_wins() -> None:
    match = ROUTER.find("GET", "/solar/1.0.0/inner/1.0.0/x")

    assert isinstance(match, RouteMatch)
    assert match.product.name == "/solar/1.0.0/inner"


def test_the_forwarded_path_is_built_from_the_match() -> None:
    assert find("/solar/1.0.0/%73olar-status") == ("/solar-status", "/solar-status")
    assert find("/solar/1.0.0/days/%e2%82%ac%20x") == ("/days/{day}", "/days/%E2%82%AC%20x")


def test_unknown_paths_and_methods_have_different_faults() -> None:
    assert find_fault("/wind/1.0.0/status") is NOT_FOUND
    assert find_fault("/solarx/1.0.0/solar-status") is NOT_FOUND
    assert find_fault("/solar/1.0.0/other") is NO_RESOURCE
    assert find_fault("/solar/1.0.0") is NO_RESOURCE
    assert find_fault("/solar/1.0.0/solar-status", "DELETE") is METHOD_NOT_ALLOWED
    assert find_fault("/solar/1.0.0/days/monday", "PUT") is METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    "path",
    [
        "/files/1.0.0/../../solar/1.0.0/solar-status",
        "/files/1.0.0/%2e%2e/%2E%2e/admin",
        "/files/1.0.0/..%2fadmin",
        "/files/1.0.0/a%2Fb",
        "/files/1.0.0/a%5cb",
        "/files/1.0.0/a\\b",
        "/files/1.0.0/%252e%252e/admin",
        "/files/1.0.0//admin",
        "/files/1.0.0/./admin",
        "/files/1.0.0/a;b=1/c",
        "/files/1.0.0/a%3bb",
        "/files/1.0.0/a%00",
        "/files/1.0.0/a%0d%0aX:1",
        "/files/1.0.0/%ff",
        "/files/1.0.0/%c0%ae%c0%ae/admin",
        "/files/1.0.0/a%",
        "/files/1.0.0/a%zz",
        "/files/1.0.0/é",
        "http://elsewhere/files/1.0.0/a",
        "*",
        "",
    ],
)
def test_an_ambiguous_path_is_rejected(path: str) -> None:
    assert find_fault(path) is NOT_FOUND


segments = st.text(st.sampled_from("ab.%2efF5cC/\\;~ -é0"), max_size=20)


@given(segments)
def test_no_path_leaves_the_resource_that_it_matched(rest: str) -> None:
    match = ROUTER.find("GET", f"/files/1.0.0/{rest}")

    if isinstance(match, RouteMatch):
        assert match.path.startswith("/")
        assert ".." not in match.path.split("/")
        assert "//" not in match.path
        assert "\\" not in match.path


@given(segments)
def test_decoding_a_decoded_path_does_not_change_it(rest: str) -> None:
    path = decode_path(f"/{rest}")

    if path is not None:
        assert not {".", ".."} & set(path.split("/"))
        assert "%" not in path
